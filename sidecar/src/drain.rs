//! Graceful end: one side asks, every holder of a [`Watch`] finishes what it has, and the asker knows when all are done.

use tokio::sync::{mpsc, watch};

/// What is asked of the holders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ask {
    Nothing,
    /// Finish what there is, and what waits to be begun.
    Finish,
    /// Finish what there is; what waits is for another.
    Leave,
}

/// The side that asks.
#[derive(Debug)]
pub struct Drain {
    ask: watch::Sender<Ask>,
    gone: mpsc::Receiver<()>,
}

/// Held by whatever must be finished before the process may end.
#[derive(Debug, Clone)]
pub struct Watch {
    asked: watch::Receiver<Ask>,
    // Dropped with the last clone: that closes `Drain::gone`.
    _held: mpsc::Sender<()>,
}

/// A pair of both sides.
pub fn channel() -> (Drain, Watch) {
    let (ask, asked) = watch::channel(Ask::Nothing);
    let (held, gone) = mpsc::channel(1);
    (Drain { ask, gone }, Watch { asked, _held: held })
}

impl Drain {
    /// Asks all holders to finish and waits until the last [`Watch`] is dropped.
    pub async fn drain(self) {
        self.ask.send_replace(Ask::Finish);
        self.gone().await;
    }

    /// As [`drain`](Self::drain), but what waits to be begun is left to another.
    pub async fn leave(self) {
        self.ask.send_replace(Ask::Leave);
        self.gone().await;
    }

    async fn gone(mut self) {
        // Nothing is ever sent: this ends when every sender is gone.
        while self.gone.recv().await.is_some() {}
    }

    /// Asks all holders to finish without waiting.
    pub fn ask(&self) {
        self.ask.send_replace(Ask::Finish);
    }
}

impl Watch {
    /// Waits until an end was asked for, or nobody is left who could ask.
    pub async fn asked(&mut self) {
        let _ = self
            .asked
            .wait_for(|asked| *asked != Ask::Nothing)
            .await
            .is_ok();
    }

    /// An end was asked for.
    pub fn is_asked(&self) -> bool {
        *self.asked.borrow() != Ask::Nothing
    }

    /// What waits to be begun is for another.
    pub fn leaves(&self) -> bool {
        *self.asked.borrow() == Ask::Leave
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn drain_ends_with_the_last_watch() {
        let (drain, watch) = channel();
        let mut second = watch.clone();
        let held = tokio::spawn(async move {
            second.asked().await;
            second.is_asked()
        });
        assert!(!watch.is_asked());
        drop(watch);
        drain.drain().await;
        assert!(held.await.unwrap());
    }

    #[tokio::test]
    async fn what_waits_is_left_to_another_when_that_is_asked() {
        for leave in [false, true] {
            let (drain, mut watch) = channel();
            let held = tokio::spawn(async move {
                watch.asked().await;
                watch.leaves()
            });
            if leave {
                drain.leave().await;
            } else {
                drain.drain().await;
            }
            assert_eq!(held.await.unwrap(), leave);
        }
    }
}
