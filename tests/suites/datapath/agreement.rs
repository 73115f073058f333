//! What user space says a flow gets is what the program gives it.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use tollgate_common::service::Region;
use tollgate_datapath::{
    maps::Mapping,
    model::{Backend, Deliver, Model, Service, Vip},
    reconcile::Hops,
    tables::{self, NextHop},
};
use tollgate_tests::{
    bpf::{Bench, INGRESS},
    packet::{NODE_MAC, frame, tunnelled},
};

const FLOWS: u32 = 10_000;

/// The backend of a flow that began before anything changed, by the same tables, without the kernel.
fn pick(tables: &Mapping, source: IpAddr, port: u16, vip: Vip) -> u16 {
    let (cell, _) = tables.find(tables::key(vip)).expect("the service");
    let Region { base, len, .. } = Region::unpack(cell.region.load());
    let hash = tables::flow(source, port, vip)
        .unwrap()
        .hash(cell.seed.load());
    let slot = tables.slot(base + hash.slot(len));
    if slot.is_moving() {
        slot.stable()
    } else {
        slot.current()
    }
}

/// The address that a backend's number stands for.
fn address(tables: &Mapping, id: u16) -> IpAddr {
    let owner = &tables.owners[usize::from(id)];
    let family = (owner.tag.load() >> 40) as u8;
    tables::address(owner.address_hi.load(), owner.address_lo.load(), family).expect("an address")
}

fn service(vip: &str, backends: &[IpAddr]) -> Service {
    let backends = backends
        .iter()
        .map(|&address| Backend {
            address,
            weight: 1,
            drain: false,
        })
        .collect();
    Service::new(
        vip.to_owned(),
        vip.parse().unwrap(),
        Deliver::Ipip(backends),
    )
}

/// Flows as a generator deals them that has nothing to do with the product's hash (xorshift64*).
fn flows(v6: bool) -> impl Iterator<Item = (IpAddr, u16)> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    (0..FLOWS).map(move |_| {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        let word = state.wrapping_mul(0x2545_f491_4f6c_dd1d);
        let source = if v6 {
            Ipv6Addr::from(u128::from(word) << 48 | u128::from(state) | 0x2001 << 112).into()
        } else {
            Ipv4Addr::from((word >> 16) as u32).into()
        };
        (source, word as u16)
    })
}

#[test]
fn ten_thousand_flows_of_each_family_go_where_user_space_says() {
    let v4: Vec<IpAddr> = (1..=4)
        .map(|last| Ipv4Addr::new(10, 0, 0, last).into())
        .collect();
    let v6: Vec<IpAddr> = (1..=4)
        .map(|last| Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last).into())
        .collect();
    let hop = NextHop {
        ifindex: INGRESS,
        source: NODE_MAC,
        destination: [4; 6],
        mtu: 1500,
        tags: tollgate_common::tag::Tags::NONE,
    };
    let hops: Hops = v4
        .iter()
        .chain(&v6)
        .map(|&address| (address, hop.clone()))
        .collect();
    let services = |n: usize| {
        vec![
            service("203.0.113.20:5432/tcp", &v4[..n]),
            service("[2001:db8::20]:5432/udp", &v6[..n]),
        ]
    };
    let mut bench = Bench::new();
    bench.apply(
        &Model {
            services: services(4),
            ..Model::default()
        },
        &hops,
    );
    let deal = |bench: &mut Bench| -> BTreeMap<(IpAddr, u16), IpAddr> {
        let mut dealt = BTreeMap::new();
        for service in services(4) {
            for (source, port) in flows(service.vip.ip.is_ipv6()) {
                let ran = bench.run(&frame(source, port, service.vip, b""), 0);
                let to = tunnelled(&ran.frame).to;
                let id = pick(&bench.object.tables, source, port, service.vip);
                assert_eq!(
                    to,
                    address(&bench.object.tables, id),
                    "{source}:{port} to {}",
                    service.vip
                );
                dealt.insert((source, port), to);
            }
        }
        dealt
    };

    let before = deal(&mut bench);
    for backend in v4.iter().chain(&v6) {
        let share = before.values().filter(|to| *to == backend).count() as f64;
        let expected = f64::from(FLOWS) / 4.0;
        assert!(
            (share - expected).abs() < 0.05 * expected,
            "{backend} got {share} of {FLOWS} flows"
        );
    }

    // One of four goes: the others keep their flows, all of them.
    bench.apply(
        &Model {
            services: services(3),
            ..Model::default()
        },
        &hops,
    );
    let after = deal(&mut bench);
    let gone = [v4[3], v6[3]];
    let moved = before
        .iter()
        .filter(|(flow, to)| !gone.contains(to) && after[*flow] != **to)
        .count();
    assert_eq!(moved, 0, "flows of others moved");
    assert!(after.values().all(|to| !gone.contains(to)));
}
