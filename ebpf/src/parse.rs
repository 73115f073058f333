//! From the first bytes of a frame to what decides: destination, flow, length.
//!
//! Every length check is one for everything up to the ports; what is shorter than that is nobody's service and passes.

use tollgate_common::{
    backend::{ETHERNET, IPV4, IPV6},
    flow::Flow,
    service::{ICMP, ICMPV6, Key, TCP, UDP},
    tag::Tags,
};

use crate::packet::{Packet, u16_at, u32_at, u64_at};

/// The bit of a MAC address's first byte that says multicast or broadcast (IEEE 802, section 8.2).
pub(crate) const GROUP: u8 = 1;
const PORTS: usize = 4;
const TCP_HEADER: u16 = 20;
const UDP_HEADER: u16 = 8;

/// What a packet is, at a first glance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// Not TCP or UDP, nor about them.
    Other,
    /// A fragment, an ICMP message, extension headers: [`look`](crate::look) tells.
    Closer,
    /// A whole TCP segment or UDP datagram.
    Whole(Segment),
}

/// A packet of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Its destination.
    pub key: Key,
    /// Its flow, as the hash takes it.
    pub flow: Flow,
    /// Where in the frame its TCP or UDP header begins; 0: it has none of its own.
    pub transport: usize,
    /// Length of the IP packet, as its header says.
    pub len: u16,
    /// TOS byte or traffic class.
    pub class: u8,
    /// TTL or hop limit.
    pub ttl: u8,
    /// Whether the frame went to a group of stations, or to all.
    pub group: bool,
    /// Shortest IP packet that holds the headers it must have.
    pub least: u16,
}

/// What a packet says of its flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It opens a connection: a SYN.
    Opens,
    /// It belongs to something that began before: any other segment, an ICMP error.
    Follows,
    /// A datagram: nobody knows.
    Datagram,
}

/// What a frame begins like; only the two families are read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4 without options.
    V4,
    /// IPv6.
    V6,
    /// IPv4 with options.
    Options,
    /// A VLAN tag; what follows it is not looked at.
    Tagged,
    /// Anything else.
    Other,
}

/// The shortest frame that could be a service's.
pub const V4_HEAD: usize = ETHERNET + IPV4 + PORTS;
/// The same of IPv6.
pub const V6_HEAD: usize = ETHERNET + IPV6 + PORTS;

/// Tells by EtherType, version and header length, in one load, what a frame begins like.
#[inline(always)]
#[must_use]
pub fn family(head: &[u8; V4_HEAD]) -> Family {
    const PLAIN_V4: u32 = u32::from_ne_bytes([0x08, 0x00, 0x45, 0]);
    const ANY_V4: u32 = u32::from_ne_bytes([0x08, 0x00, 0x40, 0]);
    const V6: u32 = u32::from_ne_bytes([0x86, 0xdd, 0x60, 0]);
    const ALL_OF_IT: u32 = u32::from_ne_bytes([0xff, 0xff, 0xff, 0]);
    const TYPE: u32 = u32::from_ne_bytes([0xff, 0xff, 0, 0]);
    const C_TAG: u32 = Tags::C.to_be() as u32;
    const S_TAG: u32 = Tags::S.to_be() as u32;
    const VERSION: u32 = u32::from_ne_bytes([0xff, 0xff, 0xf0, 0]);

    let what = u32_at::<12, _>(head);
    if what & ALL_OF_IT == PLAIN_V4 {
        Family::V4
    } else if what & VERSION == V6 {
        Family::V6
    } else if what & VERSION == ANY_V4 {
        Family::Options
    } else if what & TYPE == C_TAG || what & TYPE == S_TAG {
        Family::Tagged
    } else {
        Family::Other
    }
}

/// Reads a frame of IPv4 without options.
#[inline(always)]
#[must_use]
pub fn v4(head: &[u8; V4_HEAD]) -> Parsed {
    const FRAGMENT: u16 = u16::from_ne_bytes([0x3f, 0xff]); // more fragments, or an offset

    let proto = head[23];
    let Some(least) = least(proto) else {
        return if proto == ICMP {
            Parsed::Closer
        } else {
            Parsed::Other
        };
    };
    if u16_at::<20, _>(head) & FRAGMENT != 0 {
        return Parsed::Closer;
    }
    Parsed::Whole(v4_segment(head, proto, least))
}

/// What the IPv4 header and the ports say, `least` bytes of headers being due behind it.
#[inline(always)]
fn v4_segment(head: &[u8; V4_HEAD], proto: u8, least: u16) -> Segment {
    let ports = u32_at::<34, _>(head);
    Segment {
        key: Key::v4(u32_at::<30, _>(head), (ports >> 16) as u16, proto),
        flow: Flow::V4(u32_at::<26, _>(head), ports),
        transport: ETHERNET + IPV4,
        len: u16::from_be(u16_at::<16, _>(head)),
        class: head[15],
        ttl: head[22],
        group: head[0] & GROUP != 0,
        least: IPV4 as u16 + least,
    }
}

/// Reads a frame of IPv6.
#[inline(always)]
#[must_use]
pub fn v6(head: &[u8; V6_HEAD]) -> Parsed {
    let next = head[20];
    let Some(least) = least(next) else {
        return match next {
            // Hop-by-hop, routing, fragment, authentication, ICMP, destination options, mobility, HIP, shim6.
            0 | 43 | 44 | 51 | ICMPV6 | 60 | 135 | 139 | 140 => Parsed::Closer,
            _ => Parsed::Other,
        };
    };
    let mut segment = v6_segment(head, next);
    segment.least += least;
    Parsed::Whole(segment)
}

/// What the IPv6 header says, and the ports if they follow it.
#[inline(always)]
fn v6_segment(head: &[u8; V6_HEAD], next: u8) -> Segment {
    let (hi, lo) = (u64_at::<38, _>(head), u64_at::<46, _>(head));
    let ports = u32_at::<54, _>(head);
    Segment {
        key: Key::v6(hi, lo, (ports >> 16) as u16, next),
        flow: Flow::V6(u64_at::<22, _>(head), u64_at::<30, _>(head), ports),
        transport: ETHERNET + IPV6,
        // A payload of more than 65 495 bytes cannot be told in an IPv4 length; saturated, it fits no MTU.
        len: u16::from_be(u16_at::<18, _>(head)).saturating_add(IPV6 as u16),
        class: (u16::from_be(u16_at::<14, _>(head)) >> 4) as u8,
        ttl: head[21],
        group: head[0] & GROUP != 0,
        least: IPV6 as u16,
    }
}

/// What a packet says of its flow.
#[inline(always)]
pub fn stage(packet: &impl Packet, segment: &Segment) -> Stage {
    const FLAGS: usize = 13;
    const FIN_SYN_RST_ACK: u8 = 0x17;
    const SYN: u8 = 0x02;

    if segment.transport == 0 {
        return Stage::Follows;
    }
    if segment.key.proto() == UDP {
        return Stage::Datagram;
    }
    // The places that most packets have are told apart when this is compiled.
    const V4: usize = ETHERNET + IPV4;
    const V6: usize = ETHERNET + IPV6;
    let flags = match segment.transport {
        V4 => packet
            .head::<{ V4 + FLAGS + 1 }>()
            .map(|head| head[V4 + FLAGS]),
        V6 => packet
            .head::<{ V6 + FLAGS + 1 }>()
            .map(|head| head[V6 + FLAGS]),
        at => packet.at::<{ FLAGS + 1 }>(at).map(|header| header[FLAGS]),
    };
    match flags {
        Some(flags) if flags & FIN_SYN_RST_ACK == SYN => Stage::Opens,
        _ => Stage::Follows,
    }
}

/// The shortest header of a protocol that services may have.
#[inline(always)]
pub(crate) const fn least(proto: u8) -> Option<u16> {
    match proto {
        TCP => Some(TCP_HEADER),
        UDP => Some(UDP_HEADER),
        _ => None,
    }
}
