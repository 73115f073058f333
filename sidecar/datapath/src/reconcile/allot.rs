//! What is given out: backend numbers, regions of slots, listener numbers.

use std::collections::{BTreeMap, BTreeSet};

use tollgate_common::{
    limits::{BACKENDS, LISTENER_NAME, LISTENERS, SERVICES, SLOTS},
    pod::Word64,
    service::Region,
    tables::Tables,
};

use crate::model::{Deliver, Model};

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

/// The services' own numbers. Not more than there are services, so there is always one.
pub(super) struct ServiceNumbers {
    taken: BTreeSet<u16>,
    next: u16,
}

impl ServiceNumbers {
    pub(super) fn new(taken: impl Iterator<Item = u16>) -> Self {
        Self {
            taken: taken.collect(),
            next: 1,
        }
    }

    pub(super) fn take(&mut self) -> Option<u16> {
        while usize::from(self.next) <= SERVICES {
            let number = self.next;
            self.next += 1;
            if self.taken.insert(number) {
                return Some(number);
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

    pub(super) fn take(&mut self, len: u32, by_client: bool) -> Option<Region> {
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
        Some(Region {
            base,
            len,
            by_client,
        })
    }
}

/// The listeners' numbers. A number whose listener went is free.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Listeners(BTreeMap<u32, String>);

impl Listeners {
    pub(super) fn read(tables: &Tables) -> Self {
        let named = |(number, words): (usize, &[Word64; LISTENER_NAME / 8])| {
            let bytes: Vec<u8> = words
                .iter()
                .flat_map(|word| word.load().to_le_bytes())
                .take_while(|b| *b != 0)
                .collect();
            let name = String::from_utf8_lossy(&bytes).into_owned();
            (!name.is_empty()).then_some((number as u32, name))
        };
        Self(
            tables
                .listeners
                .iter()
                .enumerate()
                .filter_map(named)
                .collect(),
        )
    }

    /// The number of a listener, a new one if it has none yet; `None`: all are taken.
    pub(super) fn number(&mut self, name: &str) -> Option<u32> {
        if let Some((number, _)) = self.0.iter().find(|(_, known)| *known == name) {
            return Some(*number);
        }
        if name.len() > LISTENER_NAME || name.is_empty() {
            return None;
        }
        let free = (0..LISTENERS as u32).find(|number| !self.0.contains_key(number))?;
        self.0.insert(free, name.to_owned());
        Some(free)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.0.values().any(|known| known == name)
    }

    /// Frees the numbers of listeners that the model does not name, and says which.
    pub(super) fn keep(&mut self, model: &Model) -> Vec<u32> {
        let named: BTreeSet<&str> = model
            .services
            .iter()
            .filter_map(|service| match &service.deliver {
                Deliver::Listener(name) => Some(name.as_str()),
                Deliver::Ipip(_) | Deliver::Gue(_) | Deliver::L2(_) | Deliver::Nat(_) => None,
            })
            .collect();
        let (kept, gone): (BTreeMap<_, _>, BTreeMap<_, _>) = std::mem::take(&mut self.0)
            .into_iter()
            .partition(|(_, name)| named.contains(name.as_str()));
        self.0 = kept;
        gone.into_keys().collect()
    }

    pub(super) fn write(&self, tables: &Tables) {
        for (number, words) in (0..).zip(&tables.listeners) {
            let name = self.0.get(&number).map_or("", String::as_str);
            let mut bytes = [0; LISTENER_NAME];
            bytes[..name.len()].copy_from_slice(name.as_bytes());
            for (word, chunk) in words.iter().zip(bytes.as_chunks::<8>().0) {
                word.store(u64::from_le_bytes(*chunk));
            }
        }
    }
}
