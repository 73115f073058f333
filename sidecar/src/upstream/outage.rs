//! An endpoint that does not accept connections is left alone for a while: it has no requests in flight, so to every
//! balancer it looks like the best choice.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// After the first failure; doubled from failure to failure.
const FIRST: Duration = Duration::from_secs(1);
/// At most.
const LAST: Duration = Duration::from_secs(16);

/// Whether and how long an endpoint is left alone.
#[derive(Debug, Default)]
pub(super) struct Outage {
    failures: AtomicU32,
    /// Milliseconds since the process started; 0 = not out.
    until: AtomicU64,
}

impl Outage {
    /// It should be left alone now. One atomic load as long as all is well.
    pub(super) fn is_on(&self) -> bool {
        match self.until.load(Ordering::Relaxed) {
            0 => false,
            until => now() < until,
        }
    }

    /// It did not accept a connection.
    pub(super) fn failed(&self) {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed).min(8);
        let pause = (FIRST * 2_u32.pow(failures)).min(LAST);
        let until = now() + u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        self.until.store(until, Ordering::Relaxed);
    }

    /// It accepted one.
    pub(super) fn ended(&self) {
        self.failures.store(0, Ordering::Relaxed);
        self.until.store(0, Ordering::Relaxed);
    }
}

fn now() -> u64 {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    u64::try_from(START.elapsed().as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_begins_and_ends() {
        let outage = Outage::default();
        assert!(!outage.is_on());
        outage.failed();
        assert!(outage.is_on());
        outage.ended();
        assert!(!outage.is_on());
    }
}
