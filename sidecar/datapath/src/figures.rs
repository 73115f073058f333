//! What services and backends have counted, and how they stand.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;

use tollgate_common::service::Key;

use crate::{
    maps::{Counters, Mapping},
    model::{Deliver, Model, Service},
    reconcile::{self, State},
    stats::{BackendStatus, ListenerStatus, ServiceStatus},
    tables,
};

/// What is read for it.
pub(crate) struct Figures<'a> {
    pub(crate) counters: &'a Counters,
    pub(crate) tables: &'a Mapping,
    pub(crate) state: &'a State,
    /// The next hops in words.
    pub(crate) hops: &'a BTreeMap<IpAddr, String>,
    /// The listeners whose sockets are known.
    pub(crate) registered: &'a HashSet<String>,
}

impl Figures<'_> {
    /// Of each service. Counters that cannot be read say 0, with a warning in the log.
    pub(crate) fn services(&self, model: &Model) -> Vec<ServiceStatus> {
        let services = model.services.iter();
        services.map(|service| self.service(service)).collect()
    }

    fn drops(&self, service: Key) -> BTreeMap<Cow<'static, str>, u64> {
        let number = self.state.number(service).unwrap_or(0);
        let drops = self.counters.drops(number).unwrap_or_else(|error| {
            tracing::warn!(%error, number, "the drops of a service were not read");
            Default::default()
        });
        let labelled = drops
            .into_iter()
            .map(|(verdict, n)| (verdict.label().into(), n));
        labelled.collect()
    }

    fn service(&self, service: &Service) -> ServiceStatus {
        let key = tables::key(service.vip);
        let count = |owner| {
            let id = self.state.entry(&owner).unwrap_or(0);
            let counter = self.counters.entry(id).unwrap_or_else(|error| {
                tracing::warn!(%error, id, "a counter was not read");
                Default::default()
            });
            (id, counter)
        };
        let counters: Vec<_> = reconcile::owners(service).into_iter().map(count).collect();
        let listener = match &service.deliver {
            Deliver::Listener(name) => Some(ListenerStatus {
                name: name.clone(),
                registered: self.registered.contains(name),
            }),
            _ => None,
        };
        let backends =
            service
                .deliver
                .backends()
                .iter()
                .zip(&counters)
                .map(|(backend, (id, counter))| BackendStatus {
                    address: backend.address,
                    id: *id,
                    weight: backend.weight,
                    drain: backend.drain,
                    packets: counter.packets,
                    bytes: counter.bytes,
                    flows: counter.flows,
                    next_hop: self.hops.get(&backend.address).cloned().unwrap_or_default(),
                    reachable: self.tables.backends[usize::from(*id)].out.load() != 0,
                });
        debug_assert!(
            listener.is_none()
                || self
                    .state
                    .entry(&reconcile::Owner {
                        service: key,
                        backend: None
                    })
                    .is_some()
        );
        ServiceStatus {
            name: service.name.clone(),
            vip: service.vip.to_string(),
            deliver: service.deliver.word().into(),
            packets: counters.iter().map(|(_, counter)| counter.packets).sum(),
            bytes: counters.iter().map(|(_, counter)| counter.bytes).sum(),
            flows: counters.iter().map(|(_, counter)| counter.flows).sum(),
            drops: self.drops(key),
            slots: self.state.slots(self.tables, key),
            backends: backends.collect(),
            listener,
        }
    }
}
