//! An upgrade: the binary that stands where this one was started from is started beside it, takes over, and this one ends.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::handover::{Failure, Successor};
use crate::supervisor;

/// How long all of it may take; the hand-over itself has shorter limits for each step.
const LIMIT: Duration = Duration::from_secs(240);
/// How often is looked whether the new process has ended.
const LOOK: Duration = Duration::from_millis(20);
/// How long one that has ended may go on to be heard, and one that has failed may take to end.
const LAST_WORDS: Duration = Duration::from_secs(5);

#[derive(Debug, Clone)]
enum Outcome {
    /// Of the process that was started.
    Failed(String),
    /// By whoever has taken over.
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
    /// The process that was started; it stays here when it has taken over.
    child: Mutex<Option<Child>>,
}

impl Upgrades {
    pub(super) fn new(binary: Option<PathBuf>) -> Self {
        Self {
            binary,
            running: tokio::sync::Mutex::default(),
            outcome: watch::Sender::new(None),
            last_error: Mutex::default(),
            child: Mutex::default(),
        }
    }

    /// Starts the binary, which is to take over by the socket `place`, and waits for what comes of it. Whoever stops waiting
    /// stops the next from being told, nothing else: to be run as a task of its own.
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
        let pid = child.id();
        *self.child() = Some(child);
        supervisor::reloading();
        let came = self.watch(pid).await;
        if let Err(why) = &came {
            supervisor::ready();
            self.note(why);
        }
        came
    }

    async fn watch(&self, pid: u32) -> Result<Successor, String> {
        let mut outcome = self.outcome.subscribe();
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut deadline = Instant::now() + LIMIT;
        let mut ended = None;
        loop {
            tokio::select! {
                biased;
                told = told(&mut outcome) => match told {
                    Some(Outcome::Done(successor)) if successor.pid == pid => return Ok(successor),
                    Some(Outcome::Done(other)) => {
                        self.end(pid).await;
                        let Successor { pid: other, version, .. } = other;
                        return Err(format!(
                            "process {other} (tollgate {version}) took over, not process {pid}, which was started for it"
                        ));
                    }
                    Some(Outcome::Failed(why)) => {
                        self.end(pid).await;
                        return Err(why);
                    }
                    None => return Err("the daemon is ending".to_owned()),
                },
                now = look.tick() => {
                    if ended.is_none() && let Some(status) = self.ended() {
                        ended = Some(status);
                        // What it said last is still on its way.
                        deadline = now + LAST_WORDS;
                    }
                    if now >= deadline {
                        self.end(pid).await;
                        return Err(match ended {
                            Some(status) => format!("the new daemon ended with {status}; what it said stands in the log"),
                            None => format!("the new daemon did not take over within {LIMIT:?}"),
                        });
                    }
                }
            }
        }
    }

    /// Waits for the end of the process that was started, if it is this one, and makes it end if it does not.
    pub(super) async fn end(&self, pid: u32) {
        let child = {
            let mut child = self.child();
            child.take_if(|child| child.id() == pid)
        };
        if let Some(child) = child {
            end(child).await;
        }
    }

    /// Ends the process that was started, at once: the daemon ends, and leaves nothing to take over.
    pub(super) fn stop(&self) {
        let child = self.child().take();
        if let Some(child) = child {
            let why = "the daemon is ending".to_owned();
            self.outcome.send_replace(Some(Outcome::Failed(why)));
            kill(child);
        }
    }

    /// A hand-over came to nothing; whose it was decides whether an upgrade has.
    pub(super) fn failed(&self, failure: &Failure) {
        self.note(&failure.why);
        // One that had to be ended for it is not there any more, and nobody else takes over meanwhile.
        let started = self.child().as_ref().map(Child::id);
        if started.is_none() || started == failure.pid {
            let why = failure.why.clone();
            self.outcome.send_replace(Some(Outcome::Failed(why)));
        }
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
        self.child().take()
    }

    fn ended(&self) -> Option<ExitStatus> {
        self.child().as_mut()?.try_wait().ok()?
    }

    fn child(&self) -> MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
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
    kill(child);
}

fn kill(mut child: Child) {
    if let Err(error) = child.kill().and_then(|()| child.wait().map(drop)) {
        tracing::warn!(%error, pid = child.id(), "the new daemon was not ended");
    }
}
