//! What clients send to: an address or a prefix, a port or any, a protocol.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str::FromStr,
};

/// A virtual address, or a prefix of them, with port and protocol: `203.0.113.10:443/tcp`, `[2001:db8::1]:443/tcp`,
/// `203.0.113.0/24:443/tcp`, `[2001:db8::/64]:*/udp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Vip {
    /// The address; of a prefix its first.
    pub ip: IpAddr,
    /// Bits of the prefix; for one address 32, or 128 with IPv6.
    pub bits: u8,
    /// The port, 1 to 65535; 0 for any.
    pub port: u16,
    /// The protocol.
    pub proto: Proto,
}

/// A transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Proto {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Vip {
    /// Whether it is one address, not a prefix.
    #[must_use]
    pub const fn is_one(self) -> bool {
        self.bits == self.all_bits()
    }

    /// Whether an address is among its own.
    #[must_use]
    pub fn covers(self, address: IpAddr) -> bool {
        self.ip.is_ipv4() == address.is_ipv4() && first(address, self.bits) == self.ip
    }

    /// Whether there is an address of both.
    #[must_use]
    pub fn shares_addresses(self, other: Self) -> bool {
        self.covers(other.ip) || other.covers(self.ip)
    }

    /// The first address of the prefix that its address is in: its own, unless bits are set behind the prefix.
    pub(super) fn first(self) -> IpAddr {
        first(self.ip, self.bits)
    }

    const fn all_bits(self) -> u8 {
        match self.ip {
            IpAddr::V4(_) => 32,
            IpAddr::V6(_) => 128,
        }
    }
}

/// The first address of the prefix that an address is in.
fn first(ip: IpAddr, bits: u8) -> IpAddr {
    match ip {
        IpAddr::V4(ip) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits.min(32)));
            Ipv4Addr::from_bits(ip.to_bits() & mask.unwrap_or(0)).into()
        }
        IpAddr::V6(ip) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits.min(128)));
            Ipv6Addr::from_bits(ip.to_bits() & mask.unwrap_or(0)).into()
        }
    }
}

/// Why a text is not a [`Vip`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VipError {
    /// No protocol.
    #[error("`{0}` lacks its protocol; write it as 203.0.113.10:443/tcp or [2001:db8::1]:443/tcp")]
    NoProtocol(String),
    /// Not `tcp` or `udp`.
    #[error("`{0}` is no protocol for a service; write /tcp or /udp")]
    Protocol(String),
    /// Not an address with a port.
    #[error(
        "`{0}` is not an address with a port; write it as 203.0.113.10:443 or [2001:db8::1]:443, a prefix as 203.0.113.0/24:443 or [2001:db8::/64]:443, any port as 203.0.113.10:*"
    )]
    Address(String),
    /// Port 0.
    #[error("port 0 is no port; name one, or write * for any")]
    PortZero,
}

impl FromStr for Vip {
    type Err = VipError;

    fn from_str(text: &str) -> Result<Self, VipError> {
        let (destination, proto) = text
            .rsplit_once('/')
            .ok_or_else(|| VipError::NoProtocol(text.to_owned()))?;
        let proto = match proto {
            "tcp" => Proto::Tcp,
            "udp" => Proto::Udp,
            other => return Err(VipError::Protocol(other.to_owned())),
        };
        let wrong = || VipError::Address(destination.to_owned());
        let (addresses, port) = destination.rsplit_once(':').ok_or_else(wrong)?;
        let inside = addresses
            .strip_prefix('[')
            .and_then(|inside| inside.strip_suffix(']'));
        let (address, bits) = match inside.unwrap_or(addresses).split_once('/') {
            Some((address, bits)) => (address, Some(number(bits).ok_or_else(wrong)?)),
            None => (inside.unwrap_or(addresses), None),
        };
        let ip: IpAddr = address.parse().map_err(|_| wrong())?;
        // Brackets are IPv6's, and its alone.
        if ip.is_ipv6() != inside.is_some() {
            return Err(wrong());
        }
        let port = match port {
            "*" => 0,
            port => match number(port).ok_or_else(wrong)? {
                0 => return Err(VipError::PortZero),
                port => port,
            },
        };
        let one = Self {
            ip,
            bits: if ip.is_ipv4() { 32 } else { 128 },
            port,
            proto,
        };
        match bits {
            None => Ok(one),
            Some(bits) if bits <= one.bits => Ok(Self { bits, ..one }),
            Some(_) => Err(wrong()),
        }
    }
}

/// A number written in digits alone.
fn number<N: FromStr>(text: &str) -> Option<N> {
    let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_plain.then(|| text.parse().ok()).flatten()
}

impl fmt::Display for Vip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            ip,
            bits,
            port,
            proto,
        } = self;
        if self.is_one() && *port != 0 {
            return write!(f, "{}/{proto}", SocketAddr::new(*ip, *port));
        }
        let (open, close) = if ip.is_ipv6() { ("[", "]") } else { ("", "") };
        write!(f, "{open}{ip}")?;
        if !self.is_one() {
            write!(f, "/{bits}")?;
        }
        match port {
            0 => write!(f, "{close}:*/{proto}"),
            port => write!(f, "{close}:{port}/{proto}"),
        }
    }
}

impl fmt::Display for Proto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}
