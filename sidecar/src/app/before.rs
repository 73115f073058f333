//! What a predecessor leaves to a daemon that starts: its listening sockets, by a hand-over or by a supervisor that kept them.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;

use crate::config::model::ListenerConfig;
use crate::handover::{Named, Role, Taking};
use crate::privileged::Privileged;
use crate::supervisor::{self, Kept};

/// What there is to begin with; nothing, for a daemon that starts for the first time within another program.
#[derive(Debug, Default)]
pub struct Before {
    /// Sockets that a supervisor kept.
    pub kept: Kept,
    /// The hand-over under way.
    pub taking: Option<Taking>,
    /// Who does what wants rights; `None`: this process itself, as far as it can.
    pub privileged: Option<Arc<Privileged>>,
    /// Which of the running daemon's sockets are used.
    taken: Vec<Named>,
}

impl Before {
    /// What a supervisor kept, and what a running daemon gives; and who does what wants rights.
    #[must_use]
    pub fn new(kept: Kept, taking: Option<Taking>, privileged: Arc<Privileged>) -> Self {
        Self {
            kept,
            taking,
            privileged: Some(privileged),
            taken: Vec::new(),
        }
    }

    /// Whether another daemon serves meanwhile.
    pub(super) fn is_taking(&self) -> bool {
        self.taking.is_some()
    }

    /// Lets go of what a supervisor kept at addresses that no listener has any more: another may be about to be bound there.
    pub(super) fn release_unwanted(&mut self, listeners: &[ListenerConfig]) {
        let is_unwanted = |(name, socket): &mut (String, TcpListener)| {
            let mut wanting = listeners.iter();
            !wanting.any(|one| is_of(&one.name, one.address, name, socket))
        };
        for (name, _) in self.kept.extract_if(.., is_unwanted) {
            supervisor::release(&name);
        }
    }

    /// The sockets that listen on an address, whatever the listener was called; where the kernel chose the port, those of the
    /// listener's name.
    pub(super) fn listener(&mut self, name: &str, address: SocketAddr) -> Vec<TcpListener> {
        let is_it = |known: &str, socket: &TcpListener| is_of(name, address, known, socket);
        let mut found = Vec::new();
        for (named, fd) in self.of(&Role::Listener) {
            let socket = TcpListener::from(fd);
            if is_it(&named.name, &socket) {
                self.took(named);
                found.push(socket);
            } else {
                self.give_back(named, socket.into());
            }
        }
        // The running daemon's are the same ones, where there is one.
        if found.is_empty() && !self.is_taking() {
            let ours = self
                .kept
                .extract_if(.., |(known, socket)| is_it(known, socket));
            found.extend(ours.map(|(_, socket)| socket));
        }
        found
    }

    /// The Unix socket of this role and path.
    pub(super) fn unix(&mut self, role: &Role, path: &Path) -> Option<UnixListener> {
        let mut found = None;
        for (named, fd) in self.of(role) {
            if found.is_none() && Path::new(&named.name) == path {
                self.took(named);
                found = Some(UnixListener::from(fd));
            } else {
                self.give_back(named, fd);
            }
        }
        found
    }

    /// The admin address's socket.
    pub(super) fn admin_tcp(&mut self, address: SocketAddr) -> io::Result<Option<TcpListener>> {
        let mut found = None;
        for (named, fd) in self.of(&Role::AdminTcp) {
            let socket = TcpListener::from(fd);
            let is_it = found.is_none() && socket.local_addr()? == address;
            if is_it {
                self.took(named);
                found = Some(socket);
            } else {
                self.give_back(named, socket.into());
            }
        }
        Ok(found)
    }

    /// Closes what nobody wanted, and says what was taken.
    pub(super) fn settle(&mut self) -> Vec<Named> {
        if let Some(taking) = &mut self.taking {
            taking.sockets.clear();
        }
        std::mem::take(&mut self.taken)
    }

    fn of(&mut self, role: &Role) -> Vec<(Named, OwnedFd)> {
        let Some(taking) = &mut self.taking else {
            return Vec::new();
        };
        taking
            .sockets
            .extract_if(.., |(named, _)| named.role == *role)
            .collect()
    }

    fn took(&mut self, named: Named) {
        if !self.taken.contains(&named) {
            self.taken.push(named);
        }
    }

    fn give_back(&mut self, named: Named, fd: OwnedFd) {
        if let Some(taking) = &mut self.taking {
            taking.sockets.push((named, fd));
        }
    }
}

/// Whether a socket of a listener of that time is the one of this listener now.
fn is_of(name: &str, address: SocketAddr, known: &str, socket: &TcpListener) -> bool {
    match socket.local_addr() {
        Ok(bound) if address.port() == 0 => known == name && bound.ip() == address.ip(),
        Ok(bound) => bound == address,
        Err(_) => false,
    }
}
