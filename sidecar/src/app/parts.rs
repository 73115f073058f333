//! Parts of a daemon, made of its configuration.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt as _;
use std::sync::Arc;
use std::time::Duration;

use crate::config::lower::Checks;
use crate::config::model::{AccessLog as LogTarget, Config, DatapathConfig, ListenerConfig};
use crate::downstream::Listening;
use crate::downstream::settings::{Live, Settings};
use crate::downstream::tls::{self, ClientAuth, Pair, Tls};
use crate::handover::{Named, Role};
use crate::kernel::{Fixed, Sockets};
use crate::privileged::{Privileged, User};
use crate::snapshot::Snapshot;
use crate::telemetry::access_log::Target;

/// The checks that the configuration borrows from other rooms.
pub const CHECKS: Checks = Checks {
    read: |path| std::fs::read(path),
    variable: |name| std::env::var_os(name).map(std::ffi::OsString::into_vec),
    certificate: tls::check,
    client_ca: tls::check_authorities,
};

/// How long a daemon that takes over from one that is ready waits for the keys of its issuers.
const KEYS: Duration = Duration::from_secs(30);

/// A part cannot be made, and why.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct PartError(String);

/// What of a datapath is known before it is asked for.
pub(super) fn of_datapath(config: &DatapathConfig) -> Fixed {
    Fixed {
        attach: config.attach.clone(),
        mark: config.health_mark,
    }
}

/// What only a restart can change.
pub(super) fn fixed(old: &Config, new: &Config) -> Result<(), String> {
    let fixed = |config: &Config| config.datapath.as_ref().map(of_datapath);
    for (key, differs) in [
        ("workers", old.workers_configured != new.workers_configured),
        ("user", old.user != new.user),
        ("admin", old.admin != new.admin),
        (
            "datapath (interfaces, xdp, bpffs, announce, health_mark)",
            fixed(old) != fixed(new),
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

/// Whether this process runs as the user of the configuration, where it has been split off for that.
pub(super) fn is_user(
    config: &Config,
    privileged: Option<&Arc<Privileged>>,
) -> Result<(), PartError> {
    let (Some(name), Some(_)) = (&config.user, privileged) else {
        return Ok(());
    };
    let user = User::find(name).map_err(|error| PartError(error.to_string()))?;
    if user.is_current() {
        return Ok(());
    }
    Err(PartError(format!(
        "`user: {name}` was not there when this process gave up its rights; start it again"
    )))
}

pub(super) fn same_address(old: &Config, listener: &ListenerConfig) -> bool {
    old.listeners
        .iter()
        .any(|one| one.name == listener.name && one.address == listener.address)
}

pub(super) fn settings(listener: &ListenerConfig) -> Result<Settings, PartError> {
    let tls = match &listener.tls {
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
            Some(
                Tls::new(&pairs, config.only_tls13, clients)
                    .map_err(|why| PartError(format!("listener `{}`: {why}", listener.name)))?,
            )
        }
    };
    Ok(Settings {
        tls,
        handshake_timeout: listener.handshake_timeout,
        head_timeout: listener.head_timeout,
        idle_timeout: listener.idle_timeout,
    })
}

pub(super) fn sockets(listening: &HashMap<Arc<str>, (Listening, Live)>) -> io::Result<Sockets> {
    listening
        .iter()
        .map(|(name, (listening, _))| Ok((Arc::clone(name), listening.socket()?)))
        .collect()
}

pub(super) fn target(config: &LogTarget) -> Target {
    match config {
        LogTarget::None => Target::None,
        LogTarget::Stdout => Target::Stdout,
        LogTarget::File(path) => Target::File(path.clone()),
    }
}

/// Doubles of the sockets of listeners, by name.
pub(super) fn named<'l>(
    listening: impl Iterator<Item = (&'l Arc<str>, &'l Listening)>,
) -> io::Result<Vec<(Named, OwnedFd)>> {
    let mut all = Vec::new();
    for (name, listening) in listening {
        for socket in listening.sockets() {
            let named = Named {
                role: Role::Listener,
                name: name.to_string(),
            };
            all.push((named, socket.try_clone()?.into()));
        }
    }
    Ok(all)
}

/// Of which issuers there are no keys; `None`: there are of all.
pub(super) fn without_keys(snapshot: &Snapshot) -> Option<String> {
    let without: Vec<&str> = snapshot
        .issuers
        .iter()
        .filter(|issuer| issuer.keys().set.is_none())
        .map(|issuer| &*issuer.rules.name)
        .collect();
    (!without.is_empty()).then(|| format!("no keys yet of {}", without.join(", ")))
}

/// Waits for the keys of all issuers: a daemon that is ready is not replaced by one that is not.
pub(super) async fn keys(snapshot: &Snapshot) -> Result<(), PartError> {
    let mut look = tokio::time::interval(Duration::from_millis(10));
    let all = async {
        while without_keys(snapshot).is_some() {
            look.tick().await;
        }
    };
    match tokio::time::timeout(KEYS, all).await {
        Ok(()) => Ok(()),
        Err(_) => Err(PartError(format!(
            "{} after {KEYS:?}; the running daemon has keys and goes on",
            without_keys(snapshot).unwrap_or_default(),
        ))),
    }
}
