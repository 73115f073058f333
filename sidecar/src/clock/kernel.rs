//! What the kernel knows of the quality of its clock: adjtimex(2), which every daemon that keeps time tells.

use std::time::Duration;

use nix::libc;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;
use rtime_clock::adjtime::{Timex, adjtimex};

/// The kernel's own view of its clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KernelClock {
    /// Somebody keeps it right. A chrony without `rtcsync` does not say so, although it does.
    pub is_synchronised: bool,
    /// The likely error, as the time daemon says.
    pub estimated_error: Duration,
    /// The most that it may be off; grows while nobody keeps it right.
    pub max_error: Duration,
}

/// Asks the kernel. `None` where it does not let us (a seccomp profile).
pub fn kernel() -> Option<KernelClock> {
    // All zero: nothing is set, which needs no rights.
    let mut timex = Timex::new();
    let state = adjtimex(&mut timex).ok()?;
    let timex = timex.0;
    let micros = |micros: libc::c_long| Duration::from_micros(u64::try_from(micros).unwrap_or(0));
    Some(KernelClock {
        is_synchronised: state != libc::TIME_ERROR && timex.status & libc::STA_UNSYNC == 0,
        estimated_error: micros(timex.esterror),
        max_error: micros(timex.maxerror),
    })
}

/// Figures for `/metrics`: `tollgate_clock_synchronised` and the two errors.
pub fn collector() -> Box<dyn Collector> {
    Box::new(Figures)
}

#[derive(Debug)]
struct Figures;

impl Collector for Figures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let Some(clock) = kernel() else {
            return Ok(());
        };
        let synchronised = ConstGauge::new(i64::from(clock.is_synchronised));
        synchronised.encode(encoder.encode_descriptor(
            "clock_synchronised",
            "1 if the kernel holds its clock for synchronised",
            None,
            synchronised.metric_type(),
        )?)?;
        for (name, help, error) in [
            (
                "clock_estimated_error",
                "The likely error of the clock, as the time daemon told the kernel",
                clock.estimated_error,
            ),
            (
                "clock_max_error",
                "The most that the clock may be off, as the kernel sees it",
                clock.max_error,
            ),
        ] {
            let error = ConstGauge::new(error.as_secs_f64());
            error.encode(encoder.encode_descriptor(
                name,
                help,
                Some(&Unit::Seconds),
                error.metric_type(),
            )?)?;
        }
        Ok(())
    }
}
