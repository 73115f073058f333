//! What tunnels to backends say of this side.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use tollgate_common::backend::{GUE_PORT, SOURCE_V4, SOURCE_V6, SourceV4};

use super::unfit::Unfit;
use crate::prefix::Prefix;

/// What outer headers say of this side: where they come from, and the port that GUE goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "Plain", into = "Plain")]
pub struct Tunnel {
    /// The first address, and the length, 16 to 32.
    source_v4: (Ipv4Addr, u8),
    /// The first address, and the length, 16 to 96.
    source_v6: (Ipv6Addr, u8),
    /// Not 0.
    gue_port: u16,
}

/// Why tunnels cannot be so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TunnelError {
    /// Not what the outer IPv4 header has room for.
    #[error(
        "{0} is no IPv4 prefix of 16 to 32 bits, behind which flows are told apart; write it as 172.16.0.0/16, or one address for all flows"
    )]
    SourceV4(Prefix),
    /// Not what the outer IPv6 header has room for.
    #[error(
        "{0} is no IPv6 prefix of 16 to 96 bits, for the last 32 tell flows apart; write it as 100::/64"
    )]
    SourceV6(Prefix),
    /// Hosts drop what comes from there.
    #[error("nothing can come from {0}: {1}")]
    Unfit(Prefix, Unfit),
    /// Nobody listens there.
    #[error("port 0 is no port; name one from 1 to 65535, as {GUE_PORT}")]
    PortZero,
}

/// As it is told to another process.
#[derive(serde::Serialize, serde::Deserialize)]
struct Plain {
    source_v4: Prefix,
    source_v6: Prefix,
    gue_port: u16,
}

impl TryFrom<Plain> for Tunnel {
    type Error = TunnelError;

    fn try_from(plain: Plain) -> Result<Self, TunnelError> {
        Self::default()
            .with_source_v4(plain.source_v4)?
            .with_source_v6(plain.source_v6)?
            .with_gue_port(plain.gue_port)
    }
}

impl From<Tunnel> for Plain {
    fn from(tunnel: Tunnel) -> Self {
        let [source_v4, source_v6] = tunnel.sources();
        Self {
            source_v4,
            source_v6,
            gue_port: tunnel.gue_port(),
        }
    }
}

/// 172.16.0.0/16 and 100::/64, which katran sends from as well, and IANA's port.
impl Default for Tunnel {
    fn default() -> Self {
        let mut v6 = [0; 16];
        v6[..SOURCE_V6.len()].copy_from_slice(&SOURCE_V6);
        Self {
            source_v4: (SOURCE_V4.address.into(), SOURCE_V4.bits),
            source_v6: (v6.into(), 64),
            gue_port: GUE_PORT,
        }
    }
}

impl Tunnel {
    /// The same from another IPv4 prefix, of 16 to 32 bits. Those behind it tell flows apart.
    ///
    /// # Errors
    /// [`TunnelError::SourceV4`], [`TunnelError::Unfit`].
    pub fn with_source_v4(self, source: Prefix) -> Result<Self, TunnelError> {
        match (source.address(), source.bits()) {
            (IpAddr::V4(address), bits @ 16..=32) => {
                fit(source)?;
                Ok(Self {
                    source_v4: (address, bits),
                    ..self
                })
            }
            _ => Err(TunnelError::SourceV4(source)),
        }
    }

    /// The same from another IPv6 prefix, of 16 to 96 bits. The last 32 of an address tell flows apart, those between are 0.
    ///
    /// # Errors
    /// [`TunnelError::SourceV6`], [`TunnelError::Unfit`].
    pub fn with_source_v6(self, source: Prefix) -> Result<Self, TunnelError> {
        match (source.address(), source.bits()) {
            (IpAddr::V6(address), bits @ 16..=96) => {
                fit(source)?;
                Ok(Self {
                    source_v6: (address, bits),
                    ..self
                })
            }
            _ => Err(TunnelError::SourceV6(source)),
        }
    }

    /// The same with GUE to another UDP port.
    ///
    /// # Errors
    /// [`TunnelError::PortZero`].
    pub const fn with_gue_port(self, gue_port: u16) -> Result<Self, TunnelError> {
        if gue_port == 0 {
            return Err(TunnelError::PortZero);
        }
        Ok(Self { gue_port, ..self })
    }

    /// The networks that outer headers come from, IPv4 and IPv6.
    #[must_use]
    pub fn sources(self) -> [Prefix; 2] {
        let ((v4, v4_bits), (v6, v6_bits)) = (self.source_v4, self.source_v6);
        [
            Prefix::of(v4.into(), v4_bits),
            Prefix::of(v6.into(), v6_bits),
        ]
    }

    /// The UDP port that GUE goes to.
    #[must_use]
    pub const fn gue_port(self) -> u16 {
        self.gue_port
    }

    /// The IPv4 sources, as a header takes them.
    pub(crate) const fn source_v4(self) -> SourceV4 {
        let (address, bits) = self.source_v4;
        SourceV4 {
            address: address.octets(),
            bits,
        }
    }

    /// The first 96 bits of the IPv6 sources.
    pub(crate) fn source_v6(self) -> [u8; 12] {
        let mut first = [0; 12];
        first.copy_from_slice(&self.source_v6.0.octets()[..12]);
        first
    }
}

fn fit(source: Prefix) -> Result<(), TunnelError> {
    Unfit::check(source.address()).map_err(|why| TunnelError::Unfit(source, why))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> Prefix {
        text.parse().unwrap()
    }

    #[test]
    fn sources_are_those_that_were_named() {
        let tunnel = Tunnel::default();
        assert_eq!(
            tunnel.sources(),
            ["172.16.0.0/16", "100::/64"].map(prefix),
            "the defaults"
        );
        for text in ["10.1.0.0/16", "10.1.2.0/23", "10.1.2.3"] {
            let [v4, v6] = tunnel.with_source_v4(prefix(text)).unwrap().sources();
            assert_eq!((v4, v6), (prefix(text), prefix("100::/64")));
        }
        for text in ["fd00::/16", "2001:db8:1:2:3:4::/96"] {
            let [v4, v6] = tunnel.with_source_v6(prefix(text)).unwrap().sources();
            assert_eq!((v4, v6), (prefix("172.16.0.0/16"), prefix(text)));
        }
    }

    #[test]
    fn what_no_header_has_room_for_is_refused_with_its_cure() {
        let tunnel = Tunnel::default();
        let v4 = |text| {
            let error = tunnel.with_source_v4(prefix(text)).unwrap_err();
            error.to_string()
        };
        let v6 = |text| {
            let error = tunnel.with_source_v6(prefix(text)).unwrap_err();
            error.to_string()
        };
        for text in ["172.16.0.0/15", "10.0.0.0/8", "100::/64"] {
            assert!(v4(text).contains("no IPv4 prefix of 16 to 32 bits"));
        }
        for text in ["100::/97", "fd00::1", "2000::/15", "172.16.0.0/16"] {
            assert!(v6(text).contains("no IPv6 prefix of 16 to 96 bits"));
        }
        assert!(v4("127.0.0.0/16").contains("loopback"));
        assert!(v4("224.0.0.0/16").contains("multicast"));
        assert!(v6("fe80::/64").contains("link-local"));
        assert_eq!(tunnel.with_gue_port(0), Err(TunnelError::PortZero));
        assert_eq!(tunnel.with_gue_port(7).map(Tunnel::gue_port), Ok(7));
    }
}
