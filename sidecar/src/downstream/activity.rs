//! What a connection is doing, so that one that waits for its next request can be told from one that sends a head, byte
//! by byte, and from one that is being served.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;
use tokio::time::Instant;

/// Of one connection. Times are milliseconds since it began.
#[derive(Debug)]
pub(super) struct Activity {
    begun: Instant,
    /// Requests that are being served.
    open: AtomicUsize,
    /// When the last one ended.
    since: AtomicU64,
    /// When the first byte of a head came, plus 1; 0 while none is awaited. A connection begins by awaiting one.
    head: AtomicU64,
    heard: AtomicBool,
    /// The first request has been read.
    first: watch::Sender<bool>,
}

/// Why a connection should be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Quiet {
    /// Nobody asked for anything.
    Idle,
    /// A head began and did not end.
    SlowHead,
}

/// A request, until the last byte of its answer has gone out.
#[derive(Debug)]
pub(super) struct Open(Arc<Activity>);

impl Activity {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            begun: Instant::now(),
            open: AtomicUsize::new(0),
            since: AtomicU64::new(0),
            head: AtomicU64::new(1),
            heard: AtomicBool::new(false),
            first: watch::Sender::new(false),
        })
    }

    /// A head has been read.
    pub(super) fn open(self: &Arc<Self>) -> Open {
        self.open.fetch_add(1, Ordering::Relaxed);
        self.head.store(0, Ordering::Relaxed);
        self.first
            .send_if_modified(|first| !std::mem::replace(first, true));
        Open(Arc::clone(self))
    }

    /// Waits until the first request has been read; returns at once if one has.
    pub(super) async fn asked(&self) {
        let _ = self
            .first
            .subscribe()
            .wait_for(|first| *first)
            .await
            .is_ok();
    }

    /// Waits until the connection has been without a request for `idle`, or with half a head for `head`; late by `head` at
    /// most. Its first head is awaited for `head`, whether it began or not.
    pub(super) async fn quiet(&self, head: Duration, idle: Duration) -> Quiet {
        loop {
            let now = self.begun.elapsed();
            let (deadline, why) = match self.head.load(Ordering::Relaxed) {
                _ if self.open.load(Ordering::Relaxed) > 0 => (now + head, None),
                0 => (millis(&self.since) + idle, Some(Quiet::Idle)),
                began if self.heard.load(Ordering::Relaxed) => (
                    Duration::from_millis(began - 1) + head,
                    Some(Quiet::SlowHead),
                ),
                began => (Duration::from_millis(began - 1) + head, Some(Quiet::Idle)),
            };
            match why {
                Some(why) if now >= deadline => return why,
                // A head may begin at any time: look again before it could be late twice.
                _ => tokio::time::sleep(deadline.saturating_sub(now).min(head)).await,
            }
        }
    }

    fn heard(&self) {
        self.heard.store(true, Ordering::Relaxed);
        if self.open.load(Ordering::Relaxed) == 0 && self.head.load(Ordering::Relaxed) == 0 {
            self.head.store(self.now() + 1, Ordering::Relaxed);
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX - 1)
    }
}

fn millis(time: &AtomicU64) -> Duration {
    Duration::from_millis(time.load(Ordering::Relaxed))
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.since.store(self.0.now(), Ordering::Relaxed);
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A stream that tells when bytes come.
#[derive(Debug)]
pub(super) struct Heard<S> {
    stream: S,
    activity: Arc<Activity>,
}

impl<S> Heard<S> {
    pub(super) fn new(stream: S, activity: Arc<Activity>) -> Self {
        Self { stream, activity }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Heard<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.activity.heard();
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Heard<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: Duration = Duration::from_secs(10);
    const IDLE: Duration = Duration::from_secs(60);

    async fn within(activity: &Activity, limit: Duration) -> Option<Quiet> {
        tokio::time::timeout(limit, activity.quiet(HEAD, IDLE))
            .await
            .ok()
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_head_is_awaited_for_the_head_limit() {
        let silent = Activity::new();
        assert_eq!(within(&silent, HEAD + HEAD / 2).await, Some(Quiet::Idle));
        let slow = Activity::new();
        slow.heard();
        assert_eq!(within(&slow, HEAD + HEAD / 2).await, Some(Quiet::SlowHead));
    }

    #[tokio::test(start_paused = true)]
    async fn between_requests_the_idle_limit_holds_and_a_head_has_its_own() {
        let activity = Activity::new();
        let open = activity.open();
        assert_eq!(
            within(&activity, IDLE * 10).await,
            None,
            "a request is being served"
        );
        drop(open);
        assert_eq!(
            within(&activity, IDLE - HEAD).await,
            None,
            "idle for less than the limit"
        );
        activity.heard();
        assert_eq!(within(&activity, HEAD * 2).await, Some(Quiet::SlowHead));
        drop(activity.open());
        assert_eq!(within(&activity, IDLE + HEAD).await, Some(Quiet::Idle));
    }
}
