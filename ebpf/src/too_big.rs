//! A packet that is too long for the way to its backend becomes the ICMP message that tells its sender how long it may
//! be (RFC 1191, section 4; RFC 8201; RFC 4443, section 3.2).

use tollgate_common::{
    backend::{ETHERNET, IPV4, IPV6},
    checksum,
    service::{ICMP, ICMPV6},
    verdict::QUOTE,
};

use crate::{
    memory::NETWORKS,
    packet::{Packet, sum_from, u32_at, u64_at},
};

const ICMP_HEADER: usize = 8;
const TTL: u8 = 64;
const V4_FRAME: usize = ETHERNET + IPV4 + ICMP_HEADER + QUOTE;
const V6_FRAME: usize = ETHERNET + IPV6 + ICMP_HEADER + QUOTE;

/// The bucket, below [`NETWORKS`], that the sender's network is in: a /24, or a /48 of IPv6, as one party has them.
#[inline(always)]
pub fn network(packet: &impl Packet, is_v4: bool) -> Option<u32> {
    /// 2^64 over the golden ratio: spreads what differs in few bits (Knuth, TAOCP vol. 3, section 6.4).
    const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

    // The first octet is the lowest byte as it loads.
    let network = if is_v4 {
        u64::from(u32_at::<26, _>(packet.head::<{ ETHERNET + IPV4 }>()?)) & 0xff_ffff
    } else {
        u64_at::<22, _>(packet.head::<{ ETHERNET + IPV6 }>()?) & 0xffff_ffff_ffff
    };
    Some((network.wrapping_mul(GOLDEN) >> (u64::BITS - NETWORKS.ilog2())) as u32)
}

/// Turns an IPv4 packet into the message, from the address that it was sent to. `None`: it cannot be, for its source is no
/// single host (RFC 1122, section 3.2.2) or there is no room; it may no longer be what it was.
#[inline(always)]
pub fn v4(packet: &mut impl Packet, mtu: u16) -> Option<()> {
    const UNREACHABLE: u8 = 3;
    const FRAGMENTATION_NEEDED: u8 = 4;

    let head = packet.head::<{ ETHERNET + IPV4 }>()?;
    let (to, from) = (u32_at::<26, _>(head), u32_at::<30, _>(head));
    // The first octet is the lowest byte as it loads.
    if matches!(to as u8, 0 | 127 | 224..) {
        return None;
    }
    let ethernet = Ethernet::of(packet)?;
    packet.cut((ETHERNET + QUOTE) as u32).then_some(())?;
    packet.grow((IPV4 + ICMP_HEADER) as u8).then_some(())?;

    let frame = packet.head_mut::<V4_FRAME>()?;
    ethernet.put_back(&mut frame[..ETHERNET], [0x08, 0x00]);
    let mut ip = [0; IPV4];
    (ip[0], ip[8], ip[9]) = (0x45, TTL, ICMP);
    ip[2..4].copy_from_slice(&((V4_FRAME - ETHERNET) as u16).to_be_bytes());
    ip[12..16].copy_from_slice(&from.to_le_bytes());
    ip[16..20].copy_from_slice(&to.to_le_bytes());
    let sum = !checksum::fold(sum_from::<0, _>(&ip));
    ip[10..12].copy_from_slice(&sum.to_le_bytes());
    frame[ETHERNET..ETHERNET + IPV4].copy_from_slice(&ip);
    put_icmp::<{ ETHERNET + IPV4 }, _>(frame, UNREACHABLE, FRAGMENTATION_NEEDED, u32::from(mtu));
    let sum = !checksum::fold(sum_from::<{ ETHERNET + IPV4 }, _>(frame));
    frame[36..38].copy_from_slice(&sum.to_le_bytes());
    Some(())
}

/// The same of IPv6.
#[inline(always)]
pub fn v6(packet: &mut impl Packet, mtu: u16) -> Option<()> {
    const PACKET_TOO_BIG: u8 = 2;
    const LENGTH: u16 = (ICMP_HEADER + QUOTE) as u16;

    let head = packet.head::<{ ETHERNET + IPV6 }>()?;
    let to = [u64_at::<22, _>(head), u64_at::<30, _>(head)];
    let from = [u64_at::<38, _>(head), u64_at::<46, _>(head)];
    if to[0] as u8 == 0xff || to[0] == 0 && u64::from_be(to[1]) <= 1 {
        return None;
    }
    let ethernet = Ethernet::of(packet)?;
    packet.cut((ETHERNET + QUOTE) as u32).then_some(())?;
    packet.grow((IPV6 + ICMP_HEADER) as u8).then_some(())?;

    let frame = packet.head_mut::<V6_FRAME>()?;
    ethernet.put_back(&mut frame[..ETHERNET], [0x86, 0xdd]);
    frame[14..18].copy_from_slice(&[0x60, 0, 0, 0]);
    frame[18..20].copy_from_slice(&LENGTH.to_be_bytes());
    (frame[20], frame[21]) = (ICMPV6, TTL);
    frame[22..30].copy_from_slice(&from[0].to_le_bytes());
    frame[30..38].copy_from_slice(&from[1].to_le_bytes());
    frame[38..46].copy_from_slice(&to[0].to_le_bytes());
    frame[46..54].copy_from_slice(&to[1].to_le_bytes());
    put_icmp::<{ ETHERNET + IPV6 }, _>(frame, PACKET_TOO_BIG, 0, u32::from(mtu));
    // With the pseudo-header (RFC 8200, section 8.1): the addresses stand right before.
    let pseudo = u64::from(LENGTH.to_be()) + u64::from(u16::from(ICMPV6).to_be());
    let sum = !checksum::fold(sum_from::<22, _>(frame) + pseudo);
    frame[56..58].copy_from_slice(&sum.to_le_bytes());
    Some(())
}

/// The addresses of a frame, to be sent back.
struct Ethernet {
    destination: [u8; 6],
    source: [u8; 6],
}

impl Ethernet {
    #[inline(always)]
    fn of(packet: &impl Packet) -> Option<Self> {
        let &[a, b, c, d, e, f, g, h, i, j, k, l] = packet.head::<12>()?;
        Some(Self {
            destination: [a, b, c, d, e, f],
            source: [g, h, i, j, k, l],
        })
    }

    #[inline(always)]
    fn put_back(&self, head: &mut [u8], ethertype: [u8; 2]) {
        head[..6].copy_from_slice(&self.source);
        head[6..12].copy_from_slice(&self.destination);
        head[12..14].copy_from_slice(&ethertype);
    }
}

/// The header, its checksum 0 still.
#[inline(always)]
fn put_icmp<const AT: usize, const N: usize>(frame: &mut [u8; N], kind: u8, code: u8, rest: u32) {
    (frame[AT], frame[AT + 1], frame[AT + 2], frame[AT + 3]) = (kind, code, 0, 0);
    frame[AT + 4..AT + 8].copy_from_slice(&rest.to_be_bytes());
}

/// The longest packet that can be quoted so was longer than this, and so is every one that is too big: no way is
/// narrower than what IPv4 promises (RFC 791, section 3.2), less the outer headers.
const _: () = assert!(QUOTE <= 576 - (IPV6 + 12));
const _: () =
    assert!((V4_FRAME - ETHERNET - IPV4).is_multiple_of(4) && (V6_FRAME - 22).is_multiple_of(4));

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use etherparse::{Icmpv4Header, Icmpv6Header, Ipv4Header, Ipv6Header};
    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::packet::host::Buffer;

    const MACS: [u8; 12] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];

    /// A frame with anything in it but its source, whose first byte is this.
    fn frame(ethertype: [u8; 2], source: usize, first: u8, packet: &[u8]) -> Vec<u8> {
        let mut frame = [&MACS[..], &ethertype, packet].concat();
        frame[source] = first;
        frame
    }

    proptest! {
        #[test]
        fn any_ipv4_packet_is_quoted_with_right_checksums(
            packet in vec(any::<u8>(), QUOTE + 1..400), mtu: u16, first in 1..127_u8,
        ) {
            let before = frame([8, 0], 26, first, &packet);
            let mut buffer = Buffer::new(&before, 28);
            v4(&mut buffer, mtu).expect("there is room");
            let after = buffer.frame();
            prop_assert_eq!(&after[..12], &[&MACS[6..], &MACS[..6]].concat()[..]);
            let (ip, message) = Ipv4Header::from_slice(&after[14..]).unwrap();
            prop_assert_eq!(ip.header_checksum, ip.calc_header_checksum());
            prop_assert_eq!(usize::from(ip.total_len), after.len() - 14);
            prop_assert_eq!((&ip.source, &ip.destination), (&before[30..34].try_into().unwrap(), &before[26..30].try_into().unwrap()));
            let (icmp, quoted) = Icmpv4Header::from_slice(message).unwrap();
            prop_assert_eq!(icmp.checksum, icmp.icmp_type.calc_checksum(quoted));
            prop_assert_eq!(&message[..2], &[3, 4]);
            prop_assert_eq!(&message[4..8], &u32::from(mtu).to_be_bytes());
            prop_assert_eq!(quoted, &before[14..14 + QUOTE]);
        }

        #[test]
        fn any_ipv6_packet_is_quoted_with_a_right_checksum(
            packet in vec(any::<u8>(), QUOTE + 1..400), mtu: u16, first in 1..255_u8,
        ) {
            let before = frame([0x86, 0xdd], 22, first, &packet);
            let mut buffer = Buffer::new(&before, 48);
            v6(&mut buffer, mtu).expect("there is room");
            let after = buffer.frame();
            prop_assert_eq!(&after[..12], &[&MACS[6..], &MACS[..6]].concat()[..]);
            let (ip, message) = Ipv6Header::from_slice(&after[14..]).unwrap();
            prop_assert_eq!(usize::from(ip.payload_length), message.len());
            prop_assert_eq!((&ip.source[..], &ip.destination[..]), (&before[38..54], &before[22..38]));
            let (icmp, quoted) = Icmpv6Header::from_slice(message).unwrap();
            let checksum = icmp.icmp_type.calc_checksum(ip.source, ip.destination, quoted);
            prop_assert_eq!(Ok(icmp.checksum), checksum);
            prop_assert_eq!(&message[..2], &[2, 0]);
            prop_assert_eq!(&message[4..8], &u32::from(mtu).to_be_bytes());
            prop_assert_eq!(quoted, &before[14..14 + QUOTE]);
        }
    }

    #[test]
    fn a_network_is_in_one_bucket_and_networks_are_in_all() {
        use std::collections::BTreeMap;

        let bucket = |ethertype: [u8; 2], source: usize, address: &[u8]| {
            let mut before = frame(ethertype, source, 0, &[9; 300]);
            before[source..source + address.len()].copy_from_slice(address);
            let is_v4 = address.len() == 4;
            network(&Buffer::new(&before, 0), is_v4).expect("there is a header")
        };
        let v4 = |a, b, c, d| bucket([8, 0], 26, &[a, b, c, d]);
        let v6 = |site: u16, last: u8| {
            let mut address = [0; 16];
            (address[0], address[6]) = (0x20, last);
            address[4..6].copy_from_slice(&site.to_be_bytes());
            bucket([0x86, 0xdd], 22, &address)
        };
        let (mut of_v4, mut of_v6) = (BTreeMap::new(), BTreeMap::new());
        for n in 0..4096_u16 {
            let [high, low] = n.to_be_bytes();
            let one = v4(198, high, low, 1);
            assert!(one < NETWORKS && one == v4(198, high, low, 254));
            *of_v4.entry(one).or_insert(0) += 1;
            let one = v6(n, 1);
            assert!(one < NETWORKS && one == v6(n, 2));
            *of_v6.entry(one).or_insert(0) += 1;
        }
        for buckets in [of_v4, of_v6] {
            assert_eq!(buckets.len(), NETWORKS as usize);
            let most = buckets.values().max();
            assert!(most < Some(&(2 * 4096 / NETWORKS as i32)), "{buckets:?}");
        }
    }

    #[test]
    fn nothing_is_said_without_room_or_to_nobody() {
        let packet = [9; 300];
        let v4_from = |first, room| {
            let before = frame([8, 0], 26, first, &packet);
            v4(&mut Buffer::new(&before, room), 1400)
        };
        let v6_from = |first, room| {
            let before = frame([0x86, 0xdd], 22, first, &packet);
            v6(&mut Buffer::new(&before, room), 1400)
        };
        // What is cut off behind the quoted bytes is no room before them.
        assert_eq!((v4_from(10, 27), v4_from(10, 28)), (None, Some(())));
        assert_eq!((v6_from(0x20, 47), v6_from(0x20, 48)), (None, Some(())));
        for first in [0, 127, 224, 239, 240, 255] {
            assert_eq!(v4_from(first, 64), None, "{first}");
        }
        assert_eq!(v6_from(0xff, 64), None);
        let mut before = frame([0x86, 0xdd], 22, 0, &packet);
        for (last, told) in [(0, None), (1, None), (2, Some(()))] {
            before[22..38].fill(0);
            before[37] = last;
            assert_eq!(v6(&mut Buffer::new(&before, 64), 1400), told, "::{last}");
        }
    }
}
