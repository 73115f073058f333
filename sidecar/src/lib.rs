//! Tollgate: a token and header sidecar for an eBPF-accelerated data path.
//!
//! This crate is the async shell: it terminates TLS, asks the pure cores (`tollgate-http`, `tollgate-auth`) what to do
//! with a request, and proxies it; `tollgate-datapath` is the kernel half. ARCHITECTURE.md shows the way of a packet
//! and of a request.

#![forbid(unsafe_code)]

pub mod admin;
pub mod app;
pub mod bind;
pub mod cli;
pub mod client;
pub mod clock;
pub mod cluster;
pub mod config;
pub mod demo;
pub mod downstream;
pub mod drain;
pub mod explain;
pub mod handover;
pub mod health;
pub mod jwks;
pub mod kernel;
pub mod local;
pub mod privileged;
pub mod proxy;
pub mod reload;
pub mod signing;
pub mod snapshot;
pub mod supervisor;
pub mod telemetry;
pub mod upstream;
pub mod wire;

/// The version of this build, as status and `--version` have it.
pub const VERSION: &str = if cfg!(feature = "next") {
    concat!(env!("CARGO_PKG_VERSION"), "-next")
} else {
    env!("CARGO_PKG_VERSION")
};
