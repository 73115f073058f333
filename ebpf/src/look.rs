//! A closer look at what the first glance leaves open: fragments, IPv6 extension headers, ICMP errors.

use tollgate_common::{
    backend::{ETHERNET, IPV4, IPV6},
    flow::Flow,
    fragment::FragmentKey,
    service::{ICMP, ICMPV6, Key, Scope, UDP},
    tag::Tags,
};

use crate::{
    packet::{FAR, Packet, near, u16_at, u32_at, u64_at},
    parse::{FLAGS, Family, GROUP, Segment, Stage, V4_HEAD, V6_HEAD, least},
};

/// What a packet turned out to be; numbers, for [`Seen::what`].
pub mod what {
    /// Nothing for a service.
    pub const OTHER: u32 = 0;
    /// Headers that the stack knows better.
    pub const OPTIONS: u32 = 1;
    /// A packet of a flow.
    pub const WHOLE: u32 = 2;
    /// The first fragment of one.
    pub const FIRST: u32 = 3;
    /// A later fragment: it has no ports.
    pub const LATER: u32 = 4;
}

/// What was seen. It is written to memory and read back: the verifier forgets on the way what each of the many ways here
/// knew, so that what follows is verified once and not once for each.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    /// Source address of the flow in two words, as loaded; of IPv4 in the second.
    pub source: [u64; 2],
    /// Destination address, likewise.
    pub destination: [u64; 2],
    /// Its tags, which were taken off.
    pub tags: Tags,
    /// Where it is to be sent: the backend in the low half, 0 for none; what varies the outer header in the high one.
    pub to: u64,
    /// The number of the service that it is sent for.
    pub service: u32,
    /// [`Segment::stage`], as a number.
    pub stage: u32,
    /// Source and destination port, as loaded.
    pub ports: u32,
    /// Which packet it is a fragment of, as loaded.
    pub id: u32,
    /// One of [`what`]; the rest is only meaningful as far as that says.
    pub what: u32,
    /// Whether it is IPv4.
    pub is_v4: u32,
    /// The protocol of the flow; of a later fragment what the header says.
    pub proto: u32,
    /// [`Segment::transport`].
    pub transport: u32,
    /// [`Segment::len`].
    pub len: u32,
    /// Shortest IP packet that holds the headers it must have.
    pub least: u32,
    /// [`Segment::class`].
    pub class: u32,
    /// [`Segment::ttl`].
    pub ttl: u32,
    /// Whether the frame went to a group of stations, or to all; as a number.
    pub group: u32,
}

impl Seen {
    /// The packet, as the first glance would have told it.
    #[inline(always)]
    #[must_use]
    pub fn segment(&self) -> Segment {
        const OPENS: u32 = Stage::Opens as u32;
        const DATAGRAM: u32 = Stage::Datagram as u32;

        let [hi, lo] = self.destination;
        let [source_hi, source_lo] = self.source;
        let (port, proto) = ((self.ports >> 16) as u16, self.proto as u8);
        let (key, flow) = if self.is_v4 != 0 {
            (
                Key::v4(lo as u32, port, proto),
                Flow::V4(source_lo as u32, self.ports),
            )
        } else {
            (
                Key::v6(hi, lo, port, proto),
                Flow::V6(source_hi, source_lo, self.ports),
            )
        };
        Segment {
            key,
            flow,
            transport: self.transport as usize,
            len: self.len as u16,
            class: self.class as u8,
            ttl: self.ttl as u8,
            stage: match self.stage {
                OPENS => Stage::Opens,
                DATAGRAM => Stage::Datagram,
                _ => Stage::Follows,
            },
        }
    }

    /// Which packet it is a fragment of.
    #[inline(always)]
    #[must_use]
    pub fn piece(&self) -> FragmentKey {
        let tag = if self.is_v4 != 0 {
            (Scope::V4.0 as u32) << 24 | self.proto << 16
        } else {
            (Scope::V6.0 as u32) << 24
        };
        FragmentKey {
            source: self.source,
            destination: self.destination,
            id: self.id,
            tag,
        }
    }
}

/// Extension headers that are passed over.
const HEADERS: usize = 4;

/// The packet inside an ICMP message begins behind this (RFC 792; RFC 4443, section 3).
const ICMP_HEADER: usize = 8;

/// Looks at a packet of the family that its frame begins like.
#[inline(always)]
pub fn look(packet: &impl Packet, family: Family, seen: &mut Seen) {
    seen.what = what::OTHER;
    match family {
        Family::V4 => v4(packet, seen),
        Family::V6 => v6(packet, seen),
        Family::Options => seen.what = what::OPTIONS,
        Family::Tagged | Family::Other => {}
    }
    // What has no transport header of its own follows.
    if seen.transport != 0 && matches!(seen.what, what::WHOLE | what::FIRST) {
        seen.stage = stage(packet, seen) as u32;
    }
}

#[inline(always)]
fn stage(packet: &impl Packet, seen: &Seen) -> Stage {
    if seen.proto == u32::from(UDP) {
        return Stage::Datagram;
    }
    let header = packet.at::<{ FLAGS + 1 }>(seen.transport as usize);
    header.map_or(Stage::Follows, |header| Stage::of_flags(header[FLAGS]))
}

/// Looks at an IPv4 packet.
#[inline(always)]
fn v4(packet: &impl Packet, seen: &mut Seen) {
    const OFFSET: u16 = u16::from_ne_bytes([0x1f, 0xff]);
    const MORE: u16 = u16::from_ne_bytes([0x20, 0x00]);

    let Some(head) = packet.head::<V4_HEAD>() else {
        return;
    };
    let proto = head[23];
    let fragment = u16_at::<20, _>(head);
    *seen = Seen {
        source: [0, u64::from(u32_at::<26, _>(head))],
        destination: [0, u64::from(u32_at::<30, _>(head))],
        tags: seen.tags,
        to: 0,
        service: 0,
        stage: Stage::Follows as u32,
        ports: u32_at::<34, _>(head),
        id: u32::from(u16_at::<18, _>(head)),
        what: what::OTHER,
        is_v4: 1,
        proto: u32::from(proto),
        transport: (ETHERNET + IPV4) as u32,
        len: u32::from(u16::from_be(u16_at::<16, _>(head))),
        least: IPV4 as u32,
        class: u32::from(head[15]),
        ttl: u32::from(head[22]),
        group: u32::from(head[0] & GROUP),
    };
    match least(proto) {
        Some(_) if fragment & OFFSET != 0 => {
            seen.transport = 0;
            seen.what = what::LATER;
        }
        Some(least) => {
            seen.least += u32::from(least);
            seen.what = if fragment & MORE == 0 {
                what::WHOLE
            } else {
                what::FIRST
            };
        }
        None if proto == ICMP && fragment & (OFFSET | MORE) == 0 => v4_error(packet, seen),
        None => {}
    }
}

/// The flow that an ICMP error is about: the packet inside went the other way.
#[inline(always)]
fn v4_error(packet: &impl Packet, seen: &mut Seen) {
    const UNREACHABLE: u8 = 3;
    const TIME_EXCEEDED: u8 = 11;
    const PARAMETER: u8 = 12;
    const INSIDE: usize = ETHERNET + IPV4 + ICMP_HEADER;
    const OFFSET: u16 = u16::from_ne_bytes([0x1f, 0xff]);

    let Some(head) = packet.head::<{ INSIDE + IPV4 }>() else {
        return;
    };
    let proto = head[INSIDE + 9];
    let words = usize::from(head[INSIDE] & 0xf);
    let is_error = matches!(
        head[ETHERNET + IPV4],
        UNREACHABLE | TIME_EXCEEDED | PARAMETER
    );
    // Only its first fragment has ports; and what another address sent is none of ours.
    if !is_error
        || head[INSIDE] >> 4 != 4
        || words < 5
        || least(proto).is_none()
        || u16_at::<{ INSIDE + 6 }, _>(head) & OFFSET != 0
        || u64::from(u32_at::<{ INSIDE + 12 }, _>(head)) != seen.destination[1]
    {
        return;
    }
    let to = u64::from(u32_at::<{ INSIDE + 16 }, _>(head));
    let Some(ports) = packet.at::<4>(INSIDE + words * 4) else {
        return;
    };
    seen.source[1] = to;
    seen.ports = u32_at::<0, _>(ports).rotate_left(16);
    seen.proto = u32::from(proto);
    seen.transport = 0;
    seen.least = (IPV4 + ICMP_HEADER + IPV4) as u32;
    seen.what = what::WHOLE;
}

/// Looks at an IPv6 packet.
#[inline(always)]
fn v6(packet: &impl Packet, seen: &mut Seen) {
    const HOP_BY_HOP: u8 = 0;
    const FRAGMENT: u8 = 44;
    const AUTHENTICATION: u8 = 51;
    const DESTINATION: u8 = 60;

    let Some(head) = packet.head::<V6_HEAD>() else {
        return;
    };
    let (mut next, mut at) = (head[20], ETHERNET + IPV6);
    let len = u16::from_be(u16_at::<18, _>(head)).saturating_add(IPV6 as u16);
    *seen = Seen {
        source: [u64_at::<22, _>(head), u64_at::<30, _>(head)],
        destination: [u64_at::<38, _>(head), u64_at::<46, _>(head)],
        tags: seen.tags,
        to: 0,
        service: 0,
        stage: Stage::Follows as u32,
        ports: 0,
        id: 0,
        what: what::OTHER,
        is_v4: 0,
        proto: 0,
        transport: 0,
        len: u32::from(len),
        least: IPV6 as u32,
        class: u32::from((u16::from_be(u16_at::<14, _>(head)) >> 4) as u8),
        ttl: u32::from(head[21]),
        group: u32::from(head[0] & GROUP),
    };
    let mut is_first = false;
    let mut passed = 0;
    while passed < HEADERS {
        // What cannot be followed to its ports is the stack's: it knows what these headers mean.
        let known = matches!(next, HOP_BY_HOP | DESTINATION | AUTHENTICATION | FRAGMENT);
        if !known || at > FAR {
            break;
        }
        let Some(header) = packet.at::<8>(at) else {
            return;
        };
        let length = usize::from(header[1]);
        at += match next {
            FRAGMENT => 8,
            AUTHENTICATION => (length + 2) * 4,
            _ => (length + 1) * 8,
        };
        if next == FRAGMENT {
            const OFFSET: u16 = u16::from_ne_bytes([0xff, 0xf8]);
            const MORE: u16 = u16::from_ne_bytes([0x00, 0x01]);
            let fragment = u16_at::<2, _>(header);
            seen.id = u32_at::<4, _>(header);
            if fragment & OFFSET != 0 {
                seen.what = what::LATER;
                return;
            }
            // Neither an offset nor more to come: a packet in one piece (RFC 6946).
            is_first = fragment & MORE != 0;
        }
        next = header[0];
        // A chain that goes farther than that does not come to its ports here.
        at = if at > FAR { FAR + 1 } else { near(at) };
        passed += 1;
    }
    if at > FAR {
        seen.what = what::OPTIONS;
        return;
    }
    if next == ICMPV6 && !is_first {
        v6_error(packet, seen, at);
        return;
    }
    let Some(least) = least(next) else {
        // Routing, mobility, HIP, shim6, or more of them than are followed.
        if matches!(
            next,
            HOP_BY_HOP | 43 | FRAGMENT | AUTHENTICATION | DESTINATION | 135 | 139 | 140
        ) {
            seen.what = what::OPTIONS;
        }
        return;
    };
    let Some(ports) = packet.at::<4>(at) else {
        return;
    };
    seen.ports = u32_at::<0, _>(ports);
    seen.proto = u32::from(next);
    seen.least = (at - ETHERNET) as u32 + u32::from(least);
    seen.transport = at as u32;
    seen.what = if is_first { what::FIRST } else { what::WHOLE };
}

#[inline(always)]
fn v6_error(packet: &impl Packet, seen: &mut Seen, at: usize) {
    const UNREACHABLE: u8 = 1;
    const PARAMETER: u8 = 4; // and in between: too big, time exceeded
    const INSIDE: usize = ICMP_HEADER;

    let Some(message) = packet.at::<{ INSIDE + IPV6 + 4 }>(at) else {
        return;
    };
    let proto = message[INSIDE + 6];
    let source = [
        u64_at::<{ INSIDE + 8 }, _>(message),
        u64_at::<{ INSIDE + 16 }, _>(message),
    ];
    if !matches!(message[0], UNREACHABLE..=PARAMETER)
        || message[INSIDE] >> 4 != 6
        || least(proto).is_none()
        || source != seen.destination
    {
        return;
    }
    seen.source = [
        u64_at::<{ INSIDE + 24 }, _>(message),
        u64_at::<{ INSIDE + 32 }, _>(message),
    ];
    seen.ports = u32_at::<{ INSIDE + IPV6 }, _>(message).rotate_left(16);
    seen.proto = u32::from(proto);
    seen.least = (at - ETHERNET + ICMP_HEADER + IPV6 + 4) as u32;
    seen.what = what::WHOLE;
}

#[cfg(test)]
mod tests;
