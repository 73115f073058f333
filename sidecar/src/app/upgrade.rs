//! An upgrade: the binary that stands where this one was started from is started beside it, takes over, and this one ends.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::handover::Successor;
use crate::supervisor;

/// How long all of it may take; the hand-over itself has shorter limits for each step.
const LIMIT: Duration = Duration::from_secs(240);
/// How often is looked whether the new process has ended.
const LOOK: Duration = Duration::from_millis(20);
/// How long one that has ended may go on to be heard, and one that has failed may take to end.
const LAST_WORDS: Duration = Duration::from_secs(5);

#[derive(Debug, Clone)]
enum Outcome {
    Failed(String),
    Done(Successor),
}

/// The upgrades of a daemon: one at a time.
#[derive(Debug)]
pub(super) struct Upgrades {
    /// Resolved when the daemon started; no path ever comes from a client.
    binary: Option<PathBuf>,
    running: tokio::sync::Mutex<()>,
    outcome: watch::Sender<Option<Outcome>>,
    last_error: Mutex<Option<String>>,
    successor: Mutex<Option<Child>>,
}

impl Upgrades {
    pub(super) fn new(binary: Option<PathBuf>) -> Self {
        Self {
            binary,
            running: tokio::sync::Mutex::default(),
            outcome: watch::Sender::new(None),
            last_error: Mutex::default(),
            successor: Mutex::default(),
        }
    }

    /// Starts the binary, which is to take over by the socket `place`, and waits for what comes of it.
    pub(super) async fn run(&self, config: &Path, place: &Path) -> Result<Successor, String> {
        let Ok(_running) = self.running.try_lock() else {
            return Err("another upgrade is under way".to_owned());
        };
        let Some(binary) = &self.binary else {
            return Err(
                "nobody knows where this daemon was started from; start it by its path".to_owned(),
            );
        };
        tracing::info!(binary = %binary.display(), "upgrading");
        self.outcome.send_replace(None);
        let mut command = Command::new(binary);
        command
            .args(["run", "--config"])
            .arg(config)
            .arg("--take-over")
            .arg(place)
            .stdin(Stdio::null());
        let child = command
            .spawn()
            .map_err(|error| format!("{} cannot be started: {error}", binary.display()))?;
        supervisor::reloading();
        match self.watch(child).await {
            Ok((successor, child)) => {
                *self
                    .successor
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner) = Some(child);
                Ok(successor)
            }
            Err(why) => {
                supervisor::ready();
                self.note(&why);
                Err(why)
            }
        }
    }

    async fn watch(&self, mut child: Child) -> Result<(Successor, Child), String> {
        let mut outcome = self.outcome.subscribe();
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut deadline = Instant::now() + LIMIT;
        let mut ended = None;
        loop {
            tokio::select! {
                biased;
                told = told(&mut outcome) => match told {
                    Some(Outcome::Done(successor)) => return Ok((successor, child)),
                    Some(Outcome::Failed(why)) => {
                        end(child).await;
                        return Err(why);
                    }
                    None => return Err("the daemon is ending".to_owned()),
                },
                now = look.tick() => {
                    if ended.is_none() && let Ok(Some(status)) = child.try_wait() {
                        ended = Some(status);
                        // What it said last is still on its way.
                        deadline = now + LAST_WORDS;
                    }
                    if now >= deadline {
                        return Err(match ended {
                            Some(status) => format!("the new daemon ended with {status}; what it said stands in the log"),
                            None => {
                                end(child).await;
                                format!("the new daemon did not take over within {LIMIT:?}")
                            }
                        });
                    }
                }
            }
        }
    }

    /// A hand-over came to nothing.
    pub(super) fn failed(&self, why: String) {
        self.note(&why);
        self.outcome.send_replace(Some(Outcome::Failed(why)));
    }

    /// A hand-over is done.
    pub(super) fn done(&self, successor: Successor) {
        self.outcome.send_replace(Some(Outcome::Done(successor)));
    }

    /// Why the last one came to nothing.
    pub(super) fn last_error(&self) -> Option<String> {
        self.last_error
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The process of the successor, if this one has started it.
    pub(super) fn successor(&self) -> Option<Child> {
        self.successor
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    fn note(&self, why: &str) {
        let why = Some(why.to_owned());
        *self
            .last_error
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = why;
    }
}

async fn told(outcome: &mut watch::Receiver<Option<Outcome>>) -> Option<Outcome> {
    let told = outcome.wait_for(Option::is_some).await;
    told.ok().and_then(|told| told.clone())
}

/// One that has failed ends by itself, or is made to.
async fn end(mut child: Child) {
    let deadline = Instant::now() + LAST_WORDS;
    let mut look = interval(LOOK);
    while Instant::now() < deadline {
        look.tick().await;
        if !matches!(child.try_wait(), Ok(None)) {
            return;
        }
    }
    if let Err(error) = child.kill().and_then(|()| child.wait().map(drop)) {
        tracing::warn!(%error, pid = child.id(), "the new daemon was not ended");
    }
}
