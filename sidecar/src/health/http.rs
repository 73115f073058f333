//! A check by HTTP/1.1: one GET on a connection of its own, of whose answer the status is read.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{Request, header};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::failure::Failure;
use super::settings::Http;

/// What a check says it is.
pub(super) const AGENT: &str = concat!("tollgate-health/", env!("CARGO_PKG_VERSION"));

/// Bytes of an answer's head, at most.
const MAX_HEAD: usize = 16 * 1024;

/// Asks; `address` is what `Host` says where the configuration says nothing.
pub(super) async fn ask(
    http: &Http,
    address: SocketAddr,
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
) -> Result<(), Failure> {
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(MAX_HEAD)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(Failure::Http)?;
    let request = Request::get(http.path.as_str())
        .header(
            header::HOST,
            http.host.clone().unwrap_or_else(|| address.to_string()),
        )
        .header(header::USER_AGENT, AGENT)
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new());
    let Ok(request) = request else {
        return Err(Failure::Own(std::io::Error::other(
            "the check cannot be written as a request",
        )));
    };
    let mut connection = std::pin::pin!(connection);
    let mut answer = std::pin::pin!(sender.send_request(request));
    // The connection ends with this function: nothing of a check is left behind.
    let response = tokio::select! {
        biased;
        answered = &mut answer => answered,
        ended = &mut connection => match ended {
            Ok(()) => answer.await,
            Err(error) => Err(error),
        },
    };
    let status = response.map_err(Failure::Http)?.status().as_u16();
    let passes = |&(first, last): &(u16, u16)| (first..=last).contains(&status);
    if http.expect.iter().any(passes) {
        Ok(())
    } else {
        Err(Failure::Status(status))
    }
}
