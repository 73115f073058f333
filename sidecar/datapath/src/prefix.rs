//! A network: an address and how many of its bits count.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use serde::{Serialize, Serializer};
use tollgate_common::decap::Address;

/// A network, or one address: `203.0.113.0/24`, `203.0.113.10`, `2001:db8::/64`. No bit behind its length is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Deserialize)]
#[serde(try_from = "String")]
pub struct Prefix {
    address: IpAddr,
    bits: u8,
}

/// Why a text is no [`Prefix`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrefixError {
    /// No address.
    #[error(
        "`{0}` is no address and no prefix; write it as 203.0.113.10, 203.0.113.0/24, 2001:db8::10 or 2001:db8::/64"
    )]
    Text(String),
    /// Too long.
    #[error(
        "`{0}` has more bits than its address: an IPv4 prefix ends at /32, an IPv6 one at /128"
    )]
    Bits(String),
    /// Not the first address.
    #[error("`{0}` is no prefix, for bits are set behind its length; write {1}")]
    Inside(String, Prefix),
}

impl TryFrom<String> for Prefix {
    type Error = PrefixError;

    fn try_from(text: String) -> Result<Self, PrefixError> {
        text.parse()
    }
}

impl Prefix {
    /// Shorter prefixes are no VIPs: a mistyped one must not take the whole network.
    const LEAST_V4: u8 = 8;
    const LEAST_V6: u8 = 16;

    /// The network of `bits` that an address is in; of more bits than it has, the address.
    pub(crate) fn of(address: IpAddr, bits: u8) -> Self {
        match address {
            IpAddr::V4(ip) => {
                let bits = bits.min(32);
                let host = u32::MAX.checked_shr(bits.into()).unwrap_or(0);
                Self {
                    address: Ipv4Addr::from_bits(ip.to_bits() & !host).into(),
                    bits,
                }
            }
            IpAddr::V6(ip) => {
                let bits = bits.min(128);
                let host = u128::MAX.checked_shr(bits.into()).unwrap_or(0);
                Self {
                    address: Ipv6Addr::from_bits(ip.to_bits() & !host).into(),
                    bits,
                }
            }
        }
    }

    /// Its first address.
    #[must_use]
    pub const fn address(self) -> IpAddr {
        self.address
    }

    /// Its length, 0 to 32, or 128 of IPv6.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.bits
    }

    /// Whether it is too wide for a VIP.
    pub(crate) const fn is_wide(self) -> bool {
        match self.address {
            IpAddr::V4(_) => self.bits < Self::LEAST_V4,
            IpAddr::V6(_) => self.bits < Self::LEAST_V6,
        }
    }

    /// Whether an address is in it.
    #[must_use]
    pub fn covers(self, address: IpAddr) -> bool {
        self.address.is_ipv4() == address.is_ipv4() && Self::of(address, self.bits) == self
    }

    /// As the maps take it: length and address.
    pub(crate) fn key(self) -> (u32, Address) {
        let address = match self.address {
            IpAddr::V4(ip) => Address::v4(u32::from_ne_bytes(ip.octets())),
            IpAddr::V6(ip) => {
                let octets = ip.octets();
                let (words, _) = octets.as_chunks::<4>();
                let mut key = [0; 4];
                for (word, bytes) in key.iter_mut().zip(words) {
                    *word = u32::from_ne_bytes(*bytes);
                }
                Address::v6(key)
            }
        };
        (Address::FAMILY + u32::from(self.bits), address)
    }

    /// From a map's key.
    pub(crate) fn from_key(len: u32, address: Address) -> Self {
        let [_, a, b, c, d] = address.0;
        let bits = len.saturating_sub(Address::FAMILY) as u8;
        let address = if address.is_v4() {
            Ipv4Addr::from(a.to_ne_bytes()).into()
        } else {
            let mut octets = [0; 16];
            for (bytes, word) in octets.chunks_exact_mut(4).zip([a, b, c, d]) {
                bytes.copy_from_slice(&word.to_ne_bytes());
            }
            Ipv6Addr::from(octets).into()
        };
        Self::of(address, bits)
    }
}

/// One address.
impl From<IpAddr> for Prefix {
    fn from(address: IpAddr) -> Self {
        Self::of(address, u8::MAX)
    }
}

impl FromStr for Prefix {
    type Err = PrefixError;

    fn from_str(text: &str) -> Result<Self, PrefixError> {
        let wrong = || PrefixError::Text(text.to_owned());
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let all = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            // Rust's parser takes a sign.
            Some(bits) if bits.bytes().all(|byte| byte.is_ascii_digit()) => {
                bits.parse().map_err(|_| wrong())?
            }
            Some(_) => return Err(wrong()),
            None => all,
        };
        if bits > all {
            return Err(PrefixError::Bits(text.to_owned()));
        }
        let prefix = Self::of(address, bits);
        if prefix.address != address {
            return Err(PrefixError::Inside(text.to_owned(), prefix));
        }
        Ok(prefix)
    }
}

/// One address is written alone.
impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = if self.address.is_ipv4() { 32 } else { 128 };
        if self.bits == all {
            return self.address.fmt(f);
        }
        write!(f, "{}/{}", self.address, self.bits)
    }
}

impl Serialize for Prefix {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_what_they_say_and_their_keys_lead_back() {
        for text in [
            "203.0.113.10",
            "203.0.113.0/24",
            "0.0.0.0/0",
            "2001:db8::10",
            "2001:db8::/33",
            "::/0",
        ] {
            let prefix: Prefix = text.parse().unwrap();
            assert_eq!(prefix.to_string(), text);
            let (len, key) = prefix.key();
            assert_eq!(Prefix::from_key(len, key), prefix);
        }
    }

    #[test]
    fn prefixes_cover_their_own_addresses_only() {
        let covers = |prefix: &str, address: &str| {
            let prefix: Prefix = prefix.parse().unwrap();
            prefix.covers(address.parse().unwrap())
        };
        assert!(covers("203.0.113.0/24", "203.0.113.255"));
        assert!(!covers("203.0.113.0/24", "203.0.112.255"));
        assert!(covers("2001:db8::/64", "2001:db8::ffff"));
        assert!(!covers("2001:db8::1", "2001:db8::2"));
        assert!(!covers("0.0.0.0/0", "::1") && !covers("::/0", "127.0.0.1"));
    }

    #[test]
    fn mistakes_are_told_with_their_cure() {
        let told = |text: &str| text.parse::<Prefix>().unwrap_err().to_string();
        assert!(told("203.0.113.10/24").contains("write 203.0.113.0/24"));
        assert!(told("2001:db8::1/64").contains("write 2001:db8::/64"));
        assert!(told("203.0.113.0/33").contains("ends at /32"));
        for text in [
            "",
            "eth0",
            "203.0.113.10:443",
            "203.0.113.0/+8",
            "203.0.113.0/",
            "::/900",
        ] {
            assert!(told(text).contains("is no address and no prefix"), "{text}");
        }
    }
}
