//! The whole way of a packet: parse, service, pick, rewrite, out.

use tollgate_common::{
    backend::{ETHERNET, Out},
    service::{Action, Cell, Key, Region},
    tables::Tables,
    verdict::Verdict,
};

use crate::{
    packet::Packet,
    parse::{self, Family, Parsed, Segment},
    rewrite,
};

/// What became of a packet, and what is counted for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What became of it.
    pub verdict: Verdict,
    /// The entry that counts it: the backend's, or a steered service's. 0: none.
    pub entry: u16,
    /// Its IP length as it came in; only meaningful with an entry.
    pub bytes: u16,
    /// Where it leaves, when it leaves by another interface.
    pub ifindex: u32,
}

impl Outcome {
    #[inline(always)]
    const fn of(verdict: Verdict) -> Self {
        Self {
            verdict,
            entry: 0,
            bytes: 0,
            ifindex: 0,
        }
    }
}

/// Decides about a packet and rewrites it.
///
/// What follows the family is compiled once for each: the hot path then keeps its words in registers.
#[inline(always)]
pub fn ingress(packet: &mut impl Packet, tables: &Tables) -> Outcome {
    let Some(head) = packet.head() else {
        return Outcome::of(Verdict::NotOurs);
    };
    match parse::family(head) {
        Family::V4 => judge(packet, tables, parse::v4(head)),
        Family::V6 => match packet.head().map(parse::v6) {
            Some(parsed) => judge(packet, tables, parsed),
            None => Outcome::of(Verdict::NotOurs),
        },
        Family::Options => Outcome::of(Verdict::Options),
        Family::Other => Outcome::of(Verdict::NotOurs),
    }
}

#[inline(always)]
fn judge(packet: &mut impl Packet, tables: &Tables, parsed: Parsed) -> Outcome {
    let segment = match parsed {
        Parsed::Whole(segment) => segment,
        Parsed::Fragment(address) => return Outcome::of(fragment(tables, address)),
        Parsed::Options => return Outcome::of(Verdict::Options),
        Parsed::Other => return Outcome::of(Verdict::NotOurs),
    };
    let Some((cell, action)) = tables.find(segment.key) else {
        return Outcome::of(Verdict::NotOurs);
    };
    if action == Action::Steer as u32 {
        let entry = cell.steer.load() as u16;
        return Outcome {
            entry,
            bytes: segment.len,
            ..Outcome::of(Verdict::Listener)
        };
    }
    // Every station got it: no host takes TCP so, and each node would send it on.
    if segment.group {
        return Outcome::of(Verdict::NotOurs);
    }
    forward(packet, tables, cell, &segment)
}

/// A fragment tells its ports only in the first piece: it is dropped where no piece could be for the stack.
#[inline(always)]
fn fragment(tables: &Tables, address: Key) -> Verdict {
    if tables.find(address).is_some() {
        Verdict::Fragment
    } else {
        Verdict::NotOurs
    }
}

#[inline(always)]
fn forward(packet: &mut impl Packet, tables: &Tables, cell: &Cell, segment: &Segment) -> Outcome {
    if segment.len < segment.least || !packet.holds(u32::from(segment.len) + ETHERNET as u32) {
        return Outcome::of(Verdict::Malformed);
    }
    let hash = segment.flow.hash(cell.seed.load());
    let Region { base, len } = Region::unpack(cell.region.load());
    // Without any backend both are 0, and slot 0 of the pool names none.
    let entry = tables.slot(base.wrapping_add(hash.slot(len))).current();
    if entry == 0 {
        return Outcome::of(Verdict::NoBackend);
    }
    let backend = tables.backend(entry);
    let Some(out) = Out::unpack(backend.out.load()) else {
        return Outcome::of(Verdict::NoNextHop);
    };
    if let Err(verdict) = rewrite::rewrite(packet, segment, backend, out, hash.entropy()) {
        return Outcome::of(verdict);
    }
    let verdict = if out.ifindex == packet.ingress() {
        Verdict::Sent
    } else {
        Verdict::Redirected
    };
    Outcome {
        verdict,
        entry,
        bytes: segment.len,
        ifindex: out.ifindex,
    }
}

#[cfg(test)]
mod tests;
