use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{Jwk, JwkSet};
use jsonwebtoken::{DecodingKey, Validation, decode, decode_header};
use proptest::prelude::*;
use serde_json::{Value, json};
use tollgate_http::{Authority, Method, Path, Scheme};

use super::*;
use crate::header::encode::Encoding;
use crate::header::inject::{Content, FromClaim, Injection};
use crate::token::claims::ClaimPath;
use crate::token::sha256::sha256;

const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);

/// The order of P-256 (SP 800-186 section 3.2.1.3), the first number that is no private key.
const ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];

fn vectors() -> Value {
    let text = include_str!("../../../../../tests/fixtures/assertion/vectors.json");
    serde_json::from_str(text).unwrap()
}

fn key() -> SigningKey {
    let vectors = vectors();
    let hex = vectors["scalar"].as_str().unwrap();
    let byte = |at: usize| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap();
    SigningKey::from_scalar(&std::array::from_fn(byte)).unwrap()
}

fn claims(value: &Value) -> Claims {
    let mut map =
        json!({"exp": NOW.as_secs() + 300, "aud": "orders-api", "iss": "https://login.test"});
    let map = map.as_object_mut().unwrap();
    map.extend(value.as_object().unwrap().clone());
    Claims::new("corp".into(), None, map.clone()).unwrap()
}

fn set(names: &[&'static str]) -> InjectSet {
    let injection = |name: &&'static str| Injection {
        name: (*name).into(),
        content: Content::Claim(FromClaim {
            claim: (*name).into(),
            encoding: Encoding::String,
            only: None,
            except: None,
        }),
    };
    InjectSet::new(names.iter().map(injection).collect())
}

fn rules(lifetime: u64, claims: &[&str]) -> Rules {
    let claims = claims.iter().map(|name| ClaimPath::from(*name)).collect();
    let lifetime = Duration::from_secs(lifetime);
    Rules::new("orders".to_owned(), lifetime, claims, Bind::None).unwrap()
}

/// Signs for `token` with `set`, the token accepted for `left`.
fn sign(rules: &Rules, token: &Value, set: &InjectSet, left: Duration) -> Assertion {
    try_sign(rules, token, set, None, NOW + left, NOW).unwrap()
}

fn try_sign(
    rules: &Rules,
    token: &Value,
    set: &InjectSet,
    request: Option<&Request<'_>>,
    until: UnixTime,
    now: UnixTime,
) -> Result<Assertion, Refusal> {
    let claims = claims(token);
    let lines = set.render(&claims)?;
    let facts = Facts {
        claims: &claims,
        set,
        lines: &lines,
        until,
    };
    let key = key();
    let signer = Signer { rules, key: &key };
    signer.sign(&facts, request, now)
}

/// What the assertion says, by a library that is not ours, with the key as it is published.
fn verified(assertion: &Assertion) -> Value {
    let token = std::str::from_utf8(assertion.value()).unwrap();
    decoded(token, &serde_json::from_value(key().jwk()).unwrap())
}

fn decoded(token: &str, jwk: &Jwk) -> Value {
    let header = decode_header(token).unwrap();
    assert_eq!(header.typ.as_deref(), Some(TYPE));
    assert_eq!(header.kid, jwk.common.key_id);
    let mut validation = Validation::new(jsonwebtoken::Algorithm::ES256);
    validation.set_audience(&["orders"]);
    validation.set_issuer(&[ISSUER]);
    // The time is the tests'.
    validation.validate_exp = false;
    validation.set_required_spec_claims(&["iss", "aud", "exp"]);
    let key = DecodingKey::from_jwk(jwk).unwrap();
    decode::<Value>(token, &key, &validation).unwrap().claims
}

fn text(bytes: [u8; 32]) -> Value {
    json!(URL_SAFE_NO_PAD.encode(bytes))
}

fn digest_of(lines: &Value) -> Value {
    let pair = |line: &Value| {
        let part = |at: usize| line[at].as_str().unwrap().as_bytes().to_vec();
        (part(0), part(1))
    };
    let lines: Vec<_> = lines.as_array().unwrap().iter().map(pair).collect();
    text(digest(
        lines.iter().map(|(name, value)| (&**name, &**value)),
    ))
}

#[test]
fn the_canonical_form_is_that_of_the_vectors() {
    let vectors = vectors();
    let mut seen = std::collections::HashSet::new();
    for case in vectors["canonical"].as_array().unwrap() {
        assert_eq!(digest_of(&case["headers"]), case["digest"], "{case}");
        let plain = sha256(case["text"].as_str().unwrap().as_bytes());
        assert_eq!(text(plain), case["digest"], "{case}");
        let same = case["what"] == "names in lower case";
        assert_eq!(seen.insert(case["digest"].to_string()), !same, "{case}");
    }
    assert!(seen.len() >= 10);
}

#[test]
fn the_vectors_are_what_this_code_makes() {
    let vectors = vectors();
    let set_of_keys: JwkSet = serde_json::from_value(vectors["jwks"].clone()).unwrap();
    assert_eq!(json!({ "keys": [key().jwk()] }), vectors["jwks"]);
    for case in vectors["assertions"].as_array().unwrap() {
        let token = case["assertion"].as_str().unwrap();
        assert_eq!(decoded(token, &set_of_keys.keys[0]), case["claims"]);

        // The same from the same facts.
        let token = json!({
            "iss": "https://login.example.com/realms/corp", "sub": "alice",
            "x-user-id": "alice", "x-tenant": "acme", "x-user-groups": "app-a,app-b",
            "email": "alice@example.com", "https://example.com/tenant": {"id": "acme", "other": 1},
        });
        let set = set(&["x-user-id", "x-tenant", "x-profile", "x-user-groups"]);
        let paths = vec![
            ClaimPath::new(["https://example.com/tenant", "id"]),
            "email".into(),
            "none".into(),
        ];
        let rules =
            Rules::new("orders".into(), Duration::from_secs(30), paths, Bind::None).unwrap();
        let part = |name: &str| case[name].as_str().map(str::as_bytes);
        let path = part("path").map(|path| Path::parse(path).unwrap());
        let authority = part("host").map(|host| Authority::parse(host).unwrap());
        let request = path.as_ref().map(|path| Request {
            id: case["claims"]["jti"].as_str().unwrap(),
            method: &Method::GET,
            scheme: Scheme::Https,
            authority: authority.as_ref(),
            path,
            query: part("query"),
        });
        let until = NOW + Duration::from_secs(300);
        let made = try_sign(&rules, &token, &set, request.as_ref(), until, NOW).unwrap();
        assert_eq!(verified(&made), case["claims"]);
    }
}

#[test]
fn who_and_what_is_said() {
    let payload = verified(&sign(
        &rules(30, &[]),
        &json!({"sub": "alice", "x-user-id": "u1"}),
        &set(&["x-user-id", "x-none"]),
        Duration::from_secs(300),
    ));
    assert_eq!(
        payload,
        json!({
            "iss": "tollgate", "aud": "orders", "sub": "alice", "origin_iss": "https://login.test",
            "iat": 1_800_000_000, "exp": 1_800_000_030,
            "headers": {
                "alg": "sha-256", "names": ["x-user-id"], "absent": ["x-none"],
                "digest": digest_of(&json!([["x-user-id", "u1"]])),
            },
        })
    );
    // Nobody by name, and nothing injected: still an assertion.
    let nothing = verified(&sign(
        &rules(30, &["sub"]),
        &json!({}),
        &InjectSet::default(),
        Duration::from_secs(300),
    ));
    assert_eq!(nothing["sub"], Value::Null);
    assert_eq!(nothing["claims"], json!({}));
    assert_eq!(nothing["headers"]["names"], json!([]));
    assert_eq!(nothing["headers"]["digest"], text(sha256(b"")));
}

#[test]
fn claims_are_repeated_as_they_are_nested() {
    let token = json!({
        "sub": "a", "groups": ["x", {"y": null}], "n": 1.5, "null": null,
        "t": {"id": "acme", "plan": {"name": "gold", "seats": 7}, "secret": "s"},
    });
    let paths: Vec<ClaimPath> = vec![
        "groups".into(),
        "n".into(),
        "null".into(),
        ClaimPath::new(["t", "id"]),
        ClaimPath::new(["t", "plan", "name"]),
        ClaimPath::new(["t", "plan", "none"]),
        ClaimPath::new(["n", "none"]),
    ];
    // `n` and a part of it cannot both be named, so that one goes by itself.
    let claims = |paths: &[ClaimPath]| {
        let rules = Rules::new(
            "orders".into(),
            Duration::from_secs(30),
            paths.to_vec(),
            Bind::None,
        )
        .unwrap();
        let set = InjectSet::default();
        verified(&sign(&rules, &token, &set, Duration::from_secs(300)))["claims"].clone()
    };
    assert_eq!(
        claims(&paths[..6]),
        json!({
            "groups": ["x", {"y": null}], "n": 1.5, "null": null,
            "t": {"id": "acme", "plan": {"name": "gold"}},
        })
    );
    assert_eq!(claims(&paths[6..]), json!({}));
}

/// 18446744073709551617 and …618 are one number to floating point.
#[test]
fn numbers_are_exact_or_nothing_is_signed() {
    let sign = |text: &str| {
        let token = serde_json::from_str(text).unwrap();
        let set = InjectSet::default();
        let rules = rules(30, &["account"]);
        let until = NOW + Duration::from_secs(300);
        try_sign(&rules, &token, &set, None, until, NOW)
    };
    for vague in [
        r#"{"account": 18446744073709551617}"#,
        r#"{"account": [{"id": [1, 18446744073709551618]}]}"#,
    ] {
        assert_eq!(sign(vague).unwrap_err().reason, Reason::ClaimUnencodable);
    }
    let exact = sign(r#"{"account": 18446744073709551615, "other": 1e300}"#).unwrap();
    assert_eq!(
        verified(&exact)["claims"],
        json!({"account": 18_446_744_073_709_551_615_u64})
    );
}

#[test]
fn it_never_outlives_the_token() {
    let token = json!({"sub": "a"});
    let life = |lifetime: u64, left: Duration| {
        let set = InjectSet::default();
        let made = sign(&rules(lifetime, &[]), &token, &set, left);
        let payload = verified(&made);
        assert_eq!(payload["iat"], json!(made.issued_at().as_secs()));
        assert_eq!(payload["exp"], json!(made.expires().as_secs()));
        assert_eq!(made.issued_at(), NOW);
        payload["exp"].as_u64().unwrap() - NOW.as_secs()
    };
    let seconds = Duration::from_secs;
    assert_eq!(life(30, seconds(31)), 30);
    assert_eq!(life(30, seconds(30)), 30);
    assert_eq!(life(30, seconds(29)), 29);
    assert_eq!(life(60, seconds(3600)), 60);
    assert_eq!(life(60, seconds(1)), 1);
    // Rounded down.
    assert_eq!(life(30, Duration::from_millis(12_999)), 12);
    assert_eq!(life(30, Duration::from_millis(1_999)), 1);
}

/// A verifier without leeway refuses what expires in the second of its issue, or before.
#[test]
fn none_is_born_dead() {
    let set = InjectSet::default();
    let millis = Duration::from_millis;
    let try_at = |now: Duration, until: Duration| {
        try_sign(
            &rules(30, &[]),
            &json!({}),
            &set,
            None,
            NOW + until,
            NOW + now,
        )
    };
    for (now, until) in [(0, 999), (0, 0), (500, 999), (0, 1), (1_000, 0)] {
        let refused = try_at(millis(now), millis(until)).unwrap_err();
        assert_eq!(refused.reason, Reason::TokenExpired, "{now} {until}");
    }
    let last = try_at(millis(999), millis(1_000)).unwrap();
    assert_eq!(last.expires(), NOW + millis(1_000));
    assert!(last.expires() > last.issued_at());
}

#[test]
fn nothing_shows_an_assertion_or_what_it_covers() {
    let (token, set) = (json!({"x-user": "SECRET"}), set(&["x-user"]));
    let made = sign(
        &rules(30, &["x-user"]),
        &token,
        &set,
        Duration::from_secs(300),
    );
    let shown = format!("{made:?}");
    let signature = std::str::from_utf8(made.value())
        .unwrap()
        .rsplit('.')
        .next();
    assert!(
        shown.contains("expires") && !shown.contains(signature.unwrap()),
        "{shown}"
    );
    let claims = claims(&token);
    let lines = set.render(&claims).unwrap();
    let facts = Facts {
        claims: &claims,
        set: &set,
        lines: &lines,
        until: NOW,
    };
    let shown = format!("{facts:?}");
    assert!(
        shown.contains("x-user") && !shown.contains("SECRET"),
        "{shown}"
    );
}

/// The wall clock's fraction of a second is no part of a date that verifiers read.
#[test]
fn dates_are_whole_seconds() {
    let now = NOW + Duration::from_millis(999);
    let set = InjectSet::default();
    let until = NOW + Duration::from_secs(300);
    let made = try_sign(&rules(30, &[]), &json!({}), &set, None, until, now).unwrap();
    assert_eq!(made.issued_at(), NOW);
    assert_eq!(made.expires(), NOW + Duration::from_secs(30));
    assert!(made.is_fresh(now));
}

#[test]
fn it_is_used_again_while_enough_of_its_life_is_left() {
    let set = InjectSet::default();
    for (lifetime, left, fresh_for) in [
        // 5 s.
        (30, 300, Duration::from_secs(25)),
        (60, 20, Duration::from_secs(15)),
        (50, 300, Duration::from_secs(45)),
        // A tenth.
        (60, 300, Duration::from_secs(54)),
        // A half.
        (5, 300, Duration::from_millis(2_500)),
        (60, 1, Duration::from_millis(500)),
        (10, 300, Duration::from_secs(5)),
    ] {
        let made = sign(
            &rules(lifetime, &[]),
            &json!({}),
            &set,
            Duration::from_secs(left),
        );
        let moment = Duration::from_millis(1);
        assert!(made.is_fresh(NOW));
        assert!(made.is_fresh(NOW + fresh_for - moment), "{lifetime}");
        assert!(!made.is_fresh(NOW + fresh_for), "{lifetime}");
        assert!(!made.is_fresh(NOW + Duration::from_secs(3600)));
        // One from the future is not used, and of the past neither.
        assert!(!made.is_fresh(NOW - moment));
        assert!(!made.is_fresh(NOW - Duration::from_secs(3600)));
    }
}

#[test]
fn a_bound_one_names_the_request() {
    let rules = rules(30, &[]);
    let set = InjectSet::default();
    let until = NOW + Duration::from_secs(300);
    let said = |method: &[u8], host: Option<&str>, path: &[u8], query: Option<&[u8]>| {
        let authority = host.map(|host| Authority::parse(host.as_bytes()).unwrap());
        let method = Method::parse(method).unwrap();
        let path = match path {
            b"*" => Path::asterisk(),
            path => Path::parse(path).unwrap(),
        };
        let request = Request {
            id: "0f",
            method: &method,
            scheme: Scheme::Https,
            authority: authority.as_ref(),
            path: &path,
            query,
        };
        let made = try_sign(&rules, &json!({}), &set, Some(&request), until, NOW).unwrap();
        let payload = verified(&made);
        assert_eq!(payload["jti"], "0f");
        ["htm", "htu", "htq"].map(|name| payload[name].clone())
    };
    assert_eq!(
        said(b"POST", Some("API.test:8443"), b"/a/%41", None),
        [
            json!("POST"),
            json!("https://api.test:8443/a/A"),
            Value::Null
        ]
    );
    // No query and an empty one are two targets.
    assert_eq!(
        said(b"GET", Some("[::1]"), b"/", Some(b"")),
        [json!("GET"), json!("https://[::1]/"), text(sha256(b""))]
    );
    assert_eq!(
        said(b"GET", None, b"/a", Some(b"x=%41&y")),
        [json!("GET"), json!("https:///a"), text(sha256(b"x=%41&y"))]
    );
    assert_eq!(
        said(b"OPTIONS", Some("api.test"), b"*", None),
        [json!("OPTIONS"), json!("https://api.test"), Value::Null]
    );
}

#[test]
fn limits_are_those_of_identity_headers() {
    let set = set(&["x-a", "x-b"]);
    let until = NOW + Duration::from_secs(300);
    let try_with = |claims: &[&str], token: &Value| {
        try_sign(&rules(30, claims), token, &set, None, until, NOW).map(|made| made.value().len())
    };
    let reason = |claims: &[&str], token: &Value| try_with(claims, token).unwrap_err().reason;
    let token = |big: usize, line: usize| json!({"big": "b".repeat(big), "x-a": "a".repeat(line)});
    // Itself.
    let least = try_with(&["big"], &token(0, 0)).unwrap();
    let most = (MAX_VALUE - least) / 4 * 3;
    let length = try_with(&["big"], &token(most, 0)).unwrap();
    assert!((MAX_VALUE - 3..=MAX_VALUE).contains(&length), "{length}");
    assert_eq!(
        reason(&["big"], &token(most + 4, 0)),
        Reason::IdentityTooLarge
    );
    // Together with the headers.
    let both = |line: usize| json!({"x-a": "a".repeat(8000), "x-b": "b".repeat(line)});
    let plain = try_with(&[], &both(0)).unwrap();
    let room = MAX_ALL - (plain + NAME.len() + 4) - (8000 + 3 + 4) - (3 + 4);
    assert!(try_with(&[], &both(room)).is_ok());
    assert_eq!(reason(&[], &both(room + 1)), Reason::IdentityTooLarge);
}

#[test]
fn rules_that_cannot_be_meant_are_none() {
    let new = |audience: &str, lifetime: Duration, claims: &[&[&str]]| {
        let claims = claims
            .iter()
            .map(|path| ClaimPath::new(path.iter().copied()))
            .collect();
        Rules::new(audience.into(), lifetime, claims, Bind::Request)
    };
    let second = Duration::from_secs(1);
    let least = 5 * second;
    assert_eq!(new("", least, &[]), Err(RulesError::NoAudience));
    let (short, uneven) = (Duration::from_millis(4_999), Duration::from_millis(5_500));
    for bad in [Duration::ZERO, second, short, uneven, 61 * second] {
        assert_eq!(new("a", bad, &[]), Err(RulesError::Lifetime), "{bad:?}");
    }
    for good in [least, 60 * second] {
        let rules = new("a", good, &[&["t", "id"], &["t", "plan"], &["ti"]]).unwrap();
        assert_eq!(
            (rules.audience(), rules.lifetime(), rules.bind()),
            ("a", good, Bind::Request)
        );
    }
    for bad in [
        [&["t"][..], &["t"]],
        [&["t"], &["t", "id"]],
        [&["t", "id"], &["t"]],
    ] {
        let repeated = ClaimPath::new(bad[1].iter().copied());
        assert_eq!(
            new("a", least, &bad),
            Err(RulesError::Repeated(repeated)),
            "{bad:?}"
        );
    }
}

#[test]
fn rules_are_told_apart_by_all_they_say() {
    let base = rules(30, &["a"]);
    assert_eq!(rules(30, &["a"]).identity(), base.identity());
    let bound = Rules::new(
        "orders".into(),
        Duration::from_secs(30),
        vec!["a".into()],
        Bind::Request,
    );
    let other = Rules::new(
        "other".into(),
        Duration::from_secs(30),
        vec!["a".into()],
        Bind::None,
    );
    for one in [
        rules(31, &["a"]),
        rules(30, &["b"]),
        rules(30, &[]),
        bound.unwrap(),
        other.unwrap(),
    ] {
        assert_ne!(one.identity(), base.identity(), "{one:?}");
    }
}

/// FIPS 186-5 section A.2.2: from 1 to the order less 1.
#[test]
fn numbers_out_of_range_are_no_keys() {
    let number = |last: u8| {
        let mut number = ORDER;
        number[31] = last;
        SigningKey::from_scalar(&number).map(|key| key.kid().to_string())
    };
    assert_eq!(number(0x51), Err(KeyError::OutOfRange));
    assert_eq!(number(0x52), Err(KeyError::OutOfRange));
    let zero = SigningKey::from_scalar(&[0; 32]);
    assert_eq!(zero.err(), Some(KeyError::OutOfRange));
    let most = SigningKey::from_scalar(&[0xff; 32]);
    assert_eq!(most.err(), Some(KeyError::OutOfRange));
    assert!(number(0x50).is_ok());
    let mut one = [0; 32];
    one[31] = 1;
    // Its public half is the curve's generator, and the one below the order its mirror image.
    let one = SigningKey::from_scalar(&one).unwrap();
    assert_eq!(
        one.jwk()["x"],
        "axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpY"
    );
    assert_ne!(number(0x50).unwrap(), one.kid().to_string());
}

#[test]
fn the_private_half_is_not_shown() {
    let key = key();
    assert_eq!(format!("{key:?}"), format!("SigningKey({:?})", key.kid()));
    let published: Vec<_> = key.jwk().as_object().unwrap().keys().cloned().collect();
    assert_eq!(published, ["alg", "crv", "kid", "kty", "use", "x", "y"]);
}

proptest! {
    /// No two lists of lines have one digest: neither order, nor a border, nor a repetition is lost.
    #[test]
    fn different_lines_have_different_digests(
        one in prop::collection::vec(("[a-c:]{0,2}", "[a-c: ]{0,3}"), 0..4),
        other in prop::collection::vec(("[a-c:]{0,2}", "[a-c: ]{0,3}"), 0..4),
    ) {
        // A name has no colon.
        let clean = |lines: Vec<(String, String)>| -> Vec<(String, String)> {
            lines.into_iter().map(|(name, value)| (name.replace(':', "-"), value)).collect()
        };
        let (one, other) = (clean(one), clean(other));
        let of = |lines: &[(String, String)]| digest(lines.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())));
        prop_assert_eq!(one == other, of(&one) == of(&other));
    }
}
