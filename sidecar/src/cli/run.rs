//! `tollgate run`: the daemon, which is two processes, and its end.

use std::fmt::Display;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::ExitCode;

use crate::app::before::Before;
use crate::app::{CHECKS, Gate, StartError};
use crate::config;
use crate::handover::{self, Taking};
use crate::kernel::Fixed;
use crate::privileged::{Given, Process, Rights, User, give_up_all};
use crate::supervisor::init::{self, HandedOn};
use crate::supervisor::signals::{Signals, is_end};
use crate::supervisor::{self, Kept};

/// The hand-over that is asked for, if one is: by the admin socket of the configuration, or by the place that is named.
pub type TakeOver = Option<Option<PathBuf>>;

/// What is to be made while this process has all its rights, and no thread yet: the other process. Afterwards it has none.
///
/// # Errors
///
/// The other process cannot be started, or rights cannot be given up.
pub fn split(path: &Path) -> Result<Process, String> {
    let told = |error: &dyn Display| error.to_string();
    if std::fs::metadata(path).is_ok_and(|there| !there.is_file()) {
        return Err(format!(
            "{}: this is no file, and a daemon reads its configuration again and again; write it to one",
            path.display()
        ));
    }
    // What is wrong with the file is said later, to whoever waits for this daemon as well.
    let outline = config::outline(path, CHECKS);
    let user = match outline.as_ref().and_then(|outline| outline.user.as_ref()) {
        None => None,
        Some(name) => Some(User::find(name).map_err(|error| told(&error))?),
    };
    if let (Some(user), Some(outline)) = (&user, &outline)
        && let Some(folder) = outline.socket.parent()
    {
        user.make_folder(folder).map_err(|error| told(&error))?;
    }
    let process = Process::start(path).map_err(|error| told(&error))?;
    give_up_all(user.as_ref()).map_err(|error| told(&error))?;
    if let Ok(rights) = Rights::now() {
        let capabilities = rights.names();
        tracing::info!(capabilities, uid = rights.uid, "the process that serves");
        if rights.uid == 0 && outline.is_some_and(|outline| outline.datapath.is_some()) {
            tracing::warn!(
                "root's files are still open to the process that serves, the pins of the datapath among them; let `user` name another"
            );
        }
    }
    Ok(process)
}

/// The privileged process: what [`split`] starts. The other one is at the end of standard input.
#[must_use]
pub fn privileged(config: PathBuf) -> ExitCode {
    let run = || {
        let stream = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned()?);
        // Whoever calls it by hand is told.
        stream.peer_addr().map_err(|_| {
            std::io::Error::other("this command is started by `tollgate run`, and by nobody else")
        })?;
        let binary = supervisor::own_binary();
        rustix::thread::set_name(init::PRIVILEGED).map_err(std::io::Error::from)?;
        // What is wrong with the file is said by the other process.
        let datapath = config::outline(&config, CHECKS).and_then(|outline| outline.datapath);
        let datapath = datapath.map(|(attach, mark)| Fixed { attach, mark });
        let given = Given {
            config,
            binary,
            datapath,
        };
        crate::privileged::run(stream, given)
    };
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(1, &error),
    }
}

/// Runs until it is told to end, or another daemon has taken over.
pub async fn run(path: &Path, take_over: TakeOver, kept: Kept, process: Process) -> ExitCode {
    // Before anything is promised: a SIGTERM during start must not be lost.
    let mut signals = match Signals::hear() {
        Ok(signals) => signals,
        Err(error) => return fail(1, &format!("cannot listen for signals: {error}")),
    };
    let gate = match begin(path, take_over, kept, process).await {
        Ok(gate) => gate,
        Err(StartError::Configuration(mistakes)) => return fail(2, &mistakes),
        Err(error @ StartError::Host(_)) => return fail(1, &error),
    };
    loop {
        tokio::select! {
            // Who has been succeeded has nothing left to reload, nor sockets to close.
            biased;
            () = gate.succeeded() => return give_way(gate, signals).await,
            signal = signals.next() => {
                if is_end(signal) {
                    break;
                }
                // Said in log and status; what runs goes on.
                supervisor::reloading();
                let _ = gate.reload().await.is_ok();
                supervisor::ready();
            }
            () = gate.drain_asked() => break,
        }
    }
    tokio::select! {
        () = gate.drain() => ExitCode::SUCCESS,
        // Asked again: whoever asks twice does not want to wait.
        () = signals.end() => fail(1, &"ended before every request was"),
    }
}

async fn begin(
    path: &Path,
    take_over: TakeOver,
    kept: Kept,
    process: Process,
) -> Result<Gate, StartError> {
    let privileged = process.talk()?;
    let taking = match take_over {
        None => Ok(None),
        Some(place) => running(path, place).await,
    };
    let before = match taking {
        Ok(taking) => Before::new(kept, taking, privileged),
        Err(error) => {
            privileged.close().await;
            return Err(error);
        }
    };
    Gate::start_after(path, before).await
}

/// The hand-over that the running daemon offers, if one runs.
async fn running(path: &Path, place: Option<PathBuf>) -> Result<Option<Taking>, StartError> {
    let place = match place {
        Some(place) => place,
        None => handover::path(&config::load(path, CHECKS)?.admin.socket),
    };
    Ok(Taking::ask(&place, crate::VERSION).await?)
}

/// Another daemon has taken over: this one finishes what it has. As the first process of a container it hands signals on
/// from here on, and stays for those who come after it.
async fn give_way(mut gate: Gate, mut signals: Signals) -> ExitCode {
    // Who was started there is this process's child from here on, if it is the first: so it is found below.
    gate.part().await;
    let mut handed_on = None;
    let mut leaving = pin!(gate.leave());
    let successor = loop {
        let signal = tokio::select! {
            successor = &mut leaving => break successor,
            signal = signals.next() => signal,
        };
        let told = init::is_first().then(|| init::hand_on(signal)).flatten();
        if let Some(told) = told {
            handed_on = Some(told).filter(HandedOn::is_end).or(handed_on);
        } else if is_end(signal) {
            return fail(1, &"ended before every request was");
        } else {
            tracing::info!("nothing to reload: another daemon has taken over");
        }
    };
    if successor.is_none() || !init::is_first() {
        return ExitCode::SUCCESS;
    }
    match init::stay(signals, handed_on).await {
        Ok(code) => ExitCode::from(code),
        Err(error) => fail(
            1,
            &format!("cannot wait for the daemon that took over: {error}"),
        ),
    }
}

fn fail(code: u8, message: &dyn Display) -> ExitCode {
    eprintln!("tollgate: {message}");
    ExitCode::from(code)
}
