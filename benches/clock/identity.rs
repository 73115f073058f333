//! The same comparison by the clock: what the token costs beside the bare check of its signature, both in turns, so that
//! whatever else the machine does falls on both.
//!
//! `cargo bench -p tollgate-benches --bench clock`. The medians are what to read; on a busy machine even they wander.

use std::hint::black_box;
use std::time::{Duration, Instant};

use tollgate_auth::token::{Algorithm, Look, VerdictCache, verify};
use tollgate_benches::{ALGORITHMS, Bare, NOW, Outcome, World};

/// Turns of each; the median is over these.
const TURNS: usize = 400;

/// Signature checks in a turn, and cache hits in one: some tenths of a millisecond.
const CHECKS: u32 = 10;
const HITS: u32 = 500;

fn main() -> Outcome<()> {
    // `cargo test --benches` wants to know whether it runs, not how fast.
    let turns = if std::env::args().any(|word| word == "--bench") {
        TURNS
    } else {
        1
    };
    println!(
        "{:<10} {:>12} {:>16} {:>7}",
        "", "bare", "parse + verify", "ratio"
    );
    for algorithm in ALGORITHMS {
        let bare = Bare::new(algorithm)?;
        let world = World::new(algorithm)?;
        let [bare, ours] = medians(
            turns,
            CHECKS,
            || _ = black_box(black_box(&bare).verify()),
            || {
                let token = black_box(world.token());
                drop(black_box(verify(token, &[world.candidate()], NOW)));
            },
        );
        let ratio = ours.as_secs_f64() / bare.as_secs_f64();
        println!("{algorithm:<10} {bare:>12.2?} {ours:>16.2?} {ratio:>7.3}");
    }
    let known = World::new(Algorithm::RS256)?;
    let cache = VerdictCache::new(16 << 20);
    let headers = World::inject_set();
    let look = || cache.look(black_box(known.token()), &[known.candidate()], NOW);
    let [hit, ready] = medians(
        turns,
        HITS,
        || drop(black_box(look())),
        || {
            if let Look::Done(checked) = look()
                && let Ok(verdict) = &checked.verdict
            {
                drop(black_box(cache.headers(verdict, &headers)));
            }
        },
    );
    println!("cache hit {hit:.0?}, with its headers {ready:.0?}");
    Ok(())
}

/// The median time of one call of each, over as many turns, each of so many calls.
fn medians(turns: usize, calls: u32, one: impl Fn(), other: impl Fn()) -> [Duration; 2] {
    let turn = |work: &dyn Fn()| {
        let start = Instant::now();
        (0..calls).for_each(|_| work());
        start.elapsed() / calls
    };
    // The first of each fills caches and finds the branches.
    turn(&one);
    turn(&other);
    let (ones, others) = (0..turns).map(|_| (turn(&one), turn(&other))).unzip();
    [ones, others].map(|mut times: Vec<Duration>| {
        times.sort_unstable();
        times[times.len() / 2]
    })
}
