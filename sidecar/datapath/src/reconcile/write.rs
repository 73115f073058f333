//! The writes, each in an order in which a packet sees the old or the new.

use tollgate_common::{
    backend::{Backend, Out},
    flow,
    service::{Action, Cell, Key, Region},
    slot::Slot,
    tables::Tables,
};

use super::record::{Hops, Owner, Placed};
use crate::tables::{self, NextHop};

/// What the caller does between and beside the writes.
pub trait Effects {
    /// Lets a counter start from zero.
    fn reset(&mut self, entry: u16);
    /// Takes a listener's socket out: its number goes to another one.
    fn forget(&mut self, listener: u32);
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
    // What the action reads stands before the action does. What only another one reads stays: a packet may be on its
    // way that has seen the action before this one.
    match placed.action {
        Action::Steer => cell.steer.store(placed.steer),
        Action::Forward => cell.region.store(placed.region.pack()),
        Action::Fragments => {}
    }
    cell.tag.store(tag);
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

/// Writes the backends' entries as far as they differ. What is one word is one store; what is more is taken out of use
/// first, all together, so that packets wait for one grace period and not for one each.
pub(super) fn write_entries<'a>(
    tables: &Tables,
    entries: impl IntoIterator<Item = (&'a Owner, &'a u16)>,
    hops: &Hops,
    effects: &mut impl Effects,
) {
    let mut changes = Vec::new();
    for (owner, id) in entries {
        let entry = &tables.backends[usize::from(*id)];
        if let Some(change) = Change::of(owner, entry, hops) {
            changes.push((entry, change));
        }
    }
    let mut seen = false;
    for (entry, change) in &changes {
        if change.words > 1 && entry.out.load() != 0 {
            entry.out.store(0);
            seen = true;
        }
    }
    if seen {
        effects.grace();
    }
    for (entry, change) in changes {
        // Without a way out nobody reads the header; it stays for who has seen the way out before.
        if change.out != 0 {
            for (word, value) in entry.header.iter().zip(change.header) {
                if word.load() != value {
                    word.store(value);
                }
            }
        }
        entry.out.store(change.out);
    }
}

/// What an entry shall say that says something else.
struct Change {
    header: [u64; 7],
    out: u64,
    /// How many of its words differ.
    words: usize,
}

impl Change {
    fn of(owner: &Owner, entry: &Backend, hops: &Hops) -> Option<Self> {
        let (address, kind) = owner.backend?;
        let service = owner.service;
        let vip = tables::address(service.hi, service.lo, (service.tag >> 24) as u8)?;
        let (header, out) = tables::entry(vip, kind, address, hops.get(&address));
        let differing = entry.header.iter().zip(header);
        let words = differing.filter(|(word, wanted)| word.load() != *wanted);
        let words = if out == 0 { 0 } else { words.count() } + usize::from(entry.out.load() != out);
        (words > 0).then_some(Self { header, out, words })
    }
}

/// The next hop that an entry says; `None`: none.
pub(super) fn next_hop(entry: &Backend) -> Option<NextHop> {
    let out = Out::unpack(entry.out.load())?;
    let [a, b] = [0, 1].map(|word| entry.header[word].load().to_le_bytes());
    Some(NextHop {
        ifindex: out.ifindex,
        source: [a[6], a[7], b[0], b[1], b[2], b[3]],
        destination: [a[0], a[1], a[2], a[3], a[4], a[5]],
        mtu: out.mtu,
    })
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
