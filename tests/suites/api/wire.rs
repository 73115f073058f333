//! Requests that are not quite requests, as bytes.

use std::io::Write;

use tollgate_tests::client::{Reply, Request, read_reply};

use crate::world::{World, refused};

fn raw(world: &World, request: &str) -> Reply {
    let mut stream = world.target().tls(&["http/1.1"]).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    read_reply(&mut stream).unwrap()
}

#[test]
fn heads_have_limits_with_a_reason() {
    let world = World::new();
    let many = (0..150)
        .map(|n| format!("x-{n}: 1\r\n"))
        .collect::<String>();
    let reply = raw(
        &world,
        &format!("GET /open HTTP/1.1\r\nhost: api.test\r\n{many}\r\n"),
    );
    refused(&reply, 431, "header_too_many");
    let large = "y".repeat(70_000);
    let request = format!("GET /open HTTP/1.1\r\nhost: api.test\r\nx-large: {large}\r\n\r\n");
    refused(&raw(&world, &request), 431, "header_too_large");
    assert_eq!(world.echo.count(), 0);
}

/// A name is folded and compared many times; 60 000 dashes fold to nothing and would cost milliseconds.
#[test]
fn names_have_a_limit_of_their_own() {
    let world = World::new();
    let with_name = |length: usize| {
        let name = format!("x{}", "-".repeat(length - 1));
        format!("GET /open HTTP/1.1\r\nhost: api.test\r\n{name}: 1\r\n\r\n")
    };
    let reply = raw(&world, &with_name(257));
    refused(&reply, 431, "header_too_large");
    assert_eq!(world.echo.count(), 0);
    assert_eq!(raw(&world, &with_name(256)).status, 200);
}

#[test]
fn what_is_no_request_leaves_a_line() {
    let world = World::new();
    let reply = raw(
        &world,
        "GET /open HTTP/1.1\r\nhost: api.test\r\ncontent-length: +5\r\n\r\n",
    );
    assert_eq!(reply.status, 400, "{reply:?}");
    let line = world.log_line(|line| line["status"] == 400);
    assert_eq!(line["reason"], "request_malformed", "{line}");
}

#[test]
fn threat_59_a_refused_request_leaves_the_connection_usable() {
    let world = World::new();
    let mut stream = world.target().tls(&["http/1.1"]).unwrap();
    let refused_request = "POST /orders HTTP/1.1\r\nhost: api.test\r\ncontent-length: 45\r\n\r\n\
                           GET /open/smuggled HTTP/1.1\r\nhost: api.test\r\n";
    assert_eq!(refused_request.split("\r\n\r\n").nth(1).unwrap().len(), 45);
    stream.write_all(refused_request.as_bytes()).unwrap();
    refused(&read_reply(&mut stream).unwrap(), 401, "token_missing");
    // The connection may have been closed; if not, the next request is read as itself.
    if stream
        .write_all(&Request::get("/open/next").to_h1("api.test"))
        .is_ok()
        && let Ok(reply) = read_reply(&mut stream)
    {
        assert_eq!(reply.json()["path"], "/open/next");
    }
    assert!(
        world
            .echo
            .seen()
            .iter()
            .all(|seen| seen.path != "/open/smuggled")
    );
}

#[test]
fn keep_alive_serves_many_requests_and_pools_the_upstream() {
    let world = World::new();
    let mut stream = world.target().tls(&["http/1.1"]).unwrap();
    for _ in 0..20 {
        stream
            .write_all(&Request::get("/open").to_h1("api.test"))
            .unwrap();
        assert_eq!(read_reply(&mut stream).unwrap().status, 200);
    }
    assert_eq!(world.echo.count(), 20);
}

#[test]
fn threat_61_a_slow_head_is_not_an_idle_connection() {
    let world = World::new();
    let limits = "plaintext: false\n    timeouts: { head: 500ms, idle: 30s }\n    tls: {";
    let configuration = world
        .configuration(crate::world::ROUTES, "")
        .replacen("tls: {", limits, 1);
    world.write(&configuration);
    world.reload().unwrap();

    let mut idle = world.target().tls(&["http/1.1"]).unwrap();
    idle.write_all(&Request::get("/open").to_h1("api.test"))
        .unwrap();
    assert_eq!(read_reply(&mut idle).unwrap().status, 200);

    let mut slow = world.target().tls(&["http/1.1"]).unwrap();
    slow.write_all(b"GET /open HTTP/1.1\r\nhost: ").unwrap();
    let line = world.log_line(|line| line["reason"] == "timeout_head");
    assert_eq!(line["status"], 408, "{line}");
    let mut rest = Vec::new();
    let _ = std::io::Read::read_to_end(&mut slow, &mut rest).is_ok();
    assert!(rest.is_empty());

    // Idle for longer than a head may take, and still there.
    idle.write_all(&Request::get("/open").to_h1("api.test"))
        .unwrap();
    assert_eq!(read_reply(&mut idle).unwrap().status, 200);
}
