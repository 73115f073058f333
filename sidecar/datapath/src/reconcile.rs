//! From what the tables say to what they shall say, in an order in which no packet ever sees half of it.
//!
//! First what nothing points at yet (backend entries, regions of slots, moved cells), then what points (slots, the
//! services' words), last what is not wanted any more; and numbers are given anew only after [`Effects::grace`].

use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
};

use tollgate_common::{
    backend::Kind,
    nat::{Translation, Tuple},
    pin::{Pin, PinKey},
    service::{About, Action, Key, Region},
    tables::Tables,
};

use crate::{
    model::{Model, Service, Shares},
    stats::SlotsStatus,
    tables::{self, cuckoo},
};

mod allot;
mod drain;
mod error;
mod history;
mod plan;
mod record;
mod settle;
mod shapes;
mod slots;
mod write;

use allot::Listeners;
use drain::Drains;
pub use error::PlanError;
pub use history::{History, HistoryError};
use plan::{Plan, Stands, order};
pub use record::Hops;
pub(crate) use record::{Owner, owners};
use record::{Placed, Said};
pub use settle::Settled;
use slots::{Change, STEP, UDP_MEMORY};
pub use write::Effects;
use write::{
    copy_cell, free_tags, live, next_hop, share_of, write_cell, write_entries, write_owner,
    write_share,
};

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
    /// Slots that will in later steps.
    pub left: usize,
}

/// What is known about the tables, without reading them again.
#[derive(Debug, Default)]
pub struct State {
    cuckoo: cuckoo::Cuckoo,
    /// Where services stand is in `cuckoo`; here is what else their cells say.
    services: HashMap<Key, Placed>,
    entries: HashMap<Owner, u16>,
    listeners: Listeners,
    /// Tables that are changed in steps, and what their slots shall say in the end.
    steps: HashMap<Key, Vec<u16>>,
    /// What the headers of the entries say beside the next hops, once a model was applied.
    said: Said,
    /// Who drains, and since when.
    drains: Drains,
    /// Whether the entries are those of a model, not a predecessor's.
    applied: bool,
    /// Second at which the pins were last looked through.
    swept: u32,
    /// Slots have settled or gone whose pins may still be there.
    unswept: bool,
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
                        Action::Forward | Action::Translate => region,
                        Action::Steer | Action::Fragments => Region::default(),
                    },
                    steer: match action {
                        Action::Steer => cell.steer.load(),
                        Action::Forward | Action::Translate | Action::Fragments => 0,
                    },
                    previous: match action {
                        Action::Forward | Action::Translate => Region::unpack(cell.previous.load()),
                        Action::Steer | Action::Fragments => Region::default(),
                    },
                    about: About::unpack(cell.about.load()),
                },
            );
        }
        for (id, owner) in tables.owners.iter().enumerate().skip(1) {
            let tag = owner.tag.load();
            // A predecessor that died between the two writes left one of them out.
            live(tables, id as u16, tag != 0 && share_of(tag).quarters > 0);
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
            let backend = address.zip(Kind::from_number((tag >> 32) as u8));
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
        let mut plan = Plan::new(self.stands(), model)?;
        if !self.applied || self.unswept {
            // A predecessor may have settled a slot and not come to its pins. They must not be there when it moves again.
            self.sweep(tables, effects);
        }
        let stale: BTreeSet<u16> = plan.stale.iter().map(|(_, id)| *id).collect();
        let down = plan.shares.iter().filter(|(_, share)| share.quarters == 0);
        let down: BTreeSet<u16> = down.map(|(id, _)| *id).collect();
        let dead = &stale | &down;
        let fresh = plan.fresh.iter().map(|(owner, id)| (owner, id));
        let kept = self.entries.iter().filter(|(_, id)| !stale.contains(id));
        for (owner, id) in fresh.clone() {
            effects.reset(*id);
            write_owner(tables, owner, *id);
            live(tables, *id, true);
        }
        for (id, share) in &plan.shares {
            write_share(tables, *id, *share);
            if share.quarters > 0 {
                // One that was down begins anew: what it had is over.
                live(tables, *id, true);
            }
        }
        self.said.note(model);
        write_entries(tables, fresh.chain(kept), hops, &self.said, effects);
        plan.listeners.write(tables);
        let (moved, left) = self.change_slots(tables, &mut plan, &dead, effects.now());
        self.write_services(tables, &plan, effects);
        shapes::write(tables, &plan.shapes);
        self.take_out(tables, &mut plan, &dead, effects);
        let applied = Applied {
            services: model.services.len(),
            added: plan.fresh.len(),
            removed: plan.stale.len(),
            moved,
            left,
        };
        self.adopt(tables, plan, model, effects);
        Ok(applied)
    }

    /// Changes the slots of tables in use, and fills those that are not yet. Says how many name another backend now, and how
    /// many will in later steps.
    fn change_slots(
        &mut self,
        tables: &Tables,
        plan: &mut Plan,
        dead: &BTreeSet<u16>,
        now: u32,
    ) -> (usize, usize) {
        let (mut moved, mut left) = (0, 0);
        self.steps.clear();
        for (key, placed, wanted) in &mut plan.slots {
            let change = Change {
                tables,
                region: placed.region,
                wanted,
                dead,
                now,
            };
            let before = self.services.get(key).map(|placed| placed.region);
            if before != Some(placed.region) {
                if placed.previous.len > 0 {
                    placed.about.settled_udp = now + UDP_MEMORY;
                }
                change.fill(placed.previous.len > 0);
            } else {
                if change.moves_any() {
                    placed.about.settled_udp = now + UDP_MEMORY;
                    // A datagram must know of the minute before it finds the first slot moving.
                    if let Some(cell) = self.cuckoo.find(*key) {
                        tables.cells[cell].about.store(placed.about.pack());
                    }
                }
                let written = change.write(wanted.len().div_ceil(STEP));
                moved += written.changed;
                left += written.left;
                if written.left > 0 {
                    self.steps.insert(*key, std::mem::take(wanted));
                }
            }
            plan.services.insert(order(*key), (*key, *placed));
        }
        (moved, left)
    }

    /// Writes the cells of services that are new or say something else, and moves those that are in the way.
    fn write_services(&self, tables: &Tables, plan: &Plan, effects: &mut impl Effects) {
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
            let before = self.services.get(key);
            if before.is_some_and(|before| before != placed)
                && let Some(cell) = plan.cuckoo.find(*key)
            {
                write_cell(&tables.cells[cell], *key, placed, false);
            }
        }
    }

    /// Takes out what the model does not name. Numbers, cells and regions that went may be given anew afterwards.
    fn take_out(
        &mut self,
        tables: &Tables,
        plan: &mut Plan,
        dead: &BTreeSet<u16>,
        effects: &mut impl Effects,
    ) {
        for key in self.services.keys() {
            if !plan.services.contains_key(&order(*key))
                && let Some(cell) = plan.cuckoo.remove(*key)
            {
                tables.cells[cell].tag.store(0);
            }
        }
        effects.grace();
        // Not before: packets on their way were told by what is the previous table now.
        let previous = plan.services.values().map(|(_, placed)| placed.previous);
        let buried = previous.filter(|region| slots::bury(tables, *region, dead));
        if buried.count() > 0 {
            effects.grace();
        }
        for id in dead {
            live(tables, *id, false);
        }
        for (owner, id) in &plan.stale {
            tables.owners[usize::from(*id)].tag.store(0);
            tables.backends[usize::from(*id)].out.store(0);
            self.entries.remove(owner);
        }
        free_tags(tables);
    }

    /// Remembers the plan as what stands.
    fn adopt(&mut self, tables: &Tables, plan: Plan, model: &Model, effects: &mut impl Effects) {
        for (key, placed) in plan.services.values() {
            if !self.services.contains_key(key) {
                effects.reset_drops(placed.about.number);
            }
        }
        let had_more = self.regions().any(|region| {
            let mut now = plan
                .services
                .values()
                .flat_map(|(_, placed)| placed.regions());
            !now.any(|one| one == region)
        });
        self.entries.extend(plan.fresh);
        self.drains.note(model, &self.entries, effects.now());
        self.services = plan.services.into_values().collect();
        self.cuckoo = plan.cuckoo;
        self.listeners = plan.listeners;
        for number in self.listeners.keep(model) {
            effects.forget(number);
        }
        self.listeners.write(tables);
        self.applied = true;
        if had_more {
            // The slots that went may be another service's next time: no pin of theirs may be left then.
            self.sweep(tables, effects);
        }
    }

    /// Forgets the pins that no moving slot or living backend has.
    fn sweep(&mut self, tables: &Tables, effects: &mut impl Effects) {
        let none = BTreeSet::new();
        let left = settle::sweep(tables, &self.services, effects, &none, |_| u32::MAX);
        self.unswept = left.is_none();
    }

    /// Takes note of the host's own address towards each backend, for the next model or refresh.
    pub fn note_own(&mut self, own: HashMap<IpAddr, IpAddr>) {
        self.said.own = own;
    }

    /// Draining backends whose time is over at second `now`.
    #[must_use]
    pub fn overdue(&self, now: u32) -> BTreeSet<u16> {
        self.drains.overdue(now)
    }

    /// Whether the model fits the tables beside what stands there; nothing is written.
    ///
    /// # Errors
    /// As of [`apply`](Self::apply).
    pub fn fits(&self, model: &Model) -> Result<(), PlanError> {
        Plan::new(self.stands(), model).map(drop)
    }

    /// Writes changed next hops into the entries. Before the first model does nothing: nobody has looked for the next
    /// hops of entries that a predecessor left.
    pub fn refresh(&self, tables: &Tables, hops: &Hops, effects: &mut impl Effects) {
        if self.applied {
            write_entries(tables, &self.entries, hops, &self.said, effects);
        }
    }

    /// Takes the next step of each change that is applied in steps, and settles the slots whose flows from before were
    /// silent for longer than `idle` says, in seconds, of their service; those of draining backends whose time is over have
    /// no flows from before any more. Before the first model does nothing.
    pub fn settle(
        &mut self,
        tables: &Tables,
        effects: &mut impl Effects,
        idle: impl Fn(Key) -> u32,
    ) -> Settled {
        if !self.applied {
            return Settled::default();
        }
        let now = effects.now();
        let Self {
            steps,
            services,
            cuckoo,
            drains,
            ..
        } = self;
        settle::step(tables, steps, services, cuckoo, now);
        let overdue = drains.overdue(now);
        let ended = drain::end(tables, services, &overdue);
        let mut all = settle::settle(tables, services, cuckoo, now, &idle);
        all.left = steps.len();
        let is_swept_for = all.settled > 0 || ended > 0;
        if is_swept_for {
            // Whoever has seen a slot moving may make a pin still.
            effects.grace();
        }
        self.unswept |= is_swept_for;
        let is_due = all.moving > 0 && now.saturating_sub(self.swept) >= settle::SWEEP;
        if self.unswept || is_due {
            self.swept = now;
            all.pins = settle::sweep(tables, services, effects, &overdue, idle);
            self.unswept = all.pins.is_none();
        }
        all
    }

    /// What the tables remember, and these pins and translations, on a host whose boot has this name.
    pub(crate) fn history(
        &self,
        tables: &Tables,
        pins: &[(PinKey, Pin)],
        translations: &[(Tuple, Translation)],
        boot: String,
    ) -> History {
        let (services, entries) = (&self.services, &self.entries);
        History::of(tables, services, entries, pins, translations, boot)
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
            Some((
                address,
                next_hop(tables, &tables.backends[usize::from(*id)])?,
            ))
        };
        self.entries.iter().filter_map(hop).collect()
    }

    /// The shares that the tables note of a model's backends, of those that have an entry.
    pub(crate) fn shares(&self, tables: &Tables, model: &Model) -> Shares {
        let noted = |owner: Owner| {
            let (address, _) = owner.backend?;
            let id = usize::from(*self.entries.get(&owner)?);
            Some((address, share_of(tables.owners[id].tag.load())))
        };
        let of = |service: &Service| {
            let noted = owners(service).into_iter().filter_map(noted);
            (service.vip, noted.collect())
        };
        model.services.iter().map(of).collect()
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

    /// The number of a service, by which its drops are counted.
    pub(crate) fn number(&self, service: Key) -> Option<u16> {
        Some(self.services.get(&service)?.about.number)
    }

    /// The slots of a service that has some.
    pub(crate) fn slots(&self, tables: &Tables, service: Key) -> Option<SlotsStatus> {
        let placed = self.services.get(&service)?;
        if !placed.action.has_slots() {
            return None;
        }
        let Region { base, len, .. } = placed.region;
        let moving = (base..base + len).filter(|slot| tables.slot(*slot).is_moving());
        Some(SlotsStatus {
            count: len,
            moving: moving.count() as u32,
        })
    }

    const fn stands(&self) -> Stands<'_> {
        Stands {
            services: &self.services,
            entries: &self.entries,
            cuckoo: &self.cuckoo,
            listeners: &self.listeners,
        }
    }

    fn regions(&self) -> impl Iterator<Item = Region> {
        self.services.values().flat_map(Placed::regions)
    }

    /// The entry of a service's backend, or the one that counts a steered service.
    pub(crate) fn entry(&self, owner: &Owner) -> Option<u16> {
        self.entries.get(owner).copied()
    }
}

#[cfg(test)]
mod tests;
