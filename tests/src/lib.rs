//! What Tollgate's suites and benches stand on. The network, the authority, the issuer and the echo API are the
//! demo's own ([`tollgate::demo`]); here is what only tests need.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a support library for tests: panicking is how a test fails"
)]

pub mod bpf;
pub mod client;
pub mod config_text;
pub mod frames;
pub mod gate;
pub mod origin;
pub mod packet;
pub mod patient;
pub mod place;
pub mod port;
pub mod supervised;
pub mod tunnel;
