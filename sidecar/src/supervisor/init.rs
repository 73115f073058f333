//! Process 1 of a container after an upgrade: it waits for those who came after it, and hands signals on.

use std::fs;
use std::io;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, getpid, kill_process, wait};
use tokio::signal::unix::{SignalKind, signal};

/// Whether this process is the first of its container, or of the host.
#[must_use]
pub fn is_first() -> bool {
    getpid().is_init()
}

/// Waits until no process is left that this one has started or inherited; the exit code of the last one. SIGTERM, SIGINT and
/// SIGHUP go to all of them.
///
/// # Errors
///
/// The system does not let signals be heard.
pub async fn stay() -> io::Result<u8> {
    let mut child = signal(SignalKind::child())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let mut last = 0;
    let mut ending = None;
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
            _ = terminate.recv() => Signal::TERM,
            _ = interrupt.recv() => Signal::INT,
            _ = hangup.recv() => Signal::HUP,
        };
        if signal != Signal::HUP {
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

fn hand_on(signal: Signal) {
    for pid in children() {
        if let Err(error) = kill_process(pid, signal) {
            tracing::debug!(%error, ?pid, "a signal was not handed on");
        }
    }
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
