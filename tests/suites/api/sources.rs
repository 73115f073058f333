//! Where tokens stand, through the real listener over HTTP/1.1 and HTTP/2: found, refused, taken out, told to nobody.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};

use serde_json::Value;
use tollgate::demo::issuer::{Issuer, SigningKey, forge_subject};
use tollgate_tests::client::{Reply, Request};

use crate::upstream::server;
use crate::world::{AUDIENCE, HOST, World, refused, seen};

const SOURCES: &str = "sources: [{ header: authorization }, { header: x-auth, scheme: Token }, { header: x-jwt, scheme: none }, { cookie: sid }, query]";

fn routes() -> String {
    format!(
        "
      - {{ name: orders, match: {{ path: /orders }}, token: {{ issuers: [corp], {SOURCES} }}, upstream: api }}
      - {{ name: maybe, match: {{ path: /maybe }}, token: {{ issuers: [corp], {SOURCES}, required: false }}, upstream: api }}
      - {{ name: forwarding, match: {{ path: /forwarding }}, token: {{ issuers: [corp], {SOURCES}, forward: true }}, upstream: api }}
      - {{ name: usual, match: {{ path: /usual }}, upstream: api }}
"
    )
}

fn world() -> World {
    World::with(&routes(), "")
}

/// The same request over both protocols.
fn both(world: &World, request: &Request) -> [Reply; 2] {
    [world.h1(request), world.h2(request)]
}

fn query_of(reply: &Reply) -> Value {
    reply.json()["query"].clone()
}

fn with_method(method: &str, mut request: Request) -> Request {
    request.method = method.to_owned();
    request
}

/// A request to `path` with the token in each place that the routes know.
fn carriers(path: &str, token: &str) -> [Request; 5] {
    [
        Request::get(path).bearer(token),
        Request::get(path).field("x-auth", &format!("token {token}")),
        Request::get(path).field("X-Jwt", token),
        Request::get(path).field("cookie", &format!("theme=dark; sid={token}; lang=de")),
        Request::get(&format!("{path}?a=%41&access_token={token}&b")),
    ]
}

/// Everything of a request that the API saw, as one text.
fn all_seen(reply: &Reply) -> String {
    String::from_utf8_lossy(&reply.body).into_owned()
}

#[test]
fn every_source_is_found_and_its_token_ends_here() {
    let world = world();
    let token = world.token();
    for path in ["/orders", "/maybe"] {
        for request in carriers(path, &token) {
            for reply in both(&world, &request) {
                assert_eq!(reply.status, 200, "{request:?}: {reply:?}");
                assert_eq!(seen(&reply, "x-user-id"), ["alice"], "{request:?}");
                assert!(!all_seen(&reply).contains(&token), "{reply:?}");
                let field = |name| seen(&reply, name);
                for name in ["authorization", "x-auth", "x-jwt"] {
                    assert_eq!(field(name), [""; 0], "{name} {request:?}");
                }
                if request.path.contains('?') {
                    assert_eq!(query_of(&reply), "a=%41&b", "all else is there, as it was");
                } else {
                    assert_eq!(query_of(&reply), Value::Null);
                }
                let had_cookies = request.fields.iter().any(|(name, _)| name == "cookie");
                let cookies: &[&str] = if had_cookies {
                    &["theme=dark; lang=de"]
                } else {
                    &[]
                };
                assert_eq!(field("cookie"), cookies);
            }
        }
        let alone = Request::get(&format!("{path}?access_token={token}"));
        assert_eq!(
            query_of(&world.h1(&alone)),
            Value::Null,
            "no question mark is left"
        );
        let alone = Request::get(path).field("cookie", &format!("sid={token}"));
        assert_eq!(seen(&world.h1(&alone), "cookie"), [""; 0]);
    }
}

#[test]
fn a_forwarded_token_stays_where_it_was() {
    let world = world();
    let token = world.token();
    for request in carriers("/forwarding", &token) {
        for reply in both(&world, &request) {
            assert_eq!(seen(&reply, "x-user-id"), ["alice"], "{request:?}");
            for (name, value) in &request.fields {
                assert_eq!(seen(&reply, name), [value.as_str()]);
            }
            let query = request
                .path
                .split_once('?')
                .map_or(Value::Null, |(_, query)| query.into());
            assert_eq!(query_of(&reply), query);
        }
    }
}

#[test]
fn crumbs_of_cookies_are_one_list() {
    let world = world();
    let token = world.token();
    let crumbs = Request::get("/orders")
        .field("cookie", "theme=dark")
        .field("cookie", &format!("sid={token}"))
        .field("cookie", "lang=de");
    let reply = world.h2(&crumbs);
    assert_eq!(seen(&reply, "x-user-id"), ["alice"]);
    assert_eq!(seen(&reply, "cookie"), ["theme=dark; lang=de"]);
    // Several fields are no HTTP/1.1 that a browser sends; what is ours goes all the same.
    let reply = world.h1(&crumbs);
    assert_eq!(seen(&reply, "x-user-id"), ["alice"]);
    assert_eq!(seen(&reply, "cookie"), ["theme=dark", "lang=de"]);

    let twice = Request::get("/orders")
        .field("cookie", &format!("sid={token}"))
        .field("cookie", "a=1")
        .field("cookie", &format!("sid={token}"));
    for reply in both(&world, &twice) {
        refused(&reply, 400, "token_ambiguous");
    }
}

#[test]
fn threat_30_a_second_token_is_refused_wherever_it_stands() {
    let world = world();
    let token = world.token();
    let eve = forge_subject(&token, "eve");
    let (header, cookie) = (format!("Bearer {token}"), format!("sid={token}"));
    let url = format!("/orders?access_token={token}");
    let ambiguous = [
        Request::get(&url)
            .field("authorization", &header)
            .field("cookie", &cookie),
        Request::get(&url).field("authorization", &header),
        Request::get(&url).field("cookie", &cookie),
        Request::get(&url).field("x-jwt", &eve),
        Request::get("/orders")
            .field("authorization", &header)
            .field("cookie", &cookie),
        Request::get("/orders")
            .field("authorization", &header)
            .field("x-auth", &format!("Token {eve}")),
        Request::get("/orders")
            .field("x-auth", &format!("Token {token}"))
            .field("x-auth", "Token a"),
        Request::get("/orders").field("cookie", &format!("{cookie}; sid={eve}")),
        Request::get(&format!("{url}&access_token={token}")),
        Request::get(&format!("{url}&%61ccess_token={eve}")),
        Request::get(&format!("{url}&access_token[]={eve}")),
        Request::get(&format!("{url}&ACCESS.TOKEN={eve}")),
    ];
    for request in ambiguous {
        for path in ["/orders", "/maybe", "/forwarding"] {
            let mut request = request.clone();
            request.path = request.path.replacen("/orders", path, 1);
            for reply in both(&world, &request) {
                refused(&reply, 400, "token_ambiguous");
                let challenge = reply.field("www-authenticate").unwrap();
                assert!(challenge.contains("invalid_request"), "{challenge}");
            }
        }
    }
    assert_eq!(world.echo.count(), 0, "nothing of this reached the API");
}

#[test]
fn threat_31_what_is_no_token_by_the_grammar_is_refused_even_where_none_is_needed() {
    let world = world();
    let token = world.token();
    let url = |query: String| Request::get(&format!("/maybe?{query}"));
    let field = |name: &str, value: String| Request::get("/maybe").field(name, &value);
    for request in [
        url("access_token=".into()),
        url("access_token".into()),
        url(format!("access_token=Bearer+{token}")),
        url(format!("access_token={}", token.replace('.', "%2E"))),
        url(format!("a=1;access_token={token}")),
        url(format!("access_token={token};a=1")),
        url(format!("access%20token={token}")),
        url(format!("Access_Token={token}")),
        field("cookie", "sid=".into()),
        field("cookie", format!("sid=\"{token}")),
        field("cookie", format!("a=1,sid={token}")),
        field("cookie", format!("%73id={token}")),
        field("x-auth", format!("Bearer {token}")),
        field("x-auth", token.clone()),
        field("x-auth", format!("Token  {token}")),
        field("x-jwt", format!("Bearer {token}")),
        field("x_jwt", token.clone()),
        field("X.Auth", format!("Token {token}")),
    ] {
        for reply in both(&world, &request) {
            refused(&reply, 401, "token_malformed");
        }
    }
    assert_eq!(world.echo.count(), 0, "nothing of this reached the API");
    // Names that only look like it, and values that are not looked at.
    for request in [
        url("token=x&access_tokens=y&q=access_token".into()),
        field("cookie", "SID=x; asid=y; a=\"sid=z\"".into()),
        field("authorization", "Basic YTpi".into()),
    ] {
        for reply in both(&world, &request) {
            assert_eq!(reply.status, 200, "{request:?}: {reply:?}");
            assert_eq!(seen(&reply, "x-user-id"), [""; 0]);
            for (name, value) in &request.fields {
                assert_eq!(seen(&reply, name), [value.as_str()]);
            }
        }
    }
}

#[test]
fn a_bad_token_is_refused_from_every_source() {
    let world = world();
    let eve = forge_subject(&world.token(), "eve");
    for path in ["/orders", "/maybe", "/forwarding"] {
        for request in carriers(path, &eve) {
            refused(&world.h1(&request), 401, "signature_invalid");
        }
    }
    refused(&world.h1(&Request::get("/orders")), 401, "token_missing");
    // A source that the route does not have is none.
    let token = world.token();
    refused(
        &world.h1(&Request::get(&format!("/usual?access_token={token}"))),
        401,
        "token_missing",
    );
    let cookie = Request::get("/usual").field("cookie", &format!("sid={token}"));
    refused(&world.h1(&cookie), 401, "token_missing");
}

#[test]
fn several_issuers_take_tokens_from_every_source() {
    let world = world();
    let second = Issuer::start(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()).unwrap();
    let key = SigningKey::generate("second", jsonwebtoken::Algorithm::EdDSA).unwrap();
    second.publish([&key]);
    let issuer = format!(
        "  other: {{ issuer: '{}', jwks: discover, audiences: [{AUDIENCE}], keys: {{ allow_http: true }} }}\nlisteners:\n",
        second.url()
    );
    let configuration = world
        .configuration(
            &routes().replace(
                "issuers: [corp], sources",
                "issuers: [corp, other], sources",
            ),
            "",
        )
        .replacen("listeners:\n", &issuer, 1);
    world.write(&configuration);
    world.reload().unwrap();
    crate::world::eventually("keys of the second issuer", || {
        world.status()["issuers"]
            .as_array()?
            .iter()
            .all(|one| one["keys"] == 1)
            .then_some(())
    });
    let bob = second.token("bob", AUDIENCE).sign(&key).unwrap();
    for (token, subject) in [(world.token(), "alice"), (bob, "bob")] {
        for path in ["/orders", "/maybe"] {
            for request in carriers(path, &token) {
                let reply = world.h1(&request);
                assert_eq!(reply.status, 200, "{request:?}: {reply:?}");
                assert_eq!(seen(&reply, "x-user-id"), [subject], "{request:?}");
                assert!(!all_seen(&reply).contains(&token), "{reply:?}");
            }
        }
    }
}

#[test]
fn a_cookie_changes_nothing_for_the_page_of_another_site() {
    let world = world();
    let token = world.token();
    let ours = format!("https://{}", world.target().authority());
    let cookie = |method: &str| {
        with_method(
            method,
            Request::get("/orders").field("cookie", &format!("sid={token}")),
        )
    };
    for method in ["POST", "PUT", "PATCH", "DELETE"] {
        for good in [
            cookie(method).field("origin", &ours),
            cookie(method)
                .field("origin", &ours)
                .field("sec-fetch-site", "same-origin"),
            cookie(method).field("sec-fetch-site", "same-origin"),
            cookie(method).field("referer", &format!("{ours}/page")),
        ] {
            for reply in both(&world, &good) {
                assert_eq!(reply.status, 200, "{good:?}: {reply:?}");
            }
        }
        for bad in [
            cookie(method),
            cookie(method).field("origin", "https://evil.test"),
            cookie(method).field("origin", &format!("https://{HOST}")),
            cookie(method).field("origin", &ours.replace("https", "http")),
            cookie(method).field("origin", "null"),
            cookie(method)
                .field("origin", &ours)
                .field("sec-fetch-site", "same-site"),
            cookie(method).field("referer", "https://evil.test/"),
        ] {
            for reply in both(&world, &bad) {
                refused(&reply, 403, "origin_mismatch");
                assert_eq!(reply.field("www-authenticate"), None);
            }
        }
    }
    for method in ["GET", "OPTIONS"] {
        let reply = world.h1(&cookie(method).field("origin", "https://evil.test"));
        assert_eq!(reply.status, 200, "reading is for CORS to guard");
    }
    // No browser sends these by itself.
    for request in carriers("/orders", &token) {
        if request.fields.iter().any(|(name, _)| name == "cookie") {
            continue;
        }
        let request = with_method("POST", request).field("origin", "https://evil.test");
        assert_eq!(world.h1(&request).status, 200, "{request:?}");
    }
}

#[test]
fn threat_72_answers_where_urls_hold_tokens_tell_no_referrer() {
    let world = world();
    let token = world.token();
    for path in ["/orders", "/maybe", "/forwarding"] {
        for reply in both(
            &world,
            &Request::get(&format!("{path}?access_token={token}")),
        ) {
            assert_eq!(reply.status, 200);
            assert_eq!(reply.field("referrer-policy"), Some("no-referrer"));
            assert_eq!(
                reply.field("cache-control"),
                Some("private"),
                "RFC 6750, section 2.3"
            );
        }
        for reply in both(&world, &Request::get(&format!("{path}?access_token=x"))) {
            refused(&reply, 401, "token_malformed");
            assert_eq!(reply.field("referrer-policy"), Some("no-referrer"));
        }
        for reply in both(
            &world,
            &Request::get(&format!("{path}/a%2Fb?access_token={token}")),
        ) {
            refused(&reply, 400, "path_refused");
            assert_eq!(reply.field("referrer-policy"), Some("no-referrer"));
        }
        let reply = world.h1(&Request::get(path).bearer(&token));
        assert_eq!(reply.field("referrer-policy"), Some("no-referrer"));
        assert_eq!(reply.field("cache-control"), None);
    }
    let reply = world.h1(&Request::get("/usual").bearer(&token));
    assert_eq!(
        reply.field("referrer-policy"),
        None,
        "nothing is expected in the URL"
    );
}

#[test]
fn threat_72_a_redirect_does_not_repeat_the_token() {
    let world = world();
    let token = world.token();
    let answer = format!(
        "HTTP/1.1 307 Temporary Redirect\r\nlocation: /forwarding/?access_token={token}&a=1\r\nlink: </x?next=%2Fy%3Faccess_token%3D{token}>\r\ncontent-length: 0\r\n\r\n"
    );
    // It ends with the process.
    let api = server(Box::leak(answer.into_bytes().into_boxed_slice()));
    let echo = world.echo.address().to_string();
    world.write(
        &world
            .configuration(&routes(), "")
            .replace(&echo, &api.to_string()),
    );
    world.reload().unwrap();
    for reply in both(
        &world,
        &Request::get(&format!("/forwarding?access_token={token}")),
    ) {
        assert_eq!(reply.status, 307);
        let location = reply.field("location").unwrap();
        assert!(
            location.starts_with("/forwarding/?access_token="),
            "{location}"
        );
        assert!(location.ends_with("&a=1"), "{location}");
        assert!(!format!("{reply:?}").contains(&token), "{reply:?}");
    }
}

/// What of a token must stand nowhere: its signature, and its claims.
fn secrets(token: &str) -> [&str; 2] {
    let mut parts = token.rsplit('.');
    [parts.next().unwrap(), parts.next().unwrap()]
}

#[test]
fn threat_72_no_token_is_written_anywhere() {
    let world = world();
    let token = world.token();
    let eve = forge_subject(&token, "eve");
    let mut paths: Vec<Request> = Vec::new();
    for one in [&token, &eve] {
        for path in ["/orders", "/maybe", "/forwarding", "/usual", "/nowhere"] {
            paths.extend(carriers(path, one));
        }
        let url = |text: &str| Request::get(&text.replace('@', one));
        paths.extend([
            url("/orders?access_token=@&access_token=@"),
            url("/orders?access_token=@;"),
            url("/orders?access.token=@"),
            url("/orders%3Faccess_token=@"),
            url("/orders%3faccess_token%3d@"),
            url("/orders;access_token=@"),
            url("/nowhere/@"),
            url("/a/../@?access_token=@"),
            url("/orders/%2F@?access_token=@"),
            url("/orders?access_token=@&x=\\"),
            with_method("POST", Request::get("/orders"))
                .field("cookie", &format!("sid={one}"))
                .field("referer", &format!("https://evil.test/?access_token={one}")),
            with_method("POST", Request::get("/orders"))
                .field("cookie", &format!("sid={one}"))
                .field("origin", &format!("https://evil.test/{one}")),
        ]);
    }
    let mut ids = Vec::new();
    for request in &paths {
        for reply in both(&world, request) {
            let shown = format!("{:?}", reply.fields);
            for secret in secrets(&token).into_iter().chain(secrets(&eve)) {
                assert!(!shown.contains(secret), "{request:?}: {shown}");
            }
            if reply.status != 200 {
                let body = all_seen(&reply);
                assert!(!body.contains("eyJ"), "{request:?}: {body}");
            }
            ids.push(reply.field("x-request-id").unwrap().to_owned());
        }
    }
    for id in &ids {
        let line = world.log_line(|line| line["request_id"] == id.as_str());
        let text = line.to_string();
        assert!(!text.contains("eyJ"), "{text}");
        assert!(
            line["path"]
                .as_str()
                .is_some_and(|path| !path.contains('?')),
            "{text}"
        );
    }
    let written = fs::read_to_string(world.folder.path().join("access.log")).unwrap();
    let metrics = world.probe("/metrics");
    let status = world.status().to_string();
    for secret in secrets(&token).into_iter().chain(secrets(&eve)) {
        for text in [&written, &metrics, &status] {
            assert!(!text.contains(secret), "{text}");
        }
    }
    // What identifies it is there.
    let accepted = world.h1(&Request::get(&format!("/orders?access_token={token}")));
    let id = accepted.field("x-request-id").unwrap();
    let line = world.log_line(|line| line["request_id"] == id);
    assert_eq!(line["token"].as_str().map(str::len), Some(12), "{line}");
}
