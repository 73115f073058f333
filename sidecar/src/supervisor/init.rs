//! Process 1 of a container after an upgrade: it waits for those who came after it, and hands signals on.

use std::collections::HashSet;
use std::ffi::CStr;
use std::fs;
use std::io;

use nix::errno::Errno;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use rustix::process::{Pid, Signal, getpid, kill_process};
use tokio::signal::unix::{SignalKind, signal};

use super::signals::{Signals, is_end};

/// The name of a process that does for a daemon what wants rights (`comm`, proc(5)).
pub const PRIVILEGED: &CStr = c"tollgate-priv";

/// Whether this process is the first of its container, or of the host.
#[must_use]
pub fn is_first() -> bool {
    getpid().is_init()
}

/// A signal that asked for the end, and who has heard of it: who hears twice ends at once.
#[derive(Debug)]
pub struct HandedOn {
    signal: Signal,
    to: HashSet<Pid>,
}

/// Sends a signal to all processes that this one has started or inherited; `None`: there is none.
pub fn hand_on(signal: Signal) -> Option<HandedOn> {
    let mut handed_on = HandedOn {
        signal,
        to: HashSet::new(),
    };
    handed_on.tell_those_who_came();
    (!handed_on.to.is_empty()).then_some(handed_on)
}

impl HandedOn {
    /// Whether it asked for the end.
    #[must_use]
    pub fn is_end(&self) -> bool {
        is_end(self.signal)
    }

    /// Sends it to children that have not heard of it.
    fn tell_those_who_came(&mut self) {
        for pid in children() {
            if self.to.insert(pid)
                && let Err(error) = kill_process(pid, self.signal)
            {
                tracing::debug!(%error, ?pid, "a signal was not handed on");
            }
        }
    }
}

/// Waits until no process is left that this one has started or inherited; the exit code of the last daemon. SIGTERM, SIGINT and
/// SIGHUP go to all of them. `ending`: what was [handed on](hand_on) already.
///
/// # Errors
///
/// The system does not let signals be heard.
pub async fn stay(mut signals: Signals, mut ending: Option<HandedOn>) -> io::Result<u8> {
    let mut child = signal(SignalKind::child())?;
    let mut last = 0;
    loop {
        loop {
            match next_that_ended() {
                Ok(Some((is_daemon, code))) => {
                    if is_daemon {
                        last = code;
                    }
                    // What a child leaves behind was not there when the signal came.
                    if let Some(ending) = &mut ending {
                        ending.tell_those_who_came();
                    }
                }
                Ok(None) => break,
                Err(Errno::EINTR) => {}
                Err(Errno::ECHILD) => return Ok(last),
                Err(error) => return Err(error.into()),
            }
        }
        let signal = tokio::select! {
            _ = child.recv() => continue,
            signal = signals.next() => signal,
        };
        let handed_on = hand_on(signal);
        ending = handed_on.filter(HandedOn::is_end).or(ending);
    }
}

/// A child that has ended: whether it is a daemon, and its code as a shell has it, 128 and the signal's number for who was killed. How a
/// daemon ended says nothing of what others did for it, who may outlive it.
fn next_that_ended() -> nix::Result<Option<(bool, u8)>> {
    let peek = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    let Some(pid) = waitid(Id::All, peek)?.pid() else {
        return Ok(None);
    };
    // Its name is there as long as nobody has waited for it.
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    let is_daemon = name.trim_end().as_bytes() != PRIVILEGED.to_bytes();
    let code = match waitpid(pid, None)? {
        WaitStatus::Exited(_, code) => code,
        WaitStatus::Signaled(_, signal, _) => 128 + signal as i32,
        _ => 1,
    };
    Ok(Some((is_daemon, u8::try_from(code).unwrap_or(1))))
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
