//! Builds the eBPF object that this crate embeds.

use std::error::Error;

use tollgate_ebpf_build::{Program, build};

fn main() -> Result<(), Box<dyn Error>> {
    let program = Program {
        package: "tollgate-ebpf",
        bin: "tollgate-ebpf",
        folders: &["ebpf", "common"],
    };
    build(&program, "tollgate.bpf.o")
}
