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

/// A flow's backend.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pin {
    /// The backend's number in bits 0-14; whether more than the first packet was seen in bit 15; in bits 16-31 the
    /// [`Life`](crate::backend::Life) of the backend when the pin was made.
    pub backend: u32,
    /// Second of the monotonic clock at which a packet of the flow was seen.
    pub seen: u32,
}

const _: () = assert!(size_of::<Pin>() == 8);

impl Pin {
    /// In [`Self::backend`]: more than the first packet was seen.
    pub const CONFIRMED: u32 = 1 << 15;

    /// A pin that is made now.
    #[inline(always)]
    #[must_use]
    pub const fn new(backend: u16, life: u16, now: u32) -> Self {
        Self {
            backend: (backend as u32 & 0x7fff) | (life as u32) << 16,
            seen: now,
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
    #[must_use]
    pub const fn is_confirmed(self) -> bool {
        self.backend & Self::CONFIRMED != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_says_what_it_was_made_of() {
        for (backend, life) in [(1, 1), (0x7fff, u16::MAX), (300, 0x8001)] {
            let pin = Pin::new(backend, life, 77);
            assert_eq!((pin.id(), pin.life(), pin.seen), (backend, life, 77));
            assert!(!pin.is_confirmed());
            let confirmed = Pin {
                backend: pin.backend | Pin::CONFIRMED,
                ..pin
            };
            assert!(confirmed.is_confirmed());
            assert_eq!((confirmed.id(), confirmed.life()), (backend, life));
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
