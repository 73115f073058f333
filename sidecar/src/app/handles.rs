//! What others may ask of the daemon, as functions: the admin interfaces, and whoever takes over.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use tollgate_datapath::FlowQuestion;

use super::inner::Inner;
use crate::admin::Handles;
use crate::cluster::NO_KEYS;
use crate::drain::Watch;
use crate::explain::moment;
use crate::{clock, handover};

async fn explain_flow(inner: &Inner, question: FlowQuestion) -> Result<serde_json::Value, String> {
    let kernel = inner
        .kernel
        .as_ref()
        .ok_or_else(|| "this daemon has no `datapath`".to_owned())?;
    let explanation = kernel.explain(question).await?;
    serde_json::to_value(explanation).map_err(|error| error.to_string())
}

pub(super) fn handles(inner: &Arc<Inner>, watch: Watch) -> Handles {
    // Weak: the admin interface does not keep a daemon alive that has ended.
    let weak = Arc::downgrade(inner);
    let with = move || Weak::upgrade(&weak);
    let upgrade = with.clone();
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
        upgrade: Box::new(move || {
            let inner = upgrade();
            Box::pin(async move {
                let inner = inner.ok_or_else(|| "the daemon has ended".to_owned())?;
                if inner.draining.load(Ordering::Relaxed) {
                    return Err("the daemon is draining".to_owned());
                }
                // It goes on when whoever asked has hung up.
                let run = async move { inner.giving.upgrade().await };
                let ended = |_| Err("the daemon is ending".to_owned());
                tokio::spawn(run).await.unwrap_or_else(ended)
            })
        }),
        watch,
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

/// What the daemon does for one that takes over.
pub(super) fn giving(inner: &Arc<Inner>) -> handover::Handles {
    let weak = Arc::downgrade(inner);
    let with = move || Weak::upgrade(&weak);
    let (offer, rest, failed, done) = (with.clone(), with.clone(), with.clone(), with);
    handover::Handles {
        offer: Box::new(move || {
            let inner = offer();
            Box::pin(async move {
                let inner = inner.ok_or_else(|| "the daemon has ended".to_owned())?;
                inner.offer().await
            })
        }),
        rest: Box::new(move || {
            let inner = rest();
            Box::pin(async move { inner?.kernel.as_ref()?.lend().await })
        }),
        failed: Box::new(move |failure| {
            let inner = failed();
            Box::pin(async move {
                if let Some(inner) = inner {
                    inner.not_succeeded(failure).await;
                }
            })
        }),
        done: Box::new(move |successor| {
            let inner = done();
            Box::pin(async move {
                if let Some(inner) = inner {
                    inner.giving.done(successor);
                }
            })
        }),
    }
}
