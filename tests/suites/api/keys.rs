//! Keys that rotate, vanish, or never come.

use jsonwebtoken::Algorithm;
use tollgate::demo::issuer::{Failure, SigningKey};
use tollgate_tests::client::Request;

use crate::world::{World, eventually, refused};

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

#[test]
fn threat_48_no_keys_yet_is_a_503_and_not_ready() {
    let world = World::new();
    let configuration = world
        .configuration(crate::world::ROUTES, "")
        .replace(world.issuer.url(), "http://127.0.0.1:1");
    world.write(&configuration);
    world.reload().unwrap();
    assert!(
        world.probe("/readyz").starts_with("HTTP/1.1 503"),
        "{}",
        world.probe("/readyz")
    );
    let token = world
        .claims()
        .claim("iss", "http://127.0.0.1:1")
        .sign(&world.key)
        .unwrap();
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
}

#[test]
fn threat_51_a_discovery_document_speaks_for_its_own_issuer_only() {
    let world = World::new();
    // The document is found, but says another issuer: without the slash.
    let other = format!("{}/", world.issuer.url());
    let configuration = world.configuration(crate::world::ROUTES, "").replace(
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
