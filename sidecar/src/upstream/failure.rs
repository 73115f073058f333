//! Why an upstream gave no answer.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The upstream has no endpoint.
    #[error("the upstream has no endpoint")]
    NoEndpoint,
    /// The request cannot be written as HTTP/1.1; nothing was sent.
    #[error("the request cannot be passed on: {0}")]
    Unsendable(String),
    /// No connection could be opened.
    #[error("{0} refused the connection: {1}")]
    Refused(SocketAddr, io::Error),
    /// No connection in time.
    #[error("{0} did not accept a connection within {1:?}")]
    ConnectTimeout(SocketAddr, Duration),
    /// No response head in time.
    #[error("{0} sent no response head within {1:?}")]
    FirstByteTimeout(SocketAddr, Duration),
    /// The connection broke before the response head.
    #[error("{0} broke the connection off: {1}")]
    Reset(SocketAddr, hyper::Error),
    /// What came is not HTTP.
    #[error("{0} did not answer in HTTP: {1}")]
    Malformed(SocketAddr, hyper::Error),
}
