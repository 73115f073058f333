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
",
    );
    let expected = json!({
        "resource": "https://api.test/v1",
        "authorization_servers": [world.issuer.url()],
        "scopes_supported": ["r", "w"],
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
