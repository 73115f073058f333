//! From what the tables say to what they shall say, in an order in which no packet ever sees half of it.
//!
//! First what nothing points at yet (backend entries, regions of slots, moved cells), then what points (slots, the
//! services' words), last what is not wanted any more; and numbers are given anew only after [`Effects::grace`].

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    net::IpAddr,
};

use tollgate_common::{
    backend::Kind,
    flow,
    limits::{BACKENDS, LISTENER_NAME, LISTENERS, SLOTS},
    service::{Action, Cell, Key, Region},
    slot::Slot,
    tables::Tables,
};

use crate::{
    model::{Deliver, Model, ModelError, Service},
    tables::{self, NextHop, cuckoo, maglev},
};

/// The next hops that are known, by backend.
pub type Hops = HashMap<IpAddr, NextHop>;

/// Whose a backend entry is. A backend that is reached in another way is another entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Owner {
    /// The service.
    pub(crate) service: Key,
    /// The backend and the way to it; `None`: the entry counts a steered service.
    pub(crate) backend: Option<(IpAddr, Kind)>,
}

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
        "service `{0}`: no {1} slots in one piece are left of {SLOTS}; move services with many backends to another node"
    )]
    NoSlots(String, u32),
    /// No cell.
    #[error("service `{0}`: the service table has no place for {1}; move it to another node")]
    NoCell(String, crate::model::Vip),
    /// No number is left.
    #[error("all {LISTENERS} listener numbers are taken; `{0}` has none")]
    NoListener(String),
}

/// What the caller does between and beside the writes.
pub trait Effects {
    /// Lets a counter start from zero.
    fn reset(&mut self, entry: u16);
    /// Returns when no packet is being processed that may have seen the tables as they were.
    fn grace(&mut self);
}

/// What is known about the tables, without reading them again.
#[derive(Debug, Default)]
pub struct State {
    cuckoo: cuckoo::Cuckoo,
    /// Where services stand is in `cuckoo`; here is what else their cells say.
    services: HashMap<Key, Placed>,
    entries: HashMap<Owner, u16>,
    listeners: Listeners,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Placed {
    action: Action,
    region: Region,
    /// [`Cell::steer`].
    steer: u64,
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
                    region,
                    steer: cell.steer.load(),
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
        for (owner, id) in plan.fresh.iter().chain(&kept) {
            write_entry(tables, owner, *id, hops, effects);
        }
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
        Ok(applied)
    }

    /// Whether the model fits the tables beside what stands there; nothing is written.
    ///
    /// # Errors
    /// As of [`apply`](Self::apply).
    pub fn fits(&self, model: &Model) -> Result<(), PlanError> {
        self.plan(model).map(drop)
    }

    /// Writes changed next hops into the entries.
    pub fn refresh(&self, tables: &Tables, hops: &Hops, effects: &mut impl Effects) {
        for (owner, id) in &self.entries {
            write_entry(tables, owner, *id, hops, effects);
        }
    }

    /// The number of a listener; a new one for a name that has none yet.
    ///
    /// # Errors
    /// [`PlanError::NoListener`].
    pub fn listener(&mut self, tables: &Tables, name: &str) -> Result<u32, PlanError> {
        let number = self.listeners.number(name)?;
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
            let number = self.listeners.number(name)?;
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

/// The entries that a service needs.
pub(crate) fn owners(service: &Service) -> Vec<Owner> {
    let key = tables::key(service.vip);
    match &service.deliver {
        Deliver::Listener(_) => vec![Owner {
            service: key,
            backend: None,
        }],
        Deliver::Ipip(_) | Deliver::L2(_) => service
            .deliver
            .backends()
            .iter()
            .map(|backend| owner(service, key, backend.address))
            .collect(),
    }
}

fn owner(service: &Service, key: Key, address: IpAddr) -> Owner {
    let kind = match (&service.deliver, address) {
        (Deliver::L2(_), _) => Kind::L2,
        (_, IpAddr::V4(_)) => Kind::Ipip4,
        (_, IpAddr::V6(_)) => Kind::Ipip6,
    };
    Owner {
        service: key,
        backend: Some((address, kind)),
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

const fn kind_of(number: u8) -> Option<Kind> {
    match number {
        1 => Some(Kind::L2),
        2 => Some(Kind::Ipip4),
        3 => Some(Kind::Ipip6),
        _ => None,
    }
}

/// Writes a cell; `fresh`: nobody can see it yet, so its key is written too. The tag comes last.
fn write_cell(cell: &Cell, key: Key, placed: &Placed, fresh: bool) {
    if fresh {
        cell.hi.store(key.hi);
        cell.lo.store(key.lo);
        cell.seed.store(flow::seed(key.hi, key.lo, key.tag));
    }
    let tag = u64::from(key.tag) | u64::from(placed.action as u32) << 32;
    // What the action reads stands before the action does.
    if placed.action == Action::Steer {
        cell.steer.store(placed.steer);
        cell.tag.store(tag);
        cell.region.store(placed.region.pack());
    } else {
        cell.region.store(placed.region.pack());
        cell.tag.store(tag);
        cell.steer.store(placed.steer);
    }
}

fn copy_cell(from: &Cell, to: &Cell) {
    to.hi.store(from.hi.load());
    to.lo.store(from.lo.load());
    to.seed.store(from.seed.load());
    to.region.store(from.region.load());
    to.steer.store(from.steer.load());
    to.tag.store(from.tag.load());
}

fn write_owner(tables: &Tables, owner: &Owner, id: u16) {
    let place = &tables.owners[usize::from(id)];
    let (hi, lo, family, kind) = match owner.backend {
        None => (0, 0, 0, 0),
        Some((address, kind)) => {
            let (hi, lo, family) = tables::words(address);
            (hi, lo, family, kind as u8)
        }
    };
    place.hi.store(owner.service.hi);
    place.lo.store(owner.service.lo);
    place.address_hi.store(hi);
    place.address_lo.store(lo);
    place
        .tag
        .store(u64::from(owner.service.tag) | u64::from(kind) << 32 | u64::from(family) << 40);
}

/// Writes a backend's entry as far as it differs. A next hop that got another MAC address is one word, one store;
/// anything more is taken out of use first.
fn write_entry(tables: &Tables, owner: &Owner, id: u16, hops: &Hops, effects: &mut impl Effects) {
    let Some((address, kind)) = owner.backend else {
        return;
    };
    let Some(vip) = tables::address(
        owner.service.hi,
        owner.service.lo,
        (owner.service.tag >> 24) as u8,
    ) else {
        return;
    };
    let (header, out) = tables::entry(vip, kind, address, hops.get(&address));
    let entry = &tables.backends[usize::from(id)];
    let differs: Vec<usize> = (0..header.len())
        .filter(|&word| entry.header[word].load() != header[word])
        .collect();
    let in_use = entry.out.load() != 0;
    if in_use && (entry.out.load() != out || differs.iter().any(|&word| word != 0)) {
        entry.out.store(0);
        effects.grace();
    }
    for word in differs {
        entry.header[word].store(header[word]);
    }
    entry.out.store(out);
}

/// Writes a table of slots, and says how many of them were others.
fn write_slots(tables: &Tables, region: Region, ids: &[u16]) -> usize {
    let base = region.base as usize;
    let mut changed = 0;
    for (slot, id) in tables.slots[base..base + ids.len()].iter().zip(ids) {
        let wanted = Slot::settled(*id).0;
        if slot.load() != wanted {
            slot.store(wanted);
            changed += 1;
        }
    }
    changed
}

/// The numbers of backend entries that are free.
struct Numbers {
    taken: BTreeSet<u16>,
    next: u16,
}

impl Numbers {
    fn new(taken: impl Iterator<Item = u16>) -> Self {
        Self {
            taken: taken.collect(),
            next: 1,
        }
    }

    fn take(&mut self) -> Option<u16> {
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
struct Pool {
    taken: BTreeMap<u32, u32>,
}

impl Pool {
    fn new(taken: impl Iterator<Item = Region>) -> Self {
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

    fn take(&mut self, len: u32) -> Option<Region> {
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
struct Listeners(Vec<String>);

impl Listeners {
    fn read(tables: &Tables) -> Self {
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

    fn number(&mut self, name: &str) -> Result<u32, PlanError> {
        if let Some(number) = self.0.iter().position(|known| known == name) {
            return Ok(number as u32);
        }
        if self.0.len() == LISTENERS || name.len() > LISTENER_NAME || name.is_empty() {
            return Err(PlanError::NoListener(name.to_owned()));
        }
        self.0.push(name.to_owned());
        Ok(self.0.len() as u32 - 1)
    }

    fn write(&self, tables: &Tables) {
        for (name, words) in self.0.iter().zip(&tables.listeners) {
            let mut bytes = [0; LISTENER_NAME];
            bytes[..name.len()].copy_from_slice(name.as_bytes());
            for (word, chunk) in words.iter().zip(bytes.as_chunks::<8>().0) {
                word.store(u64::from_le_bytes(*chunk));
            }
        }
    }
}

#[cfg(test)]
mod tests;
