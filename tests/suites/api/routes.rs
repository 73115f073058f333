//! Which route a request takes.

use tollgate_tests::client::Request;

use crate::world::{World, refused};

const TABLE: &str = r#"
      - { name: any, match: { path: / }, token: none, upstream: api }
      - { name: admin, match: { path: /admin }, upstream: api }
      - { name: exact, match: { path: { exact: /admin/ping } }, token: none, upstream: api }
      - { name: posts, match: { path: /things, methods: [POST] }, token: none, upstream: api }
      - { name: template, match: { path: { template: "/u/{id}/photo" } }, token: none, upstream: api }
      - { name: host, match: { hosts: [second.test] }, token: none, upstream: api }
      - { name: wild, match: { hosts: ["*.wild.test"], path: /w }, token: none, upstream: api }
      - { name: dead, match: { path: /dead }, token: none, upstream: nobody }
"#;

fn route_of(world: &World, host: &str, path: &str) -> String {
    let reply = world.target_for(host).h1(&Request::get(path)).unwrap();
    let id = reply.field("x-request-id").unwrap().to_owned();
    let line = world.log_line(|line| line["request_id"] == id.as_str());
    line["route"].as_str().unwrap_or("-").to_owned()
}

#[test]
fn the_most_specific_route_wins() {
    let world = World::with(TABLE, "");
    for (host, path, route) in [
        ("api.test", "/", "any"),
        ("api.test", "/admin", "admin"),
        ("api.test", "/admin/x", "admin"),
        ("api.test", "/administrator", "any"),
        ("api.test", "/admin/ping", "exact"),
        ("api.test", "/u/7/photo", "template"),
        ("api.test", "/u/7/photo/x", "any"),
        ("second.test", "/admin", "host"),
        ("a.wild.test", "/w", "wild"),
        ("a.wild.test", "/x", "any"),
    ] {
        assert_eq!(route_of(&world, host, path), route, "{host}{path}");
    }
}

#[test]
fn nothing_matches() {
    let world = World::new();
    refused(&world.h1(&Request::get("/elsewhere")), 404, "no_route");
    let world = World::with(
        "\n      - { name: posts, match: { path: /things, methods: [POST, PUT] }, token: none, upstream: api }",
        "",
    );
    let reply = world.h1(&Request::get("/things"));
    refused(&reply, 405, "method_not_allowed");
    let mut allowed: Vec<&str> = reply.field("allow").unwrap().split(", ").collect();
    allowed.sort_unstable();
    assert_eq!(allowed, ["POST", "PUT"]);
}

#[test]
fn threat_41_the_form_that_decides_is_the_form_that_is_forwarded() {
    let world = World::with(TABLE, "");
    // Each would be /admin for some server behind; none may pass as the public route.
    for path in [
        "/a/../admin",
        "/./admin",
        "/admin%2f..",
        "/a%2F..%2Fadmin",
        "/%2e%2e/admin",
        "/admin%00",
        "/admin%5cx",
        "/admin\\x",
    ] {
        let reply = world.h1(&Request::get(path));
        assert_eq!(reply.status, 400, "{path}: {reply:?}");
        refused(&reply, 400, "path_refused");
    }
    // Spelled otherwise, but the same path: the guarded route decides.
    for path in ["/%61dmin", "/admin?x=/public", "/%61%64min/x"] {
        refused(&world.h1(&Request::get(path)), 401, "token_missing");
    }
    // Another path, and it stays one.
    for path in ["//admin", "/admin;x=y"] {
        let reply = world.h1(&Request::get(path));
        assert_eq!(
            (reply.status, reply.json()["path"].as_str()),
            (200, Some(path))
        );
    }
    assert_eq!(
        world
            .echo
            .seen()
            .iter()
            .filter(|seen| seen.path == "/admin")
            .count(),
        0
    );
}

#[test]
fn an_upstream_that_does_not_answer_is_said_so() {
    let world = World::with(TABLE, "");
    refused(&world.h1(&Request::get("/dead")), 502, "upstream_refused");
}
