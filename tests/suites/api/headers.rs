//! What the API is told. What a client cannot tell it stands in `hostile`.

use serde_json::json;
use tollgate_tests::client::Request;

use crate::world::{World, refused, seen};

#[test]
fn claims_are_encoded_as_configured() {
    let world = World::new();
    let token = world
        .claims()
        .claim("groups", json!(["app-a", "other", "app-b,c"]))
        .claim("profile", json!({ "name": "Zoë" }))
        .claim("https://example.com/tenant", json!({ "id": "acme" }))
        .sign(&world.key)
        .unwrap();
    let reply = world.h1(&Request::get("/orders").bearer(&token));
    assert_eq!(seen(&reply, "x-groups"), ["app-a,app-b%2Cc"]);
    assert_eq!(seen(&reply, "x-profile"), [r#"{"name":"Zo\u00eb"}"#]);
    assert_eq!(seen(&reply, "x-tenant"), ["acme"]);
    assert_eq!(seen(&reply, "x-blob").len(), 1);

    let hostile = world
        .claims()
        .claim("sub", "eve\r\nx-admin: 1")
        .sign(&world.key)
        .unwrap();
    refused(
        &world.h1(&Request::get("/orders").bearer(&hostile)),
        403,
        "claim_unencodable",
    );
    let huge = world
        .claims()
        .claim("sub", "x".repeat(9000))
        .sign(&world.key)
        .unwrap();
    refused(
        &world.h1(&Request::get("/orders").bearer(&huge)),
        431,
        "identity_too_large",
    );
}

#[test]
fn templates_and_texts_are_written_as_configured() {
    let world = World::with(
        r#"
      - name: orders
        match: { path: /orders }
        inject:
          x-who: { template: '{sub}@{["https://example.com/tenant", "id"]}' }
          x-zone: { value: "orders eu" }
        upstream: api
      - { name: open, match: { path: /open }, token: none, inject: { x-zone: { value: open } }, upstream: api }
      - { name: maybe, match: { path: /maybe }, token: { issuers: [corp], required: false }, inject: { x-zone: { value: maybe } }, upstream: api }
"#,
        "",
    );
    let token = |sub: &str| {
        world
            .claims()
            .claim("sub", sub)
            .claim("https://example.com/tenant", json!({ "id": "acme" }))
            .sign(&world.key)
            .unwrap()
    };
    // Twice: the second finds the headers ready.
    for _ in 0..2 {
        let request = Request::get("/orders").bearer(&token("a@evil"));
        for reply in [world.h1(&request), world.h2(&request)] {
            assert_eq!(seen(&reply, "x-who"), ["a%40evil@acme"]);
            assert_eq!(seen(&reply, "x-zone"), ["orders eu"]);
        }
    }
    // Without the tenant nothing is said of the user either.
    let reply = world.h1(&Request::get("/orders").bearer(&world.token()));
    assert_eq!(seen(&reply, "x-who"), [""; 0]);
    assert_eq!(seen(&reply, "x-zone"), ["orders eu"]);
    // A text of the route is said with a token and without; what the client says under its name is gone.
    for (path, bearer, zone) in [
        ("/open", None, "open"),
        ("/open", Some(token("a")), "open"),
        ("/maybe", None, "maybe"),
        ("/maybe", Some(token("a")), "maybe"),
    ] {
        let mut request = Request::get(path)
            .field("x_zone", "forged")
            .field("x-who", "forged");
        if let Some(bearer) = bearer {
            request = request.bearer(&bearer);
        }
        for reply in [world.h1(&request), world.h2(&request)] {
            assert_eq!(seen(&reply, "x-zone"), [zone], "{path}");
            assert_eq!(seen(&reply, "x-who"), [""; 0], "{path}");
            assert!(!String::from_utf8_lossy(&reply.body).contains("forged"));
        }
    }
}

#[test]
fn threat_38_who_the_client_is_comes_from_us() {
    let world = World::new();
    let mut request = Request::get("/open").field("x-request-id", "mine");
    for name in [
        "x-forwarded-for",
        "X_Forwarded_For",
        "forwarded",
        "x-real-ip",
        "client-cert",
        "x-forwarded-client-cert",
        "x-original-url",
    ] {
        request = request.field(name, "for=203.0.113.9");
    }
    let reply = world.h1(&request);
    assert_eq!(seen(&reply, "x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(seen(&reply, "x-forwarded-proto"), ["https"]);
    assert_eq!(
        seen(&reply, "x-forwarded-host"),
        [world.target().authority()]
    );
    assert_eq!(
        seen(&reply, "x-request-id"),
        [reply.field("x-request-id").unwrap()]
    );
    assert!(
        !String::from_utf8_lossy(&reply.body).contains("203.0.113.9"),
        "{reply:?}"
    );
}

#[test]
fn other_fields_query_and_body_arrive_untouched() {
    let world = World::new();
    let mut request = Request::get("/open/a%20b?x=1&y=%2F")
        .field("x-custom", "one")
        .field("x-custom", "two");
    request.method = "POST".to_owned();
    request.body = b"0123456789".to_vec().into();
    for reply in [world.h1(&request), world.h2(&request)] {
        let echo = reply.json();
        assert_eq!(echo["path"], "/open/a%20b");
        assert_eq!(echo["query"], "x=1&y=%2F");
        assert_eq!(echo["body_len"], 10);
        assert_eq!(seen(&reply, "x-custom"), ["one", "two"]);
        assert_eq!(
            echo["host"].as_str(),
            Some(world.target().authority().as_str())
        );
    }
}
