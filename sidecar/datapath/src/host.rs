//! What a host lacks, or has that is in the way, before a daemon is started on it.

use std::{fs, path::Path};

use aya::{programs::loaded_programs, util::KernelVersion};
use tollgate_common::nat::{FIRST_PORT, PORTS};

use self::{finding::Findings, settings::sysctl};
use crate::{
    config::{Announce, Config},
    footprint::Footprint,
    model::{Deliver, Model, Snat},
    netlink::{Device, Netlink, NetlinkError},
    pins::{Pins, is_bpffs},
    routes::There,
};

mod finding;
mod netfilter;
mod programs;
mod rules;
mod settings;

pub use self::finding::{Finding, Level};

/// Looks at the host, in this thread's network namespace; errors first.
///
/// # Errors
/// The kernel was not asked for its devices.
pub async fn look(config: &Config, model: &Model) -> Result<Vec<Finding>, NetlinkError> {
    let mut found = Findings::default();
    let netlink = Netlink::open()?;
    let devices = netlink.devices().await?;
    let pins = Pins::of(&config.bpffs);
    found.kernel();
    found.rights();
    found.bpffs(&config.bpffs);
    for name in &config.interfaces {
        match devices.iter().find(|device| device.name == *name) {
            Some(device) => {
                found.interface(device, &pins);
                found.merging(name);
            }
            None => found.error(
                "interface_missing",
                name,
                "there is none of this name in this network namespace".to_owned(),
                "name those that packets arrive on in `datapath: { interfaces }`; `ip link` lists them",
            ),
        }
    }
    let there = There::read(&netlink).await?;
    for one in there.captured(model, &devices) {
        found.error(
            "host_address",
            "a service",
            one.to_string(),
            "give the service an address that is not the host's",
        );
    }
    found.settings(config, model);
    netfilter::look(&mut found, config, model, &devices);
    found.memory(model);
    let mut all = found.0;
    all.sort();
    Ok(all)
}

impl Findings {
    fn kernel(&mut self) {
        if KernelVersion::current().is_ok_and(|now| now < KernelVersion::new(6, 1, 0)) {
            let value = crate::features::kernel();
            self.error(
                "kernel",
                "the kernel",
                value,
                "Tollgate needs Linux 6.1 or newer",
            );
        }
        for one in crate::features::probe() {
            // What only makes something nicer is in `tollgate status`.
            let is_needed = matches!(&*one.name, "xdp" | "sk_lookup" | "coarse clock");
            if is_needed && one.there == Some(false) {
                let value = format!("it has no {}: {}", one.name, one.without);
                self.error(
                    "kernel_feature",
                    "the kernel",
                    value,
                    "use a kernel that has it",
                );
            }
        }
    }

    fn rights(&mut self) {
        let Some(held) = capabilities() else { return };
        let missing: Vec<&str> = NEEDED
            .iter()
            .filter(|(bit, _)| held & (1 << bit) == 0)
            .map(|(_, name)| *name)
            .collect();
        if !missing.is_empty() {
            self.error(
                "rights",
                "this process",
                format!("it lacks {}", missing.join(", ")),
                "run this check, and the daemon, as root or with these capabilities",
            );
        }
    }

    fn bpffs(&mut self, folder: &Path) {
        let nearest = folder
            .ancestors()
            .find(|path| path.exists())
            .unwrap_or(folder);
        if !is_bpffs(nearest) {
            self.error(
                "bpffs",
                &folder.display().to_string(),
                "it is not on a BPF file system".to_owned(),
                "run `mount -t bpf bpf /sys/fs/bpf`, or let `datapath: { bpffs }` name a folder on one",
            );
        }
    }

    fn interface(&mut self, device: &Device, pins: &Pins) {
        let name = &device.name;
        if !device.up {
            self.warning(
                "interface_down",
                name,
                "it is down".to_owned(),
                &format!("run `ip link set dev {name} up`"),
            );
        }
        if let Some(id) = device.program
            && !pins.xdp_link(name).exists()
        {
            let mut programs = loaded_programs().filter_map(Result::ok);
            let program = programs.find(|one| one.id() == id);
            let called = program.as_ref().and_then(|one| one.name_as_str());
            self.error(
                "xdp_taken",
                name,
                format!("it has another XDP program, number {id}, `{}`", called.unwrap_or("?")),
                &format!(
                    "a device takes one: attach Tollgate to another interface, or run `ip link set dev {name} xdp off` if nobody needs it"
                ),
            );
        }
        // /sys may be another network namespace's; then there is nothing of this name, or it is asked in vain.
        let driver = fs::read_link(format!("/sys/class/net/{name}/device/driver"));
        let driver = driver
            .ok()
            .and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
        if driver.as_deref() == Some("ena") && device.mtu > ENA_MTU {
            self.error(
                "mtu",
                name,
                format!(
                    "its MTU is {}, and the driver ena takes XDP up to {ENA_MTU}",
                    device.mtu
                ),
                &format!("run `ip link set dev {name} mtu {ENA_MTU}`, or say `xdp: generic`"),
            );
        }
    }

    fn settings(&mut self, config: &Config, model: &Model) {
        let is_steered = |is_v4: bool| {
            let mut services = model.services.iter();
            services.any(|one| {
                matches!(one.deliver, Deliver::Listener(_)) && one.vip.ip.is_ipv4() == is_v4
            })
        };
        let (v4, v6) = (is_steered(true), is_steered(false));
        for name in &config.interfaces {
            let own = |setting| sysctl(&format!("ipv4/conf/{name}/{setting}"));
            let all = |setting| sysctl(&format!("ipv4/conf/all/{setting}"));
            // The kernel takes the larger one.
            if v4 && own("rp_filter").max(all("rp_filter")) == Some(1) {
                self.warning(
                    "rp_filter",
                    name,
                    "net.ipv4.conf rp_filter is 1: what comes from clients whose way back is another interface is dropped".to_owned(),
                    &format!("if there are such, run `sysctl net.ipv4.conf.{name}.rp_filter=2`, and the same for all"),
                );
            }
            if v4
                && own("arp_ignore").max(all("arp_ignore")) == Some(0)
                && config.announce == Announce::None
            {
                self.warning(
                    "arp_ignore",
                    name,
                    "net.ipv4.conf arp_ignore is 0, and `announce` is none: it answers ARP for the services' addresses all the same".to_owned(),
                    &format!("run `sysctl net.ipv4.conf.{name}.arp_ignore=1`, on other interfaces of this host too"),
                );
            }
            if sysctl(&format!("ipv6/conf/{name}/disable_ipv6")) == Some(1) && v6 {
                self.error(
                    "ipv6_disabled",
                    name,
                    "net.ipv6.conf disable_ipv6 is 1, and services have IPv6 addresses".to_owned(),
                    &format!("run `sysctl net.ipv6.conf.{name}.disable_ipv6=0`"),
                );
            }
        }
        self.local_ports(model);
        if (v4 || v6) && sysctl("ipv4/tcp_syncookies") == Some(0) {
            self.warning(
                "tcp_syncookies",
                "net.ipv4.tcp_syncookies",
                "it is 0: a flood of SYNs fills the listeners' queues".to_owned(),
                "run `sysctl net.ipv4.tcp_syncookies=1`",
            );
        }
    }

    /// Ports of the host's own connections must not be among those that translated sources get from its address.
    fn local_ports(&mut self, model: &Model) {
        const SETTING: &str = "ipv4/ip_local_port_range";
        let range = fs::read_to_string(format!("/proc/sys/net/{SETTING}"));
        let Some(first) = range.ok().and_then(|text| first_port(&text)) else {
            return;
        };
        let own = model.services.iter().filter(|one| {
            let Deliver::Nat(nat) = &one.deliver else {
                return false;
            };
            nat.snat == Some(Snat::Own)
        });
        for service in own.filter(|_| first < u32::from(FIRST_PORT + PORTS)) {
            self.error(
                "local_ports",
                &service.name,
                format!(
                    "net.ipv4.ip_local_port_range begins at {first}, and `snat: own` gives clients' flows ports below {}: answers to the host's own connections could be taken for theirs",
                    FIRST_PORT + PORTS
                ),
                "run `sysctl net.ipv4.ip_local_port_range=\"32768 60999\"`, or let `snat` name addresses that are not the host's",
            );
        }
    }

    /// Segments that the device merges are no packets any more.
    fn merging(&mut self, interface: &str) {
        match programs::printed("ethtool", &["-k", interface]) {
            Ok(features) if merges(&features) => self.warning(
                "lro",
                interface,
                "large-receive-offload is on: the driver may refuse native XDP, and merged packets are too long to be sent on".to_owned(),
                &format!("run `ethtool -K {interface} lro off`"),
            ),
            Ok(_) => {}
            Err(why) => self.not_looked_at(
                "ethtool",
                &format!("{why}: whether {interface} merges what it receives (LRO) is not known"),
            ),
        }
    }

    /// Maps are charged to the cgroup of who makes them.
    fn memory(&mut self, model: &Model) {
        const LIMITS: &str = "/sys/fs/cgroup";
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let Some(path) = own.lines().find_map(|line| line.strip_prefix("0::/")) else {
            return;
        };
        let limit = fs::read_to_string(Path::new(LIMITS).join(path).join("memory.max"));
        let Some(limit) = limit.ok().and_then(|text| text.trim().parse::<u64>().ok()) else {
            return;
        };
        let footprint = Footprint::of(model);
        let cpus = aya::util::nr_cpus().unwrap_or(1);
        let maps = footprint.tables
            + footprint.fragments
            + footprint.counters * cpus
            + footprint.pins
            + footprint.translations;
        if limit < maps as u64 {
            const MIB: u64 = 1 << 20;
            self.warning(
                "memory",
                &format!("{LIMITS}/{path}/memory.max"),
                format!(
                    "it is {} MiB, and the maps may take {} MiB of it",
                    limit / MIB,
                    maps as u64 / MIB
                ),
                "raise it; maps are charged to the cgroup of the daemon that makes them",
            );
        }
    }
}

/// Capabilities that the daemon needs (linux/capability.h).
const NEEDED: [(u32, &str); 3] = [(12, "CAP_NET_ADMIN"), (38, "CAP_PERFMON"), (39, "CAP_BPF")];

/// The largest MTU that the driver ena takes XDP with.
const ENA_MTU: u32 = 3498;

/// The capabilities that this process may use.
fn capabilities() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

/// Whether `ethtool -k` says that a device merges what it receives, where XDP would see it merged.
fn merges(features: &str) -> bool {
    let mut lines = features.lines().filter_map(|line| line.split_once(':'));
    lines.any(|(name, value)| {
        name.trim() == "large-receive-offload" && value.split_whitespace().next() == Some("on")
    })
}

/// Where a range of ports begins, as the setting is read.
fn first_port(text: &str) -> Option<u32> {
    text.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merging_devices_are_known() {
        let features = |lro| {
            format!(
                "Features for eth0:\ngeneric-receive-offload: on\nlarge-receive-offload: {lro}\nrx-vlan-offload: on\n"
            )
        };
        assert!(merges(&features("on")) && merges(&features("on [fixed]")));
        assert!(!merges(&features("off")) && !merges(&features("off [requested on]")));
        assert!(!merges(""));
    }

    #[test]
    fn ranges_of_ports_are_read() {
        assert_eq!(first_port("32768\t60999\n"), Some(32_768));
        assert_eq!(first_port(""), None);
    }

    #[test]
    fn capabilities_are_read() {
        assert!(capabilities().is_some());
    }
}
