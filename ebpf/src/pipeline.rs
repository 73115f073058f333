//! The whole way of a packet: parse, service, pick, rewrite, out.
//!
//! Most packets take [`ingress`] from end to end, with all they need in registers. What needs a closer look (tags,
//! fragments, extension headers, ICMP), a moving slot, or an answer goes through functions of its own, which may cost more.

use tollgate_common::{
    backend::{ETHERNET, Out},
    fragment::Fragment,
    pin::PinKey,
    service::{About, Action, Key, Region},
    tables::{Guards, Tables},
    tag::Tags,
    verdict::Verdict,
};

use crate::{
    look::{self, Seen, what},
    memory::Memory,
    packet::Packet,
    parse::{self, Family, Parsed, Segment, Stage},
    pick::{self, Asked},
    rewrite, too_big, vlan,
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
    /// Whether it opens a connection; only meaningful with an entry.
    pub opens: bool,
    /// The number of the service that it was for; 0: none, or it is counted by its entry.
    pub service: u16,
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
            opens: false,
            service: 0,
            ifindex: 0,
        }
    }

    #[inline(always)]
    const fn of_service(verdict: Verdict, about: About) -> Self {
        Self {
            service: about.number,
            ..Self::of(verdict)
        }
    }
}

/// Decides about a packet and rewrites it.
///
/// What follows the family is compiled once for each: the hot path then keeps its words in registers.
#[inline(always)]
pub fn ingress<P: Packet, M: Memory + Copy>(packet: &mut P, tables: &Tables, memory: M) -> Outcome {
    let Some(head) = packet.head() else {
        return Outcome::of(Verdict::NotOurs);
    };
    let parsed = match parse::family(head) {
        Family::V4 => match parse::v4(head) {
            Parsed::Whole(segment) => return whole(packet, tables, memory, &segment),
            other => other,
        },
        Family::V6 => match packet.head().map(parse::v6) {
            Some(Parsed::Whole(segment)) => return whole(packet, tables, memory, &segment),
            Some(other) => other,
            None => Parsed::Other,
        },
        Family::Tagged => Parsed::Closer,
        Family::Options => return Outcome::of(Verdict::Options),
        Family::Other => Parsed::Other,
    };
    let mut outcome = Outcome::of(Verdict::NotOurs);
    if parsed == Parsed::Closer {
        closer(packet.again(), tables, memory, &mut outcome);
        finish(packet.again(), tables, memory, &mut outcome);
    }
    outcome
}

/// What a closer look makes of it. Changes of `outcome`, which is that of a packet that is not ours, what is other than
/// that; what is to be sent is left to [`finish`], for the stack is small.
#[inline(never)]
fn closer<P: Packet, M: Memory + Copy>(
    mut packet: P,
    tables: &Tables,
    memory: M,
    outcome: &mut Outcome,
) {
    let mut room = memory;
    let Some(mut seen) = room.seen() else {
        return;
    };
    seen.tags = Tags::NONE;
    seen.to = 0;
    if packet.head().map(parse::family) == Some(Family::Tagged) {
        match vlan::take(&mut packet) {
            Some(tags) => seen.tags = tags,
            None => return,
        }
    }
    look(packet.again(), &mut seen);
    match seen.what {
        what::OPTIONS => outcome.verdict = Verdict::Options,
        what::WHOLE | what::FIRST => {
            let to = judge(&packet, tables, memory, &seen.segment());
            if to.entry == 0 {
                *outcome = to.otherwise;
                return;
            }
            if seen.what == what::FIRST {
                let fragment = Fragment {
                    backend: to.entry,
                    life: tables.life(to.entry),
                    entropy: to.entropy,
                };
                let mut memory = memory;
                memory.note_piece(&seen.piece(), fragment);
            }
            seen.to = u64::from(to.entry) | u64::from(to.entropy) << 32;
            seen.service = u32::from(to.service);
            seen.opens = u32::from(to.opens);
        }
        what::LATER => later(&packet, tables, memory, &mut seen, outcome),
        _ => {}
    }
}

/// Sends what is to be sent, and puts the tags back on what goes to the stack or back to its sender.
#[inline(never)]
fn finish<P: Packet, M: Memory + Copy>(
    mut packet: P,
    tables: &Tables,
    memory: M,
    outcome: &mut Outcome,
) {
    let mut room = memory;
    let Some(seen) = room.seen() else {
        return;
    };
    if seen.to != 0 {
        let (entry, entropy) = (seen.to as u16, (seen.to >> 32) as u32);
        *outcome = send(&mut packet, tables, memory, &seen.segment(), entry, entropy);
        outcome.opens = seen.opens != 0;
        if outcome.entry == 0 {
            outcome.service = seen.service as u16;
        }
    }
    let is_back = matches!(
        outcome.verdict,
        Verdict::NotOurs | Verdict::Options | Verdict::Listener | Verdict::TooBigTold
    );
    // What is sent on has the tags of its way already; what is dropped needs none.
    if is_back && !seen.tags.is_empty() && !vlan::put(&mut packet, seen.tags) {
        *outcome = Outcome::of(Verdict::NoHeadroom);
    }
}

#[inline(never)]
fn look<P: Packet>(packet: P, seen: &mut Seen) {
    seen.what = what::OTHER;
    let Some(head) = packet.head() else {
        return;
    };
    match parse::family(head) {
        Family::V4 => look::v4(&packet, seen),
        Family::V6 => look::v6(&packet, seen),
        Family::Options => seen.what = what::OPTIONS,
        Family::Tagged | Family::Other => {}
    }
}

/// A packet that a first glance told all about.
#[inline(always)]
fn whole<P: Packet, M: Memory + Copy>(
    packet: &mut P,
    tables: &Tables,
    memory: M,
    segment: &Segment,
) -> Outcome {
    let to = judge(packet, tables, memory, segment);
    if to.entry == 0 {
        return to.otherwise;
    }
    let mut outcome = send(packet, tables, memory, segment, to.entry, to.entropy);
    to.count(&mut outcome);
    outcome
}

/// Where a packet goes. Not an enum: LLVM computes with what only one variant has, and the verifier refuses that.
struct To {
    /// The backend. 0: it goes to none, and `otherwise` is what becomes of it.
    entry: u16,
    /// What becomes of a packet that goes to none.
    otherwise: Outcome,
    /// What varies the outer header.
    entropy: u32,
    /// The service's number.
    service: u16,
    /// Whether the packet opens a connection.
    opens: bool,
}

impl To {
    /// To no backend.
    #[inline(always)]
    const fn nowhere(otherwise: Outcome) -> Self {
        Self {
            entry: 0,
            otherwise,
            entropy: 0,
            service: 0,
            opens: false,
        }
    }

    /// Notes what is counted beside what became of it.
    #[inline(always)]
    const fn count(&self, outcome: &mut Outcome) {
        outcome.opens = self.opens;
        if outcome.entry == 0 {
            outcome.service = self.service;
        }
    }
}

/// What is to be done with a packet to `segment.key`.
#[inline(always)]
fn judge<P: Packet, M: Memory>(packet: &P, tables: &Tables, memory: M, segment: &Segment) -> To {
    let Some((cell, action)) = tables.find(segment.key) else {
        return To::nowhere(Outcome::of(Verdict::NotOurs));
    };
    if action == Action::Steer as u32 {
        return To::nowhere(Outcome {
            entry: cell.steer.load() as u16,
            bytes: segment.len,
            opens: parse::stage(packet, segment) == Stage::Opens,
            ..Outcome::of(Verdict::Listener)
        });
    }
    // Every station got it: no host takes TCP so, and each node would send it on.
    if segment.group {
        return To::nowhere(Outcome::of(Verdict::NotOurs));
    }
    let about = About::unpack(cell.about.load());
    if segment.len < segment.least || !packet.holds(u32::from(segment.len) + ETHERNET as u32) {
        return To::nowhere(Outcome::of_service(Verdict::Malformed, about));
    }
    let stage = parse::stage(packet, segment);
    let seed = cell.seed.load();
    let flow = segment.flow.hash(seed);
    let place = if about.by_client {
        segment.flow.client().hash(seed)
    } else {
        flow
    };
    let Region { base, len } = Region::unpack(cell.region.load());
    // Without any backend both are 0, and slot 0 of the pool names none.
    let index = base.wrapping_add(place.slot(len));
    let slot = tables.slot(index);
    let mut entry = slot.current();
    if slot.is_moving() {
        let asked = Asked {
            cell,
            index,
            extra: PinKey::extra(segment.key.hi, segment.key.lo),
            place,
            flow,
            stage,
        };
        entry = pick::moving(tables, memory, &asked);
    }
    if entry == 0 {
        return To::nowhere(Outcome::of_service(Verdict::NoBackend, about));
    }
    To {
        entry,
        otherwise: Outcome::of(Verdict::NotOurs),
        entropy: flow.entropy(),
        service: about.number,
        opens: stage == Stage::Opens,
    }
}

/// A later fragment follows the first one. It tells no ports: it is dropped where no piece could be for the stack.
#[inline(always)]
fn later<P: Packet, M: Memory>(
    packet: &P,
    tables: &Tables,
    mut memory: M,
    seen: &mut Seen,
    outcome: &mut Outcome,
) {
    let segment = seen.segment();
    if segment.group {
        return;
    }
    match memory.piece(&seen.piece()) {
        Some(fragment) if tables.life(fragment.backend) == fragment.life => {
            if packet.holds(u32::from(segment.len) + ETHERNET as u32) {
                seen.to = u64::from(fragment.backend) | u64::from(fragment.entropy) << 32;
                (seen.service, seen.opens) = (0, 0);
            } else {
                outcome.verdict = Verdict::Malformed;
            }
        }
        _ => outcome.verdict = lost(tables, segment.key.address()),
    }
}

fn lost(tables: &Tables, address: Key) -> Verdict {
    // 0 is no action: the verifier refuses what LLVM makes of a number that is there in one of two cases only.
    let action = tables.find(address).map_or(0, |(_, action)| action);
    if action == Action::Fragments as u32 {
        Verdict::Fragment
    } else {
        Verdict::NotOurs
    }
}

/// Rewrites the packet for a backend and says how it leaves.
#[inline(always)]
fn send<P: Packet, M: Memory + Copy>(
    packet: &mut P,
    tables: &Tables,
    memory: M,
    segment: &Segment,
    entry: u16,
    entropy: u32,
) -> Outcome {
    let backend = tables.backend(entry);
    let Some(out) = Out::unpack(backend.out.load()) else {
        return Outcome::of(Verdict::NoNextHop);
    };
    match rewrite::rewrite(packet, segment, backend, out, entropy) {
        Ok(()) => {}
        Err(Verdict::TooBig) => {
            let mtu = out.mtu.saturating_sub(u16::from(out.kind.room()));
            let is_v4 = segment.key.scope().is_v4();
            // No message is about a message, nor about a later fragment (RFC 1812, section 4.3.2.7; RFC 4443, section
            // 2.4): what has no transport header of its own is dropped in silence.
            let is_told = segment.transport != 0
                && tell(packet.again(), tables, memory, u32::from(mtu), is_v4);
            return Outcome::of(if is_told {
                Verdict::TooBigTold
            } else {
                Verdict::TooBig
            });
        }
        Err(verdict) => return Outcome::of(verdict),
    }
    if out.vlan != 0 && !tag(packet.again(), tables, u32::from(out.vlan)) {
        return Outcome::of(Verdict::NoHeadroom);
    }
    let verdict = if out.ifindex == packet.ingress() {
        Verdict::Sent
    } else {
        Verdict::Redirected
    };
    Outcome {
        entry,
        bytes: segment.len,
        ifindex: out.ifindex,
        ..Outcome::of(verdict)
    }
}

#[inline(never)]
fn tag<P: Packet>(mut packet: P, tables: &Tables, vlan: u32) -> bool {
    vlan::put(&mut packet, tables.tags(vlan as u8))
}

/// Tells the sender how long packets may be.
#[inline(never)]
fn tell<P: Packet, M: Memory>(
    mut packet: P,
    tables: &Tables,
    mut memory: M,
    mtu: u32,
    is_v4: bool,
) -> bool {
    let limit = Guards::unpack(tables.guards.load()).icmp;
    let now = memory.now();
    if !memory.may_tell(now, limit) {
        return false;
    }
    if is_v4 {
        too_big::v4(&mut packet, mtu as u16)
    } else {
        too_big::v6(&mut packet, mtu as u16)
    }
    .is_some()
}

#[cfg(test)]
mod tests;
