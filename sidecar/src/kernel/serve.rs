//! The loop that owns the datapath: takes orders, keeps next hops fresh.

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tollgate_datapath::model::Model;
use tollgate_datapath::{Config, Datapath, History, OpenError, PinsError};

use super::checks::Ways;
use super::history;
use super::order::{Answer, Asked, Fixed, Order};

/// How often next hops are looked at: a backend that got another MAC address is reached again within this.
const REFRESH: Duration = Duration::from_secs(2);

/// The listeners' sockets, by name.
type Sockets = HashMap<String, OwnedFd>;

type Answers = oneshot::Sender<(Answer, Vec<OwnedFd>)>;

/// An error with everything that led to it: what the kernel said stands last, and is what an operator needs.
pub fn told(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let word = error.to_string();
        // Transparent wrappers say the same again.
        if !text.ends_with(&word) {
            text.push_str(": ");
            text.push_str(&word);
        }
        cause = error.source();
    }
    text
}

/// Does what is ordered until nobody is left who could order anything. To be run on a thread of its own, in the network
/// namespace of the interfaces, inside a tokio runtime with I/O and time.
///
/// `fixed`: what may be opened, if anything may.
pub async fn serve(mut inbox: mpsc::Receiver<Asked>, fixed: Option<Fixed>) {
    while let Some(asked) = inbox.recv().await {
        let fixed = match (asked.order, &fixed) {
            (Order::Open(asked), Some(fixed)) if asked == *fixed => asked,
            (Order::Open(_), _) => {
                let why = "the configuration changed while the daemon started; start it again";
                say(asked.answer, failed(why));
                continue;
            }
            _ => {
                say(asked.answer, failed("the datapath is not open"));
                continue;
            }
        };
        let history = asked.fds.into_iter().next().map(File::from);
        let history = history.and_then(history::read);
        match Datapath::open_after(&fixed.attach, history.as_ref()).await {
            Ok(datapath) => {
                drop(history);
                say(asked.answer, Answer::Done);
                let served = Served {
                    datapath,
                    ways: Ways::new(fixed.mark, fixed.attach.interfaces.clone()),
                    config: fixed.attach,
                    current: Sockets::new(),
                    applied: None,
                    lent: None,
                    refreshes: false,
                };
                return served.run(inbox).await;
            }
            Err(error) => say(asked.answer, Answer::Failed(told(&error))),
        }
    }
}

/// An open datapath, and what is known of it.
struct Served {
    datapath: Datapath,
    config: Config,
    current: Sockets,
    applied: Option<Model>,
    lent: Option<Lent>,
    ways: Ways,
    /// What a predecessor left is right until we know better, and that is with the first model.
    refreshes: bool,
}

/// What is kept for a datapath that another daemon may have by now.
struct Lent {
    /// Until it is back: maps of another layout may stand there by then.
    history: Option<History>,
    /// The other daemon has come to nothing.
    is_asked_back: bool,
}

impl Served {
    async fn run(mut self, mut inbox: mpsc::Receiver<Asked>) {
        let mut refresh = tokio::time::interval(REFRESH);
        refresh.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let is_due = self.refreshes || self.lent.as_ref().is_some_and(|one| one.is_asked_back);
            tokio::select! {
                // An order is never kept waiting by a refresh that is due.
                biased;
                asked = inbox.recv() => match asked {
                    None => return,
                    Some(asked) => self.obey(asked).await,
                },
                _ = refresh.tick(), if is_due => self.refresh().await,
            }
        }
    }

    async fn obey(&mut self, asked: Asked) {
        let Asked { order, fds, answer } = asked;
        let said = match order {
            Order::Open(_) => failed("the datapath is open already"),
            Order::Rest { may_resume } => {
                let history = self.rest(may_resume);
                let file = history.and_then(|history| {
                    let file = history::file(&history).inspect_err(|error| {
                        tracing::warn!(%error, "what is remembered of flows is not handed over");
                    });
                    file.ok()
                });
                return say_with(answer, file.map(OwnedFd::from));
            }
            Order::Resume => done(self.resume().await),
            Order::Apply { model, sockets } => {
                if sockets.len() == fds.len() {
                    let sockets = sockets.into_iter().zip(fds).collect();
                    done(self.apply(model, sockets).await)
                } else {
                    let (named, came) = (sockets.len(), fds.len());
                    Answer::Failed(format!(
                        "{came} descriptors came for {named} sockets; more open files must be allowed (LimitNOFILE)"
                    ))
                }
            }
            Order::Status => Answer::Status(Box::new(self.datapath.status())),
            Order::Weigh(shares) => {
                let done = if self.lent.is_some() {
                    tracing::info!(
                        "the datapath is lent; if it comes back, it goes by the checks of now"
                    );
                    Ok(())
                } else {
                    let done = self.datapath.weigh(&shares);
                    done.map(drop).map_err(|error| told(&error))
                };
                if done.is_ok() {
                    // What is lent and taken back comes back with the shares of now.
                    let applied = self.applied.take();
                    self.applied = applied.map(|model| model.with_shares(&shares));
                }
                self::done(done)
            }
            Order::Shares(model) => Answer::Shares(self.datapath.shares(&model)),
            Order::Marks(asked) => Answer::Marks(self.ways.make(&self.datapath, asked).await),
            Order::Count(mark) => Answer::Count(self.ways.count(mark)),
            Order::Marked { ipv6, mark } => match self.ways.socket(ipv6, mark) {
                Ok(socket) => return say_with(answer, Some(socket)),
                Err(error) => Answer::Failed(error.to_string()),
            },
            Order::Explain(question) => match self.datapath.explain(&question) {
                Ok(explanation) => Answer::Explained(Box::new(explanation)),
                Err(why) => Answer::Failed(why),
            },
        };
        say(answer, said);
    }

    /// Gives what flows are remembered by.
    fn rest(&mut self, may_resume: bool) -> Option<History> {
        self.refreshes = false;
        if !may_resume {
            // A socket is closed when the last of its handles is: none may be kept here.
            self.current.clear();
        }
        // Another daemon follows at once, or nobody knows when: then flows go on to get pins.
        let before = self.lent.take().and_then(|lent| lent.history);
        let history = self.datapath.remembered(may_resume).or(before);
        self.datapath.rest();
        if may_resume {
            let history = history.clone();
            self.lent = Some(Lent {
                history,
                is_asked_back: false,
            });
        }
        history
    }

    async fn resume(&mut self) -> Result<(), String> {
        let Some(lent) = &mut self.lent else {
            // It never left this loop's hands: its lock stands, and taking it again would meet ourselves.
            return Ok(());
        };
        lent.is_asked_back = true;
        self.take_back().await
    }

    /// Tries to have again what was lent.
    async fn take_back(&mut self) -> Result<(), String> {
        self.open_again().await?;
        if let Some(model) = &self.applied {
            apply(&mut self.datapath, model, &self.current).await?;
        }
        self.lent = None;
        self.refreshes = true;
        Ok(())
    }

    async fn open_again(&mut self) -> Result<(), String> {
        // What was opened again for a model that it did not take has the lock.
        self.datapath.rest();
        let history = self.lent.as_ref().and_then(|lent| lent.history.as_ref());
        // Another daemon may have put other maps in their place.
        self.datapath = Datapath::open_after(&self.config, history)
            .await
            .map_err(|error| match &error {
                OpenError::Pins(PinsError::Locked(_)) => {
                    format!("another daemon has the lock: {}", told(&error))
                }
                _ => told(&error),
            })?;
        Ok(())
    }

    async fn apply(&mut self, model: Model, sockets: Sockets) -> Result<(), String> {
        let done = match &self.lent {
            Some(lent) if lent.is_asked_back => match self.open_again().await {
                Ok(()) => apply(&mut self.datapath, &model, &sockets).await,
                Err(error) => Err(error),
            },
            _ => apply(&mut self.datapath, &model, &sockets).await,
        };
        match done {
            Ok(()) => {
                self.lent = None;
                self.refreshes = true;
                self.current = sockets;
                self.applied = Some(model);
            }
            // The kernel goes on with the model before: the sockets that served are those that are steered to.
            Err(_) if self.lent.is_some() => {}
            Err(_) => {
                if let Err(error) = register(&mut self.datapath, &self.current) {
                    tracing::error!(error, "connections are no longer steered");
                }
            }
        }
        done
    }

    async fn refresh(&mut self) {
        if self.lent.is_some() {
            match self.take_back().await {
                Ok(()) => tracing::info!("the datapath is taken back"),
                Err(error) => {
                    tracing::warn!(error, "the datapath is not taken back yet; trying again");
                    return;
                }
            }
        }
        if let Err(error) = self.datapath.refresh().await {
            tracing::warn!(error = told(&error), "next hops cannot be refreshed");
        }
        self.ways.refresh(&self.datapath).await;
    }
}

fn done(result: Result<(), String>) -> Answer {
    match result {
        Ok(()) => Answer::Done,
        Err(why) => Answer::Failed(why),
    }
}

fn failed(why: &str) -> Answer {
    Answer::Failed(why.to_owned())
}

/// Whoever asked may have gone.
fn say(answer: Answers, said: Answer) {
    let _ = answer.send((said, Vec::new())).is_ok();
}

fn say_with(answer: Answers, fd: Option<OwnedFd>) {
    let fds = fd.into_iter().collect();
    let _ = answer.send((Answer::Done, fds)).is_ok();
}

async fn apply(datapath: &mut Datapath, model: &Model, sockets: &Sockets) -> Result<(), String> {
    // Nothing is touched for a model that cannot be.
    datapath.check(model).await.map_err(|error| told(&error))?;
    // Sockets first: a service that is steered before its socket is known would drop what arrives.
    register(datapath, sockets)?;
    datapath.apply(model).await.map_err(|error| told(&error))?;
    Ok(())
}

fn register(datapath: &mut Datapath, sockets: &Sockets) -> Result<(), String> {
    sockets.iter().try_for_each(|(name, socket)| {
        datapath
            .register(name, socket.as_fd())
            .map_err(|error| told(&error))
    })
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("the folder was not made")]
    struct Outer(#[source] io::Error);

    #[test]
    fn an_error_is_told_with_its_cause() {
        let error = Outer(io::Error::other("read-only file system"));
        assert_eq!(
            told(&error),
            "the folder was not made: read-only file system"
        );
    }
}
