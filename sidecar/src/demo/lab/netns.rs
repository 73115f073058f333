//! A namespace: code that runs inside it, programs that are started inside it.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc;
use std::thread;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};

use super::error::{LabError, io_error};
use super::process::Process;

/// A network namespace without a name, and a mount namespace with a bpffs where one was asked for.
#[derive(Debug)]
pub struct Netns {
    name: String,
    net: OwnedFd,
    mount: Option<OwnedFd>,
    /// To the thread that lives inside and starts the children; it ends when this is dropped, and with it they do.
    jobs: mpsc::Sender<Job>,
}

type Job = Box<dyn FnOnce() + Send>;

impl Netns {
    /// A namespace that holds nothing but a loopback interface, which is down.
    ///
    /// # Errors
    /// Without `CAP_SYS_ADMIN`.
    pub fn new(name: &str) -> Result<Self, LabError> {
        Self::make(name, None)
    }

    /// The same, with a private bpffs on the directory `bpffs`, which nobody outside sees.
    ///
    /// # Errors
    /// Without `CAP_SYS_ADMIN`, on a kernel without bpffs, or when the directory does not exist.
    pub fn with_bpffs(name: &str, bpffs: &Path) -> Result<Self, LabError> {
        Self::make(name, Some(bpffs.to_owned()))
    }

    fn make(name: &str, bpffs: Option<PathBuf>) -> Result<Self, LabError> {
        let (jobs, inbox) = mpsc::channel::<Job>();
        let (made, ready) = mpsc::sync_channel(1);
        thread::Builder::new()
            .name(format!("ns-{name}"))
            .spawn(move || {
                let entered = enter_new(bpffs.as_deref());
                let usable = entered.is_ok();
                if made.send(entered).is_err() || !usable {
                    return;
                }
                for job in inbox {
                    job();
                }
            })
            .map_err(io_error(format!("start the thread of namespace {name}")))?;
        let (net, mount) = ready
            .recv()
            .map_err(|error| LabError::new(format!("make namespace {name}"), error))?
            .map_err(io_error(format!("make namespace {name}")))?;
        Ok(Self {
            name: name.to_owned(),
            net,
            mount,
            jobs,
        })
    }

    /// What it was called when it was made: for messages and port names.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs `f` in a fresh thread inside the namespace and waits for it.
    ///
    /// Sockets that it makes stay in the namespace, wherever they are used afterwards.
    ///
    /// # Errors
    /// When the thread cannot be started or cannot enter the namespace. A panic of `f` goes on in the caller.
    pub fn run<T: Send>(&self, f: impl FnOnce() -> T + Send) -> Result<T, LabError> {
        let entered = thread::scope(|scope| {
            let thread = thread::Builder::new()
                .name(self.name.clone())
                .spawn_scoped(scope, || {
                    self.enter()?;
                    Ok(f())
                })?;
            thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        entered.map_err(io_error(format!("enter namespace {}", self.name)))
    }

    /// Starts a program inside the namespace. See [`super::tethered`] for how it is made to end with this process.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn spawn(&self, mut command: Command) -> Result<Process, LabError> {
        let program = format!("{command:?}");
        let (started, answer) = mpsc::sync_channel(1);
        let job: Job = Box::new(move || {
            // Nobody listens only when the caller has died, and then the child dies with this thread.
            drop(started.send(command.spawn()));
        });
        let gone = || LabError::new(format!("start {program}"), "the namespace's thread is gone");
        self.jobs.send(job).map_err(|_| gone())?;
        let child = answer
            .recv()
            .map_err(|_| gone())?
            .map_err(io_error(format!("start {program} in {}", self.name)))?;
        Ok(Process::from(child))
    }

    fn enter(&self) -> io::Result<()> {
        if let Some(mount) = &self.mount {
            // A thread may only change its mount namespace once it has a root and working directory of its own.
            unshare(CloneFlags::CLONE_FS)?;
            setns(mount, CloneFlags::CLONE_NEWNS)?;
        }
        setns(&self.net, CloneFlags::CLONE_NEWNET)?;
        Ok(())
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.net.as_fd()
    }
}

fn enter_new(bpffs: Option<&Path>) -> io::Result<(OwnedFd, Option<OwnedFd>)> {
    unshare(CloneFlags::CLONE_NEWNET)?;
    let net = File::open("/proc/thread-self/ns/net")?.into();
    let Some(bpffs) = bpffs else {
        return Ok((net, None));
    };
    unshare(CloneFlags::CLONE_NEWNS)?;
    // What is mounted here must not travel back to where we came from.
    mount(
        None::<&str>,
        "/",
        None::<&str>,
        MsFlags::MS_SLAVE | MsFlags::MS_REC,
        None::<&str>,
    )?;
    mount(
        Some("bpf"),
        bpffs,
        Some("bpf"),
        MsFlags::empty(),
        Some("mode=0700"),
    )?;
    Ok((net, Some(File::open("/proc/thread-self/ns/mnt")?.into())))
}
