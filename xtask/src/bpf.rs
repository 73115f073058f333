//! `cargo xtask bpf`: the kernel side alone, held against its verifier budget; `bpf vm`, on other kernels.

use crate::nextest::nextest;
use crate::rights::require_kernel;
use crate::setup::{self, BUILD, KERNEL, TEST};
use crate::shell::{self, Outcome, Stages, cargo};

pub(crate) mod vm;

#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Option<Verb>,
    /// Write the figures of this build into the budget instead of holding it against them
    #[arg(long)]
    bless: bool,
}

#[derive(clap::Subcommand)]
enum Verb {
    /// Run fixtures, steering and tunnels on Debian's kernels, in virtual machines; wants no rights
    Vm(vm::Args),
}

pub(crate) fn run(args: &Args) -> Outcome {
    if let Some(Verb::Vm(args)) = &args.verb {
        return vm::run(args);
    }
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
