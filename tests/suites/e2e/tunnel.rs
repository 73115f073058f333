//! `deliver: ipip`: what arrives at a backend is the client's packet, whole, in an outer header.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd as _;

use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use socket2::{Domain, Protocol, Socket, Type};
use tollgate_tests::gate::PATIENCE;

use crate::site::{Site, vip_v4, vip_v6};

/// IPv4 in IP (RFC 2003), IPv6 in IP (RFC 2473, RFC 4213).
const IPIP: i32 = 4;
const IPV6: i32 = 41;

/// A packet as the backend's kernel hands it to a raw socket.
struct Arrived {
    outer_source: IpAddr,
    inner: Vec<u8>,
}

#[test]
fn packets_arrive_encapsulated_with_the_clients_packet_inside() {
    let site = Site::lay();
    let gate = site.open();
    let v4_in_v4 = raw(&site, Domain::IPV4, IPIP);
    let v6_in_v6 = raw(&site, Domain::IPV6, IPV6);
    let v4_in_v6 = raw(&site, Domain::IPV6, IPIP);
    let v6_in_v4 = raw(&site, Domain::IPV4, IPV6);

    for (service, vip, socket) in [
        ("tunnel-44", vip_v4(30), &v4_in_v4),
        ("tunnel-66", vip_v6(0x30), &v6_in_v6),
        ("tunnel-46", vip_v4(31), &v4_in_v6),
        ("tunnel-64", vip_v6(0x31), &v6_in_v4),
    ] {
        let vip = SocketAddr::new(vip, 7000);
        let mut outer_sources = std::collections::BTreeSet::new();
        for n in 0..32 {
            let payload = format!("{service} {n}");
            let source = send(&site, vip, payload.as_bytes());
            let arrived = receive(socket);
            check_inner(&arrived.inner, source, vip, payload.as_bytes());
            outer_sources.insert(arrived.outer_source);
        }
        // Backends spread their receive queues by the outer addresses.
        assert!(
            outer_sources.len() > 8,
            "{service}: outer sources hardly vary: {outer_sources:?}"
        );
        let counted = gate.service(service);
        assert_eq!(counted["packets"], 32, "{counted:#}");
    }
}

#[test]
fn a_syn_arrives_encapsulated_too() {
    let site = Site::lay();
    let _gate = site.open();
    let socket = raw(&site, Domain::IPV4, IPIP);
    let vip = SocketAddr::new(vip_v4(30), 7001);
    // Nobody answers there: what is looked at is the first packet.
    let connecting = site.client.ns.run(|| {
        let connecting = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).unwrap();
        connecting.set_nonblocking(true).unwrap();
        let started = connecting.connect(&vip.into());
        assert_eq!(
            started.unwrap_err().raw_os_error(),
            Some(nix::errno::Errno::EINPROGRESS as i32)
        );
        connecting
    });
    let arrived = receive(&socket);
    let packet = SlicedPacket::from_ip(&arrived.inner).unwrap();
    let Some(TransportSlice::Tcp(tcp)) = &packet.transport else {
        panic!("no TCP: {packet:?}")
    };
    let Some(NetSlice::Ipv4(ip)) = &packet.net else {
        panic!("no IPv4: {packet:?}")
    };
    assert!(tcp.syn() && !tcp.ack());
    assert_eq!(
        IpAddr::from(ip.header().source_addr()),
        IpAddr::from(site.client.v4)
    );
    assert_eq!(IpAddr::from(ip.header().destination_addr()), vip.ip());
    let sum = tcp.calc_checksum_ipv4(ip.header().source(), ip.header().destination());
    assert_eq!(
        tcp.checksum(),
        sum.unwrap(),
        "the inner checksum is not complete"
    );
    drop(connecting);
}

fn raw(site: &Site, domain: Domain, protocol: i32) -> Socket {
    let socket = site.tunnel.ns.run(|| {
        let socket = Socket::new(domain, Type::RAW, Some(Protocol::from(protocol)))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok::<_, io::Error>(socket)
    });
    socket.unwrap().unwrap()
}

/// Sends a datagram from a port of the kernel's choice, which is returned with the client's address.
fn send(site: &Site, vip: SocketAddr, payload: &[u8]) -> SocketAddr {
    let sent = site.client.ns.run(|| {
        let client: IpAddr = match vip {
            SocketAddr::V4(_) => site.client.v4.into(),
            SocketAddr::V6(_) => site.client.v6.into(),
        };
        let socket = UdpSocket::bind((client, 0))?;
        socket.send_to(payload, vip)?;
        socket.local_addr()
    });
    sent.unwrap().unwrap()
}

fn receive(socket: &Socket) -> Arrived {
    use std::io::Read as _;
    if socket.local_addr().unwrap().is_ipv6() {
        return receive_v6(socket);
    }
    let mut buffer = vec![0; 65_536];
    let mut reader = socket;
    let length = reader.read(&mut buffer).expect("an encapsulated packet");
    let packet = SlicedPacket::from_ip(&buffer[..length]).unwrap();
    let Some(NetSlice::Ipv4(outer)) = &packet.net else {
        panic!("no outer IPv4: {packet:?}")
    };
    let header = outer.header();
    assert_eq!(
        usize::from(header.total_len()),
        length,
        "the outer length is not the packet's"
    );
    assert_eq!(
        header.header_checksum(),
        header.to_header().calc_header_checksum()
    );
    Arrived {
        outer_source: header.source_addr().into(),
        inner: buffer[usize::from(header.ihl()) * 4..length].to_vec(),
    }
}

/// IPv6 raw sockets show what follows the outer header, and its source beside it. socket2 would hand both out as
/// uninitialised memory.
fn receive_v6(socket: &Socket) -> Arrived {
    use nix::sys::socket::{SockaddrIn6, recvfrom};
    let mut inner = vec![0; 65_536];
    let (length, source) =
        recvfrom::<SockaddrIn6>(socket.as_raw_fd(), &mut inner).expect("an encapsulated packet");
    inner.truncate(length);
    Arrived {
        outer_source: source.expect("the outer source").ip().into(),
        inner,
    }
}

#[track_caller]
fn check_inner(inner: &[u8], source: SocketAddr, vip: SocketAddr, payload: &[u8]) {
    let packet = SlicedPacket::from_ip(inner).unwrap();
    let (from, to, sum) = match (&packet.net, &packet.transport) {
        (Some(NetSlice::Ipv4(ip)), Some(TransportSlice::Udp(udp))) => {
            let header = ip.header();
            assert_eq!(
                header.header_checksum(),
                header.to_header().calc_header_checksum()
            );
            let udp_header = udp.to_header();
            let sum = udp_header.calc_checksum_ipv4(&header.to_header(), udp.payload());
            (
                header.source_addr().into(),
                header.destination_addr().into(),
                sum,
            )
        }
        (Some(NetSlice::Ipv6(ip)), Some(TransportSlice::Udp(udp))) => {
            let header = ip.header();
            let sum = udp
                .to_header()
                .calc_checksum_ipv6(&header.to_header(), udp.payload());
            (
                header.source_addr().into(),
                header.destination_addr().into(),
                sum,
            )
        }
        other => panic!("no datagram inside: {other:?}"),
    };
    let Some(TransportSlice::Udp(udp)) = &packet.transport else {
        unreachable!()
    };
    assert_eq!(SocketAddr::new(from, udp.source_port()), source);
    assert_eq!(SocketAddr::new(to, udp.destination_port()), vip);
    assert_eq!(udp.payload(), payload);
    assert_eq!(
        udp.checksum(),
        sum.unwrap(),
        "the inner checksum is not complete"
    );
}
