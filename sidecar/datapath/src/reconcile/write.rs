//! The writes, each in an order in which a packet sees the old or the new.

use tollgate_common::{
    backend::{Backend, Kind, Out},
    flow,
    limits::VLANS,
    pin::{Pin, PinKey},
    service::{Action, Cell, Key},
    tables::Tables,
    tag::Tags,
};

use super::record::{Hops, Owner, Placed, Said};
use crate::{
    model::{Share, WHOLE},
    tables::{self, NextHop},
};

/// What the caller does between and beside the writes.
pub trait Effects {
    /// Lets a counter start from zero.
    fn reset(&mut self, entry: u16);
    /// Lets what a service drops be counted from zero.
    fn reset_drops(&mut self, service: u16);
    /// Second of the monotonic clock, as packets see it.
    fn now(&self) -> u32;
    /// Forgets the pins that are not to be kept; returns how many are left. `None`: not all were looked at.
    fn retain_pins(&mut self, keep: &mut dyn FnMut(&PinKey, &Pin) -> bool) -> Option<usize>;
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
    // What the action reads stands before the action does, and until when datagrams may be old before the table that they
    // would be new in. What only another action reads stays: a packet may be on its way that has seen it.
    cell.about.store(placed.about.pack());
    match placed.action {
        Action::Steer => cell.steer.store(placed.steer),
        Action::Forward | Action::Translate => {
            cell.previous.store(placed.previous.pack());
            cell.region.store(placed.region.pack());
        }
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
    to.previous.store(from.previous.load());
    to.about.store(from.about.load());
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

/// Notes what its checks leave the owner of an entry, for the next daemon.
pub(super) fn write_share(tables: &Tables, id: u16, share: Share) {
    let word = &tables.owners[usize::from(id)].tag;
    let tag = word.load();
    let missing = u64::from(WHOLE.saturating_sub(share.quarters));
    let down = if share.down { DOWN } else { 0 };
    let noted = tag & !(0xff << SHARE) | missing << SHARE | down;
    if noted != tag {
        word.store(noted);
    }
}

/// The share that a tag notes.
pub(super) const fn share_of(tag: u64) -> Share {
    let quarters = WHOLE.saturating_sub((tag >> SHARE) as u8 & 0x7f);
    Share {
        quarters,
        down: quarters == 0 || tag & DOWN != 0,
    }
}

/// Bit of an owner's tag from which on it says how many quarters are missing: 0, where nobody noted any.
const SHARE: u32 = 48;
/// Bit of an owner's tag that says that its checks find it down.
const DOWN: u64 = 1 << 55;

/// Begins a life of a number, or ends it.
pub(super) fn live(tables: &Tables, id: u16, lives: bool) {
    let word = &tables.lives[usize::from(id)];
    let life = word.load();
    if (life & 1 == 1) != lives {
        word.store(life.wrapping_add(1));
    }
}

/// Writes the backends' entries as far as they differ. What is one word is one store; what is more is taken out of use
/// first, all together, so that packets wait for one grace period and not for one each.
pub(super) fn write_entries<'a>(
    tables: &Tables,
    entries: impl IntoIterator<Item = (&'a Owner, &'a u16)>,
    hops: &Hops,
    said: &Said,
    effects: &mut impl Effects,
) {
    let mut changes = Vec::new();
    for (owner, id) in entries {
        let entry = &tables.backends[usize::from(*id)];
        if let Some(change) = Change::of(tables, owner, entry, hops, said) {
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
    fn of(
        tables: &Tables,
        owner: &Owner,
        entry: &Backend,
        hops: &Hops,
        said: &Said,
    ) -> Option<Self> {
        let (address, kind) = owner.backend?;
        let service = owner.service;
        let family = if service.scope().is_v4() { 4 } else { 6 };
        let vip = tables::address(service.hi, service.lo, family)?;
        let hop = hops.get(&address);
        let (header, out) = numbered(tables, hop, |hop, vlan| match kind {
            Kind::Nat => tables::translated(address, hop, said.target(service, address), vlan),
            _ => tables::entry(vip, kind, address, hop, said.tunnel, vlan),
        });
        let differing = entry.header.iter().zip(header);
        let words = differing.filter(|(word, wanted)| word.load() != *wanted);
        let words = if out == 0 { 0 } else { words.count() } + usize::from(entry.out.load() != out);
        (words > 0).then_some(Self { header, out, words })
    }
}

/// What an entry says for a next hop. Its tags get a number, which stays theirs; where all numbers are taken the next hop
/// is as good as unknown.
fn numbered(
    tables: &Tables,
    hop: Option<&NextHop>,
    entry: impl Fn(Option<&NextHop>, u8) -> ([u64; 7], u64),
) -> ([u64; 7], u64) {
    let tags = hop.map_or(Tags::NONE, |hop| hop.tags);
    if tags.is_empty() {
        return entry(hop, 0);
    }
    let number_of = |says: u64| {
        let mut numbers = (0..=u8::MAX).zip(&tables.vlans).skip(1);
        numbers.find(|(_, word)| word.load() == says)
    };
    match number_of(tags.0).or_else(|| number_of(0)) {
        Some((number, word)) => {
            word.store(tags.0);
            entry(hop, number)
        }
        None => entry(None, 0),
    }
}

/// Frees the numbers of tags that no entry names. No packet may be on its way that has seen one that did.
pub(super) fn free_tags(tables: &Tables) {
    if tables.vlans.iter().all(|word| word.load() == 0) {
        return;
    }
    let mut named = [false; VLANS];
    for entry in &tables.backends {
        named[usize::from(Out::unpack(entry.out.load()).vlan())] = true;
    }
    for (word, is_named) in tables.vlans.iter().zip(named) {
        if !is_named && word.load() != 0 {
            word.store(0);
        }
    }
}

/// The next hop that an entry says; `None`: none.
pub(super) fn next_hop(tables: &Tables, entry: &Backend) -> Option<NextHop> {
    let out = Out::unpack(entry.out.load());
    out.kind()?;
    let [a, b] = [0, 1].map(|word| entry.header[word].load().to_le_bytes());
    Some(NextHop {
        ifindex: out.ifindex(),
        source: [a[6], a[7], b[0], b[1], b[2], b[3]],
        destination: [a[0], a[1], a[2], a[3], a[4], a[5]],
        mtu: out.mtu(),
        tags: tables.tags(out.vlan()),
    })
}
