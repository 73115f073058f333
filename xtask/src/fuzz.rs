//! `cargo xtask fuzz`: libFuzzer on what strangers write.
//!
//! The instrumentation is a matter of compiler flags, the same that cargo-fuzz passes; so the targets build on stable
//! Rust and without a further tool, and lie where cargo-fuzz finds them as well. Without its sanitizers: what is fuzzed
//! forbids unsafe code, but for the loads of `ebpf/src/packet.rs`, whose bounds are asserted when they are compiled; and the
//! C of aws-lc has fuzzers of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::ValueEnum;

use crate::setup::{self, FUZZ};
use crate::shell::{self, Failure, Outcome, cargo};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Which targets; without a name, all
    #[arg(value_enum)]
    targets: Vec<Target>,
    /// How long each runs
    #[arg(long, default_value_t = 60, value_name = "N")]
    seconds: u32,
    /// Run one target on this input alone
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Target {
    /// Tokens and the requests that carry them
    Token,
    /// Key sets
    Jwks,
    /// What proxies say of where a client is
    Forwarded,
    /// Rules over claims and requests
    Policy,
    /// HTTP/1.1, from clients and from servers
    H1,
    /// Packets through the datapath's pipeline, on the host
    Packet,
    /// The configuration's text
    Config,
}

/// Those that stand on the cores alone, and build in a fraction of the time.
pub(crate) const LIGHT: &[Target] = &[
    Target::Token,
    Target::Jwks,
    Target::Forwarded,
    Target::Policy,
    Target::H1,
    Target::Packet,
];
pub(crate) const ALL: &[Target] = &[
    Target::Token,
    Target::Jwks,
    Target::Forwarded,
    Target::Policy,
    Target::H1,
    Target::Packet,
    Target::Config,
];

/// Coverage by edges and by compared values, for all code; libFuzzer's own documentation names them.
const INSTRUMENTED: &str = "-Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares \
    -Cllvm-args=-simplifycfg-branch-fold-threshold=0";

pub(crate) fn run(args: &Args) -> Outcome {
    setup::ensure(&[FUZZ])?;
    let targets = if args.targets.is_empty() {
        ALL
    } else {
        &args.targets
    };
    match (&args.input, targets) {
        (None, _) => smoke(targets, args.seconds),
        (Some(input), [one]) => {
            let input = std::path::absolute(input)
                .map_err(|error| Failure::new(format!("{}: {error}", input.display())))?;
            shell::run(built("run", &[*one], one.set())?.arg("--").arg(input))
        }
        (Some(_), _) => Err(Failure::new(
            "--input wants the one target that it is for: cargo xtask fuzz token --input FILE",
        )),
    }
}

/// Builds the targets and runs each for so many seconds, beginning with its seeds and with what earlier runs found.
pub(crate) fn smoke(targets: &[Target], seconds: u32) -> Outcome {
    // One set of features for all that follows, else each target would build its own dependencies.
    let set = if targets.contains(&Target::Config) {
        ALL
    } else {
        LIGHT
    };
    shell::run(&mut built("build", targets, set)?)?;
    for target in targets {
        target.fuzz(seconds, set)?;
    }
    Ok(())
}

/// A cargo command over the targets, with the instrumentation and what `set` is built with.
fn built(verb: &str, targets: &[Target], set: &[Target]) -> Outcome<Command> {
    let mut command = cargo([verb, "--release", "--manifest-path", "fuzz/Cargo.toml"])?;
    // A triple, even our own, keeps the flags from build scripts and macros.
    command.args(["--target", "host-tuple", "--target-dir", "target/fuzz"]);
    if !set.contains(&Target::Config) {
        command.arg("--no-default-features");
    }
    for target in targets {
        command.args(["--bin", target.name()]);
    }
    // The kernel side has no part in it: an empty object is enough to build the shell.
    command
        .env("RUSTFLAGS", INSTRUMENTED)
        .env("TOLLGATE_BPF_SKIP", "1");
    Ok(command)
}

impl Target {
    const fn name(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Jwks => "jwks",
            Self::Forwarded => "forwarded",
            Self::Policy => "policy",
            Self::H1 => "h1",
            Self::Packet => "packet",
            Self::Config => "config",
        }
    }

    /// What it is built with where it stands alone.
    fn set(self) -> &'static [Self] {
        if LIGHT.contains(&self) { LIGHT } else { ALL }
    }

    /// What others keep that is an input as well.
    const fn fixtures(self) -> &'static str {
        match self {
            Self::Token | Self::Jwks | Self::Policy => "benches/fixtures",
            // They have none but their seeds.
            Self::Forwarded => "fuzz/seeds/forwarded",
            Self::H1 => "fuzz/seeds/h1",
            Self::Packet => "fuzz/seeds/packet",
            Self::Config => "tests/fixtures/configs",
        }
    }

    /// The longest input: a little over what the product reads, so that the limit itself is tried.
    const fn longest(self) -> usize {
        match self {
            Self::Policy => 5 << 10,
            Self::Token => 17 << 10,
            Self::Jwks | Self::Config => 32 << 10,
            // A first fragment and a later one of full size, with some small ones.
            Self::Packet => 4 << 10,
            // The limits that it runs with are smaller still.
            Self::H1 => 2 << 10,
            // Of lists and quotes all is tried in short ones.
            Self::Forwarded => 1 << 10,
        }
    }

    fn fuzz(self, seconds: u32, set: &[Self]) -> Outcome {
        let name = self.name();
        let work = Path::new("target/fuzz");
        let (corpus, artifacts) = (
            work.join("corpus").join(name),
            work.join("artifacts").join(name),
        );
        for folder in [&corpus, &artifacts] {
            let folder = shell::root().join(folder);
            fs::create_dir_all(&folder)
                .map_err(|error| Failure::new(format!("{}: {error}", folder.display())))?;
        }
        let mut command = built("run", &[self], set)?;
        command.arg("--quiet").arg("--");
        command.arg(format!("-max_total_time={seconds}"));
        command.arg(format!("-max_len={}", self.longest()));
        command.arg(format!("-artifact_prefix={}/", artifacts.display()));
        // An input that takes seconds is a finding too.
        command.args(["-timeout=10", "-rss_limit_mb=2048", "-print_final_stats=1"]);
        command.arg(format!("-dict=fuzz/seeds/{name}.dict"));
        // New inputs go to the first folder.
        command.arg(corpus).arg(format!("fuzz/seeds/{name}"));
        command.arg(self.fixtures());
        shell::run(&mut command).map_err(|failure| {
            Failure::new(format!(
                "{failure}\nthe input lies in {}; once more with it alone: cargo xtask fuzz {name} --input FILE",
                artifacts.display()
            ))
        })
    }
}
