//! Frames built and read by etherparse, which knows nothing of Tollgate: the oracle for lengths and checksums.

use std::net::IpAddr;

use etherparse::{
    EtherType, Ethernet2Header, IpNumber, Ipv4Header, Ipv6Header, LaxPacketHeaders, PacketBuilder,
    TransportHeader,
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

/// The first frame of a TCP connection to a service: a SYN.
#[must_use]
pub fn opening(source: IpAddr, port: u16, vip: Vip) -> Vec<u8> {
    let ethernet = PacketBuilder::ethernet2(CLIENT_MAC, NODE_MAC);
    let ip = match (source, vip.ip) {
        (IpAddr::V4(source), IpAddr::V4(vip)) => ethernet.ipv4(source.octets(), vip.octets(), 61),
        (IpAddr::V6(source), IpAddr::V6(vip)) => ethernet.ipv6(source.octets(), vip.octets(), 61),
        _ => panic!("{source} and {vip} are of different families"),
    };
    let mut frame = Vec::new();
    ip.tcp(port, vip.port, 7, 65_000)
        .syn()
        .write(&mut frame, b"")
        .expect("a frame");
    frame
}

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
    /// The packet inside.
    pub inner: Vec<u8>,
}

/// Reads a tunnelled frame and checks all that does not depend on who sent it: versions, lengths, the header checksum,
/// the protocol number inside.
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
        inner: inner.to_vec(),
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
