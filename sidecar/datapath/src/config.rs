//! What the user chooses about the attachment; a leaf that every room may import.

use std::path::PathBuf;

/// Where and how the datapath attaches.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Config {
    /// The interfaces that packets arrive on.
    pub interfaces: Vec<String>,
    /// Native, generic, or whichever goes.
    pub xdp: XdpMode,
    /// The folder of the pins, on a BPF file system.
    pub bpffs: PathBuf,
    /// Whether virtual addresses are answered for on the interfaces' segments.
    pub announce: Announce,
}

/// How clients' packets find their way here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Announce {
    /// By routing, which others take care of.
    None,
    /// ARP and neighbour discovery are answered on the interfaces.
    Neighbour,
}

/// How a program sees packets of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum XdpMode {
    /// In the driver, before the kernel makes a buffer of the packet.
    Native,
    /// In the stack: works on every device, slower.
    Generic,
    /// Native where the driver can, else generic.
    Auto,
}
