//! What pages of other origins may do, as browsers ask it and as attackers do.

use std::io::Write;

use tollgate_tests::client::{Reply, Request, read_reply};
use tollgate_tests::frames::{Frames, Message, Outcome};

use crate::world::{HOST, World, refused, seen};

const APP: &str = "https://app.test";

const ROUTES: &str = r#"
      - name: forwarding
        match: { path: /forwarding, methods: [GET, PUT] }
        token: { issuers: [corp], sources: [{ header: authorization }, { header: x-api-token }, { cookie: sid }, query] }
        require: { scopes: [orders:write] }
        inject: { x-fixed: { value: here } }
        cors: forward
        upstream: api
      - name: inside
        match: { path: /inside, methods: [PUT] }
        require: { scopes: [orders:write], expr: 'cidr("10.0.0.0/8").containsIP(source.address)' }
        cors: forward
        upstream: api
      - name: answering
        match: { path: /answering, methods: [GET, PUT] }
        cors: { origins: [https://app.test, "https://two.test:8443"], headers: [authorization, x-a], expose: [x-request-id], credentials: true, max_age: 5m }
        upstream: api
      - { name: by-url, match: { path: /by-url }, token: { issuers: [corp], sources: [query] }, cors: { origins: [https://app.test] }, upstream: api }
      - { name: anyone, match: { path: /anyone }, token: none, cors: { origins: ["*"] }, upstream: api }
      - { name: guarded, match: { path: /guarded, methods: [GET, PUT] }, upstream: api }
      - { name: whole, match: { path: /whole }, upstream: api }
"#;

fn world() -> World {
    World::with(ROUTES, "")
}

/// A preflight as browsers send it.
fn preflight(path: &str, origin: &str, method: &str) -> Request {
    let mut request = Request::get(path)
        .field("accept", "*/*")
        .field("access-control-request-method", method)
        .field("access-control-request-headers", "authorization")
        .field("origin", origin)
        .field("sec-fetch-mode", "cors");
    request.method = "OPTIONS".to_owned();
    request
}

fn both(world: &World, request: &Request) -> [Reply; 2] {
    [world.h1(request), world.h2(request)]
}

fn all<'r>(reply: &'r Reply, name: &str) -> Vec<&'r str> {
    let named = reply.fields.iter().filter(|(one, _)| one == name);
    named.map(|(_, value)| value.as_str()).collect()
}

#[test]
fn tollgate_answers_for_the_api() {
    let world = world();
    for origin in [APP, "https://two.test:8443"] {
        for reply in both(&world, &preflight("/answering/x", origin, "PUT")) {
            assert_eq!((reply.status, reply.body.len()), (204, 0), "{reply:?}");
            for (name, value) in [
                ("access-control-allow-origin", origin),
                ("access-control-allow-methods", "PUT"),
                ("access-control-allow-headers", "authorization"),
                ("access-control-allow-credentials", "true"),
                ("access-control-max-age", "300"),
            ] {
                assert_eq!(all(&reply, name), [value], "{name}");
            }
            let vary = all(&reply, "vary").join(", ");
            assert_eq!(
                vary,
                "access-control-request-method, access-control-request-headers, origin"
            );
        }
    }
    for reply in both(&world, &preflight("/by-url?access_token=x", APP, "GET")) {
        assert_eq!(reply.status, 204, "{reply:?}");
        assert_eq!(reply.field("referrer-policy"), Some("no-referrer"));
    }
    let line = world.log_line(|line| line["method"] == "OPTIONS");
    assert_eq!(
        (line["route"].as_str(), line["status"].as_u64()),
        (Some("answering"), Some(204))
    );
    for (request, may_read) in [
        (preflight("/answering", "https://evil.test", "PUT"), false),
        (preflight("/answering", "http://app.test", "PUT"), false),
        (
            preflight("/answering", "https://app.test.evil.test", "PUT"),
            false,
        ),
        (
            preflight("/answering", APP, "PUT")
                .field("access-control-request-private-network", "true"),
            true,
        ),
    ] {
        for reply in both(&world, &request) {
            match may_read {
                true => assert_eq!(reply.status, 204),
                false => refused(&reply, 403, "cors_denied"),
            }
            let origin = all(&reply, "access-control-allow-origin");
            assert_eq!(!origin.is_empty(), may_read, "{reply:?}");
        }
    }
    let mut foreign_header = preflight("/answering", APP, "PUT");
    foreign_header.fields[2].1 = "authorization,x-b".to_owned();
    for reply in both(&world, &foreign_header) {
        refused(&reply, 403, "cors_denied");
    }
    assert_eq!(world.echo.count(), 0, "no preflight reached the API");
}

#[test]
fn a_page_can_read_its_answers_and_its_refusals() {
    let world = world();
    let get = |path: &str| Request::get(path).field("origin", APP);
    let token = world.token();
    for (request, status) in [
        (get("/answering").bearer(&token), 200),
        (get("/answering"), 401),
        (get("/answering").bearer("x"), 401),
    ] {
        for reply in both(&world, &request) {
            assert_eq!(reply.status, status, "{reply:?}");
            assert_eq!(all(&reply, "access-control-allow-origin"), [APP]);
            assert_eq!(all(&reply, "access-control-allow-credentials"), ["true"]);
            assert_eq!(
                all(&reply, "access-control-expose-headers"),
                ["x-request-id"]
            );
            assert!(all(&reply, "vary").contains(&"origin"), "{reply:?}");
        }
    }
    for origin in ["https://evil.test", "null", "https://app.test/"] {
        let request = Request::get("/answering")
            .bearer(&token)
            .field("origin", origin);
        for reply in both(&world, &request) {
            assert_eq!(reply.status, 200);
            assert_eq!(reply.field("access-control-allow-origin"), None, "{origin}");
            assert_eq!(all(&reply, "vary"), ["origin"]);
        }
    }
    for reply in both(
        &world,
        &Request::get("/anyone").field("origin", "https://evil.test"),
    ) {
        assert_eq!(all(&reply, "access-control-allow-origin"), ["*"]);
        assert_eq!(reply.field("access-control-allow-credentials"), None);
    }
    // With all origins, that of a page without one counts as well, and for its preflights too.
    for reply in both(&world, &Request::get("/anyone").field("origin", "null")) {
        assert_eq!(all(&reply, "access-control-allow-origin"), ["*"]);
    }
    for reply in both(&world, &preflight("/anyone", "null", "PUT")) {
        assert_eq!(reply.status, 204, "{reply:?}");
        assert_eq!(all(&reply, "access-control-allow-origin"), ["*"]);
    }
    for reply in both(&world, &preflight("/answering", "null", "PUT")) {
        assert!((400..500).contains(&reply.status), "{reply:?}");
    }
    for path in ["/guarded", "/forwarding"] {
        let reply = world.h1(&get(path));
        assert_eq!(
            (reply.status, reply.field("access-control-allow-origin")),
            (401, None)
        );
    }
}

/// Nobody is named for a question, so scopes are not asked for; what the route requires of the request is.
#[test]
fn threat_45_a_preflight_meets_what_is_required_of_the_request() {
    let world = world();
    for reply in both(&world, &preflight("/inside", APP, "PUT")) {
        refused(&reply, 403, "policy_denied");
    }
    assert_eq!(world.echo.count(), 0);
}

/// What an operator sets and removes does not undo who may read an answer, nor what caches are told of that.
#[test]
fn rules_for_answers_do_not_undo_sharing() {
    let world = world();
    let token = world.token();
    let configuration = world.configuration(ROUTES, "");
    let name = "- name: answering\n";
    assert_eq!(configuration.matches(name).count(), 1);
    for (rules, told) in [
        ("remove: [vary]", &["origin"][..]),
        (
            "set: { vary: accept-language }",
            &["accept-language", "origin"],
        ),
    ] {
        let ruled = format!("{name}        response: {{ {rules} }}\n");
        world.write(&configuration.replace(name, &ruled));
        world.reload().unwrap();
        let get = |origin: &str| Request::get("/answering").field("origin", origin);
        for (request, status, reader) in [
            (get(APP).bearer(&token), 200, Some(APP)),
            (get(APP), 401, Some(APP)),
            (get("https://evil.test").bearer(&token), 200, None),
            (get("https://evil.test"), 401, None),
        ] {
            for reply in both(&world, &request) {
                assert_eq!(reply.status, status, "{reply:?}");
                // A refusal says itself that it is in the form that `Accept` asks for.
                let told = if status == 200 {
                    told
                } else {
                    &["accept", "origin"]
                };
                assert_eq!(all(&reply, "vary"), told, "{rules}: {reply:?}");
                assert_eq!(reply.field("access-control-allow-origin"), reader);
            }
        }
        for reply in both(&world, &preflight("/answering", APP, "PUT")) {
            assert_eq!(reply.status, 204);
            assert!(all(&reply, "vary").contains(&"origin"), "{reply:?}");
        }
    }
}

#[test]
fn threat_45_a_preflight_reaches_the_api_without_identity() {
    let world = world();
    let request = preflight("/forwarding/a?page=2", APP, "PUT")
        .field("x-user-id", "eve")
        .field("x_fixed", "eve")
        .field("x-forwarded-for", "203.0.113.9")
        .field("x-http-method-override", "PUT");
    for reply in both(&world, &request) {
        assert_eq!(reply.status, 200, "{reply:?}");
        let echo = reply.json();
        assert_eq!(
            (
                echo["method"].as_str(),
                echo["path"].as_str(),
                echo["query"].as_str()
            ),
            (Some("OPTIONS"), Some("/forwarding/a"), Some("page=2"))
        );
        assert_eq!(reply.field("referrer-policy"), Some("no-referrer"));
        assert_eq!(seen(&reply, "origin"), [APP]);
        assert_eq!(seen(&reply, "access-control-request-method"), ["PUT"]);
        assert_eq!(seen(&reply, "x-forwarded-for"), ["127.0.0.1"]);
        for name in ["x-user-id", "x_fixed", "x-fixed", "x-http-method-override"] {
            assert_eq!(seen(&reply, name), [""; 0], "{name}");
        }
    }
    assert_eq!(world.echo.count(), 2);
    // The request that was asked for still needs its token, from the same page or any other.
    let mut real = Request::get("/forwarding/a").field("origin", APP);
    real.method = "PUT".to_owned();
    for reply in both(&world, &real) {
        refused(&reply, 401, "token_missing");
    }
    assert_eq!(world.echo.count(), 2);
}

/// threats.md 45: no request but a preflight passes for one, and none passes where the route has not said so.
#[test]
fn threat_45_what_is_not_exactly_a_preflight_needs_a_token() {
    let world = world();
    let token = world.token();
    let real = || preflight("/forwarding", APP, "PUT");
    let altered = |name: &str, value: &str| {
        let mut request = real();
        let field = request.fields.iter_mut().find(|(one, _)| one == name);
        field.unwrap().1 = value.to_owned();
        request
    };
    let without = |name: &str| {
        let mut request = real();
        request.fields.retain(|(one, _)| one != name);
        request
    };
    let by = |method: &str| Request {
        method: method.to_owned(),
        ..real()
    };
    let with_body = |body: &'static str| Request {
        body: body.into(),
        ..real()
    };
    let mut on_query = real();
    on_query.path = format!("/forwarding?access_token={token}");
    for request in [
        by("GET"),
        by("PUT"),
        by("POST"),
        without("origin"),
        without("access-control-request-method"),
        real().field("origin", APP),
        real().field("access-control-request-method", "PUT"),
        real().field("access-control-request-headers", "x"),
        altered("origin", "null"),
        altered("origin", "https://app.test/"),
        altered("origin", "*"),
        altered("access-control-request-method", "PUT, GET"),
        altered("access-control-request-method", "TRACE"),
        // Not a method of the route.
        altered("access-control-request-method", "DELETE"),
        altered("access-control-request-method", "put"),
        altered("access-control-request-headers", "a b"),
        altered("access-control-request-headers", ""),
        with_body("x"),
        real().bearer("a.b.c"),
        real().field("authorization", "Basic YTpi"),
        real().field("x-api-token", "a.b.c"),
        real().field("x_api_token", "a.b.c"),
        real().field("cookie", "sid=a.b.c"),
        real().field("cookie", "other=1"),
        real().field("expect", "100-continue"),
        on_query,
        preflight("/guarded", APP, "PUT"),
        preflight("/whole", APP, "PUT"),
        preflight("/nowhere", APP, "PUT"),
    ] {
        for reply in both(&world, &request) {
            assert!((400..500).contains(&reply.status), "{request:?}: {reply:?}");
            assert_eq!(reply.field("access-control-allow-origin"), None);
        }
    }
    assert_eq!(world.echo.count(), 0, "nothing of this reached the API");
    // With a token for it OPTIONS is a request as any other.
    let reply = world.h1(&preflight("/whole", APP, "PUT").bearer(&token));
    assert_eq!(
        (reply.status, seen(&reply, "x-user-id")),
        (200, vec!["alice".to_owned()])
    );
}

/// threats.md 45: a route that names OPTIONS guards it, unless the other one is closer to the request.
#[test]
fn threat_45_a_route_for_options_is_not_walked_around() {
    let world = World::with(
        "
      - { name: far, match: { path: /a, methods: [PUT] }, cors: forward, upstream: api }
      - { name: guard, match: { path: /a/b, methods: [OPTIONS] }, upstream: api }
      - { name: near, match: { path: /a/b/c, methods: [PUT] }, cors: forward, upstream: api }
      - { name: same, match: { path: /a/b, methods: [PUT] }, cors: forward, upstream: api }
      - { name: both, match: { path: /a/b/d, methods: [PUT, OPTIONS] }, cors: forward, upstream: api }
      - { name: laxer, match: { path: /lax, methods: [PUT] }, cors: forward, path_normalization: { encoded_slash: keep }, upstream: api }
      - { name: stricter, match: { path: /lax/guard, methods: [OPTIONS] }, upstream: api }
",
        "",
    );
    for (path, status) in [
        ("/a", 200),
        ("/a/b", 401),
        ("/a/b/c", 200),
        ("/a/b/d", 200),
        ("/a/b/e", 401),
        // What the guard refuses for its path is refused as well: the laxer route behind it would keep the slash.
        ("/lax/x%2Fy", 200),
        ("/lax/guard/x", 401),
        ("/lax/guard/x%2Fy", 400),
    ] {
        for reply in both(&world, &preflight(path, APP, "PUT")) {
            assert_eq!(reply.status, status, "{path}: {reply:?}");
        }
    }
}

/// threats.md 45, as bytes.
#[test]
fn threat_45_a_body_by_any_framing_makes_it_another_request() {
    let world = world();
    let head = "OPTIONS /forwarding HTTP/1.1\r\nhost: api.test\r\norigin: https://app.test\r\naccess-control-request-method: PUT\r\n";
    for rest in [
        "content-length: 5\r\n\r\nhello",
        "transfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "connection: origin\r\n\r\n",
        "connection: upgrade\r\nupgrade: websocket\r\n\r\n",
        "content-length: 0\r\nauthorization:\r\n\r\n",
        "ORIGIN: https://app.test\r\n\r\n",
        "Access_Control_Request_Method: GET\r\n\r\n",
    ] {
        let mut stream = world.target().tls(&["http/1.1"]).unwrap();
        stream
            .write_all(format!("{head}{rest}").as_bytes())
            .unwrap();
        let reply = read_reply(&mut stream).unwrap();
        refused(&reply, 405, "method_not_allowed");
    }
    assert_eq!(world.echo.count(), 0);
    let message = || {
        Message::new("OPTIONS", HOST, "/forwarding")
            .field("origin", APP)
            .field("access-control-request-method", "PUT")
    };
    // Over HTTP/2 a body needs no field to be announced.
    let with_body = Message {
        body: b"hello".to_vec(),
        ..message()
    };
    let with_trailers = Message {
        trailers: vec![(b"x-end".to_vec(), b"1".to_vec())],
        ..message()
    };
    for (message, status) in [
        (with_body, 405),
        (with_trailers, 405),
        (message().field("cookie", "a=1").field("cookie", "b=2"), 405),
        (message().field("origin", APP), 405),
        (message().field("content-length", "0"), 200),
        (message(), 200),
    ] {
        let outcome = Frames::connect(&world.target())
            .unwrap()
            .send(&message)
            .unwrap();
        let Outcome::Answered(answered, body) = outcome else {
            panic!("{message:?}: {outcome:?}");
        };
        assert_eq!(
            answered,
            status,
            "{message:?}: {}",
            String::from_utf8_lossy(&body)
        );
    }
    assert_eq!(world.echo.count(), 2);
    for rest in [
        "\r\n",
        "content-length: 0\r\n\r\n",
        "connection: keep-alive\r\n\r\n",
    ] {
        let mut stream = world.target().tls(&["http/1.1"]).unwrap();
        stream
            .write_all(format!("{head}{rest}").as_bytes())
            .unwrap();
        assert_eq!(read_reply(&mut stream).unwrap().status, 200, "{rest:?}");
    }
}
