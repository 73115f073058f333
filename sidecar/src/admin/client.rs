//! The other side of the Unix socket: what `tollgate status`, `reload` and `drain` say to the daemon.

use std::io;
use std::path::Path;
use std::pin::pin;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;

/// Asks the daemon behind `socket`.
///
/// # Errors
///
/// No daemon answers there, or its answer is not JSON.
pub async fn ask(socket: &Path, method: Method, path: &str) -> io::Result<(StatusCode, Value)> {
    send(socket, method, path, Bytes::new()).await
}

/// Puts a question to the daemon behind `socket`.
///
/// # Errors
///
/// As [`ask`].
pub async fn post(socket: &Path, path: &str, question: &Value) -> io::Result<(StatusCode, Value)> {
    send(socket, Method::POST, path, question.to_string().into()).await
}

async fn send(
    socket: &Path,
    method: Method,
    path: &str,
    body: Bytes,
) -> io::Result<(StatusCode, Value)> {
    let stream = UnixStream::connect(socket).await.map_err(|error| {
        let cure = match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                "; no daemon runs there, or it has another `admin: { socket: … }`"
            }
            io::ErrorKind::PermissionDenied => "; the socket belongs to the daemon's user",
            _ => "",
        };
        io::Error::new(
            error.kind(),
            format!("cannot reach `{}`: {error}{cure}", socket.display()),
        )
    })?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, "tollgate")
        .body(Full::new(body))
        .map_err(io::Error::other)?;
    let exchange = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        Ok((status, response.into_body().collect().await?.to_bytes()))
    };
    let mut exchange = pin!(exchange);
    let done = tokio::select! {
        biased;
        done = exchange.as_mut() => done,
        // A daemon that ends hangs up behind its answer.
        _ = connection => exchange.await,
    };
    let (status, body): (StatusCode, Bytes) = done
        .map_err(|error: hyper::Error| io::Error::other(format!("the daemon hung up: {error}")))?;
    let value = serde_json::from_slice(&body)
        .map_err(|error| io::Error::other(format!("the daemon's answer is not JSON: {error}")))?;
    Ok((status, value))
}
