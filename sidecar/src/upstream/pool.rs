//! Idle connections to one endpoint, kept apart for each worker: a connection is driven by the runtime that opened it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hyper::client::conn::http1::SendRequest;

use super::body::RequestBody;

/// Idle connections kept per endpoint and worker; more are closed.
const MAX_IDLE: usize = 256;

/// The idle connections of one endpoint.
pub(super) struct Pool {
    shards: Box<[Mutex<VecDeque<Idle>>]>,
    keep: Duration,
    in_flight: AtomicUsize,
}

struct Idle {
    sender: SendRequest<RequestBody>,
    since: Instant,
}

impl Pool {
    pub(super) fn new(workers: usize, keep: Duration) -> Arc<Self> {
        Arc::new(Self {
            shards: (0..workers.max(1)).map(|_| Mutex::default()).collect(),
            keep,
            in_flight: AtomicUsize::new(0),
        })
    }

    /// Requests in flight at this endpoint.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// The connection used last that is free: the others get old and are closed. One whose request body is still being
    /// sent, though its response is over, is not free: whoever took it would wait for another client's upload.
    pub(super) fn take(&self, worker: usize) -> Option<SendRequest<RequestBody>> {
        let mut idle = self.shard(worker);
        let free = idle
            .iter()
            .rposition(|one| one.sender.is_ready() && one.since.elapsed() <= self.keep)?;
        idle.remove(free).map(|one| one.sender)
    }

    /// Closes what has been idle for too long.
    pub(super) fn sweep(&self, worker: usize) {
        self.shard(worker)
            .retain(|one| !one.sender.is_closed() && one.since.elapsed() <= self.keep);
    }

    fn put(&self, worker: usize, sender: SendRequest<RequestBody>) {
        let mut idle = self.shard(worker);
        if idle.len() >= MAX_IDLE {
            idle.pop_front();
        }
        idle.push_back(Idle {
            sender,
            since: Instant::now(),
        });
    }

    /// Contended only when more workers run than there are shards; never by a reload.
    fn shard(&self, worker: usize) -> std::sync::MutexGuard<'_, VecDeque<Idle>> {
        self.shards[worker % self.shards.len()]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts a request in flight until dropped.
pub(super) struct InFlight(Arc<Pool>);

impl InFlight {
    pub(super) fn new(pool: &Arc<Pool>) -> Self {
        pool.in_flight.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(pool))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A connection in use.
pub(super) struct Lease {
    pub(super) sender: SendRequest<RequestBody>,
    pub(super) worker: usize,
    pub(super) in_flight: InFlight,
}

impl Lease {
    pub(super) fn give_back(self) {
        if !self.sender.is_closed() {
            self.in_flight.0.put(self.worker, self.sender);
        }
    }
}
