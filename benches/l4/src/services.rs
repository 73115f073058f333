//! What the datapath under test is configured to do.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use tollgate_common::{service::Region, slot::Slot, tables::Guards, tag::Tags};
use tollgate_datapath::{
    model::{Backend, Deliver, Model, Proto, Service, Vip},
    reconcile::Hops,
    tables::{self, NextHop},
};
use tollgate_tests::{bpf::Bench, packet::NODE_MAC};

/// The MAC address of the next hop, which is nobody's.
pub const NEXT_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x11];
/// Backends of each service, `10.99.0.1` to as many.
pub const BACKENDS: u8 = 16;

/// The services by port; each has the same backends, and each backend an entry for each service.
pub mod port {
    /// Delivered by IP in IP of the VIP's own family.
    pub const IPIP: u16 = 80;
    /// Delivered by GUE.
    pub const GUE: u16 = 81;
    /// Delivered by IP in IP of the other family.
    pub const OTHER: u16 = 82;
    /// To backends behind another interface.
    pub const ELSEWHERE: u16 = 83;
    /// To backends whose way takes short packets only.
    pub const NARROW: u16 = 84;
    /// One slot in a hundred moves.
    pub const MOVING_1: u16 = 85;
    /// One slot in ten moves.
    pub const MOVING_10: u16 = 86;
    /// All slots move.
    pub const MOVING_100: u16 = 87;
    /// One slot in ten moves, for flows that began since.
    pub const PINNED_10: u16 = 88;
    /// All slots move, for flows whose pins leave no room for others.
    pub const FILLING: u16 = 89;
}

/// One slot in so many moves, by the service's port and protocol.
const MOVING: [(u16, Proto, usize); 6] = [
    (port::MOVING_1, Proto::Tcp, 100),
    (port::MOVING_10, Proto::Tcp, 10),
    (port::MOVING_100, Proto::Tcp, 1),
    (port::MOVING_100, Proto::Udp, 1),
    (port::PINNED_10, Proto::Tcp, 10),
    (port::FILLING, Proto::Tcp, 1),
];

/// The VIP of a family.
#[must_use]
pub fn vip(is_v4: bool, port: u16, proto: Proto) -> Vip {
    let ip = if is_v4 {
        IpAddr::V4(Ipv4Addr::new(10, 200, 1, 1))
    } else {
        IpAddr::V6(Ipv6Addr::new(0xfd00, 0x200, 0, 0, 0, 0, 0, 1))
    };
    Vip {
        ip,
        bits: if is_v4 { 32 } else { 128 },
        port,
        proto,
    }
}

/// The programs with all services: their next hops are behind the interface `here`, or `elsewhere`.
#[must_use]
pub fn load(here: u32, elsewhere: u32) -> Bench {
    let mut bench = Bench::new();
    let (model, hops) = model(here, elsewhere);
    bench.apply(&model, &hops);
    let tables = &bench.object.tables;
    // No limit is to be met while a packet is repeated.
    let no_limit = Guards {
        pins: u32::MAX,
        icmp: u32::MAX,
    };
    tables.guards.store(no_limit.pack());
    tables.fragments.store(u64::from(u32::MAX));
    tables.flows.store(u64::from(u32::MAX));
    for (port, proto, every) in MOVING {
        let key = tables::key(vip(true, port, proto));
        let cell = tables.find(key).map(|(cell, _)| cell.region.load());
        let Region { base, len, .. } = Region::unpack(cell.unwrap_or_default());
        for slot in (base..base + len).step_by(every) {
            let current = tables.slot(slot).current();
            let neighbour = tables.slot(base + (slot - base + 1) % len).current();
            tables.slots[slot as usize].store(Slot::moving(current, neighbour).0);
        }
    }
    bench
}

/// All services, and the next hops of their backends.
#[must_use]
pub fn model(here: u32, elsewhere: u32) -> (Model, Hops) {
    let mut services = Vec::new();
    let mut hops = Hops::new();
    for is_v4 in [true, false] {
        let mut add = |port, proto, deliver| {
            let vip = vip(is_v4, port, proto);
            services.push(Service::new(vip.to_string(), vip, deliver));
        };
        for proto in [Proto::Tcp, Proto::Udp] {
            add(port::IPIP, proto, Deliver::Ipip(backends(is_v4, 0)));
        }
        add(port::GUE, Proto::Tcp, Deliver::Gue(backends(is_v4, 0)));
        add(port::OTHER, Proto::Tcp, Deliver::Ipip(backends(!is_v4, 0)));
        add(
            port::ELSEWHERE,
            Proto::Tcp,
            Deliver::Ipip(backends(is_v4, 1)),
        );
        add(port::NARROW, Proto::Tcp, Deliver::Ipip(backends(is_v4, 2)));
        for (port, proto, _) in MOVING {
            add(port, proto, Deliver::Ipip(backends(is_v4, 0)));
        }
        for (network, ifindex, mtu) in [(0, here, 1500), (1, elsewhere, 1500), (2, here, 1280)] {
            for backend in backends(is_v4, network) {
                let hop = NextHop {
                    ifindex,
                    source: NODE_MAC,
                    destination: NEXT_MAC,
                    mtu,
                    tags: Tags::NONE,
                };
                hops.insert(backend.address, hop);
            }
        }
    }
    (
        Model {
            services,
            ..Model::default()
        },
        hops,
    )
}

fn backends(is_v4: bool, network: u8) -> Vec<Backend> {
    let address = |last: u8| {
        if is_v4 {
            IpAddr::V4(Ipv4Addr::new(10, 99, network, last))
        } else {
            let network = u16::from(network);
            IpAddr::V6(Ipv6Addr::new(
                0xfd99,
                0,
                0,
                network,
                0,
                0,
                0,
                u16::from(last),
            ))
        }
    };
    (1..=BACKENDS)
        .map(|last| Backend {
            address: address(last),
            weight: 1,
            drain: false,
        })
        .collect()
}
