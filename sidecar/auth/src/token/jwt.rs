//! The verdict on a token.
//!
//! Checks run in one order, and the first that fails names the refusal:
//!
//! | step | may refuse with |
//! |---|---|
//! | 1. size, then form: segments, base64url, JSON, header | `token_too_large`, `token_malformed`, `header_unsupported` |
//! | 2. algorithm: known, and listed by an issuer of the route | `alg_not_allowed` |
//! | 3. issuer: the token's `iss` (not verified yet, it only selects) equals one byte for byte | `claim_missing`, `claim_malformed`, `issuer_mismatch` |
//! | 4. that issuer's own size, algorithms and token type | `token_too_large`, `alg_not_allowed`, `header_unsupported` |
//! | 5. key: by (issuer, kid), and made for the algorithm | `keys_unavailable`, `keys_stale`, `key_unknown`, `key_mismatch` |
//! | 6. signature | `signature_invalid` |
//! | 7. registered claims have their types and ranges | `claim_missing`, `claim_malformed` |
//! | 8. time: `exp`, `nbf`, `iat` | `token_expired`, `token_not_yet_valid`, `issued_in_future` |
//! | 9. audience | `audience_mismatch` |
//!
//! Steps 1 to 7 depend on the token, the rule and the keys alone, and their verdict may be remembered
//! ([`super::cache`]); 8 and 9 run at every use.

use std::sync::Arc;
use std::time::Duration;

use super::claims::{self, Claims};
use super::jws::{Header, Jws, Typ};
use super::keys::{Algorithm, Algorithms, KeySet, Miss};
use crate::reason::Reason;
use crate::refusal::{Refusal, quote};
use crate::time::UnixTime;

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

/// Verifies `token` against the issuers of a route.
///
/// # Errors
/// The first check that fails, in the order of the [module](self).
pub fn verify(
    token: &[u8],
    candidates: &[Candidate<'_>],
    now: UnixTime,
) -> Result<Arc<Claims>, Refusal> {
    let (at, claims) = examine(token, candidates).map_err(|f| f.refusal)?;
    // `examine` answers with an index into `candidates`.
    in_force(&claims, candidates[at].issuer, now)?;
    Ok(Arc::new(claims))
}

/// A refusal by steps 1 to 7.
pub(crate) struct Failure {
    pub(crate) refusal: Refusal,
    /// The candidate that the token named, once that is known.
    pub(crate) candidate: Option<usize>,
}

/// Step 1's first half: before anything is split, hashed or copied.
pub(crate) fn admit(token: &[u8], candidates: &[Candidate<'_>]) -> Result<(), Refusal> {
    match candidates.iter().map(|c| c.issuer.max_bytes).max() {
        Some(limit) => size_within(token, limit),
        None => Err(Refusal::new(
            Reason::IssuerMismatch,
            "the route accepts no issuer",
        )),
    }
}

/// Steps 1 to 7: the candidate's index and the claims.
pub(crate) fn examine(
    token: &[u8],
    candidates: &[Candidate<'_>],
) -> Result<(usize, Claims), Failure> {
    let early = |refusal| Failure {
        refusal,
        candidate: None,
    };
    admit(token, candidates).map_err(early)?;
    let jws = Jws::parse(token).map_err(early)?;
    let algorithm = algorithm(&jws.header, candidates).map_err(early)?;
    let at = select(&jws, candidates).map_err(early)?;
    let claims =
        examine_for(token, jws, algorithm, &candidates[at]).map_err(|refusal| Failure {
            refusal,
            candidate: Some(at),
        })?;
    Ok((at, claims))
}

/// Steps 8 and 9, for a verdict fresh or remembered.
pub(crate) fn in_force(claims: &Claims, issuer: &Issuer, now: UnixTime) -> Result<(), Refusal> {
    let skew = issuer.clock_skew;
    let out_of_time = |reason, name, at: UnixTime| {
        Err(Refusal::new(
            reason,
            format!(
                "{name} is {at}, now is {now}, clock_skew is {} s",
                skew.as_secs_f64()
            ),
        ))
    };
    if now >= claims.expires() + skew {
        return out_of_time(Reason::TokenExpired, "exp", claims.expires());
    }
    if let Some(not_before) = claims.not_before()
        && now + skew < not_before
    {
        return out_of_time(Reason::TokenNotYetValid, "nbf", not_before);
    }
    if let Some(issued_at) = claims.issued_at()
        && issued_at > now + skew
    {
        return out_of_time(Reason::IssuedInFuture, "iat", issued_at);
    }
    if claims
        .audiences()
        .any(|found| issuer.audiences.iter().any(|ours| ours == found))
    {
        return Ok(());
    }
    let found: Vec<_> = claims.audiences().take(4).map(quote).collect();
    let ours: Vec<_> = issuer.audiences.iter().take(4).map(|a| quote(a)).collect();
    Err(Refusal::new(
        Reason::AudienceMismatch,
        format!(
            "aud is [{}], accepted are [{}]",
            found.join(", "),
            ours.join(", ")
        ),
    ))
}

fn size_within(token: &[u8], limit: usize) -> Result<(), Refusal> {
    if token.len() <= limit {
        return Ok(());
    }
    Err(Refusal::new(
        Reason::TokenTooLarge,
        format!("the token has {} bytes, the limit is {limit}", token.len()),
    ))
}

/// Step 2.
fn algorithm(header: &Header, candidates: &[Candidate<'_>]) -> Result<Algorithm, Refusal> {
    let listed = |a: &Algorithm| candidates.iter().any(|c| c.issuer.algorithms.contains(*a));
    Algorithm::named(&header.alg).filter(listed).ok_or_else(|| {
        let accepted: Algorithms = candidates
            .iter()
            .flat_map(|c| c.issuer.algorithms.iter())
            .collect();
        not_allowed(&header.alg, accepted)
    })
}

fn not_allowed(alg: &str, accepted: Algorithms) -> Refusal {
    Refusal::new(
        Reason::AlgNotAllowed,
        format!("alg is {}, accepted are {accepted}", quote(alg)),
    )
}

/// Step 3.
fn select(jws: &Jws<'_>, candidates: &[Candidate<'_>]) -> Result<usize, Refusal> {
    let issuer = claims::issuer_of(&jws.payload)?;
    candidates
        .iter()
        .position(|c| c.issuer.issuer == issuer)
        .ok_or_else(|| {
            let ours: Vec<_> = candidates
                .iter()
                .take(4)
                .map(|c| quote(&c.issuer.issuer))
                .collect();
            Refusal::new(
                Reason::IssuerMismatch,
                format!(
                    "iss is {}, accepted are [{}]",
                    quote(issuer),
                    ours.join(", ")
                ),
            )
        })
}

/// Steps 4 to 7.
fn examine_for(
    token: &[u8],
    jws: Jws<'_>,
    algorithm: Algorithm,
    candidate: &Candidate<'_>,
) -> Result<Claims, Refusal> {
    let issuer = candidate.issuer;
    size_within(token, issuer.max_bytes)?;
    if !issuer.algorithms.contains(algorithm) {
        return Err(not_allowed(&jws.header.alg, issuer.algorithms));
    }
    if issuer.token_type == TokenType::AccessTokenJwt && jws.header.typ != Typ::AccessToken {
        return Err(Refusal::new(
            Reason::HeaderUnsupported,
            format!("typ is not at+jwt, which issuer {:?} asks for", issuer.name),
        ));
    }
    let set = match candidate.keys {
        Keys::Ready { set, .. } => set,
        Keys::Unavailable => {
            return Err(Refusal::new(
                Reason::KeysUnavailable,
                format!("there are no keys of issuer {:?}", issuer.name),
            ));
        }
        Keys::Stale => {
            return Err(Refusal::new(
                Reason::KeysStale,
                format!("the keys of issuer {:?} are too old", issuer.name),
            ));
        }
    };
    let kid = jws.header.kid.as_deref();
    let key = set
        .find(kid, algorithm)
        .map_err(|miss| explain(miss, kid, algorithm, issuer))?;
    key.verify(jws.signed, &jws.signature).map_err(|_| {
        Refusal::new(
            Reason::SignatureInvalid,
            format!(
                "{algorithm} does not verify under the key of issuer {:?}",
                issuer.name
            ),
        )
    })?;
    Claims::new(Arc::clone(&issuer.name), jws.header.kid, jws.payload)
}

fn explain(miss: Miss, kid: Option<&str>, algorithm: Algorithm, issuer: &Issuer) -> Refusal {
    let name = &issuer.name;
    match (miss, kid) {
        (Miss::Unknown { .. }, Some(kid)) => Refusal::new(
            Reason::KeyUnknown,
            format!("issuer {name:?} has no key {}", quote(kid)),
        ),
        (Miss::Unknown { fitting }, None) => Refusal::new(
            Reason::KeyUnknown,
            format!(
                "the token names no key, and {fitting} keys of issuer {name:?} fit {algorithm}"
            ),
        ),
        (Miss::Mismatch(fits), kid) => Refusal::new(
            Reason::KeyMismatch,
            format!(
                "key {} of issuer {name:?} is for {fits}, the token says {algorithm}",
                quote(kid.unwrap_or_default())
            ),
        ),
    }
}

#[cfg(test)]
mod tests;
