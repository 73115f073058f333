//! What an explanation is made of beside the token.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::UnixTime;
use crate::token::issuer::Candidate;

/// An issuer whose tokens are accepted, with what is known of its keys and clock beside them.
#[derive(Clone, Debug)]
pub struct Subject<'a> {
    /// Its rule and keys.
    pub candidate: Candidate<'a>,
    /// Where its keys come from, in words.
    pub source: String,
    /// How long ago they were fetched or confirmed.
    pub age: Option<Duration>,
    /// Why the last fetch failed.
    pub last_error: Option<String>,
    /// How far its clock is from this host's.
    pub offset: Option<Offset>,
}

/// How far an issuer's clock is from this host's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Offset {
    /// Seconds that it is ahead; negative: behind.
    pub seconds: f64,
    /// Seconds that this may be wrong by.
    pub uncertainty: f64,
    /// What told: `date` (of answers with keys) or `iat` (of tokens; the clock is then at least that far ahead).
    pub source: String,
}

/// The moment of the explanation.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// This host's clock.
    pub now: UnixTime,
    /// Whether the kernel holds it for synchronised; `None` if it cannot be asked.
    pub synchronised: Option<bool>,
}
