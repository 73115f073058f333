use super::*;
use crate::reason::Reason;
use crate::token::keys::{Algorithm, KeySet};
use crate::token::testing::{NOW, Signer, b64, candidate, issuer, jwks, key_set, merged, payload};
use jsonwebtoken::{DecodingKey, Validation};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::time::Duration;

/// One issuer, one set of keys.
struct World {
    issuer: Arc<Issuer>,
    set: KeySet,
}

impl World {
    fn of(signers: &[&Signer]) -> Self {
        let mut issuer = issuer();
        // What a signer needs is named.
        issuer.algorithms = issuer
            .algorithms
            .iter()
            .chain(signers.iter().map(|signer| signer.algorithm))
            .collect();
        Self {
            issuer: Arc::new(issuer),
            set: key_set(&signers.iter().map(|s| s.jwk()).collect::<Vec<_>>()),
        }
    }

    fn with(mut self, change: impl FnOnce(&mut Issuer)) -> Self {
        change(Arc::make_mut(&mut self.issuer));
        self
    }

    fn verify_at(&self, token: &str, now: UnixTime) -> Result<Arc<Claims>, Refusal> {
        verify(token.as_bytes(), &[candidate(&self.issuer, &self.set)], now)
    }

    /// The reason of the refusal; `None` if the token is accepted.
    fn verdict(&self, token: &str) -> Option<Reason> {
        self.verify_at(token, NOW).err().map(|r| r.reason)
    }

    #[track_caller]
    fn refuses(&self, token: &str, reason: Reason) {
        assert_eq!(self.verdict(token), Some(reason), "{token}");
    }

    #[track_caller]
    fn accepts(&self, token: &str) {
        if let Err(refusal) = self.verify_at(token, NOW) {
            panic!("refused: {refusal}");
        }
    }
}

fn es256() -> Signer {
    Signer::new(Algorithm::ES256, "e")
}

#[test]
fn every_algorithm_verifies_and_only_what_was_signed() {
    for algorithm in Algorithm::ALL {
        let signer = Signer::new(algorithm, "k");
        let world = World::of(&[&signer]);
        let token = signer.token(&json!({}));
        let claims = world.verify_at(&token, NOW).unwrap();
        assert_eq!(claims.subject(), Some("u1"));
        assert_eq!((&**claims.issuer_name(), claims.kid()), ("corp", Some("k")));
        assert_eq!(claims.expires(), NOW + Duration::from_secs(300));
        let (head, signature) = token.rsplit_once('.').unwrap();
        let other = signer.token(&json!({"sub": "u2"}));
        world.refuses(
            &format!("{}.{signature}", other.rsplit_once('.').unwrap().0),
            Reason::SignatureInvalid,
        );
        world.refuses(&format!("{head}."), Reason::SignatureInvalid);
        world.refuses(&format!("{head}.AAAA"), Reason::SignatureInvalid);
    }
}

#[test]
fn t01_none_is_never_an_algorithm() {
    let signer = es256();
    let world = World::of(&[&signer]);
    for alg in ["none", "None", "nOnE", "NONE", ""] {
        let unsigned = format!(
            "{}.{}.",
            b64(json!({"alg": alg}).to_string()),
            b64(payload().to_string())
        );
        world.refuses(&unsigned, Reason::AlgNotAllowed);
        world.refuses(
            &signer.token_with(&json!({"alg": alg}), &json!({})),
            Reason::AlgNotAllowed,
        );
    }
}

#[test]
fn t02_t03_public_keys_are_no_secrets() {
    let signer = Signer::new(Algorithm::RS256, "k");
    let world = World::of(&[&signer]);
    let jwk = signer.jwk();
    let whole = jwks(std::slice::from_ref(&jwk));
    let n = jwk["n"].as_str().unwrap();
    for secret in [jwk.to_string().as_bytes(), &whole, n.as_bytes()] {
        for alg in ["HS256", "HS384", "HS512"] {
            let mut header = jsonwebtoken::Header::new(alg.parse().unwrap());
            header.kid = Some("k".into());
            let forged = jsonwebtoken::encode(
                &header,
                &payload(),
                &jsonwebtoken::EncodingKey::from_secret(secret),
            );
            world.refuses(&forged.unwrap(), Reason::AlgNotAllowed);
        }
    }
}

#[test]
fn t04_t06_the_key_decides_the_algorithm() {
    let rsa = Signer::new(Algorithm::RS256, "r");
    let (p256, p384) = (es256(), Signer::new(Algorithm::ES384, "e3"));
    let world = World::of(&[&rsa, &p256, &p384]);
    for (signer, alg, kid) in [
        (&rsa, "PS256", "r"),
        (&rsa, "RS512", "r"),
        (&rsa, "RS256", "e"),
        (&p256, "ES256", "r"),
        (&p256, "ES256", "e3"),
        (&p384, "ES384", "e"),
        (&p256, "EdDSA", "e"),
    ] {
        world.refuses(
            &signer.token_with(&json!({"alg": alg, "kid": kid}), &json!({})),
            Reason::KeyMismatch,
        );
    }
    let rsa_only =
        World::of(&[&rsa]).with(|i| i.algorithms = [Algorithm::RS256].into_iter().collect());
    rsa_only.refuses(
        &rsa.token_with(&json!({"alg": "PS256"}), &json!({})),
        Reason::AlgNotAllowed,
    );
}

#[test]
fn t07_ecdsa_signatures_are_two_numbers_in_range_and_raw() {
    let signer = es256();
    let world = World::of(&[&signer]);
    let token = signer.token(&json!({}));
    let (head, signature) = token.rsplit_once('.').unwrap();
    world.accepts(&token);
    let raw = base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, signature)
        .unwrap();
    let order = [
        0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc,
        0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
    ];
    let (r, s) = raw.split_at(32);
    // SEQUENCE of two INTEGERs, each with a leading zero so that it is positive.
    let integer = |n: &[u8]| [&[2, 33, 0], n].concat();
    let der = [&[0x30, 70][..], &integer(r), &integer(s)].concat();
    for bad in [
        vec![0; 64],
        [&[0; 32], s].concat(),
        [r, &[0; 32]].concat(),
        [&order, s].concat(),
        [r, &order].concat(),
        vec![0xff; 64],
        raw[..63].to_vec(),
        [&raw[..], &[0]].concat(),
        der,
        [s, r].concat(),
    ] {
        world.refuses(&format!("{head}.{}", b64(&bad)), Reason::SignatureInvalid);
    }
}

#[test]
fn t08_keys_in_the_token_are_never_used() {
    let (ours, theirs) = (es256(), Signer::new(Algorithm::ES256, "e"));
    let world = World::of(&[&ours]);
    for header in [
        json!({"jwk": theirs.jwk()}),
        json!({"jku": "https://evil.example/jwks"}),
        json!({"x5u": "https://evil.example/x"}),
        json!({"x5c": ["AAAA"]}),
    ] {
        world.refuses(
            &theirs.token_with(&header, &json!({})),
            Reason::SignatureInvalid,
        );
        world.accepts(&ours.token_with(&header, &json!({})));
    }
}

#[test]
fn t09_strange_kids_are_lookup_misses_and_shown_escaped() {
    let signer = es256();
    let world = World::of(&[&signer]);
    for kid in ["../e", "e\0", "' OR '1'='1", "", "E", "e\r\nx"] {
        let refusal = world
            .verify_at(&signer.token_with(&json!({"kid": kid}), &json!({})), NOW)
            .unwrap_err();
        assert_eq!(refusal.reason, Reason::KeyUnknown, "{kid}");
        assert!(
            !refusal.detail.chars().any(char::is_control),
            "{}",
            refusal.detail
        );
    }
}

#[test]
fn t14_size_is_checked_before_anything_else() {
    let signer = es256();
    let world = World::of(&[&signer]);
    for token in [
        ".".repeat(100_000),
        "a".repeat(1 << 20),
        signer.token(&json!({"x": "x".repeat(20_000)})),
    ] {
        assert_eq!(world.verdict(&token), Some(Reason::TokenTooLarge));
    }
    let token = signer.token(&json!({}));
    let at = World::of(&[&signer]).with(|i| i.max_bytes = token.len());
    at.accepts(&token);
    at.with(|i| i.max_bytes = token.len() - 1)
        .refuses(&token, Reason::TokenTooLarge);
}

#[test]
fn t19_the_rfc_9068_profile_asks_for_its_type() {
    let signer = es256();
    let strict = World::of(&[&signer]).with(|i| i.token_type = TokenType::AccessTokenJwt);
    strict.accepts(&signer.token_with(&json!({"typ": "at+jwt"}), &json!({})));
    strict.refuses(
        &signer.token(&json!({"nonce": "n", "at_hash": "h"})),
        Reason::HeaderUnsupported,
    );
    strict.refuses(
        &signer.token_with(&json!({"typ": null}), &json!({})),
        Reason::HeaderUnsupported,
    );
    World::of(&[&signer]).accepts(&signer.token_with(&json!({"typ": null}), &json!({})));
}

#[test]
fn t20_malformed_dates_are_never_absent_ones() {
    let signer = es256();
    let world = World::of(&[&signer]);
    world.refuses(&signer.token(&json!({"exp": null})), Reason::ClaimMissing);
    for exp in [
        json!("1900000000"),
        json!(-1),
        json!(1e308),
        json!([1]),
        json!(true),
    ] {
        world.refuses(&signer.token(&json!({"exp": exp})), Reason::ClaimMalformed);
    }
    world.accepts(&signer.token(&json!({"exp": NOW.as_secs() as f64 + 0.5})));
}

#[test]
fn t21_the_boundaries_of_time() {
    let signer = es256();
    let now = NOW.as_secs();
    let cases = [
        // (skew, claim, offset from now, verdict)
        (0, "exp", 1, None),
        (0, "exp", 0, Some(Reason::TokenExpired)),
        (30, "exp", -29, None),
        (30, "exp", -30, Some(Reason::TokenExpired)),
        (30, "exp", -31, Some(Reason::TokenExpired)),
        (0, "nbf", 0, None),
        (0, "nbf", 1, Some(Reason::TokenNotYetValid)),
        (30, "nbf", 30, None),
        (30, "nbf", 31, Some(Reason::TokenNotYetValid)),
        (30, "iat", 30, None),
        (30, "iat", 31, Some(Reason::IssuedInFuture)),
        (0, "iat", 0, None),
        (0, "iat", 1, Some(Reason::IssuedInFuture)),
    ];
    for (skew, claim, offset, want) in cases {
        let world = World::of(&[&signer]).with(|i| i.clock_skew = Duration::from_secs(skew));
        let at = now.checked_add_signed(offset).unwrap();
        assert_eq!(
            world.verdict(&signer.token(&json!({claim: at}))),
            want,
            "skew {skew}, {claim} at {offset}"
        );
    }
    let refusal = World::of(&[&signer])
        .verify_at(&signer.token(&json!({"exp": now})), NOW)
        .unwrap_err();
    assert_eq!(
        refusal.detail,
        format!("exp is {now}, now is {now}, clock_skew is 0 s")
    );
    // A skew beyond all time accepts rather than overflows.
    World::of(&[&signer])
        .with(|i| i.clock_skew = Duration::MAX)
        .accepts(&signer.token(&json!({"exp": 1})));
}

#[test]
fn t22_t23_iss_is_a_string_and_equal() {
    let signer = es256();
    let world = World::of(&[&signer]);
    world.refuses(&signer.token(&json!({"iss": null})), Reason::ClaimMissing);
    world.refuses(
        &signer.token(&json!({"iss": ["https://login.example.com"]})),
        Reason::ClaimMalformed,
    );
    for iss in [
        "https://login.example.com/",
        "https://LOGIN.example.com",
        "https://login.example.com:443",
        "http://login.example.com",
        "https://login.example.co\u{43c}",
        "",
    ] {
        world.refuses(&signer.token(&json!({"iss": iss})), Reason::IssuerMismatch);
    }
    let refusal = world
        .verify_at(&signer.token(&json!({"iss": "a\nb"})), NOW)
        .unwrap_err();
    assert_eq!(
        refusal.detail,
        r#"iss is "a\nb", accepted are ["https://login.example.com"]"#
    );
}

#[test]
fn t24_aud_matches_as_a_whole_or_not() {
    let signer = es256();
    let world =
        World::of(&[&signer]).with(|i| i.audiences = vec!["https://api".into(), "b".into()]);
    for aud in [json!("b"), json!(["x", "b"]), json!(["https://api"])] {
        world.accepts(&signer.token(&json!({"aud": aud})));
    }
    for aud in [
        json!([]),
        json!("https://ap"),
        json!("https://api/"),
        json!("http://api"),
        json!("api"),
        json!("B"),
        json!(["b,"]),
    ] {
        world.refuses(
            &signer.token(&json!({"aud": aud})),
            Reason::AudienceMismatch,
        );
    }
    world.refuses(&signer.token(&json!({"aud": null})), Reason::ClaimMissing);
    for aud in [json!(1), json!(["b", 1]), json!({"b": 1})] {
        world.refuses(&signer.token(&json!({"aud": aud})), Reason::ClaimMalformed);
    }
    world
        .with(|i| i.audiences.clear())
        .refuses(&signer.token(&json!({})), Reason::AudienceMismatch);
}

#[test]
fn t25_keys_are_chosen_by_issuer_and_kid() {
    let (a, b) = (
        Signer::new(Algorithm::ES256, "same"),
        Signer::new(Algorithm::ES256, "same"),
    );
    let issuer_a = Arc::new(issuer());
    let issuer_b = Arc::new(Issuer {
        name: "other".into(),
        issuer: "https://other.example".into(),
        ..issuer()
    });
    let (set_a, set_b) = (key_set(&[a.jwk()]), key_set(&[b.jwk()]));
    let both = [candidate(&issuer_a, &set_a), candidate(&issuer_b, &set_b)];
    let other = json!({"iss": "https://other.example"});
    let name = |token: &str| {
        verify(token.as_bytes(), &both, NOW)
            .map(|c| c.issuer_name().to_string())
            .map_err(|r| r.reason)
    };
    assert_eq!(name(&a.token(&json!({}))), Ok("corp".into()));
    assert_eq!(name(&b.token(&other)), Ok("other".into()));
    assert_eq!(name(&a.token(&other)), Err(Reason::SignatureInvalid));
    assert_eq!(name(&b.token(&json!({}))), Err(Reason::SignatureInvalid));
    // Each issuer's own list bounds it, whatever another one allows.
    let narrow = Arc::new(Issuer {
        algorithms: [Algorithm::RS256].into_iter().collect(),
        ..issuer()
    });
    let mixed = [candidate(&narrow, &set_a), candidate(&issuer_b, &set_b)];
    let refusal = verify(a.token(&json!({})).as_bytes(), &mixed, NOW).unwrap_err();
    assert_eq!(refusal.reason, Reason::AlgNotAllowed);
}

/// With several issuers the largest limit admits a token, and then its own issuer's holds.
#[test]
fn t14_each_issuer_has_its_own_size() {
    let signer = es256();
    let token = signer.token(&json!({}));
    let set = key_set(&[signer.jwk()]);
    let short = Arc::new(Issuer {
        max_bytes: token.len() - 1,
        ..issuer()
    });
    let long = Arc::new(Issuer {
        issuer: "https://other.example".into(),
        ..issuer()
    });
    let both = [candidate(&short, &set), candidate(&long, &set)];
    let refusal = verify(token.as_bytes(), &both, NOW).unwrap_err();
    assert_eq!(refusal.reason, Reason::TokenTooLarge);
}

#[test]
fn t48_without_keys_nothing_passes() {
    let signer = es256();
    let issuer = Arc::new(issuer());
    let token = signer.token(&json!({}));
    for (keys, reason) in [
        (Keys::Unavailable, Reason::KeysUnavailable),
        (Keys::Stale, Reason::KeysStale),
    ] {
        let candidate = Candidate {
            issuer: &issuer,
            keys,
            epoch: 1,
        };
        assert_eq!(
            verify(token.as_bytes(), &[candidate], NOW)
                .unwrap_err()
                .reason,
            reason
        );
    }
    assert_eq!(
        verify(token.as_bytes(), &[], NOW).unwrap_err().reason,
        Reason::IssuerMismatch
    );
}

#[test]
fn a_token_without_kid_needs_exactly_one_fitting_key() {
    let (a, b, rsa) = (
        es256(),
        Signer::new(Algorithm::ES256, "f"),
        Signer::new(Algorithm::RS256, "r"),
    );
    let nameless = |s: &Signer| s.token_with(&json!({"kid": null}), &json!({}));
    World::of(&[&a, &rsa]).accepts(&nameless(&a));
    World::of(&[&a, &b]).refuses(&nameless(&a), Reason::KeyUnknown);
    World::of(&[&rsa]).refuses(&nameless(&a), Reason::KeyUnknown);
}

#[test]
fn the_order_of_the_checks_is_fixed() {
    let signer = es256();
    let stranger = Signer::new(Algorithm::ES256, "e");
    let world = World::of(&[&signer]);
    let late = json!({"exp": 1, "aud": "x"});
    // Each row is wrong in all that follows, too.
    world.refuses(
        &stranger.token_with(&json!({"alg": "x", "crit": []}), &late),
        Reason::HeaderUnsupported,
    );
    world.refuses(
        &stranger.token_with(&json!({"alg": "x"}), &json!({"iss": "x"})),
        Reason::AlgNotAllowed,
    );
    world.refuses(
        &stranger.token_with(&json!({"kid": "x"}), &json!({"iss": "x"})),
        Reason::IssuerMismatch,
    );
    world.refuses(
        &stranger.token_with(&json!({"kid": "x"}), &late),
        Reason::KeyUnknown,
    );
    world.refuses(
        &stranger.token(&json!({"exp": "x"})),
        Reason::SignatureInvalid,
    );
    world.refuses(
        &signer.token(&json!({"exp": 1, "aud": 1})),
        Reason::ClaimMalformed,
    );
    world.refuses(&signer.token(&late), Reason::TokenExpired);
    world.refuses(
        &signer.token(&json!({"aud": "x"})),
        Reason::AudienceMismatch,
    );
}

/// What jsonwebtoken, told to check all that it can, says of a token.
fn oracle(signer: &Signer, token: &str) -> bool {
    let key = DecodingKey::from_jwk(&serde_json::from_value(signer.jwk()).unwrap()).unwrap();
    let mut rules = Validation::new(signer.algorithm.name().parse().unwrap());
    rules.set_audience(&["orders-api"]);
    rules.set_issuer(&["https://login.example.com"]);
    rules.set_required_spec_claims(&["exp", "iss", "aud"]);
    // It reads the clock itself; time is compared by our own tables.
    rules.validate_exp = false;
    jsonwebtoken::decode::<Value>(token, &key, &rules).is_ok()
}

/// A token of jsonwebtoken's own making.
fn minted(signer: &Signer, changes: &Value) -> String {
    let mut header = jsonwebtoken::Header::new(signer.algorithm.name().parse().unwrap());
    header.kid = Some(signer.kid.into());
    jsonwebtoken::encode(&header, &merged(payload(), changes), &signer.encoding).unwrap()
}

#[test]
fn parity_every_algorithm_of_jsonwebtoken() {
    let theirs = |algorithm: &Algorithm| *algorithm != Algorithm::ES512;
    for algorithm in Algorithm::ALL.into_iter().filter(theirs) {
        let signer = Signer::new(algorithm, "k");
        let world = World::of(&[&signer]);
        let theirs = minted(&signer, &json!({}));
        assert!(oracle(&signer, &theirs));
        world.accepts(&theirs);
        let ours = signer.token(&json!({}));
        assert!(oracle(&signer, &ours), "{algorithm}");
        world.accepts(&ours);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// What the oracle signs and accepts is accepted, whatever the other claims hold.
    #[test]
    fn parity_accepted(sub in "\\PC{0,20}", extra in "[a-z]{1,8}", value in any::<i64>()) {
        let signer = es256();
        let world = World::of(&[&signer]);
        let token = minted(&signer, &json!({"sub": sub, format!("x_{extra}"): [value, {"n": value}]}));
        prop_assert!(oracle(&signer, &token));
        let claims = world.verify_at(&token, NOW);
        prop_assert!(claims.is_ok(), "{:?}", claims);
        let claims = claims.unwrap();
        prop_assert_eq!(claims.subject(), Some(sub.as_str()));
    }

    /// A token with any one byte changed is refused, and never accepted where the oracle refuses.
    #[test]
    fn parity_mutated(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let signer = Signer::new(Algorithm::EdDSA, "k");
        let world = World::of(&[&signer]);
        let mut token = signer.token(&json!({})).into_bytes();
        let at = at.index(token.len());
        prop_assume!(token[at] != byte);
        token[at] = byte;
        let verdict = verify(&token, &[candidate(&world.issuer, &world.set)], NOW);
        prop_assert!(verdict.is_err());
        if let Ok(text) = std::str::from_utf8(&token) {
            prop_assert!(!oracle(&signer, text));
        }
    }
}
