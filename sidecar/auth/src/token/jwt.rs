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

use super::checks;
pub use super::checks::doubted;
use super::claims::Claims;
pub use super::issuer::{Candidate, DEFAULT_MAX_BYTES, Issuer, Keys, TokenType};
use super::jws::Jws;
use crate::refusal::Refusal;
use crate::time::UnixTime;

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
    checks::size(token, checks::limit(candidates)?)
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
    checks::algorithm(&jws.header.alg, checks::listed(candidates)).map_err(early)?;
    let at = checks::select(&jws.payload, candidates).map_err(early)?;
    let claims = examine_for(token, jws, &candidates[at]).map_err(|refusal| Failure {
        refusal,
        candidate: Some(at),
    })?;
    Ok((at, claims))
}

/// Steps 4 to 7.
fn examine_for(token: &[u8], jws: Jws<'_>, candidate: &Candidate<'_>) -> Result<Claims, Refusal> {
    let issuer = candidate.issuer;
    checks::size(token, issuer.max_bytes)?;
    let algorithm = checks::algorithm(&jws.header.alg, issuer.algorithms)?;
    checks::typ(jws.header.typ, issuer)?;
    let set = checks::keys(candidate)?;
    let key = checks::key(set, jws.header.kid.as_deref(), algorithm, issuer)?;
    checks::signature(key, &jws, algorithm, issuer)?;
    Claims::new(Arc::clone(&issuer.name), jws.header.kid, jws.payload)
}

/// Steps 8 and 9, for a verdict fresh or remembered.
pub(crate) fn in_force(claims: &Claims, issuer: &Issuer, now: UnixTime) -> Result<(), Refusal> {
    checks::expires(claims, issuer, now)?;
    checks::begins(claims, issuer, now)?;
    checks::issued(claims, issuer, now)?;
    checks::audience(claims, issuer)
}

#[cfg(test)]
mod tests;
