//! From the first bytes of a frame to what decides: destination, flow, length.
//!
//! Every length check is one for everything up to the ports; what is shorter than that is nobody's service and passes.

use tollgate_common::{
    backend::{ETHERNET, IPV4, IPV6},
    flow::Flow,
    service::{Key, TCP, UDP},
};

use crate::packet::Packet;

const PORTS: usize = 4;
const TCP_HEADER: u16 = 20;
const UDP_HEADER: u16 = 8;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// Not IP, or not TCP or UDP, or too short for ports.
    Other,
    /// IPv4 with options, IPv6 with extension headers.
    Options,
    /// A fragment, to the address of this key.
    Fragment(Key),
    /// TCP or UDP, whole.
    Whole(Segment),
}

/// A whole TCP segment or UDP datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Its destination.
    pub key: Key,
    /// Its flow, as the hash takes it.
    pub flow: Flow,
    /// Length of the IP packet, as its header says.
    pub len: u16,
    /// TOS byte or traffic class.
    pub class: u8,
    /// Shortest IP packet that holds the headers it must have.
    pub least: u16,
}

/// Parses the frame.
#[inline(always)]
pub fn parse(packet: &impl Packet) -> Parsed {
    // EtherType, version and header length in one load and one comparison.
    const PLAIN_V4: u32 = u32::from_ne_bytes([0x08, 0x00, 0x45, 0]);
    const ANY_V4: u32 = u32::from_ne_bytes([0x08, 0x00, 0x40, 0]);
    const V6: u32 = u32::from_ne_bytes([0x86, 0xdd, 0x60, 0]);
    const ALL_OF_IT: u32 = u32::from_ne_bytes([0xff, 0xff, 0xff, 0]);
    const VERSION: u32 = u32::from_ne_bytes([0xff, 0xff, 0xf0, 0]);

    let Some(head) = packet.head::<{ ETHERNET + IPV4 + PORTS }>() else {
        return Parsed::Other;
    };
    let what = u32_at(head, 12);
    if what & ALL_OF_IT == PLAIN_V4 {
        v4(head)
    } else if what & VERSION == V6 {
        packet.head().map_or(Parsed::Other, v6)
    } else if what & VERSION == ANY_V4 {
        Parsed::Options
    } else {
        Parsed::Other
    }
}

#[inline(always)]
fn v4(head: &[u8; ETHERNET + IPV4 + PORTS]) -> Parsed {
    const FRAGMENT: u16 = u16::from_ne_bytes([0x3f, 0xff]); // more fragments, or an offset

    let proto = head[23];
    let Some(least) = least(proto) else {
        return Parsed::Other;
    };
    let destination = u32_at(head, 30);
    if u16_at(head, 20) & FRAGMENT != 0 {
        return Parsed::Fragment(Key::v4(destination, 0, 0));
    }
    let ports = u32_at(head, 34);
    Parsed::Whole(Segment {
        key: Key::v4(destination, (ports >> 16) as u16, proto),
        flow: Flow::V4(u32_at(head, 26), ports),
        len: u16::from_be(u16_at(head, 16)),
        class: head[15],
        least: IPV4 as u16 + least,
    })
}

#[inline(always)]
fn v6(head: &[u8; ETHERNET + IPV6 + PORTS]) -> Parsed {
    const FRAGMENT: u8 = 44;

    let (hi, lo) = (u64_at(head, 38), u64_at(head, 46));
    let next = head[20];
    let Some(least) = least(next) else {
        return match next {
            FRAGMENT => Parsed::Fragment(Key::v6(hi, lo, 0, 0)),
            // Hop-by-hop, routing, authentication, destination options, mobility, HIP, shim6.
            0 | 43 | 51 | 60 | 135 | 139 | 140 => Parsed::Options,
            _ => Parsed::Other,
        };
    };
    let ports = u32_at(head, 54);
    // A payload of more than 65 495 bytes cannot be told in an IPv4 length; saturated, it fits no MTU.
    let len = u16::from_be(u16_at(head, 18)).saturating_add(IPV6 as u16);
    Parsed::Whole(Segment {
        key: Key::v6(hi, lo, (ports >> 16) as u16, next),
        flow: Flow::V6(u64_at(head, 22), u64_at(head, 30), ports),
        len,
        class: (u16::from_be(u16_at(head, 14)) >> 4) as u8,
        least: IPV6 as u16 + least,
    })
}

/// The shortest header of a protocol that services may have.
#[inline(always)]
const fn least(proto: u8) -> Option<u16> {
    match proto {
        TCP => Some(TCP_HEADER),
        UDP => Some(UDP_HEADER),
        _ => None,
    }
}

#[inline(always)]
fn u16_at<const N: usize>(bytes: &[u8; N], at: usize) -> u16 {
    u16::from_ne_bytes([bytes[at], bytes[at + 1]])
}

#[inline(always)]
fn u32_at<const N: usize>(bytes: &[u8; N], at: usize) -> u32 {
    u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[inline(always)]
fn u64_at<const N: usize>(bytes: &[u8; N], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}
