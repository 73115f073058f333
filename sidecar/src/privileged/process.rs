//! The privileged process: it does what it is asked until the one that serves hangs up, be it by its death.

use std::collections::HashMap;
use std::ffi::OsString;
use std::future::Future;
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::message::{Answer, Call, MOST, Order, Said};
use super::rights::{Rights, keep_what_is_needed};
use crate::bind;
use crate::kernel::{self, Asked, Fixed};
use crate::supervisor::signals::Signals;
use crate::wire::Wire;

/// Orders that may wait for the datapath. Whoever serves waits for most answers before it asks again.
const WAITING: usize = 1024;
/// Sockets of one call.
const MOST_SOCKETS: usize = 1024;
/// How often is looked whether a process has ended.
const LOOK: Duration = Duration::from_millis(20);

/// What it is told by whoever starts it; the other process cannot change it.
#[derive(Debug)]
pub struct Given {
    /// The configuration that the next version is started with.
    pub config: PathBuf,
    /// The binary of the next version; `None`: nobody knows where this one was started from.
    pub binary: Option<PathBuf>,
    /// The datapath that may be opened; `None`: there is none.
    pub datapath: Option<Fixed>,
}

/// How long the datapath may take to finish what it is at when nobody is left to serve. Its sockets are open that long.
const LAST_ORDER: Duration = Duration::from_secs(1);

/// Serves until the other side of `stream` has hung up and the datapath's work is done.
///
/// # Errors
///
/// The process cannot begin; then nothing was done.
pub fn run(stream: std::os::unix::net::UnixStream, given: Given) -> io::Result<()> {
    keep_what_is_needed(given.datapath.is_some()).map_err(io::Error::other)?;
    let (orders, inbox) = mpsc::channel(WAITING);
    let runtime = runtime()?;
    let fixed = given.datapath.clone();
    let (ended, end) = oneshot::channel::<()>();
    thread::Builder::new()
        .name("datapath".to_owned())
        .spawn(move || {
            // Told when this is left in whatever way.
            let _ended = ended;
            runtime.block_on(kernel::serve(inbox, fixed));
        })?;
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
        let started = Arc::new(Started::new(given));
        let mut end = pin!(end);
        tokio::select! {
            () = serve(&wire, orders, &started) => {}
            // With orders still to come it has not ended by itself. Nothing can be said for it any more.
            _ = &mut end => return Err(io::Error::other("the datapath's thread has ended; the message above says why")),
        }
        // An order that is half done is done to the end, if that is near. One that is not leaves what a kill leaves, which is adopted.
        let _ = tokio::time::timeout(LAST_ORDER, end).await.is_ok();
        Ok(())
    })
}

fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
}

async fn serve(wire: &Arc<Wire>, orders: mpsc::Sender<Asked>, started: &Arc<Started>) {
    let (answers, mut outbox) = mpsc::unbounded_channel::<(Said, Vec<OwnedFd>)>();
    let writer = Arc::clone(wire);
    let mut writing = tokio::spawn(async move {
        while let Some((said, fds)) = outbox.recv().await {
            let fds: Vec<BorrowedFd<'_>> = fds.iter().map(|fd| fd.as_fd()).collect();
            let sent = match writer.send(&said, &fds).await {
                // Nothing of it was sent, and whoever asked is to know.
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                    let answer = Answer::Failed(error.to_string());
                    let number = said.number;
                    writer.send(&Said { number, answer }, &[]).await
                }
                sent => sent,
            };
            if let Err(error) = sent {
                tracing::error!(%error, "the process that serves cannot be answered; ending");
                return;
            }
        }
    });
    loop {
        let call = tokio::select! {
            call = wire.next() => call,
            // Who is not answered is not heard either.
            _ = &mut writing => return,
        };
        let (Call { number, order }, fds) = match call {
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
            Order::Bind { address, count } => {
                tokio::spawn(async move {
                    let beside = fds.into_iter().next().map(TcpListener::from);
                    let count = count.min(MOST_SOCKETS);
                    match bind::listeners(address, count, beside.as_ref()).await {
                        Ok(sockets) => {
                            let sockets = sockets.into_iter().map(OwnedFd::from).collect();
                            answer(Answer::Done, sockets);
                        }
                        Err(error) => answer(Answer::Failed(error.to_string()), Vec::new()),
                    }
                });
            }
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
                // Never waited for: whoever is behind a datapath that hangs is to be heard, and its end too.
                match orders.try_send(asked) {
                    Ok(()) => {}
                    Err(TrySendError::Full(_)) => {
                        answer(too_many(), Vec::new());
                        continue;
                    }
                    Err(TrySendError::Closed(_)) => {
                        answer(ended(), Vec::new());
                        continue;
                    }
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

fn too_many() -> Answer {
    Answer::Failed(format!(
        "{WAITING} orders wait for the datapath already; does it hang? Then restart the daemon"
    ))
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
        // In one word: whatever the place is called, it is no other option.
        let mut take_over = OsString::from("--take-over=");
        take_over.push(place);
        let mut command = Command::new(binary);
        command
            .args(["run", "--config"])
            .arg(&self.given.config)
            .arg(take_over)
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

#[cfg(test)]
mod tests {
    use tollgate_datapath::{Announce, Config, XdpMode};

    use super::*;

    /// Says what a process would say that was taken over.
    struct Stranger {
        wire: Wire,
        number: u64,
    }

    impl Stranger {
        async fn ask(&mut self, order: Order, fds: &[BorrowedFd<'_>]) -> (Answer, Vec<OwnedFd>) {
            self.number += 1;
            let call = Call {
                number: self.number,
                order,
            };
            self.wire.send(&call, fds).await.unwrap();
            let (Said { number, answer }, fds) = self.wire.next().await.unwrap();
            assert_eq!(number, self.number);
            (answer, fds)
        }

        async fn is_refused(&mut self, order: Order, fds: &[BorrowedFd<'_>]) -> String {
            match self.ask(order, fds).await {
                (Answer::Failed(why) | Answer::Kernel(kernel::Answer::Failed(why)), fds) => {
                    assert!(fds.is_empty());
                    why
                }
                (answer, _) => panic!("{answer:?}"),
            }
        }
    }

    fn fixed(interface: &str) -> Fixed {
        Fixed {
            attach: Config {
                interfaces: vec![interface.to_owned()],
                xdp: XdpMode::Auto,
                bpffs: "/sys/fs/bpf/elsewhere".into(),
                announce: Announce::None,
            },
            mark: 103,
        }
    }

    async fn with(datapath: Option<Fixed>, binary: &str) -> Stranger {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (orders, inbox) = mpsc::channel(4);
        tokio::spawn(kernel::serve(inbox, datapath.clone()));
        let given = Given {
            config: "/nowhere/tollgate.yaml".into(),
            binary: Some(binary.into()),
            datapath,
        };
        tokio::spawn(async move {
            let wire = Arc::new(Wire::new(theirs, MOST));
            serve(&wire, orders, &Arc::new(Started::new(given))).await;
        });
        Stranger {
            wire: Wire::new(ours, MOST),
            number: 0,
        }
    }

    #[tokio::test]
    async fn no_datapath_is_opened_but_that_of_the_file() {
        let open = |interface| Order::Kernel(kernel::Order::Open(fixed(interface)));
        for datapath in [None, Some(fixed("eth0"))] {
            let mut stranger = with(datapath, "/bin/false").await;
            let why = stranger.is_refused(open("lo"), &[]).await;
            assert!(why.contains("start it again"), "{why}");
            let marked = kernel::Order::Marked {
                ipv6: false,
                mark: 0x4000,
            };
            let why = stranger.is_refused(Order::Kernel(marked), &[]).await;
            assert!(why.contains("not open"), "{why}");
        }
    }

    #[tokio::test]
    async fn a_datapath_that_hangs_holds_up_nobody_else() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        // Nobody takes an order out of it.
        let (orders, _inbox) = mpsc::channel(1);
        let given = Given {
            config: "/nowhere/tollgate.yaml".into(),
            binary: None,
            datapath: None,
        };
        let serving = tokio::spawn(async move {
            let wire = Arc::new(Wire::new(theirs, MOST));
            serve(&wire, orders, &Arc::new(Started::new(given))).await;
        });
        let wire = Wire::new(ours, MOST);
        let status = || Order::Kernel(kernel::Order::Status);
        for (number, order) in [(1, status()), (2, status()), (3, Order::Rights)] {
            wire.send(&Call { number, order }, &[]).await.unwrap();
        }
        let (said, _) = wire.next::<Said>().await.unwrap();
        assert!(
            matches!(&said.answer, Answer::Failed(why) if said.number == 2 && why.contains("hang")),
            "{said:?}"
        );
        let (said, _) = wire.next::<Said>().await.unwrap();
        assert!(matches!(said.answer, Answer::Rights(_)), "{said:?}");
        drop(wire);
        serving.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_elses_address_is_shared() {
        let mut stranger = with(None, "/bin/false").await;
        let others = bind::listeners("127.0.0.1:0".parse().unwrap(), 1, None)
            .await
            .unwrap();
        let address = others[0].local_addr().unwrap();
        let bind = || Order::Bind { address, count: 1 };
        let why = stranger.is_refused(bind(), &[]).await;
        assert!(why.contains("in use"), "{why}");
        let file = std::fs::File::open("/dev/null").unwrap();
        let _why = stranger.is_refused(bind(), &[file.as_fd()]).await;
        let own = bind::listeners("127.0.0.1:0".parse().unwrap(), 1, None)
            .await
            .unwrap();
        let _why = stranger.is_refused(bind(), &[own[0].as_fd()]).await;
        let (answer, fds) = stranger.ask(bind(), &[others[0].as_fd()]).await;
        assert!(
            matches!(answer, Answer::Done) && fds.len() == 1,
            "{answer:?}"
        );
    }

    #[tokio::test]
    async fn what_is_started_is_not_the_others_to_say() {
        let mut stranger = with(None, "/bin/false").await;
        let place = "--version".into();
        let (answer, _) = stranger.ask(Order::Start { place }, &[]).await;
        let Answer::Started { pid } = answer else {
            panic!("{answer:?}")
        };
        let (answer, _) = stranger.ask(Order::Wait { pid }, &[]).await;
        assert!(
            matches!(&answer, Answer::Ended(Some(how)) if how.contains("status: 1")),
            "{answer:?}"
        );
        // Nor are processes ended that were not started here.
        let (pid, patience_millis) = (std::process::id(), 0);
        let end = Order::End {
            pid,
            patience_millis,
        };
        let (answer, _) = stranger.ask(end, &[]).await;
        assert!(matches!(answer, Answer::Ended(None)), "{answer:?}");
    }
}
