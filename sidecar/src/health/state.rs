//! What the checks of one member come to: up, down, and how much of its share it has. Pure: results and time are arguments.

use std::time::{Duration, Instant};

use super::settings::Rules;

/// Shares come in quarters: each step moves slots of a service, so there are few.
pub const WHOLE: u8 = 4;

/// Who falls again within this after it came back is flapping: it has to pass twice as many checks the next time.
pub const STEADY: Duration = Duration::from_secs(300);

/// How often that doubles, at most.
pub const DOUBLINGS: u32 = 3;

/// What a member's checks leave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// The quarters of its share that it has.
    pub quarters: u8,
    /// Whether its own checks find it down: in panic it is used for all that.
    pub down: bool,
}

/// What is known of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nothing yet: it is used, and the first check decides alone.
    Unproved,
    /// It is used.
    Up,
    /// It is not.
    Down,
}

/// What a check changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// The first check passed.
    Proved,
    /// It is down from now on.
    Fell,
    /// It is up again.
    Rose,
}

/// One member's health.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    standing: Standing,
    since: Instant,
    /// Checks in a row that say the opposite of `standing`.
    against: u32,
    /// How often it fell soon after it had come back, without being steady since.
    flaps: u32,
    /// Since when, and from how many quarters, its share grows.
    growth: Option<(Instant, u8)>,
}

impl State {
    /// Of a member that nobody has heard of.
    pub const fn unproved(now: Instant) -> Self {
        Self::at(Standing::Unproved, None, now)
    }

    /// Of a member that a previous daemon knew, and that has such a share: one that is down is so whatever it has, for in panic it
    /// is used for all that.
    pub const fn adopted(share: Share, now: Instant) -> Self {
        match share.quarters {
            _ if share.down => Self::at(Standing::Down, None, now),
            0 => Self::at(Standing::Down, None, now),
            WHOLE.. => Self::at(Standing::Up, None, now),
            some => Self::at(Standing::Up, Some((now, some)), now),
        }
    }

    const fn at(standing: Standing, growth: Option<(Instant, u8)>, since: Instant) -> Self {
        Self {
            standing,
            since,
            against: 0,
            flaps: 0,
            growth,
        }
    }

    /// Takes the result of a check that ended at `now`.
    pub fn note(&mut self, passed: bool, rules: Rules, now: Instant) -> Option<Turn> {
        match (self.standing, passed) {
            (Standing::Unproved, true) => {
                self.turn(Standing::Up, now);
                Some(Turn::Proved)
            }
            (Standing::Unproved, false) => {
                self.turn(Standing::Down, now);
                Some(Turn::Fell)
            }
            (Standing::Up, true) | (Standing::Down, false) => {
                self.against = 0;
                None
            }
            (Standing::Up, false) => {
                self.against += 1;
                (self.against >= rules.unhealthy).then(|| {
                    self.flaps = match self.growth {
                        Some((back, _)) if now.saturating_duration_since(back) < STEADY => {
                            (self.flaps + 1).min(DOUBLINGS)
                        }
                        _ => 0,
                    };
                    self.growth = None;
                    self.turn(Standing::Down, now);
                    Turn::Fell
                })
            }
            (Standing::Down, true) => {
                self.against += 1;
                (self.against >= self.needed(rules)).then(|| {
                    self.turn(Standing::Up, now);
                    self.growth = Some((now, 1));
                    Turn::Rose
                })
            }
        }
    }

    fn turn(&mut self, standing: Standing, now: Instant) {
        self.standing = standing;
        self.since = now;
        self.against = 0;
    }

    /// What is known of it.
    pub const fn standing(&self) -> Standing {
        self.standing
    }

    /// Since when.
    pub const fn since(&self) -> Instant {
        self.since
    }

    /// Checks in a row that say otherwise.
    pub const fn against(&self) -> u32 {
        self.against
    }

    /// Passed checks in a row that bring it back when it is down.
    pub const fn needed(&self, rules: Rules) -> u32 {
        rules.healthy << self.flaps
    }

    /// How many quarters of its share it has.
    pub fn quarters(&self, slow_start: Duration, now: Instant) -> u8 {
        match (self.standing, self.growth) {
            (Standing::Down, _) => 0,
            (_, None) => WHOLE,
            (_, Some((back, from))) => {
                let third = slow_start / u32::from(WHOLE - 1);
                let passed = now.saturating_duration_since(back);
                let steps = match third.as_nanos() {
                    0 => u128::from(WHOLE),
                    third => passed.as_nanos() / third,
                };
                let steps = steps.min(u128::from(WHOLE)) as u8;
                (from + steps).min(WHOLE)
            }
        }
    }

    /// When its share grows next, if it does.
    pub fn grows_at(&self, slow_start: Duration, now: Instant) -> Option<Instant> {
        let (back, from) = self.growth?;
        let quarters = self.quarters(slow_start, now);
        if self.standing == Standing::Down || quarters >= WHOLE {
            return None;
        }
        let steps = u32::from(quarters - from + 1);
        back.checked_add(slow_start / u32::from(WHOLE - 1) * steps)
    }
}

#[cfg(test)]
mod tests;
