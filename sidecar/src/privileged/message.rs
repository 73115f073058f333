//! What the two processes say to each other. They are the same binary, so there are no versions here.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::rights::Rights;
use crate::kernel;

/// Bytes of a message, at most: models and states of thousands of services.
pub(super) const MOST: usize = 256 << 20;

/// A call; several may be under way.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Call {
    pub(super) number: u64,
    pub(super) order: Order,
}

/// The answer to a call.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Said {
    pub(super) number: u64,
    pub(super) answer: Answer,
}

/// What the privileged process does for the one that serves.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Order {
    /// Says what it may do.
    Rights,
    /// Binds sockets, which come with the answer. With one that listens there already, or nobody else may.
    Bind { address: SocketAddr, count: usize },
    /// Starts the next version, which is to take over by this socket. What is started, and by which configuration, is not the
    /// other's to say.
    Start { place: PathBuf },
    /// Waits for the end of a process that was started.
    Wait { pid: u32 },
    /// Waits a while for the end of a process that was started, then makes an end.
    End { pid: u32, patience_millis: u64 },
    /// Of the datapath.
    Kernel(kernel::Order),
}

/// What comes of it; each order has its own.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Answer {
    /// It is done; what was bound comes with it.
    Done,
    /// It is not, and why.
    Failed(String),
    Rights(Rights),
    Started {
        pid: u32,
    },
    /// How a process ended; `None`: it was none of those that were started.
    Ended(Option<String>),
    Kernel(kernel::Answer),
}
