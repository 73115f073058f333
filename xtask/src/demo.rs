//! `cargo xtask demo`: build the product and let it show itself.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use crate::nextest::BUILD_SELECTION;
use crate::setup::{self, BUILD, DEMO, KERNEL};
use crate::shell::{self, Failure, Outcome, cargo};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Walk through the steps, print each with its result, clean up
    #[arg(long)]
    once: bool,
    /// Further words for `tollgate demo`
    #[arg(last = true)]
    further: Vec<String>,
}

pub(crate) fn run(args: &Args) -> Outcome {
    setup::ensure(&[BUILD, KERNEL, DEMO])?;
    // The development profile: dependencies are optimised already, and it is the build that the suites share.
    shell::run(
        cargo(["build"])?
            .args(BUILD_SELECTION)
            .args(["--bin", "tollgate"]),
    )?;
    let mut demo = Command::new(shell::built("tollgate")?);
    demo.arg("demo")
        .args(args.once.then_some("--once"))
        .args(&args.further);
    // Becoming the demo, rather than waiting for it: its exit code is ours, and Ctrl-C reaches it alone.
    let error = demo.exec();
    Err(Failure::new(format!(
        "{} did not start: {error}",
        demo.get_program().display()
    )))
}
