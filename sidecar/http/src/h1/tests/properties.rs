//! For all bytes, and however they are cut.

use bytes::{Bytes, BytesMut};
use proptest::collection::vec as some;
use proptest::prelude::*;

use super::transcript;
use crate::h1::*;
use crate::{Authority, Fields, Method, Path, RequestHead, ResponseHead, Scheme, Version};

/// Small limits, so that all of them are met.
const LIMITS: Limits = Limits {
    head: 256,
    target: 64,
    fields: 6,
    name: 24,
    trailers: 64,
    extensions: 24,
    body: 64,
    drain: 32,
    interim: 2,
};

/// Bytes that are nearly HTTP: pieces of messages in any order, damaged now and then.
fn nearly() -> impl Strategy<Value = Vec<u8>> {
    let piece = proptest::sample::select(vec![
        &b"GET / HTTP/1.1\r\n"[..],
        b"POST /a?b HTTP/1.1\r\n",
        b"HEAD /../ HTTP/1.0\r\n",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 103 E\r\n",
        b"HTTP/1.0 204 N\r\n",
        b"Host: a.test\r\n",
        b"Content-Length: 5\r\n",
        b"Content-Length: 40\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Expect: 100-continue\r\n",
        b"Connection: keep-alive\r\n",
        b"Connection: close\r\n",
        b"x: y\r\n",
        b"\r\n",
        b"\r\n\r\n",
        b"5\r\nhello\r\n",
        b"5;a=\"b\"\r\nhello\r\n",
        b"0\r\n\r\n",
        b"0\r\nx: y\r\n\r\n",
        b"hello",
        b"\n",
        b"\r",
        b" ",
        b"\0",
        b":",
        b";",
        b"\xff",
    ]);
    some(piece, 0..14).prop_map(|pieces| pieces.concat())
}

/// A whole request or two, damaged in a byte or not.
fn damaged() -> impl Strategy<Value = Vec<u8>> {
    let whole = proptest::sample::select(vec![
        &b"POST /a HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\nhelloGET / HTTP/1.1\r\nHost: a.test\r\n\r\n"[..],
        b"POST /a HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nx: y\r\n\r\nGET / HTTP/1.1\r\nHost: a.test\r\n\r\n",
        b"HTTP/1.1 100 C\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    ]);
    let byte = prop_oneof![any::<u8>(), proptest::sample::select(&b"\r\n\t :;,0x"[..])];
    (whole, any::<prop::sample::Index>(), byte, 0..4_u8).prop_map(|(whole, at, byte, how)| {
        let mut bytes = whole.to_vec();
        let at = at.index(bytes.len());
        match how {
            0 => bytes[at] = byte,
            1 => bytes.insert(at, byte),
            2 => drop(bytes.remove(at)),
            _ => {}
        }
        bytes
    })
}

fn cut<'a>(bytes: &'a [u8], cuts: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut at: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    at.extend([0, bytes.len()]);
    at.sort_unstable();
    at.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect()
}

fn token() -> impl Strategy<Value = String> {
    "[!#$%&'*+.^_`|~0-9A-Za-z-]{1,16}"
}

fn fields() -> impl Strategy<Value = Fields> {
    let value = some(
        prop_oneof![0x20..0x7f_u8, 0x80..=0xff_u8, Just(b'\t')],
        0..20,
    )
    .prop_map(|bytes| Bytes::copy_from_slice(bytes.trim_ascii()));
    some((token(), value), 0..8).prop_map(|lines| {
        let mut fields = Fields::new();
        for (name, value) in lines {
            fields.push(name, value);
        }
        // What is written anew is no part of a round trip.
        for own in [
            "host",
            "connection",
            "keep-alive",
            "content-length",
            "transfer-encoding",
            "expect",
        ] {
            fields.remove(own);
        }
        fields
    })
}

fn body() -> impl Strategy<Value = Vec<Vec<u8>>> {
    some(some(any::<u8>(), 1..40), 0..4)
}

/// All of a body and its trailers.
fn read(
    buffer: &mut BytesMut,
    mut next: impl FnMut(&mut BytesMut) -> Result<Part, Error>,
) -> (Vec<u8>, Fields, usize) {
    let (mut content, mut trailers) = (Vec::new(), Fields::new());
    loop {
        match next(buffer).unwrap() {
            Part::Data(data) => content.extend_from_slice(&data),
            Part::Trailers(found) => trailers = found,
            Part::End => return (content, trailers, buffer.len()),
            Part::More => panic!("the body does not end"),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    /// The same events however the bytes come, and no panic whatever they are.
    #[test]
    fn cuts_change_nothing(bytes in prop_oneof![nearly(), damaged(), some(any::<u8>(), 0..200)], cuts in some(any::<prop::sample::Index>(), 0..12)) {
        let whole = transcript::server(vec![&bytes], LIMITS);
        prop_assert_eq!(&whole, &transcript::server(cut(&bytes, &cuts), LIMITS));
        prop_assert_eq!(&whole, &transcript::server(bytes.chunks(1).collect(), LIMITS));
        for asked in ["GET", "HEAD", "upgrade"] {
            let whole = transcript::client(asked, vec![&bytes], LIMITS);
            prop_assert_eq!(&whole, &transcript::client(asked, cut(&bytes, &cuts), LIMITS));
            prop_assert_eq!(&whole, &transcript::client(asked, bytes.chunks(1).collect(), LIMITS));
        }
    }

    /// What the client writes the server reads: the same head, the same body, and not a byte more.
    #[test]
    fn a_request_that_is_written_is_the_one_that_is_read(
        method in token(), path in "/[a-z0-9/;=]{0,12}", query in proptest::option::of("[a-z=&?%\"]{0,8}"),
        host in "[a-z]{1,8}(:[1-9][0-9]{0,3})?", fields in fields(), trailers in fields(), pieces in body(), known in any::<bool>(),
    ) {
        let method = Method::parse(method.as_bytes()).unwrap();
        prop_assume!(method.is_passed_on());
        let head = RequestHead {
            method,
            scheme: Scheme::Https,
            authority: Some(Authority::parse(host.as_bytes()).unwrap()),
            path: Path::parse(path.as_bytes()).unwrap(),
            query: query.map(Bytes::from),
            version: Version::Http11,
            fields,
        };
        let content = pieces.concat();
        let length = if known { Length::Known(content.len() as u64) } else { Length::Unknown };
        let (mut client, mut out) = (ClientConnection::new(Limits::default()), Vec::new());
        client.encode_head(&head, length, false, 0, &mut out).unwrap();
        for piece in &pieces {
            client.encode_data(piece, &mut out).unwrap();
        }
        client.encode_end(&trailers, &mut out).unwrap();
        out.extend_from_slice(b"behind");

        let (mut server, mut buffer) = (ServerConnection::new(Scheme::Https, Limits::default()), BytesMut::from(&out[..]));
        let read_head = server.receive_head(&mut buffer, &mut Fields::new()).unwrap().unwrap();
        prop_assert_eq!(Length::from(read_head.framing), length);
        let mut found = read_head.head;
        found.fields.remove("content-length");
        found.fields.remove("transfer-encoding");
        prop_assert_eq!(&found.method, &head.method);
        prop_assert_eq!(&found.authority, &head.authority);
        prop_assert_eq!(&found.path, &head.path);
        prop_assert_eq!(&found.query, &head.query);
        prop_assert_eq!(&found.fields, &head.fields);
        let (read_content, read_trailers, left) = read(&mut buffer, |buffer| server.receive_body(buffer));
        prop_assert_eq!(read_content, content);
        prop_assert_eq!(&read_trailers, if known { &Fields::default() } else { &trailers } );
        prop_assert_eq!(left, b"behind".len());
    }

    /// And back.
    #[test]
    fn a_response_that_is_written_is_the_one_that_is_read(
        status in 200..600_u16, fields in fields(), trailers in fields(), pieces in body(), known in any::<bool>(),
    ) {
        let content = pieces.concat();
        let length = if known { Length::Known(content.len() as u64) } else { Length::Unknown };
        let mut server = ServerConnection::new(Scheme::Https, Limits::default());
        let mut asked = BytesMut::from("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
        server.receive_head(&mut asked, &mut Fields::new()).unwrap().unwrap();
        let mut out = Vec::new();
        server.encode_head(&ResponseHead { status, fields: fields.clone() }, length, &mut out).unwrap();
        for piece in &pieces {
            server.encode_data(piece, &mut out).unwrap();
        }
        server.encode_end(&trailers, &mut out).unwrap();
        out.extend_from_slice(b"behind");

        let mut client = ClientConnection::new(Limits::default());
        client.encode_head(&transcript::request("GET"), Length::None, false, 0, &mut Vec::new()).unwrap();
        let mut buffer = BytesMut::from(&out[..]);
        let response = client.receive_head(&mut buffer, &mut Fields::new()).unwrap().unwrap();
        prop_assert_eq!(response.head.status, status);
        let mut found = response.head.fields;
        found.remove("content-length");
        found.remove("transfer-encoding");
        prop_assert_eq!(&found, &fields);
        let (read_content, read_trailers, left) = read(&mut buffer, |buffer| client.receive_body(buffer));
        let has_body = !matches!(status, 204 | 304);
        prop_assert_eq!(read_content, if has_body { content } else { Vec::new() });
        prop_assert_eq!(&read_trailers, if known || !has_body { &Fields::default() } else { &trailers });
        prop_assert_eq!(left, b"behind".len());
    }
}
