//! `cargo xtask bpf vm`: Debian's kernels in virtual machines. They load the same programs, run the packet fixtures and
//! steering, and take packets out of tunnels by modules of their own.

use std::time::Duration;

use crate::nextest::BUILD_SELECTION;
use crate::setup::{self, BUILD, VM, guest};
use crate::shell::{self, Failure, Outcome, Stages, built, cargo};

mod image;
mod machine;
mod suite;

use image::Image;
use suite::Run;

/// How long a machine may take; it is emulated, and takes a tenth of it.
const LIMIT: Duration = Duration::from_secs(30 * 60);

#[derive(clap::Args, Default)]
pub(crate) struct Args {
    /// Only this kernel: `--kernel 6.1`
    #[arg(long, value_name = "SERIES")]
    kernel: Option<String>,
    /// Only tests whose names contain this, of all in both suites
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
}

/// What each kernel is to show. What counts instructions or takes a million packets is the same on every kernel.
const SUITES: &[(&str, &str, &[&str])] = &[
    (
        "datapath",
        "suites/datapath/main.rs",
        &[
            "fixtures::",
            "verdicts::",
            "steer::",
            "decap::",
            "routes::",
            "life::",
            "nat::packets_are",
            "nat::errors_are",
        ],
    ),
    (
        "e2e",
        "suites/e2e/main.rs",
        &[
            "api::",
            "tunnel::",
            "decap::",
            "life::",
            "steering::",
            "health_vip::",
            "nat::bulk_goes_both_ways_with_generic",
        ],
    ),
    ("vm", "suites/vm/main.rs", &[]),
];

pub(crate) fn run(args: &Args) -> Outcome {
    let wanted = args.kernel.as_deref();
    let guests: Vec<_> = guest::GUESTS
        .iter()
        .filter(|guest| wanted.is_none_or(|wanted| guest.series == wanted))
        .collect();
    if let (Some(wanted), true) = (wanted, guests.is_empty()) {
        let all: Vec<_> = guest::GUESTS.iter().map(|guest| guest.series).collect();
        return Err(Failure::new(format!(
            "--kernel {wanted}: there are {}",
            all.join(" and ")
        )));
    }
    setup::ensure(&[BUILD, VM])?;
    let mut stages = Stages::new();
    let mut runs = Vec::new();
    let is_built = stages.stage("build", || {
        runs = build(args.only.as_deref())?;
        Ok(())
    });
    if is_built {
        for guest in guests {
            stages.stage(guest.series, || {
                let image = Image::make(guest, &runs, &built("tollgate")?)?;
                machine::boot(guest, &image, &runs, LIMIT)
            });
        }
    }
    stages.finish("bpf vm")
}

/// Builds the suites; cargo says where each binary is.
fn build(only: Option<&str>) -> Outcome<Vec<Run>> {
    shell::run(cargo(["build", "--bins", "--tests"])?.args(BUILD_SELECTION))?;
    let mut command = cargo(["test", "--no-run", "--bins", "--tests"])?;
    let said = shell::errors(command.args(BUILD_SELECTION))?;
    SUITES
        .iter()
        .map(|&(name, source, arguments)| {
            let binary = executable(&said, source).ok_or_else(|| {
                Failure::new(format!(
                    "cargo does not say where it built {source}:\n{said}"
                ))
            })?;
            Ok(Run {
                name,
                binary: shell::root().join(binary),
                arguments: match only {
                    Some(only) => vec![only.to_owned()],
                    None => arguments.iter().map(|&word| word.to_owned()).collect(),
                },
                may_be_empty: only.is_some(),
            })
        })
        .collect()
}

/// The path of `  Executable suites/e2e/main.rs (target/debug/deps/e2e-0123)`.
fn executable<'a>(said: &'a str, source: &str) -> Option<&'a str> {
    said.lines()
        .filter_map(|line| line.trim().strip_prefix("Executable "))
        .find_map(|line| {
            line.strip_prefix(source)?
                .trim()
                .strip_prefix('(')?
                .strip_suffix(')')
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_binary_of_a_suite_is_the_one_that_cargo_names_with_its_source() {
        let said = "  Executable unittests src/lib.rs (target/debug/deps/tollgate-1)\n  \
                    Executable suites/e2e/main.rs (target/debug/deps/e2e-2)\n";
        assert_eq!(
            executable(said, "suites/e2e/main.rs"),
            Some("target/debug/deps/e2e-2")
        );
        assert_eq!(executable(said, "suites/api/main.rs"), None);
    }
}
