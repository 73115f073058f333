//! The running daemon: what it serves by, and how that changes.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use tokio::sync::{Mutex, Notify};

use super::bound::{Wanted, listen};
use super::giving::Giving;
use super::parts::{self, CHECKS, fixed, same_address, settings, sockets, target, without_keys};
use super::{health, place, status};
use crate::config::model::{Config, ListenerConfig};
use crate::config::{self};
use crate::downstream::settings::Live;
use crate::downstream::{Listening, Workers};
use crate::explain::{RouteQuestion, moment};
use crate::handover::{Failure, Offer};
use crate::health::Health;
use crate::kernel::Kernel;
use crate::privileged::{Privileged, Rights};
use crate::proxy::Shared;
use crate::reload::Carried;
use crate::telemetry::metrics::Metrics;
use crate::{clock, supervisor};

/// The daemon; shared with those who ask it.
pub(super) struct Inner {
    pub(super) path: PathBuf,
    pub(super) shared: Arc<Shared>,
    pub(super) workers: Workers,
    pub(super) metrics: Metrics,
    pub(super) kernel: Option<Kernel>,
    pub(super) health: Health,
    pub(super) draining: AtomicBool,
    /// Every issuer has had keys, at one moment.
    pub(super) was_ready: AtomicBool,
    pub(super) drain_asked: Notify,
    pub(super) giving: Giving,
    /// Who does what wants rights.
    pub(super) privileged: Option<Arc<Privileged>>,
    /// Held by whoever changes the configuration, never by a request.
    pub(super) state: Mutex<State>,
}

pub(super) struct State {
    pub(super) config: Config,
    pub(super) carried: Carried,
    pub(super) listening: HashMap<Arc<str>, (Listening, Live)>,
    pub(super) loaded_at: SystemTime,
    pub(super) reloads: u64,
    pub(super) last_error: Option<String>,
}

impl Inner {
    pub(super) async fn reload(&self) -> Result<(), String> {
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
        if self.giving.is_under_way() {
            return Err("another daemon is about to take over".to_owned());
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
                    let mut ours = state.listening.values();
                    let same = ours.find(|(one, _)| one.address == listener.address);
                    let beside = same.map(|(one, _)| one.socket()).transpose();
                    let wanted = Wanted {
                        name: &listener.name,
                        address: listener.address,
                        beside: beside.map_err(|error| error.to_string())?,
                        given: Vec::new(),
                    };
                    let one = listen(self.privileged.as_ref(), &self.workers, &live, wanted)
                        .await
                        .map_err(|error| error.to_string())?;
                    fresh.insert(Arc::clone(&listener.name), (one, live));
                }
            }
        }
        self.shared
            .access_log
            .open(&target(&config.access_log))
            .map_err(|error| format!("the access log cannot be opened: {error}"))?;
        let mut groups = health::groups(&config, self.kernel.as_ref()).await;
        let shares = self.health.shares_of(&groups);
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
            let model = health::model(datapath, &shares);
            if let Err(error) = kernel.apply(model, sockets).await {
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
        health::weigh(&snapshot, &shares);
        self.shared.snapshot.store(Arc::new(snapshot));
        health::mark(&mut groups, &config, self.kernel.as_ref()).await;
        self.health.watch(&groups);
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
                supervisor::release(&name);
                tokio::spawn(listening.drain());
            }
        }
        for (name, (listening, _)) in &mut fresh {
            listening.open();
            supervisor::keep(name, listening.sockets());
        }
        state.listening.extend(fresh);
        state.config = config;
        Ok(())
    }

    /// Lets requests and packets go by what the checks say now. Never while a reload is under way. A datapath that is lent
    /// keeps its shares until it is back; requests are ours until another daemon has taken over.
    pub(super) async fn heed(&self) -> Result<(), String> {
        let state = self.state.lock().await;
        if self.draining.load(Ordering::Relaxed) {
            return Ok(());
        }
        let snapshot = self.shared.snapshot.load_full();
        let datapath = state.config.datapath.as_ref();
        health::heed(&self.health, &snapshot, self.kernel.as_ref(), datapath).await
    }

    pub(super) async fn status(&self) -> serde_json::Value {
        let datapath = match &self.kernel {
            None => None,
            Some(kernel) => kernel.status().await,
        };
        let processes = status::Processes {
            serving: Rights::now().map_err(|error| error.to_string()),
            privileged: match &self.privileged {
                None => None,
                Some(privileged) => Some(privileged.rights().await),
            },
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
            upgrade_error: self.giving.last_error(),
            listeners,
            datapath: datapath.as_deref(),
            health: &self.health.report(),
            processes: &processes,
        })
    }

    /// Why no request should be sent here. Once all issuers have had keys, one without is no reason any more: it is new to
    /// all nodes at the same moment, and the tokens of the others would be refused with its own.
    pub(super) fn unready(&self) -> Option<String> {
        if self.draining.load(Ordering::Relaxed) {
            return Some("draining".to_owned());
        }
        if self.was_ready.load(Ordering::Relaxed) {
            return None;
        }
        let snapshot = self.shared.snapshot.load();
        let without = without_keys(&snapshot);
        if without.is_none() {
            self.was_ready.store(true, Ordering::Relaxed);
        }
        without
    }
}

impl Inner {
    /// What is given to whoever takes over. A reload waits for the lock, and is refused then.
    pub(super) async fn offer(&self) -> Result<Offer, String> {
        let state = self.state.lock().await;
        if self.draining.load(Ordering::Relaxed) {
            return Err("the daemon is draining".to_owned());
        }
        let listening = state.listening.iter();
        let listening = listening.map(|(name, (listening, _))| (name, listening));
        let sockets = parts::named(listening)
            .map_err(|error| format!("the sockets cannot be doubled: {error}"))?;
        self.giving.offer(sockets, self.unready().is_none())
    }

    pub(super) async fn not_succeeded(&self, failure: Failure) {
        // One that has fallen silent may still hold the datapath.
        if !failure.own_word {
            self.giving.end(failure.pid).await;
        }
        if let Some(kernel) = &self.kernel
            && let Err(error) = kernel.resume().await
        {
            tracing::error!(
                error,
                "the datapath was not taken back; it goes on as it is, and that is tried again"
            );
        }
        self.giving.failed(&failure);
    }

    /// Lets the supervisor keep the listeners' sockets.
    pub(super) async fn keep(&self) {
        let state = self.state.lock().await;
        for (name, (listening, _)) in &state.listening {
            supervisor::keep(name, listening.sockets());
        }
    }

    pub(super) async fn explain_route(
        &self,
        question: &RouteQuestion,
    ) -> Result<serde_json::Value, String> {
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
