//! The project's own verbs. `cargo xtask` lists them; every verb first sets up what it needs of the machine.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::shell::Outcome;

mod bench;
mod bpf;
mod check;
mod demo;
mod docs;
mod fuzz;
mod mutants;
mod nextest;
mod rights;
mod setup;
mod shell;
mod test;
mod tidy;

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    about = "Tollgate's own verbs",
    disable_version_flag = true
)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Make this machine able to build and test: `cargo xtask setup --with core,e2e`
    Setup(setup::Args),
    /// Everything that judges the sources without running them: tidy, fmt, deny, clippy, docs, rustdoc
    Check,
    /// Only the house's rules: who may import whom, sizes, what may stand where
    Tidy,
    /// Build the eBPF object and hold each program against its verifier budget
    Bpf(bpf::Args),
    /// Run the suites: `cargo xtask test`, `cargo xtask test unit api`, `cargo xtask test --unprivileged`
    Test(test::Args),
    /// What identity costs a request, held against its limits: `cargo xtask bench --counts`; what a packet costs: `bench l4`
    Bench(bench::Args),
    /// Run the fuzz targets: `cargo xtask fuzz`, `cargo xtask fuzz token --seconds 600`
    Fuzz(fuzz::Args),
    /// Change the code line by line and see which change no test notices
    Mutants(mutants::Args),
    /// Build and run the self-contained demo: `cargo xtask demo --once`
    Demo(demo::Args),
    /// Write the generated pages of docs/
    Docs(docs::Args),
}

fn main() -> ExitCode {
    match dispatch(Cli::parse().verb) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("\nxtask: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(verb: Verb) -> Outcome {
    match verb {
        Verb::Setup(args) => setup::run(&args),
        Verb::Check => check::run(),
        Verb::Tidy => tidy::run(),
        Verb::Bpf(args) => bpf::run(&args),
        Verb::Test(args) => test::run(&args),
        Verb::Bench(args) => bench::run(&args),
        Verb::Fuzz(args) => fuzz::run(&args),
        Verb::Mutants(args) => mutants::run(&args),
        Verb::Demo(args) => demo::run(&args),
        Verb::Docs(args) => docs::run(&args),
    }
}
