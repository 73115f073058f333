//! Builds the eBPF objects that this crate embeds: the balancer's, the backend hosts', what watches packets, and that of checks.

use std::{env, error::Error};

use tollgate_ebpf_build::{Program, build};

fn main() -> Result<(), Box<dyn Error>> {
    let is_next = env::var_os("CARGO_FEATURE_NEXT").is_some();
    let of = |plain, next| if is_next { next } else { plain };
    for (bin, feature, object) in [
        ("tollgate-ebpf", of("bpf", "bpf,next"), "tollgate.bpf.o"),
        ("tollgate-decap", of("decap", "decap,next"), "decap.bpf.o"),
        (
            "tollgate-capture",
            of("capture", "capture,next"),
            "capture.bpf.o",
        ),
        ("tollgate-check", of("check", "check,next"), "check.bpf.o"),
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
