//! The kernel half, by messages: a handle for those who want something of it, and the loop that owns it, which may stand in
//! another process. The request path never meets either.

use std::collections::HashMap;
use std::fs::File;
use std::net::{IpAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use prometheus_client::collector::Collector;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tollgate_datapath::model::{Model, Shares, Vip};
use tollgate_datapath::{FlowExplanation, FlowQuestion, Status};

mod checks;
mod figures;
mod history;
mod order;
mod serve;

pub use order::{Answer, Asked, ByVip, Fixed, Order};
pub use serve::{serve, told};

/// How long an order may take: the datapath is loaded in a second or two.
const LIMIT: Duration = Duration::from_secs(60);
/// How long who looks waits for figures; afterwards it gets the last ones.
const PROMPT: Duration = Duration::from_secs(5);
/// How long it may take to come to rest: requests in flight wait for it when a daemon ends.
const REST: Duration = Duration::from_secs(5);

/// The sockets of the listeners, by name, that services may be delivered to.
pub type Sockets = HashMap<Arc<str>, TcpListener>;

/// By which marks checks go by the VIP.
pub type Marks = HashMap<(Vip, IpAddr), u32>;

/// A handle to the datapath. That one stays in the kernel when this is dropped: plain L4 services go on.
#[derive(Debug, Clone)]
pub struct Kernel {
    orders: mpsc::Sender<Asked>,
    status: Arc<ArcSwapOption<Status>>,
}

impl Kernel {
    /// Loads or adopts the datapath behind `orders`; returns when it is attached. `history`: a file of what a predecessor of another
    /// layout remembered.
    ///
    /// # Errors
    ///
    /// The datapath cannot be loaded or attached: the reason and the cure.
    pub async fn open(
        orders: mpsc::Sender<Asked>,
        fixed: Fixed,
        history: Option<File>,
    ) -> Result<Self, String> {
        let kernel = Self {
            orders,
            status: Arc::default(),
        };
        let fds = history.into_iter().map(OwnedFd::from).collect();
        kernel.done(Order::Open(fixed), fds).await?;
        Ok(kernel)
    }

    /// Makes the kernel do what `model` says, steering to `sockets`.
    ///
    /// # Errors
    ///
    /// Why not; the kernel then does what it did before.
    pub async fn apply(&self, model: Model, sockets: Sockets) -> Result<(), String> {
        let (names, fds) = sockets
            .into_iter()
            .map(|(name, socket)| (name.to_string(), OwnedFd::from(socket)))
            .unzip();
        let sockets = names;
        self.done(Order::Apply { model, sockets }, fds)
            .await
            .map(drop)
    }

    /// Gives the backends of the model that stands these shares.
    ///
    /// # Errors
    ///
    /// Why not; the shares are what they were.
    pub async fn weigh(&self, shares: Shares) -> Result<(), String> {
        self.done(Order::Weigh(shares), Vec::new()).await.map(drop)
    }

    /// The shares that backends of a model have in the kernel already, be it from a daemon before.
    pub async fn shares(&self, model: Model) -> Shares {
        match self.ask(Order::Shares(model), Vec::new()).await {
            Ok((Answer::Shares(shares), _)) => shares,
            _ => Shares::new(),
        }
    }

    /// Lets checks take the way of clients' packets, and says by which marks; `None`: nobody is there to make the ways. Whoever is
    /// not asked for has none any more.
    pub async fn marks(&self, asked: ByVip) -> Option<Marks> {
        match self.ask(Order::Marks(asked), Vec::new()).await {
            Ok((Answer::Marks(marks), _)) => {
                let of = |(vip, backend, mark)| ((vip, backend), mark);
                Some(marks.into_iter().map(of).collect())
            }
            _ => None,
        }
    }

    /// How many packets with a mark have gone by the VIP; `None`: the mark is not known.
    pub async fn count(&self, mark: u32) -> Option<u64> {
        match self.ask(Order::Count(mark), Vec::new()).await {
            Ok((Answer::Count(count), _)) => count,
            _ => None,
        }
    }

    /// A TCP socket, not connected yet, whose packets bear one of the [`marks`](Self::marks).
    ///
    /// # Errors
    ///
    /// Why there is none.
    pub async fn marked(&self, ipv6: bool, mark: u32) -> Result<TcpStream, String> {
        let order = Order::Marked { ipv6, mark };
        let socket = self.done(order, Vec::new()).await?;
        let socket = socket.ok_or(
            "no socket came with the answer; more open files must be allowed (LimitNOFILE)",
        )?;
        Ok(TcpStream::from(socket))
    }

    /// Leaves the kernel as it is from here on: another daemon may be about to take over. Gives a file of what flows are
    /// remembered by.
    pub async fn rest(&self) -> Option<File> {
        self.leave(false).await
    }

    /// As [`rest`](Self::rest), for a daemon that may come to nothing: [`resume`](Self::resume) takes the datapath back.
    pub async fn lend(&self) -> Option<File> {
        self.leave(true).await
    }

    async fn leave(&self, may_resume: bool) -> Option<File> {
        let rest = self.done(Order::Rest { may_resume }, Vec::new());
        match timeout(REST, rest).await {
            Ok(history) => history.ok()?.map(File::from),
            Err(_) => {
                tracing::warn!(
                    "the datapath has not come to rest within {REST:?}; going on without what it remembers"
                );
                None
            }
        }
    }

    /// Takes the datapath back that was lent: adopts what there is by now, and applies the last model again. Nothing, if it was
    /// not lent.
    ///
    /// # Errors
    ///
    /// Why not; the kernel goes on with what there is, and it is tried again at each refresh that is due.
    pub async fn resume(&self) -> Result<(), String> {
        self.done(Order::Resume, Vec::new()).await.map(drop)
    }

    /// Where a client's packets go, and why.
    ///
    /// # Errors
    ///
    /// What is asked cannot be.
    pub async fn explain(&self, question: FlowQuestion) -> Result<FlowExplanation, String> {
        match self.ask(Order::Explain(question), Vec::new()).await? {
            (Answer::Explained(explanation), _) => Ok(*explanation),
            (answer, _) => Err(unexpected(&answer)),
        }
    }

    /// The counters and states of this moment, or the last that were told.
    pub async fn status(&self) -> Option<Arc<Status>> {
        let asked = timeout(PROMPT, self.ask(Order::Status, Vec::new())).await;
        if let Ok(Ok((Answer::Status(status), _))) = asked {
            self.status.store(Some(Arc::from(status)));
        }
        self.status.load_full()
    }

    /// Figures for `/metrics`, as of the last [`Kernel::status`].
    pub fn collector(&self) -> Box<dyn Collector> {
        figures::collector(Arc::clone(&self.status))
    }

    /// Of an order that is done or not; with what came with the answer.
    async fn done(&self, order: Order, fds: Vec<OwnedFd>) -> Result<Option<OwnedFd>, String> {
        match self.ask(order, fds).await? {
            (Answer::Done, fds) => Ok(fds.into_iter().next()),
            (answer, _) => Err(unexpected(&answer)),
        }
    }

    async fn ask(&self, order: Order, fds: Vec<OwnedFd>) -> Result<(Answer, Vec<OwnedFd>), String> {
        let (answer, answered) = oneshot::channel();
        let gone = || {
            "who does the kernel's part has ended; the log says why, and a restart of the daemon brings it back".to_owned()
        };
        let asked = Asked { order, fds, answer };
        let answer = async {
            self.orders.send(asked).await.map_err(|_| gone())?;
            answered.await.map_err(|_| gone())
        };
        let late = || {
            Err(format!(
                "who does the kernel's part has not answered within {LIMIT:?}"
            ))
        };
        match timeout(LIMIT, answer).await.unwrap_or_else(|_| late())? {
            (Answer::Failed(why), _) => Err(why),
            answer => Ok(answer),
        }
    }
}

fn unexpected(answer: &Answer) -> String {
    format!("an unexpected answer: {answer:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_has_ended_is_no_end_of_the_daemon() {
        let (orders, inbox) = mpsc::channel(1);
        drop(inbox);
        let kernel = Kernel {
            orders,
            status: Arc::default(),
        };
        let error = kernel.weigh(Shares::new()).await.unwrap_err();
        assert!(error.contains("restart"), "{error}");
        assert!(kernel.status().await.is_none());
        assert!(kernel.marks(ByVip::default()).await.is_none());
    }
}
