//! What belongs to one flow goes to one backend, whatever it looks like; and what is counted of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use tollgate_common::{
    service::About,
    tables::{Guards, Owner},
    verdict::Verdict,
};
use tollgate_datapath::{
    model::{Affinity, Backend, Deliver, Model, Service, Tunnel, Vip},
    prefix::Prefix,
    reconcile::Hops,
    tables::{self, NextHop},
};
use tollgate_tests::{
    bpf::{Bench, INGRESS},
    packet::{NODE_MAC, frame, tunnelled},
};

use crate::fixtures::{
    FAMILIES, Family, MTU, NEXT_MAC,
    build::{answer, message, piece, with_options},
    errors, vip,
};

const FLOWS: u16 = 64;

fn backends(family: Family) -> Vec<Backend> {
    let backend = |last| Backend {
        address: family.backend(last),
        weight: 1,
        drain: false,
    };
    (21..=28).map(backend).collect()
}

/// Services with eight backends each, of port 80 by IP, of 81 by UDP in GUE; of 82 a client's flows stay together.
fn bench(family: Family) -> Bench {
    laid(family).0
}

/// The same, and what was applied.
fn laid(family: Family) -> (Bench, Model, Hops) {
    let mut hops = Hops::new();
    for backend in backends(family) {
        let hop = NextHop {
            ifindex: INGRESS,
            source: NODE_MAC,
            destination: NEXT_MAC,
            mtu: MTU,
            tags: tollgate_common::tag::Tags::NONE,
        };
        hops.insert(backend.address, hop);
    }
    let mut services = Vec::new();
    for proto in ["tcp", "udp"] {
        for (port, deliver) in [
            ("80", Deliver::Ipip(backends(family))),
            ("81", Deliver::Gue(backends(family))),
            ("82", Deliver::Ipip(backends(family))),
            ("83", Deliver::Ipip(Vec::new())),
        ] {
            let vip = vip(family, 2, &format!("{port}/{proto}"));
            let mut service = Service::new(vip.to_string(), vip, deliver);
            if port == "82" {
                service.affinity = Affinity::Client;
            }
            services.push(service);
        }
    }
    let mut bench = Bench::new();
    let model = Model {
        services,
        ..Model::default()
    };
    bench.apply(&model, &hops);
    (bench, model, hops)
}

/// Outer source and destination of what becomes of a frame, and the source port of GUE.
fn way(bench: &mut Bench, frame: &[u8]) -> (IpAddr, IpAddr, Option<u16>) {
    let ran = bench.run(frame, 0);
    assert_eq!(ran.verdict, Verdict::Sent);
    let out = tunnelled(&ran.frame);
    (out.from, out.to, out.gue.map(|(from, _)| from))
}

#[test]
fn errors_and_fragments_take_the_way_of_their_flow() {
    for family in FAMILIES {
        let mut bench = bench(family);
        let mut used = BTreeSet::new();
        for rest in ["80/tcp", "80/udp", "81/tcp", "81/udp", "82/tcp", "82/udp"] {
            let vip = vip(family, 2, rest);
            for flow in 0..FLOWS {
                let whole = frame(family.client(), 20_000 + flow, vip, &[7; 200]);
                let way = |frame: &[u8], bench: &mut Bench| way(bench, frame);
                let own = way(&whole, &mut bench);
                used.insert(own.1);
                let id = flow + 256 * u16::from(rest.as_bytes()[1]);
                let first = way(&piece(&whole, id, 0, 64), &mut bench);
                let middle = way(&piece(&whole, id, 8, 64), &mut bench);
                let last = way(&piece(&whole, id, 16, 200), &mut bench);
                assert_eq!([first, middle, last], [own; 3], "{rest}, flow {flow}");
                for kind in errors(family) {
                    let about = answer(&whole);
                    let mut abouts = vec![about.clone(), about[..family.header() + 8].to_vec()];
                    if family == Family::V4 {
                        abouts.push(with_options(&about, 12));
                    }
                    for about in abouts {
                        let error = message(family, vip.ip, kind, &about);
                        assert_eq!(
                            way(&error, &mut bench),
                            own,
                            "{rest}, flow {flow}, {kind:?}"
                        );
                    }
                }
            }
        }
        assert_eq!(used.len(), 8, "all backends took part");
    }
}

#[test]
fn gue_comes_from_a_port_for_each_flow() {
    for family in FAMILIES {
        let mut bench = bench(family);
        let vip = vip(family, 2, "81/udp");
        let port = |bench: &mut Bench, flow: u16| {
            let frame = frame(family.client(), 20_000 + flow, vip, b"");
            way(bench, &frame).2.expect("GUE")
        };
        let ports: BTreeSet<u16> = (0..FLOWS).map(|flow| port(&mut bench, flow)).collect();
        // Of 64 among 16 384 two are the same in one of eight runs, four pairs never.
        assert!(ports.len() >= usize::from(FLOWS) - 4, "{ports:?}");
        assert_eq!(port(&mut bench, 1), port(&mut bench, 1));
    }
}

#[test]
fn tunnels_come_from_where_the_model_says() {
    let prefix = |text: &str| text.parse::<Prefix>().unwrap();
    for family in FAMILIES {
        let (mut bench, mut model, hops) = laid(family);
        let at = usize::from(family == Family::V6);
        // From one model to the next in place; the last but one has a single IPv4 source.
        for (sources, port) in [
            (["172.16.0.0/16", "100::/64"], 6080),
            (["10.9.0.0/16", "fd00:9::/96"], 6635),
            (["10.9.8.0/21", "fd00:9:1::/48"], 6080),
            (["10.9.8.7", "fd00::/16"], 1),
            (["10.9.8.128/25", "100::/64"], 65_535),
        ] {
            model.tunnel = Tunnel::default()
                .with_source_v4(prefix(sources[0]))
                .and_then(|one| one.with_source_v6(prefix(sources[1])))
                .and_then(|one| one.with_gue_port(port))
                .unwrap();
            let applied = bench.apply(&model, &hops);
            assert_eq!((applied.added, applied.moved), (0, 0));
            let source = prefix(sources[at]);
            let mut used = BTreeSet::new();
            for flow in 0..FLOWS {
                for rest in ["80/tcp", "81/udp"] {
                    let frame = frame(family.client(), 20_000 + flow, vip(family, 2, rest), b"");
                    let ran = bench.run(&frame, 0);
                    assert_eq!(ran.verdict, Verdict::Sent);
                    let out = tunnelled(&ran.frame);
                    assert!(source.covers(out.from), "{} is not of {source}", out.from);
                    assert!(out.gue.is_none_or(|(_, to)| to == port), "{:?}", out.gue);
                    used.insert(out.from);
                }
            }
            let is_one = source.bits() == 32;
            assert_eq!(used.len() == 1, is_one, "{source}: {used:?}");
        }
    }
}

#[test]
fn a_clients_flows_stay_together_where_asked_for() {
    for family in FAMILIES {
        let mut bench = bench(family);
        let to = |bench: &mut Bench, client: u8, port: u16, vip: Vip| {
            way(bench, &frame(family.wide(client), port, vip, b"")).1
        };
        for proto in ["tcp", "udp"] {
            let together = vip(family, 2, &format!("82/{proto}"));
            let apart = vip(family, 2, &format!("80/{proto}"));
            let mut clients = BTreeSet::new();
            for client in 1..=40 {
                let all: BTreeSet<IpAddr> = (0..FLOWS)
                    .map(|port| to(&mut bench, client, 1000 + port * 997, together))
                    .collect();
                assert_eq!(all.len(), 1, "{together}: client {client} went to {all:?}");
                clients.extend(all);
            }
            assert!(clients.len() > 4, "clients are spread: {clients:?}");
            let apart: BTreeSet<IpAddr> = (0..FLOWS)
                .map(|port| to(&mut bench, 1, 1000 + port * 997, apart))
                .collect();
            assert!(apart.len() > 4, "flows are spread: {apart:?}");
        }
    }
}

/// The entries of a service's backends.
fn entries(bench: &Bench, vip: Vip) -> Vec<u16> {
    let key = tables::key(vip);
    let is_its = |owner: &Owner| {
        (owner.hi.load(), owner.lo.load(), owner.tag.load() as u32) == (key.hi, key.lo, key.tag)
    };
    let owners = bench.object.tables.owners.iter();
    (0..)
        .zip(owners)
        .filter(|(_, owner)| is_its(owner))
        .map(|(id, _)| id)
        .collect()
}

#[test]
fn syns_are_counted_as_flows_and_drops_by_service() {
    for family in FAMILIES {
        let mut bench = bench(family);
        let (taken, refused) = (vip(family, 2, "80/tcp"), vip(family, 2, "83/tcp"));
        let with_flags = |port, vip, flags: u8| {
            let mut frame = frame(family.client(), port, vip, b"");
            let at = 14 + family.header() + 13;
            frame[at] = flags;
            frame
        };
        const SYN: u8 = 2;
        let mut bytes = 0;
        for port in 1..=100 {
            // Its SYN, with ECN's flags (RFC 3168) or not; SYN and ACK, an ACK, a FIN, a RST, none of them a new one.
            let ecn = if port % 2 == 0 { 0xc0 } else { 0 };
            for flags in [SYN | ecn, 0x12, 0x10, 0x11, 0x04, SYN | 1, SYN | 4] {
                let frame = with_flags(port, taken, flags);
                bytes += frame.len() as u64 - 14;
                bench.run(&frame, 0);
            }
            bench.run(&with_flags(port, refused, SYN), 0);
        }
        let whole = frame(family.client(), 7, taken, &[7; 1450]);
        let cut = &whole[..whole.len() - 1];
        for _ in 0..3 {
            assert_eq!(bench.run(&whole, 0).verdict, Verdict::TooBigTold);
            assert_eq!(bench.run(cut, 0).verdict, Verdict::Malformed);
        }
        // A first fragment that is too large is counted for its service as well.
        let large = frame(family.client(), 7, taken, &[7; 1600]);
        let first = piece(&large, 9, 0, 1472);
        assert_eq!(bench.run(&first, 0).verdict, Verdict::TooBigTold);

        let entries = entries(&bench, taken);
        assert_eq!(entries.len(), 8);
        let counters = &bench.object.counters;
        let (mut packets, mut flows, mut counted) = (0, 0, 0);
        for id in entries {
            let counter = counters.entry(id).unwrap();
            packets += counter.packets;
            flows += counter.flows;
            counted += counter.bytes;
        }
        assert_eq!((packets, flows, counted), (700, 100, bytes));
        let drops = |vip| {
            let (cell, _) = bench.object.tables.find(tables::key(vip)).unwrap();
            counters
                .drops(About::unpack(cell.about.load()).number)
                .unwrap()
        };
        let told = BTreeMap::from([(Verdict::TooBigTold, 4), (Verdict::Malformed, 3)]);
        assert_eq!(drops(taken), told);
        assert_eq!(drops(refused), BTreeMap::from([(Verdict::NoBackend, 100)]));
        assert_eq!(drops(vip(family, 2, "80/udp")), BTreeMap::new());
    }
}

/// Each CPU may note ten first fragments in each second. However slow this machine is, some of so many are not noted.
#[test]
fn beyond_the_guard_first_fragments_are_sent_and_not_noted() {
    for family in FAMILIES {
        let mut bench = bench(family);
        let whole = frame(family.client(), 7, vip(family, 2, "80/udp"), &[7; 200]);
        let mut followed_before_first_loss = |limit| {
            bench.object.tables.fragments.store(limit);
            (0..20_000).find(|id| {
                let first = bench.run(&piece(&whole, *id, 0, 64), 0);
                assert_eq!(first.verdict, Verdict::Sent);
                let later = bench.run(&piece(&whole, *id, 8, 64), 0);
                assert!(matches!(later.verdict, Verdict::Sent | Verdict::Fragment));
                later.verdict == Verdict::Fragment
            })
        };
        assert_eq!(followed_before_first_loss(0), Some(0));
        let followed = followed_before_first_loss(10).expect("the guard is heeded");
        // That of the lost packet above counts for this second as well.
        assert!(followed >= 9, "{followed}");
    }
}

/// A frame that is too long, from a host in one of 256 networks.
fn too_long(family: Family, network: u8) -> Vec<u8> {
    let mut large = frame(family.client(), 7, vip(family, 2, "80/tcp"), &[7; 1450]);
    let third = match family {
        Family::V4 => 28,
        Family::V6 => 27,
    };
    large[third] = network;
    large
}

/// Whether a sender is told; else it is silently dropped.
fn is_told(bench: &mut Bench, frame: &[u8]) -> bool {
    let ran = bench.run(frame, 0);
    assert!(matches!(ran.verdict, Verdict::TooBigTold | Verdict::TooBig));
    ran.verdict == Verdict::TooBigTold
}

/// Each CPU may tell ten senders in each second. However slow this machine is, some packet of so many is refused.
#[test]
fn beyond_the_guard_nobody_is_told() {
    for family in FAMILIES {
        let mut bench = bench(family);
        let mut told_before_first_refusal = |icmp| {
            let guards = Guards { pins: 0, icmp };
            bench.object.tables.guards.store(guards.pack());
            (0..20_000).find(|n| !is_told(&mut bench, &too_long(family, *n as u8)))
        };
        assert_eq!(told_before_first_refusal(0), Some(0));
        let told = told_before_first_refusal(10).expect("the guard is heeded");
        // By chance two networks share a bucket, which has its part of the ten alone.
        assert!((2..).contains(&told), "{told}");
    }
}

/// One network is refused when it had its share, and another is told right after.
#[test]
fn one_network_does_not_silence_the_others() {
    for family in FAMILIES {
        // However slow this machine is, some packet of so many is beyond an eighth of a thousand; none is beyond an eighth
        // of a million, however fast.
        for (icmp, is_refused) in [(1_000_000, false), (1_000, true)] {
            let mut bench = bench(family);
            let guards = Guards { pins: 0, icmp };
            bench.object.tables.guards.store(guards.pack());
            let loud = too_long(family, 1);
            let refused = (0..20_000).any(|_| !is_told(&mut bench, &loud));
            assert_eq!(refused, is_refused, "{icmp}");
            assert!(is_told(&mut bench, &too_long(family, 2)), "{family:?}");
        }
    }
}
