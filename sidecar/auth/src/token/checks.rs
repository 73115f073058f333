//! The single checks, each with its refusal. [`super::jwt`] runs them until one fails, and
//! [`super::explain`] goes on after that.

use serde_json::{Map, Value};

use super::algorithm::{Algorithm, Algorithms};
use super::claims::{self, Claims};
use super::issuer::{Candidate, Issuer, Keys, TokenType};
use super::jws::{Jws, Typ};
use super::keys::{KeySet, Miss, Verifier};
use crate::reason::Reason;
use crate::refusal::{Refusal, quote};
use crate::time::UnixTime;

/// The longest token that one of the candidates takes.
pub(crate) fn limit(candidates: &[Candidate<'_>]) -> Result<usize, Refusal> {
    let limits = candidates.iter().map(|c| c.issuer.max_bytes);
    limits
        .max()
        .ok_or_else(|| Refusal::new(Reason::IssuerMismatch, "the route accepts no issuer"))
}

pub(crate) fn size(token: &[u8], limit: usize) -> Result<(), Refusal> {
    if token.len() <= limit {
        return Ok(());
    }
    Err(Refusal::new(
        Reason::TokenTooLarge,
        format!("the token has {} bytes, the limit is {limit}", token.len()),
    ))
}

/// What one or the other of the candidates accepts.
pub(crate) fn listed(candidates: &[Candidate<'_>]) -> Algorithms {
    let all = candidates.iter().map(|c| c.issuer.algorithms);
    all.fold(Algorithms::EMPTY, Algorithms::or)
}

/// The algorithm of that name, if it is accepted.
pub(crate) fn algorithm(name: &str, accepted: Algorithms) -> Result<Algorithm, Refusal> {
    Algorithm::named(name)
        .filter(|algorithm| accepted.contains(*algorithm))
        .ok_or_else(|| {
            Refusal::new(
                Reason::AlgNotAllowed,
                format!("alg is {}, accepted are {accepted}", quote(name)),
            )
        })
}

/// Whose token it says to be: an index into the candidates. Not verified yet, it only selects.
pub(crate) fn select(
    payload: &Map<String, Value>,
    candidates: &[Candidate<'_>],
) -> Result<usize, Refusal> {
    let issuer = claims::issuer_of(payload)?;
    let found = candidates.iter().position(|c| c.issuer.issuer == issuer);
    found.ok_or_else(|| {
        let ours = candidates.iter().take(4);
        let ours: Vec<_> = ours.map(|c| quote(&c.issuer.issuer)).collect();
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

pub(crate) fn typ(typ: Typ, issuer: &Issuer) -> Result<(), Refusal> {
    if issuer.token_type == TokenType::AccessTokenJwt && typ != Typ::AccessToken {
        return Err(Refusal::new(
            Reason::HeaderUnsupported,
            format!("typ is not at+jwt, which issuer {:?} asks for", issuer.name),
        ));
    }
    Ok(())
}

/// The keys, if there are any that may be used.
pub(crate) fn keys<'k>(candidate: &Candidate<'k>) -> Result<&'k KeySet, Refusal> {
    let name = &candidate.issuer.name;
    match candidate.keys {
        Keys::Ready { set, .. } => Ok(set),
        Keys::Unavailable => Err(Refusal::new(
            Reason::KeysUnavailable,
            format!("there are no keys of issuer {name:?}"),
        )),
        Keys::Stale => Err(Refusal::new(
            Reason::KeysStale,
            format!("the keys of issuer {name:?} are too old"),
        )),
    }
}

/// The key of that name, made for the algorithm.
pub(crate) fn key<'k>(
    set: &'k KeySet,
    kid: Option<&str>,
    algorithm: Algorithm,
    issuer: &Issuer,
) -> Result<&'k Verifier, Refusal> {
    let name = &issuer.name;
    set.find(kid, algorithm).map_err(|miss| match (miss, kid) {
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
    })
}

/// An unknown key is no verdict while the issuer's keys cannot be fetched: it may well be a good token of a new
/// key, and the client should try again and not throw it away. `last_error` is why the last fetch failed.
pub fn doubted(refusal: Refusal, last_error: Option<&str>) -> Refusal {
    match (refusal.reason, last_error) {
        (Reason::KeyUnknown, Some(why)) => Refusal::new(
            Reason::KeysUnavailable,
            format!("the token's key is not here, and the last fetch failed: {why}"),
        ),
        _ => refusal,
    }
}

pub(crate) fn signature(
    key: &Verifier,
    jws: &Jws<'_>,
    algorithm: Algorithm,
    issuer: &Issuer,
) -> Result<(), Refusal> {
    key.verify(jws.signed, &jws.signature).map_err(|_| {
        Refusal::new(
            Reason::SignatureInvalid,
            format!(
                "{algorithm} does not verify under the key of issuer {:?}",
                issuer.name
            ),
        )
    })
}

/// Good while now < exp + skew.
pub(crate) fn expires(claims: &Claims, issuer: &Issuer, now: UnixTime) -> Result<(), Refusal> {
    let exp = claims.expires();
    if now < exp + issuer.clock_skew {
        return Ok(());
    }
    Err(out_of_time(Reason::TokenExpired, "exp", exp, issuer, now))
}

/// Good from nbf - skew on.
pub(crate) fn begins(claims: &Claims, issuer: &Issuer, now: UnixTime) -> Result<(), Refusal> {
    match claims.not_before() {
        Some(nbf) if now + issuer.clock_skew < nbf => {
            let reason = Reason::TokenNotYetValid;
            Err(out_of_time(reason, "nbf", nbf, issuer, now))
        }
        _ => Ok(()),
    }
}

/// Good from iat - skew on.
pub(crate) fn issued(claims: &Claims, issuer: &Issuer, now: UnixTime) -> Result<(), Refusal> {
    match claims.issued_at() {
        Some(iat) if iat > now + issuer.clock_skew => {
            Err(out_of_time(Reason::IssuedInFuture, "iat", iat, issuer, now))
        }
        _ => Ok(()),
    }
}

fn out_of_time(
    reason: Reason,
    name: &str,
    at: UnixTime,
    issuer: &Issuer,
    now: UnixTime,
) -> Refusal {
    let skew = issuer.clock_skew.as_secs_f64();
    Refusal::new(
        reason,
        format!("{name} is {at}, now is {now}, clock_skew is {skew} s"),
    )
}

/// One of the token's audiences is one of ours.
pub(crate) fn audience(claims: &Claims, issuer: &Issuer) -> Result<(), Refusal> {
    let mut found = claims.audiences();
    if found.any(|found| issuer.audiences.iter().any(|ours| ours == found)) {
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
