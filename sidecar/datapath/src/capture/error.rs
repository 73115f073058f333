//! Why nothing can be watched.

use std::{io, path::PathBuf};

use aya::{
    maps::{MapError, perf::PerfBufferError},
    programs::{ProgramError, links::LinkError},
};

use super::filter::FilterError;
use crate::{object::ObjectError, pins::PinsError};

/// Why nothing can be watched.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// Nothing is pinned.
    #[error(
        "{} has no program: no datapath is there; start the daemon, or name its folder by --bpffs or --config", .0.display()
    )]
    NoDatapath(PathBuf),
    /// No rights.
    #[error(
        "the kernel refuses ({0}); run as root or with CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN, and read access to the pins"
    )]
    Rights(String),
    /// Another build's.
    #[error(
        "the program in {} is another build's than this `tollgate` has, and would be replaced by it; use the `tollgate` that runs the daemon", .0.display()
    )]
    OtherVersion(PathBuf),
    /// Somebody else does.
    #[error("{} is watched by another `tollgate capture` or `flow watch` already; one at a time", .0.display())]
    Busy(PathBuf),
    /// Nothing is attached.
    #[error("{} has no link to an interface: nothing comes to the datapath", .0.display())]
    NoLink(PathBuf),
    /// A link.
    #[error("the link {0} was not opened")]
    Link(String, #[source] LinkError),
    /// Pins.
    #[error(transparent)]
    Pins(#[from] PinsError),
    /// The object.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// A map.
    #[error("the maps for watching")]
    Map(#[from] MapError),
    /// A buffer.
    #[error("the buffers for watching")]
    Buffer(#[from] PerfBufferError),
    /// The pinned program.
    #[error("the pinned program was not read")]
    Program(#[from] ProgramError),
    /// The filter.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// The system.
    #[error("the buffers for watching")]
    Io(#[from] io::Error),
}
