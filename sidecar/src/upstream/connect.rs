//! Opening a connection to an endpoint.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::body::RequestBody;
use super::failure::Failure;

/// Connects and lets the connection run on the current worker.
pub(super) async fn connect(
    address: SocketAddr,
    limit: Duration,
) -> Result<SendRequest<RequestBody>, Failure> {
    let stream = match timeout(limit, TcpStream::connect(address)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Err(Failure::Refused(address, error)),
        Err(_) => return Err(Failure::ConnectTimeout(address, limit)),
    };
    // A request is one or two writes; waiting to fill a segment only delays the upstream.
    if let Err(error) = stream.set_nodelay(true) {
        return Err(Failure::Refused(address, error));
    }
    let (sender, connection) = http1::Builder::new()
        .preserve_header_case(true)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| Failure::Refused(address, io::Error::other(error)))?;
    tokio::spawn(async move {
        // Its failure reaches whoever waits for the answer; an idle connection that ends is no event.
        if let Err(error) = connection.await {
            tracing::debug!(%address, %error, "upstream connection ended");
        }
    });
    Ok(sender)
}
