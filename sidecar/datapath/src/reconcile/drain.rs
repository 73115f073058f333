//! The limit of draining backends: what flows they still have when it is over go to who has their slots now.

use std::collections::{BTreeSet, HashMap};

use tollgate_common::{service::Key, slot::Slot, tables::Tables};

use super::{
    record::{Owner, Placed, owner},
    slots,
};
use crate::{model::Model, tables};

/// Since when backends drain, as far as this daemon knows.
#[derive(Debug, Default)]
pub(super) struct Drains(HashMap<Owner, Drain>);

#[derive(Clone, Copy, Debug)]
struct Drain {
    /// The backend's number.
    id: u16,
    /// Second of the monotonic clock.
    since: u32,
    /// Seconds that it may take, if that is limited.
    limit: Option<u32>,
}

impl Drains {
    /// Notes who drains by a model that was applied at second `now`. Those that did before go on counting.
    pub(super) fn note(&mut self, model: &Model, entries: &HashMap<Owner, u16>, now: u32) {
        let mut drains = HashMap::new();
        for service in &model.services {
            let key = tables::key(service.vip);
            let limit = service.drain_limit.map(|limit| limit.as_secs() as u32);
            for backend in service.deliver.backends().iter().filter(|one| one.drain) {
                let owner = owner(service, key, backend.address);
                if let Some(&id) = entries.get(&owner) {
                    let since = self.0.get(&owner).map_or(now, |before| before.since);
                    drains.insert(owner, Drain { id, since, limit });
                }
            }
        }
        self.0 = drains;
    }

    /// Those whose time is over.
    pub(super) fn overdue(&self, now: u32) -> BTreeSet<u16> {
        let is_overdue = |drain: &Drain| {
            let lasts = now.saturating_sub(drain.since);
            drain.limit.is_some_and(|limit| lasts > limit)
        };
        let overdue = self.0.values().filter(|drain| is_overdue(drain));
        overdue.map(|drain| drain.id).collect()
    }
}

/// Gives the slots whose flows from before had one of these backends to `current` alone. Says how many. Their pins are left
/// to be forgotten.
pub(super) fn end(
    tables: &Tables,
    services: &HashMap<Key, Placed>,
    overdue: &BTreeSet<u16>,
) -> usize {
    let mut ended = 0;
    if overdue.is_empty() {
        return ended;
    }
    for placed in services.values() {
        let region = placed.region;
        for index in region.base..region.base + region.len {
            let slot = tables.slot(index);
            if slot.is_moving() && overdue.contains(&slot.stable()) {
                let after = Slot::moving(slot.current(), slot.current());
                tables.slots[index as usize].store(after.0);
                ended += 1;
            }
        }
        slots::bury(tables, placed.previous, overdue);
    }
    ended
}
