//! What is checked and how: the part of the configuration that this room runs on.

use std::time::Duration;

/// How the members of one service or upstream are checked, and what follows from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// What a check asks.
    pub probe: Probe,
    /// How it gets there.
    pub via: Via,
    /// From the start of one check to the start of the next, a tenth more or less.
    pub interval: Duration,
    /// What a check may take; at most the interval.
    pub timeout: Duration,
    /// What turns a member.
    pub rules: Rules,
    /// How long a member that came back takes until it has its whole share.
    pub slow_start: Duration,
    /// When the checks are no longer believed.
    pub panic: Panic,
}

/// How many checks in a row turn a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Failed ones, until it is down. At least 1.
    pub unhealthy: u32,
    /// Passed ones, until it is up again. At least 1.
    pub healthy: u32,
}

/// When so few members are up that all of them are used: the checks are more likely wrong than the members, and the few
/// that are left would fall under the load of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Panic {
    /// Not even when none is left: connections are refused then.
    Never,
    /// When none is up, or less than this percentage; 0 to 100.
    Below(u8),
}

/// Which way a check takes to a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// To the member's own address.
    Direct,
    /// To the service's address, by the way that clients' packets take to the member.
    Vip,
}

/// What a check asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// Whether the port accepts a connection.
    Tcp {
        /// The port; `None`: the member's own.
        port: Option<u16>,
    },
    /// What a GET is answered with.
    Http(Http),
    /// What the health service of gRPC says (`grpc.health.v1.Health/Check`).
    Grpc(Grpc),
}

/// A check by HTTP/1.1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http {
    /// The port; `None`: the member's own.
    pub port: Option<u16>,
    /// Path and query.
    pub path: String,
    /// What `Host` says; `None`: the address that is asked.
    pub host: Option<String>,
    /// The statuses that pass, each range with both its ends.
    pub expect: Vec<(u16, u16)>,
    /// Plain HTTP without.
    pub tls: Option<Tls>,
}

/// A check by gRPC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grpc {
    /// The port; `None`: the member's own.
    pub port: Option<u16>,
    /// The service that is asked for; empty: the server as a whole.
    pub service: String,
    /// What `:authority` says; `None`: the address that is asked.
    pub host: Option<String>,
    /// HTTP/2 with prior knowledge without.
    pub tls: Option<Tls>,
}

/// How a checked server proves who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// Whom it must be: a host name or an address. `None`: the host of the check, or the address that is asked.
    pub name: Option<String>,
    /// Who may vouch for it.
    pub trust: Trust,
}

/// Who vouches for a checked server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// The authorities of the system.
    System,
    /// These, in PEM.
    Authorities(Vec<u8>),
    /// Nobody has to. A check sends no secret, and what it learns is whether traffic may go there, which others decide by
    /// certificates of their own.
    Nobody,
}

impl Probe {
    /// The port that it asks; `None`: the member's own.
    pub fn port(&self) -> Option<u16> {
        match self {
            Self::Tcp { port } => *port,
            Self::Http(http) => http.port,
            Self::Grpc(grpc) => grpc.port,
        }
    }

    /// The word for it in status.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Tcp { .. } => "tcp",
            Self::Http(Http { tls: None, .. }) => "http",
            Self::Http(_) => "https",
            Self::Grpc(_) => "grpc",
        }
    }
}
