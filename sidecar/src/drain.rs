//! Graceful end: one side asks, every holder of a [`Watch`] finishes what it has, and the asker knows when all are done.

use tokio::sync::{mpsc, watch};

/// The side that asks.
#[derive(Debug)]
pub struct Drain {
    ask: watch::Sender<bool>,
    gone: mpsc::Receiver<()>,
}

/// Held by whatever must be finished before the process may end.
#[derive(Debug, Clone)]
pub struct Watch {
    asked: watch::Receiver<bool>,
    // Dropped with the last clone: that closes `Drain::gone`.
    _held: mpsc::Sender<()>,
}

/// A pair of both sides.
pub fn channel() -> (Drain, Watch) {
    let (ask, asked) = watch::channel(false);
    let (held, gone) = mpsc::channel(1);
    (Drain { ask, gone }, Watch { asked, _held: held })
}

impl Drain {
    /// Asks all holders to finish and waits until the last [`Watch`] is dropped.
    pub async fn drain(mut self) {
        self.ask.send_replace(true);
        // Nothing is ever sent: this ends when every sender is gone.
        while self.gone.recv().await.is_some() {}
    }

    /// Asks all holders to finish without waiting.
    pub fn ask(&self) {
        self.ask.send_replace(true);
    }
}

impl Watch {
    /// Waits until an end was asked for, or nobody is left who could ask.
    pub async fn asked(&mut self) {
        let _ = self.asked.wait_for(|asked| *asked).await.is_ok();
    }

    /// An end was asked for.
    pub fn is_asked(&self) -> bool {
        *self.asked.borrow()
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
}
