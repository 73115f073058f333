//! Paths as bytes on the wire: whatever a client writes, the form that decides is the form that the API gets.

use std::io::{Read, Write};

use serde_json::Value;
use tollgate_tests::client::{Tls, read_reply};

use crate::world::{HOST, World};

/// A guarded path beside a public rest, for APIs that make one of `//` and for some that keep encoded slashes.
const TABLE: &str = r#"
      - { name: rest, match: { path: / }, token: none, upstream: api }
      - { name: admin, match: { path: /admin }, upstream: api, path_normalization: { merge_slashes: true } }
      - { name: files, match: { path: /files }, token: none, upstream: api, path_normalization: { encoded_slash: keep } }
      - { name: private, match: { path: /files/private }, upstream: api }
"#;

/// What became of a request.
#[derive(Debug, PartialEq, Eq)]
enum Fate<'p> {
    /// Refused with this reason; the API saw nothing.
    Refused(&'p str),
    /// The API got this path.
    Reached(&'p str),
    /// It is no request: refused as one, or hyper gave up on it before there was a head.
    Unread,
}

use Fate::{Reached, Refused, Unread};

const TOKEN: Fate<'_> = Refused("token_missing");
const PATH: Fate<'_> = Refused("path_refused");

/// (what the client writes, what becomes of it)
const ROWS: &[(&[u8], Fate<'_>)] = &[
    (b"/", Reached("/")),
    (b"/admin", TOKEN),
    (b"/%61dmin", TOKEN),
    (b"/%61%64%6D%69%6e/x", TOKEN),
    (b"/admin?x=/public", TOKEN),
    (b"//admin", TOKEN),
    (b"///admin///x", TOKEN),
    (b"//%61dmin", TOKEN),
    (b"//admin//", TOKEN),
    // Other paths, and they stay other ones.
    (b"//", Reached("//")),
    (b"//public//x", Reached("//public//x")),
    (b"/admin;x=y", Reached("/admin;x=y")),
    (b"/Admin", Reached("/Admin")),
    (b"/administrator", Reached("/administrator")),
    (b"/admin%23", Reached("/admin%23")),
    (b"/admin%3fx", Reached("/admin%3Fx")),
    (b"/admin%20", Reached("/admin%20")),
    (b"/%2561dmin", Reached("/%2561dmin")),
    (b"/a%252fb", Reached("/a%252fb")),
    // Ways up.
    (b"/a/../admin", PATH),
    (b"/./admin", PATH),
    (b"/a/..", PATH),
    (b"/%2e%2e/admin", PATH),
    (b"/a/.%2E/admin", PATH),
    (b"/a/..;x=y/admin", PATH),
    (b"/a/..%3bx/admin", PATH),
    (b"//../admin", PATH),
    // Separators in disguise, the route unknown or of another mind.
    (b"/admin%2f..", PATH),
    (b"/admin%2Fx", PATH),
    (b"/%2fadmin", PATH),
    (b"/x%5cadmin", PATH),
    (b"/a%2F..%2Fadmin", PATH),
    (b"/admin\\x", PATH),
    (b"/admin%00", PATH),
    (b"/admin%", PATH),
    (b"/admin%zz", PATH),
    // Kept by the route that takes them, never as a way up, never in the place of a stricter route.
    (b"/files/a%2fb", Reached("/files/a%2Fb")),
    (b"/files/a%5cb//%2F", Reached("/files/a%5Cb//%2F")),
    (b"/files%2fa", PATH),
    (b"/files/private/a%2fb", PATH),
    (b"/files/private", TOKEN),
    (b"/files%2Fprivate", PATH),
    (b"/files/a%2f..%2fprivate", PATH),
    (b"/files/..%2fadmin", PATH),
    (b"/files/a%5C%2e%2e%5Cadmin", PATH),
    (b"/files/x;%2f../private", PATH),
    (b"/files/a%2fb%00", PATH),
    // A fragment is no part of a request; what is before it decides and is forwarded.
    (b"/admin#", TOKEN),
    (b"/admin#/../x", TOKEN),
    (b"/x#/../admin", Reached("/x")),
    (b"admin", Unread),
    (b"/a dmin", Unread),
    (b"/admin\x01", Unread),
];

#[test]
fn threat_41_paths_as_bytes_over_http_1() {
    let world = World::with(TABLE, "");
    every_row(&world, |target| {
        let mut stream = world.target().tls(&["http/1.1"]).unwrap();
        let request = [
            b"GET ",
            target,
            b" HTTP/1.1\r\nhost: ",
            HOST.as_bytes(),
            b"\r\n\r\n",
        ];
        stream.write_all(&request.concat()).unwrap();
        // What hyper refuses before there is a head has no body.
        let body = read_reply(&mut stream).map(|reply| reply.body);
        serde_json::from_slice(&body.unwrap_or_default()).unwrap_or_default()
    });
}

#[test]
fn threat_41_paths_as_bytes_over_http_2() {
    let world = World::with(TABLE, "");
    every_row(&world, |target| {
        let mut stream = world.target().tls(&["h2"]).unwrap();
        stream.write_all(&request_by_frames(target)).unwrap();
        let body = body_by_frames(&mut stream);
        serde_json::from_slice(&body).unwrap_or_default()
    });
}

/// The log and the API agree on what was asked for.
#[test]
fn what_is_logged_is_what_is_forwarded() {
    let world = World::with(TABLE, "");
    let ask = |path: &str| {
        let request = tollgate_tests::client::Request::get(path).bearer(&world.token());
        let reply = world.h1(&request);
        let id = reply.field("x-request-id").unwrap().to_owned();
        let line = world.log_line(|line| line["request_id"] == id.as_str());
        assert_eq!(reply.json()["path"], line["path"], "{path}");
        (line["route"].clone(), line["path"].clone())
    };
    for (path, route, form) in [
        ("//admin//%7ex", "admin", "/admin/~x"),
        ("//public", "rest", "//public"),
        ("/files/%61%2fb", "files", "/files/a%2Fb"),
    ] {
        assert_eq!(ask(path), (route.into(), form.into()));
    }
    let reply = world.h1(&tollgate_tests::client::Request::get(
        "/files/private/a%2fb",
    ));
    let id = reply.field("x-request-id").unwrap().to_owned();
    let line = world.log_line(|line| line["request_id"] == id.as_str());
    assert_eq!(line["reason"], "path_refused");
    assert_eq!(line["route"], "private", "the route that refuses: {line}");
    let detail = "the path holds an encoded separator (%2F or %5C) at byte 16";
    assert_eq!(line["detail"], detail);
}

fn every_row(world: &World, ask: impl Fn(&[u8]) -> Value) {
    let mut reached = 0;
    for (target, want) in ROWS {
        let answer = ask(target);
        let shown = String::from_utf8_lossy(target);
        let fate = match (answer["reason"].as_str(), answer["path"].as_str()) {
            (Some("request_malformed"), _) | (None, None) => Unread,
            (Some(reason), _) => Refused(reason),
            (None, Some(path)) => Reached(path),
        };
        assert_eq!(fate, *want, "{shown}: {answer}");
        reached += u64::from(matches!(want, Reached(_)));
        assert_eq!(world.echo.count(), reached, "{shown}");
    }
}

/// A whole request as HTTP/2 frames (RFC 9113, section 6), its fields literal and not indexed (RFC 7541, section 6.2.2).
fn request_by_frames(path: &[u8]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in [
        (&b":method"[..], &b"GET"[..]),
        (b":scheme", b"https"),
        (b":authority", HOST.as_bytes()),
        (b":path", path),
    ] {
        block.push(0);
        for text in [name, value] {
            // One byte of length holds up to 126.
            block.push(u8::try_from(text.len()).unwrap());
            block.extend_from_slice(text);
        }
    }
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(SETTINGS, 0, 0, &[]));
    bytes.extend(frame(HEADERS, END_HEADERS | END_STREAM, 1, &block));
    bytes
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()[..]].concat();
    [&head, payload].concat()
}

/// The body of the answer on stream 1; nothing, if the stream or the connection was ended instead.
fn body_by_frames(stream: &mut Tls) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let mut head = [0; 9];
        if stream.read_exact(&mut head).is_err() {
            return Vec::new();
        }
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        stream.read_exact(&mut payload).unwrap();
        match (head[3], head[4]) {
            (DATA, flags) => {
                body.extend(payload);
                if flags & END_STREAM != 0 {
                    return body;
                }
            }
            (RST_STREAM | GOAWAY, _) => return Vec::new(),
            (_, flags) => assert!(
                head[3] != HEADERS || flags & END_STREAM == 0,
                "an answer without a body"
            ),
        }
    }
}
