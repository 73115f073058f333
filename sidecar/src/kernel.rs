//! The kernel half's thread: owns the datapath, takes orders through a channel, keeps next hops fresh. The request path
//! never meets it, and it could stand in a process of its own.

use std::collections::HashMap;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use prometheus_client::collector::Collector;
use tokio::sync::{mpsc, oneshot};
use tollgate_datapath::model::{Model, Shares};
use tollgate_datapath::{
    Config, Datapath, FlowExplanation, FlowQuestion, History, OpenError, PinsError, Status,
};

mod checks;
mod figures;

pub use checks::{ByVip, Count, Marks};

use checks::Ways;

/// How often next hops are looked at: a backend that got another MAC address is reached again within this.
const REFRESH: Duration = Duration::from_secs(2);

/// The sockets of the listeners, by name, that services may be delivered to.
pub type Sockets = HashMap<Arc<str>, std::net::TcpListener>;

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

enum Order {
    /// And whether it may have to go on.
    Rest(bool, oneshot::Sender<Option<History>>),
    Resume(oneshot::Sender<Result<(), String>>),
    End,
    Apply(Model, Sockets, oneshot::Sender<Result<(), String>>),
    Status(oneshot::Sender<()>),
    Weigh(Shares, oneshot::Sender<Result<(), String>>),
    Shares(Model, oneshot::Sender<Shares>),
    Marks(ByVip, oneshot::Sender<Marks>),
    Explain(
        FlowQuestion,
        oneshot::Sender<Result<FlowExplanation, String>>,
    ),
}

/// A handle to the thread. The datapath itself stays in the kernel when this is dropped: plain L4 services go on.
#[derive(Debug, Clone)]
pub struct Kernel {
    orders: mpsc::Sender<Order>,
    status: Arc<ArcSwapOption<Status>>,
}

impl std::fmt::Debug for Order {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Apply(..) => "Apply",
            Self::Status(_) => "Status",
            Self::Explain(..) => "Explain",
            Self::Rest(..) => "Rest",
            Self::Resume(_) => "Resume",
            Self::End => "End",
            Self::Weigh(..) => "Weigh",
            Self::Shares(..) => "Shares",
            Self::Marks(..) => "Marks",
        })
    }
}

impl Kernel {
    /// Loads or adopts the datapath; answers when it is attached. `history`: what a predecessor of another layout remembered.
    ///
    /// # Errors
    ///
    /// The thread cannot be started, or the datapath cannot be loaded or attached: the reason and the cure.
    pub async fn start(config: Config, history: Option<History>) -> io::Result<Self> {
        let (orders, inbox) = mpsc::channel(16);
        let (ready, opened) = oneshot::channel();
        let status = Arc::new(ArcSwapOption::empty());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let shared = Arc::clone(&status);
        thread::Builder::new()
            .name("datapath".to_owned())
            .spawn(move || {
                runtime.block_on(async move {
                    let opened = Datapath::open_after(&config, history.as_ref()).await;
                    drop(history);
                    match opened {
                        Ok(datapath) => {
                            let _ = ready.send(Ok(())).is_ok();
                            serve(datapath, &config, inbox, &shared).await;
                        }
                        Err(error) => {
                            let _ = ready.send(Err(told(&error))).is_ok();
                        }
                    }
                });
            })?;
        match opened.await {
            Ok(Ok(())) => Ok(Self { orders, status }),
            Ok(Err(error)) => Err(io::Error::other(error)),
            Err(_) => Err(io::Error::other(
                "the datapath's thread ended while loading",
            )),
        }
    }

    /// Makes the kernel do what `model` says, steering to `sockets`.
    ///
    /// # Errors
    ///
    /// Why not; the kernel then does what it did before.
    pub async fn apply(&self, model: Model, sockets: Sockets) -> Result<(), String> {
        let (answer, answered) = oneshot::channel();
        let gone = || "the datapath's thread has ended".to_owned();
        self.orders
            .send(Order::Apply(model, sockets, answer))
            .await
            .map_err(|_| gone())?;
        answered.await.unwrap_or_else(|_| Err(gone()))
    }

    /// Gives the backends of the model that stands these shares.
    ///
    /// # Errors
    ///
    /// Why not; the shares are what they were.
    pub async fn weigh(&self, shares: Shares) -> Result<(), String> {
        let (answer, answered) = oneshot::channel();
        let gone = || "the datapath's thread has ended".to_owned();
        self.orders
            .send(Order::Weigh(shares, answer))
            .await
            .map_err(|_| gone())?;
        answered.await.unwrap_or_else(|_| Err(gone()))
    }

    /// The shares that backends of a model have in the kernel already, be it from a daemon before.
    pub async fn shares(&self, model: Model) -> Shares {
        let (answer, answered) = oneshot::channel();
        if self
            .orders
            .send(Order::Shares(model, answer))
            .await
            .is_err()
        {
            return Shares::new();
        }
        answered.await.unwrap_or_default()
    }

    /// Lets checks take the way of clients' packets, and says by which marks; `None`: the datapath's thread has ended. Whoever is not
    /// asked for has none any more.
    pub async fn marks(&self, asked: ByVip) -> Option<Marks> {
        let (answer, answered) = oneshot::channel();
        self.orders.send(Order::Marks(asked, answer)).await.ok()?;
        answered.await.ok()
    }

    /// Leaves the kernel as it is from here on: another daemon may be about to take over. Gives what flows are remembered by.
    pub async fn rest(&self) -> Option<History> {
        self.leave(false).await
    }

    /// As [`rest`](Self::rest), for a daemon that may come to nothing: [`resume`](Self::resume) takes the datapath back.
    pub async fn lend(&self) -> Option<History> {
        self.leave(true).await
    }

    async fn leave(&self, may_resume: bool) -> Option<History> {
        let (answer, answered) = oneshot::channel();
        let rest = Order::Rest(may_resume, answer);
        self.orders.send(rest).await.ok()?;
        answered.await.ok()?
    }

    /// Takes the datapath back that was lent: adopts what there is by now, and applies the last model again. Nothing, if it was
    /// not lent.
    ///
    /// # Errors
    ///
    /// Why not; the kernel goes on with what there is, and it is tried again at each refresh that is due.
    pub async fn resume(&self) -> Result<(), String> {
        let (answer, answered) = oneshot::channel();
        let gone = || "the datapath's thread has ended".to_owned();
        self.orders
            .send(Order::Resume(answer))
            .await
            .map_err(|_| gone())?;
        answered.await.unwrap_or_else(|_| Err(gone()))
    }

    /// Ends the thread, and lets go of all that it holds; the kernel goes on.
    pub async fn end(&self) {
        let _ = self.orders.send(Order::End).await.is_ok();
    }

    /// Where a client's packets go, and why.
    ///
    /// # Errors
    ///
    /// What is asked cannot be.
    pub async fn explain(&self, question: FlowQuestion) -> Result<FlowExplanation, String> {
        let (answer, answered) = oneshot::channel();
        let gone = || "the datapath's thread has ended".to_owned();
        self.orders
            .send(Order::Explain(question, answer))
            .await
            .map_err(|_| gone())?;
        answered.await.unwrap_or_else(|_| Err(gone()))
    }

    /// The counters and states of this moment.
    pub async fn status(&self) -> Option<Arc<Status>> {
        let (answer, answered) = oneshot::channel();
        if self.orders.send(Order::Status(answer)).await.is_ok() {
            let _ = answered.await.is_ok();
        }
        self.status.load_full()
    }

    /// Figures for `/metrics`, as of the last [`Kernel::status`].
    pub fn collector(&self) -> Box<dyn Collector> {
        figures::collector(Arc::clone(&self.status))
    }
}

async fn serve(
    mut datapath: Datapath,
    config: &Config,
    mut inbox: mpsc::Receiver<Order>,
    status: &ArcSwapOption<Status>,
) {
    let mut refresh = tokio::time::interval(REFRESH);
    refresh.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    // What a predecessor left is right until we know better, and that is with the first model.
    let mut refreshes = false;
    let mut current = Sockets::new();
    let mut applied = None;
    let mut lent: Option<Lent> = None;
    let mut ways = Ways::default();
    loop {
        tokio::select! {
            // An order is never kept waiting by a refresh that is due.
            biased;
            order = inbox.recv() => match order {
                None | Some(Order::End) => return,
                Some(Order::Rest(may_resume, answer)) => {
                    refreshes = false;
                    if !may_resume {
                        // A socket is closed when the last of its handles is: none may be kept here.
                        current.clear();
                    }
                    // Another daemon follows at once, or nobody knows when: then flows go on to get pins.
                    let before = lent.take().and_then(|lent| lent.history);
                    let history = datapath.remembered(may_resume).or(before);
                    datapath.rest();
                    if may_resume {
                        let history = history.clone();
                        lent = Some(Lent { history, is_asked_back: false });
                    }
                    let _ = answer.send(history).is_ok();
                }
                Some(Order::Resume(answer)) => {
                    let again = match &mut lent {
                        // It never left this thread's hands: its lock stands, and taking it again would meet ourselves.
                        None => Ok(()),
                        Some(lent) => {
                            lent.is_asked_back = true;
                            resume(&mut datapath, config, lent, applied.as_ref(), &current).await
                        }
                    };
                    if again.is_ok() && lent.take().is_some() {
                        refreshes = true;
                    }
                    let _ = answer.send(again).is_ok();
                }
                Some(Order::Apply(model, sockets, answer)) => {
                    let done = match &lent {
                        Some(lent) if lent.is_asked_back => {
                            resume(&mut datapath, config, lent, Some(&model), &sockets).await
                        }
                        _ => apply(&mut datapath, &model, &sockets).await,
                    };
                    match done {
                        Ok(()) => {
                            lent = None;
                            refreshes = true;
                            current = sockets;
                            applied = Some(model);
                        }
                        // The kernel goes on with the model before: the sockets that served are those that are
                        // steered to.
                        Err(_) if lent.is_some() => {}
                        Err(_) => {
                            if let Err(error) = register(&mut datapath, &current) {
                                tracing::error!(error, "connections are no longer steered");
                            }
                        }
                    }
                    status.store(Some(Arc::new(datapath.status())));
                    let _ = answer.send(done).is_ok();
                }
                Some(Order::Weigh(shares, answer)) => {
                    let done = if lent.is_some() {
                        tracing::info!("the datapath is lent; if it comes back, it goes by the checks of now");
                        Ok(())
                    } else {
                        datapath.weigh(&shares).map(drop).map_err(|error| told(&error))
                    };
                    if done.is_ok() {
                        // What is lent and taken back comes back with the shares of now.
                        applied = applied.map(|model: Model| model.with_shares(&shares));
                    }
                    status.store(Some(Arc::new(datapath.status())));
                    let _ = answer.send(done).is_ok();
                }
                Some(Order::Marks(asked, answer)) => {
                    let made = ways.make(&datapath, asked).await;
                    let _ = answer.send(made).is_ok();
                }
                Some(Order::Shares(model, answer)) => {
                    let _ = answer.send(datapath.shares(&model)).is_ok();
                }
                Some(Order::Explain(question, answer)) => {
                    let _ = answer.send(datapath.explain(&question)).is_ok();
                }
                Some(Order::Status(answer)) => {
                    status.store(Some(Arc::new(datapath.status())));
                    let _ = answer.send(()).is_ok();
                }
            },
            _ = refresh.tick(), if refreshes || lent.as_ref().is_some_and(|lent| lent.is_asked_back) => {
                if let Some(one) = &lent {
                    match resume(&mut datapath, config, one, applied.as_ref(), &current).await {
                        Ok(()) => {
                            tracing::info!("the datapath is taken back");
                            lent = None;
                            refreshes = true;
                        }
                        Err(error) => {
                            tracing::warn!(error, "the datapath is not taken back yet; trying again");
                            continue;
                        }
                    }
                }
                if let Err(error) = datapath.refresh().await {
                    tracing::warn!(error = told(&error), "next hops cannot be refreshed");
                }
                ways.refresh(&datapath).await;
            }
        }
    }
}

/// What is kept for a datapath that another daemon may have by now.
struct Lent {
    /// Until it is back: maps of another layout may stand there by then.
    history: Option<History>,
    /// The other daemon has come to nothing.
    is_asked_back: bool,
}

async fn resume(
    datapath: &mut Datapath,
    config: &Config,
    lent: &Lent,
    model: Option<&Model>,
    sockets: &Sockets,
) -> Result<(), String> {
    // What was opened again for a model that it did not take has the lock.
    datapath.rest();
    // Another daemon may have put other maps in their place.
    *datapath = Datapath::open_after(config, lent.history.as_ref())
        .await
        .map_err(|error| match &error {
            OpenError::Pins(PinsError::Locked(_)) => {
                format!("another daemon has the lock: {}", told(&error))
            }
            _ => told(&error),
        })?;
    match model {
        Some(model) => apply(datapath, model, sockets).await,
        None => Ok(()),
    }
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
