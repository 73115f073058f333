//! `cargo xtask test`: the suites in order, each with its time.

use std::fs;
use std::path::Path;

use clap::ValueEnum;

use crate::bpf::vm;
use crate::nextest::{BUILD_SELECTION, nextest};
use crate::rights::require_kernel;
use crate::setup::{self, ASSERTION, BENCH, BUILD, E2E, FUZZ, IDP, KERNEL, TEST, VM, npm, pip};
use crate::shell::{self, Failure, Outcome, Stages, cargo};
use crate::{bench, fuzz};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Which suites; without a name, all
    #[arg(value_enum)]
    suites: Vec<Suite>,
    /// Only what needs no rights: unit, api and fuzz
    #[arg(long, conflicts_with = "suites")]
    unprivileged: bool,
    /// Beyond the core: every fuzz target, a real identity provider, assertions checked by PyJWT, what identity may cost, the benchmarks
    /// once each
    #[arg(long)]
    full: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Suite {
    /// Unit, property and documentation tests
    Unit,
    /// The sidecar in-process over real sockets
    Api,
    /// Packet fixtures through the kernel's test run, verifier budget
    Datapath,
    /// Namespaces and the real binary
    E2e,
    /// The fuzz targets, some seconds each
    Fuzz,
    /// All of them
    All,
}

const CORE: &[Suite] = &[
    Suite::Unit,
    Suite::Api,
    Suite::Datapath,
    Suite::E2e,
    Suite::Fuzz,
];

/// Seconds for each fuzz target: enough for the seeds and for what lies near them.
const SMOKE: u32 = 10;

pub(crate) fn run(args: &Args) -> Outcome {
    let suites = chosen(args);
    let kernel = suites.iter().any(|suite| suite.needs_kernel());
    if kernel {
        require_kernel("test (of the suites datapath and e2e)")?;
    }
    let mut needs = vec![BUILD, TEST];
    if kernel {
        needs.push(KERNEL);
    }
    if suites.contains(&Suite::E2e) {
        needs.push(E2E);
    }
    if suites.contains(&Suite::Fuzz) {
        needs.push(FUZZ);
    }
    if args.full {
        needs.extend([FUZZ, IDP, ASSERTION, BENCH, VM]);
    }
    setup::ensure(&needs)?;

    let mut stages = Stages::new();
    let is_built = stages.stage("build", || {
        shell::run(cargo(["build", "--bins", "--tests"])?.args(BUILD_SELECTION))
    });
    if is_built {
        for suite in suites {
            stages.stage(suite.name(), || suite.run(args.full));
        }
    }
    if is_built && args.full {
        println!(
            "\n--full: beyond the core there are the fuzz target of the configuration (whose seeds are in the suite api), an identity provider, a verifier of \
             assertions in Python, upgrades between two builds, other kernels in virtual machines, counts of instructions and allocations, and \
             the benchmarks in test mode; stages for peers, the chart and a browser do not exist yet, so nothing of them was run"
        );
        stages.stage("idp", identity_provider);
        stages.stage("assertion", assertion);
        stages.stage("upgrades", upgrades);
        stages.stage("kernels", || vm::run(&vm::Args::default()));
        stages.stage("counts", bench::counts);
        stages.stage("benches", benches);
    }
    stages.finish("test")
}

/// The suite that lives with a certified provider of tokens, on loopback.
fn identity_provider() -> Outcome {
    let mut command = nextest("binary_id(tollgate-tests::idp)")?;
    shell::run(command.env("TOLLGATE_IDP", npm::folder()?))
}

/// The suite that has assertions checked by a library of others' making.
fn assertion() -> Outcome {
    let mut command = nextest("binary_id(tollgate-tests::assertion)")?;
    shell::run(command.env("TOLLGATE_PYTHON", pip::python()?))
}

/// Restarts, upgrades and kills under traffic, between this build and one of another version, layout and keys. As they are
/// deployed: a daemon that is not optimised meets a fraction of the connections.
fn upgrades() -> Outcome {
    const PROFILE: &str = "quick-release";
    let folder = Path::new("target").join(PROFILE);
    let (this, next) = (folder.join("tollgate"), folder.join("tollgate-next"));
    let build = |features: &[&str]| {
        let mut build = cargo(["build", "--package", "tollgate", "--profile", PROFILE])?;
        shell::run(build.args(features))
    };
    build(&["--features", "next"])?;
    fs::copy(&this, &next).map_err(|error| Failure::new(format!("{}: {error}", next.display())))?;
    build(&[])?;
    let mut command = cargo(["nextest", "run", "--no-tests", "fail"])?;
    command
        .args(["--package", "tollgate-tests", "--test", "e2e"])
        .args(["--cargo-profile", PROFILE, "--no-capture"])
        .args(["-E", "test(restarts_upgrades_and_kills_under_traffic)"]);
    for (name, path) in [("TOLLGATE_BIN", this), ("TOLLGATE_NEXT_BIN", next)] {
        let path = std::path::absolute(&path)
            .map_err(|error| Failure::new(format!("{}: {error}", path.display())))?;
        command.env(name, path);
    }
    shell::run(&mut command)
}

/// Each benchmark once; those under callgrind have been run already, and are no test.
fn benches() -> Outcome {
    let mut command = cargo(["test", "--package", "tollgate-benches"])?;
    shell::run(command.args(["--bench", "identity", "--bench", "clock"]))
}

fn chosen(args: &Args) -> Vec<Suite> {
    if args.unprivileged {
        return CORE
            .iter()
            .copied()
            .filter(|suite| !suite.needs_kernel())
            .collect();
    }
    if args.suites.is_empty() || args.suites.contains(&Suite::All) {
        return CORE.to_vec();
    }
    // In the order of cost, whatever the order on the command line.
    CORE.iter()
        .copied()
        .filter(|suite| args.suites.contains(suite))
        .collect()
}

impl Suite {
    const fn name(self) -> &'static str {
        match self {
            Self::Unit => "unit",
            Self::Api => "api",
            Self::Datapath => "datapath",
            Self::E2e => "e2e",
            Self::Fuzz => "fuzz",
            Self::All => "all",
        }
    }

    fn needs_kernel(self) -> bool {
        matches!(self, Self::Datapath | Self::E2e)
    }

    /// What nextest runs for it.
    fn filter(self) -> String {
        const BENCH: &str = "binary_id(tollgate-bench-l4::smoke)";
        match self {
            // Everything that is not one of the three suites, the support library's own tests included.
            Self::Unit => format!("not (package(tollgate-tests) & kind(test) | {BENCH})"),
            // What drives programs for the benchmark is tried beside them.
            Self::Datapath => format!("binary_id(tollgate-tests::datapath) | {BENCH}"),
            _ => format!("binary_id(tollgate-tests::{})", self.name()),
        }
    }

    fn run(self, full: bool) -> Outcome {
        if self == Self::Fuzz {
            // The configuration's target takes the whole shell along, and minutes to build; the suite api replays its seeds.
            let targets = if full { fuzz::ALL } else { fuzz::LIGHT };
            return fuzz::smoke(targets, SMOKE);
        }
        if self != Self::Unit {
            return shell::run(&mut nextest(&self.filter())?);
        }
        shell::run(&mut nextest(&self.filter())?)?;
        let mut doc = cargo(["test", "--quiet", "--doc"])?;
        shell::run(
            doc.args(BUILD_SELECTION)
                // The second would become something else than what the build scripts stand on, and these and the eBPF
                // objects would be built anew.
                .args([
                    "--exclude",
                    "tollgate-tests",
                    "--exclude",
                    "tollgate-ebpf-build",
                ]),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(suites: &[Suite], unprivileged: bool) -> Args {
        Args {
            suites: suites.to_vec(),
            unprivileged,
            full: false,
        }
    }

    fn names(args: &Args) -> Vec<&'static str> {
        chosen(args).into_iter().map(Suite::name).collect()
    }

    #[test]
    fn without_a_name_all_suites_run_in_order() {
        assert_eq!(
            names(&args(&[], false)),
            ["unit", "api", "datapath", "e2e", "fuzz"]
        );
        assert_eq!(
            names(&args(&[Suite::All], false)),
            ["unit", "api", "datapath", "e2e", "fuzz"]
        );
    }

    #[test]
    fn named_suites_run_in_the_order_of_cost() {
        assert_eq!(
            names(&args(&[Suite::E2e, Suite::Unit], false)),
            ["unit", "e2e"]
        );
    }

    #[test]
    fn what_loads_programs_is_in_no_unit_test() {
        let kernel = "binary_id(tollgate-bench-l4::smoke)";
        assert!(Suite::Datapath.filter().ends_with(kernel));
        assert_eq!(
            Suite::Unit.filter(),
            format!("not (package(tollgate-tests) & kind(test) | {kernel})")
        );
    }

    #[test]
    fn without_rights_nothing_that_loads_programs_is_chosen() {
        assert_eq!(names(&args(&[], true)), ["unit", "api", "fuzz"]);
    }
}
