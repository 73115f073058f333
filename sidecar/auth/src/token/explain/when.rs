//! Times and spans in words.

use std::time::{Duration, SystemTime};

use crate::time::UnixTime;
use crate::token::claims::MAX_DATE;

/// `1800000300 (2027-01-15T08:05:00Z)`: the number of the token, and what it means.
pub(super) fn date(time: UnixTime) -> String {
    if time.as_secs() > MAX_DATE {
        return time.to_string();
    }
    let date = SystemTime::UNIX_EPOCH + Duration::from_secs(time.as_secs());
    format!("{time} ({})", humantime::format_rfc3339_seconds(date))
}

/// `in 5m`, `3m 12s ago`, `now`.
pub(super) fn apart(now: UnixTime, at: UnixTime) -> String {
    if at > now {
        format!("in {}", spoken(at.saturating_since(now)))
    } else if at < now {
        format!("{} ago", spoken(now.saturating_since(at)))
    } else {
        "now".to_owned()
    }
}

/// `3m 12s`; fractions only where there are no minutes.
pub(super) fn spoken(span: Duration) -> String {
    let precision = if span < Duration::from_secs(60) {
        span.as_millis()
    } else {
        span.as_millis() / 1000 * 1000
    };
    let span = Duration::from_millis(u64::try_from(precision).unwrap_or(u64::MAX));
    humantime::format_duration(span).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_spoken() {
        let at = UnixTime::from_secs;
        assert_eq!(date(at(1_800_000_300)), "1800000300 (2027-01-15T08:05:00Z)");
        assert_eq!(date(at(MAX_DATE)), "253402300799 (9999-12-31T23:59:59Z)");
        assert_eq!(date(at(MAX_DATE + 1)), "253402300800");
        assert_eq!(apart(at(10), at(202)), "in 3m 12s");
        assert_eq!(apart(at(202), at(10)), "3m 12s ago");
        assert_eq!(apart(at(10), at(10)), "now");
        assert_eq!(apart(UnixTime::from_millis(10_500), at(10)), "500ms ago");
        assert_eq!(spoken(Duration::from_millis(59_999)), "59s 999ms");
        assert_eq!(spoken(Duration::from_millis(60_999)), "1m");
        assert_eq!(spoken(Duration::ZERO), "0s");
        spoken(Duration::MAX);
    }
}
