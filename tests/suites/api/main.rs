//! The sidecar half in this process, over real sockets on loopback: no rights needed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "tests: panicking is how a test fails"
)]

mod answers;
mod assertion;
mod client_certs;
mod config;
mod cors;
mod explain;
mod explain_route;
mod forwarding;
mod framing;
mod headers;
mod health;
mod hostile;
mod keys;
mod life;
mod paths;
mod policy;
mod responses;
mod routes;
mod sources;
mod telemetry;
mod threats;
mod tls;
mod tokens;
mod upstream;
mod wire;
mod world;
