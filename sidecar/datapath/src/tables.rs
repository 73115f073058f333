//! From the model to what the maps say: pure, nothing is written here.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use tollgate_common::{
    backend::{Header, Kind, Out},
    flow::Flow,
    nat::Tuple,
    service::{Key, Scope, TCP, UDP},
    tag::Tags,
};

use crate::{
    model::{Proto, Tunnel, Vip},
    prefix::Prefix,
};

pub mod cuckoo;
pub mod maglev;

/// IP protocol numbers of IP inside IP.
const IPV4_INSIDE: u8 = 4;
const IPV6_INSIDE: u8 = 41;

/// Where packets to a backend go next, as user space found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NextHop {
    /// Index of the interface.
    pub ifindex: u32,
    /// The interface's own MAC address.
    pub source: [u8; 6],
    /// The next hop's MAC address.
    pub destination: [u8; 6],
    /// Largest IP packet on that way.
    pub mtu: u16,
    /// The tags that frames leave with there.
    pub tags: Tags,
}

/// The backend entry for a backend behind a next hop, whose tags have the number `vlan`, and tunnels that say this of
/// themselves: the header's words, and the word of the way out.
#[must_use]
pub fn entry(
    vip: IpAddr,
    kind: Kind,
    backend: IpAddr,
    hop: Option<&NextHop>,
    tunnel: Tunnel,
    vlan: u8,
) -> ([u64; 7], u64) {
    let Some(hop) = hop else { return ([0; 7], 0) };
    let inner = if vip.is_ipv4() {
        IPV4_INSIDE
    } else {
        IPV6_INSIDE
    };
    let inner = match kind {
        Kind::Gue4 | Kind::Gue6 => UDP,
        Kind::L2 | Kind::Nat | Kind::Ipip4 | Kind::Ipip6 => inner,
    };
    let header = match (kind, backend) {
        (Kind::L2 | Kind::Nat, _) => Header::l2(hop.destination, hop.source),
        (_, IpAddr::V4(to)) => {
            let (from, to) = (tunnel.source_v4(), to.octets());
            Header::ipip4(hop.destination, hop.source, from, to, inner)
        }
        (_, IpAddr::V6(to)) => {
            let (from, to) = (tunnel.source_v6(), to.octets());
            Header::ipip6(hop.destination, hop.source, from, to, inner)
        }
    };
    let header = match kind {
        Kind::Gue4 | Kind::Gue6 => header.gue(tunnel.gue_port()),
        Kind::L2 | Kind::Nat | Kind::Ipip4 | Kind::Ipip6 => header,
    };
    (header.0, Out::new(hop.ifindex, hop.mtu, kind, vlan).pack())
}

/// The same for a backend that packets are translated to: its port, and the network that they come from then, if not from
/// their clients. `None` for both: that is not known.
#[must_use]
pub fn translated(
    backend: IpAddr,
    hop: Option<&NextHop>,
    target: Option<(u16, Option<Prefix>)>,
    vlan: u8,
) -> ([u64; 7], u64) {
    let (Some(hop), Some((port, from))) = (hop, target) else {
        return ([0; 7], 0);
    };
    let (hi, lo, family) = words(backend);
    let from = from.map(|network| {
        let (hi, lo, _) = words(network.address());
        let whole = if family == 4 { 32 } else { 128 };
        ([hi, lo], whole - network.bits())
    });
    let header = Header::nat(hop.destination, hop.source, [hi, lo], port, from);
    let out = Out::new(hop.ifindex, hop.mtu, Kind::Nat, vlan);
    (header.0, out.pack())
}

/// The key under which a service stands.
#[must_use]
pub fn key(vip: Vip) -> Key {
    let proto = match vip.proto {
        Proto::Tcp => TCP,
        Proto::Udp => UDP,
    };
    let (hi, lo, family) = words(vip.ip);
    let (key, scope) = match family {
        4 => (
            Key::v4(lo as u32, vip.port.to_be(), proto),
            Scope::v4(vip.bits),
        ),
        _ => (
            Key::v6(hi, lo, vip.port.to_be(), proto),
            Scope::v6(vip.bits),
        ),
    };
    key.within(scope)
}

/// What packets from one end to another bear.
#[must_use]
pub fn tuple(source: SocketAddr, destination: SocketAddr, udp: bool) -> Tuple {
    let ((hi, lo, family), (to_hi, to_lo, _)) = (words(source.ip()), words(destination.ip()));
    let ports = [source, destination].map(|end| u32::from(end.port().to_be()));
    Tuple {
        source: [hi, lo],
        destination: [to_hi, to_lo],
        ports: ports[0] | ports[1] << 16,
        tag: Tuple::tag(if udp { UDP } else { TCP }, family == 4),
    }
}

/// The ends that packets which bear this go from and to.
#[must_use]
pub fn ends(tuple: &Tuple) -> (SocketAddr, SocketAddr) {
    let end = |[hi, lo]: [u64; 2], port: u32| {
        let family = if tuple.is_v4() { 4 } else { 6 };
        let ip = address(hi, lo, family).unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        SocketAddr::new(ip, u16::from_be(port as u16))
    };
    (
        end(tuple.source, tuple.ports),
        end(tuple.destination, tuple.ports >> 16),
    )
}

/// The flow of a connection to a service, as the kernel side sees it. `None`: the families differ.
#[must_use]
pub fn flow(source: IpAddr, source_port: u16, vip: Vip) -> Option<Flow> {
    match (source, vip.ip) {
        (IpAddr::V4(source), IpAddr::V4(_)) => {
            Some(Flow::v4(source.octets(), source_port, vip.port))
        }
        (IpAddr::V6(source), IpAddr::V6(_)) => {
            Some(Flow::v6(source.octets(), source_port, vip.port))
        }
        _ => None,
    }
}

/// An address as two words, as they load from a packet, and its family (4 or 6).
#[must_use]
pub const fn words(address: IpAddr) -> (u64, u64, u8) {
    match address {
        IpAddr::V4(address) => (0, u32::from_ne_bytes(address.octets()) as u64, 4),
        IpAddr::V6(address) => {
            let word = u128::from_ne_bytes(address.octets());
            (word as u64, (word >> 64) as u64, 6)
        }
    }
}

/// The address of two words and a family; `None` for any other family.
#[must_use]
pub fn address(hi: u64, lo: u64, family: u8) -> Option<IpAddr> {
    match family {
        4 => Some(IpAddr::from((lo as u32).to_ne_bytes())),
        6 => Some(IpAddr::from(
            (u128::from(hi) | u128::from(lo) << 64).to_ne_bytes(),
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_come_back_from_their_words() {
        for text in ["203.0.113.10", "2001:db8::1", "::ffff:1.2.3.4"] {
            let ip: IpAddr = text.parse().unwrap();
            let (hi, lo, family) = words(ip);
            assert_eq!(address(hi, lo, family), Some(ip));
        }
        assert_eq!(address(0, 0, 0), None);
    }
}
