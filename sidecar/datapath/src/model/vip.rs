//! What clients send to: an address or a prefix, a port or any, a protocol.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str::FromStr,
};

/// A virtual address, or a prefix of them, with port and protocol: `203.0.113.10:443/tcp`, `[2001:db8::1]:443/tcp`,
/// `203.0.113.0/24:443/tcp`, `[2001:db8::/64]:*/udp`.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(try_from = "String", into = "String")]
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

impl TryFrom<String> for Vip {
    type Error = VipError;

    fn try_from(text: String) -> Result<Self, VipError> {
        text.parse()
    }
}

impl From<Vip> for String {
    fn from(vip: Vip) -> Self {
        vip.to_string()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn vip(text: &str) -> Vip {
        text.parse()
            .unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn all_kinds_read_as_they_are_written() {
        for (text, bits, port) in [
            ("203.0.113.10:443/tcp", 32, 443),
            ("203.0.113.10:65535/udp", 32, 65_535),
            ("203.0.113.10:*/tcp", 32, 0),
            ("203.0.113.0/24:443/tcp", 24, 443),
            ("203.0.113.0/24:*/udp", 24, 0),
            ("[2001:db8::1]:443/tcp", 128, 443),
            ("[2001:db8::1]:*/udp", 128, 0),
            ("[2001:db8::/64]:53/udp", 64, 53),
            ("[2001:db8::/127]:*/tcp", 127, 0),
        ] {
            let vip = vip(text);
            assert_eq!(
                (vip.bits, vip.port, vip.to_string().as_str()),
                (bits, port, text)
            );
            assert_eq!(
                vip.is_one(),
                !text[..text.len() - 4].contains('/'),
                "{text}"
            );
            assert_eq!(vip.check(), Ok(()), "{text}");
        }
        // The whole address is no prefix.
        assert_eq!(vip("203.0.113.10/32:80/tcp"), vip("203.0.113.10:80/tcp"));
        assert_eq!(vip("[2001:db8::1/128]:*/tcp"), vip("[2001:db8::1]:*/tcp"));
        assert_eq!(
            vip("[2001:DB8:0::1]:80/tcp").to_string(),
            "[2001:db8::1]:80/tcp"
        );
    }

    #[test]
    fn what_is_none_is_told_why() {
        let error = |text: &str| text.parse::<Vip>().unwrap_err();
        for text in ["", "203.0.113.10:443", "[2001:db8::1]:443", "*"] {
            assert_eq!(error(text), VipError::NoProtocol(text.to_owned()));
        }
        for text in [
            "203.0.113.10:443/TCP",
            "203.0.113.10:443/",
            "203.0.113.0/24:443",
            "192.0.2.1:80/sctp",
        ] {
            assert!(matches!(error(text), VipError::Protocol(_)), "{text}");
        }
        for text in [
            "203.0.113.10/tcp",
            "203.0.113.10:/tcp",
            "203.0.113.10:65536/tcp",
            "203.0.113.10:-1/tcp",
            "203.0.113.10:+80/tcp",
            "203.0.113.10: 80/tcp",
            "203.0.113.10:80-90/tcp",
            "203.0.113.10:**/tcp",
            "203.0.113:80/tcp",
            "203.0.113.0/33:80/tcp",
            "203.0.113.0/:80/tcp",
            "203.0.113.0/+8:80/tcp",
            "203.0.113.0/24/24:80/tcp",
            "[203.0.113.10]:80/tcp",
            "[203.0.113.0/24]:80/tcp",
            "2001:db8::1:80/tcp",
            "[2001:db8::1:80/tcp",
            "2001:db8::1]:80/tcp",
            "[2001:db8::]/64:80/tcp",
            "2001:db8::/64:80/tcp",
            "[2001:db8::/129]:80/tcp",
            "[2001:db8::/256]:80/tcp",
            "[fe80::1%eth0]:80/tcp",
            "[[2001:db8::1]]:80/tcp",
            "example.org:80/tcp",
            "*:80/tcp",
        ] {
            assert!(
                matches!(error(text), VipError::Address(_)),
                "{text}: {:?}",
                error(text)
            );
        }
        for text in ["203.0.113.10:0/tcp", "[2001:db8::/64]:00/udp"] {
            assert_eq!(error(text), VipError::PortZero);
        }
    }

    #[test]
    fn a_vip_covers_its_own_addresses_and_no_other() {
        for (text, address, covers) in [
            ("203.0.113.10:80/tcp", "203.0.113.10", true),
            ("203.0.113.10:80/tcp", "203.0.113.11", false),
            ("203.0.113.0/24:80/tcp", "203.0.113.0", true),
            ("203.0.113.0/24:80/tcp", "203.0.113.255", true),
            ("203.0.113.0/24:80/tcp", "203.0.114.0", false),
            ("10.0.0.0/8:80/tcp", "10.255.255.255", true),
            ("10.0.0.0/8:80/tcp", "::a00:1", false),
            (
                "[2001:db8::/64]:80/tcp",
                "2001:db8::ffff:ffff:ffff:ffff",
                true,
            ),
            ("[2001:db8::/64]:80/tcp", "2001:db8:0:1::", false),
            ("[2001:db8::1]:80/tcp", "2001:db8::1", true),
            ("[2001:db8::1]:80/tcp", "203.0.113.1", false),
        ] {
            assert_eq!(
                vip(text).covers(address.parse().unwrap()),
                covers,
                "{text}, {address}"
            );
        }
    }

    #[test]
    fn vips_share_addresses_whatever_their_ports() {
        for (one, other, share) in [
            ("203.0.113.10:80/tcp", "203.0.113.10:81/udp", true),
            ("203.0.113.10:80/tcp", "203.0.113.11:80/tcp", false),
            ("203.0.113.0/24:80/tcp", "203.0.113.10:81/tcp", true),
            ("203.0.113.0/24:80/tcp", "203.0.113.128/25:*/tcp", true),
            ("203.0.113.0/25:80/tcp", "203.0.113.128/25:80/tcp", false),
            ("[2001:db8::/32]:80/tcp", "[2001:db8:1::/48]:80/tcp", true),
            ("[2001:db8::/48]:80/tcp", "[2001:db8:1::/48]:80/tcp", false),
            ("[2001:db8::/32]:80/tcp", "203.0.113.0/24:80/tcp", false),
        ] {
            assert_eq!(
                vip(one).shares_addresses(vip(other)),
                share,
                "{one}, {other}"
            );
            assert_eq!(
                vip(other).shares_addresses(vip(one)),
                share,
                "{other}, {one}"
            );
        }
    }
}
