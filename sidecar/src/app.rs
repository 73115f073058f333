//! Wires all rooms together; the only one that knows every other.

pub mod before;
mod bound;
mod giving;
mod handles;
mod health;
mod inner;
mod memory;
mod own;
mod parts;
pub mod place;
mod status;
mod upgrade;

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{Mutex, Notify, mpsc, oneshot};
use tokio::task::JoinHandle;
use tollgate_auth::token::cache::VerdictCache;

use crate::admin;
use crate::client::Client;
use crate::clock;
use crate::cluster::Secret;
use crate::config::diagnostic::Diagnostics;
use crate::config::{self};
use crate::downstream::Workers;
use crate::downstream::settings::Live;
use crate::drain::{self, Drain};
use crate::handover::{self, Role};
use crate::health::Health;
use crate::jwks::figures;
use crate::kernel::Kernel;
use crate::local::{Socket, SocketFile};
use crate::proxy::Shared;
use crate::proxy::record;
use crate::reload::Carried;
use crate::snapshot::Snapshot;
use crate::supervisor;
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::metrics::Metrics;

use before::Before;
use bound::Wanted;
use giving::Giving;
use handles::{giving, handles};
use inner::{Inner, State};
use own::Own;
pub use parts::CHECKS;
use parts::of_datapath;
use parts::{PartError, keys, settings, sockets, target};

/// Memory for verified tokens, in bytes.
const VERDICT_CACHE: u64 = 64 * 1024 * 1024;

/// Why the daemon did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration is wrong.
    #[error(transparent)]
    Configuration(#[from] Diagnostics),
    /// The host does not let us.
    #[error("{0}")]
    Host(String),
}

impl From<io::Error> for StartError {
    fn from(error: io::Error) -> Self {
        Self::Host(error.to_string())
    }
}

impl From<PartError> for StartError {
    fn from(error: PartError) -> Self {
        Self::Host(error.to_string())
    }
}

/// How long the last answers of the admin interfaces may take.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// How long the last lines of the access log may take to be written.
const LAST_LINES: Duration = Duration::from_secs(1);

/// A running daemon.
pub struct Gate {
    inner: Arc<Inner>,
    admin: Vec<JoinHandle<()>>,
    /// Who gives way to a successor, until it is told to close.
    handover: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
    admin_address: Option<SocketAddr>,
    /// Of the Unix sockets.
    files: Vec<(Role, Arc<SocketFile>)>,
    /// The admin interfaces' connections.
    answers: Drain,
    /// Connections that drain since another has taken over, and for how long they may.
    leaving: Option<(Vec<JoinHandle<()>>, Duration)>,
}

impl Gate {
    /// Starts the daemon on the current runtime (which fetches keys and answers the admin interfaces) and on worker
    /// threads of its own.
    ///
    /// # Errors
    ///
    /// See [`StartError`].
    pub async fn start(path: &Path) -> Result<Self, StartError> {
        Self::start_after(path, Before::default()).await
    }

    /// As [`start`](Self::start), with what a predecessor left; takes over from it if it still runs.
    ///
    /// # Errors
    ///
    /// See [`StartError`]; the predecessor is told, and goes on.
    pub async fn start_after(path: &Path, mut before: Before) -> Result<Self, StartError> {
        let started = Self::begin(path, &mut before).await;
        if started.is_err()
            && let Some(privileged) = before.privileged.take()
        {
            // It may hold the datapath, which whoever is told now takes back.
            privileged.close().await;
        }
        if let (Err(error), Some(taking)) = (&started, before.taking) {
            taking.failed(&error.to_string()).await;
        }
        started
    }

    /// First what can fail while a predecessor serves on, then what changes the kernel.
    async fn begin(path: &Path, before: &mut Before) -> Result<Self, StartError> {
        let config = config::load(path, CHECKS)?;
        parts::is_user(&config, before.privileged.as_ref())?;
        let own = Own::take(&config, before).await?;
        let admin_address = own.tcp.as_ref().and_then(|tcp| tcp.local_addr().ok());
        let metrics = Metrics::default();
        let access_log =
            metrics.register(|registry| AccessLog::start(&target(&config.access_log), registry))?;
        let client = Client::new().map_err(|error| StartError::Host(error.to_string()))?;
        let secret = Secret::random()
            .map_err(|error| StartError::Host(format!("the secret of this node {error}")))?;
        let mut carried = Carried::new(config.workers, client, secret);
        let snapshot: Arc<Snapshot> = Arc::new(carried.build(&config, clock::now()));
        let shared = Arc::new(Shared {
            snapshot: Arc::new(ArcSwap::new(snapshot)),
            verdicts: VerdictCache::new(VERDICT_CACHE),
            metrics: metrics.register(record::Metrics::new),
            access_log,
            clock: clock::now,
        });
        metrics.collect(figures::collector(Arc::clone(&shared.snapshot)));
        metrics.collect(clock::collector());
        if let Some(privileged) = &before.privileged {
            metrics.collect(privileged.collector());
        }
        let workers = Workers::start(config.workers, &shared)?;
        before.release_unwanted(&config.listeners);
        let mut listening = HashMap::new();
        for listener in &config.listeners {
            let live: Live = Arc::new(ArcSwap::from_pointee(settings(listener)?));
            let given = before.listener(&listener.name, listener.address);
            let inherited = given.len();
            let wanted = Wanted {
                name: &listener.name,
                address: listener.address,
                beside: None,
                given,
            };
            let one = bound::listen(before.privileged.as_ref(), &workers, &live, wanted).await?;
            tracing::info!(listener = %listener.name, address = %one.address, inherited, "listening");
            listening.insert(Arc::clone(&listener.name), (one, live));
        }
        if before.taking.as_ref().is_some_and(|taking| taking.ready) {
            keys(&shared.snapshot.load()).await?;
        }
        let left = memory::path(&config.admin.socket);
        let history = match &before.taking {
            Some(taking) => taking.prepared().await?,
            None => memory::take(&left),
        };
        let kernel = match (&config.datapath, &before.privileged) {
            (None, _) => None,
            (Some(datapath), Some(privileged)) => {
                let fixed = of_datapath(datapath);
                let kernel = Kernel::open(privileged.datapath(), fixed, history).await;
                Some(kernel.map_err(StartError::Host)?)
            }
            (Some(_), None) => {
                let why = "a datapath wants the privileged process that `tollgate run` starts";
                return Err(StartError::Host(why.to_owned()));
            }
        };
        // One message is enough: whoever is told looks at all of it.
        let (changed, changes) = mpsc::channel(1);
        let health = Health::new(changed);
        let mut groups = health::groups(&config, kernel.as_ref()).await;
        let shares = health.shares_of(&groups);
        if let (Some(kernel), Some(datapath)) = (&kernel, &config.datapath) {
            let model = health::model(datapath, &shares);
            let applied = kernel.apply(model, sockets(&listening)?).await;
            applied.map_err(StartError::Host)?;
            metrics.collect(kernel.collector());
        }
        health::mark(&mut groups, &config, kernel.as_ref()).await;
        let doubles = own.named()?;
        // From here on nothing fails but the word itself.
        let taken = before.settle();
        if let Some(taking) = before.taking.take() {
            tracing::info!(from = taking.version, to = crate::VERSION, "taking over");
            taking.done(taken).await?;
        }
        own.claim();
        health.watch(&groups);
        metrics.collect(health.collector());
        for (listening, _) in listening.values_mut() {
            listening.open();
        }
        let names = listening.keys().map(|name| &**name);
        supervisor::release_others(&before.kept, names);
        before.kept.clear();
        let inner = Arc::new(Inner {
            path: path.to_owned(),
            shared,
            workers,
            metrics,
            kernel,
            health,
            draining: AtomicBool::new(false),
            was_ready: AtomicBool::new(false),
            drain_asked: Notify::new(),
            giving: Giving::new(own.place.clone(), doubles, before.privileged.clone()),
            privileged: before.privileged.take(),
            state: Mutex::new(State {
                config,
                carried,
                listening,
                loaded_at: clock::wall(),
                reloads: 0,
                last_error: None,
            }),
        });
        let (weak, heeds) = (Arc::downgrade(&inner), Arc::downgrade(&inner));
        tokio::spawn(health::follow(
            changes,
            move || Some(weak.upgrade()?.health.grows_at()),
            async move || Some(heeds.upgrade()?.heed().await),
        ));
        let (answers, watch) = drain::channel();
        let handles = Arc::new(handles(&inner, watch));
        let mut files = vec![(Role::AdminSocket, Arc::clone(&own.socket.file))];
        let mut admin = vec![tokio::spawn(admin::serve_socket(
            own.socket,
            Arc::clone(&handles),
        ))];
        if let Some(tcp) = own.tcp {
            admin.push(tokio::spawn(admin::serve_tcp(tcp, handles)));
        }
        let handover = own.handover.map(|Socket { listener, file }| {
            files.push((Role::HandOver, file));
            let (close, closing) = oneshot::channel();
            let given = Arc::new(giving(&inner));
            (
                close,
                tokio::spawn(handover::serve(listener, given, closing)),
            )
        });
        inner.keep().await;
        supervisor::ready();
        Ok(Self {
            inner,
            admin,
            handover,
            admin_address,
            files,
            answers,
            leaving: None,
        })
    }

    /// Reads the configuration again. When it cannot be taken, what runs stays as it is.
    ///
    /// # Errors
    ///
    /// Why it was not taken; also said in the log and in status.
    pub async fn reload(&self) -> Result<(), String> {
        self.inner.reload().await
    }

    /// Waits until a drain is asked for through the admin socket.
    pub async fn drain_asked(&self) {
        self.inner.drain_asked.notified().await;
    }

    /// Waits until another daemon has taken over; then [`leave`](Self::leave).
    pub async fn succeeded(&self) {
        self.inner.giving.succeeded().await;
    }

    /// Leaves to the daemon that has taken over what it has: sockets, files, and what wants rights; connections drain from here on. What the privileged process has
    /// started is a child of the first process from here on (pid_namespaces(7)).
    pub async fn part(&mut self) {
        if self.leaving.is_some() {
            return;
        }
        let Self { inner, admin, .. } = &*self;
        inner.draining.store(true, Ordering::Relaxed);
        let left = inner.giving.leave();
        for (role, file) in &self.files {
            if left.has(role) {
                file.leave();
            }
        }
        for task in admin {
            task.abort();
        }
        // Who is well is the other's to find out.
        inner.health.watch(&[]);
        let mut state = inner.state.lock().await;
        let limit = state.config.drain;
        let listening: Vec<_> = state.listening.drain().collect();
        drop(state);
        tracing::info!(
            pid = left.pid(),
            ?limit,
            "another daemon has taken over; draining"
        );
        let drains = listening.into_iter().map(|(name, (listening, _))| {
            if left.has_listener(&name) {
                tokio::spawn(listening.leave())
            } else {
                tokio::spawn(listening.drain())
            }
        });
        self.leaving = Some((drains.collect(), limit));
        self.close().await;
    }

    async fn close(&self) {
        if let Some(privileged) = &self.inner.privileged {
            privileged.close().await;
        }
    }

    /// After [`part`](Self::part): lets requests in flight finish, and ends. Gives the other daemon's process, if this one has
    /// started it.
    pub async fn leave(mut self) -> Option<u32> {
        self.part().await;
        let (drains, limit) = self.leaving.take()?;
        self.finish(drains, limit).await
    }

    /// Stops accepting, lets requests in flight finish for as long as `shutdown: { drain: … }` says, and ends. The
    /// datapath stays in the kernel.
    pub async fn drain(mut self) {
        self.inner.draining.store(true, Ordering::Relaxed);
        // A daemon that is about to take over is told before anything of this one ends.
        if let Some((close, task)) = self.handover.take() {
            let _ = close.send(()).is_ok();
            let _ = task.await.is_ok();
        }
        if self.inner.giving.has_succeeded() {
            self.leave().await;
            return;
        }
        self.inner.giving.stop().await;
        let mut state = self.inner.state.lock().await;
        let limit = state.config.drain;
        let left = memory::path(&state.config.admin.socket);
        let listening: Vec<_> = state.listening.drain().collect();
        // What checks find from here on is the next daemon's to act on.
        self.inner.health.watch(&[]);
        drop(state);
        tracing::info!(?limit, "draining");
        supervisor::stopping();
        // What waits to be accepted waits for the next daemon, if the supervisor keeps the sockets.
        let kept = supervisor::keeps();
        if let Some(kernel) = &self.inner.kernel
            && let Some(history) = kernel.rest().await
        {
            memory::leave(&left, history);
        }
        let drains = listening.into_iter().map(|(_, (listening, _))| {
            if kept {
                tokio::spawn(listening.leave())
            } else {
                tokio::spawn(listening.drain())
            }
        });
        self.finish(drains.collect(), limit).await;
    }

    async fn finish(self, drains: Vec<JoinHandle<()>>, limit: Duration) -> Option<u32> {
        let all = async {
            for drain in drains {
                let _ = drain.await.is_ok();
            }
        };
        if tokio::time::timeout(limit, all).await.is_err() {
            tracing::warn!(?limit, "requests are still in flight; ending without them");
        }
        for task in &self.admin {
            task.abort();
        }
        self.close().await;
        let _ = tokio::time::timeout(LAST_ANSWERS, self.answers.drain()).await;
        self.inner.shared.access_log.flush(LAST_LINES);
        self.inner.giving.started()
    }

    /// Where a listener listens.
    pub async fn listener(&self, name: &str) -> Option<SocketAddr> {
        let state = self.inner.state.lock().await;
        state
            .listening
            .get(name)
            .map(|(listening, _)| listening.address)
    }

    /// Where probes and metrics are answered.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin_address
    }
}
