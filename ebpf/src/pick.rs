//! Which backend a flow gets. Settled slots say it themselves; here is what moving ones ask for.

use tollgate_common::{
    flow::Hash,
    pin::{Pin, PinKey},
    service::{About, Cell, Region},
    slot::Slot,
    tables::{Guards, Tables},
};

use crate::{memory::Memory, parse::Stage};

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
    /// What the packet says.
    pub stage: Stage,
}

/// The backend of a flow in a moving slot; 0: none.
///
/// Who has a pin keeps its backend for as long as that lives. Who has none began before the slot moved and goes to
/// `stable`, unless it begins now: then it goes to `current`, if that could be noted.
#[inline(never)]
pub fn moving<M: Memory>(tables: &Tables, mut memory: M, asked: &Asked<'_>) -> u16 {
    let slot = tables.slot(asked.index);
    let now = memory.now();
    let key = PinKey {
        hash: asked.flow.0,
        slot: asked.index,
        extra: asked.extra,
    };
    let opens = asked.stage == Stage::Opens;
    let entry = match memory.recall(&key, now, opens) {
        Some(pin) if tables.life(pin.id()) == pin.life() => pin.id(),
        found => {
            let was_dead = found.is_some();
            let stable = stable(tables, &mut memory, asked, slot, now);
            match asked.stage {
                Stage::Opens => new_flow(
                    tables,
                    &mut memory,
                    &key,
                    slot.current(),
                    stable,
                    now,
                    was_dead,
                ),
                // Its backend is gone: whoever answers will say so.
                Stage::Follows if was_dead => slot.current(),
                Stage::Follows => stable,
                Stage::Datagram => {
                    let about = About::unpack(asked.cell.about.load());
                    let wanted = if now < about.settled_udp && !was_dead {
                        stable
                    } else {
                        slot.current()
                    };
                    new_flow(tables, &mut memory, &key, wanted, stable, now, was_dead)
                }
            }
        }
    };
    if entry != slot.current() {
        tables.stamp(asked.index, now);
    }
    entry
}

/// `wanted`, with a pin; `stable` if there can be none.
#[inline(always)]
fn new_flow<M: Memory>(
    tables: &Tables,
    memory: &mut M,
    key: &PinKey,
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
    let pin = Pin::new(wanted, tables.life(wanted), now);
    if memory.pin(key, pin, was_dead) {
        return wanted;
    }
    // Another CPU was faster, or there is no room.
    match memory.recall(key, now, true) {
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
            let key = PinKey {
                hash: asked.flow.0,
                slot: index,
                extra: asked.extra,
            };
            entry = match memory.recall(&key, now, false) {
                Some(pin) if tables.life(pin.id()) == pin.life() => pin.id(),
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
