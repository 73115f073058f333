//! A namespace: code that runs inside it, programs that are started inside it.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{LabError, io_error, links};

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
    /// A namespace that holds nothing but a loopback interface, which is up.
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
        let ns = Self {
            name: name.to_owned(),
            net,
            mount,
            jobs,
        };
        links::up(&ns, "lo")?;
        Ok(ns)
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

    /// Starts a program inside the namespace. See [`tethered`] for how it is made to end with this process.
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
        Ok(Process { child })
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

/// A command that the kernel kills when the thread that started it ends, however that came about.
///
/// `PR_SET_PDEATHSIG` must be set in the child between fork and exec, which takes `unsafe` in Rust, so util-linux's
/// `setpriv` does it. Where that is missing the program runs all the same, and is ended by [`Process`]'s drop alone.
#[must_use]
pub fn tethered(program: &Path) -> Command {
    let mut command = match in_path("setpriv") {
        Some(setpriv) => {
            let mut command = Command::new(setpriv);
            command.args(["--pdeathsig", "KILL", "--"]).arg(program);
            command
        }
        None => Command::new(program),
    };
    // The terminal's ctrl-C is for whoever started it, not for the child.
    command.process_group(0);
    command
}

/// Where a program stands in `PATH`.
#[must_use]
pub fn in_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|directory| directory.join(program))
        .find(|candidate| fs::metadata(candidate).is_ok_and(|file| file.is_file()))
}

/// A child process that does not outlive this value.
#[derive(Debug)]
pub struct Process {
    child: Child,
}

impl Process {
    /// Starts a program where the caller is, which must not be a thread that ends soon (see [`tethered`]).
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn spawn(command: &mut Command) -> io::Result<Self> {
        Ok(Self {
            child: command.spawn()?,
        })
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// When it is gone already.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        let pid = i32::try_from(self.child.id()).map_err(io::Error::other)?;
        Ok(kill(Pid::from_raw(pid), signal)?)
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// When the kernel cannot say.
    pub fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// [`io::ErrorKind::TimedOut`] when it still runs after `patience`.
    pub fn wait(&mut self, patience: Duration) -> io::Result<ExitStatus> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            if Instant::now() >= deadline {
                let what = format!("process {} still runs after {patience:?}", self.id());
                return Err(io::Error::new(io::ErrorKind::TimedOut, what));
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits for its end and gives what it wrote; its standard streams must have been piped.
    ///
    /// # Errors
    /// When reading fails.
    pub fn output(mut self) -> io::Result<std::process::Output> {
        let mut stdout = Vec::new();
        let mut stderr = Vec::new();
        let out = self.child.stdout.take();
        let err = self.child.stderr.take();
        thread::scope(|scope| {
            let reader = scope.spawn(|| err.map(|mut pipe| io::copy(&mut pipe, &mut stderr)));
            if let Some(mut pipe) = out {
                io::copy(&mut pipe, &mut stdout)?;
            }
            reader
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
                .transpose()
        })?;
        let status = self.child.wait()?;
        Ok(std::process::Output {
            status,
            stdout,
            stderr,
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            // Failing means that it is gone, which is what is wanted.
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}
