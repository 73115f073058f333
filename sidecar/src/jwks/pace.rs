//! When the next fetch is due.

use std::time::Duration;

/// The first retry after a failure; doubled from failure to failure.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// Between retries, at most: an IdP that is back is noticed within this, however long the refresh interval is.
const LAST_RETRY: Duration = Duration::from_secs(30);

/// The pause after a failure.
#[derive(Debug)]
pub(super) struct Backoff {
    next: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { next: FIRST_RETRY }
    }
}

impl Backoff {
    /// Nothing has failed.
    pub(super) fn is_unused(&self) -> bool {
        self.next == FIRST_RETRY
    }

    /// The pause after one more failure, never longer than `refresh`.
    pub(super) fn pause(&mut self, refresh: Duration) -> Duration {
        let pause = self.next.min(refresh);
        self.next = (self.next * 2).min(LAST_RETRY);
        jittered(pause, Duration::ZERO, chance())
    }
}

/// The pause after a good fetch: what the IdP says (`max_age`) within [least, refresh], and 0 to 20 % earlier, so that
/// many nodes started together do not stay together.
pub(super) fn ahead(refresh: Duration, least: Duration, max_age: Option<Duration>) -> Duration {
    // A refresh below the cooldown is the operator's word.
    let least = least.min(refresh);
    let pause = max_age.map_or(refresh, |age| age.clamp(least, refresh));
    jittered(pause, least, chance()).min(refresh)
}

/// `pause` less up to a fifth of it; what would fall below `least` goes above it by as much instead.
fn jittered(pause: Duration, least: Duration, chance: u8) -> Duration {
    let pause = pause.mul_f64(1.0 - f64::from(chance) / 255.0 * 0.2);
    pause.max(least + least.saturating_sub(pause))
}

fn chance() -> u8 {
    let mut byte = [0];
    // Without random bytes: the same pause for all, which is only less kind to the IdP.
    let _ = aws_lc_rs::rand::fill(&mut byte).is_ok();
    byte[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn cache_control_moves_the_refresh_within_its_bounds() {
        let (refresh, least) = (secs(300), secs(30));
        for (max_age, earliest, latest) in [
            (None, 240, 300),
            (Some(0), 30, 36),
            (Some(35), 30, 35),
            (Some(120), 96, 120),
            (Some(86400), 240, 300),
        ] {
            for _ in 0..100 {
                let pause = ahead(refresh, least, max_age.map(secs));
                assert!(
                    pause >= secs(earliest) && pause <= secs(latest),
                    "{max_age:?} {pause:?}"
                );
            }
        }
    }

    #[test]
    fn a_refresh_below_the_cooldown_is_kept() {
        for max_age in [None, Some(secs(0)), Some(secs(3600))] {
            assert_eq!(ahead(secs(1), secs(30), max_age), secs(1));
        }
    }

    #[test]
    fn jitter_spreads_over_a_fifth() {
        assert_eq!(jittered(secs(100), secs(0), 0), secs(100));
        assert_eq!(jittered(secs(100), secs(0), 255), secs(80));
        assert_eq!(jittered(secs(100), secs(90), 255), secs(100));
        assert_eq!(jittered(secs(30), secs(30), 255), secs(36));
    }

    #[test]
    fn retries_back_off_to_half_a_minute_and_never_beyond_the_refresh() {
        let mut backoff = Backoff::default();
        for expected in [1, 2, 4, 8, 16, 30, 30] {
            let pause = backoff.pause(secs(300));
            assert!(
                pause <= secs(expected) && pause >= secs(expected).mul_f64(0.8),
                "{pause:?} for {expected}"
            );
        }
        assert!(backoff.pause(secs(5)) <= secs(5));
    }
}
