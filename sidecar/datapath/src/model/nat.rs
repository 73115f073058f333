//! What `deliver: nat` translates to, and for how long it remembers.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use tollgate_common::nat::Stage;

use super::{backend::Backend, unfit::Unfit, vip::Vip};
use crate::prefix::Prefix;

/// How a service's packets are translated.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Nat {
    /// The backends.
    pub backends: Vec<Backend>,
    /// The ports of those that have not the VIP's.
    pub ports: BTreeMap<IpAddr, u16>,
    /// Where packets come from then; `None`: from their clients, as they did.
    pub snat: Option<Snat>,
    /// For how long flows may be silent.
    pub timeouts: Timeouts,
}

/// Where translated packets come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Snat {
    /// From the address that this host has towards the backend.
    Own,
    /// From these addresses, which answers must be routed here for.
    From(Prefix),
}

/// For how long a translated flow may be silent, by how far it is ([`Stage`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Timeouts {
    /// TCP that is open.
    pub tcp_established: Duration,
    /// TCP that opens, or that one side has ended.
    pub tcp_transitory: Duration,
    /// TCP that both sides have ended, or one has reset.
    pub tcp_closed: Duration,
    /// Datagrams of the client alone.
    pub udp: Duration,
    /// Datagrams of both sides.
    pub udp_stream: Duration,
}

impl Default for Timeouts {
    /// Of TCP as RFC 5382, REQ-5, has them at least, and for as long as a host may remember a connection that is over
    /// (TIME-WAIT: RFC 9293, section 3.6.1), so that its port does not come back before; of datagrams both ways as RFC 4787,
    /// REQ-5, recommends.
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            tcp_established: seconds(2 * 3600 + 4 * 60),
            tcp_transitory: seconds(4 * 60),
            tcp_closed: seconds(2 * 60),
            udp: seconds(30),
            udp_stream: seconds(5 * 60),
        }
    }
}

/// One of the [`Timeouts`].
#[derive(Clone, Copy, Debug)]
pub struct Timeout {
    /// Its key in the configuration.
    pub name: &'static str,
    /// The least and the most that it may be.
    pub bounds: (Duration, Duration),
    /// Where it stands.
    pub of: fn(&mut Timeouts) -> &mut Duration,
}

impl Timeouts {
    /// All of them, by the names that the configuration has.
    pub const ALL: [Timeout; 5] = [
        Timeout {
            name: "tcp_established",
            bounds: (Duration::from_secs(60), Duration::from_secs(7 * 24 * 3600)),
            of: |all| &mut all.tcp_established,
        },
        Timeout {
            name: "tcp_transitory",
            bounds: (Duration::from_secs(5), Duration::from_secs(3600)),
            of: |all| &mut all.tcp_transitory,
        },
        Timeout {
            name: "tcp_closed",
            bounds: (Duration::from_secs(1), Duration::from_secs(600)),
            of: |all| &mut all.tcp_closed,
        },
        Timeout {
            name: "udp",
            bounds: (Duration::from_secs(1), Duration::from_secs(3600)),
            of: |all| &mut all.udp,
        },
        Timeout {
            name: "udp_stream",
            bounds: (Duration::from_secs(1), Duration::from_secs(24 * 3600)),
            of: |all| &mut all.udp_stream,
        },
    ];

    /// For how long a flow may be silent that is so far.
    #[must_use]
    pub const fn of(&self, stage: Stage) -> Duration {
        match stage {
            Stage::Transitory => self.tcp_transitory,
            Stage::Established => self.tcp_established,
            Stage::Closed => self.tcp_closed,
            Stage::Udp => self.udp,
            Stage::UdpStream => self.udp_stream,
        }
    }
}

/// Why a service cannot be translated so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NatError {
    /// Headers keep their family.
    #[error(
        "the VIP {1} and the backend {0} are of different IP versions; `nat` keeps the packet's, so use `ipip` or `gue`"
    )]
    Family(IpAddr, Vip),
    /// Nobody listens there.
    #[error(
        "`port: 0` of the backend {0} is no port; name one from 1 to 65535, or leave it out for the VIP's"
    )]
    PortZero(IpAddr),
    /// As above, of sources.
    #[error(
        "the VIP {1} and `snat: {0}` are of different IP versions; name addresses of the VIP's, or say `snat: true`"
    )]
    SnatFamily(Prefix, Vip),
    /// Hosts drop what comes from there.
    #[error("nothing can come from {0}: {1}")]
    Snat(Prefix, Unfit),
    /// What an entry has no room for.
    #[error("`snat: {0}` names more than 65536 addresses; write a prefix of at least {1} bits")]
    SnatWide(Prefix, u8),
    /// Answers would be taken for clients' packets.
    #[error(
        "`snat: {0}` and the VIP {1} share addresses; answers could not be told from clients' packets, so name others"
    )]
    SnatIsVip(Prefix, Vip),
    /// Too short or too long.
    #[error("`{0}` of {1:?} is out of range; allowed are {2:?} to {3:?}")]
    Timeout(&'static str, Duration, Duration, Duration),
}

impl Nat {
    /// The port of a backend of this VIP; 0: the one that the client sent to.
    #[must_use]
    pub fn port(&self, vip: u16, backend: IpAddr) -> u16 {
        self.ports.get(&backend).copied().unwrap_or(vip)
    }

    /// Whether it can be done with a VIP's packets; the backends one by one are [`takes`](Self::takes)'s.
    ///
    /// # Errors
    /// [`NatError`].
    pub fn check(&self, vip: Vip) -> Result<(), NatError> {
        if let Some(Snat::From(from)) = self.snat {
            let whole = if vip.ip.is_ipv4() { 32 } else { 128 };
            if from.address().is_ipv4() != vip.ip.is_ipv4() {
                return Err(NatError::SnatFamily(from, vip));
            }
            if whole - from.bits() > 16 {
                return Err(NatError::SnatWide(from, whole - 16));
            }
            Unfit::check(from.address()).map_err(|why| NatError::Snat(from, why))?;
            if vip.covers(from.address()) || from.covers(vip.ip) {
                return Err(NatError::SnatIsVip(from, vip));
            }
        }
        let mut timeouts = self.timeouts;
        for Timeout { name, bounds, of } in Timeouts::ALL {
            let (least, most) = bounds;
            let said = *of(&mut timeouts);
            if !(least..=most).contains(&said) {
                return Err(NatError::Timeout(name, said, least, most));
            }
        }
        Ok(())
    }

    /// Whether a VIP's packets can be translated to this backend.
    ///
    /// # Errors
    /// [`NatError::Family`], [`NatError::PortZero`].
    pub fn takes(&self, vip: Vip, backend: IpAddr) -> Result<(), NatError> {
        if backend.is_ipv4() != vip.ip.is_ipv4() {
            return Err(NatError::Family(backend, vip));
        }
        if self.ports.get(&backend) == Some(&0) {
            return Err(NatError::PortZero(backend));
        }
        Ok(())
    }
}
