//! Notices when our own wall clock is set.

use std::time::{Duration, Instant};

use tollgate_auth::time::UnixTime;

/// A wall clock that is further than this from where the monotonic one expects it was set. A clock that is kept by slewing
/// stays far below, since that moves both.
const STEP: Duration = Duration::from_secs(1);

/// What the wall clock showed at a moment of the monotonic one.
#[derive(Debug)]
pub(super) struct Wall {
    at: Instant,
    showed: UnixTime,
}

impl Wall {
    pub(super) fn new(at: Instant, showed: UnixTime) -> Self {
        Self { at, showed }
    }

    /// Whether it was set since the last time, given what it shows at `now`.
    pub(super) fn was_set(&mut self, now: Instant, shows: UnixTime) -> bool {
        let expected = self.showed + now.saturating_duration_since(self.at);
        let apart = shows
            .saturating_since(expected)
            .max(expected.saturating_since(shows));
        let was_set = apart > STEP;
        if was_set {
            *self = Self::new(now, shows);
        }
        was_set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_either_way_is_noticed_once() {
        let start = Instant::now();
        let mut wall = Wall::new(start, UnixTime::from_secs(1000));
        for (passed, millis, expected) in [
            (60, 1_060_000, false),
            (120, 1_120_900, false),
            (180, 1_181_100, true),
            (240, 1_241_100, false),
            (300, 1_000_000, true),
            (360, 1_060_000, false),
        ] {
            let now = start + Duration::from_secs(passed);
            let was_set = wall.was_set(now, UnixTime::from_millis(millis));
            assert_eq!(was_set, expected, "{passed}");
        }
    }
}
