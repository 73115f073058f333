//! Builds the eBPF object of the benchmark: what drives a program, and what it is compared with.

use std::error::Error;

use tollgate_ebpf_build::{Program, build};

fn main() -> Result<(), Box<dyn Error>> {
    let program = Program {
        package: "tollgate-bench-ebpf",
        bin: "tollgate-bench-ebpf",
        feature: "bpf",
        folders: &["benches/l4/ebpf"],
    };
    build(&program, "bench.bpf.o")
}
