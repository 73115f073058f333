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
    asks: Mutex<Asks>,
    /// Wakes the side that fetches.
    wanted: Notify,
    /// The number of the last ask that a fetch has answered.
    done: watch::Sender<u64>,
    cooldown: Duration,
    waiters: AtomicUsize,
}

/// Requests for a fetch ahead of its time. Each is paid for by a token of the bucket; whoever comes while one is under
/// way waits for that one.
#[derive(Debug)]
struct Asks {
    tokens: f64,
    filled: Instant,
    /// The number of the last ask.
    asked: u64,
    /// The number of the last ask that a fetch has answered.
    answered: u64,
}

/// What came of asking for newer keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refetch {
    /// A fetch that began after the request did has ended.
    Ended,
    /// It did not end in time.
    Late,
    /// Too many were asked for of late, or too many wait.
    Denied,
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
            asks: Mutex::new(Asks {
                tokens: REFETCHES,
                filled: Instant::now(),
                asked: 0,
                answered: 0,
            }),
            wanted: Notify::new(),
            done: watch::Sender::new(0),
            cooldown,
            waiters: AtomicUsize::new(0),
        }
    }

    /// Starts with the keys of `other`: a change of an issuer's rules is no reason to be without keys, as long as they
    /// come from the same place.
    #[must_use]
    pub fn with_keys_of(self, other: &Self) -> Self {
        self.keys.store(other.keys());
        self
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

    /// A fetch begins; what it answers is given to [`IssuerState::publish`].
    pub fn begin(&self) -> u64 {
        self.asks().asked
    }

    /// Publishes the outcome of a fetch that began with `begun`. The generation moves only when the set differs, so that
    /// a refresh which brings the same keys costs no cached verdict.
    pub fn publish(&self, begun: u64, outcome: Result<KeySet, String>, now: UnixTime) {
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
        self.asks().answered = begun;
        self.done.send_replace(begun);
    }

    /// Waits until a request asks for newer keys, or has asked since the last fetch began.
    pub async fn wanted(&self) {
        loop {
            let woken = self.wanted.notified();
            let is_asked = {
                let asks = self.asks();
                asks.asked > asks.answered
            };
            if is_asked {
                return;
            }
            woken.await;
        }
    }

    /// A token named a key that is not here: asks for a fetch, if the bucket pays for one, and waits for its end.
    pub async fn refetch(&self) -> Refetch {
        let mut done = self.done.subscribe();
        if self.waiters.fetch_add(1, Ordering::Relaxed) >= MAX_WAITERS {
            self.waiters.fetch_sub(1, Ordering::Relaxed);
            return Refetch::Denied;
        }
        let _waiting = Waiting(&self.waiters);
        let Some(ask) = self.ask() else {
            return Refetch::Denied;
        };
        self.wanted.notify_one();
        match timeout(MAX_WAIT, done.wait_for(|answered| *answered >= ask)).await {
            Ok(Ok(_)) => Refetch::Ended,
            Ok(Err(_)) | Err(_) => Refetch::Late,
        }
    }

    /// The ask to wait for: the one under way, else a new one.
    fn ask(&self) -> Option<u64> {
        let mut asks = self.asks();
        if asks.asked == asks.answered {
            let now = Instant::now();
            let earned =
                now.duration_since(asks.filled).as_secs_f64() / self.cooldown.as_secs_f64();
            asks.tokens = (asks.tokens + earned * REFETCHES).min(REFETCHES);
            asks.filled = now;
            if asks.tokens < 1.0 {
                return None;
            }
            asks.tokens -= 1.0;
            asks.asked += 1;
        }
        Some(asks.asked)
    }

    fn asks(&self) -> std::sync::MutexGuard<'_, Asks> {
        self.asks.lock().unwrap_or_else(PoisonError::into_inner)
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
                    let begun = state.begin();
                    // Others come while the fetch is under way: they wait for it, and ask for none of their own.
                    for _ in 0..20 {
                        tokio::task::yield_now().await;
                    }
                    state.publish(begun, Err("down".to_owned()), UnixTime::from_secs(1));
                }
            }
        });
        let flood: Vec<_> = (0..500)
            .map(|_| {
                let state = Arc::clone(&state);
                tokio::spawn(async move {
                    let mut ended = 0;
                    for _ in 0..10 {
                        ended += usize::from(state.refetch().await == Refetch::Ended);
                    }
                    ended
                })
            })
            .collect();
        let mut ended = 0;
        for one in flood {
            ended += one.await.unwrap();
        }
        fetcher.abort();
        assert_eq!(state.keys().fetches, 2);
        assert!(ended >= 2, "those who waited were told");
    }

    #[tokio::test]
    async fn a_fetch_that_began_before_does_not_answer() {
        let state = Arc::new(state(Duration::from_secs(3600)));
        let begun = state.begin();
        let asking = tokio::spawn({
            let state = Arc::clone(&state);
            async move { state.refetch().await }
        });
        state.wanted().await;
        state.publish(begun, Err("too early".to_owned()), UnixTime::from_secs(1));
        tokio::task::yield_now().await;
        assert!(!asking.is_finished());
        state.publish(
            state.begin(),
            Err("down".to_owned()),
            UnixTime::from_secs(1),
        );
        assert_eq!(asking.await.unwrap(), Refetch::Ended);
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
        state.publish(0, Ok(set()), UnixTime::from_secs(100));
        state.publish(0, Err("down".to_owned()), UnixTime::from_secs(130));
        let keys = state.keys();
        assert_eq!((keys.generation, keys.failures), (1, 1));
        let at = |secs| state.candidate(&keys, UnixTime::from_secs(secs)).keys;
        assert!(matches!(at(160), Keys::Ready { generation: 1, .. }));
        assert!(matches!(at(161), Keys::Stale));
        state.publish(0, Ok(set()), UnixTime::from_secs(170));
        assert_eq!(
            state.keys().generation,
            1,
            "the same keys again are the same generation"
        );
    }
}
