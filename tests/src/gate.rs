//! The real binary, started, watched, signalled.

use std::fmt::Display;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;
use tollgate::demo::daemon::{Daemon, Launch};
use tollgate::demo::lab::{Host, Netns, missing_rights, tethered};

/// How long anything may take that is expected to happen. Far above what it takes, so that a busy machine fails nothing.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A daemon on a host of a lab: its configuration is `tollgate.yaml` in this folder, where its socket and its log are too.
#[must_use]
pub fn launch_on(host: &Host, folder: &Path) -> Launch {
    Launch {
        binary: binary(),
        config: folder.join("tollgate.yaml"),
        admin: SocketAddr::from(([127, 0, 0, 1], 9901)),
        socket: folder.join("admin.sock"),
        logs: folder.to_owned(),
        place: Some(Arc::clone(&host.ns)),
        env: Vec::new(),
    }
}

/// A folder for a daemon that needs rights, gone with the value.
///
/// # Panics
/// Without the rights.
#[must_use]
pub fn folder(what: &str) -> TempDir {
    require_rights();
    tempfile::Builder::new()
        .prefix(&format!("tollgate-{what}-"))
        .tempdir()
        .expect("a temporary folder")
}

/// A running `tollgate run`; every method panics, with the daemon's log, when it does not get what it asks for.
#[derive(Debug)]
pub struct Gate {
    daemon: Daemon,
}

impl Gate {
    /// Starts it and waits until it is ready.
    #[must_use]
    pub fn start(launch: Launch) -> Self {
        let mut daemon = Daemon::start(launch).unwrap_or_else(|error| panic!("{error}"));
        daemon
            .wait_ready(PATIENCE)
            .unwrap_or_else(|error| panic!("{error}"));
        Self { daemon }
    }

    /// The daemon itself, for what may fail.
    pub fn daemon(&mut self) -> &mut Daemon {
        &mut self.daemon
    }

    /// `GET /status` on the admin socket.
    #[must_use]
    pub fn status(&self) -> Value {
        let status = self.daemon.status();
        status.unwrap_or_else(|error| panic!("no status: {error}\n{}", self.daemon.log_tail()))
    }

    /// One service of the datapath as the status has it.
    #[must_use]
    pub fn service(&self, name: &str) -> Value {
        let status = self.status();
        let services = status["datapath"]["services"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let found = services.into_iter().find(|service| service["name"] == name);
        found.unwrap_or_else(|| panic!("the status knows no service `{name}`: {status:#}"))
    }

    /// The sum of all samples of a metric that carry these labels; 0 if there is none.
    #[must_use]
    pub fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let answer = self.daemon.get("/metrics");
        let answer = answer.unwrap_or_else(|error| panic!("no metrics: {error}"));
        assert_eq!(answer.status, 200, "/metrics: {}", answer.body);
        let wanted: Vec<String> = labels
            .iter()
            .map(|(label, value)| format!("{label}=\"{value}\""))
            .collect();
        let samples = answer.body.lines().filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            let (metric, labels) = series.split_once('{').unwrap_or((series, ""));
            let matches = metric == name && wanted.iter().all(|label| labels.contains(label));
            matches.then(|| value.parse::<f64>().ok()).flatten()
        });
        samples.sum()
    }

    /// Waits for the access log line that `wanted` accepts.
    #[must_use]
    pub fn access_log_line(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        eventually(&format!("an access log line: {what}"), || {
            let lines = self
                .daemon
                .access_log()
                .map_err(|error| error.to_string())?;
            let found = lines.iter().find(|line| wanted(line)).cloned();
            found.ok_or_else(|| format!("{lines:#?}"))
        })
    }

    /// SIGHUP, and waits until the new configuration is in force.
    pub fn reload(&self) {
        let reloads = |status: &Value| status["configuration"]["reloads"].as_u64();
        let before = reloads(&self.status());
        self.signal(Signal::SIGHUP);
        eventually("a reload", || {
            let status = self.status();
            match &status["configuration"]["last_error"] {
                Value::Null if reloads(&status) > before => Ok(()),
                error => Err(format!(
                    "reloads {:?}, last error {error}",
                    reloads(&status)
                )),
            }
        });
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.id()).expect("a process id");
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal)
            .unwrap_or_else(|error| panic!("{signal}: {error}\n{}", self.daemon.log_tail()));
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.daemon.id()
    }

    /// SIGKILL: gone when this returns, and who worked for it too, who has its sockets until then.
    pub fn kill(mut self) {
        let id = self.id();
        let children = format!("/proc/{id}/task/{id}/children");
        let children = std::fs::read_to_string(children).unwrap_or_default();
        self.signal(Signal::SIGKILL);
        self.wait();
        for child in children.split_whitespace() {
            let stat = format!("/proc/{child}/stat");
            eventually(
                "the end of a killed daemon",
                || match std::fs::read_to_string(&stat) {
                    Ok(stat) if !stat.contains(") Z ") => Err(stat),
                    _ => Ok(()),
                },
            );
        }
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        let ended = self.daemon.process().wait(PATIENCE);
        ended.unwrap_or_else(|error| panic!("{error}\n{}", self.daemon.log_tail()))
    }
}

/// Where the binary under test is: `TOLLGATE_BIN`, or beside the test's own target directory.
#[must_use]
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("TOLLGATE_BIN") {
        let path = PathBuf::from(path);
        assert!(
            path.is_file(),
            "TOLLGATE_BIN names no file: {}",
            path.display()
        );
        return path;
    }
    // target/debug/deps/e2e-HASH → target/debug/tollgate
    let this = std::env::current_exe().expect("the test's own path");
    let beside = this
        .parent()
        .and_then(Path::parent)
        .map(|target| target.join("tollgate"));
    match beside {
        Some(path) if path.is_file() => path,
        _ => panic!(
            "no `tollgate` binary beside {}: build it (cargo build -p tollgate), or name one in TOLLGATE_BIN",
            this.display(),
        ),
    }
}

/// Runs the binary with arguments to its end, in a namespace or here.
#[must_use]
pub fn tollgate(place: Option<&Netns>, arguments: &[&str]) -> Output {
    let binary = binary();
    let run = || {
        let mut command = Command::new(&binary);
        command.args(arguments).stdin(Stdio::null()).output()
    };
    let output = match place {
        Some(ns) => ns.run(run).unwrap_or_else(|error| panic!("{error}")),
        None => run(),
    };
    output.unwrap_or_else(|error| panic!("{} {arguments:?}: {error}", binary.display()))
}

/// Runs a program in a namespace to its end and gives what it printed; panics if it fails.
#[must_use]
pub fn printed(ns: &Netns, program: &str, arguments: &[&str]) -> String {
    let path = tollgate::demo::lab::in_path(program)
        .unwrap_or_else(|| panic!("`{program}` is not installed: cargo xtask setup --with e2e"));
    let mut command = tethered(&path);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let process = ns.spawn(command).unwrap_or_else(|error| panic!("{error}"));
    let output = process
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {}\n{}{}",
        output.status,
        text(&output.stdout),
        text(&output.stderr),
    );
    text(&output.stdout)
}

/// Fails the test, saying what is missing, when it may not load programs and make namespaces.
pub fn require_rights() {
    if let Some(missing) = missing_rights() {
        panic!(
            "this test makes network namespaces and loads BPF programs; it lacks {missing}. \
             What needs no rights: cargo xtask test --unprivileged"
        );
    }
}

/// The text of `tests/fixtures/configs/NAME`, with every `@KEY@` replaced.
#[must_use]
pub fn configuration(name: &str, values: &[(&str, &dyn Display)]) -> String {
    let path = fixture(&format!("configs/{name}"));
    let mut text = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    for (key, value) in values {
        let key = format!("@{key}@");
        assert!(text.contains(&key), "{} has no {key}", path.display());
        text = text.replace(&key, &value.to_string());
    }
    text
}

/// A file below `tests/fixtures`.
#[must_use]
pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures")
        .join(name)
}

/// Waits until `check` succeeds; panics with its last complaint when [`PATIENCE`] ends.
pub fn eventually<T, E: Display>(what: &str, mut check: impl FnMut() -> Result<T, E>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match check() {
            Ok(value) => return value,
            Err(why) => assert!(
                Instant::now() < deadline,
                "waited {PATIENCE:?} for {what}: {why}"
            ),
        }
        thread::sleep(Duration::from_millis(5));
    }
}
