//! Which backend a flow gets. Settled slots say it themselves; here is what moving ones ask for.

use tollgate_common::{
    flow::Hash,
    pin::{Pin, PinKey, Told},
    service::{About, Cell, Region},
    slot::Slot,
    tables::{Guards, Tables},
};

use crate::memory::Memory;

/// What is asked of a moving slot.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'t> {
    /// The service.
    pub cell: &'t Cell,
    /// The slot's place in the pool.
    pub index: u32,
    /// Tells the addresses of a prefix apart, [`PinKey::extra`].
    pub extra: u32,
    /// The hash of the whole flow.
    pub flow: Hash,
    /// The hash of its client.
    pub client: Hash,
    /// What the packet tells.
    pub told: Told,
}

impl Asked<'_> {
    /// What the flow's pin in that slot is found by.
    #[inline(always)]
    const fn key(&self, slot: u32) -> PinKey {
        PinKey {
            hash: self.flow.0,
            slot,
            extra: self.extra,
        }
    }
}

/// The backend of a flow in a moving slot; 0: none.
///
/// Who has a pin keeps its backend for as long as that lives. Who has none began before the slot moved and goes to
/// `stable`, unless it begins now: then it goes to `current`, if that could be noted. A pin that a SYN made, and that
/// nothing has followed, is not yet the flow's: the SYN may have been sent by anybody.
#[inline(never)]
pub fn moving<M: Memory>(tables: &Tables, mut memory: M, asked: &Asked<'_>) -> u16 {
    let slot = tables.slot(asked.index);
    let now = memory.now();
    let told = asked.told;
    let (mut entry, mut is_pinned, mut was_dead) = (0, false, false);
    if let Some(pin) = memory.recall(&asked.key(asked.index), told, now)
        && pin.takes(told)
    {
        is_pinned = tables.life(pin.id()) == pin.life();
        was_dead = !is_pinned;
        entry = pin.id();
    }
    if !is_pinned {
        let stable = stable(tables, &mut memory, asked, slot, now);
        let begins = told.opens() || told.is_datagram();
        entry = if begins {
            let about = About::unpack(asked.cell.about.load());
            let may_be_old = told.is_datagram() && now < about.settled_udp && !was_dead;
            let wanted = if may_be_old { stable } else { slot.current() };
            new_flow(tables, &mut memory, asked, wanted, stable, now, was_dead)
        } else if was_dead {
            // Its backend is gone: whoever answers will say so.
            slot.current()
        } else {
            stable
        };
    }
    // A flow that lives has gone elsewhere. What else comes without a pin is what anybody can make others send: it must not
    // keep the slot moving.
    if entry != slot.current() && (is_pinned || told.goes_on()) {
        tables.stamp(asked.index, now);
    }
    entry
}

/// `wanted`, with a pin; `stable` if there can be none.
#[inline(always)]
fn new_flow<M: Memory>(
    tables: &Tables,
    memory: &mut M,
    asked: &Asked<'_>,
    wanted: u16,
    stable: u16,
    now: u32,
    was_dead: bool,
) -> u16 {
    // Nobody takes new flows. No pin says so: the next SYN asks again.
    if wanted == 0 {
        return 0;
    }
    let limit = Guards::unpack(tables.guards.load()).pins;
    if !memory.may_pin(now, limit) {
        return stable;
    }
    let key = asked.key(asked.index);
    let pin = Pin::new(wanted, tables.life(wanted), asked.told, now);
    if memory.pin(&key, pin, was_dead) {
        return wanted;
    }
    // Another CPU was faster, or there is no room.
    match memory.recall(&key, asked.told, now) {
        Some(pin) if tables.life(pin.id()) == pin.life() => pin.id(),
        _ => stable,
    }
}

/// Where the flows from before go.
#[inline(always)]
fn stable<M: Memory>(
    tables: &Tables,
    memory: &mut M,
    asked: &Asked<'_>,
    slot: Slot,
    now: u32,
) -> u16 {
    let mut entry = slot.stable();
    if entry == Slot::PREVIOUS {
        // The table had another number of slots. A slot that was moving then has its pins still.
        let region = Region::unpack(asked.cell.previous.load());
        let place = if region.by_client {
            asked.client
        } else {
            asked.flow
        };
        let index = region.base.wrapping_add(place.slot(region.len));
        let before = tables.slot(index);
        entry = before.current();
        if before.is_moving() {
            entry = match memory.recall(&asked.key(index), asked.told, now) {
                Some(pin) if pin.takes(asked.told) && tables.life(pin.id()) == pin.life() => {
                    pin.id()
                }
                _ => before.stable(),
            };
        }
    }
    // Nobody was there before, or nobody knows any more.
    if entry == 0 || entry == Slot::PREVIOUS {
        slot.current()
    } else {
        entry
    }
}

#[cfg(test)]
mod tests;
