//! A slot of a Maglev table: one aligned word, so that each store is atomic by itself.

/// `moving` in bit 31, `stable` in bits 15-29, `current` in bits 0-14; both are backend numbers, 0 is none.
///
/// While `moving` is clear the answer is `current`, and no connection table is looked at. While it is set a flow that
/// began before the slot moved goes to `stable`, one that began since has a pin. Both numbers may be the same and the
/// slot may still move: flows that began in between have other ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot(pub u32);

impl Slot {
    const ID: u32 = 0x7fff;
    const STABLE: u32 = 15;
    const MOVING: u32 = 1 << 31;

    /// In place of `stable`: the flows from before are told by the service's previous table. No backend has this number.
    pub const PREVIOUS: u16 = 0x7fff;

    /// A settled slot.
    #[must_use]
    pub const fn settled(current: u16) -> Self {
        Self(current as u32 & Self::ID)
    }

    /// A slot whose new flows get `current`, and those from before `stable`.
    #[must_use]
    pub const fn moving(current: u16, stable: u16) -> Self {
        Self(Self::MOVING | (stable as u32 & Self::ID) << Self::STABLE | current as u32 & Self::ID)
    }

    /// The backend that new flows get.
    #[inline(always)]
    #[must_use]
    pub const fn current(self) -> u16 {
        (self.0 & Self::ID) as u16
    }

    /// The oldest living backend from before the slot began to move, or [`Self::PREVIOUS`].
    #[inline(always)]
    #[must_use]
    pub const fn stable(self) -> u16 {
        (self.0 >> Self::STABLE & Self::ID) as u16
    }

    /// Whether flows of this slot may differ in their backend.
    #[inline(always)]
    #[must_use]
    pub const fn is_moving(self) -> bool {
        self.0 & Self::MOVING != 0
    }
}
