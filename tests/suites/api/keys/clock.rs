//! The issuer's clock, as its answers tell.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::json;

use tollgate_tests::client::Request;

use super::{issuer, issuer_when, reconfigure};
use crate::world::World;

#[test]
fn the_date_of_an_answer_tells_how_far_the_clocks_are_apart() {
    let world = World::new();
    let agreeing = issuer(&world);
    let ahead = agreeing["clock"]["ahead_seconds"].as_f64().unwrap();
    let uncertainty = agreeing["clock"]["uncertainty_seconds"].as_f64().unwrap();
    // The same clock on both sides: the truth is 0.
    assert!(ahead.abs() <= uncertainty + 0.002, "{agreeing}");

    let seconds = |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
    let now = SystemTime::now();
    for (date, offset) in [
        (now + Duration::from_secs(90), 90.0_f64),
        (now - Duration::from_secs(3600), -3600.0),
    ] {
        world
            .issuer
            .send_fields(&[("date", &httpdate::fmt_http_date(date))])
            .unwrap();
        reconfigure(
            &world,
            "keys: { allow_http: true, refresh: 1s, unknown_kid_cooldown: 3600s }",
            None,
        );
        let apart = issuer_when(&world, "another clock", |issuer| {
            let ahead = issuer["clock"]["ahead_seconds"].as_f64().unwrap();
            ahead.signum() == offset.signum() && ahead.abs() > 30.0
        });
        // The date stands still, ours goes on: what is measured lies between what it was then and what it is now.
        let clock = &apart["clock"];
        let ahead = clock["ahead_seconds"].as_f64().unwrap();
        let uncertainty = clock["uncertainty_seconds"].as_f64().unwrap() + 0.002;
        let most = offset + 1.0;
        let least = seconds(date).floor() - seconds(SystemTime::now());
        assert!(
            ahead - uncertainty <= most && ahead + uncertainty >= least,
            "{apart}"
        );
        assert_eq!(clock["source"], "date");
        let metrics = world.probe("/metrics");
        let line = "tollgate_clock_skew_seconds{issuer=\"corp\",source=\"date\"}";
        assert!(metrics.contains(line), "{metrics}");
    }
}

#[test]
fn the_kernel_says_whether_its_clock_is_kept() {
    let world = World::new();
    let status = world.status();
    let metrics = world.probe("/metrics");
    // Both say the same, and nothing where the kernel says nothing.
    match status["clock"]["synchronised"].as_bool() {
        None => {
            assert_eq!(status["clock"], json!(null));
            assert!(!metrics.contains("tollgate_clock_synchronised "));
        }
        Some(synchronised) => {
            let line = format!("tollgate_clock_synchronised {}", u8::from(synchronised));
            assert!(metrics.contains(&line), "{line} in {metrics}");
            assert!(metrics.contains("tollgate_clock_max_error_seconds "));
            assert!(status["clock"]["max_error_seconds"].is_number());
        }
    }
}

#[test]
fn a_token_from_the_future_tells_of_its_issuers_clock() {
    let world = World::new();
    let figure = || {
        let metrics = world.probe("/metrics");
        let name = "tollgate_clock_skew_seconds{issuer=\"corp\",source=\"iat\"} ";
        let line = metrics.lines().find_map(|line| line.strip_prefix(name));
        line.map(|value| value.parse::<f64>().unwrap())
    };
    let ask = |ahead: u64| {
        let before = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let issued_at = before.as_secs() + ahead;
        let token = world.claims().claim("iat", issued_at);
        let token = token.sign(&world.key).unwrap();
        let status = world.h1(&Request::get("/orders").bearer(&token)).status;
        let after = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        // What was seen in between: the clock is at least that far ahead.
        let apart = |now: Duration| issued_at as f64 - now.as_secs_f64();
        (status, apart(after)..=apart(before))
    };
    // What was issued before now tells nothing.
    assert_eq!(ask(0).0, 200);
    assert_eq!(figure(), None);
    // Within the skew it is accepted, beyond it is refused, and told of in either case.
    for (ahead, status) in [(20, 200), (60, 401)] {
        let (answered, seen) = ask(ahead);
        assert_eq!(answered, status);
        let told = figure().expect("a figure");
        let rounding = 0.002;
        assert!(
            told >= seen.start() - rounding && told <= seen.end() + rounding,
            "{told} of {seen:?}"
        );
    }
}
