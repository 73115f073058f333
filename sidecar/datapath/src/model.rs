//! The services as the user meant them.

use std::{
    collections::HashSet,
    fmt,
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use tollgate_common::limits::{BACKENDS_PER_SERVICE, LISTENER_NAME, SERVICES};

/// Everything that the datapath is to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Model {
    /// The services; the order means nothing.
    pub services: Vec<Service>,
}

/// One service: an address, and where its packets go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// What people call it; in status and metrics only.
    pub name: String,
    /// Where its clients send to. One service each.
    pub vip: Vip,
    /// Where its packets go.
    pub deliver: Deliver,
}

/// A virtual address, with port and protocol: `203.0.113.10:443/tcp`, `[2001:db8::1]:443/tcp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Vip {
    /// The address.
    pub ip: IpAddr,
    /// The port, 1 to 65535.
    pub port: u16,
    /// The protocol.
    pub proto: Proto,
}

/// A transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Proto {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// Where the packets of a service go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deliver {
    /// To the local listener of this name.
    Listener(String),
    /// To backends, inside an IP header of their own.
    Ipip(Vec<Backend>),
    /// To backends on the same segment, by new MAC addresses.
    L2(Vec<Backend>),
}

/// One backend of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// Where it is. With [`Deliver::Ipip`] of either family, whatever the service's is.
    pub address: IpAddr,
    /// Its share, relative to the others', 1 to 1000.
    pub weight: u32,
    /// Takes no flows. In this version also the flows that it has are dealt anew.
    pub drain: bool,
}

impl Deliver {
    /// The word for it in the configuration.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Listener(_) => "listener",
            Self::Ipip(_) => "ipip",
            Self::L2(_) => "l2",
        }
    }

    /// The backends, none for a listener.
    #[must_use]
    pub fn backends(&self) -> &[Backend] {
        match self {
            Self::Listener(_) => &[],
            Self::Ipip(backends) | Self::L2(backends) => backends,
        }
    }
}

/// Why a model cannot be done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ModelError {
    /// Two services of one address.
    #[error("the services `{0}` and `{1}` share {2}; give one of them another address or port")]
    SharedVip(String, String, Vip),
    /// The address is not one that clients could send to.
    #[error(
        "service `{0}`: {1} is not a unicast address with a port; give an address that clients can reach"
    )]
    BadVip(String, Vip),
    /// Listeners are TCP.
    #[error(
        "service `{0}`: {1} is UDP, which no listener takes in this version; deliver it by `ipip` or `l2`"
    )]
    UdpListener(String, Vip),
    /// The name does not fit the map.
    #[error(
        "service `{0}`: the listener's name `{1}` is longer than {LISTENER_NAME} bytes; choose a shorter one"
    )]
    ListenerName(String, String),
    /// One backend twice.
    #[error("service `{0}`: the backend {1} stands twice; give it a larger weight instead")]
    SharedBackend(String, IpAddr),
    /// The weight is out of range.
    #[error(
        "service `{0}`: the backend {1} has the weight {2}; allowed are 1 to 1000, `drain` takes a backend out"
    )]
    Weight(String, IpAddr, u32),
    /// The MAC rewrite keeps the packet's family.
    #[error(
        "service `{0}`: `l2` reaches the backend {1} only if it is of the family of {2}; use `ipip`"
    )]
    Family(String, IpAddr, Vip),
    /// Too many services.
    #[error("{0} services are more than this version's {SERVICES}; move some to another node")]
    TooManyServices(usize),
    /// Too many backends in one service.
    #[error(
        "service `{0}` has {1} backends, more than this version's {BACKENDS_PER_SERVICE}; put a second tier behind it"
    )]
    TooManyBackends(String, usize),
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
        let mut vips: std::collections::HashMap<Vip, &str> = std::collections::HashMap::new();
        for service in &self.services {
            if let Some(other) = vips.insert(service.vip, &service.name) {
                return Err(ModelError::SharedVip(
                    other.to_owned(),
                    service.name.clone(),
                    service.vip,
                ));
            }
            service.check()?;
        }
        Ok(())
    }
}

impl Service {
    fn check(&self) -> Result<(), ModelError> {
        let name = || self.name.clone();
        let vip = self.vip;
        if vip.port == 0 || vip.ip.is_unspecified() || vip.ip.is_loopback() || vip.ip.is_multicast()
        {
            return Err(ModelError::BadVip(name(), vip));
        }
        if let Deliver::Listener(listener) = &self.deliver {
            if vip.proto == Proto::Udp {
                return Err(ModelError::UdpListener(name(), vip));
            }
            if listener.len() > LISTENER_NAME || listener.is_empty() {
                return Err(ModelError::ListenerName(name(), listener.clone()));
            }
        }
        let backends = self.deliver.backends();
        if backends.len() > BACKENDS_PER_SERVICE {
            return Err(ModelError::TooManyBackends(name(), backends.len()));
        }
        let mut seen = HashSet::new();
        for backend in backends {
            if !seen.insert(backend.address) {
                return Err(ModelError::SharedBackend(name(), backend.address));
            }
            if !(1..=1000).contains(&backend.weight) {
                return Err(ModelError::Weight(name(), backend.address, backend.weight));
            }
            if matches!(self.deliver, Deliver::L2(_))
                && backend.address.is_ipv4() != vip.ip.is_ipv4()
            {
                return Err(ModelError::Family(name(), backend.address, vip));
            }
        }
        Ok(())
    }
}

/// Why a text is not a [`Vip`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VipError {
    /// No protocol.
    #[error("`{0}` lacks its protocol; write it as 203.0.113.10:443/tcp or [2001:db8::1]:443/tcp")]
    NoProtocol(String),
    /// Not `tcp` or `udp`.
    #[error("`{0}` is no protocol for a service; write /tcp or /udp")]
    Protocol(String),
    /// Not an address with a port.
    #[error(
        "`{0}` is not an address with a port; write it as 203.0.113.10:443 or [2001:db8::1]:443"
    )]
    Address(String),
    /// Port 0.
    #[error("port 0 would mean any port, which is not available in this version; name the port")]
    AnyPort,
}

impl FromStr for Vip {
    type Err = VipError;

    fn from_str(text: &str) -> Result<Self, VipError> {
        let (address, proto) = text
            .rsplit_once('/')
            .ok_or_else(|| VipError::NoProtocol(text.to_owned()))?;
        let proto = match proto {
            "tcp" => Proto::Tcp,
            "udp" => Proto::Udp,
            other => return Err(VipError::Protocol(other.to_owned())),
        };
        let address: SocketAddr = address
            .parse()
            .map_err(|_| VipError::Address(address.to_owned()))?;
        if address.port() == 0 {
            return Err(VipError::AnyPort);
        }
        Ok(Self {
            ip: address.ip(),
            port: address.port(),
            proto,
        })
    }
}

impl fmt::Display for Vip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", SocketAddr::new(self.ip, self.port), self.proto)
    }
}

impl fmt::Display for Proto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vip_reads_as_it_is_written() {
        for text in ["203.0.113.10:443/tcp", "[2001:db8::1]:53/udp"] {
            assert_eq!(
                text.parse::<Vip>().map(|vip| vip.to_string()),
                Ok(text.to_owned())
            );
        }
        let error = |text: &str| text.parse::<Vip>().unwrap_err();
        assert!(matches!(error("203.0.113.10:443"), VipError::NoProtocol(_)));
        assert!(matches!(
            error("203.0.113.10:443/sctp"),
            VipError::Protocol(_)
        ));
        assert!(matches!(error("2001:db8::1:443/tcp"), VipError::Address(_)));
        assert!(matches!(error("203.0.113.10:0/tcp"), VipError::AnyPort));
    }

    #[test]
    fn what_no_map_expresses_is_refused() {
        let backend = |address: &str, weight| Backend {
            address: address.parse().unwrap(),
            weight,
            drain: false,
        };
        let check = |vip: &str, deliver| {
            let service = Service {
                name: "s".into(),
                vip: vip.parse().unwrap(),
                deliver,
            };
            Model {
                services: vec![service],
            }
            .check()
        };
        let twice = vec![backend("10.0.0.1", 1), backend("10.0.0.1", 2)];
        assert!(matches!(
            check("192.0.2.1:80/tcp", Deliver::Ipip(twice)),
            Err(ModelError::SharedBackend(..))
        ));
        let light = vec![backend("10.0.0.1", 0)];
        assert!(matches!(
            check("192.0.2.1:80/tcp", Deliver::L2(light)),
            Err(ModelError::Weight(..))
        ));
        let mixed = vec![backend("fd00::1", 1)];
        assert!(check("192.0.2.1:80/tcp", Deliver::Ipip(mixed.clone())).is_ok());
        assert!(matches!(
            check("192.0.2.1:80/tcp", Deliver::L2(mixed)),
            Err(ModelError::Family(..))
        ));
        assert!(matches!(
            check("192.0.2.1:80/udp", Deliver::Listener("edge".into())),
            Err(ModelError::UdpListener(..))
        ));
        assert!(matches!(
            check("127.0.0.1:80/tcp", Deliver::Listener("edge".into())),
            Err(ModelError::BadVip(..))
        ));
    }
}
