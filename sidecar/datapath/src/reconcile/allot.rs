//! What is given out: backend numbers, regions of slots, listener numbers.

use std::collections::{BTreeMap, BTreeSet};

use tollgate_common::{
    limits::{BACKENDS, LISTENER_NAME, LISTENERS, SLOTS},
    service::Region,
    tables::Tables,
};

/// The numbers of backend entries that are free.
pub(super) struct Numbers {
    taken: BTreeSet<u16>,
    next: u16,
}

impl Numbers {
    pub(super) fn new(taken: impl Iterator<Item = u16>) -> Self {
        Self {
            taken: taken.collect(),
            next: 1,
        }
    }

    pub(super) fn take(&mut self) -> Option<u16> {
        while usize::from(self.next) < BACKENDS {
            let id = self.next;
            self.next += 1;
            if self.taken.insert(id) {
                return Some(id);
            }
        }
        None
    }
}

/// The pool of slots: first fit.
pub(super) struct Pool {
    taken: BTreeMap<u32, u32>,
}

impl Pool {
    pub(super) fn new(taken: impl Iterator<Item = Region>) -> Self {
        // Slot 0 says "none" to services without backends.
        let mut pool = Self {
            taken: BTreeMap::from([(0, 1)]),
        };
        pool.taken.extend(
            taken
                .filter(|region| region.len > 0)
                .map(|r| (r.base, r.len)),
        );
        pool
    }

    pub(super) fn take(&mut self, len: u32) -> Option<Region> {
        let mut base = 0;
        for (&start, &taken) in &self.taken {
            if start - base >= len {
                break;
            }
            base = start + taken;
        }
        if base + len > SLOTS as u32 {
            return None;
        }
        self.taken.insert(base, len);
        Some(Region { base, len })
    }
}

/// The listeners' numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Listeners(Vec<String>);

impl Listeners {
    pub(super) fn read(tables: &Tables) -> Self {
        let names = tables.listeners.iter().map(|words| {
            let bytes: Vec<u8> = words
                .iter()
                .flat_map(|word| word.load().to_le_bytes())
                .take_while(|b| *b != 0)
                .collect();
            String::from_utf8_lossy(&bytes).into_owned()
        });
        Self(names.take_while(|name| !name.is_empty()).collect())
    }

    /// The number of a listener, a new one if it has none yet; `None`: all are taken.
    pub(super) fn number(&mut self, name: &str) -> Option<u32> {
        if let Some(number) = self.0.iter().position(|known| known == name) {
            return Some(number as u32);
        }
        if self.0.len() == LISTENERS || name.len() > LISTENER_NAME || name.is_empty() {
            return None;
        }
        self.0.push(name.to_owned());
        Some(self.0.len() as u32 - 1)
    }

    pub(super) fn write(&self, tables: &Tables) {
        for (name, words) in self.0.iter().zip(&tables.listeners) {
            let mut bytes = [0; LISTENER_NAME];
            bytes[..name.len()].copy_from_slice(name.as_bytes());
            for (word, chunk) in words.iter().zip(bytes.as_chunks::<8>().0) {
                word.store(u64::from_le_bytes(*chunk));
            }
        }
    }
}
