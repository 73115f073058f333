//! What an issuer may answer instead of keys, and where it may send us.

use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use serde_json::{Value, json};
use tollgate::demo::issuer::{Failure, Issuer};
use tollgate_tests::client::Request;

use super::{KEYS, issuer, issuer_when, reconfigure, rewrite, status_with, strange_token};
use crate::world::{World, eventually, refused};

/// An issuer beside the one that is configured.
pub(super) fn other_issuer() -> Issuer {
    Issuer::start(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()).unwrap()
}

#[test]
fn threat_47_whatever_the_issuer_answers_the_last_good_keys_stay() {
    let world = World::new();
    let other = other_issuer();
    other.publish([&world.key]);
    let jwks = format!("{{ url: {}/jwks.json }}", world.issuer.url());
    reconfigure(
        &world,
        "keys: { allow_http: true, refresh: 300s, unknown_kid_cooldown: 1s, timeout: 1s }",
        Some(&jwks),
    );
    let answer = |status, body: &str| {
        world.issuer.fail(Some(Failure {
            status,
            body: body.to_owned(),
        }));
    };
    let padded = format!("{{\"keys\":[],\"pad\":\"{}\"}}", "x".repeat(256 * 1024));
    let many = || (0..65).map(|_| world.key.jwk().clone()).collect();
    let elsewhere = format!("{}/jwks.json", other.url());
    let rows: [(&str, &dyn Fn(), &str); 15] = [
        ("an error", &|| answer(500, "down"), "answered 500"),
        ("no content", &|| answer(204, ""), "answered 204"),
        (
            "HTML",
            &|| answer(200, "<html>log in</html>"),
            "is no key set",
        ),
        (
            "half of JSON",
            &|| answer(200, "{\"keys\":[{"),
            "is no key set",
        ),
        ("other JSON", &|| answer(200, "[]"), "is no key set"),
        (
            "no keys",
            &|| world.issuer.publish_raw(vec![]),
            "none of the 0 keys",
        ),
        (
            "no usable keys",
            &|| {
                world
                    .issuer
                    .publish_raw(vec![json!({ "kty": "oct", "k": "AA" })]);
            },
            "none of the 1 keys",
        ),
        (
            "too many keys",
            &|| world.issuer.publish_raw(many()),
            "64 are the limit",
        ),
        (
            "over 256 KiB",
            &|| answer(200, &padded),
            "length limit exceeded",
        ),
        (
            "nothing in time",
            &|| world.issuer.delay(Duration::from_secs(30)),
            "within 1s",
        ),
        (
            "a redirect to another host",
            &|| world.issuer.redirect(Some(&elsewhere)),
            &elsewhere,
        ),
        (
            "a redirect to a metadata service",
            &|| {
                world
                    .issuer
                    .redirect(Some("http://169.254.169.254/latest/meta-data/"));
            },
            "latest/meta-data/`, which is not followed",
        ),
        (
            "a redirect to a file",
            &|| world.issuer.redirect(Some("file:///etc/passwd")),
            "which is not followed",
        ),
        (
            "redirects without end",
            &|| world.issuer.redirect(Some("/jwks.json?again")),
            "too many before it",
        ),
        (
            "a redirect to nowhere",
            &|| world.issuer.redirect(Some("")),
            "which is not followed",
        ),
    ];
    let stranger = strange_token(&world, "stranger");
    for (what, break_it, said) in rows {
        world.issuer.fail(None);
        world.issuer.redirect(None);
        world.issuer.delay(Duration::ZERO);
        world.issuer.publish([&world.key]);
        break_it();
        // Tokens with an unknown key make it fetch, two a second.
        let failed = eventually(what, || {
            status_with(&world, &stranger);
            let error = |issuer: &Value| issuer["last_error"].as_str().map(ToOwned::to_owned);
            Some(issuer(&world)).filter(|now| error(now).is_some_and(|error| error.contains(said)))
        });
        refused(
            &world.h1(&Request::get("/orders").bearer(&stranger)),
            503,
            "keys_unavailable",
        );
        assert_eq!(failed["state"], "ready", "{what}: {failed}");
        assert_eq!(failed["keys"], 1, "{what}: {failed}");
        assert_eq!(failed["generation"], 1, "{what}: {failed}");
        assert_eq!(status_with(&world, &world.token()), 200, "{what}");
    }
    world.issuer.redirect(None);
    eventually("good keys again", || {
        status_with(&world, &stranger);
        issuer(&world)["last_error"].is_null().then_some(())
    });
    assert_eq!(other.key_fetches(), 0, "nobody was sent there");
    assert_eq!(issuer(&world)["generation"], 1, "the same keys throughout");
}

#[test]
fn threat_47_a_redirect_within_the_origin_is_followed() {
    let world = World::new();
    world.issuer.redirect(Some("/moved.json"));
    let next = tollgate::demo::issuer::SigningKey::generate("next", jsonwebtoken::Algorithm::ES256)
        .unwrap();
    world.issuer.publish([&next]);
    let token = world.claims().sign(&next).unwrap();
    assert_eq!(status_with(&world, &token), 200);
}

#[test]
fn threat_51_a_key_set_at_a_metadata_address_or_by_another_scheme_is_never_asked() {
    let world = World::new();
    reconfigure(
        &world,
        "keys: { allow_http: true, refresh: 300s, unknown_kid_cooldown: 1s }",
        None,
    );
    let stranger = strange_token(&world, "stranger");
    // A fetch that fails forgets where the keys were: each one from here on asks for the document.
    world.issuer.fail(Some(Failure {
        status: 500,
        body: String::new(),
    }));
    issuer_when(&world, "a failure", |issuer| {
        status_with(&world, &stranger);
        issuer["last_error"].is_string()
    });
    world.issuer.fail(None);
    for (url, said) in [
        (
            "http://169.254.169.254/latest/meta-data/",
            "must not be asked",
        ),
        ("http://[::ffff:169.254.169.254]/", "must not be asked"),
        ("http://100.100.100.200/", "must not be asked"),
        ("file:///etc/passwd", "cannot be fetched"),
        ("ftp://127.0.0.1/jwks.json", "only https can be"),
        ("http://user:secret@127.0.0.1/jwks.json", "user name"),
    ] {
        world.issuer.name_key_set(Some(url));
        let failed = issuer_when(&world, url, |issuer| {
            status_with(&world, &stranger);
            let error = issuer["last_error"].as_str().unwrap_or_default();
            error.contains(said) && error.contains(url)
        });
        assert_eq!(failed["state"], "ready");
    }
    assert_eq!(status_with(&world, &world.token()), 200);
}

#[test]
fn threat_47_private_addresses_are_asked_only_where_that_is_allowed() {
    let world = World::new();
    rewrite(
        &world,
        "keys: { allow_http: true, allow_private: false, refresh: 1s, unknown_kid_cooldown: 3600s }",
        None,
    );
    let failed = issuer_when(&world, "the refusal", |issuer| {
        issuer["last_error"].is_string()
    });
    let error = failed["last_error"].as_str().unwrap();
    assert!(error.contains("`allow_private` is false"), "{error}");
    // Keys that came by the way that is closed now are not kept.
    assert_eq!(failed["state"], "unavailable");
}

#[test]
fn what_a_url_holds_beyond_its_path_is_not_told() {
    let world = World::new();
    let url = format!(
        "{}/.well-known/openid-configuration?key=hunter2",
        world.issuer.url()
    );
    rewrite(&world, KEYS, Some(&format!("{{ url: '{url}' }}")));
    let failed = issuer_when(&world, "the failure", |issuer| {
        issuer["last_error"].is_string()
    });
    let error = failed["last_error"].as_str().unwrap();
    assert!(
        error.contains("openid-configuration?…` answered is no key set"),
        "{error}"
    );
    assert!(!world.status().to_string().contains("hunter2"));
}

#[test]
fn threat_47_keys_that_cannot_be_fetched_for_too_long_are_stale() {
    let world = World::new();
    reconfigure(
        &world,
        "keys: { allow_http: true, refresh: 1s, unknown_kid_cooldown: 1s, max_stale: 3s, timeout: 1s }",
        None,
    );
    let token = world.token();
    assert_eq!(status_with(&world, &token), 200);
    world.issuer.fail(Some(Failure {
        status: 503,
        body: String::new(),
    }));
    eventually("stale keys", || {
        (status_with(&world, &token) != 200).then_some(())
    });
    refused(
        &world.h1(&Request::get("/orders").bearer(&token)),
        503,
        "keys_stale",
    );
    assert_eq!(issuer(&world)["state"], "stale");
    world.issuer.fail(None);
    eventually("fresh keys", || {
        (status_with(&world, &token) == 200).then_some(())
    });
}

#[test]
fn threat_47_a_fetch_that_does_not_end_is_no_verdict_on_a_token() {
    let world = World::new();
    world.issuer.delay(Duration::from_secs(30));
    // It waits for a second, and is told to come back.
    refused(
        &world.h1(&Request::get("/orders").bearer(&strange_token(&world, "stranger"))),
        503,
        "keys_unavailable",
    );
    assert_eq!(status_with(&world, &world.token()), 200);
}
