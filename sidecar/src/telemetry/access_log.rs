//! One JSON line per request, written by a thread of its own: a full disk or a slow reader never blocks a request. What
//! the thread cannot keep up with is dropped and counted.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::thread;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use serde::Serialize;

/// Lines that may wait for the writer: about 4 MiB at most.
const QUEUE: usize = 8192;

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
    /// The peer's address and port.
    pub client: std::net::SocketAddr,
    /// The address that the client connected to (the VIP where steered).
    pub local: std::net::SocketAddr,
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
    pub endpoint: Option<std::net::SocketAddr>,
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

/// A handle to the writer. Cheap to clone.
#[derive(Debug, Clone)]
pub struct AccessLog {
    queue: SyncSender<Message>,
    dropped: Counter,
    enabled: Arc<std::sync::atomic::AtomicBool>,
}

#[derive(Debug)]
enum Message {
    Line(Vec<u8>),
    Open(Target, SyncSender<io::Result<()>>),
}

impl AccessLog {
    /// Starts the writer and opens `target`.
    ///
    /// # Errors
    ///
    /// The target cannot be opened, or no thread can be started.
    pub fn start(target: Target, registry: &mut Registry) -> io::Result<Self> {
        let dropped = Counter::default();
        registry.register(
            "access_log_dropped",
            "Access log lines dropped because the writer could not keep up",
            dropped.clone(),
        );
        let (queue, lines) = sync_channel(QUEUE);
        thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || write(&lines))?;
        let log = Self {
            queue,
            dropped,
            enabled: Arc::default(),
        };
        log.open(target)?;
        Ok(log)
    }

    /// Opens `target` anew: at a reload, also when it is the same, so that a rotated file is let go.
    ///
    /// # Errors
    ///
    /// The target cannot be opened; the old one goes on.
    pub fn open(&self, target: Target) -> io::Result<()> {
        let enabled = target != Target::None;
        let (answer, answered) = sync_channel(1);
        let gone = || io::Error::other("the access log's writer has ended");
        self.queue
            .send(Message::Open(target, answer))
            .map_err(|_| gone())?;
        answered.recv().unwrap_or_else(|_| Err(gone()))?;
        self.enabled
            .store(enabled, std::sync::atomic::Ordering::Relaxed);
        Ok(())
    }

    /// Whether a line would be written at all.
    pub fn is_enabled(&self) -> bool {
        self.enabled.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Hands a line to the writer, never waiting for it.
    pub fn write(&self, line: &Line<'_>) {
        let mut bytes = Vec::with_capacity(512);
        if serde_json::to_writer(&mut bytes, line).is_err() {
            self.dropped.inc();
            return;
        }
        bytes.push(b'\n');
        match self.queue.try_send(Message::Line(bytes)) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.dropped.inc();
            }
        }
    }
}

fn write(queue: &Receiver<Message>) {
    let mut out: Box<dyn Write> = Box::new(io::sink());
    let mut complained = false;
    loop {
        let message = match queue.try_recv() {
            Ok(message) => message,
            Err(TryRecvError::Disconnected) => break,
            Err(TryRecvError::Empty) => {
                // Nothing waits: let readers see what is there, then sleep until there is more.
                if let Err(error) = out.flush()
                    && !complained
                {
                    complained = true;
                    tracing::warn!(%error, "the access log cannot be written");
                }
                match queue.recv() {
                    Ok(message) => message,
                    Err(_) => break,
                }
            }
        };
        match message {
            Message::Line(line) => {
                if let Err(error) = out.write_all(&line)
                    && !complained
                {
                    complained = true;
                    tracing::warn!(%error, "the access log cannot be written");
                }
            }
            Message::Open(target, answer) => {
                let result = open(&target).map(|opened| {
                    let _ = out.flush().is_ok();
                    out = opened;
                    complained = false;
                });
                let _ = answer.send(result).is_ok();
            }
        }
    }
    let _ = out.flush().is_ok();
}

fn open(target: &Target) -> io::Result<Box<dyn Write>> {
    Ok(match target {
        Target::None => Box::new(io::sink()),
        Target::Stdout => Box::new(io::BufWriter::with_capacity(64 * 1024, io::stdout())),
        Target::File(path) => {
            let file = OpenOptions::new().create(true).append(true).open(path)?;
            Box::new(io::BufWriter::with_capacity(64 * 1024, file))
        }
    })
}
