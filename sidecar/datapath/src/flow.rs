//! Which backend a flow gets, and why: the rules of the kernel side said once more, plainly and without it.
//!
//! For people (`tollgate flow explain`), and for tests that hold both sides against each other and against what is promised.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
};

use tollgate_common::{
    pin::{Pin, PinKey, Told},
    service::{About, Action, Cell, Region},
    slot::Slot,
    tables::{Guards, Tables},
};

use crate::{
    model::{Proto, Vip},
    tables,
};

/// A packet, as far as picking is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Packet {
    /// Where it comes from.
    pub source: SocketAddr,
    /// Where it goes; of the same family.
    pub destination: SocketAddr,
    /// Its protocol.
    pub proto: Proto,
    /// What its TCP header says; means nothing with UDP.
    pub segment: Segment,
}

/// What a TCP header says (RFC 9293, section 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Segment {
    /// The sequence number; `None`: one that follows no SYN of which there is a pin.
    pub sequence: Option<u32>,
    /// The flags, of FIN (1) to CWR (128).
    pub flags: u8,
}

impl Segment {
    /// The first one of a connection.
    pub const SYN: Self = Self {
        sequence: None,
        flags: 0x02,
    };
    /// One of a connection that began long ago.
    pub const ACK: Self = Self {
        sequence: None,
        flags: 0x10,
    };

    const fn has(self, flags: u8) -> bool {
        self.flags & flags != 0
    }

    const fn opens(self) -> bool {
        self.flags & 0x17 == 0x02
    }

    /// Whether it is of the connection that began with a SYN of this number, within what may be sent unasked.
    fn follows(self, isn: u32) -> bool {
        let first = isn.wrapping_add(1);
        let ahead = self.sequence.map(|sequence| sequence.wrapping_sub(first));
        ahead.is_some_and(|ahead| ahead < 1 << 16)
    }
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Picked {
    /// No service takes it.
    NotOurs,
    /// The listener of this number takes it.
    Listener(u32),
    /// The backend of this number takes it; 0: there is none.
    Backend(Backend),
}

/// The backend that takes a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backend {
    /// Its number; 0: none.
    pub id: u16,
    /// The slot's place in the pool, and how many slots the service has.
    pub slot: u32,
    /// What the slot says.
    pub says: Slot,
    /// Why this one.
    pub why: Why,
}

/// Why a flow gets its backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The slot does not move: all its flows have one backend.
    Settled,
    /// The flow began while the slot moved, and was pinned then.
    Pinned,
    /// The flow begins now: it goes where new flows go, and is pinned.
    Begins,
    /// The flow begins now, and there was no room for a pin: it goes where flows from before go.
    NoRoom,
    /// The flow began before the slot moved.
    Before,
    /// The flow began before the service had this number of slots.
    PreviousTable,
    /// The flow's backend is gone.
    Gone,
    /// A datagram of a flow that nobody knows, soon after the change: it may be an old one, and is pinned.
    MayBeOld,
    /// Nobody takes new flows, or nobody at all.
    Nobody,
}

/// Where pins are.
pub trait Pins {
    /// The pin of a flow.
    fn get(&self, key: &PinKey) -> Option<Pin>;

    /// Makes a pin; over one that is there if `replace`. False: there is no room, or there is one.
    fn add(&mut self, key: &PinKey, pin: Pin, replace: bool) -> bool;

    /// Puts what a packet made of a pin in its place.
    fn note(&mut self, key: &PinKey, pin: Pin);
}

/// Pins in memory, so many at most.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// The pins.
    pub pins: HashMap<PinKey, Pin>,
    /// How many there may be.
    pub room: usize,
}

impl Pins for Table {
    fn get(&self, key: &PinKey) -> Option<Pin> {
        self.pins.get(key).copied()
    }

    fn add(&mut self, key: &PinKey, pin: Pin, replace: bool) -> bool {
        let is_there = self.pins.contains_key(key);
        let may = if is_there {
            replace
        } else {
            self.pins.len() < self.room
        };
        if may {
            self.pins.insert(*key, pin);
        }
        may
    }

    fn note(&mut self, key: &PinKey, pin: Pin) {
        self.pins.insert(*key, pin);
    }
}

/// What becomes of a packet at second `now` of the monotonic clock.
pub fn pick(tables: &Tables, pins: &mut impl Pins, packet: &Packet, now: u32) -> Picked {
    let Packet {
        source,
        destination,
        proto,
        ..
    } = *packet;
    let vip = Vip {
        ip: destination.ip(),
        bits: if destination.is_ipv4() { 32 } else { 128 },
        port: destination.port(),
        proto,
    };
    let key = tables::key(vip);
    let Some(flow) = tables::flow(source.ip(), source.port(), vip) else {
        return Picked::NotOurs;
    };
    let (cell, action) = match tables.find(key) {
        Some((cell, action)) => (cell, Action::from_number(action)),
        None => return Picked::NotOurs,
    };
    match action {
        Some(Action::Forward | Action::Translate) => {}
        Some(Action::Steer) => return Picked::Listener((cell.steer.load() >> 32) as u32),
        Some(Action::Fragments) | None => return Picked::NotOurs,
    }
    let seed = cell.seed.load();
    let hash = flow.hash(seed);
    let slot_of = |region: Region| {
        let place = if region.by_client {
            flow.client().hash(seed)
        } else {
            hash
        };
        region.base + place.slot(region.len)
    };
    let slot = slot_of(Region::unpack(cell.region.load()));
    let says = tables.slot(slot);
    let answer = |id, why| {
        let why = if id == 0 { Why::Nobody } else { why };
        Picked::Backend(Backend {
            id,
            slot,
            says,
            why,
        })
    };
    if !says.is_moving() {
        return answer(says.current(), Why::Settled);
    }

    let pin_key = |slot| PinKey {
        hash: hash.0,
        slot,
        extra: PinKey::extra(key.hi, key.lo),
    };
    let opens = packet.segment.opens();
    let found = own(pins, &pin_key(slot), packet, now);
    if let Some(pin) = found.filter(|pin| tables.life(pin.id()) == pin.life()) {
        return answer(pin.id(), Why::Pinned);
    }
    let was_pinned = found.is_some();
    let (stable, why_stable) = before(tables, cell, says, slot_of, |slot| {
        own(pins, &pin_key(slot), packet, now)
    });
    let mut begins = |wanted, why| {
        if wanted == 0 {
            return answer(0, Why::Nobody);
        }
        let has_room = Guards::unpack(tables.guards.load()).pins > 0;
        let told = match proto {
            Proto::Tcp => Told::segment(packet.segment.sequence.unwrap_or(0), packet.segment.flags),
            Proto::Udp => Told::DATAGRAM,
        };
        let pin = Pin::new(wanted, tables.life(wanted), told, now);
        if has_room && pins.add(&pin_key(slot), pin, was_pinned) {
            answer(wanted, why)
        } else {
            answer(stable, Why::NoRoom)
        }
    };
    match (proto, opens) {
        (Proto::Tcp, true) => begins(says.current(), Why::Begins),
        (Proto::Tcp, false) if was_pinned => answer(says.current(), Why::Gone),
        (Proto::Tcp, false) => answer(stable, why_stable),
        (Proto::Udp, _) if may_be_old(cell, now) && !was_pinned => begins(stable, Why::MayBeOld),
        (Proto::Udp, _) => begins(says.current(), Why::Begins),
    }
}

/// The pin of a packet's flow. A connection of which only the SYN was seen has the segments alone that follow it: what else
/// comes by its addresses and ports is of one that began before, for which anybody may have sent that SYN.
fn own(pins: &mut impl Pins, key: &PinKey, packet: &Packet, now: u32) -> Option<Pin> {
    const FIN: u8 = 0x01;
    const SYN: u8 = 0x02;
    const RST: u8 = 0x04;
    const ACK: u8 = 0x10;

    let segment = packet.segment;
    let mut pin = pins.get(key)?;
    match (packet.proto, pin.is_confirmed()) {
        (Proto::Udp, _) => pin.flags |= Pin::CONFIRMED,
        (Proto::Tcp, true) if segment.has(FIN | RST) => pin.flags |= Pin::CLOSING,
        (Proto::Tcp, true) => {}
        (Proto::Tcp, false) if segment.opens() => pin.isn = segment.sequence.unwrap_or(0),
        (Proto::Tcp, false) if !segment.follows(pin.isn) => return None,
        (Proto::Tcp, false) if !segment.has(ACK) || segment.has(SYN | RST) => return Some(pin),
        (Proto::Tcp, false) if segment.has(FIN) => pin.flags |= Pin::CONFIRMED | Pin::CLOSING,
        (Proto::Tcp, false) => pin.flags |= Pin::CONFIRMED,
    }
    pin.seen = now;
    pins.note(key, pin);
    Some(pin)
}

/// Whether a datagram of an unknown flow may be of one from before. Asked after the slot was found moving, before which that
/// is written.
fn may_be_old(cell: &Cell, now: u32) -> bool {
    now < About::unpack(cell.about.load()).settled_udp
}

/// The backend of the flows from before; `own` finds the flow's pin in a slot of the previous table.
fn before(
    tables: &Tables,
    cell: &Cell,
    says: Slot,
    slot_of: impl Fn(Region) -> u32,
    own: impl FnOnce(u32) -> Option<Pin>,
) -> (u16, Why) {
    let (mut id, mut why) = (says.stable(), Why::Before);
    if id == Slot::PREVIOUS {
        let slot = slot_of(Region::unpack(cell.previous.load()));
        let said = tables.slot(slot);
        id = said.current();
        if said.is_moving() {
            let pin = own(slot).filter(|pin| tables.life(pin.id()) == pin.life());
            id = pin.map_or_else(|| said.stable(), Pin::id);
        }
        why = Why::PreviousTable;
    }
    match id {
        0 | Slot::PREVIOUS => (says.current(), Why::Before),
        id => (id, why),
    }
}

/// The address that a backend's number stands for.
#[must_use]
pub fn address(tables: &Tables, id: u16) -> Option<IpAddr> {
    let owner = tables.owners.get(usize::from(id))?;
    let family = (owner.tag.load() >> 40) as u8;
    tables::address(owner.address_hi.load(), owner.address_lo.load(), family)
}

#[cfg(test)]
mod tests;
