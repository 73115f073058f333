//! The daemon as its operator sees it: a process, its admin socket, its health.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;

use super::lab::{LabError, Netns, Process, tethered};

/// What it takes to start one.
#[derive(Clone, Debug)]
pub struct Launch {
    /// The `tollgate` binary.
    pub binary: PathBuf,
    /// Its configuration.
    pub config: PathBuf,
    /// `admin.listen` of that configuration.
    pub admin: SocketAddr,
    /// `admin.socket` of that configuration.
    pub socket: PathBuf,
    /// Where its output goes: `access.jsonl` (standard output) and `daemon.log` (standard error), appended to.
    pub logs: PathBuf,
    /// The namespace that it runs in; `None` is where the caller is.
    pub place: Option<Arc<Netns>>,
    /// What its environment has beyond the caller's: names and values.
    pub env: Vec<(OsString, OsString)>,
}

/// A running daemon; dropping it kills it.
#[derive(Debug)]
pub struct Daemon {
    launch: Launch,
    process: Process,
}

/// An answer of an admin endpoint.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The body.
    pub body: String,
}

/// How long an admin endpoint may take.
const PATIENCE: Duration = Duration::from_secs(5);

impl Daemon {
    /// Starts `tollgate run --config FILE`, without waiting for it to be ready.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(launch: Launch) -> Result<Self, LabError> {
        let append = |name: &str| {
            let path = launch.logs.join(name);
            File::options()
                .create(true)
                .append(true)
                .open(&path)
                .map_err(|error| LabError::new(format!("write {}", path.display()), error))
        };
        let mut command = tethered(&launch.binary);
        command
            .args(["run", "--config"])
            .arg(&launch.config)
            .envs(launch.env.iter().cloned())
            .stdin(Stdio::null())
            .stdout(append(ACCESS_LOG)?)
            .stderr(append(LOG)?);
        let process = match &launch.place {
            Some(ns) => ns.spawn(command)?,
            None => Process::spawn(&mut command)
                .map_err(|error| LabError::new(format!("start {command:?}"), error))?,
        };
        Ok(Self { launch, process })
    }

    /// What it was started with.
    #[must_use]
    pub fn launch(&self) -> &Launch {
        &self.launch
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// The process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Waits until `/readyz` says 200.
    ///
    /// # Errors
    /// When it ends before, or is not ready after `patience`: with the end of its log.
    pub fn wait_ready(&mut self, patience: Duration) -> Result<(), LabError> {
        let deadline = Instant::now() + patience;
        loop {
            let last = match self.get("/readyz") {
                Ok(answer) if answer.status == 200 => return Ok(()),
                Ok(answer) => format!("/readyz says {}: {}", answer.status, answer.body.trim()),
                Err(error) => format!("/readyz of {} does not answer: {error}", self.launch.admin),
            };
            let ended = self.process.ended().ok().flatten();
            let why = match ended {
                Some(status) => format!("it ended with {status}"),
                None if Instant::now() >= deadline => format!("after {patience:?} {last}"),
                None => {
                    thread::sleep(Duration::from_millis(10));
                    continue;
                }
            };
            let why = format!("{why}\n{}", self.log_tail());
            return Err(LabError::new("bring the daemon up", why));
        }
    }

    /// Asks the admin address (`/metrics`, `/healthz`, `/readyz`).
    ///
    /// # Errors
    /// When nobody answers.
    pub fn get(&self, path: &str) -> io::Result<Answer> {
        let address = self.launch.admin;
        let ask = || {
            let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            exchange(stream, "GET", path, &address.to_string())
        };
        match &self.launch.place {
            Some(ns) => ns.run(ask).map_err(io::Error::other)?,
            None => ask(),
        }
    }

    /// Asks the admin socket (`/status`, `/reload`, `/drain`).
    ///
    /// # Errors
    /// When nobody answers.
    pub fn admin(&self, method: &str, path: &str) -> io::Result<Answer> {
        let stream = UnixStream::connect(&self.launch.socket)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        exchange(stream, method, path, "admin")
    }

    /// What `GET /status` on the admin socket says.
    ///
    /// # Errors
    /// When nobody answers, or not with 200 and JSON.
    pub fn status(&self) -> io::Result<Value> {
        let answer = self.admin("GET", "/status")?;
        if answer.status != 200 {
            let said = format!("/status says {}: {}", answer.status, answer.body);
            return Err(io::Error::other(said));
        }
        serde_json::from_str(&answer.body).map_err(io::Error::other)
    }

    /// Asks it to drain and stop (SIGTERM) and waits for its end.
    ///
    /// # Errors
    /// When it is gone already or still runs after `patience`.
    pub fn terminate(&mut self, patience: Duration) -> io::Result<ExitStatus> {
        self.process.signal(Signal::SIGTERM)?;
        self.process.wait(patience)
    }

    /// The access log's lines so far, those that are whole.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn access_log(&self) -> io::Result<Vec<Value>> {
        let text = fs::read_to_string(self.launch.logs.join(ACCESS_LOG))?;
        let whole = text
            .rsplit_once('\n')
            .map(|(whole, _)| whole)
            .unwrap_or_default();
        Ok(whole
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect())
    }

    /// The last lines of what it wrote to standard error.
    #[must_use]
    pub fn log_tail(&self) -> String {
        tail(&self.launch.logs.join(LOG))
    }
}

const ACCESS_LOG: &str = "access.jsonl";
const LOG: &str = "daemon.log";

fn tail(log: &Path) -> String {
    const LINES: usize = 30;
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let last = lines
        .get(lines.len().saturating_sub(LINES)..)
        .unwrap_or_default();
    let mut out = format!("--- {}", log.display());
    for line in last {
        out.push_str("\n    ");
        out.push_str(line);
    }
    out
}

/// One request over a connection of its own. Enough for an admin endpoint, whose answers say their length.
fn exchange(
    mut stream: impl Read + Write,
    method: &str,
    path: &str,
    host: &str,
) -> io::Result<Answer> {
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
    )?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let text = String::from_utf8_lossy(&answer);
    let malformed = || io::Error::other(format!("not an HTTP answer: {text:?}"));
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(malformed)?;
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .ok_or_else(malformed)?;
    if head.to_ascii_lowercase().contains("\r\ntransfer-encoding:") {
        return Err(io::Error::other(format!("{path} is answered in chunks")));
    }
    Ok(Answer {
        status,
        body: body.to_owned(),
    })
}
