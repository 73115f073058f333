//! The real binary in a network of namespaces: a client, a node, backends; real TCP, real TLS, real XDP.
//!
//! Every test lays a network of its own and leaves nothing behind; without the rights for that it fails, saying so.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "panicking is how a test fails, in its helpers too"
)]

mod api;
mod balance;
mod capture;
mod check;
mod clock;
mod container;
mod decap;
mod demo;
mod explain;
mod handover;
mod health;
mod health_vip;
mod host;
mod kept;
mod life;
mod nat;
mod privileges;
mod site;
mod steering;
mod token;
mod tunnel;
mod upgrade;
