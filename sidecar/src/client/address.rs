//! Addresses that must not be asked, whatever a name resolves to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Metadata services of clouds outside the link-local ranges: Alibaba; Azure; Oracle; AWS (instances, pods), Google.
const METADATA: [IpAddr; 6] = [
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23)),
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
];

/// Why an address must not be asked.
pub(super) fn forbidden(ip: IpAddr, allow_private: bool) -> Option<&'static str> {
    let ip = meant(ip);
    let (never, private) = match ip {
        IpAddr::V4(v4) => (
            // 0.0.0.0/8 is this host (RFC 1122, section 3.2.1.3).
            v4.is_link_local() || v4.is_multicast() || v4.is_broadcast() || v4.octets()[0] == 0,
            // RFC 1918, loopback, RFC 6598's shared space, RFC 2544's for benchmarks, and what is reserved (RFC 1112,
            // section 4).
            v4.is_private()
                || v4.is_loopback()
                || (v4.octets()[0] == 100 && v4.octets()[1] & 0xc0 == 64)
                || (v4.octets()[0] == 198 && v4.octets()[1] & 0xfe == 18)
                || v4.octets()[0] >= 240,
        ),
        IpAddr::V6(v6) => (
            v6.is_unicast_link_local() || v6.is_multicast() || v6.is_unspecified(),
            // Site-local addresses are deprecated (RFC 3879) and still private where they are used.
            v6.is_unique_local() || v6.is_loopback() || v6.segments()[0] & 0xffc0 == 0xfec0,
        ),
    };
    match (never || METADATA.contains(&ip), private && !allow_private) {
        (true, _) => Some("link-local, multicast and metadata addresses never are"),
        (_, true) => Some("it is private and `allow_private` is false"),
        _ => None,
    }
}

/// The IPv4 address that an IPv6 address stands for: mapped and compatible ones (RFC 4291, section 2.5.5), NAT64
/// (RFC 6052; RFC 8215, as far as it has prefixes of 96 bits), translated (RFC 2765, section 2.1), 6to4 (RFC 3056), and the
/// client of Teredo (RFC 4380, section 4), whose bits are inverted.
fn meant(ip: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = ip else { return ip };
    if v6.is_loopback() || v6.is_unspecified() {
        return ip;
    }
    let pair = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        IpAddr::V4(Ipv4Addr::new(a, b, c, d))
    };
    match v6.segments() {
        [0x2001, 0, _, _, _, _, high, low] => pair(!high, !low),
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x64, 0xff9b, 1, _, _, _, high, low] => pair(high, low),
        [0x2002, high, low, ..] => pair(high, low),
        _ => ip,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threat_47_addresses_that_must_not_be_asked() {
        for (ip, private, refused) in [
            ("169.254.169.254", true, true),
            ("::ffff:169.254.169.254", true, true),
            ("100.100.100.200", true, true),
            ("fe80::1", true, true),
            ("fd00:ec2::254", true, true),
            ("0.0.0.0", true, true),
            ("64:ff9b::a9fe:a9fe", true, true),
            ("2002:a9fe:a9fe::1", true, true),
            ("::169.254.169.254", true, true),
            ("168.63.129.16", true, true),
            ("192.0.0.192", true, true),
            ("0.1.2.3", true, true),
            ("64:ff9b:1::a9fe:a9fe", true, true),
            ("fd20:ce::254", true, true),
            ("10.1.2.3", true, false),
            ("10.1.2.3", false, true),
            ("127.0.0.1", false, true),
            ("::1", false, true),
            ("::ffff:0:169.254.169.254", true, true),
            ("2001:0:1234::5601:5601", true, true),
            ("2001:0:1234::f5fe:fdfc", false, true),
            ("fec0::1", false, true),
            ("fec0::1", true, false),
            ("198.18.0.1", false, true),
            ("198.20.0.1", false, false),
            ("240.0.0.1", false, true),
            ("239.255.255.255", true, true),
            ("100.128.0.1", false, false),
            ("100.64.0.1", false, true),
            ("203.0.113.7", false, false),
        ] {
            assert_eq!(
                forbidden(ip.parse().unwrap(), private).is_some(),
                refused,
                "{ip} {private}"
            );
        }
    }
}
