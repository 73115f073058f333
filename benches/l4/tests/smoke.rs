//! The harness itself: each packet becomes what its case says, however often it is repeated; and frames come through.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "panicking is how a test fails"
)]

use std::time::Duration;

use tollgate::demo::lab::missing_rights;
use tollgate_bench_l4::{
    cases,
    driver::Drivers,
    measure::{self, Effort},
    services,
    site::Site,
    stream::{self, Way},
};

fn site() -> Site {
    if let Some(missing) = missing_rights() {
        panic!("this test loads eBPF programs: {missing}");
    }
    Site::lay().unwrap()
}

#[test]
fn every_case_becomes_what_it_says_and_is_undone_before_the_next() {
    let site = site();
    let mut drivers = Drivers::load().unwrap();
    let mut bench = services::load(site.lb0, site.out0);
    site.balancer
        .run(|| {
            let link = drivers.attach("pass", "lb0").unwrap();
            let tiny = Effort {
                rounds: 1,
                repeat: 500,
            };
            for case in cases::all() {
                // It counts that each packet of all runs had the case's verdict.
                measure::measure(&mut drivers, &mut bench, &case, site.lb0, tiny)
                    .unwrap_or_else(|error| panic!("{}: {error:?}", case.name));
            }
            drivers.detach("pass", link).unwrap();
        })
        .unwrap();
}

#[test]
fn flows_differ_as_the_case_says() {
    let site = site();
    let mut drivers = Drivers::load().unwrap();
    let mut bench = services::load(site.lb0, site.out0);
    site.balancer
        .run(|| {
            let link = drivers.attach("pass", "lb0").unwrap();
            let spread = |bench: &tollgate_tests::bpf::Bench| {
                let ids = 0..tollgate_common::limits::BACKENDS as u16;
                let counts = ids.map(|id| bench.object.counters.entry(id).unwrap().packets);
                counts.collect::<Vec<u64>>()
            };
            for (name, least) in [("v4 TCP, 1 flow", 1), ("v4 TCP, 64 Ki flows", 16)] {
                let all = cases::all();
                let case = all.iter().find(|case| case.name == name).unwrap();
                let before = spread(&bench);
                measure::probe(&mut drivers, &mut bench, case, site.lb0).unwrap();
                let after = spread(&bench);
                let backends = before.iter().zip(&after).filter(|(b, a)| b != a).count();
                assert!(
                    if least == 1 {
                        backends == 1
                    } else {
                        backends >= 12
                    },
                    "{name} went to {backends} backends"
                );
            }
            drivers.detach("pass", link).unwrap();
        })
        .unwrap();
}

#[test]
fn frames_come_through_whatever_stands_in_between() {
    let site = site();
    let mut drivers = Drivers::load().unwrap();
    let mut bench = services::load(site.lb0, site.out0);
    let tiny = stream::Effort {
        rounds: 1,
        window: Duration::from_millis(1),
    };
    let rates = stream::measure(&site, &mut drivers, &mut bench, tiny).unwrap();
    for rate in rates {
        if rate.way == Way::Translated && rate.mpps.is_none() {
            continue; // said in its note; the rest of the suite needs no nftables
        }
        let (most, _) = rate.mpps.expect("a rate");
        assert!(most > 0.0, "{:?}", rate.way);
    }
}
