//! The services as the user meant them.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::IpAddr,
    time::Duration,
};

use tollgate_common::limits::{BACKENDS_PER_SERVICE, LISTENER_NAME, SERVICES};

mod backend;
mod nat;
mod shares;
mod tunnel;
mod unfit;
mod vip;

pub use backend::Backend;
pub use nat::{Nat, NatError, Snat, Timeout, Timeouts};
pub use shares::{Share, ShareError, Shares, WHOLE};
pub use tunnel::{Tunnel, TunnelError};
pub use unfit::Unfit;
pub use vip::{Proto, Vip, VipError};

/// Everything that the datapath is to do.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Model {
    /// The services; the order means nothing.
    pub services: Vec<Service>,
    /// What outer headers say of this side.
    pub tunnel: Tunnel,
}

/// One service: an address, and where its packets go.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Service {
    /// What people call it; in status and metrics only.
    pub name: String,
    /// Where its clients send to. One service each.
    pub vip: Vip,
    /// Where its packets go.
    pub deliver: Deliver,
    /// Which flows go to one backend.
    pub affinity: Affinity,
    /// For how long a flow may be silent and still keep its backend when its slot moved.
    pub connection_idle: Duration,
    /// For how long a backend that drains keeps its flows at most; `None`: for as long as they are heard of. A new daemon
    /// counts from its first model on.
    pub drain_limit: Option<Duration>,
    /// Backends that have less than their whole share, or are found down. With no quarter a backend takes no flows and keeps
    /// none, but for those that it has while it drains. It still counts for the number of slots, or each one that falls or comes back could
    /// deal all flows anew.
    pub reduced: BTreeMap<IpAddr, Share>,
    /// Whether it may take addresses that are this host's own; else such a service is refused.
    pub allow_host_address: bool,
}

/// For how long flows of services that say nothing else may be silent.
pub const CONNECTION_IDLE: Duration = Duration::from_secs(3600);
/// The least and the most that they may say: the pins of silent flows take room.
pub const CONNECTION_IDLES: (Duration, Duration) =
    (Duration::from_secs(1), Duration::from_secs(24 * 3600));

/// The least and the most that a drain may be limited to.
pub const DRAIN_LIMITS: (Duration, Duration) =
    (Duration::from_secs(1), Duration::from_secs(7 * 24 * 3600));

/// Which flows go to one backend for certain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Affinity {
    /// Each flow by itself.
    #[default]
    Flow,
    /// All flows of a client's address.
    Client,
}

/// Where the packets of a service go.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Deliver {
    /// To the local listener of this name.
    Listener(String),
    /// To backends, inside an IP header of their own.
    Ipip(Vec<Backend>),
    /// To backends, inside IP, UDP and GUE headers.
    Gue(Vec<Backend>),
    /// To backends on the same segment, by new MAC addresses.
    L2(Vec<Backend>),
    /// To backends, their addresses and ports in place of the service's; answers come back through here.
    Nat(Nat),
}

impl Deliver {
    /// The word for it in the configuration.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Listener(_) => "listener",
            Self::Ipip(_) => "ipip",
            Self::Gue(_) => "gue",
            Self::L2(_) => "l2",
            Self::Nat(_) => "nat",
        }
    }

    /// The backends, none for a listener.
    #[must_use]
    pub fn backends(&self) -> &[Backend] {
        match self {
            Self::Listener(_) => &[],
            Self::Ipip(backends) | Self::Gue(backends) | Self::L2(backends) => backends,
            Self::Nat(nat) => &nat.backends,
        }
    }
}

/// Why a model cannot be done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ModelError {
    /// Two services of one address.
    #[error("the services `{0}` and `{1}` share {2}; give one of them another address or port")]
    SharedVip(String, String, Vip),
    /// A service for itself.
    #[error("service `{0}`: {1}")]
    Service(String, ServiceError),
    /// Too many services.
    #[error("{0} services are more than this version's {SERVICES}; move some to another node")]
    TooManyServices(usize),
}

/// Why a service cannot be done, whatever its name is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ServiceError {
    /// Too much at once.
    #[error(
        "the VIP {0} is a prefix of fewer than {1} bits; name the networks that the service is for"
    )]
    WidePrefix(Vip, u8),
    /// Not a prefix's first address.
    #[error("the VIP {0} is no prefix, for bits are set behind its length; write {1}")]
    InsidePrefix(Vip, Vip),
    /// The pins of silent flows would fill the table.
    #[error("`connection_idle` of {0:?} is out of range; allowed are 1 s to 24 h")]
    ConnectionIdle(Duration),
    /// No drain takes so little or so much.
    #[error("`drain_limit` of {0:?} is out of range; allowed are 1 s to 7 days")]
    DrainLimit(Duration),
    /// Clients cannot send to it.
    #[error("the VIP {0} cannot be balanced: {1}")]
    Vip(Vip, Unfit),
    /// Listeners are TCP.
    #[error(
        "the VIP {0} is UDP, which no listener takes in this version; deliver it by `ipip` or `l2`"
    )]
    UdpListener(Vip),
    /// The name does not fit the map.
    #[error("the listener's name `{0}` is not of 1 to {LISTENER_NAME} bytes; choose another")]
    ListenerName(String),
    /// Packets cannot be sent to it.
    #[error("the backend {0} cannot be reached: {1}")]
    Backend(IpAddr, Unfit),
    /// The packets would come back.
    #[error("the backend {0} is the service's own address; give the address of the backend's host")]
    OwnBackend(IpAddr),
    /// One backend twice.
    #[error("the backend {0} stands twice; give it a larger weight instead")]
    SharedBackend(IpAddr),
    /// The weight is out of range.
    #[error(
        "`weight: {1}` of the backend {0} is out of range; allowed are 1 to 1000; `drain: true` takes a backend out"
    )]
    Weight(IpAddr, u32),
    /// The MAC rewrite keeps the packet's family.
    #[error(
        "the VIP {1} and the backend {0} are of different IP versions; `l2` sends packets as they are, so use `ipip`"
    )]
    Family(IpAddr, Vip),
    /// It cannot be translated so.
    #[error(transparent)]
    Nat(#[from] NatError),
    /// Too many backends in one service.
    #[error(
        "{0} backends are more than this version's {BACKENDS_PER_SERVICE}; put a second tier behind it"
    )]
    TooManyBackends(usize),
}

impl Model {
    /// Checks what no map can express.
    ///
    /// # Errors
    /// The first offence, with its cure.
    pub fn check(&self) -> Result<(), ModelError> {
        if self.services.len() > SERVICES {
            return Err(ModelError::TooManyServices(self.services.len()));
        }
        let mut vips: HashMap<Vip, &str> = HashMap::new();
        for service in &self.services {
            if let Some(other) = vips.insert(service.vip, &service.name) {
                return Err(ModelError::SharedVip(
                    other.to_owned(),
                    service.name.clone(),
                    service.vip,
                ));
            }
            let named = |error| ModelError::Service(service.name.clone(), error);
            service.check().map_err(named)?;
        }
        for service in &self.services {
            if let Some(error) = self.snat_is_vip(service) {
                return Err(ModelError::Service(service.name.clone(), error.into()));
            }
        }
        Ok(())
    }
}

impl Model {
    /// The VIP, of whichever service, that the sources of this one are of: answers would be taken for what that one's clients send.
    #[must_use]
    pub fn snat_is_vip(&self, service: &Service) -> Option<NatError> {
        let Deliver::Nat(Nat {
            snat: Some(Snat::From(from)),
            ..
        }) = service.deliver
        else {
            return None;
        };
        let mut vips = self.services.iter().map(|one| one.vip);
        let shared = vips.find(|vip| vip.covers(from.address()) || from.covers(vip.ip));
        shared.map(|vip| NatError::SnatIsVip(from, vip))
    }

    /// The same services, with these shares and no others.
    #[must_use]
    pub fn with_shares(&self, shares: &Shares) -> Self {
        let mut model = self.clone();
        for service in &mut model.services {
            let is_reduced = |(address, share): &(&IpAddr, &Share)| {
                let mut backends = service.deliver.backends().iter();
                **share != Share::WHOLE && backends.any(|one| one.address == **address)
            };
            let its = shares.get(&service.vip).into_iter().flatten();
            let reduced = its
                .filter(is_reduced)
                .map(|(address, share)| (*address, *share));
            service.reduced = reduced.collect();
        }
        model
    }
}

impl Service {
    /// A service that says nothing else.
    #[must_use]
    pub const fn new(name: String, vip: Vip, deliver: Deliver) -> Self {
        Self {
            name,
            vip,
            deliver,
            affinity: Affinity::Flow,
            connection_idle: CONNECTION_IDLE,
            drain_limit: None,
            reduced: BTreeMap::new(),
            allow_host_address: false,
        }
    }

    /// The quarters of its share that a backend has.
    #[must_use]
    pub fn quarters(&self, backend: IpAddr) -> u8 {
        self.share(backend).quarters
    }

    /// What its checks leave a backend.
    #[must_use]
    pub fn share(&self, backend: IpAddr) -> Share {
        self.reduced.get(&backend).copied().unwrap_or(Share::WHOLE)
    }

    fn check(&self) -> Result<(), ServiceError> {
        self.vip.check()?;
        self.deliver.check(self.vip)?;
        let (least, most) = CONNECTION_IDLES;
        if !(least..=most).contains(&self.connection_idle) {
            return Err(ServiceError::ConnectionIdle(self.connection_idle));
        }
        let (least, most) = DRAIN_LIMITS;
        if let Some(limit) = self
            .drain_limit
            .filter(|limit| !(least..=most).contains(limit))
        {
            return Err(ServiceError::DrainLimit(limit));
        }
        let mut seen = HashSet::new();
        for backend in self.deliver.backends() {
            backend.check()?;
            self.deliver.takes(self.vip, backend.address)?;
            if !seen.insert(backend.address) {
                return Err(ServiceError::SharedBackend(backend.address));
            }
        }
        Ok(())
    }
}

impl Vip {
    /// The shortest prefixes that are taken: a mistyped one must not take the whole network.
    const LEAST_V4: u8 = 8;
    const LEAST_V6: u8 = 16;

    /// Whether clients can send to it.
    ///
    /// # Errors
    /// [`ServiceError::WidePrefix`], [`ServiceError::InsidePrefix`], [`ServiceError::Vip`].
    pub fn check(self) -> Result<(), ServiceError> {
        let least = match self.ip {
            IpAddr::V4(_) => Self::LEAST_V4,
            IpAddr::V6(_) => Self::LEAST_V6,
        };
        if self.bits < least {
            return Err(ServiceError::WidePrefix(self, least));
        }
        let first = self.first();
        if first != self.ip {
            return Err(ServiceError::InsidePrefix(self, Self { ip: first, ..self }));
        }
        Unfit::check(self.ip).map_err(|why| ServiceError::Vip(self, why))
    }
}

impl Deliver {
    /// Whether this can be done with a VIP's packets; the backends one by one are [`takes`](Self::takes)'s.
    ///
    /// # Errors
    /// [`ServiceError::UdpListener`], [`ServiceError::ListenerName`], [`ServiceError::Nat`],
    /// [`ServiceError::TooManyBackends`].
    pub fn check(&self, vip: Vip) -> Result<(), ServiceError> {
        if let Self::Listener(listener) = self {
            if vip.proto == Proto::Udp {
                return Err(ServiceError::UdpListener(vip));
            }
            if listener.len() > LISTENER_NAME || listener.is_empty() {
                return Err(ServiceError::ListenerName(listener.clone()));
            }
        }
        if let Self::Nat(nat) = self {
            nat.check(vip)?;
        }
        let backends = self.backends().len();
        if backends > BACKENDS_PER_SERVICE {
            return Err(ServiceError::TooManyBackends(backends));
        }
        Ok(())
    }

    /// Whether a VIP's packets can be brought to this backend so.
    ///
    /// # Errors
    /// [`ServiceError::OwnBackend`], [`ServiceError::Family`], [`ServiceError::Nat`].
    pub fn takes(&self, vip: Vip, backend: IpAddr) -> Result<(), ServiceError> {
        if vip.covers(backend) {
            return Err(ServiceError::OwnBackend(backend));
        }
        if matches!(self, Self::L2(_)) && backend.is_ipv4() != vip.ip.is_ipv4() {
            return Err(ServiceError::Family(backend, vip));
        }
        if let Self::Nat(nat) = self {
            nat.takes(vip, backend)?;
        }
        Ok(())
    }
}

impl Backend {
    /// Whether it can be sent to, whatever the service.
    ///
    /// # Errors
    /// [`ServiceError::Backend`], [`ServiceError::Weight`].
    pub fn check(&self) -> Result<(), ServiceError> {
        Unfit::check(self.address).map_err(|why| ServiceError::Backend(self.address, why))?;
        if !(1..=1000).contains(&self.weight) {
            return Err(ServiceError::Weight(self.address, self.weight));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
