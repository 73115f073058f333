//! `cargo xtask bench l4`: nanoseconds and packets a second of the datapath, and what a change takes. The measuring is benches/l4's.

use std::path::Path;

use crate::rights::require_kernel;
use crate::setup::{self, BENCH_L4, BUILD};
use crate::shell::{self, Outcome, cargo};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Few kinds of packets and few rounds
    #[arg(long)]
    quick: bool,
    /// Fail when a bar is missed
    #[arg(long)]
    check: bool,
    /// Only kinds of packets whose names contain this, and no streams
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
}

pub(crate) fn run(args: &Args, out: &Path) -> Outcome {
    require_kernel("bench l4")?;
    setup::ensure(&[BUILD, BENCH_L4])?;
    // What runs in the kernel is always optimized, and so is what writes its tables (Cargo.toml).
    let mut command = cargo(["run", "--quiet", "--package", "tollgate-bench-l4", "--"])?;
    command.arg("--out").arg(out);
    for (flag, is_set) in [("--quick", args.quick), ("--check", args.check)] {
        if is_set {
            command.arg(flag);
        }
    }
    if let Some(only) = &args.only {
        command.args(["--only", only]);
    }
    shell::run(&mut command)
}
