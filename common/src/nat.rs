//! Translations: what a packet of a service with `deliver: nat` is turned into, for each direction of its flow an entry.
//!
//! The map is a plain hash as that of [pins](crate::pin) is: what is in it is never pushed out by what comes.

use crate::service::{Key, Scope, TCP, UDP};

/// A packet's addresses, ports and protocol, all as they load.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tuple {
    /// Source address in two words; of IPv4 in the second.
    pub source: [u64; 2],
    /// Destination address, likewise.
    pub destination: [u64; 2],
    /// Source port in the low half, destination port in the high one.
    pub ports: u32,
    /// Protocol in bits 16-23, the family's [`Scope`] in bits 24-31.
    pub tag: u32,
}

const _: () = assert!(size_of::<Tuple>() == 40);

impl Tuple {
    /// The tag of a protocol and a family.
    #[inline(always)]
    #[must_use]
    pub const fn tag(proto: u8, is_v4: bool) -> u32 {
        let scope = if is_v4 { Scope::V4 } else { Scope::V6 };
        (proto as u32) << 16 | (scope.0 as u32) << 24
    }

    /// The protocol.
    #[inline(always)]
    #[must_use]
    pub const fn proto(&self) -> u8 {
        (self.tag >> 16) as u8
    }

    /// Whether it is of IPv4.
    #[inline(always)]
    #[must_use]
    pub const fn is_v4(&self) -> bool {
        Scope((self.tag >> 24) as u8).is_v4()
    }

    /// That of what answers.
    #[inline(always)]
    #[must_use]
    pub const fn reversed(&self) -> Self {
        Self {
            source: self.destination,
            destination: self.source,
            ports: self.ports.rotate_left(16),
            tag: self.tag,
        }
    }

    /// What a service is looked up by, which takes packets to this destination.
    #[inline(always)]
    #[must_use]
    pub const fn key(&self) -> Key {
        Key {
            hi: self.destination[0],
            lo: self.destination[1],
            tag: self.ports >> 16 | self.tag,
        }
    }
}

/// What becomes of the packets of one direction.
///
/// `flags`, `seen` and `interface` change, each a whole word that several CPUs may write; the rest is written once.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Translation {
    /// What addresses and ports become; the protocol stays.
    pub to: Tuple,
    /// The backend's number in bits 0-14; in bits 16-31 its [`Life`](crate::backend::Life) when the flow began.
    pub backend: u32,
    /// Number of the service, and in bit 31 whether it is the direction of answers.
    pub service: u32,
    /// Second of the monotonic clock at which a packet was seen.
    pub seen: u32,
    /// What was seen: [`flag`].
    pub flags: u32,
    /// Index of the interface that the client's packets come in at.
    pub interface: u32,
    /// Always 0.
    pub reserved: u32,
}

const _: () = assert!(size_of::<Translation>() == 64);

/// What was seen of one direction.
pub mod flag {
    /// Any packet.
    pub const SEEN: u32 = 1;
    /// A segment with ACK, without SYN and RST.
    pub const ACK: u32 = 2;
    /// A FIN.
    pub const FIN: u32 = 4;
    /// A RST, and no segment since that goes on.
    pub const RST: u32 = 8;
}

/// TCP's flags as they stand in its header (RFC 9293, section 3.1).
mod tcp {
    pub(super) const FIN: u8 = 0x01;
    pub(super) const SYN: u8 = 0x02;
    pub(super) const RST: u8 = 0x04;
    pub(super) const ACK: u8 = 0x10;
}

impl Translation {
    /// In [`Self::service`].
    pub const ANSWERS: u32 = 1 << 31;

    /// The backend's number.
    #[inline(always)]
    #[must_use]
    pub const fn id(&self) -> u16 {
        (self.backend & 0x7fff) as u16
    }

    /// The backend's life when the flow began.
    #[inline(always)]
    #[must_use]
    pub const fn life(&self) -> u16 {
        (self.backend >> 16) as u16
    }

    /// Number of the service.
    #[inline(always)]
    #[must_use]
    pub const fn service(&self) -> u16 {
        self.service as u16
    }

    /// Whether the backend knows the client of a flow, whose packets bear this, by another address or port.
    #[inline(always)]
    #[must_use]
    pub const fn hides(&self, key: &Tuple) -> bool {
        let [hi, lo] = self.to.source;
        let [own_hi, own_lo] = key.source;
        hi != own_hi || lo != own_lo || (self.to.ports ^ key.ports) & 0xffff != 0
    }

    /// Whether it is the direction of answers.
    #[inline(always)]
    #[must_use]
    pub const fn is_answers(&self) -> bool {
        self.service & Self::ANSWERS != 0
    }

    /// [`Self::flags`] after a packet: of TCP one with these flags in its header. A RST is forgotten when its sender goes on:
    /// then it was somebody else's.
    #[inline(always)]
    #[must_use]
    pub const fn flags_after(&self, proto: u8, tcp: u8) -> u32 {
        let mut flags = self.flags | flag::SEEN;
        if proto != TCP {
            return flags;
        }
        if tcp & tcp::RST != 0 {
            return flags | flag::RST;
        }
        if tcp & (tcp::SYN | tcp::ACK) == tcp::ACK {
            flags = (flags | flag::ACK) & !flag::RST;
        }
        if tcp & tcp::FIN != 0 {
            flags |= flag::FIN;
        }
        flags
    }
}

/// How far a flow is, by what was seen of both directions; what it may be silent for depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// TCP that is not open both ways: it opens, or one side has ended it (RFC 5382, section 5: transitory).
    Transitory,
    /// TCP that is open.
    Established,
    /// TCP that is over: both sides have ended it, or one has reset it.
    Closed,
    /// Datagrams of one side alone.
    Udp,
    /// Datagrams of both sides.
    UdpStream,
}

impl Stage {
    /// The stage, by the flags of the client's direction and of the answers'.
    #[inline(always)]
    #[must_use]
    pub const fn of(proto: u8, client: u32, answers: u32) -> Self {
        if proto == UDP {
            return if answers & flag::SEEN != 0 {
                Self::UdpStream
            } else {
                Self::Udp
            };
        }
        let either = client | answers;
        if either & flag::RST != 0 || client & answers & flag::FIN != 0 {
            Self::Closed
        } else if either & flag::FIN != 0 || client & flag::ACK == 0 || answers & flag::SEEN == 0 {
            Self::Transitory
        } else {
            Self::Established
        }
    }
}

/// The first port that sources get where they are translated.
pub const FIRST_PORT: u16 = 1024;
/// How many there are, a power of two less what lies below: up to 32 767, under the ports that Linux gives its own connections
/// (`net.ipv4.ip_local_port_range`), whose answers must not be taken for a client's.
pub const PORTS: u16 = 32_768 - FIRST_PORT;
/// So many of them are tried for a flow.
pub const TRIES: u32 = 64;

/// The source of a flow where sources are translated: the address of a network whose last `bits` bits, at most 16, may be any,
/// and the port, in host order, for the try of this number.
#[inline(always)]
#[must_use]
pub const fn source(
    network: [u64; 2],
    bits: u8,
    is_v4: bool,
    entropy: u32,
    number: u32,
) -> ([u64; 2], u16) {
    let mask = (1_u32 << (bits & 31)) - 1;
    // From the other half than the port; a try that fails goes to another port of the next address.
    let host = entropy.wrapping_add(number) & mask;
    let place = host.to_be() as u64;
    let [hi, lo] = network;
    let lo = if is_v4 { lo | place } else { lo | place << 32 };
    ([hi, lo], port(entropy, number))
}

/// The port for the try of this number, in host order. Each flow goes its own steps (double hashing): one port after the other,
/// those that are taken would stand in rows that are longer than the tries, with a third of all still free.
#[inline(always)]
#[must_use]
pub const fn port(entropy: u32, number: u32) -> u16 {
    let first = ((entropy as u64 * PORTS as u64) >> 32) as u32;
    // Odd: it comes back to where it began after a thousand steps at the earliest, for 31 is the only other prime factor.
    let step = entropy & 0x3ffe | 1;
    let at = (first + (number & 0xffff) * step) % PORTS as u32;
    FIRST_PORT + at as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIN: u8 = 0x01;
    const SYN: u8 = 0x02;
    const RST: u8 = 0x04;
    const ACK: u8 = 0x10;

    /// Packets, the client's and answers, and how far the flow is after each.
    #[test]
    fn stages_follow_what_both_sides_sent() {
        use Stage::{Closed, Established, Transitory};

        let open = [
            (true, SYN, Transitory),
            (false, SYN | ACK, Transitory),
            (true, ACK, Established),
        ];
        let ends: [&[(bool, u8, Stage)]; 4] = [
            &[
                (true, FIN | ACK, Transitory),
                (false, ACK, Transitory),
                (false, FIN | ACK, Closed),
                (true, ACK, Closed),
            ],
            &[(false, FIN | ACK, Transitory), (true, FIN | ACK, Closed)],
            &[(true, RST, Closed), (false, ACK, Closed)],
            // Somebody else's RST: its alleged sender goes on.
            &[(false, RST | ACK, Closed), (false, ACK, Established)],
        ];
        for end in ends {
            let (mut client, mut answers) = (Translation::default(), Translation::default());
            for &(is_client, tcp, stage) in open.iter().chain(end) {
                let one = if is_client { &mut client } else { &mut answers };
                one.flags = one.flags_after(TCP, tcp);
                let now = Stage::of(TCP, client.flags, answers.flags);
                assert_eq!(now, stage, "{is_client} {tcp:#x} of {end:?}");
            }
        }
        let mut client = Translation::default();
        client.flags = client.flags_after(UDP, 0xff);
        assert_eq!(Stage::of(UDP, client.flags, 0), Stage::Udp);
        assert_eq!(Stage::of(UDP, client.flags, flag::SEEN), Stage::UdpStream);
    }

    #[test]
    fn ports_stay_in_their_range_and_tries_differ() {
        for entropy in [0, 1, 0x8000_0000, u32::MAX] {
            let ports: [u16; TRIES as usize] = core::array::from_fn(|n| port(entropy, n as u32));
            for (n, port) in ports.iter().enumerate() {
                assert!((FIRST_PORT..FIRST_PORT + PORTS).contains(port));
                assert!(!ports[..n].contains(port), "{entropy:#x} {n}");
            }
        }
        assert_eq!(port(0, 0), FIRST_PORT);
        assert_eq!(port(u32::MAX, 0), FIRST_PORT + PORTS - 1);
        assert_eq!(port(u32::MAX, 1), FIRST_PORT + 0x3ffe);
    }

    #[test]
    fn sources_are_of_their_network() {
        let v4 = [0, u64::from(u32::from_ne_bytes([10, 9, 8, 0]))];
        for entropy in [0_u32, 3, 0x0001_0000, 0xffff_ffff] {
            let ([hi, lo], _) = source(v4, 2, true, entropy, 0);
            let octets = (lo as u32).to_ne_bytes();
            assert_eq!((hi, &octets[..3]), (0, &[10, 9, 8][..]));
            assert_eq!(u32::from(octets[3]), entropy & 3);
        }
        let word = u128::from_ne_bytes([0xfd, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        let v6 = [word as u64, (word >> 64) as u64];
        let ([hi, lo], _) = source(v6, 16, false, 0x1234_abcd, 0);
        let octets = (u128::from(hi) | u128::from(lo) << 64).to_ne_bytes();
        assert_eq!(
            octets,
            [0xfd, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xab, 0xcd]
        );
        assert_eq!(source(v4, 0, true, u32::MAX, 7).0, v4);
    }

    #[test]
    fn what_answers_is_the_other_way_round() {
        let tuple = Tuple {
            source: [1, 2],
            destination: [3, 4],
            ports: 0x1234_5678,
            tag: Tuple::tag(TCP, true),
        };
        let back = tuple.reversed();
        assert_eq!((back.source, back.destination), ([3, 4], [1, 2]));
        assert_eq!(back.ports, 0x5678_1234);
        assert_eq!(back.reversed(), tuple);
        assert_eq!((tuple.proto(), tuple.is_v4()), (TCP, true));
        let v4 = Tuple {
            source: [0, 1],
            destination: [0, 9],
            ..tuple
        };
        assert_eq!(v4.key(), Key::v4(9, 0x1234, TCP));
    }
}
