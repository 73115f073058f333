use super::*;

use bytes::Bytes;
use tollgate_http::{Authority, Path, Scheme, Version};

use crate::token::source::HeaderScheme;

/// What Firefox sends before a page may PUT JSON with a token.
const REAL: &[(&str, &str)] = &[
    ("user-agent", "Mozilla/5.0"),
    ("accept", "*/*"),
    ("access-control-request-method", "PUT"),
    (
        "access-control-request-headers",
        "authorization,content-type",
    ),
    ("referer", "https://app.test/"),
    ("origin", "https://app.test"),
    ("sec-fetch-dest", "empty"),
    ("sec-fetch-mode", "cors"),
    ("sec-fetch-site", "cross-site"),
    ("te", "trailers"),
];

fn head(method: &str, target: &str, lines: &[(&str, &str)]) -> RequestHead {
    let mut fields = Fields::new();
    for (name, value) in lines {
        fields.push((*name).to_owned(), (*value).to_owned());
    }
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(Bytes::from(query.to_owned()))),
        None => (target, None),
    };
    RequestHead {
        method: Method::parse(method.as_bytes()).unwrap(),
        scheme: Scheme::Https,
        authority: Some(Authority::parse(b"api.test").unwrap()),
        path: match path {
            "*" => Path::asterisk(),
            path => Path::parse(path.as_bytes()).unwrap(),
        },
        query,
        version: Version::Http11,
        fields,
    }
}

fn sources() -> Vec<TokenSource> {
    vec![
        TokenSource::Header {
            name: "authorization".to_owned(),
            scheme: HeaderScheme::Usual,
        },
        TokenSource::Header {
            name: "x-api-token".to_owned(),
            scheme: HeaderScheme::Bare,
        },
        TokenSource::Cookie {
            name: "sid".to_owned(),
        },
        TokenSource::Query {
            name: "access_token".to_owned(),
        },
    ]
}

/// Whether the request would reach the API without a token.
fn passes(head: &RequestHead, is_whole: bool) -> bool {
    Preflight::read(head, is_whole)
        .is_some_and(|preflight| Cors::Forward.takes(&preflight, head, &sources()))
}

fn with(lines: &[(&'static str, &'static str)]) -> RequestHead {
    let all: Vec<_> = REAL.iter().chain(lines).copied().collect();
    head("OPTIONS", "/orders", &all)
}

fn without(name: &str) -> Vec<(&'static str, &'static str)> {
    let rest = REAL.iter().filter(|(one, _)| *one != name);
    rest.copied().collect()
}

#[test]
fn what_a_browser_sends_is_a_preflight() {
    let real = head("OPTIONS", "/orders?page=2", REAL);
    assert!(passes(&real, true));
    assert_eq!(
        Preflight::read(&real, true).unwrap(),
        Preflight {
            origin: Some(Origin::parse(b"https://app.test").unwrap()),
            method: Method::PUT,
            headers: vec!["authorization".to_owned(), "content-type".to_owned()],
        }
    );
    assert!(passes(&with(&[("content-length", "0")]), true));
    assert!(passes(
        &with(&[("connection", "keep-alive"), ("connection", "TE")]),
        true
    ));
    let simple = head("OPTIONS", "/", &without("access-control-request-headers"));
    assert!(passes(&simple, true));
    assert!(Preflight::read(&simple, true).unwrap().headers.is_empty());
}

/// threats.md 45: whatever is not exactly a preflight has no way past the token.
#[test]
fn t45_what_is_not_exactly_a_preflight_does_not_pass() {
    for (why, head) in [
        ("another method", head("GET", "/orders", REAL)),
        ("another method", head("POST", "/orders", REAL)),
        ("another case", head("options", "/orders", REAL)),
        ("no path", head("OPTIONS", "*", REAL)),
        ("no origin", head("OPTIONS", "/", &without("origin"))),
        (
            "no method",
            head("OPTIONS", "/", &without("access-control-request-method")),
        ),
        ("two origins", with(&[("origin", "https://app.test")])),
        (
            "two methods",
            with(&[("access-control-request-method", "PUT")]),
        ),
        (
            "two lists",
            with(&[("access-control-request-headers", "x")]),
        ),
        (
            "a second spelling",
            with(&[("Access_Control_Request_Method", "GET")]),
        ),
        (
            "a second spelling",
            with(&[("accesscontrolrequestheaders", "x")]),
        ),
        ("a body", with(&[("content-length", "5")])),
        ("a body", with(&[("content-length", "00")])),
        (
            "a body",
            with(&[("content-length", "0"), ("content-length", "0")]),
        ),
        ("a body", with(&[("Content_Length", "0")])),
        ("a body", with(&[("transfer-encoding", "chunked")])),
        ("a body", with(&[("Transfer_Encoding", "identity")])),
        ("a body", with(&[("expect", "100-continue")])),
        ("fields that go", with(&[("connection", "origin")])),
        (
            "fields that go",
            with(&[("connection", "keep-alive, Access-Control-Request-Method")]),
        ),
        ("two origins", with(&[("or_igin", "https://evil.test")])),
        (
            "another protocol",
            with(&[("upgrade", "websocket"), ("connection", "upgrade")]),
        ),
        ("a token", with(&[("authorization", "Bearer a.b.c")])),
        ("a token", with(&[("Authorization", "Basic YTpi")])),
        ("a token", with(&[("AUTHORIZATION", "")])),
        (
            "a token",
            with(&[
                ("x_authorization_", "x"),
                ("author-ization", "Bearer a.b.c"),
            ]),
        ),
        ("a token", with(&[("proxy-authorization", "Basic YTpi")])),
        ("a token", with(&[("x-api-token", "a.b.c")])),
        ("a token", with(&[("x-api-token", "")])),
        ("a token", with(&[("X_Api_Token", "a.b.c")])),
        ("a cookie", with(&[("cookie", "a=b")])),
        ("a cookie", with(&[("Cookie", "")])),
        (
            "a token",
            head("OPTIONS", "/orders?access_token=a.b.c", REAL),
        ),
        (
            "a token",
            head("OPTIONS", "/orders?%61ccess_token=a.b.c", REAL),
        ),
        (
            "a token",
            head("OPTIONS", "/orders?x=1&ACCESS.TOKEN=a", REAL),
        ),
    ] {
        assert!(!passes(&head, true), "{why}: {head:?}");
    }
    assert!(
        !passes(&head("OPTIONS", "/orders", REAL), false),
        "a body follows"
    );
}

/// threats.md 45
#[test]
fn t45_values_that_no_browser_sends() {
    for (name, values) in [
        (
            "origin",
            &[
                "null",
                "",
                "*",
                "app.test",
                "https://app.test/",
                "https://app.test:443",
                "https://app.test, https://evil.test",
                "https://app.test https://evil.test",
                "https://user@app.test",
                "https://app.test.",
            ][..],
        ),
        (
            "access-control-request-method",
            &[
                "", "PUT,GET", "PUT GET", "P\u{fc}T", "CONNECT", "trace", "TRACK", "\"PUT\"",
            ],
        ),
        (
            "access-control-request-headers",
            &["", ",", "a,", "a,,b", "a b", "a:b", "a;b", "\u{e4}", "a\tb"],
        ),
    ] {
        for value in values {
            let mut lines = without(name);
            lines.push((name, value));
            let head = head("OPTIONS", "/orders", &lines);
            assert!(!passes(&head, true), "{name}: {value:?}");
        }
    }
    let many = vec!["x"; MOST_NAMES + 1].join(",");
    let long = "x".repeat(LONGEST_LIST + 1);
    for (list, is_one) in [
        (&many[..], false),
        (&many[2..], true),
        (&long, false),
        (&long[1..], true),
    ] {
        let mut lines: Vec<(&str, &str)> = without("access-control-request-headers");
        lines.push(("access-control-request-headers", list));
        assert_eq!(
            passes(&head("OPTIONS", "/", &lines), true),
            is_one,
            "{list}"
        );
    }
}

#[test]
fn a_route_without_cors_knows_no_preflights() {
    let real = head("OPTIONS", "/orders", REAL);
    let preflight = Preflight::read(&real, true).unwrap();
    assert!(!Cors::Off.takes(&preflight, &real, &sources()));
    assert!(!Cors::Off.takes(&preflight, &real, &[]));
    // Nothing reaches the API there, so the page may have a token in its URL.
    let answer = Cors::Answer(Box::new(sharing()));
    let with_token = head("OPTIONS", "/?access_token=a.b.c", REAL);
    assert!(answer.takes(&preflight, &with_token, &sources()));
}

#[test]
fn a_page_without_an_origin_is_covered_by_all_origins_alone() {
    let mut lines = without("origin");
    lines.push(("origin", "null"));
    let head = head("OPTIONS", "/orders", &lines);
    let preflight = Preflight::read(&head, true).unwrap();
    assert_eq!(preflight.origin, None);
    let open = Sharing {
        origins: Origins::Any,
        credentials: false,
        ..sharing()
    };
    assert!(open.answer(&ask("null", "PUT", &[])).is_ok());
    assert!(Cors::Answer(Box::new(open)).takes(&preflight, &head, &[]));
    for cors in [Cors::Forward, Cors::Answer(Box::new(sharing()))] {
        assert!(!cors.takes(&preflight, &head, &[]), "{cors:?}");
    }
    let refusal = sharing().answer(&ask("null", "PUT", &[])).unwrap_err();
    assert!(refusal.detail.contains("the origin \"null\""), "{refusal}");
}

#[test]
fn one_field_says_who_reads() {
    let reader = |lines: &[&'static str]| {
        let mut fields = Fields::new();
        for line in lines {
            fields.push("Origin", *line);
        }
        let sharing = sharing();
        sharing
            .reader(&fields)
            .map(|origin| origin.as_str().to_owned())
    };
    let app = Some("https://app.test".to_owned());
    assert_eq!(reader(&["https://app.test"]), app);
    assert_eq!(reader(&["HTTPS://App.test"]), app);
    for lines in [
        &[][..],
        &["https://app.test", "https://app.test"],
        &["https://evil.test"],
        &["https://app.test:8443"],
        &["null"],
    ] {
        assert_eq!(reader(lines), None, "{lines:?}");
    }
}

fn sharing() -> Sharing {
    Sharing {
        origins: Origins::These(vec![Origin::parse(b"https://app.test").unwrap()]),
        methods: vec![Method::GET, Method::PUT],
        headers: Headers::These(vec!["authorization".to_owned(), "x-a".to_owned()]),
        expose: vec!["x-b".to_owned(), "x-c".to_owned()],
        credentials: true,
        max_age: Duration::from_secs(600),
    }
}

fn ask(origin: &str, method: &str, headers: &[&str]) -> Preflight {
    Preflight {
        origin: (origin != "null").then(|| Origin::parse(origin.as_bytes()).unwrap()),
        method: Method::parse(method.as_bytes()).unwrap(),
        headers: headers.iter().map(|&name| name.to_owned()).collect(),
    }
}

fn lines(fields: &Fields) -> Vec<String> {
    let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).unwrap();
    fields
        .iter()
        .map(|field| format!("{}: {}", text(&field.name), text(&field.value)))
        .collect()
}

#[test]
fn an_answer_allows_what_was_asked_and_no_more() {
    let answered = sharing()
        .answer(&ask("https://app.test", "PUT", &["x-a", "authorization"]))
        .unwrap();
    assert_eq!(
        lines(&answered),
        [
            "access-control-allow-methods: PUT",
            "access-control-allow-headers: x-a,authorization",
            "access-control-max-age: 600",
            "vary: access-control-request-method, access-control-request-headers",
        ]
    );
    for (preflight, said) in [
        (
            ask("https://evil.test", "PUT", &[]),
            "the origin \"https://evil.test\"",
        ),
        (
            ask("http://app.test", "PUT", &[]),
            "the origin \"http://app.test\"",
        ),
        (ask("https://app.test:8443", "PUT", &[]), "the origin"),
        (ask("https://x.app.test", "PUT", &[]), "the origin"),
        (ask("https://app.test", "put", &[]), "the method \"put\""),
        (ask("https://app.test", "POST", &[]), "the method \"POST\""),
        (
            ask("https://app.test", "GET", &["x-a", "x-z"]),
            "the header \"x-z\"",
        ),
    ] {
        let refusal = sharing().answer(&preflight).unwrap_err();
        assert_eq!(refusal.reason, Reason::CorsDenied);
        assert!(refusal.detail.contains(said), "{refusal}");
    }
    let open = Sharing {
        origins: Origins::Any,
        methods: vec![],
        headers: Headers::Any,
        ..sharing()
    };
    assert!(
        open.answer(&ask("https://any.test", "BREW", &["x-z"]))
            .is_ok()
    );
}

#[test]
fn an_answer_says_who_may_read_it_and_the_api_does_not() {
    let said_by_api = || {
        let mut fields = Fields::new();
        fields.push("Access-Control-Allow-Origin", "*");
        fields.push("access-control-allow-origin", "https://evil.test");
        fields.push("Access-Control-Allow-Credentials", "true");
        fields.push("access-control-expose-headers", "*");
        fields.push("access-control-allow-methods", "DELETE");
        fields.push("access-control-allow-headers", "x-evil");
        fields.push("Access-Control-Max-Age", "86400");
        fields.push("access-control-allow-private-network", "true");
        fields.push("vary", "accept");
        fields.push("x-access-control-allow-origin", "no field of sharing");
        fields
    };
    let origin = Origin::parse(b"https://app.test").unwrap();
    let dressed = |sharing: &Sharing, origin: Option<&Origin>| {
        let mut fields = said_by_api();
        Sharing::silence(&mut fields);
        sharing.dress(origin, &mut fields);
        lines(&fields)
    };
    assert_eq!(
        dressed(&sharing(), Some(&origin)),
        [
            "vary: accept",
            "x-access-control-allow-origin: no field of sharing",
            "vary: origin",
            "access-control-allow-origin: https://app.test",
            "access-control-allow-credentials: true",
            "access-control-expose-headers: x-b,x-c",
        ]
    );
    assert_eq!(
        dressed(&sharing(), None),
        [
            "vary: accept",
            "x-access-control-allow-origin: no field of sharing",
            "vary: origin"
        ]
    );
    let open = Sharing {
        origins: Origins::Any,
        expose: vec![],
        credentials: false,
        ..sharing()
    };
    for origin in [None, Some(&origin)] {
        assert_eq!(
            dressed(&open, origin),
            [
                "vary: accept",
                "x-access-control-allow-origin: no field of sharing",
                "access-control-allow-origin: *"
            ]
        );
    }
}
