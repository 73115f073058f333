//! Backends: where a packet goes and the outer header that it gets, ready to be stored as words.
//!
//! The header begins with the Ethernet header, so the words are those of the new frame from its first byte on:
//!
//! ```text
//!   bytes 0-5 destination MAC · 6-11 source MAC · 12-13 EtherType
//!   IPv4  14 45 · 15 TOS · 16 length · 18 id · 20 DF · 22 TTL · 23 protocol · 24 checksum · 26 source · 30 destination
//!         34 in the entry alone: which of bytes 28 and 29 vary
//!   IPv6  14 6x · 15 xL · 16 LL · 18 payload length · 20 next header · 21 hop limit · 22 source · 38 destination
//! ```

use crate::{checksum, pod::Word64};

/// Bytes of an Ethernet header without tags.
pub const ETHERNET: usize = 14;
/// Bytes of an IPv4 header without options.
pub const IPV4: usize = 20;
/// Bytes of an IPv6 header.
pub const IPV6: usize = 40;

/// Bytes of a UDP and a GUE header without options.
pub const GUE: usize = 12;
/// The port that IANA assigned to GUE.
pub const GUE_PORT: u16 = 6080;

/// Where outer IPv4 headers come from: a prefix, whose bits behind its length tell flows apart (for RSS at the backend).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceV4 {
    /// The first address.
    pub address: [u8; 4],
    /// Its length, 16 to 32: with 32 all flows come from one address.
    pub bits: u8,
}

impl SourceV4 {
    /// The bits of the last two octets that vary, as they load.
    const fn varying(self) -> u16 {
        let fixed = self.bits.saturating_sub(16) as u32;
        match u16::MAX.checked_shr(fixed) {
            Some(bits) => bits.to_be(),
            None => 0,
        }
    }
}

/// TTL of outer headers.
const TTL: u8 = 64;

/// Where outer IPv4 headers come from unless others are named. katran uses the same, so a backend's packet filter needs to
/// know but one.
pub const SOURCE_V4: SourceV4 = SourceV4 {
    address: [172, 16, 0, 0],
    bits: 16,
};
/// The same of IPv6, the first 96 bits: the discard-only network 100::/64 (RFC 6666). The last 32 tell flows apart.
pub const SOURCE_V6: [u8; 12] = [0x01, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

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

/// Which life of a backend number it is: odd while the number is in use, raised when it is given and when it is taken
/// back. So what was noted of one backend is never taken for another one, or for a dead one.
pub type Life = u16;

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
    /// IPv4, UDP and GUE headers are put before it (draft-ietf-intarea-gue-09).
    Gue4 = 4,
    /// IPv6, UDP and GUE headers are put before it.
    Gue6 = 5,
    /// Addresses and ports are translated, by TC.
    Nat = 6,
}

impl Kind {
    /// The kind with this number, if there is one.
    #[inline(always)]
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::L2,
            2 => Self::Ipip4,
            3 => Self::Ipip6,
            4 => Self::Gue4,
            5 => Self::Gue6,
            6 => Self::Nat,
            _ => return None,
        })
    }

    /// Bytes that are put before the packet, the Ethernet header not counted.
    #[inline(always)]
    #[must_use]
    pub const fn room(self) -> u8 {
        (match self {
            Self::L2 | Self::Nat => 0,
            Self::Ipip4 => IPV4,
            Self::Ipip6 => IPV6,
            Self::Gue4 => IPV4 + GUE,
            Self::Gue6 => IPV6 + GUE,
        }) as u8
    }
}

/// The way out: one word, written last when an entry is filled and cleared first when it changes. What it says is taken
/// out of it where it is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Out(u64);

impl Out {
    const MTU: u32 = 32;
    const KIND: u32 = 48;
    const VLAN: u32 = 56;

    /// A packet is changed by `kind` and leaves by the interface with this index, where IP packets of up to `mtu` bytes
    /// fit, the outer header included, with the [tags](crate::tables::Tables::vlans) of this number; 0: none.
    #[must_use]
    pub const fn new(ifindex: u32, mtu: u16, kind: Kind, vlan: u8) -> Self {
        Self(
            ifindex as u64
                | (mtu as u64) << Self::MTU
                | (kind as u64) << Self::KIND
                | (vlan as u64) << Self::VLAN,
        )
    }

    /// As the word of a [`Backend`].
    #[must_use]
    pub const fn pack(self) -> u64 {
        self.0
    }

    /// From the word of a [`Backend`].
    #[inline(always)]
    #[must_use]
    pub const fn unpack(word: u64) -> Self {
        Self(word)
    }

    /// Index of the interface that the packet leaves by.
    #[inline(always)]
    #[must_use]
    pub const fn ifindex(self) -> u32 {
        self.0 as u32
    }

    /// Largest IP packet that fits there, the outer header included.
    #[inline(always)]
    #[must_use]
    pub const fn mtu(self) -> u16 {
        (self.0 >> Self::MTU) as u16
    }

    /// How the packet is changed; `None` while the next hop is not known.
    #[inline(always)]
    #[must_use]
    pub const fn kind(self) -> Option<Kind> {
        Kind::from_number((self.0 >> Self::KIND) as u8)
    }

    /// Number of the [tags](crate::tables::Tables::vlans) that the frame leaves with; 0: none.
    #[inline(always)]
    #[must_use]
    pub const fn vlan(self) -> u8 {
        (self.0 >> Self::VLAN) as u8
    }
}

/// An outer header as words. What depends on the packet is 0 in it: lengths, traffic class, flow label, the varying
/// bits of the source. An IPv4 checksum field holds the sum over all the rest, folded, not complemented; the word that its
/// last two bytes are in says behind them which bits of the source vary. The last two bytes of all, which no header reaches,
/// are the port of GUE as it loads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header(pub [u64; 7]);

impl Header {
    /// New MAC addresses only.
    #[must_use]
    pub fn l2(destination: [u8; 6], source: [u8; 6]) -> Self {
        Self::of(destination, source, [0; 2], &[])
    }

    /// The MAC addresses, and what packets are translated to: `to` and `port`; their sources too, if `from` says a network and
    /// how many of the last bits of its addresses vary, at most 16. Addresses are in two words as they load, of IPv4 in the
    /// second.
    #[must_use]
    pub fn nat(
        destination: [u8; 6],
        source: [u8; 6],
        to: [u64; 2],
        port: u16,
        from: Option<([u64; 2], u8)>,
    ) -> Self {
        let mut header = Self::l2(destination, source);
        header.0[1] |= (port.to_be() as u64) << Target::PORT;
        (header.0[2], header.0[3]) = (to[0], to[1]);
        if let Some((network, bits)) = from {
            header.0[1] |= (bits as u64 | Target::SOURCES) << Target::BITS;
            (header.0[4], header.0[5]) = (network[0], network[1]);
        }
        header
    }

    /// IPv4 around `inner` (IP protocol number of what is inside: 4 or 41, 17 for GUE).
    #[must_use]
    pub fn ipip4(
        destination: [u8; 6],
        source: [u8; 6],
        from: SourceV4,
        to: [u8; 4],
        inner: u8,
    ) -> Self {
        const DONT_FRAGMENT: u8 = 0x40;
        let mut ip = [0; IPV4];
        (ip[0], ip[6], ip[8], ip[9]) = (0x45, DONT_FRAGMENT, TTL, inner);
        ip[12..16].copy_from_slice(&from.address);
        ip[16..20].copy_from_slice(&to);
        let sum = checksum::fold(checksum::sum(&ip));
        ip[10..12].copy_from_slice(&sum.to_ne_bytes());
        let mut header = Self::of(destination, source, [0x08, 0x00], &ip);
        header.0[4] |= u64::from(from.varying()) << Self::VARYING;
        header
    }

    /// IPv6 around `inner`, from an address of these 96 bits (IP protocol number of what is inside: 4 or 41, 17 for GUE).
    #[must_use]
    pub fn ipip6(
        destination: [u8; 6],
        source: [u8; 6],
        from: [u8; 12],
        to: [u8; 16],
        inner: u8,
    ) -> Self {
        let mut ip = [0; IPV6];
        (ip[0], ip[6], ip[7]) = (0x60, inner, TTL);
        ip[8..20].copy_from_slice(&from);
        ip[24..40].copy_from_slice(&to);
        Self::of(destination, source, [0x86, 0xdd], &ip)
    }

    /// An IPv4 or IPv6 header, made for [`UDP`](crate::service::UDP) inside, that a UDP and a GUE header follow, to this port.
    #[must_use]
    pub const fn gue(mut self, port: u16) -> Self {
        self.0[6] |= (port.to_be() as u64) << Self::PORT;
        self
    }

    /// Bit of an IPv4 header's word 4 from which on it says which bits of the source vary.
    pub const VARYING: u32 = 16;

    /// Bit of the port in the last word.
    pub const PORT: u32 = 48;

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

/// What the entry of a backend says that packets are translated to, as [`Header::nat`] has written it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// The backend's address in two words, as they load; of IPv4 in the second.
    pub address: [u64; 2],
    /// Its port, as it loads.
    pub port: u16,
    /// Whether sources are translated too.
    pub has_sources: bool,
    /// How many of the last bits of [`Self::network`] vary.
    pub bits: u8,
    /// The network that sources are of.
    pub network: [u64; 2],
}

impl Target {
    /// Bit of the port in word 1.
    const PORT: u32 = 32;
    /// Bit of the rest of word 1.
    const BITS: u32 = 48;
    /// In the rest: sources are translated.
    const SOURCES: u64 = 0x80;

    /// Reads it.
    #[inline(always)]
    #[must_use]
    pub fn of(backend: &Backend) -> Self {
        let word = |index: usize| backend.header[index].load();
        let first = word(1);
        let rest = first >> Self::BITS;
        Self {
            address: [word(2), word(3)],
            port: (first >> Self::PORT) as u16,
            has_sources: rest & Self::SOURCES != 0,
            bits: (rest & 0x1f) as u8,
            network: [word(4), word(5)],
        }
    }
}
