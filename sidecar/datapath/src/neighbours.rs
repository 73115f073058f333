//! Next hops: by which interface and to which MAC address a backend's packets go. Asked of the kernel's routes and
//! neighbour table, and kept fresh there: XDP passes by the stack, which would forget neighbours that it does not use.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use futures_util::TryStreamExt as _;
use rtnetlink::{
    RouteMessageBuilder,
    packet_route::{
        neighbour::{NeighbourAttribute, NeighbourFlags, NeighbourState},
        route::{RouteAttribute, RouteMessage, RouteMetric, RouteType, RouteVia},
    },
};

use crate::{
    netlink::{self, Device, Netlink, NetlinkError, neighbour_of, route_address},
    reconcile::Hops,
    tables::NextHop,
};

/// How long a first resolution is waited for.
const PATIENCE: Duration = Duration::from_millis(1500);
const STEP: Duration = Duration::from_millis(50);

/// What is known about the way to each backend.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ways {
    /// Those that packets can be sent to.
    pub(crate) hops: Hops,
    /// In words, for each backend.
    pub(crate) words: BTreeMap<IpAddr, String>,
}

/// The way to one backend by the routing table.
struct Way {
    device: Device,
    via: IpAddr,
    mtu: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Neighbour {
    Known([u8; 6]),
    Asked,
    Silent,
}

/// Looks up all ways; `wait`: backends that the kernel has yet to ask for are waited for a moment. A backend that was
/// known before and is only being asked for again keeps its next hop.
pub(crate) async fn resolve(
    netlink: &Netlink,
    backends: &BTreeSet<IpAddr>,
    before: &Ways,
    wait: bool,
) -> Result<Ways, NetlinkError> {
    let mut ways = Ways::default();
    let devices = netlink.devices().await?;
    let mut open: Vec<(IpAddr, Way)> = Vec::new();
    for &backend in backends {
        match way(netlink, backend, &devices).await? {
            Ok(way) => open.push((backend, way)),
            Err(why) => {
                ways.words.insert(backend, why);
            }
        }
    }
    let first = Neighbours::read(netlink).await?;
    for (_, way) in &open {
        // Asks if it must, and counts as use: an entry that goes stale is confirmed again.
        first.kick(netlink, way).await;
    }
    let mut left = PATIENCE;
    let now = loop {
        let now = Neighbours::read(netlink).await?;
        let asked = open
            .iter()
            .any(|(_, way)| now.find(way) == Neighbour::Asked);
        if !asked || !wait || left.is_zero() {
            break now;
        }
        tokio::time::sleep(STEP).await;
        left = left.saturating_sub(STEP);
    };
    for (backend, way) in open {
        let before = before.hops.get(&backend);
        let before = before.filter(|hop| hop.ifindex == way.device.index);
        let neighbour = judge(first.find(&way), now.find(&way), before);
        ways.words.insert(backend, words(neighbour, &way));
        if let (Neighbour::Known(destination), Some(source)) = (neighbour, way.device.mac) {
            let hop = NextHop {
                ifindex: way.device.index,
                source,
                destination,
                mtu: way.mtu,
            };
            ways.hops.insert(backend, hop);
        }
    }
    Ok(ways)
}

/// What to believe of a neighbour that was one thing before it was asked and is another now. Who had not answered before
/// and is only being asked again has still not answered; who was known and is being asked again is still believed.
fn judge(first: Neighbour, now: Neighbour, before: Option<&NextHop>) -> Neighbour {
    match (first, now, before) {
        (_, Neighbour::Known(mac), _) => Neighbour::Known(mac),
        (Neighbour::Silent, _, _) | (_, Neighbour::Silent, _) => Neighbour::Silent,
        (_, Neighbour::Asked, Some(hop)) => Neighbour::Known(hop.destination),
        (_, Neighbour::Asked, None) => Neighbour::Asked,
    }
}

fn words(neighbour: Neighbour, way: &Way) -> String {
    let (via, interface) = (way.via, &way.device.name);
    match neighbour {
        Neighbour::Known([a, b, c, d, e, f]) => {
            format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x} ({via}) on {interface}")
        }
        Neighbour::Asked => format!("{via} on {interface} has not answered yet"),
        Neighbour::Silent => format!("{via} on {interface} does not answer"),
    }
}

/// The way to a backend, or in words why there is none.
async fn way(
    netlink: &Netlink,
    backend: IpAddr,
    devices: &[Device],
) -> Result<Result<Way, String>, NetlinkError> {
    let request = match backend {
        IpAddr::V4(ip) => RouteMessageBuilder::<std::net::Ipv4Addr>::new()
            .destination_prefix(ip, 32)
            .build(),
        IpAddr::V6(ip) => RouteMessageBuilder::<std::net::Ipv6Addr>::new()
            .destination_prefix(ip, 128)
            .build(),
    };
    let route = match netlink
        .handle
        .route()
        .get(request)
        .execute()
        .try_next()
        .await
    {
        Ok(Some(route)) => route,
        Ok(None) => return Ok(Err("no route".to_owned())),
        Err(error) => {
            return match netlink::code(&error) {
                Some(nix::libc::ENETUNREACH | nix::libc::EHOSTUNREACH | nix::libc::EINVAL) => {
                    Ok(Err("no route".to_owned()))
                }
                _ => Err(NetlinkError::of(format!(
                    "the route to {backend} was not looked up"
                ))(error)),
            };
        }
    };
    Ok(way_of(&route, backend, devices))
}

fn way_of(route: &RouteMessage, backend: IpAddr, devices: &[Device]) -> Result<Way, String> {
    match route.header.kind {
        RouteType::Unicast => {}
        RouteType::Local => return Err("it is this host itself".to_owned()),
        other => return Err(format!("its route is {other:?}")),
    }
    let (mut index, mut via, mut mtu) = (None, backend, u32::MAX);
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Oif(oif) => index = Some(*oif),
            RouteAttribute::Gateway(gateway) => via = route_address(gateway).unwrap_or(via),
            RouteAttribute::Via(RouteVia::Inet6(gateway)) => via = (*gateway).into(),
            RouteAttribute::Via(RouteVia::Inet(gateway)) => via = (*gateway).into(),
            RouteAttribute::Metrics(metrics) => {
                for metric in metrics {
                    if let RouteMetric::Mtu(limit) = metric
                        && *limit != 0
                    {
                        mtu = *limit;
                    }
                }
            }
            _ => {}
        }
    }
    let device = index.and_then(|index| devices.iter().find(|device| device.index == index));
    let device = device.ok_or_else(|| "its route names no device".to_owned())?;
    if device.mac.is_none() {
        return Err(format!("{} is not an Ethernet device", device.name));
    }
    let mtu = mtu.min(device.mtu).min(u32::from(u16::MAX)) as u16;
    Ok(Way {
        device: device.clone(),
        via,
        mtu,
    })
}

/// The neighbour table: by interface and address, the state and the MAC address if it is known.
struct Neighbours(BTreeMap<(u32, IpAddr), Entry>);

type Entry = (NeighbourState, Option<[u8; 6]>);

impl Neighbours {
    async fn read(netlink: &Netlink) -> Result<Self, NetlinkError> {
        let mut table = BTreeMap::new();
        for message in netlink.neighbours(false).await? {
            let Some(address) = neighbour_of(&message) else {
                continue;
            };
            let mac = message
                .attributes
                .iter()
                .find_map(|attribute| match attribute {
                    NeighbourAttribute::LinkLayerAddress(mac) => mac.as_slice().try_into().ok(),
                    _ => None,
                });
            table.insert(
                (message.header.ifindex, address),
                (message.header.state, mac),
            );
        }
        Ok(Self(table))
    }

    fn find(&self, way: &Way) -> Neighbour {
        match self.0.get(&(way.device.index, way.via)) {
            Some((NeighbourState::Failed, _)) => Neighbour::Silent,
            Some((NeighbourState::Incomplete | NeighbourState::None, _)) | None => Neighbour::Asked,
            Some((_, Some(mac))) => Neighbour::Known(*mac),
            Some((_, None)) => Neighbour::Asked,
        }
    }

    async fn kick(&self, netlink: &Netlink, way: &Way) {
        if let Some((NeighbourState::Permanent | NeighbourState::Noarp, _)) =
            self.0.get(&(way.device.index, way.via))
        {
            return;
        }
        let kicked = netlink
            .handle
            .neighbours()
            .add(way.device.index, way.via)
            .state(NeighbourState::None)
            .flags(NeighbourFlags::Use)
            .replace()
            .execute()
            .await;
        if let Err(error) = kicked {
            tracing::warn!(next_hop = %way.via, device = way.device.name, %error, "the neighbour was not asked for");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_neighbour_is_believed_until_it_is_silent() {
        let (old, new) = ([1; 6], [2; 6]);
        let hop = NextHop {
            ifindex: 1,
            source: [0; 6],
            destination: old,
            mtu: 1500,
        };
        let known = Neighbour::Known;
        for (first, now, before, judged) in [
            (Neighbour::Asked, known(new), None, known(new)),
            (Neighbour::Silent, known(new), None, known(new)),
            (known(old), known(new), Some(&hop), known(new)),
            (Neighbour::Asked, Neighbour::Asked, None, Neighbour::Asked),
            (known(old), Neighbour::Asked, Some(&hop), known(old)),
            // The question that was just asked makes a silent one look as if it might answer.
            (
                Neighbour::Silent,
                Neighbour::Asked,
                Some(&hop),
                Neighbour::Silent,
            ),
            (
                Neighbour::Asked,
                Neighbour::Silent,
                Some(&hop),
                Neighbour::Silent,
            ),
        ] {
            assert_eq!(
                judge(first, now, before),
                judged,
                "{first:?}, {now:?}, {before:?}"
            );
        }
    }
}
