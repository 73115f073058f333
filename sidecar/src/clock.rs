//! The wall clock: the only place that asks for the time of day.

mod kernel;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tollgate_auth::time::UnixTime;

pub use self::kernel::{KernelClock, collector, kernel};

/// Now. A clock before 1970 reads as 1970: every token is then not yet valid, which fails closed.
pub fn now() -> UnixTime {
    UnixTime::from(
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default(),
    )
}

/// Now, for logs and status.
pub fn wall() -> SystemTime {
    SystemTime::now()
}

/// What the wall clock showed at `instant`, not long ago, unless it was set since.
pub fn at(instant: Instant) -> UnixTime {
    let now = now();
    now - instant.elapsed()
}

/// The instant at which the wall clock will show `time`, as far as can be told now; at most a day ahead.
pub fn instant_of(time: UnixTime) -> Instant {
    let ahead = time.saturating_since(now());
    Instant::now() + ahead.min(Duration::from_secs(24 * 3600))
}
