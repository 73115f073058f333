//! What identity costs a request, in instructions: the check of a signature alone, the whole verdict on a token that
//! was never seen, the verdict on one that was, and the passage of a request's fields from the client to the API.
//!
//! `cargo xtask bench` runs this under callgrind and compares; docs/bench.md says how to read it.

#![expect(
    missing_docs,
    unused_qualifications,
    reason = "what gungraun's macros expand to"
)]
#![expect(
    clippy::expect_used,
    reason = "a benchmark that cannot be prepared has no figure to report"
)]

use std::hint::black_box;

use gungraun::prelude::*;
use tollgate_auth::header::InjectSet;
use tollgate_auth::token::{Algorithm, Look, VerdictCache, verify};
use tollgate_benches::{Bare, NOW, Passage, Vouched, World, received};
use tollgate_http::Fields;

/// Calls in one measurement of the cache: its housekeeping comes every so many, and is to be part of the mean.
const HITS: usize = 1_000;

#[library_benchmark(setup = bare_ready)]
#[bench::rs256(Algorithm::RS256)]
#[bench::es256(Algorithm::ES256)]
#[bench::eddsa(Algorithm::EdDSA)]
fn bare(check: Bare) -> (bool, Bare) {
    (black_box(&check).verify(), check)
}

#[library_benchmark(setup = world_ready)]
#[bench::rs256(Algorithm::RS256)]
#[bench::es256(Algorithm::ES256)]
#[bench::eddsa(Algorithm::EdDSA)]
fn cold(world: World) -> World {
    let verdict = verify(black_box(world.token()), &[world.candidate()], NOW);
    // Let go of inside: giving back the memory is part of the price.
    drop(black_box(verdict));
    world
}

#[library_benchmark(setup = known_ready)]
#[bench::rs256_thousand(Algorithm::RS256)]
fn hit(known: Known) -> Known {
    for _ in 0..HITS {
        drop(black_box(known.look()));
    }
    known
}

#[library_benchmark(setup = known_ready)]
#[bench::rs256_thousand(Algorithm::RS256)]
fn hit_with_headers(known: Known) -> Known {
    for _ in 0..HITS {
        if let Look::Done(checked) = black_box(known.look())
            && let Ok(verdict) = &checked.verdict
        {
            drop(black_box(known.cache.headers(verdict, &known.headers)));
        }
    }
    known
}

#[library_benchmark(setup = passage_ready)]
#[bench::twenty_fields(())]
fn inject_ready((passage, mut fields): (Passage, Fields)) -> (Passage, Fields) {
    black_box(&passage).inject_ready(black_box(&mut fields));
    (passage, fields)
}

#[library_benchmark(setup = passage_ready)]
#[bench::twenty_fields(())]
fn inject_rendered((passage, mut fields): (Passage, Fields)) -> (Passage, Fields) {
    drop(black_box(
        black_box(&passage).inject_rendered(black_box(&mut fields)),
    ));
    (passage, fields)
}

#[library_benchmark(setup = vouched_ready)]
#[bench::once(())]
fn assertion_signed(vouched: Vouched) -> Vouched {
    drop(black_box(black_box(&vouched).sign()));
    vouched
}

#[library_benchmark(setup = vouched_ready)]
#[bench::thousand(())]
fn assertion_again(vouched: Vouched) -> Vouched {
    for _ in 0..HITS {
        drop(black_box(black_box(&vouched).again()));
    }
    vouched
}

/// A cache that has seen the world's token.
struct Known {
    world: World,
    cache: VerdictCache,
    headers: InjectSet,
}

impl Known {
    fn look(&self) -> Look {
        let token = black_box(self.world.token());
        self.cache.look(token, &[self.world.candidate()], NOW)
    }
}

/// The first check computes what aws-lc-rs keeps with the key.
fn bare_ready(algorithm: Algorithm) -> Bare {
    let check = Bare::new(algorithm).expect("the fixtures parse");
    assert!(check.verify(), "the fixture's signature is good");
    check
}

fn world_ready(algorithm: Algorithm) -> World {
    let world = World::new(algorithm).expect("the fixtures parse");
    verify(world.token(), &[world.candidate()], NOW).expect("the fixture's token is good");
    world
}

fn known_ready(algorithm: Algorithm) -> Known {
    let known = Known {
        world: world_ready(algorithm),
        cache: VerdictCache::new(16 << 20),
        headers: World::inject_set(),
    };
    let Look::Done(checked) = known.look() else {
        unreachable!("nobody else looks");
    };
    let verdict = checked.verdict.expect("the fixture's token is good");
    known
        .cache
        .headers(&verdict, &known.headers)
        .expect("the claims can be written");
    known
}

fn vouched_ready((): ()) -> Vouched {
    Vouched::new().expect("the fixtures can be signed for")
}

fn passage_ready((): ()) -> (Passage, Fields) {
    (Passage::new().expect("the fixtures parse"), received())
}

library_benchmark_group!(
    name = identity,
    benchmarks = [
        bare,
        cold,
        hit,
        hit_with_headers,
        inject_ready,
        inject_rendered,
        assertion_signed,
        assertion_again
    ]
);

main!(library_benchmark_groups = identity);
