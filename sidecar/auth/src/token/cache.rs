//! Verdicts remembered, so that a token is verified once and not with each request.
//!
//! An entry stands for the whole token (found by its SHA-256, then compared byte for byte), the issuer,
//! the generation of its keys and the epoch of its rule. A new key set or a new rule therefore leaves
//! every older verdict unreachable at once; the memory bound sweeps it out. What depends on the moment,
//! time and audience, is never part of an entry: it is compared at every hit.
//!
//! Refusals that depend on the token alone (its form, a bad signature under a known key) are kept in a
//! small cache of their own and for seconds only, so that a flood of garbage neither evicts good tokens
//! nor is verified over and over. An unknown `kid`, missing keys, time and audience are never kept.
//!
//! Two workers that see a new token at the same moment both verify it. Letting one wait for the other
//! (moka's `get_with`) would park a whole worker and every connection on it, to save some tens of
//! microseconds once in the life of a token.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aws_lc_rs::digest;
use moka::sync::Cache;

use super::claims::Claims;
use super::jwt::{self, Candidate, Keys};
use crate::reason::Reason;
use crate::refusal::Refusal;
use crate::time::UnixTime;

/// How long a refusal is kept.
pub const NEGATIVE_TTL: Duration = Duration::from_secs(10);

/// What an entry costs beside its token and claims: key, hash table, list nodes, counters.
const ENTRY_OVERHEAD: usize = 256;

/// Remembers verdicts within a bound of memory. Shared by all workers.
#[derive(Debug)]
pub struct VerdictCache {
    good: Cache<Key, Arc<Good>>,
    bad: Cache<Key, Arc<Bad>>,
    hits: AtomicU64,
    misses: AtomicU64,
}

/// What the cache has done and holds. Entries and bytes lag behind by what moka has not swept yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheStats {
    /// Verdicts that were remembered, good and bad.
    pub hits: u64,
    /// Tokens that had to be verified.
    pub misses: u64,
    /// Verdicts held.
    pub entries: u64,
    /// Roughly the memory they take.
    pub bytes: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    token: [u8; 32],
    scope: Scope,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Scope {
    /// Refused for its form, which no rule or key changes.
    Form,
    Issuer {
        name: Arc<str>,
        generation: u64,
        epoch: u64,
    },
}

#[derive(Debug)]
struct Good {
    token: Box<[u8]>,
    claims: Arc<Claims>,
}

#[derive(Debug)]
struct Bad {
    token: Box<[u8]>,
    refusal: Refusal,
}

impl VerdictCache {
    /// A cache of at most about `max_bytes` of memory, of which an eighth, but no more than 4 MiB, is
    /// for refusals.
    pub fn new(max_bytes: u64) -> Self {
        let for_bad = (max_bytes / 8).min(4 << 20);
        let weight = |bytes: usize| u32::try_from(bytes + ENTRY_OVERHEAD).unwrap_or(u32::MAX);
        Self {
            good: Cache::builder()
                .max_capacity(max_bytes - for_bad)
                .weigher(move |_, v: &Arc<Good>| weight(v.token.len() + v.claims.weight()))
                .build(),
            bad: Cache::builder()
                .max_capacity(for_bad)
                .weigher(move |_, v: &Arc<Bad>| weight(v.token.len() + v.refusal.detail.len()))
                .time_to_live(NEGATIVE_TTL)
                .build(),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
        }
    }

    /// The verdict on `token`: the same as [`jwt::verify`] gives, remembered or not.
    ///
    /// # Errors
    /// As [`jwt::verify`].
    pub fn check(
        &self,
        token: &[u8],
        candidates: &[Candidate<'_>],
        now: UnixTime,
    ) -> Result<Arc<Claims>, Refusal> {
        jwt::admit(token, candidates)?;
        let hash = sha256(token);
        for candidate in candidates {
            let Some(key) = Key::of(hash, candidate) else {
                continue;
            };
            if let Some(entry) = self.good.get(&key).filter(|e| *e.token == *token) {
                self.hits.fetch_add(1, Ordering::Relaxed);
                jwt::in_force(&entry.claims, candidate.issuer, now)?;
                return Ok(Arc::clone(&entry.claims));
            }
        }
        let form = Key {
            token: hash,
            scope: Scope::Form,
        };
        let scoped = candidates.iter().filter_map(|c| Key::of(hash, c));
        for key in scoped.chain([form]) {
            if let Some(entry) = self.bad.get(&key).filter(|e| *e.token == *token) {
                self.hits.fetch_add(1, Ordering::Relaxed);
                return Err(entry.refusal.clone());
            }
        }
        self.misses.fetch_add(1, Ordering::Relaxed);
        self.learn(token, hash, candidates, now)
    }

    /// What the cache has done and holds.
    pub fn stats(&self) -> CacheStats {
        CacheStats {
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
            entries: self.good.entry_count() + self.bad.entry_count(),
            bytes: self.good.weighted_size() + self.bad.weighted_size(),
        }
    }

    fn learn(
        &self,
        token: &[u8],
        hash: [u8; 32],
        candidates: &[Candidate<'_>],
        now: UnixTime,
    ) -> Result<Arc<Claims>, Refusal> {
        let (at, claims) = match jwt::examine(token, candidates) {
            Ok(verified) => verified,
            Err(failure) => {
                let candidate = failure.candidate.map(|at| &candidates[at]);
                if let Some(key) = Key::of_refusal(hash, candidate, failure.refusal.reason) {
                    let refusal = failure.refusal.clone();
                    self.bad.insert(
                        key,
                        Arc::new(Bad {
                            token: token.into(),
                            refusal,
                        }),
                    );
                }
                return Err(failure.refusal);
            }
        };
        let claims = Arc::new(claims);
        // Before the insertion: a token that is out of time or not for us is not worth the memory.
        jwt::in_force(&claims, candidates[at].issuer, now)?;
        if let Some(key) = Key::of(hash, &candidates[at]) {
            let good = Good {
                token: token.into(),
                claims: Arc::clone(&claims),
            };
            self.good.insert(key, Arc::new(good));
        }
        Ok(claims)
    }
}

impl Key {
    /// `None` without keys: a verdict then has nothing to stand on.
    fn of(token: [u8; 32], candidate: &Candidate<'_>) -> Option<Self> {
        let Keys::Ready { generation, .. } = candidate.keys else {
            return None;
        };
        Some(Self {
            token,
            scope: Scope::Issuer {
                name: Arc::clone(&candidate.issuer.name),
                generation,
                epoch: candidate.epoch,
            },
        })
    }

    /// Where a refusal is kept, if it may be.
    fn of_refusal(
        token: [u8; 32],
        candidate: Option<&Candidate<'_>>,
        reason: Reason,
    ) -> Option<Self> {
        match (candidate, reason) {
            (None, Reason::TokenMalformed | Reason::HeaderUnsupported) => Some(Self {
                token,
                scope: Scope::Form,
            }),
            (
                Some(candidate),
                Reason::SignatureInvalid | Reason::ClaimMissing | Reason::ClaimMalformed,
            ) => Self::of(token, candidate),
            _ => None,
        }
    }
}

/// A short name of a token for logs: the first 12 hex digits of its SHA-256. It names a token to whoever
/// has it, and tells nothing to anyone else.
pub fn fingerprint(token: &[u8]) -> String {
    use std::fmt::Write as _;
    sha256(token)[..6]
        .iter()
        .fold(String::with_capacity(12), |mut out, byte| {
            let _ = write!(out, "{byte:02x}");
            out
        })
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    out
}

#[cfg(test)]
mod tests;
