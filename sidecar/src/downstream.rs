//! The way in: workers that accept, shake hands, read requests and write answers.
//!
//! Each worker is a thread with a current-thread runtime of its own, and each listener has one socket per worker
//! (SO_REUSEPORT, socket(7)): a connection stays where it was accepted, and nothing is handed between threads.

mod connection;
mod http;
mod listener;
pub mod settings;
pub mod tls;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::mpsc;

use self::settings::Live;
use crate::drain::{self, Drain, Watch};
use crate::proxy::Shared;

/// Connections that may wait to be accepted, per socket; the kernel caps it at net.core.somaxconn.
const BACKLOG: i32 = 4096;

/// The threads that serve.
pub struct Workers {
    workers: Vec<mpsc::UnboundedSender<Job>>,
}

/// A listener at work. Dropping it stops accepting without waiting for what is in flight.
pub struct Listening {
    /// Where it listens; the port is known even if 0 was asked for.
    pub address: SocketAddr,
    /// One of the listener's sockets, for the datapath to steer to.
    pub socket: TcpListener,
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

    /// Listens on `address`, on every worker.
    ///
    /// # Errors
    ///
    /// The address cannot be bound; named in the error.
    pub fn listen(
        &self,
        name: &Arc<str>,
        address: SocketAddr,
        live: &Live,
    ) -> io::Result<Listening> {
        let explain = |error: io::Error| {
            io::Error::new(
                error.kind(),
                format!("listener `{name}` cannot listen on {address}: {error}"),
            )
        };
        let first = bind(address).map_err(explain)?;
        let address = first.local_addr().map_err(explain)?;
        let socket = first.try_clone().map_err(explain)?;
        let mut sockets = vec![first];
        for _ in 1..self.workers.len() {
            sockets.push(bind(address).map_err(explain)?);
        }
        let (drain, watch) = drain::channel();
        for (worker, socket) in self.workers.iter().zip(sockets) {
            let job = Job {
                socket,
                name: Arc::clone(name),
                live: Arc::clone(live),
                watch: watch.clone(),
            };
            if worker.send(job).is_err() {
                return Err(io::Error::other("a worker thread has ended"));
            }
        }
        Ok(Listening {
            address,
            socket,
            drain,
        })
    }
}

impl Listening {
    /// Stops accepting and waits until every connection has finished what it had.
    pub async fn drain(self) {
        drop(self.socket);
        self.drain.drain().await;
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

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    if address.is_ipv6() {
        // `[::]` takes both families, whatever net.ipv6.bindv6only says.
        socket.set_only_v6(false)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}
