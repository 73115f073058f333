//! What a listener does with a connection.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use super::tls::Tls;

/// A request head, all fields together, in bytes.
pub(super) const MAX_HEAD: usize = 64 * 1024;
/// Fields of a request head.
pub(super) const MAX_FIELDS: usize = 100;

/// What a listener does with a connection; a reload replaces it under running connections.
#[derive(Debug, Clone)]
pub struct Settings {
    /// TLS; plaintext without.
    pub tls: Option<Tls>,
    /// Limit of a TLS handshake.
    pub handshake_timeout: Duration,
    /// Limit of a request head.
    pub head_timeout: Duration,
    /// How long an HTTP/2 connection without a stream is kept.
    pub idle_timeout: Duration,
}

/// The settings of a listener at the moment.
pub type Live = Arc<ArcSwap<Settings>>;
