//! Wires all rooms together; the only one that knows every other.

pub mod place;
mod status;

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use tokio::sync::{Mutex, Notify};
use tokio::task::JoinHandle;
use tollgate_auth::token::cache::VerdictCache;
use tollgate_datapath::FlowQuestion;

use crate::admin::{self, Handles};
use crate::client::Client;
use crate::clock;
use crate::cluster::{NO_KEYS, Secret};
use crate::config::diagnostic::Diagnostics;
use crate::config::lower::Checks;
use crate::config::model::{AccessLog as LogTarget, Config, ListenerConfig};
use crate::config::{self};
use crate::downstream::settings::{Live, Settings};
use crate::downstream::tls::{self, ClientAuth, Pair, Tls};
use crate::downstream::{self, Listening, Workers};
use crate::explain::{RouteQuestion, moment};
use crate::jwks::figures;
use crate::kernel::{Kernel, Sockets};
use crate::proxy::Shared;
use crate::proxy::record;
use crate::reload::Carried;
use crate::snapshot::Snapshot;
use crate::telemetry::access_log::{AccessLog, Target};
use crate::telemetry::metrics::Metrics;

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

/// How long the last lines of the access log may take to be written.
const LAST_LINES: Duration = Duration::from_secs(1);

/// The checks that the configuration borrows from other rooms.
pub const CHECKS: Checks = Checks {
    read: |path| std::fs::read(path),
    variable: |name| std::env::var_os(name).map(std::ffi::OsString::into_vec),
    certificate: tls::check,
    client_ca: tls::check_authorities,
};

/// A running daemon.
pub struct Gate {
    inner: Arc<Inner>,
    admin: Vec<JoinHandle<()>>,
    admin_address: Option<SocketAddr>,
}

struct Inner {
    path: PathBuf,
    shared: Arc<Shared>,
    workers: Workers,
    metrics: Metrics,
    kernel: Option<Kernel>,
    draining: AtomicBool,
    /// Every issuer has had keys, at one moment.
    was_ready: AtomicBool,
    drain_asked: Notify,
    /// Held by whoever changes the configuration, never by a request.
    state: Mutex<State>,
}

struct State {
    config: Config,
    carried: Carried,
    listening: HashMap<Arc<str>, (Listening, Live)>,
    loaded_at: SystemTime,
    reloads: u64,
    last_error: Option<String>,
}

impl Gate {
    /// Starts the daemon on the current runtime (which fetches keys and answers the admin interfaces) and on worker
    /// threads of its own.
    ///
    /// # Errors
    ///
    /// See [`StartError`].
    pub async fn start(path: &Path) -> Result<Self, StartError> {
        let config = config::load(path, CHECKS)?;
        let socket = admin::bind_socket(&config.admin.socket)?;
        let tcp = config.admin.listen.map(admin::bind_tcp).transpose()?;
        let admin_address = tcp.as_ref().and_then(|tcp| tcp.local_addr().ok());
        let metrics = Metrics::default();
        let access_log =
            metrics.register(|registry| AccessLog::start(&target(&config.access_log), registry))?;
        let client = Client::new().map_err(|error| StartError::Host(error.to_string()))?;
        let own = Secret::random()
            .map_err(|error| StartError::Host(format!("the secret of this node {error}")))?;
        let mut carried = Carried::new(config.workers, client, own);
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
        let workers = Workers::start(config.workers, &shared)?;
        let mut listening = HashMap::new();
        for listener in &config.listeners {
            let live: Live = Arc::new(ArcSwap::from_pointee(settings(listener)?));
            downstream::probe(&listener.name, listener.address)?;
            let one = workers.listen(&listener.name, listener.address, &live)?;
            tracing::info!(listener = %listener.name, address = %one.address, "listening");
            listening.insert(Arc::clone(&listener.name), (one, live));
        }
        let kernel = match &config.datapath {
            None => None,
            Some(datapath) => {
                let kernel = Kernel::start(datapath.attach.clone()).await?;
                kernel
                    .apply(datapath.model.clone(), sockets(&listening)?)
                    .await
                    .map_err(StartError::Host)?;
                metrics.collect(kernel.collector());
                Some(kernel)
            }
        };
        for (listening, _) in listening.values_mut() {
            listening.open();
        }
        let inner = Arc::new(Inner {
            path: path.to_owned(),
            shared,
            workers,
            metrics,
            kernel,
            draining: AtomicBool::new(false),
            was_ready: AtomicBool::new(false),
            drain_asked: Notify::new(),
            state: Mutex::new(State {
                config,
                carried,
                listening,
                loaded_at: clock::wall(),
                reloads: 0,
                last_error: None,
            }),
        });
        let handles = Arc::new(handles(&inner));
        let mut admin = vec![tokio::spawn(admin::serve_socket(
            socket,
            Arc::clone(&handles),
        ))];
        if let Some(tcp) = tcp {
            admin.push(tokio::spawn(admin::serve_tcp(tcp, handles)));
        }
        Ok(Self {
            inner,
            admin,
            admin_address,
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

    /// Stops accepting, lets requests in flight finish for as long as `shutdown: { drain: … }` says, and ends. The
    /// datapath stays in the kernel.
    pub async fn drain(self) {
        self.inner.draining.store(true, Ordering::Relaxed);
        let mut state = self.inner.state.lock().await;
        let limit = state.config.drain;
        let listening: Vec<_> = state.listening.drain().collect();
        drop(state);
        tracing::info!(?limit, "draining");
        if let Some(kernel) = &self.inner.kernel {
            kernel.rest().await;
        }
        let drains: Vec<_> = listening
            .into_iter()
            .map(|(_, (listening, _))| tokio::spawn(listening.drain()))
            .collect();
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
        self.inner.shared.access_log.flush(LAST_LINES);
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

impl Inner {
    async fn reload(&self) -> Result<(), String> {
        let mut state = self.state.lock().await;
        let result = self.take(&mut state).await;
        match &result {
            Ok(()) => {
                state.reloads += 1;
                state.loaded_at = clock::wall();
                state.last_error = None;
                tracing::info!(path = %self.path.display(), "configuration reloaded");
            }
            Err(error) => {
                tracing::error!("the configuration was not reloaded, what ran goes on:\n{error}");
                state.last_error = Some(error.clone());
            }
        }
        result
    }

    /// All that can fail comes first; only then anything of the running configuration is touched.
    async fn take(&self, state: &mut State) -> Result<(), String> {
        if self.draining.load(Ordering::Relaxed) {
            return Err("the daemon is draining".to_owned());
        }
        let config = config::load(&self.path, CHECKS).map_err(|error| error.to_string())?;
        fixed(&state.config, &config)?;
        let mut fresh = HashMap::new();
        let mut updated = Vec::new();
        for listener in &config.listeners {
            let settings = settings(listener).map_err(|error| error.to_string())?;
            match state.listening.get(&listener.name) {
                Some((_, live)) if same_address(&state.config, listener) => {
                    updated.push((Arc::clone(live), settings));
                }
                _ => {
                    let live: Live = Arc::new(ArcSwap::from_pointee(settings));
                    if !state
                        .config
                        .listeners
                        .iter()
                        .any(|one| one.address == listener.address)
                    {
                        downstream::probe(&listener.name, listener.address)
                            .map_err(|error| error.to_string())?;
                    }
                    let one = self
                        .workers
                        .listen(&listener.name, listener.address, &live)
                        .map_err(|error| error.to_string())?;
                    fresh.insert(Arc::clone(&listener.name), (one, live));
                }
            }
        }
        self.shared
            .access_log
            .open(&target(&config.access_log))
            .map_err(|error| format!("the access log cannot be opened: {error}"))?;
        if let (Some(kernel), Some(datapath)) = (&self.kernel, &config.datapath) {
            let mut sockets = sockets(&fresh).map_err(|error| error.to_string())?;
            for (name, socket) in
                self::sockets(&state.listening).map_err(|error| error.to_string())?
            {
                // One that is going away must close when it has drained, so no handle of it may stay.
                if config.listeners.iter().any(|one| one.name == name) {
                    sockets.entry(name).or_insert(socket);
                }
            }
            if let Err(error) = kernel.apply(datapath.model.clone(), sockets).await {
                // It was open a moment ago; if it cannot be opened again, the new one stays.
                let _ = self
                    .shared
                    .access_log
                    .open(&target(&state.config.access_log))
                    .is_ok();
                return Err(error);
            }
        }

        // Ready as things are, perhaps, though nobody has asked so far.
        self.unready();
        let snapshot = state.carried.build(&config, clock::now());
        self.shared.snapshot.store(Arc::new(snapshot));
        for (live, settings) in updated {
            live.store(Arc::new(settings));
        }
        let kept = |name: &Arc<str>| {
            !fresh.contains_key(name) && config.listeners.iter().any(|one| one.name == *name)
        };
        let gone: Vec<_> = state
            .listening
            .keys()
            .filter(|name| !kept(name))
            .cloned()
            .collect();
        for name in gone {
            if let Some((listening, _)) = state.listening.remove(&name) {
                tokio::spawn(listening.drain());
            }
        }
        for (listening, _) in fresh.values_mut() {
            listening.open();
        }
        state.listening.extend(fresh);
        state.config = config;
        Ok(())
    }

    async fn status(&self) -> serde_json::Value {
        let datapath = match &self.kernel {
            None => None,
            Some(kernel) => kernel.status().await,
        };
        let state = self.state.lock().await;
        let mut listeners: Vec<_> = state
            .listening
            .iter()
            .map(|(name, (listening, _))| (Arc::clone(name), listening.address))
            .collect();
        listeners.sort();
        status::json(&status::View {
            snapshot: &self.shared.snapshot.load_full(),
            verdicts: self.shared.verdicts.stats(),
            unready: self.unready(),
            draining: self.draining.load(Ordering::Relaxed),
            path: &self.path,
            loaded_at: state.loaded_at,
            reloads: state.reloads,
            last_error: state.last_error.as_deref(),
            listeners,
            datapath: datapath.as_deref(),
        })
    }

    /// Why no request should be sent here. Once all issuers have had keys, one without is no reason any more: it is new to
    /// all nodes at the same moment, and the tokens of the others would be refused with its own.
    fn unready(&self) -> Option<String> {
        if self.draining.load(Ordering::Relaxed) {
            return Some("draining".to_owned());
        }
        if self.was_ready.load(Ordering::Relaxed) {
            return None;
        }
        let snapshot = self.shared.snapshot.load();
        let without: Vec<&str> = snapshot
            .issuers
            .iter()
            .filter(|issuer| issuer.keys().set.is_none())
            .map(|issuer| &*issuer.rules.name)
            .collect();
        if without.is_empty() {
            self.was_ready.store(true, Ordering::Relaxed);
            return None;
        }
        Some(format!("no keys yet of {}", without.join(", ")))
    }
}

impl Inner {
    async fn explain_route(&self, question: &RouteQuestion) -> Result<serde_json::Value, String> {
        let places = {
            let state = self.state.lock().await;
            let bound = |listener: &ListenerConfig| {
                let listening = state.listening.get(&listener.name);
                listening.map_or(listener.address, |(listening, _)| listening.address)
            };
            place::places(&state.config, bound)
        };
        let snapshot = self.shared.snapshot.load_full();
        let explanation = crate::explain::route(&snapshot, &places, question, moment())?;
        serde_json::to_value(explanation).map_err(|error| error.to_string())
    }
}

async fn explain_flow(inner: &Inner, question: FlowQuestion) -> Result<serde_json::Value, String> {
    let kernel = inner
        .kernel
        .as_ref()
        .ok_or_else(|| "this daemon has no `datapath`".to_owned())?;
    let explanation = kernel.explain(question).await?;
    serde_json::to_value(explanation).map_err(|error| error.to_string())
}

fn handles(inner: &Arc<Inner>) -> Handles {
    // Weak: the admin interface does not keep a daemon alive that has ended.
    let weak = Arc::downgrade(inner);
    let with = move || Weak::upgrade(&weak);
    let (status, reload, drain, explain, route, flow, metrics, jwks, unready) = (
        with.clone(),
        with.clone(),
        with.clone(),
        with.clone(),
        with.clone(),
        with.clone(),
        with.clone(),
        with.clone(),
        with,
    );
    Handles {
        status: Box::new(move || {
            let inner = status();
            Box::pin(async move {
                match inner {
                    Some(inner) => inner.status().await,
                    None => serde_json::Value::Null,
                }
            })
        }),
        reload: Box::new(move || {
            let inner = reload();
            Box::pin(async move {
                match inner {
                    Some(inner) => inner.reload().await,
                    None => Err("the daemon has ended".to_owned()),
                }
            })
        }),
        drain: Box::new(move || {
            if let Some(inner) = drain() {
                inner.drain_asked.notify_one();
            }
        }),
        explain: Box::new(move |question| {
            let inner = explain().ok_or_else(|| "the daemon has ended".to_owned())?;
            let issuers = &inner.shared.snapshot.load().issuers;
            let explanation = crate::explain::token(
                issuers,
                question.issuer.as_deref(),
                &question.token,
                moment(),
            )?;
            serde_json::to_value(explanation).map_err(|error| error.to_string())
        }),
        explain_route: Box::new(move |question| {
            let inner = route();
            Box::pin(async move {
                let inner = inner.ok_or_else(|| "the daemon has ended".to_owned())?;
                inner.explain_route(&question).await
            })
        }),
        explain_flow: Box::new(move |question| {
            let inner = flow();
            Box::pin(async move {
                let inner = inner.ok_or_else(|| "the daemon has ended".to_owned())?;
                explain_flow(&inner, question).await
            })
        }),
        metrics: Box::new(move || {
            let inner = metrics();
            Box::pin(async move {
                let Some(inner) = inner else {
                    return String::new();
                };
                if let Some(kernel) = &inner.kernel {
                    kernel.status().await;
                }
                inner.metrics.text()
            })
        }),
        jwks: Box::new(move || match jwks() {
            Some(inner) => inner.shared.snapshot.load().keyring.document(clock::now()),
            None => NO_KEYS.into(),
        }),
        unready: Box::new(move || match unready() {
            Some(inner) => inner.unready(),
            None => Some("ended".to_owned()),
        }),
    }
}

/// What only a restart can change.
fn fixed(old: &Config, new: &Config) -> Result<(), String> {
    let attach = |config: &Config| {
        config
            .datapath
            .as_ref()
            .map(|datapath| datapath.attach.clone())
    };
    for (key, differs) in [
        ("workers", old.workers_configured != new.workers_configured),
        ("admin", old.admin != new.admin),
        (
            "datapath (interfaces, xdp, bpffs, announce)",
            attach(old) != attach(new),
        ),
    ] {
        if differs {
            return Err(format!(
                "`{key}` changed, which a reload cannot do; restart the daemon, or take the change back"
            ));
        }
    }
    Ok(())
}

fn same_address(old: &Config, listener: &ListenerConfig) -> bool {
    old.listeners
        .iter()
        .any(|one| one.name == listener.name && one.address == listener.address)
}

fn settings(listener: &ListenerConfig) -> Result<Settings, StartError> {
    let tls =
        match &listener.tls {
            None => None,
            Some(config) => {
                let pairs: Vec<Pair<'_>> = config
                    .certificates
                    .iter()
                    .map(|one| Pair {
                        chain: &one.chain,
                        key: &one.key,
                    })
                    .collect();
                let clients = config.clients.as_ref().map(|clients| ClientAuth {
                    authorities: &clients.authorities,
                    required: clients.required,
                });
                Some(Tls::new(&pairs, config.only_tls13, clients).map_err(|why| {
                    StartError::Host(format!("listener `{}`: {why}", listener.name))
                })?)
            }
        };
    Ok(Settings {
        tls,
        handshake_timeout: listener.handshake_timeout,
        head_timeout: listener.head_timeout,
        idle_timeout: listener.idle_timeout,
    })
}

fn sockets(listening: &HashMap<Arc<str>, (Listening, Live)>) -> io::Result<Sockets> {
    listening
        .iter()
        .map(|(name, (listening, _))| Ok((Arc::clone(name), listening.socket.try_clone()?)))
        .collect()
}

fn target(config: &LogTarget) -> Target {
    match config {
        LogTarget::None => Target::None,
        LogTarget::Stdout => Target::Stdout,
        LogTarget::File(path) => Target::File(path.clone()),
    }
}
