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
    /// A fragment, an ICMP message, extension headers; or it went to a group of stations, or says lengths that cannot be:
    /// [`look`](crate::look) tells.
    Closer,
    /// A whole TCP segment or UDP datagram, as long as it says, to one station.
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
    /// What it says of its flow.
    pub stage: Stage,
}

/// What a packet says of its flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Stage {
    /// It belongs to something that began before: any segment but a SYN, an ICMP error.
    Follows = 0,
    /// It opens a connection: a SYN.
    Opens = 1,
    /// A datagram: nobody knows.
    Datagram = 2,
}

impl Stage {
    /// Whether it is [`Self::Opens`].
    #[inline(always)]
    #[must_use]
    pub const fn opens(self) -> bool {
        self as u32 & 1 != 0
    }

    /// What a TCP segment with these flags says.
    #[inline(always)]
    #[must_use]
    pub const fn of_flags(flags: u8) -> Self {
        const FIN_SYN_RST_ACK: u8 = 0x17;
        const SYN: u8 = 0x02;
        if flags & FIN_SYN_RST_ACK == SYN {
            Self::Opens
        } else {
            Self::Follows
        }
    }
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

/// Where in a TCP header its flags are (RFC 9293, section 3.1).
pub(crate) const FLAGS: usize = 13;

const V4_TCP: usize = ETHERNET + IPV4 + TCP_HEADER as usize;
const V4_UDP: usize = ETHERNET + IPV4 + UDP_HEADER as usize;
const V6_TCP: usize = ETHERNET + IPV6 + TCP_HEADER as usize;
const V6_UDP: usize = ETHERNET + IPV6 + UDP_HEADER as usize;

/// Reads a frame of IPv4 without options. One length check for each protocol covers all that is read.
#[inline(always)]
#[must_use]
pub fn v4(packet: &impl Packet) -> Parsed {
    let Some(head) = packet.head::<V4_HEAD>() else {
        return Parsed::Other;
    };
    match head[23] {
        TCP => match packet.head::<V4_TCP>() {
            Some(head) => {
                let stage = Stage::of_flags(head[ETHERNET + IPV4 + FLAGS]);
                v4_segment(packet, head, TCP, stage)
            }
            None => Parsed::Closer,
        },
        UDP => match packet.head::<V4_UDP>() {
            Some(head) => v4_segment(packet, head, UDP, Stage::Datagram),
            None => Parsed::Closer,
        },
        ICMP => Parsed::Closer,
        _ => Parsed::Other,
    }
}

/// What the IPv4 header and the ports say; `N` bytes are the shortest frame of its kind.
#[inline(always)]
fn v4_segment<const N: usize>(
    packet: &impl Packet,
    head: &[u8; N],
    proto: u8,
    stage: Stage,
) -> Parsed {
    const FRAGMENT: u16 = u16::from_ne_bytes([0x3f, 0xff]); // more fragments, or an offset

    let len = u16::from_be(u16_at::<16, _>(head));
    if u16_at::<20, _>(head) & FRAGMENT != 0 || !is_plain(packet, head, len) {
        return Parsed::Closer;
    }
    let ports = u32_at::<34, _>(head);
    Parsed::Whole(Segment {
        key: Key::v4(u32_at::<30, _>(head), (ports >> 16) as u16, proto),
        flow: Flow::V4(u32_at::<26, _>(head), ports),
        transport: ETHERNET + IPV4,
        len,
        class: head[15],
        ttl: head[22],
        stage,
    })
}

/// Reads a frame of IPv6.
#[inline(always)]
#[must_use]
pub fn v6(packet: &impl Packet) -> Parsed {
    let Some(head) = packet.head::<V6_HEAD>() else {
        return Parsed::Other;
    };
    match head[20] {
        TCP => match packet.head::<V6_TCP>() {
            Some(head) => {
                let stage = Stage::of_flags(head[ETHERNET + IPV6 + FLAGS]);
                v6_segment(packet, head, TCP, stage)
            }
            None => Parsed::Closer,
        },
        UDP => match packet.head::<V6_UDP>() {
            Some(head) => v6_segment(packet, head, UDP, Stage::Datagram),
            None => Parsed::Closer,
        },
        // Hop-by-hop, routing, fragment, authentication, ICMP, destination options, mobility, HIP, shim6.
        0 | 43 | 44 | 51 | ICMPV6 | 60 | 135 | 139 | 140 => Parsed::Closer,
        _ => Parsed::Other,
    }
}

/// What the IPv6 header and the ports say; `N` bytes are the shortest frame of its kind.
#[inline(always)]
fn v6_segment<const N: usize>(
    packet: &impl Packet,
    head: &[u8; N],
    next: u8,
    stage: Stage,
) -> Parsed {
    // A payload of more than 65 495 bytes cannot be told in an IPv4 length; saturated, it fits no MTU.
    let len = u16::from_be(u16_at::<18, _>(head)).saturating_add(IPV6 as u16);
    if !is_plain(packet, head, len) {
        return Parsed::Closer;
    }
    let (hi, lo) = (u64_at::<38, _>(head), u64_at::<46, _>(head));
    let ports = u32_at::<54, _>(head);
    Parsed::Whole(Segment {
        key: Key::v6(hi, lo, (ports >> 16) as u16, next),
        flow: Flow::V6(u64_at::<22, _>(head), u64_at::<30, _>(head), ports),
        transport: ETHERNET + IPV6,
        len,
        class: (u16::from_be(u16_at::<14, _>(head)) >> 4) as u8,
        ttl: head[21],
        stage,
    })
}

/// Whether the frame went to one station, and holds a packet of `len` bytes, which suffice for its headers. Of a frame in
/// several buffers the kernel is asked for its length.
#[inline(always)]
fn is_plain<const N: usize>(packet: &impl Packet, head: &[u8; N], len: u16) -> bool {
    let end = len as usize + ETHERNET;
    head[0] & GROUP == 0 && end >= N && (packet.has(end) || packet.holds(end as u32))
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
