//! Fetches asked for ahead of their time: who may ask, and which fetch answers whom. Time is an argument.

use std::time::{Duration, Instant};

/// Fetches that may be asked for per cooldown: one for the rotation itself, one for a key published a moment later.
const PER_COOLDOWN: f64 = 2.0;

/// The asks of one issuer. Each is numbered and paid for by a token of the bucket.
#[derive(Debug)]
pub(super) struct Asks {
    cooldown: Duration,
    tokens: f64,
    filled: Instant,
    /// The number of the last ask.
    asked: u64,
    /// How far fetches have come.
    progress: Progress,
    is_fetching: bool,
}

/// How far fetches have come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Progress {
    /// The number of the last ask that a fetch has answered.
    answered: u64,
    /// Fetches that have ended.
    ended: u64,
    /// None will be any more.
    is_over: bool,
}

impl Progress {
    /// A fetch has ended.
    pub(super) fn has_ended(self) -> bool {
        self.ended > 0
    }

    /// No fetch will end any more.
    pub(super) fn is_over(self) -> bool {
        self.is_over
    }
}

/// What to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    /// A fetch that begins after this ask.
    Ask(u64),
    /// The fetch under way: it may have begun too early, but nothing better is to be had now.
    Fetch(u64),
}

impl Wait {
    pub(super) fn is_over(self, progress: Progress) -> bool {
        match self {
            Self::Ask(number) => progress.answered >= number,
            Self::Fetch(number) => progress.ended >= number,
        }
    }
}

impl Asks {
    /// A full bucket.
    pub(super) fn new(cooldown: Duration, now: Instant) -> Self {
        Self {
            cooldown,
            tokens: PER_COOLDOWN,
            filled: now,
            asked: 0,
            progress: Progress::default(),
            is_fetching: false,
        }
    }

    /// A fetch begins; the number goes to [`Asks::end`].
    pub(super) fn begin(&mut self) -> u64 {
        self.is_fetching = true;
        self.asked
    }

    /// The fetch that began with `begun` has ended.
    pub(super) fn end(&mut self, begun: u64) -> Progress {
        self.is_fetching = false;
        self.progress.answered = begun;
        self.progress.ended += 1;
        self.progress
    }

    /// Nobody fetches any more.
    pub(super) fn give_up(&mut self) -> Progress {
        self.progress.is_over = true;
        self.progress
    }

    /// Somebody asked since the last fetch began.
    pub(super) fn is_open(&self) -> bool {
        self.asked > self.progress.answered
    }

    /// What whoever needs newer keys waits for: the ask that is open, else a new one if the bucket pays for it, else
    /// the fetch under way. `None`: nothing is under way and none may be asked for.
    pub(super) fn ask(&mut self, now: Instant) -> Option<Wait> {
        if self.is_open() {
            return Some(Wait::Ask(self.asked));
        }
        let passed = now.saturating_duration_since(self.filled).as_secs_f64();
        let earned = passed / self.cooldown.as_secs_f64() * PER_COOLDOWN;
        self.tokens = (self.tokens + earned).min(PER_COOLDOWN);
        self.filled = now;
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            self.asked += 1;
            return Some(Wait::Ask(self.asked));
        }
        self.is_fetching
            .then(|| Wait::Fetch(self.progress.ended + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COOLDOWN: Duration = Duration::from_secs(10);

    #[test]
    fn threat_46_the_bucket_pays_for_two_and_then_for_two_per_cooldown() {
        let start = Instant::now();
        let mut asks = Asks::new(COOLDOWN, start);
        let mut fetches = 0;
        // A flood: a hundred a second, each fetch over before the next one asks.
        for tick in 0..10_000 {
            let now = start + Duration::from_millis(10) * tick;
            if asks.ask(now).is_some() {
                let begun = asks.begin();
                asks.end(begun);
                fetches += 1;
            }
        }
        // 100 s: two at once, two for each of the ten cooldowns; the last token may be short of a rounding.
        assert!((21..=22).contains(&fetches), "{fetches}");
    }

    #[test]
    fn threat_73_under_a_flood_a_fetch_begins_every_half_cooldown() {
        let start = Instant::now();
        let mut asks = Asks::new(COOLDOWN, start);
        let mut last = start;
        for tick in 0..10_000 {
            let now = start + Duration::from_millis(10) * tick;
            if asks.ask(now).is_some() {
                let begun = asks.begin();
                asks.end(begun);
                last = now;
            }
            // Whenever a key is published, the next fetch is no further away than this.
            assert!(now - last <= COOLDOWN / 2 + Duration::from_millis(10));
        }
    }

    #[test]
    fn an_open_ask_is_shared_and_costs_one_token() {
        let now = Instant::now();
        let mut asks = Asks::new(COOLDOWN, now);
        assert_eq!(asks.ask(now), Some(Wait::Ask(1)));
        let begun = asks.begin();
        assert_eq!(asks.ask(now), Some(Wait::Ask(1)), "the same one");
        asks.end(begun);
        assert_eq!(asks.ask(now), Some(Wait::Ask(2)));
    }

    #[test]
    fn a_fetch_that_began_before_does_not_answer_an_ask() {
        let now = Instant::now();
        let mut asks = Asks::new(COOLDOWN, now);
        let begun = asks.begin();
        let ask = asks.ask(now).unwrap();
        assert!(!ask.is_over(asks.end(begun)));
        assert!(asks.is_open());
        let begun = asks.begin();
        assert!(ask.is_over(asks.end(begun)));
    }

    #[test]
    fn without_a_token_the_fetch_under_way_is_waited_for_and_else_nothing() {
        let now = Instant::now();
        let mut asks = Asks::new(COOLDOWN, now);
        for _ in 0..2 {
            asks.ask(now).unwrap();
            let begun = asks.begin();
            asks.end(begun);
        }
        assert_eq!(asks.ask(now), None, "nothing under way, none allowed");
        let begun = asks.begin();
        let wait = asks.ask(now).unwrap();
        assert_eq!(wait, Wait::Fetch(3));
        assert!(!asks.is_open(), "nothing was asked for");
        assert!(wait.is_over(asks.end(begun)));
    }
}
