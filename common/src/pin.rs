//! Pins: which backend a flow has that began in a moving slot.
//!
//! The map of pins is a plain hash, not an LRU: what is in it is never pushed out by what comes. A flow that finds no
//! room, or no place under the limit of [`Guards::pins`](crate::tables::Guards::pins), goes where the flows
//! from before go, and needs no pin.

/// What a pin is found by. The hash of an IPv4 flow is a bijection of address and ports; of IPv6 flows two may share one,
/// and then share the pin, which both can live with.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PinKey {
    /// The flow's hash, ports included.
    pub hash: u64,
    /// The slot's place in the pool.
    pub slot: u32,
    /// Tells the addresses of one prefix apart: [`extra`](Self::extra) of the destination.
    pub extra: u32,
}

const _: () = assert!(size_of::<PinKey>() == 16);

impl PinKey {
    /// What stands for the destination's address, given as a [`Key`](crate::service::Key) has it.
    #[inline(always)]
    #[must_use]
    pub const fn extra(hi: u64, lo: u64) -> u32 {
        let mixed = crate::flow::mix(hi ^ lo);
        (mixed ^ mixed >> 32) as u32
    }
}

/// What a packet tells of its flow: of a TCP segment the sequence number, in host order, in the low half and the flags of
/// its header in bits 32-39 (RFC 9293, section 3.1). One word, so that it comes back from a function on the BPF target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told(pub u64);

impl Told {
    const FIN: u64 = 0x01;
    const SYN: u64 = 0x02;
    const RST: u64 = 0x04;
    const ACK: u64 = 0x10;
    const FLAGS: u32 = 32;

    /// It is a datagram.
    pub const DATAGRAM: Self = Self(1 << 40);
    /// It is an ICMP error about a packet that went the other way: of the client's own numbers it tells nothing.
    pub const ERROR: Self = Self(1 << 41);

    /// What a TCP segment tells.
    #[inline(always)]
    #[must_use]
    pub const fn segment(sequence: u32, flags: u8) -> Self {
        Self(sequence as u64 | (flags as u64) << Self::FLAGS)
    }

    /// The sequence number of a TCP segment.
    #[inline(always)]
    #[must_use]
    pub const fn sequence(self) -> u32 {
        self.0 as u32
    }

    /// The flags of a TCP segment's header; of all else 0.
    #[inline(always)]
    #[must_use]
    pub const fn tcp_flags(self) -> u8 {
        (self.0 >> Self::FLAGS) as u8
    }

    /// Whether it is a TCP segment.
    #[inline(always)]
    #[must_use]
    pub const fn is_segment(self) -> bool {
        self.0 & (Self::DATAGRAM.0 | Self::ERROR.0) == 0
    }

    /// Whether it is a datagram.
    #[inline(always)]
    #[must_use]
    pub const fn is_datagram(self) -> bool {
        self.0 & Self::DATAGRAM.0 != 0
    }

    /// Whether it opens a connection: a SYN.
    #[inline(always)]
    #[must_use]
    pub const fn opens(self) -> bool {
        self.flags(Self::FIN | Self::SYN | Self::RST | Self::ACK) == Self::SYN
    }

    /// Whether it can be of a flow that lives: a datagram, or a segment with ACK and without SYN and RST. What answers a
    /// forged packet (SYN and ACK, RST) and what is wrong about one (an ICMP error) are not.
    #[inline(always)]
    #[must_use]
    pub const fn goes_on(self) -> bool {
        self.is_datagram() || self.flags(Self::SYN | Self::RST | Self::ACK) == Self::ACK
    }

    /// Whether it ends a connection, one way or both: a FIN, or a RST.
    #[inline(always)]
    #[must_use]
    pub const fn ends(self) -> bool {
        self.flags(Self::FIN | Self::RST) != 0
    }

    #[inline(always)]
    const fn flags(self, of: u64) -> u64 {
        self.0 >> Self::FLAGS & of
    }
}

/// A flow's backend.
///
/// The numbers of a pin are written once. What changes are whole words, each of which may be written by several CPUs at
/// once: none of them ever says more of the backend.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pin {
    /// The backend's number in bits 0-14; in bits 16-31 the [`Life`](crate::backend::Life) of the backend when the pin was
    /// made.
    pub backend: u32,
    /// Second of the monotonic clock at which a packet of the flow was seen.
    pub seen: u32,
    /// The sequence number of the SYN, the last one if there were several, in host order.
    pub isn: u32,
    /// [`Self::CONFIRMED`] and [`Self::CLOSING`]. Bits are only ever added: the latter beside the former alone, so that of two
    /// CPUs that add at once neither takes the former away.
    pub flags: u32,
}

const _: () = assert!(size_of::<Pin>() == 16);

impl Pin {
    /// In [`Self::flags`]: more than the first packet was seen.
    pub const CONFIRMED: u32 = 1;
    /// In [`Self::flags`]: a FIN or RST of the confirmed flow was seen.
    pub const CLOSING: u32 = 2;

    /// What a client may send before it has heard more than the SYN and ACK: the window in that one is not scaled (RFC
    /// 7323, section 2.2).
    pub const FIRST_FLIGHT: u32 = 65_535;

    /// A pin that is made now, for a flow whose first packet tells that.
    #[inline(always)]
    #[must_use]
    pub const fn new(backend: u16, life: u16, told: Told, now: u32) -> Self {
        Self {
            backend: (backend as u32 & 0x7fff) | (life as u32) << 16,
            seen: now,
            isn: told.sequence(),
            flags: 0,
        }
    }

    /// The backend's number.
    #[inline(always)]
    #[must_use]
    pub const fn id(self) -> u16 {
        (self.backend & 0x7fff) as u16
    }

    /// The backend's life when the pin was made.
    #[inline(always)]
    #[must_use]
    pub const fn life(self) -> u16 {
        (self.backend >> 16) as u16
    }

    /// Whether more than the first packet was seen.
    #[inline(always)]
    #[must_use]
    pub const fn is_confirmed(self) -> bool {
        self.flags & Self::CONFIRMED != 0
    }

    /// Whether the flow has begun to end.
    #[must_use]
    pub const fn is_closing(self) -> bool {
        self.flags & Self::CLOSING != 0
    }

    /// Whether a packet is of the flow that has this pin. Anybody can send a SYN in a living connection's name: until a
    /// segment has come that follows that SYN, all others are of a connection that began before.
    #[inline(always)]
    #[must_use]
    pub const fn takes(self, told: Told) -> bool {
        let behind = told.sequence().wrapping_sub(self.isn).wrapping_sub(1);
        self.is_confirmed() || !told.is_segment() || told.opens() || behind <= Self::FIRST_FLIGHT
    }

    /// The pin after a packet of the flow. One that is not of it, or that proves nothing of an unconfirmed one, leaves it as
    /// it is.
    #[inline(always)]
    #[must_use]
    pub const fn noted(self, told: Told, now: u32) -> Self {
        let mut pin = self;
        if self.is_confirmed() || self.takes(told) && told.goes_on() {
            pin.seen = now;
            pin.flags |= Self::CONFIRMED;
            if told.ends() {
                pin.flags |= Self::CLOSING;
            }
        } else if told.opens() {
            pin.seen = now;
            pin.isn = told.sequence();
        }
        pin
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIN: u8 = 0x01;
    const SYN: u8 = 0x02;
    const RST: u8 = 0x04;
    const ACK: u8 = 0x10;
    const PSH: u8 = 0x08;

    #[test]
    fn a_pin_says_what_it_was_made_of() {
        for (backend, life) in [(1, 1), (0x7fff, u16::MAX), (300, 0x8001)] {
            let pin = Pin::new(backend, life, Told::segment(u32::MAX, SYN), 77);
            assert_eq!((pin.id(), pin.life(), pin.seen), (backend, life, 77));
            assert!(!pin.is_confirmed() && !pin.is_closing());
            let confirmed = pin.noted(Told::segment(0, ACK | FIN), 78);
            assert!(confirmed.is_confirmed() && confirmed.is_closing());
            assert_eq!((confirmed.id(), confirmed.life()), (backend, life));
        }
    }

    #[test]
    fn segments_tell_what_they_are() {
        for ecn in [0, 0xc0] {
            for (flags, opens, goes_on, ends) in [
                (SYN, true, false, false),
                (SYN | ACK, false, false, false),
                (SYN | FIN, false, false, true),
                (ACK, false, true, false),
                (ACK | PSH, false, true, false),
                (ACK | FIN, false, true, true),
                (FIN, false, false, true),
                (RST, false, false, true),
                (RST | ACK, false, false, true),
                (PSH, false, false, false),
                (0, false, false, false),
            ] {
                let told = Told::segment(u32::MAX, flags | ecn);
                let said = (told.opens(), told.goes_on(), told.ends());
                assert_eq!(said, (opens, goes_on, ends), "{flags:#x}");
                assert!(!told.is_datagram());
            }
        }
        let others = [Told::DATAGRAM, Told::ERROR];
        assert_eq!(others.map(Told::is_datagram), [true, false]);
        assert_eq!(others.map(Told::goes_on), [true, false]);
        assert_eq!(others.map(|told| told.opens() || told.ends()), [false; 2]);
    }

    /// Across the end of the number space as well.
    #[test]
    fn only_what_follows_its_syn_confirms_a_pin() {
        for isn in [0, 5, 1 << 31, u32::MAX - 65_536, u32::MAX] {
            let pin = Pin::new(1, 1, Told::segment(isn, SYN), 10);
            let after = |by: u32| Told::segment(isn.wrapping_add(by), ACK);
            for by in [1, 2, 1461, 65_536] {
                assert!(pin.takes(after(by)), "{isn} + {by}");
                let noted = pin.noted(after(by), 11);
                assert!(noted.is_confirmed() && noted.seen == 11, "{isn} + {by}");
                assert!(noted.takes(after(0)) && noted.takes(Told::segment(9, SYN)));
                assert_eq!(noted.noted(Told::segment(9, SYN), 12).isn, isn);
            }
            for by in [0, 65_537, 1 << 31, u32::MAX] {
                assert!(!pin.takes(after(by)), "{isn} + {by}");
                assert_eq!(pin.noted(after(by), 11), pin, "{isn} + {by}");
            }
            // The host whose name was used for a SYN answers the answer to it with such a RST.
            let reset = Told::segment(isn.wrapping_add(1), RST);
            assert!(pin.takes(reset));
            assert_eq!(pin.noted(reset, 11), pin);
            assert!(pin.takes(Told::ERROR));
            assert_eq!(pin.noted(Told::ERROR, 11), pin);
        }
    }

    #[test]
    fn the_last_syn_is_the_one_that_is_followed() {
        let pin = Pin::new(1, 1, Told::segment(7, SYN), 10);
        let again = pin.noted(Told::segment(1_000_000, SYN), 11);
        assert_eq!((again.isn, again.seen, again.flags), (1_000_000, 11, 0));
        assert!(!again.takes(Told::segment(8, ACK)));
        assert!(again.takes(Told::segment(1_000_001, ACK)));
    }

    #[test]
    fn a_second_datagram_confirms() {
        let pin = Pin::new(1, 1, Told::DATAGRAM, 10);
        assert!(!pin.is_confirmed());
        assert!(pin.noted(Told::DATAGRAM, 11).is_confirmed());
    }

    /// A later segment does not take back that the flow is closing, but it is seen.
    #[test]
    fn a_flow_that_closes_is_closing() {
        let open = Pin::new(1, 1, Told::segment(7, SYN), 10).noted(Told::segment(8, ACK), 11);
        assert!(!open.is_closing());
        for flags in [FIN | ACK, RST, RST | ACK] {
            let closing = open.noted(Told::segment(9, flags), 12);
            assert!(closing.is_closing(), "{flags:#x}");
            let later = closing.noted(Told::segment(9, ACK), 13);
            assert!(later.is_closing() && later.seen == 13);
        }
    }

    #[test]
    fn addresses_of_one_prefix_are_told_apart() {
        let mut seen = [0; 256];
        for (last, extra) in (0_u32..).zip(&mut seen) {
            let address = u32::from_ne_bytes([192, 0, 2, last as u8]);
            *extra = PinKey::extra(0, u64::from(address));
        }
        seen.sort_unstable();
        assert!(seen.windows(2).all(|two| two[0] != two[1]));
    }
}
