use super::*;
use proptest::prelude::*;

fn form(raw: &str) -> Result<String, PathError> {
    Path::parse(raw.as_bytes()).map(|p| p.as_str().to_owned())
}

/// threats.md 41: the form that decides is the form that is forwarded, or the request is refused.
#[test]
fn t41_one_form_or_refused() {
    use PathError::*;
    let cases: &[(&str, Result<&str, PathError>)] = &[
        ("/", Ok("/")),
        ("/orders/1", Ok("/orders/1")),
        ("/%61dmin", Ok("/admin")),
        ("/%7euser", Ok("/~user")),
        ("//admin", Ok("//admin")),
        ("/admin;x=y", Ok("/admin;x=y")),
        ("/a%20b%c3%a4", Ok("/a%20b%C3%A4")),
        ("/admin%23", Ok("/admin%23")),
        ("/admin%3Fx", Ok("/admin%3Fx")),
        ("/a%252fb", Ok("/a%252fb")),
        ("/...", Ok("/...")),
        ("/.well-known/x", Ok("/.well-known/x")),
        ("/..a/.b;c", Ok("/..a/.b;c")),
        ("/a/../admin", Err(DotSegment)),
        ("/a/..", Err(DotSegment)),
        ("/./a", Err(DotSegment)),
        ("/%2e%2E/admin", Err(DotSegment)),
        ("/a/.%2e/admin", Err(DotSegment)),
        ("/a/..;x=y/admin", Err(DotSegment)),
        ("/a/..%3bx=y/admin", Err(DotSegment)),
        ("//..//admin", Err(DotSegment)),
        ("/a\\b", Err(Backslash(2))),
        ("/a%00", Err(EncodedNul(2))),
        ("/admin#", Err(Fragment(6))),
        ("/admin?x=/public", Err(Query(6))),
        ("/a%", Err(BadPercent(2))),
        ("/a%4", Err(BadPercent(2))),
        ("/a%+1", Err(BadPercent(2))),
        ("/a b", Err(RawByte { byte: b' ', at: 2 })),
        ("/ä", Err(RawByte { byte: 0xc3, at: 1 })),
        ("/a\u{7f}", Err(RawByte { byte: 0x7f, at: 2 })),
        ("", Err(NotAbsolute)),
        ("*", Err(NotAbsolute)),
        ("admin", Err(NotAbsolute)),
        ("http://h/", Err(NotAbsolute)),
    ];
    for (raw, want) in cases {
        assert_eq!(form(raw), want.map(str::to_owned), "{raw}");
    }
}

/// threats.md 41: an encoded separator is noted for the route to decide; a way up behind one is nobody's to allow.
#[test]
fn t41_encoded_separators_are_noted_and_lead_nowhere() {
    let noted = |raw: &str| {
        let path = Path::parse(raw.as_bytes()).unwrap_or_else(|why| panic!("{raw}: {why}"));
        (path.as_str().to_owned(), path.encoded_separator())
    };
    for (raw, form, at) in [
        ("/a%2fb", "/a%2Fb", Some(2)),
        ("/%61%2F", "/a%2F", Some(2)),
        ("/a%5cb", "/a%5Cb", Some(2)),
        ("/x%5cb%2fc", "/x%5Cb%2Fc", Some(2)),
        ("/x%2fb%5Cc", "/x%2Fb%5Cc", Some(2)),
        ("/%2Fadmin", "/%2Fadmin", Some(1)),
        ("/a%252fb", "/a%252fb", None),
        ("/a/b", "/a/b", None),
    ] {
        let error = at.map(PathError::EncodedSeparator);
        assert_eq!(noted(raw), (form.to_owned(), error), "{raw}");
    }
    for raw in [
        "/admin%2f..",
        "/a/..%2Fadmin",
        "/..%2fadmin",
        "/a%2f%2e%2e%2fadmin",
        "/a/%2e%2e%5Cadmin",
        "/a%5c..%5cadmin",
        "/a%5C.",
        "/a;x%2f..%2Fadmin",
        "/a%2f..;x=y/admin",
        "/a%2F..%3Bx/admin",
        "/a/..;x%2fadmin",
    ] {
        assert_eq!(form(raw), Err(PathError::DotSegment), "{raw}");
    }
    assert_eq!(form("/a%2F%00"), Err(PathError::EncodedNul(5)));
}

#[test]
fn runs_of_slashes_are_made_one() {
    for (raw, merged) in [
        ("//", Some("/")),
        ("/a//", Some("/a/")),
        ("///a////b//", Some("/a/b/")),
        ("//a%2F%2f/b", Some("/a%2F%2F/b")),
        ("/a/%2F//b", Some("/a/%2F/b")),
        ("/", None),
        ("/a/", None),
        ("/a/%2F/b", None),
        ("/a%2F%2Fb", None),
    ] {
        let path = Path::parse(raw.as_bytes()).unwrap();
        let form = path.merged();
        assert_eq!(form.as_ref().map(Path::as_str), merged, "{raw}");
        // The same value as a client gets that writes it like this.
        let asked = merged.map(|text| Path::parse(text.as_bytes()).unwrap());
        assert_eq!(form, asked, "{raw}");
    }
    assert_eq!(Path::asterisk().merged(), None);
}

#[test]
fn segments_are_what_stands_between_the_slashes() {
    let segments = |raw: &str| {
        let path = Path::parse(raw.as_bytes()).unwrap();
        path.segments().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(segments("/"), [""]);
    assert_eq!(segments("/a/b"), ["a", "b"]);
    assert_eq!(segments("//a/"), ["", "a", ""]);
    assert_eq!(segments("/a%2Fb/c"), ["a%2Fb", "c"]);
    assert_eq!(Path::asterisk().segments().count(), 0);
    assert!(Path::asterisk().is_asterisk());
    assert!(!Path::parse(b"/*").unwrap().is_asterisk());
    assert_eq!(Path::parse(b"/%61").unwrap().to_string(), "/a");
}

#[test]
fn the_first_question_mark_splits() {
    assert_eq!(split_query(b"/a?b?c"), (&b"/a"[..], Some(&b"b?c"[..])));
    assert_eq!(split_query(b"/a?"), (&b"/a"[..], Some(&b""[..])));
    assert_eq!(split_query(b"/a"), (&b"/a"[..], None));
    assert!(valid_query(b"a=%zz&b={[]}"));
    assert!(!valid_query(b"a b") && !valid_query(b"a#") && !valid_query(b"\x80"));
}

/// What attacks on paths are made of, and any byte.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => prop::sample::select(vec![
            "/", "//", ".", "..", ";", "\\", "%", "%2e", "%2E", "%2f", "%2F", "%5c", "%5C", "%3b", "%00", "%25", "%61",
            "a", "#", "?",
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
        1 => any::<u8>().prop_map(|byte| vec![byte]),
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| {
        let mut raw = vec![b'/'];
        raw.extend(pieces.concat());
        raw
    })
}

/// As a server reads it that decodes everything at once, takes `\` for `/` and strips parameters.
fn careless(path: &str) -> Vec<String> {
    let (mut text, mut rest) = (String::new(), path.chars());
    while let Some(c) = rest.next() {
        let byte = match c {
            '%' => {
                let digits: String = rest.by_ref().take(2).collect();
                u8::from_str_radix(&digits, 16).unwrap()
            }
            c => u8::try_from(c).unwrap(),
        };
        text.push(char::from(byte));
    }
    text.split(['/', '\\'])
        .map(|segment| segment.split(';').next().unwrap().to_owned())
        .collect()
}

/// A path in its one form is the slice that it came as.
#[test]
fn a_shared_path_is_no_copy_where_it_can_be() {
    for (raw, kept) in [
        ("/", true),
        ("/orders//1;x", true),
        ("/.well-known/x", true),
        ("/%61", false),
    ] {
        let shared = Bytes::from(raw);
        let path = Path::parse_shared(&shared).unwrap();
        assert_eq!(shared.as_ptr() == path.as_str().as_ptr(), kept, "{raw}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_shared_path_is_parsed_like_any(raw in "[/a.%25c;?#\\\\ ~é2F]{0,12}") {
        let raw = Bytes::from(raw);
        prop_assert_eq!(Path::parse_shared(&raw), Path::parse(&raw));
    }

    /// Parsing what was parsed changes nothing: a second reader sees the same path, merged or not.
    #[test]
    fn the_form_is_a_fixed_point(raw in hostile()) {
        if let Ok(path) = Path::parse(&raw) {
            prop_assert_eq!(&Path::parse(path.as_str().as_bytes()).unwrap(), &path);
            if let Some(merged) = path.merged() {
                prop_assert_eq!(&Path::parse(merged.as_str().as_bytes()).unwrap(), &merged);
                prop_assert_eq!(merged.merged(), None);
            }
        }
    }

    /// Whatever bytes come, the form holds nothing that a server could read in another way, but for what is noted.
    #[test]
    fn nothing_ambiguous_survives(raw in hostile()) {
        if let Ok(path) = Path::parse(&raw) {
            let text = path.as_str();
            let lower = text.to_ascii_lowercase();
            for bad in ["%00", "\\", "#", "?", "%2e", "%61"] {
                prop_assert!(!lower.contains(bad), "{} in {}", bad, text);
            }
            prop_assert!(text.bytes().all(|b| b.is_ascii_graphic()));
            let separators = lower.contains("%2f") || lower.contains("%5c");
            prop_assert_eq!(path.encoded_separator().is_some(), separators);
            prop_assert_eq!(path.merged().is_some(), text.contains("//"));
            let ways_up = careless(text).iter().any(|s| s == "." || s == "..");
            prop_assert!(!ways_up, "{}", text);
        }
    }

    /// Segments that are not empty are the same in both forms, in the same order.
    #[test]
    fn merging_takes_empty_segments_and_nothing_else(raw in hostile()) {
        if let Ok(path) = Path::parse(&raw) && let Some(merged) = path.merged() {
            let full = |path: &Path| -> Vec<String> {
                path.segments().filter(|s| !s.is_empty()).map(str::to_owned).collect()
            };
            prop_assert_eq!(full(&path), full(&merged));
            prop_assert!(!merged.as_str().contains("//"));
            prop_assert_eq!(path.as_str().ends_with('/'), merged.as_str().ends_with('/'));
        }
    }
}
