//! What a request with a known token allocates: nothing, the cache's housekeeping and its identity headers included.
//!
//! `cargo bench -p tollgate-benches --bench allocations`; it fails when that is not so.

use std::process::ExitCode;

use allocation_counter::{AllocationInfo, measure};
use tollgate_auth::token::{Algorithm, Look, VerdictCache, verify};
use tollgate_benches::exchange::{Exchange, request, response};
use tollgate_benches::{ALGORITHMS, NOW, Outcome, Passage, Vouched, World, received};

/// Requests with one known token. The cache looks after itself each few hundred.
const HITS: u64 = 100_000;

fn main() -> Outcome<ExitCode> {
    for algorithm in ALGORITHMS {
        let world = World::new(algorithm)?;
        let verdict = measure(|| drop(verify(world.token(), &[world.candidate()], NOW)));
        report(&format!("parse + verify {algorithm}"), 1, verdict);
    }
    let found = hits()?;
    report("cache hit with headers", HITS, found);
    let [ready, rendered] = passages()?;
    report("scrub, inject 5 ready", 1, ready);
    report("scrub, render, inject 5", 1, rendered);
    let [signed, again] = assertions()?;
    report("assertion signed", 1, signed);
    report("assertion used again", HITS, again);
    let exchanged = exchanges()?;
    report("HTTP/1.1 in and out, both ways", HITS, exchanged);
    if [found, ready, again, exchanged]
        .iter()
        .all(|one| one.count_total == 0)
    {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!(
        "neither a cache hit, nor the passage of its request, nor its assertion, nor HTTP/1.1 may allocate"
    );
    Ok(ExitCode::FAILURE)
}

/// What the fields of a request allocate on their way to the API, their token known or new.
fn passages() -> Outcome<[AllocationInfo; 2]> {
    let passage = Passage::new()?;
    let (mut one, mut other) = (received(), received());
    let ready = measure(|| passage.inject_ready(&mut one));
    let mut outcome = Ok(());
    let rendered = measure(|| outcome = passage.inject_rendered(&mut other));
    outcome?;
    // Twenty without the connection's own and the two forged ones.
    if one == other && one.len() == 17 + 5 {
        return Ok([ready, rendered]);
    }
    Err(format!("{} and {} fields came out", one.len(), other.len()).into())
}

/// What an assertion allocates that is signed, and what [`HITS`] do that are used again.
fn assertions() -> Outcome<[AllocationInfo; 2]> {
    let vouched = Vouched::new()?;
    let first = vouched.again()?;
    let signed = measure(|| drop(vouched.sign()));
    let mut same = 0;
    let again = measure(|| {
        for _ in 0..HITS {
            same += u64::from(vouched.again().is_ok_and(|value| value == first));
        }
    });
    if same == HITS {
        return Ok([signed, again]);
    }
    Err(format!("{same} of {HITS} assertions were used again").into())
}

/// What [`HITS`] requests allocate that are read, written, answered and answered on.
fn exchanges() -> Outcome<AllocationInfo> {
    let (request, response) = (request()?, response());
    let mut exchange = Exchange::new(&request, &response);
    // Room is made once.
    exchange.run()?;
    exchange.run()?;
    let mut good = 0;
    let measured = measure(|| {
        for _ in 0..HITS {
            good += u64::from(exchange.run().is_ok());
        }
    });
    if good == HITS {
        return Ok(measured);
    }
    Err(format!("{good} of {HITS} exchanges went well").into())
}

/// What [`HITS`] requests allocate, from the look for the token to the ready headers.
fn hits() -> Outcome<AllocationInfo> {
    let world = World::new(Algorithm::RS256)?;
    let cache = VerdictCache::new(16 << 20);
    let headers = World::inject_set();
    let mut good = 0;
    let mut request = || {
        let look = cache.look(world.token(), &[world.candidate()], NOW);
        let Look::Done(checked) = look else { return };
        let Ok(verdict) = &checked.verdict else {
            return;
        };
        good += u64::from(cache.headers(verdict, &headers).is_ok());
    };
    // The first verifies and renders, and the cache makes its tables.
    (0..1_000).for_each(|_| request());
    let found = measure(|| (0..HITS).for_each(|_| request()));
    if good == 1_000 + HITS {
        return Ok(found);
    }
    Err(format!("only {good} of {} requests found their token", 1_000 + HITS).into())
}

fn report(what: &str, times: u64, found: AllocationInfo) {
    println!(
        "{what:<28} {times:>7} times: {:>5} allocations, {:>7} bytes",
        found.count_total, found.bytes_total
    );
}
