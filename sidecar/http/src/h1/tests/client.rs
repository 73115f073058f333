//! What a client may do, and when.

use bytes::{Bytes, BytesMut};

use super::transcript::request;
use crate::h1::*;
use crate::{Fields, Path, RequestHead, Version};

fn asked(method: &str) -> ClientConnection {
    let mut connection = ClientConnection::new(Limits::default());
    ask(&mut connection, method);
    connection
}

fn ask(connection: &mut ClientConnection, method: &str) {
    let mut out = Vec::new();
    connection
        .encode_head(&request(method), Length::None, false, 0, &mut out)
        .unwrap();
    connection.encode_end(&Fields::new(), &mut out).unwrap();
}

fn receive(connection: &mut ClientConnection, text: &str) -> Result<Option<Response>, Error> {
    connection.receive_head(&mut BytesMut::from(text), &mut Fields::new())
}

fn written(head: &RequestHead, length: Length) -> Result<String, EncodeError> {
    let (mut connection, mut out) = (ClientConnection::new(Limits::default()), Vec::new());
    let upgrade = head.method.as_str() == "OPTIONS" && head.fields.get("upgrade").is_some();
    connection.encode_head(head, length, upgrade, 0, &mut out)?;
    Ok(String::from_utf8(out).unwrap())
}

#[test]
fn a_request_is_written_in_origin_form_with_our_framing() {
    let mut head = request("POST");
    head.query = Some(Bytes::from_static(b"x=y"));
    head.fields.push("X-b", "1");
    for name in [
        "host",
        "Content-Length",
        "transfer-encoding",
        "connection",
        "keep-alive",
        "proxy-connection",
        "TE",
        "upgrade",
    ] {
        head.fields.push(name, "7");
    }
    head.fields.push("x-A", "");
    for (length, framing) in [
        (Length::None, ""),
        (Length::Known(0), "Content-Length: 0\r\n"),
        (Length::Known(18_446), "Content-Length: 18446\r\n"),
        (Length::Unknown, "Transfer-Encoding: chunked\r\n"),
    ] {
        assert_eq!(
            written(&head, length).unwrap(),
            format!("POST /a?x=y HTTP/1.1\r\nHost: a.test\r\nX-b: 1\r\nx-A: \r\n{framing}\r\n")
        );
    }
    // Whatever it was received in.
    head = request("OPTIONS");
    head.version = Version::Http2;
    head.path = Path::asterisk();
    head.authority = None;
    assert_eq!(
        written(&head, Length::None).unwrap(),
        "OPTIONS * HTTP/1.1\r\nHost: \r\n\r\n"
    );
    head.fields.push("Upgrade", "x");
    assert_eq!(
        written(&head, Length::None).unwrap(),
        "OPTIONS * HTTP/1.1\r\nHost: \r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"
    );
}

#[test]
fn what_cannot_be_a_request_is_not_written() {
    for method in ["CONNECT", "TRACE", "track"] {
        assert_eq!(
            written(&request(method), Length::None),
            Err(EncodeError::Method)
        );
    }
    for query in ["a b", "a\r\nb", "a#b", "\u{e9}"] {
        let mut head = request("GET");
        head.query = Some(Bytes::from(query));
        assert_eq!(
            written(&head, Length::None),
            Err(EncodeError::Field),
            "{query:?}"
        );
    }
    let mut head = request("GET");
    head.path = Path::asterisk();
    assert_eq!(written(&head, Length::None), Err(EncodeError::Method));
    let mut head = request("OPTIONS");
    head.path = Path::asterisk();
    head.query = Some(Bytes::new());
    assert_eq!(written(&head, Length::None), Err(EncodeError::Field));
    let mut head = request("GET");
    head.fields.push("x", "a\r\nb: c");
    let (mut connection, mut out) = (ClientConnection::new(Limits::default()), Vec::new());
    assert_eq!(
        connection.encode_head(&head, Length::None, false, 0, &mut out),
        Err(EncodeError::Field)
    );
    let nameless = connection.encode_head(&request("GET"), Length::None, true, 0, &mut out);
    assert_eq!(nameless, Err(EncodeError::Turn));
    assert!(out.is_empty());
    // And the connection is as it was.
    ask(&mut connection, "GET");
    let second = connection.encode_head(&request("GET"), Length::None, false, 0, &mut out);
    assert_eq!(second, Err(EncodeError::Turn));
}

#[test]
fn chunks_are_framed_by_their_length() {
    let mut connection = ClientConnection::new(Limits::default());
    let (mut out, mut trailers) = (Vec::new(), Fields::new());
    connection
        .encode_head(&request("POST"), Length::Unknown, false, 0, &mut out)
        .unwrap();
    out.clear();
    connection.encode_data(b"", &mut out).unwrap();
    connection.encode_data(&[b'x'; 26], &mut out).unwrap();
    let frame = connection.frame(0xf_edcb).unwrap();
    assert_eq!(
        (frame.before(), frame.after(), frame.is_silent()),
        (&b"fedcb\r\n"[..], &b"\r\n"[..], false)
    );
    trailers.push("X-Sum", "1");
    for name in [
        "Content-Length",
        "transfer-encoding",
        "host",
        "connection",
        "Authorization",
        "cookie",
        "Set-Cookie",
        "content-type",
        "TE",
        "Trailer",
        "X-Forwarded-For",
    ] {
        trailers.push(name, "7");
    }
    connection.encode_end(&trailers, &mut out).unwrap();
    assert_eq!(
        String::from_utf8(out).unwrap(),
        format!("1a\r\n{}\r\n0\r\nX-Sum: 1\r\n\r\n", "x".repeat(26))
    );
}

#[test]
fn a_connection_is_used_again_when_both_are_whole_and_nothing_else_came() {
    let ok = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    let mut connection = asked("GET");
    assert!(!connection.has_response());
    for _ in 0..3 {
        assert_eq!(
            receive(&mut connection, ok).unwrap().unwrap().kind,
            Kind::Final
        );
        assert!(connection.has_response());
        assert!(connection.finish(0));
        assert!(!connection.has_response());
        ask(&mut connection, "GET");
    }
    // Not before there is an answer, nor with a byte behind it, nor a second time.
    let mut connection = asked("GET");
    assert!(!connection.finish(0));
    let mut connection = asked("GET");
    receive(&mut connection, ok).unwrap();
    assert!(!connection.finish(1));
    assert!(!connection.finish(0));
    // An answer before the request was written.
    let (mut connection, mut out) = (ClientConnection::new(Limits::default()), Vec::new());
    connection
        .encode_head(&request("POST"), Length::Known(5), false, 0, &mut out)
        .unwrap();
    receive(&mut connection, ok).unwrap();
    connection.encode_data(b"hel", &mut out).unwrap();
    assert!(!connection.finish(0));
    // It may be written all the same, and then is whole.
    let (mut connection, mut out) = (ClientConnection::new(Limits::default()), Vec::new());
    connection
        .encode_head(&request("POST"), Length::Known(5), false, 0, &mut out)
        .unwrap();
    receive(&mut connection, ok).unwrap();
    connection.encode_data(b"hello", &mut out).unwrap();
    connection.encode_end(&Fields::new(), &mut out).unwrap();
    assert!(connection.finish(0));
}

#[test]
fn no_request_begins_in_front_of_an_answer() {
    let (mut connection, mut out) = (ClientConnection::new(Limits::default()), Vec::new());
    for buffered in [1, 0] {
        let begun =
            connection.encode_head(&request("GET"), Length::None, false, buffered, &mut out);
        assert_eq!(begun, Err(EncodeError::Turn));
    }
    assert!(out.is_empty());
}

#[test]
fn what_nobody_asked_for_is_refused() {
    let ok = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    let mut connection = ClientConnection::new(Limits::default());
    assert!(receive(&mut connection, "").unwrap().is_none());
    assert_eq!(
        receive(&mut connection, ok).unwrap_err(),
        Error::Unsolicited
    );
    assert_eq!(
        receive(&mut connection, ok).unwrap_err(),
        Error::Unsolicited
    );
    let refused = connection.encode_head(&request("GET"), Length::None, false, 0, &mut Vec::new());
    assert_eq!(refused, Err(EncodeError::Turn));
}

#[test]
fn a_server_that_goes_before_it_answers_may_not_have_seen_the_request() {
    let mut idle = ClientConnection::new(Limits::default());
    assert!(!idle.is_untouched());
    assert_eq!(idle.end_of_input(), Ok(()));
    assert_eq!(
        idle.encode_head(&request("GET"), Length::None, false, 0, &mut Vec::new()),
        Err(EncodeError::Turn)
    );
    let mut connection = asked("GET");
    assert!(connection.is_untouched());
    assert_eq!(connection.end_of_input(), Err(Error::Truncated));
    assert!(connection.is_untouched());
    assert!(!connection.finish(0));
    let mut connection = asked("GET");
    receive(&mut connection, "HTTP/1.1 103 Early Hints\r\n\r\n").unwrap();
    assert!(!connection.is_untouched());
    let mut connection = asked("GET");
    receive(
        &mut connection,
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n",
    )
    .unwrap();
    assert!(!connection.is_untouched());
    assert_eq!(
        connection.receive_body(&mut BytesMut::new()),
        Ok(Part::More)
    );
    assert_eq!(connection.end_of_input(), Err(Error::Truncated));
    assert_eq!(
        connection.receive_body(&mut BytesMut::from("hi")),
        Err(Error::Truncated)
    );
    // Cut in whatever state of its body, it was touched, and stays so.
    for (framing, bytes) in [
        ("Content-Length: 2", ""),
        ("Content-Length: 2", "h"),
        ("Transfer-Encoding: chunked", ""),
        ("Transfer-Encoding: chunked", "2"),
        ("Transfer-Encoding: chunked", "2\r\nh"),
        ("Transfer-Encoding: chunked", "2\r\nhi\r"),
        ("Transfer-Encoding: chunked", "0\r\nx: "),
        ("X: until it closes", "hi"),
    ] {
        let mut connection = asked("GET");
        receive(
            &mut connection,
            &format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n"),
        )
        .unwrap();
        let mut buffer = BytesMut::from(bytes);
        while connection.receive_body(&mut buffer) != Ok(Part::More) {}
        let ended = connection.end_of_input();
        assert_eq!(ended.is_ok(), framing.starts_with('X'));
        assert!(!connection.is_untouched(), "{framing}: {bytes:?}");
    }
    let mut connection = asked("GET");
    receive(&mut connection, "HTTP/1.1 103 Early Hints\r\n\r\n").unwrap();
    assert_eq!(connection.end_of_input(), Err(Error::Truncated));
    assert!(!connection.is_untouched());
}

#[test]
fn interim_responses_are_counted_by_request() {
    let limits = Limits {
        interim: 1,
        ..Limits::default()
    };
    let mut connection = ClientConnection::new(limits);
    for _ in 0..2 {
        ask(&mut connection, "GET");
        let interim = receive(&mut connection, "HTTP/1.1 103 Early Hints\r\n\r\n").unwrap();
        assert_eq!(interim.unwrap().kind, Kind::Interim);
        receive(&mut connection, "HTTP/1.1 204 No Content\r\n\r\n").unwrap();
        assert!(connection.finish(0));
    }
}

#[test]
fn an_upgrade_waits_for_the_end_of_its_request() {
    let mut head = request("POST");
    head.fields.push("Upgrade", "x");
    let (mut connection, mut out) = (ClientConnection::new(Limits::default()), Vec::new());
    connection
        .encode_head(&head, Length::Known(2), true, 0, &mut out)
        .unwrap();
    let switched = "HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n";
    assert_eq!(
        receive(&mut connection, switched).unwrap_err(),
        Error::Switched
    );

    let mut connection = ClientConnection::new(Limits::default());
    connection
        .encode_head(&head, Length::None, true, 0, &mut out)
        .unwrap();
    connection.encode_end(&Fields::new(), &mut out).unwrap();
    assert_eq!(
        receive(&mut connection, switched).unwrap().unwrap().kind,
        Kind::Switched
    );
    assert!(!connection.finish(0));
    assert_eq!(connection.end_of_input(), Ok(()));
}

#[test]
fn an_upgrade_is_to_one_protocol_and_to_no_other() {
    for (lines, asked) in [
        (&["websocket"][..], Some("websocket")),
        (&["", "websocket"], Some("websocket")),
        (&[" , h2/1.x,"], Some("h2/1.x")),
        (&[], None),
        (&[""], None),
        (&["a, b"], None),
        (&["a", "b"], None),
        (&["a", "a"], None),
        (&["a b"], None),
        (&["a/b/c"], None),
        (&["a/"], None),
    ] {
        let mut head = request("GET");
        for line in lines {
            head.fields.push("Upgrade", *line);
        }
        let (mut connection, mut out) = (ClientConnection::new(Limits::default()), Vec::new());
        let written = connection.encode_head(&head, Length::None, true, 0, &mut out);
        match asked {
            Some(asked) => assert_eq!(
                String::from_utf8(out).unwrap(),
                format!(
                    "GET /a HTTP/1.1\r\nHost: a.test\r\nUpgrade: {asked}\r\nConnection: upgrade\r\n\r\n"
                )
            ),
            None => assert_eq!(written, Err(EncodeError::Turn), "{lines:?}"),
        }
    }
    for (lines, is_taken) in [
        ("Upgrade: websocket", true),
        ("Upgrade: WebSocket", true),
        ("Upgrade:\r\nUpgrade: websocket", true),
        ("Upgrade: h2c", false),
        ("Upgrade: websocket/13", false),
        ("Upgrade: websocket, h2c", false),
        ("Upgrade: h2c\r\nUpgrade: websocket", false),
        ("Upgrade:", false),
    ] {
        let mut head = request("GET");
        head.fields.push("Upgrade", "websocket");
        let (mut connection, mut out) = (ClientConnection::new(Limits::default()), Vec::new());
        connection
            .encode_head(&head, Length::None, true, 0, &mut out)
            .unwrap();
        connection.encode_end(&Fields::new(), &mut out).unwrap();
        let answer = format!("HTTP/1.1 101 S\r\nConnection: upgrade\r\n{lines}\r\n\r\n");
        let found = receive(&mut connection, &answer);
        let want = if is_taken {
            Ok(Kind::Switched)
        } else {
            Err(Error::Switched)
        };
        assert_eq!(found.map(|found| found.unwrap().kind), want, "{lines}");
    }
}

#[test]
fn a_response_beyond_the_limit_is_refused() {
    let limits = Limits {
        body: 4,
        ..Limits::default()
    };
    let mut connection = ClientConnection::new(limits);
    ask(&mut connection, "GET");
    let long = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
    assert_eq!(
        receive(&mut connection, long).unwrap_err(),
        Error::BodyTooLarge(4)
    );
    let mut connection = ClientConnection::new(limits);
    ask(&mut connection, "GET");
    let short = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n";
    assert_eq!(
        receive(&mut connection, short).unwrap().unwrap().length,
        Length::Known(4)
    );
    let mut connection = ClientConnection::new(limits);
    ask(&mut connection, "HEAD");
    assert_eq!(
        receive(&mut connection, long).unwrap().unwrap().length,
        Length::Known(5)
    );
}
