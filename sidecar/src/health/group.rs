//! What is watched: groups of members that stand in for each other.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::pin::Pin;
use std::sync::Arc;

use super::settings::Settings;
use super::state::Share;

/// Whose members they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Backends of a service of the datapath.
    Service,
    /// Endpoints of an upstream.
    Upstream,
}

impl Kind {
    /// The word for it in status, log and metrics.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Upstream => "upstream",
        }
    }
}

/// Names a group.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name {
    /// Whose members they are.
    pub kind: Kind,
    /// Its name in the file.
    pub name: Arc<str>,
}

/// Members that stand in for each other.
#[derive(Clone, Debug)]
pub struct Group {
    /// Whose they are.
    pub name: Name,
    /// How each is checked.
    pub settings: Settings,
    /// Who is checked.
    pub members: Vec<Member>,
}

/// One of them.
#[derive(Clone, Debug)]
pub struct Member {
    /// Who it is.
    pub address: Address,
    /// It is to take new connections; one that drains is not.
    pub counts: bool,
    /// Where its checks go.
    pub target: Target,
    /// What a previous daemon left it, if one did.
    pub adopted: Option<Share>,
}

/// Who a member is: an address, with a port where that is part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    /// Its address.
    pub ip: IpAddr,
    /// Its port.
    pub port: Option<u16>,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            None => self.ip.fmt(f),
            Some(port) => SocketAddr::new(self.ip, port).fmt(f),
        }
    }
}

/// Where checks go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The address that is connected to.
    pub ip: IpAddr,
    /// The port, where the check names none.
    pub port: u16,
    /// The way by the VIP, where there is one.
    pub way: Option<Way>,
}

/// A future that who answers gives.
pub type Reply<'r, T> = Pin<Box<dyn Future<Output = T> + Send + 'r>>;

/// Whoever may mark packets, and counts those that went by the VIP for it.
pub trait ByVip: Send + Sync {
    /// A socket for a connection to this family, whose packets bear a mark.
    fn socket(&self, ipv6: bool, mark: u32) -> Reply<'_, io::Result<TcpStream>>;

    /// How many packets with a mark have gone by the VIP; `None`: the mark is not known.
    fn count(&self, mark: u32) -> Reply<'_, Option<u64>>;
}

/// The way of checks that go by the VIP.
#[derive(Clone)]
pub struct Way {
    /// The mark that the connection bears (SO_MARK), by which its packets are told from others.
    pub mark: u32,
    /// Who makes such connections; the same for as long as the daemon runs.
    pub by: Arc<dyn ByVip>,
}

impl PartialEq for Way {
    fn eq(&self, other: &Self) -> bool {
        self.mark == other.mark
    }
}

impl Eq for Way {}

impl fmt::Debug for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Way({:#x})", self.mark)
    }
}
