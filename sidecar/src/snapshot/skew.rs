//! How far an issuer's clock is from ours, as far as what it says lets us tell.
//!
//! Two things tell: the `Date` of its answers, which is an interval (the field has whole seconds and the answer was on its
//! way for a while), and an `iat` ahead of our clock, which is a lower bound: a token cannot have been issued after it
//! was seen.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use tokio::sync::Notify;
use tollgate_auth::time::UnixTime;

/// A clock that is surely further away than this is told of, in seconds.
const ALARM: f64 = 5.0;
/// How long the furthest `iat` counts: long enough to outlast a quiet hour of a small API, short enough that a clock that
/// was set right is soon not accused any more.
const MEMORY: Duration = Duration::from_secs(600);

/// A `Date` that a cache kept for longer than this, in seconds, tells nothing of a clock of today.
const OLDEST: u64 = 24 * 3600;
/// A clock further away than this, in seconds (ten years), is not off: whoever wrote the `Date` has none, or makes it up.
const FURTHEST: f64 = 10.0 * 365.25 * 24.0 * 3600.0;

/// How far an issuer's clock is from ours.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClockOffset {
    /// Seconds that its clock is ahead of ours; negative: behind.
    pub seconds: f64,
    /// The truth is at most this many seconds from `seconds`, if the issuer's `Date` is its clock. From an `iat` it is 0,
    /// since `seconds` is then a lower bound: the clock is at least that far ahead.
    pub uncertainty: f64,
    /// What told.
    pub source: ClockSource,
    /// How long ago (monotonic).
    pub age: Duration,
}

/// What tells of an issuer's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClockSource {
    /// The `Date` of an answer with keys (RFC 9110, section 6.6.1).
    Date,
    /// The `iat` of a token with a good signature (RFC 7519, section 4.1.6).
    IssuedAt,
}

impl ClockSource {
    /// As status and metrics write it: `date` or `iat`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Date => "date",
            Self::IssuedAt => "iat",
        }
    }
}

/// An answer that had a `Date`.
#[derive(Debug, Clone, Copy)]
pub struct Dated {
    /// Our clock when the request went out.
    pub sent: UnixTime,
    /// Our clock when the answer's head was here.
    pub received: UnixTime,
    /// What the answer's `Date` says.
    pub date: UnixTime,
    /// Its `Age`, where a cache answered (RFC 9111, section 5.1).
    pub age: Option<Duration>,
}

impl Dated {
    /// The issuer's clock minus ours, in seconds, and how far from that the truth may be; `None` where that is absurd
    /// (`OLDEST`, `FURTHEST`).
    ///
    /// Its clock showed a moment of the second that `Date` names (with `Age`: of two, since that is whole seconds as
    /// well) at some time between `sent` and `received` of ours.
    fn offset(&self) -> Option<(f64, f64)> {
        if self.age.is_some_and(|age| age.as_secs() > OLDEST) {
            return None;
        }
        let seconds = |time: UnixTime| time.since_epoch().as_secs_f64();
        let first = seconds(self.date) + self.age.unwrap_or_default().as_secs_f64();
        let last = first + if self.age.is_some() { 2.0 } else { 1.0 };
        let least = first - seconds(self.received);
        let most = last - seconds(self.sent);
        let offset = (least + most) / 2.0;
        (offset.abs() <= FURTHEST).then(|| (offset, ((most - least) / 2.0).abs()))
    }
}

/// What was told of a clock since the last time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ClockNews {
    /// It is surely more than five seconds from ours.
    Off(ClockOffset),
    /// It surely is no longer.
    Right,
    /// Nothing says so any more: what did was too long ago, or our own clock was set since.
    Forgotten,
}

/// What is known of one issuer's clock.
#[derive(Debug)]
pub(super) struct Skew {
    start: Instant,
    date: ArcSwapOption<(f64, f64, Instant)>,
    /// Milliseconds that an `iat` was ahead, and the second since `start` when it was seen; 0 = none.
    issued: AtomicU64,
    /// What was last told: one of the constants below.
    told: AtomicU8,
    suspected: Notify,
}

const TOLD_RIGHT: u8 = 0;
const TOLD_AHEAD: u8 = 1;
const TOLD_BEHIND: u8 = 2;

impl Skew {
    pub(super) fn new() -> Self {
        Self {
            start: Instant::now(),
            date: ArcSwapOption::empty(),
            issued: AtomicU64::new(0),
            told: AtomicU8::new(TOLD_RIGHT),
            suspected: Notify::new(),
        }
    }

    pub(super) fn note_date(&self, dated: &Dated) {
        let Some((seconds, uncertainty)) = dated.offset() else {
            return;
        };
        let now = Instant::now();
        self.date.store(Some((seconds, uncertainty, now).into()));
    }

    /// Nearly every call ends at the first line: an `iat` is in the past.
    pub(super) fn note_issued(&self, issued_at: UnixTime, now: UnixTime) {
        let ahead = issued_at.saturating_since(now);
        if ahead.is_zero() {
            return;
        }
        self.note_ahead(ahead, self.start.elapsed());
        if ahead.as_secs_f64() > ALARM && self.told.load(Ordering::Relaxed) != TOLD_AHEAD {
            self.suspected.notify_one();
        }
    }

    /// Keeps the furthest of the last [`MEMORY`].
    fn note_ahead(&self, ahead: Duration, at: Duration) {
        let millis = u32::try_from(ahead.as_millis()).unwrap_or(u32::MAX).max(1);
        let second = u32::try_from(at.as_secs()).unwrap_or(u32::MAX);
        let next = u64::from(millis) << 32 | u64::from(second);
        // Fails where what is there says more.
        let _ = self
            .issued
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |old| {
                let says_more = unpacked(old, at).is_some_and(|(kept, _)| kept >= ahead);
                (!says_more).then_some(next)
            })
            .is_ok();
    }

    pub(super) fn by(&self, source: ClockSource) -> Option<ClockOffset> {
        match source {
            ClockSource::Date => {
                let date = self.date.load();
                date.as_deref()
                    .map(|&(seconds, uncertainty, at)| ClockOffset {
                        seconds,
                        uncertainty,
                        source,
                        age: at.elapsed(),
                    })
            }
            ClockSource::IssuedAt => {
                let packed = self.issued.load(Ordering::Relaxed);
                unpacked(packed, self.start.elapsed()).map(|(ahead, age)| ClockOffset {
                    seconds: ahead.as_secs_f64(),
                    uncertainty: 0.0,
                    source,
                    age,
                })
            }
        }
    }

    /// `Date`, unless tokens say that the clock is further ahead than it allows: what signs may have another clock than
    /// what answers.
    pub(super) fn best(&self) -> Option<ClockOffset> {
        match (self.by(ClockSource::Date), self.by(ClockSource::IssuedAt)) {
            (Some(date), Some(issued)) if issued.seconds > date.seconds + date.uncertainty => {
                Some(issued)
            }
            (Some(date), _) => Some(date),
            (None, issued) => issued,
        }
    }

    /// Whether there is something to tell. Between surely off and surely right lies what is not told anew, so that an
    /// offset near the limit does not fill the log.
    pub(super) fn news(&self) -> Option<ClockNews> {
        let offset = self.best();
        let seconds = offset.map_or(0.0, |offset| offset.seconds);
        let uncertainty = offset.map_or(0.0, |offset| offset.uncertainty);
        let next = if seconds.abs() - uncertainty > ALARM {
            if seconds > 0.0 {
                TOLD_AHEAD
            } else {
                TOLD_BEHIND
            }
        } else if seconds.abs() + uncertainty < ALARM {
            TOLD_RIGHT
        } else {
            return None;
        };
        if self.told.swap(next, Ordering::Relaxed) == next {
            return None;
        }
        Some(match offset {
            None => ClockNews::Forgotten,
            Some(_) if next == TOLD_RIGHT => ClockNews::Right,
            Some(offset) => ClockNews::Off(offset),
        })
    }

    /// What was measured by another clock of ours is worth nothing.
    pub(super) fn forget(&self) {
        self.date.store(None);
        self.issued.store(0, Ordering::Relaxed);
    }

    pub(super) async fn suspected(&self) {
        self.suspected.notified().await;
    }
}

/// How far ahead, and how long ago that was.
fn unpacked(packed: u64, now: Duration) -> Option<(Duration, Duration)> {
    if packed == 0 {
        return None;
    }
    let at = Duration::from_secs(packed & u64::from(u32::MAX));
    let age = now.saturating_sub(at);
    (age < MEMORY).then(|| (Duration::from_millis(packed >> 32), age))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dated(sent: u64, received: u64, date: u64, age: Option<u64>) -> Dated {
        Dated {
            sent: UnixTime::from_millis(sent),
            received: UnixTime::from_millis(received),
            date: UnixTime::from_millis(date),
            age: age.map(Duration::from_secs),
        }
    }

    #[test]
    fn a_date_is_an_interval() {
        for (dated, least, most) in [
            // At once: its clock showed a moment of [100, 101) when ours showed 100.5.
            (dated(100_500, 100_500, 100_000, None), -0.5, 0.5),
            (dated(100_000, 100_200, 112_000, None), 11.8, 13.0),
            (dated(100_000, 104_000, 100_000, None), -4.0, 1.0),
            (dated(100_000, 100_000, 40_000, None), -60.0, -59.0),
            // A cache answered, one minute after the issuer did.
            (dated(100_000, 100_000, 40_000, Some(60)), 0.0, 2.0),
        ] {
            let (seconds, uncertainty) = dated.offset().unwrap();
            assert!((seconds - uncertainty - least).abs() < 1e-9, "{dated:?}");
            assert!((seconds + uncertainty - most).abs() < 1e-9, "{dated:?}");
        }
    }

    #[test]
    fn absurd_dates_tell_nothing() {
        let (now, year) = (1_800_000_000_000, 365 * 24 * 3_600_000);
        let skew = Skew::new();
        for (date, age) in [
            (now, Some(u64::MAX)),
            (now, Some(OLDEST + 1)),
            // 9999-12-31 and 1970-01-01, the ends of what a `Date` can say.
            (253_402_300_799_000, None),
            (253_402_300_799_000, Some(u64::MAX)),
            (0, None),
            (now + 11 * year, None),
            (now - 11 * year, None),
        ] {
            let dated = dated(now, now, date, age);
            assert_eq!(dated.offset(), None, "{dated:?}");
            skew.note_date(&dated);
            assert_eq!((skew.best(), skew.news()), (None, None), "{dated:?}");
        }
        for (date, age) in [
            (now + 9 * year, None),
            (now - 9 * year, None),
            (now, Some(OLDEST)),
        ] {
            assert!(dated(now, now, date, age).offset().is_some(), "{date}");
        }
    }

    #[test]
    fn only_an_iat_ahead_of_our_clock_tells_and_the_furthest_is_kept() {
        let skew = Skew::new();
        skew.note_issued(UnixTime::from_secs(99), UnixTime::from_secs(100));
        assert_eq!(skew.best(), None);
        for (issued, expected) in [(103, 3.0), (110, 10.0), (101, 10.0)] {
            skew.note_issued(UnixTime::from_secs(issued), UnixTime::from_secs(100));
            let offset = skew.best().unwrap();
            assert_eq!((offset.seconds, offset.uncertainty), (expected, 0.0));
            assert_eq!(offset.source, ClockSource::IssuedAt);
        }
    }

    #[test]
    fn the_furthest_iat_is_forgotten() {
        let skew = Skew::new();
        let at = |secs| Duration::from_secs(secs);
        skew.note_ahead(at(10), at(0));
        skew.note_ahead(at(2), at(599));
        assert_eq!(
            unpacked(skew.issued.load(Ordering::Relaxed), at(599)),
            Some((at(10), at(599)))
        );
        assert_eq!(unpacked(skew.issued.load(Ordering::Relaxed), at(600)), None);
        skew.note_ahead(at(2), at(600));
        assert_eq!(
            unpacked(skew.issued.load(Ordering::Relaxed), at(601)),
            Some((at(2), at(1)))
        );
    }

    #[test]
    fn tokens_that_contradict_the_date_are_believed() {
        let skew = Skew::new();
        skew.note_date(&dated(100_500, 100_500, 100_000, None));
        skew.note_issued(UnixTime::from_millis(100_400), UnixTime::from_secs(100));
        assert_eq!(skew.best().unwrap().source, ClockSource::Date);
        skew.note_issued(UnixTime::from_secs(160), UnixTime::from_secs(100));
        assert_eq!(skew.best().unwrap().source, ClockSource::IssuedAt);
    }

    #[test]
    fn a_change_is_told_once() {
        let skew = Skew::new();
        let at = |date| skew.note_date(&dated(100_500, 100_500, date, None));
        at(100_000);
        assert_eq!(skew.news(), None, "all is well, as it was");
        // 5.5 s may be 5.0 s.
        at(105_000);
        assert_eq!(skew.news(), None);
        at(106_000);
        assert!(matches!(skew.news(), Some(ClockNews::Off(offset)) if offset.seconds > 5.5));
        assert_eq!(skew.news(), None, "told once");
        at(105_000);
        assert_eq!(skew.news(), None, "not surely right again");
        at(104_000);
        assert!(matches!(skew.news(), Some(ClockNews::Right)));
        at(90_000);
        assert!(matches!(skew.news(), Some(ClockNews::Off(offset)) if offset.seconds < -5.0));
    }

    #[tokio::test]
    async fn an_iat_far_ahead_wakes_whoever_tells() {
        let skew = Skew::new();
        skew.note_issued(UnixTime::from_secs(160), UnixTime::from_secs(100));
        skew.suspected().await;
        assert!(matches!(skew.news(), Some(ClockNews::Off(_))));
    }

    #[test]
    fn what_was_told_is_taken_back_when_nothing_says_it_any_more() {
        // No `Date` ever, as with keys from a file.
        let skew = Skew::new();
        skew.note_issued(UnixTime::from_secs(160), UnixTime::from_secs(100));
        assert!(matches!(skew.news(), Some(ClockNews::Off(_))));
        skew.forget();
        assert_eq!(skew.news(), Some(ClockNews::Forgotten));
        assert_eq!(skew.news(), None, "told once");
        skew.note_date(&dated(100_500, 100_500, 90_000, None));
        assert!(matches!(skew.news(), Some(ClockNews::Off(_))));
        skew.forget();
        assert_eq!(
            (skew.best(), skew.news()),
            (None, Some(ClockNews::Forgotten))
        );
    }
}
