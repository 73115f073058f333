//! How slots change hands: who keeps its flows, who moves, and when a slot has settled.

use std::collections::BTreeSet;

use tollgate_common::{service::Region, slot::Slot, tables::Tables};

/// Of a table's slots at most one in so many begins to move in one step, so that the flows of a large change come to
/// their new backends over some time, and so do their pins.
pub(super) const STEP: usize = 5;

/// Seconds for which a datagram of an unknown flow goes where flows from before go, counted from the service's last
/// change: about as long as connection tracking remembers UDP.
pub(super) const UDP_MEMORY: u32 = 60;

/// A slot that is to name `wanted` (0: nobody) for new flows from now on.
///
/// Flows from before keep the oldest living backend; flows that began since have pins. Where nobody living was before,
/// nobody has to be remembered.
pub(super) fn next(slot: Slot, wanted: u16, is_dead: impl Fn(u16) -> bool) -> Slot {
    let current = slot.current();
    let is_gone = |id: u16| id == 0 || is_dead(id);
    if !slot.is_moving() {
        return if wanted == current || is_gone(current) {
            Slot::settled(wanted)
        } else {
            Slot::moving(wanted, current)
        };
    }
    // Flows that began in between may have pins to others still, so it goes on moving whoever died.
    let stable = if is_gone(slot.stable()) {
        wanted
    } else {
        slot.stable()
    };
    Slot::moving(wanted, stable)
}

/// What is written into the slots of a table.
pub(super) struct Change<'a> {
    pub(super) tables: &'a Tables,
    pub(super) region: Region,
    /// What each slot shall say.
    pub(super) wanted: &'a [u16],
    /// Numbers that are taken back.
    pub(super) dead: &'a BTreeSet<u16>,
    /// Second of the monotonic clock.
    pub(super) now: u32,
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Written {
    /// Slots that name another backend for new flows.
    pub(super) changed: usize,
    /// Slots that are left for a later step.
    pub(super) left: usize,
}

impl Change<'_> {
    /// Whether the change, or its first step, sets slots moving.
    pub(super) fn moves_any(&self) -> bool {
        let mut slots = (self.region.base..).zip(self.wanted);
        slots.any(|(index, &wanted)| {
            let slot = self.tables.slot(index);
            let after = next(slot, wanted, |id| self.dead.contains(&id));
            after.is_moving() && after.current() != slot.current()
        })
    }

    /// Changes the slots of a table in use, of those that have living flows at most `most`. The stamp of a slot stands
    /// before it moves, or it would seem to have been silent for ever.
    pub(super) fn write(&self, most: usize) -> Written {
        let (mut written, mut moving) = (Written::default(), 0);
        for (index, &wanted) in (self.region.base..).zip(self.wanted) {
            let slot = self.tables.slot(index);
            let is_dead = |id| self.dead.contains(&id);
            let mut after = next(slot, wanted, is_dead);
            // Whoever died goes at once, whoever comes waits.
            let may_wait = after.is_moving() && !is_dead(slot.current());
            if after.current() != slot.current() && may_wait && moving >= most {
                written.left += 1;
                after = next(slot, slot.current(), is_dead);
            }
            if after == slot {
                continue;
            }
            if after.current() != slot.current() {
                written.changed += 1;
                moving += usize::from(after.is_moving());
            }
            if after.is_moving() {
                self.tables.stamps[index as usize].store(self.now);
            }
            self.tables.slots[index as usize].store(after.0);
        }
        written
    }

    /// Fills a table that nobody has seen. `has_previous`: flows from before are told by another table.
    pub(super) fn fill(&self, has_previous: bool) {
        for (index, &wanted) in (self.region.base as usize..).zip(self.wanted) {
            let slot = if has_previous {
                Slot::moving(wanted, Slot::PREVIOUS)
            } else {
                Slot::settled(wanted)
            };
            self.tables.stamps[index].store(self.now);
            self.tables.slots[index].store(slot.0);
        }
    }
}

/// Takes the dead out of a table that only flows from before are told by. Says whether there were any.
pub(super) fn bury(tables: &Tables, region: Region, dead: &BTreeSet<u16>) -> bool {
    let mut any = false;
    let living = |id: u16| if dead.contains(&id) { 0 } else { id };
    for index in region.base..region.base + region.len {
        let slot = tables.slot(index);
        let after = if slot.is_moving() {
            Slot::moving(living(slot.current()), living(slot.stable()))
        } else {
            Slot::settled(living(slot.current()))
        };
        if after != slot {
            tables.slots[index as usize].store(after.0);
            any = true;
        }
    }
    any
}

/// Settles the slots of a table whose flows from before were silent for `idle` seconds, or that name nobody who could
/// have any. Says how many did, and how many go on moving.
pub(super) fn settle(tables: &Tables, region: Region, now: u32, idle: u32) -> (usize, usize) {
    let (mut settled, mut moving) = (0, 0);
    for index in region.base..region.base + region.len {
        let slot = tables.slot(index);
        if !slot.is_moving() {
            continue;
        }
        let silent = now.saturating_sub(tables.stamps[index as usize].load());
        if silent > idle {
            tables.slots[index as usize].store(Slot::settled(slot.current()).0);
            settled += 1;
        } else {
            moving += 1;
        }
    }
    (settled, moving)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_dead(id: u16) -> bool {
        (100..200).contains(&id)
    }

    #[test]
    fn a_slot_keeps_its_oldest_living_backend() {
        let slot = next(Slot::settled(1), 2, is_dead);
        assert_eq!(slot, Slot::moving(2, 1));
        // Also when it returns to the one from before: flows of the one in between have pins.
        assert_eq!(next(slot, 1, is_dead), Slot::moving(1, 1));
        assert_eq!(next(slot, 3, is_dead), Slot::moving(3, 1));
        assert_eq!(next(slot, 2, is_dead), slot);
        assert_eq!(next(slot, 0, is_dead), Slot::moving(0, 1));
        assert_eq!(
            next(Slot::moving(2, Slot::PREVIOUS), 3, is_dead),
            Slot::moving(3, Slot::PREVIOUS)
        );
    }

    #[test]
    fn the_dead_leave_at_once_and_need_no_memory() {
        assert_eq!(next(Slot::settled(100), 2, is_dead), Slot::settled(2));
        assert_eq!(next(Slot::settled(0), 2, is_dead), Slot::settled(2));
        assert_eq!(next(Slot::moving(2, 100), 2, is_dead), Slot::moving(2, 2));
        assert_eq!(next(Slot::moving(100, 1), 3, is_dead), Slot::moving(3, 1));
        assert_eq!(next(Slot::settled(100), 0, is_dead), Slot::settled(0));
    }
}
