//! When checks are due: spread, so that neither the members of a service nor the nodes of a cluster are in step.

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

/// The first check of a member comes within this, or within its interval if that is shorter.
const FIRST_WITHIN: Duration = Duration::from_secs(1);

/// One member's times; no two are alike, neither here nor elsewhere.
#[derive(Debug)]
pub(super) struct Pace(u64);

impl Pace {
    pub(super) fn new() -> Self {
        Self(RandomState::new().hash_one(0))
    }

    /// How long the first check waits.
    pub(super) fn first(&mut self, interval: Duration) -> Duration {
        interval.min(FIRST_WITHIN).mul_f64(self.fraction())
    }

    /// From the start of a check to the start of the next: the interval, a tenth more or less.
    pub(super) fn next(&mut self, interval: Duration) -> Duration {
        interval.mul_f64(0.9 + 0.2 * self.fraction())
    }

    /// 0 to 1. SplitMix64 (Steele, Lea, Flood, 2014).
    fn fraction(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_spread_around_what_is_asked_for() {
        let interval = Duration::from_secs(10);
        let mut pace = Pace::new();
        let (mut least, mut most, mut sum) = (interval, Duration::ZERO, Duration::ZERO);
        for _ in 0..10_000 {
            let next = pace.next(interval);
            (least, most, sum) = (least.min(next), most.max(next), sum + next);
            assert!(pace.first(interval) <= FIRST_WITHIN);
            assert!(pace.first(Duration::from_millis(1)) <= Duration::from_millis(1));
        }
        assert!(least >= Duration::from_secs(9) && least < Duration::from_millis(9100));
        assert!(most <= Duration::from_secs(11) && most > Duration::from_millis(10_900));
        let mean = sum.as_secs_f64() / 10_000.0;
        assert!((9.9..10.1).contains(&mean), "{mean}");
        assert_ne!(Pace::new().next(interval), Pace::new().next(interval));
    }
}
