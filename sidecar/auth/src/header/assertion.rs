//! The signed assertion: who a request is from, in a form that the API behind can check for itself.
//!
//! A JWT (RFC 7519) in the header [`NAME`], signed with ES256, for one upstream and for a minute at most. It says the
//! token's subject and issuer, chosen claims, and which identity headers were written, with a digest of them. So
//! whoever can reach the API without passing Tollgate, or sits between the two, can neither make up an identity nor
//! change one. docs/assertion.md has the format, the steps of a verifier, and what is not proven.
//!
//! An assertion is signed once and used again until so little of its life is left that it might die on the way
//! ([`Assertion::is_fresh`]); one that is bound to its request is used for that request alone. Time is an argument, and the wall clock's: an assertion
//! from the future is not used, so a clock that was set back costs one signature.

mod canonical;
mod key;
mod payload;
mod rules;

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use tollgate_http::fields::Field;

use self::payload::Parts;
use super::encode::MAX_VALUE;
use super::inject::{InjectSet, MAX_ALL};
use crate::reason::Reason;
use crate::refusal::Refusal;
use crate::time::UnixTime;
use crate::token::claims::Claims;

pub use self::canonical::digest;
pub use self::key::{KeyError, SigningKey, TYPE};
pub use self::payload::{ISSUER, Request};
pub use self::rules::{Bind, LIFETIMES, Rules, RulesError};

/// The header that carries it.
pub const NAME: &str = "x-tollgate-assertion";

/// What is left of an assertion that is used again, at least, unless its whole life is short: an upstream that is slow to
/// connect gets it seconds later.
const LEFT: Duration = Duration::from_secs(5);

/// An assertion, ready to be sent.
#[derive(Clone, PartialEq, Eq)]
pub struct Assertion {
    value: Bytes,
    issued_at: UnixTime,
    expires: UnixTime,
}

impl Assertion {
    /// The header's value: a JWS in compact form (RFC 7515 section 7.1).
    pub fn value(&self) -> &Bytes {
        &self.value
    }

    /// Its `iat`, in whole seconds.
    pub fn issued_at(&self) -> UnixTime {
        self.issued_at
    }

    /// Its `exp`, in whole seconds.
    pub fn expires(&self) -> UnixTime {
        self.expires
    }

    /// Whether it may be sent again: it was issued by `now`, and more is left of it than a tenth of its life and than 5 s,
    /// or half of a life that is shorter than 10 s.
    pub fn is_fresh(&self, now: UnixTime) -> bool {
        let life = self.expires.saturating_since(self.issued_at);
        let least = LEFT.min(life / 2).max(life / 10);
        now >= self.issued_at && self.expires.saturating_since(now) > least
    }
}

/// Never shows the value: whoever has it is the user until it expires.
impl fmt::Debug for Assertion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Assertion")
            .field("issued_at", &self.issued_at)
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

/// What is said of a token that was accepted.
#[derive(Clone, Copy)]
pub struct Facts<'f> {
    /// What it claims.
    pub claims: &'f Claims,
    /// Which identity headers the route may write.
    pub set: &'f InjectSet,
    /// Those that were written: what [`InjectSet::render`] gave for these claims.
    pub lines: &'f [Field],
    /// The first moment at which the token is not accepted any more: `exp` and the issuer's `clock_skew`.
    pub until: UnixTime,
}

/// Never shows what headers say.
impl fmt::Debug for Facts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Facts")
            .field("claims", &self.claims)
            .field("until", &self.until)
            .finish_non_exhaustive()
    }
}

/// How, and with what, it is signed.
#[derive(Clone, Copy, Debug)]
pub struct Signer<'s> {
    /// The upstream's rules.
    pub rules: &'s Rules,
    /// The key of the moment.
    pub key: &'s SigningKey,
}

impl Signer<'_> {
    /// An assertion, valid from `now` for as long as the rules say, but no longer than the token. With `request` it is for
    /// that request alone.
    ///
    /// # Errors
    /// [`Reason::TokenExpired`] when the token has less than a second left: dates are whole seconds, and a verifier would
    /// take the assertion for expired.
    /// [`Reason::IdentityTooLarge`] when it would be larger than 8 KiB, or than 16 KiB together with the identity headers;
    /// [`Reason::ClaimUnencodable`] when a claim that it says holds a number that is too large to be exact;
    /// [`Reason::AssertionUnsigned`] when the cryptographic library fails.
    pub fn sign(
        &self,
        facts: &Facts<'_>,
        request: Option<&Request<'_>>,
        now: UnixTime,
    ) -> Result<Assertion, Refusal> {
        let issued_at = UnixTime::from_secs(now.as_secs());
        // Whole seconds, as every verifier reads them, and rounded down: never a moment longer than the token.
        let until = UnixTime::from_secs(facts.until.as_secs());
        let expires = until.min(issued_at + self.rules.lifetime());
        if expires <= issued_at {
            return Err(Refusal::new(
                Reason::TokenExpired,
                "less than a second is left of the token, too little for an assertion",
            ));
        }
        let payload = Parts {
            rules: self.rules,
            claims: facts.claims,
            set: facts.set,
            lines: facts.lines,
            request,
            issued_at,
            expires,
        }
        .json()?;
        let value = self.key.token(&payload).map_err(|error| {
            Refusal::new(
                Reason::AssertionUnsigned,
                format!("the assertion for the upstream: {error}"),
            )
        })?;
        fits(&value, facts.lines)?;
        Ok(Assertion {
            value: value.into(),
            issued_at,
            expires,
        })
    }
}

/// The limits of identity headers are the assertion's as well.
fn fits(value: &str, lines: &[Field]) -> Result<(), Refusal> {
    let too_large = |what: String| Err(Refusal::new(Reason::IdentityTooLarge, what));
    if value.len() > MAX_VALUE {
        return too_large(format!(
            "the assertion would have {} bytes, the limit is {MAX_VALUE}",
            value.len()
        ));
    }
    let size = |name: usize, value: usize| name + value + 4;
    let total = lines
        .iter()
        .map(|line| size(line.name.len(), line.value.len()))
        .sum::<usize>()
        + size(NAME.len(), value.len());
    if total > MAX_ALL {
        return too_large(format!(
            "the identity headers and the assertion would have {total} bytes, the limit is {MAX_ALL}"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
