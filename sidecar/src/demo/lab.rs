//! A network of our own: namespaces without names, joined by a bridge, gone with the process.
//!
//! ```text
//!                    ┌── switch (a bridge) ──┐
//!   client ── veth ──┤                       ├── veth ── backend, backend, …
//!                    └───────── veth ────────┘
//!                                │ eth0, XDP here
//!                              node
//! ```
//!
//! Nothing here has a name outside the process: a namespace lives as long as the descriptor that [`Netns`] keeps,
//! its links live as long as it does, a node's bpffs stands in a mount namespace that only the node sees, and children
//! are tethered to the thread that started them. Killing the process is enough to be rid of all of it.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::{fs, io};

use tracing::subscriber::{NoSubscriber, with_default};

mod error;
mod links;
mod netns;
mod offload;
mod process;

pub use error::LabError;
pub use links::Prefix;
pub use netns::Netns;
pub use process::{Process, in_path, tethered};

use error::io_error;

/// The interface by which every host hangs on the switch.
pub const UPLINK: &str = "eth0";

/// Where a bpffs usually is: a node may have its own there, over the host's, which it does not touch.
pub const BPFFS: &str = "/sys/fs/bpf";

/// A switch and the hosts that were plugged into it.
///
/// Hosts get `10.77.0.N/24` and `fd77::N/64` in the order of plugging, from 1 on.
#[derive(Debug)]
pub struct Lab {
    switch: Netns,
    plugged: u8,
}

/// A host on the switch: a namespace with one interface, [`UPLINK`].
#[derive(Debug)]
pub struct Host {
    /// The namespace, to run code and start programs in.
    pub ns: Arc<Netns>,
    /// The host's IPv4 address.
    pub v4: Ipv4Addr,
    /// The host's IPv6 address.
    pub v6: Ipv6Addr,
}

impl Lab {
    /// An empty switch.
    ///
    /// # Errors
    /// Without `CAP_SYS_ADMIN` and `CAP_NET_ADMIN`, or on a kernel without bridges; [`missing_rights`] says it better.
    pub fn new() -> Result<Self, LabError> {
        let switch = Netns::with_bpffs("switch", Path::new(BPFFS))?;
        links::up(&switch, "lo")?;
        // A switch takes no part in what passes it.
        sysctl(&switch, "ipv6/conf/default/disable_ipv6", "1")?;
        links::bridge(&switch)?;
        Ok(Self { switch, plugged: 0 })
    }

    /// The switch's own namespace, to watch what passes: its ports are called `p-HOST`.
    #[must_use]
    pub fn switch(&self) -> &Netns {
        &self.switch
    }

    /// Plugs in a plain host.
    ///
    /// Its interface computes its checksums itself: XDP rewrites packets before anything would complete the partial
    /// checksums that veth otherwise passes on, and the receiver would drop them (docs/datapath.md).
    ///
    /// # Errors
    /// When the kernel refuses a link, an address or an offload setting.
    pub fn host(&mut self, name: &str) -> Result<Host, LabError> {
        let host = self.plug(Netns::new(name)?)?;
        offload::set(&host.ns, UPLINK, offload::TX_CHECKSUM, false)?;
        Ok(host)
    }

    /// Plugs in a host that is to run a datapath, with a bpffs of its own on the directory `bpffs`, such as [`BPFFS`].
    ///
    /// The switch's port towards it passes on no partial checksums, and takes what the node sends by XDP_TX: veth
    /// leaves that in the peer's ring unless the peer has an XDP program too (`veth_xdp_flush` in
    /// drivers/net/veth.c). Tollgate's own, without a service, passes everything.
    ///
    /// # Errors
    /// When the kernel refuses a link, an address, an offload setting, the mount or the program.
    pub fn node(&mut self, name: &str, bpffs: &Path) -> Result<Host, LabError> {
        let host = self.plug(Netns::with_bpffs(name, bpffs)?)?;
        let port = port_name(name);
        offload::set(&self.switch, &port, offload::TX_CHECKSUM, false)?;
        let attach = tollgate_datapath::Config {
            interfaces: vec![port.clone()],
            xdp: tollgate_datapath::XdpMode::Native,
            bpffs: Path::new(BPFFS).join(&port),
            announce: tollgate_datapath::Announce::None,
        };
        let doing = format!("attach a program to {port} of the switch");
        let opened = self.switch.run(|| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            // It stays attached by its pins.
            let open = tollgate_datapath::Datapath::open(&attach);
            // The network's own parts are no news.
            with_default(NoSubscriber::default(), || runtime.block_on(open))
                .map(drop)
                .map_err(io::Error::other)
        })?;
        opened.map_err(io_error(doing))?;
        Ok(host)
    }

    fn plug(&mut self, ns: Netns) -> Result<Host, LabError> {
        self.plugged += 1;
        let n = self.plugged;
        let v4 = Ipv4Addr::new(10, 77, 0, n);
        let v6 = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, u16::from(n));
        links::up(&ns, "lo")?;
        // The kernel would hold a fresh IPv6 address back for a second to look for others that have it.
        sysctl(&ns, "ipv6/conf/default/accept_dad", "0")?;
        sysctl(&ns, "ipv6/conf/default/dad_transmits", "0")?;
        links::plug(&self.switch, &port_name(ns.name()), &ns, UPLINK)?;
        let host = Host {
            ns: Arc::new(ns),
            v4,
            v6,
        };
        host.address(UPLINK, Prefix::new(v4.into(), 24))?;
        host.address(UPLINK, Prefix::new(v6.into(), 64))?;
        Ok(host)
    }
}

impl Host {
    /// Gives the host one more address.
    ///
    /// # Errors
    /// When the kernel refuses it.
    pub fn address(&self, interface: &str, address: Prefix) -> Result<(), LabError> {
        links::address(&self.ns, interface, address)
    }

    /// Lets the host merge packets of one flow as it receives them (GRO), as it does on most NICs.
    ///
    /// # Errors
    /// When the kernel refuses the setting.
    pub fn merge_received(&self) -> Result<(), LabError> {
        offload::set(&self.ns, UPLINK, offload::RECEIVE_MERGED, true)
    }

    /// Makes the host look for `destination` on the switch itself, by ARP and neighbour discovery.
    ///
    /// # Errors
    /// When the kernel refuses the route.
    pub fn on_link(&self, destination: Prefix) -> Result<(), LabError> {
        links::route(&self.ns, UPLINK, destination, None)
    }

    /// Makes the host send what is for `destination` to another host, `gateway`.
    ///
    /// # Errors
    /// When the kernel refuses the route, as it does when the address families differ.
    pub fn via(&self, destination: Prefix, gateway: IpAddr) -> Result<(), LabError> {
        links::route(&self.ns, UPLINK, destination, Some(gateway))
    }

    /// Lets the host accept packets for a virtual address without telling the switch that it has it: what a backend
    /// behind `deliver: l2` needs (direct server return).
    ///
    /// # Errors
    /// When the kernel refuses the address or the sysctls.
    pub fn hold_vip(&self, vip: IpAddr) -> Result<(), LabError> {
        for interface in ["all", UPLINK] {
            // ARP is answered for addresses of the interface alone, and never announced from `lo`'s. IPv6 needs no
            // such thing: neighbour discovery answers for the interface's own addresses only.
            sysctl(&self.ns, &format!("ipv4/conf/{interface}/arp_ignore"), "1")?;
            sysctl(
                &self.ns,
                &format!("ipv4/conf/{interface}/arp_announce"),
                "2",
            )?;
        }
        self.address("lo", Prefix::host(vip))
    }
}

/// Writes a sysctl below `/proc/sys/net` as the namespace sees it.
///
/// # Errors
/// When the kernel has no such setting or refuses the value.
pub fn sysctl(ns: &Netns, name: &str, value: &str) -> Result<(), LabError> {
    let path = format!("/proc/sys/net/{name}");
    ns.run(|| fs::write(&path, value))?
        .map_err(|error| LabError::new(format!("write {value} to {path}"), error))
}

/// What this process lacks to lay a network and run a datapath in it; `None` when nothing is missing.
#[must_use]
pub fn missing_rights() -> Option<String> {
    /// linux/capability.h
    const NEEDED: [(u32, &str); 3] = [
        (12, "CAP_NET_ADMIN"),
        (21, "CAP_SYS_ADMIN"),
        (39, "CAP_BPF"),
    ];
    let mut missing = String::new();
    let held = effective_capabilities();
    for (bit, name) in NEEDED {
        // CAP_SYS_ADMIN stands for CAP_BPF on kernels that do not know the latter yet.
        if held & (1 << bit) == 0 {
            let _infallible = write!(
                missing,
                "{}{name}",
                if missing.is_empty() { "" } else { ", " }
            );
        }
    }
    if !missing.is_empty() {
        return Some(format!("{missing} (run it as root)"));
    }
    let filesystems = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    if !filesystems.lines().any(|line| line.ends_with("\tbpf")) {
        return Some("a kernel with BPF (no `bpf` in /proc/filesystems)".to_owned());
    }
    // A container may hold the capabilities and still forbid the system call.
    Netns::new("probe").err().map(|error| error.to_string())
}

fn effective_capabilities() -> u64 {
    fs::read_to_string("/proc/self/status")
        .unwrap_or_default()
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or_default()
}

/// The switch's port to a host. Interface names end at 15 bytes.
fn port_name(host: &str) -> String {
    format!("p-{host}")
}

/// A path by which another process (`nsenter --net=…`) finds a namespace that has no name, while this process lives.
#[must_use]
pub fn path_of(ns: &Netns) -> String {
    use std::os::fd::AsRawFd as _;
    format!("/proc/{}/fd/{}", std::process::id(), ns.as_fd().as_raw_fd())
}
