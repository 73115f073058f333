//! What makes the kernel take packets for virtual addresses, and neighbours send them here.
//!
//! A *local route* (`local VIP dev lo`) lets the kernel accept an address that no interface owns; for IPv4 it answers
//! ARP too. IPv6 answers neighbour solicitations only for what an interface owns or proxies: with `announce:
//! neighbour` a VIP gets a proxy entry on interfaces that forward, and else an address there that is never chosen as
//! a source (no duplicate detection: every node of an ECMP group may have it).

use std::{
    collections::BTreeSet,
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use rtnetlink::{
    RouteMessageBuilder,
    packet_route::{
        address::{AddressAttribute, AddressFlags, AddressProtocol, CacheInfo},
        neighbour::{NeighbourAttribute, NeighbourFlags},
        route::{RouteMessage, RouteProtocol, RouteScope, RouteType},
    },
};

use crate::{
    config::Announce,
    model::{Deliver, Model},
    netlink::{
        self, Device, Netlink, NetlinkError, PROTOCOL, address_of, destination_of, is_our_address,
        is_our_proxy, neighbour_of,
    },
};

/// Why the kernel was not made to take the packets.
#[derive(Debug, thiserror::Error)]
pub enum RoutesError {
    /// The VIP is the host's own.
    #[error(
        "service `{service}`: {address} is this host's own address on {interface}, and `allow_host_address` is not available in this version; give the service an address of its own"
    )]
    HostAddress {
        /// The service.
        service: String,
        /// Its address.
        address: IpAddr,
        /// Whose it is.
        interface: String,
    },
    /// The kernel.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
}

/// What shall be: local routes, and IPv6 addresses that interfaces answer for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    local: BTreeSet<IpAddr>,
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
                wanted.local.insert(ip);
            }
            let IpAddr::V6(ip) = ip else { continue };
            if announce == Announce::Neighbour {
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

/// Refuses services on addresses of the host's own interfaces. Those of the loopback are no host addresses: VIPs
/// announced by routing stand there.
pub(crate) async fn refuse_host_addresses(
    netlink: &Netlink,
    model: &Model,
    devices: &[Device],
) -> Result<(), RoutesError> {
    for message in netlink.addresses().await? {
        let Some(address) = address_of(&message) else {
            continue;
        };
        let owner = devices
            .iter()
            .find(|device| device.index == message.header.index);
        let interface = owner.map_or("?", |device| device.name.as_str());
        if is_our_address(&message) || interface == "lo" {
            continue;
        }
        if let Some(service) = model
            .services
            .iter()
            .find(|service| service.vip.ip == address)
        {
            return Err(RoutesError::HostAddress {
                service: service.name.clone(),
                address,
                interface: interface.to_owned(),
            });
        }
    }
    Ok(())
}

/// Adds what is wanted and not there.
pub(crate) async fn add(netlink: &Netlink, wanted: &Wanted) -> Result<(), NetlinkError> {
    let there = There::read(netlink).await?;
    let loopback = netlink
        .devices()
        .await?
        .into_iter()
        .find_map(|device| (device.name == "lo").then_some(device.index))
        .unwrap_or(1);
    for address in wanted.local.difference(&there.0.local) {
        let route = local_route(*address, loopback);
        let added = netlink.handle.route().add(route).execute().await;
        ignore(added, nix::libc::EEXIST, || {
            format!("the local route to {address} was not added")
        })?;
    }
    for (index, address) in wanted.proxied.difference(&there.0.proxied) {
        allow_proxy(netlink, *index).await?;
        let mut request = netlink
            .handle
            .neighbours()
            .add(*index, (*address).into())
            .flags(NeighbourFlags::Proxy);
        let protocol = NeighbourAttribute::Protocol(RouteProtocol::Other(PROTOCOL));
        request.message_mut().attributes.push(protocol);
        let added = request.execute().await;
        ignore(added, nix::libc::EEXIST, || {
            format!("the proxy entry for {address} was not added")
        })?;
    }
    for (index, address) in wanted.owned.difference(&there.0.owned) {
        let mut request = netlink.handle.address().add(*index, (*address).into(), 128);
        request.message_mut().attributes.extend(unused_as_source());
        let added = request.execute().await;
        ignore(added, nix::libc::EEXIST, || {
            format!("the address {address} was not added")
        })?;
    }
    Ok(())
}

/// Removes what is ours and not wanted. Says how many.
pub(crate) async fn remove(netlink: &Netlink, wanted: &Wanted) -> Result<usize, NetlinkError> {
    let mut removed = 0;
    for route in netlink.routes().await? {
        let Some(address) = destination_of(&route) else {
            continue;
        };
        if !wanted.local.contains(&address) {
            let gone = netlink.handle.route().del(route).execute().await;
            ignore(gone, nix::libc::ESRCH, || {
                format!("the route to {address} was not removed")
            })?;
            removed += 1;
        }
    }
    for proxy in netlink.neighbours(true).await? {
        let Some(IpAddr::V6(address)) = neighbour_of(&proxy) else {
            continue;
        };
        if is_our_proxy(&proxy) && !wanted.proxied.contains(&(proxy.header.ifindex, address)) {
            let gone = netlink.handle.neighbours().del(proxy).execute().await;
            ignore(gone, nix::libc::ENOENT, || {
                format!("the proxy entry for {address} was not removed")
            })?;
            removed += 1;
        }
    }
    for message in netlink.addresses().await? {
        let Some(IpAddr::V6(address)) = address_of(&message) else {
            continue;
        };
        if is_our_address(&message) && !wanted.owned.contains(&(message.header.index, address)) {
            let gone = netlink.handle.address().del(message).execute().await;
            ignore(gone, nix::libc::EADDRNOTAVAIL, || {
                format!("the address {address} was not removed")
            })?;
            removed += 1;
        }
    }
    Ok(removed)
}

/// What is there and ours.
struct There(Wanted);

impl There {
    async fn read(netlink: &Netlink) -> Result<Self, NetlinkError> {
        let mut there = Wanted::default();
        there
            .local
            .extend(netlink.routes().await?.iter().filter_map(destination_of));
        for proxy in netlink
            .neighbours(true)
            .await?
            .iter()
            .filter(|proxy| is_our_proxy(proxy))
        {
            if let Some(IpAddr::V6(address)) = neighbour_of(proxy) {
                there.proxied.insert((proxy.header.ifindex, address));
            }
        }
        for message in netlink
            .addresses()
            .await?
            .iter()
            .filter(|one| is_our_address(one))
        {
            if let Some(IpAddr::V6(address)) = address_of(message) {
                there.owned.insert((message.header.index, address));
            }
        }
        Ok(Self(there))
    }
}

fn local_route(address: IpAddr, loopback: u32) -> RouteMessage {
    const TABLE_LOCAL: u32 = 255;
    macro_rules! route {
        ($family:ty, $address:expr, $len:expr) => {
            RouteMessageBuilder::<$family>::new()
                .destination_prefix($address, $len)
                .output_interface(loopback)
                .table_id(TABLE_LOCAL)
                .protocol(RouteProtocol::Other(PROTOCOL))
                .scope(RouteScope::Host)
                .kind(RouteType::Local)
                .build()
        };
    }
    match address {
        IpAddr::V4(address) => route!(Ipv4Addr, address, 32),
        IpAddr::V6(address) => route!(Ipv6Addr, address, 128),
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
async fn allow_proxy(netlink: &Netlink, index: u32) -> Result<(), NetlinkError> {
    let devices = netlink.devices().await?;
    let Some(device) = devices.iter().find(|device| device.index == index) else {
        return Ok(());
    };
    let path = format!("/proc/sys/net/ipv6/conf/{}/proxy_ndp", device.name);
    fs::write(&path, "1").map_err(NetlinkError::Socket)
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
