//! The writes, each in an order in which a packet sees the old or the new.

use tollgate_common::{
    flow,
    service::{Action, Cell, Key, Region},
    slot::Slot,
    tables::Tables,
};

use super::record::{Hops, Owner, Placed};
use crate::tables;

/// What the caller does between and beside the writes.
pub trait Effects {
    /// Lets a counter start from zero.
    fn reset(&mut self, entry: u16);
    /// Returns when no packet is being processed that may have seen the tables as they were.
    fn grace(&mut self);
}

/// Writes a cell; `fresh`: nobody can see it yet, so its key is written too. The tag comes last.
pub(super) fn write_cell(cell: &Cell, key: Key, placed: &Placed, fresh: bool) {
    if fresh {
        cell.hi.store(key.hi);
        cell.lo.store(key.lo);
        cell.seed.store(flow::seed(key.hi, key.lo, key.tag));
    }
    let tag = u64::from(key.tag) | u64::from(placed.action as u32) << 32;
    // What the action reads stands before the action does.
    if placed.action == Action::Steer {
        cell.steer.store(placed.steer);
        cell.tag.store(tag);
        cell.region.store(placed.region.pack());
    } else {
        cell.region.store(placed.region.pack());
        cell.tag.store(tag);
        cell.steer.store(placed.steer);
    }
}

/// Copies a cell to one that nobody can see yet.
pub(super) fn copy_cell(from: &Cell, to: &Cell) {
    to.hi.store(from.hi.load());
    to.lo.store(from.lo.load());
    to.seed.store(from.seed.load());
    to.region.store(from.region.load());
    to.steer.store(from.steer.load());
    to.tag.store(from.tag.load());
}

/// Notes whose an entry is.
pub(super) fn write_owner(tables: &Tables, owner: &Owner, id: u16) {
    let place = &tables.owners[usize::from(id)];
    let (hi, lo, family, kind) = match owner.backend {
        None => (0, 0, 0, 0),
        Some((address, kind)) => {
            let (hi, lo, family) = tables::words(address);
            (hi, lo, family, kind as u8)
        }
    };
    place.hi.store(owner.service.hi);
    place.lo.store(owner.service.lo);
    place.address_hi.store(hi);
    place.address_lo.store(lo);
    place
        .tag
        .store(u64::from(owner.service.tag) | u64::from(kind) << 32 | u64::from(family) << 40);
}

/// Writes a backend's entry as far as it differs. A next hop that got another MAC address is one word, one store;
/// anything more is taken out of use first.
pub(super) fn write_entry(
    tables: &Tables,
    owner: &Owner,
    id: u16,
    hops: &Hops,
    effects: &mut impl Effects,
) {
    let Some((address, kind)) = owner.backend else {
        return;
    };
    let Some(vip) = tables::address(
        owner.service.hi,
        owner.service.lo,
        (owner.service.tag >> 24) as u8,
    ) else {
        return;
    };
    let (header, out) = tables::entry(vip, kind, address, hops.get(&address));
    let entry = &tables.backends[usize::from(id)];
    let differs: Vec<usize> = (0..header.len())
        .filter(|&word| entry.header[word].load() != header[word])
        .collect();
    let in_use = entry.out.load() != 0;
    if in_use && (entry.out.load() != out || differs.iter().any(|&word| word != 0)) {
        entry.out.store(0);
        effects.grace();
    }
    for word in differs {
        entry.header[word].store(header[word]);
    }
    entry.out.store(out);
}

/// Writes a table of slots, and says how many of them were others.
pub(super) fn write_slots(tables: &Tables, region: Region, ids: &[u16]) -> usize {
    let base = region.base as usize;
    let mut changed = 0;
    for (slot, id) in tables.slots[base..base + ids.len()].iter().zip(ids) {
        let wanted = Slot::settled(*id).0;
        if slot.load() != wanted {
            slot.store(wanted);
            changed += 1;
        }
    }
    changed
}
