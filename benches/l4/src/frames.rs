//! The frames that are sent, and where a driver finds in them what it writes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use etherparse::{Icmpv4Type, Icmpv6Type, PacketBuilder, icmpv4, icmpv6};
use tollgate_bench_ebpf::HEADER;
use tollgate_datapath::model::Vip;
use tollgate_tests::packet::{CLIENT_MAC, NODE_MAC, frame};

/// The first client; those that follow have the next addresses.
pub const CLIENT_V4: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 1);
/// The same of IPv6.
pub const CLIENT_V6: Ipv6Addr = Ipv6Addr::new(0xfd01, 0, 0, 0, 0, 0, 0x0a01, 1);
/// The port of a client that has but one.
const PORT: u16 = 40_000;

/// Bytes of the frames, where nothing else is said.
const V4: usize = 64;
const V6: usize = 80;

const ETHERNET: usize = 14;
const ACK: u8 = 0x10;
const SYN: u8 = 0x02;
/// The sequence number of all segments but those that open.
const SEQUENCE: u32 = 7;

/// A TCP segment of an established connection to `vip`.
#[must_use]
pub fn established(vip: Vip) -> Vec<u8> {
    tcp(vip, ACK, short(vip))
}

/// A TCP segment that opens a connection, which [`established`] follows.
#[must_use]
pub fn opening(vip: Vip) -> Vec<u8> {
    let mut bytes = tcp(vip, SYN, short(vip));
    // The SYN takes a sequence number of its own (RFC 9293, section 3.4).
    let sequence = &mut bytes[ETHERNET + ip_header(vip) + 4..][..4];
    sequence.copy_from_slice(&(SEQUENCE - 1).to_be_bytes());
    bytes
}

/// A TCP segment in a frame of 1400 bytes.
#[must_use]
pub fn long(vip: Vip) -> Vec<u8> {
    tcp(vip, ACK, 1400)
}

/// A UDP datagram. Over IPv4 it has no checksum: a driver writes ports and addresses only.
#[must_use]
pub fn datagram(vip: Vip) -> Vec<u8> {
    const CHECKSUM: usize = ETHERNET + 20 + 6;

    let headers = ETHERNET + ip_header(vip) + 8;
    let mut bytes = frame(client(vip), PORT, vip, &vec![0; short(vip) - headers]);
    if vip.ip.is_ipv4() {
        bytes[CHECKSUM..CHECKSUM + 2].fill(0);
    }
    bytes
}

/// A frame behind an 802.1Q tag.
#[must_use]
pub fn with_tag(mut frame: Vec<u8>) -> Vec<u8> {
    const TAG: [u8; 4] = [0x81, 0x00, 0x00, 0x05];

    frame.splice(12..12, TAG);
    frame
}

/// The first fragment of a UDP datagram over IPv4.
#[must_use]
pub fn first_fragment(vip: Vip) -> Vec<u8> {
    const FLAGS: usize = ETHERNET + 6;
    const MORE_FRAGMENTS: u8 = 0x20;

    let mut bytes = datagram(vip);
    bytes[FLAGS] = MORE_FRAGMENTS;
    bytes
}

/// What a router says to `vip` about a segment that it sent to a client: it found no way.
#[must_use]
pub fn unreachable(vip: Vip) -> Vec<u8> {
    const QUOTED: [u8; 8] = [0; 8];

    let answer = PacketBuilder::ethernet2(CLIENT_MAC, NODE_MAC);
    let (mut quoted, mut bytes) = (Vec::new(), Vec::new());
    let written = match (vip.ip, client(vip)) {
        (IpAddr::V4(from), IpAddr::V4(to)) => PacketBuilder::ipv4(from.octets(), to.octets(), 60)
            .tcp(vip.port, PORT, 7, 1000)
            .write(&mut quoted, &QUOTED)
            .and_then(|()| {
                let what = Icmpv4Type::DestinationUnreachable(icmpv4::DestUnreachableHeader::Host);
                let message = answer.ipv4([192, 0, 2, 1], from.octets(), 61);
                message.icmpv4(what).write(&mut bytes, &quoted)
            }),
        (IpAddr::V6(from), IpAddr::V6(to)) => PacketBuilder::ipv6(from.octets(), to.octets(), 60)
            .tcp(vip.port, PORT, 7, 1000)
            .write(&mut quoted, &QUOTED)
            .and_then(|()| {
                let what = Icmpv6Type::DestinationUnreachable(icmpv6::DestUnreachableCode::Address);
                let router = Ipv6Addr::new(0xfd02, 0, 0, 0, 0, 0, 0, 1).octets();
                let message = answer.ipv6(router, from.octets(), 61);
                message.icmpv6(what).write(&mut bytes, &quoted)
            }),
        _ => Ok(()),
    };
    debug_assert!(
        written.is_ok(),
        "a vector takes what is written: {written:?}"
    );
    bytes
}

/// The same to an address that is no VIP.
#[must_use]
pub fn stranger(vip: Vip) -> Vec<u8> {
    let ip = if vip.ip.is_ipv4() {
        IpAddr::V4(Ipv4Addr::new(10, 98, 7, 6))
    } else {
        IpAddr::V6(Ipv6Addr::new(0xfd98, 0, 0, 0, 0, 0, 0, 6))
    };
    established(Vip { ip, ..vip })
}

/// The frame's first bytes, as a driver writes them.
#[must_use]
pub fn header(frame: &[u8]) -> [u64; HEADER / 8] {
    let mut words = [0; HEADER / 8];
    for (word, bytes) in words.iter_mut().zip(frame.chunks(8)) {
        let mut eight = [0; 8];
        eight[..bytes.len()].copy_from_slice(bytes);
        *word = u64::from_ne_bytes(eight);
    }
    words
}

/// The sum of an IPv4 header's words as they load, without its checksum and the last 32 bits of its source.
#[must_use]
pub fn partial_sum(frame: &[u8]) -> u32 {
    const CHECKSUM: usize = 10;
    const SOURCE: [usize; 2] = [12, 14];

    let tag = if frame[12..14] == [0x81, 0x00] { 4 } else { 0 };
    let Some(ip) = frame.get(ETHERNET + tag..ETHERNET + tag + 20) else {
        return 0;
    };
    let words = ip.chunks_exact(2).enumerate();
    let kept = words.filter(|(at, _)| at * 2 != CHECKSUM && !SOURCE.contains(&(at * 2)));
    kept.map(|(_, word)| u32::from(u16::from_ne_bytes([word[0], word[1]])))
        .sum()
}

fn tcp(vip: Vip, flags: u8, len: usize) -> Vec<u8> {
    let headers = ETHERNET + ip_header(vip) + 20;
    let mut bytes = frame(client(vip), PORT, vip, &vec![0; len - headers]);
    bytes[headers - 20 + 4..][..4].copy_from_slice(&SEQUENCE.to_be_bytes());
    bytes[headers - 20 + 13] = flags;
    bytes
}

fn client(vip: Vip) -> IpAddr {
    if vip.ip.is_ipv4() {
        CLIENT_V4.into()
    } else {
        CLIENT_V6.into()
    }
}

const fn ip_header(vip: Vip) -> usize {
    if vip.ip.is_ipv4() { 20 } else { 40 }
}

const fn short(vip: Vip) -> usize {
    if vip.ip.is_ipv4() { V4 } else { V6 }
}
