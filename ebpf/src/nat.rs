//! Services with `deliver: nat`: the way of a packet at TC, from a client to a backend and back.
//!
//! Each flow has two [translations](tollgate_common::nat), one found by what the client's packets bear and one by what answers
//! bear; it keeps its backend by them, whatever the slots say. What is decided here is done by [`rewrite`](self::rewrite()).

use tollgate_common::{
    backend::{Kind, Out, Target},
    nat::{self, Stage, TRIES, Translation, Tuple},
    pin::Told,
    service::{About, Action, Cell},
    tables::Tables,
    verdict::Verdict,
};

use crate::{
    look::{self, Seen, what},
    memory::Memory,
    packet::Packet,
    parse::{self, Family, Segment},
    pipeline,
};

mod rewrite;
mod room;

pub use rewrite::{Covers, Patch, rewrite};
pub use room::Room;

/// In place of a verdict: the packet is none of ours.
pub const PASS: u32 = u32::MAX;

/// The table of translations.
pub trait Translations: Copy {
    /// Copies the translation of such packets to `into`, after one that tells that was noted at second `now`. False: there is
    /// none.
    fn recall(self, key: &Tuple, told: Told, now: u32, into: &mut Translation) -> bool;

    /// Makes one where none is.
    fn add(self, key: &Tuple, translation: &Translation) -> Added;

    /// Takes one out.
    fn remove(self, key: &Tuple);
}

/// What became of a translation that was to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Added {
    /// It is there.
    Yes,
    /// Another one is.
    Taken,
    /// There is no room.
    Full,
}

/// Decides about a packet; the number of its [`Verdict`], or [`PASS`]. What it becomes stands in `room` then.
#[inline(always)]
pub fn ingress<P: Packet, M: Memory + Copy, T: Translations>(
    packet: &mut P,
    tables: &Tables,
    memory: M,
    translations: T,
    room: &mut Room,
) -> u32 {
    look(packet.again(), &mut room.seen);
    // Every station got it, or it is nobody's flow.
    if room.seen.group != 0 || !matches!(room.seen.what, what::WHOLE | what::FIRST) {
        return PASS;
    }
    decide(packet.again(), tables, memory, translations, room)
}

#[inline(never)]
fn look<P: Packet>(packet: P, seen: &mut Seen) {
    let family = packet.head().map_or(Family::Other, parse::family);
    look::look(&packet, family, seen);
}

#[inline(never)]
fn decide<P: Packet, M: Memory + Copy, T: Translations>(
    mut packet: P,
    tables: &Tables,
    memory: M,
    translations: T,
    room: &mut Room,
) -> u32 {
    let segment = room.seen.segment();
    let told = pipeline::told_by(&mut packet, &segment);
    room.key = tuple(&room.seen);
    room.service = 0;
    room.opens = u32::from(segment.stage.opens());
    let mut memory = memory;
    let now = memory.now();
    room.now = now;
    match tables.find(segment.key) {
        Some((cell, action)) if action == Action::Translate as u32 => {
            room.service = u32::from(About::unpack(cell.about.load()).number);
            if let Some(verdict) = unfit(&packet, room, &segment) {
                return verdict as u32;
            }
            let known = known(tables, translations, room, cell, told);
            if known == Known::Dead as u32 {
                return Verdict::NoFlow as u32;
            }
            if known == Known::No as u32 {
                let begun = begin(&mut packet, tables, memory, translations, room, cell, told);
                if let Err(verdict) = begun {
                    return verdict as u32;
                }
            }
            towards(tables, room, &segment) as u32
        }
        _ => {
            let is_known = translations.recall(&room.key, told, now, &mut room.way);
            if !is_known || !room.way.is_answers() {
                return PASS;
            }
            room.service = u32::from(room.way.service());
            if let Some(verdict) = unfit(&packet, room, &segment) {
                return verdict as u32;
            }
            let verdict = if !lives(tables, &room.way) {
                Verdict::NoFlow
            } else if segment.ttl < 2 {
                Verdict::Expired
            } else {
                Verdict::Answered
            };
            verdict as u32
        }
    }
}

/// What a packet bears.
#[inline(always)]
fn tuple(seen: &Seen) -> Tuple {
    Tuple {
        source: seen.source,
        destination: seen.destination,
        ports: seen.ports,
        tag: Tuple::tag(seen.proto as u8, seen.is_v4 != 0),
    }
}

/// Why a packet of ours cannot be translated, whatever to.
#[inline(always)]
fn unfit<P: Packet>(packet: &P, room: &Room, segment: &Segment) -> Option<Verdict> {
    let seen = &room.seen;
    if seen.what == what::FIRST {
        return Some(Verdict::Fragment);
    }
    let end = tollgate_common::backend::ETHERNET as u32 + u32::from(segment.len);
    (seen.len < seen.least || !packet.holds(end)).then_some(Verdict::Malformed)
}

/// Whether the backend of a translation is the one that it was made for.
#[inline(always)]
fn lives(tables: &Tables, way: &Translation) -> bool {
    tables.life(way.id()) == way.life()
}

/// What is known of a client's flow.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
enum Known {
    /// Its translation is in the room.
    Yes,
    /// Nothing: the packet may begin it.
    No,
    /// Its backend is gone, and the packet does not begin another one.
    Dead,
}

/// Looks for the flow's translation. What is over, or has no backend any more, makes room for a flow that begins.
#[inline(never)]
fn known<T: Translations>(
    tables: &Tables,
    translations: T,
    room: &mut Room,
    cell: &Cell,
    told: Told,
) -> u32 {
    if !translations.recall(&room.key, told, room.now, &mut room.way) || room.way.is_answers() {
        return Known::No as u32;
    }
    let is_dead = !lives(tables, &room.way);
    if !is_dead && !told.opens() {
        return Known::Yes as u32;
    }
    room.other = room.way.to.reversed();
    // What stands there may be another flow's by now.
    let is_whole = translations.recall(&room.other, Told::ERROR, room.now, &mut room.back)
        && room.back.to == room.key.reversed();
    if !is_dead {
        // A port that the client uses again, or a SYN that it repeats.
        let stage = Stage::of(room.key.proto(), room.way.flags, room.back.flags);
        if is_whole && stage != Stage::Closed {
            return Known::Yes as u32;
        }
    } else if !told.opens() && !told.is_datagram() {
        if !told.goes_on() {
            return Known::Dead as u32;
        }
        if room.way.hides(&room.key) {
            // Another backend would know the connection by nothing at all.
            return if is_whole && is_back(tables, &room.way, cell) {
                adopt(tables, translations, room)
            } else {
                Known::Dead as u32
            };
        }
        // Whoever is picked goes on with it, or ends it by a RST; nobody waits for a backend that is gone.
    }
    translations.remove(&room.key);
    if is_whole {
        translations.remove(&room.other);
    }
    Known::No as u32
}

/// Whether the backend of a translation was down meanwhile, and is this service's backend with this address again.
#[inline(always)]
fn is_back(tables: &Tables, way: &Translation, cell: &Cell) -> bool {
    let owner = tables.owner(way.id());
    tables.life(way.id()) & 1 == 1
        && owner.hi.load() == cell.hi.load()
        && owner.lo.load() == cell.lo.load()
        && owner.tag.load() as u32 == cell.tag.load() as u32
        && [owner.address_hi.load(), owner.address_lo.load()] == way.to.destination
}

/// Makes the translations of a flow anew that are in the room, in the life that their backend has now. Each is taken out first, and
/// put in last: several CPUs that do so at once leave both.
#[inline(never)]
fn adopt<T: Translations>(tables: &Tables, translations: T, room: &mut Room) -> u32 {
    let id = room.way.id();
    let backend = u32::from(id) | u32::from(tables.life(id)) << 16;
    (room.way.backend, room.back.backend) = (backend, backend);
    translations.remove(&room.other);
    translations.remove(&room.key);
    let mut added = translations.add(&room.other, &room.back);
    if added == Added::Taken
        && translations.recall(&room.other, Told::ERROR, room.now, &mut room.back)
        && room.back.to == room.key.reversed()
    {
        added = Added::Yes;
    }
    if added != Added::Yes || translations.add(&room.key, &room.way) == Added::Full {
        return Known::Dead as u32;
    }
    Known::Yes as u32
}

/// Picks a backend for a flow, and makes its translations.
#[inline(always)]
fn begin<P: Packet, M: Memory + Copy, T: Translations>(
    packet: &mut P,
    tables: &Tables,
    memory: M,
    translations: T,
    room: &mut Room,
    cell: &Cell,
    told: Told,
) -> Result<(), Verdict> {
    let begins = told.opens() || told.is_datagram();
    // An error is about something that was; and so is what ends or answers.
    if !begins && !told.goes_on() {
        return Err(Verdict::NoFlow);
    }
    let segment = room.seen.segment();
    let mut memory = memory;
    let now = room.now;
    let (entry, flow) = pipeline::pick(packet, tables, memory, &segment, cell);
    if entry == 0 {
        return Err(Verdict::NoBackend);
    }
    let backend = tables.backend(entry);
    if Out::unpack(backend.out.load()).kind() != Some(Kind::Nat) {
        return Err(Verdict::NoNextHop);
    }
    let target = Target::of(backend);
    // A connection from before, of another node or of before a loss: its backend knows it by the client's own address.
    if !begins && target.has_sources {
        return Err(Verdict::NoFlow);
    }
    if !memory.may_begin(now, tables.flows.load() as u32) {
        return Err(Verdict::NoRoom);
    }
    let id = u32::from(entry) | u32::from(tables.life(entry)) << 16;
    let interface = packet.ingress();
    room.way = Translation {
        to: Tuple {
            destination: target.address,
            ports: room.key.ports & 0xffff | port_of(&target, &room.key) << 16,
            ..room.key
        },
        backend: id,
        service: room.service,
        seen: now,
        flags: 0,
        interface,
        reserved: 0,
    };
    room.way.flags = room.way.flags_after(room.key.proto(), told.tcp_flags());
    room.back = Translation {
        to: room.key.reversed(),
        backend: id,
        service: room.service | Translation::ANSWERS,
        seen: now,
        flags: 0,
        interface,
        reserved: 0,
    };
    let entropy = flow.entropy();
    let mut number = 0;
    let mut added = Added::Taken as u32;
    while number < TRIES {
        added = claim(tables, translations, room, entropy, number);
        if added != Added::Taken as u32 {
            break;
        }
        number += 1;
    }
    if added == Added::Taken as u32 {
        return Err(Verdict::NoPort);
    }
    if added == Added::Full as u32 {
        return Err(Verdict::NoRoom);
    }
    if translations.add(&room.key, &room.way) != Added::Yes {
        // Another CPU was faster, with a packet of the same flow; or there is no room.
        translations.remove(&room.other);
        if !translations.recall(&room.key, told, now, &mut room.way) || room.way.is_answers() {
            return Err(Verdict::NoRoom);
        }
    }
    Ok(())
}

/// The port at the backend, as it loads: its own, or the one that the client sent to.
#[inline(always)]
fn port_of(target: &Target, key: &Tuple) -> u32 {
    if target.port == 0 {
        key.ports >> 16
    } else {
        u32::from(target.port)
    }
}

/// Tries to make the translation of answers for one source. The client's own is the first if it may stay; towards one backend
/// it may have two flows to two services with the same port, and then the second one's changes all the same.
#[inline(never)]
fn claim<T: Translations>(
    tables: &Tables,
    translations: T,
    room: &mut Room,
    entropy: u32,
    number: u32,
) -> u32 {
    let target = Target::of(tables.backend(room.way.id()));
    let is_v4 = room.key.is_v4();
    if target.has_sources {
        let (source, port) = nat::source(target.network, target.bits, is_v4, entropy, number);
        room.way.to.source = source;
        room.way.to.ports = u32::from(port.to_be()) | port_of(&target, &room.key) << 16;
    } else if number > 0 {
        let port = nat::port(entropy, number);
        room.way.to.ports = u32::from(port.to_be()) | port_of(&target, &room.key) << 16;
    }
    room.other = room.way.to.reversed();
    translations.add(&room.other, &room.back) as u32
}

/// Whether a packet can go to its backend.
#[inline(always)]
fn towards(tables: &Tables, room: &Room, segment: &Segment) -> Verdict {
    let out = Out::unpack(tables.backend(room.way.id()).out.load());
    if out.kind() != Some(Kind::Nat) {
        Verdict::NoNextHop
    } else if segment.ttl < 2 {
        Verdict::Expired
    } else if room.is_merged == 0 && segment.len > out.mtu() {
        Verdict::TooBig
    } else {
        Verdict::Translated
    }
}

#[cfg(any(test, feature = "host"))]
pub mod host;
#[cfg(test)]
mod tests;
