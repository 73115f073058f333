//! Where a daemon stands with those who want to take over from it.

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};
use tokio::sync::Notify;

use super::upgrade::Upgrades;
use crate::handover::{Failure, Named, Offer, Role, Successor};
use crate::privileged::Privileged;
use crate::{VERSION, supervisor};

/// What a daemon knows of its successor.
#[derive(Debug)]
pub(super) struct Giving {
    upgrades: Upgrades,
    /// Where a hand-over is asked for, if it can be.
    place: Option<PathBuf>,
    under_way: AtomicBool,
    /// What is handed over beside the listeners' sockets.
    own: Mutex<Vec<(Named, OwnedFd)>>,
    successor: Mutex<Option<Successor>>,
    succeeded: Notify,
}

impl Giving {
    pub(super) fn new(
        place: Option<PathBuf>,
        own: Vec<(Named, OwnedFd)>,
        privileged: Option<Arc<Privileged>>,
    ) -> Self {
        Self {
            upgrades: Upgrades::new(privileged),
            place,
            under_way: AtomicBool::new(false),
            own: Mutex::new(own),
            successor: Mutex::default(),
            succeeded: Notify::new(),
        }
    }

    /// Starts the next version and waits for what comes of it.
    pub(super) async fn upgrade(&self) -> Result<Value, String> {
        let place = self.place.as_ref().ok_or_else(|| {
            "nobody can take over from this daemon: its hand-over socket was not bound, the log says why".to_owned()
        })?;
        if self.is_under_way() {
            return Err("another daemon is about to take over already".to_owned());
        }
        let successor = self.upgrades.run(place).await?;
        Ok(json!({
            "upgraded": true,
            "from": VERSION,
            "to": successor.version,
            "pid": successor.pid,
        }))
    }

    /// Whether another daemon is about to take over.
    pub(super) fn is_under_way(&self) -> bool {
        self.under_way.load(Ordering::Relaxed)
    }

    /// A hand-over begins: these sockets of listeners, and the daemon's own.
    pub(super) fn offer(
        &self,
        listeners: Vec<(Named, OwnedFd)>,
        ready: bool,
    ) -> Result<Offer, String> {
        let double = |(named, fd): &(Named, OwnedFd)| Ok((named.clone(), fd.try_clone()?));
        let mut sockets = listeners;
        for one in &*lock(&self.own) {
            let doubled: io::Result<_> = double(one);
            sockets
                .push(doubled.map_err(|error| format!("the sockets cannot be doubled: {error}"))?);
        }
        self.under_way.store(true, Ordering::Relaxed);
        Ok(Offer {
            version: VERSION.to_owned(),
            ready,
            sockets,
        })
    }

    /// Ends the process that was started to take over, if it is this one.
    pub(super) async fn end(&self, pid: Option<u32>) {
        if let Some(pid) = pid {
            self.upgrades.end(pid).await;
        }
    }

    /// The daemon ends: nobody is to take over any more.
    pub(super) async fn stop(&self) {
        self.upgrades.stop().await;
    }

    /// It came to nothing.
    pub(super) fn failed(&self, failure: &Failure) {
        tracing::error!("no other daemon took over: {}", failure.why);
        self.under_way.store(false, Ordering::Relaxed);
        self.upgrades.failed(failure);
    }

    /// It is done.
    pub(super) fn done(&self, successor: Successor) {
        supervisor::succeeded_by(successor.pid);
        *lock(&self.successor) = Some(successor.clone());
        self.upgrades.done(successor);
        self.succeeded.notify_one();
    }

    /// Whether another daemon has taken over.
    pub(super) fn has_succeeded(&self) -> bool {
        lock(&self.successor).is_some()
    }

    /// Waits until it is.
    pub(super) async fn succeeded(&self) {
        self.succeeded.notified().await;
    }

    /// Lets go of what was handed over; says to whom.
    pub(super) fn leave(&self) -> Left {
        lock(&self.own).clear();
        Left(lock(&self.successor).take())
    }

    /// The process of the successor, if this daemon has started it.
    pub(super) fn started(&self) -> Option<u32> {
        self.upgrades.successor()
    }

    /// Why the last upgrade came to nothing.
    pub(super) fn last_error(&self) -> Option<String> {
        self.upgrades.last_error()
    }
}

/// Who has taken over, and what.
#[derive(Debug)]
pub(super) struct Left(Option<Successor>);

impl Left {
    /// Its process.
    pub(super) fn pid(&self) -> Option<u32> {
        self.0.as_ref().map(|one| one.pid)
    }

    /// Whether it has anything of this role.
    pub(super) fn has(&self, role: &Role) -> bool {
        self.taken().any(|one| one.role == *role)
    }

    /// Whether it has this listener's sockets.
    pub(super) fn has_listener(&self, name: &str) -> bool {
        self.taken()
            .any(|one| one.role == Role::Listener && one.name == name)
    }

    fn taken(&self) -> impl Iterator<Item = &Named> {
        self.0.iter().flat_map(|one| &one.taken)
    }
}

fn lock<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}
