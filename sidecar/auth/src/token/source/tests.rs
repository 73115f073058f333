mod properties;

use super::*;
use bytes::Bytes;
use tollgate_http::{Authority, Method, Path, Scheme, Version};

fn header(name: &str) -> TokenSource {
    with_scheme(name, HeaderScheme::Usual)
}

fn with_scheme(name: &str, scheme: HeaderScheme) -> TokenSource {
    let name = name.to_owned();
    TokenSource::Header { name, scheme }
}

fn named(scheme: &str) -> HeaderScheme {
    HeaderScheme::Named(scheme.to_owned())
}

fn cookie(name: &str) -> TokenSource {
    TokenSource::Cookie { name: name.into() }
}

fn query(name: &str) -> TokenSource {
    TokenSource::Query { name: name.into() }
}

/// Two headers, a cookie and a parameter.
fn all() -> [TokenSource; 4] {
    [
        header("authorization"),
        header("X-Token"),
        cookie("sid"),
        query("access_token"),
    ]
}

/// A request; the field `?` is its query.
fn request(lines: &[(&str, &str)]) -> RequestHead {
    let mut head = RequestHead {
        method: Method::GET,
        scheme: Scheme::Https,
        authority: Some(Authority::parse(b"api.test").unwrap()),
        path: Path::parse(b"/orders").unwrap(),
        query: None,
        version: Version::Http11,
        fields: Fields::new(),
    };
    for (name, value) in lines {
        let value = Bytes::copy_from_slice(value.as_bytes());
        match *name {
            "?" => head.query = Some(value),
            name => head.fields.push(name.to_owned(), value),
        }
    }
    head
}

#[track_caller]
fn check_by(
    sources: &[TokenSource],
    lines: &[(&str, &str)],
    want: Result<Option<(&str, Carrier)>, Reason>,
) {
    let head = request(lines);
    let found = find(&head, sources)
        .map(|f| f.map(|f| (std::str::from_utf8(f.token).unwrap(), f.carrier)))
        .map_err(|refusal| {
            assert!(!refusal.detail.contains("secret"), "{refusal}");
            refusal.reason
        });
    assert_eq!(found, want, "{lines:?}");
}

/// By all sources.
#[track_caller]
fn check(lines: &[(&str, &str)], want: Result<Option<&str>, Reason>) {
    let carrier = match lines {
        [.., ("?", _)] => Carrier::Query,
        [.., ("Cookie", _)] => Carrier::Cookie,
        _ => Carrier::Header,
    };
    check_by(
        &all(),
        lines,
        want.map(|found| found.map(|token| (token, carrier))),
    );
}

const AMBIGUOUS: Result<Option<&str>, Reason> = Err(Reason::TokenAmbiguous);
const MALFORMED: Result<Option<&str>, Reason> = Err(Reason::TokenMalformed);

#[test]
fn t30_two_tokens_are_ambiguous() {
    for other in ["secret-a", "secret-b"] {
        let bearer = format!("Bearer {other}");
        let sid = format!("sid={other}");
        let access = format!("access_token={other}");
        let places = [
            ("Authorization", bearer.as_str()),
            ("x-token", other),
            ("Cookie", sid.as_str()),
            ("?", access.as_str()),
        ];
        let firsts = [
            ("authorization", "Bearer secret-a"),
            ("X-Token", "secret-a"),
            ("cookie", "x=1; sid=secret-a"),
            ("?", "x=1&access_token=secret-a"),
        ];
        for (at, first) in firsts.into_iter().enumerate() {
            for (place, second) in places.into_iter().enumerate() {
                // A request has one query only; a parameter that stands twice is below.
                if (at, place) != (3, 3) {
                    check(&[first, second], AMBIGUOUS);
                }
            }
        }
        check(&places, AMBIGUOUS);
    }
    check(
        &[("Authorization", "Basic a"), ("authorization", "Bearer a")],
        AMBIGUOUS,
    );
}

#[test]
fn t30_a_cookie_or_parameter_that_stands_twice_is_ambiguous() {
    for twice in [
        "sid=a; sid=b",
        "sid=a; sid=a",
        "sid=a; x=1; sid",
        "sid=a;sid=",
        "sid=a; %73id=b",
        "sid=a, sid=b",
    ] {
        check(&[("Cookie", twice)], AMBIGUOUS);
    }
    check(&[("cookie", "sid=a"), ("Cookie", "sid=a")], AMBIGUOUS);
    for twice in [
        "access_token=a&access_token=b",
        "access_token=a&access_token=a",
        "access_token=a&x=1&access_token",
        "access_token=a&%61ccess_token=b",
        "access%5ftoken=a&access%5Ftoken=b",
        "access_token=a&access_token[]=b",
        "access_token=a&Access_Token=b",
        "access_token=a&access.token=b",
        "access_token=a;access_token=b",
    ] {
        check(&[("?", twice)], AMBIGUOUS);
    }
}

#[test]
fn t31_the_grammar_of_bearer_is_exact() {
    for good in ["Bearer a.b-c_d", "bearer a.b-c_d", "BEARER a.b-c_d"] {
        check(&[("Authorization", good)], Ok(Some("a.b-c_d")));
    }
    check(&[("Authorization", "Bearer ab==")], Ok(Some("ab==")));
    for other in [
        "Basic dXNlcg==",
        "Basic bearer==",
        "Negotiate",
        "Bearerx a",
        "foo a.b.c",
        "foo xBearer a",
        "Digest username=\"a\", realm=\"b.c\"",
        "AWS4-HMAC-SHA256 Credential=a/b/c, SignedHeaders=host",
    ] {
        check(&[("Authorization", other)], Ok(None));
    }
    for bad in [
        "Bearer",
        "Bearer ",
        "Bearer\ta",
        "Bearer  a",
        "Bearer a,",
        "Bearer a b",
        "Bearer a, Bearer b",
        "Bearer,a",
        "",
        "Bearer =",
        "Bearer a=b",
        "Bearer \u{e4}",
        "Bearer \"a\"",
        " Bearer a",
    ] {
        check(&[("Authorization", bad)], MALFORMED);
    }
}

/// What lenient servers find behind another scheme, or without any, is neither passed over nor passed on.
#[test]
fn t31_a_token_behind_another_scheme_is_malformed() {
    for bad in [
        "eyJa.eyJb.cc",
        "eyJa.eyJb.cc x",
        "a.b",
        "foo Bearer eyJa.eyJb.cc",
        "foo bEARER a",
        "Basic dXNlcg==, Bearer a",
        "Basic dXNlcg==;bearer a",
        "foo\tBearer a",
        "foo  Bearer",
        "Negotiate bearer",
    ] {
        check(&[("Authorization", bad)], MALFORMED);
        // Even where another place holds a token: the second would go unseen.
        check(&[("Authorization", bad), ("Cookie", "sid=a")], MALFORMED);
        let mut head = request(&[("Authorization", bad), ("Accept", "c")]);
        strip(&mut head, &all());
        assert_eq!(head.fields.len(), 1, "{bad}");
    }
    // Where `Bearer` is not the source's scheme, its tokens are somebody else's.
    let own = [with_scheme("authorization", named("Token"))];
    for other in ["eyJa.eyJb.cc", "foo Bearer a"] {
        check_by(&own, &[("Authorization", other)], Ok(None));
    }
}

#[test]
fn other_headers_hold_the_bare_token_or_credentials() {
    check(&[("X-Token", "abc")], Ok(Some("abc")));
    check(&[("X-Token", "bearer abc")], Ok(Some("abc")));
    check(&[("X-Token", "Basic abc")], MALFORMED);
    check(&[("X-Token", "")], MALFORMED);
    check(
        &[("Authorization", "Basic abc"), ("X-Token", "t")],
        Ok(Some("t")),
    );
    check(&[], Ok(None));
}

/// threats.md 32, for tokens: servers behind fold names of fields.
#[test]
fn t32_aliases_of_a_header_are_not_passed_over() {
    for alias in ["X_Token", "x.token", "xtoken", "X-Token-"] {
        check(&[(alias, "a")], MALFORMED);
        check(&[("X-Token", "a"), (alias, "secret-b")], AMBIGUOUS);
        let mut head = request(&[(alias, "secret-b"), ("x-tokens", "c")]);
        strip(&mut head, &all());
        assert_eq!(head.fields.len(), 1);
    }
    check(
        &[("Authorization", "Basic a"), ("Authorization_", "Bearer b")],
        AMBIGUOUS,
    );
    check(
        &[("x-tokens", "c"), ("token", "d"), ("proxy-x-token", "e")],
        Ok(None),
    );
}

#[test]
fn t31_a_scheme_of_ones_own_is_as_exact() {
    let token = Ok(Some(("a.b", Carrier::Header)));
    let malformed = Err(Reason::TokenMalformed);
    let own = [with_scheme("x-auth", named("Token"))];
    for good in ["Token a.b", "token a.b", "TOKEN a.b"] {
        check_by(&own, &[("X-Auth", good)], token);
    }
    for bad in [
        "a.b",
        "Bearer a.b",
        "Token",
        "Token ",
        "Token  a.b",
        "Token\ta.b",
        "Token a.b ",
        "Tokens a.b",
    ] {
        check_by(&own, &[("X-Auth", bad)], malformed);
    }
    // In Authorization another scheme is somebody else's.
    let shared = [with_scheme("authorization", named("Token"))];
    check_by(&shared, &[("Authorization", "token a.b")], token);
    check_by(&shared, &[("Authorization", "Bearer a.b")], Ok(None));
    check_by(&shared, &[("Authorization", "Token a,b")], malformed);

    let bare = [with_scheme("x-auth", HeaderScheme::Bare)];
    check_by(&bare, &[("X-Auth", "a.b")], token);
    for bad in ["Bearer a.b", "", " a.b", "a.b,"] {
        check_by(&bare, &[("X-Auth", bad)], malformed);
    }
}

#[test]
fn a_header_may_have_several_schemes() {
    let both = [
        with_scheme("authorization", HeaderScheme::Usual),
        with_scheme("Authorization", named("Token")),
    ];
    for good in ["Bearer a", "token a"] {
        check_by(
            &both,
            &[("Authorization", good)],
            Ok(Some(("a", Carrier::Header))),
        );
    }
    check_by(&both, &[("Authorization", "Basic a")], Ok(None));
    for bad in ["Bearer", "Token ", "Bearer a b"] {
        check_by(
            &both,
            &[("Authorization", bad)],
            Err(Reason::TokenMalformed),
        );
    }
    let mut head = request(&[("Authorization", "Token a")]);
    strip(&mut head, &both);
    assert!(head.fields.is_empty());
}

#[test]
fn t31_the_grammar_of_a_cookie_is_exact() {
    for good in [
        "sid=a.b",
        "x=1; sid=a.b",
        "sid=a.b;x",
        "x=\"1\";  sid=a.b ; SID=c; asid=d",
        "sid=\"a.b\"",
    ] {
        check(&[("Cookie", good)], Ok(Some("a.b")));
    }
    check(
        &[("cookie", "x=1"), ("cookie", "sid=ab=="), ("Cookie", "y=2")],
        Ok(Some("ab==")),
    );
    for other in [
        "",
        "x=sid",
        "SID=a",
        "sidx=a",
        "x=1; ; =sid",
        "__Host-sid=a",
    ] {
        check(&[("Cookie", other)], Ok(None));
    }
    for bad in [
        "sid",
        "sid=",
        "sid=\"\"",
        "sid=\"a",
        "sid=a\"",
        "sid =a b",
        "sid= ",
        "sid=a%2Eb",
        "sid=a=b",
        "sid=Bearer a",
        "sid=\u{e4}",
        // Others would read these in another way.
        "sid=a,x=1",
        "x=1,sid=a",
        "%73id=a",
        "sid[]=a",
        "\u{a0}sid=a",
    ] {
        check(&[("Cookie", bad)], MALFORMED);
    }
}

#[test]
fn t31_the_grammar_of_a_parameter_is_exact() {
    for good in [
        "access_token=a.b",
        "x=1&access_token=a.b&y",
        "&&access_token=a.b&&",
        "%61ccess_token=a.b",
        "token=x&access_token=a.b&xaccess_token=c",
    ] {
        check(&[("?", good)], Ok(Some("a.b")));
    }
    for other in [
        "",
        "x",
        "x=access_token",
        "x=%26access_token=a",
        "token=a",
        "access_tokens=a",
        "access%255Ftoken=a",
    ] {
        check(&[("?", other)], Ok(None));
    }
    for bad in [
        "access_token",
        "access_token=",
        "access_token=a%2Eb",
        "access_token=a+b",
        "access_token=a=b",
        "access_token=\"a\"",
        "access_token=Bearer%20a",
        // Others would read these in another way.
        "access_token=a;x=1",
        "x=1;access_token=a",
        "Access_Token=a",
        "access.token=a",
        "access%20token=a",
        "access_token[]=a",
        "access_token%5B0%5D=a",
        "access_token%00=a",
        "+access_token=a",
        "?access_token=a",
        "x=1&?access_token=a",
        "%3Faccess_token=a",
    ] {
        check(&[("?", bad)], MALFORMED);
    }
}

#[test]
fn sources_that_a_request_could_mean_by_turns_read_alike() {
    let own = |name, scheme| with_scheme(name, named(scheme));
    for (one, other, alike) in [
        (header("X-Token"), header("x-token"), true),
        (header("X-Token"), header("X_Token"), true),
        (header("X-Token"), header("X-Other"), false),
        // One header may hold several schemes, each once.
        (own("x-token", "Token"), own("x-token", "Key"), false),
        (own("x-token", "Token"), own("X-TOKEN", "Token"), true),
        (own("x-token", "Token"), own("x_token", "Key"), true),
        (cookie("sid"), cookie("sid"), true),
        (cookie("s%69d"), cookie("sid"), true),
        (cookie("sid"), cookie("sib"), false),
        (query("token"), query("Token"), true),
        (query("token"), query("tokens"), false),
        (query("token"), cookie("token"), false),
        (header("token"), query("token"), false),
    ] {
        assert_eq!(one.reads_like(&other), alike, "{one} and {other}");
    }
    assert_eq!(header("x-a").to_string(), r#"the field "x-a""#);
    assert_eq!(cookie("sid").to_string(), r#"the cookie "sid""#);
    assert_eq!(query("t").to_string(), r#"the query parameter "t""#);
}

#[test]
fn a_source_named_twice_is_one_place() {
    let head = request(&[("Authorization", "Bearer a"), ("?", "t=b")]);
    let found = find(&head, &[header("authorization"), header("Authorization")])
        .unwrap()
        .unwrap();
    assert_eq!(found.token, b"a");
    let shown = format!("{found:?}");
    assert!(
        shown.contains("bytes: 1") && !shown.contains("\"a\"") && !shown.contains("97"),
        "{shown}"
    );
    let found = find(&head, &[query("t"), query("t")]).unwrap().unwrap();
    assert_eq!(found.token, b"b");
}

#[test]
fn strip_takes_tokens_from_every_source_and_leaves_the_rest() {
    let mut head = request(&[
        ("AUTHORIZATION", "Bearer a"),
        ("X-Token", "b"),
        ("Accept", "c"),
        ("Cookie", "theme=dark; sid=a; lang=de"),
        ("Cookie", "%73id=a"),
        ("?", "a=%41&access_token=x&b;Access_Token=y&c"),
    ]);
    strip(&mut head, &all());
    let left: Vec<_> = head
        .fields
        .iter()
        .map(|f| (f.name.as_ref(), f.value.as_ref()))
        .collect();
    assert_eq!(
        left,
        [
            (&b"Accept"[..], &b"c"[..]),
            (b"Cookie", b"theme=dark; lang=de")
        ]
    );
    assert_eq!(head.query.as_deref(), Some(&b"a=%41&b&c"[..]));

    let mut head = request(&[("Authorization", "Basic a"), ("?", "access_token=a")]);
    strip(&mut head, &all());
    assert_eq!((head.fields.len(), head.query), (1, None));
}
