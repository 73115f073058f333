//! Builds the eBPF objects that this crate embeds: the balancer's, the backend hosts', what watches packets, and that of checks.

use std::error::Error;

use tollgate_ebpf_build::{Program, build};

fn main() -> Result<(), Box<dyn Error>> {
    for (bin, feature, object) in [
        ("tollgate-ebpf", "bpf", "tollgate.bpf.o"),
        ("tollgate-decap", "decap", "decap.bpf.o"),
        ("tollgate-capture", "capture", "capture.bpf.o"),
        ("tollgate-check", "check", "check.bpf.o"),
    ] {
        let program = Program {
            package: "tollgate-ebpf",
            bin,
            feature,
            folders: &["ebpf", "common"],
        };
        build(&program, object)?;
    }
    Ok(())
}
