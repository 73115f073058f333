//! HTTP/1.1: nothing panics, and cuts change nothing; what is taken as a request and written on is taken by the next
//! reader as that request and no other, with nothing left over.
//!
//! The first byte of an input says which side reads it, the second how the bytes come; the rest are the bytes.

#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use tollgate_http::h1::{
    ClientConnection, Error, Kind, Length, Limits, Next, Part, ServerConnection,
};
use tollgate_http::{Fields, RequestHead, ResponseHead, Scheme};

/// Small, so that all of them are met.
const LIMITS: Limits = Limits {
    head: 512,
    target: 128,
    fields: 8,
    name: 24,
    trailers: 96,
    extensions: 32,
    body: 512,
    drain: 64,
    interim: 2,
};

fuzz_target!(|input: &[u8]| {
    let [side, cut, bytes @ ..] = input else {
        return;
    };
    let cut = usize::from(*cut).max(1);
    match side {
        b'S' => {
            let whole = served(bytes, bytes.len().max(1));
            assert_eq!(whole, served(bytes, cut));
            assert_eq!(whole, served(bytes, 1));
            for message in whole {
                passed_on(&message);
            }
        }
        b'G' | b'H' | b'U' => {
            let whole = answered(*side, bytes, bytes.len().max(1));
            assert_eq!(whole, answered(*side, bytes, cut));
            assert_eq!(whole, answered(*side, bytes, 1));
        }
        _ => {}
    }
});

/// What was made of a message.
#[derive(Debug, PartialEq)]
enum Made {
    Request {
        line: String,
        fields: Fields,
        length: Length,
        content: Vec<u8>,
        trailers: Fields,
    },
    Response(u16, Fields, Vec<u8>),
    Refused(Error),
    Cut,
}

/// What a server makes of `bytes` that come in pieces of `size`.
fn served(bytes: &[u8], size: usize) -> Vec<Made> {
    let mut connection = ServerConnection::new(Scheme::Https, LIMITS);
    let (mut buffer, mut pieces) = (BytesMut::new(), bytes.chunks(size));
    let (mut made, mut out) = (Vec::new(), Vec::new());
    loop {
        let status = match connection.receive_head(&mut buffer, &mut Fields::new()) {
            Ok(None) => match pieces.next() {
                Some(piece) => {
                    buffer.extend_from_slice(piece);
                    continue;
                }
                None => return made,
            },
            Ok(Some(request)) => {
                let read = content(&mut buffer, &mut pieces, |buffer| {
                    connection.receive_body(buffer)
                });
                let (content, trailers) = match read {
                    Ok(read) => read,
                    Err(why) => {
                        made.push(why);
                        return made;
                    }
                };
                made.push(Made::Request {
                    line: line(&request.head),
                    fields: request.head.fields,
                    length: request.framing.into(),
                    content,
                    trailers,
                });
                200
            }
            Err(refused) => {
                made.push(Made::Refused(refused.error));
                refused.error.status()
            }
        };
        let head = ResponseHead {
            status,
            fields: Fields::new(),
        };
        connection
            .encode_head(&head, Length::Known(0), &mut out)
            .expect("an answer");
        connection
            .encode_end(&Fields::new(), &mut out)
            .expect("its end");
        if connection.finish(0) == Next::Drain
            && let Err(why) = content(&mut buffer, &mut pieces, |buffer| {
                connection.receive_body(buffer)
            })
        {
            made.push(why);
        }
        if connection.finish(0) != Next::Request {
            return made;
        }
    }
}

/// What a client makes of them.
fn answered(asked: u8, bytes: &[u8], size: usize) -> Vec<Made> {
    let mut connection = ClientConnection::new(LIMITS);
    let (mut buffer, mut pieces) = (BytesMut::new(), bytes.chunks(size));
    let (mut made, mut out) = (Vec::new(), Vec::new());
    let method = if asked == b'H' { "HEAD" } else { "GET" };
    let mut head = ask(format!("{method} / HTTP/1.1\r\nHost: a.test\r\n\r\n").as_bytes());
    head.fields.push("Upgrade", "x");
    connection
        .encode_head(&head, Length::None, asked == b'U', 0, &mut out)
        .expect("a request");
    connection
        .encode_end(&Fields::new(), &mut out)
        .expect("its end");
    loop {
        match connection.receive_head(&mut buffer, &mut Fields::new()) {
            Ok(None) => match pieces.next() {
                Some(piece) => buffer.extend_from_slice(piece),
                None => return made,
            },
            Ok(Some(response)) if response.kind == Kind::Final => {
                let read = content(&mut buffer, &mut pieces, |buffer| {
                    connection.receive_body(buffer)
                });
                made.push(match read {
                    Ok((content, _)) => {
                        Made::Response(response.head.status, response.head.fields, content)
                    }
                    Err(why) => why,
                });
                return made;
            }
            Ok(Some(response)) => {
                let head = response.head;
                made.push(Made::Response(head.status, head.fields, Vec::new()));
                if response.kind == Kind::Switched {
                    return made;
                }
            }
            Err(error) => {
                made.push(Made::Refused(error));
                return made;
            }
        }
    }
}

fn content<'a>(
    buffer: &mut BytesMut,
    pieces: &mut impl Iterator<Item = &'a [u8]>,
    mut next: impl FnMut(&mut BytesMut) -> Result<Part, Error>,
) -> Result<(Vec<u8>, Fields), Made> {
    let (mut content, mut trailers) = (Vec::new(), Fields::new());
    loop {
        match next(buffer).map_err(Made::Refused)? {
            Part::Data(data) => content.extend_from_slice(&data),
            Part::Trailers(found) => trailers = found,
            Part::End => return Ok((content, trailers)),
            Part::More => buffer.extend_from_slice(pieces.next().ok_or(Made::Cut)?),
        }
    }
}

fn ask(bytes: &[u8]) -> RequestHead {
    let mut connection = ServerConnection::new(Scheme::Https, Limits::default());
    let received = connection.receive_head(&mut BytesMut::from(bytes), &mut Fields::new());
    received.ok().flatten().expect("a request").head
}

fn line(head: &RequestHead) -> String {
    let host = head.authority.as_ref().map(ToString::to_string);
    format!("{} {} {:?} {host:?}", head.method, head.path, head.query)
}

/// Written on, a request is read as itself, once, and nothing is left.
fn passed_on(message: &Made) {
    let Made::Request {
        line: was,
        fields,
        length,
        content: body,
        trailers,
    } = message
    else {
        return;
    };
    // The head again, from its own parts: the method, path, query and host are in the line.
    let mut words = was.splitn(3, ' ');
    let (Some(method), Some(path)) = (words.next(), words.next()) else {
        return;
    };
    if method == "OPTIONS" && path == "*" {
        return;
    }
    let mut head = ask(format!("{method} {path} HTTP/1.1\r\nHost: a.test\r\n\r\n").as_bytes());
    head.fields = fields.clone();
    let mut client = ClientConnection::new(LIMITS);
    let mut out = Vec::new();
    client
        .encode_head(&head, *length, false, 0, &mut out)
        .expect("what was read can be written");
    if !body.is_empty() {
        client.encode_data(body, &mut out).expect("its body");
    }
    client.encode_end(trailers, &mut out).expect("its end");
    let limits = Limits {
        head: 4096,
        trailers: 4096,
        ..Limits::default()
    };
    let mut server = ServerConnection::new(Scheme::Https, limits);
    let mut buffer = BytesMut::from(&out[..]);
    let Ok(Some(again)) = server.receive_head(&mut buffer, &mut Fields::new()) else {
        panic!("{} is read as no request", out.escape_ascii());
    };
    assert_eq!(line(&again.head), line(&head));
    assert_eq!(Length::from(again.framing), *length);
    let read = content(&mut buffer, &mut std::iter::empty(), |buffer| {
        server.receive_body(buffer)
    });
    assert_eq!(read.expect("its body").0, *body);
    assert!(buffer.is_empty());
}
