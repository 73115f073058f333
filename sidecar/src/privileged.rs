//! Two processes of one binary: one serves requests and may do nothing that a user without rights may not; the other does for it
//! what wants rights: the datapath, ports below 1024, the start of the next version. A pair of sockets joins them.
//!
//! The one that serves is the daemon to the outside: it has the process number that supervisors know, and ends when it is told.
//! The other ends with it. If the privileged one ends first, requests and packets go on as they are; nothing that it does can be
//! changed until the daemon is restarted.

mod handle;
mod message;
mod process;
mod rights;
mod user;

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdStream;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use tokio::net::UnixStream;

pub use handle::Privileged;
pub use process::{Given, run};
pub use rights::{Capability, Rights, StepError, give_up_all};
pub use user::{User, UserError};

use crate::wire::Wire;
use message::MOST;

/// The command that the privileged process is started by.
pub const COMMAND: &str = "privileged";

/// A privileged process that was started, before there is a runtime to talk to it.
#[derive(Debug)]
pub struct Process {
    child: Child,
    stream: StdStream,
}

impl Process {
    /// Starts it from the file that this process runs, whatever stands in its place by now. To be called while this process still
    /// has its rights; afterwards [`give_up_all`].
    ///
    /// # Errors
    ///
    /// It cannot be started.
    pub fn start(config: &Path) -> io::Result<Self> {
        let (stream, theirs) = StdStream::pair()?;
        let mut command = Command::new("/proc/self/exe");
        let own = std::env::args_os().next();
        command
            // What it was started as says where the next version stands.
            .arg0(own.unwrap_or_else(|| "tollgate".into()))
            .args([COMMAND, "--config"])
            .arg(config)
            .stdin(Stdio::from(OwnedFd::from(theirs)));
        let child = command.spawn().map_err(|error| {
            let said = format!("the privileged process cannot be started: {error}");
            io::Error::new(error.kind(), said)
        })?;
        Ok(Self { child, stream })
    }

    /// Begins to talk to it, on the current runtime.
    ///
    /// # Errors
    ///
    /// Its socket cannot be polled.
    pub fn talk(self) -> io::Result<Arc<Privileged>> {
        self.stream.set_nonblocking(true)?;
        let wire = Wire::new(UnixStream::from_std(self.stream)?, MOST);
        Ok(Privileged::over(wire, Some(self.child)))
    }
}
