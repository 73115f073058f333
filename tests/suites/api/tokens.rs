//! Tokens through the real listener: what is accepted, and the reason of each refusal.

use jsonwebtoken::Algorithm;
use serde_json::json;
use tollgate::demo::issuer::{SigningKey, forge_subject};
use tollgate_tests::client::Request;

use crate::world::{World, refused, seen};

#[test]
fn every_algorithm_is_accepted_and_the_api_learns_who_it_is() {
    let world = World::new();
    let keys: Vec<SigningKey> = [
        Algorithm::RS256,
        Algorithm::PS256,
        Algorithm::ES256,
        Algorithm::ES384,
        Algorithm::EdDSA,
    ]
    .into_iter()
    .map(|algorithm| SigningKey::generate(&format!("{algorithm:?}"), algorithm).unwrap())
    .collect();
    world.issuer.publish(&keys);
    for key in &keys {
        let token = world.claims().sign(key).unwrap();
        for _ in 0..2 {
            // The second time the verdict comes from the cache.
            let reply = world.h1(&Request::get("/orders/1").bearer(&token));
            assert_eq!(reply.status, 200, "{}: {reply:?}", key.kid());
            assert_eq!(seen(&reply, "x-user-id"), ["alice"]);
            assert_eq!(
                seen(&reply, "authorization"),
                [""; 0],
                "the token ends here"
            );
        }
        assert_eq!(
            world.h2(&Request::get("/orders/1").bearer(&token)).status,
            200
        );
    }
    let verdicts = &world.status()["verdict_cache"];
    assert!(verdicts["hits"].as_u64().unwrap() >= 10, "{verdicts}");
}

#[test]
fn each_refusal_says_its_reason() {
    let world = World::new();
    let claims = || world.claims();
    let sign = |claims: tollgate::demo::issuer::Token| claims.sign(&world.key).unwrap();
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let stranger = SigningKey::generate("stranger", Algorithm::ES256).unwrap();
    let impostor = SigningKey::generate("first", Algorithm::ES256).unwrap();
    let none = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJldmUifQ.".to_owned();
    for (token, status, reason) in [
        ("garbage".to_owned(), 401, "token_malformed"),
        (none, 401, "alg_not_allowed"),
        (format!("{}.x", world.token()), 401, "token_malformed"),
        ("a".repeat(20_000), 401, "token_too_large"),
        (
            forge_subject(&world.token(), "eve"),
            401,
            "signature_invalid",
        ),
        (claims().sign(&impostor).unwrap(), 401, "signature_invalid"),
        (claims().sign(&stranger).unwrap(), 401, "key_unknown"),
        (sign(claims().expires_in(-31)), 401, "token_expired"),
        (sign(claims().without("exp")), 401, "claim_missing"),
        (sign(claims().claim("exp", "soon")), 401, "claim_malformed"),
        (
            sign(claims().claim("nbf", now + 60)),
            401,
            "token_not_yet_valid",
        ),
        (
            sign(claims().claim("iat", now + 60)),
            401,
            "issued_in_future",
        ),
        (
            sign(claims().claim("iss", "https://evil.test")),
            401,
            "issuer_mismatch",
        ),
        (
            sign(claims().claim("aud", "orders")),
            401,
            "audience_mismatch",
        ),
        (
            sign(claims().claim("aud", json!([]))),
            401,
            "audience_mismatch",
        ),
        (sign(claims().without("aud")), 401, "claim_missing"),
    ] {
        let reply = world.h1(&Request::get("/orders").bearer(&token));
        refused(&reply, status, reason);
        let begins = format!("Bearer error=\"invalid_token\", error_description=\"{reason}: ");
        let challenge = reply.field("www-authenticate").unwrap();
        assert!(challenge.starts_with(&begins), "{challenge}");
    }
    assert_eq!(world.echo.count(), 0, "nothing of this reached the API");
}

#[test]
fn skew_is_allowed_and_no_more() {
    let world = World::new();
    let with_expiry = |seconds| world.claims().expires_in(seconds).sign(&world.key).unwrap();
    assert_eq!(
        world
            .h1(&Request::get("/orders").bearer(&with_expiry(-25)))
            .status,
        200
    );
    refused(
        &world.h1(&Request::get("/orders").bearer(&with_expiry(-30))),
        401,
        "token_expired",
    );
}

#[test]
fn missing_and_ambiguous_tokens() {
    let world = World::new();
    let reply = world.h1(&Request::get("/orders"));
    refused(&reply, 401, "token_missing");
    assert_eq!(
        reply.field("www-authenticate"),
        Some("Bearer"),
        "RFC 6750, section 3.1"
    );
    let basic = world.h1(&Request::get("/orders").field("authorization", "Basic YTpi"));
    refused(&basic, 401, "token_missing");
    let twice = Request::get("/orders")
        .bearer(&world.token())
        .bearer(&world.token());
    let reply = world.h1(&twice);
    refused(&reply, 400, "token_ambiguous");
    assert!(
        reply
            .field("www-authenticate")
            .unwrap()
            .contains("invalid_request")
    );
}

#[test]
fn public_and_optional_routes() {
    let world = World::new();
    let token = world.token();
    assert_eq!(world.h1(&Request::get("/open")).status, 200);
    let reply = world.h1(&Request::get("/open").bearer(&token));
    assert_eq!(
        seen(&reply, "x-user-id"),
        [""; 0],
        "a public route knows nobody"
    );

    assert_eq!(
        seen(&world.h1(&Request::get("/maybe")), "x-user-id"),
        [""; 0]
    );
    assert_eq!(
        seen(
            &world.h1(&Request::get("/maybe").bearer(&token)),
            "x-user-id"
        ),
        ["alice"]
    );
    let bad = forge_subject(&token, "eve");
    refused(
        &world.h1(&Request::get("/maybe").bearer(&bad)),
        401,
        "signature_invalid",
    );

    let reply = world.h1(&Request::get("/forwarding").bearer(&token));
    assert_eq!(seen(&reply, "authorization"), [format!("Bearer {token}")]);
}

#[test]
fn requirements_are_held_against_verified_claims() {
    let world = World::new();
    let ask = |claims: tollgate::demo::issuer::Token| {
        let token = claims.sign(&world.key).unwrap();
        world.h1(&Request::get("/scoped").bearer(&token))
    };
    let claims = || world.claims().claim("scope", "orders:read orders:write");
    assert_eq!(ask(claims().claim("tenant", "acme")).status, 200);
    assert_eq!(ask(claims().claim("tenant", 7)).status, 200);
    let reply = ask(world
        .claims()
        .claim("scope", "orders:readx")
        .claim("tenant", "acme"));
    refused(&reply, 403, "scope_insufficient");
    assert!(
        reply
            .field("www-authenticate")
            .unwrap()
            .contains("insufficient_scope")
    );
    refused(
        &ask(claims().claim("tenant", "acme,globex")),
        403,
        "claim_denied",
    );
    refused(&ask(claims()), 403, "claim_denied");
}
