//! What the datapath is told and what it answers. Both sides are the same binary, so there are no versions here.

use std::net::IpAddr;
use std::os::fd::OwnedFd;

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use tollgate_datapath::model::{Model, Service, Shares, Tunnel, Vip};
use tollgate_datapath::{Config, FlowExplanation, FlowQuestion, Status};

/// What does not change while a daemon runs: who loads the datapath knows it from the file, not from who asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fixed {
    /// Where and how it attaches.
    pub attach: Config,
    /// The lower half of the marks of checks.
    pub mark: u16,
}

/// Whose checks take the way of their clients' packets.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct ByVip {
    /// Services of the model that stands.
    pub services: Vec<Service>,
    /// What tunnels say of this side.
    pub tunnel: Tunnel,
}

/// An order; what descriptors come with it is said of each.
#[derive(Debug, Serialize, Deserialize)]
pub enum Order {
    /// The first one: loads or adopts the datapath, if this is what stands in the file. Perhaps with a file of what a predecessor of another layout remembered.
    Open(Fixed),
    /// Leaves the kernel as it is from here on; whether it may have to go on. Answered with a file of what flows are remembered by.
    Rest {
        /// Another daemon may come to nothing.
        may_resume: bool,
    },
    /// Takes back what was lent.
    Resume,
    /// Does what the model says.
    Apply {
        /// What to do.
        model: Model,
        /// The listeners whose sockets come with it, in this order.
        sockets: Vec<String>,
    },
    /// Counters and states of this moment.
    Status,
    /// Gives backends other shares.
    Weigh(Shares),
    /// The shares that backends of a model have already.
    Shares(Model),
    /// Lets checks go by the VIP.
    Marks(ByVip),
    /// How many packets with a mark have gone by the VIP.
    Count(u32),
    /// A socket whose packets bear a mark that [`Marks`](Self::Marks) was answered with.
    Marked {
        /// Of IPv6.
        ipv6: bool,
        /// The mark.
        mark: u32,
    },
    /// Where a client's packets go.
    Explain(FlowQuestion),
}

/// An answer; each order has its own.
#[derive(Debug, Serialize, Deserialize)]
pub enum Answer {
    /// It is done. With the socket, or the file of what is remembered, if it was asked for.
    Done,
    /// It is not, and why.
    Failed(String),
    /// To [`Order::Status`].
    Status(Box<Status>),
    /// To [`Order::Shares`].
    Shares(Shares),
    /// To [`Order::Marks`]: the marks of connections, by service and backend.
    Marks(Vec<(Vip, IpAddr, u32)>),
    /// To [`Order::Count`]; `None`: the mark is not known.
    Count(Option<u64>),
    /// To [`Order::Explain`].
    Explained(Box<FlowExplanation>),
}

/// An order on its way.
#[derive(Debug)]
pub struct Asked {
    /// What is to be done.
    pub order: Order,
    /// What comes with it.
    pub fds: Vec<OwnedFd>,
    /// Where the answer goes.
    pub answer: oneshot::Sender<(Answer, Vec<OwnedFd>)>,
}
