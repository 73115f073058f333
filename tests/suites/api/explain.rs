//! `tollgate token explain` against a running daemon: its keys, its clock, its word.

use jsonwebtoken::Algorithm;
use serde_json::{Value, json};
use tollgate::demo::issuer::{Failure, SigningKey, forge_subject};
use tollgate_tests::client::Request;

use crate::world::{ROUTES, World};

/// What the admin socket answers, with its status.
fn explain(world: &World, question: &Value) -> (u16, Value) {
    let (status, answer) = world.post("/explain", question);
    (status.as_u16(), answer)
}

fn checks(explanation: &Value) -> Vec<(&str, &str)> {
    let checks = explanation["checks"].as_array().unwrap();
    checks
        .iter()
        .map(|check| {
            let word = |name: &str| check[name].as_str().unwrap();
            (word("name"), word("outcome"))
        })
        .collect()
}

/// The daemon refuses a request with the word that its explanation begins with.
#[test]
fn the_explanation_says_what_the_refusal_does() {
    let world = World::new();
    let stranger = SigningKey::generate("stranger", Algorithm::ES256).unwrap();
    for (token, failing) in [
        (world.token(), None),
        ("garbage".to_owned(), Some("form")),
        (world.claims().sign(&stranger).unwrap(), Some("key")),
        (forge_subject(&world.token(), "eve"), Some("signature")),
        (
            world.claims().expires_in(-31).sign(&world.key).unwrap(),
            Some("expiry"),
        ),
        (
            world.claims().claim("aud", "x").sign(&world.key).unwrap(),
            Some("audience"),
        ),
    ] {
        let reply = world.h1(&Request::get("/orders").bearer(&token));
        let (status, explanation) = explain(&world, &json!({ "token": token }));
        assert_eq!(status, 200, "{explanation}");
        assert_eq!(explanation["accepted"], reply.status == 200);
        if reply.status != 200 {
            assert_eq!(explanation["reason"], reply.json()["reason"]);
        }
        let failed = checks(&explanation).into_iter();
        let first = failed.into_iter().find(|(_, outcome)| *outcome == "failed");
        assert_eq!(first.map(|(name, _)| name), failing, "{explanation}");
    }
}

#[test]
fn keys_are_those_of_the_moment() {
    let world = World::new();
    let token = world.token();
    let ask = || explain(&world, &json!({ "token": token, "issuer": "corp" })).1;
    assert_eq!(ask()["accepted"], true);
    let next = SigningKey::generate("second", Algorithm::EdDSA).unwrap();
    world.issuer.publish([&next]);
    // A token of the new key brings the new set.
    let bearer = world.claims().sign(&next).unwrap();
    assert_eq!(
        world.h1(&Request::get("/orders").bearer(&bearer)).status,
        200
    );
    let explanation = ask();
    assert_eq!(explanation["reason"], "key_unknown");
    let keys = &explanation["checks"][5];
    assert_eq!(keys["facts"]["kids"], json!(["second"]), "{keys}");
    assert!(
        keys["says"]
            .as_str()
            .unwrap()
            .contains("generation 2, from discovery")
    );
}

/// What the daemon cannot be sure of, the explanation is not sure of either.
#[test]
fn an_unknown_key_of_an_issuer_that_is_away() {
    let world = World::new();
    world.issuer.fail(Some(Failure {
        status: 500,
        body: "down".to_owned(),
    }));
    let stranger = SigningKey::generate("stranger", Algorithm::ES256).unwrap();
    let token = world.claims().sign(&stranger).unwrap();
    let reply = world.h1(&Request::get("/orders").bearer(&token));
    let (_, explanation) = explain(&world, &json!({ "token": token }));
    assert_eq!(reply.json()["reason"], "keys_unavailable");
    assert_eq!(explanation["reason"], "keys_unavailable");
}

#[test]
fn two_issuers_with_one_identifier_must_be_told_apart() {
    let world = World::new();
    let configuration = world.configuration(ROUTES, "");
    let corp = "issuers:\n  corp:\n";
    assert!(configuration.contains(corp));
    let twin = format!(
        "issuers:\n  twin: {{ issuer: {}, jwks: discover, audiences: [other], keys: {{ allow_http: true }} }}\n  corp:\n",
        world.issuer.url()
    );
    world.write(&configuration.replace(corp, &twin));
    world.reload().unwrap();
    let token = world.token();
    let (status, answer) = explain(&world, &json!({ "token": token }));
    assert_eq!(status, 422);
    let error = answer["error"].as_str().unwrap();
    assert!(
        error.contains("`twin`") && error.contains("`corp`") && error.ends_with("say --issuer")
    );
    let (_, answer) = explain(&world, &json!({ "token": token, "issuer": "corp" }));
    assert_eq!(answer["accepted"], true);
}

#[test]
fn questions_that_cannot_be_answered_are_refused_and_never_repeated() {
    let world = World::new();
    let token = world.token();
    let (status, answer) = explain(&world, &json!({ "token": token, "issuer": "nobody" }));
    assert_eq!(status, 422);
    let error = answer["error"].as_str().unwrap();
    assert_eq!(error, "there is no issuer `nobody`; there are: corp");
    for question in [
        json!({}),
        json!({ "token": 1 }),
        json!({ "tokn": token }),
        json!(token),
    ] {
        let (status, answer) = explain(&world, &question);
        assert_eq!(status, 400, "{answer}");
        assert!(!answer.to_string().contains(&token[..20]), "{answer}");
    }
    let (status, _) = explain(&world, &json!({ "token": "a".repeat(300_000) }));
    assert_eq!(status, 413);
    // Nothing of it is for the TCP address, where no rights are asked for.
    assert!(world.probe("/explain").starts_with("HTTP/1.1 404"));
}
