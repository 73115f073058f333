//! Addresses that no packet goes to or comes from.

use std::net::{IpAddr, Ipv4Addr};

/// Why no packet from elsewhere comes to an address, or none goes to it (RFC 6890, the IANA special-purpose registries).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// `0.0.0.0/8`, `::`.
    #[error("it names no host; give a unicast address")]
    Unspecified,
    /// `127.0.0.0/8`, `::1`.
    #[error("it is a loopback address; give one of a network")]
    Loopback,
    /// `169.254.0.0/16`, `fe80::/10`.
    #[error(
        "it is a link-local address, which each interface has its own; give one that is routed"
    )]
    LinkLocal,
    /// `224.0.0.0/4`, `ff00::/8`.
    #[error("it is a multicast address; give a unicast address")]
    Multicast,
    /// `255.255.255.255`.
    #[error("it is the broadcast address; give a unicast address")]
    Broadcast,
    /// `240.0.0.0/4`.
    #[error("it is reserved, and hosts drop it (RFC 1112 section 4); give a unicast address")]
    Reserved,
    /// `::ffff:0:0/96`.
    #[error("it is an IPv4 address in IPv6's clothes, which no wire carries; write {0}")]
    Mapped(Ipv4Addr),
}

impl Unfit {
    /// Whether an address can be sent to over a network.
    ///
    /// # Errors
    /// What it is instead.
    pub fn check(address: IpAddr) -> Result<(), Self> {
        let unfit = match address {
            IpAddr::V4(ip) if ip.octets()[0] == 0 => Self::Unspecified,
            IpAddr::V4(ip) if ip.is_loopback() => Self::Loopback,
            IpAddr::V4(ip) if ip.is_link_local() => Self::LinkLocal,
            IpAddr::V4(ip) if ip.is_multicast() => Self::Multicast,
            IpAddr::V4(ip) if ip.is_broadcast() => Self::Broadcast,
            IpAddr::V4(ip) if ip.octets()[0] >= 240 => Self::Reserved,
            IpAddr::V4(_) => return Ok(()),
            IpAddr::V6(ip) if ip.is_unspecified() => Self::Unspecified,
            IpAddr::V6(ip) if ip.is_loopback() => Self::Loopback,
            IpAddr::V6(ip) if ip.is_unicast_link_local() => Self::LinkLocal,
            IpAddr::V6(ip) if ip.is_multicast() => Self::Multicast,
            IpAddr::V6(ip) => match ip.to_ipv4_mapped() {
                Some(ip) => Self::Mapped(ip),
                None => return Ok(()),
            },
        };
        Err(unfit)
    }
}
