//! The kernel half: packets through the verified programs, the programs' budget, and the life of links and maps.
//!
//! Needs the rights to load programs and make namespaces; without them every test fails, saying so.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "panicking is how a test fails, in its helpers too"
)]

mod agreement;
mod budget;
mod capture;
mod decap;
mod fixtures;
mod follow;
mod forged;
mod history;
mod life;
mod mending;
mod nat;
mod picking;
mod room;
mod routes;
mod steer;
mod translator;
mod verdicts;
