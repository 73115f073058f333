//! A flood of tokens with made-up kids, beside good ones and a rotation.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use serde_json::json;
use tollgate::demo::issuer::SigningKey;
use tollgate_tests::client::Request;

use super::{issuer, issuer_when, reconfigure};
use crate::world::{AUDIENCE, World, eventually, refused};

/// Requests with random kids, and the connections that they come by.
const FLOOD: usize = 10_000;
const CONNECTIONS: usize = 4;
/// Two fetches in this time.
const COOLDOWN: Duration = Duration::from_secs(1);

/// Well-formed, of the right issuer, signed by nobody: it costs whoever makes it nothing.
fn made_up(issuer: &str, number: usize) -> String {
    let part = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let header = part(json!({ "alg": "ES256", "kid": format!("made-up-{number:08x}") }));
    let claims =
        part(json!({ "iss": issuer, "aud": AUDIENCE, "sub": "eve", "exp": 4_000_000_000_u64 }));
    format!("{header}.{claims}.{}", URL_SAFE_NO_PAD.encode([7; 64]))
}

#[test]
fn threat_46_and_73_a_flood_of_random_kids_costs_the_bucket_and_holds_up_nobody() {
    let world = World::new();
    reconfigure(
        &world,
        "keys: { allow_http: true, refresh: 300s, unknown_kid_cooldown: 1s }",
        None,
    );
    issuer_when(&world, "the fetch after the reload", |issuer| {
        issuer["fetches"] == 2
    });
    let (target, good) = (world.target(), world.token());
    let next = SigningKey::generate("next", Algorithm::ES256).unwrap();
    let new = world.claims().sign(&next).unwrap();
    let sent = AtomicUsize::new(0);
    let (has_arrived, is_over) = (AtomicBool::new(false), AtomicBool::new(false));

    let begun = Instant::now();
    let before = world.issuer.key_fetches();
    thread::scope(|scope| {
        // Also when this panics: the threads must end for the scope to end.
        let _over = Raised(&is_over);
        let arrived = Raised(&has_arrived);
        let flood: Vec<_> = (0..CONNECTIONS)
            .map(|connection| {
                let (target, sent, has_arrived) = (&target, &sent, &has_arrived);
                let url = world.issuer.url();
                scope.spawn(move || {
                    let mut session = target.session().unwrap();
                    let mut number = connection;
                    while number < FLOOD || !has_arrived.load(Ordering::Relaxed) {
                        let request = Request::get("/orders").bearer(&made_up(url, number));
                        let reply = session.send(&request).unwrap();
                        // Never 503: no fetch failed.
                        refused(&reply, 401, "key_unknown");
                        sent.fetch_add(1, Ordering::Relaxed);
                        number += CONNECTIONS;
                    }
                })
            })
            .collect();
        let beside = scope.spawn(|| {
            let mut session = target.session().unwrap();
            let mut passed = 0;
            while !is_over.load(Ordering::Relaxed) {
                let request = Request::get("/orders").bearer(&good);
                assert_eq!(session.send(&request).unwrap().status, 200);
                passed += 1;
            }
            passed
        });

        eventually("the flood to be on its way", || {
            (sent.load(Ordering::Relaxed) > FLOOD / 10).then_some(())
        });
        world.issuer.publish([&world.key, &next]);
        let published = world.issuer.key_fetches();
        let mut session = target.session().unwrap();
        eventually("the new key", || {
            // Fetches come one after the other: when the second has been asked for, what the first brought is in force.
            // Under a flood they are half a cooldown apart, as the bucket's own tests show.
            let fetches = world.issuer.key_fetches() - published;
            let reply = session.send(&Request::get("/orders").bearer(&new)).unwrap();
            assert!(reply.status == 200 || fetches < 2, "{reply:?}");
            (reply.status == 200).then_some(())
        });
        drop(arrived);
        for one in flood {
            one.join().unwrap();
        }
        is_over.store(true, Ordering::Relaxed);
        assert!(beside.join().unwrap() > 0);
    });
    // Two at once, two for each cooldown that has passed, and the part of one that was left.
    let passed = begun.elapsed().as_secs_f64() / COOLDOWN.as_secs_f64();
    let allowed = 2 + (2.0 * passed).floor() as u64;
    let fetches = world.issuer.key_fetches() - before;
    assert!(fetches <= allowed, "{fetches} fetches, {allowed} allowed");
    assert!(sent.load(Ordering::Relaxed) >= FLOOD);
    assert_eq!(issuer(&world)["failures"], 0);
}

/// True once it is dropped.
struct Raised<'f>(&'f AtomicBool);

impl Drop for Raised<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
