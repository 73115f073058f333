//! What is done every few seconds: the next step of large changes, and the end of moving.

use std::collections::{BTreeSet, HashMap};

use tollgate_common::{
    limits::PINS,
    pin::{Pin, PinKey},
    service::{Key, Region},
    tables::Tables,
};

use super::{
    record::Placed,
    slots::{self, Change, STEP, UDP_MEMORY},
    write::{Effects, write_cell},
};
use crate::tables::cuckoo::Cuckoo;

/// Seconds after which a flow of which only the first packet was seen is forgotten: longer than a client tries
/// (Linux: SYN six times in 63 s), and a listener its answer. Also one that closes, where there is little room: longer than
/// a host waits for what is late (Linux: 60 s in TIME-WAIT).
const HALF_OPEN: u32 = 75;

/// Pins above which those of connections that close are forgotten soon. Below, a forged RST shortens nobody's time.
const MANY: usize = PINS / 2;

/// Seconds from one look through the pins to the next.
pub(super) const SWEEP: u32 = 30;

/// What is still moving.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// Slots that settled now.
    pub settled: usize,
    /// Slots that go on moving.
    pub moving: usize,
    /// Services whose slots begin to move in later steps.
    pub left: usize,
    /// Pins that are left, if they were looked through.
    pub pins: Option<usize>,
}

/// Takes the next step of each change that is applied in steps; those that are done go.
pub(super) fn step(
    tables: &Tables,
    steps: &mut HashMap<Key, Vec<u16>>,
    services: &mut HashMap<Key, Placed>,
    cuckoo: &Cuckoo,
    now: u32,
) {
    let none = BTreeSet::new();
    steps.retain(|key, wanted| {
        let (Some(placed), Some(cell)) = (services.get_mut(key), cuckoo.find(*key)) else {
            return false;
        };
        placed.about.settled_udp = now + UDP_MEMORY;
        tables.cells[cell].about.store(placed.about.pack());
        let change = Change {
            tables,
            region: placed.region,
            wanted,
            dead: &none,
            now,
        };
        change.write(wanted.len().div_ceil(STEP)).left > 0
    });
}

/// Settles the slots whose flows from before were silent for longer than `idle` says, in seconds. A service whose slots
/// have all settled needs its previous table no more.
pub(super) fn settle(
    tables: &Tables,
    services: &mut HashMap<Key, Placed>,
    cuckoo: &Cuckoo,
    now: u32,
    idle: impl Fn(Key) -> u32,
) -> Settled {
    let mut all = Settled::default();
    for (key, placed) in services {
        let (settled, moving) = slots::settle(tables, placed.region, now, idle(*key));
        all.settled += settled;
        all.moving += moving;
        if moving == 0 && placed.previous.len > 0 {
            placed.previous = Region::default();
            if let Some(cell) = cuckoo.find(*key) {
                write_cell(&tables.cells[cell], *key, placed, false);
            }
        }
    }
    all
}

/// Forgets the pins that nobody needs: of slots that do not move, of backends that are gone, of flows that were silent for
/// longer than `idle` says, of those that never came to be, of draining backends whose time is over; if there are [`MANY`], of
/// connections that close as well. Says how many are left, or `None` if not all were looked at.
pub(super) fn sweep(
    tables: &Tables,
    services: &HashMap<Key, Placed>,
    effects: &mut impl Effects,
    overdue: &BTreeSet<u16>,
    idle: impl Fn(Key) -> u32,
) -> Option<usize> {
    let now = effects.now();
    let mut regions: Vec<(Region, u32)> = Vec::new();
    for (key, placed) in services {
        regions.extend(placed.regions().map(|region| (region, idle(*key))));
    }
    regions.sort_unstable_by_key(|(region, _)| region.base);
    let is_kept = |key: &PinKey, pin: &Pin, soon: bool| {
        let at = regions.partition_point(|(region, _)| region.base <= key.slot);
        let Some((region, idle)) = at.checked_sub(1).map(|at| regions[at]) else {
            return false;
        };
        let patience = if pin.is_confirmed() && !soon {
            idle
        } else {
            HALF_OPEN.min(idle)
        };
        key.slot - region.base < region.len
            && tables.slot(key.slot).is_moving()
            && tables.life(pin.id()) == pin.life()
            && !overdue.contains(&pin.id())
            && now.saturating_sub(pin.seen) <= patience
    };
    let mut is_closing = false;
    let left = effects.retain_pins(&mut |key, pin| {
        is_closing |= pin.is_closing() && !is_kept(key, pin, true);
        is_kept(key, pin, false)
    })?;
    if left <= MANY || !is_closing {
        return Some(left);
    }
    effects.retain_pins(&mut |key, pin| is_kept(key, pin, pin.is_closing()))
}
