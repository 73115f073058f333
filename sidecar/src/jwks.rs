//! Keeps each issuer's keys fresh: fetches ahead of need, keeps the last good set while fetches fail, and fetches at
//! once when a request met a key that is not here yet.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tollgate_auth::token::keys::KeySet;

use crate::client::{Client, Limits};
use crate::clock;
use crate::snapshot::issuer::IssuerState;

/// A key set document is at most this large (token.md); discovery documents as well.
const MAX_BYTES: usize = 256 * 1024;
/// The first retry after a failure; doubled from failure to failure.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// Between retries, at most: an IdP that is back is noticed within this, however long the refresh interval is.
const LAST_RETRY: Duration = Duration::from_secs(30);

/// Where keys come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// OpenID Connect Discovery 1.0, section 4: the issuer's document names the key set.
    Discover,
    /// A key set by URL.
    Url(String),
    /// A key set in a file.
    File(PathBuf),
    /// A key set in the configuration.
    Inline(Vec<u8>),
}

/// How keys are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where they come from.
    pub source: Source,
    /// Time between fetches, at most.
    pub refresh: Duration,
    /// Time between fetches, at least, whatever Cache-Control says.
    pub least: Duration,
    /// What a fetch may do.
    pub limits: Limits,
}

impl Settings {
    /// Limits for fetching keys.
    pub fn limits(timeout: Duration, allow_http: bool, allow_private: bool) -> Limits {
        Limits {
            timeout,
            max_bytes: MAX_BYTES,
            allow_http,
            allow_private,
        }
    }
}

/// Keeps the keys of one issuer. Never ends; abort it when the issuer goes.
pub async fn keep(issuer: Arc<IssuerState>, settings: Settings, client: Client) {
    let mut retry = FIRST_RETRY;
    loop {
        let begun = issuer.begin();
        let outcome = fetch(&issuer, &settings, &client).await;
        let pause = match &outcome {
            Ok((set, max_age)) => {
                retry = FIRST_RETRY;
                report(&issuer, set);
                ahead(settings.refresh, settings.least, *max_age)
            }
            Err(why) => {
                let kept = if issuer.keys().set.is_some() {
                    "the last good ones stay"
                } else {
                    "there are none yet, so its tokens are refused"
                };
                tracing::warn!(issuer = %issuer.rules.name, %why, "keys cannot be fetched; {kept}");
                let pause = retry.min(settings.refresh);
                retry = (retry * 2).min(LAST_RETRY);
                pause
            }
        };
        issuer.publish(begun, outcome.map(|(set, _)| set), clock::now());
        tokio::select! {
            () = tokio::time::sleep(jittered(pause)) => {}
            () = issuer.wanted() => {}
        }
    }
}

/// Ahead of expiry: what the IdP says, within [least, refresh].
fn ahead(refresh: Duration, least: Duration, max_age: Option<Duration>) -> Duration {
    max_age.map_or(refresh, |age| age.clamp(least.min(refresh), refresh))
}

/// 80 to 100 % of `pause`: many nodes started together do not stay together.
fn jittered(pause: Duration) -> Duration {
    let mut byte = [0];
    // Without random bytes: the same pause for all, which is only less kind to the IdP.
    let _ = aws_lc_rs::rand::fill(&mut byte).is_ok();
    pause.mul_f64(1.0 - f64::from(byte[0]) / 255.0 * 0.2)
}

fn report(issuer: &IssuerState, set: &KeySet) {
    let known = issuer
        .keys()
        .set
        .as_ref()
        .is_some_and(|old| old.fingerprint() == set.fingerprint());
    if known {
        return;
    }
    tracing::info!(issuer = %issuer.rules.name, keys = set.len(), "new key set");
    for skipped in set.skipped() {
        let kid = skipped.kid.as_deref().unwrap_or("(none)");
        tracing::warn!(issuer = %issuer.rules.name, kid = %kid.escape_default(), why = %skipped.why, "a key cannot be used");
    }
}

async fn fetch(
    issuer: &IssuerState,
    settings: &Settings,
    client: &Client,
) -> Result<(KeySet, Option<Duration>), String> {
    let (document, max_age) = match &settings.source {
        Source::Inline(document) => (document.clone().into(), None),
        Source::File(path) => {
            // A few kilobytes from a local disk, on the runtime that serves no request.
            let document = std::fs::read(path)
                .map_err(|error| format!("cannot read `{}`: {error}", path.display()))?;
            (document.into(), None)
        }
        Source::Url(url) => get(client, url, &settings.limits).await?,
        Source::Discover => {
            let url = discover(&issuer.rules.issuer, settings, client).await?;
            get(client, &url, &settings.limits).await?
        }
    };
    // A set without a usable key is an error: an IdP that publishes one is broken, not rotated, and the last good set
    // stays.
    let set = match settings.source {
        // What the operator keeps may hold shared secrets; what anyone can fetch may not.
        Source::Inline(_) | Source::File(_) => KeySet::from_local_jwks(&document),
        Source::Url(_) | Source::Discover => KeySet::from_jwks(&document),
    }
    .map_err(|error| error.to_string())?;
    Ok((set, max_age))
}

async fn get(
    client: &Client,
    url: &str,
    limits: &Limits,
) -> Result<(bytes::Bytes, Option<Duration>), String> {
    let fetched = client
        .get(url, limits)
        .await
        .map_err(|error| error.to_string())?;
    Ok((fetched.body, fetched.max_age))
}

/// The key set's URL. The document must speak for exactly this issuer (section 4.3), or whoever may write one page on
/// the IdP's host could speak for another of its tenants.
async fn discover(issuer: &str, settings: &Settings, client: &Client) -> Result<String, String> {
    let url = format!(
        "{}/.well-known/openid-configuration",
        issuer.trim_end_matches('/')
    );
    let (document, _) = get(client, &url, &settings.limits).await?;
    let document: Value = serde_json::from_slice(&document)
        .map_err(|error| format!("`{url}` is not JSON: {error}"))?;
    match document.get("issuer").and_then(Value::as_str) {
        Some(said) if said == issuer => {}
        said => {
            return Err(format!(
                "`{url}` speaks for the issuer `{}`, not for `{issuer}`",
                said.unwrap_or_default().escape_default()
            ));
        }
    }
    document
        .get("jwks_uri")
        .and_then(Value::as_str)
        .map(ToOwned::to_owned)
        .ok_or_else(|| format!("`{url}` names no jwks_uri"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cache_control_moves_the_refresh_within_its_bounds() {
        let (refresh, least) = (Duration::from_secs(300), Duration::from_secs(30));
        for (max_age, expected) in [
            (None, 300),
            (Some(0), 30),
            (Some(120), 120),
            (Some(86400), 300),
        ] {
            let max_age = max_age.map(Duration::from_secs);
            assert_eq!(
                ahead(refresh, least, max_age),
                Duration::from_secs(expected)
            );
        }
        assert_eq!(
            ahead(Duration::from_secs(1), least, None),
            Duration::from_secs(1),
            "a refresh below the cooldown is the operator's word"
        );
    }

    #[test]
    fn jitter_stays_within_a_fifth() {
        for _ in 0..100 {
            let pause = jittered(Duration::from_secs(100));
            assert!((Duration::from_secs(79)..=Duration::from_secs(100)).contains(&pause));
        }
    }
}
