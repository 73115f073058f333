//! Settings of the kernel.

use std::{fs, io};

/// A setting of this network namespace below `net`; `None`: this kernel has it not.
pub(super) fn sysctl(name: &str) -> Option<u64> {
    let text: io::Result<String> = fs::read_to_string(format!("/proc/sys/net/{name}"));
    text.ok()?.trim().parse().ok()
}
