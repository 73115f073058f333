//! Process 1 of a container after an upgrade: it waits for those who came after it, and hands signals on.

use std::fs;
use std::io;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, getpid, kill_process, wait};
use tokio::signal::unix::{SignalKind, signal};

use super::signals::{Signals, is_end};

/// Whether this process is the first of its container, or of the host.
#[must_use]
pub fn is_first() -> bool {
    getpid().is_init()
}

/// Waits until no process is left that this one has started or inherited; the exit code of the last one. SIGTERM, SIGINT and
/// SIGHUP go to all of them. `ending`: what was [handed on](hand_on) already.
///
/// # Errors
///
/// The system does not let signals be heard.
pub async fn stay(mut signals: Signals, mut ending: Option<Signal>) -> io::Result<u8> {
    let mut child = signal(SignalKind::child())?;
    let mut last = 0;
    loop {
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some((_, status))) => {
                    last = code(status);
                    // What a child leaves behind was not there when the signal came.
                    if let Some(signal) = ending {
                        hand_on(signal);
                    }
                }
                Ok(None) => break,
                Err(Errno::INTR) => {}
                Err(Errno::CHILD) => return Ok(last),
                Err(error) => return Err(error.into()),
            }
        }
        let signal = tokio::select! {
            _ = child.recv() => continue,
            signal = signals.next() => signal,
        };
        if is_end(signal) {
            ending = Some(signal);
        }
        hand_on(signal);
    }
}

/// As a shell has it: 128 and the signal's number for who was killed.
fn code(status: WaitStatus) -> u8 {
    let code = match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => code,
        (None, Some(signal)) => 128 + signal,
        (None, None) => 1,
    };
    u8::try_from(code).unwrap_or(1)
}

/// Sends a signal to all processes that this one has started or inherited; whether there is any.
pub fn hand_on(signal: Signal) -> bool {
    let children = children();
    for &pid in &children {
        if let Err(error) = kill_process(pid, signal) {
            tracing::debug!(%error, ?pid, "a signal was not handed on");
        }
    }
    !children.is_empty()
}

/// The processes whose parent is this one.
fn children() -> Vec<Pid> {
    let own = getpid().as_raw_nonzero().get();
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let of_ours = |entry: fs::DirEntry| {
        let pid = entry.file_name().to_str()?.parse::<i32>().ok()?;
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        (parent(&stat)? == own).then(|| Pid::from_raw(pid))?
    };
    entries.flatten().filter_map(of_ours).collect()
}

/// The parent in a line of /proc/PID/stat; the second field, a name in brackets, may hold anything (proc_pid_stat(5)).
fn parent(stat: &str) -> Option<i32> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parent_is_found_behind_any_name() {
        assert_eq!(parent("7 (toll) gate 9) S 3 7 7 0"), Some(3));
        assert_eq!(parent("7 (x"), None);
        assert_eq!(parent(""), None);
    }
}
