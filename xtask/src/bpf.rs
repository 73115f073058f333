//! `cargo xtask bpf`: the kernel side alone, held against its verifier budget.

use crate::rights::require_kernel;
use crate::setup::{self, BUILD, KERNEL, TEST};
use crate::shell::{self, Outcome, Stages, cargo};
use crate::test::nextest;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Write the figures of this build into the budget instead of holding it against them
    #[arg(long)]
    bless: bool,
}

pub(crate) fn run(args: &Args) -> Outcome {
    require_kernel("bpf")?;
    setup::ensure(&[BUILD, TEST, KERNEL])?;
    let mut stages = Stages::new();
    if stages.stage("object", || {
        shell::run(&mut cargo(["build", "--package", "tollgate-datapath"])?)
    }) {
        stages.stage("budget", || {
            let mut command = nextest("binary_id(tollgate-tests::datapath) & test(budget)")?;
            if args.bless {
                command.env("TOLLGATE_BLESS", "1");
            }
            shell::run(&mut command)
        });
    }
    stages.finish("bpf")
}
