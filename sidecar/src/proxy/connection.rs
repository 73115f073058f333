//! Where a request came from.

use std::net::SocketAddr;
use std::sync::Arc;

use tollgate_http::Scheme;

/// The connection that a request came on.
#[derive(Debug, Clone)]
pub struct Connection {
    /// Listener by name.
    pub listener: Arc<str>,
    /// The peer.
    pub client: SocketAddr,
    /// The address that the peer connected to.
    pub local: SocketAddr,
    /// Index of the worker that serves it.
    pub worker: usize,
    /// Whether it is encrypted.
    pub scheme: Scheme,
}
