//! What an upstream is: its name, its endpoints, how one is chosen, how long it may take.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tollgate_auth::header::forwarded::Style;

/// An upstream as configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    /// Its name in the file.
    pub name: Arc<str>,
    /// Where it answers.
    pub endpoints: Vec<SocketAddr>,
    /// How one of them is chosen.
    pub balance: Balance,
    /// How long it may take.
    pub timeouts: Timeouts,
    /// How it is told where a client is.
    pub forwarded: Style,
}

/// How an endpoint is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Balance {
    /// The less busy of two random ones (Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", 2001).
    P2c,
    /// One after the other.
    RoundRobin,
}

/// How long an upstream may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// To accept a connection.
    pub connect: Duration,
    /// Silence between the last piece of the request and the response head.
    pub first_byte: Duration,
    /// How long a connection without a request is kept; shorter than what the upstream itself keeps.
    pub idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(2),
            first_byte: Duration::from_secs(60),
            idle: Duration::from_secs(30),
        }
    }
}
