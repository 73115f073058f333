//! One daemon gives its listening sockets and the datapath to the next, so that no connection meets a closed door.
//!
//! The sockets themselves go over, never copies that are bound anew: a socket that is closed resets what waits in its queue.
//! Two phases: the new daemon first builds all that can fail, while the running one serves on; then the running one leaves
//! the datapath alone, the new one adopts it and says that it is done. Until that word the running one takes everything
//! back when the other fails, dies or falls silent.

mod message;

use std::ffi::OsString;
use std::fs::File;
use std::future::Future;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};
use tokio::sync::oneshot;

use crate::wire::Wire;
use message::{Message, OLDEST, PROTOCOL};
pub use message::{Named, Role};

/// How long each side waits for a word that the other can say at once.
const WORD: Duration = Duration::from_secs(15);
/// How long the new one may take to read its configuration, fetch keys and bind what is new.
const PREPARE: Duration = Duration::from_secs(120);
/// How long a message may take to be written: the other side reads at once, or is gone.
const WRITE: Duration = Duration::from_secs(10);
/// Sockets in one message: earlier builds take no more.
const BATCH: usize = 64;
/// Bytes of a message, at most.
const MOST: usize = 1 << 20;
/// How long the new one may take to adopt the datapath, or to fill another.
const ADOPT: Duration = Duration::from_secs(60);

/// Where the daemon that has this admin socket is asked for a hand-over.
#[must_use]
pub fn path(admin: &Path) -> PathBuf {
    let mut path = OsString::from(admin);
    path.push(".handover");
    path.into()
}

/// A future that the app answers with.
pub type Reply<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What a daemon gives away first.
#[derive(Debug)]
pub struct Offer {
    /// Its version.
    pub version: String,
    /// Whether it is ready for requests: then the new one is to be as well, before it takes over.
    pub ready: bool,
    /// Its sockets, doubled.
    pub sockets: Vec<(Named, OwnedFd)>,
}

/// Who takes over.
#[derive(Debug, Clone)]
pub struct Successor {
    /// Its process.
    pub pid: u32,
    /// Its version.
    pub version: String,
    /// The sockets that it serves from now on. The others are nobody's when they have drained.
    pub taken: Vec<Named>,
}

/// Why a hand-over came to nothing.
#[derive(Debug, Clone)]
pub struct Failure {
    /// In words.
    pub why: String,
    /// The new daemon's process, if it said.
    pub pid: Option<u32>,
    /// Whether the new one said so itself: then it has let go of the datapath. Else nobody knows what it still does.
    pub own_word: bool,
}

/// What the running daemon does for a hand-over; made by the app.
pub struct Handles {
    /// A hand-over begins: what is offered.
    pub offer: Box<dyn Fn() -> Reply<Result<Offer, String>> + Send + Sync>,
    /// Leaves the datapath alone; what it remembers, if it is to be told.
    pub rest: Box<dyn Fn() -> Reply<Option<File>> + Send + Sync>,
    /// It came to nothing, and why; takes the datapath back if it was left alone.
    pub failed: Box<dyn Fn(Failure) -> Reply<()> + Send + Sync>,
    /// It is done: drain and end.
    pub done: Box<dyn Fn(Successor) -> Reply<()> + Send + Sync>,
}

/// Answers those who want to take over, one at a time, until one has, or until `closing` is told or dropped: then whoever is
/// about to take over is told that it will not be.
pub async fn serve(
    listener: UnixListener,
    handles: Arc<Handles>,
    mut closing: oneshot::Receiver<()>,
) {
    loop {
        let accepted = tokio::select! {
            biased;
            _ = &mut closing => return,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "nobody can ask for a hand-over");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let wire = match with_same_user(stream) {
            Ok(wire) => wire,
            Err(error) => {
                tracing::warn!(%error, "a hand-over was refused");
                continue;
            }
        };
        let (mut pid, mut is_closing) = (None, false);
        let given = tokio::select! {
            // What is done is done.
            biased;
            given = give(&wire, &handles, &mut pid) => given,
            _ = &mut closing => {
                is_closing = true;
                Err(Stop::Silent("the daemon is draining".to_owned()))
            }
        };
        match given {
            Ok(Some(successor)) => {
                (handles.done)(successor).await;
                let _ = wire.send_within(WRITE, &Message::Bye {}, &[]).await.is_ok();
                return;
            }
            // Who only looked whether somebody is there.
            Ok(None) => {}
            Err(stop) => {
                let own_word = matches!(stop, Stop::Said(_));
                let (Stop::Said(why) | Stop::Silent(why)) = stop;
                let said = Message::Failed { why: why.clone() };
                // One that is only slow must know before the datapath is taken back. One that has let go of it waits until
                // it is, so that whoever is started next finds everything as it was.
                if !own_word {
                    let _ = wire.send_within(WRITE, &said, &[]).await.is_ok();
                }
                (handles.failed)(Failure { why, pid, own_word }).await;
                if own_word {
                    let _ = wire.send_within(WRITE, &said, &[]).await.is_ok();
                }
            }
        }
        if is_closing {
            return;
        }
    }
}

/// Why the running one's part ended early.
enum Stop {
    /// The new one said that it will not be.
    Said(String),
    /// It has not, and may still be at it.
    Silent(String),
}

impl From<String> for Stop {
    fn from(why: String) -> Self {
        Self::Silent(why)
    }
}

/// The running one's part; why it came to nothing, if it did. `who` becomes the other's process once it is known.
async fn give(
    wire: &Wire,
    handles: &Handles,
    who: &mut Option<u32>,
) -> Result<Option<Successor>, Stop> {
    let hello = match wire.receive(WORD).await {
        Ok((hello, _)) => hello,
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(format!("the new daemon: {error}").into()),
    };
    let Message::Hello {
        protocol,
        oldest,
        version,
        pid,
    } = hello
    else {
        return Err("the new daemon did not say who it is".to_owned().into());
    };
    *who = (pid != 0).then_some(pid);
    if protocol < OLDEST || oldest > PROTOCOL {
        return Err(format!(
            "tollgate {version} speaks {oldest} to {protocol} for a hand-over, this daemon {OLDEST} to {PROTOCOL}; restart it instead"
        )
        .into());
    }
    let said = |error: io::Error| format!("the new daemon ({version}, process {pid}): {error}");
    let offer = (handles.offer)().await?;
    for batch in offer.sockets.chunks(BATCH) {
        let (sockets, fds): (Vec<Named>, Vec<BorrowedFd<'_>>) = batch
            .iter()
            .map(|(named, fd)| (named.clone(), fd.as_fd()))
            .unzip();
        let sockets = Message::Sockets { sockets };
        wire.send_within(WRITE, &sockets, &fds)
            .await
            .map_err(said)?;
    }
    let welcome = Message::Welcome {
        version: offer.version,
        ready: offer.ready,
    };
    wire.send_within(WRITE, &welcome, &[]).await.map_err(said)?;
    drop(offer.sockets);
    match wire.receive(PREPARE).await.map_err(said)?.0 {
        Message::Prepared {} => {}
        Message::Failed { why } => return Err(Stop::Said(why)),
        other => return Err(said(unexpected(&other)).into()),
    }
    let history = (handles.rest)().await;
    let fds: Vec<BorrowedFd<'_>> = history.iter().map(|file| file.as_fd()).collect();
    wire.send_within(WRITE, &Message::Rested {}, &fds)
        .await
        .map_err(said)?;
    match wire.receive(ADOPT).await.map_err(said)?.0 {
        Message::Done { taken } => Ok(Some(Successor {
            pid,
            version,
            taken,
        })),
        Message::Failed { why } => Err(Stop::Said(why)),
        other => Err(said(unexpected(&other)).into()),
    }
}

/// The new daemon's side of a hand-over, after the running one has offered its sockets.
#[derive(Debug)]
pub struct Taking {
    wire: Wire,
    /// The running one's version.
    pub version: String,
    /// Whether that one is ready for requests.
    pub ready: bool,
    /// Its sockets, until they are taken out.
    pub sockets: Vec<(Named, OwnedFd)>,
}

impl Taking {
    /// Asks the daemon behind `path` for its sockets. `None`: nobody is there.
    ///
    /// # Errors
    ///
    /// Somebody is there and does not give them.
    pub async fn ask(path: &Path, version: &str) -> io::Result<Option<Self>> {
        let explain = |error: io::Error| {
            let said = format!("hand-over by `{}`: {error}", path.display());
            io::Error::new(error.kind(), said)
        };
        let stream = match UnixStream::connect(path).await {
            Ok(stream) => stream,
            Err(error) => match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => return Ok(None),
                _ => return Err(explain(error)),
            },
        };
        let taking = Self::greet(stream, version).await.map_err(explain)?;
        Ok(Some(taking))
    }

    async fn greet(stream: UnixStream, version: &str) -> io::Result<Self> {
        let wire = with_same_user(stream)?;
        let hello = Message::Hello {
            protocol: PROTOCOL,
            oldest: OLDEST,
            version: version.to_owned(),
            pid: std::process::id(),
        };
        wire.send_within(WRITE, &hello, &[]).await?;
        let mut all = Vec::new();
        loop {
            match wire.receive(WORD).await? {
                (Message::Sockets { sockets }, fds) => {
                    if sockets.len() != fds.len() {
                        let (named, came) = (sockets.len(), fds.len());
                        return Err(io::Error::other(format!(
                            "{came} descriptors came for {named} sockets; more open files must be allowed (LimitNOFILE)"
                        )));
                    }
                    all.extend(sockets.into_iter().zip(fds));
                }
                (Message::Welcome { version, ready }, _) => {
                    return Ok(Self {
                        wire,
                        version,
                        ready,
                        sockets: all,
                    });
                }
                (Message::Failed { why }, _) => return Err(io::Error::other(why)),
                (other, _) => return Err(unexpected(&other)),
            }
        }
    }

    /// All that can fail without the kernel has gone well: the running one is to leave the datapath alone. Gives what that one's
    /// datapath remembers; nothing if it dies meanwhile, as after any death.
    ///
    /// # Errors
    ///
    /// It does not.
    pub async fn prepared(&self) -> io::Result<Option<File>> {
        // Where it cannot be said, what the other has said last tells why.
        let sent = self
            .wire
            .send_within(WRITE, &Message::Prepared {}, &[])
            .await;
        match self.wire.receive(WORD).await {
            Ok((Message::Failed { why }, _)) => Err(io::Error::other(why)),
            Ok((Message::Rested {}, fds)) => Ok(fds.into_iter().next().map(File::from)),
            Ok((other, _)) => Err(unexpected(&other)),
            Err(error) if is_gone(&error) => {
                let from = &self.version;
                tracing::warn!(
                    from,
                    "the running daemon died in the hand-over; going on as after a kill"
                );
                Ok(None)
            }
            Err(error) => Err(sent.err().unwrap_or(error)),
        }
    }

    /// The datapath is ours, and so are these sockets; returns when the running one has understood, or is gone.
    ///
    /// # Errors
    ///
    /// It had given up waiting, and serves on: nothing is ours.
    pub async fn done(self, taken: Vec<Named>) -> io::Result<()> {
        let sent = self
            .wire
            .send_within(WRITE, &Message::Done { taken }, &[])
            .await;
        match self.wire.receive(WORD).await {
            Ok((Message::Failed { why }, _)) => {
                let said = format!("the running daemon went on by itself: {why}");
                Err(io::Error::other(said))
            }
            Ok(_) => Ok(()),
            Err(error) if is_gone(&error) => Ok(()),
            // It has been told, and finds that when it looks.
            Err(_) => sent,
        }
    }

    /// It came to nothing; the running one goes on.
    pub async fn failed(self, why: &str) {
        let why = why.to_owned();
        let failed = Message::Failed { why };
        if self.wire.send_within(WRITE, &failed, &[]).await.is_ok() {
            // Whoever is started next finds the running one as it was.
            let _ = self.wire.receive::<Message>(ADOPT).await.is_ok();
        }
    }
}

/// A conversation with a process of the same user, or of root.
fn with_same_user(stream: UnixStream) -> io::Result<Wire> {
    let (other, own) = (stream.peer_cred()?.uid(), rustix::process::geteuid());
    if other != own.as_raw() && other != 0 {
        let said = format!(
            "the other process runs as user {other}, this one as {own}; sockets are handed over to the same user only"
        );
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, said));
    }
    Ok(Wire::new(stream, MOST))
}

/// Whether the other side has ended: nothing that it said is left to be read.
fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
    )
}

fn unexpected(message: &Message) -> io::Error {
    io::Error::other(format!("an unexpected message: {message:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block_on<T>(work: impl Future<Output = T>) -> T {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_all().build().unwrap().block_on(work)
    }

    /// The new one's side, and the running one's end of the wire.
    fn pair() -> (Taking, Wire) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let taking = Taking {
            wire: with_same_user(ours).unwrap(),
            version: "1".to_owned(),
            ready: true,
            sockets: Vec::new(),
        };
        (taking, with_same_user(theirs).unwrap())
    }

    fn failed() -> Message {
        let why = "it said nothing for a minute".to_owned();
        Message::Failed { why }
    }

    #[test]
    fn who_is_done_too_late_has_nothing() {
        block_on(async {
            let (taking, running) = pair();
            running.send(&failed(), &[]).await.unwrap();
            let error = taking.done(Vec::new()).await.unwrap_err();
            assert!(error.to_string().contains("a minute"), "{error}");
            // And when the running one has hung up since, so that nothing can be sent.
            let (taking, running) = pair();
            running.send(&failed(), &[]).await.unwrap();
            drop(running);
            let error = taking.done(Vec::new()).await.unwrap_err();
            assert!(error.to_string().contains("a minute"), "{error}");
        });
    }

    #[test]
    fn who_is_done_goes_on_when_the_running_one_knows_or_is_gone() {
        block_on(async {
            let (taking, running) = pair();
            running.send(&Message::Bye {}, &[]).await.unwrap();
            taking.done(Vec::new()).await.unwrap();
            let (taking, running) = pair();
            drop(running);
            taking.done(Vec::new()).await.unwrap();
        });
    }

    #[test]
    fn a_running_one_that_dies_is_taken_over_from_as_after_a_kill() {
        block_on(async {
            let (taking, running) = pair();
            drop(running);
            assert!(taking.prepared().await.unwrap().is_none());
            // One that refuses lives.
            let (taking, running) = pair();
            running.send(&failed(), &[]).await.unwrap();
            drop(running);
            let error = taking.prepared().await.unwrap_err();
            assert!(error.to_string().contains("a minute"), "{error}");
        });
    }
}
