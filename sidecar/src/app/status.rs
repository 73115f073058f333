//! What `tollgate status` shows.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use serde_json::{Value, json};
use tollgate_auth::token::cache::CacheStats;
use tollgate_datapath::Status;

use crate::clock;
use crate::snapshot::Snapshot;

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
    pub(super) listeners: Vec<(Arc<str>, SocketAddr)>,
    pub(super) datapath: Option<&'v Status>,
}

pub(super) fn json(view: &View<'_>) -> Value {
    let listeners: Vec<Value> = view
        .listeners
        .iter()
        .map(|(name, address)| json!({ "name": &**name, "address": address }))
        .collect();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
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
        "listeners": listeners,
        "issuers": issuers(view.snapshot),
        "verdict_cache": {
            "entries": view.verdicts.entries,
            "bytes": view.verdicts.bytes,
            "hits": view.verdicts.hits,
            "misses": view.verdicts.misses,
        },
        "datapath": view.datapath,
    })
}

fn issuers(snapshot: &Snapshot) -> Vec<Value> {
    let now = clock::now();
    snapshot
        .issuers
        .iter()
        .map(|issuer| {
            let keys = issuer.keys();
            let state = match &keys.set {
                None => "unavailable",
                Some(_) if issuer.is_stale(&keys, now) => "stale",
                Some(_) => "ready",
            };
            json!({
                "name": &*issuer.rules.name,
                "issuer": issuer.rules.issuer,
                "state": state,
                "keys": keys.set.as_ref().map_or(0, |set| set.len()),
                "generation": keys.generation,
                "age_seconds": keys.fetched.map(|fetched| now.saturating_since(fetched).as_secs()),
                "fetches": keys.fetches,
                "failures": keys.failures,
                "last_error": keys.last_error,
            })
        })
        .collect()
}
