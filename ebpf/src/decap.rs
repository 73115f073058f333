//! A backend host's half of a tunnel: whether a packet is taken out of its outer header, and what becomes of it.
//!
//! Only this decides; the hooks take the header off, each by its own helpers. What is read on the way stands in the
//! packet's first [`HEADERS`] bytes.

use tollgate_common::{
    backend::{ETHERNET, GUE, IPV4, IPV6},
    checksum,
    decap::{Address, Outcome},
    service::UDP,
};

use crate::{
    packet::{sum_from, u16_at, u32_at},
    parse::GROUP,
};

/// As many bytes from the frame's first one on are read at most.
pub const HEADERS: usize = ETHERNET + IPV6 + GUE + IPV6;

/// Bytes of a UDP header.
const UDP_HEADER: usize = 8;
/// IPv4 inside (RFC 2003).
const IPIP: u8 = 4;
/// IPv6 inside (RFC 2473, RFC 4213).
const IPV6_INSIDE: u8 = 41;

/// The bits of explicit congestion notification (RFC 3168, section 5).
pub mod ecn {
    /// Not for transports that take part.
    pub const NOT_ECT: u8 = 0;
    /// The second of the two words for those that do.
    pub const ECT_1: u8 = 1;
    /// The first one.
    pub const ECT_0: u8 = 2;
    /// Congestion was met.
    pub const CE: u8 = 3;
    /// All bits of it.
    pub const MASK: u8 = 3;
}

/// The bytes of one frame, read.
pub trait Frame {
    /// `N` bytes from `at` on, which is at most [`FAR`](crate::packet::FAR).
    fn at<const N: usize>(&self, at: usize) -> Option<&[u8; N]>;

    /// Whether the frame is at least `len` bytes long, all its buffers counted.
    fn holds(&self, len: u32) -> bool;

    /// Whether it is several packets that the kernel has merged (GRO).
    fn is_merged(&self) -> bool;
}

/// What is taken.
pub trait Rules {
    /// The destination port of GUE, as it loads.
    fn gue_port(&self) -> u16;

    /// Whether tunnels to this address are taken: it is this host's.
    fn is_own(&self, address: &Address) -> bool;

    /// Whether tunnels from this address are taken.
    fn is_source(&self, address: &Address) -> bool;

    /// Whether packets to this address are taken out of their tunnel.
    fn is_vip(&self, address: &Address) -> bool;
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// As what it is counted.
    pub outcome: Outcome,
    /// Bytes behind the Ethernet header that are taken off; 0 unless it is decapsulated.
    pub take: u8,
    /// The bits of [`ecn`] that the packet inside goes on with.
    pub ecn: u8,
    /// Whether it came with other ones.
    pub marks: bool,
}

impl Decision {
    const fn only(outcome: Outcome) -> Self {
        Self {
            outcome,
            take: 0,
            ecn: 0,
            marks: false,
        }
    }
}

/// Decides about a frame.
#[inline(always)]
pub fn decide(frame: &impl Frame, rules: &impl Rules) -> Decision {
    let Some(head) = frame.at::<{ ETHERNET + IPV4 }>(0) else {
        return Decision::only(Outcome::NotOurs);
    };
    // Anything else is told apart by this one look.
    let Some(outer) = Outer::of(head) else {
        return Decision::only(Outcome::NotOurs);
    };
    let mut at = ETHERNET + if outer.is_v6 { IPV6 } else { IPV4 };
    let mut inside = outer.next;
    let is_gue = outer.next == UDP;
    if is_gue {
        let Some(header) = frame.at::<{ UDP_HEADER + 4 }>(at) else {
            return Decision::only(Outcome::NotOurs);
        };
        let gue = Gue::of(header, rules.gue_port());
        if gue.inside == 0 {
            return Decision::only(Outcome::NotOurs);
        }
        (inside, at) = (gue.inside, at + usize::from(gue.len));
    }
    let (source, to) = if outer.is_v6 {
        let Some(head) = frame.at::<{ ETHERNET + IPV6 }>(0) else {
            return Decision::only(Outcome::NotOurs);
        };
        (v6_at::<22, _>(head), v6_at::<38, _>(head))
    } else {
        let [source, to] = [u32_at::<26, _>(head), u32_at::<30, _>(head)];
        (Address::v4(source), Address::v4(to))
    };
    // A host that forwards sees the tunnels to backends behind it as well.
    if !rules.is_own(&to) {
        return Decision::only(Outcome::OtherHost);
    }
    if !rules.is_source(&source) {
        return Decision::only(Outcome::RefusedSource);
    }
    let headers = (at - ETHERNET) as u32;
    let is_whole = outer.len >= headers && frame.holds(ETHERNET as u32 + outer.len);
    // The stack would look, but never sees this header.
    let is_sound = outer.is_v6 || checksum::fold(sum_from::<ETHERNET, _>(head)) == 0xffff;
    if !is_whole || !is_sound || is_gue && !is_datagram(frame, &outer) {
        return Decision::only(Outcome::Malformed);
    }

    let inner = Inner::of(frame, at, inside);
    let room = outer.len - headers;
    if inner.len == 0 || inner.len > room {
        return Decision::only(Outcome::Malformed);
    }
    if !rules.is_vip(&inner.to) {
        return Decision::only(Outcome::RefusedDestination);
    }
    if frame.is_merged() && inner.len != room {
        // Datagrams of one port were merged into one: all but the first would be lost.
        return Decision::only(Outcome::NotRemoved);
    }
    let Some(marked) = combined(outer.ecn, inner.ecn) else {
        return Decision::only(Outcome::Congested);
    };
    Decision {
        outcome: kind(outer.is_v6, inside == IPV6_INSIDE, is_gue),
        take: headers as u8,
        ecn: marked,
        marks: marked != inner.ecn,
    }
}

/// The outer IP header.
struct Outer {
    is_v6: bool,
    next: u8,
    /// Of the whole packet, as the header says.
    len: u32,
    ecn: u8,
}

impl Outer {
    /// `None`: it carries none of what is taken, or options, or is a fragment, or went to a group of stations.
    #[inline(always)]
    fn of(head: &[u8; ETHERNET + IPV4]) -> Option<Self> {
        const V4: u16 = 0x0800_u16.to_be();
        const V6: u16 = 0x86dd_u16.to_be();
        /// More fragments, and where this one belongs.
        const FRAGMENT: u16 = 0x3fff_u16.to_be();

        let ethertype = u16_at::<12, _>(head);
        let outer = if ethertype == V4 && head[14] == 0x45 {
            if u16_at::<20, _>(head) & FRAGMENT != 0 {
                return None;
            }
            Self {
                is_v6: false,
                next: head[23],
                len: u32::from(u16::from_be(u16_at::<16, _>(head))),
                ecn: head[15] & ecn::MASK,
            }
        } else if ethertype == V6 && head[14] >> 4 == 6 {
            Self {
                is_v6: true,
                next: head[20],
                len: u32::from(u16::from_be(u16_at::<18, _>(head))) + IPV6 as u32,
                ecn: head[15] >> 4 & ecn::MASK,
            }
        } else {
            return None;
        };
        let is_tunnel = matches!(outer.next, IPIP | IPV6_INSIDE | UDP);
        (is_tunnel && head[0] & GROUP == 0).then_some(outer)
    }
}

/// A UDP header and what follows it.
struct Gue {
    /// The protocol inside; 0: no GUE of a kind that is taken.
    inside: u8,
    /// Bytes of the UDP header and, if there is one, GUE's.
    len: u8,
}

impl Gue {
    /// Version 0 without options, or version 1, which is no header but the packet itself (draft-ietf-intarea-gue-09,
    /// sections 3.1 and 4).
    #[inline(always)]
    fn of(header: &[u8; UDP_HEADER + 4], port: u16) -> Self {
        const VERSION_0_V4: u32 = u32::from_ne_bytes([0, IPIP, 0, 0]);
        const VERSION_0_V6: u32 = u32::from_ne_bytes([0, IPV6_INSIDE, 0, 0]);

        let (inside, len) = if u16_at::<2, _>(header) != port {
            (0, 0)
        } else {
            // Header length, flags and the control bit: all 0, so one comparison tells.
            match u32_at::<8, _>(header) {
                VERSION_0_V4 => (IPIP, GUE),
                VERSION_0_V6 => (IPV6_INSIDE, GUE),
                _ => match header[8] >> 4 {
                    4 => (IPIP, UDP_HEADER),
                    6 => (IPV6_INSIDE, UDP_HEADER),
                    _ => (0, 0),
                },
            }
        };
        Self {
            inside,
            len: len as u8,
        }
    }
}

/// Whether the UDP length is what the outer header says. The checksum is not looked at: the packet inside has its own.
#[inline(always)]
fn is_datagram(frame: &impl Frame, outer: &Outer) -> bool {
    let ip = if outer.is_v6 { IPV6 } else { IPV4 };
    frame.at::<UDP_HEADER>(ETHERNET + ip).is_some_and(|header| {
        u32::from(u16::from_be(u16_at::<4, _>(header))) + ip as u32 == outer.len
    })
}

/// The packet inside.
struct Inner {
    /// Its length as its header says; 0: it is no packet of the protocol that was named.
    len: u32,
    ecn: u8,
    to: Address,
}

impl Inner {
    const NONE: Self = Self {
        len: 0,
        ecn: 0,
        to: Address::v4(0),
    };

    #[inline(always)]
    fn of(frame: &impl Frame, at: usize, inside: u8) -> Self {
        if inside == IPV6_INSIDE {
            let Some(head) = frame.at::<IPV6>(at) else {
                return Self::NONE;
            };
            if head[0] >> 4 != 6 {
                return Self::NONE;
            }
            return Self {
                len: u32::from(u16::from_be(u16_at::<4, _>(head))) + IPV6 as u32,
                ecn: head[1] >> 4 & ecn::MASK,
                to: v6_at::<24, _>(head),
            };
        }
        let Some(head) = frame.at::<IPV4>(at) else {
            return Self::NONE;
        };
        let header = u32::from(head[0] & 0xf) * 4;
        let len = u32::from(u16::from_be(u16_at::<2, _>(head)));
        if head[0] >> 4 != 4 || header < IPV4 as u32 || len < header {
            return Self::NONE;
        }
        Self {
            len,
            ecn: head[1] & ecn::MASK,
            to: Address::v4(u32_at::<16, _>(head)),
        }
    }
}

/// What the packet inside goes on with (RFC 6040, section 4.2). `None`: it must be dropped.
#[inline(always)]
#[must_use]
pub const fn combined(outer: u8, inner: u8) -> Option<u8> {
    match (outer, inner) {
        (ecn::CE, ecn::NOT_ECT) => None,
        (ecn::CE, _) => Some(ecn::CE),
        (ecn::ECT_1, ecn::ECT_0) => Some(ecn::ECT_1),
        _ => Some(inner),
    }
}

#[inline(always)]
fn kind(outer_v6: bool, inner_v6: bool, is_gue: bool) -> Outcome {
    match (is_gue, outer_v6, inner_v6) {
        (false, false, false) => Outcome::Ipv4InIpv4,
        (false, false, true) => Outcome::Ipv6InIpv4,
        (false, true, false) => Outcome::Ipv4InIpv6,
        (false, true, true) => Outcome::Ipv6InIpv6,
        (true, false, false) => Outcome::GueIpv4InIpv4,
        (true, false, true) => Outcome::GueIpv6InIpv4,
        (true, true, false) => Outcome::GueIpv4InIpv6,
        (true, true, true) => Outcome::GueIpv6InIpv6,
    }
}

#[inline(always)]
fn v6_at<const AT: usize, const N: usize>(bytes: &[u8; N]) -> Address {
    const { assert!(AT + 16 <= N) };
    let mut words = [0; 4];
    let (whole, _) = bytes[AT..AT + 16].as_chunks::<4>();
    for (word, bytes) in words.iter_mut().zip(whole) {
        *word = u32::from_ne_bytes(*bytes);
    }
    Address::v6(words)
}

#[cfg(test)]
mod tests;
