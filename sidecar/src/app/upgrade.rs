//! An upgrade: the binary that stands where this one was started from is started beside it, takes over, and this one ends.

use std::path::Path;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::handover::{Failure, Successor};
use crate::privileged::Privileged;
use crate::supervisor;

/// How long all of it may take; the hand-over itself has shorter limits for each step.
const LIMIT: Duration = Duration::from_secs(240);
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
    /// Who starts it; `None`: a daemon that has no such process.
    privileged: Option<Arc<Privileged>>,
    running: tokio::sync::Mutex<()>,
    outcome: watch::Sender<Option<Outcome>>,
    last_error: Mutex<Option<String>>,
    /// The process that was started; it stays here when it has taken over.
    started: Mutex<Option<u32>>,
}

impl Upgrades {
    pub(super) fn new(privileged: Option<Arc<Privileged>>) -> Self {
        Self {
            privileged,
            running: tokio::sync::Mutex::default(),
            outcome: watch::Sender::new(None),
            last_error: Mutex::default(),
            started: Mutex::default(),
        }
    }

    /// Starts the binary, which is to take over by the socket `place`, and waits for what comes of it. Whoever stops waiting
    /// stops the next from being told, nothing else: to be run as a task of its own.
    pub(super) async fn run(&self, place: &Path) -> Result<Successor, String> {
        let Ok(_running) = self.running.try_lock() else {
            return Err("another upgrade is under way".to_owned());
        };
        let Some(privileged) = &self.privileged else {
            return Err("this daemon was not started by `tollgate run`".to_owned());
        };
        tracing::info!("upgrading");
        self.outcome.send_replace(None);
        let started = privileged.start(place.to_owned()).await;
        let pid = started.inspect_err(|why| self.note(why))?;
        *self.started() = Some(pid);
        supervisor::reloading();
        let came = self.watch(privileged, pid).await;
        if let Err(why) = &came {
            supervisor::ready();
            self.note(why);
        }
        came
    }

    async fn watch(&self, privileged: &Privileged, pid: u32) -> Result<Successor, String> {
        let mut outcome = self.outcome.subscribe();
        let mut ending = pin!(privileged.wait(pid));
        let mut deadline = Instant::now() + LIMIT;
        // Or will not be: who could say it is gone.
        let (mut is_known, mut ended) = (false, None);
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
                how = &mut ending, if !is_known => {
                    is_known = true;
                    if let Some(how) = how {
                        ended = Some(how);
                        // What it said last is still on its way.
                        deadline = Instant::now() + LAST_WORDS;
                    }
                }
                () = sleep_until(deadline) => {
                    self.end(pid).await;
                    return Err(match ended {
                        Some(how) => format!("the new daemon ended with {how}; what it said stands in the log"),
                        None => format!("the new daemon did not take over within {LIMIT:?}"),
                    });
                }
            }
        }
    }

    /// Waits for the end of the process that was started, if it is this one, and makes it end if it does not.
    pub(super) async fn end(&self, pid: u32) {
        let started = self.started().take_if(|started| *started == pid);
        if let (Some(privileged), Some(pid)) = (&self.privileged, started) {
            privileged.end(pid, LAST_WORDS).await;
        }
    }

    /// Ends the process that was started, at once: the daemon ends, and leaves nothing to take over.
    pub(super) async fn stop(&self) {
        let started = self.started().take();
        if let (Some(privileged), Some(pid)) = (&self.privileged, started) {
            let why = "the daemon is ending".to_owned();
            self.outcome.send_replace(Some(Outcome::Failed(why)));
            privileged.end(pid, Duration::ZERO).await;
        }
    }

    /// A hand-over came to nothing; whose it was decides whether an upgrade has.
    pub(super) fn failed(&self, failure: &Failure) {
        self.note(&failure.why);
        // One that had to be ended for it is not there any more, and nobody else takes over meanwhile.
        let started = *self.started();
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

    /// The process of the successor, if this daemon has started it.
    pub(super) fn successor(&self) -> Option<u32> {
        self.started().take()
    }

    fn started(&self) -> MutexGuard<'_, Option<u32>> {
        self.started.lock().unwrap_or_else(PoisonError::into_inner)
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
