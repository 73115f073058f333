//! `tollgate demo`, as someone meets it for the first time.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tollgate_tests::gate::{binary, eventually, require_rights, tollgate};

#[test]
fn once_goes_as_stated() {
    require_rights();
    let output = tollgate(None, &["demo", "--once"]);
    let transcript = assert_as_stated(&output);
    for step in [
        "over IPv6",
        "over HTTP/1.1",
        "over both hosts",
        "XDP native",
        "drains and stops",
    ] {
        assert!(
            transcript.contains(step),
            "`{step}` is not shown:\n{transcript}"
        );
    }
}

#[test]
fn once_without_rights_runs_the_sidecar_alone_and_says_so() {
    let output = Command::new("setpriv")
        .args([
            "--bounding-set=-all",
            "--inh-caps=-all",
            "--ambient-caps=-all",
            "--",
        ])
        .arg(binary())
        .args(["demo", "--once"])
        .output()
        .expect("setpriv (util-linux)");
    let transcript = assert_as_stated(&output);
    assert!(
        transcript.contains("lacks CAP_NET_ADMIN, CAP_SYS_ADMIN, CAP_BPF"),
        "{transcript}"
    );
    assert!(!transcript.contains("XDP"), "{transcript}");
}

#[test]
fn its_curl_lines_work_when_pasted() {
    require_rights();
    let mut demo = Demo::start();
    let expected = [
        ("a good token", "\"x-user-id\",\"alice\""),
        ("no token", "token_missing"),
        ("expired", "token_expired"),
        ("forged", "signature_invalid"),
        ("no scope", "scope_insufficient"),
        ("a forged header", "\"path\":\"/ping\""),
        ("over IPv6", "\"x-user-id\",\"alice\""),
        ("the database", "db-"),
        ("what the daemon says", "203.0.113.20:5432/tcp"),
    ];
    let pasted: Vec<(String, String)> = demo.lines_to_paste();
    assert_eq!(pasted.len(), expected.len(), "{pasted:#?}");
    for ((title, line), (start, answer)) in pasted.iter().zip(expected) {
        assert!(
            title.starts_with(start),
            "`{title}` stands where `{start}` should"
        );
        let output = Command::new("bash").args(["-c", line]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains(answer), "{title}: {line}\n{said}\n{output:?}");
        assert!(!said.contains("root"), "a forged value arrived: {said}");
    }
    let directory = demo.directory.clone();
    kill(demo.pid(), Signal::SIGINT).unwrap();
    let status = demo.child.wait().unwrap();
    assert!(status.success(), "{status}");
    assert!(
        !Path::new(&directory).exists(),
        "{directory} is left behind"
    );
}

#[test]
fn killed_it_takes_its_daemon_along() {
    require_rights();
    let mut demo = Demo::start();
    let _lines = demo.lines_to_paste();
    let daemon = children(demo.pid());
    assert!(!daemon.is_empty(), "no daemon runs below the demo");
    kill(demo.pid(), Signal::SIGKILL).unwrap();
    demo.child.wait().unwrap();
    eventually("the daemon's end", || {
        let alive: Vec<&Pid> = daemon
            .iter()
            .filter(|pid| kill(**pid, None).is_ok())
            .collect();
        if alive.is_empty() {
            Ok(())
        } else {
            Err(format!("still there: {alive:?}"))
        }
    });
    // What a killed process cannot remove: its temporary directory.
    std::fs::remove_dir_all(&demo.directory).unwrap();
}

fn assert_as_stated(output: &Output) -> String {
    let transcript = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{}\n{transcript}\n{errors}",
        output.status
    );
    assert!(!transcript.contains('✗'), "{transcript}");
    assert!(transcript.matches('✓').count() > 8, "{transcript}");
    assert!(
        transcript.trim_end().ends_with("nothing is left behind."),
        "{transcript}"
    );
    let config = config_path(&transcript);
    assert!(!Path::new(&config).exists(), "{config} is left behind");
    transcript
}

fn config_path(transcript: &str) -> String {
    let mut lines = transcript.lines();
    let line = lines.find_map(|line| line.trim().strip_prefix("configuration: "));
    line.unwrap_or_else(|| panic!("no configuration is named:\n{transcript}"))
        .to_owned()
}

/// A demo that stays up.
struct Demo {
    child: Child,
    directory: String,
    output: BufReader<std::process::ChildStdout>,
}

impl Demo {
    fn start() -> Self {
        let mut child = Command::new(binary())
            .arg("demo")
            .stdout(Stdio::piped())
            .spawn()
            .expect("the demo");
        let output = BufReader::new(child.stdout.take().unwrap());
        Self {
            child,
            directory: String::new(),
            output,
        }
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap())
    }

    /// Titles and command lines.
    fn lines_to_paste(&mut self) -> Vec<(String, String)> {
        let mut pasted = Vec::new();
        let mut title = None;
        let mut said = String::new();
        loop {
            let mut line = String::new();
            let length = self.output.read_line(&mut line).unwrap();
            assert!(length > 0, "it ended early:\n{said}");
            said.push_str(&line);
            let line = line.trim();
            if let Some(config) = line.strip_prefix("configuration: ") {
                self.directory = config.rsplit_once('/').unwrap().0.to_owned();
            } else if let Some(text) = line.strip_prefix("# ") {
                title = Some(text.to_owned());
            } else if let Some(title) = title.take() {
                pasted.push((title, line.to_owned()));
            } else if line.starts_with("ctrl-C") {
                return pasted;
            }
        }
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The children of a process, whichever of its threads started them.
fn children(of: Pid) -> Vec<Pid> {
    let tasks = std::fs::read_dir(format!("/proc/{of}/task")).unwrap();
    let lists = tasks
        .flatten()
        .filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
    let text: Vec<String> = lists.collect();
    let pids = text.iter().flat_map(|list| list.split_whitespace());
    pids.map(|pid| Pid::from_raw(pid.parse().unwrap()))
        .collect()
}
