//! What the pipeline remembers between packets, and the clock: maps in the kernel, plain collections on the host.

use core::ops::DerefMut;

use tollgate_common::{
    fragment::{Fragment, FragmentKey},
    pin::{Pin, PinKey, Told},
};

use crate::look::Seen;

/// Buckets that the networks of those who are told are dealt among: a power of two.
pub const NETWORKS: u32 = 64;

/// As many messages to the networks of one bucket, of those that the guard allows: it takes eight buckets to use them up.
#[inline(always)]
#[must_use]
pub const fn share(limit: u32) -> u32 {
    limit / 8 + 1
}

/// What is remembered.
pub trait Memory {
    /// Second of the monotonic clock. Read on cold paths only.
    fn now(&mut self) -> u32;

    /// The pin of a flow, after a packet that tells that is [noted](Pin::noted) at second `now`.
    fn recall(&mut self, key: &PinKey, told: Told, now: u32) -> Option<Pin>;

    /// Makes a pin; over one that is there if `replace`. False: one is there, or there is no room.
    fn pin(&mut self, key: &PinKey, pin: Pin, replace: bool) -> bool;

    /// Whether this CPU may make one more pin in this second, of `limit`.
    fn may_pin(&mut self, now: u32, limit: u32) -> bool;

    /// Whether this CPU may begin to translate one more flow in this second, of `limit`.
    fn may_begin(&mut self, now: u32, limit: u32) -> bool;

    /// Whether this CPU may note one more first fragment in this second, of `limit`.
    fn may_note(&mut self, now: u32, limit: u32) -> bool;

    /// Whether this CPU may send one more ICMP message in this second, of `limit`, of which the networks of one bucket, below
    /// [`NETWORKS`], get their [`share`].
    fn may_tell(&mut self, now: u32, limit: u32, network: u32) -> bool;

    /// Where the first fragment of a packet went.
    fn piece(&mut self, key: &FragmentKey) -> Option<Fragment>;

    /// Notes where it goes.
    fn note_piece(&mut self, key: &FragmentKey, fragment: Fragment);

    /// Room for what a closer look sees; what is in it is of an earlier packet.
    fn seen(&mut self) -> Option<impl DerefMut<Target = Seen>>;
}

/// A memory off the kernel.
#[cfg(any(test, feature = "host"))]
pub mod host {
    use std::{cell::RefCell, collections::HashMap, vec::Vec};

    use super::*;

    /// Plain collections, and a clock that stands still.
    #[derive(Debug, Default)]
    pub struct Table(RefCell<Inner>, RefCell<Seen>);

    #[derive(Debug, Default)]
    struct Inner {
        now: u32,
        room: usize,
        pins: HashMap<PinKey, Pin>,
        pieces: HashMap<FragmentKey, Fragment>,
        pinned: (u32, u32),
        begun: (u32, u32),
        noted: (u32, u32),
        told: (u32, u32),
        networks: HashMap<u32, (u32, u32)>,
    }

    impl Table {
        /// With room for so many pins.
        #[must_use]
        pub fn new(room: usize) -> Self {
            let inner = Inner {
                room,
                ..Inner::default()
            };
            Self(RefCell::new(inner), RefCell::default())
        }

        /// The same at that second of the clock.
        pub fn at(&self, second: u32) -> &Self {
            self.0.borrow_mut().now = second;
            self
        }

        /// The pins that there are.
        #[must_use]
        pub fn pins(&self) -> Vec<(PinKey, Pin)> {
            let pins = &self.0.borrow().pins;
            pins.iter().map(|(key, pin)| (*key, *pin)).collect()
        }
    }

    fn within((second, count): &mut (u32, u32), now: u32, limit: u32) -> bool {
        if *second != now {
            (*second, *count) = (now, 0);
        }
        *count += 1;
        *count <= limit
    }

    impl Memory for &Table {
        fn now(&mut self) -> u32 {
            self.0.borrow().now
        }

        fn recall(&mut self, key: &PinKey, told: Told, now: u32) -> Option<Pin> {
            let mut inner = self.0.borrow_mut();
            let pin = inner.pins.get_mut(key)?;
            *pin = pin.noted(told, now);
            Some(*pin)
        }

        fn pin(&mut self, key: &PinKey, pin: Pin, replace: bool) -> bool {
            let mut inner = self.0.borrow_mut();
            let is_there = inner.pins.contains_key(key);
            if is_there && !replace || !is_there && inner.pins.len() >= inner.room {
                return false;
            }
            inner.pins.insert(*key, pin);
            true
        }

        fn may_pin(&mut self, now: u32, limit: u32) -> bool {
            within(&mut self.0.borrow_mut().pinned, now, limit)
        }

        fn may_begin(&mut self, now: u32, limit: u32) -> bool {
            within(&mut self.0.borrow_mut().begun, now, limit)
        }

        fn may_note(&mut self, now: u32, limit: u32) -> bool {
            within(&mut self.0.borrow_mut().noted, now, limit)
        }

        fn may_tell(&mut self, now: u32, limit: u32, network: u32) -> bool {
            let mut inner = self.0.borrow_mut();
            within(
                inner.networks.entry(network).or_default(),
                now,
                share(limit),
            ) && within(&mut inner.told, now, limit)
        }

        fn piece(&mut self, key: &FragmentKey) -> Option<Fragment> {
            self.0.borrow().pieces.get(key).copied()
        }

        fn note_piece(&mut self, key: &FragmentKey, fragment: Fragment) {
            self.0.borrow_mut().pieces.insert(*key, fragment);
        }

        fn seen(&mut self) -> Option<impl DerefMut<Target = Seen>> {
            Some(self.1.borrow_mut())
        }
    }
}
