//! Packets and what must become of them: {what, packet in, verdict, packet out}, for each family alike.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use tollgate_common::{tag::Tags, verdict::Verdict};
use tollgate_datapath::{
    model::{Backend, Deliver, Model, Service, Vip},
    reconcile::Hops,
    tables::NextHop,
};
use tollgate_tests::{bpf::INGRESS, packet::NODE_MAC};

pub(crate) mod build;
mod headers;
mod messages;
mod pieces;
mod plain;
mod shapes;
mod sizes;
mod tags;

pub(crate) use messages::errors;

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
    /// As it was, tags included.
    Same,
    /// Dropped half-way: nobody sees what is left of it.
    Gone,
    /// New MAC addresses and one hop less, else as it was.
    Macs,
    /// An outer header to this backend, inside it the packet as it was.
    Tunnel(IpAddr),
    /// The same with UDP and GUE headers.
    Gue(IpAddr),
    /// Back to its sender, tags included: packets may be so long.
    Told(u16),
}

pub(crate) struct Fixture {
    pub(crate) what: &'static str,
    pub(crate) family: Family,
    pub(crate) frame: Vec<u8>,
    /// Bytes before the frame that somebody else uses.
    pub(crate) metadata: usize,
    pub(crate) verdict: Verdict,
    pub(crate) out: Out,
    /// The tags that a frame leaves with that is sent on.
    pub(crate) tags: Tags,
}

/// So many bytes of somebody else's before the frame leave no room for a header.
pub(crate) const METADATA: usize = 212;

impl Fixture {
    pub(crate) fn new(
        what: &'static str,
        family: Family,
        frame: Vec<u8>,
        verdict: Verdict,
        out: Out,
    ) -> Self {
        Self {
            what,
            family,
            frame,
            metadata: 0,
            verdict,
            out,
            tags: Tags::NONE,
        }
    }
}

impl Family {
    /// An address of documentation networks.
    pub(crate) fn address(self, last: u8) -> IpAddr {
        match self {
            Self::V4 => Ipv4Addr::new(203, 0, 113, last).into(),
            Self::V6 => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last.into()).into(),
        }
    }

    /// An address of the network that services of prefixes are about; from 128 on in its other half.
    pub(crate) fn wide(self, last: u8) -> IpAddr {
        match self {
            Self::V4 => Ipv4Addr::new(192, 0, 2, last).into(),
            Self::V6 => {
                let half = u16::from(last & 0x80) << 8;
                Ipv6Addr::new(0x2001, 0xdb8, 1, 0, half, 0, 0, last.into()).into()
            }
        }
    }

    pub(crate) fn client(self) -> IpAddr {
        match self {
            Self::V4 => Ipv4Addr::new(198, 51, 100, 7).into(),
            Self::V6 => Ipv6Addr::new(0x2001, 0xdb8, 0xc, 0, 0, 0, 0, 7).into(),
        }
    }

    /// Who sends ICMP errors.
    pub(crate) fn router(self) -> IpAddr {
        match self {
            Self::V4 => Ipv4Addr::new(198, 51, 100, 254).into(),
            Self::V6 => Ipv6Addr::new(0x2001, 0xdb8, 0xc, 0, 0, 0, 0, 0xfe).into(),
        }
    }

    pub(crate) fn backend(self, last: u8) -> IpAddr {
        match self {
            Self::V4 => Ipv4Addr::new(10, 0, 0, last).into(),
            Self::V6 => Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last.into()).into(),
        }
    }

    /// Bytes of an IP header.
    pub(crate) const fn header(self) -> usize {
        match self {
            Self::V4 => 20,
            Self::V6 => 40,
        }
    }

    pub(crate) const fn other(self) -> Self {
        match self {
            Self::V4 => Self::V6,
            Self::V6 => Self::V4,
        }
    }
}

pub(crate) fn vip(family: Family, last: u8, rest: &str) -> Vip {
    spelled(family.address(last), "", rest)
}

/// A VIP of an address, perhaps with a prefix, and what follows it.
fn spelled(ip: IpAddr, prefix: &str, rest: &str) -> Vip {
    match ip {
        IpAddr::V4(ip) => format!("{ip}{prefix}:{rest}"),
        IpAddr::V6(ip) => format!("[{ip}{prefix}]:{rest}"),
    }
    .parse()
    .unwrap()
}

pub(crate) fn at(address: IpAddr) -> Vec<Backend> {
    vec![Backend {
        address,
        weight: 1,
        drain: false,
    }]
}

/// The services that the fixtures are about: `.1` has a listener (and one forwarded port), `.2` and `.3` are forwarded
/// only.
pub(crate) fn model() -> (Model, Hops) {
    let mut services = Vec::new();
    let mut hops = Hops::new();
    for family in FAMILIES {
        let other = family.other();
        let mut add = |vip: Vip, deliver| {
            services.push(Service::new(vip.to_string(), vip, deliver));
        };
        let own = |last| at(family.backend(last));
        for (last, rest, deliver) in [
            (1, "443/tcp", Deliver::Listener("edge".to_owned())),
            (1, "80/udp", Deliver::Ipip(own(21))),
            (2, "80/tcp", Deliver::Ipip(own(21))),
            (2, "80/udp", Deliver::Ipip(own(21))),
            (2, "81/tcp", Deliver::L2(own(22))),
            (2, "82/udp", Deliver::Ipip(own(23))),
            (2, "83/tcp", Deliver::Ipip(own(24))),
            (2, "84/tcp", Deliver::Ipip(Vec::new())),
            (2, "85/tcp", Deliver::Ipip(at(other.backend(25)))),
            (2, "86/udp", Deliver::L2(own(23))),
            (2, "87/tcp", Deliver::Gue(own(26))),
            (2, "87/udp", Deliver::Gue(at(other.backend(26)))),
            (2, "88/tcp", Deliver::Ipip(own(27))),
            (2, "88/udp", Deliver::L2(own(27))),
            (2, "89/tcp", Deliver::Gue(own(28))),
            (2, "89/udp", Deliver::L2(own(28))),
            (3, "*/tcp", Deliver::Ipip(own(29))),
        ] {
            add(vip(family, last, rest), deliver);
        }
        for (vip, deliver) in shapes::services(family) {
            add(vip, deliver);
        }
        let tags = |last| match last {
            27 => tags::ONE,
            28 => tags::TWO,
            _ => Tags::NONE,
        };
        // 24 has no next hop.
        for last in (21..=23).chain(25..=35) {
            let hop = NextHop {
                ifindex: if last == 23 { ELSEWHERE } else { INGRESS },
                source: NODE_MAC,
                destination: NEXT_MAC,
                mtu: MTU,
                tags: tags(last),
            };
            hops.insert(family.backend(last), hop);
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

/// All fixtures. They are run in this order: later fragments come behind their first ones.
pub(crate) fn all() -> Vec<Fixture> {
    let mut all = Vec::new();
    for family in FAMILIES {
        for of in [
            plain::of,
            sizes::of,
            tags::of,
            pieces::of,
            messages::of,
            shapes::of,
        ] {
            all.extend(of(family));
        }
    }
    all.extend(headers::all());
    all
}
