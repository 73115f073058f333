//! `cargo xtask bench`: what identity and rules cost a request, held against its limits; `cargo xtask bench l4`: what a packet
//! costs. docs/bench.md says how to read it.

use std::fs;
use std::path::{Path, PathBuf};

use crate::bench::callgrind::instructions;
use crate::setup::{self, BENCH};
use crate::shell::{self, Failure, Outcome, cargo};

mod callgrind;
mod l4;

#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    other: Option<Other>,
    /// Only what does not depend on the clock: instructions and allocations
    #[arg(long)]
    counts: bool,
}

#[derive(clap::Subcommand)]
enum Other {
    /// What a packet costs in the datapath, beside what it could cost at least: `cargo xtask bench l4 --quick`
    L4(l4::Args),
}

/// What a token may cost, seen for the first time, in the instructions of the bare check of its signature.
const RATIO: f64 = 1.15;

/// What a token may cost that is known: a microsecond at two instructions a nanosecond, a sixth of it to spare.
const HIT: u64 = 5_000;

/// What an assertion may cost that is used again.
const AGAIN: u64 = 1_000;

/// What the passage of twenty fields and five ready claims may cost: below a microsecond.
const PASSAGE: u64 = 7_500;

/// Calls in one measurement of the cache, as benches/instr/identity.rs makes them.
const HITS: u64 = 1_000;

/// Lookups in one measurement of the routes, as benches/instr/routes.rs makes them.
const LOOKUPS: u64 = 1_000;

/// What finding a route among a thousand may cost, in the instructions of finding it among few. A table with templates has
/// one more place to look in than one without; hashes that fall into one group are told apart.
const FLAT: f64 = 1.4;

const ALGORITHMS: [&str; 3] = ["rs256", "es256", "eddsa"];

pub(crate) fn run(args: &Args) -> Outcome {
    if let Some(Other::L4(args)) = &args.other {
        return l4::run(args, &target()?.join("bench"));
    }
    setup::ensure(&[BENCH])?;
    // All are run, whichever fails: one figure explains the other.
    let counts = counts();
    if args.counts {
        return counts;
    }
    let clock = bench("clock");
    let (all, rules) = (bench("identity"), bench("policy"));
    counts.and(clock).and(all).and(rules)
}

/// What does not depend on the clock.
pub(crate) fn counts() -> Outcome {
    let (instructions, allocations, routes) = (counted(), bench("allocations"), routed());
    instructions.and(allocations).and(routes)
}

/// Instructions of finding a route: flat, however many routes there are.
fn routed() -> Outcome {
    let folder = target()?.join("gungraun");
    shell::run(
        cargo(["bench", "--package", "tollgate-benches"])?
            .args(["--bench", "routing"])
            .env("GUNGRAUN_HOME", &folder),
    )?;
    let results = folder.join("tollgate-benches/routing/routes");
    let mut over = Vec::new();
    for (function, few) in [("prefix", "ten"), ("merged", "one"), ("none", "one")] {
        let count = |case| -> Outcome<u64> {
            Ok(instructions(&result(&results, function, case))? / LOOKUPS)
        };
        let (few, many) = (count(few)?, count("thousand")?);
        println!("route by {function}: {few} among few, {many} among a thousand");
        if many as f64 > few as f64 * FLAT {
            over.push(format!(
                "{function} takes {many} instructions among a thousand routes and {few} among few"
            ));
        }
    }
    println!("limit: {FLAT} times\n");
    if over.is_empty() {
        return Ok(());
    }
    Err(Failure::new(format!("over its limit: {}", over.join("; "))))
}

/// Instructions under callgrind: the same on every run, so that they are a test as well.
fn counted() -> Outcome {
    let folder = target()?.join("gungraun");
    let results = folder.join("tollgate-benches/instructions/identity");
    // What a removed benchmark left behind is no figure of this run.
    if results.exists() {
        fs::remove_dir_all(&results)
            .map_err(|error| Failure::new(format!("{}: {error}", results.display())))?;
    }
    shell::run(
        cargo(["bench", "--package", "tollgate-benches"])?
            .args(["--bench", "instructions"])
            .env("GUNGRAUN_HOME", &folder),
    )?;
    let mut over = Vec::new();
    println!(
        "\n{:<10} {:>12} {:>16} {:>7}",
        "", "bare", "parse + verify", "ratio"
    );
    for algorithm in ALGORITHMS {
        let bare = instructions(&result(&results, "bare", algorithm))?;
        let ours = instructions(&result(&results, "cold", algorithm))?;
        let ratio = ours as f64 / bare as f64;
        println!("{algorithm:<10} {bare:>12} {ours:>16} {ratio:>7.3}");
        if ratio > RATIO {
            over.push(format!("{algorithm} takes {ratio:.3} times the bare check"));
        }
    }
    let hit = |name| -> Outcome<u64> {
        Ok(instructions(&result(&results, name, "rs256_thousand"))? / HITS)
    };
    let (found, with_headers) = (hit("hit")?, hit("hit_with_headers")?);
    println!("cache hit {found}, with its headers {with_headers}");
    if with_headers > HIT {
        over.push(format!("a cache hit takes {with_headers} instructions"));
    }
    let passage = |name| instructions(&result(&results, name, "twenty_fields"));
    let (ready, rendered) = (passage("inject_ready")?, passage("inject_rendered")?);
    println!("20 fields scrubbed, 5 claims injected: ready {ready}, rendered {rendered}");
    if ready > PASSAGE {
        over.push(format!(
            "the passage of a request's fields takes {ready} instructions"
        ));
    }
    let assertion = |name, case| instructions(&result(&results, name, case));
    let signed = assertion("assertion_signed", "once")?;
    let again = assertion("assertion_again", "thousand")? / HITS;
    println!("assertion signed {signed}, used again {again}");
    if again > AGAIN {
        over.push(format!(
            "an assertion that is used again takes {again} instructions"
        ));
    }
    println!(
        "limits: ratio {RATIO}, cache hit with headers {HIT}, assertion again {AGAIN}, passage {PASSAGE}\n"
    );
    if over.is_empty() {
        return Ok(());
    }
    Err(Failure::new(format!("over its limit: {}", over.join("; "))))
}

fn bench(name: &str) -> Outcome {
    shell::run(cargo(["bench", "--package", "tollgate-benches"])?.args(["--bench", name]))
}

fn result(folder: &Path, function: &str, case: &str) -> PathBuf {
    let name = format!("{function}.{case}");
    folder.join(&name).join(format!("callgrind.{name}.out"))
}

/// The target folder, in whose `debug` xtask itself lies.
fn target() -> Outcome<PathBuf> {
    let beside = shell::built("xtask")?;
    beside
        .ancestors()
        .nth(2)
        .map(Path::to_owned)
        .ok_or_else(|| Failure::new("xtask lies in no target folder"))
}
