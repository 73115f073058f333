//! What wants a kernel with modules: the far ends of tunnels that Linux has of its own.
//!
//! Beyond the core suites: `cargo xtask bpf vm` runs it in virtual machines. Without ipip, sit, ip6_tunnel, fou and fou6 every
//! test fails.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "panicking is how a test fails, in its helpers too"
)]

mod tunnels;
