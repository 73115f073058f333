//! Backends: where a packet goes and the outer header that it gets, ready to be stored as words.
//!
//! The header begins with the Ethernet header, so the words are those of the new frame from its first byte on:
//!
//! ```text
//!   bytes 0-5 destination MAC · 6-11 source MAC · 12-13 EtherType
//!   IPv4  14 45 · 15 TOS · 16 length · 18 id · 20 DF · 22 TTL · 23 protocol · 24 checksum · 26 source · 30 destination
//!   IPv6  14 6x · 15 xL · 16 LL · 18 payload length · 20 next header · 21 hop limit · 22 source · 38 destination
//! ```

use crate::{checksum, pod::Word64};

/// Bytes of an Ethernet header without tags.
pub const ETHERNET: usize = 14;
/// Bytes of an IPv4 header without options.
pub const IPV4: usize = 20;
/// Bytes of an IPv6 header.
pub const IPV6: usize = 40;

/// TTL of outer headers.
const TTL: u8 = 64;

/// Outer IPv4 sources are of this network, their last 16 bits tell flows apart (for RSS at the backend). katran uses
/// the same, so a backend's packet filter needs to know but one.
pub const SOURCE_V4: [u8; 2] = [172, 16];
/// Outer IPv6 sources are of the discard-only network 100::/64 (RFC 6666), their last 32 bits tell flows apart.
pub const SOURCE_V6: [u8; 8] = [0x01, 0, 0, 0, 0, 0, 0, 0];

/// One backend of one service, 64 bytes. Not atomic as a whole: an entry is filled before a slot names it.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct Backend {
    /// The outer header, [`Header`].
    pub header: [Word64; 7],
    /// [`Out`]. 0: the next hop is not known.
    pub out: Word64,
}

const _: () = assert!(size_of::<Backend>() == 64);

impl Backend {
    /// A free entry.
    #[cfg(not(target_arch = "bpf"))]
    #[must_use]
    pub const fn zero() -> Self {
        Self {
            header: [const { Word64::zero() }; 7],
            out: Word64::zero(),
        }
    }
}

/// How a packet is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// New MAC addresses.
    L2 = 1,
    /// An IPv4 header is put before it (RFC 2003, RFC 4213).
    Ipip4 = 2,
    /// An IPv6 header is put before it (RFC 2473).
    Ipip6 = 3,
}

/// The way out: one word, written last when an entry is filled and cleared first when it changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Out {
    /// Index of the interface that the packet leaves by.
    pub ifindex: u32,
    /// Largest IP packet that fits there, the outer header included.
    pub mtu: u16,
    /// How the packet is changed.
    pub kind: Kind,
}

impl Out {
    /// As the word of a [`Backend`].
    #[must_use]
    pub const fn pack(self) -> u64 {
        self.ifindex as u64 | (self.mtu as u64) << 32 | (self.kind as u64) << 48
    }

    /// From the word of a [`Backend`]; `None` while the next hop is not known.
    #[inline(always)]
    #[must_use]
    pub const fn unpack(word: u64) -> Option<Self> {
        let kind = match (word >> 48) as u8 {
            1 => Kind::L2,
            2 => Kind::Ipip4,
            3 => Kind::Ipip6,
            _ => return None,
        };
        Some(Self {
            ifindex: word as u32,
            mtu: (word >> 32) as u16,
            kind,
        })
    }
}

/// An outer header as words. What depends on the packet is 0 in it: lengths, traffic class, flow label, the varying
/// bits of the source. An IPv4 checksum field holds the sum over all the rest, folded, not complemented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header(pub [u64; 7]);

impl Header {
    /// New MAC addresses only.
    #[must_use]
    pub fn l2(destination: [u8; 6], source: [u8; 6]) -> Self {
        Self::of(destination, source, [0; 2], &[])
    }

    /// IPv4 around `inner` (IP protocol number of the packet inside: 4 or 41).
    #[must_use]
    pub fn ipip4(destination: [u8; 6], source: [u8; 6], to: [u8; 4], inner: u8) -> Self {
        const DONT_FRAGMENT: u8 = 0x40;
        let mut ip = [0; IPV4];
        (ip[0], ip[6], ip[8], ip[9]) = (0x45, DONT_FRAGMENT, TTL, inner);
        ip[12..14].copy_from_slice(&SOURCE_V4);
        ip[16..20].copy_from_slice(&to);
        let sum = checksum::fold(checksum::sum(&ip));
        ip[10..12].copy_from_slice(&sum.to_ne_bytes());
        Self::of(destination, source, [0x08, 0x00], &ip)
    }

    /// IPv6 around `inner` (IP protocol number of the packet inside: 4 or 41).
    #[must_use]
    pub fn ipip6(destination: [u8; 6], source: [u8; 6], to: [u8; 16], inner: u8) -> Self {
        let mut ip = [0; IPV6];
        (ip[0], ip[6], ip[7]) = (0x60, inner, TTL);
        ip[8..16].copy_from_slice(&SOURCE_V6);
        ip[24..40].copy_from_slice(&to);
        Self::of(destination, source, [0x86, 0xdd], &ip)
    }

    fn of(destination: [u8; 6], source: [u8; 6], ethertype: [u8; 2], ip: &[u8]) -> Self {
        let mut bytes = [0_u8; 56];
        bytes[..6].copy_from_slice(&destination);
        bytes[6..12].copy_from_slice(&source);
        bytes[12..14].copy_from_slice(&ethertype);
        bytes[14..14 + ip.len()].copy_from_slice(ip);
        let mut words = [0; 7];
        for (word, bytes) in words.iter_mut().zip(bytes.as_chunks::<8>().0) {
            *word = u64::from_le_bytes(*bytes);
        }
        Self(words)
    }
}
