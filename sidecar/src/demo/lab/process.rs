//! Programs that end with whoever started them.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};
use std::{fs, io, thread};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

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

impl From<Child> for Process {
    fn from(child: Child) -> Self {
        Self { child }
    }
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
