//! Addresses and sockets of a network of namespaces.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};
use tollgate::demo::lab::{Host, Prefix};

/// A virtual address: 203.0.113.`last` (RFC 5737).
#[must_use]
pub const fn vip_v4(last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(203, 0, 113, last))
}

/// A virtual address: 2001:db8:113::`last` (RFC 3849).
#[must_use]
pub const fn vip_v6(last: u16) -> IpAddr {
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0x113, 0, 0, 0, 0, last))
}

/// Routes all virtual addresses through a node.
///
/// # Panics
/// If the host does not take the routes.
pub fn route_vips(host: &Host, node: &Host) {
    for (prefix, gateway) in [
        (Prefix::new(vip_v4(0), 24), node.v4.into()),
        (Prefix::new(vip_v6(0), 64), node.v6.into()),
    ] {
        host.via(prefix, gateway)
            .unwrap_or_else(|error| panic!("the route to {prefix:?}: {error}"));
    }
}

/// A listener in a host's namespace, with a queue that holds a burst of connections.
///
/// # Panics
/// If it cannot be had.
#[must_use]
pub fn listen(host: &Host, address: SocketAddr) -> TcpListener {
    let listener = host.ns.run(|| {
        let socket = Socket::new(
            Domain::for_address(address),
            Type::STREAM,
            Some(Protocol::TCP),
        )?;
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(4096)?;
        Ok::<_, io::Error>(socket.into())
    });
    listener
        .unwrap()
        .unwrap_or_else(|error| panic!("listen on {address}: {error}"))
}
