//! What tables remember of flows, in words that no layout has a part in: so that maps of another layout go on where these end.
//!
//! It is read and laid as a predecessor of the same layout would have left it; all that follows is adoption.

use std::collections::HashMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use tollgate_common::{
    backend::Kind,
    flow,
    nat::{Translation, Tuple},
    pin::{Pin, PinKey},
    service::{About, Action, Key, Region, Scope},
    slot::Slot,
    tables::Tables,
};

use super::{
    allot::{Numbers, Pool, ServiceNumbers},
    record::{Owner, Placed},
    write::{copy_cell, live, share_of, write_cell, write_owner, write_share},
};
use crate::{
    model::Share,
    tables::{self, cuckoo},
};

mod flows;
mod words;

use flows::{FLOW, Flow};

/// What this build writes, and the most that it reads.
const VERSION: u32 = 1;
/// Words of a pin.
const PIN: usize = 9;
/// What a flow's hash must be that is told here: another one would mean other slots, and other pins.
const PROBE: u64 = flow::Flow::v4([192, 0, 2, 1], 4711, 443).hash(0x5eed).0;

/// Why a history is not gone on with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HistoryError {
    /// It was written by a later build, in a way that this one does not know.
    #[error("it is of version {0}, and this build understands up to {VERSION}")]
    Newer(u32),
    /// Its times are of another clock.
    #[error("it was written before the host was started anew")]
    OtherBoot,
    /// Its slots and pins are of other hashes.
    #[error("its build hashes flows in another way")]
    OtherHash,
}

/// What is remembered of flows: slots that move and who had them, and the pins of flows that began since.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    version: u32,
    /// The host's boot, by its random name.
    #[serde(default)]
    boot: String,
    #[serde(default)]
    hash: u64,
    /// Second of Unix time from which on changes are remembered.
    #[serde(default)]
    made: u64,
    #[serde(default)]
    services: Vec<Service>,
    /// Words of a pin, at least [`PIN`]; what a later build appends is passed over.
    #[serde(default)]
    pin_words: usize,
    #[serde(default, with = "words")]
    pins: Vec<u32>,
    /// Words of a translated flow, at least [`FLOW`], or 0 if there are none; likewise.
    #[serde(default)]
    flow_words: usize,
    #[serde(default, with = "words")]
    flows: Vec<u32>,
}

/// What packets find besides the tables.
#[derive(Debug, Default)]
pub(crate) struct Remembered {
    /// The pins.
    pub(crate) pins: Vec<(PinKey, Pin)>,
    /// The translations: those that answers find before those that clients' packets do.
    pub(crate) translations: Vec<(Tuple, Translation)>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Service {
    address: IpAddr,
    bits: u8,
    port: u16,
    proto: u8,
    /// Its [`Action`]; of builds that do not say it those alone are here that are forwarded.
    #[serde(default = "forward")]
    action: u32,
    /// Second of the monotonic clock until which datagrams of unknown flows are taken for old.
    #[serde(default)]
    settled_udp: u32,
    /// Slots name them by their place, from 1 on.
    backends: Vec<Backend>,
    table: Table,
    /// The table before, which flows from before are told by.
    #[serde(default)]
    previous: Option<Table>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Backend {
    address: IpAddr,
    kind: u8,
    /// What its checks leave it; builds that do not say it leave all of it.
    #[serde(default = "whole")]
    share: Share,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Table {
    by_client: bool,
    /// As [`Slot`] has it, with places of backends.
    #[serde(with = "words")]
    slots: Vec<u32>,
    /// By slot, where it moves, else 0.
    #[serde(with = "words")]
    stamps: Vec<u32>,
}

const fn whole() -> Share {
    Share::WHOLE
}

const fn forward() -> u32 {
    Action::Forward as u32
}

impl History {
    /// Whether this build can go on with it, on a host whose boot has this name.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn usable(&self, boot: &str) -> Result<(), HistoryError> {
        if self.version > VERSION {
            return Err(HistoryError::Newer(self.version));
        }
        if self.boot != boot || boot.is_empty() {
            return Err(HistoryError::OtherBoot);
        }
        if self.hash != PROBE || self.pin_words < PIN {
            return Err(HistoryError::OtherHash);
        }
        Ok(())
    }

    /// Lays it into tables that nobody has used yet, and gives what belongs to it. A service that finds no room has nothing.
    pub(crate) fn lay(&self, tables: &Tables) -> Remembered {
        let mut laying = Laying {
            tables,
            numbers: Numbers::new(std::iter::empty()),
            services: ServiceNumbers::new(std::iter::empty()),
            pool: Pool::new(std::iter::empty()),
            cuckoo: cuckoo::Cuckoo::default(),
        };
        let laid: Vec<Option<Laid>> = self
            .services
            .iter()
            .map(|one| laying.service(one))
            .collect();
        tables.made.store(self.made);
        let pins = self.pins.chunks_exact(self.pin_words.max(PIN));
        let flows = self.flows.chunks_exact(self.flow_words.max(FLOW));
        Remembered {
            pins: pins.filter_map(|words| pin(tables, &laid, words)).collect(),
            translations: flows
                .filter_map(|words| translations(tables, &laid, words))
                .flatten()
                .collect(),
        }
    }
}

/// A service that has been laid: its regions, and the numbers of its backends by place.
struct Laid {
    region: Region,
    previous: Region,
    number: u16,
    ids: Vec<u16>,
}

struct Laying<'t> {
    tables: &'t Tables,
    numbers: Numbers,
    services: ServiceNumbers,
    pool: Pool,
    cuckoo: cuckoo::Cuckoo,
}

impl Laying<'_> {
    fn service(&mut self, service: &Service) -> Option<Laid> {
        let key = key(service)?;
        let action = Action::from_number(service.action).filter(|action| action.has_slots())?;
        let region = self.region(&service.table)?;
        let previous = match &service.previous {
            None => Region::default(),
            Some(table) => self.region(table)?,
        };
        let (moves, cell) = self.cuckoo.insert(key).ok()?;
        let number = self.services.take()?;
        let mut ids = vec![0];
        for backend in &service.backends {
            // One that cannot be reached any more is nobody.
            let id = match Kind::from_number(backend.kind) {
                Some(kind) => {
                    let id = self.numbers.take()?;
                    let (share, backend) = (backend.share, Some((backend.address, kind)));
                    let owner = Owner {
                        service: key,
                        backend,
                    };
                    write_owner(self.tables, &owner, id);
                    write_share(self.tables, id, share);
                    live(self.tables, id, share.quarters > 0);
                    id
                }
                None => 0,
            };
            ids.push(id);
        }
        let both = [
            (region, Some(&service.table)),
            (previous, service.previous.as_ref()),
        ];
        for (region, table) in both {
            if let Some(table) = table {
                self.fill(region, table, &ids);
            }
        }
        for step in moves {
            copy_cell(&self.tables.cells[step.from], &self.tables.cells[step.to]);
            self.tables.cells[step.from].tag.store(0);
        }
        let placed = Placed {
            action,
            region,
            steer: 0,
            previous,
            about: About {
                number,
                settled_udp: service.settled_udp,
            },
        };
        write_cell(&self.tables.cells[cell], key, &placed, true);
        Some(Laid {
            region,
            previous,
            number,
            ids,
        })
    }

    fn region(&mut self, table: &Table) -> Option<Region> {
        let len = u32::try_from(table.slots.len()).ok()?;
        if len == 0 || table.stamps.len() != table.slots.len() {
            return None;
        }
        self.pool.take(len, table.by_client)
    }

    fn fill(&self, region: Region, table: &Table, ids: &[u16]) {
        let id = |place: u16| match place {
            Slot::PREVIOUS => Slot::PREVIOUS,
            place => ids.get(usize::from(place)).copied().unwrap_or(0),
        };
        let slots = table.slots.iter().zip(&table.stamps);
        for (index, (&slot, &stamp)) in (region.base as usize..).zip(slots) {
            let slot = translated(Slot(slot), id);
            self.tables.stamps[index].store(stamp);
            self.tables.slots[index].store(slot.0);
        }
    }
}

impl History {
    /// What tables remember of services and of the entries in them, and these pins and translations, on a host whose boot has this name.
    pub(super) fn of(
        tables: &Tables,
        placed: &HashMap<Key, Placed>,
        entries: &HashMap<Owner, u16>,
        pins: &[(PinKey, Pin)],
        translations: &[(Tuple, Translation)],
        boot: String,
    ) -> Self {
        let mut backends: HashMap<Key, Vec<(IpAddr, Kind, u16)>> = HashMap::new();
        for (owner, id) in entries {
            if let Some((address, kind)) = owner.backend {
                let of_service = backends.entry(owner.service).or_default();
                of_service.push((address, kind, *id));
            }
        }
        let (mut services, mut regions) = (Vec::new(), Vec::new());
        let mut numbers = HashMap::new();
        for (key, placed) in placed {
            let scope = key.scope();
            let family = if scope.is_v4() { 4 } else { 6 };
            let Some(address) = tables::address(key.hi, key.lo, family) else {
                continue;
            };
            if !placed.action.has_slots() || placed.region.len == 0 {
                continue;
            }
            let backends = backends.remove(key).unwrap_or_default();
            let places: HashMap<u16, u16> = backends.iter().map(|one| one.2).zip(1..).collect();
            let number = services.len() as u32;
            numbers.insert(placed.about.number, number);
            regions.push((placed.region, number << 1));
            regions.push((placed.previous, number << 1 | 1));
            services.push((
                Service {
                    address,
                    bits: scope.bits(),
                    port: u16::from_be(key.tag as u16),
                    proto: key.proto(),
                    action: placed.action as u32,
                    settled_udp: placed.about.settled_udp,
                    table: table(tables, placed.region, &places),
                    previous: (placed.previous.len > 0)
                        .then(|| table(tables, placed.previous, &places)),
                    backends: backends
                        .iter()
                        .map(|(address, kind, id)| Backend {
                            address: *address,
                            kind: *kind as u8,
                            share: share_of(tables.owners[usize::from(*id)].tag.load()),
                        })
                        .collect(),
                },
                places,
            ));
        }
        regions.retain(|(region, _)| region.len > 0);
        regions.sort_unstable_by_key(|(region, _)| region.base);
        let mut words = Vec::with_capacity(pins.len() * PIN);
        for (key, pin) in pins {
            // What the backend has not had for a life is not carried on.
            if pin.life() != tables.life(pin.id()) {
                continue;
            }
            let at = regions.partition_point(|(region, _)| region.base <= key.slot);
            let Some((region, place)) = at.checked_sub(1).and_then(|at| regions.get(at)) else {
                continue;
            };
            let places = services
                .get((place >> 1) as usize)
                .map(|(_, places)| places);
            let Some(backend) = places.and_then(|places| places.get(&pin.id())) else {
                continue;
            };
            if key.slot - region.base >= region.len {
                continue;
            }
            words.extend([
                *place,
                key.slot - region.base,
                key.hash as u32,
                (key.hash >> 32) as u32,
                key.extra,
                u32::from(*backend),
                pin.seen,
                pin.isn,
                pin.flags,
            ]);
        }
        let flows = flows_of(tables, translations, |service, backend| {
            let place = *numbers.get(&service)?;
            let (_, places) = services.get(place as usize)?;
            Some((place, *places.get(&backend)?))
        });
        Self {
            version: VERSION,
            boot,
            hash: PROBE,
            made: tables.made.load(),
            services: services.into_iter().map(|(service, _)| service).collect(),
            pin_words: PIN,
            pins: words,
            flow_words: FLOW,
            flows,
        }
    }
}

/// The rows of flows whose backend lives, of which both directions are there. `places`: those of a service and its backend.
fn flows_of(
    tables: &Tables,
    translations: &[(Tuple, Translation)],
    places: impl Fn(u16, u16) -> Option<(u32, u16)>,
) -> Vec<u32> {
    let (answers, ways): (Vec<_>, Vec<_>) =
        translations.iter().partition(|(_, way)| way.is_answers());
    let answers: HashMap<Tuple, Translation> = answers.into_iter().copied().collect();
    let row = |&&(key, way): &&(Tuple, Translation)| {
        let back = answers.get(&way.to.reversed());
        let back = *back.filter(|back| back.to == key.reversed())?;
        let (service, backend) = places(way.service(), way.id())?;
        let lives = tables.life(way.id()) == way.life();
        lives.then(|| {
            Flow {
                service,
                backend: backend.into(),
                key,
                way,
                back,
            }
            .words()
        })
    };
    ways.iter().filter_map(row).flatten().collect()
}

fn translations(
    tables: &Tables,
    laid: &[Option<Laid>],
    words: &[u32],
) -> Option<[(Tuple, Translation); 2]> {
    let flow = Flow::of(words)?;
    let service = laid.get(flow.service as usize)?.as_ref()?;
    let mut ids = service.ids.iter().skip(flow.backend as usize);
    let id = *ids.next().filter(|id| **id != 0)?;
    let backend = u32::from(id) | u32::from(tables.life(id)) << 16;
    Some(flow.both(service.number, backend))
}

fn table(tables: &Tables, region: Region, places: &HashMap<u16, u16>) -> Table {
    let place = |id: u16| match id {
        Slot::PREVIOUS => Slot::PREVIOUS,
        id => places.get(&id).copied().unwrap_or(0),
    };
    let slots = region.base..region.base + region.len;
    let (slots, stamps) = slots
        .map(|index| {
            let slot = tables.slot(index);
            let stamp = tables.stamps[index as usize].load();
            let stamp = if slot.is_moving() { stamp } else { 0 };
            (translated(slot, place).0, stamp)
        })
        .unzip();
    Table {
        by_client: region.by_client,
        slots,
        stamps,
    }
}

fn translated(slot: Slot, name: impl Fn(u16) -> u16) -> Slot {
    if slot.is_moving() {
        Slot::moving(name(slot.current()), name(slot.stable()))
    } else {
        Slot::settled(name(slot.current()))
    }
}

fn pin(tables: &Tables, laid: &[Option<Laid>], words: &[u32]) -> Option<(PinKey, Pin)> {
    let &[place, slot, low, high, extra, backend, seen, isn, flags, ..] = words else {
        return None;
    };
    let service = laid.get((place >> 1) as usize)?.as_ref()?;
    let region = if place & 1 == 0 {
        service.region
    } else {
        service.previous
    };
    let id = *service.ids.get(backend as usize).filter(|id| **id != 0)?;
    let key = PinKey {
        hash: u64::from(low) | u64::from(high) << 32,
        slot: (slot < region.len).then(|| region.base + slot)?,
        extra,
    };
    let pin = Pin {
        backend: u32::from(id) | u32::from(tables.life(id)) << 16,
        seen,
        isn,
        flags,
    };
    Some((key, pin))
}

fn key(service: &Service) -> Option<Key> {
    let (hi, lo, family) = tables::words(service.address);
    let port = service.port.to_be();
    Some(match family {
        4 if service.bits <= 32 => {
            Key::v4(lo as u32, port, service.proto).within(Scope::v4(service.bits))
        }
        6 if service.bits <= 128 => {
            Key::v6(hi, lo, port, service.proto).within(Scope::v6(service.bits))
        }
        _ => return None,
    })
}
