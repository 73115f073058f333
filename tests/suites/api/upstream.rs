//! Upstreams that misbehave: each speaks bytes of its own choice.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;

use tollgate_tests::client::{Request, read_reply};

use crate::world::{ROUTES, World, eventually, refused};

/// A server that answers each request's head with these bytes, and leaves the connection as it is. It ends with the
/// process, as its connections do.
pub(crate) fn server(answer: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || serve(stream, answer));
        }
    });
    address
}

fn serve(stream: TcpStream, answer: &[u8]) {
    let mut writer = stream.try_clone().unwrap();
    let mut reader = BufReader::new(stream);
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            if line == "\r\n" {
                break;
            }
        }
        // Before the body has come.
        if writer.write_all(answer).is_err() {
            return;
        }
        let mut body = vec![0; length];
        if reader.read_exact(&mut body).is_err() {
            return;
        }
    }
}

fn world_before(endpoints: &str) -> World {
    let world = World::new();
    let echo = world.echo.address().to_string();
    let configuration = world
        .configuration(ROUTES, "")
        .replace(&format!("\"{echo}\""), endpoints);
    world.write(&configuration);
    world.reload().unwrap();
    world
}

#[test]
fn an_endpoint_that_refuses_connections_costs_no_request() {
    let world = World::new();
    let echo = world.echo.address().to_string();
    for balance in ["p2c", "round_robin"] {
        let both = format!(
            "\"{echo}\", \"127.0.0.1:1\"], balance: {balance}, timeouts: {{ connect: 1s }} }}"
        );
        let configuration = world
            .configuration(ROUTES, "")
            .replace(&format!("\"{echo}\"] }}"), &both);
        world.write(&configuration);
        world.reload().unwrap();
        for _ in 0..20 {
            assert_eq!(world.h1(&Request::get("/open")).status, 200, "{balance}");
        }
    }
}

#[test]
fn nobody_waits_for_another_clients_upload() {
    let early = server(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    let world = world_before(&format!("\"{early}\""));
    let mut uploads = Vec::new();
    for _ in 0..4 {
        let mut stream = world.target().tls(&["http/1.1"]).unwrap();
        let head = "POST /open HTTP/1.1\r\nhost: api.test\r\ncontent-length: 1000000\r\n\r\nxx";
        stream.write_all(head.as_bytes()).unwrap();
        assert_eq!(read_reply(&mut stream).unwrap().status, 200);
        uploads.push(stream);
    }
    // Each would be handed a connection on which an upload still runs, on either worker.
    for _ in 0..8 {
        assert_eq!(world.h1(&Request::get("/open")).status, 200);
    }
    drop(uploads);
}

#[test]
fn a_length_beside_a_transfer_coding_is_not_passed_on() {
    let both = server(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\na\r\n0123456789\r\n0\r\n\r\n");
    let world = world_before(&format!("\"{both}\""));
    let reply = world.h2(&Request::get("/open"));
    assert_eq!((reply.status, &reply.body[..]), (200, &b"0123456789"[..]));
}

#[test]
fn what_is_no_answer_is_a_502() {
    for answer in [
        &b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n"[..],
        b"220 mail.test ESMTP\r\n\r\n",
    ] {
        let odd = server(answer);
        let world = world_before(&format!("\"{odd}\""));
        refused(&world.h1(&Request::get("/open")), 502, "upstream_malformed");
        refused(&world.h2(&Request::get("/open")), 502, "upstream_malformed");
    }
}

#[test]
fn threat_36_no_trailer_says_what_a_field_may_not() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let endpoint = format!("\"{}\"", listener.local_addr().unwrap());
    let world = world_before(&endpoint);
    // Nor may a token stand there, which nobody would verify.
    let source = "token: { issuers: [corp], sources: [{ header: x-jwt }], forward: true }";
    let routes = ROUTES.replace("token: { issuers: [corp], forward: true }", source);
    let echo = format!("\"{}\"", world.echo.address());
    world.write(&world.configuration(&routes, "").replace(&echo, &endpoint));
    world.reload().unwrap();
    let upstream = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut seen = Vec::new();
        let mut byte = [0];
        // Up to the empty line behind the trailers.
        while !(seen.windows(5).any(|end| end == b"\r\n0\r\n") && seen.ends_with(b"\r\n\r\n")) {
            stream.read_exact(&mut byte).unwrap();
            seen.push(byte[0]);
        }
        stream
            .write_all(b"HTTP/1.1 204 No Content\r\n\r\n")
            .unwrap();
        String::from_utf8(seen).unwrap().to_ascii_lowercase()
    });
    let mut stream = world.target().tls(&["http/1.1"]).unwrap();
    let names =
        "x-user-id, X_User_Id, x-fine, x-forwarded-for, client-cert, authorization, Cookie, x_jwt";
    let trailers: String = names
        .split(", ")
        .map(|name| format!("{name}: eve\r\n"))
        .collect();
    let request = format!(
        "POST /open HTTP/1.1\r\nhost: api.test\r\ntransfer-encoding: chunked\r\ntrailer: {names}\r\n\r\n\
         3\r\nabc\r\n0\r\n{trailers}\r\n"
    );
    stream.write_all(request.as_bytes()).unwrap();
    assert_eq!(read_reply(&mut stream).unwrap().status, 204);
    let seen = upstream.join().unwrap();
    let (_, trailers) = seen.split_once("\r\n0\r\n").unwrap();
    assert_eq!(trailers, "x-fine: eve\r\n\r\n", "{seen}");
}

#[test]
fn a_stream_does_not_outlive_its_token() {
    let endless = server(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n");
    let world = world_before(&format!("\"{endless}\""));
    // Two seconds of the allowed skew are left.
    let token = world.claims().expires_in(-28).sign(&world.key).unwrap();
    let mut stream = world.target().tls(&["http/1.1"]).unwrap();
    stream
        .write_all(
            &Request::get("/orders/stream")
                .bearer(&token)
                .to_h1("api.test"),
        )
        .unwrap();
    let mut seen = Vec::new();
    // It ends without the last chunk: the client knows that this was not all.
    let ended = stream.read_to_end(&mut seen);
    let text = String::from_utf8_lossy(&seen);
    assert!(
        text.contains("hello") && !text.contains("\r\n0\r\n"),
        "{ended:?}: {text}"
    );
    let line = world.log_line(|line| line["path"] == "/orders/stream");
    assert_eq!(line["ended"], "expired", "{line}");
}

#[test]
fn a_client_that_goes_away_leaves_a_line() {
    let world = World::new();
    let mut stream = world.target().tls(&["http/1.1"]).unwrap();
    stream
        .write_all(&Request::get("/open/gone?hold").to_h1("api.test"))
        .unwrap();
    eventually("the request at the API", || {
        (world.echo.count() == 1).then_some(())
    });
    drop(stream);
    let line = world.log_line(|line| line["path"] == "/open/gone");
    assert_eq!(
        (line["status"].as_u64(), line["ended"].as_str()),
        (Some(499), Some("client")),
        "{line}"
    );
}
