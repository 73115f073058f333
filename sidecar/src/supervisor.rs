//! Whoever watches this process: systemd, or another that speaks sd_notify(3). It is told what becomes of the daemon, and
//! keeps its listening sockets while none runs (FileDescriptorStoreMax=, systemd.service(5)).
//!
//! The first process of a container is a supervisor of its own: when it ends, so does the container. Such a daemon stays when
//! another has taken over ([`init`]).
//!
//! Nothing here fails a daemon: one that nobody watches runs as well.

pub mod init;
pub mod signals;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::{Path, PathBuf};

use listenfd::ListenFd;
use sd_notify::NotifyState;

/// What names of kept sockets begin with.
const PREFIX: &str = "listener.";
/// Descriptors that go with one message; the kernel takes 253 (SCM_MAX_FD).
const BATCH: usize = 64;

/// The sockets that a supervisor has kept, by the listener's name.
pub type Kept = Vec<(String, TcpListener)>;

/// Takes the sockets that the supervisor has kept, or opened: by `LISTEN_FDS` and `LISTEN_FDNAMES` (sd_listen_fds(3)). To be
/// called once, before there is any thread: it takes the variables out of the environment.
#[must_use]
pub fn kept() -> Kept {
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut given = ListenFd::from_env();
    let mut names = names.split(':');
    let mut kept = Kept::new();
    for index in 0..given.len() {
        let name = names.next().unwrap_or_default();
        let Some(name) = name.strip_prefix(PREFIX) else {
            continue;
        };
        match given.take_tcp_listener(index) {
            Ok(Some(socket)) => kept.push((name.to_owned(), socket)),
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(listener = name, %error, "a socket that was kept is of no use");
            }
        }
    }
    kept
}

/// Whether somebody is told.
#[must_use]
pub fn is_there() -> bool {
    std::env::var_os("NOTIFY_SOCKET").is_some_and(|path| !path.is_empty())
}

/// Whether it says that it keeps sockets: systemd does from version 254 on.
#[must_use]
pub fn keeps() -> bool {
    let most = std::env::var("FDSTORE").ok();
    is_there()
        && most
            .and_then(|most| most.parse::<u32>().ok())
            .is_some_and(|most| most > 0)
}

/// The daemon serves.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// The daemon drains, and will end.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// A reload or an upgrade has begun; [`ready`] or [`succeeded_by`] follows.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::debug!(%error, "the supervisor is not told of a reload"),
    }
}

/// Another process is the daemon from here on, and serves. In one message: of this process the supervisor hears no more.
pub fn succeeded_by(pid: u32) {
    tell(&[NotifyState::MainPid(pid), NotifyState::Ready]);
}

/// Gives the supervisor a listener's sockets to keep. Those that it has already stay once.
pub fn keep(listener: &str, sockets: &[TcpListener]) {
    if !is_there() {
        return;
    }
    let name = format!("{PREFIX}{listener}");
    for batch in sockets.chunks(BATCH) {
        let fds: Vec<BorrowedFd<'_>> = batch.iter().map(|socket| socket.as_fd()).collect();
        let state = [NotifyState::FdStore, NotifyState::FdName(&name)];
        if let Err(error) = sd_notify::notify_with_fds(&state, &fds) {
            tracing::warn!(listener, %error, "the supervisor was not given the sockets; a restart refuses connections meanwhile");
        }
    }
}

/// Lets the supervisor close what it keeps of a listener that is gone.
pub fn release(listener: &str) {
    let name = format!("{PREFIX}{listener}");
    tell(&[NotifyState::FdStoreRemove, NotifyState::FdName(&name)]);
}

/// By listener, those kept sockets that none of `wanted` has: they are let go.
pub fn release_others<'n>(kept: &Kept, wanted: impl Iterator<Item = &'n str>) {
    let mut others: BTreeMap<&str, ()> = kept.iter().map(|(name, _)| (&**name, ())).collect();
    for name in wanted {
        others.remove(name);
    }
    for name in others.into_keys() {
        release(name);
    }
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "the supervisor was not told");
    }
}

/// Where this program was started from, before links are followed: what stands there later is the next version of it. `None`:
/// it cannot be found again.
///
/// Only what is the file that runs now is taken: the name that a program was started by may be anything.
#[must_use]
pub fn own_binary() -> Option<PathBuf> {
    let running = Path::new("/proc/self/exe");
    let named = std::env::args_os().next()?;
    let candidates = candidates(&named);
    let is_running = |path: &PathBuf| is_same_file(path, running).unwrap_or(false);
    candidates
        .into_iter()
        .find(is_running)
        .or_else(|| std::env::current_exe().ok())
}

fn candidates(named: &OsStr) -> Vec<PathBuf> {
    if named.as_encoded_bytes().contains(&b'/') {
        return std::path::absolute(named).into_iter().collect();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(named))
        .collect()
}

fn is_same_file(one: &Path, other: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt as _;
    let (one, other) = (std::fs::metadata(one)?, std::fs::metadata(other)?);
    Ok((one.dev(), one.ino()) == (other.dev(), other.ino()))
}
