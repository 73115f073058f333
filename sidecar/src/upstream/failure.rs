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
    /// The request's own body stopped coming.
    #[error("the client sent no more of the body within {0:?}")]
    BodyTimeout(Duration),
    /// The request's own body broke off.
    #[error("the client's body broke off: {0}")]
    BodyBroken(hyper::Error),
    /// The connection broke before the response head.
    #[error("{0} broke the connection off: {1}")]
    Reset(SocketAddr, hyper::Error),
    /// What came is not HTTP.
    #[error("{0} did not answer in HTTP: {1}")]
    Malformed(SocketAddr, hyper::Error),
}

impl Failure {
    /// The endpoint that was asked.
    pub fn endpoint(&self) -> Option<SocketAddr> {
        match self {
            Self::Refused(address, _)
            | Self::ConnectTimeout(address, _)
            | Self::FirstByteTimeout(address, _)
            | Self::Reset(address, _)
            | Self::Malformed(address, _) => Some(*address),
            Self::NoEndpoint | Self::Unsendable(_) | Self::BodyTimeout(_) | Self::BodyBroken(_) => {
                None
            }
        }
    }

    /// No connection came about, so nothing was sent and another endpoint may be asked.
    pub(super) fn is_of_connecting(&self) -> bool {
        matches!(self, Self::Refused(..) | Self::ConnectTimeout(..))
    }
}
