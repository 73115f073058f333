//! What `tollgate status` shows.

use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use super::Inner;
use crate::clock;

pub(super) async fn of(inner: &Inner) -> Value {
    let datapath = match &inner.kernel {
        None => Value::Null,
        Some(kernel) => kernel
            .status()
            .await
            .and_then(|status| serde_json::to_value(&*status).ok())
            .unwrap_or(Value::Null),
    };
    let snapshot = inner.shared.snapshot.load_full();
    let now = clock::now();
    let issuers: Vec<Value> = snapshot
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
        .collect();
    let verdicts = inner.shared.verdicts.stats();
    let unready = inner.unready();
    let state = inner.state.lock().await;
    let mut listeners: Vec<Value> = state
        .listening
        .iter()
        .map(|(name, (listening, _))| json!({ "name": &**name, "address": listening.address }))
        .collect();
    listeners.sort_by_key(|listener| listener["name"].to_string());
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "ready": unready.is_none(),
        "unready": unready,
        "draining": inner.draining.load(Ordering::Relaxed),
        "configuration": {
            "path": inner.path,
            "loaded_at": humantime::format_rfc3339_seconds(state.loaded_at).to_string(),
            "epoch": snapshot.epoch,
            "reloads": state.reloads,
            "last_error": state.last_error,
        },
        "listeners": listeners,
        "issuers": issuers,
        "verdict_cache": {
            "entries": verdicts.entries,
            "bytes": verdicts.bytes,
            "hits": verdicts.hits,
            "misses": verdicts.misses,
        },
        "datapath": datapath,
    })
}
