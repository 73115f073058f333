//! An issuer at work: its rules, the keys of the moment, and how a request asks for newer ones.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;
use tollgate_auth::time::UnixTime;
use tollgate_auth::token::jwt::{Candidate, Issuer, Keys};
use tollgate_auth::token::keys::KeySet;

/// Requests that may wait for one fetch at once; more are refused without waiting.
const MAX_WAITERS: usize = 1000;
/// How long a request waits for a fetch at most.
const MAX_WAIT: Duration = Duration::from_secs(1);
/// Fetches for unknown kids per cooldown: one for the rotation itself, one for a key published a moment later.
const REFETCHES: f64 = 2.0;

/// Numbers every issuer state of this process, so that a verdict made under other rules is never taken for one made
/// under these.
static NEXT_EPOCH: AtomicU64 = AtomicU64::new(1);

/// The keys of the moment.
#[derive(Debug, Clone, Default)]
pub struct KeyState {
    /// The last good set; `None` before the first.
    pub set: Option<Arc<KeySet>>,
    /// Counts the sets that differ, from 1.
    pub generation: u64,
    /// When the last good set was fetched (or confirmed).
    pub fetched: Option<UnixTime>,
    /// Why the last fetch failed; `None` after a good one.
    pub last_error: Option<String>,
    /// Fetches so far, failed ones included.
    pub fetches: u64,
    /// Failed fetches so far.
    pub failures: u64,
}

/// An issuer at work.
#[derive(Debug)]
pub struct IssuerState {
    /// What its tokens must say.
    pub rules: Arc<Issuer>,
    epoch: u64,
    max_stale: Option<Duration>,
    keys: ArcSwap<KeyState>,
    // The side that fetches listens here; requests poke.
    wanted: Notify,
    done: watch::Sender<u64>,
    bucket: Mutex<Bucket>,
    cooldown: Duration,
    waiters: AtomicUsize,
}

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    filled: Instant,
}

impl IssuerState {
    /// No keys yet. `max_stale` = `None` for keys that cannot go stale, being part of the configuration; at most two
    /// extra fetches are asked for per `cooldown`.
    pub fn new(rules: Arc<Issuer>, max_stale: Option<Duration>, cooldown: Duration) -> Self {
        Self {
            rules,
            epoch: NEXT_EPOCH.fetch_add(1, Ordering::Relaxed),
            max_stale,
            keys: ArcSwap::default(),
            wanted: Notify::new(),
            done: watch::Sender::new(0),
            bucket: Mutex::new(Bucket {
                tokens: REFETCHES,
                filled: Instant::now(),
            }),
            cooldown,
            waiters: AtomicUsize::new(0),
        }
    }

    /// The keys of the moment.
    pub fn keys(&self) -> Arc<KeyState> {
        self.keys.load_full()
    }

    /// What a token is checked against, given the keys of the moment.
    pub fn candidate<'k>(&'k self, keys: &'k KeyState, now: UnixTime) -> Candidate<'k> {
        Candidate {
            issuer: &self.rules,
            keys: match &keys.set {
                None => Keys::Unavailable,
                Some(_) if self.is_stale(keys, now) => Keys::Stale,
                Some(set) => Keys::Ready {
                    set,
                    generation: keys.generation,
                },
            },
            epoch: self.epoch,
        }
    }

    /// The last good set is older than it may be.
    pub fn is_stale(&self, keys: &KeyState, now: UnixTime) -> bool {
        match (self.max_stale, keys.fetched) {
            (Some(limit), Some(fetched)) => now > fetched + limit,
            _ => false,
        }
    }

    /// Publishes the outcome of a fetch. The generation moves only when the set differs, so that a refresh which brings
    /// the same keys costs no cached verdict.
    pub fn publish(&self, outcome: Result<KeySet, String>, now: UnixTime) {
        let mut next = KeyState::clone(&self.keys.load());
        next.fetches += 1;
        match outcome {
            Ok(set) => {
                next.fetched = Some(now);
                next.last_error = None;
                let same = next
                    .set
                    .as_ref()
                    .is_some_and(|old| old.fingerprint() == set.fingerprint());
                if !same {
                    next.generation += 1;
                    next.set = Some(Arc::new(set));
                }
            }
            Err(error) => {
                next.failures += 1;
                next.last_error = Some(error);
            }
        }
        self.keys.store(Arc::new(next));
        self.done.send_modify(|count| *count += 1);
    }

    /// Waits until a request asks for newer keys.
    pub async fn wanted(&self) {
        self.wanted.notified().await;
    }

    /// A token named a key that is not here: asks for a fetch and waits for its end. `true` when one ended, so that it
    /// is worth looking again; `false` at once when the bucket is empty or too many wait already.
    pub async fn refetch(&self) -> bool {
        let mut done = self.done.subscribe();
        done.mark_unchanged();
        if !self.may_refetch() {
            return false;
        }
        if self.waiters.fetch_add(1, Ordering::Relaxed) >= MAX_WAITERS {
            self.waiters.fetch_sub(1, Ordering::Relaxed);
            return false;
        }
        let _waiting = Waiting(&self.waiters);
        self.wanted.notify_one();
        matches!(timeout(MAX_WAIT, done.changed()).await, Ok(Ok(())))
    }

    /// The caller may wait: a fetch is already awaited, or the bucket pays for one.
    fn may_refetch(&self) -> bool {
        if self.waiters.load(Ordering::Relaxed) > 0 {
            return true;
        }
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let earned = now.duration_since(bucket.filled).as_secs_f64() / self.cooldown.as_secs_f64();
        bucket.tokens = (bucket.tokens + earned * REFETCHES).min(REFETCHES);
        bucket.filled = now;
        if bucket.tokens < 1.0 {
            return false;
        }
        bucket.tokens -= 1.0;
        true
    }
}

struct Waiting<'s>(&'s AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tollgate_auth::token::jwt::TokenType;
    use tollgate_auth::token::keys::Algorithms;

    fn state(cooldown: Duration) -> IssuerState {
        let rules = Issuer {
            name: "corp".into(),
            issuer: "https://issuer.test".to_owned(),
            audiences: vec!["api".to_owned()],
            algorithms: Algorithms::default(),
            clock_skew: Duration::ZERO,
            token_type: TokenType::Any,
            max_bytes: 16384,
        };
        IssuerState::new(Arc::new(rules), Some(Duration::from_secs(60)), cooldown)
    }

    #[tokio::test]
    async fn a_flood_of_unknown_kids_costs_two_fetches() {
        let state = Arc::new(state(Duration::from_secs(3600)));
        let fetcher = tokio::spawn({
            let state = Arc::clone(&state);
            async move {
                loop {
                    state.wanted().await;
                    state.publish(Err("down".to_owned()), UnixTime::from_secs(1));
                }
            }
        });
        let mut worth = 0;
        for _ in 0..100 {
            worth += usize::from(state.refetch().await);
        }
        fetcher.abort();
        assert_eq!((worth, state.keys().fetches), (2, 2));
    }

    #[test]
    fn keys_go_stale_after_max_stale_and_failures_keep_the_last_good() {
        let state = state(Duration::from_secs(30));
        assert!(matches!(
            state
                .candidate(&state.keys(), UnixTime::from_secs(100))
                .keys,
            Keys::Unavailable
        ));
        // RFC 8037, appendix A.2
        let set = || {
            KeySet::from_jwks(
                br#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#,
            )
            .unwrap()
        };
        state.publish(Ok(set()), UnixTime::from_secs(100));
        state.publish(Err("down".to_owned()), UnixTime::from_secs(130));
        let keys = state.keys();
        assert_eq!((keys.generation, keys.failures), (1, 1));
        let at = |secs| state.candidate(&keys, UnixTime::from_secs(secs)).keys;
        assert!(matches!(at(160), Keys::Ready { generation: 1, .. }));
        assert!(matches!(at(161), Keys::Stale));
        state.publish(Ok(set()), UnixTime::from_secs(170));
        assert_eq!(
            state.keys().generation,
            1,
            "the same keys again are the same generation"
        );
    }
}
