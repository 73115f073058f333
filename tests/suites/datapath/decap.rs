//! The backend hosts' programs: every kind of tunnel through both of them, with etherparse as the oracle.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use aya::{TestRun as _, programs::TestRunOptions};
use etherparse::{
    EtherType, IpDscp, IpEcn, IpFragOffset, IpNumber, Ipv4Header, Ipv6Header, PacketBuilder,
};
use tollgate::demo::lab::missing_rights;
use tollgate_common::decap::Outcome;
use tollgate_datapath::decap::{Config, DEFAULT_GUE_PORT, Mode, default_sources, object::Object};
use tollgate_tests::{
    bpf::{action, chain},
    packet::{around, describe},
};

const CLIENT: [IpAddr; 2] = [v4([198, 51, 100, 7]), v6(0xc1)];
const VIP: [IpAddr; 2] = [v4([203, 0, 113, 10]), v6(0x10)];
const OTHER: [IpAddr; 2] = [v4([203, 0, 114, 10]), v6(0x99)];
const BACKEND: [IpAddr; 2] = [v4([10, 0, 0, 2]), v6(0xb)];
/// Another backend, which this host forwards to.
const NEIGHBOUR: [IpAddr; 2] = [v4([10, 0, 0, 3]), v6(0xc)];
const BALANCER: [IpAddr; 2] = [
    v4([172, 16, 3, 4]),
    IpAddr::V6(Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 7, 8)),
];
const STRANGER: [IpAddr; 2] = [
    v4([172, 17, 3, 4]),
    IpAddr::V6(Ipv6Addr::new(0x100, 0, 0, 1, 0, 0, 7, 8)),
];

const fn v4(octets: [u8; 4]) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(octets[0], octets[1], octets[2], octets[3]))
}

const fn v6(last: u16) -> IpAddr {
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0x113, 0, 0, 0, 0, last))
}

/// What stands between the outer IP header and the packet inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shim {
    None,
    Gue,
    /// Version 1: IP directly in UDP.
    GueDirect,
}

const SHIMS: [Shim; 3] = [Shim::None, Shim::Gue, Shim::GueDirect];
const FAMILIES: [usize; 2] = [0, 1];

/// A tunnelled packet, to be changed before it is sent.
#[derive(Clone, Debug)]
struct Tunnel {
    source: IpAddr,
    to: IpAddr,
    outer_ecn: u8,
    shim: Shim,
    port: u16,
    inner: Vec<u8>,
}

impl Tunnel {
    fn new(outer: usize, shim: Shim, inner: Vec<u8>) -> Self {
        Self {
            source: BALANCER[outer],
            to: BACKEND[outer],
            outer_ecn: 0,
            shim,
            port: DEFAULT_GUE_PORT,
            inner,
        }
    }

    fn payload(&self) -> (IpNumber, Vec<u8>) {
        let inside = if self.inner[0] >> 4 == 4 { 4 } else { 41 };
        let between: &[u8] = match self.shim {
            Shim::None => return (IpNumber(inside), self.inner.clone()),
            Shim::Gue => &[0, inside, 0, 0],
            Shim::GueDirect => &[],
        };
        let length = (8 + between.len() + self.inner.len()) as u16;
        let udp = [0xc123_u16, self.port, length, 0]
            .map(u16::to_be_bytes)
            .concat();
        (IpNumber::UDP, [&udp[..], between, &self.inner].concat())
    }

    fn frame(&self) -> Vec<u8> {
        let (next, payload) = self.payload();
        self.around(next, &payload)
    }

    fn around(&self, next: IpNumber, payload: &[u8]) -> Vec<u8> {
        match (self.source, self.to) {
            (IpAddr::V4(source), IpAddr::V4(to)) => {
                let mut ip =
                    Ipv4Header::new(payload.len() as u16, 64, next, source.octets(), to.octets())
                        .unwrap();
                ip.ecn = IpEcn::try_new(self.outer_ecn).unwrap();
                ip.dont_fragment = true;
                ip.header_checksum = ip.calc_header_checksum();
                around(EtherType::IPV4, &[&ip.to_bytes()[..], payload].concat())
            }
            (IpAddr::V6(source), IpAddr::V6(to)) => {
                let ip = Ipv6Header {
                    traffic_class: self.outer_ecn,
                    payload_length: payload.len() as u16,
                    next_header: next,
                    hop_limit: 1,
                    source: source.octets(),
                    destination: to.octets(),
                    ..Ipv6Header::default()
                };
                around(EtherType::IPV6, &[&ip.to_bytes()[..], payload].concat())
            }
            _ => unreachable!(),
        }
    }
}

/// A client's datagram, its class with these two bits.
fn datagram(to: IpAddr, ecn: u8) -> Vec<u8> {
    const DSCP: u8 = 46;
    let mut packet = Vec::new();
    match (CLIENT[usize::from(to.is_ipv6())], to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let mut ip = Ipv4Header::new(0, 61, IpNumber::UDP, from.octets(), to.octets()).unwrap();
            ip.dscp = IpDscp::try_new(DSCP).unwrap();
            ip.ecn = IpEcn::try_new(ecn).unwrap();
            ip.identification = 0x77;
            let builder = PacketBuilder::ip(etherparse::IpHeaders::Ipv4(ip, Default::default()));
            builder.udp(4000, 53).write(&mut packet, b"inside").unwrap();
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let ip = Ipv6Header {
                traffic_class: DSCP << 2 | ecn,
                hop_limit: 61,
                source: from.octets(),
                destination: to.octets(),
                ..Ipv6Header::default()
            };
            let builder = PacketBuilder::ip(etherparse::IpHeaders::Ipv6(ip, Default::default()));
            builder.udp(4000, 53).write(&mut packet, b"inside").unwrap();
        }
        _ => unreachable!(),
    }
    packet
}

/// The frame that the stack is to see.
fn bare(packet: &[u8]) -> Vec<u8> {
    let ethertype = if packet[0] >> 4 == 4 {
        EtherType::IPV4
    } else {
        EtherType::IPV6
    };
    around(ethertype, packet)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hook {
    Xdp,
    Tc,
}

const HOOKS: [Hook; 2] = [Hook::Xdp, Hook::Tc];

/// The programs with what they take.
struct Bench(Object);

/// The object, attached nowhere.
pub(crate) fn bench() -> Object {
    if let Some(missing) = missing_rights() {
        panic!("this test loads eBPF programs: {missing}");
    }
    let config = Config {
        interface: "lo".to_owned(),
        mode: Mode::Auto,
        vips: ["203.0.113.0/24", "2001:db8:113::10"]
            .map(|vip| vip.parse().unwrap())
            .into(),
        addresses: BACKEND.into(),
        sources: default_sources(),
        gue_port: DEFAULT_GUE_PORT,
        bpffs: "/nowhere".into(),
    };
    Object::load(&config, None).unwrap_or_else(|error| panic!("{}", chain(&error)))
}

impl Bench {
    fn new() -> Self {
        Self(bench())
    }

    /// Whether it goes on into the stack, as what it was counted, and what it is then.
    fn run(&mut self, hook: Hook, frame: &[u8]) -> (bool, Outcome, Vec<u8>) {
        /// linux/pkt_cls.h
        const TC_ACT_UNSPEC: u32 = u32::MAX;
        const TC_ACT_SHOT: u32 = 2;

        let before = self.0.outcomes().unwrap();
        let mut out = vec![0; frame.len() + 64];
        let options = TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut out),
            ..TestRunOptions::default()
        };
        let result = match hook {
            Hook::Xdp => self.0.xdp().unwrap().test_run(options),
            Hook::Tc => self.0.tc().unwrap().test_run(options),
        };
        let result = result.unwrap_or_else(|error| panic!("{hook:?}: {}", chain(&error)));
        out.truncate(result.data_size_out as usize);
        let after = self.0.outcomes().unwrap();
        let counted: Vec<_> = Outcome::ALL
            .into_iter()
            .filter(|outcome| after[outcome] != before[outcome])
            .collect();
        let [outcome] = counted[..] else {
            panic!("one packet was counted as {counted:?}")
        };
        assert_eq!(
            after[&outcome],
            before[&outcome] + 1,
            "{outcome:?} is counted once"
        );
        let passes = match (hook, result.return_value) {
            (Hook::Xdp, action::PASS) | (Hook::Tc, TC_ACT_UNSPEC) => true,
            (Hook::Xdp, action::DROP) | (Hook::Tc, TC_ACT_SHOT) => false,
            (_, other) => panic!("{hook:?} answers {other}"),
        };
        (passes, outcome, out)
    }

    #[track_caller]
    fn check(&mut self, what: &str, frame: &[u8], outcome: Outcome, out: Option<&[u8]>) {
        for hook in HOOKS {
            let what = format!("{what}, {hook:?}: {}", describe(frame));
            let (passes, counted, now) = self.run(hook, frame);
            assert_eq!(counted, outcome, "{what}");
            assert_eq!(passes, out.is_some(), "{what}");
            if let Some(out) = out {
                assert_eq!(now, out, "{what}");
            }
        }
    }
}

fn kind(outer: usize, inner: usize, shim: Shim) -> Outcome {
    let number = inner | outer << 1 | usize::from(shim != Shim::None) << 2;
    Outcome::ALL[number]
}

/// Every outer and inner family, every shim.
fn kinds() -> impl Iterator<Item = (usize, usize, Shim)> {
    FAMILIES.into_iter().flat_map(|outer| {
        FAMILIES
            .into_iter()
            .flat_map(move |inner| SHIMS.map(|shim| (outer, inner, shim)))
    })
}

#[test]
fn every_kind_is_taken_out_of_its_tunnel_unchanged() {
    let mut bench = Bench::new();
    for (outer, inner, shim) in kinds() {
        let packet = datagram(VIP[inner], 0);
        let frame = Tunnel::new(outer, shim, packet.clone()).frame();
        let what = format!("{shim:?}");
        bench.check(
            &what,
            &frame,
            kind(outer, inner, shim),
            Some(&bare(&packet)),
        );
        // What the link has put behind stays behind.
        let padded = [&frame[..], &[0xee; 9]].concat();
        let out = [&bare(&packet)[..], &[0xee; 9]].concat();
        bench.check("padded", &padded, kind(outer, inner, shim), Some(&out));
    }
}

#[test]
fn congestion_is_told_as_rfc_6040_says() {
    const NOT: u8 = 0;
    const ECT_1: u8 = 1;
    const ECT_0: u8 = 2;
    const CE: u8 = 3;
    /// Figure 4: inner, then for outer Not-ECT, ECT(0), ECT(1), CE; `None` is dropped.
    const TABLE: [(u8, [Option<u8>; 4]); 4] = [
        (NOT, [Some(NOT), Some(NOT), Some(NOT), None]),
        (ECT_0, [Some(ECT_0), Some(ECT_0), Some(ECT_1), Some(CE)]),
        (ECT_1, [Some(ECT_1), Some(ECT_1), Some(ECT_1), Some(CE)]),
        (CE, [Some(CE), Some(CE), Some(CE), Some(CE)]),
    ];
    let mut bench = Bench::new();
    for (outer, inner, shim) in kinds() {
        for (before, row) in TABLE {
            for (outer_ecn, after) in [NOT, ECT_0, ECT_1, CE].into_iter().zip(row) {
                let tunnel = Tunnel {
                    outer_ecn,
                    ..Tunnel::new(outer, shim, datagram(VIP[inner], before))
                };
                let what = format!("{shim:?}, {before} in {outer_ecn}");
                match after {
                    None => bench.check(&what, &tunnel.frame(), Outcome::Congested, None),
                    Some(after) => {
                        let out = bare(&datagram(VIP[inner], after));
                        let kind = kind(outer, inner, shim);
                        bench.check(&what, &tunnel.frame(), kind, Some(&out));
                    }
                }
            }
        }
    }
}

#[test]
fn a_tunnel_inside_a_tunnel_is_left_to_the_stack() {
    let mut bench = Bench::new();
    for (outer, inner, shim) in kinds() {
        let innermost = datagram(VIP[inner], 0);
        let mut middle = Tunnel::new(inner, Shim::None, innermost).frame();
        // To a VIP, from a balancer: even so only once.
        match inner {
            0 => {
                let IpAddr::V4(vip) = VIP[0] else {
                    unreachable!()
                };
                middle[30..34].copy_from_slice(&vip.octets());
            }
            _ => {
                let IpAddr::V6(vip) = VIP[1] else {
                    unreachable!()
                };
                middle[38..54].copy_from_slice(&vip.octets());
            }
        }
        let frame = Tunnel::new(outer, shim, middle[14..].to_vec()).frame();
        bench.check("nested", &frame, kind(outer, inner, shim), Some(&middle));
    }
}

#[test]
fn fragments_inside_are_taken_out() {
    let mut bench = Bench::new();
    for shim in SHIMS {
        let mut packet = datagram(VIP[0], 0);
        let (mut ip, _) = Ipv4Header::from_slice(&packet).unwrap();
        ip.more_fragments = true;
        ip.fragment_offset = IpFragOffset::try_new(100).unwrap();
        ip.header_checksum = ip.calc_header_checksum();
        packet[..20].copy_from_slice(&ip.to_bytes());
        for outer in FAMILIES {
            let frame = Tunnel::new(outer, shim, packet.clone()).frame();
            bench.check(
                "a fragment",
                &frame,
                kind(outer, 0, shim),
                Some(&bare(&packet)),
            );
        }
    }
}

#[test]
fn only_balancers_tunnels_to_vips_are_touched() {
    let mut bench = Bench::new();
    for (outer, inner, shim) in kinds() {
        let good = Tunnel::new(outer, shim, datagram(VIP[inner], 0));
        let stranger = Tunnel {
            source: STRANGER[outer],
            ..good.clone()
        }
        .frame();
        bench.check(
            "a stranger's",
            &stranger,
            Outcome::RefusedSource,
            Some(&stranger),
        );
        let elsewhere = Tunnel::new(outer, shim, datagram(OTHER[inner], 0)).frame();
        bench.check(
            "to no VIP",
            &elsewhere,
            Outcome::RefusedDestination,
            Some(&elsewhere),
        );
        let mut flooded = good.frame();
        flooded[0] |= 1;
        bench.check("to a group", &flooded, Outcome::NotOurs, Some(&flooded));
        if shim != Shim::None {
            let port = Tunnel { port: 6081, ..good }.frame();
            bench.check("another port", &port, Outcome::NotOurs, Some(&port));
        }
    }
}

#[test]
fn tunnels_in_transit_are_not_opened() {
    let mut bench = Bench::new();
    for (outer, inner, shim) in kinds() {
        for source in [BALANCER, STRANGER] {
            let tunnel = Tunnel {
                source: source[outer],
                to: NEIGHBOUR[outer],
                ..Tunnel::new(outer, shim, datagram(VIP[inner], 0))
            };
            let frame = tunnel.frame();
            let what = format!("{shim:?}, to another host");
            bench.check(&what, &frame, Outcome::OtherHost, Some(&frame));
            // Nor is anything dropped that the next host may judge.
            let frame = Tunnel {
                inner: tunnel.inner[..10].to_vec(),
                ..tunnel
            }
            .frame();
            bench.check(&what, &frame, Outcome::OtherHost, Some(&frame));
        }
    }
}

#[test]
fn what_is_no_tunnel_of_these_kinds_passes() {
    let mut bench = Bench::new();
    let mut pass = |what: &str, frame: Vec<u8>| {
        bench.check(what, &frame, Outcome::NotOurs, Some(&frame));
    };
    for family in FAMILIES {
        pass("a datagram", bare(&datagram(VIP[family], 0)));
        let tunnel = Tunnel::new(family, Shim::Gue, datagram(VIP[family], 0));
        let gue = 14 + [20, 40][family] + 8;
        for (what, at, value) in [
            ("GUE with options", gue, 1),
            ("a GUE control message", gue, 0x20),
            ("GUE version 2", gue, 0x80),
            ("GUE version 3", gue, 0xc0),
            ("GUE with flags", gue + 2, 0x80),
            ("another protocol in GUE", gue + 1, 17),
        ] {
            let mut frame = tunnel.frame();
            frame[at] = value;
            pass(what, frame);
        }
        let (_, payload) = Tunnel::new(family, Shim::None, datagram(VIP[family], 0)).payload();
        pass("GRE", tunnel.around(IpNumber::GRE, &payload));
        let short = [0xc123_u16, DEFAULT_GUE_PORT, 10, 0]
            .map(u16::to_be_bytes)
            .concat();
        pass(
            "a short datagram",
            tunnel.around(IpNumber::UDP, &[&short[..], &[0, 4]].concat()),
        );
    }
    let mut fragment = Tunnel::new(0, Shim::None, datagram(VIP[0], 0)).frame();
    fragment[20] |= 0x20;
    pass("a fragment of a tunnel", fragment);
    let mut options = Tunnel::new(0, Shim::None, datagram(VIP[0], 0)).frame();
    options[14] = 0x46;
    pass("outer options", options);
    pass("an ARP request", around(EtherType::ARP, &[0; 28]));
    let tagged = Tunnel::new(0, Shim::None, datagram(VIP[0], 0)).frame();
    let tag: &[u8] = &[0x81, 0, 0, 5];
    pass(
        "a tagged frame",
        [&tagged[..12], tag, &tagged[12..]].concat(),
    );
    // Test runs of TC take no IPv4 frame without its header.
    let short = around(EtherType::IPV4, &[0x45, 0, 0]);
    let ran = bench.run(Hook::Xdp, &short);
    assert_eq!(ran, (true, Outcome::NotOurs, short));
}

#[test]
fn what_contradicts_itself_is_dropped() {
    let mut bench = Bench::new();
    for (outer, inner, shim) in kinds() {
        let what = |what: &str| format!("{what}, {shim:?}");
        let good = Tunnel::new(outer, shim, datagram(VIP[inner], 0));
        let mut drop = |name: &str, frame: &[u8]| {
            bench.check(&what(name), frame, Outcome::Malformed, None);
        };
        let changed = |at: usize, value: u8| {
            let mut tunnel = good.clone();
            tunnel.inner[at] = value;
            tunnel.frame()
        };
        if inner == 0 {
            let len = good.inner.len() as u8;
            drop("one byte more than there is", &changed(3, len + 1));
            drop("shorter than its header", &changed(3, 19));
            drop("a header of 16 bytes", &changed(0, 0x44));
            drop("a header longer than it", &changed(0, 0x4f));
        } else {
            let len = good.inner.len() as u8 - 40;
            drop("one byte more than there is", &changed(5, len + 1));
        }
        if shim == Shim::None {
            drop("another version", &changed(0, 0x55));
            let mut other = good.frame();
            other[[23, 20][outer]] = [41, 4][inner];
            if outer == 0 {
                let (mut ip, _) = Ipv4Header::from_slice(&other[14..]).unwrap();
                ip.header_checksum = ip.calc_header_checksum();
                other[14..34].copy_from_slice(&ip.to_bytes());
            }
            drop("the other family", &other);
        }
        let cut = good.frame();
        drop("cut short", &cut[..cut.len() - 1]);
        if shim == Shim::None {
            let (next, payload) = good.payload();
            drop("less than a header", &good.around(next, &payload[..19]));
        } else {
            let mut frame = good.frame();
            frame[14 + [20, 40][outer] + 5] += 1;
            drop("another UDP length", &frame);
        }
        if outer == 0 {
            let mut frame = good.frame();
            frame[24] ^= 1;
            drop("a wrong outer checksum", &frame);
        }
    }
}
