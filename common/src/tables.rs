//! The one value of the one array that a packet is looked up in, and that user space writes by `mmap`.

use crate::{
    backend::Backend,
    limits::{BACKENDS, CELLS, LISTENER_NAME, LISTENERS, SLOTS},
    pod::{Word32, Word64},
    service::{Cell, Key},
    slot::Slot,
};

/// What the first word of [`Tables`] reads: `tollgate` in ASCII.
pub const MAGIC: u64 = u64::from_le_bytes(*b"tollgate");

/// Services, backends and slots: one inlined map lookup reaches all of them.
#[repr(C)]
#[derive(Debug)]
pub struct Tables {
    /// [`MAGIC`], once user space has filled the header.
    pub magic: Word64,
    /// [`limits::LAYOUT`](crate::limits::LAYOUT) of whoever made the map.
    pub layout: Word64,
    /// Always 0; keeps what follows on cache lines.
    pub reserved: [Word64; 6],
    /// The service table: cuckoo, one entry a cell, two cells a key.
    pub cells: [Cell; CELLS],
    /// The backends by number; number 0 is none.
    pub backends: [Backend; BACKENDS],
    /// The pool of slots.
    pub slots: [Word32; SLOTS],
    /// Whose backend entry which is. Only user space reads it, to know numbers again after a restart.
    pub owners: [Owner; BACKENDS],
    /// The listeners' names by number, padded with zeros. Only user space reads it.
    pub listeners: [[Word64; LISTENER_NAME / 8]; LISTENERS],
}

/// Whose a backend entry is.
#[repr(C)]
#[derive(Debug)]
pub struct Owner {
    /// [`Key::hi`] of the service.
    pub hi: Word64,
    /// [`Key::lo`] of the service.
    pub lo: Word64,
    /// [`Key::tag`] of the service in the low half; the entry's kind in bits 32-39 (0: it counts a steered service);
    /// the family of the backend's address (4 or 6) in bits 40-47. 0: the entry is free.
    pub tag: Word64,
    /// First half of the backend's IPv6 address, as loaded.
    pub address_hi: Word64,
    /// Second half of the backend's IPv6 address, or its IPv4 address, as loaded.
    pub address_lo: Word64,
}

const _: () = {
    assert!(size_of::<Owner>() == 40);
    assert!(core::mem::offset_of!(Tables, cells) == 64);
    assert!(size_of::<Tables>().is_multiple_of(8));
    // The verifier follows constant offsets into a map value up to 2^29.
    assert!(size_of::<Tables>() < 1 << 29);
};

impl Owner {
    /// A free entry's.
    #[cfg(not(target_arch = "bpf"))]
    #[must_use]
    pub const fn zero() -> Self {
        Self {
            hi: Word64::zero(),
            lo: Word64::zero(),
            tag: Word64::zero(),
            address_hi: Word64::zero(),
            address_lo: Word64::zero(),
        }
    }
}

impl Tables {
    /// Empty tables, for a `static`: 19 MiB are too much for a stack.
    #[cfg(not(target_arch = "bpf"))]
    #[must_use]
    pub const fn zero() -> Self {
        Self {
            magic: Word64::zero(),
            layout: Word64::zero(),
            reserved: [const { Word64::zero() }; 6],
            cells: [const { Cell::zero() }; CELLS],
            backends: [const { Backend::zero() }; BACKENDS],
            slots: [const { Word32::zero() }; SLOTS],
            owners: [const { Owner::zero() }; BACKENDS],
            listeners: [const { [const { Word64::zero() }; LISTENER_NAME / 8] }; LISTENERS],
        }
    }

    /// The cell of `key` and its action's number.
    #[inline(always)]
    #[must_use]
    pub fn find(&self, key: Key) -> Option<(&Cell, u32)> {
        let [first, second] = key.cells();
        let cell = self.cell(first);
        if let Some(action) = cell.action_of(key) {
            return Some((cell, action));
        }
        let cell = self.cell(second);
        cell.action_of(key).map(|action| (cell, action))
    }

    /// The backend entry of `number`; the mask stands right before the access because the verifier forgets it else.
    #[inline(always)]
    #[must_use]
    pub fn backend(&self, number: u16) -> &Backend {
        &self.backends[number as usize & (BACKENDS - 1)]
    }

    /// The slot at `index` of the pool.
    #[inline(always)]
    #[must_use]
    pub fn slot(&self, index: u32) -> Slot {
        Slot(self.slots[index as usize & (SLOTS - 1)].load())
    }

    #[inline(always)]
    fn cell(&self, index: usize) -> &Cell {
        &self.cells[index & (CELLS - 1)]
    }
}
