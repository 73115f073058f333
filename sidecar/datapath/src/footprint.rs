//! What a model takes of the kernel's memory.

use tollgate_common::{
    backend::Backend,
    counter::Counter,
    fragment::{Fragment, FragmentKey},
    limits::{BACKENDS, FRAGMENTS, PINS, SERVICES, SLOTS, TRANSLATIONS},
    nat::{Translation, Tuple},
    pin::{Pin, PinKey},
    service::Cell,
    tables::{Owner, Tables},
    verdict::Verdict,
};

use crate::{
    model::{Deliver, Model, Service},
    tables::maglev,
};

/// What a model takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Footprint {
    /// Bytes of the tables, however much of them is used.
    pub tables: usize,
    /// Bytes of the counters on each CPU.
    pub counters: usize,
    /// Bytes of what is remembered of packets in fragments, however many there are.
    pub fragments: usize,
    /// Bytes that pins may take at most, while slots move.
    pub pins: usize,
    /// Bytes that translations may take at most; 0: no service is translated.
    pub translations: usize,
    /// Slots that are used.
    pub slots: usize,
    /// Slots that there are.
    pub most_slots: usize,
    /// Backend entries that are used, those that count steered services among them.
    pub backends: usize,
    /// Backend entries that there are.
    pub most_backends: usize,
    /// The forwarded services.
    pub services: Vec<ServiceFootprint>,
}

/// What a service takes of the tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceFootprint {
    /// Its name.
    pub name: String,
    /// Its slots.
    pub slots: usize,
    /// Bytes of its slots and their stamps, its backends and its cell.
    pub bytes: usize,
}

impl Footprint {
    /// What the model takes.
    #[must_use]
    pub fn of(model: &Model) -> Self {
        /// Bytes of a hash map's element beside key and value, and of its bucket (kernel/bpf/hashtab.c).
        const ELEMENT: usize = 48;
        const BUCKET: usize = 16;
        /// Bytes of the slabs that pins come in, which have 8 bytes of the allocator's (kernel/bpf/memalloc.c).
        const SLAB: usize = 96;
        const _: () = assert!(ELEMENT + size_of::<PinKey>() + size_of::<Pin>() + 8 <= SLAB);
        /// Likewise those that translations come in.
        const WIDE_SLAB: usize = 192;
        const _: () =
            assert!(ELEMENT + size_of::<Tuple>() + size_of::<Translation>() + 8 <= WIDE_SLAB);
        const SLOT: usize = 2 * size_of::<u32>();
        const BACKEND: usize = size_of::<Backend>() + size_of::<Owner>() + size_of::<u32>();
        let forwarded = |one: &&Service| !matches!(one.deliver, Deliver::Listener(_));
        let services: Vec<_> = model
            .services
            .iter()
            .filter(forwarded)
            .map(|one| {
                let backends = one.deliver.backends().len();
                let slots = maglev::slots_for(backends) as usize;
                ServiceFootprint {
                    name: one.name.clone(),
                    slots,
                    bytes: slots * SLOT + backends * BACKEND + size_of::<Cell>(),
                }
            })
            .collect();
        let mut all = model.services.iter();
        let is_translated = all.any(|one| matches!(one.deliver, Deliver::Nat(_)));
        let entries = |one: &Service| match &one.deliver {
            Deliver::Listener(_) => 1,
            other => other.backends().len(),
        };
        Self {
            tables: size_of::<Tables>(),
            counters: BACKENDS * size_of::<Counter>()
                + (SERVICES + 1) * Verdict::ROOM * size_of::<u64>(),
            fragments: FRAGMENTS
                * (size_of::<FragmentKey>() + size_of::<Fragment>() + ELEMENT + BUCKET),
            pins: PINS * (SLAB + BUCKET),
            translations: if is_translated {
                TRANSLATIONS * (WIDE_SLAB + BUCKET)
            } else {
                0
            },
            slots: services.iter().map(|one| one.slots).sum(),
            most_slots: SLOTS,
            backends: model.services.iter().map(entries).sum(),
            most_backends: BACKENDS - 1,
            services,
        }
    }
}
