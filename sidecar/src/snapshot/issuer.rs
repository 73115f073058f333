//! An issuer at work: its rules, the keys of the moment, and how a request asks for newer ones.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;
use tollgate_auth::time::UnixTime;
use tollgate_auth::token::jwt::{Candidate, Issuer, Keys};
use tollgate_auth::token::keys::{KeySet, SkippedKey};

use super::asks::{Asks, Progress};
use super::skew::{ClockNews, ClockOffset, ClockSource, Dated, Skew};

/// Requests that may wait for one fetch at once; more are refused without waiting.
const MAX_WAITERS: usize = 1000;
/// How long a request waits for a fetch at most.
const MAX_WAIT: Duration = Duration::from_secs(1);

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
    /// When the last good set was fetched (or confirmed). Monotonic: a wall clock that is set back does not make keys
    /// younger, one that is set forward does not make them stale.
    pub confirmed: Option<Instant>,
    /// Why the last fetch failed; `None` after a good one.
    pub last_error: Option<String>,
    /// Fetches so far, failed ones included.
    pub fetches: u64,
    /// Failed fetches so far.
    pub failures: u64,
    /// Why a file with keys is not watched; it is still read at each refresh.
    pub unwatched: Option<String>,
}

impl KeyState {
    /// How long ago the set was fetched or confirmed; `None` without one.
    pub fn age(&self) -> Option<Duration> {
        self.confirmed.map(|confirmed| confirmed.elapsed())
    }

    /// The keys of the last good set that cannot be used.
    pub fn skipped(&self) -> &[SkippedKey] {
        self.set.as_ref().map_or(&[], |set| set.skipped())
    }
}

/// An issuer at work.
#[derive(Debug)]
pub struct IssuerState {
    /// What its tokens must say.
    pub rules: Arc<Issuer>,
    /// Where its keys come from, in words.
    pub source: String,
    epoch: u64,
    max_stale: Option<Duration>,
    keys: ArcSwap<KeyState>,
    asks: Mutex<Asks>,
    /// Wakes the side that fetches.
    wanted: Notify,
    done: watch::Sender<Progress>,
    waiters: AtomicUsize,
    skew: Arc<Skew>,
}

/// What came of asking for newer keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refetch {
    /// A fetch has ended: one that began after the request did or, where no more may be asked for, the one that was
    /// under way.
    Ended,
    /// It did not end in time, or the issuer was replaced by a reload meanwhile.
    Late,
    /// Too many were asked for of late and none is under way, or too many wait.
    Denied,
}

impl IssuerState {
    /// No keys yet. `max_stale` = `None` for keys that are part of the configuration: they cannot go stale, and asking
    /// for newer ones is of no use. At most two extra fetches are asked for per `cooldown`.
    pub fn new(rules: Arc<Issuer>, max_stale: Option<Duration>, cooldown: Duration) -> Self {
        Self {
            rules,
            source: String::new(),
            epoch: NEXT_EPOCH.fetch_add(1, Ordering::Relaxed),
            max_stale,
            keys: ArcSwap::default(),
            asks: Mutex::new(Asks::new(cooldown, Instant::now())),
            wanted: Notify::new(),
            done: watch::Sender::new(Progress::default()),
            waiters: AtomicUsize::new(0),
            skew: Arc::new(Skew::new()),
        }
    }

    /// Says where its keys come from.
    #[must_use]
    pub fn with_source(mut self, source: String) -> Self {
        self.source = source;
        self
    }

    /// Starts with the keys of `other`, and what is known of its clock: a change of an issuer's rules is no reason to be
    /// without keys, as long as they come from the same place.
    #[must_use]
    pub fn with_keys_of(mut self, other: &Self) -> Self {
        self.keys.store(other.keys());
        self.skew = Arc::clone(&other.skew);
        self
    }

    /// The keys of the moment.
    pub fn keys(&self) -> Arc<KeyState> {
        self.keys.load_full()
    }

    /// What a token is checked against, given the keys of the moment.
    pub fn candidate<'k>(&'k self, keys: &'k KeyState) -> Candidate<'k> {
        Candidate {
            issuer: &self.rules,
            keys: match &keys.set {
                None => Keys::Unavailable,
                Some(_) if self.is_stale(keys) => Keys::Stale,
                Some(set) => Keys::Ready {
                    set,
                    generation: keys.generation,
                },
            },
            epoch: self.epoch,
        }
    }

    /// The last good set is older than it may be.
    pub fn is_stale(&self, keys: &KeyState) -> bool {
        self.is_stale_at(keys, Instant::now())
    }

    fn is_stale_at(&self, keys: &KeyState, now: Instant) -> bool {
        match (self.max_stale, keys.confirmed) {
            (Some(limit), Some(confirmed)) => now.saturating_duration_since(confirmed) > limit,
            _ => false,
        }
    }

    /// A fetch begins; what it answers is given to [`IssuerState::publish`].
    pub fn begin(&self) -> u64 {
        self.asks().begin()
    }

    /// Publishes the outcome of a fetch that began with `begun`. The generation moves only when the usable keys differ,
    /// so that a refresh which brings the same ones costs no cached verdict.
    pub fn publish(&self, begun: u64, outcome: Result<KeySet, String>) {
        let mut next = KeyState::clone(&self.keys.load());
        next.fetches += 1;
        match outcome {
            Ok(set) => {
                next.confirmed = Some(Instant::now());
                next.last_error = None;
                let is_same = next
                    .set
                    .as_ref()
                    .is_some_and(|old| old.fingerprint() == set.fingerprint());
                if !is_same {
                    next.generation += 1;
                }
                // Also the same keys: what cannot be used beside them may differ.
                next.set = Some(Arc::new(set));
            }
            Err(error) => {
                next.failures += 1;
                next.last_error = Some(error);
            }
        }
        self.keys.store(Arc::new(next));
        // Told under the lock, so that nothing older is told after something newer.
        let mut asks = self.asks();
        self.done.send_replace(asks.end(begun));
    }

    /// Nobody fetches for this one any more: whoever waits for it, or would from now on, is told so at once.
    pub fn retire(&self) {
        let mut asks = self.asks();
        self.done.send_replace(asks.give_up());
    }

    /// Says whether the file with the keys is watched. Called by the side that fetches, like [`IssuerState::publish`].
    pub fn note_watch(&self, unwatched: Option<String>) {
        let keys = self.keys.load();
        if keys.unwatched != unwatched {
            let mut next = KeyState::clone(&keys);
            next.unwatched = unwatched;
            self.keys.store(Arc::new(next));
        }
    }

    /// Waits until a fetch has ended, well or not.
    pub async fn tried(&self) {
        let mut done = self.done.subscribe();
        // The sender lives as long as `self`.
        let _ = done.wait_for(|progress| progress.has_ended()).await.is_ok();
    }

    /// Waits until a request asks for newer keys, or has asked since the last fetch began.
    pub async fn wanted(&self) {
        loop {
            let woken = self.wanted.notified();
            if self.asks().is_open() {
                return;
            }
            woken.await;
        }
    }

    /// A token named a key that is not here: asks for a fetch, if the bucket pays for one, and waits for its end.
    pub async fn refetch(&self) -> Refetch {
        if self.max_stale.is_none() {
            return Refetch::Denied;
        }
        let mut done = self.done.subscribe();
        if self.waiters.fetch_add(1, Ordering::Relaxed) >= MAX_WAITERS {
            self.waiters.fetch_sub(1, Ordering::Relaxed);
            return Refetch::Denied;
        }
        let _waiting = Waiting(&self.waiters);
        let Some(wait) = self.asks().ask(Instant::now()) else {
            return Refetch::Denied;
        };
        self.wanted.notify_one();
        let over = done.wait_for(|progress| progress.is_over() || wait.is_over(*progress));
        match timeout(MAX_WAIT, over).await {
            Ok(Ok(progress)) if wait.is_over(*progress) => Refetch::Ended,
            Ok(Ok(_) | Err(_)) | Err(_) => Refetch::Late,
        }
    }

    /// An answer with keys was dated.
    pub fn note_date(&self, dated: &Dated) {
        self.skew.note_date(dated);
    }

    /// A token with a good signature says that it was issued at `issued_at`; it was seen at `now`. Lock-free; an `iat`
    /// that is not ahead of `now` tells nothing and costs one comparison.
    pub fn note_issued(&self, issued_at: UnixTime, now: UnixTime) {
        self.skew.note_issued(issued_at, now);
    }

    /// How far the issuer's clock is from ours, by what tells most; `None` as long as nothing does.
    pub fn clock_offset(&self) -> Option<ClockOffset> {
        self.skew.best()
    }

    /// The same by one source.
    pub fn clock_offset_by(&self, source: ClockSource) -> Option<ClockOffset> {
        self.skew.by(source)
    }

    /// Whether the clock's being off or right again is news, which it is once.
    pub fn clock_news(&self) -> Option<ClockNews> {
        self.skew.news()
    }

    /// Our own clock was set: what was measured by it before tells nothing any more.
    pub fn clock_was_set(&self) {
        self.skew.forget();
    }

    /// Waits until a token makes it likely that there is news of the clock.
    pub async fn clock_suspected(&self) {
        self.skew.suspected().await;
    }

    fn asks(&self) -> MutexGuard<'_, Asks> {
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
mod tests;
