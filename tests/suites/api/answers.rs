//! What Tollgate answers itself.

use serde_json::json;
use tollgate_tests::client::{Reply, Request};

use crate::world::{World, refused};

fn request(method: &str, path: &str) -> Request {
    Request {
        method: method.to_owned(),
        ..Request::get(path)
    }
}

/// By both protocols.
fn both(world: &World, request: &Request) -> [Reply; 2] {
    [world.h1(request), world.h2(request)]
}

const RESOURCE: &str =
    "resource: { identifier: 'https://api.test/v1', documentation: 'https://docs.test/api' }";

const METADATA: &str = "/.well-known/oauth-protected-resource/v1";

#[test]
fn a_resource_publishes_whose_tokens_it_takes() {
    let world = World::with_listener(
        RESOURCE,
        "
      - { name: a, match: { path: /a }, require: { scopes: [w, r] }, upstream: api }
      - { name: b, match: { path: /b }, token: { issuers: [corp], sources: [query, { cookie: c }] }, require: { scopes: [r] }, upstream: api }
      - { name: open, match: { path: / }, token: none, upstream: api }
      - { name: elsewhere, match: { hosts: ['*.wild.test'], path: /a }, token: { issuers: [corp], sources: [{ header: authorization, scheme: JWT }] }, require: { scopes: [other] }, upstream: api }
      - { name: named, match: { hosts: ['*.test'], path: /c }, require: { scopes: [s] }, upstream: api }
      - { name: own, match: { hosts: [a.wild.test], path: { exact: /.well-known/oauth-protected-resource/v1 } }, token: none, upstream: api }
",
    );
    let expected = json!({
        "resource": "https://api.test/v1",
        "authorization_servers": [world.issuer.url()],
        "scopes_supported": ["r", "s", "w"],
        "bearer_methods_supported": ["header", "query"],
        "resource_documentation": "https://docs.test/api",
    });
    for reply in both(&world, &Request::get(METADATA)) {
        assert_eq!(reply.status, 200);
        assert_eq!(reply.json(), expected);
        assert_eq!(reply.field("content-type"), Some("application/json"));
        assert_eq!(reply.field("cache-control"), Some("max-age=300"));
        assert_eq!(reply.field("access-control-allow-origin"), Some("*"));
        assert_eq!(reply.field("x-content-type-options"), Some("nosniff"));
    }
    let length = expected.to_string().len().to_string();
    for reply in both(&world, &request("HEAD", METADATA)) {
        assert_eq!((reply.status, reply.body.len()), (200, 0));
        assert_eq!(reply.field("content-length"), Some(length.as_str()));
    }
    for reply in both(&world, &request("OPTIONS", METADATA)) {
        assert_eq!((reply.status, reply.body.len()), (204, 0));
        assert_eq!(reply.field("access-control-allow-headers"), Some("*"));
    }
    for reply in both(&world, &request("POST", METADATA)) {
        refused(&reply, 405, "method_not_allowed");
        assert_eq!(reply.field("allow"), Some("GET, HEAD, OPTIONS"));
    }
    assert_eq!(world.echo.count(), 0);
    // Neither another resource's document nor another host's: those are the API's own.
    for path in [
        "/.well-known/oauth-protected-resource",
        "/.well-known/oauth-protected-resource/v1/x",
    ] {
        assert_eq!(world.h1(&Request::get(path)).json()["path"], path);
    }
    let elsewhere = world.target_for("a.wild.test");
    let reply = elsewhere.h1(&Request::get(METADATA)).unwrap();
    assert_eq!(reply.json()["path"], METADATA);
}

#[test]
fn a_refusal_to_head_has_the_length_of_its_body_and_no_body() {
    let world = World::new();
    for reply in both(&world, &request("HEAD", "/orders")) {
        assert_eq!((reply.status, reply.body.len()), (401, 0), "{reply:?}");
        let length: usize = reply.field("content-length").unwrap().parse().unwrap();
        assert!(length > 50, "{reply:?}");
    }
    // The connection is in step: what follows is read as itself.
    let requests = [request("HEAD", "/orders"), Request::get("/open")];
    let replies = world.target().h2(&requests).unwrap();
    assert_eq!((replies[0].status, replies[1].status), (401, 200));
}

/// What browsers ask for when a person follows a link.
const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8,application/signed-exchange;v=b3;q=0.7";

#[test]
fn a_browser_gets_a_page_and_a_program_a_document() {
    let world = World::new();
    for (path, status, reason) in [
        ("/orders", 401, "token_missing"),
        ("/nowhere", 404, "no_route"),
        // Refused before there is a head to decide on.
        ("/a%2fb", 400, "path_refused"),
    ] {
        let ask = |accept: &str| both(&world, &Request::get(path).field("accept", accept));
        for reply in ask(BROWSER) {
            assert_eq!(reply.status, status);
            assert_eq!(
                reply.field("content-type"),
                Some("text/html; charset=utf-8")
            );
            assert_eq!(reply.field("x-content-type-options"), Some("nosniff"));
            assert_eq!(reply.field("vary"), Some("accept"));
            assert_eq!(reply.field("cache-control"), Some("no-store"));
            let policy = reply.field("content-security-policy").unwrap();
            assert!(
                policy.starts_with("default-src 'none'; style-src 'sha256-"),
                "{policy}"
            );
            let page = String::from_utf8(reply.body.to_vec()).unwrap();
            assert!(page.starts_with("<!doctype html>\n"), "{page}");
            assert!(page.contains(&format!("<code>{reason}</code>")), "{page}");
            assert!(
                page.contains(reply.field("x-request-id").unwrap()),
                "{page}"
            );
        }
        for accept in [
            "*/*",
            "application/problem+json",
            "image/png",
            "text/html;q=0.1, */*",
        ] {
            for reply in ask(accept) {
                refused(&reply, status, reason);
            }
        }
        for reply in ask("application/json") {
            assert_eq!(reply.field("content-type"), Some("application/json"));
            assert_eq!(reply.json()["reason"], reason);
        }
        for reply in ask("text/plain") {
            assert_eq!(
                reply.field("content-type"),
                Some("text/plain; charset=utf-8")
            );
            let text = String::from_utf8(reply.body.to_vec()).unwrap();
            assert!(text.contains(&format!("\nreason: {reason}\n")), "{text}");
        }
    }
    // The API's own answers are its own.
    let reply = world.h1(&Request::get("/open").field("accept", BROWSER));
    assert_eq!(
        (reply.status, reply.field("content-security-policy")),
        (200, None)
    );
}

#[test]
fn the_operator_has_a_word_in_refusals() {
    let world = World::with(
        "
      - { name: a, match: { path: /a }, refusal: { text: { token_missing: 'Sign in at <https://login.test>.' } }, upstream: api }
      - { name: b, match: { path: /b }, upstream: api }
",
        "",
    );
    let configuration = world.configuration(
        "
      - { name: a, match: { path: /a }, refusal: { text: { token_missing: 'Sign in at <https://login.test>.' } }, upstream: api }
      - { name: b, match: { path: /b }, upstream: api }
",
        "",
    );
    let defaults = "    defaults:\n";
    assert_eq!(configuration.matches(defaults).count(), 1);
    let texts = "    defaults:\n      refusal: { text: { no_route: \"Nothing here.\", default: \"Call 42.\" } }\n";
    world.write(&configuration.replacen(defaults, texts, 1));
    world.reload().unwrap();
    let bad = Request::get("/a").bearer("x");
    for (request, detail) in [
        (Request::get("/a"), "Sign in at <https://login.test>."),
        (bad, "Call 42."),
        (Request::get("/b"), "Call 42."),
        (Request::get("/c"), "Nothing here."),
        (Request::get("/b%2f"), "Call 42."),
    ] {
        for reply in both(&world, &request) {
            assert_eq!(reply.json()["detail"], detail, "{reply:?}");
        }
    }
    let page = world.h1(&Request::get("/a").field("accept", "text/html"));
    let page = String::from_utf8(page.body.to_vec()).unwrap();
    let paragraph = "<p lang=\"\">Sign in at &lt;https://login.test&gt;.</p>";
    assert!(page.contains(paragraph), "{page}");
}

#[test]
fn a_refused_client_learns_what_it_is_asked_for() {
    let world = World::with_listener(
        RESOURCE,
        "
      - { name: a, match: { path: /a }, require: { scopes: [orders:read, orders:write] }, upstream: api }
      - { name: b, match: { path: /b }, token: { issuers: [corp], sources: [{ cookie: sid }, { header: x-api-token }] }, upstream: api }
      - { name: c, match: { path: /c }, token: { issuers: [corp], sources: [{ header: authorization, scheme: JWT }] }, upstream: api }
      - { name: public, match: { path: /public }, token: none, require: { expr: request.method == 'POST' }, upstream: api }
",
    );
    let metadata = "resource_metadata=\"https://api.test/.well-known/oauth-protected-resource/v1\"";
    let token = world
        .claims()
        .claim("scope", "orders:read")
        .sign(&world.key)
        .unwrap();
    let without = |path: &str| Request::get(path);
    for (request, status, expected) in [
        (without("/a"), 401, format!("Bearer {metadata}")),
        (without("/b"), 401, format!("Bearer {metadata}")),
        (without("/c"), 401, format!("jwt {metadata}")),
        (
            without("/a").bearer(&token),
            403,
            format!(
                "Bearer error=\"insufficient_scope\", error_description=\"scope_insufficient: The token lacks a scope that is required here.\", scope=\"orders:read orders:write\", {metadata}"
            ),
        ),
    ] {
        for reply in both(&world, &request) {
            assert_eq!(reply.status, status, "{reply:?}");
            assert_eq!(reply.field("www-authenticate"), Some(expected.as_str()));
        }
    }
    // Nothing is asked of whom a token does not help.
    for reply in both(&world, &without("/public")) {
        refused(&reply, 403, "policy_denied");
        assert_eq!(reply.field("www-authenticate"), None);
    }
    // Under another host it is another resource, whose clients would throw this one's metadata away.
    for path in ["/a", "/b"] {
        let reply = world.target_for("a.wild.test").h1(&without(path)).unwrap();
        assert_eq!(
            (reply.status, reply.field("www-authenticate")),
            (401, Some("Bearer"))
        );
    }
    for reply in both(&world, &without("/nowhere")) {
        assert_eq!((reply.status, reply.field("www-authenticate")), (404, None));
    }
}

/// A field of 8 KiB that means nothing costs its length and no more; the answer is the usual one.
#[test]
fn a_hostile_accept_is_as_none() {
    let world = World::new();
    for accept in [
        format!("text/html{}", ",*/*;q=0.1".repeat(800)),
        ";".repeat(8192),
        "\"".repeat(8192),
        "text/html;q=1;q=1".to_owned(),
    ] {
        for reply in both(&world, &Request::get("/orders").field("accept", &accept)) {
            refused(&reply, 401, "token_missing");
        }
    }
}
