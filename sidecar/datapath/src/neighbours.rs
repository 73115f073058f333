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
    let mut table = Neighbours::read(netlink).await?;
    for (_, way) in &open {
        // Asks if it must, and counts as use: an entry that goes stale is confirmed again.
        table.kick(netlink, way).await;
    }
    let mut left = PATIENCE;
    loop {
        table = Neighbours::read(netlink).await?;
        let asked = open
            .iter()
            .any(|(_, way)| matches!(table.find(way), Neighbour::Asked));
        if !asked || !wait || left.is_zero() {
            break;
        }
        tokio::time::sleep(STEP).await;
        left = left.saturating_sub(STEP);
    }
    for (backend, way) in open {
        let interface = &way.device.name;
        let known = match (table.find(&way), before.hops.get(&backend)) {
            (Neighbour::Known(mac), _) => Some(mac),
            (Neighbour::Asked, Some(hop)) if hop.ifindex == way.device.index => {
                Some(hop.destination)
            }
            (Neighbour::Asked, _) => {
                let words = format!("{} on {interface} has not answered yet", way.via);
                ways.words.insert(backend, words);
                None
            }
            (Neighbour::Silent, _) => {
                ways.words.insert(
                    backend,
                    format!("{} on {interface} does not answer", way.via),
                );
                None
            }
        };
        if let (Some(destination), Some(source)) = (known, way.device.mac) {
            let [a, b, c, d, e, f] = destination;
            let mac = format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}");
            ways.words
                .insert(backend, format!("{mac} ({}) on {interface}", way.via));
            let ifindex = way.device.index;
            ways.hops.insert(
                backend,
                NextHop {
                    ifindex,
                    source,
                    destination,
                    mtu: way.mtu,
                },
            );
        }
    }
    Ok(ways)
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
