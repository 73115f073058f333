//! Services with `deliver: nat` at TC: each rewriting by test runs, with etherparse as the oracle for lengths and checksums.

use std::{
    collections::HashSet,
    net::{IpAddr, SocketAddr},
};

use etherparse::{
    NetHeaders, PacketBuilder, PacketHeaders, TransportHeader, checksum::Sum16BitWords,
};
use tollgate::demo::lab::Netns;
use tollgate_common::{
    nat::{FIRST_PORT, PORTS},
    tag::Tags,
    verdict::Verdict,
};
use tollgate_datapath::{
    maps::second,
    model::{Backend, Deliver, Model, Nat, Proto, Service, Share, Snat, Vip},
    reconcile::Hops,
    tables::NextHop,
};
use tollgate_tests::{
    bpf::{Bench, INGRESS, action},
    packet::{CLIENT_MAC, NODE_MAC},
};

use crate::fixtures::{
    FAMILIES, Family, MTU, NEXT_MAC,
    build::{answer, cut, message, piece, short, with_ttl},
    errors, vip,
};

mod ends;

/// What the TC program answers (linux/pkt_cls.h).
const UNSPEC: i32 = -1;
const SHOT: i32 = 2;
const REDIRECT: i32 = 7;

const CLIENT_PORT: u16 = 50_000;
const PORT: u16 = 8080;

/// What a TCP segment says.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flags {
    Syn,
    SynAck,
    Ack,
    FinAck,
    Rst,
}

/// A frame from one end to another, all checksums right. Of UDP the flags say nothing.
fn frame(proto: Proto, from: SocketAddr, to: SocketAddr, flags: Flags, payload: &[u8]) -> Vec<u8> {
    let ethernet = PacketBuilder::ethernet2(CLIENT_MAC, NODE_MAC);
    let ip = match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => ethernet.ipv4(from.octets(), to.octets(), 61),
        (IpAddr::V6(from), IpAddr::V6(to)) => ethernet.ipv6(from.octets(), to.octets(), 61),
        _ => panic!("{from} and {to} are of different families"),
    };
    let mut frame = Vec::new();
    match proto {
        Proto::Udp => ip
            .udp(from.port(), to.port())
            .write(&mut frame, payload)
            .unwrap(),
        Proto::Tcp => {
            let tcp = ip.tcp(from.port(), to.port(), 7, 65_000);
            let tcp = match flags {
                Flags::Syn => tcp.syn(),
                Flags::SynAck => tcp.syn().ack(9),
                Flags::Ack => tcp.ack(9),
                Flags::FinAck => tcp.fin().ack(9),
                Flags::Rst => tcp.rst(),
            };
            tcp.write(&mut frame, payload).unwrap();
        }
    }
    frame
}

/// Reads a frame and checks its lengths and checksums: its ends, its TTL and its payload.
fn read(frame: &[u8]) -> (SocketAddr, SocketAddr, u8, Vec<u8>) {
    let headers = PacketHeaders::from_ethernet_slice(frame).unwrap();
    read_headers(&headers)
}

fn read_headers(headers: &PacketHeaders<'_>) -> (SocketAddr, SocketAddr, u8, Vec<u8>) {
    let payload = headers.payload.slice();
    let (from, to, ttl): (IpAddr, IpAddr, u8) = match headers.net.as_ref().unwrap() {
        NetHeaders::Ipv4(ip, _) => {
            assert_eq!(ip.header_checksum, ip.calc_header_checksum());
            (ip.source.into(), ip.destination.into(), ip.time_to_live)
        }
        NetHeaders::Ipv6(ip, _) => (ip.source.into(), ip.destination.into(), ip.hop_limit),
        other => panic!("{other:?}"),
    };
    let (checksum, right, ports) = match (headers.transport.as_ref().unwrap(), &headers.net) {
        (TransportHeader::Tcp(tcp), Some(NetHeaders::Ipv4(ip, _))) => (
            tcp.checksum,
            tcp.calc_checksum_ipv4(ip, payload).unwrap(),
            (tcp.source_port, tcp.destination_port),
        ),
        (TransportHeader::Tcp(tcp), Some(NetHeaders::Ipv6(ip, _))) => (
            tcp.checksum,
            tcp.calc_checksum_ipv6(ip, payload).unwrap(),
            (tcp.source_port, tcp.destination_port),
        ),
        (TransportHeader::Udp(udp), Some(NetHeaders::Ipv4(ip, _))) => (
            udp.checksum,
            udp.calc_checksum_ipv4(ip, payload).unwrap(),
            (udp.source_port, udp.destination_port),
        ),
        (TransportHeader::Udp(udp), Some(NetHeaders::Ipv6(ip, _))) => (
            udp.checksum,
            udp.calc_checksum_ipv6(ip, payload).unwrap(),
            (udp.source_port, udp.destination_port),
        ),
        other => panic!("{other:?}"),
    };
    assert_eq!(checksum, right, "{from} > {to}");
    (
        SocketAddr::new(from, ports.0),
        SocketAddr::new(to, ports.1),
        ttl,
        payload.to_vec(),
    )
}

/// The ICMP error of a frame, its checksum right: from whom, to whom, and the packet inside, with right checksums too.
fn read_error(frame: &[u8]) -> (IpAddr, IpAddr, SocketAddr, SocketAddr, Vec<u8>) {
    let headers = PacketHeaders::from_ethernet_slice(frame).unwrap();
    let inside = headers.payload.slice();
    let (from, to): (IpAddr, IpAddr) = match (headers.net.as_ref(), headers.transport.as_ref()) {
        (Some(NetHeaders::Ipv4(ip, _)), Some(TransportHeader::Icmpv4(icmp))) => {
            assert_eq!(ip.header_checksum, ip.calc_header_checksum());
            // Over the bytes: what the words behind the checksum mean is lost on the way for some types.
            let sum = Sum16BitWords::new().add_slice(&frame[34..]);
            assert_eq!(sum.ones_complement(), 0, "{icmp:?}");
            assert_eq!(ip.time_to_live, 60);
            (ip.source.into(), ip.destination.into())
        }
        (Some(NetHeaders::Ipv6(ip, _)), Some(TransportHeader::Icmpv6(icmp))) => {
            let (from, to) = (ip.source, ip.destination);
            let sum = Sum16BitWords::new()
                .add_16bytes(from)
                .add_16bytes(to)
                .add_2bytes([0, ip.next_header.0])
                .add_2bytes(ip.payload_length.to_be_bytes())
                .add_slice(&frame[54..]);
            assert_eq!(sum.ones_complement(), 0, "{icmp:?}");
            assert_eq!(ip.hop_limit, 60);
            (from.into(), to.into())
        }
        other => panic!("{other:?}"),
    };
    let quoted = PacketHeaders::from_ip_slice(inside).unwrap();
    let (inner_from, inner_to, _, payload) = read_headers(&quoted);
    (from, to, inner_from, inner_to, payload)
}

/// Some service for each: plain and with sources of a network, TCP and UDP, at one backend with another port.
struct Stage {
    bench: Bench,
    model: Model,
    hops: Hops,
}

fn snat(family: Family) -> Snat {
    Snat::From(match family {
        Family::V4 => "10.9.8.0/30".parse().unwrap(),
        Family::V6 => "fd00:9::/126".parse().unwrap(),
    })
}

fn is_of_snat(family: Family, address: IpAddr) -> bool {
    match snat(family) {
        Snat::From(network) => network.covers(address),
        Snat::Own => false,
    }
}

fn at(vip: Vip) -> SocketAddr {
    SocketAddr::new(vip.ip, vip.port)
}

impl Stage {
    fn set() -> Self {
        let (mut model, mut hops) = (Model::default(), Hops::new());
        for family in FAMILIES {
            for proto in ["tcp", "udp"] {
                let mut add = |port: u16, last, snat| {
                    let backend = Backend {
                        address: family.backend(last),
                        weight: 1,
                        drain: false,
                    };
                    let nat = Nat {
                        ports: [(backend.address, PORT)].into(),
                        backends: vec![backend],
                        snat,
                        ..Nat::default()
                    };
                    let vip = vip(family, 2, &format!("{port}/{proto}"));
                    model
                        .services
                        .push(Service::new(vip.to_string(), vip, Deliver::Nat(nat)));
                };
                add(80, 21, None);
                add(81, 21, Some(snat(family)));
                add(82, 21, None);
                add(83, 22, None);
            }
            let hop = NextHop {
                ifindex: INGRESS,
                source: NODE_MAC,
                destination: NEXT_MAC,
                mtu: MTU,
                tags: Tags::NONE,
            };
            hops.insert(family.backend(21), hop);
        }
        let mut bench = Bench::new();
        bench.apply(&model, &hops);
        Self { bench, model, hops }
    }

    /// Gives the services at a port this backend alone.
    fn replace(&mut self, family: Family, port: u16, last: u8) {
        let address = family.backend(last);
        let hop = self.hops[&family.backend(21)].clone();
        self.hops.insert(address, hop);
        let is_meant =
            |one: &&mut Service| one.vip.port == port && one.vip.ip.is_ipv4() == address.is_ipv4();
        for service in self.model.services.iter_mut().filter(is_meant) {
            let Deliver::Nat(nat) = &mut service.deliver else {
                panic!("a translated service")
            };
            nat.ports = [(address, PORT)].into();
            nat.backends[0].address = address;
        }
        self.bench.apply(&self.model, &self.hops);
    }

    /// Says of all backends of the services at a port how many quarters of their share they have.
    fn share(&mut self, port: u16, quarters: u8) {
        let services = self.model.services.iter_mut();
        for service in services.filter(|one| one.vip.port == port) {
            let backends = service.deliver.backends().iter();
            service.reduced = backends
                .map(|one| (one.address, Share::of(quarters)))
                .collect();
            if quarters == 4 {
                service.reduced.clear();
            }
        }
        self.bench.apply(&self.model, &self.hops);
    }

    /// Sends a frame that is to be redirected.
    #[track_caller]
    fn sent(&mut self, frame: &[u8], verdict: Verdict) -> Vec<u8> {
        let (action, counted, out) = self.bench.translate(frame);
        assert_eq!((action, counted), (REDIRECT, Some(verdict)));
        out
    }

    #[track_caller]
    fn dropped(&mut self, frame: &[u8], verdict: Verdict) {
        let (action, counted, _) = self.bench.translate(frame);
        assert_eq!((action, counted), (SHOT, Some(verdict)));
    }
}

/// In a namespace of its own, where nothing is routed: answers leave by the interface that the client came in at.
fn alone<T: Send>(run: impl FnOnce() -> T + Send) -> T {
    Netns::new("nat").unwrap().run(run).unwrap()
}

#[test]
fn packets_are_translated_there_and_back() {
    alone(|| {
        let mut stage = Stage::set();
        for family in FAMILIES {
            for proto in [Proto::Tcp, Proto::Udp] {
                for port in [80, 81] {
                    there_and_back(&mut stage, family, proto, port);
                }
            }
        }
    });
}

fn there_and_back(stage: &mut Stage, family: Family, proto: Proto, port: u16) {
    let client = SocketAddr::new(family.client(), CLIENT_PORT);
    let to = at(vip(family, 2, &format!("{port}/{proto}")));
    let backend = SocketAddr::new(family.backend(21), PORT);
    let mut source = None;
    for (flags, answers) in [
        (Flags::Syn, Flags::SynAck),
        (Flags::Ack, Flags::Ack),
        (Flags::FinAck, Flags::FinAck),
    ] {
        // An odd length too.
        for payload in [&b""[..], b"hello, backend!", &[0xff; 1400]] {
            let before = frame(proto, client, to, flags, payload);
            // XDP passes it, unchanged and uncounted.
            if payload.len() < 100 {
                let (action, _) = stage.bench.glance(&before);
                assert_eq!(action, action::PASS);
            }
            let after = stage.sent(&before, Verdict::Translated);
            let (from, reached, ttl, carried) = read(&after);
            assert_eq!((reached, ttl, &carried[..]), (backend, 60, payload));
            assert_eq!(&after[..12], &[NEXT_MAC, NODE_MAC].concat()[..]);
            // A flow has one source.
            assert_eq!(*source.get_or_insert(from), from);
            if port == 80 {
                assert_eq!(from, client);
            } else {
                assert!(is_of_snat(family, from.ip()), "{from}");
                assert!((FIRST_PORT..FIRST_PORT + PORTS).contains(&from.port()));
            }
            let back = frame(proto, backend, from, answers, payload);
            let back = stage.sent(&back, Verdict::Answered);
            let (from, reached, ttl, carried) = read(&back);
            assert_eq!(
                (from, reached, ttl, &carried[..]),
                (to, client, 60, payload)
            );
        }
    }
}

#[test]
fn errors_are_translated_with_what_they_are_about() {
    alone(|| {
        let mut stage = Stage::set();
        for family in FAMILIES {
            for proto in [Proto::Tcp, Proto::Udp] {
                for port in [80, 81] {
                    for kind in errors(family) {
                        errors_of(&mut stage, family, proto, port, kind);
                    }
                }
            }
        }
    });
}

fn errors_of(stage: &mut Stage, family: Family, proto: Proto, port: u16, kind: (u8, u8)) {
    let client = SocketAddr::new(family.client(), CLIENT_PORT);
    let to = at(vip(family, 2, &format!("{port}/{proto}")));
    let backend = SocketAddr::new(family.backend(21), PORT);
    let sent = frame(proto, client, to, Flags::Syn, b"to the backend");
    let sent = stage.sent(&sent, Verdict::Translated);
    let (source, ..) = read(&sent);
    let answered = frame(proto, backend, source, Flags::SynAck, b"to the client");
    let answered = stage.sent(&answered, Verdict::Answered);

    // A router behind us, about what the client has sent: it comes from the service, as the packet inside went there.
    let error = message(family, source.ip(), kind, &sent[14..]);
    let error = stage.sent(&error, Verdict::Answered);
    let said = (to.ip(), client.ip(), client, to, b"to the backend".to_vec());
    assert_eq!(read_error(&error), said);
    // A router before us, about what the backend has sent.
    let error = message(family, to.ip(), kind, &answered[14..]);
    let error = stage.sent(&error, Verdict::Translated);
    let said = (
        family.router(),
        backend.ip(),
        backend,
        source,
        b"to the client".to_vec(),
    );
    assert_eq!(read_error(&error), said);
    // One that quotes no more than it must (RFC 792): there is no checksum inside of TCP.
    let least = family.header() + 8;
    let error = message(family, source.ip(), kind, &sent[14..14 + least]);
    let _translated = stage.sent(&error, Verdict::Answered);
    // The client itself: with sources of ours it comes from one.
    let mut error = message(family, to.ip(), kind, &answered[14..]);
    error = crate::fixtures::build::from(error, client.ip());
    let _translated = stage.sent(&error, Verdict::Translated);
    // About nobody's flow.
    let stranger = frame(proto, client, SocketAddr::new(to.ip(), 80), Flags::Ack, b"");
    let about = answer(&crate::fixtures::build::from(stranger, family.router()));
    let error = message(family, to.ip(), kind, &about);
    stage.dropped(&error, Verdict::NoFlow);
}

#[test]
fn what_cannot_be_translated_is_dropped_and_counted() {
    alone(|| {
        let mut stage = Stage::set();
        for family in FAMILIES {
            let client = SocketAddr::new(family.client(), CLIENT_PORT);
            let to = |port| at(vip(family, 2, &format!("{port}/tcp")));
            let tcp = |port, flags| frame(Proto::Tcp, client, to(port), flags, b"hello");
            // Nothing is known, and it begins nothing.
            for flags in [Flags::SynAck, Flags::Rst] {
                stage.dropped(&tcp(80, flags), Verdict::NoFlow);
            }
            stage.dropped(&tcp(81, Flags::Ack), Verdict::NoFlow);
            stage.dropped(&tcp(83, Flags::Syn), Verdict::NoNextHop);
            let long = frame(Proto::Tcp, client, to(80), Flags::Syn, &[1; 1500]);
            stage.dropped(&long, Verdict::TooBig);
            stage.dropped(&with_ttl(tcp(80, Flags::Syn), 1), Verdict::Expired);
            stage.dropped(&short(tcp(80, Flags::Syn)), Verdict::Malformed);
            let cut = cut(tcp(80, Flags::Syn), 37 + family.header());
            stage.dropped(&cut, Verdict::Malformed);
            // A connection of another node's, or from before a loss: it goes where its slot says.
            let ack = frame(
                Proto::Tcp,
                SocketAddr::new(family.client(), 50_001),
                to(80),
                Flags::Ack,
                b"hello",
            );
            let (from, reached, ..) = read(&stage.sent(&ack, Verdict::Translated));
            assert_eq!((from.port(), reached.port()), (50_001, PORT));
            // What is for no service and no answer passes, uncounted here.
            let other = frame(Proto::Tcp, client, to(99), Flags::Syn, b"");
            assert_eq!(stage.bench.translate(&other), (UNSPEC, None, other));
        }
        // XDP drops fragments already.
        let udp = frame(
            Proto::Udp,
            SocketAddr::new(Family::V4.client(), CLIENT_PORT),
            at(vip(Family::V4, 2, "80/udp")),
            Flags::Ack,
            &[7; 64],
        );
        for offset in [0, 3] {
            let ran = stage.bench.run(&piece(&udp, 77, offset, 24), 0);
            assert_eq!(ran.verdict, Verdict::Fragment, "{offset}");
        }
        // TC too, if no XDP was there.
        stage.dropped(&piece(&udp, 77, 0, 24), Verdict::Fragment);
        stage.bench.object.tables.flows.store(0);
        let client = SocketAddr::new(Family::V4.client(), 50_002);
        let syn = frame(
            Proto::Tcp,
            client,
            at(vip(Family::V4, 2, "80/tcp")),
            Flags::Syn,
            b"",
        );
        stage.dropped(&syn, Verdict::NoRoom);
    });
}

#[test]
fn one_client_port_to_two_services_of_one_backend_stays_two_flows() {
    alone(|| {
        let mut stage = Stage::set();
        for family in FAMILIES {
            let client = SocketAddr::new(family.client(), CLIENT_PORT);
            let backend = SocketAddr::new(family.backend(21), PORT);
            let services = [80, 82].map(|port| at(vip(family, 2, &format!("{port}/tcp"))));
            let mut sources = services.map(|to| {
                let syn = frame(Proto::Tcp, client, to, Flags::Syn, b"");
                read(&stage.sent(&syn, Verdict::Translated)).0
            });
            assert_eq!(sources[0], client);
            assert_eq!(sources[1].ip(), client.ip());
            assert_ne!(sources[0], sources[1]);
            for (to, from) in services.iter().zip(&mut sources) {
                let back = frame(Proto::Tcp, backend, *from, Flags::SynAck, b"");
                let (said, reached, ..) = read(&stage.sent(&back, Verdict::Answered));
                assert_eq!((said, reached), (*to, client));
            }
        }
    });
}

/// The time is given: nobody waits.
#[test]
fn a_hundred_thousand_connections_come_and_go() {
    const CONNECTIONS: u32 = 100_000;

    alone(|| {
        let mut stage = Stage::set();
        // No second is to be over before the guard.
        stage.bench.object.tables.flows.store(u64::from(u32::MAX));
        let to = at(vip(Family::V4, 2, "81/tcp"));
        let mut sources = HashSet::new();
        for number in 0..CONNECTIONS {
            let [_, a, b, c] = number.to_be_bytes();
            let client = SocketAddr::new([198, 18 + a, b, 1].into(), 40_000 + u16::from(c));
            let syn = frame(Proto::Tcp, client, to, Flags::Syn, b"");
            let (action, out) = stage.bench.translate_only(&syn);
            assert_eq!(action, REDIRECT, "{number}");
            let source = [&out[26..30], &out[34..36]].concat();
            assert!(sources.insert(source), "{client} shares its source");
        }
        let now = second();
        assert_eq!(
            stage.bench.sweep(&stage.model, now),
            2 * CONNECTIONS as usize
        );
        // One goes on, both ways; and so it stays when the others, of which only a SYN was seen, are forgotten.
        let client = SocketAddr::new([198, 18, 0, 1].into(), 40_000);
        let ack = frame(Proto::Tcp, client, to, Flags::Ack, b"");
        let (source, ..) = read(&stage.sent(&ack, Verdict::Translated));
        let backend = SocketAddr::new(Family::V4.backend(21), PORT);
        let back = frame(Proto::Tcp, backend, source, Flags::SynAck, b"");
        stage.sent(&back, Verdict::Answered);
        let now = second();
        assert_eq!(stage.bench.sweep(&stage.model, now + 241), 2);
        assert_eq!(stage.bench.sweep(&stage.model, now + 7440), 2);
        assert_eq!(stage.bench.sweep(&stage.model, now + 7442), 0);
    });
}

/// All ports of the four addresses: 126 976 of them.
#[test]
fn ports_that_are_taken_are_not_taken_twice() {
    alone(|| {
        let mut stage = Stage::set();
        stage.bench.object.tables.flows.store(u64::from(u32::MAX));
        let Deliver::Nat(nat) = &mut stage.model.services[1].deliver else {
            panic!("a translated service")
        };
        nat.snat = Some(Snat::From("10.9.8.7".parse().unwrap()));
        let vip = stage.model.services[1].vip;
        let model = stage.model.clone();
        stage.bench.apply(&model, &stage.hops);
        let (mut sources, mut refused) = (HashSet::new(), 0_u32);
        for number in 0..u32::from(PORTS) {
            let [_, _, b, c] = number.to_be_bytes();
            let client = SocketAddr::new([198, 18, b, 1].into(), 40_000 + u16::from(c));
            let syn = frame(Proto::Tcp, client, at(vip), Flags::Syn, b"");
            let (action, out) = stage.bench.translate_only(&syn);
            if action == REDIRECT {
                assert_eq!(out[26..30], [10, 9, 8, 7]);
                assert!(sources.insert([out[34], out[35]]));
            } else {
                refused += 1;
            }
        }
        println!(
            "{} of {PORTS} ports were given, {refused} flows refused",
            sources.len()
        );
        assert_eq!(sources.len() + refused as usize, usize::from(PORTS));
        // Sixty-four tries fail before all are taken, but not much before.
        assert!(refused > 0 && sources.len() > usize::from(PORTS) * 9 / 10);
        let verdicts = stage.bench.object.counters.verdicts().unwrap();
        assert_eq!(verdicts[&Verdict::NoPort], u64::from(refused));
    });
}
