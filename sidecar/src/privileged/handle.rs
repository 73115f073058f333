//! The other end of the privileged process: calls and their answers, several under way at a time.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::process::Child;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::gauge::ConstGauge;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::message::{Answer, Call, Order, Said};
use super::rights::Rights;
use crate::kernel::{self, Asked};
use crate::wire::Wire;

/// Calls that may wait to be written.
const WAITING: usize = 256;
/// How long it may take to say what it can say at once.
const PROMPT: Duration = Duration::from_secs(5);
/// How long the privileged process may take to end what it is at.
const LAST_WORK: Duration = Duration::from_secs(2);
/// How often is looked whether it has.
const LOOK: Duration = Duration::from_millis(5);

/// The other end of the privileged process.
#[derive(Debug)]
pub struct Privileged {
    /// Taken away when no more calls are to be made.
    calls: Mutex<Option<mpsc::Sender<Outgoing>>>,
    child: Arc<Mutex<Option<Child>>>,
    is_ending: Arc<AtomicBool>,
    is_up: Arc<AtomicBool>,
}

#[derive(Debug)]
struct Outgoing {
    order: Order,
    fds: Vec<OwnedFd>,
    answer: Waiting,
}

type Waiting = oneshot::Sender<(Answer, Vec<OwnedFd>)>;

/// The calls that are not answered yet; `None`: no answer will come any more.
type Unanswered = Arc<Mutex<Option<HashMap<u64, Waiting>>>>;

impl Privileged {
    /// Talks over a wire, to this child.
    pub(super) fn over(wire: Wire, child: Option<Child>) -> Arc<Self> {
        let (calls, outbox) = mpsc::channel(WAITING);
        let wire = Arc::new(wire);
        let unanswered: Unanswered = Arc::new(Mutex::new(Some(HashMap::new())));
        let is_ending = Arc::new(AtomicBool::new(false));
        let is_up = Arc::new(AtomicBool::new(true));
        let child = Arc::new(Mutex::new(child));
        let (ends, up, dead) = (
            Arc::clone(&is_ending),
            Arc::clone(&is_up),
            Arc::clone(&child),
        );
        tokio::spawn(async move {
            let ended = tokio::select! {
                ended = write(&wire, outbox, &unanswered) => ended,
                error = hear(&wire, &unanswered) => Err(error),
            };
            up.store(false, Ordering::Relaxed);
            lock(&unanswered).take();
            // It closes, which is the other's end.
            drop(wire);
            if let Err(error) = ended
                && !ends.load(Ordering::Relaxed)
            {
                tracing::error!(
                    %error,
                    "the privileged process is gone; requests and packets go on as they are, and nothing else can be changed until the daemon is restarted"
                );
                let dead = lock(&dead).take();
                wait(dead).await;
            }
        });
        Arc::new(Self {
            calls: Mutex::new(Some(calls)),
            child,
            is_ending,
            is_up,
        })
    }

    /// What the privileged process may do.
    ///
    /// # Errors
    ///
    /// It has ended.
    pub async fn rights(&self) -> Result<Rights, String> {
        let late = |_| Err(format!("it has not answered within {PROMPT:?}"));
        let said = timeout(PROMPT, self.call(Order::Rights, Vec::new())).await;
        match said.unwrap_or_else(late)? {
            (Answer::Rights(rights), _) => Ok(rights),
            (answer, _) => Err(unexpected(&answer)),
        }
    }

    /// Figures for `/metrics`: `tollgate_privileged_process_up`.
    pub fn collector(&self) -> Box<dyn Collector> {
        Box::new(Figures(Arc::clone(&self.is_up)))
    }

    /// Binds an address, as [`crate::bind::listeners`] does; with `beside`, which listens there already.
    ///
    /// # Errors
    ///
    /// It cannot be bound.
    pub async fn bind(
        &self,
        address: SocketAddr,
        count: usize,
        beside: Option<&TcpListener>,
    ) -> io::Result<Vec<TcpListener>> {
        let order = Order::Bind { address, count };
        let beside = beside.map(TcpListener::try_clone).transpose()?;
        let fds = beside.into_iter().map(OwnedFd::from).collect();
        match self.call(order, fds).await {
            Ok((Answer::Done, fds)) if fds.len() == count => {
                Ok(fds.into_iter().map(TcpListener::from).collect())
            }
            Ok((Answer::Done, fds)) => Err(io::Error::other(format!(
                "{} of {count} sockets came; more open files must be allowed (LimitNOFILE)",
                fds.len()
            ))),
            Ok((answer, _)) => Err(io::Error::other(unexpected(&answer))),
            Err(why) => Err(io::Error::other(why)),
        }
    }

    /// Starts the binary that stands where this one was started from, which is to take over by `place`; gives its process.
    ///
    /// # Errors
    ///
    /// It cannot be started.
    pub async fn start(&self, place: PathBuf) -> Result<u32, String> {
        match self.call(Order::Start { place }, Vec::new()).await? {
            (Answer::Started { pid }, _) => Ok(pid),
            (answer, _) => Err(unexpected(&answer)),
        }
    }

    /// Waits until a process ends that was [started](Self::start); how it did. `None`: nobody is there any more who knows.
    pub async fn wait(&self, pid: u32) -> Option<String> {
        ended(self.call(Order::Wait { pid }, Vec::new()).await)
    }

    /// As [`wait`](Self::wait), for so long; then the process is made to end.
    pub async fn end(&self, pid: u32, patience: Duration) -> Option<String> {
        let patience_millis = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
        let order = Order::End {
            pid,
            patience_millis,
        };
        ended(self.call(order, Vec::new()).await)
    }

    /// Where orders for the datapath go.
    #[must_use]
    pub fn datapath(self: &Arc<Self>) -> mpsc::Sender<Asked> {
        let (orders, mut inbox) = mpsc::channel::<Asked>(WAITING);
        let weak = Arc::downgrade(self);
        tokio::spawn(async move {
            while let Some(asked) = inbox.recv().await {
                let Some(privileged) = weak.upgrade() else {
                    return;
                };
                let Asked { order, fds, answer } = asked;
                let heard = privileged.send(Order::Kernel(order), fds).await;
                // The next order does not wait for this one's answer.
                tokio::spawn(async move {
                    let said = match heard {
                        Ok(heard) => heard.await.map_err(|_| gone()),
                        Err(why) => Err(why),
                    };
                    let said = match said {
                        Ok((Answer::Kernel(said), fds)) => (said, fds),
                        Ok((Answer::Failed(why), _)) | Err(why) => {
                            (kernel::Answer::Failed(why), Vec::new())
                        }
                        Ok((answer, _)) => {
                            (kernel::Answer::Failed(unexpected(&answer)), Vec::new())
                        }
                    };
                    let _ = answer.send(said).is_ok();
                });
            }
        });
        orders
    }

    /// Hangs up, and waits until the privileged process has ended: what it held is free then.
    pub async fn close(&self) {
        self.is_ending.store(true, Ordering::Relaxed);
        drop(lock(&self.calls).take());
        let child = lock(&self.child).take();
        wait(child).await;
    }

    async fn call(
        &self,
        order: Order,
        fds: Vec<OwnedFd>,
    ) -> Result<(Answer, Vec<OwnedFd>), String> {
        let heard = self.send(order, fds).await?;
        match heard.await.map_err(|_| gone())? {
            (Answer::Failed(why), _) => Err(why),
            said => Ok(said),
        }
    }

    async fn send(
        &self,
        order: Order,
        fds: Vec<OwnedFd>,
    ) -> Result<oneshot::Receiver<(Answer, Vec<OwnedFd>)>, String> {
        let (answer, heard) = oneshot::channel();
        let outgoing = Outgoing { order, fds, answer };
        let calls = lock(&self.calls).clone().ok_or_else(gone)?;
        calls.send(outgoing).await.map_err(|_| gone())?;
        Ok(heard)
    }
}

/// Waits until a child has ended.
async fn wait(child: Option<Child>) {
    let Some(mut child) = child else { return };
    let end = async {
        while matches!(child.try_wait(), Ok(None)) {
            tokio::time::sleep(LOOK).await;
        }
    };
    if timeout(LAST_WORK, end).await.is_err() {
        // It may be another user's, and it has been told.
        tracing::warn!(pid = child.id(), "the privileged process has not ended yet");
    }
}

/// Writes calls until there are none any more.
async fn write(
    wire: &Wire,
    mut outbox: mpsc::Receiver<Outgoing>,
    unanswered: &Unanswered,
) -> io::Result<()> {
    let mut number = 0;
    while let Some(Outgoing { order, fds, answer }) = outbox.recv().await {
        number += 1;
        if let Some(all) = &mut *lock(unanswered) {
            all.insert(number, answer);
        }
        let fds: Vec<BorrowedFd<'_>> = fds.iter().map(|fd| fd.as_fd()).collect();
        match wire.send(&Call { number, order }, &fds).await {
            // Nothing of it was sent; the next one may be.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                answered(
                    unanswered,
                    number,
                    Answer::Failed(error.to_string()),
                    Vec::new(),
                );
            }
            sent => sent?,
        }
    }
    Ok(())
}

fn answered(unanswered: &Unanswered, number: u64, answer: Answer, fds: Vec<OwnedFd>) {
    let waiting = lock(unanswered)
        .as_mut()
        .and_then(|all| all.remove(&number));
    if let Some(waiting) = waiting {
        // Whoever asked may have given up.
        let _ = waiting.send((answer, fds)).is_ok();
    }
}

/// Hears answers until the other side hangs up, and says why.
async fn hear(wire: &Wire, unanswered: &Unanswered) -> io::Error {
    loop {
        match wire.next().await {
            Ok((Said { number, answer }, fds)) => answered(unanswered, number, answer, fds),
            Err(error) => return error,
        }
    }
}

#[derive(Debug)]
struct Figures(Arc<AtomicBool>);

impl Collector for Figures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let up = ConstGauge::new(i64::from(self.0.load(Ordering::Relaxed)));
        let help = "1 while the process lives that does what wants rights; without it no reload can change the datapath or bind";
        let kind = up.metric_type();
        up.encode(encoder.encode_descriptor("privileged_process_up", help, None, kind)?)
    }
}

fn ended(said: Result<(Answer, Vec<OwnedFd>), String>) -> Option<String> {
    match said {
        Ok((Answer::Ended(how), _)) => how,
        _ => None,
    }
}

fn gone() -> String {
    "the privileged process has ended; restart the daemon".to_owned()
}

fn unexpected(answer: &Answer) -> String {
    format!("an unexpected answer of the privileged process: {answer:?}")
}

fn lock<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use tokio::net::UnixStream;

    use super::super::message::MOST;
    use super::*;

    #[tokio::test]
    async fn who_waits_for_one_that_dies_is_told() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let privileged = Privileged::over(Wire::new(ours, MOST), None);
        let wait = tokio::spawn({
            let privileged = Arc::clone(&privileged);
            async move { privileged.rights().await }
        });
        let theirs = Wire::new(theirs, MOST);
        let (call, _) = theirs.next::<Call>().await.unwrap();
        assert!(matches!(call.order, Order::Rights));
        drop(theirs);
        let error = wait.await.unwrap().unwrap_err();
        assert!(error.contains("restart the daemon"), "{error}");
        let error = privileged.rights().await.unwrap_err();
        assert!(error.contains("restart the daemon"), "{error}");
        let orders = privileged.datapath();
        let (answer, heard) = oneshot::channel();
        let asked = Asked {
            order: kernel::Order::Status,
            fds: Vec::new(),
            answer,
        };
        orders.send(asked).await.unwrap();
        let (said, _) = heard.await.unwrap();
        assert!(matches!(said, kernel::Answer::Failed(_)), "{said:?}");
    }

    #[tokio::test]
    async fn answers_find_those_who_asked_in_whatever_order_they_come() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let privileged = Privileged::over(Wire::new(ours, MOST), None);
        let wait = |pid| {
            let privileged = Arc::clone(&privileged);
            tokio::spawn(async move { privileged.wait(pid).await })
        };
        let (one, other) = (wait(1), wait(2));
        let theirs = Wire::new(theirs, MOST);
        let mut calls = Vec::new();
        for _ in 0..2 {
            calls.push(theirs.next::<Call>().await.unwrap().0);
        }
        calls.reverse();
        for Call { number, order } in calls {
            let Order::Wait { pid } = order else {
                panic!("{order:?}")
            };
            let answer = Answer::Ended(Some(format!("as {pid}")));
            theirs.send(&Said { number, answer }, &[]).await.unwrap();
        }
        assert_eq!(one.await.unwrap().as_deref(), Some("as 1"));
        assert_eq!(other.await.unwrap().as_deref(), Some("as 2"));
        // And it hears that there is nothing more to do.
        privileged.close().await;
        assert!(theirs.next::<Call>().await.is_err());
    }
}
