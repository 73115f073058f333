//! Keys that rotate, vanish, or never come.

mod clock;
mod failures;
mod files;
mod flood;

use jsonwebtoken::Algorithm;
use tollgate::demo::issuer::{Failure, SigningKey};
use tollgate_tests::client::Request;

use serde_json::{Value, json};

use crate::world::{AUDIENCE, ROUTES, World, eventually, refused};

/// What [`World::configuration`] says of keys.
const KEYS: &str = "keys: { allow_http: true, refresh: 300s, unknown_kid_cooldown: 3600s }";

/// Says something else of keys, and where they are if that is to change as well.
fn reconfigure(world: &World, keys: &str, jwks: Option<&str>) {
    rewrite(world, keys, jwks);
    // Keys from another place are not here at once.
    issuer_when(world, "keys", |issuer| issuer["state"] == "ready");
}

/// The same, without waiting for keys.
fn rewrite(world: &World, keys: &str, jwks: Option<&str>) {
    let mut text = world.configuration(ROUTES, "").replace(KEYS, keys);
    if let Some(jwks) = jwks {
        text = text.replace("jwks: discover", &format!("jwks: {jwks}"));
    }
    world.write(&text);
    world.reload().unwrap();
}

/// What status says of the issuer.
fn issuer(world: &World) -> Value {
    world.status()["issuers"][0].clone()
}

/// The issuer's status once `wanted` holds for it.
fn issuer_when(world: &World, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    eventually(what, || Some(issuer(world)).filter(|issuer| wanted(issuer)))
}

/// A token with a good signature of a key that is published nowhere.
fn strange_token(world: &World, kid: &str) -> String {
    let stranger = SigningKey::generate(kid, Algorithm::ES256).unwrap();
    world.claims().sign(&stranger).unwrap()
}

fn status_with(world: &World, token: &str) -> u16 {
    world.h1(&Request::get("/orders").bearer(token)).status
}

#[test]
fn threat_49_a_rotated_key_is_found_with_the_first_token_that_names_it() {
    let world = World::new();
    let old = world.token();
    assert_eq!(world.h1(&Request::get("/orders").bearer(&old)).status, 200);
    let next = SigningKey::generate("second", Algorithm::EdDSA).unwrap();
    world.issuer.publish([&next]);
    let before = world.issuer.key_fetches();
    let token = world.claims().sign(&next).unwrap();
    assert_eq!(
        world.h1(&Request::get("/orders").bearer(&token)).status,
        200
    );
    assert_eq!(world.issuer.key_fetches(), before + 1);
    // The old key is gone, and with it every verdict that it signed, cached or not.
    refused(
        &world.h1(&Request::get("/orders").bearer(&old)),
        401,
        "key_unknown",
    );
}

#[test]
fn threat_50_the_same_kid_with_other_material_ends_old_verdicts() {
    let world = World::new();
    let old = world.token();
    assert_eq!(world.h1(&Request::get("/orders").bearer(&old)).status, 200);
    let impostor = SigningKey::generate("first", Algorithm::ES256).unwrap();
    let other = SigningKey::generate("other", Algorithm::ES256).unwrap();
    world.issuer.publish([&impostor, &other]);
    let probe = world.claims().sign(&other).unwrap();
    assert_eq!(
        world.h1(&Request::get("/orders").bearer(&probe)).status,
        200
    );
    refused(
        &world.h1(&Request::get("/orders").bearer(&old)),
        401,
        "signature_invalid",
    );
}

#[test]
fn threat_46_a_flood_of_unknown_kids_costs_two_fetches() {
    let world = World::new();
    let before = world.issuer.key_fetches();
    for number in 0..20 {
        let stranger = SigningKey::generate(&format!("kid-{number}"), Algorithm::ES256).unwrap();
        let token = world.claims().sign(&stranger).unwrap();
        refused(
            &world.h1(&Request::get("/orders").bearer(&token)),
            401,
            "key_unknown",
        );
    }
    assert_eq!(world.issuer.key_fetches() - before, 2);
    assert_eq!(
        world
            .h1(&Request::get("/orders").bearer(&world.token()))
            .status,
        200
    );
}

#[test]
fn threat_47_a_failing_issuer_leaves_the_last_good_keys() {
    let world = World::new();
    world.issuer.fail(Some(Failure {
        status: 500,
        body: "down".to_owned(),
    }));
    let stranger = SigningKey::generate("stranger", Algorithm::ES256).unwrap();
    let token = world.claims().sign(&stranger).unwrap();
    // It may well be a good token: the client is told to come again.
    refused(
        &world.h1(&Request::get("/orders").bearer(&token)),
        503,
        "keys_unavailable",
    );
    let issuer = eventually("the failure in status", || {
        let status = world.status();
        status["issuers"][0]["last_error"]
            .is_string()
            .then(|| status["issuers"][0].clone())
    });
    assert_eq!(issuer["state"], "ready", "{issuer}");
    assert_eq!(
        world
            .h1(&Request::get("/orders").bearer(&world.token()))
            .status,
        200
    );
}

/// A configuration whose issuer cannot be reached, and a token that it might have issued.
fn unreachable(world: &World) -> (String, String) {
    let nowhere = "http://127.0.0.1:1";
    let configuration = world
        .configuration(ROUTES, "")
        .replace(world.issuer.url(), nowhere);
    let token = world.claims().claim("iss", nowhere);
    (configuration, token.sign(&world.key).unwrap())
}

#[test]
fn threat_48_no_keys_yet_is_a_503_and_not_ready() {
    let mut world = World::new();
    let (configuration, token) = unreachable(&world);
    world.write(&configuration);
    world.restart();
    let probe = world.probe("/readyz");
    assert!(probe.starts_with("HTTP/1.1 503"), "{probe}");
    assert_eq!(world.status()["unready"], "no keys yet of corp");
    refused(
        &world.h1(&Request::get("/orders").bearer(&token)),
        503,
        "keys_unavailable",
    );
    assert_eq!(
        world.h1(&Request::get("/open")).status,
        200,
        "what needs no key goes on"
    );
    // A reload is no way to become ready without keys.
    world.reload().unwrap();
    let probe = world.probe("/readyz");
    assert!(probe.starts_with("HTTP/1.1 503"), "{probe}");
}

#[test]
fn threat_48_an_issuer_without_keys_that_a_reload_brings_leaves_the_node_in_service() {
    let world = World::new();
    let (configuration, token) = unreachable(&world);
    world.write(&configuration);
    world.reload().unwrap();
    let probe = world.probe("/readyz");
    assert!(probe.starts_with("HTTP/1.1 200"), "{probe}");
    refused(
        &world.h1(&Request::get("/orders").bearer(&token)),
        503,
        "keys_unavailable",
    );
    assert_eq!(issuer(&world)["state"], "unavailable");
    assert_eq!(world.status()["ready"], true);
}

#[test]
fn threat_51_a_discovery_document_speaks_for_its_own_issuer_only() {
    let world = World::new();
    // The document is found, but says another issuer: without the slash.
    let other = format!("{}/", world.issuer.url());
    let configuration = world.configuration(ROUTES, "").replace(
        &format!("issuer: {}", world.issuer.url()),
        &format!("issuer: {other}"),
    );
    world.write(&configuration);
    world.reload().unwrap();
    let token = world.claims().claim("iss", other).sign(&world.key).unwrap();
    refused(
        &world.h1(&Request::get("/orders").bearer(&token)),
        503,
        "keys_unavailable",
    );
    let error = eventually("the failure in status", || {
        let status = world.status();
        status["issuers"][0]["last_error"]
            .as_str()
            .map(ToOwned::to_owned)
    });
    assert!(error.contains("speaks for the issuer"), "{error}");
}

#[test]
fn threat_48_nothing_vouches_for_a_key_that_was_never_fetched() {
    let world = World::new();
    // Another issuer, whose keys cannot be had: the ones that are here are not its own.
    let configuration = world
        .configuration(ROUTES, "")
        .replace(world.issuer.url(), "http://127.0.0.1:1");
    world.write(&configuration);
    world.reload().unwrap();
    refused(
        &world.h1(&Request::get("/orders").bearer(&world.token())),
        401,
        "issuer_mismatch",
    );
    let issuer = issuer(&world);
    assert_eq!(
        (&issuer["keys"], &issuer["state"]),
        (&json!(0), &json!("unavailable"))
    );
}

#[test]
fn threat_54_an_answer_that_is_stale_at_once_is_asked_for_again_within_the_bounds() {
    let world = World::new();
    reconfigure(
        &world,
        "keys: { allow_http: true, refresh: 300s, unknown_kid_cooldown: 1s }",
        None,
    );
    let stranger = strange_token(&world, "stranger");
    for fields in [
        [("cache-control", "max-age=0, no-store"), ("age", "0")],
        // A cache has kept it for as long as it may.
        [("cache-control", "public, max-age=300"), ("age", "300")],
    ] {
        world.issuer.send_fields(&fields).unwrap();
        let before = world.issuer.key_fetches();
        eventually("a fetch with these fields", || {
            status_with(&world, &stranger);
            (world.issuer.key_fetches() > before).then_some(())
        });
        // Nobody asks from here on, and the refresh is minutes away.
        let before = world.issuer.key_fetches();
        eventually("three more fetches", || {
            (world.issuer.key_fetches() >= before + 3).then_some(())
        });
    }
    assert_eq!(status_with(&world, &world.token()), 200);
}

#[test]
fn keys_that_cannot_be_used_are_skipped_one_by_one_and_named() {
    let world = World::new();
    world.issuer.publish_raw(vec![
        json!({ "kty": "oct", "kid": "shared", "k": "c2VjcmV0" }),
        world.key.jwk().clone(),
        json!({ "kty": "RSA", "kid": "weak", "n": "AQAB", "e": "AQAB" }),
        json!("no object"),
    ]);
    refused(
        &world.h1(&Request::get("/orders").bearer(&strange_token(&world, "stranger"))),
        401,
        "key_unknown",
    );
    assert_eq!(status_with(&world, &world.token()), 200);
    let issuer = issuer(&world);
    assert_eq!(
        (&issuer["keys"], &issuer["kids"]),
        (&json!(1), &json!(["first"]))
    );
    assert_eq!(
        issuer["generation"], 1,
        "the key that can be used is the same: {issuer}"
    );
    let skipped = issuer["skipped"].as_array().unwrap();
    assert_eq!(skipped.len(), 3, "{issuer}");
    assert_eq!(
        skipped[0]["kid"], "\"shared\"",
        "quoted: anyone may have written it"
    );
    assert!(
        skipped[0]["why"].as_str().unwrap().contains("symmetric"),
        "{issuer}"
    );
    let metrics = world.probe("/metrics");
    for line in [
        "tollgate_keys{issuer=\"corp\"} 1",
        "tollgate_keys_skipped{issuer=\"corp\"} 3",
        "tollgate_keys_fetches_total{issuer=\"corp\"} 2",
        "tollgate_keys_fetch_failures_total{issuer=\"corp\"} 0",
        "tollgate_keys_age_seconds{issuer=\"corp\"} ",
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
}

#[test]
fn inline_keys_are_never_fetched_again() {
    let world = World::new();
    let inline = format!("{{ inline: {{ keys: [{}] }} }}", world.key.jwk());
    reconfigure(&world, KEYS, Some(&inline));
    assert_eq!(status_with(&world, &world.token()), 200);
    for number in 0..3 {
        refused(
            &world
                .h1(&Request::get("/orders").bearer(&strange_token(&world, &format!("k{number}")))),
            401,
            "key_unknown",
        );
    }
    assert_eq!(issuer(&world)["fetches"], 1);
}

#[test]
fn a_key_set_that_moves_is_followed_with_the_next_refresh() {
    let world = World::new();
    reconfigure(
        &world,
        "keys: { allow_http: true, refresh: 2s, unknown_kid_cooldown: 1s }",
        None,
    );
    let other = failures::other_issuer();
    let next = SigningKey::generate("next", Algorithm::ES256).unwrap();
    other.publish([&next]);
    world
        .issuer
        .name_key_set(Some(&format!("{}/jwks.json", other.url())));
    // The old place goes on answering, and strangers ask all the time: no refresh may be put off by them.
    let stranger = strange_token(&world, "stranger");
    issuer_when(&world, "the keys of the new place", |issuer| {
        status_with(&world, &stranger);
        issuer["kids"] == json!(["next"])
    });
    let token = world.issuer.token("alice", AUDIENCE).sign(&next).unwrap();
    assert_eq!(status_with(&world, &token), 200);
    refused(
        &world.h1(&Request::get("/orders").bearer(&world.token())),
        401,
        "key_unknown",
    );
}
