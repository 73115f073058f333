//! Keeps each issuer's keys fresh: fetches ahead of need, keeps the last good set while fetches fail, fetches at once when
//! a request met a key that is not here yet, and reads a file again when it changed.

mod fetch;
pub mod figures;
mod pace;
mod settings;
mod wall;
mod watch;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until};
use tollgate_auth::token::keys::KeySet;

use self::fetch::{Fetcher, Keys};
use self::pace::Backoff;
pub use self::settings::{Settings, Source};
use self::wall::Wall;
use crate::client::Client;
use crate::clock;
use crate::snapshot::issuer::IssuerState;
use crate::snapshot::skew::{ClockNews, ClockSource};

/// A file that has changed is read this much later: most writers are done by then, and whoever writes in many pieces
/// costs ten reads a second. What is read half-written is refused, and read again with the next piece.
const SETTLE: Duration = Duration::from_millis(100);

/// How often our own clock is looked at, and what is known of the issuer's.
const CLOCK_LOOK: Duration = Duration::from_secs(60);

/// How long after a panic keys are kept again.
const RESTART: Duration = Duration::from_secs(5);

/// Why a fetch begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    /// Its time has come.
    Due,
    /// A request waits for a key.
    Asked,
    /// The file has changed.
    Changed,
}

/// Keeps the keys of one issuer. Never ends; abort it when the issuer goes.
pub async fn keep(issuer: Arc<IssuerState>, settings: Settings, client: Client) {
    let run = || run(Arc::clone(&issuer), settings.clone(), client.clone());
    supervise(&issuer.rules.name, run).await;
}

/// Runs it again when it ends, which it does only by a panic: keys that nobody keeps go stale, and then all is refused.
async fn supervise<F>(issuer: &str, mut run: impl FnMut() -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    loop {
        // Aborts what it holds when it is dropped.
        let mut running = JoinSet::new();
        running.spawn(run());
        if let Some(Err(error)) = running.join_next().await {
            tracing::error!(%issuer, %error, "keeping the keys broke off, which is a defect; it begins anew in {RESTART:?}");
        }
        sleep(RESTART).await;
    }
}

async fn run(issuer: Arc<IssuerState>, settings: Settings, client: Client) {
    // What is part of the configuration changes with it.
    let is_fixed = matches!(settings.source, Source::Inline(_));
    let (refresh, least) = (settings.refresh, settings.least);
    let mut fetcher = Fetcher::new(Arc::clone(&issuer), settings, client);
    let mut backoff = Backoff::default();
    let mut cause = Cause::Due;
    let mut due = None;
    let mut wall = Wall::new(Instant::now(), clock::now());
    loop {
        let begun = issuer.begin();
        let outcome = fetcher.fetch(cause == Cause::Asked).await;
        report(&issuer, &outcome);
        due = match &outcome {
            Ok(_) if is_fixed => None,
            Ok((_, max_age)) => {
                let next = Instant::now() + pace::ahead(refresh, least, *max_age);
                // What strangers ask for must not put off the refresh, which alone sees all that may have changed. What
                // was due after a failure is a retry, and that has just happened.
                let kept = due.filter(|_| cause == Cause::Asked && backoff.is_unused());
                backoff = Backoff::default();
                Some(kept.map_or(next, |kept: Instant| kept.min(next)))
            }
            Err(_) => Some(Instant::now() + backoff.pause(refresh)),
        };
        issuer.publish(begun, outcome.map(|(set, _)| set));
        tell_of_clock(&issuer);
        cause = next(&issuer, fetcher.changed(), due, &mut wall).await;
        look_at_clock(&issuer, &mut wall);
    }
}

/// Waits until the next fetch is to begin; `due` = `None` if none is ever due.
async fn next(
    issuer: &IssuerState,
    changed: &Notify,
    due: Option<Instant>,
    wall: &mut Wall,
) -> Cause {
    let due = async {
        match due {
            Some(due) => sleep_until(due.into()).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(due);
    loop {
        tokio::select! {
            // A fetch that is due answers whoever asks as well.
            biased;
            () = &mut due => return Cause::Due,
            () = issuer.wanted() => return Cause::Asked,
            () = changed.notified() => {
                sleep(SETTLE).await;
                return Cause::Changed;
            }
            () = issuer.clock_suspected() => tell_of_clock(issuer),
            () = sleep(CLOCK_LOOK) => {
                look_at_clock(issuer, wall);
                tell_of_clock(issuer);
            }
        }
    }
}

/// Says what is new, once.
fn report(issuer: &IssuerState, outcome: &Result<Keys, String>) {
    let name = &issuer.rules.name;
    let before = issuer.keys();
    match outcome {
        Ok((set, _)) => {
            if before.last_error.is_some() {
                tracing::info!(issuer = %name, "keys can be fetched again");
            }
            report_set(name, before.set.as_deref(), set);
        }
        // Whatever the text: an issuer, or whoever answers for it, may fail in as many words as it likes.
        Err(why) if before.last_error.is_some() => {
            tracing::debug!(issuer = %name, %why, "keys still cannot be fetched");
        }
        Err(why) => {
            let kept = if before.set.is_some() {
                "the last good ones stay"
            } else {
                "there are none yet, so its tokens are refused"
            };
            tracing::warn!(issuer = %name, %why, "keys cannot be fetched; {kept}");
        }
    }
}

fn report_set(issuer: &str, before: Option<&KeySet>, set: &KeySet) {
    if before != Some(set) {
        tracing::info!(%issuer, keys = set.len(), "new key set");
    }
    let known = before.map_or(&[][..], KeySet::skipped);
    for skipped in set.skipped().iter().filter(|one| !known.contains(one)) {
        let kid = skipped.kid.as_deref().unwrap_or("(none)");
        tracing::warn!(%issuer, %kid, why = %skipped.why, "a key cannot be used");
    }
}

fn look_at_clock(issuer: &IssuerState, wall: &mut Wall) {
    if wall.was_set(Instant::now(), clock::now()) {
        let name = &issuer.rules.name;
        tracing::info!(issuer = %name, "our own clock was set; what was known of the issuer's is measured anew");
        issuer.clock_was_set();
    }
}

fn tell_of_clock(issuer: &IssuerState) {
    let name = &issuer.rules.name;
    match issuer.clock_news() {
        None => {}
        Some(ClockNews::Right) => {
            tracing::info!(issuer = %name, "the issuer's clock and ours agree again");
        }
        Some(ClockNews::Forgotten) => {
            tracing::info!(issuer = %name, "nothing says any more that the issuer's clock and ours are apart");
        }
        Some(ClockNews::Off(offset)) => {
            let side = if offset.seconds > 0.0 {
                "ahead of"
            } else {
                "behind"
            };
            let (seconds, uncertainty) = (offset.seconds.abs(), offset.uncertainty);
            let distance = match offset.source {
                ClockSource::Date => format!(
                    "{seconds:.1} s (within {uncertainty:.1} s, by the Date of its answers)"
                ),
                ClockSource::IssuedAt => format!("at least {seconds:.1} s (by the iat of a token)"),
            };
            let ours = match clock::kernel().map(|kernel| kernel.is_synchronised) {
                Some(true) => "ours is synchronised, so look there first",
                Some(false) => "ours is not synchronised, so look here first",
                None => "whether ours is synchronised cannot be told",
            };
            tracing::warn!(
                issuer = %name,
                "the issuer's clock is {distance} {side} ours: tokens expire, or are refused as issued in the future, at the \
                 wrong moment; {ours}"
            );
        }
    }
}

#[cfg(test)]
mod tests;
