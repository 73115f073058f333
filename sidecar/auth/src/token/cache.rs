//! Verdicts remembered, so that a token is verified once and not with each request.
//!
//! Two levels. The first: the whole token, the epoch of the rule and the generation of the keys name an
//! entry with the verified claims. A new key set or a new rule therefore leaves every older verdict
//! unreachable at once; the memory bound sweeps it out. What depends on the moment, time and audience, is
//! never part of an entry: it is compared at every hit. The second: an entry holds the identity headers of
//! each inject set that asked for them, ready to be appended, so that a request with a known token encodes
//! nothing. Equal inject sets share them, across routes and reloads. So it is with the assertions over
//! these headers, until they are to be renewed.
//!
//! Refusals that depend on the token alone (its form, a bad signature under a known key) are kept in a
//! small cache of their own and for seconds only, so that a flood of garbage neither evicts good tokens
//! nor is verified over and over. An unknown `kid`, missing keys, time and audience are never kept.
//!
//! A token that several workers see for the first time at once is verified by one of them; the others
//! wait for it as a future ([`Waiting`]), with their worker free for other connections.
//!
//! Memory: both caches are bounded in bytes. An entry counts its token, its claims as they lie in memory,
//! its ready headers, and 1 KiB for all around them; a token of an identity provider (900 bytes, 13 claims,
//! three headers) takes about 5 KiB, so that 64 MiB hold some 12 000.

mod entry;
mod flight;
mod shelf;

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use quick_cache::sync::{Cache, DefaultLifecycle};
use tollgate_http::fields::Field;

use self::entry::{Bad, Good, Held, Key, Scope, Sought, Weigh};
use self::flight::{Flights, Part};
use super::claims::Claims;
use super::jwt::{self, Candidate, Keys};
use crate::header::assertion::{Facts, Signer};
use crate::header::inject::InjectSet;
use crate::reason::Reason;
use crate::refusal::Refusal;
use crate::time::UnixTime;

pub use self::entry::Fingerprint;
pub use self::flight::Waiting;

/// How long a refusal is kept.
pub const NEGATIVE_TTL: Duration = Duration::from_secs(10);

/// Remembers verdicts within a bound of memory. Shared by all workers.
#[derive(Debug)]
pub struct VerdictCache {
    good: Store<Good>,
    bad: Store<Bad>,
    flights: Flights,
    /// Keyed anew in each process, so that nobody outside can aim at one place of the tables.
    prints: RandomState,
    hits: AtomicU64,
    misses: AtomicU64,
}

type Store<T> = Cache<Key, Held<T>, Weigh, RandomState>;

/// What an entry weighs about: how finely the caches are divided goes by it, nothing else.
const TYPICAL: u64 = 4096;

/// What the cache has done and holds.
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

/// What [`VerdictCache::look`] gives.
#[derive(Debug)]
pub enum Look {
    /// The verdict.
    Done(Checked),
    /// Another worker verifies this very token. Await it, then [`VerdictCache::check`].
    Wait(Waiting),
}

/// A verdict, and what was learnt on the way to it.
#[derive(Debug)]
pub struct Checked {
    /// Accepted, or why not.
    pub verdict: Result<Verdict, Refusal>,
    /// Whose token it says to be: an index into the candidates. Unsaid where the verdict was remembered, or
    /// the token is refused before that is known.
    pub named: Option<usize>,
    /// Said when a signature was found good in this very call, whatever else was wrong with the token.
    pub fresh: Option<Fresh>,
}

/// A signature that was found good a moment ago.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fresh {
    /// Whose it is: an index into the candidates.
    pub candidate: usize,
    /// When the token says that it was issued.
    pub issued_at: Option<UnixTime>,
}

/// An accepted token.
#[derive(Clone, Debug)]
pub struct Verdict(Arc<Good>);

impl Checked {
    fn known(verdict: Result<Verdict, Refusal>) -> Self {
        Self {
            verdict,
            named: None,
            fresh: None,
        }
    }
}

impl Verdict {
    /// What it claims.
    pub fn claims(&self) -> &Claims {
        &self.0.claims
    }

    /// Its name in logs.
    pub fn fingerprint(&self) -> Fingerprint {
        self.0.fingerprint
    }
}

impl VerdictCache {
    /// A cache of at most about `max_bytes` of memory, of which an eighth, but no more than 4 MiB, is
    /// for refusals.
    pub fn new(max_bytes: u64) -> Self {
        let for_bad = (max_bytes / 8).min(4 << 20);
        Self {
            good: store(max_bytes - for_bad),
            bad: store(for_bad),
            flights: Flights::default(),
            prints: RandomState::new(),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
        }
    }

    /// The verdict on `token`, the same as [`jwt::verify`] gives, remembered or not; or the word to wait
    /// for the worker that is verifying it.
    pub fn look(&self, token: &[u8], candidates: &[Candidate<'_>], now: UnixTime) -> Look {
        let sought = match self.recall(token, candidates, now) {
            Recalled::Known(verdict) => {
                return Look::Done(Checked::known(verdict));
            }
            Recalled::Unknown(sought) => sought,
        };
        match self.flights.join(sought.print) {
            // Another may have led, and ended, since the cache was asked.
            Part::Lead(_leading) => Look::Done(self.check(token, candidates, now)),
            Part::Wait(waiting) => Look::Wait(waiting),
        }
    }

    /// The verdict on `token` without waiting for anybody.
    pub fn check(&self, token: &[u8], candidates: &[Candidate<'_>], now: UnixTime) -> Checked {
        match self.recall(token, candidates, now) {
            Recalled::Known(verdict) => Checked::known(verdict),
            Recalled::Unknown(sought) => self.learn(sought, candidates, now),
        }
    }

    /// The identity headers of an accepted token: [`InjectSet::render`], done once.
    ///
    /// # Errors
    /// As [`InjectSet::render`]; a refusal is not remembered.
    pub fn headers(&self, verdict: &Verdict, set: &InjectSet) -> Result<Arc<[Field]>, Refusal> {
        let Verdict(entry) = verdict;
        if let Some(lines) = entry.block(set.identity()) {
            return Ok(lines);
        }
        let lines = set.render(&entry.claims)?;
        entry.keep_block(*set.identity(), &lines);
        self.weigh(entry);
        Ok(lines)
    }

    /// The value of the assertion over `lines`, which [`Self::headers`] gave for `set`: signed at `now`, or before and
    /// still fresh. `until` is the first moment at which the token is not accepted any more. For upstreams that bind
    /// nothing to the request; what is bound is not kept, and [`Signer::sign`] makes it.
    ///
    /// # Errors
    /// As [`Signer::sign`]; a refusal is not remembered.
    pub fn assertion(
        &self,
        verdict: &Verdict,
        signer: &Signer<'_>,
        (set, lines): (&InjectSet, &[Field]),
        until: UnixTime,
        now: UnixTime,
    ) -> Result<Bytes, Refusal> {
        let Verdict(entry) = verdict;
        if let Some(value) = entry.assertion(set.identity(), signer, now) {
            return Ok(value);
        }
        let facts = Facts {
            claims: &entry.claims,
            set,
            lines,
            until,
        };
        let assertion = signer.sign(&facts, None, now)?;
        entry.keep_assertion(*set.identity(), signer, &assertion);
        self.weigh(entry);
        Ok(assertion.value().clone())
    }

    /// Weighs an entry that has grown again, in its own place, unless it was swept out meanwhile. Once more if another
    /// worker made it grow in between, whose weight this one would undo.
    fn weigh(&self, entry: &Arc<Good>) {
        loop {
            let heavier = Held::good(Arc::clone(entry));
            let weighed = heavier.weight();
            let is_there = self.good.replace(entry.key.clone(), heavier, true).is_ok();
            if !is_there || weighed == Held::good(Arc::clone(entry)).weight() {
                break;
            }
        }
    }

    /// What the cache has done and holds.
    pub fn stats(&self) -> CacheStats {
        CacheStats {
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
            entries: (self.good.len() + self.bad.len()) as u64,
            bytes: self.good.weight() + self.bad.weight(),
        }
    }

    fn recall<'t>(
        &self,
        token: &'t [u8],
        candidates: &[Candidate<'_>],
        now: UnixTime,
    ) -> Recalled<'t> {
        // Before anything of its size is touched.
        if let Err(refusal) = jwt::admit(token, candidates) {
            return Recalled::Known(Err(refusal));
        }
        let form = Sought {
            print: self.prints.hash_one(token),
            token,
            scope: Scope::Form,
        };
        for candidate in candidates {
            let Some(scope) = scope(candidate) else {
                continue;
            };
            if let Some(Held { value: entry, .. }) = self.good.get(&Sought { scope, ..form })
                && *entry.claims.issuer_name() == candidate.issuer.name
            {
                self.hits.fetch_add(1, Ordering::Relaxed);
                let verdict = jwt::in_force(&entry.claims, candidate.issuer, now);
                return Recalled::Known(verdict.map(|()| Verdict(entry)));
            }
        }
        let scopes = candidates.iter().filter_map(scope).chain([Scope::Form]);
        for scope in scopes {
            if let Some(Held { value: entry, .. }) = self.bad.get(&Sought { scope, ..form })
                && (entry.at..entry.at + NEGATIVE_TTL).contains(&now)
            {
                self.hits.fetch_add(1, Ordering::Relaxed);
                return Recalled::Known(Err(entry.refusal.clone()));
            }
        }
        Recalled::Unknown(form)
    }

    fn learn(&self, form: Sought<'_>, candidates: &[Candidate<'_>], now: UnixTime) -> Checked {
        self.misses.fetch_add(1, Ordering::Relaxed);
        let (at, claims) = match jwt::examine(form.token, candidates) {
            Ok(verified) => verified,
            Err(failure) => {
                let candidate = failure.candidate.map(|at| &candidates[at]);
                if let Some(scope) = kept(candidate, failure.refusal.reason) {
                    let refusal = failure.refusal.clone();
                    let key = Sought { scope, ..form }.owned();
                    let held = Held::bad(&key, Bad { refusal, at: now });
                    self.bad.insert(key, held);
                }
                return Checked {
                    verdict: Err(failure.refusal),
                    named: failure.candidate,
                    fresh: None,
                };
            }
        };
        let candidate = &candidates[at];
        let fresh = Some(Fresh {
            candidate: at,
            issued_at: claims.issued_at(),
        });
        // Before the insertion: a token that is out of time or not for us is not worth the memory.
        if let Err(refusal) = jwt::in_force(&claims, candidate.issuer, now) {
            return Checked {
                verdict: Err(refusal),
                named: Some(at),
                fresh,
            };
        }
        let Some(scope) = scope(candidate) else {
            // Not reached: nothing verifies without keys.
            let why = "the token was verified without keys";
            return Checked::known(Err(Refusal::new(Reason::KeysUnavailable, why)));
        };
        let key = Sought { scope, ..form }.owned();
        let entry = Arc::new(Good::new(key.clone(), claims));
        self.good.insert(key, Held::good(Arc::clone(&entry)));
        Checked {
            verdict: Ok(Verdict(entry)),
            named: Some(at),
            fresh,
        }
    }
}

fn store<T>(bytes: u64) -> Store<T> {
    let items = usize::try_from(bytes / TYPICAL).unwrap_or(usize::MAX);
    Cache::with(
        items,
        bytes,
        Weigh,
        RandomState::new(),
        DefaultLifecycle::default(),
    )
}

enum Recalled<'t> {
    Known(Result<Verdict, Refusal>),
    Unknown(Sought<'t>),
}

/// `None` without keys: a verdict then has nothing to stand on.
fn scope(candidate: &Candidate<'_>) -> Option<Scope> {
    match candidate.keys {
        Keys::Ready { generation, .. } => Some(Scope::Rule {
            epoch: candidate.epoch,
            generation,
        }),
        Keys::Unavailable | Keys::Stale => None,
    }
}

/// Where a refusal is kept, if it may be.
fn kept(candidate: Option<&Candidate<'_>>, reason: Reason) -> Option<Scope> {
    match (candidate, reason) {
        (None, Reason::TokenMalformed | Reason::HeaderUnsupported) => Some(Scope::Form),
        (
            Some(candidate),
            Reason::SignatureInvalid | Reason::ClaimMissing | Reason::ClaimMalformed,
        ) => scope(candidate),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
