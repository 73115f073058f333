//! A check by gRPC: `grpc.health.v1.Health/Check`, one call on a connection of its own.
//!
//! The protocol is of two messages with one field each, so they are written and read by hand
//! (github.com/grpc/grpc, doc/health-checking.md and PROTOCOL-HTTP2.md).

use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, Request, Uri, Version, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};

use super::failure::Failure;
use super::settings::Grpc;

/// Bytes of an answer, at most: a message of the service has two, and trailers come beside.
const MAX_ANSWER: usize = 4096;

/// Asks; `address` is what `:authority` says where the configuration says nothing.
pub(super) async fn ask(
    grpc: &Grpc,
    address: SocketAddr,
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
) -> Result<(), Failure> {
    let (mut sender, connection) = http2::Builder::new(TokioExecutor::new())
        .handshake(TokioIo::new(stream))
        .await
        .map_err(Failure::Http)?;
    let running = tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a check's connection ended");
        }
    });
    // Whatever comes of it, nothing of a check is left behind.
    let _ended = AbortOnDrop(running);
    let response = sender
        .send_request(request(grpc, address)?)
        .await
        .map_err(Failure::Http)?;
    if response.status() != http::StatusCode::OK {
        return Err(Failure::Status(response.status().as_u16()));
    }
    let (head, body) = response.into_parts();
    // An answer without a message has its status in the head.
    if let Some(told) = failed(&head.headers) {
        return Err(told);
    }
    let body = Limited::new(body, MAX_ANSWER)
        .collect()
        .await
        .map_err(|error| Failure::Grpc(error.to_string()))?;
    if let Some(told) = body.trailers().and_then(failed) {
        return Err(told);
    }
    serving(&body.to_bytes())
}

struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn request(grpc: &Grpc, address: SocketAddr) -> Result<Request<Full<Bytes>>, Failure> {
    let own = |error: http::Error| Failure::Own(std::io::Error::other(error.to_string()));
    let host = grpc.host.clone().unwrap_or_else(|| address.to_string());
    let scheme = if grpc.tls.is_some() { "https" } else { "http" };
    let uri = Uri::builder()
        .scheme(scheme)
        .authority(host)
        .path_and_query("/grpc.health.v1.Health/Check")
        .build()
        .map_err(own)?;
    Request::builder()
        .method(Method::POST)
        .uri(uri)
        .version(Version::HTTP_2)
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::TE, "trailers")
        .header(header::USER_AGENT, super::http::AGENT)
        .body(Full::new(question(&grpc.service)))
        .map_err(own)
}

/// `HealthCheckRequest { service = 1 }` behind its five bytes of frame. An empty field is not written.
fn question(service: &str) -> Bytes {
    let mut message = BytesMut::new();
    if !service.is_empty() {
        message.extend_from_slice(&[0x0a]);
        let mut left = service.len();
        while left >= 0x80 {
            message.extend_from_slice(&[left as u8 | 0x80]);
            left >>= 7;
        }
        message.extend_from_slice(&[left as u8]);
        message.extend_from_slice(service.as_bytes());
    }
    let mut frame = BytesMut::with_capacity(message.len() + 5);
    frame.extend_from_slice(&[0]);
    frame.extend_from_slice(&(message.len() as u32).to_be_bytes());
    frame.extend_from_slice(&message);
    frame.freeze()
}

/// What `grpc-status` says other than 0, with the server's words.
fn failed(fields: &HeaderMap) -> Option<Failure> {
    let status = fields.get("grpc-status")?;
    if status.as_bytes() == b"0" {
        return None;
    }
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    // Words of theirs: shortened, and without what would move a terminal's cursor.
    let words: String = fields
        .get("grpc-message")
        .map(text)
        .unwrap_or_default()
        .chars()
        .filter(|one| !one.is_control())
        .take(100)
        .collect();
    let code: String = text(status).chars().take(10).collect();
    Some(match code.as_str() {
        "5" => Failure::Grpc("it does not know the service (NOT_FOUND)".to_owned()),
        "12" => Failure::Grpc("it has no health service (UNIMPLEMENTED)".to_owned()),
        _ => Failure::Grpc(format!("grpc-status {code} {words}").trim_end().to_owned()),
    })
}

/// Whether a framed `HealthCheckResponse { status = 1 }` says SERVING.
fn serving(frame: &[u8]) -> Result<(), Failure> {
    let wrong = |what: &str| Err(Failure::Grpc(what.to_owned()));
    let Some((&[compressed, a, b, c, d], message)) = frame.split_first_chunk() else {
        return wrong("its answer has no message");
    };
    if compressed != 0 {
        return wrong("its answer is compressed, which was not asked for");
    }
    if u32::from_be_bytes([a, b, c, d]) as usize != message.len() {
        return wrong("its answer is not as long as it says");
    }
    match status(message) {
        Some(1) => Ok(()),
        // A field that says its default is not written.
        Some(0) => Err(Failure::NotServing("UNKNOWN")),
        Some(2) => Err(Failure::NotServing("NOT_SERVING")),
        Some(3) => Err(Failure::NotServing("SERVICE_UNKNOWN")),
        Some(_) => Err(Failure::NotServing("a status that is unknown here")),
        None => wrong("its answer is no HealthCheckResponse"),
    }
}

/// Field 1 of a message, a varint; of several the last. Other fields are passed over, as protobuf asks.
fn status(mut message: &[u8]) -> Option<u64> {
    let mut status = 0;
    while !message.is_empty() {
        let tag = varint(&mut message)?;
        match (tag >> 3, tag & 7) {
            (1, 0) => status = varint(&mut message)?,
            (_, 0) => {
                varint(&mut message)?;
            }
            (_, 1) => message = message.get(8..)?,
            (_, 2) => {
                let len = varint(&mut message)?;
                message = message.get(usize::try_from(len).ok()?..)?;
            }
            (_, 5) => message = message.get(4..)?,
            _ => return None,
        }
    }
    Some(status)
}

fn varint(message: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = message.split_first()?;
        *message = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_question_is_framed_protobuf() {
        assert_eq!(&question("")[..], [0, 0, 0, 0, 0]);
        assert_eq!(&question("a.B")[..], b"\0\0\0\0\x05\x0a\x03a.B");
        let long = "x".repeat(300);
        let framed = question(&long);
        assert_eq!(framed[..8], [0, 0, 0, 1, 0x2f, 0x0a, 0xac, 0x02]);
        assert_eq!(framed.len(), 8 + 300);
    }

    #[test]
    fn the_answer_is_read_and_nothing_else_is_taken_for_one() {
        assert!(serving(b"\0\0\0\0\x02\x08\x01").is_ok());
        // A field of a later version, of each kind, beside it.
        assert!(
            serving(
                b"\0\0\0\0\x19\x12\x02ab\x1d1234\x21\0\0\0\0\0\0\0\0\x28\x96\x01\x08\x01\x32\x00"
            )
            .is_ok()
        );
        for (answer, expected) in [
            (&b""[..], "its answer has no message"),
            (b"\0\0\0\0", "its answer has no message"),
            (b"\0\0\0\0\0", "its health service says UNKNOWN"),
            (
                b"\0\0\0\0\x02\x08\x02",
                "its health service says NOT_SERVING",
            ),
            (b"\0\0\0\0\x02\x08\x03", "SERVICE_UNKNOWN"),
            (b"\0\0\0\0\x02\x08\x7f", "unknown here"),
            (b"\x01\0\0\0\x02\x08\x01", "compressed"),
            (b"\0\0\0\0\x03\x08\x01", "not as long as it says"),
            (b"\0\0\0\0\x01\x08", "no HealthCheckResponse"),
            (b"\0\0\0\0\x01\x0b", "no HealthCheckResponse"),
            (b"\0\0\0\0\x03\x12\x09a", "no HealthCheckResponse"),
            (
                b"\0\0\0\0\x0b\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
                "no HealthCheckResponse",
            ),
        ] {
            let told = serving(answer).unwrap_err().to_string();
            assert!(told.contains(expected), "{answer:?}: {told}");
        }
    }
}
