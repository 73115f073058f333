//! One JSON line per request, written by a thread of its own: a full disk or a slow reader never blocks a request. What
//! the thread cannot keep up with is dropped and counted.

use std::fs::OpenOptions;
use std::io::{self, BufWriter, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use serde::Serialize;

/// Lines that may wait for the writer.
const QUEUE: usize = 8192;
/// What they may take together: how long a line is, is up to clients.
const QUEUE_BYTES: usize = 8 * 1024 * 1024;
/// Bytes gathered for one write.
const BUFFER: usize = 64 * 1024;

/// Where lines go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Nowhere.
    None,
    /// Standard output.
    Stdout,
    /// Appended to a file, which is created if need be.
    File(PathBuf),
}

/// A line. Names are stable (docs/config.md); absent values are left out. Never holds a token, only its fingerprint.
#[derive(Debug, Clone, Serialize)]
pub struct Line<'a> {
    /// When the head had arrived, RFC 3339 with milliseconds, UTC.
    pub time: String,
    /// Unique per request; also in the response and in problem bodies.
    pub request_id: &'a str,
    /// Who sent the request.
    pub client: Client,
    /// The trusted forwarder that it came by, where the client is another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<SocketAddr>,
    /// The address that the client connected to (the VIP where steered).
    pub local: SocketAddr,
    /// Listener by name.
    pub listener: &'a str,
    /// `http/1.0`, `http/1.1` or `http/2`.
    pub protocol: &'static str,
    /// Request method.
    pub method: &'a str,
    /// Host of the request, lower-case.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<&'a str>,
    /// Path in its one form, without the query.
    pub path: &'a str,
    /// Response status.
    pub status: u16,
    /// Route by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<&'a str>,
    /// Why the request was refused or failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// The numbers and names behind the reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<&'a str>,
    /// `sub` of the accepted token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<&'a str>,
    /// Issuer by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<&'a str>,
    /// Fingerprint of the token that was shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<&'a str>,
    /// Upstream by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream: Option<&'a str>,
    /// Endpoint that answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<SocketAddr>,
    /// Microseconds from the head of the request to the end of the response body.
    pub duration_us: u64,
    /// Body bytes received.
    pub bytes_in: u64,
    /// Body bytes sent.
    pub bytes_out: u64,
    /// The response did not end as it should have: `client` went away, the `upstream` broke off, the token `expired`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<&'static str>,
}

/// Who sent a request.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(untagged)]
pub enum Client {
    /// The peer, by address and port.
    Peer(SocketAddr),
    /// Whom a trusted forwarder named, by address.
    Forwarded(IpAddr),
}

/// A handle to the writer. Cheap to clone.
#[derive(Debug, Clone)]
pub struct AccessLog {
    queue: SyncSender<Message>,
    shared: Arc<Shared>,
    dropped: Counter,
}

#[derive(Debug, Default)]
struct Shared {
    /// A target that was opened and waits for the writer to take it. A slot and not a message: whoever reloads must not
    /// wait for a writer that waits for a reader.
    next: Mutex<Option<Out>>,
    /// Bytes of lines that wait.
    waiting: AtomicUsize,
    enabled: AtomicBool,
}

#[derive(Debug)]
enum Message {
    Line(Vec<u8>),
    /// Look at `next`.
    Wake,
    /// Everything before this has been written when it is answered.
    Flush(SyncSender<()>),
}

#[derive(Debug)]
enum Out {
    Nothing,
    Stdout(BufWriter<io::Stdout>),
    File(BufWriter<std::fs::File>),
}

impl AccessLog {
    /// Starts the writer and opens `target`.
    ///
    /// # Errors
    ///
    /// The target cannot be opened, or no thread can be started.
    pub fn start(target: &Target, registry: &mut Registry) -> io::Result<Self> {
        let dropped = Counter::default();
        registry.register(
            "access_log_dropped",
            "Access log lines dropped because the writer could not keep up",
            dropped.clone(),
        );
        let (queue, lines) = sync_channel(QUEUE);
        let shared = Arc::<Shared>::default();
        let log = Self {
            queue,
            shared: Arc::clone(&shared),
            dropped,
        };
        log.open(target)?;
        thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || write(&lines, &shared))?;
        Ok(log)
    }

    /// Opens `target` anew: at a reload, also when it is the same, so that a rotated file is let go. Never waits for the
    /// writer.
    ///
    /// # Errors
    ///
    /// The target cannot be opened; the old one goes on.
    pub fn open(&self, target: &Target) -> io::Result<()> {
        let out = Out::open(target)?;
        self.shared
            .enabled
            .store(!matches!(out, Out::Nothing), Ordering::Relaxed);
        *self
            .shared
            .next
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(out);
        // A full queue wakes the writer as well.
        let _ = self.queue.try_send(Message::Wake).is_ok();
        Ok(())
    }

    /// Whether a line would be written at all.
    pub fn is_enabled(&self) -> bool {
        self.shared.enabled.load(Ordering::Relaxed)
    }

    /// Hands a line to the writer, never waiting for it.
    pub fn write(&self, line: &Line<'_>) {
        let mut bytes = Vec::with_capacity(512);
        if serde_json::to_writer(&mut bytes, line).is_err() {
            self.dropped.inc();
            return;
        }
        bytes.push(b'\n');
        let length = bytes.len();
        let waiting = self.shared.waiting.fetch_add(length, Ordering::Relaxed);
        if waiting + length > QUEUE_BYTES || self.queue.try_send(Message::Line(bytes)).is_err() {
            self.shared.waiting.fetch_sub(length, Ordering::Relaxed);
            self.dropped.inc();
        }
    }

    /// Waits until what was handed over has been written, for `limit` at most.
    pub fn flush(&self, limit: Duration) {
        let (answer, answered) = sync_channel(1);
        if self.queue.try_send(Message::Flush(answer)).is_ok() {
            let _ = answered.recv_timeout(limit).is_ok();
        }
    }
}

impl Out {
    fn open(target: &Target) -> io::Result<Self> {
        Ok(match target {
            Target::None => Self::Nothing,
            Target::Stdout => Self::Stdout(BufWriter::with_capacity(BUFFER, io::stdout())),
            Target::File(path) => {
                let file = OpenOptions::new().create(true).append(true).open(path)?;
                Self::File(BufWriter::with_capacity(BUFFER, file))
            }
        })
    }
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Nothing => Ok(bytes.len()),
            Self::Stdout(out) => out.write(bytes),
            Self::File(out) => out.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Nothing => Ok(()),
            Self::Stdout(out) => out.flush(),
            Self::File(out) => out.flush(),
        }
    }
}

fn write(queue: &Receiver<Message>, shared: &Shared) {
    let mut out = Out::Nothing;
    let mut complained = false;
    let mut judge = |result: io::Result<()>| match result {
        Ok(()) => complained = false,
        // Once, not per line: a full disk is full for many of them.
        Err(error) if !complained => {
            complained = true;
            tracing::warn!(%error, "the access log cannot be written");
        }
        Err(_) => {}
    };
    loop {
        let message = match queue.try_recv() {
            Ok(message) => message,
            Err(TryRecvError::Disconnected) => break,
            Err(TryRecvError::Empty) => {
                // Nothing waits: let readers see what is there, then sleep until there is more.
                judge(out.flush());
                match queue.recv() {
                    Ok(message) => message,
                    Err(_) => break,
                }
            }
        };
        if let Some(next) = shared
            .next
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
        {
            judge(out.flush());
            out = next;
        }
        match message {
            Message::Wake => {}
            Message::Line(line) => {
                judge(out.write_all(&line));
                shared.waiting.fetch_sub(line.len(), Ordering::Relaxed);
            }
            Message::Flush(answer) => {
                judge(out.flush());
                let _ = answer.send(()).is_ok();
            }
        }
    }
    judge(out.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(path: &str) -> Line<'_> {
        Line {
            time: "t".to_owned(),
            request_id: "1",
            client: Client::Peer(([127, 0, 0, 1], 1).into()),
            peer: None,
            local: ([127, 0, 0, 1], 2).into(),
            listener: "edge",
            protocol: "http/1.1",
            method: "GET",
            host: None,
            path,
            status: 200,
            route: None,
            reason: None,
            detail: None,
            subject: None,
            issuer: None,
            token: None,
            upstream: None,
            endpoint: None,
            duration_us: 1,
            bytes_in: 0,
            bytes_out: 0,
            ended: None,
        }
    }

    #[test]
    fn a_stuck_reader_costs_bounded_memory_and_holds_nobody_up() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        // A reader that never reads; without one, opening would wait.
        let reader = thread::spawn({
            let fifo = fifo.clone();
            move || std::fs::File::open(fifo).unwrap()
        });
        let log = AccessLog::start(&Target::File(fifo), &mut Registry::default()).unwrap();
        let _reader = reader.join().unwrap();
        let path = "/".repeat(50_000);
        for _ in 0..1000 {
            log.write(&line(&path));
        }
        assert!(
            log.dropped.get() > 700,
            "{} were dropped",
            log.dropped.get()
        );
        assert!(log.shared.waiting.load(Ordering::Relaxed) <= QUEUE_BYTES);
        let file = folder.path().join("log");
        log.open(&Target::File(file)).unwrap();
    }

    #[test]
    fn a_reopened_log_goes_on_in_the_new_file() {
        let folder = tempfile::tempdir().unwrap();
        let (old, new) = (folder.path().join("old"), folder.path().join("new"));
        let log = AccessLog::start(&Target::File(old.clone()), &mut Registry::default()).unwrap();
        log.write(&line("/1"));
        log.flush(Duration::from_secs(10));
        log.open(&Target::File(new.clone())).unwrap();
        log.write(&line("/2"));
        log.flush(Duration::from_secs(10));
        for (file, path) in [(old, "/1"), (new, "/2")] {
            let text = std::fs::read_to_string(file).unwrap();
            let lines: Vec<&str> = text.lines().collect();
            assert!(lines.len() == 1 && lines[0].contains(path), "{text}");
        }
    }
}
