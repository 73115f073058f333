//! Both sides of the core in one flat function, over pipes of a few bytes: what a proxy on tokio does with them.

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, duplex, split};
use tollgate_http::h1::{ClientConnection, Kind, Length, Limits, Next, Part, ServerConnection};
use tollgate_http::{Fields, Scheme};

/// Serves a client with what the upstream answers, request by request, until either is done. A side is read while what it
/// said last has gone on: so neither buffer grows beyond one read.
async fn serve(
    client: impl AsyncRead + AsyncWrite + Unpin,
    upstream: impl AsyncRead + AsyncWrite + Unpin,
) -> Next {
    let (mut client_in, mut client_out) = split(client);
    let (mut upstream_in, mut upstream_out) = split(upstream);
    let mut downstream = ServerConnection::new(Scheme::Https, Limits::default());
    let mut onward = ClientConnection::new(Limits::default());
    let (mut from_client, mut from_upstream) = (BytesMut::new(), BytesMut::new());
    let (mut to_client, mut to_upstream) = (Vec::new(), Vec::new());
    let (mut asked, mut answered, none) = (Fields::new(), Fields::new(), Fields::new());
    loop {
        let request = loop {
            match downstream
                .receive_head(&mut from_client, &mut asked)
                .unwrap()
            {
                Some(request) => break request,
                None if client_in.read_buf(&mut from_client).await.unwrap() > 0 => {}
                None => {
                    downstream.end_of_input(from_client.len()).unwrap();
                    return downstream.finish(from_client.len());
                }
            }
        };
        let length = request.framing.into();
        onward
            .encode_head(
                &request.head,
                length,
                false,
                from_upstream.len(),
                &mut to_upstream,
            )
            .unwrap();
        let (mut sending, mut receiving, mut has_head) = (true, true, false);
        loop {
            while sending && to_upstream.len() < 64 {
                match downstream.receive_body(&mut from_client).unwrap() {
                    Part::Data(data) => onward.encode_data(&data, &mut to_upstream).unwrap(),
                    Part::Trailers(_) => {}
                    Part::More => break,
                    Part::End => {
                        onward.encode_end(&none, &mut to_upstream).unwrap();
                        sending = false;
                    }
                }
            }
            while receiving && to_client.len() < 64 {
                if !has_head {
                    let Some(response) = onward
                        .receive_head(&mut from_upstream, &mut answered)
                        .unwrap()
                    else {
                        break;
                    };
                    if response.kind == Kind::Interim {
                        downstream
                            .encode_interim(&response.head, &mut to_client)
                            .unwrap();
                    } else {
                        downstream
                            .encode_head(&response.head, response.length, &mut to_client)
                            .unwrap();
                        has_head = true;
                    }
                    answered = response.head.fields;
                    continue;
                }
                match onward.receive_body(&mut from_upstream).unwrap() {
                    Part::Data(data) => downstream.encode_data(&data, &mut to_client).unwrap(),
                    Part::Trailers(_) => {}
                    Part::More => break,
                    Part::End => {
                        downstream.encode_end(&none, &mut to_client).unwrap();
                        receiving = false;
                    }
                }
            }
            if !receiving && to_client.is_empty() && to_upstream.is_empty() && !sending {
                break;
            }
            tokio::select! {
                written = upstream_out.write(&to_upstream), if !to_upstream.is_empty() => {
                    to_upstream.drain(..written.unwrap());
                }
                written = client_out.write(&to_client), if !to_client.is_empty() => {
                    to_client.drain(..written.unwrap());
                }
                read = client_in.read_buf(&mut from_client), if sending && to_upstream.is_empty() => {
                    assert!(read.unwrap() > 0, "the client is gone");
                }
                read = upstream_in.read_buf(&mut from_upstream), if receiving && to_client.is_empty() => {
                    assert!(read.unwrap() > 0, "the upstream is gone");
                }
            }
        }
        asked = request.head.fields;
        asked.clear();
        assert!(onward.finish(from_upstream.len()));
        match downstream.finish(from_client.len()) {
            Next::Request => {}
            other => return other,
        }
    }
}

/// An upstream that answers each request with 103 and its own body, while that still comes.
async fn echo(stream: impl AsyncRead + AsyncWrite + Unpin) {
    let (mut input, mut output) = split(stream);
    let mut connection = ServerConnection::new(Scheme::Http, Limits::default());
    let (mut buffer, mut out) = (BytesMut::new(), Vec::new());
    let mut head = tollgate_http::ResponseHead {
        status: 103,
        fields: Fields::new(),
    };
    head.fields.push("X-Echo", "yes");
    loop {
        while connection
            .receive_head(&mut buffer, &mut Fields::new())
            .unwrap()
            .is_none()
        {
            if input.read_buf(&mut buffer).await.unwrap() == 0 {
                return;
            }
        }
        head.status = 103;
        connection.encode_interim(&head, &mut out).unwrap();
        head.status = 200;
        connection
            .encode_head(&head, Length::Unknown, &mut out)
            .unwrap();
        loop {
            match connection.receive_body(&mut buffer).unwrap() {
                Part::Data(data) => connection.encode_data(&data, &mut out).unwrap(),
                Part::Trailers(_) => {}
                Part::End => break,
                Part::More => {
                    output.write_all(&out).await.unwrap();
                    out.clear();
                    assert!(input.read_buf(&mut buffer).await.unwrap() > 0);
                }
            }
        }
        connection.encode_end(&Fields::new(), &mut out).unwrap();
        output.write_all(&out).await.unwrap();
        out.clear();
        assert_eq!(connection.finish(buffer.len()), Next::Request);
    }
}

/// Bodies of 256 KiB go through pipes of a few dozen bytes, both ways at once, and pipelined requests wait their turn.
#[tokio::test]
async fn a_flat_loop_streams_both_ways() {
    let content: Vec<u8> = (0..1 << 18).map(|n: u32| (n % 251) as u8).collect();
    let mut asked = Vec::new();
    for framing in ["known", "chunked"] {
        asked.extend_from_slice(b"POST / HTTP/1.1\r\nHost: a.test\r\n");
        if framing == "known" {
            asked
                .extend_from_slice(format!("Content-Length: {}\r\n\r\n", content.len()).as_bytes());
            asked.extend_from_slice(&content);
        } else {
            asked.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
            for piece in content.chunks(1000) {
                asked.extend_from_slice(format!("{:x};x=y\r\n", piece.len()).as_bytes());
                asked.extend_from_slice(piece);
                asked.extend_from_slice(b"\r\n");
            }
            asked.extend_from_slice(b"0\r\n\r\n");
        }
    }
    asked.extend_from_slice(b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n");
    let (near, far) = duplex(50);
    let (proxy, upstream) = duplex(37);
    let (mut input, mut output) = split(near);
    let mut answers = Vec::new();
    let (next, _, _) = tokio::join!(
        // Both streams end with it.
        serve(far, proxy),
        echo(upstream),
        async {
            tokio::join!(async { output.write_all(&asked).await.unwrap() }, async {
                input.read_to_end(&mut answers).await.unwrap()
            },)
        },
    );
    assert_eq!(next, Next::Close);
    let mut answers = &answers[..];
    for (is_last, wanted) in [(false, &content[..]), (false, &content), (true, b"")] {
        let found = super::ours::read_response(&mut answers);
        assert_eq!(found.0, [103, 200]);
        assert_eq!(found.1.get("connection").is_some(), is_last);
        assert!(found.2 == wanted, "{} bytes came back", found.2.len());
    }
    assert!(answers.is_empty());
}
