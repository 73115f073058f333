//! Frames built and read by etherparse, which knows nothing of Tollgate: the oracle for lengths and checksums.

use std::net::IpAddr;

use etherparse::{
    EtherType, Ethernet2Header, Icmpv4Header, Icmpv4Type, Icmpv6Header, Icmpv6Type, IpNumber,
    Ipv4Header, Ipv6Header, LaxPacketHeaders, PacketBuilder, TransportHeader, UdpHeader, icmpv4,
};
use tollgate_datapath::model::{Proto, Vip};

/// The MAC address of whoever sends to the node.
pub const CLIENT_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0xc1];
/// The node's own MAC address.
pub const NODE_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x01];

/// A frame from a client to a service, all checksums right.
#[must_use]
pub fn frame(source: IpAddr, port: u16, vip: Vip, payload: &[u8]) -> Vec<u8> {
    let ethernet = PacketBuilder::ethernet2(CLIENT_MAC, NODE_MAC);
    let ip = match (source, vip.ip) {
        (IpAddr::V4(source), IpAddr::V4(vip)) => ethernet.ipv4(source.octets(), vip.octets(), 61),
        (IpAddr::V6(source), IpAddr::V6(vip)) => ethernet.ipv6(source.octets(), vip.octets(), 61),
        _ => panic!("{source} and {vip} are of different families"),
    };
    let mut frame = Vec::new();
    match vip.proto {
        Proto::Tcp => ip.tcp(port, vip.port, 7, 65_000).write(&mut frame, payload),
        Proto::Udp => ip.udp(port, vip.port).write(&mut frame, payload),
    }
    .expect("a frame");
    frame
}

/// A frame of a TCP connection to a service, with this sequence number and these flags; its checksum is not right.
#[must_use]
pub fn segment(
    source: IpAddr,
    port: u16,
    vip: Vip,
    sequence: u32,
    flags: u8,
    payload: &[u8],
) -> Vec<u8> {
    let mut frame = frame(source, port, vip, payload);
    let header = frame.len() - payload.len() - TCP_HEADER;
    frame[header + 4..][..4].copy_from_slice(&sequence.to_be_bytes());
    frame[header + 13] = flags;
    frame
}

/// Bytes of a TCP header without options.
const TCP_HEADER: usize = 20;

/// A frame around an IP packet that somebody else has made.
#[must_use]
pub fn around(ethertype: EtherType, packet: &[u8]) -> Vec<u8> {
    let header = Ethernet2Header {
        source: CLIENT_MAC,
        destination: NODE_MAC,
        ether_type: ethertype,
    };
    [&header.to_bytes()[..], packet].concat()
}

/// The outer headers of a tunnelled frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tunnelled {
    /// Destination MAC address.
    pub to_mac: [u8; 6],
    /// Source MAC address.
    pub from_mac: [u8; 6],
    /// Outer source.
    pub from: IpAddr,
    /// Outer destination.
    pub to: IpAddr,
    /// TOS byte or traffic class.
    pub class: u8,
    /// TTL or hop limit.
    pub ttl: u8,
    /// Of GUE the UDP source and destination port.
    pub gue: Option<(u16, u16)>,
    /// The packet inside.
    pub inner: Vec<u8>,
}

/// Reads a tunnelled frame and checks all that does not depend on who sent it: versions, lengths, the header checksum,
/// the protocol number inside, and of GUE that nothing else is said.
#[must_use]
pub fn tunnelled(frame: &[u8]) -> Tunnelled {
    let (ethernet, packet) = Ethernet2Header::from_slice(frame).expect("an Ethernet header");
    let (from, to, class, ttl, next, inner) = match ethernet.ether_type {
        EtherType::IPV4 => {
            let (ip, inner) = Ipv4Header::from_slice(packet).expect("an IPv4 header");
            assert_eq!(
                ip.header_checksum,
                ip.calc_header_checksum(),
                "the outer checksum"
            );
            assert_eq!(usize::from(ip.total_len), packet.len(), "the outer length");
            assert!(ip.dont_fragment && !ip.more_fragments && ip.options.is_empty());
            let class = ip.dscp.value() << 2 | ip.ecn.value();
            (
                ip.source.into(),
                ip.destination.into(),
                class,
                ip.time_to_live,
                ip.protocol,
                inner,
            )
        }
        EtherType::IPV6 => {
            let (ip, inner) = Ipv6Header::from_slice(packet).expect("an IPv6 header");
            assert_eq!(
                usize::from(ip.payload_length),
                inner.len(),
                "the outer length"
            );
            (
                ip.source.into(),
                ip.destination.into(),
                ip.traffic_class,
                ip.hop_limit,
                ip.next_header,
                inner,
            )
        }
        other => panic!("the frame is {other:?}"),
    };
    let (next, inner, gue) = match next {
        IpNumber::UDP => {
            let (next, inner, ports) = in_gue(inner);
            (next, inner, Some(ports))
        }
        next => (next, inner, None),
    };
    let version = match next {
        IpNumber::IPV4 => 4,
        IpNumber::IPV6 => 6,
        other => panic!("inside is {other:?}"),
    };
    assert_eq!(
        inner[0] >> 4,
        version,
        "the packet inside is what the protocol number says"
    );
    Tunnelled {
        to_mac: ethernet.destination,
        from_mac: ethernet.source,
        from,
        to,
        class,
        ttl,
        gue,
        inner: inner.to_vec(),
    }
}

/// What is behind a UDP and a GUE header (draft-ietf-intarea-gue-09, section 3): its protocol, itself, the ports.
fn in_gue(datagram: &[u8]) -> (IpNumber, &[u8], (u16, u16)) {
    let (udp, payload) = UdpHeader::from_slice(datagram).expect("a UDP header");
    assert_eq!(usize::from(udp.length), datagram.len(), "the UDP length");
    assert_eq!(udp.checksum, 0, "the UDP checksum");
    let (gue, inner) = payload.split_first_chunk::<4>().expect("a GUE header");
    assert_eq!([gue[0], gue[2], gue[3]], [0; 3], "version 0, data, no more");
    (
        IpNumber(gue[1]),
        inner,
        (udp.source_port, udp.destination_port),
    )
}

/// An ICMP message that says how long packets may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Destination MAC address.
    pub to_mac: [u8; 6],
    /// Source MAC address.
    pub from_mac: [u8; 6],
    /// Who says it.
    pub from: IpAddr,
    /// Who is told.
    pub to: IpAddr,
    /// TTL or hop limit.
    pub ttl: u8,
    /// Largest packet that gets through.
    pub mtu: u32,
    /// The beginning of the packet that was too long.
    pub quoted: Vec<u8>,
}

/// Reads an ICMP message that says how long packets may be, and checks all its lengths and checksums.
#[must_use]
pub fn told(frame: &[u8]) -> Told {
    let (ethernet, packet) = Ethernet2Header::from_slice(frame).expect("an Ethernet header");
    let (from, to, ttl, mtu, quoted) = match ethernet.ether_type {
        EtherType::IPV4 => {
            let (ip, message) = Ipv4Header::from_slice(packet).expect("an IPv4 header");
            assert_eq!(ip.header_checksum, ip.calc_header_checksum());
            assert_eq!(usize::from(ip.total_len), packet.len(), "the length");
            assert_eq!(ip.protocol, IpNumber::ICMP);
            let (icmp, quoted) = Icmpv4Header::from_slice(message).expect("an ICMP message");
            assert_eq!(icmp.checksum, icmp.icmp_type.calc_checksum(quoted));
            let Icmpv4Type::DestinationUnreachable(
                icmpv4::DestUnreachableHeader::FragmentationNeeded { next_hop_mtu },
            ) = icmp.icmp_type
            else {
                panic!("the message is {:?}", icmp.icmp_type)
            };
            (
                ip.source.into(),
                ip.destination.into(),
                ip.time_to_live,
                next_hop_mtu.into(),
                quoted,
            )
        }
        EtherType::IPV6 => {
            let (ip, message) = Ipv6Header::from_slice(packet).expect("an IPv6 header");
            assert_eq!(usize::from(ip.payload_length), message.len(), "the length");
            assert_eq!(ip.next_header, IpNumber::IPV6_ICMP);
            let (icmp, quoted) = Icmpv6Header::from_slice(message).expect("an ICMPv6 message");
            let checksum = icmp
                .icmp_type
                .calc_checksum(ip.source, ip.destination, quoted);
            assert_eq!(Ok(icmp.checksum), checksum);
            let Icmpv6Type::PacketTooBig { mtu } = icmp.icmp_type else {
                panic!("the message is {:?}", icmp.icmp_type)
            };
            (
                ip.source.into(),
                ip.destination.into(),
                ip.hop_limit,
                mtu,
                quoted,
            )
        }
        other => panic!("the frame is {other:?}"),
    };
    Told {
        to_mac: ethernet.destination,
        from_mac: ethernet.source,
        from,
        to,
        ttl,
        mtu,
        quoted: quoted.to_vec(),
    }
}

/// A frame in words, for messages of tests that fail.
#[must_use]
pub fn describe(frame: &[u8]) -> String {
    let Ok(headers) = LaxPacketHeaders::from_ethernet(frame) else {
        return format!("{} bytes that are no frame", frame.len());
    };
    let ip = match &headers.net {
        Some(etherparse::NetHeaders::Ipv4(ip, _)) => format!(
            "{} > {} proto {}",
            IpAddr::from(ip.source),
            IpAddr::from(ip.destination),
            ip.protocol.0
        ),
        Some(etherparse::NetHeaders::Ipv6(ip, _)) => format!(
            "{} > {} next {}",
            IpAddr::from(ip.source),
            IpAddr::from(ip.destination),
            ip.next_header.0
        ),
        _ => "not IP".to_owned(),
    };
    let ports = match &headers.transport {
        Some(TransportHeader::Tcp(tcp)) => {
            format!(" tcp {} > {}", tcp.source_port, tcp.destination_port)
        }
        Some(TransportHeader::Udp(udp)) => {
            format!(" udp {} > {}", udp.source_port, udp.destination_port)
        }
        _ => String::new(),
    };
    format!("{ip}{ports}, {} bytes", frame.len())
}
