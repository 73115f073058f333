//! What a server may do, and when.

use bytes::BytesMut;

use super::transcript::response;
use crate::h1::*;
use crate::{Fields, ResponseHead, Scheme};

pub(super) fn served(bytes: impl AsRef<[u8]>) -> (ServerConnection, BytesMut, Request) {
    let mut connection = ServerConnection::new(Scheme::Https, Limits::default());
    let mut buffer = BytesMut::from(bytes.as_ref());
    let request = connection
        .receive_head(&mut buffer, &mut Fields::new())
        .unwrap()
        .unwrap();
    (connection, buffer, request)
}

/// The answer of this status and length, with no body yet.
pub(super) fn head_of(connection: &mut ServerConnection, status: u16, length: Length) -> String {
    let mut out = Vec::new();
    connection
        .encode_head(&response(status), length, &mut out)
        .unwrap();
    String::from_utf8(out).unwrap()
}

/// Answers with nothing.
pub(super) fn answer(connection: &mut ServerConnection, status: u16) -> String {
    let head = head_of(connection, status, Length::Known(0));
    let mut out = Vec::new();
    connection.encode_end(&Fields::new(), &mut out).unwrap();
    assert!(out.is_empty());
    head
}

pub(super) const GET: &str = "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n";

#[test]
fn a_response_says_how_it_ends() {
    let ask = |method: &str, version: &str, more: &str| {
        served(format!(
            "{method} / HTTP/{version}\r\nHost: a.test\r\n{more}\r\n"
        ))
        .0
    };
    for (method, version, status, length, want, next) in [
        (
            "GET",
            "1.1",
            200,
            Length::Known(5),
            "Content-Length: 5\r\n",
            Next::Request,
        ),
        (
            "GET",
            "1.1",
            200,
            Length::None,
            "Content-Length: 0\r\n",
            Next::Request,
        ),
        (
            "GET",
            "1.1",
            200,
            Length::Unknown,
            "Transfer-Encoding: chunked\r\n",
            Next::Request,
        ),
        (
            "HEAD",
            "1.1",
            200,
            Length::Known(5),
            "Content-Length: 5\r\n",
            Next::Request,
        ),
        ("HEAD", "1.1", 200, Length::None, "", Next::Request),
        ("HEAD", "1.1", 200, Length::Unknown, "", Next::Request),
        ("GET", "1.1", 204, Length::Known(5), "", Next::Request),
        ("GET", "1.1", 204, Length::None, "", Next::Request),
        (
            "GET",
            "1.1",
            304,
            Length::Known(5),
            "Content-Length: 5\r\n",
            Next::Request,
        ),
        ("GET", "1.1", 304, Length::None, "", Next::Request),
        ("GET", "1.1", 304, Length::Unknown, "", Next::Request),
        (
            "GET",
            "1.0",
            200,
            Length::Known(5),
            "Content-Length: 5\r\nConnection: close\r\n",
            Next::Close,
        ),
        (
            "GET",
            "1.0",
            200,
            Length::Unknown,
            "Connection: close\r\n",
            Next::Close,
        ),
    ] {
        let mut connection = ask(method, version, "");
        let head = head_of(&mut connection, status, length);
        let line = head.split_once("\r\n").unwrap();
        assert_eq!(
            line.1,
            format!("{want}\r\n"),
            "{method} {status} {length:?}"
        );
        let mut out = Vec::new();
        if length == Length::Known(5) || length == Length::Unknown {
            connection.encode_data(b"hello", &mut out).unwrap();
        }
        connection.encode_end(&Fields::new(), &mut out).unwrap();
        let is_silent = method == "HEAD" || status != 200;
        assert_eq!(
            String::from_utf8(out).unwrap(),
            match length {
                Length::Unknown if !is_silent && version == "1.1" => "5\r\nhello\r\n0\r\n\r\n",
                Length::Known(_) | Length::Unknown if !is_silent => "hello",
                _ => "",
            }
        );
        assert_eq!(connection.finish(0), next);
    }
    let mut kept = ask("GET", "1.0", "Connection: keep-alive\r\n");
    assert!(answer(&mut kept, 200).contains("\r\nConnection: keep-alive\r\n"));
    assert_eq!(kept.finish(0), Next::Request);
    let mut kept = ask("GET", "1.0", "Connection: keep-alive\r\n");
    assert!(head_of(&mut kept, 200, Length::Unknown).ends_with("\r\nConnection: close\r\n\r\n"));
    let mut closed = ask("GET", "1.1", "Connection: close\r\n");
    assert!(answer(&mut closed, 200).contains("\r\nConnection: close\r\n"));
    assert_eq!(closed.finish(0), Next::Close);
}

/// What frames a message is never taken from fields, whoever wrote them.
#[test]
fn fields_frame_nothing() {
    let (mut connection, _, _) = served(GET);
    let mut head = response(200);
    for name in [
        "content-length",
        "Transfer-Encoding",
        "CONNECTION",
        "Keep-Alive",
        "Proxy-Connection",
        "te",
        "Upgrade",
    ] {
        head.fields.push(name, "7");
    }
    head.fields.push("X-b", "1");
    head.fields.push("x-A", "2");
    let mut out = Vec::new();
    connection
        .encode_head(&head, Length::Known(0), &mut out)
        .unwrap();
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "HTTP/1.1 200 OK\r\nX-b: 1\r\nx-A: 2\r\nContent-Length: 0\r\n\r\n"
    );
}

/// threats.md 27: no field ends its line, and a head that cannot be written leaves nothing behind.
#[test]
fn t27_no_field_splits_a_response() {
    for (name, value) in [
        ("x", "a\r\nb: c"),
        ("x", "a\nb"),
        ("x", "a\rb"),
        ("x", "a\0b"),
        ("x", "a\x7f"),
        ("x\r\ny", "a"),
        ("x y", "a"),
        ("x:", "a"),
        ("", "a"),
    ] {
        let (mut connection, _, _) = served(GET);
        let mut head = response(200);
        head.fields.push("fine", "1");
        head.fields.push(name, value);
        let mut out = b"before".to_vec();
        let wrote = connection.encode_head(&head, Length::Unknown, &mut out);
        assert_eq!(wrote, Err(EncodeError::Field), "{name:?}: {value:?}");
        assert_eq!(
            connection.encode_interim(
                &ResponseHead {
                    status: 103,
                    ..head.clone()
                },
                &mut out
            ),
            Err(EncodeError::Field)
        );
        assert_eq!(out, b"before");
        // Another answer may be given.
        head_of(&mut connection, 502, Length::Unknown);
        assert_eq!(
            connection.encode_end(&head.fields, &mut out),
            Err(EncodeError::Field)
        );
        assert_eq!(out, b"before");
    }
}

#[test]
fn nothing_is_written_out_of_turn() {
    let mut connection = ServerConnection::new(Scheme::Https, Limits::default());
    let (mut out, none) = (Vec::new(), Fields::new());
    let turn = Err(EncodeError::Turn);
    assert_eq!(
        connection.encode_head(&response(200), Length::None, &mut out),
        turn
    );
    assert_eq!(connection.encode_interim(&response(103), &mut out), turn);
    assert_eq!(connection.encode_data(b"x", &mut out), turn);
    assert_eq!(connection.encode_end(&none, &mut out), turn);
    assert!(!connection.is_busy());
    assert_eq!(connection.finish(0), Next::Request);

    let (mut connection, _, _) = served(GET);
    assert!(connection.is_busy());
    assert_eq!(connection.finish(0), Next::Respond);
    let status = Err(EncodeError::Status);
    for odd in [0, 99, 100, 103, 199, 600, 1000] {
        assert_eq!(
            connection.encode_head(&response(odd), Length::None, &mut out),
            status
        );
    }
    for odd in [0, 99, 101, 200, 600] {
        assert_eq!(connection.encode_interim(&response(odd), &mut out), status);
    }
    assert_eq!(
        connection.encode_head(&response(101), Length::None, &mut out),
        turn
    );
    assert!(out.is_empty());
    connection.encode_interim(&response(103), &mut out).unwrap();
    assert_eq!(out, b"HTTP/1.1 103 Early Hints\r\n\r\n");
    head_of(&mut connection, 200, Length::Known(3));
    assert_eq!(connection.owed(), Some(3));
    assert_eq!(
        connection.encode_head(&response(200), Length::None, &mut out),
        turn
    );
    assert_eq!(connection.encode_interim(&response(103), &mut out), turn);
    assert_eq!(
        connection.encode_data(b"long", &mut out),
        Err(EncodeError::Length)
    );
    connection.encode_data(b"x", &mut out).unwrap();
    assert_eq!(
        connection.encode_end(&none, &mut out),
        Err(EncodeError::Length)
    );
    assert_eq!(connection.finish(0), Next::Respond);
    connection.encode_data(b"yz", &mut out).unwrap();
    connection.encode_end(&none, &mut out).unwrap();
    assert_eq!(connection.encode_data(b"x", &mut out), turn);
    assert_eq!(connection.encode_end(&none, &mut out), turn);
    assert_eq!(connection.finish(0), Next::Request);
    assert_eq!(connection.finish(0), Next::Request);
    assert!(!connection.is_busy());
}

#[test]
fn the_next_request_waits_for_the_answer_before_it() {
    let (mut connection, mut buffer, _) = served([GET, GET].concat());
    let mut spare = Fields::new();
    assert!(
        connection
            .receive_head(&mut buffer, &mut spare)
            .unwrap()
            .is_none()
    );
    assert_eq!(buffer, GET);
    answer(&mut connection, 200);
    assert!(
        connection
            .receive_head(&mut buffer, &mut spare)
            .unwrap()
            .is_none()
    );
    assert_eq!(connection.finish(buffer.len()), Next::Request);
    assert!(
        connection
            .receive_head(&mut buffer, &mut spare)
            .unwrap()
            .is_some()
    );
}

/// The longest first line that is waited for is the longest method, the longest target and what stands around them.
#[test]
fn a_first_line_is_waited_for_to_its_limit() {
    let limits = Limits {
        target: 8,
        ..Limits::default()
    };
    let read = |text: String| {
        ServerConnection::new(Scheme::Https, limits)
            .receive_head(&mut BytesMut::from(text.as_bytes()), &mut Fields::new())
            .map(|request| request.is_some())
            .map_err(|refused| refused.error)
    };
    let method = "M".repeat(32);
    let line = format!("{method} /2345678 HTTP/1.1\r\n");
    assert_eq!(read(format!("{line}Host: a.test\r\n\r\n")), Ok(true));
    assert_eq!(read("x".repeat(line.len())), Ok(false));
    let long = Err(Error::TargetTooLong(8));
    assert_eq!(read("x".repeat(line.len() + 1)), long);
    assert_eq!(
        read("GET /23456789 HTTP/1.1\r\nHost: a.test\r\n\r\n".into()),
        long
    );
}

/// Whoever sets no limit has none, and no sum of limits that overflows.
#[test]
fn limits_may_be_as_large_as_numbers_are() {
    let limits = Limits {
        head: usize::MAX,
        target: usize::MAX,
        fields: usize::MAX,
        name: usize::MAX,
        trailers: usize::MAX,
        extensions: usize::MAX,
        body: u64::MAX,
        drain: u64::MAX,
        interim: usize::MAX,
    };
    let mut connection = ServerConnection::new(Scheme::Https, limits);
    let coded = GET.replace("\r\n\r\n", "\r\nTransfer-Encoding: chunked\r\n\r\n");
    let mut buffer = BytesMut::from(format!("{coded}1;x\r\ny\r\n0\r\nx: 1\r\n\r\n").as_bytes());
    let read = connection.receive_head(&mut buffer, &mut Fields::new());
    assert!(read.unwrap().is_some());
    answer(&mut connection, 200);
    assert_eq!(connection.finish(buffer.len()), Next::Drain);
    assert_eq!(connection.receive_body(&mut buffer), Ok(Part::End));
    assert_eq!(connection.finish(buffer.len()), Next::Request);
}

/// Behind what was refused, or closed, nothing is a request.
#[test]
fn a_connection_that_is_over_reads_no_more() {
    let mut connection = ServerConnection::new(Scheme::Https, Limits::default());
    let mut buffer = BytesMut::from("GET / HTTP/1.1\n");
    for _ in 0..2 {
        let refused = connection.receive_head(&mut buffer, &mut Fields::new());
        assert_eq!(refused.unwrap_err().error, Error::BareLf);
        buffer = BytesMut::from(GET);
    }
    let mut connection = ServerConnection::new(Scheme::Https, Limits::default());
    connection.close();
    assert_eq!(connection.finish(0), Next::Close);
    let read = connection.receive_head(&mut BytesMut::from(GET), &mut Fields::new());
    assert!(read.unwrap().is_none());
}
