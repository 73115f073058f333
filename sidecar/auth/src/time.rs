//! Points in time, as tokens name them.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

/// A point in time: what has passed since 1970-01-01T00:00:00Z, leap seconds not counted (RFC 7519
/// section 2, `NumericDate`). Never before the epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixTime(Duration);

impl UnixTime {
    /// The epoch.
    pub const EPOCH: Self = Self(Duration::ZERO);

    /// Whole seconds since the epoch.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// Milliseconds since the epoch.
    pub const fn from_millis(milliseconds: u64) -> Self {
        Self(Duration::from_millis(milliseconds))
    }

    /// Seconds since the epoch, fractions dropped.
    pub const fn as_secs(self) -> u64 {
        self.0.as_secs()
    }

    /// The time since the epoch.
    pub const fn since_epoch(self) -> Duration {
        self.0
    }

    /// How long after `earlier` this is; zero if it is not.
    pub const fn saturating_since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl From<Duration> for UnixTime {
    fn from(since_epoch: Duration) -> Self {
        Self(since_epoch)
    }
}

/// Saturates at the end of time.
impl Add<Duration> for UnixTime {
    type Output = Self;

    fn add(self, length: Duration) -> Self {
        Self(self.0.saturating_add(length))
    }
}

/// Saturates at the epoch.
impl Sub<Duration> for UnixTime {
    type Output = Self;

    fn sub(self, length: Duration) -> Self {
        Self(self.0.saturating_sub(length))
    }
}

/// Seconds, with a fraction only where there is one: the number a token would hold.
impl fmt::Display for UnixTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.subsec_millis() {
            0 => write!(f, "{}", self.0.as_secs()),
            millis => write!(f, "{}.{millis:03}", self.0.as_secs()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates() {
        assert_eq!(
            UnixTime::from_secs(5) - Duration::from_secs(9),
            UnixTime::EPOCH
        );
        assert!(
            UnixTime::from(Duration::MAX) + Duration::from_secs(1) == UnixTime::from(Duration::MAX)
        );
        assert_eq!(
            UnixTime::from_secs(5).saturating_since(UnixTime::from_secs(9)),
            Duration::ZERO
        );
    }

    #[test]
    fn prints_the_number_of_a_token() {
        assert_eq!(UnixTime::from_millis(1_500).to_string(), "1.500");
        assert_eq!(UnixTime::from_secs(7).to_string(), "7");
    }
}
