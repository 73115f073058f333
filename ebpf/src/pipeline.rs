//! The whole way of a packet: parse, service, pick, rewrite, out.
//!
//! Most packets take [`ingress`] from end to end, with all they need in registers. What needs a closer look (tags,
//! fragments, extension headers, ICMP), a moving slot, or an answer goes through functions of its own, which may cost more.

use tollgate_common::{
    backend::{ETHERNET, Kind, Out},
    flow::Hash,
    fragment::Fragment,
    pin::{PinKey, Told},
    service::{About, Action, Cell, Key, Region},
    tables::{Guards, Tables},
    tag::Tags,
    verdict::{Disposition, Verdict},
};

use crate::{
    look::{self, Seen, what},
    memory::Memory,
    packet::{Packet, u32_at},
    parse::{self, FLAGS, Family, Parsed, Segment, Stage},
    pick::{self as picking, Asked},
    rewrite, too_big, vlan,
};

/// What became of a packet, and what is counted for it: one word, since each of the many ways out of the hot path sets it.
///
/// The verdict's number in bits 0-7, its [`Disposition`] in 8-11, whether it opens a connection in 12, the service in 16-31, the
/// bytes in 32-47, the entry in 48-63.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Outcome(u64);

impl Outcome {
    const NUMBER: u32 = 0xff;
    const ACTION: u32 = 8;
    const OPENS: u32 = 12;
    const SERVICE: u32 = 16;
    const BYTES: u32 = 32;
    const ENTRY: u32 = 48;

    #[inline(always)]
    const fn of(verdict: Verdict) -> Self {
        Self(verdict as u64 | (verdict.disposition() as u64) << Self::ACTION)
    }

    /// It passes, and TC decides about it and counts it.
    const LEFT_TO_TC: Self =
        Self(Verdict::LEFT_TO_TC as u64 | (Disposition::Pass as u64) << Self::ACTION);

    #[inline(always)]
    const fn of_service(verdict: Verdict, service: u16) -> Self {
        Self(Self::of(verdict).0 | (service as u64) << Self::SERVICE)
    }

    #[inline(always)]
    const fn of_entry(verdict: Verdict, entry: u16, bytes: u16, opens: bool) -> Self {
        Self(
            Self::of(verdict).0
                | (entry as u64) << Self::ENTRY
                | (bytes as u64) << Self::BYTES
                | (opens as u64) << Self::OPENS,
        )
    }

    /// The number of the [`Verdict`].
    #[inline(always)]
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0 as u32 & Self::NUMBER
    }

    /// The verdict itself; not of what is left to TC.
    #[cfg(any(test, feature = "host"))]
    #[must_use]
    pub const fn verdict(self) -> Verdict {
        Verdict::ALL[self.number() as usize]
    }

    /// Whether TC decides about it, and counts it.
    #[cfg(any(test, feature = "host"))]
    #[must_use]
    pub const fn is_left_to_tc(self) -> bool {
        self.number() == Verdict::LEFT_TO_TC
    }

    /// Whether it is this verdict.
    #[inline(always)]
    #[must_use]
    pub const fn is(self, verdict: Verdict) -> bool {
        self.number() == verdict as u32
    }

    /// What the kernel is told: the number of the verdict's disposition.
    #[inline(always)]
    #[must_use]
    pub const fn action(self) -> u32 {
        self.0 as u32 >> Self::ACTION & 0xf
    }

    /// The number of the service that it was for; 0: none, or it is counted by its entry.
    #[inline(always)]
    #[must_use]
    pub const fn service(self) -> u16 {
        (self.0 >> Self::SERVICE) as u16
    }

    /// The entry that counts it: the backend's, or a steered service's. 0: none.
    #[inline(always)]
    #[must_use]
    pub const fn entry(self) -> u16 {
        (self.0 >> Self::ENTRY) as u16
    }

    /// Its IP length as it came in; only meaningful with an entry.
    #[inline(always)]
    #[must_use]
    pub const fn bytes(self) -> u16 {
        (self.0 >> Self::BYTES) as u16
    }

    /// Whether it opens a connection; only meaningful with an entry.
    #[inline(always)]
    #[must_use]
    pub const fn opens(self) -> bool {
        self.0 >> Self::OPENS & 1 != 0
    }
}

impl core::fmt::Debug for Outcome {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Outcome")
            .field("verdict", &Verdict::ALL.get(self.number() as usize))
            .field("service", &self.service())
            .field("entry", &self.entry())
            .field("bytes", &self.bytes())
            .field("opens", &self.opens())
            .finish()
    }
}

const _: () = assert!(Verdict::ALL.len() <= Verdict::LEFT_TO_TC as usize);

/// Decides about a packet and rewrites it.
///
/// What follows the family is compiled once for each: the hot path then keeps its words in registers.
#[inline(always)]
pub fn ingress<P: Packet, M: Memory + Copy>(packet: &mut P, tables: &Tables, memory: M) -> Outcome {
    let Some(head) = packet.head() else {
        return Outcome::of(Verdict::NotOurs);
    };
    let parsed = match parse::family(head) {
        Family::V4 => match parse::v4(packet) {
            Parsed::Whole(segment) => return whole(packet, tables, memory, &segment),
            other => other,
        },
        Family::V6 => match parse::v6(packet) {
            Parsed::Whole(segment) => return whole(packet, tables, memory, &segment),
            other => other,
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
        what::OPTIONS => *outcome = Outcome::of(Verdict::Options),
        what::WHOLE | what::FIRST => {
            let segment = seen.segment();
            let is_sound = seen.len >= seen.least && holds(&packet, segment.len);
            let to = judge(
                &mut packet,
                tables,
                memory,
                &segment,
                seen.group != 0,
                is_sound,
            );
            if to.entry == 0 {
                // TC would have to know which later fragments follow it.
                let is_cut = seen.what == what::FIRST && to.otherwise == Outcome::LEFT_TO_TC;
                *outcome = if is_cut {
                    Outcome::of(Verdict::Fragment)
                } else {
                    to.otherwise
                };
                return;
            }
            if seen.what == what::FIRST {
                let fragment = Fragment {
                    backend: to.entry,
                    life: tables.life(to.entry),
                    entropy: to.entropy,
                };
                let mut memory = memory;
                let now = memory.now();
                // The flood guard: each may push out what another packet's later pieces are waiting for.
                if memory.may_note(now, tables.fragments.load() as u32) {
                    memory.note_piece(&seen.piece(), fragment);
                }
            }
            seen.to = u64::from(to.entry) | u64::from(to.entropy) << 32;
            seen.service = u32::from(About::unpack(to.cell.about.load()).number);
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
        *outcome = match send(&mut packet, tables, memory, &seen.segment(), entry, entropy) {
            Ok(outcome) => outcome,
            Err(verdict) => Outcome::of_service(verdict, seen.service as u16),
        };
    }
    let is_back = outcome.action() == Disposition::Pass as u32 || outcome.is(Verdict::TooBigTold);
    // What is sent on has the tags of its way already; what is dropped needs none.
    if is_back && !seen.tags.is_empty() && !vlan::put(&mut packet, seen.tags) {
        *outcome = Outcome::of(Verdict::NoHeadroom);
    }
}

#[inline(never)]
fn look<P: Packet>(packet: P, seen: &mut Seen) {
    let family = packet.head().map_or(Family::Other, parse::family);
    look::look(&packet, family, seen);
}

/// A packet that a first glance told all about.
#[inline(always)]
fn whole<P: Packet, M: Memory + Copy>(
    packet: &mut P,
    tables: &Tables,
    memory: M,
    segment: &Segment,
) -> Outcome {
    let to = judge(packet, tables, memory, segment, false, true);
    if to.entry == 0 {
        return to.otherwise;
    }
    match send(packet, tables, memory, segment, to.entry, to.entropy) {
        Ok(outcome) => outcome,
        Err(verdict) => Outcome::of_service(verdict, About::unpack(to.cell.about.load()).number),
    }
}

/// Where in a TCP header its sequence number is (RFC 9293, section 3.1).
const SEQUENCE: usize = 4;

/// Where a packet goes. Not an enum: LLVM computes with what only one variant has, and the verifier refuses that.
struct To<'t> {
    /// The backend. 0: it goes to none, and `otherwise` is what becomes of it.
    entry: u16,
    /// What becomes of a packet that goes to none.
    otherwise: Outcome,
    /// What varies the outer header.
    entropy: u32,
    /// The service; of a packet that goes to no backend any.
    cell: &'t Cell,
}

/// What is to be done with a packet to `segment.key`. `group`: its frame went to a group of stations, or to all; `is_sound`:
/// its headers and the frame are as long as it says.
#[inline(always)]
fn judge<'t, P: Packet, M: Memory>(
    packet: &mut P,
    tables: &'t Tables,
    memory: M,
    segment: &Segment,
    group: bool,
    is_sound: bool,
) -> To<'t> {
    let nowhere = |otherwise| To {
        entry: 0,
        otherwise,
        entropy: 0,
        cell: &tables.cells[0],
    };
    let Some((cell, action)) = tables.find(segment.key) else {
        return nowhere(Outcome::of(Verdict::NotOurs));
    };
    if action != Action::Forward as u32 {
        if action == Action::Steer as u32 {
            let (entry, opens) = (cell.steer.load() as u16, segment.stage.opens());
            return nowhere(Outcome::of_entry(
                Verdict::Listener,
                entry,
                segment.len,
                opens,
            ));
        }
        if !group && is_sound {
            return nowhere(Outcome::LEFT_TO_TC);
        }
    }
    // Every station got it: no host takes TCP so, and each node would send it on.
    if group {
        return nowhere(Outcome::of(Verdict::NotOurs));
    }
    let of_service = |verdict| {
        let number = About::unpack(cell.about.load()).number;
        nowhere(Outcome::of_service(verdict, number))
    };
    if !is_sound {
        return of_service(Verdict::Malformed);
    }
    let (entry, flow) = pick(packet, tables, memory, segment, cell);
    if entry == 0 {
        return of_service(Verdict::NoBackend);
    }
    To {
        entry,
        otherwise: Outcome::of(Verdict::NotOurs),
        entropy: flow.entropy(),
        cell,
    }
}

/// The backend of a packet of a service, 0 for none, and its flow's hash.
#[inline(always)]
pub(crate) fn pick<P: Packet, M: Memory>(
    packet: &mut P,
    tables: &Tables,
    memory: M,
    segment: &Segment,
    cell: &Cell,
) -> (u16, Hash) {
    let seed = cell.seed.load();
    let flow = segment.flow.hash(seed);
    let region = Region::unpack(cell.region.load());
    let place = if region.by_client {
        segment.flow.client().hash(seed)
    } else {
        flow
    };
    // Without any backend both are 0, and slot 0 of the pool names none.
    let index = region.base.wrapping_add(place.slot(region.len));
    let slot = tables.slot(index);
    let mut entry = slot.current();
    if slot.is_moving() {
        let asked = Asked {
            cell,
            index,
            extra: PinKey::extra(segment.key.hi, segment.key.lo),
            client: segment.flow.client().hash(seed),
            flow,
            told: told_by(packet, segment),
        };
        entry = picking::moving(tables, memory, &asked);
    }
    (entry, flow)
}

/// What a packet tells of its flow.
#[inline(always)]
pub(crate) fn told_by<P: Packet>(packet: &mut P, segment: &Segment) -> Told {
    match segment.stage {
        Stage::Datagram => Told::DATAGRAM,
        _ if segment.transport == 0 => Told::ERROR,
        _ => Told(told(packet.again(), segment.transport)),
    }
}

/// What the TCP header at `transport` tells, as [`Told`] has it. Of a frame in several buffers it may not be in the first one;
/// it tells nothing then.
#[inline(never)]
fn told<P: Packet>(packet: P, transport: usize) -> u64 {
    let header = packet.at::<{ FLAGS + 1 }>(transport);
    header.map_or(0, |header| {
        let sequence = u32::from_be(u32_at::<SEQUENCE, _>(header));
        Told::segment(sequence, header[FLAGS]).0
    })
}

/// Whether the frame is as long as the IP packet says that it is.
#[inline(always)]
fn holds(packet: &impl Packet, len: u16) -> bool {
    packet.holds(ETHERNET as u32 + u32::from(len))
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
    if seen.group != 0 {
        return;
    }
    match memory.piece(&seen.piece()) {
        Some(fragment) if tables.life(fragment.backend) == fragment.life => {
            if holds(packet, segment.len) {
                seen.to = u64::from(fragment.backend) | u64::from(fragment.entropy) << 32;
                (seen.service, seen.stage) = (0, Stage::Follows as u32);
            } else {
                *outcome = Outcome::of(Verdict::Malformed);
            }
        }
        _ => *outcome = Outcome::of(lost(tables, segment.key.address())),
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

/// Rewrites the packet for a backend and says how it leaves, or why it does not.
#[inline(always)]
fn send<P: Packet, M: Memory + Copy>(
    packet: &mut P,
    tables: &Tables,
    memory: M,
    segment: &Segment,
    entry: u16,
    entropy: u32,
) -> Result<Outcome, Verdict> {
    let backend = tables.backend(entry);
    let out = Out::unpack(backend.out.load());
    match rewrite::rewrite(packet, segment, backend, out, entropy) {
        Ok(()) => {}
        Err(Verdict::TooBig) => {
            let room = out.kind().map_or(0, Kind::room);
            let mtu = out.mtu().saturating_sub(u16::from(room));
            let is_v4 = segment.key.scope().is_v4();
            // No message is about a message, nor about a later fragment (RFC 1812, section 4.3.2.7; RFC 4443, section
            // 2.4): what has no transport header of its own is dropped in silence.
            let is_told = segment.transport != 0
                && tell(packet.again(), tables, memory, u32::from(mtu), is_v4);
            return Err(if is_told {
                Verdict::TooBigTold
            } else {
                Verdict::TooBig
            });
        }
        Err(verdict) => return Err(verdict),
    }
    if out.vlan() != 0 && !tag(packet.again(), tables, u32::from(out.vlan())) {
        return Err(Verdict::NoHeadroom);
    }
    let verdict = if out.ifindex() == packet.ingress() {
        Verdict::Sent
    } else {
        packet.redirect(out.ifindex());
        Verdict::Redirected
    };
    let opens = segment.stage.opens();
    Ok(Outcome::of_entry(verdict, entry, segment.len, opens))
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
    let Some(network) = too_big::network(&packet, is_v4) else {
        return false;
    };
    if !memory.may_tell(now, limit, network) {
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
