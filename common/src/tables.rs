//! The one value of the one array that a packet is looked up in, and that user space writes by `mmap`.

use crate::{
    backend::Backend,
    limits::{BACKENDS, CELLS, LISTENER_NAME, LISTENERS, SHAPES, SLOTS, VLANS},
    pod::{Word32, Word64},
    service::{Cell, Key, Shape},
    slot::Slot,
    tag::Tags,
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
    /// Which of [`Self::shapes`] are in use: 0 or 1 in the low half; in the high one bit 0 if there are any of IPv4, bit 1 if
    /// any of IPv6.
    pub shaped: Word64,
    /// Pins that each CPU may make in a second, and ICMP messages; the flood guards. The former in the low half.
    pub guards: Word64,
    /// Second of Unix time at which these tables were made: what they remember of flows begins there.
    pub made: Word64,
    /// First fragments that each CPU may note in a second; a flood guard too. Beyond, they are sent on, and the later ones
    /// of their packets are lost.
    pub fragments: Word64,
    /// Flows that each CPU may begin to translate in a second; a flood guard too, and not one of those that a handover pauses.
    pub flows: Word64,
    /// Always 0; keeps what follows on cache lines.
    pub reserved: Word64,
    /// What a later version may put here: all that follows stands elsewhere.
    #[cfg(feature = "next")]
    pub next: [Word64; 8],
    /// The service table: cuckoo, one entry a cell, two cells a key.
    pub cells: [Cell; CELLS],
    /// The shapes of services, twice, so that one set is written while the other is in use; of IPv4, then of IPv6, the one
    /// that goes before others first.
    pub shapes: [[[Shape; SHAPES]; 2]; 2],
    /// The backends by number; number 0 is none.
    pub backends: [Backend; BACKENDS],
    /// The pool of slots.
    pub slots: [Word32; SLOTS],
    /// For each slot the second of the monotonic clock at which a packet was last answered otherwise than by `current`.
    /// Written by packets in moving slots; user space begins it with the second at which the slot began to move.
    pub stamps: [Word32; SLOTS],
    /// The [`Life`](crate::backend::Life) of each backend number.
    pub lives: [Word32; BACKENDS],
    /// [`Tags`] by number; number 0 is none.
    pub vlans: [Word64; VLANS],
    /// Whose backend entry which is: by it user space knows numbers again after a restart, and translated flows a backend that was
    /// down.
    pub owners: [Owner; BACKENDS],
    /// The listeners' names by number, padded with zeros. Only user space reads it.
    pub listeners: [[Word64; LISTENER_NAME / 8]; LISTENERS],
}

/// What [`Tables::guards`] says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guards {
    /// Pins that one CPU may make in a second. Beyond, new flows go where those from before go, and need none.
    pub pins: u32,
    /// ICMP messages that one CPU may send in a second (RFC 1812, section 4.3.2.8; RFC 4443, section 2.4).
    pub icmp: u32,
}

impl Guards {
    /// As one word.
    #[must_use]
    pub const fn pack(self) -> u64 {
        self.pins as u64 | (self.icmp as u64) << 32
    }

    /// From one word.
    #[inline(always)]
    #[must_use]
    pub const fn unpack(word: u64) -> Self {
        Self {
            pins: word as u32,
            icmp: (word >> 32) as u32,
        }
    }
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
    /// the family of the backend's address (4 or 6) in bits 40-47; in bits 48-55 how many quarters of its share its checks
    /// take from it, and in bit 55 whether they find it down, whatever it has (user space alone reads both). 0: the entry is
    /// free.
    pub tag: Word64,
    /// First half of the backend's IPv6 address, as loaded.
    pub address_hi: Word64,
    /// Second half of the backend's IPv6 address, or its IPv4 address, as loaded.
    pub address_lo: Word64,
}

const _: () = {
    assert!(size_of::<Owner>() == 40);
    assert!(core::mem::offset_of!(Tables, cells) == if cfg!(feature = "next") { 128 } else { 64 });
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
    /// Empty tables, for a `static`: 36 MiB are too much for a stack.
    #[cfg(not(target_arch = "bpf"))]
    #[must_use]
    pub const fn zero() -> Self {
        Self {
            magic: Word64::zero(),
            layout: Word64::zero(),
            shaped: Word64::zero(),
            guards: Word64::zero(),
            made: Word64::zero(),
            fragments: Word64::zero(),
            flows: Word64::zero(),
            reserved: Word64::zero(),
            #[cfg(feature = "next")]
            next: [const { Word64::zero() }; 8],
            cells: [const { Cell::zero() }; CELLS],
            shapes: [const { [const { [const { Shape::zero() }; SHAPES] }; 2] }; 2],
            backends: [const { Backend::zero() }; BACKENDS],
            slots: [const { Word32::zero() }; SLOTS],
            stamps: [const { Word32::zero() }; SLOTS],
            lives: [const { Word32::zero() }; BACKENDS],
            vlans: [const { Word64::zero() }; VLANS],
            owners: [const { Owner::zero() }; BACKENDS],
            listeners: [const { [const { Word64::zero() }; LISTENER_NAME / 8] }; LISTENERS],
        }
    }

    /// The cell of the service that takes packets to `key`, and its action's number: the address and port itself, else
    /// the first in the order of [`Self::shapes`].
    #[inline(always)]
    #[must_use]
    pub fn find(&self, key: Key) -> Option<(&Cell, u32)> {
        let found = self.find_exactly(key);
        if found.is_some() {
            return found;
        }
        let shaped = self.shaped.load();
        let family = if key.scope().is_v4() { 0 } else { 1 };
        if shaped >> (32 + family) & 1 == 0 {
            return None;
        }
        let index = self.find_shaped(key.hi, key.lo, key.tag, (shaped & 1) as u32);
        // No index is that large, and no `Option` comes back from a function of its own on the BPF target.
        if index >= CELLS as u32 {
            return None;
        }
        let cell = self.cell(index as usize);
        Some((cell, (cell.tag.load() >> 32) as u32))
    }

    /// The index of the cell of a service with any port, or of a prefix; [`u32::MAX`] for none. The key comes in its parts: a
    /// reference to it would have it written to memory for each packet.
    #[inline(never)]
    fn find_shaped(&self, hi: u64, lo: u64, tag: u32, set: u32) -> u32 {
        let key = Key { hi, lo, tag };
        let family = usize::from(!key.scope().is_v4());
        for shape in &self.shapes[set as usize & 1][family] {
            let Some(key) = shape.of(&key) else { continue };
            for index in key.cells() {
                if self.cell(index).action_of(key).is_some() {
                    return index as u32;
                }
            }
        }
        u32::MAX
    }

    /// The cell of exactly this key and its action's number.
    #[inline(always)]
    #[must_use]
    pub fn find_exactly(&self, key: Key) -> Option<(&Cell, u32)> {
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

    /// Whose the backend entry of `number` is.
    #[inline(always)]
    #[must_use]
    pub fn owner(&self, number: u16) -> &Owner {
        &self.owners[number as usize & (BACKENDS - 1)]
    }

    /// The slot at `index` of the pool.
    #[inline(always)]
    #[must_use]
    pub fn slot(&self, index: u32) -> Slot {
        Slot(self.slots[index as usize & (SLOTS - 1)].load())
    }

    /// Notes that in a slot a packet was answered otherwise than by `current`.
    #[inline(always)]
    pub fn stamp(&self, index: u32, second: u32) {
        let stamp = &self.stamps[index as usize & (SLOTS - 1)];
        // Most often it says so already, and a store would take the cache line from other CPUs.
        if stamp.load() != second {
            stamp.store(second);
        }
    }

    /// The life of a backend number.
    #[inline(always)]
    #[must_use]
    pub fn life(&self, number: u16) -> u16 {
        self.lives[number as usize & (BACKENDS - 1)].load() as u16
    }

    /// The tags of a number.
    #[inline(always)]
    #[must_use]
    pub fn tags(&self, vlan: u8) -> Tags {
        Tags(self.vlans[vlan as usize & (VLANS - 1)].load())
    }

    #[inline(always)]
    fn cell(&self, index: usize) -> &Cell {
        &self.cells[index & (CELLS - 1)]
    }
}
