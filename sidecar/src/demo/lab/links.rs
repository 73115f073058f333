//! Links, addresses and routes, by rtnetlink.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd as _, AsRawFd as _};

use futures_util::TryStreamExt as _;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::address::AddressHeaderFlags;
use rtnetlink::packet_route::link::{InfoData, InfoKind, InfoVeth, LinkMessage};
use rtnetlink::packet_route::route::RouteScope;
use rtnetlink::{
    Handle, LinkBridge, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder,
};

use super::error::LabError;
use super::netns::Netns;

const BRIDGE: &str = "switch";

/// An address and the length of its network's prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    address: IpAddr,
    bits: u8,
}

impl Prefix {
    /// `address/bits`; `bits` is 0..=32 for IPv4 and 0..=128 for IPv6, and cut to that.
    #[must_use]
    pub fn new(address: IpAddr, bits: u8) -> Self {
        Self {
            address,
            bits: bits.min(if address.is_ipv4() { 32 } else { 128 }),
        }
    }

    /// The network's own address: host bits are zero, as routes want it.
    fn network(self) -> IpAddr {
        match self.address {
            IpAddr::V4(v4) => {
                let host = u32::MAX.checked_shr(self.bits.into()).unwrap_or_default();
                Ipv4Addr::from_bits(v4.to_bits() & !host).into()
            }
            IpAddr::V6(v6) => {
                let host = u128::MAX.checked_shr(self.bits.into()).unwrap_or_default();
                Ipv6Addr::from_bits(v6.to_bits() & !host).into()
            }
        }
    }

    /// The address alone: `/32` or `/128`.
    #[must_use]
    pub fn host(address: IpAddr) -> Self {
        Self::new(address, 128)
    }
}

impl std::fmt::Display for Prefix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

pub(super) fn up(ns: &Netns, name: &str) -> Result<(), LabError> {
    talk(
        ns,
        format!("set {name} up in {}", ns.name()),
        async |netlink| {
            netlink
                .link()
                .change(LinkUnspec::new_with_name(name).up().build())
                .execute()
                .await
        },
    )
}

pub(super) fn bridge(ns: &Netns) -> Result<(), LabError> {
    talk(ns, "make the switch's bridge".to_owned(), async |netlink| {
        netlink
            .link()
            .add(LinkBridge::new(BRIDGE).build())
            .execute()
            .await
    })
}

/// A veth pair: `port` on the switch's bridge, `uplink` in `host`; both up.
pub(super) fn plug(switch: &Netns, port: &str, host: &Netns, uplink: &str) -> Result<(), LabError> {
    let host_fd = host.as_fd().as_raw_fd();
    talk(
        switch,
        format!("plug {} into the switch", host.name()),
        async |netlink| {
            let bridge = index(&netlink, BRIDGE).await?;
            let peer: LinkMessage = LinkMessageBuilder::<LinkUnspec>::new()
                .name(uplink)
                .setns_by_fd(host_fd)
                .build();
            let pair = LinkMessageBuilder::<LinkVeth>::new_with_info_kind(InfoKind::Veth)
                .name(port)
                .set_info_data(InfoData::Veth(InfoVeth::Peer(peer)))
                .build();
            netlink.link().add(pair).execute().await?;
            let joined = LinkUnspec::new_with_name(port)
                .controller(bridge)
                .up()
                .build();
            netlink.link().change(joined).execute().await
        },
    )?;
    up(host, uplink)
}

pub(super) fn address(ns: &Netns, interface: &str, prefix: Prefix) -> Result<(), LabError> {
    let doing = format!("give {prefix} to {interface} of {}", ns.name());
    talk(ns, doing, async |netlink| {
        let index = index(&netlink, interface).await?;
        let mut request = netlink.address().add(index, prefix.address, prefix.bits);
        let header = &mut request.message_mut().header;
        if header.family == AddressFamily::Inet6 {
            header.flags |= AddressHeaderFlags::Nodad;
        }
        request.execute().await
    })
}

/// A route out of `interface`: to a gateway, or on the link itself.
pub(super) fn route(
    ns: &Netns,
    interface: &str,
    destination: Prefix,
    gateway: Option<IpAddr>,
) -> Result<(), LabError> {
    let doing = format!("route {destination} to {interface} of {}", ns.name());
    let unfit = |error| LabError::new(doing.clone(), error);
    let mut route = RouteMessageBuilder::<IpAddr>::new()
        .destination_prefix(destination.network(), destination.bits)
        .map_err(unfit)?;
    route = match gateway {
        Some(gateway) => route.gateway(gateway).map_err(unfit)?,
        None => route.scope(RouteScope::Link),
    };
    talk(ns, doing.clone(), async |netlink| {
        let index = index(&netlink, interface).await?;
        let route = route.output_interface(index).build();
        netlink.route().add(route).execute().await
    })
}

async fn index(netlink: &Handle, name: &str) -> Result<u32, rtnetlink::Error> {
    let mut links = netlink.link().get().match_name(name.to_owned()).execute();
    let link = links.try_next().await?;
    Ok(link.map(|link| link.header.index).unwrap_or_default())
}

/// Runs one conversation with the kernel inside the namespace.
fn talk(
    ns: &Netns,
    doing: String,
    conversation: impl AsyncFnOnce(Handle) -> Result<(), rtnetlink::Error> + Send,
) -> Result<(), LabError> {
    let outcome = ns.run(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()?;
        runtime.block_on(async {
            let (connection, netlink, _) = rtnetlink::new_connection()?;
            let driver = tokio::spawn(connection);
            let outcome = conversation(netlink).await;
            driver.abort();
            Ok::<_, std::io::Error>(outcome)
        })
    })?;
    match outcome {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(LabError::new(doing, error)),
        Err(error) => Err(LabError::new(doing, error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_has_no_host_bits() {
        for (prefix, bits, network) in [
            ("203.0.113.10", 24, "203.0.113.0"),
            ("203.0.113.10", 32, "203.0.113.10"),
            ("203.0.113.10", 0, "0.0.0.0"),
            ("2001:db8:113::10", 64, "2001:db8:113::"),
            ("2001:db8:113::10", 128, "2001:db8:113::10"),
        ] {
            let prefix = Prefix::new(prefix.parse().unwrap(), bits);
            assert_eq!(
                prefix.network(),
                network.parse::<IpAddr>().unwrap(),
                "{prefix}"
            );
        }
    }
}
