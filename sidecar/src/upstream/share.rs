//! How much of its share of requests an endpoint gets, as its checks have it.

use std::sync::atomic::{AtomicU8, Ordering};

/// The quarters that a whole share has.
pub(super) const WHOLE: u8 = 4;

/// In quarters; whole unless somebody says otherwise.
#[derive(Debug)]
pub(super) struct Share(AtomicU8);

impl Default for Share {
    fn default() -> Self {
        Self(AtomicU8::new(WHOLE))
    }
}

impl Share {
    /// 0: it gets nothing.
    pub(super) fn quarters(&self) -> u8 {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn set(&self, quarters: u8) {
        self.0.store(quarters.min(WHOLE), Ordering::Relaxed);
    }
}
