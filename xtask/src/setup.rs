//! `cargo xtask setup`: a bare Debian machine with this Rust toolchain becomes one that builds and tests.
//!
//! Everything is checked by presence, so that a machine that has it all pays a few file lookups and one `rustc`.

use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};

use clap::ValueEnum;

use crate::setup::debian::Package;
use crate::setup::tools::{CARGO_DENY, CARGO_MUTANTS, GUNGRAUN_RUNNER, NEXTEST, Tool};
use crate::shell::{Failure, Outcome};

mod bpf_linker;
pub(crate) mod bpffs;
mod debian;
pub(crate) mod guest;
pub(crate) mod npm;
pub(crate) mod pip;
mod toolchain;
mod tools;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// What the machine is for; repeat or separate by commas
    #[arg(long, value_enum, value_delimiter = ',', default_value = "core")]
    with: Vec<Group>,
    /// Install without asking
    #[arg(long)]
    yes: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Group {
    /// Build, check and run the unit, api and datapath suites
    Core,
    /// What the end-to-end suite drives from outside
    E2e,
    /// Node.js and the identity provider of the suite `idp`
    Idp,
    /// Python and the library that checks assertions in the suite `assertion`
    Assertion,
    /// The fuzz targets
    Fuzz,
    /// Count instructions
    Bench,
    /// A browser for the sign-in suites
    Browser,
    /// The peers that benchmarks compare with
    Peers,
    /// Virtual machines with other kernels
    Vm,
}

/// One thing a verb cannot do without.
#[derive(Clone, Copy)]
pub(crate) enum Need {
    /// Debian packages, each found by what it brings.
    Packages(&'static [Package]),
    /// The sources of `core`, built for the BPF target.
    RustSource,
    /// bpf-linker against the toolchain's own LLVM.
    BpfLinker,
    /// A cargo subcommand.
    Tool(&'static Tool),
    /// The npm packages of the suite `idp`.
    NpmPackages,
    /// The packages of PyPI of the suite `assertion`.
    PythonPackages,
    /// The BPF file system for pins, where we may mount it.
    BpfFs,
    /// Kernels of Debian's for virtual machines.
    GuestKernels,
}

/// Compile the workspace, the kernel side included.
pub(crate) const BUILD: &[Need] = &[
    Need::Packages(debian::COMPILER),
    Need::RustSource,
    Need::BpfLinker,
];
/// Judge the sources.
pub(crate) const CHECK: &[Need] = &[Need::Tool(&CARGO_DENY)];
/// Run the suites that need no rights.
pub(crate) const TEST: &[Need] = &[Need::Tool(&NEXTEST)];
/// Load programs into the kernel.
pub(crate) const KERNEL: &[Need] = &[Need::BpfFs];
/// Watch the product from outside.
pub(crate) const DEMO: &[Need] = &[Need::Packages(debian::DEMO)];
/// Drive the product from outside.
pub(crate) const E2E: &[Need] = &[Need::Packages(debian::E2E)];

/// Run a real identity provider on loopback.
pub(crate) const IDP: &[Need] = &[Need::Packages(debian::IDP), Need::NpmPackages];
/// Check assertions by a library of others' making.
pub(crate) const ASSERTION: &[Need] = &[Need::Packages(debian::PYTHON), Need::PythonPackages];
/// Build and run the fuzz targets.
pub(crate) const FUZZ: &[Need] = &[
    Need::Packages(debian::COMPILER),
    Need::Packages(debian::FUZZ),
];
/// Count what a benchmark does.
pub(crate) const BENCH: &[Need] = &[
    Need::Packages(debian::COMPILER),
    Need::Packages(debian::BENCH),
    Need::Tool(&GUNGRAUN_RUNNER),
];
/// Measure what a packet costs.
pub(crate) const BENCH_L4: &[Need] = &[Need::Packages(debian::LINKS)];
/// Boot other kernels.
pub(crate) const VM: &[Need] = &[
    Need::Packages(debian::E2E),
    Need::Packages(debian::VM),
    Need::GuestKernels,
];
/// Ask the tests what they would not notice.
pub(crate) const MUTANTS: &[Need] = &[
    Need::Packages(debian::COMPILER),
    Need::Tool(&NEXTEST),
    Need::Tool(&CARGO_MUTANTS),
];

pub(crate) fn run(args: &Args) -> Outcome {
    let mut needs = Vec::new();
    for group in &args.with {
        needs.extend(group.needs());
    }
    if install(&needs, args.yes)? == 0 {
        println!("setup: nothing to do");
    }
    Ok(())
}

/// What another verb calls first: silent when everything is there.
pub(crate) fn ensure(needs: &[&[Need]]) -> Outcome {
    install(&needs.concat(), false).map(|_| ())
}

impl Group {
    fn needs(self) -> Vec<Need> {
        match self {
            Self::Core => [BUILD, CHECK, TEST, KERNEL].concat(),
            Self::E2e => E2E.to_vec(),
            Self::Idp => IDP.to_vec(),
            Self::Assertion => ASSERTION.to_vec(),
            Self::Fuzz => FUZZ.to_vec(),
            Self::Bench => [BENCH, BENCH_L4].concat(),
            Self::Browser => vec![Need::Packages(debian::BROWSER)],
            Self::Peers => vec![Need::Packages(debian::PEERS)],
            Self::Vm => VM.to_vec(),
        }
    }
}

/// What is missing, each with how to get it.
#[derive(Default)]
struct Missing {
    packages: Vec<&'static str>,
    others: Vec<Need>,
}

impl Missing {
    fn look(needs: &[Need]) -> Outcome<Self> {
        let mut missing = Self::default();
        for need in needs {
            match need {
                Need::Packages(packages) => missing.packages.extend(debian::missing(packages)),
                Need::RustSource if toolchain::has_source()? => {}
                Need::BpfLinker if bpf_linker::is_ready()? => {}
                Need::Tool(tool) if tool.is_ready()? => {}
                Need::NpmPackages if npm::is_ready()? => {}
                Need::PythonPackages if pip::is_ready()? => {}
                Need::BpfFs if bpffs::is_ready()? => {}
                Need::GuestKernels if guest::is_ready() => {}
                _ => missing.others.push(*need),
            }
        }
        missing.packages.sort_unstable();
        missing.packages.dedup();
        Ok(missing)
    }

    fn len(&self) -> usize {
        self.packages.len() + self.others.len()
    }

    /// The list shown before anything is touched.
    fn list(&self) -> Outcome<String> {
        let mut list = String::from("setup will install:\n");
        if !self.packages.is_empty() {
            let _ = writeln!(list, "  Debian packages: {}", self.packages.join(" "));
        }
        for need in &self.others {
            let what = match need {
                Need::Packages(_) => continue,
                Need::RustSource => "rust-src, a component of this toolchain, by rustup".to_owned(),
                Need::BpfLinker => bpf_linker::describe()?,
                Need::Tool(tool) => tool.describe()?,
                Need::NpmPackages => npm::describe()?,
                Need::PythonPackages => pip::describe()?,
                Need::BpfFs => bpffs::describe(),
                Need::GuestKernels => guest::describe()?,
            };
            let _ = writeln!(list, "  {what}");
        }
        Ok(list)
    }
}

/// Installs what is missing; says how much that was. One thing that cannot be had does not stop the others.
fn install(needs: &[Need], yes: bool) -> Outcome<usize> {
    let missing = Missing::look(needs)?;
    if missing.len() == 0 {
        return Ok(0);
    }
    print!("{}", missing.list()?);
    if !yes && std::io::stdin().is_terminal() && !confirmed()? {
        return Err(Failure::new("nothing was installed"));
    }
    let mut lacking = Vec::new();
    if !missing.packages.is_empty() {
        lacking.extend(debian::install(&missing.packages).err());
    }
    for need in &missing.others {
        let outcome = match need {
            Need::Packages(_) => Ok(()),
            Need::RustSource => toolchain::add_source(),
            Need::BpfLinker => bpf_linker::install(),
            Need::Tool(tool) => tool.install(),
            Need::NpmPackages => npm::install(),
            Need::PythonPackages => pip::install(),
            Need::BpfFs => bpffs::mount(),
            Need::GuestKernels => guest::install(),
        };
        lacking.extend(outcome.err());
    }
    if lacking.is_empty() {
        return Ok(missing.len());
    }
    let why: Vec<String> = lacking
        .iter()
        .map(|failure| format!("  {failure}"))
        .collect();
    Err(Failure::new(format!(
        "setup could not get everything:\n{}",
        why.join("\n")
    )))
}

fn confirmed() -> Outcome<bool> {
    print!("go on? [Y/n] ");
    let trouble = |error| Failure::new(format!("no answer from the terminal: {error}"));
    std::io::stdout().flush().map_err(trouble)?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).map_err(trouble)?;
    Ok(matches!(answer.trim(), "" | "y" | "Y" | "yes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_names_every_missing_thing() {
        let missing = Missing {
            packages: vec!["ethtool", "iproute2"],
            others: vec![Need::RustSource, Need::Tool(&CARGO_DENY), Need::BpfFs],
        };
        let Ok(list) = missing.list() else {
            panic!("the list needs nothing of the machine")
        };
        for word in ["ethtool iproute2", "rust-src", "cargo-deny", "/sys/fs/bpf"] {
            assert!(list.contains(word), "{word} in {list}");
        }
        assert_eq!(missing.len(), 5);
    }

    #[test]
    fn core_brings_what_every_verb_but_the_end_to_end_suite_asks_for() {
        let core = Group::Core.needs();
        assert_eq!(
            core.len(),
            BUILD.len() + CHECK.len() + TEST.len() + KERNEL.len()
        );
    }
}
