//! The daemon as process 1 of a container: it stays for those who came after it, and ends as the last of them did.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tollgate::demo::lab::{Process, in_path, tethered};
use tollgate_tests::gate::{binary, eventually, tollgate};

/// How long an answer, or an end, may take.
const PATIENCE: Duration = Duration::from_secs(15);

fn children(of: Pid) -> Vec<Pid> {
    let children = fs::read_to_string(format!("/proc/{of}/task/{of}/children")).unwrap();
    let pids = children.split_whitespace();
    pids.map(|pid| Pid::from_raw(pid.parse().unwrap()))
        .collect()
}

/// A daemon that is the first process of a container.
struct Container {
    directory: tempfile::TempDir,
    process: Process,
}

impl Container {
    fn start(upstream: SocketAddr) -> Self {
        tollgate_tests::gate::require_rights();
        let directory = tempfile::tempdir().unwrap();
        let config = directory.path().join("tollgate.yaml");
        let text = format!(
            "version: 1\nadmin: {{ socket: \"{}\" }}\nlisteners:\n  edge:\n    listen: \"127.0.0.1:0\"\n    plaintext: true\n    routes:\n      - {{ name: all, match: {{ path: / }}, token: none, upstream: api }}\nupstreams:\n  api: {{ endpoints: [\"{upstream}\"], protocol: http1 }}\n",
            directory.path().join("admin.sock").display()
        );
        fs::write(&config, text).unwrap();
        let log = fs::File::create(directory.path().join("daemon.log")).unwrap();
        let mut command = tethered(&in_path("unshare").expect("util-linux"));
        command
            .args(["--pid", "--fork", "--kill-child", "--mount-proc"])
            .arg(binary())
            .args(["run", "--config"])
            .arg(&config)
            .stdin(std::process::Stdio::null())
            .stderr(log);
        let process = Process::spawn(&mut command).unwrap();
        let this = Self { directory, process };
        eventually("the first daemon", || match this.pid()? {
            1 => Ok(()),
            other => Err(format!("process {other}")),
        });
        this
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("admin.sock")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("daemon.log")).unwrap()
    }

    fn status(&self) -> Result<Value, String> {
        let socket = self.socket();
        let output = tollgate(
            None,
            &["status", "--json", "--admin", socket.to_str().unwrap()],
        );
        serde_json::from_slice(&output.stdout).map_err(|error| format!("{error}: {output:?}"))
    }

    /// The daemon that serves, as the container numbers it.
    fn pid(&self) -> Result<u64, String> {
        let status = self.status()?;
        status["pid"].as_u64().ok_or_else(|| format!("{status}"))
    }

    fn upgrade(&self) {
        let socket = self.socket();
        let output = tollgate(None, &["upgrade", "--admin", socket.to_str().unwrap()]);
        assert!(output.status.success(), "{output:?}\n{}", self.log());
    }

    /// Asks for an upgrade, and hangs up as soon as it has begun.
    fn upgrade_and_hang_up(&self) {
        let begun = || self.log().matches("upgrading").count();
        let before = begun();
        let mut stream = std::os::unix::net::UnixStream::connect(self.socket()).unwrap();
        stream
            .write_all(b"POST /upgrade HTTP/1.1\r\nhost: tollgate\r\ncontent-length: 0\r\n\r\n")
            .unwrap();
        eventually("an upgrade", || match begun() {
            now if now > before => Ok(()),
            _ => Err(self.log()),
        });
    }

    fn terminate(&self) {
        kill(self.first(), Signal::SIGTERM).unwrap();
    }

    /// Process 1, as it is numbered outside.
    fn first(&self) -> Pid {
        let outer = i32::try_from(self.process.id()).unwrap();
        children(Pid::from_raw(outer))[0]
    }
}

/// The first process of a container ends with the last daemon, not with itself.
#[test]
fn process_1_stays_for_those_who_came_after_it() {
    let mut container = Container::start(SocketAddr::from(([127, 0, 0, 1], 9)));
    let mut pids = vec![1];
    // Whoever is upgraded to ends as well when it is upgraded from, and leaves its successor to process 1.
    for is_heard in [false, true, false] {
        if is_heard {
            container.upgrade();
        } else {
            container.upgrade_and_hang_up();
        }
        let before = pids.last().copied();
        pids.push(eventually("the next daemon", || match container.pid()? {
            pid if Some(pid) == before => Err(format!("process {pid}")),
            pid => Ok(pid),
        }));
    }
    assert!(container.process.ended().unwrap().is_none());
    container.terminate();
    let status = container.process.wait(PATIENCE).unwrap();
    assert!(status.success(), "{status}");
    assert!(
        !container.socket().exists(),
        "the daemon did not end by itself"
    );
}

/// Process 1 still has a request when it is told to end: the daemon that took over hears of it, and both finish.
#[test]
fn process_1_hands_signals_on_while_it_drains() {
    let upstream = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut container = Container::start(upstream.local_addr().unwrap());
    let status = container.status().unwrap();
    let address = &status["listeners"][0]["address"];
    let address: SocketAddr = address.as_str().unwrap().parse().unwrap();
    let mut client = TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client
        .write_all(b"GET / HTTP/1.1\r\nhost: a.example\r\nconnection: close\r\n\r\n")
        .unwrap();
    let (mut held, _) = upstream.accept().unwrap();
    container.upgrade();
    eventually("the next daemon", || match container.pid()? {
        1 => Err("process 1".to_owned()),
        _ => Ok(()),
    });
    container.terminate();
    eventually("the next daemon's end", || {
        if container.socket().exists() {
            Err(container.log())
        } else {
            Ok(())
        }
    });
    assert!(container.process.ended().unwrap().is_none());
    held.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nkept")
        .unwrap();
    let mut text = String::new();
    client.read_to_string(&mut text).unwrap();
    assert!(text.ends_with("kept"), "{text:?}\n{}", container.log());
    let status = container.process.wait(PATIENCE).unwrap();
    assert!(status.success(), "{status}\n{}", container.log());
}

/// Who watches the container is to know of a death, whoever else ends after it.
#[test]
fn process_1_ends_as_the_daemon_did_not_as_who_worked_for_it() {
    let mut container = Container::start(SocketAddr::from(([127, 0, 0, 1], 9)));
    container.upgrade();
    let first = container.first();
    let serving = eventually("the next daemon", || match container.pid()? {
        1 => Err("process 1".to_owned()),
        pid => Ok(pid),
    });
    // Nobody else is a child of the first process when the next one serves.
    let next = eventually("the next daemon to be its child", || {
        match children(first)[..] {
            [one] => Ok(one),
            ref others => Err(format!("{others:?}, serving {serving}")),
        }
    });
    kill(next, Signal::SIGKILL).unwrap();
    let status = container.process.wait(PATIENCE).unwrap();
    assert_eq!(
        status.code(),
        Some(128 + 9),
        "{status}\n{}",
        container.log()
    );
}
