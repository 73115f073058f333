//! What an operator makes of answers: `response: { set, remove }`.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::thread;

use tollgate_tests::client::{Reply, Request, read_reply};

use crate::world::{World, refused};

const ROUTES: &str = "
      - { name: orders, match: { path: /orders }, upstream: api }
      - { name: open, match: { path: /open }, token: none, upstream: api, response: { set: { x-own: '1', Server: edge, x-kept: own }, remove: [X-Old] } }
      - { name: gone, match: { path: /gone }, token: none, upstream: nobody, response: { set: { cache-control: public, content-type: text/html } } }
";

const DEFAULTS: &str = "response: { set: { strict-transport-security: max-age=60, x-kept: default }, remove: [server, x-internal] }";

fn world() -> World {
    let world = World::with(ROUTES, "");
    let configuration = world.configuration(ROUTES, "");
    let defaults = "    defaults:\n";
    assert_eq!(configuration.matches(defaults).count(), 1);
    let with = format!("{defaults}      {DEFAULTS}\n");
    world.write(&configuration.replace(defaults, &with));
    world.reload().unwrap();
    world
}

fn values<'r>(reply: &'r Reply, name: &str) -> Vec<&'r str> {
    let is = |field: &&(String, String)| field.0.eq_ignore_ascii_case(name);
    reply
        .fields
        .iter()
        .filter(is)
        .map(|field| field.1.as_str())
        .collect()
}

/// An API that answers each connection with these bytes, after a request.
fn answering(answer: &'static str) -> std::net::SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && stream.read_exact(&mut byte).is_ok() {
                head.push(byte[0]);
            }
            // A client that is gone is no matter of this API.
            let _ = stream.write_all(answer.as_bytes()).is_ok();
        }
    });
    address
}

/// Where Tollgate says who may read an answer the API says nothing of it: half of its rule beside ours would be a third.
#[test]
fn what_the_api_says_of_sharing_counts_where_tollgate_says_nothing() {
    const ROUTES: &str = "
      - { name: shared, match: { path: /shared }, token: none, cors: { origins: [https://app.test] }, upstream: api }
      - { name: own, match: { path: /own }, token: none, cors: forward, upstream: api }
";
    let world = World::with(ROUTES, "");
    let api = answering(
        "HTTP/1.1 204 No Content\r\naccess-control-allow-origin: *\r\nAccess-Control-Allow-Methods: DELETE\r\n\
         access-control-allow-headers: x-evil\r\naccess-control-max-age: 86400\r\nconnection: close\r\n\r\n",
    );
    let configuration = std::fs::read_to_string(world.path()).unwrap();
    world.write(&configuration.replace(&world.echo.address().to_string(), &api.to_string()));
    world.reload().unwrap();
    // With a cookie it is no preflight, and the route is public.
    let ask = |path: &str| Request {
        method: "OPTIONS".to_owned(),
        ..Request::get(path)
            .field("origin", "https://app.test")
            .field("access-control-request-method", "DELETE")
            .field("cookie", "a=1")
    };
    let said = |reply: &Reply| -> Vec<String> {
        let all = reply.fields.iter();
        let of_sharing = all.filter(|(name, _)| name.starts_with("access-control-"));
        of_sharing
            .map(|(name, value)| format!("{name}: {value}"))
            .collect()
    };
    for reply in [world.h1(&ask("/shared")), world.h2(&ask("/shared"))] {
        assert_eq!(reply.status, 204);
        assert_eq!(
            said(&reply),
            ["access-control-allow-origin: https://app.test"]
        );
    }
    for reply in [world.h1(&ask("/own")), world.h2(&ask("/own"))] {
        assert_eq!((reply.status, said(&reply).len()), (204, 4), "{reply:?}");
    }
}

#[test]
fn answers_of_the_api_are_set_and_stripped_by_route_and_listener() {
    let world = world();
    let api = answering(
        "HTTP/1.1 200 OK\r\nserver: api/1\r\nX-Internal: a\r\nx-internal: b\r\nx-old: 1\r\nx-own: 0\r\n\
         x-fine: 1\r\nset-cookie: a=1\r\nx-tollgate-assertion: secret\r\nx_tollgate_user: eve\r\n\
         www-authenticate: Basic\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok",
    );
    let configuration = std::fs::read_to_string(world.path()).unwrap();
    world.write(&configuration.replace(&world.echo.address().to_string(), &api.to_string()));
    world.reload().unwrap();
    let open = Request::get("/open");
    let orders = Request::get("/orders").bearer(&world.token());
    for (request, own, server, kept, old) in [
        (&open, "1", &["edge"][..], "own", &[][..]),
        (&orders, "0", &[], "default", &["1"]),
    ] {
        for reply in [world.h1(request), world.h2(request)] {
            assert_eq!((reply.status, &reply.body[..]), (200, &b"ok"[..]));
            assert_eq!(values(&reply, "x-own"), [own]);
            assert_eq!(values(&reply, "server"), server);
            assert_eq!(values(&reply, "x-kept"), [kept]);
            assert_eq!(values(&reply, "x-old"), old);
            assert_eq!(values(&reply, "strict-transport-security"), ["max-age=60"]);
            for gone in ["x-internal", "x-tollgate-assertion", "x_tollgate_user"] {
                assert_eq!(values(&reply, gone), [""; 0], "{gone}");
            }
            for kept in ["x-fine", "set-cookie", "www-authenticate", "x-request-id"] {
                assert_eq!(values(&reply, kept).len(), 1, "{kept}");
            }
        }
    }
}

#[test]
fn refusals_have_what_is_set_beside_what_they_say() {
    let world = world();
    let missing = Request::get("/orders");
    let nowhere = Request::get("/nowhere");
    let gone = Request::get("/gone");
    for (request, status, reason, kept) in [
        (&missing, 401, "token_missing", "default"),
        (&nowhere, 404, "no_route", "default"),
        (&gone, 502, "upstream_refused", "default"),
    ] {
        for reply in [world.h1(request), world.h2(request)] {
            // Content-Type and Cache-Control are the refusal's own.
            refused(&reply, status, reason);
            assert_eq!(values(&reply, "strict-transport-security"), ["max-age=60"]);
            assert_eq!(values(&reply, "x-kept"), [kept]);
            assert_eq!(values(&reply, "content-type").len(), 1);
            assert_eq!(values(&reply, "cache-control"), ["no-store"]);
        }
    }
    // What could not be read as a request is the listener's as well.
    let mut stream = world.target().tls(&["http/1.1"]).unwrap();
    stream
        .write_all(b"GET /a%2fb HTTP/1.1\r\nhost: api.test/x\r\n\r\n")
        .unwrap();
    let reply = read_reply(&mut stream).unwrap();
    assert_eq!(reply.status, 400);
    assert_eq!(values(&reply, "strict-transport-security"), ["max-age=60"]);
}

#[test]
fn trailers_of_the_api_lose_what_its_fields_lose() {
    let api = answering(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-fine, x-old, x-own, x-tollgate-a, connection, x-request-id\r\n\
         connection: close\r\n\r\n2\r\nok\r\n0\r\nx-fine: 1\r\nX-Old: 1\r\nx-own: 0\r\nx-tollgate-a: 1\r\n\
         server: api\r\nx-request-id: 1\r\n\r\n",
    );
    let world = world();
    let configuration = std::fs::read_to_string(world.path()).unwrap();
    world.write(&configuration.replace(&world.echo.address().to_string(), &api.to_string()));
    world.reload().unwrap();
    let reply = world.h2(&Request::get("/open"));
    assert_eq!(&reply.body[..], b"ok");
    assert_eq!(reply.trailers, [("x-fine".to_owned(), "1".to_owned())]);
}
