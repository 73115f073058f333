//! A daemon under a supervisor that does what systemd does for it: hears sd_notify(3), follows `MAINPID`, keeps sockets
//! (`FDSTORE`) and gives them to the next start (`LISTEN_FDS`).

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use command_fds::{CommandFdExt as _, FdMapping};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::cmsg_space;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use tollgate::demo::lab::{Netns, Process, in_path, tethered};

use crate::gate::eventually;

/// Descriptors that come with one message.
const BATCH: usize = 64;

#[derive(Debug, Default)]
struct Heard {
    main: Option<u32>,
    ready: u64,
    stopping: u64,
    store: Vec<(String, u64, OwnedFd)>,
}

/// The supervisor, and the daemon of the moment. Dropping it kills the daemon.
#[derive(Debug)]
pub struct Supervisor {
    folder: PathBuf,
    config: PathBuf,
    place: Option<Arc<Netns>>,
    keeps: bool,
    process: Option<Process>,
    /// Those that were started before, and may drain still.
    before: Vec<Process>,
    heard: Arc<Mutex<Heard>>,
    ended: Arc<AtomicBool>,
    hearing: Option<JoinHandle<()>>,
}

impl Supervisor {
    /// One for the daemon of a configuration; its logs go to `folder`. `keeps`: sockets, for the next start.
    #[must_use]
    pub fn new(folder: &Path, config: &Path, place: Option<Arc<Netns>>, keeps: bool) -> Self {
        let place_to_tell = folder.join("notify");
        let socket = UnixDatagram::bind(&place_to_tell).unwrap();
        // As systemd's: whoever the daemon runs as may tell.
        fs::set_permissions(&place_to_tell, fs::Permissions::from_mode(0o777)).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_millis(100)))
            .unwrap();
        let heard = Arc::new(Mutex::new(Heard::default()));
        let ended = Arc::new(AtomicBool::new(false));
        let (into, end) = (Arc::clone(&heard), Arc::clone(&ended));
        let hearing = std::thread::spawn(move || {
            while !end.load(Ordering::Relaxed) {
                hear(&socket, &into);
            }
        });
        Self {
            folder: folder.to_owned(),
            config: config.to_owned(),
            place,
            keeps,
            process: None,
            before: Vec::new(),
            heard,
            ended,
            hearing: Some(hearing),
        }
    }

    /// Starts a binary and waits until it says that it is ready.
    pub fn start(&mut self, binary: &Path) {
        let append = |name: &str| {
            let path = self.folder.join(name);
            File::options()
                .create(true)
                .append(true)
                .open(path)
                .unwrap()
        };
        let mut command = tethered(&in_path("sh").expect("a shell"));
        command
            // The process itself must be named, and nobody knows its number before.
            .args(["-c", "LISTEN_PID=$$ exec \"$0\" \"$@\""])
            .arg(binary)
            .args(["run", "--config"])
            .arg(&self.config)
            .env("NOTIFY_SOCKET", self.folder.join("notify"))
            .stdin(Stdio::null())
            .stdout(append("access.jsonl"))
            .stderr(append("daemon.log"));
        let before = {
            let heard = self.heard.lock().unwrap();
            if self.keeps {
                let names: Vec<&str> = heard.store.iter().map(|one| &*one.0).collect();
                let fds = (3..)
                    .zip(&heard.store)
                    .map(|(child_fd, (_, _, fd))| FdMapping {
                        parent_fd: fd.try_clone().unwrap(),
                        child_fd,
                    });
                command
                    .env("FDSTORE", "512")
                    .env("LISTEN_FDS", names.len().to_string())
                    .env("LISTEN_FDNAMES", OsString::from(names.join(":")))
                    .fd_mappings(fds.collect())
                    .unwrap();
            }
            heard.ready
        };
        let process = match &self.place {
            Some(place) => place.spawn(command).unwrap(),
            None => Process::spawn(&mut command).unwrap(),
        };
        self.heard.lock().unwrap().main = Some(process.id());
        self.before.extend(self.process.replace(process));
        self.before
            .retain_mut(|one| matches!(one.ended(), Ok(None)));
        self.ready_after(before);
    }

    /// How often the daemon has said that it is ready.
    #[must_use]
    pub fn ready(&self) -> u64 {
        self.heard.lock().unwrap().ready
    }

    /// Waits until the daemon has said once more than `before` that it is ready.
    pub fn ready_after(&mut self, before: u64) {
        let (heard, folder) = (Arc::clone(&self.heard), self.folder.clone());
        let process = &mut self.process;
        eventually("a daemon that is ready", || {
            if heard.lock().unwrap().ready > before {
                return Ok(());
            }
            let ended = process.as_mut().and_then(|one| one.ended().ok().flatten());
            let log = fs::read_to_string(folder.join("daemon.log")).unwrap_or_default();
            Err(format!("ended: {ended:?}\n{log}"))
        });
    }

    /// The daemon's process, as the supervisor was told.
    #[must_use]
    pub fn main(&self) -> u32 {
        self.heard.lock().unwrap().main.expect("a daemon")
    }

    /// The names of the sockets that are kept.
    #[must_use]
    pub fn kept(&self) -> Vec<String> {
        let heard = self.heard.lock().unwrap();
        heard.store.iter().map(|(name, ..)| name.clone()).collect()
    }

    /// Sends a signal to the daemon and waits for its end.
    pub fn end(&mut self, signal: Signal) {
        let main = self.main();
        kill(pid(main), signal).unwrap();
        let process = &mut self.process;
        eventually("the daemon's end", || {
            // It is waited for if it is a child.
            if let Some(process) = process {
                let _ended = process.ended();
            }
            if is_there(main) {
                Err(format!("{main} still runs"))
            } else {
                Ok(())
            }
        });
    }

    /// Stops it as an operator does, and starts a binary in its place.
    pub fn restart(&mut self, binary: &Path) {
        self.end(Signal::SIGTERM);
        self.start(binary);
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        let main = self.heard.lock().ok().and_then(|heard| heard.main);
        if let Some(main) = main.filter(|main| is_there(*main)) {
            let _gone = kill(pid(main), Signal::SIGKILL);
        }
        drop(self.process.take());
        self.before.clear();
        if let Some(hearing) = self.hearing.take() {
            drop(hearing.join());
        }
    }
}

fn pid(number: u32) -> Pid {
    Pid::from_raw(i32::try_from(number).unwrap())
}

/// Whether a process runs: one that nobody has waited for does not.
fn is_there(number: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{number}/stat")).unwrap_or_default();
    let state = stat
        .rsplit_once(')')
        .and_then(|(_, rest)| rest.trim().chars().next());
    state.is_some_and(|state| state != 'Z')
}

fn hear(socket: &UnixDatagram, heard: &Mutex<Heard>) {
    let mut text = [0; 4096];
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(BATCH))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(
        socket.as_fd(),
        &mut [IoSliceMut::new(&mut text)],
        &mut ancillary,
        RecvFlags::CMSG_CLOEXEC,
    );
    let Ok(received) = received.map_err(io::Error::from) else {
        return;
    };
    let mut fds = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(more) = message {
            fds.extend(more);
        }
    }
    let text = String::from_utf8_lossy(&text[..received.bytes]).into_owned();
    let value = |key: &str| {
        let mut lines = text.lines().filter_map(|line| line.split_once('='));
        lines.find_map(|(name, value)| (name == key).then(|| value.to_owned()))
    };
    let mut heard = heard.lock().unwrap();
    if let Some(main) = value("MAINPID").and_then(|main| main.parse().ok()) {
        heard.main = Some(main);
    }
    if value("FDSTORE").is_some() {
        let name = value("FDNAME").expect("a name");
        for fd in fds {
            let inode = rustix::fs::fstat(&fd).unwrap().st_ino;
            if heard.store.iter().all(|(_, known, _)| *known != inode) {
                heard.store.push((name.clone(), inode, fd));
            }
        }
    }
    if value("FDSTOREREMOVE").is_some() {
        let name = value("FDNAME").expect("a name");
        heard.store.retain(|(known, ..)| *known != name);
    }
    heard.ready += u64::from(value("READY").is_some());
    heard.stopping += u64::from(value("STOPPING").is_some());
}
