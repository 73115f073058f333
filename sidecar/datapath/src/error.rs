//! Why the datapath was not opened, registered with, applied to or taken down.

use crate::attach::AttachError;
use crate::netlink::NetlinkError;
use crate::object::ObjectError;
use crate::pins::PinsError;
use crate::reconcile::PlanError;
use crate::routes::RoutesError;
use crate::translate::TranslateError;

/// Why the datapath was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// What is pinned there is nothing that a version of this program has made.
    #[error(
        "{} is not a map of Tollgate's, of this version or another: it is not adopted, and not touched; move it away, or give this daemon a folder of its own by `bpffs`", .0.display()
    )]
    Foreign(std::path::PathBuf),
    /// The folder of the pins.
    #[error(transparent)]
    Pins(#[from] PinsError),
    /// The object.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// An interface or the namespace.
    #[error(transparent)]
    Attach(#[from] AttachError),
    /// The kernel's own tables.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
}

/// Why a socket was not registered.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// No number for the listener.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The socket takes no connections.
    #[error("the socket of listener `{0}` does not listen; it must be a TCP socket that listens")]
    NotListening(String),
    /// The map refuses the socket.
    #[error(
        "the socket of listener `{listener}` was not registered; it must be a TCP socket that listens"
    )]
    Socket {
        /// The listener.
        listener: String,
        /// The map's words.
        #[source]
        source: Box<aya::maps::MapError>,
    },
}

/// Why a model was not applied.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// It does not fit.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// Its addresses.
    #[error(transparent)]
    Routes(#[from] RoutesError),
    /// Somebody removed what this daemon attached.
    #[error(
        "{} is not what this daemon pinned any more: `tollgate down` has removed it; start the daemon again to attach it anew", .0.display()
    )]
    Gone(std::path::PathBuf),
    /// Shares are a model's, and there is none so far.
    #[error("no services have been applied so far, so there are no backends to give shares to")]
    NoModel,
    /// The kernel's own tables.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// The new maps were filled, but not put in the old ones' place.
    #[error(transparent)]
    Attach(#[from] AttachError),
}

/// Why not everything was removed.
#[derive(Debug, thiserror::Error)]
pub enum DownError {
    /// A filter or link of the program that translates.
    #[error(transparent)]
    Translate(#[from] TranslateError),
    /// A pin.
    #[error(transparent)]
    Pins(#[from] PinsError),
    /// A route, address or proxy entry.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
}
