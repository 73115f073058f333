//! A slot of a Maglev table: one aligned word, so that each store is atomic by itself.

/// `moving` in bit 31, `stable` in bits 15-29, `current` in bits 0-14; both are backend numbers, 0 is none.
///
/// While `moving` is clear the answer is `current`. In this version no slot ever moves: `moving` and `stable` are 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot(pub u32);

impl Slot {
    const ID: u32 = 0x7fff;
    const MOVING: u32 = 1 << 31;

    /// A settled slot.
    #[must_use]
    pub const fn settled(current: u16) -> Self {
        Self(current as u32 & Self::ID)
    }

    /// The backend that new flows get.
    #[inline(always)]
    #[must_use]
    pub const fn current(self) -> u16 {
        (self.0 & Self::ID) as u16
    }

    /// The oldest living backend from before the slot began to move.
    #[must_use]
    pub const fn stable(self) -> u16 {
        (self.0 >> 15 & Self::ID) as u16
    }

    /// Whether flows of this slot may differ in their backend.
    #[must_use]
    pub const fn is_moving(self) -> bool {
        self.0 & Self::MOVING != 0
    }
}
