//! What makes the kernel take packets for virtual addresses, and neighbours send them here.
//!
//! A *local route* (`local VIP dev lo`) lets the kernel accept an address that no interface owns; for IPv4 it answers
//! ARP too. IPv6 answers neighbour solicitations only for what an interface owns or proxies: with `announce:
//! neighbour` a VIP gets a proxy entry on interfaces that forward, and else an address there that is never chosen as
//! a source (no duplicate detection: every node of an ECMP group may have it).

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use rtnetlink::{
    RouteMessageBuilder,
    packet_route::{
        address::{AddressAttribute, AddressFlags, AddressMessage, AddressProtocol, CacheInfo},
        neighbour::{NeighbourAttribute, NeighbourFlags, NeighbourMessage},
        route::{RouteMessage, RouteProtocol, RouteScope, RouteType},
    },
};

use crate::{
    config::Announce,
    model::{Deliver, Model, Service, Vip},
    netlink::{
        self, Device, LOOPBACK, Netlink, NetlinkError, PROTOCOL, TABLE_LOCAL, address_of,
        destination_of, is_our_address, is_our_proxy, neighbour_of,
    },
};

/// Why the kernel was not made to take the packets.
#[derive(Debug, thiserror::Error)]
pub enum RoutesError {
    /// The VIP is the host's own.
    #[error(
        "service `{service}`: {address} is this host's own address on {interface}, which the service would take from it; give the service an address of its own, or say `allow_host_address: true` there if that is meant"
    )]
    HostAddress {
        /// The service.
        service: String,
        /// Its address.
        address: IpAddr,
        /// Whose it is.
        interface: String,
    },
    /// A VIP of many addresses or ports has one of the loopback's among its own.
    #[error(
        "service `{service}`: {vip} covers {address} on lo, which no service has as its one address with one port: it may be what this host is reached by, for ssh and the like; narrow the VIP, take the address off lo, give it a service of its own, or say `allow_host_address: true` if that is meant"
    )]
    LoopbackAddress {
        /// The service.
        service: String,
        /// Its VIP: a prefix, or any port.
        vip: Vip,
        /// The address that is covered.
        address: IpAddr,
    },
    /// The kernel.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
}

/// What shall be: local routes, and IPv6 addresses that interfaces answer for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    local: BTreeSet<(IpAddr, u8)>,
    /// By interface index: as a proxy entry, as an address.
    proxied: BTreeSet<(u32, Ipv6Addr)>,
    owned: BTreeSet<(u32, Ipv6Addr)>,
}

impl Wanted {
    pub(crate) fn of(model: &Model, announce: Announce, attached: &[Device]) -> Self {
        let mut wanted = Self::default();
        for service in &model.services {
            let ip = service.vip.ip;
            let steered = matches!(service.deliver, Deliver::Listener(_));
            if steered || announce == Announce::Neighbour {
                wanted.local.insert((ip, service.vip.bits));
            }
            let IpAddr::V6(ip) = ip else { continue };
            // The kernel answers neighbour solicitations for addresses only, not for prefixes.
            if announce == Announce::Neighbour && service.vip.is_one() {
                for device in attached {
                    let place = if forwards(&device.name) {
                        &mut wanted.proxied
                    } else {
                        &mut wanted.owned
                    };
                    place.insert((device.index, ip));
                }
            }
        }
        wanted
    }
}

/// What the kernel has, read once for each time that it is compared with what shall be.
pub(crate) struct There {
    routes: Vec<((IpAddr, u8), RouteMessage)>,
    proxies: BTreeMap<(u32, Ipv6Addr), NeighbourMessage>,
    owned: BTreeMap<(u32, Ipv6Addr), AddressMessage>,
    /// The addresses that others gave, by interface index.
    others: Vec<(u32, IpAddr)>,
}

impl There {
    pub(crate) async fn read(netlink: &Netlink) -> Result<Self, NetlinkError> {
        let routes = netlink.our_routes().await?.into_iter();
        let mut there = Self {
            routes: routes
                .filter_map(|route| Some((destination_of(&route)?, route)))
                .collect(),
            proxies: BTreeMap::new(),
            owned: BTreeMap::new(),
            others: Vec::new(),
        };
        for proxy in netlink.neighbours(true).await? {
            if let Some(IpAddr::V6(address)) = neighbour_of(&proxy)
                && is_our_proxy(&proxy)
            {
                let place = (proxy.header.ifindex, address);
                there.proxies.insert(place, proxy);
            }
        }
        for message in netlink.addresses().await? {
            let index = message.header.index;
            match address_of(&message) {
                Some(IpAddr::V6(address)) if is_our_address(&message) => {
                    there.owned.insert((index, address), message);
                }
                Some(address) => there.others.push((index, address)),
                None => {}
            }
        }
        Ok(there)
    }

    /// Refuses services that would take what is for the host itself, see [`captured`](Self::captured).
    pub(crate) fn refuse_host_addresses(
        &self,
        model: &Model,
        devices: &[Device],
    ) -> Result<(), RoutesError> {
        self.captured(model, devices).next().map_or(Ok(()), Err)
    }

    /// The first service that takes what is for the host itself, by each address of the host that one takes.
    ///
    /// An address of an interface is the host's. One of the loopback may be either: VIPs announced by routing stand there,
    /// and so does what such hosts are managed by. So services for one address and port are taken at their word there, and
    /// prefixes and any port only where such a service says that the address is a VIP.
    pub(crate) fn captured(
        &self,
        model: &Model,
        devices: &[Device],
    ) -> impl Iterator<Item = RoutesError> {
        let is_one = |service: &&Service| service.vip.is_one() && service.vip.port != 0;
        let vips: BTreeSet<IpAddr> = model
            .services
            .iter()
            .filter(is_one)
            .map(|service| service.vip.ip)
            .collect();
        self.others.iter().filter_map(move |&(index, address)| {
            let on_loopback = index == LOOPBACK;
            if on_loopback && (address.is_loopback() || vips.contains(&address)) {
                return None;
            }
            let mut services = model.services.iter();
            let service = services
                .find(|service| !service.allow_host_address && service.vip.covers(address))?;
            let name = service.name.clone();
            Some(if on_loopback {
                RoutesError::LoopbackAddress {
                    service: name,
                    vip: service.vip,
                    address,
                }
            } else {
                let owner = devices.iter().find(|device| device.index == index);
                RoutesError::HostAddress {
                    service: name,
                    address,
                    interface: owner.map_or_else(|| "?".to_owned(), |device| device.name.clone()),
                }
            })
        })
    }

    /// Adds what is wanted and not there: what is new, and what the kernel dropped, which forgets an interface's IPv6
    /// addresses and proxy entries when the interface goes down, and the loopback's routes likewise. Does what it can, and
    /// names the first that it could not.
    pub(crate) async fn add(
        &self,
        netlink: &Netlink,
        wanted: &Wanted,
        devices: &[Device],
    ) -> Result<usize, NetlinkError> {
        let mut added = 0;
        let mut first = Ok(());
        let mut note = |result: Result<(), NetlinkError>| match result {
            Ok(()) => added += 1,
            Err(error) if first.is_ok() => first = Err(error),
            Err(_) => {}
        };
        for &prefix in &wanted.local {
            if !self.routes.iter().any(|(there, _)| *there == prefix) {
                note(add_route(netlink, prefix).await);
            }
        }
        for &(index, address) in &wanted.proxied {
            if !self.proxies.contains_key(&(index, address)) {
                note(add_proxy(netlink, index, address, devices).await);
            }
        }
        for &(index, address) in &wanted.owned {
            if !self.owned.contains_key(&(index, address)) {
                note(add_address(netlink, index, address).await);
            }
        }
        first.map(|()| added)
    }

    /// Removes what is ours and not wanted. Says how many.
    pub(crate) async fn remove(
        self,
        netlink: &Netlink,
        wanted: &Wanted,
    ) -> Result<usize, NetlinkError> {
        let mut removed = 0;
        for (prefix, route) in self.routes {
            if !wanted.local.contains(&prefix) {
                let (address, bits) = prefix;
                let gone = netlink.handle.route().del(route).execute().await;
                ignore(gone, nix::libc::ESRCH, || {
                    format!("the route to {address}/{bits} was not removed")
                })?;
                removed += 1;
            }
        }
        for (place, proxy) in self.proxies {
            if !wanted.proxied.contains(&place) {
                let gone = netlink.handle.neighbours().del(proxy).execute().await;
                ignore(gone, nix::libc::ENOENT, || {
                    format!("the proxy entry for {} was not removed", place.1)
                })?;
                removed += 1;
            }
        }
        for (place, message) in self.owned {
            if !wanted.owned.contains(&place) {
                let gone = netlink.handle.address().del(message).execute().await;
                ignore(gone, nix::libc::EADDRNOTAVAIL, || {
                    format!("the address {} was not removed", place.1)
                })?;
                removed += 1;
            }
        }
        Ok(removed)
    }
}

async fn add_route(netlink: &Netlink, prefix: (IpAddr, u8)) -> Result<(), NetlinkError> {
    let added = netlink.handle.route().add(local_route(prefix));
    let (address, bits) = prefix;
    ignore(added.execute().await, nix::libc::EEXIST, || {
        format!("the local route to {address}/{bits} was not added")
    })
}

async fn add_proxy(
    netlink: &Netlink,
    index: u32,
    address: Ipv6Addr,
    devices: &[Device],
) -> Result<(), NetlinkError> {
    if let Some(device) = devices.iter().find(|device| device.index == index) {
        allow_proxy(device)?;
    }
    let mut request = netlink
        .handle
        .neighbours()
        .add(index, address.into())
        .flags(NeighbourFlags::Proxy);
    let protocol = NeighbourAttribute::Protocol(RouteProtocol::Other(PROTOCOL));
    request.message_mut().attributes.push(protocol);
    ignore(request.execute().await, nix::libc::EEXIST, || {
        format!("the proxy entry for {address} was not added")
    })
}

async fn add_address(netlink: &Netlink, index: u32, address: Ipv6Addr) -> Result<(), NetlinkError> {
    let mut request = netlink.handle.address().add(index, address.into(), 128);
    request.message_mut().attributes.extend(unused_as_source());
    ignore(request.execute().await, nix::libc::EEXIST, || {
        format!("the address {address} was not added")
    })
}

fn local_route((address, bits): (IpAddr, u8)) -> RouteMessage {
    macro_rules! route {
        ($family:ty, $address:expr, $len:expr) => {
            RouteMessageBuilder::<$family>::new()
                .destination_prefix($address, $len)
                .output_interface(LOOPBACK)
                .table_id(u32::from(TABLE_LOCAL))
                .protocol(RouteProtocol::Other(PROTOCOL))
                .scope(RouteScope::Host)
                .kind(RouteType::Local)
                .build()
        };
    }
    match address {
        IpAddr::V4(address) => route!(Ipv4Addr, address, bits),
        IpAddr::V6(address) => route!(Ipv6Addr, address, bits),
    }
}

fn unused_as_source() -> [AddressAttribute; 3] {
    let mut forever = CacheInfo::default();
    (forever.ifa_preferred, forever.ifa_valid) = (0, u32::MAX);
    [
        AddressAttribute::Flags(AddressFlags::Nodad | AddressFlags::Noprefixroute),
        AddressAttribute::CacheInfo(forever),
        AddressAttribute::Protocol(AddressProtocol::Other(PROTOCOL)),
    ]
}

/// Lets an interface answer for its proxy entries. It answers for nothing else by it, so it is not taken back.
fn allow_proxy(device: &Device) -> Result<(), NetlinkError> {
    let path = format!("/proc/sys/net/ipv6/conf/{}/proxy_ndp", device.name);
    let value = "1";
    fs::write(&path, value).map_err(|source| NetlinkError::Setting {
        path,
        value,
        source,
    })
}

/// Whether the kernel forwards IPv6 from this interface: only then does it answer for proxy entries.
fn forwards(interface: &str) -> bool {
    fs::read_to_string(format!("/proc/sys/net/ipv6/conf/{interface}/forwarding"))
        .is_ok_and(|text| text.trim() != "0")
}

fn ignore(
    result: Result<(), rtnetlink::Error>,
    number: i32,
    what: impl FnOnce() -> String,
) -> Result<(), NetlinkError> {
    match result {
        Err(error) if netlink::code(&error) == Some(number) => Ok(()),
        result => result.map_err(|error| NetlinkError::of(what())(error)),
    }
}
