//! What a request allocates on a connection that has served others: nothing.

use bytes::BytesMut;

use super::transcript::response;
use crate::h1::*;
use crate::{Fields, Scheme};

const REQUEST: &[u8] = b"POST /orders/17?x=y HTTP/1.1\r\nHost: api.test:8443\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\n\
    Authorization: Bearer x.y.z\r\nContent-Type: application/json\r\nContent-Length: 5\r\n\r\nhello";
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nServer: x\r\nDate: Mon, 01 Jan 2024 00:00:00 GMT\r\n\
    Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";

/// Both sides of a proxy over buffers that it keeps: in, out to the server, back in, out to the client.
#[test]
fn a_proxied_request_allocates_nothing() {
    let mut server = ServerConnection::new(Scheme::Https, Limits::default());
    let mut client = ClientConnection::new(Limits::default());
    let (mut from_client, mut from_server) =
        (BytesMut::with_capacity(4096), BytesMut::with_capacity(4096));
    let (mut to_client, mut to_server) = (Vec::with_capacity(4096), Vec::with_capacity(4096));
    let (mut asked, mut answered, none) = (Fields::new(), Fields::new(), Fields::new());
    let mut exchange = || {
        from_client.reserve(4096);
        from_server.reserve(4096);
        from_client.extend_from_slice(REQUEST);
        from_server.extend_from_slice(RESPONSE);
        to_client.clear();
        to_server.clear();

        let request = server
            .receive_head(&mut from_client, &mut asked)
            .unwrap()
            .unwrap();
        client
            .encode_head(
                &request.head,
                request.framing.into(),
                false,
                0,
                &mut to_server,
            )
            .unwrap();
        copy(
            &mut from_client,
            |buffer| server.receive_body(buffer),
            |data| {
                client.encode_data(data, &mut to_server).unwrap();
            },
        );
        client.encode_end(&none, &mut to_server).unwrap();

        let response = client
            .receive_head(&mut from_server, &mut answered)
            .unwrap()
            .unwrap();
        server
            .encode_head(&response.head, response.length, &mut to_client)
            .unwrap();
        copy(
            &mut from_server,
            |buffer| client.receive_body(buffer),
            |data| {
                server.encode_data(data, &mut to_client).unwrap();
            },
        );
        server.encode_end(&none, &mut to_client).unwrap();

        (asked, answered) = (request.head.fields, response.head.fields);
        asked.clear();
        answered.clear();
        assert!(client.finish(from_server.len()));
        assert_eq!(server.finish(from_client.len()), Next::Request);
    };
    // Room is made once.
    exchange();
    exchange();
    let measured = allocation_counter::measure(|| (0..100).for_each(|_| exchange()));
    assert_eq!(measured.count_total, 0, "{measured:?}");
    assert!(to_server.ends_with(b"Content-Length: 5\r\n\r\nhello"));
    assert!(to_client.ends_with(b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"));
}

fn copy(
    buffer: &mut BytesMut,
    mut next: impl FnMut(&mut BytesMut) -> Result<Part, Error>,
    mut write: impl FnMut(&[u8]),
) {
    loop {
        match next(buffer).unwrap() {
            Part::Data(data) => write(&data),
            Part::End => return,
            part => panic!("{part:?}"),
        }
    }
}

/// Refusals of floods are cheap as well: what is refused before its fields allocates the refusal alone.
#[test]
fn a_refusal_allocates_its_box() {
    let mut buffer = BytesMut::from(&b"GET / HTTP/1.1\nHost: a\r\n\r\n"[..]);
    let measured = allocation_counter::measure(|| {
        let mut connection = ServerConnection::new(Scheme::Https, Limits::default());
        let refused = connection.receive_head(&mut buffer, &mut Fields::new());
        assert_eq!(refused.unwrap_err().error, Error::BareLf);
        let mut out = Vec::new();
        let head = response(400);
        connection
            .encode_head(&head, Length::Known(0), &mut out)
            .unwrap();
    });
    assert!(measured.count_total <= 5, "{measured:?}");
}
