//! Next hops: by which interface and to which MAC address a backend's packets go. Asked of the kernel's routes and
//! neighbour table, and kept fresh there: XDP passes by the stack, which would forget neighbours that it does not use.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
    pin::pin,
    time::Duration,
};

use futures_util::TryStreamExt as _;
use rtnetlink::packet_route::{
    AddressFamily,
    neighbour::{NeighbourAttribute, NeighbourFlags, NeighbourState},
    route::{RouteAddress, RouteAttribute, RouteMessage, RouteMetric, RouteType, RouteVia},
};

use tollgate_common::tag::Tags;

use crate::{
    model::{Deliver, Model},
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
    /// The host's own address towards each backend.
    pub(crate) own: HashMap<IpAddr, IpAddr>,
    /// The next hops that did not answer, by interface.
    pub(crate) silent: BTreeSet<(u32, IpAddr)>,
}

/// The way to one backend by the routing table.
struct Way {
    device: Device,
    /// Index of the device that frames leave by: of a VLAN device the one below it.
    out: u32,
    /// What they are tagged with there.
    tags: Tags,
    via: IpAddr,
    mtu: u16,
    /// The host's own address on it.
    own: Option<IpAddr>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Neighbour {
    Known([u8; 6]),
    Asked,
    Silent,
}

impl Way {
    /// The neighbour that packets are handed to.
    const fn next(&self) -> (u32, IpAddr) {
        (self.device.index, self.via)
    }

    /// The next hop that was known before, if frames left the same way: by the same device and with the same tags.
    fn known<'a>(&self, before: Option<&'a NextHop>) -> Option<&'a NextHop> {
        before.filter(|hop| (hop.ifindex, hop.tags) == (self.out, self.tags))
    }
}

/// A backend whose neighbour is being looked for.
struct Search<'a> {
    backend: IpAddr,
    way: Way,
    first: Neighbour,
    /// The next hop that it had.
    known: Option<&'a NextHop>,
}

/// Looks up all ways; `wait`: neighbours that nothing is known of yet are waited for a moment. A backend that was
/// known before and is only being asked for again keeps its next hop.
pub(crate) async fn resolve(
    netlink: &Netlink,
    model: &Model,
    devices: &[Device],
    before: &Ways,
    wait: bool,
) -> Result<Ways, NetlinkError> {
    let mut ways = Ways::default();
    let table = Neighbours::read(netlink).await?;
    let mut searches: Vec<Search<'_>> = Vec::new();
    for (backend, same_segment) in backends(model) {
        match way(netlink, backend, same_segment, devices).await? {
            Ok(way) => searches.push(Search {
                backend,
                first: match table.find(&way) {
                    // The last question has not been given up yet.
                    Neighbour::Asked if before.silent.contains(&way.next()) => Neighbour::Silent,
                    first => first,
                },
                known: way.known(before.hops.get(&backend)),
                way,
            }),
            Err(why) => {
                ways.words.insert(backend, why);
            }
        }
    }
    // Asks if it must, and counts as use: an entry that goes stale is confirmed again. Once each: thousands of
    // backends may be behind one gateway.
    let next: BTreeMap<(u32, IpAddr), &Way> = searches
        .iter()
        .map(|search| (search.way.next(), &search.way))
        .collect();
    for way in next.into_values() {
        table.kick(netlink, way).await;
    }
    let mut left = PATIENCE;
    let now = loop {
        let now = Neighbours::read(netlink).await?;
        let asked = searches
            .iter()
            .any(|one| judge(one.first, now.find(&one.way), one.known) == Neighbour::Asked);
        if !asked || !wait || left.is_zero() {
            break now;
        }
        tokio::time::sleep(STEP).await;
        left = left.saturating_sub(STEP);
    };
    for search in searches {
        let way = &search.way;
        ways.own.extend(way.own.map(|own| (search.backend, own)));
        let neighbour = judge(search.first, now.find(way), search.known);
        ways.words.insert(search.backend, words(neighbour, way));
        match (neighbour, way.device.mac) {
            (Neighbour::Known(destination), Some(source)) => {
                let hop = NextHop {
                    ifindex: way.out,
                    source,
                    destination,
                    mtu: way.mtu,
                    tags: way.tags,
                };
                ways.hops.insert(search.backend, hop);
            }
            (Neighbour::Silent, _) => {
                ways.silent.insert(way.next());
            }
            _ => {}
        }
    }
    Ok(ways)
}

/// All backends, and whether a service reaches them by their MAC addresses. Next hops are by address: one that is
/// reached both ways must be on the segment for both.
fn backends(model: &Model) -> BTreeMap<IpAddr, bool> {
    let mut all = BTreeMap::new();
    for service in &model.services {
        let same_segment = matches!(service.deliver, Deliver::L2(_));
        for backend in service.deliver.backends() {
            *all.entry(backend.address).or_insert(false) |= same_segment;
        }
    }
    all
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
    same_segment: bool,
    devices: &[Device],
) -> Result<Result<Way, String>, NetlinkError> {
    // Nothing but the destination: a strict kernel refuses table, protocol or type in a question.
    let mut request = RouteMessage::default();
    let (family, len, address) = match backend {
        IpAddr::V4(ip) => (AddressFamily::Inet, 32, RouteAddress::Inet(ip)),
        IpAddr::V6(ip) => (AddressFamily::Inet6, 128, RouteAddress::Inet6(ip)),
    };
    request.header.address_family = family;
    request.header.destination_prefix_length = len;
    request
        .attributes
        .push(RouteAttribute::Destination(address));
    let mut answer = pin!(netlink.handle.route().get(request).execute());
    match answer.try_next().await {
        Ok(Some(route)) => {
            let way = way_of(&route, backend, devices);
            Ok(way.and_then(|way| on_segment(way, backend, same_segment)))
        }
        Ok(None) => Ok(Err(no_route(nix::libc::ENETUNREACH))),
        Err(error) => match netlink::code(&error) {
            // The kernel could not, whatever the route is.
            None | Some(nix::libc::ENOMEM | nix::libc::ENOBUFS) => Err(NetlinkError::of(format!(
                "the route to {backend} was not looked up"
            ))(error)),
            Some(number) => Ok(Err(no_route(number))),
        },
    }
}

/// What the kernel answers for a destination that has no way (`fib_props` in net/ipv4/fib_semantics.c): one backend's
/// matter, the others have theirs.
fn no_route(number: i32) -> String {
    match number {
        nix::libc::ENETUNREACH => "no route leads to it".to_owned(),
        nix::libc::EHOSTUNREACH => "its route is unreachable".to_owned(),
        nix::libc::EACCES => "its route is prohibited".to_owned(),
        nix::libc::EINVAL => "its route is a blackhole".to_owned(),
        _ => format!(
            "its route was not found: {}",
            std::io::Error::from_raw_os_error(number)
        ),
    }
}

/// A frame with the gateway's MAC address would reach the gateway, which sends the packet inside on by its
/// destination, the VIP: back to here.
fn on_segment(way: Way, backend: IpAddr, same_segment: bool) -> Result<Way, String> {
    if same_segment && way.via != backend {
        return Err(format!(
            "{backend} is behind {}; l2 needs it on the same segment",
            way.via
        ));
    }
    Ok(way)
}

fn way_of(route: &RouteMessage, backend: IpAddr, devices: &[Device]) -> Result<Way, String> {
    match route.header.kind {
        RouteType::Unicast => {}
        RouteType::Local => return Err("it is this host itself".to_owned()),
        other => return Err(format!("its route is {other:?}").to_lowercase()),
    }
    let (mut index, mut via, mut mtu, mut own) = (None, backend, u32::MAX, None);
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Oif(oif) => index = Some(*oif),
            RouteAttribute::PrefSource(address) => own = route_address(address),
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
    let (mut out, mut tags) = (device, Tags::NONE);
    while let Some((below, tag)) = out.vlan {
        if tags.len() == 8 {
            return Err(format!("{} is in more than two VLANs", device.name));
        }
        tags = tags.within(tag);
        out = devices
            .iter()
            .find(|device| device.index == below)
            .ok_or_else(|| {
                format!(
                    "the device below {} is in another network namespace",
                    device.name
                )
            })?;
    }
    Ok(Way {
        device: device.clone(),
        out: out.index,
        tags,
        via,
        mtu,
        own,
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
            tags: Tags::NONE,
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

    /// `eth0`, `eth0.100` on it, and the tagged `eth0.100.7` on that one.
    fn devices() -> Vec<Device> {
        let device = |index, name: &str, vlan| Device {
            index,
            name: name.to_owned(),
            mac: Some([2, 0, 0, 0, 0, 1]),
            mtu: 1500,
            up: true,
            xdp: None,
            program: None,
            controller: None,
            vlan,
        };
        vec![
            device(2, "eth0", None),
            device(3, "eth0.100", Some((2, Tags::one(Tags::S, 100)))),
            device(4, "eth0.100.7", Some((3, Tags::one(Tags::C, 7)))),
        ]
    }

    #[test]
    fn a_next_hop_is_known_again_by_its_own_way_only() {
        let backend = IpAddr::from([10, 0, 0, 21]);
        let devices = devices();
        let ways: Vec<Way> = devices
            .iter()
            .map(|device| {
                let mut route = RouteMessage::default();
                route.header.kind = RouteType::Unicast;
                route.attributes.push(RouteAttribute::Oif(device.index));
                way_of(&route, backend, &devices).unwrap()
            })
            .collect();
        let hops: Vec<NextHop> = ways
            .iter()
            .map(|way| NextHop {
                ifindex: way.out,
                source: [2, 0, 0, 0, 0, 1],
                destination: [2, 0, 0, 0, 0, 9],
                mtu: way.mtu,
                tags: way.tags,
            })
            .collect();
        assert!(hops.iter().all(|hop| hop.ifindex == 2), "all leave by eth0");
        for (at, way) in ways.iter().enumerate() {
            for (before, hop) in hops.iter().enumerate() {
                let known = way.known(Some(hop));
                assert_eq!(known.is_some(), at == before, "{at} after {before}");
            }
            assert_eq!(way.known(None), None);
            // And so it is believed while it is asked for again.
            assert_eq!(
                judge(
                    Neighbour::Asked,
                    Neighbour::Asked,
                    way.known(Some(&hops[at]))
                ),
                Neighbour::Known([2, 0, 0, 0, 0, 9])
            );
        }
    }
}
