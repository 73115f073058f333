//! Decapsulation on backend hosts: what became of a packet, and how prefixes stand in the maps.

/// Prefixes, or addresses, that each list of a backend host holds.
pub const PREFIXES: u32 = 4096;

/// Room for outcomes in the map of counters: as many as there are, and some for later ones, so that a pinned map can be
/// counted on by the next version.
pub const ROOM: u32 = 32;

/// An address as the longest-prefix maps take it: its family, then its bytes as they load. An IPv6 address never
/// matches an IPv4 prefix, for the family is part of every prefix.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address(pub [u32; 5]);

impl Address {
    /// Bits of the family, which every prefix length counts.
    pub const FAMILY: u32 = 32;
    /// The prefix length of a whole address of either family: a lookup's.
    pub const WHOLE: u32 = Self::FAMILY + 128;
    const V4: u32 = 4;
    const V6: u32 = 6;

    /// An IPv4 address, its bytes as they load.
    #[inline(always)]
    #[must_use]
    pub const fn v4(address: u32) -> Self {
        Self([Self::V4, address, 0, 0, 0])
    }

    /// An IPv6 address, its bytes as they load.
    #[inline(always)]
    #[must_use]
    pub const fn v6([a, b, c, d]: [u32; 4]) -> Self {
        Self([Self::V6, a, b, c, d])
    }

    /// Whether it is an IPv4 address.
    #[must_use]
    pub const fn is_v4(self) -> bool {
        self.0[0] == Self::V4
    }
}

/// What became of a packet; the number is its index in the map of counters. The first eight are decapsulated: bit 0
/// says that IPv6 was inside, bit 1 that IPv6 was outside, bit 2 that GUE stood between.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u32)]
pub enum Outcome {
    /// IPv4 in IPv4 (RFC 2003).
    Ipv4InIpv4 = 0,
    /// IPv6 in IPv4 (RFC 4213).
    Ipv6InIpv4 = 1,
    /// IPv4 in IPv6 (RFC 2473).
    Ipv4InIpv6 = 2,
    /// IPv6 in IPv6 (RFC 2473).
    Ipv6InIpv6 = 3,
    /// IPv4 in GUE in IPv4 (draft-ietf-intarea-gue-09).
    GueIpv4InIpv4 = 4,
    /// IPv6 in GUE in IPv4.
    GueIpv6InIpv4 = 5,
    /// IPv4 in GUE in IPv6.
    GueIpv4InIpv6 = 6,
    /// IPv6 in GUE in IPv6.
    GueIpv6InIpv6 = 7,
    /// No tunnel of a kind that is taken: to the stack as it came.
    NotOurs = 8,
    /// A tunnel from elsewhere than the balancers' networks: to the stack as it came.
    RefusedSource = 9,
    /// To none of the VIPs inside: to the stack as it came.
    RefusedDestination = 10,
    /// From a balancer, but its lengths, versions or outer checksum contradict each other: dropped.
    Malformed = 11,
    /// The tunnel's path was congested, and the packet inside cannot tell its receiver (RFC 6040, section 4.2): dropped.
    Congested = 12,
    /// The kernel would not take the outer header off: to the stack as it came, or dropped where it was half off.
    NotRemoved = 13,
    /// A tunnel to another host, which this one forwards: to the stack as it came.
    OtherHost = 14,
}

impl Outcome {
    /// All of them, each at the index of its number.
    pub const ALL: [Self; 15] = [
        Self::Ipv4InIpv4,
        Self::Ipv6InIpv4,
        Self::Ipv4InIpv6,
        Self::Ipv6InIpv6,
        Self::GueIpv4InIpv4,
        Self::GueIpv6InIpv4,
        Self::GueIpv4InIpv6,
        Self::GueIpv6InIpv6,
        Self::NotOurs,
        Self::RefusedSource,
        Self::RefusedDestination,
        Self::Malformed,
        Self::Congested,
        Self::NotRemoved,
        Self::OtherHost,
    ];

    /// The word for it in `tollgate decap --status`.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Ipv4InIpv4 => "ipv4_in_ipv4",
            Self::Ipv6InIpv4 => "ipv6_in_ipv4",
            Self::Ipv4InIpv6 => "ipv4_in_ipv6",
            Self::Ipv6InIpv6 => "ipv6_in_ipv6",
            Self::GueIpv4InIpv4 => "gue_ipv4_in_ipv4",
            Self::GueIpv6InIpv4 => "gue_ipv6_in_ipv4",
            Self::GueIpv4InIpv6 => "gue_ipv4_in_ipv6",
            Self::GueIpv6InIpv6 => "gue_ipv6_in_ipv6",
            Self::NotOurs => "not_ours",
            Self::RefusedSource => "refused_source",
            Self::RefusedDestination => "refused_destination",
            Self::Malformed => "malformed",
            Self::Congested => "congested",
            Self::NotRemoved => "not_removed",
            Self::OtherHost => "other_host",
        }
    }

    /// Whether the outer header is taken off.
    #[inline(always)]
    #[must_use]
    pub const fn is_decapsulated(self) -> bool {
        (self as u32) < Self::NotOurs as u32
    }
}

const _: () = assert!(Outcome::ALL.len() <= ROOM as usize);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_outcome_stands_at_its_number_and_has_a_word_of_its_own() {
        for (at, outcome) in Outcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome as usize, at);
            let same = |other: &&Outcome| other.label() == outcome.label();
            assert_eq!(Outcome::ALL.iter().filter(same).count(), 1);
        }
    }
}
