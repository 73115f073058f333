//! The BPF file system, where the product pins its programs and maps.

use std::fmt;
use std::fs;
use std::process::Command;

use crate::shell::{Failure, Outcome, run};

const MOUNT_POINT: &str = "/sys/fs/bpf";

/// The rights that decide what this machine lets us do, by their bit in CapEff (linux/capability.h).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Capability {
    /// Interfaces, routes, attaching XDP.
    NetAdmin = 12,
    /// Namespaces and mounts.
    SysAdmin = 21,
    /// Loading programs and maps.
    Bpf = 39,
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NetAdmin => "CAP_NET_ADMIN",
            Self::SysAdmin => "CAP_SYS_ADMIN",
            Self::Bpf => "CAP_BPF",
        })
    }
}

/// Those of the asked that this process does not hold.
pub(crate) fn lacking(asked: &[Capability]) -> Vec<Capability> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let held = parse_effective(&status).unwrap_or(0);
    asked
        .iter()
        .copied()
        .filter(|capability| held >> (*capability as u32) & 1 == 0)
        .collect()
}

/// Mounted, or not ours to mount: without the right to mount, nothing that pins could run here either.
pub(super) fn is_ready() -> Outcome<bool> {
    let mounts = fs::read_to_string("/proc/self/mounts")
        .map_err(|error| Failure::new(format!("/proc/self/mounts: {error}")))?;
    Ok(is_mounted(&mounts) || !lacking(&[Capability::SysAdmin]).is_empty())
}

pub(super) fn describe() -> String {
    format!("a bpf file system, mounted at {MOUNT_POINT}")
}

pub(super) fn mount() -> Outcome {
    run(Command::new("mount").args(["-t", "bpf", "bpf", MOUNT_POINT])).map_err(|failure| {
        Failure::new(format!(
            "{MOUNT_POINT}: {failure}; the kernel wants CONFIG_BPF_SYSCALL and /sys mounted"
        ))
    })
}

fn is_mounted(mounts: &str) -> bool {
    mounts.lines().any(|line| {
        let mut words = line.split(' ').skip(1);
        words.next() == Some(MOUNT_POINT) && words.next() == Some("bpf")
    })
}

fn parse_effective(status: &str) -> Option<u64> {
    let hex = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(hex.trim(), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_bpf_mount_at_the_very_place_counts() {
        assert!(is_mounted(
            "proc /proc proc rw 0 0\nbpf /sys/fs/bpf bpf rw,relatime 0 0\n"
        ));
        assert!(!is_mounted("tmpfs /sys/fs/bpf tmpfs rw 0 0\n"));
        assert!(!is_mounted("bpf /mnt/sys/fs/bpf bpf rw 0 0\n"));
    }

    #[test]
    fn capabilities_are_read_from_the_effective_set() {
        let status = "CapPrm:\t000001ffffffffff\nCapEff:\t0000008000001000\n";
        assert_eq!(parse_effective(status), Some(0x80_0000_1000));
        assert_eq!(parse_effective("Name:\txtask\n"), None);
        let held = 0x80_0000_1000_u64;
        for (capability, has) in [
            (Capability::NetAdmin, true),
            (Capability::SysAdmin, false),
            (Capability::Bpf, true),
        ] {
            assert_eq!(held >> (capability as u32) & 1 == 1, has, "{capability:?}");
        }
    }
}
