//! What the programs cost just now. The kernel measures only while somebody asks, for measuring costs every program of the host
//! something (`BPF_ENABLE_STATS`).

use std::{
    fs,
    os::fd::{AsFd as _, AsRawFd as _},
    path::Path,
    time::{Duration, Instant},
};

use aya::{
    programs::{
        ProgramError, ProgramInfo,
        links::{FdLink, PinnedLink},
    },
    sys::{Stats, SyscallError, enable_stats},
};

use crate::{
    object::is_permission,
    pins::{Pins, PinsError, entries},
};

/// What one program cost.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Cost {
    /// Its name, and its number in the kernel.
    pub program: String,
    /// The kernel's number of it.
    pub id: u32,
    /// How often it ran.
    pub runs: u64,
    /// Nanoseconds of all runs.
    pub nanoseconds: u64,
    /// Runs in a second.
    pub runs_per_second: f64,
    /// Nanoseconds a run; `None`: it did not run.
    pub nanoseconds_per_run: Option<f64>,
}

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
pub enum CostError {
    /// Nothing is there.
    #[error(
        "{0} has no programs: no datapath is there; start the daemon, or name its folder by --bpffs"
    )]
    NoDatapath(String),
    /// No rights.
    #[error("the kernel does not measure for us ({0}); run as root or with CAP_SYS_ADMIN")]
    Rights(String),
    /// The kernel refuses.
    #[error("the kernel does not measure")]
    Stats(#[from] SyscallError),
    /// A program.
    #[error("a program was not read")]
    Program(#[from] ProgramError),
    /// Pins.
    #[error(transparent)]
    Pins(#[from] PinsError),
}

/// Measures for so long what the programs cost that are pinned in a folder, or stand behind its links.
///
/// # Errors
/// [`CostError`].
pub async fn measure(bpffs: &Path, time: Duration) -> Result<Vec<Cost>, CostError> {
    let programs = programs(bpffs)?;
    let measuring = enable_stats(Stats::RunTime).map_err(|error| {
        if is_permission(&error) {
            CostError::Rights(error.to_string())
        } else {
            error.into()
        }
    })?;
    let began = Instant::now();
    let before: Vec<Run> = programs.iter().map(read).collect::<Result<_, _>>()?;
    tokio::time::sleep(time).await;
    let after: Vec<Run> = programs.iter().map(read).collect::<Result<_, _>>()?;
    let seconds = began.elapsed().as_secs_f64();
    drop(measuring);
    let all = programs.iter().zip(before).zip(after);
    Ok(all
        .map(|((program, before), after)| {
            let runs = after.count.saturating_sub(before.count);
            let nanoseconds = after.nanoseconds.saturating_sub(before.nanoseconds);
            Cost {
                program: program.name_as_str().unwrap_or_default().to_owned(),
                id: program.id(),
                runs,
                nanoseconds,
                runs_per_second: runs as f64 / seconds,
                nanoseconds_per_run: (runs > 0).then(|| nanoseconds as f64 / runs as f64),
            }
        })
        .collect())
}

/// What the kernel has measured of a program since it was loaded.
struct Run {
    count: u64,
    nanoseconds: u64,
}

/// The pinned programs, and one that stands in for them while packets are captured.
fn programs(bpffs: &Path) -> Result<Vec<ProgramInfo>, CostError> {
    let pins = Pins::of(bpffs);
    let rights = |error: ProgramError| {
        if is_permission(&error) {
            CostError::Rights(error.to_string())
        } else {
            error.into()
        }
    };
    let mut programs = Vec::new();
    for pin in entries(&pins.programs())? {
        programs.push(ProgramInfo::from_pin(pin).map_err(rights)?);
    }
    if programs.is_empty() {
        return Err(CostError::NoDatapath(pins.programs().display().to_string()));
    }
    let mut behind: Vec<u32> = Vec::new();
    for pin in pins.xdp_links()? {
        // One that went just now runs nothing.
        let Ok(link) = PinnedLink::from_pin(pin) else {
            continue;
        };
        let link: FdLink = link.into();
        behind.extend(link.info().ok().map(|info| info.program_id()));
    }
    behind.retain(|id| programs.iter().all(|one| one.id() != *id));
    if !behind.is_empty() {
        let all = aya::programs::loaded_programs().filter_map(Result::ok);
        programs.extend(all.filter(|one| behind.contains(&one.id())));
    }
    Ok(programs)
}

fn read(program: &ProgramInfo) -> Result<Run, CostError> {
    let fd = program.fd()?;
    let path = format!("/proc/thread-self/fdinfo/{}", fd.as_fd().as_raw_fd());
    let text = fs::read_to_string(path).unwrap_or_default();
    let number = |name: &str| {
        let lines = text.lines().filter_map(|line| line.split_once(':'));
        let mut values = lines.filter(|(key, _)| *key == name);
        values
            .next()
            .and_then(|(_, value)| value.trim().parse().ok())
            .unwrap_or(0)
    };
    Ok(Run {
        count: number("run_cnt"),
        nanoseconds: number("run_time_ns"),
    })
}
