//! What the kernel does beside the tables when they change.

use std::time::Duration;

use tollgate_common::pin::{Pin, PinKey};

use crate::{
    maps::{self, Counters, Mapping, Pinned, Sockets},
    object::Object,
    reconcile::Effects,
};

/// The effects on the kernel's own maps.
pub(crate) struct Kernel<'a> {
    counters: &'a mut Counters,
    sockets: &'a mut Sockets,
    pinned: &'a mut Pinned,
}

impl<'a> Kernel<'a> {
    /// And the tables beside them.
    pub(crate) fn of(object: &'a mut Object) -> (&'a Mapping, Self) {
        let Object {
            tables,
            counters,
            sockets,
            pinned,
            ..
        } = object;
        let kernel = Self {
            counters,
            sockets,
            pinned,
        };
        (tables, kernel)
    }
}

impl Effects for Kernel<'_> {
    fn reset(&mut self, entry: u16) {
        if let Err(error) = self.counters.reset(entry) {
            tracing::warn!(%error, entry, "a counter was not reset; it goes on from its last value");
        }
    }

    fn reset_drops(&mut self, service: u16) {
        if let Err(error) = self.counters.reset_drops(service) {
            tracing::warn!(%error, service, "a service's drops were not reset; they go on from their last values");
        }
    }

    fn now(&self) -> u32 {
        maps::second()
    }

    fn retain_pins(&mut self, keep: &mut dyn FnMut(&PinKey, &Pin) -> bool) -> Option<usize> {
        let left = self.pinned.retain(keep).inspect_err(|error| {
            tracing::warn!(%error, "the pins were not looked through; the next round tries again");
        });
        left.ok()
    }

    fn forget(&mut self, listener: u32) {
        // EINVAL: no socket stood there.
        let _cleared = self.sockets.clear(listener);
    }

    fn grace(&mut self) {
        grace();
    }
}

/// Waits until no packet is being processed that may have seen what was before.
pub(crate) fn grace() {
    if maps::grace().is_err() {
        // Many times as long as a packet takes.
        std::thread::sleep(Duration::from_millis(10));
    }
}
