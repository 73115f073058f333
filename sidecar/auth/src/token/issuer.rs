//! Whose tokens are accepted, and under which rules and keys.

use std::sync::Arc;
use std::time::Duration;

use super::keys::{Algorithms, KeySet};

/// The longest token where the issuer's rule says nothing else, in bytes.
pub const DEFAULT_MAX_BYTES: usize = 16 * 1024;

/// Which `typ`s an issuer's tokens may have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TokenType {
    /// None, `JWT` or `at+jwt`.
    #[default]
    Any,
    /// `at+jwt` alone (RFC 9068 section 4): ID tokens are then refused.
    AccessTokenJwt,
}

/// What the configuration says of an issuer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issuer {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// What `iss` must be, byte for byte.
    pub issuer: String,
    /// The audiences accepted, any of them; with none, no token is.
    pub audiences: Vec<String>,
    /// The outer bound of algorithms; each key narrows it.
    pub algorithms: Algorithms,
    /// How far clocks may be apart: one value for `exp`, `nbf` and `iat`. Zero is allowed.
    pub clock_skew: Duration,
    /// Which `typ`s are accepted.
    pub token_type: TokenType,
    /// The longest token, in bytes.
    pub max_bytes: usize,
}

/// The keys of an issuer at this moment.
#[derive(Clone, Copy, Debug)]
pub enum Keys<'a> {
    /// There are keys.
    Ready {
        /// The keys.
        set: &'a KeySet,
        /// Grows with each set that differs from the one before; it dates verdicts.
        generation: u64,
    },
    /// There are none yet, or the last fetch failed when a new key was asked for.
    Unavailable,
    /// They could not be refreshed for too long.
    Stale,
}

/// An issuer whose tokens a route accepts. A route's candidates should differ in `issuer`: the first
/// whose `iss` matches decides.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// Its rule.
    pub issuer: &'a Arc<Issuer>,
    /// Its keys.
    pub keys: Keys<'a>,
    /// Grows with each change of the rule; it dates verdicts.
    pub epoch: u64,
}
