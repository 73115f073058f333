//! What `capture` and `flow watch` share: where the datapath is, how its services are called, and when the watching ends.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

mod pen;

use nix::net::if_::{if_nameindex, if_nametoindex};
use nix::time::{ClockId, clock_gettime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, MissedTickBehavior};
use tollgate_datapath::capture::filter::Filter;
use tollgate_datapath::capture::{Capture, CaptureError, Counted, ServiceNames, What};

use self::pen::Pen;
pub(super) use self::pen::Sink;
use super::ask::Failure;
use crate::app::CHECKS;
use crate::{admin, config, kernel};

/// Which datapath is watched, which of its packets, and for how long.
#[derive(Debug, clap::Args)]
#[group(id = "watch")]
pub struct Args {
    /// Stop after so many.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) count: Option<u64>,
    /// Stop after so many seconds.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) seconds: Option<u64>,
    /// The configuration that names the services, and the folder of the pins.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["admin", "bpffs"])]
    config: Option<PathBuf>,
    /// The daemon that is asked how its services are called; without one they go by their addresses.
    #[arg(long, value_name = "SOCK", default_value = config::lower::DEFAULT_SOCKET)]
    admin: PathBuf,
    /// The folder of the pins.
    #[arg(long, value_name = "DIR", default_value = "/sys/fs/bpf/tollgate")]
    bpffs: PathBuf,
    /// Which packets, such as `vip 203.0.113.20:5432/tcp and not host 198.51.100.7`; none: all that come in.
    #[arg(value_name = "FILTER")]
    filter: Vec<String>,
}

/// How a watch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Asked to, or enough was seen.
    Done,
    /// The datapath was taken down.
    Gone,
}

/// How often it is looked whether the daemon put another program in place.
const FOLLOW: Duration = Duration::from_millis(500);

/// Opens the watch.
///
/// # Errors
///
/// See [`Failure`].
pub(super) async fn open(args: &Args, what: What) -> Result<Capture, Failure> {
    let filter: Filter = args.filter.join(" ").parse().map_err(
        |error: tollgate_datapath::capture::filter::FilterError| Failure::Usage(error.to_string()),
    )?;
    let (bpffs, names) = match &args.config {
        Some(path) => by_configuration(path)?,
        None => (args.bpffs.clone(), by_daemon(&args.admin).await),
    };
    let interface = |name: &str| if_nametoindex(name).ok();
    Capture::open(&bpffs, what, &filter, names, Box::new(interface)).map_err(|error| match error {
        CaptureError::Filter(_) => Failure::Usage(error.to_string()),
        other => Failure::Missing(kernel::told(&other)),
    })
}

fn by_configuration(path: &Path) -> Result<(PathBuf, ServiceNames), Failure> {
    let config = config::load(path, CHECKS).map_err(|all| Failure::Usage(all.to_string()))?;
    let datapath = config
        .datapath
        .ok_or_else(|| Failure::Usage(format!("{} has no `datapath`", path.display())))?;
    let services = datapath.model.services.into_iter();
    let names = services.map(|one| (one.vip, one.name)).collect();
    Ok((datapath.attach.bpffs, names))
}

/// What the daemon calls its services. That none answers is nothing to fail for: the kernel goes on without one.
async fn by_daemon(socket: &Path) -> ServiceNames {
    let Ok((_, status)) = admin::client::ask(socket, http::Method::GET, "/status").await else {
        return ServiceNames::new();
    };
    let services = status["datapath"]["services"].as_array();
    let named = services.into_iter().flatten().filter_map(|one| {
        let (name, vip) = (one["name"].as_str()?, one["vip"].as_str()?);
        Some((vip.parse().ok()?, name.to_owned()))
    });
    named.collect()
}

/// What came of a watch.
pub(super) struct Ended<S> {
    /// How it ended.
    pub(super) end: End,
    /// What was counted.
    pub(super) counted: Counted,
    /// What it was written to; `None`: whoever reads has stalled, and what was left is lost.
    pub(super) sink: Option<S>,
}

/// Writes what is told until the sink says that it is enough, the time is over or a signal comes. Whoever reads may stall: what
/// finds no room meanwhile is counted as lost, and everything else goes on. The program that was there is put back before the
/// rest is written.
///
/// # Errors
///
/// The system's, or the sink's.
pub(super) async fn run<S: Sink>(
    mut capture: Capture,
    args: &Args,
    sink: S,
) -> io::Result<Ended<S>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut pen = Pen::new(sink)?;
    eprintln!("tollgate: watching; ends with Ctrl-C");
    let mut follow = tokio::time::interval(FOLLOW);
    follow.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let deadline = args
        .seconds
        .map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let over = async {
        match deadline {
            Some(deadline) => tokio::time::sleep_until(deadline).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(over);
    let end = loop {
        tokio::select! {
            ready = capture.ready() => ready?,
            () = pen.enough() => break End::Done,
            _ = follow.tick() => match capture.follow() {
                Ok(false) => continue,
                Ok(true) => eprintln!("tollgate: another program was put in place and is watched now"),
                Err(error) => {
                    eprintln!("tollgate: {}", kernel::told(&error));
                    break End::Gone;
                }
            },
            _ = terminate.recv() => break End::Done,
            _ = interrupt.recv() => break End::Done,
            () = &mut over => break End::Done,
        }
        pen.write(capture.take()?);
    };
    // What was told until now.
    pen.write(capture.take()?);
    let mut counted = capture.counted().unwrap_or_default();
    // From here on packets come and go unseen.
    drop(capture);
    counted.lost += pen.lost();
    let (sink, left) = pen.finish(counted.lost).await?;
    counted.lost += left;
    Ok(Ended { end, counted, sink })
}

/// Turns nanoseconds of the monotonic clock into the time of day.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    offset: u64,
}

impl Clock {
    pub(super) fn new() -> Self {
        let nanoseconds = |clock| {
            // It fails only for clocks that do not exist.
            clock_gettime(clock).map_or(0, |time| {
                time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64
            })
        };
        let (real, monotonic) = (
            nanoseconds(ClockId::CLOCK_REALTIME),
            nanoseconds(ClockId::CLOCK_MONOTONIC),
        );
        Self {
            offset: real.saturating_sub(monotonic),
        }
    }

    /// Nanoseconds since 1970.
    pub(super) const fn unix(self, at: u64) -> u64 {
        at.wrapping_add(self.offset)
    }

    /// The same for people.
    pub(super) fn text(self, at: u64) -> String {
        let time = SystemTime::UNIX_EPOCH + Duration::from_nanos(self.unix(at));
        humantime::format_rfc3339_micros(time).to_string()
    }
}

/// The interface with an index, or the index.
pub(super) fn interface(index: u32) -> String {
    let all = if_nameindex();
    let name = all.ok().and_then(|all| {
        let found = all.iter().find(|one| one.index() == index)?;
        Some(found.name().to_string_lossy().into_owned())
    });
    name.unwrap_or_else(|| format!("if{index}"))
}

/// The name of an IP protocol as filters have it, or its number.
pub(super) fn protocol(number: u8) -> String {
    match number {
        1 => "icmp".to_owned(),
        6 => "tcp".to_owned(),
        17 => "udp".to_owned(),
        58 => "icmp6".to_owned(),
        other => other.to_string(),
    }
}
