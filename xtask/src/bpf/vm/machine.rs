//! The emulated machine: what it prints is shown as it comes, and judged at its end.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use super::image::{ENDED, Image};
use super::suite::Run;
use crate::setup::guest::Guest;
use crate::shell::{Failure, Outcome};

/// Boots the kernel with the image and waits until it has switched itself off.
///
/// Emulated (TCG) even where the host could do better: that works without rights, and everywhere alike.
pub(super) fn boot(guest: &Guest, image: &Image, runs: &[Run], limit: Duration) -> Outcome {
    let mut child = Command::new("qemu-system-x86_64")
        .args(["-accel", "tcg,thread=multi", "-cpu", "max"])
        .args(["-smp", "2", "-m", "4G", "-nic", "none"])
        .args(["-nographic", "-no-reboot"])
        .args(["-append", "console=ttyS0 quiet panic=-1"])
        .arg("-kernel")
        .arg(guest.image()?)
        .arg("-initrd")
        .arg(&image.archive)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| Failure::new(format!("qemu-system-x86_64 did not start: {error}")))?;
    let said = watch(&mut child, limit);
    // It has ended, or must.
    let _ended_already = child.kill();
    let _status = child.wait();
    judge(&said?, runs)
}

/// All lines until the end, or the limit.
fn watch(child: &mut Child, limit: Duration) -> Outcome<Vec<String>> {
    let (sender, lines) = mpsc::channel();
    if let Some(output) = child.stdout.take() {
        thread::spawn(move || {
            for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).trim_end().to_owned();
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
    }
    let end = Instant::now() + limit;
    let mut said = Vec::new();
    loop {
        match lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                println!("  {line}");
                said.push(line);
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => return Ok(said),
            Err(mpsc::RecvTimeoutError::Timeout) => {
                return Err(Failure::new(format!(
                    "the machine was still running after {limit:?}, and was ended"
                )));
            }
        }
    }
}

/// Each suite must have said that it passed, and that it ran a test.
fn judge(said: &[String], runs: &[Run]) -> Outcome {
    let mut wrong = Vec::new();
    let mut rest = said;
    for run in runs {
        let passed = format!("{ENDED} {} 0", run.name);
        let Some(end) = rest.iter().position(|line| *line == passed) else {
            wrong.push(format!("{} did not pass", run.name));
            continue;
        };
        let (lines, after) = rest.split_at(end);
        if !run.may_be_empty && !lines.iter().any(|line| ran_some(line)) {
            wrong.push(format!("{} ran no test", run.name));
        }
        rest = after;
    }
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(Failure::new(wrong.join(", ")))
    }
}

/// `test result: ok. 12 passed; …`
fn ran_some(line: &str) -> bool {
    line.strip_prefix("test result: ok. ")
        .and_then(|rest| rest.split(' ').next())
        .is_some_and(|count| count != "0")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(said: &[&str]) -> Option<String> {
        let run = |name| Run {
            name,
            binary: "/bin/true".into(),
            arguments: Vec::new(),
            may_be_empty: false,
        };
        let said: Vec<String> = said.iter().map(|&line| line.to_owned()).collect();
        judge(&said, &[run("datapath"), run("e2e")])
            .err()
            .map(|failure| failure.to_string())
    }

    #[test]
    fn a_machine_passes_when_each_suite_says_so_and_ran_a_test() {
        let some = "test result: ok. 7 passed; 0 failed; 0 ignored";
        let none = "test result: ok. 0 passed; 0 failed; 0 ignored";
        let ended = ["suite ended: datapath 0", "suite ended: e2e 0"];
        assert_eq!(judged(&[some, ended[0], some, ended[1]]), None);
        assert_eq!(
            judged(&[some, ended[0], none, ended[1]]).as_deref(),
            Some("e2e ran no test")
        );
        assert_eq!(
            judged(&[some, ended[0], some, "suite ended: e2e 101"]).as_deref(),
            Some("e2e did not pass")
        );
        assert_eq!(
            judged(&["Kernel panic - not syncing"]).as_deref(),
            Some("datapath did not pass, e2e did not pass")
        );
    }
}
