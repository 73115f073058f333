//! What finding a route costs, in instructions: the same among one route and among a thousand.
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
use tollgate_auth::policy::{
    EncodedSlash, Found, HostMatch, Normalization, PathMatch, RouteMatch, RouteTable, Template,
};
use tollgate_http::{Method, Path};

/// Lookups in one measurement: where hashes fall differs from run to run, and is to be evened out.
const LOOKUPS: usize = 1_000;

#[library_benchmark(setup = ready)]
#[bench::one((1, "/service-0/orders/12345/lines"))]
#[bench::ten((10, "/service-0/orders/12345/lines"))]
#[bench::hundred((100, "/service-0/orders/12345/lines"))]
#[bench::thousand((1_000, "/service-0/orders/12345/lines"))]
fn prefix(world: World) -> World {
    world.look();
    world
}

#[library_benchmark(setup = ready)]
#[bench::one((1, "/service-0//orders/12345/lines"))]
#[bench::thousand((1_000, "/service-0//orders/12345/lines"))]
fn merged(world: World) -> World {
    world.look();
    world
}

#[library_benchmark(setup = ready)]
#[bench::one((1, "/elsewhere/orders/12345/lines"))]
#[bench::thousand((1_000, "/elsewhere/orders/12345/lines"))]
fn none(world: World) -> World {
    world.look();
    world
}

/// A table and the path of a request.
struct World {
    table: RouteTable,
    path: Path,
}

impl World {
    fn look(&self) {
        for _ in 0..LOOKUPS {
            // A path with runs is brought into another form; a request does so once.
            let mut path = black_box(&self.path).clone();
            let found = self
                .table
                .find(Some("api.example.com"), &mut path, &Method::GET);
            drop(black_box((found, path)));
        }
    }
}

/// `count` routes of one host; the first is a prefix that merges slashes, the others are of all kinds.
fn ready((count, path): (usize, &str)) -> World {
    let route = |n: usize| RouteMatch {
        hosts: vec![HostMatch::Exact("api.example.com".into())],
        path: match n % 3 {
            0 => PathMatch::prefix(&format!("/service-{n}/orders")),
            1 => PathMatch::exact(&format!("/service-{n}/ping")),
            _ => Template::parse(&format!("/service-{n}/{{id}}")).map(PathMatch::Template),
        }
        .expect("a pattern"),
        methods: vec![Method::GET, Method::POST],
        normalization: Normalization {
            encoded_slash: EncodedSlash::Refuse,
            merge_slashes: true,
        },
    };
    let world = World {
        table: RouteTable::new((0..count).map(route).collect()),
        path: Path::parse(path.as_bytes()).expect("a path"),
    };
    let found = world.table.find(
        Some("api.example.com"),
        &mut world.path.clone(),
        &Method::GET,
    );
    let want = match path.starts_with("/service-0") {
        true => Found::Route(0),
        false => Found::NoRoute,
    };
    assert_eq!(found, want, "the request is what it is meant to be");
    world
}

library_benchmark_group!(name = routes, benchmarks = [prefix, merged, none]);

main!(library_benchmark_groups = routes);
