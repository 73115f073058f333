//! What stands in the tables, in the words of user space.

use std::{collections::HashMap, net::IpAddr};

use tollgate_common::{
    backend::Kind,
    service::{About, Action, Key, Region},
};

use crate::{
    model::{Deliver, Model, Nat, Service, Snat, Tunnel},
    prefix::Prefix,
    tables::{self, NextHop},
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

/// What the headers of entries say that is the configuration's, not the next hop's.
#[derive(Clone, Debug, Default)]
pub(crate) struct Said {
    /// Of tunnels.
    pub(crate) tunnel: Tunnel,
    /// Of services that are translated.
    pub(crate) nat: HashMap<Key, Nat>,
    /// The host's own address towards each backend.
    pub(crate) own: HashMap<IpAddr, IpAddr>,
}

impl Said {
    /// Takes over what a model says.
    pub(crate) fn note(&mut self, model: &Model) {
        self.tunnel = model.tunnel;
        let translated = model.services.iter().filter_map(|one| match &one.deliver {
            Deliver::Nat(nat) => Some((tables::key(one.vip), nat.clone())),
            _ => None,
        });
        self.nat = translated.collect();
    }

    /// The port that packets of a service are translated to, and the network that they come from then.
    pub(crate) fn target(&self, service: Key, backend: IpAddr) -> Option<(u16, Option<Prefix>)> {
        let nat = self.nat.get(&service)?;
        let port = nat.port(u16::from_be(service.tag as u16), backend);
        let from = match nat.snat {
            None => None,
            Some(Snat::From(network)) => Some(network),
            Some(Snat::Own) => {
                let own = *self.own.get(&backend)?;
                Some(Prefix::of(own, if own.is_ipv4() { 32 } else { 128 }))
            }
        };
        Some((port, from))
    }
}

/// What a cell of the service table says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Placed {
    pub(crate) action: Action,
    pub(crate) region: Region,
    /// [`Cell::steer`](tollgate_common::service::Cell::steer).
    pub(crate) steer: u64,
    /// [`Cell::previous`](tollgate_common::service::Cell::previous).
    pub(crate) previous: Region,
    /// [`Cell::about`](tollgate_common::service::Cell::about).
    pub(crate) about: About,
}

impl Placed {
    /// Where the service's slots are.
    pub(crate) fn regions(&self) -> impl Iterator<Item = Region> + use<> {
        [self.region, self.previous]
            .into_iter()
            .filter(|region| region.len > 0)
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
        Deliver::Ipip(_) | Deliver::Gue(_) | Deliver::L2(_) | Deliver::Nat(_) => service
            .deliver
            .backends()
            .iter()
            .map(|backend| owner(service, key, backend.address))
            .collect(),
    }
}

/// The entry of one backend of a service.
pub(crate) fn owner(service: &Service, key: Key, address: IpAddr) -> Owner {
    let kind = match (&service.deliver, address) {
        (Deliver::L2(_), _) => Kind::L2,
        (Deliver::Nat(_), _) => Kind::Nat,
        (Deliver::Gue(_), IpAddr::V4(_)) => Kind::Gue4,
        (Deliver::Gue(_), IpAddr::V6(_)) => Kind::Gue6,
        (_, IpAddr::V4(_)) => Kind::Ipip4,
        (_, IpAddr::V6(_)) => Kind::Ipip6,
    };
    Owner {
        service: key,
        backend: Some((address, kind)),
    }
}
