//! The privileged process: it does what it is asked until the one that serves hangs up, be it by its death.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::message::{Answer, Call, MOST, Order, Said};
use super::rights::{Rights, keep_what_is_needed};
use crate::bind;
use crate::kernel::{self, Asked};
use crate::supervisor::signals::Signals;
use crate::wire::Wire;

/// Orders that may wait for the datapath. Whoever serves waits for most answers before it asks again.
const WAITING: usize = 1024;
/// Sockets of one call.
const MOST_SOCKETS: usize = 4096;
/// How often is looked whether a process has ended.
const LOOK: Duration = Duration::from_millis(20);

/// What it is told by whoever starts it; the other process cannot change it.
#[derive(Debug)]
pub struct Given {
    /// The configuration that the next version is started with.
    pub config: PathBuf,
    /// The binary of the next version; `None`: nobody knows where this one was started from.
    pub binary: Option<PathBuf>,
}

/// Serves until the other side of `stream` has hung up and the datapath's work is done.
///
/// # Errors
///
/// The process cannot begin; then nothing was done.
pub fn run(stream: std::os::unix::net::UnixStream, given: Given) -> io::Result<()> {
    keep_what_is_needed().map_err(io::Error::other)?;
    let (orders, inbox) = mpsc::channel(WAITING);
    let runtime = runtime()?;
    let datapath = thread::Builder::new()
        .name("datapath".to_owned())
        .spawn(move || runtime.block_on(kernel::serve(inbox)))?;
    self::runtime()?.block_on(async {
        // Whoever ends or reloads a whole group of processes means the one that serves; this one goes with it.
        let _signals = Signals::hear()?;
        stream.set_nonblocking(true)?;
        let wire = Arc::new(Wire::new(UnixStream::from_std(stream)?, MOST));
        let rights = Rights::now()?;
        tracing::info!(
            capabilities = rights.names(),
            uid = rights.uid,
            "the privileged process"
        );
        serve(&wire, orders, &Arc::new(Started::new(given))).await;
        io::Result::Ok(())
    })?;
    // An order that is half done is done to the end.
    let _ = datapath.join().is_ok();
    Ok(())
}

fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
}

async fn serve(wire: &Arc<Wire>, orders: mpsc::Sender<Asked>, started: &Arc<Started>) {
    let (answers, mut outbox) = mpsc::unbounded_channel::<(Said, Vec<OwnedFd>)>();
    let writer = Arc::clone(wire);
    tokio::spawn(async move {
        while let Some((said, fds)) = outbox.recv().await {
            let fds: Vec<BorrowedFd<'_>> = fds.iter().map(|fd| fd.as_fd()).collect();
            if let Err(error) = writer.send(&said, &fds).await {
                tracing::error!(%error, "the process that serves is not answered");
                return;
            }
        }
    });
    loop {
        let (Call { number, order }, fds) = match wire.next().await {
            Ok(call) => call,
            Err(error) => {
                if error.kind() != io::ErrorKind::UnexpectedEof {
                    tracing::error!(%error, "the process that serves is not understood; ending");
                }
                return;
            }
        };
        let answers = answers.clone();
        let answer = move |answer: Answer, fds: Vec<OwnedFd>| {
            // Nobody waits for it where the other has gone.
            let _ = answers.send((Said { number, answer }, fds)).is_ok();
        };
        match order {
            Order::Rights => answer(rights(), Vec::new()),
            Order::Bind {
                address,
                count,
                alone,
            } => match bind::listeners(address, count.min(MOST_SOCKETS), alone) {
                Ok(sockets) => {
                    let sockets = sockets.into_iter().map(OwnedFd::from).collect();
                    answer(Answer::Done, sockets);
                }
                Err(error) => answer(Answer::Failed(error.to_string()), Vec::new()),
            },
            Order::Start { place } => answer(started.start(&place), Vec::new()),
            Order::Wait { pid } => {
                let started = Arc::clone(started);
                spawn(async move { started.wait(pid, None).await }, answer);
            }
            Order::End {
                pid,
                patience_millis,
            } => {
                let started = Arc::clone(started);
                let patience = Some(Duration::from_millis(patience_millis));
                spawn(async move { started.wait(pid, patience).await }, answer);
            }
            Order::Kernel(order) => {
                let (told, heard) = oneshot::channel();
                let asked = Asked {
                    order,
                    fds,
                    answer: told,
                };
                // In the order in which they came; the answer when it is there.
                if orders.send(asked).await.is_err() {
                    answer(ended(), Vec::new());
                    continue;
                }
                tokio::spawn(async move {
                    match heard.await {
                        Ok((said, fds)) => answer(Answer::Kernel(said), fds),
                        Err(_) => answer(ended(), Vec::new()),
                    }
                });
            }
        }
    }
}

fn spawn(
    work: impl Future<Output = Answer> + Send + 'static,
    answer: impl FnOnce(Answer, Vec<OwnedFd>) + Send + 'static,
) {
    tokio::spawn(async move { answer(work.await, Vec::new()) });
}

fn ended() -> Answer {
    Answer::Failed("the datapath's thread has ended; restart the daemon".to_owned())
}

fn rights() -> Answer {
    match Rights::now() {
        Ok(rights) => Answer::Rights(rights),
        Err(error) => Answer::Failed(error.to_string()),
    }
}

/// The processes that were started.
struct Started {
    given: Given,
    children: Mutex<HashMap<u32, Child>>,
}

impl Started {
    fn new(given: Given) -> Self {
        Self {
            given,
            children: Mutex::default(),
        }
    }

    /// Starts the binary that stands where this one was started from.
    fn start(&self, place: &Path) -> Answer {
        let Some(binary) = &self.given.binary else {
            let why = "nobody knows where this daemon was started from; start it by its path";
            return Answer::Failed(why.to_owned());
        };
        let mut command = Command::new(binary);
        command
            .args(["run", "--config"])
            .arg(&self.given.config)
            .arg("--take-over")
            .arg(place)
            .stdin(Stdio::null());
        match command.spawn() {
            Ok(child) => {
                let pid = child.id();
                tracing::info!(binary = %binary.display(), pid, "started");
                self.children().insert(pid, child);
                Answer::Started { pid }
            }
            Err(error) => {
                let why = format!("{} cannot be started: {error}", binary.display());
                Answer::Failed(why)
            }
        }
    }

    /// Waits for the end of a process, for no longer than `patience`: then it is made to end.
    async fn wait(&self, pid: u32, patience: Option<Duration>) -> Answer {
        let until = patience.map(|patience| Instant::now() + patience);
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let now = look.tick().await;
            let mut children = self.children();
            let Some(child) = children.get_mut(&pid) else {
                return Answer::Ended(None);
            };
            let ended = match child.try_wait() {
                Ok(None) if until.is_some_and(|until| now >= until) => {
                    child.kill().and_then(|()| child.wait()).map(Some)
                }
                ended => ended,
            };
            let how = match ended {
                Ok(None) => continue,
                Ok(Some(status)) => status.to_string(),
                Err(error) => format!("an end that nobody saw ({error})"),
            };
            // Whoever else waits for it finds it here.
            if patience.is_some() {
                children.remove(&pid);
            }
            return Answer::Ended(Some(how));
        }
    }

    fn children(&self) -> MutexGuard<'_, HashMap<u32, Child>> {
        self.children.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
