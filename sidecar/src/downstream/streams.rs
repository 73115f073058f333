//! The streams of an HTTP/2 connection, counted, so that an idle one can be told from a busy one. HTTP/1.1 connections
//! have a limit of their own between requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// The streams of one connection.
#[derive(Debug, Default)]
pub(super) struct Streams {
    open: AtomicUsize,
    /// Streams so far.
    count: AtomicUsize,
}

impl Streams {
    /// One more stream.
    pub(super) fn open(self: &Arc<Self>) -> Open {
        self.open.fetch_add(1, Ordering::Relaxed);
        self.count.fetch_add(1, Ordering::Relaxed);
        Open(Arc::clone(self))
    }

    /// Waits until the connection has had no stream for `idle`, or none at all within `first`.
    pub(super) async fn idle(&self, first: Duration, idle: Duration) {
        tokio::time::sleep(first).await;
        let mut count = self.count.load(Ordering::Relaxed);
        if count == 0 {
            return;
        }
        let mut since = Instant::now();
        loop {
            tokio::time::sleep(idle.saturating_sub(since.elapsed())).await;
            let now = self.count.load(Ordering::Relaxed);
            if now != count || self.open.load(Ordering::Relaxed) > 0 {
                count = now;
                since = Instant::now();
            } else if since.elapsed() >= idle {
                return;
            }
        }
    }
}

/// A stream, until the last byte of its answer has gone out.
#[derive(Debug)]
pub(super) struct Open(Arc<Streams>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn idle_is_without_a_stream() {
        let (first, idle) = (Duration::from_secs(10), Duration::from_secs(60));
        let none = Arc::<Streams>::default();
        tokio::time::timeout(first * 2, none.idle(first, idle))
            .await
            .expect("never used");

        let busy = Arc::<Streams>::default();
        let open = busy.open();
        let watched = busy.idle(first, idle);
        tokio::pin!(watched);
        assert!(
            tokio::time::timeout(idle * 10, watched.as_mut())
                .await
                .is_err(),
            "a stream is open"
        );
        drop(open);
    }
}
