//! Services: what a packet's destination is looked up by, and what is done with it.

use crate::{flow::K3, limits::CELLS, pod::Word64};

/// IP protocol number of TCP.
pub const TCP: u8 = 6;
/// IP protocol number of UDP.
pub const UDP: u8 = 17;
/// IP protocol number of ICMP.
pub const ICMP: u8 = 1;
/// IP protocol number of ICMP for IPv6.
pub const ICMPV6: u8 = 58;

/// A destination as the service table compares it: two address words and a tag, all as the packet's bytes load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// First half of an IPv6 address; 0 for IPv4.
    pub hi: u64,
    /// Second half of an IPv6 address; the address of IPv4.
    pub lo: u64,
    /// Port as loaded (network order; 0: any), protocol in bits 16-23, [`Scope`] in bits 24-31. Never 0.
    pub tag: u32,
}

/// How much of an address counts, and of which family it is: 1 to 33 for the IPv4 prefixes of 0 to 32 bits, 127 to 255 for
/// the IPv6 prefixes of 0 to 128.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Scope(pub u8);

impl Scope {
    /// One IPv4 address.
    pub const V4: Self = Self(33);
    /// One IPv6 address.
    pub const V6: Self = Self(255);
    const V6_ZERO: u8 = 127;

    /// The IPv4 addresses that share their first `bits` bits, at most 32.
    #[must_use]
    pub const fn v4(bits: u8) -> Self {
        Self(1 + if bits > 32 { 32 } else { bits })
    }

    /// The IPv6 addresses that share their first `bits` bits, at most 128.
    #[must_use]
    pub const fn v6(bits: u8) -> Self {
        Self(Self::V6_ZERO + if bits > 128 { 128 } else { bits })
    }

    /// Whether it is one of IPv4.
    #[inline(always)]
    #[must_use]
    pub const fn is_v4(self) -> bool {
        self.0 < Self::V6_ZERO
    }

    /// Bits of the prefix.
    #[inline(always)]
    #[must_use]
    pub const fn bits(self) -> u8 {
        if self.is_v4() {
            self.0.wrapping_sub(1)
        } else {
            self.0 - Self::V6_ZERO
        }
    }

    /// The part of an address, given as [`Key`] has it, that counts.
    #[inline(always)]
    #[must_use]
    pub const fn of(self, hi: u64, lo: u64) -> (u64, u64) {
        let bits = self.bits();
        if self.is_v4() {
            return (0, lo & (leading(bits + 32) as u32).to_be() as u64);
        }
        let (first, second) = if bits < 64 {
            (bits, 0)
        } else {
            (64, bits - 64)
        };
        (hi & leading(first).to_be(), lo & leading(second).to_be())
    }
}

/// A number whose first `bits` bits of 64 are set.
#[inline(always)]
const fn leading(bits: u8) -> u64 {
    match bits {
        0 => 0,
        bits => u64::MAX << ((64 - bits as u32) & 63),
    }
}

impl Key {
    /// The key of an IPv4 destination; both numbers as a little-endian load finds them in the packet.
    #[inline(always)]
    #[must_use]
    pub const fn v4(address: u32, port: u16, proto: u8) -> Self {
        Self {
            hi: 0,
            lo: address as u64,
            tag: tag(Scope::V4, port, proto),
        }
    }

    /// The key of an IPv6 destination; the numbers as a little-endian load finds them in the packet.
    #[inline(always)]
    #[must_use]
    pub const fn v6(hi: u64, lo: u64, port: u16, proto: u8) -> Self {
        Self {
            hi,
            lo,
            tag: tag(Scope::V6, port, proto),
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

    /// The key with another scope; the address is taken as it is.
    #[must_use]
    pub const fn within(self, scope: Scope) -> Self {
        Self {
            tag: self.tag & 0x00ff_ffff | (scope.0 as u32) << 24,
            ..self
        }
    }

    /// The protocol.
    #[inline(always)]
    #[must_use]
    pub const fn proto(self) -> u8 {
        (self.tag >> 16) as u8
    }

    /// How much of its address counts.
    #[inline(always)]
    #[must_use]
    pub const fn scope(self) -> Scope {
        Scope((self.tag >> 24) as u8)
    }

    /// The two cells where a service of this key may stand. They may be equal.
    #[inline(always)]
    #[must_use]
    pub const fn cells(self) -> [usize; 2] {
        // The first cell, which most keys get, is known after one multiplication (that of `hi` is of 0 for IPv4). With most
        // multipliers rows of addresses or ports crowd then; with this one, which was searched for, no row that
        // sidecar/datapath/src/tables/cuckoo.rs tries does. The second cell is mixed once more.
        let hi = self.hi.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let first = (self.lo ^ ((self.tag as u64) << 32) ^ hi).wrapping_mul(0x8a74_dc78_2c25_1713);
        let second = (first ^ (first >> 32)).wrapping_mul(K3);
        [
            (first >> 51) as usize & (CELLS - 1),
            (second >> 51) as usize & (CELLS - 1),
        ]
    }
}

const fn tag(scope: Scope, port: u16, proto: u8) -> u32 {
    port as u32 | (proto as u32) << 16 | (scope.0 as u32) << 24
}

/// What services have in common that are not one address with one port, as masks over a [`Key`]. Each shape in use costs a
/// packet that is no exact service's a look into the table.
#[repr(C)]
#[derive(Debug)]
pub struct Shape {
    /// The bits of [`Key::hi`] that count.
    pub hi: Word64,
    /// The bits of [`Key::lo`] that count.
    pub lo: Word64,
    /// The bits of [`Key::tag`] that count in the low half, the [`Scope`] in their place in the high one. 0: none.
    pub tag: Word64,
}

const _: () = assert!(size_of::<Shape>() == 24);

impl Shape {
    /// No shape.
    #[cfg(not(target_arch = "bpf"))]
    #[must_use]
    pub const fn zero() -> Self {
        Self {
            hi: Word64::zero(),
            lo: Word64::zero(),
            tag: Word64::zero(),
        }
    }

    /// Makes it the shape of services whose scope is this, and whose port may be any.
    pub fn set(&self, scope: Scope, any_port: bool) {
        const PORT: u64 = 0xffff;
        const PROTO: u64 = 0x00ff_0000;
        let (hi, lo) = scope.of(u64::MAX, u64::MAX);
        self.hi.store(hi);
        self.lo.store(lo);
        let counts = if any_port { PROTO } else { PROTO | PORT };
        self.tag.store(counts | (scope.0 as u64) << 56);
    }

    /// The key of a service of this shape that would take packets to `key`; `None`: no shape.
    #[inline(always)]
    #[must_use]
    pub fn of(&self, key: &Key) -> Option<Key> {
        let tag = self.tag.load();
        (tag != 0).then(|| Key {
            hi: key.hi & self.hi.load(),
            lo: key.lo & self.lo.load(),
            tag: key.tag & tag as u32 | (tag >> 32) as u32,
        })
    }
}

/// What is done with a packet to a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Action {
    /// Deliver to a local listener: the packet passes and sk_lookup picks the socket.
    Steer = 1,
    /// Pick a backend and send the packet on.
    Forward = 2,
    /// Not a service but an address none of whose services is [`Steer`](Self::Steer): its fragments, which mostly
    /// bear no ports, are recognised by it.
    Fragments = 3,
    /// Pick a backend and translate addresses and ports to it: the packet passes, and TC does the work.
    Translate = 4,
}

impl Action {
    /// Whether services of it have slots.
    #[must_use]
    pub const fn has_slots(self) -> bool {
        matches!(self, Self::Forward | Self::Translate)
    }

    /// The action with this number, if there is one.
    #[must_use]
    pub const fn from_number(number: u32) -> Option<Self> {
        match number {
            1 => Some(Self::Steer),
            2 => Some(Self::Forward),
            3 => Some(Self::Fragments),
            4 => Some(Self::Translate),
            _ => None,
        }
    }
}

/// Where a service's slots stand in the pool, and what names one of them: written as one word, so that a new table appears
/// at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Region {
    /// First slot.
    pub base: u32,
    /// Number of slots (the Maglev prime), below 2^31. 0: the service has no backend.
    pub len: u32,
    /// Whether a client's flows all go to one backend: the slot then follows from the address alone.
    pub by_client: bool,
}

impl Region {
    const BY_CLIENT: u64 = 1 << 63;

    /// As the word of a [`Cell`].
    #[must_use]
    pub const fn pack(self) -> u64 {
        let by_client = if self.by_client { Self::BY_CLIENT } else { 0 };
        self.base as u64 | (self.len as u64) << 32 | by_client
    }

    /// From the word of a [`Cell`].
    #[inline(always)]
    #[must_use]
    pub const fn unpack(word: u64) -> Self {
        Self {
            base: word as u32,
            len: ((word & !Self::BY_CLIENT) >> 32) as u32,
            by_client: word & Self::BY_CLIENT != 0,
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
    /// [`Region`] of the table before, which tells the flows from before where a slot says [`Slot::PREVIOUS`].
    ///
    /// [`Slot::PREVIOUS`]: crate::slot::Slot::PREVIOUS
    pub previous: Word64,
    /// [`About`].
    pub about: Word64,
}

/// What else is known of a service, as one word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// Its number, for what is counted by service: 1 to [`SERVICES`](crate::limits::SERVICES).
    pub number: u16,
    /// Second of the monotonic clock until which a datagram of an unknown flow goes where flows from before go.
    pub settled_udp: u32,
}

impl About {
    /// As the word of a [`Cell`].
    #[must_use]
    pub const fn pack(self) -> u64 {
        self.number as u64 | (self.settled_udp as u64) << 32
    }

    /// From the word of a [`Cell`].
    #[inline(always)]
    #[must_use]
    pub const fn unpack(word: u64) -> Self {
        Self {
            number: word as u16,
            settled_udp: (word >> 32) as u32,
        }
    }
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
            previous: Word64::zero(),
            about: Word64::zero(),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_keep_the_first_bits() {
        let v4 = |bits| Scope::v4(bits).of(0, u64::from(u32::from_ne_bytes([203, 0, 113, 255])));
        let is = |octets: [u8; 4]| (0, u64::from(u32::from_ne_bytes(octets)));
        assert_eq!(v4(32), is([203, 0, 113, 255]));
        assert_eq!(v4(25), is([203, 0, 113, 128]));
        assert_eq!(v4(9), is([203, 0, 0, 0]));
        assert_eq!(v4(0), is([0, 0, 0, 0]));
        for bits in 0..=128_u8 {
            let (hi, lo) = Scope::v6(bits).of(u64::MAX, u64::MAX);
            let mask = u128::from_ne_bytes(
                [hi.to_ne_bytes(), lo.to_ne_bytes()]
                    .concat()
                    .try_into()
                    .unwrap_or([0; 16]),
            );
            let want = if bits == 0 {
                0
            } else {
                u128::MAX << (128 - u32::from(bits))
            };
            assert_eq!(u128::from_be(mask), want, "{bits}");
            assert_eq!(
                (Scope::v6(bits).bits(), Scope::v6(bits).is_v4()),
                (bits, false)
            );
        }
        for bits in 0..=32 {
            assert_eq!(
                (Scope::v4(bits).bits(), Scope::v4(bits).is_v4()),
                (bits, true)
            );
        }
        assert_eq!((Scope::v4(32), Scope::v6(128)), (Scope::V4, Scope::V6));
    }

    #[test]
    fn shapes_make_the_key_that_their_services_have() {
        let v4 = |last, port: u16| {
            let address = u32::from_ne_bytes([203, 0, 113, last]);
            Key::v4(address, port.to_be(), TCP)
        };
        let v6 = |half: u8, last: u8, port: u16| {
            let mut octets = [0; 16];
            (octets[0], octets[1], octets[8], octets[15]) = (0x20, 0x01, half, last);
            let word = u128::from_ne_bytes(octets);
            Key::v6(word as u64, (word >> 64) as u64, port.to_be(), UDP)
        };
        let of = |scope, any_port, key: Key| {
            let shape = Shape::zero();
            assert_eq!(shape.of(&key), None, "no shape yet");
            shape.set(scope, any_port);
            shape.of(&key)
        };
        for (scope, any_port, packet, service) in [
            (Scope::V4, true, v4(10, 80), v4(10, 0)),
            (
                Scope::v4(24),
                false,
                v4(10, 80),
                v4(0, 80).within(Scope::v4(24)),
            ),
            (
                Scope::v4(25),
                true,
                v4(200, 80),
                v4(128, 0).within(Scope::v4(25)),
            ),
            (Scope::V6, true, v6(0, 9, 53), v6(0, 9, 0)),
            (
                Scope::v6(64),
                false,
                v6(0xff, 9, 53),
                v6(0, 0, 53).within(Scope::v6(64)),
            ),
            (
                Scope::v6(65),
                true,
                v6(0xff, 9, 53),
                v6(0x80, 0, 0).within(Scope::v6(65)),
            ),
        ] {
            assert_eq!(of(scope, any_port, packet), Some(service), "{scope:?}");
        }
        // The address as such, under which a prefix's fragments are recognised.
        let address = of(Scope::v4(24), false, v4(10, 80).address());
        assert_eq!(address, Some(v4(0, 80).within(Scope::v4(24)).address()));
    }

    #[test]
    fn keys_say_what_they_are_of() {
        let key = Key::v4(1, 80_u16.to_be(), UDP);
        assert_eq!((key.proto(), key.scope()), (UDP, Scope::V4));
        assert_eq!(key.address(), Key::v4(1, 0, 0));
        let wide = key.within(Scope::v4(9));
        assert_eq!(
            (wide.proto(), wide.scope(), wide.lo),
            (UDP, Scope::v4(9), 1)
        );
        // The family is part of it: an IPv6 address with the same bits is another one.
        assert_ne!(key, Key::v6(0, 1, 80_u16.to_be(), UDP));
        assert!(key.cells().iter().all(|cell| *cell < CELLS));
    }

    #[test]
    fn words_of_cells_come_back() {
        for by_client in [false, true] {
            for (base, len) in [(0, 0), (1, 251), (u32::MAX, u32::MAX >> 1)] {
                let region = Region {
                    base,
                    len,
                    by_client,
                };
                assert_eq!(Region::unpack(region.pack()), region);
            }
        }
        for (number, settled_udp) in [(0, 0), (1024, 7), (u16::MAX, u32::MAX)] {
            let about = About {
                number,
                settled_udp,
            };
            assert_eq!(About::unpack(about.pack()), about);
        }
    }
}
