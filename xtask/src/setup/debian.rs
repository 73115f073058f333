//! Debian packages, found by what they bring rather than by asking dpkg, so that a look costs microseconds.

use std::env;
use std::path::Path;
use std::process::Command;

use crate::shell::{Failure, Outcome, on_path, run};

/// A package and the program or file whose presence stands for it.
pub(crate) struct Package {
    name: &'static str,
    brings: Brings,
}

enum Brings {
    Program(&'static str),
    File(&'static str),
}

use Brings::{File, Program};

/// aws-lc-sys compiles C and assembler and has its bindings ready made: a C compiler is all it wants.
pub(crate) const COMPILER: &[Package] = &[
    package("gcc", Program("cc")),
    package("libc6-dev", File("/usr/include/stdio.h")),
];

/// The demo's client is the one that its reader will paste.
pub(crate) const DEMO: &[Package] = &[package("curl", Program("curl"))];

pub(crate) const E2E: &[Package] = &[
    package("iproute2", Program("ip")),
    package("ethtool", Program("ethtool")),
    package("curl", Program("curl")),
    package("openssl", Program("openssl")),
    // Steps the clock of one process.
    package("faketime", Program("faketime")),
    // Reads what `tollgate capture` writes.
    package("tshark", Program("tshark")),
    // The host's own rules, beside which the programs stand.
    package("nftables", Program("nft")),
];

/// What counts instructions.
pub(crate) const BENCH: &[Package] = &[package("valgrind", Program("valgrind"))];

/// What lays networks of namespaces.
pub(crate) const LINKS: &[Package] = &[package("iproute2", Program("ip"))];

/// What boots a kernel in a virtual machine, and what makes its file system.
pub(crate) const VM: &[Package] = &[
    package("qemu-system-x86", Program("qemu-system-x86_64")),
    package("busybox-static", File("/usr/share/doc/busybox-static")),
    package("cpio", Program("cpio")),
    package("kmod", Program("depmod")),
    package("xz-utils", Program("xz")),
    package("binutils", Program("objcopy")),
];

/// libFuzzer is C++.
pub(crate) const FUZZ: &[Package] = &[package("g++", Program("c++"))];

/// What the identity provider of the suite `idp` runs on.
pub(crate) const IDP: &[Package] = &[
    package("nodejs", Program("node")),
    package("npm", Program("npm")),
];

/// What the suite `assertion` has its library in; Debian's `venv` stands apart from Python itself.
pub(crate) const PYTHON: &[Package] = &[
    package("python3", Program("python3")),
    package("python3-venv", File("/usr/share/doc/python3-venv")),
];

pub(crate) const BROWSER: &[Package] = &[
    package("chromium", Program("chromium")),
    package("chromium-driver", Program("chromedriver")),
];

/// Proxies to compare with, a compiler for the floors in C, and the load generators.
pub(crate) const PEERS: &[Package] = &[
    package("haproxy", Program("haproxy")),
    package("nginx", Program("nginx")),
    package("clang", Program("clang")),
    package("llvm", Program("llvm-objdump")),
    package("libbpf-dev", File("/usr/include/bpf/libbpf.h")),
    package("linux-libc-dev", File("/usr/include/linux/bpf.h")),
    package("bpftool", Program("bpftool")),
    package("nftables", Program("nft")),
    package("nghttp2-client", Program("h2load")),
    package("wrk", Program("wrk")),
];

const fn package(name: &'static str, brings: Brings) -> Package {
    Package { name, brings }
}

pub(super) fn missing(packages: &[Package]) -> impl Iterator<Item = &'static str> {
    packages
        .iter()
        .filter(|package| !package.brings.present())
        .map(|package| package.name)
}

/// Installs by apt-get as root; without root says which line to run.
pub(super) fn install(packages: &[&str]) -> Outcome {
    let names = packages.join(" ");
    if on_path("apt-get").is_none() {
        return Err(Failure::new(format!(
            "{names}: this machine has no apt-get; install what these Debian packages bring by its own means"
        )));
    }
    if !super::toolchain::is_root() {
        return Err(Failure::new(format!(
            "{names}: packages want root; run: sudo apt-get install --no-install-recommends {names}"
        )));
    }
    // A fresh image has no package lists at all; a stale list names files that are gone.
    apt(&["update", "-qq"])?;
    let mut words = vec!["install", "-qq", "-y", "--no-install-recommends"];
    words.extend(packages);
    apt(&words)
}

fn apt(words: &[&str]) -> Outcome {
    let mut command = Command::new("apt-get");
    command
        .args(words)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(std::process::Stdio::null());
    // What the child needs of ours is its PATH; a caller's pager or locale would only disturb it.
    command
        .env("PATH", env::var_os("PATH").unwrap_or_default())
        .env("LC_ALL", "C.UTF-8");
    run(&mut command)
}

impl Brings {
    fn present(&self) -> bool {
        match self {
            Program(name) => on_path(name).is_some(),
            File(path) => Path::new(path).exists(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_is_missing_until_what_it_brings_is_there() {
        let packages = [
            package("there", Program("sh")),
            package("also-there", File("/proc/self")),
            package("gone", Program("no-such-program-at-all")),
            package("gone-too", File("/no/such/file")),
        ];
        assert_eq!(missing(&packages).collect::<Vec<_>>(), ["gone", "gone-too"]);
    }
}
