//! What may follow a request: unread bodies, waiting clients, upgrades, ends.

use bytes::BytesMut;

use super::server::{GET, answer, head_of, served};
use super::transcript::response;
use crate::h1::*;
use crate::{Fields, Scheme};

fn read_all(connection: &mut ServerConnection, buffer: &mut BytesMut) -> Vec<u8> {
    let mut content = Vec::new();
    loop {
        let part = connection.receive_body(buffer).unwrap();
        let end = matches!(part, Part::End | Part::More);
        if let Part::Data(data) = part {
            content.extend_from_slice(&data);
        }
        if end {
            return content;
        }
    }
}

const UPLOAD: &str = "POST / HTTP/1.1\r\nHost: a.test\r\n";

/// threats.md 59: what is left of a refused request is never read as the next one.
#[test]
fn t59_a_body_that_nobody_wants_is_read_or_the_connection_ends() {
    let limit = Limits::default().drain as usize;
    let coding = "Transfer-Encoding: chunked\r\n";
    for (framing, body, announced, next) in [
        (
            "Content-Length: 5\r\n".to_owned(),
            "hello".to_owned(),
            false,
            Next::Request,
        ),
        (
            format!("Content-Length: {limit}\r\n"),
            "x".repeat(limit),
            false,
            Next::Request,
        ),
        (
            format!("Content-Length: {}\r\n", limit + 1),
            String::new(),
            true,
            Next::Close,
        ),
        (
            coding.to_owned(),
            "5\r\nhello\r\n0\r\nx: 1\r\n\r\n".to_owned(),
            false,
            Next::Request,
        ),
        (
            coding.to_owned(),
            // 13 bytes frame them.
            format!(
                "{:x}\r\n{}\r\n0\r\n\r\n",
                limit - 13,
                "x".repeat(limit - 13)
            ),
            false,
            Next::Request,
        ),
    ] {
        let (mut connection, mut buffer, _) = served(format!("{UPLOAD}{framing}\r\n{body}{GET}"));
        connection.abandon_body();
        let head = answer(&mut connection, 401);
        assert_eq!(head.contains("Connection: close"), announced);
        let mut found = connection.finish(buffer.len());
        if found == Next::Drain {
            assert_eq!(connection.finish(buffer.len()), Next::Drain);
            assert!(
                connection
                    .receive_head(&mut buffer, &mut Fields::new())
                    .unwrap()
                    .is_none()
            );
            assert_eq!(read_all(&mut connection, &mut buffer), b"");
            found = connection.finish(buffer.len());
        }
        assert_eq!(found, next);
        if next == Next::Request {
            assert_eq!(buffer, GET);
        } else {
            assert!(
                connection
                    .receive_head(&mut buffer, &mut Fields::new())
                    .unwrap()
                    .is_none()
            );
        }
    }
    // Without a length it is found out on the way, at the same byte however they come: framing costs as much as data.
    let chunk = |length: usize| format!("{length:x}\r\n{}\r\n", "x".repeat(length));
    for body in [
        chunk(limit + 1),
        format!("{}0\r\n\r\n", chunk(limit - 12)),
        format!("{}0\r\nx: 1\r\n\r\n", chunk(limit - 13)),
        format!("{}no number", chunk(limit - 8)),
        "1\r\nx\r\n".repeat(limit / 6 + 1),
        format!("1{}", ";x=y".repeat(4000)) + "\r\nx\r\n" + &chunk(limit - 16_009),
    ] {
        for size in [1, 1000, body.len()] {
            let (mut connection, mut buffer, _) = served(format!("{UPLOAD}{coding}\r\n"));
            answer(&mut connection, 401);
            assert_eq!(connection.finish(buffer.len()), Next::Drain);
            let mut found = Ok(Part::More);
            for piece in body.as_bytes().chunks(size) {
                buffer.extend_from_slice(piece);
                found = connection.receive_body(&mut buffer);
                if found.is_err() {
                    break;
                }
            }
            assert_eq!(found, Err(Error::BodyTooLarge(limit as u64)), "{size}");
            assert_eq!(connection.finish(buffer.len()), Next::Close);
            assert_eq!(connection.receive_body(&mut buffer), found);
        }
    }
}

#[test]
fn an_early_answer_leaves_the_body_to_be_read() {
    let (mut connection, mut buffer, _) = served(format!("{UPLOAD}Content-Length: 8\r\n\r\nhell"));
    assert_eq!(read_all(&mut connection, &mut buffer), b"hell");
    let head = answer(&mut connection, 200);
    assert!(!head.contains("close"));
    assert_eq!(connection.finish(0), Next::Drain);
    buffer.extend_from_slice(format!("o wo{GET}").as_bytes());
    assert_eq!(read_all(&mut connection, &mut buffer), b"");
    assert_eq!(connection.finish(buffer.len()), Next::Request);
    assert_eq!(buffer, GET);
}

/// RFC 9110 section 10.1.1
#[test]
fn who_waits_for_a_100_gets_one_or_the_end() {
    let waiting = format!("{UPLOAD}Expect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    let (mut connection, mut buffer, _) = served(&waiting);
    assert!(connection.awaits_continue());
    let mut out = Vec::new();
    connection.encode_interim(&response(103), &mut out).unwrap();
    assert!(connection.awaits_continue());
    connection.encode_interim(&response(100), &mut out).unwrap();
    assert!(out.ends_with(b"HTTP/1.1 100 Continue\r\n\r\n"));
    assert!(!connection.awaits_continue());
    buffer.extend_from_slice(b"hi");
    assert_eq!(read_all(&mut connection, &mut buffer), b"hi");
    answer(&mut connection, 200);
    assert_eq!(connection.finish(0), Next::Request);

    // Refused at once: whether the body comes nobody knows.
    for abandon in [false, true] {
        let (mut connection, buffer, _) = served(&waiting);
        if abandon {
            connection.abandon_body();
        }
        assert!(answer(&mut connection, 401).contains("Connection: close"));
        assert!(!connection.awaits_continue());
        assert_eq!(connection.finish(buffer.len()), Next::Close);
    }
    // It did not wait.
    let (mut connection, mut buffer, _) = served(format!("{waiting}hi"));
    assert_eq!(read_all(&mut connection, &mut buffer), b"hi");
    assert!(!connection.awaits_continue());
    assert!(!answer(&mut connection, 401).contains("close"));
    assert_eq!(connection.finish(0), Next::Request);
    // An interim response is nothing to HTTP/1.0.
    let (mut connection, _, _) = served("GET / HTTP/1.0\r\n\r\n");
    let mut out = Vec::new();
    connection.encode_interim(&response(103), &mut out).unwrap();
    assert!(out.is_empty());
}

const UPGRADE: &str = "Connection: upgrade\r\nUpgrade: x\r\n";

/// threats.md 58: bytes behind an upgrade are the new protocol's, or nobody's.
#[test]
fn t58_what_follows_an_upgrade_is_no_request() {
    let switching = || {
        let mut head = response(101);
        head.fields.push("Upgrade", "x");
        head
    };
    let mut out = Vec::new();
    let (mut connection, mut buffer, request) = served(format!(
        "GET / HTTP/1.1\r\nHost: a.test\r\n{UPGRADE}\r\n{GET}"
    ));
    assert!(request.upgrade);
    // Without its name it is no switch, and not to be one.
    let nameless = connection.encode_head(&response(101), Length::None, &mut out);
    assert_eq!(nameless, Err(EncodeError::Turn));
    // Nor with another.
    let mut other = response(101);
    other.fields.push("Upgrade", "y");
    let other = connection.encode_head(&other, Length::None, &mut out);
    assert_eq!(other, Err(EncodeError::Turn));
    connection
        .encode_head(&switching(), Length::None, &mut out)
        .unwrap();
    assert_eq!(
        out,
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"
    );
    assert_eq!(connection.finish(buffer.len()), Next::Switched);
    assert!(
        connection
            .receive_head(&mut buffer, &mut Fields::new())
            .unwrap()
            .is_none()
    );
    assert_eq!(connection.receive_body(&mut buffer), Ok(Part::End));
    assert_eq!(connection.end_of_input(0), Ok(()));
    assert_eq!(buffer, GET);

    // Refused, whatever has been sent behind it by now, and whether it named one protocol or two.
    for upgrade in [UPGRADE, "Connection: upgrade\r\nUpgrade: x, y\r\n"] {
        for behind in ["", "x", GET] {
            let (mut connection, mut buffer, _) = served(format!(
                "GET / HTTP/1.1\r\nHost: a.test\r\n{upgrade}\r\n{behind}"
            ));
            assert!(answer(&mut connection, 200).contains("\r\nConnection: close\r\n"));
            assert_eq!(connection.finish(buffer.len()), Next::Close, "{behind:?}");
            let next = connection.receive_head(&mut buffer, &mut Fields::new());
            assert!(next.unwrap().is_none());
        }
    }

    // Not before the request's own body has ended.
    let (mut connection, mut buffer, _) =
        served(format!("{UPLOAD}{UPGRADE}Content-Length: 2\r\n\r\nh"));
    read_all(&mut connection, &mut buffer);
    assert_eq!(
        connection.encode_head(&switching(), Length::None, &mut out),
        Err(EncodeError::Turn)
    );
    buffer.extend_from_slice(b"i");
    read_all(&mut connection, &mut buffer);
    connection
        .encode_head(&switching(), Length::None, &mut out)
        .unwrap();
    // Nor for who has been refused.
    let refused = format!("GET /../x HTTP/1.1\r\nHost: a.test\r\n{UPGRADE}\r\nx");
    let mut connection = ServerConnection::new(Scheme::Https, Limits::default());
    let mut buffer = BytesMut::from(refused.as_bytes());
    connection
        .receive_head(&mut buffer, &mut Fields::new())
        .unwrap_err();
    assert_eq!(
        connection.encode_head(&switching(), Length::None, &mut out),
        Err(EncodeError::Turn)
    );
    answer(&mut connection, 400);
    assert_eq!(connection.finish(buffer.len()), Next::Close);
}

#[test]
fn the_end_of_input_is_an_end_or_a_cut() {
    let mut fresh = ServerConnection::new(Scheme::Https, Limits::default());
    assert_eq!(fresh.end_of_input(0), Ok(()));
    assert_eq!(fresh.finish(0), Next::Close);
    let mut half = ServerConnection::new(Scheme::Https, Limits::default());
    assert_eq!(half.end_of_input(3), Err(Error::Truncated));
    // It may be told so, and that is all.
    assert_eq!(half.finish(3), Next::Respond);
    assert!(answer(&mut half, 400).contains("Connection: close"));
    assert_eq!(half.finish(3), Next::Close);
    // Who has asked and sends no more is answered, and the end comes when it is read.
    let (mut asked, _, _) = served(GET);
    assert_eq!(asked.end_of_input(0), Ok(()));
    answer(&mut asked, 200);
    assert_eq!(asked.finish(0), Next::Request);
    let (mut cut, mut buffer, _) = served(format!("{UPLOAD}Content-Length: 2\r\n\r\nh"));
    assert_eq!(cut.receive_body(&mut buffer), Ok(Part::Data("h".into())));
    assert_eq!(cut.end_of_input(0), Err(Error::Truncated));
    assert_eq!(cut.end_of_input(0), Err(Error::Truncated));
    assert!(answer(&mut cut, 400).contains("Connection: close"));
    assert_eq!(cut.finish(0), Next::Close);
}

#[test]
fn a_server_on_its_way_out_says_so() {
    let (mut connection, mut buffer, _) = served([GET, GET].concat());
    connection.close();
    assert!(answer(&mut connection, 200).contains("Connection: close"));
    assert_eq!(connection.finish(buffer.len()), Next::Close);
    assert!(
        connection
            .receive_head(&mut buffer, &mut Fields::new())
            .unwrap()
            .is_none()
    );
    let mut idle = ServerConnection::new(Scheme::Https, Limits::default());
    idle.close();
    assert_eq!(idle.finish(0), Next::Close);
    let read = idle.receive_head(&mut BytesMut::from(GET), &mut Fields::new());
    assert!(read.unwrap().is_none());
}

/// Who has sent a request and was not told that it would not be read gets an answer.
#[test]
fn a_server_on_its_way_out_answers_what_has_arrived() {
    // Whole, or in part, between two requests.
    for cut in [1, GET.len()] {
        let mut connection = ServerConnection::new(Scheme::Https, Limits::default());
        let mut buffer = BytesMut::from(&GET[..cut]);
        connection.close();
        assert_eq!(connection.finish(buffer.len()), Next::Request);
        let mut spare = Fields::new();
        if cut < GET.len() {
            let begun = connection.receive_head(&mut buffer, &mut spare);
            assert!(begun.unwrap().is_none());
            buffer.extend_from_slice(&GET.as_bytes()[cut..]);
        }
        let request = connection.receive_head(&mut buffer, &mut spare);
        assert!(request.unwrap().is_some());
        assert!(answer(&mut connection, 200).contains("Connection: close"));
        assert_eq!(connection.finish(0), Next::Close);
    }
    // Behind a head that did not say so yet.
    for (requests, next) in [
        ([GET, GET].concat(), Next::Request),
        (GET.to_owned(), Next::Close),
    ] {
        let (mut connection, mut buffer, _) = served(requests);
        assert!(!answer(&mut connection, 200).contains("close"));
        connection.close();
        assert_eq!(connection.finish(buffer.len()), next);
        let request = connection
            .receive_head(&mut buffer, &mut Fields::new())
            .unwrap();
        assert_eq!(request.is_some(), next == Next::Request);
        if request.is_some() {
            assert!(answer(&mut connection, 200).contains("Connection: close"));
            assert_eq!(connection.finish(0), Next::Close);
        }
    }
}

/// A refusal is framed for who is refused, not for who asked before.
#[test]
fn a_refusal_is_framed_for_its_method_and_version() {
    let chunked = "Transfer-Encoding: chunked\r\n";
    let long = "/x".repeat(20_000);
    for (refused, coded, silent) in [
        (
            "GET / HTTP/1.1\r\nHost: a.test\r\na b: c\r\n\r\n",
            true,
            false,
        ),
        ("GET / HTTP/1.0\r\na b: c\r\n\r\n", false, false),
        ("HEAD / HTTP/1.0\r\na b: c\r\n\r\n", false, true),
        (
            "HEAD / HTTP/1.1\r\nHost: a.test\r\na b: c\r\n\r\n",
            false,
            true,
        ),
        ("HEAD / HTTP/1.1\n", false, true),
        ("HEAD / HTTP/1.1\r\na\n", false, true),
        (&format!("HEAD {long}"), false, true),
        ("GET / HTTP/1.1\n", false, false),
        ("GET / HTTP/3.0\r\n\r\n", false, false),
        ("HEADER / HTTP/1.1\n", false, false),
        ("\u{1}", false, false),
        ("HEAD\n / HTTP/1.1", false, false),
    ] {
        for before in ["HEAD", "GET"] {
            let (mut connection, mut buffer, _) = served(format!(
                "{before} / HTTP/1.1\r\nHost: a.test\r\n\r\n{refused}"
            ));
            answer(&mut connection, 200);
            assert_eq!(connection.finish(buffer.len()), Next::Request);
            connection
                .receive_head(&mut buffer, &mut Fields::new())
                .unwrap_err();
            let head = head_of(&mut connection, 400, Length::Unknown);
            assert_eq!(head.contains(chunked), coded, "{refused:?}");
            assert!(head.contains("Connection: close"));
            let frame = connection.frame(2).unwrap();
            assert_eq!(frame.is_silent(), silent, "{refused:?}");
        }
    }
    // And one that is cut.
    let (mut connection, _, _) = served("HEAD / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    answer(&mut connection, 200);
    connection.finish(1);
    assert_eq!(connection.end_of_input(1), Err(Error::Truncated));
    let head = head_of(&mut connection, 400, Length::Unknown);
    assert!(!head.contains(chunked));
    assert!(!connection.frame(2).unwrap().is_silent());
}

/// What is refused says what could be read of it: its form is asked for by `Accept`, and logs name it.
#[test]
fn a_refusal_tells_what_was_seen() {
    let mut connection = ServerConnection::new(Scheme::Https, Limits::default());
    let bytes = "HEAD /a/../b?c HTTP/1.1\r\nAccept: text/html\r\nHost: a.test\r\n\r\n";
    let refused = connection
        .receive_head(&mut BytesMut::from(bytes), &mut Fields::new())
        .unwrap_err();
    assert_eq!(refused.method.unwrap().as_str(), "HEAD");
    assert_eq!(refused.target.unwrap(), "/a/../b?c");
    assert_eq!(refused.fields.get("accept").unwrap(), "text/html");
    // A body to HEAD would be the next response.
    let mut out = Vec::new();
    head_of(&mut connection, 400, Length::Known(2));
    connection.encode_data(b"no", &mut out).unwrap();
    connection.encode_end(&Fields::new(), &mut out).unwrap();
    assert!(out.is_empty());
    assert!(connection.frame(0).is_err());
}

#[test]
fn a_body_beyond_the_limit_is_refused_before_it_is_read() {
    let limits = Limits {
        body: 4,
        ..Limits::default()
    };
    let read = |text: String| {
        let mut connection = ServerConnection::new(Scheme::Https, limits);
        let mut buffer = BytesMut::from(text.as_bytes());
        let request = connection.receive_head(&mut buffer, &mut Fields::new());
        (
            connection,
            buffer,
            request.map(Option::unwrap).map_err(|refused| refused.error),
        )
    };
    let (.., refused) = read(format!("{UPLOAD}Content-Length: 5\r\n\r\n"));
    assert_eq!(refused.unwrap_err(), Error::BodyTooLarge(4));
    let (.., taken) = read(format!("{UPLOAD}Content-Length: 4\r\n\r\n"));
    assert_eq!(taken.unwrap().framing, Framing::Length(4));
    let (mut connection, mut buffer, _) = read(format!(
        "{UPLOAD}Transfer-Encoding: chunked\r\n\r\n5\r\nhello"
    ));
    assert_eq!(
        connection.receive_body(&mut buffer),
        Ok(Part::Data("hell".into()))
    );
    assert_eq!(
        connection.receive_body(&mut buffer),
        Err(Error::BodyTooLarge(4))
    );
}
