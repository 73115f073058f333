//! Services: what a packet's destination is looked up by, and what is done with it.

use crate::{flow::mix, limits::CELLS, pod::Word64};

/// IP protocol number of TCP.
pub const TCP: u8 = 6;
/// IP protocol number of UDP.
pub const UDP: u8 = 17;

/// A destination as the service table compares it: two address words and a tag, all as the packet's bytes load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// First half of an IPv6 address; 0 for IPv4.
    pub hi: u64,
    /// Second half of an IPv6 address; the address of IPv4.
    pub lo: u64,
    /// Port as loaded (network order), protocol in bits 16-23, family (4 or 6) in bits 24-31. Never 0.
    pub tag: u32,
}

impl Key {
    /// The key of an IPv4 destination; both numbers as a little-endian load finds them in the packet.
    #[inline(always)]
    #[must_use]
    pub const fn v4(address: u32, port: u16, proto: u8) -> Self {
        Self {
            hi: 0,
            lo: address as u64,
            tag: tag(4, port, proto),
        }
    }

    /// The key of an IPv6 destination; the numbers as a little-endian load finds them in the packet.
    #[inline(always)]
    #[must_use]
    pub const fn v6(hi: u64, lo: u64, port: u16, proto: u8) -> Self {
        Self {
            hi,
            lo,
            tag: tag(6, port, proto),
        }
    }

    /// The key under which an address as such stands ([`Action::Fragments`]): the same address, no port, no protocol.
    #[inline(always)]
    #[must_use]
    pub const fn address(self) -> Self {
        Self {
            tag: self.tag & 0xff00_0000,
            ..self
        }
    }

    /// The two cells where a service of this key may stand. They may be equal.
    #[inline(always)]
    #[must_use]
    pub const fn cells(self) -> [usize; 2] {
        // Two multiplications: after one, the cells of sequential addresses crowd. That of `hi` is of 0 for IPv4.
        let hi = self.hi.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let hash =
            mix(self.lo ^ ((self.tag as u64) << 32) ^ hi).wrapping_mul(0xa076_1d64_78bd_642f);
        [
            (hash >> 51) as usize & (CELLS - 1),
            (hash >> 32) as usize & (CELLS - 1),
        ]
    }
}

const fn tag(family: u8, port: u16, proto: u8) -> u32 {
    port as u32 | (proto as u32) << 16 | (family as u32) << 24
}

/// What is done with a packet to a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Action {
    /// Deliver to a local listener: the packet passes and sk_lookup picks the socket.
    Steer = 1,
    /// Pick a backend and send the packet on.
    Forward = 2,
    /// Not a service but an address whose services all are [`Forward`](Self::Forward): its fragments, which mostly
    /// bear no ports, are recognised by it.
    Fragments = 3,
}

impl Action {
    /// The action with this number, if there is one.
    #[must_use]
    pub const fn from_number(number: u32) -> Option<Self> {
        match number {
            1 => Some(Self::Steer),
            2 => Some(Self::Forward),
            3 => Some(Self::Fragments),
            _ => None,
        }
    }
}

/// Where a service's slots stand in the pool: written as one word, so that a new table appears at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Region {
    /// First slot.
    pub base: u32,
    /// Number of slots (the Maglev prime). 0: the service has no backend.
    pub len: u32,
}

impl Region {
    /// As the word of a [`Cell`].
    #[must_use]
    pub const fn pack(self) -> u64 {
        self.base as u64 | (self.len as u64) << 32
    }

    /// From the word of a [`Cell`].
    #[inline(always)]
    #[must_use]
    pub const fn unpack(word: u64) -> Self {
        Self {
            base: word as u32,
            len: (word >> 32) as u32,
        }
    }
}

/// One cell of the service table.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct Cell {
    /// [`Key::hi`].
    pub hi: Word64,
    /// [`Key::lo`].
    pub lo: Word64,
    /// [`Key::tag`] in the low half, [`Action`] in the high one. 0: the cell is free. Written last, cleared first.
    pub tag: Word64,
    /// Seed of the flow hash.
    pub seed: Word64,
    /// [`Region`] of a forwarded service.
    pub region: Word64,
    /// Of a steered service: the entry that counts it (low half) and the listener's number (high half).
    pub steer: Word64,
    /// Always 0; room for flags.
    pub reserved: [Word64; 2],
}

const _: () = assert!(size_of::<Cell>() == 64);

impl Cell {
    /// A free cell.
    #[cfg(not(target_arch = "bpf"))]
    #[must_use]
    pub const fn zero() -> Self {
        Self {
            hi: Word64::zero(),
            lo: Word64::zero(),
            tag: Word64::zero(),
            seed: Word64::zero(),
            region: Word64::zero(),
            steer: Word64::zero(),
            reserved: [const { Word64::zero() }; 2],
        }
    }

    /// What stands here for `key`, if the cell is its.
    #[inline(always)]
    #[must_use]
    pub fn action_of(&self, key: Key) -> Option<u32> {
        let tag = self.tag.load();
        (tag as u32 == key.tag && self.lo.load() == key.lo && self.hi.load() == key.hi)
            .then_some((tag >> 32) as u32)
    }
}
