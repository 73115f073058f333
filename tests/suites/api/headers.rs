//! What the API is told, and what a client cannot tell it (threats 32 to 38).

use serde_json::json;
use tollgate_tests::client::Request;

use crate::world::{World, refused, seen};

/// Spellings that some server folds into `X-User-Id`.
const ALIASES: [&str; 6] = [
    "X-User-Id",
    "x-user-id",
    "X_User_Id",
    "x.user.id",
    "X-USER_ID",
    "xuserid",
];

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
fn threat_32_33_34_no_alias_reaches_the_api_on_any_route() {
    let world = World::new();
    let token = world.token();
    let anonymous = world.claims().without("sub").sign(&world.key).unwrap();
    for (path, bearer, expected) in [
        ("/orders", Some(&token), &["alice"][..]),
        ("/orders", Some(&anonymous), &[]),
        ("/maybe", None, &[]),
        ("/open", None, &[]),
        ("/open", Some(&token), &[]),
    ] {
        let mut request = Request::get(path);
        for alias in ALIASES {
            request = request.field(alias, "eve").field(alias, "mallory");
        }
        if let Some(bearer) = bearer {
            request = request.bearer(bearer);
        }
        for reply in [world.h1(&request), world.h2(&lower(&request))] {
            assert_eq!(reply.status, 200, "{reply:?}");
            let seen = &reply.json()["headers"];
            let aliases: Vec<_> = seen
                .as_array()
                .unwrap()
                .iter()
                .filter(|field| fold(field[0].as_str().unwrap()) == "xuserid")
                .map(|field| field[1].as_str().unwrap())
                .collect();
            assert_eq!(aliases, expected, "{path}");
        }
    }
}

#[test]
fn threat_35_connection_cannot_take_an_injected_header_away() {
    let world = World::new();
    let request = Request::get("/orders")
        .field("connection", "keep-alive, x-user-id, \"x-groups\", TE")
        .field("te", "trailers")
        .bearer(&world.token());
    let reply = world.h1(&request);
    assert_eq!(seen(&reply, "x-user-id"), ["alice"]);
    for gone in [
        "connection",
        "te",
        "keep-alive",
        "proxy-connection",
        "upgrade",
    ] {
        assert_eq!(seen(&reply, gone), [""; 0], "{gone} is for this hop only");
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

fn fold(name: &str) -> String {
    name.chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|c| c.to_ascii_lowercase())
        .collect()
}

/// HTTP/2 has lower-case names only.
fn lower(request: &Request) -> Request {
    let mut request = request.clone();
    for (name, _) in &mut request.fields {
        name.make_ascii_lowercase();
    }
    request
}
