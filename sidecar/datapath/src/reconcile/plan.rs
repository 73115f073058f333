//! What has to become of the tables for a model, worked out before anything is written: who gets which number, slots, cells.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;

use tollgate_common::service::{About, Action, Key, Region, Scope};

use super::{
    allot::{Listeners, Numbers, Pool, ServiceNumbers},
    error::PlanError,
    record::{Owner, Placed, owner, owners},
    shapes,
};
use crate::{
    model::{Affinity, Deliver, Model, Service, Share, Vip},
    tables::{self, cuckoo, maglev},
};

/// What stands in the tables.
#[derive(Clone, Copy)]
pub(super) struct Stands<'a> {
    pub(super) services: &'a HashMap<Key, Placed>,
    pub(super) entries: &'a HashMap<Owner, u16>,
    pub(super) cuckoo: &'a cuckoo::Cuckoo,
    pub(super) listeners: &'a Listeners,
}

/// What shall be, worked out before anything is written.
pub(super) struct Plan {
    pub(super) services: BTreeMap<(u64, u64, u32), (Key, Placed)>,
    /// What the slots of services shall say.
    pub(super) slots: Vec<(Key, Placed, Vec<u16>)>,
    pub(super) shapes: [Vec<(Scope, bool)>; 2],
    pub(super) fresh: Vec<(Owner, u16)>,
    pub(super) stale: Vec<(Owner, u16)>,
    /// What each backend's checks leave it. Of one that drains no less than a quarter: it takes no flows anyway, and what it has
    /// is not to end by a check.
    pub(super) shares: Vec<(u16, Share)>,
    pub(super) cells: Vec<(Vec<cuckoo::Move>, Key, usize)>,
    pub(super) cuckoo: cuckoo::Cuckoo,
    pub(super) listeners: Listeners,
}

impl Plan {
    /// Works out what has to become of what stands for a model.
    pub(super) fn new(stands: Stands<'_>, model: &Model) -> Result<Self, PlanError> {
        model.check()?;
        let mut plan = Self {
            services: BTreeMap::new(),
            slots: Vec::new(),
            shapes: shapes::of(model)?,
            fresh: Vec::new(),
            stale: Vec::new(),
            shares: Vec::new(),
            cells: Vec::new(),
            cuckoo: stands.cuckoo.clone(),
            listeners: stands.listeners.clone(),
        };
        let mut numbers = Numbers::new(stands.entries.values().copied());
        let mut pool = Pool::new(stands.services.values().flat_map(Placed::regions));
        let keys: HashSet<Key> = model
            .services
            .iter()
            .map(|one| tables::key(one.vip))
            .collect();
        let kept = stands
            .services
            .iter()
            .filter(|(key, _)| keys.contains(*key));
        let mut services = ServiceNumbers::new(kept.map(|(_, placed)| placed.about.number));
        let mut wanted = HashSet::new();
        for service in &model.services {
            let key = tables::key(service.vip);
            let mut ids = HashMap::new();
            for owner in owners(service) {
                let id = match stands.entries.get(&owner) {
                    Some(id) => *id,
                    None => {
                        let id = numbers.take().ok_or(PlanError::NoEntry)?;
                        plan.fresh.push((owner, id));
                        id
                    }
                };
                if let Some((address, _)) = owner.backend {
                    plan.shares.push((id, left_to(service, address)));
                }
                wanted.insert(owner);
                ids.insert(owner, id);
            }
            let before = stands.services.get(&key);
            let about = About {
                number: match before {
                    Some(placed) => placed.about.number,
                    None => services.take().unwrap_or_default(),
                },
                settled_udp: before.map_or(0, |placed| placed.about.settled_udp),
            };
            let placed = plan.service(service, (key, about), before, &ids, &mut pool)?;
            plan.place(service, key, placed)?;
        }
        plan.mark_addresses(model)?;
        plan.stale = stands
            .entries
            .iter()
            .filter(|(owner, _)| !wanted.contains(*owner))
            .map(|(owner, id)| (*owner, *id))
            .collect();
        Ok(plan)
    }

    fn service(
        &mut self,
        service: &Service,
        (key, about): (Key, About),
        before: Option<&Placed>,
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
                previous: Region::default(),
                about,
            });
        }
        let len = maglev::slots_for(service.deliver.backends().len());
        let mut table = maglev::table(&members(service, key, ids), len);
        // Everybody drains: flows from before go on, new ones are refused.
        table.resize(len as usize, 0);
        let before = before.filter(|placed| placed.action.has_slots());
        let by_client = service.affinity == Affinity::Client;
        let (region, previous) = match before {
            _ if len == 0 => (Region::default(), Region::default()),
            Some(placed) if (placed.region.len, placed.region.by_client) == (len, by_client) => {
                (placed.region, placed.previous)
            }
            // Another number of slots, or another way to name one: flows from before are told by the table that they had.
            _ => {
                let region = pool
                    .take(len, by_client)
                    .ok_or_else(|| PlanError::NoSlots(service.name.clone(), len))?;
                (
                    region,
                    before.map(|placed| placed.region).unwrap_or_default(),
                )
            }
        };
        let placed = Placed {
            action: match service.deliver {
                Deliver::Nat(_) => Action::Translate,
                _ => Action::Forward,
            },
            region,
            steer: 0,
            previous,
            about,
        };
        if len > 0 {
            self.slots.push((key, placed, table));
        }
        Ok(placed)
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
        let steered: Vec<Vip> = model
            .services
            .iter()
            .filter(|service| matches!(service.deliver, Deliver::Listener(_)))
            .map(|service| service.vip)
            .collect();
        for service in &model.services {
            if !steered.iter().any(|vip| vip.shares_addresses(service.vip)) {
                let placed = Placed {
                    action: Action::Fragments,
                    region: Region::default(),
                    steer: 0,
                    previous: Region::default(),
                    about: About::default(),
                };
                self.place(service, tables::key(service.vip).address(), placed)?;
            }
        }
        Ok(())
    }
}

/// What stands of a backend's share in the tables.
fn left_to(service: &Service, address: IpAddr) -> Share {
    let share = service.share(address);
    let mut backends = service.deliver.backends().iter();
    let drains = backends.any(|one| one.address == address && one.drain);
    Share {
        quarters: share.quarters.max(drains.into()),
        ..share
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
            let quarters = service.quarters(backend.address);
            // A table follows from what weights are to each other: where all have four quarters it is that of the weights.
            (quarters > 0).then_some(maglev::Member {
                address: backend.address,
                weight: backend.weight * u32::from(quarters),
                id,
            })
        })
        .collect()
}

/// Keys in an order that does not change from run to run.
pub(super) const fn order(key: Key) -> (u64, u64, u32) {
    (key.hi, key.lo, key.tag)
}
