//! From what the tables say to what they shall say, in an order in which no packet ever sees half of it.
//!
//! First what nothing points at yet (backend entries, regions of slots, moved cells), then what points (slots, the
//! services' words), last what is not wanted any more; and numbers are given anew only after [`Effects::grace`].

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::IpAddr,
};

use tollgate_common::{
    limits::{BACKENDS, LISTENERS, SLOTS},
    service::{Action, Key, Region},
    tables::Tables,
};

use crate::{
    model::{Deliver, Model, ModelError, Service},
    tables::{self, cuckoo, maglev},
};

mod allot;
mod record;
mod write;

use allot::{Listeners, Numbers, Pool};
pub use record::Hops;
pub(crate) use record::{Owner, owners};
use record::{Placed, kind_of, owner};
pub use write::Effects;
use write::{copy_cell, next_hop, write_cell, write_entries, write_owner, write_slots};

/// What had to be done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Services now.
    pub services: usize,
    /// Backend entries that are new.
    pub added: usize,
    /// Backend entries that went.
    pub removed: usize,
    /// Slots that name another backend than before, those of new tables not counted.
    pub moved: usize,
}

/// Why nothing was done: everything is as it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// The model itself.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// No number is left.
    #[error("all {BACKENDS} backend entries are taken; move services to another node")]
    NoEntry,
    /// No room is left in the pool.
    #[error(
        "service `{0}`: no {1} slots in one piece are left of {SLOTS} ({table}); let services have fewer backends, or move some to another node",
        table = maglev::SIZES
    )]
    NoSlots(String, u32),
    /// No cell.
    #[error("service `{0}`: the service table has no place for {1}; move it to another node")]
    NoCell(String, crate::model::Vip),
    /// No number is left.
    #[error(
        "all {LISTENERS} listener numbers are taken, and `{0}` has none; take listeners out first, then put this one in"
    )]
    NoListener(String),
}

/// What is known about the tables, without reading them again.
#[derive(Debug, Default)]
pub struct State {
    cuckoo: cuckoo::Cuckoo,
    /// Where services stand is in `cuckoo`; here is what else their cells say.
    services: HashMap<Key, Placed>,
    entries: HashMap<Owner, u16>,
    listeners: Listeners,
    /// Whether the entries are those of a model, not a predecessor's.
    applied: bool,
}

/// What shall be, worked out before anything is written.
struct Plan {
    services: BTreeMap<(u64, u64, u32), (Key, Placed)>,
    /// New tables: where, and what the slots say.
    slots: Vec<(Region, Vec<u16>)>,
    fresh: Vec<(Owner, u16)>,
    stale: Vec<(Owner, u16)>,
    cells: Vec<(Vec<cuckoo::Move>, Key, usize)>,
    cuckoo: cuckoo::Cuckoo,
    listeners: Listeners,
}

impl State {
    /// Reads back what tables of this layout say, ours or our predecessor's.
    #[must_use]
    pub fn read(tables: &Tables) -> Self {
        let mut state = Self {
            listeners: Listeners::read(tables),
            ..Self::default()
        };
        for (index, cell) in tables.cells.iter().enumerate() {
            let tag = cell.tag.load();
            let key = Key {
                hi: cell.hi.load(),
                lo: cell.lo.load(),
                tag: tag as u32,
            };
            let Some(action) = Action::from_number((tag >> 32) as u32) else {
                continue;
            };
            // A predecessor that died while it moved an entry left it twice; the second is taken out.
            if !key.cells().contains(&index) || state.cuckoo.find(key).is_some() {
                cell.tag.store(0);
                continue;
            }
            state.cuckoo.note(index, key);
            let region = Region::unpack(cell.region.load());
            state.services.insert(
                key,
                Placed {
                    action,
                    // What the action does not read may be left from another one.
                    region: match action {
                        Action::Forward => region,
                        Action::Steer | Action::Fragments => Region::default(),
                    },
                    steer: match action {
                        Action::Steer => cell.steer.load(),
                        Action::Forward | Action::Fragments => 0,
                    },
                },
            );
        }
        for (id, owner) in tables.owners.iter().enumerate().skip(1) {
            let tag = owner.tag.load();
            if tag == 0 {
                continue;
            }
            let service = Key {
                hi: owner.hi.load(),
                lo: owner.lo.load(),
                tag: tag as u32,
            };
            let address = tables::address(
                owner.address_hi.load(),
                owner.address_lo.load(),
                (tag >> 40) as u8,
            );
            let backend = address.zip(kind_of((tag >> 32) as u8));
            state.entries.insert(Owner { service, backend }, id as u16);
        }
        state
    }

    /// Makes the tables say what the model means. Backends without a next hop get entries that drop.
    ///
    /// # Errors
    /// If the model does not fit; nothing has changed then.
    pub fn apply(
        &mut self,
        tables: &Tables,
        model: &Model,
        hops: &Hops,
        effects: &mut impl Effects,
    ) -> Result<Applied, PlanError> {
        let plan = self.plan(model)?;
        let kept: Vec<_> = self
            .entries
            .iter()
            .filter(|(owner, _)| !plan.stale.iter().any(|(stale, _)| stale == *owner))
            .map(|(owner, id)| (*owner, *id))
            .collect();
        for (owner, id) in &plan.fresh {
            effects.reset(*id);
            write_owner(tables, owner, *id);
        }
        let each = plan
            .fresh
            .iter()
            .chain(&kept)
            .map(|(owner, id)| (owner, id));
        write_entries(tables, each, hops, effects);
        plan.listeners.write(tables);

        let live: HashSet<u32> = self
            .services
            .values()
            .map(|placed| placed.region.base)
            .collect();
        let mut moved = 0;
        for (region, ids) in &plan.slots {
            let changed = write_slots(tables, *region, ids);
            moved += if live.contains(&region.base) {
                changed
            } else {
                0
            };
        }
        for (moves, key, cell) in &plan.cells {
            for step in moves {
                copy_cell(&tables.cells[step.from], &tables.cells[step.to]);
                // Who has looked at the new place already still finds it at the old one.
                effects.grace();
                tables.cells[step.from].tag.store(0);
                effects.grace();
            }
            if let Some((_, placed)) = plan.services.get(&order(*key)) {
                write_cell(&tables.cells[*cell], *key, placed, true);
            }
        }
        for (key, placed) in plan.services.values() {
            if self
                .services
                .get(key)
                .is_some_and(|before| before != placed)
                && let Some(cell) = plan.cuckoo.find(*key)
            {
                write_cell(&tables.cells[cell], *key, placed, false);
            }
        }

        let mut cuckoo = plan.cuckoo;
        for key in self.services.keys() {
            if !plan.services.contains_key(&order(*key))
                && let Some(cell) = cuckoo.remove(*key)
            {
                tables.cells[cell].tag.store(0);
            }
        }
        effects.grace(); // numbers, cells and regions that went may be given anew after this
        for (owner, id) in &plan.stale {
            tables.owners[usize::from(*id)].tag.store(0);
            tables.backends[usize::from(*id)].out.store(0);
            self.entries.remove(owner);
        }
        let applied = Applied {
            services: model.services.len(),
            added: plan.fresh.len(),
            removed: plan.stale.len(),
            moved,
        };
        self.entries.extend(plan.fresh);
        self.services = plan.services.into_values().collect();
        self.cuckoo = cuckoo;
        self.listeners = plan.listeners;
        for number in self.listeners.keep(model) {
            effects.forget(number);
        }
        self.listeners.write(tables);
        self.applied = true;
        Ok(applied)
    }

    /// Whether the model fits the tables beside what stands there; nothing is written.
    ///
    /// # Errors
    /// As of [`apply`](Self::apply).
    pub fn fits(&self, model: &Model) -> Result<(), PlanError> {
        self.plan(model).map(drop)
    }

    /// Writes changed next hops into the entries. Before the first model does nothing: nobody has looked for the next
    /// hops of entries that a predecessor left.
    pub fn refresh(&self, tables: &Tables, hops: &Hops, effects: &mut impl Effects) {
        if self.applied {
            write_entries(tables, &self.entries, hops, effects);
        }
    }

    /// Whether a model was applied.
    #[must_use]
    pub const fn is_applied(&self) -> bool {
        self.applied
    }

    /// The next hops that the entries in use say.
    #[must_use]
    pub fn hops(&self, tables: &Tables) -> Hops {
        let hop = |(owner, id): (&Owner, &u16)| {
            let (address, _) = owner.backend?;
            Some((address, next_hop(&tables.backends[usize::from(*id)])?))
        };
        self.entries.iter().filter_map(hop).collect()
    }

    /// Whether a listener has a number.
    #[must_use]
    pub fn has_listener(&self, name: &str) -> bool {
        self.listeners.has(name)
    }

    /// The number of a listener; a new one for a name that has none yet.
    ///
    /// # Errors
    /// [`PlanError::NoListener`].
    pub fn listener(&mut self, tables: &Tables, name: &str) -> Result<u32, PlanError> {
        let number = self
            .listeners
            .number(name)
            .ok_or_else(|| PlanError::NoListener(name.to_owned()))?;
        self.listeners.write(tables);
        Ok(number)
    }

    /// The entry of a service's backend, or the one that counts a steered service.
    pub(crate) fn entry(&self, owner: &Owner) -> Option<u16> {
        self.entries.get(owner).copied()
    }

    fn plan(&self, model: &Model) -> Result<Plan, PlanError> {
        model.check()?;
        let mut plan = Plan {
            services: BTreeMap::new(),
            slots: Vec::new(),
            fresh: Vec::new(),
            stale: Vec::new(),
            cells: Vec::new(),
            cuckoo: self.cuckoo.clone(),
            listeners: self.listeners.clone(),
        };
        let mut numbers = Numbers::new(self.entries.values().copied());
        let mut pool = Pool::new(self.services.values().map(|placed| placed.region));
        let mut wanted = HashSet::new();
        for service in &model.services {
            let key = tables::key(service.vip);
            let mut ids = HashMap::new();
            for owner in owners(service) {
                let id = match self.entries.get(&owner) {
                    Some(id) => *id,
                    None => {
                        let id = numbers.take().ok_or(PlanError::NoEntry)?;
                        plan.fresh.push((owner, id));
                        id
                    }
                };
                wanted.insert(owner);
                ids.insert(owner, id);
            }
            let before = self.services.get(&key).map(|placed| placed.region);
            let placed = plan.service(service, key, before, &ids, &mut pool)?;
            plan.place(service, key, placed)?;
        }
        plan.mark_addresses(model)?;
        plan.stale = self
            .entries
            .iter()
            .filter(|(owner, _)| !wanted.contains(*owner))
            .map(|(owner, id)| (*owner, *id))
            .collect();
        Ok(plan)
    }
}

impl Plan {
    fn service(
        &mut self,
        service: &Service,
        key: Key,
        before: Option<Region>,
        ids: &HashMap<Owner, u16>,
        pool: &mut Pool,
    ) -> Result<Placed, PlanError> {
        if let Deliver::Listener(name) = &service.deliver {
            let number = self
                .listeners
                .number(name)
                .ok_or_else(|| PlanError::NoListener(name.clone()))?;
            let counter = ids
                .get(&Owner {
                    service: key,
                    backend: None,
                })
                .copied()
                .unwrap_or(0);
            return Ok(Placed {
                action: Action::Steer,
                region: Region::default(),
                steer: u64::from(counter) | u64::from(number) << 32,
            });
        }
        let len = maglev::slots_for(service.deliver.backends().len());
        let table = maglev::table(&members(service, key, ids), len);
        let region = if table.is_empty() {
            Region::default()
        } else {
            let region = match before {
                Some(region) if region.len == len => region,
                _ => pool
                    .take(len)
                    .ok_or_else(|| PlanError::NoSlots(service.name.clone(), len))?,
            };
            self.slots.push((region, table));
            region
        };
        Ok(Placed {
            action: Action::Forward,
            region,
            steer: 0,
        })
    }

    fn place(&mut self, service: &Service, key: Key, placed: Placed) -> Result<(), PlanError> {
        if self.cuckoo.find(key).is_none() {
            let (moves, cell) = self
                .cuckoo
                .insert(key)
                .map_err(|cuckoo::Full| PlanError::NoCell(service.name.clone(), service.vip))?;
            self.cells.push((moves, key, cell));
        }
        self.services.insert(order(key), (key, placed));
        Ok(())
    }

    /// The addresses whose fragments cannot be for the stack.
    fn mark_addresses(&mut self, model: &Model) -> Result<(), PlanError> {
        let steered: HashSet<IpAddr> = model
            .services
            .iter()
            .filter(|service| matches!(service.deliver, Deliver::Listener(_)))
            .map(|service| service.vip.ip)
            .collect();
        for service in &model.services {
            if !steered.contains(&service.vip.ip) {
                let placed = Placed {
                    action: Action::Fragments,
                    region: Region::default(),
                    steer: 0,
                };
                self.place(service, tables::key(service.vip).address(), placed)?;
            }
        }
        Ok(())
    }
}

fn members(service: &Service, key: Key, ids: &HashMap<Owner, u16>) -> Vec<maglev::Member> {
    service
        .deliver
        .backends()
        .iter()
        .filter(|backend| !backend.drain)
        .filter_map(|backend| {
            let id = *ids.get(&owner(service, key, backend.address))?;
            Some(maglev::Member {
                address: backend.address,
                weight: backend.weight,
                id,
            })
        })
        .collect()
}

/// Keys in an order that does not change from run to run.
const fn order(key: Key) -> (u64, u64, u32) {
    (key.hi, key.lo, key.tag)
}

#[cfg(test)]
mod tests;
