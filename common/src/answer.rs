//! What became of a packet, as one word for whoever watches.

use crate::{
    limits::{BACKENDS, SERVICES},
    verdict::Verdict,
};

/// What became of a packet: the [`Disposition`](crate::verdict::Disposition) in bits 0-3, whether the packet
/// opens a connection in 4, the [`Verdict`] in 32-36, the service in 37-47, the entry in 48-63.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Answer(pub u64);

impl Answer {
    /// The first bit of the verdict's number.
    pub const VERDICT: u32 = 32;
    /// The bit that says that it opens a connection.
    pub const OPENS: u32 = 4;
    /// The first bit of the service's number.
    pub const SERVICE: u32 = 37;
    /// The first bit of the entry's number.
    pub const ENTRY: u32 = 48;
    /// The verdict's bits, from [`VERDICT`](Self::VERDICT) on.
    pub const VERDICT_MASK: u64 = (1 << (Self::SERVICE - Self::VERDICT)) - 1;
    const SERVICE_MASK: u64 = (1 << (Self::ENTRY - Self::SERVICE)) - 1;

    /// An answer of these numbers: the verdict's, the disposition's, the service's and the entry's.
    #[inline(always)]
    #[must_use]
    pub const fn new(verdict: u32, action: u32, opens: bool, service: u16, entry: u16) -> Self {
        Self(
            action as u64
                | (verdict as u64) << Self::VERDICT
                | (opens as u64) << Self::OPENS
                | (service as u64 & Self::SERVICE_MASK) << Self::SERVICE
                | (entry as u64) << Self::ENTRY,
        )
    }

    /// The number of the disposition.
    #[inline(always)]
    #[must_use]
    pub const fn action(self) -> u32 {
        self.0 as u32 & 0xf
    }

    /// The verdict; `None`: not one of ours.
    #[inline(always)]
    #[must_use]
    pub fn verdict(self) -> Option<Verdict> {
        Verdict::ALL
            .get((self.0 >> Self::VERDICT & Self::VERDICT_MASK) as usize)
            .copied()
    }

    /// Whether the packet opens a connection; only meaningful with an entry.
    #[inline(always)]
    #[must_use]
    pub const fn opens(self) -> bool {
        self.0 >> Self::OPENS & 1 != 0
    }

    /// The number of the service that it was for; 0: none.
    #[inline(always)]
    #[must_use]
    pub const fn service(self) -> u16 {
        (self.0 >> Self::SERVICE & Self::SERVICE_MASK) as u16
    }

    /// The entry that counts it: the backend's, or a steered service's. 0: none.
    #[inline(always)]
    #[must_use]
    pub const fn entry(self) -> u16 {
        (self.0 >> Self::ENTRY) as u16
    }
}

const _: () = {
    assert!(SERVICES < 1 << (Answer::ENTRY - Answer::SERVICE));
    assert!(BACKENDS <= 1 << (64 - Answer::ENTRY));
    assert!(Verdict::ALL.len() as u64 <= Answer::VERDICT_MASK + 1);
};
