//! Packets and what must become of them: {what, packet in, verdict, packet out}, for each family alike.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use etherparse::{
    ArpPacket, EtherType, Icmpv6Type, IpAuthHeader, IpFragOffset, IpNumber, Ipv4Options,
    PacketBuilder,
};
use tollgate_common::verdict::Verdict;
use tollgate_datapath::{
    model::{Backend, Deliver, Model, Service, Vip},
    reconcile::Hops,
    tables::NextHop,
};
use tollgate_tests::{
    bpf::INGRESS,
    packet::{CLIENT_MAC, NODE_MAC, around, frame},
};

/// The next hop's MAC address.
pub(crate) const NEXT_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x99];
/// Largest packet on the way to every backend.
pub(crate) const MTU: u16 = 1500;
/// Another interface than the one that test runs come in by.
pub(crate) const ELSEWHERE: u32 = 77;

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Family {
    V4,
    V6,
}

pub(crate) const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

/// What the frame looks like afterwards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Out {
    /// As it was.
    Same,
    /// New MAC addresses and one hop less, else as it was.
    Macs,
    /// An outer header to this backend, inside it the packet as it was.
    Tunnel(IpAddr),
}

pub(crate) struct Fixture {
    pub(crate) what: &'static str,
    pub(crate) family: Family,
    pub(crate) frame: Vec<u8>,
    /// Bytes before the frame that somebody else uses.
    pub(crate) metadata: usize,
    pub(crate) verdict: Verdict,
    pub(crate) out: Out,
}

impl Family {
    /// An address of documentation networks.
    pub(crate) fn address(self, last: u8) -> IpAddr {
        match self {
            Self::V4 => Ipv4Addr::new(203, 0, 113, last).into(),
            Self::V6 => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last.into()).into(),
        }
    }

    pub(crate) fn client(self) -> IpAddr {
        match self {
            Self::V4 => Ipv4Addr::new(198, 51, 100, 7).into(),
            Self::V6 => Ipv6Addr::new(0x2001, 0xdb8, 0xc, 0, 0, 0, 0, 7).into(),
        }
    }

    pub(crate) fn backend(self, last: u8) -> IpAddr {
        match self {
            Self::V4 => Ipv4Addr::new(10, 0, 0, last).into(),
            Self::V6 => Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last.into()).into(),
        }
    }

    const fn other(self) -> Self {
        match self {
            Self::V4 => Self::V6,
            Self::V6 => Self::V4,
        }
    }
}

fn vip(family: Family, last: u8, rest: &str) -> Vip {
    match family.address(last) {
        IpAddr::V4(ip) => format!("{ip}:{rest}"),
        IpAddr::V6(ip) => format!("[{ip}]:{rest}"),
    }
    .parse()
    .unwrap()
}

fn at(address: IpAddr) -> Vec<Backend> {
    vec![Backend {
        address,
        weight: 1,
        drain: false,
    }]
}

/// The services that the fixtures are about: `.1` has a listener, `.2` is forwarded only.
pub(crate) fn model() -> (Model, Hops) {
    let mut services = Vec::new();
    let mut hops = Hops::new();
    for family in FAMILIES {
        let mut add = |last, rest: &str, deliver| {
            let vip = vip(family, last, rest);
            services.push(Service::new(vip.to_string(), vip, deliver));
        };
        add(1, "443/tcp", Deliver::Listener("edge".to_owned()));
        add(2, "80/tcp", Deliver::Ipip(at(family.backend(21))));
        add(2, "80/udp", Deliver::Ipip(at(family.backend(21))));
        add(2, "81/tcp", Deliver::L2(at(family.backend(22))));
        add(2, "82/udp", Deliver::Ipip(at(family.backend(23))));
        add(2, "83/tcp", Deliver::Ipip(at(family.backend(24))));
        add(2, "84/tcp", Deliver::Ipip(Vec::new()));
        add(2, "85/tcp", Deliver::Ipip(at(family.other().backend(25))));
        add(2, "86/udp", Deliver::L2(at(family.backend(23))));
        for (last, ifindex) in [(21, INGRESS), (22, INGRESS), (23, ELSEWHERE), (25, INGRESS)] {
            let hop = NextHop {
                ifindex,
                source: NODE_MAC,
                destination: NEXT_MAC,
                mtu: MTU,
                tags: tollgate_common::tag::Tags::NONE,
            };
            hops.insert(family.backend(last), hop);
        }
    }
    (Model { services }, hops)
}

/// All fixtures.
pub(crate) fn all() -> Vec<Fixture> {
    FAMILIES.into_iter().flat_map(of).collect()
}

fn of(family: Family) -> Vec<Fixture> {
    let to = |last, rest: &str, payload: &[u8]| {
        frame(family.client(), 40_000, vip(family, last, rest), payload)
    };
    let outer = |family| match family {
        Family::V4 => 20,
        Family::V6 => 40,
    };
    let tcp = outer(family) + 20;
    let fixture = |what, frame, verdict, out| Fixture {
        what,
        family,
        frame,
        metadata: 0,
        verdict,
        out,
    };
    let same = |what, frame, verdict| fixture(what, frame, verdict, Out::Same);
    let room = usize::from(MTU) - tcp;
    let mut all = vec![
        same("another address", to(9, "80/tcp", b""), Verdict::NotOurs),
        same("another port", to(2, "8080/tcp", b""), Verdict::NotOurs),
        same("another protocol", to(2, "81/udp", b""), Verdict::NotOurs),
        same("neighbour discovery", discovery(family), Verdict::NotOurs),
        same(
            "a frame cut before its ports",
            cut(to(2, "80/tcp", b""), 14 + outer(family)),
            Verdict::NotOurs,
        ),
        same(
            "a fragment to a listener's address",
            fragment(family, 1, true),
            Verdict::NotOurs,
        ),
        same(
            "options or extension headers",
            options(family),
            Verdict::Options,
        ),
        same(
            "to a listener",
            to(1, "443/tcp", b"hello"),
            Verdict::Listener,
        ),
        fixture(
            "tcp in its own family's tunnel",
            to(2, "80/tcp", b"hello"),
            Verdict::Sent,
            Out::Tunnel(family.backend(21)),
        ),
        fixture(
            "udp in its own family's tunnel",
            to(2, "80/udp", b"hello"),
            Verdict::Sent,
            Out::Tunnel(family.backend(21)),
        ),
        fixture(
            "an empty datagram",
            to(2, "80/udp", b""),
            Verdict::Sent,
            Out::Tunnel(family.backend(21)),
        ),
        fixture(
            "in the other family's tunnel",
            to(2, "85/tcp", b"hello"),
            Verdict::Sent,
            Out::Tunnel(family.other().backend(25)),
        ),
        fixture(
            "on the same segment",
            to(2, "81/tcp", b"hello"),
            Verdict::Sent,
            Out::Macs,
        ),
        fixture(
            "just as large as fits the tunnel",
            to(2, "80/tcp", &vec![7; room - outer(family)]),
            Verdict::Sent,
            Out::Tunnel(family.backend(21)),
        ),
        fixture(
            "just as large as fits the segment",
            to(2, "81/tcp", &vec![7; room]),
            Verdict::Sent,
            Out::Macs,
        ),
        fixture(
            "tunnel by another interface",
            to(2, "82/udp", b"hello"),
            Verdict::Redirected,
            Out::Tunnel(family.backend(23)),
        ),
        fixture(
            "segment of another interface",
            to(2, "86/udp", b"hello"),
            Verdict::Redirected,
            Out::Macs,
        ),
        same(
            "the first fragment",
            fragment(family, 2, true),
            Verdict::Fragment,
        ),
        same(
            "a later fragment",
            fragment(family, 2, false),
            Verdict::Fragment,
        ),
        same("no backend", to(2, "84/tcp", b""), Verdict::NoBackend),
        same("no next hop", to(2, "83/tcp", b""), Verdict::NoNextHop),
        same(
            "a byte too large for the tunnel",
            to(2, "80/tcp", &vec![7; room - outer(family) + 1]),
            Verdict::TooBig,
        ),
        same(
            "a byte too large for the segment",
            to(2, "81/tcp", &vec![7; room + 1]),
            Verdict::TooBig,
        ),
        same(
            "a frame shorter than its packet",
            cut(to(2, "80/tcp", b"hello"), 14 + tcp + 4),
            Verdict::Malformed,
        ),
        same(
            "a packet shorter than its headers",
            short(family, to(2, "80/tcp", b"hello")),
            Verdict::Malformed,
        ),
    ];
    for (service, out) in [
        ("80/tcp", Out::Tunnel(family.backend(21))),
        ("85/tcp", Out::Tunnel(family.other().backend(25))),
        ("81/tcp", Out::Macs),
    ] {
        let marked = with_class(family, to(2, service, b"hello"), 0xb9);
        all.push(fixture("a traffic class", marked, Verdict::Sent, out));
    }
    let mut foreign = to(2, "81/tcp", b"hello");
    foreign[..6].copy_from_slice(&[0x02, 0, 0, 0, 0, 0x77]);
    all.push(fixture(
        "to another station, on an interface that listens to all",
        foreign,
        Verdict::Sent,
        Out::Macs,
    ));
    for (what, mac) in [
        ("to a group of stations", [0x01, 0, 0x5e, 0, 0, 1]),
        ("to all stations", [0xff; 6]),
    ] {
        let mut frame = to(2, "81/tcp", b"hello");
        frame[..6].copy_from_slice(&mac);
        all.push(same(what, frame, Verdict::NotOurs));
    }
    for (what, service, ttl, verdict, out) in [
        (
            "no hop left, to the segment",
            "81/tcp",
            0,
            Verdict::Expired,
            Out::Same,
        ),
        (
            "the last hop, to the segment",
            "81/tcp",
            1,
            Verdict::Expired,
            Out::Same,
        ),
        (
            "the last hop but one, to the segment",
            "81/tcp",
            2,
            Verdict::Sent,
            Out::Macs,
        ),
        (
            "no hop left, to the tunnel",
            "80/tcp",
            0,
            Verdict::Expired,
            Out::Same,
        ),
        (
            "the last hop, to the tunnel",
            "80/tcp",
            1,
            Verdict::Sent,
            Out::Tunnel(family.backend(21)),
        ),
    ] {
        let frame = with_ttl(family, to(2, service, b"hello"), ttl);
        all.push(fixture(what, frame, verdict, out));
    }
    let padded = [to(2, "80/udp", b""), vec![0; 18]].concat();
    all.push(fixture(
        "a frame padded to Ethernet's least",
        padded,
        Verdict::Sent,
        Out::Tunnel(family.backend(21)),
    ));
    all.push(Fixture {
        metadata: 212,
        ..same(
            "no room before the frame",
            to(2, "80/tcp", b""),
            Verdict::NoHeadroom,
        )
    });
    all
}

fn with_class(family: Family, mut frame: Vec<u8>, class: u8) -> Vec<u8> {
    match family {
        Family::V4 => frame[15] = class,
        Family::V6 => {
            frame[14] = 0x60 | class >> 4;
            frame[15] = class << 4 | frame[15] & 0xf;
        }
    }
    checksummed(family, frame)
}

fn with_ttl(family: Family, mut frame: Vec<u8>, ttl: u8) -> Vec<u8> {
    match family {
        Family::V4 => frame[22] = ttl,
        Family::V6 => frame[21] = ttl,
    }
    checksummed(family, frame)
}

/// With the IPv4 header's checksum as etherparse computes it.
fn checksummed(family: Family, mut frame: Vec<u8>) -> Vec<u8> {
    if family == Family::V4 {
        let (header, _) = etherparse::Ipv4Header::from_slice(&frame[14..]).unwrap();
        frame[24..26].copy_from_slice(&header.calc_header_checksum().to_be_bytes());
    }
    frame
}

fn cut(mut frame: Vec<u8>, len: usize) -> Vec<u8> {
    frame.truncate(len);
    frame
}

/// Makes the IP length one byte less than IP and TCP header need.
fn short(family: Family, mut frame: Vec<u8>) -> Vec<u8> {
    match family {
        Family::V4 => frame[16..18].copy_from_slice(&39_u16.to_be_bytes()),
        Family::V6 => frame[18..20].copy_from_slice(&19_u16.to_be_bytes()),
    }
    frame
}

/// Who has the VIP?
fn discovery(family: Family) -> Vec<u8> {
    let mut frame = Vec::new();
    match (family.client(), family.address(2)) {
        (IpAddr::V4(from), IpAddr::V4(vip)) => {
            let arp = ArpPacket::new(
                etherparse::ArpHardwareId::ETHERNET,
                EtherType::IPV4,
                etherparse::ArpOperation::REQUEST,
                &CLIENT_MAC,
                &from.octets(),
                &[0; 6],
                &vip.octets(),
            );
            PacketBuilder::ethernet2(CLIENT_MAC, [0xff; 6])
                .arp(arp.unwrap())
                .write(&mut frame)
                .unwrap();
        }
        (IpAddr::V6(from), IpAddr::V6(vip)) => {
            let solicitation = Icmpv6Type::Unknown {
                type_u8: 135,
                code_u8: 0,
                bytes5to8: [0; 4],
            };
            PacketBuilder::ethernet2(CLIENT_MAC, NODE_MAC)
                .ipv6(from.octets(), vip.octets(), 255)
                .icmpv6(solicitation)
                .write(&mut frame, &vip.octets())
                .unwrap();
        }
        _ => unreachable!("one family"),
    }
    frame
}

fn options(family: Family) -> Vec<u8> {
    let (from, to) = (family.client(), family.address(2));
    let mut packet = Vec::new();
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let mut ip =
                etherparse::Ipv4Header::new(28, 61, IpNumber::TCP, from.octets(), to.octets())
                    .unwrap();
            ip.options = Ipv4Options::try_from(&[1_u8, 1, 1, 0][..]).unwrap();
            ip.header_checksum = ip.calc_header_checksum();
            ip.write(&mut packet).unwrap();
            packet.extend_from_slice(&[0; 28]);
            around(EtherType::IPV4, &packet)
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let auth = IpAuthHeader::new(IpNumber::TCP, 1, 1, &[0; 12]).unwrap();
            let ip = etherparse::Ipv6Header {
                payload_length: (auth.header_len() + 20) as u16,
                next_header: IpNumber::AUTHENTICATION_HEADER,
                hop_limit: 61,
                source: from.octets(),
                destination: to.octets(),
                ..etherparse::Ipv6Header::default()
            };
            ip.write(&mut packet).unwrap();
            auth.write(&mut packet).unwrap();
            packet.extend_from_slice(&[0; 20]);
            around(EtherType::IPV6, &packet)
        }
        _ => unreachable!("one family"),
    }
}

fn fragment(family: Family, last: u8, first: bool) -> Vec<u8> {
    let (from, to) = (family.client(), family.address(last));
    let offset = IpFragOffset::try_new(if first { 0 } else { 185 }).unwrap();
    let mut packet = Vec::new();
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let mut ip =
                etherparse::Ipv4Header::new(64, 61, IpNumber::UDP, from.octets(), to.octets())
                    .unwrap();
            (ip.dont_fragment, ip.more_fragments, ip.fragment_offset) = (false, first, offset);
            ip.header_checksum = ip.calc_header_checksum();
            ip.write(&mut packet).unwrap();
            packet.extend_from_slice(&[0; 64]);
            around(EtherType::IPV4, &packet)
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let fragment = etherparse::Ipv6FragmentHeader::new(IpNumber::UDP, offset, first, 9);
            let ip = etherparse::Ipv6Header {
                payload_length: 72,
                next_header: IpNumber::IPV6_FRAGMENTATION_HEADER,
                hop_limit: 61,
                source: from.octets(),
                destination: to.octets(),
                ..etherparse::Ipv6Header::default()
            };
            ip.write(&mut packet).unwrap();
            fragment.write(&mut packet).unwrap();
            packet.extend_from_slice(&[0; 64]);
            around(EtherType::IPV6, &packet)
        }
        _ => unreachable!("one family"),
    }
}
