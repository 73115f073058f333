//! What is told is written by a thread of its own: whoever reads may stall, and nothing else may for it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tollgate_datapath::capture::Seen;

/// Bytes that wait to be written at most.
const ROOM: usize = 64 << 20;
/// Who takes nothing for so long once the watch is over has stalled.
const PATIENCE: Duration = Duration::from_secs(2);

/// Where what is told goes.
pub(crate) trait Sink: Send + 'static {
    /// Writes what was told; false: that is enough.
    fn take(&mut self, seen: Vec<Seen>) -> io::Result<bool>;

    /// Writes what is to stand at the end, with how much is missing.
    fn finish(&mut self, lost: u64) -> io::Result<()>;
}

enum Task {
    Write(Vec<Seen>, usize),
    Finish(u64),
}

/// What both sides know.
#[derive(Default)]
struct Shared {
    /// Bytes that wait, and records.
    bytes: AtomicUsize,
    records: AtomicU64,
    /// Nothing more is wanted.
    enough: Notify,
}

/// Writes to a sink, in its own thread.
pub(super) struct Pen<S> {
    tasks: Sender<Task>,
    shared: Arc<Shared>,
    ended: oneshot::Receiver<io::Result<S>>,
    lost: u64,
}

impl<S: Sink> Pen<S> {
    /// # Errors
    ///
    /// The system has no thread.
    pub(super) fn new(sink: S) -> io::Result<Self> {
        let (tasks, todo) = channel();
        let shared = Arc::new(Shared::default());
        let (end, ended) = oneshot::channel();
        let its = Arc::clone(&shared);
        let write = move || {
            let result = work(sink, &todo, &its);
            let _ = end.send(result).is_ok();
            its.enough.notify_one();
        };
        thread::Builder::new()
            .name("tollgate-writer".to_owned())
            .spawn(write)?;
        Ok(Self {
            tasks,
            shared,
            ended,
            lost: 0,
        })
    }

    /// Hands on what was told, as far as there is room.
    pub(super) fn write(&mut self, seen: Vec<Seen>) {
        let size = seen.iter().map(size).sum();
        let records = seen.len() as u64;
        if records == 0 {
            return;
        }
        if self.shared.bytes.load(Ordering::Relaxed) > ROOM {
            self.lost += records;
            return;
        }
        self.shared.bytes.fetch_add(size, Ordering::Relaxed);
        self.shared.records.fetch_add(records, Ordering::Relaxed);
        // Nobody there: it has failed or has enough, which is told otherwise.
        let _ = self.tasks.send(Task::Write(seen, size)).is_ok();
    }

    /// Waits until the sink has enough, or failed.
    pub(super) async fn enough(&self) {
        self.shared.enough.notified().await;
    }

    /// Records that found no room.
    pub(super) const fn lost(&self) -> u64 {
        self.lost
    }

    /// Lets the rest be written, as long as somebody takes it. The sink, and how many records are still to be written: none, where
    /// nobody stalls.
    ///
    /// # Errors
    ///
    /// The sink's.
    pub(super) async fn finish(mut self, lost: u64) -> io::Result<(Option<S>, u64)> {
        let _ = self.tasks.send(Task::Finish(lost)).is_ok();
        let mut before = None;
        loop {
            if let Ok(ended) = tokio::time::timeout(PATIENCE, &mut self.ended).await {
                let sink = ended.unwrap_or_else(|_| Err(io::Error::other("the writer is gone")))?;
                return Ok((Some(sink), 0));
            }
            let left = self.shared.records.load(Ordering::Relaxed);
            if before.replace(left) == Some(left) {
                return Ok((None, left));
            }
        }
    }
}

fn work<S: Sink>(mut sink: S, todo: &Receiver<Task>, shared: &Shared) -> io::Result<S> {
    let mut has_enough = false;
    for task in todo {
        match task {
            Task::Write(seen, size) => {
                let records = seen.len() as u64;
                if !has_enough && !sink.take(seen)? {
                    has_enough = true;
                    shared.enough.notify_one();
                }
                shared.bytes.fetch_sub(size, Ordering::Relaxed);
                shared.records.fetch_sub(records, Ordering::Relaxed);
            }
            Task::Finish(lost) => {
                sink.finish(lost)?;
                break;
            }
        }
    }
    Ok(sink)
}

/// About what a record takes in memory.
fn size(seen: &Seen) -> usize {
    size_of::<Seen>() + seen.bytes.len()
}
