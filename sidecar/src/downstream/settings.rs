//! What a listener does with a connection.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use super::tls::Tls;

/// What a listener does with a connection; a reload replaces it under running connections.
#[derive(Debug, Clone)]
pub struct Settings {
    /// TLS; plaintext without.
    pub tls: Option<Tls>,
    /// Limit of a TLS handshake.
    pub handshake_timeout: Duration,
    /// Limit of a request head.
    pub head_timeout: Duration,
}

/// The settings of a listener at the moment.
pub type Live = Arc<ArcSwap<Settings>>;
