//! A million packets, over random services and random histories of changes: the kernel sends each where the plain model
//! of user space says.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use tollgate_common::{
    pin::{Pin, PinKey},
    service::About,
    tables::{Guards, Tables},
};
use tollgate_datapath::{
    flow::{self, Packet, Picked, Segment, Table},
    maps::second,
    model::{Affinity, Backend, Deliver, Model, Proto, Service, Vip},
    reconcile::Hops,
    tables::{self, NextHop},
};
use tollgate_tests::{
    bpf::{Bench, INGRESS, action},
    packet::{NODE_MAC, frame, segment},
};

/// xorshift64*: nothing of it is in the product.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16) % sides
    }

    fn pick<'a, T>(&mut self, among: &'a [T]) -> &'a T {
        &among[self.roll(among.len() as u64) as usize]
    }
}

const PACKETS: u64 = 1_000_000;
/// Changes of services and backends on the way.
const CHANGES: u64 = 120;

const VIPS: [&str; 12] = [
    "203.0.113.1:80/tcp",
    "203.0.113.1:80/udp",
    "203.0.113.1:*/tcp",
    "203.0.113.2:443/tcp",
    "203.0.113.0/24:53/udp",
    "203.0.113.128/25:*/tcp",
    "203.0.112.0/23:80/tcp",
    "[2001:db8::1]:80/tcp",
    "[2001:db8::1]:80/udp",
    "[2001:db8::1]:*/udp",
    "[2001:db8::/64]:443/tcp",
    "[2001:db8::/48]:*/tcp",
];

/// A backend's MAC address as the next hop says who got a packet.
fn mac(backend: u8) -> [u8; 6] {
    [0x02, 0xbb, 0, 0, 0, backend]
}

fn address(v4: bool, backend: u8) -> IpAddr {
    if v4 {
        Ipv4Addr::new(10, 0, 0, backend).into()
    } else {
        Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, backend.into()).into()
    }
}

fn hops() -> Hops {
    let hop = |backend| NextHop {
        ifindex: INGRESS,
        source: NODE_MAC,
        destination: mac(backend),
        mtu: 1500,
        tags: tollgate_common::tag::Tags::NONE,
    };
    let both = |backend| [true, false].map(|v4| (address(v4, backend), hop(backend)));
    (1..=40).flat_map(both).collect()
}

fn service(dice: &mut Dice, text: &str) -> Service {
    let vip: Vip = text.parse().unwrap();
    let is_v4 = vip.ip.is_ipv4();
    let (kind, mixed) = (dice.roll(10), dice.roll(3) == 0);
    let count = *dice.pick(&[0, 1, 2, 3, 5, 8, 12, 20]);
    let mut backends: Vec<Backend> = Vec::new();
    for _ in 0..count {
        let address = address(is_v4 != (mixed && kind > 1), 1 + dice.roll(40) as u8);
        if backends.iter().all(|one| one.address != address) {
            backends.push(Backend {
                address,
                weight: 1 + dice.roll(4) as u32,
                drain: dice.roll(6) == 0,
            });
        }
    }
    let deliver = match kind {
        0 if vip.proto == Proto::Tcp => Deliver::Listener("edge".to_owned()),
        0 | 1 => Deliver::L2(backends),
        2..=4 => Deliver::Gue(backends),
        _ => Deliver::Ipip(backends),
    };
    let mut service = Service::new(text.to_owned(), vip, deliver);
    if dice.roll(4) == 0 {
        service.affinity = Affinity::Client;
    }
    service
}

fn change(dice: &mut Dice, services: &mut Vec<Service>) {
    let text = *dice.pick(&VIPS);
    let at = services.iter().position(|one| one.name == text);
    match (at, dice.roll(12)) {
        (None, _) => services.push(service(dice, text)),
        (Some(at), 0) => {
            services.remove(at);
        }
        (Some(at), 1) => services[at] = service(dice, text),
        (Some(at), _) => {
            let (Deliver::Ipip(backends) | Deliver::Gue(backends) | Deliver::L2(backends)) =
                &mut services[at].deliver
            else {
                return;
            };
            let which = dice.roll(backends.len() as u64 + 1) as usize;
            match (backends.get_mut(which), dice.roll(3)) {
                (Some(one), 0) => one.drain = !one.drain,
                (Some(one), 1) => one.weight = 1 + dice.roll(5) as u32,
                (Some(_), _) => {
                    backends.remove(which);
                }
                (None, _) => {
                    let address = address(
                        backends.first().is_none_or(|one| one.address.is_ipv4()),
                        1 + dice.roll(40) as u8,
                    );
                    let is_fit = services[at]
                        .deliver
                        .takes(services[at].vip, address)
                        .is_ok();
                    let (Deliver::Ipip(backends) | Deliver::Gue(backends) | Deliver::L2(backends)) =
                        &mut services[at].deliver
                    else {
                        return;
                    };
                    if is_fit && backends.iter().all(|one| one.address != address) {
                        backends.push(Backend {
                            address,
                            weight: 1,
                            drain: false,
                        });
                    }
                }
            }
        }
    }
}

/// A packet of one of some hundred clients, most of them to a service.
fn packet(dice: &mut Dice) -> Packet {
    let proto = *dice.pick(&[Proto::Tcp, Proto::Tcp, Proto::Udp]);
    let port = *dice.pick(&[80_u16, 443, 53, 8080]);
    let (client, source_port) = (dice.roll(60) as u8, 1024 + dice.roll(60) as u16);
    let (source, destination): (IpAddr, IpAddr) = if dice.roll(2) == 0 {
        let last = *dice.pick(&[1, 2, 77, 200]);
        let third = *dice.pick(&[113, 113, 113, 112, 111]);
        (
            Ipv4Addr::new(198, 51, 100, client).into(),
            Ipv4Addr::new(203, 0, third, last).into(),
        )
    } else {
        let subnet = *dice.pick(&[0, 0, 0, 1, 0x1_0000_u32]);
        let vip = Ipv6Addr::new(
            0x2001,
            0xdb8,
            (subnet >> 16) as u16,
            subnet as u16,
            0,
            0,
            0,
            *dice.pick(&[1, 2, 77]),
        );
        (
            Ipv6Addr::new(0x2001, 0xdb8, 0xc, 0, 0, 0, 0, client.into()).into(),
            vip.into(),
        )
    };
    Packet {
        source: SocketAddr::new(source, source_port),
        destination: SocketAddr::new(destination, port),
        proto,
        segment: header(dice),
    }
}

/// A SYN of one of few numbers, or a segment that follows one of them: right behind it, at the end of the first flight,
/// or just out of it.
fn header(dice: &mut Dice) -> Segment {
    const FLAGS: [u8; 9] = [0x10, 0x10, 0x18, 0x18, 0x11, 0x04, 0x14, 0x12, 0x00];

    let isn = *dice.pick(&[7, u32::MAX - 9, u32::MAX]);
    let (behind, flags) = match dice.roll(4) {
        0 => (0, 0x02),
        _ => (
            *dice.pick(&[0, 1, 1, 2, 1460, 65_536, 65_537, 1 << 31]),
            *dice.pick(&FLAGS),
        ),
    };
    Segment {
        sequence: Some(isn.wrapping_add(behind)),
        flags,
    }
}

fn built(packet: &Packet) -> Vec<u8> {
    let vip = vip_of(packet);
    let (ip, port) = (packet.source.ip(), packet.source.port());
    let Segment { sequence, flags } = packet.segment;
    match packet.proto {
        Proto::Tcp => segment(ip, port, vip, sequence.unwrap(), flags, b""),
        Proto::Udp => frame(ip, port, vip, b""),
    }
}

/// The address and port that it goes to, as if they were a service's.
fn vip_of(packet: &Packet) -> Vip {
    Vip {
        ip: packet.destination.ip(),
        bits: if packet.destination.is_ipv4() {
            32
        } else {
            128
        },
        port: packet.destination.port(),
        proto: packet.proto,
    }
}

/// What the kernel did, in the words of the model.
fn done(bench: &mut Bench, frame: &[u8]) -> Result<Option<u8>, u32> {
    match bench.glance(frame) {
        (action::PASS, _) => Ok(None),
        (action::DROP, _) => Ok(Some(0)),
        (action::TX, [0x02, 0xbb, 0, 0, 0, backend]) => Ok(Some(backend)),
        (other, _) => Err(other),
    }
}

fn last(ip: IpAddr) -> u8 {
    match ip {
        IpAddr::V4(ip) => ip.octets()[3],
        IpAddr::V6(ip) => ip.octets()[15],
    }
}

#[test]
fn a_million_packets_go_where_the_plain_model_says() {
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let mut bench = Bench::new();
    let hops = hops();
    let mut services: Vec<_> = VIPS.map(|text| service(&mut dice, text)).into();
    let mut pins = Table {
        room: usize::MAX,
        ..Table::default()
    };
    let mut seen: HashMap<&str, u64> = HashMap::new();
    for round in 0..CHANGES {
        change(&mut dice, &mut services);
        if round % 7 == 0 {
            bench.restart();
        }
        bench.apply(
            &Model {
                services: services.clone(),
                ..Model::default()
            },
            &hops,
        );
        // What the kernel's side forgot, the model's side forgets.
        let kept = bench.pins();
        pins.pins.retain(|key, _| kept.contains_key(key));
        let unseen = |pin: &Pin| Pin { seen: 0, ..*pin };
        for (key, pin) in &kept {
            let said = pins.pins.get(key).map(unseen);
            assert_eq!(said, Some(unseen(pin)), "round {round}: {key:?}");
        }
        if dice.roll(4) == 0 {
            bench.settle(3600);
        }
        let most = *dice.pick(&[u32::MAX, u32::MAX, u32::MAX, 0]);
        let guards = Guards {
            pins: most,
            icmp: 0,
        };
        bench.object.tables.guards.store(guards.pack());
        if dice.roll(3) == 0 {
            // As if the minute were over in which a datagram may be of an old flow.
            for service in &services {
                if let Some((cell, _)) = bench.object.tables.find(tables::key(service.vip)) {
                    let about = About::unpack(cell.about.load());
                    cell.about.store(
                        About {
                            settled_udp: 0,
                            ..about
                        }
                        .pack(),
                    );
                }
            }
        }
        for _ in 0..PACKETS / CHANGES {
            let packet = packet(&mut dice);
            let tables = &bench.object.tables;
            let picked = flow::pick(tables, &mut pins, &packet, second());
            let (wanted, what) = match picked {
                Picked::NotOurs => (None, "not ours"),
                Picked::Listener(_) => (None, "listener"),
                Picked::Backend(backend) => {
                    let to = flow::address(tables, backend.id).map_or(0, last);
                    let what = if is_anothers(tables, &pins, &packet, backend) {
                        "another's pin"
                    } else {
                        why(backend.why)
                    };
                    (Some(to), what)
                }
            };
            *seen.entry(what).or_default() += 1;
            let got = done(&mut bench, &built(&packet));
            assert_eq!(got, Ok(wanted), "round {round}: {packet:?} is {picked:?}");
        }
    }
    println!("{seen:?}");
    // Nothing of what can be was left out.
    for what in [
        "not ours",
        "listener",
        "settled",
        "pinned",
        "another's pin",
        "begins",
        "no room",
        "before",
        "previous table",
        "gone",
        "may be old",
        "nobody",
    ] {
        assert!(seen.get(what).is_some_and(|n| *n > 20), "{what}: {seen:?}");
    }
}

/// Whether a packet went where flows from before go, though there is a pin of its addresses and ports.
fn is_anothers(tables: &Tables, pins: &Table, packet: &Packet, picked: flow::Backend) -> bool {
    let vip = vip_of(packet);
    let key = tables::key(vip);
    let (source, port) = (packet.source.ip(), packet.source.port());
    let (Some(flow), Some((cell, _))) = (tables::flow(source, port, vip), tables.find(key)) else {
        return false;
    };
    let pin = PinKey {
        hash: flow.hash(cell.seed.load()).0,
        slot: picked.slot,
        extra: PinKey::extra(key.hi, key.lo),
    };
    let is_from_before = matches!(picked.why, flow::Why::Before | flow::Why::PreviousTable);
    is_from_before && pins.pins.contains_key(&pin)
}

fn why(why: flow::Why) -> &'static str {
    use flow::Why;
    match why {
        Why::Settled => "settled",
        Why::Pinned => "pinned",
        Why::Begins => "begins",
        Why::NoRoom => "no room",
        Why::Before => "before",
        Why::PreviousTable => "previous table",
        Why::Gone => "gone",
        Why::MayBeOld => "may be old",
        Why::Nobody => "nobody",
    }
}
