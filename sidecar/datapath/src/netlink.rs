//! The kernel's own tables of devices, addresses, routes and neighbours, as far as the datapath needs them (rtnetlink(7)).

use std::{io, net::IpAddr, pin::pin};

use futures_util::TryStreamExt as _;
use rtnetlink::{
    Error, Handle,
    packet_route::{
        AddressFamily,
        address::{AddressAttribute, AddressFlags, AddressMessage, AddressProtocol},
        link::{
            InfoData, InfoVlan, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage,
            LinkXdp, VlanProtocol, XdpAttached,
        },
        neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage},
        route::{RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteType},
    },
};

use tollgate_common::tag::Tags;

use crate::config::XdpMode;

/// Who made a route, address or neighbour entry. There is no registry but the lists of who took a number:
/// linux/rtnetlink.h (0 to 18, 42, 84 OVN, 99, 186 to 192), iproute2's `rt_protos`, FRR (193 to 197), and by habit
/// Calico 80 and Cilium 202. 137 is in none. It alone makes nothing ours: see `is_our_route` and its like.
pub const PROTOCOL: u8 = 137;

/// The loopback's index, the same in every network namespace (LOOPBACK_IFINDEX in the kernel's net/flow.h).
pub(crate) const LOOPBACK: u32 = 1;
/// RT_TABLE_LOCAL (linux/rtnetlink.h).
pub(crate) const TABLE_LOCAL: u8 = 255;

/// Why the kernel was not asked or did not do it.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// No socket.
    #[error("the netlink socket was not opened")]
    Socket(#[source] io::Error),
    /// No rights.
    #[error("{0}: not permitted; run as root or with CAP_NET_ADMIN")]
    Rights(String),
    /// The kernel refuses.
    #[error("{what}: {source}")]
    Kernel {
        /// What was tried.
        what: String,
        /// The kernel's words.
        source: Box<Error>,
    },
    /// A kernel setting that was not made.
    #[error("{path} was not set to {value}: {source}")]
    Setting {
        /// The file of the setting.
        path: String,
        /// What it was to be.
        value: &'static str,
        /// The kernel's words.
        #[source]
        source: io::Error,
    },
}

impl NetlinkError {
    pub(crate) fn of(what: impl Into<String>) -> impl FnOnce(Error) -> Self {
        let what = what.into();
        move |source| match code(&source) {
            Some(nix::libc::EPERM) => Self::Rights(what),
            _ => Self::Kernel {
                what,
                source: Box::new(source),
            },
        }
    }
}

/// The error number that the kernel answered with.
pub(crate) fn code(error: &Error) -> Option<i32> {
    match error {
        Error::NetlinkError(message) => message.code.map(|code| -code.get()),
        _ => None,
    }
}

/// A network device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its index.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its MAC address, if it is an Ethernet device.
    pub mac: Option<[u8; 6]>,
    /// Its MTU, in bytes.
    pub mtu: u32,
    /// Whether it is up, as far as the host is concerned.
    pub up: bool,
    /// How an XDP program is attached, if one is.
    pub xdp: Option<XdpMode>,
    /// The kernel's number of that program.
    pub program: Option<u32>,
    /// The index of the bridge, bond or VRF that it is a part of.
    pub controller: Option<u32>,
    /// Of a VLAN device: the device that its frames leave by, and the tag that they get.
    pub vlan: Option<(u32, Tags)>,
}

/// A conversation with the kernel, in the network namespace of the thread that began it.
pub(crate) struct Netlink {
    pub(crate) handle: Handle,
    connection: tokio::task::JoinHandle<()>,
}

impl Drop for Netlink {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl Netlink {
    pub(crate) fn open() -> Result<Self, NetlinkError> {
        // The kernel heeds a dump's filter only for who asks strictly, and then refuses what it does not know.
        let (connection, handle, _) =
            rtnetlink::new_connection_with_strict_check().map_err(NetlinkError::Socket)?;
        Ok(Self {
            handle,
            connection: tokio::spawn(connection),
        })
    }

    pub(crate) async fn devices(&self) -> Result<Vec<Device>, NetlinkError> {
        let links: Vec<LinkMessage> = self
            .handle
            .link()
            .get()
            .execute()
            .try_collect()
            .await
            .map_err(NetlinkError::of("the devices were not listed"))?;
        Ok(links.iter().filter_map(device).collect())
    }

    pub(crate) async fn addresses(&self) -> Result<Vec<AddressMessage>, NetlinkError> {
        let addresses = self.handle.address().get().execute();
        addresses
            .try_collect()
            .await
            .map_err(NetlinkError::of("the addresses were not listed"))
    }

    /// Our own local routes. The kernel picks them by table, type and protocol, so a host with a million routes sends
    /// a handful.
    pub(crate) async fn our_routes(&self) -> Result<Vec<RouteMessage>, NetlinkError> {
        let mut ours = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut filter = RouteMessage::default();
            filter.header.address_family = family;
            filter.header.table = TABLE_LOCAL;
            filter.header.kind = RouteType::Local;
            filter.header.protocol = RouteProtocol::Other(PROTOCOL);
            let mut routes = pin!(self.handle.route().get(filter).execute());
            while let Some(route) = routes
                .try_next()
                .await
                .map_err(NetlinkError::of("the routes were not listed"))?
            {
                // A kernel without IPv6 answers for the families that it has.
                if route.header.address_family == family && is_our_route(&route) {
                    ours.push(route);
                }
            }
        }
        Ok(ours)
    }

    /// The neighbour table of both families, or that of the proxies.
    pub(crate) async fn neighbours(
        &self,
        proxies: bool,
    ) -> Result<Vec<NeighbourMessage>, NetlinkError> {
        let mut all = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut request = self.handle.neighbours().get().set_address_family(family);
            if proxies {
                request = request.proxies();
            }
            let part: Vec<NeighbourMessage> = request
                .execute()
                .try_collect()
                .await
                .map_err(NetlinkError::of("the neighbours were not listed"))?;
            all.extend(part);
        }
        Ok(all)
    }
}

fn device(link: &LinkMessage) -> Option<Device> {
    let mut device = Device {
        index: link.header.index,
        name: String::new(),
        mac: None,
        mtu: 0,
        up: link.header.flags.contains(LinkFlags::Up),
        xdp: None,
        program: None,
        controller: None,
        vlan: None,
    };
    let (mut below, mut tag) = (None, None);
    for attribute in &link.attributes {
        match attribute {
            LinkAttribute::IfName(name) => device.name.clone_from(name),
            LinkAttribute::Mtu(mtu) => device.mtu = *mtu,
            LinkAttribute::Address(mac) if link.header.link_layer_type == LinkLayerType::Ether => {
                device.mac = mac.as_slice().try_into().ok();
            }
            LinkAttribute::Xdp(xdp) => {
                device.xdp = xdp.iter().find_map(mode);
                device.program = xdp.iter().find_map(|one| match one {
                    LinkXdp::ProgId(id) => Some(*id),
                    _ => None,
                });
            }
            LinkAttribute::Controller(index) => device.controller = Some(*index),
            LinkAttribute::Link(index) => below = Some(*index),
            LinkAttribute::LinkInfo(info) => {
                tag = info.iter().find_map(|one| match one {
                    LinkInfo::Data(InfoData::Vlan(data)) => vlan_tag(data),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    device.vlan = below.zip(tag);
    (!device.name.is_empty()).then_some(device)
}

fn vlan_tag(data: &[InfoVlan]) -> Option<Tags> {
    let id = data.iter().find_map(|one| match one {
        InfoVlan::Id(id) => Some(*id),
        _ => None,
    })?;
    let is_provider = data
        .iter()
        .any(|one| matches!(one, InfoVlan::Protocol(VlanProtocol::Ieee8021Ad)));
    Some(Tags::one(if is_provider { Tags::S } else { Tags::C }, id))
}

fn mode(xdp: &LinkXdp) -> Option<XdpMode> {
    match xdp {
        LinkXdp::Attached(XdpAttached::Driver | XdpAttached::Hardware) => Some(XdpMode::Native),
        LinkXdp::Attached(XdpAttached::SocketBuffer) => Some(XdpMode::Generic),
        _ => None,
    }
}

/// The address that an address message is about.
pub(crate) fn address_of(message: &AddressMessage) -> Option<IpAddr> {
    let find = |local: bool| {
        message
            .attributes
            .iter()
            .find_map(|attribute| match attribute {
                AddressAttribute::Local(address) if local => Some(*address),
                AddressAttribute::Address(address) if !local => Some(*address),
                _ => None,
            })
    };
    find(true).or_else(|| find(false))
}

/// Whether an address is one that we gave: a host's IPv6 address that detects no duplicates and is no source.
pub(crate) fn is_our_address(message: &AddressMessage) -> bool {
    let shape = AddressFlags::Nodad | AddressFlags::Deprecated;
    let has = |wanted: &dyn Fn(&AddressAttribute) -> bool| message.attributes.iter().any(wanted);
    message.header.family == AddressFamily::Inet6
        && message.header.prefix_len == 128
        && has(&|one| *one == AddressAttribute::Protocol(AddressProtocol::Other(PROTOCOL)))
        && has(&|one| matches!(one, AddressAttribute::Flags(flags) if flags.contains(shape)))
}

/// Whether a route is one that we made: in the local table, to the loopback.
pub(crate) fn is_our_route(route: &RouteMessage) -> bool {
    let header = &route.header;
    let mut table = u32::from(header.table);
    let mut device = None;
    for attribute in &route.attributes {
        match attribute {
            // Tables beyond 255 stand here only.
            RouteAttribute::Table(number) => table = *number,
            RouteAttribute::Oif(index) => device = Some(*index),
            _ => {}
        }
    }
    header.protocol == RouteProtocol::Other(PROTOCOL)
        && header.kind == RouteType::Local
        && matches!(
            header.address_family,
            AddressFamily::Inet | AddressFamily::Inet6
        )
        && table == u32::from(TABLE_LOCAL)
        && device == Some(LOOPBACK)
}

/// The address that a neighbour entry is about.
pub(crate) fn neighbour_of(message: &NeighbourMessage) -> Option<IpAddr> {
    message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(address)) => {
                Some((*address).into())
            }
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(address)) => {
                Some((*address).into())
            }
            _ => None,
        })
}

/// Whether a proxy entry is one that we made.
pub(crate) fn is_our_proxy(message: &NeighbourMessage) -> bool {
    message.header.family == AddressFamily::Inet6
        && message.header.flags.contains(NeighbourFlags::Proxy)
        && message
            .attributes
            .contains(&NeighbourAttribute::Protocol(RouteProtocol::Other(
                PROTOCOL,
            )))
}

/// An address in a route's attribute.
pub(crate) fn route_address(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some((*address).into()),
        RouteAddress::Inet6(address) => Some((*address).into()),
        _ => None,
    }
}

/// The destination of a route, and the bits of its prefix.
pub(crate) fn destination_of(route: &RouteMessage) -> Option<(IpAddr, u8)> {
    let address = route
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            RouteAttribute::Destination(address) => route_address(address),
            _ => None,
        })?;
    Some((address, route.header.destination_prefix_length))
}

/// The devices of this thread's network namespace.
///
/// # Errors
/// The kernel was not asked.
pub async fn devices() -> Result<Vec<Device>, NetlinkError> {
    Netlink::open()?.devices().await
}
