//! Why nothing was attached, removed or shown.

use std::{io, net::IpAddr, path::Path};

use aya::{
    maps::MapError,
    programs::{ProgramError, links::LinkError},
};

use crate::{
    attach::AttachError, model::Unfit, netlink::NetlinkError, object::ObjectError, pins::PinsError,
    prefix::Prefix,
};
use tollgate_common::decap::PREFIXES;

/// Why a backend host's program was not attached, removed or shown.
#[derive(Debug, thiserror::Error)]
pub enum DecapError {
    /// Nothing would be taken.
    #[error("no VIP is named; say --vip ADDRESS for each address that services have")]
    NoVips,
    /// Too much at once.
    #[error(
        "--vip {0} is a prefix of fewer than 8 bits, or 16 of IPv6; name the networks that the services have"
    )]
    WideVip(Prefix),
    /// Clients cannot send to it.
    #[error("--vip {0}: {1}")]
    Vip(Prefix, Unfit),
    /// More than the maps hold.
    #[error(
        "{1} times {0} is more than the {PREFIXES} that are held; join them to shorter prefixes"
    )]
    TooMany(&'static str, usize),
    /// Nothing would be taken.
    #[error(
        "this host has no address that tunnels can be sent to; give it one, or name by --to ADDRESS the one that it will have"
    )]
    NoAddresses,
    /// No balancer sends to it.
    #[error("--to {0}: {1}")]
    Address(IpAddr, Unfit),
    /// More than the map holds.
    #[error(
        "{0} addresses are more than the {PREFIXES} that are held; name by --to ADDRESS those that the balancers have as backends"
    )]
    TooManyAddresses(usize),
    /// No such device.
    #[error(
        "there is no interface `{0}` in this network namespace; name the one that the balancers' packets arrive on (`ip link` lists them)"
    )]
    NoInterface(String),
    /// Another program is there.
    #[error(
        "{0} has another XDP program already, and a device takes one; say `--mode tc`, which stands beside it, or see `ip link show dev {0}`"
    )]
    Busy(String),
    /// The driver cannot.
    #[error("{interface} does not take native XDP ({source}); say `--mode tc`")]
    NoNative {
        /// The device.
        interface: String,
        /// The kernel's words.
        source: io::Error,
    },
    /// The kernel refuses.
    #[error("{interface}: the program was not attached as {how}")]
    Attach {
        /// The device.
        interface: String,
        /// `xdp`, `tcx` or `clsact`.
        how: &'static str,
        /// The kernel's words.
        #[source]
        source: Box<ProgramError>,
    },
    /// The pins are about another device.
    #[error(
        "{folder} keeps a program on the interface number {theirs}, and {interface} is number {ours}: it was renamed, or is of another network namespace; remove it there by `tollgate decap --down --interface {interface}`, or give this one a folder of its own by --bpffs"
    )]
    OtherDevice {
        /// The folder of the pins.
        folder: String,
        /// The interface.
        interface: String,
        /// Its number.
        ours: u32,
        /// The number of the one that the link is on.
        theirs: u64,
    },
    /// A link was not opened.
    #[error("the pinned link {0} was not opened; `tollgate decap --down` removes it")]
    Link(String, #[source] Box<LinkError>),
    /// The link is of the old netlink kind, which cannot be pinned.
    #[error(
        "{0}: the kernel attaches XDP only without a link here; Tollgate needs Linux 6.1 or newer, or say `--mode tc`"
    )]
    NoLink(String),
    /// A link, program or map was not pinned.
    #[error("{0} was not pinned")]
    Pin(String, #[source] aya::pin::PinError),
    /// A map was not read or written.
    #[error("the map {0} was not read or written")]
    Map(String, #[source] Box<MapError>),
    /// No rights.
    #[error("{0}: not permitted; run as root or with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON")]
    Rights(String),
    /// The folder.
    #[error(transparent)]
    Pins(PinsError),
    /// The object.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// The link's number.
    #[error(transparent)]
    Kernel(#[from] AttachError),
    /// The devices were not listed.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
}

impl DecapError {
    pub(super) fn map(pin: &Path, error: MapError) -> Self {
        Self::Map(pin.display().to_string(), Box::new(error))
    }
}

/// What the folder's owner alone may do is told as such: `--bpffs` is root's.
impl From<PinsError> for DecapError {
    fn from(error: PinsError) -> Self {
        match error {
            PinsError::Io { path, source, .. }
                if source.kind() == io::ErrorKind::PermissionDenied =>
            {
                Self::Rights(path.display().to_string())
            }
            other => Self::Pins(other),
        }
    }
}
