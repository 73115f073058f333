//! What identity costs a request: a remembered token, a token seen for the first time, and the headers.
//!
//! `cargo bench -p tollgate-benches --bench identity`

use std::hint::black_box;

use criterion::{BatchSize, Criterion};
use tollgate_auth::header::{ManagedNames, scrub};
use tollgate_auth::policy::{HostMatch, Normalization, PathMatch, RouteMatch, RouteTable};
use tollgate_auth::token::{Algorithm, VerdictCache, verify};
use tollgate_benches::{ALGORITHMS, Bare, NOW, Outcome, Passage, Vouched, World, received};
use tollgate_http::{Method, Path};

fn main() -> Outcome<()> {
    let mut criterion = Criterion::default().configure_from_args();
    tokens(&mut criterion)?;
    headers(&mut criterion)?;
    assertions(&mut criterion)?;
    routes(&mut criterion)?;
    criterion.final_summary();
    Ok(())
}

fn tokens(criterion: &mut Criterion) -> Outcome<()> {
    let mut group = criterion.benchmark_group("token");
    for algorithm in ALGORITHMS {
        let bare = Bare::new(algorithm)?;
        group.bench_function(format!("bare {algorithm}"), |b| {
            b.iter(|| black_box(&bare).verify());
        });
        let world = World::new(algorithm)?;
        let token = world.token();
        verify(token, &[world.candidate()], NOW)?;
        group.bench_function(format!("cold {algorithm} ({} bytes)", token.len()), |b| {
            b.iter(|| verify(black_box(token), &[world.candidate()], NOW));
        });
    }
    let world = World::new(Algorithm::RS256)?;
    let token = world.token();
    let cache = VerdictCache::new(16 << 20);
    let verdict = cache.check(token, &[world.candidate()], NOW).verdict?;
    group.bench_function("cached", |b| {
        b.iter(|| cache.look(black_box(token), &[world.candidate()], NOW));
    });
    let set = World::inject_set();
    cache.headers(&verdict, &set)?;
    group.bench_function("cached headers", |b| {
        b.iter(|| cache.headers(black_box(&verdict), &set));
    });
    let mut forged = token.to_vec();
    // Another character before the last: four bits of the signature or more, and still base64url.
    let at = forged.len() - 2;
    forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
    group.bench_function("cached refusal", |b| {
        b.iter(|| cache.look(black_box(&forged), &[world.candidate()], NOW));
    });
    // All misses went before the loops: one for the token, one for the forged one.
    assert_eq!(cache.stats().misses, 2);
    group.finish();
    Ok(())
}

fn headers(criterion: &mut Criterion) -> Outcome<()> {
    let world = World::new(Algorithm::EdDSA)?;
    let claims = verify(world.token(), &[world.candidate()], NOW)?;
    let set = World::inject_set();
    let passage = Passage::new()?;
    let managed = ManagedNames::new(["x-user-id", "x-user-groups", "x-tenant"]);
    let received = received();

    let mut group = criterion.benchmark_group("header");
    group.bench_function("scrub 20 fields", |b| {
        b.iter_batched_ref(
            || received.clone(),
            |fields| scrub(fields, &managed),
            BatchSize::SmallInput,
        );
    });
    group.bench_function("render 5 claims", |b| {
        b.iter(|| set.render(black_box(&claims)));
    });
    // What a hostile head of 64 KiB costs before anything is known of its sender.
    let mut hostile = received.clone();
    hostile.push("connection", "x-field-aaaa,x-field-bbbb,".repeat(2_400));
    group.bench_function("scrub 20 fields, 4800 nominations", |b| {
        b.iter_batched_ref(
            || hostile.clone(),
            |fields| scrub(fields, &managed),
            BatchSize::SmallInput,
        );
    });
    group.bench_function("scrub 20 fields, inject 5 ready claims", |b| {
        b.iter_batched_ref(
            tollgate_benches::received,
            |fields| passage.inject_ready(black_box(fields)),
            BatchSize::SmallInput,
        );
    });
    group.bench_function("scrub 20 fields, render and inject 5 claims", |b| {
        b.iter_batched_ref(
            tollgate_benches::received,
            |fields| passage.inject_rendered(black_box(fields)),
            BatchSize::SmallInput,
        );
    });
    group.finish();
    Ok(())
}

fn assertions(criterion: &mut Criterion) -> Outcome<()> {
    let vouched = Vouched::new()?;
    let mut group = criterion.benchmark_group("assertion");
    group.bench_function("signed", |b| {
        b.iter(|| black_box(&vouched).sign());
    });
    group.bench_function("used again", |b| {
        b.iter(|| black_box(&vouched).again());
    });
    group.finish();
    Ok(())
}

fn routes(criterion: &mut Criterion) -> Outcome<()> {
    let mut group = criterion.benchmark_group("route");
    let mut path = Path::parse(b"/service-7/orders/12345/lines")?;
    for count in [10, 1_000] {
        let routes: Result<Vec<_>, tollgate_auth::policy::PatternError> = (0..count)
            .map(|n| {
                Ok(RouteMatch {
                    hosts: vec![HostMatch::Exact("api.example.com".into())],
                    path: PathMatch::prefix(&format!("/service-{n}/orders"))?,
                    methods: vec![Method::GET, Method::POST],
                    normalization: Normalization::default(),
                })
            })
            .collect();
        let table = RouteTable::new(routes?);
        group.bench_function(format!("find among {count}"), |b| {
            b.iter(|| table.find(Some("api.example.com"), black_box(&mut path), &Method::GET));
        });
    }
    group.finish();
    Ok(())
}
