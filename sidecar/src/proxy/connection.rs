//! Where a request came from.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tollgate_auth::header::client_cert::ClientCert;
pub use tollgate_auth::policy::facts::TlsClient;
use tollgate_http::Scheme;

/// The connection that a request came on.
#[derive(Debug, Clone)]
pub struct Connection {
    /// Listener by name.
    pub listener: Arc<str>,
    /// The peer. Of whom a request is may be another matter: see [`tollgate_auth::header::forwarded`].
    pub client: SocketAddr,
    /// The address that the peer connected to.
    pub local: SocketAddr,
    /// Index of the worker that serves it.
    pub worker: usize,
    /// Whether it is encrypted.
    pub scheme: Scheme,
    /// Whom the certificate that was shown is for; `None` over plaintext.
    pub names: Option<Arc<Names>>,
    /// The certificate that the peer showed and that was verified.
    pub certificate: Option<Arc<Certificate>>,
}

/// A verified client certificate, read once for the connection.
#[derive(Debug)]
pub struct Certificate {
    /// What the API may be told.
    pub(super) forwarded: ClientCert,
    /// What it says, as rules read it.
    pub said: TlsClient,
}

impl Certificate {
    /// Of certificates in DER: the leaf, which says `said`, and those that the client sent along and that
    /// issued it.
    pub fn new<'c>(leaf: &[u8], rest: impl IntoIterator<Item = &'c [u8]>, said: TlsClient) -> Self {
        Self {
            forwarded: ClientCert::of(leaf, rest),
            said,
        }
    }
}

/// Whom a certificate is for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    /// DNS names, lower-case.
    pub exact: Vec<String>,
    /// What stands behind `*.`, lower-case; for exactly one label before it (RFC 9525, section 6.3).
    pub wildcard: Vec<String>,
    /// Addresses.
    pub addresses: Vec<IpAddr>,
}

impl Names {
    /// Whether the certificate is for this host, lower-case.
    pub fn cover(&self, host: &str) -> bool {
        if let Ok(address) = host.parse::<IpAddr>() {
            return self.addresses.contains(&address);
        }
        let parent = host.split_once('.').map(|(_, parent)| parent);
        self.exact.iter().any(|name| name == host)
            || self
                .wildcard
                .iter()
                .any(|name| Some(name.as_str()) == parent)
    }
}
