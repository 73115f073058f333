use super::*;

fn facts(lines: &[(&str, &str)]) -> Result<Facts, Error> {
    let mut facts = Facts::default();
    for (name, value) in lines {
        facts.note(name.as_bytes(), value.as_bytes(), Bytes::copy_from_slice)?;
    }
    Ok(facts)
}

#[test]
fn t57_a_length_is_digits() {
    for (value, want) in [
        ("0", Ok(0)),
        ("5", Ok(5)),
        ("005", Ok(5)),
        ("9223372036854775807", Ok(LONGEST)),
        ("00000000000000000000000000000007", Ok(7)),
        ("9223372036854775808", Err(Error::LengthTooLarge)),
        ("18446744073709551616", Err(Error::LengthTooLarge)),
        ("18446744073709551621", Err(Error::LengthTooLarge)),
        ("99999999999999999999999999", Err(Error::LengthTooLarge)),
        ("", Err(Error::Length)),
        ("+5", Err(Error::Length)),
        ("-1", Err(Error::Length)),
        ("5,5", Err(Error::Length)),
        ("5 5", Err(Error::Length)),
        ("0x5", Err(Error::Length)),
        ("5.0", Err(Error::Length)),
        ("5e1", Err(Error::Length)),
        ("5;q=1", Err(Error::Length)),
        ("\u{665}", Err(Error::Length)),
    ] {
        assert_eq!(length(value.as_bytes()), want, "{value}");
    }
}

#[test]
fn t57_the_only_coding_is_chunked_and_once() {
    for (values, want) in [
        (&["chunked"][..], Ok(Framing::Chunked)),
        (&["CHUNKED"], Ok(Framing::Chunked)),
        (&["chunked", "chunked"], Err(Error::CodingRepeated)),
        (&["chunked, chunked"], Err(Error::CodingRepeated)),
        (&["chunked, identity"], Err(Error::CodingNotChunked)),
        (&["chunked", "identity"], Err(Error::CodingNotChunked)),
        (&["identity"], Err(Error::CodingNotChunked)),
        (&["xchunked"], Err(Error::CodingNotChunked)),
        (&["chunkedx"], Err(Error::CodingNotChunked)),
        (&["gzip, chunked"], Err(Error::CodingUnknown)),
        (&["gzip", "\tchunked "], Err(Error::CodingUnknown)),
        (&[""], Err(Error::Coding)),
        (&["chunked,"], Err(Error::Coding)),
        (&[", chunked"], Err(Error::Coding)),
        (&["chunked;q=1"], Err(Error::Coding)),
        (&["\"chunked\""], Err(Error::Coding)),
        (&["chunked chunked"], Err(Error::Coding)),
        (&["chu\u{b}nked"], Err(Error::Coding)),
    ] {
        let lines: Vec<_> = values.iter().map(|v| ("Transfer-encoding", *v)).collect();
        let found = facts(&lines).and_then(|facts| facts.framing(Version::Http11));
        assert_eq!(found, want.map(Some), "{values:?}");
        if found.is_ok() {
            let facts = facts(&lines).unwrap();
            assert_eq!(facts.framing(Version::Http10), Err(Error::CodingInHttp10));
        }
    }
    let both = facts(&[("transfer-encoding", "chunked"), ("content-length", "5")]).unwrap();
    assert_eq!(both.framing(Version::Http11), Err(Error::LengthAndCoding));
    assert_eq!(both.framing(Version::Http10), Err(Error::LengthAndCoding));
}

#[test]
fn what_is_said_of_the_connection() {
    use Version::{Http10, Http11};
    for (lines, version, persists) in [
        (&[][..], Http11, true),
        (&[], Http10, false),
        (&[("connection", "keep-alive")], Http10, true),
        (&[("connection", "x, Keep-Alive ,")], Http10, true),
        (&[("connection", "close")], Http11, false),
        (
            &[("connection", "keep-alive"), ("Connection", "\tCLOSE")],
            Http10,
            false,
        ),
        (&[("connection", "closed")], Http11, true),
        (&[("connection", "\"close\"")], Http11, true),
    ] {
        assert_eq!(
            facts(lines).unwrap().persists(version),
            persists,
            "{lines:?}"
        );
    }
    let upgrade = [("connection", "x,Upgrade"), ("upgrade", "websocket")];
    assert!(facts(&upgrade).unwrap().upgrade(Http11));
    assert!(!facts(&upgrade).unwrap().upgrade(Http10));
    assert!(!facts(&upgrade[..1]).unwrap().upgrade(Http11));
    assert!(!facts(&upgrade[1..]).unwrap().upgrade(Http11));
}

#[test]
fn expectations_are_100_continue_and_of_a_body() {
    use Version::{Http10, Http11};
    let expect = |value| facts(&[("Expect", value)]).unwrap();
    let body = Framing::Length(1);
    assert_eq!(expect("100-Continue").expects(Http11, body), Ok(true));
    assert_eq!(
        expect("100-continue").expects(Http11, Framing::Chunked),
        Ok(true)
    );
    assert_eq!(expect("100-continue").expects(Http10, body), Ok(false));
    assert_eq!(
        expect("100-continue").expects(Http11, Framing::None),
        Ok(false)
    );
    assert_eq!(
        expect("100-continue").expects(Http11, Framing::Length(0)),
        Ok(false)
    );
    for odd in ["", "200-ok", "100-continue, x", "100-continue;x=1"] {
        assert_eq!(
            expect(odd).expects(Http11, body),
            Err(Error::Expectation),
            "{odd}"
        );
    }
    let twice = facts(&[("expect", "100-continue"), ("expect", "100-continue")]).unwrap();
    assert_eq!(twice.expects(Http11, body), Err(Error::Expectation));
}

/// Names are compared to their ends, not by their lengths.
#[test]
fn other_names_say_nothing() {
    let lines = [
        ("x-wait", "100-continue"),
        ("referer", "x"),
        ("set-cookie", "close, upgrade"),
        ("content-range_", "5"),
        ("x-transfer-coding", "chunked"),
        ("xost", "b.test"),
    ];
    let lengths = [6, 7, 10, 14, 17, 4];
    assert!(
        lines
            .iter()
            .zip(lengths)
            .all(|((name, _), length)| name.len() == length)
    );
    let mut facts = facts(&lines).unwrap();
    assert_eq!(facts.framing(Version::Http11), Ok(None));
    assert!(facts.persists(Version::Http11));
    assert!(facts.host.is_none());
    assert_eq!(facts.expects(Version::Http11, Framing::Chunked), Ok(false));
    // Only what the connection does not name is missing now.
    facts.note_any(b"connection", b"upgrade").unwrap();
    assert!(!facts.upgrade(Version::Http11));
}
