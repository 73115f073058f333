//! What the nodes of a cluster share: one secret, from which each derives the same keys.
//!
//! A key is derived for a use and a period of time (HKDF-SHA256, RFC 5869), so keys of different uses tell nothing of
//! each other, and every node changes its keys at the same moment without asking another. A node without a cluster
//! secret draws one of its own when it starts: all works as before, with keys that no other node has.

mod keyring;
mod secret;

use std::time::Duration;

pub use keyring::{HANDOVER, Keyring, NO_KEYS, Owner, PERIOD, Window};
pub use secret::{LEAST, Secret, SecretError};

/// Where the keys of assertions are published (RFC 8615).
pub const JWKS_PATH: &str = "/.well-known/tollgate/jwks.json";

/// What they are published as (RFC 7517 section 8.5.2).
pub const JWKS_TYPE: &str = "application/jwk-set+json";

/// For how long they may be kept: a key is published a whole [`PERIOD`] before it signs, so an hour is safe by far, and
/// soon enough for whoever waits for the keys of another secret.
pub const JWKS_MAX_AGE: Duration = Duration::from_secs(3600);
