//! What `tollgate status` shows.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use serde_json::{Value, json};
use tollgate_auth::token::cache::CacheStats;
use tollgate_datapath::Status;

use crate::clock;
use crate::cluster::Keyring;
use crate::health::report::{self, GroupReport};
use crate::privileged::Rights;
use crate::snapshot::Snapshot;
use crate::snapshot::skew::ClockOffset;

/// What there is to show.
pub(super) struct View<'v> {
    pub(super) snapshot: &'v Snapshot,
    pub(super) verdicts: CacheStats,
    pub(super) unready: Option<String>,
    pub(super) draining: bool,
    pub(super) path: &'v Path,
    pub(super) loaded_at: SystemTime,
    pub(super) reloads: u64,
    pub(super) last_error: Option<&'v str>,
    pub(super) upgrade_error: Option<String>,
    pub(super) listeners: Vec<(Arc<str>, SocketAddr)>,
    pub(super) datapath: Option<&'v Status>,
    pub(super) health: &'v [GroupReport],
    pub(super) processes: &'v Processes,
}

/// What the daemon's processes may do.
pub(super) struct Processes {
    pub(super) serving: Result<Rights, String>,
    /// `None`: there is no such process.
    pub(super) privileged: Option<Result<Rights, String>>,
}

pub(super) fn json(view: &View<'_>) -> Value {
    let listeners: Vec<Value> = view
        .listeners
        .iter()
        .map(|(name, address)| json!({ "name": &**name, "address": address }))
        .collect();
    json!({
        "version": crate::VERSION,
        "pid": std::process::id(),
        "processes": processes(view.processes),
        "ready": view.unready.is_none(),
        "unready": view.unready,
        "draining": view.draining,
        "configuration": {
            "path": view.path,
            "loaded_at": humantime::format_rfc3339_seconds(view.loaded_at).to_string(),
            "epoch": view.snapshot.epoch,
            "reloads": view.reloads,
            "last_error": view.last_error,
        },
        "upgrade": { "last_error": view.upgrade_error },
        "listeners": listeners,
        "issuers": issuers(view.snapshot),
        "assertions": assertions(&view.snapshot.keyring),
        "clock": kernel_clock(),
        "verdict_cache": {
            "entries": view.verdicts.entries,
            "bytes": view.verdicts.bytes,
            "hits": view.verdicts.hits,
            "misses": view.verdicts.misses,
        },
        "datapath": view.datapath,
        "health": report::json(view.health),
    })
}

fn processes(processes: &Processes) -> Vec<Value> {
    let of = |role: &str, rights: &Result<Rights, String>| match rights {
        Ok(rights) => json!({
            "role": role,
            "pid": rights.pid,
            "uid": rights.uid,
            "capabilities": rights.capabilities,
            "no_new_privileges": rights.no_new_privileges,
        }),
        Err(error) => json!({ "role": role, "error": error }),
    };
    let serving = [of("serving", &processes.serving)];
    let privileged = processes.privileged.iter().map(|one| of("privileged", one));
    serving.into_iter().chain(privileged).collect()
}

fn issuers(snapshot: &Snapshot) -> Vec<Value> {
    snapshot
        .issuers
        .iter()
        .map(|issuer| {
            let keys = issuer.keys();
            let state = match &keys.set {
                None => "unavailable",
                Some(_) if issuer.is_stale(&keys) => "stale",
                Some(_) => "ready",
            };
            let skipped: Vec<Value> = keys
                .skipped()
                .iter()
                .map(|skipped| json!({ "kid": skipped.kid, "why": skipped.why }))
                .collect();
            json!({
                "name": &*issuer.rules.name,
                "issuer": issuer.rules.issuer,
                "state": state,
                "keys": keys.set.as_ref().map_or(0, |set| set.len()),
                "kids": keys.set.as_ref().map_or_else(Vec::new, |set| set.kids().collect()),
                "skipped": skipped,
                "generation": keys.generation,
                "age_seconds": keys.age().map(|age| age.as_secs()),
                "fetches": keys.fetches,
                "failures": keys.failures,
                "last_error": keys.last_error,
                "unwatched": keys.unwatched,
                "clock": issuer.clock_offset().as_ref().map(offset),
            })
        })
        .collect()
}

/// Whose keys sign, and which: with the name of the one that signs now first.
fn assertions(keyring: &Keyring) -> Value {
    let keys = keyring.jwks(clock::now());
    let kids: Vec<Value> = keys
        .iter()
        .filter_map(|set| set["keys"].as_array())
        .flatten()
        .map(|key| key["kid"].clone())
        .collect();
    json!({
        "keys_of": keyring.owner().word(),
        "kids": kids,
        "last_error": keys.err().map(|error| error.to_string()),
    })
}

/// Rounded to what it is worth: `Date` has whole seconds.
fn offset(offset: &ClockOffset) -> Value {
    let rounded = |seconds: f64| (seconds * 1000.0).round() / 1000.0;
    json!({
        "ahead_seconds": rounded(offset.seconds),
        "uncertainty_seconds": rounded(offset.uncertainty),
        "source": offset.source.word(),
        "age_seconds": offset.age.as_secs(),
    })
}

fn kernel_clock() -> Value {
    clock::kernel().map_or(Value::Null, |clock| {
        json!({
            "synchronised": clock.is_synchronised,
            "estimated_error_seconds": clock.estimated_error.as_secs_f64(),
            "max_error_seconds": clock.max_error.as_secs_f64(),
        })
    })
}
