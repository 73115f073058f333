//! The new addresses and ports, and the checksums that cover them, by differences (RFC 1624): the payload is not read, and a
//! checksum that the device is to compute stays the device's.

use tollgate_common::{
    backend::{ETHERNET, IPV4, IPV6},
    checksum,
    nat::Tuple,
    service::UDP,
};

use super::room::Room;
use crate::packet::{Packet, u16_at, u32_at, u64_at};

const ICMP_HEADER: usize = 8;
const TCP_CHECKSUM: usize = 16;
const UDP_CHECKSUM: usize = 6;
const ICMP_CHECKSUM: usize = 2;
const V4_TTL: usize = ETHERNET + 8;
const V4_CHECKSUM: usize = ETHERNET + 10;
const V4_ADDRESSES: usize = ETHERNET + 12;
const V6_HOP_LIMIT: usize = ETHERNET + 7;
const V6_ADDRESSES: usize = ETHERNET + 8;

/// A packet that is changed in place. Differences are sums of 16-bit words as they load, folded to 32 bits: of what comes, and
/// of the complement of what goes. Each says whether it was done.
pub trait Patch {
    /// Writes bytes.
    fn store<const N: usize>(&mut self, at: usize, bytes: &[u8; N]) -> bool;

    /// Updates the checksum of an IPv4 header.
    fn header_sum(&mut self, at: usize, difference: u32) -> bool;

    /// Updates a checksum of TCP, UDP or ICMP. `covers`: what differs.
    fn sum(&mut self, at: usize, difference: u32, covers: Covers) -> bool;
}

/// What of that which a checksum covers has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Covers {
    /// Addresses of the pseudo-header; of UDP, where 0 means that there is no checksum.
    Addresses {
        /// Whether it is UDP's.
        udp: bool,
        /// Whether it is of IPv6.
        v6: bool,
    },
    /// What stands behind the checksum's own header; as above.
    Bytes {
        /// Whether it is UDP's.
        udp: bool,
    },
}

/// Translates the packet that `room` tells of, with one hop less. False: it is no longer what it was, nor what it was to be.
#[inline(never)]
pub fn rewrite<P: Packet + Patch>(mut packet: P, room: &Room) -> bool {
    let is_v4 = room.key.is_v4();
    match (room.seen.transport, is_v4) {
        (0, true) => v4_error(&mut packet, room),
        (0, false) => v6_error(&mut packet, room),
        (at, _) => segment(&mut packet, room, at as usize, is_v4),
    }
}

/// A sum of differences.
#[derive(Clone, Copy, Default)]
struct Difference(u64);

impl Difference {
    #[inline(always)]
    fn word(&mut self, from: u32, to: u32) {
        self.0 += u64::from(!from) + u64::from(to);
    }

    #[inline(always)]
    fn half(&mut self, from: u16, to: u16) {
        self.0 += u64::from(!from) + u64::from(to);
    }

    /// Of both addresses.
    #[inline(always)]
    fn addresses(&mut self, from: &Tuple, to: &Tuple, is_v4: bool) {
        let pairs = [(from.source, to.source), (from.destination, to.destination)];
        for (from, to) in pairs {
            self.word(from[1] as u32, to[1] as u32);
            if !is_v4 {
                self.word((from[1] >> 32) as u32, (to[1] >> 32) as u32);
                self.word(from[0] as u32, to[0] as u32);
                self.word((from[0] >> 32) as u32, (to[0] >> 32) as u32);
            }
        }
    }

    /// Folded to 32 bits.
    #[inline(always)]
    const fn folded(self) -> u32 {
        let sum = (self.0 & 0xffff_ffff) + (self.0 >> 32);
        ((sum & 0xffff_ffff) + (sum >> 32)) as u32
    }

    /// A checksum, as it loads, after it.
    #[inline(always)]
    const fn applied(self, sum: u16) -> u16 {
        !checksum::fold(!sum as u64 + self.folded() as u64)
    }
}

#[inline(always)]
fn segment<P: Packet + Patch>(packet: &mut P, room: &Room, at: usize, is_v4: bool) -> bool {
    let (from, to) = (&room.key, &room.way.to);
    let udp = from.proto() == UDP;
    let sum = at + if udp { UDP_CHECKSUM } else { TCP_CHECKSUM };
    let (mut addresses, mut ports) = (Difference::default(), Difference::default());
    addresses.addresses(from, to, is_v4);
    ports.word(from.ports, to.ports);
    let covers = Covers::Addresses { udp, v6: !is_v4 };
    packet.sum(sum, addresses.folded(), covers)
        && packet.sum(sum, ports.folded(), Covers::Bytes { udp })
        && packet.store(at, &to.ports.to_le_bytes())
        && outer(packet, room, from, to, is_v4)
}

/// The IP header: addresses, and one hop less.
#[inline(always)]
fn outer<P: Packet + Patch>(
    packet: &mut P,
    room: &Room,
    from: &Tuple,
    to: &Tuple,
    is_v4: bool,
) -> bool {
    let ttl = room.seen.ttl as u8;
    let less = ttl.saturating_sub(1);
    if is_v4 {
        let mut difference = Difference::default();
        difference.addresses(from, to, true);
        difference.half(u16::from(ttl), u16::from(less));
        packet.header_sum(V4_CHECKSUM, difference.folded())
            && packet.store(V4_TTL, &[less])
            && packet.store(V4_ADDRESSES, &v4_addresses(to).to_le_bytes())
    } else {
        packet.store(V6_HOP_LIMIT, &[less])
            && packet.store(V6_ADDRESSES, &v6_words(to.source))
            && packet.store(V6_ADDRESSES + 16, &v6_words(to.destination))
    }
}

#[inline(always)]
const fn v4_addresses(of: &Tuple) -> u64 {
    of.source[1] & 0xffff_ffff | of.destination[1] << 32
}

#[inline(always)]
const fn v6_words([hi, lo]: [u64; 2]) -> [u8; 16] {
    (hi as u128 | (lo as u128) << 64).to_le_bytes()
}

/// The addresses that an ICMP error bears itself, before and after. An error of the client's or backend's own comes from whom
/// the packet inside went to; what routers say on the way to a client comes from the service, as nobody there can know whose
/// address theirs is.
#[inline(always)]
fn told_by(room: &Room, source: [u64; 2]) -> (Tuple, Tuple) {
    let (key, to) = (&room.key, &room.way.to);
    let is_own = source[0] == key.source[0] && source[1] == key.source[1];
    let from = Tuple { source, ..*key };
    let mut after = Tuple {
        destination: to.destination,
        ..from
    };
    if is_own || room.way.is_answers() {
        after.source = to.source;
    }
    (from, after)
}

/// What of the packet inside an ICMP error its own checksum covers, and what that becomes.
#[inline(always)]
fn inner_sum<P: Packet>(packet: &P, at: usize, udp: bool, change: Difference) -> (u16, u16) {
    let bytes = packet.at::<2>(at);
    let before = bytes.map_or(0, u16_at::<0, _>);
    // It may have been cut off. Of UDP 0 is none.
    if bytes.is_none() || udp && before == 0 {
        return (0, 0);
    }
    let after = change.applied(before);
    let after = if udp && after == 0 { 0xffff } else { after };
    (before, after)
}

#[inline(always)]
fn v4_error<P: Packet + Patch>(packet: &mut P, room: &Room) -> bool {
    const MESSAGE: usize = ETHERNET + IPV4;
    const INSIDE: usize = MESSAGE + ICMP_HEADER;

    let Some(head) = packet.head::<{ INSIDE + IPV4 }>() else {
        return false;
    };
    let source = u64::from(u32_at::<V4_ADDRESSES, _>(head));
    let header = u16_at::<{ INSIDE + 10 }, _>(head);
    let ports = INSIDE + usize::from(head[INSIDE] & 0xf) * 4;
    // The packet inside went the other way.
    let (inner, after) = (room.key.reversed(), room.way.to.reversed());
    let udp = inner.proto() == UDP;
    let sum = ports + if udp { UDP_CHECKSUM } else { TCP_CHECKSUM };

    let mut change = Difference::default();
    change.addresses(&inner, &after, true);
    let header_after = change.applied(header);
    let mut message = change;
    message.half(header, header_after);
    change.word(inner.ports, after.ports);
    message.word(inner.ports, after.ports);
    let (sum_before, sum_after) = inner_sum(packet, sum, udp, change);
    message.half(sum_before, sum_after);
    let (from, to) = told_by(room, [0, source]);
    packet.sum(
        MESSAGE + ICMP_CHECKSUM,
        message.folded(),
        Covers::Bytes { udp: false },
    ) && packet.store(INSIDE + 10, &header_after.to_le_bytes())
        && packet.store(INSIDE + 12, &v4_addresses(&after).to_le_bytes())
        && packet.store(ports, &after.ports.to_le_bytes())
        && (sum_before == sum_after || packet.store(sum, &sum_after.to_le_bytes()))
        && outer(packet, room, &from, &to, true)
}

#[inline(always)]
fn v6_error<P: Packet + Patch>(packet: &mut P, room: &Room) -> bool {
    /// From the message to the end of the ports inside, as [`look`](crate::look) counts what must be there.
    const LEAST: usize = ICMP_HEADER + IPV6 + 4;

    let Some(head) = packet.head::<{ ETHERNET + IPV6 }>() else {
        return false;
    };
    let source = [
        u64_at::<V6_ADDRESSES, _>(head),
        u64_at::<{ V6_ADDRESSES + 8 }, _>(head),
    ];
    let message_at = (ETHERNET + room.seen.least as usize).wrapping_sub(LEAST) & 0x1ff;
    let inside = message_at + ICMP_HEADER;
    let ports = inside + IPV6;
    let (inner, after) = (room.key.reversed(), room.way.to.reversed());
    let udp = inner.proto() == UDP;
    let sum = ports + if udp { UDP_CHECKSUM } else { TCP_CHECKSUM };

    let mut change = Difference::default();
    change.addresses(&inner, &after, false);
    change.word(inner.ports, after.ports);
    let (sum_before, sum_after) = inner_sum(packet, sum, udp, change);
    let mut message = change;
    message.half(sum_before, sum_after);
    let (from, to) = told_by(room, source);
    let mut addresses = Difference::default();
    addresses.addresses(&from, &to, false);
    let at = message_at + ICMP_CHECKSUM;
    packet.sum(at, message.folded(), Covers::Bytes { udp: false })
        && packet.sum(
            at,
            addresses.folded(),
            Covers::Addresses {
                udp: false,
                v6: true,
            },
        )
        && packet.store(inside + 8, &v6_words(after.source))
        && packet.store(inside + 24, &v6_words(after.destination))
        && packet.store(ports, &after.ports.to_le_bytes())
        && (sum_before == sum_after || packet.store(sum, &sum_after.to_le_bytes()))
        && outer(packet, room, &from, &to, false)
}
