//! The signals that a daemon is told by.

use std::io;

use rustix::process::Signal;
use tokio::signal::unix::{self, SignalKind, signal};

/// SIGTERM, SIGINT and SIGHUP. None is lost from the moment that this is made.
#[derive(Debug)]
pub struct Signals {
    terminate: unix::Signal,
    interrupt: unix::Signal,
    hangup: unix::Signal,
}

impl Signals {
    /// Begins to hear them.
    ///
    /// # Errors
    ///
    /// The system does not let signals be heard.
    pub fn hear() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for the next one.
    pub async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.terminate.recv() => Signal::TERM,
            _ = self.interrupt.recv() => Signal::INT,
            _ = self.hangup.recv() => Signal::HUP,
        }
    }

    /// Waits until the end is asked for.
    pub async fn end(&mut self) {
        while !is_end(self.next().await) {}
    }
}

/// Whether a signal asks for the end, not for a reload.
#[must_use]
pub fn is_end(signal: Signal) -> bool {
    signal != Signal::HUP
}
