//! `cargo xtask mutants`: which lines could be wrong without a test that notices. Hours, so no suite runs it.

use crate::setup::{self, MUTANTS};
use crate::shell::{self, Outcome, cargo};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// A package and, after a slash, files in its `src`; `.cargo/mutants.toml` says what is left out
    #[arg(
        default_value = "tollgate-auth/token/**",
        value_name = "PACKAGE[/FILES]"
    )]
    room: String,
    /// Further words for `cargo mutants`, such as `--list` or `--iterate`
    #[arg(last = true)]
    further: Vec<String>,
}

pub(crate) fn run(args: &Args) -> Outcome {
    setup::ensure(&[MUTANTS])?;
    let mut command = cargo(["mutants", "--output", "target"])?;
    match args.room.split_once('/') {
        Some((package, files)) => {
            command.args(["--package", package]);
            command.arg("--file").arg(format!("**/src/{files}"));
        }
        None => {
            command.args(["--package", &args.room]);
        }
    }
    shell::run(command.args(&args.further))
}
