//! The way in: workers that accept, shake hands, read requests and write answers.
//!
//! Each worker is a thread with a current-thread runtime of its own, and each listener has one socket per worker
//! (SO_REUSEPORT, socket(7)): a connection stays where it was accepted, and nothing is handed between threads.

mod activity;
mod connection;
mod http;
mod listener;
pub mod settings;
pub mod tls;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::sync::mpsc;

use self::settings::Live;
use crate::drain::{self, Drain, Watch};
use crate::proxy::Shared;

/// How often idle upstream connections are looked at.
const SWEEP: Duration = Duration::from_secs(5);

/// The threads that serve.
pub struct Workers {
    workers: Vec<mpsc::UnboundedSender<Job>>,
}

/// A listener at work. Dropping it stops accepting without waiting for what is in flight.
pub struct Listening {
    /// Where it listens; the port is known even if 0 was asked for.
    pub address: SocketAddr,
    /// The listener's sockets; the first one is what the datapath steers to, it stands for all of them.
    sockets: Vec<TcpListener>,
    /// The workers' shares, before they are theirs.
    waiting: Vec<(mpsc::UnboundedSender<Job>, Job)>,
    drain: Drain,
}

struct Job {
    socket: TcpListener,
    name: Arc<str>,
    live: Live,
    watch: Watch,
}

impl Workers {
    /// Starts `count` threads.
    ///
    /// # Errors
    ///
    /// A thread or its runtime cannot be made.
    pub fn start(count: usize, shared: &Arc<Shared>) -> io::Result<Self> {
        let workers = (0..count)
            .map(|index| start(index, Arc::clone(shared)))
            .collect::<io::Result<_>>()?;
        Ok(Self { workers })
    }

    /// How many sockets a listener needs beside those that a predecessor had bound for it.
    ///
    /// All that are given are used, since the kernel has queued connections in each and goes on to do so. Every worker gets
    /// as many as every other, so that they share the load: where that does not come out even, some more are bound.
    #[must_use]
    pub fn missing(&self, given: usize) -> usize {
        let workers = self.workers.len();
        given.max(1).next_multiple_of(workers) - given
    }

    /// Deals a listener's sockets to the workers. Nothing is accepted before [`Listening::open`]; the kernel queues what comes
    /// until then.
    ///
    /// # Errors
    ///
    /// No more files may be open; the listener is named in the error.
    pub fn listen(
        &self,
        name: &Arc<str>,
        live: &Live,
        sockets: Vec<TcpListener>,
    ) -> io::Result<Listening> {
        let explain = |error: io::Error| {
            let said = format!("the sockets of listener `{name}`: {error}");
            io::Error::new(error.kind(), said)
        };
        let first = sockets
            .first()
            .ok_or_else(|| explain(io::Error::other("there are none")))?;
        let address = first.local_addr().map_err(explain)?;
        let (drain, watch) = drain::channel();
        let mut waiting = Vec::with_capacity(sockets.len());
        for (socket, worker) in sockets.iter().zip(self.workers.iter().cycle()) {
            let socket = socket.try_clone().map_err(explain)?;
            socket.set_nonblocking(true).map_err(explain)?;
            let job = Job {
                socket,
                name: Arc::clone(name),
                live: Arc::clone(live),
                watch: watch.clone(),
            };
            waiting.push((worker.clone(), job));
        }
        Ok(Listening {
            address,
            sockets,
            waiting,
            drain,
        })
    }
}

impl Listening {
    /// Begins to accept.
    pub fn open(&mut self) {
        for (worker, job) in self.waiting.drain(..) {
            if worker.send(job).is_err() {
                tracing::error!(
                    "a worker thread has ended; its share of connections is not served"
                );
            }
        }
    }

    /// Stops accepting and waits until every connection has finished what it had.
    pub async fn drain(self) {
        drop(self.sockets);
        drop(self.waiting);
        self.drain.drain().await;
    }

    /// As [`drain`](Self::drain), but what the kernel has queued is left to whoever has the sockets too.
    pub async fn leave(self) {
        drop(self.sockets);
        drop(self.waiting);
        self.drain.leave().await;
    }

    /// A handle of the socket that the datapath steers to.
    ///
    /// # Errors
    ///
    /// No more files may be open.
    pub fn socket(&self) -> io::Result<TcpListener> {
        self.sockets[0].try_clone()
    }

    /// All of its sockets, the one that is steered to first.
    #[must_use]
    pub fn sockets(&self) -> &[TcpListener] {
        &self.sockets
    }
}

fn start(index: usize, shared: Arc<Shared>) -> io::Result<mpsc::UnboundedSender<Job>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (send, mut jobs) = mpsc::unbounded_channel::<Job>();
    thread::Builder::new()
        .name(format!("worker-{index}"))
        .spawn(move || {
            runtime.block_on(async move {
                tokio::spawn(sweep(Arc::clone(&shared), index));
                while let Some(job) = jobs.recv().await {
                    match tokio::net::TcpListener::from_std(job.socket) {
                        Ok(socket) => {
                            let accept = listener::Accept {
                                socket,
                                name: job.name,
                                live: job.live,
                                shared: Arc::clone(&shared),
                                worker: index,
                                watch: job.watch,
                            };
                            tokio::spawn(accept.run());
                        }
                        Err(error) => tracing::error!(listener = %job.name, %error, "a socket cannot be polled"),
                    }
                }
            });
        })?;
    Ok(send)
}

/// Closes upstream connections that were idle for too long, also when no request comes by that would notice.
async fn sweep(shared: Arc<Shared>, worker: usize) {
    let mut every = tokio::time::interval(SWEEP);
    loop {
        every.tick().await;
        shared.sweep(worker);
    }
}
