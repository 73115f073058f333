//! Translations and changes off the kernel.

use std::{cell::RefCell, collections::HashMap, vec::Vec};

use tollgate_common::{
    checksum,
    nat::{Translation, Tuple},
    pin::Told,
};

use super::{Added, Patch, Translations, rewrite::Covers};
use crate::packet::{Packet as _, host::Buffer};

/// A plain table.
#[derive(Debug, Default)]
pub struct Table {
    entries: RefCell<HashMap<Tuple, Translation>>,
    room: usize,
}

impl Table {
    /// With room for so many translations.
    #[must_use]
    pub fn new(room: usize) -> Self {
        Self {
            room,
            ..Self::default()
        }
    }

    /// What is there.
    #[must_use]
    pub fn all(&self) -> Vec<(Tuple, Translation)> {
        self.entries
            .borrow()
            .iter()
            .map(|(key, value)| (*key, *value))
            .collect()
    }
}

impl Translations for &Table {
    fn recall(self, key: &Tuple, told: Told, now: u32, into: &mut Translation) -> bool {
        let mut entries = self.entries.borrow_mut();
        let Some(entry) = entries.get_mut(key) else {
            return false;
        };
        if told != Told::ERROR {
            entry.flags = entry.flags_after(key.proto(), told.tcp_flags());
            entry.seen = now;
        }
        *into = *entry;
        true
    }

    fn add(self, key: &Tuple, translation: &Translation) -> Added {
        let mut entries = self.entries.borrow_mut();
        if entries.contains_key(key) {
            Added::Taken
        } else if entries.len() >= self.room {
            Added::Full
        } else {
            entries.insert(*key, *translation);
            Added::Yes
        }
    }

    fn remove(self, key: &Tuple) {
        self.entries.borrow_mut().remove(key);
    }
}

impl Patch for &mut Buffer {
    fn store<const N: usize>(&mut self, at: usize, bytes: &[u8; N]) -> bool {
        self.write(at, bytes)
    }

    fn header_sum(&mut self, at: usize, difference: u32) -> bool {
        self.sum(at, difference, Covers::Bytes { udp: false })
    }

    fn sum(&mut self, at: usize, difference: u32, covers: Covers) -> bool {
        let Some(before) = self.at::<2>(at).map(|bytes| u16::from_le_bytes(*bytes)) else {
            return false;
        };
        let (Covers::Addresses { udp, .. } | Covers::Bytes { udp }) = covers;
        if udp && before == 0 {
            return true;
        }
        // As the kernel has it (csum_replace_by_diff in net/core/utils.c).
        let after = !checksum::fold(u64::from(!before) + u64::from(difference));
        let after = if udp && after == 0 { 0xffff } else { after };
        self.write(at, &after.to_le_bytes())
    }
}
