//! What stands in the tables, in the words of user space.

use std::{collections::HashMap, net::IpAddr};

use tollgate_common::{
    backend::Kind,
    service::{Action, Key, Region},
};

use crate::{
    model::{Deliver, Service},
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

/// What a cell of the service table says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Placed {
    pub(crate) action: Action,
    pub(crate) region: Region,
    /// [`Cell::steer`](tollgate_common::service::Cell::steer).
    pub(crate) steer: u64,
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

/// The entry of one backend of a service.
pub(crate) fn owner(service: &Service, key: Key, address: IpAddr) -> Owner {
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

/// The kind with this number, if there is one.
pub(crate) const fn kind_of(number: u8) -> Option<Kind> {
    match number {
        1 => Some(Kind::L2),
        2 => Some(Kind::Ipip4),
        3 => Some(Kind::Ipip6),
        _ => None,
    }
}
