//! A provider that others certified, the real binary, real TLS between all of them: discovery, tokens by
//! client_credentials, keys that rotate, go, and cannot be had.
//!
//! Beyond the core suites, since it wants Node.js and npm packages; needs no rights. `TOLLGATE_IDP` names the folder
//! with `node_modules`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "panicking is how a test fails, in its helpers too"
)]

mod keys;
mod provider;
mod site;
mod tokens;
