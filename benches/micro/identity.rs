//! What identity costs a request: a remembered token, a token seen for the first time, and the headers.
//!
//! `cargo bench -p tollgate-benches --bench identity`

use std::hint::black_box;

use criterion::{BatchSize, Criterion};
use tollgate_auth::header::{ManagedNames, scrub};
use tollgate_auth::policy::{HostMatch, Normalization, PathMatch, RouteMatch, RouteTable};
use tollgate_auth::token::{Algorithm, VerdictCache, verify};
use tollgate_benches::{ALGORITHMS, Bare, NOW, Outcome, World};
use tollgate_http::{Fields, Method, Path};

fn main() -> Outcome<()> {
    let mut criterion = Criterion::default().configure_from_args();
    tokens(&mut criterion)?;
    headers(&mut criterion)?;
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
    let managed = ManagedNames::new(["x-user-id", "x-user-groups", "x-tenant"]);
    let received = browser_request();
    assert_eq!(received.len(), 20);

    let mut group = criterion.benchmark_group("header");
    group.bench_function("scrub 20 fields", |b| {
        b.iter_batched_ref(
            || received.clone(),
            |fields| scrub(fields, &managed),
            BatchSize::SmallInput,
        );
    });
    group.bench_function("render 3 claims", |b| {
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
    group.bench_function("scrub 20 fields, inject 3 claims", |b| {
        b.iter_batched_ref(
            || received.clone(),
            |fields| {
                scrub(fields, &managed);
                let lines = set.render(&claims)?;
                fields.extend(lines.iter().cloned());
                Ok::<_, tollgate_auth::Refusal>(fields.len())
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
    Ok(())
}

/// Twenty fields, two of them forged.
fn browser_request() -> Fields {
    let mut fields = Fields::with_capacity(24);
    for (name, value) in [
        ("Host", "api.example.com"),
        ("Connection", "keep-alive"),
        ("sec-ch-ua", "\"Chromium\";v=\"140\""),
        ("sec-ch-ua-mobile", "?0"),
        ("sec-ch-ua-platform", "\"Linux\""),
        ("Upgrade-Insecure-Requests", "1"),
        (
            "User-Agent",
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36",
        ),
        ("Accept", "application/json"),
        ("Sec-Fetch-Site", "same-origin"),
        ("Sec-Fetch-Mode", "cors"),
        ("Sec-Fetch-Dest", "empty"),
        ("Referer", "https://app.example.com/orders"),
        ("Accept-Encoding", "gzip, deflate, br, zstd"),
        ("Accept-Language", "en-GB,en;q=0.9"),
        (
            "Cookie",
            "theme=dark; session=0f8f3c3e1a524c558d0c7b5f2f1c9f10",
        ),
        ("X-Request-Id", "6f1c9f10"),
        ("X-Requested-With", "XMLHttpRequest"),
        ("X_User_Id", "eve"),
        ("x.user.groups", "admin"),
        ("Cache-Control", "no-cache"),
    ] {
        fields.push(name, value);
    }
    fields
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
