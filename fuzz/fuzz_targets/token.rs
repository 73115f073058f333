//! Whatever stands where a token should: nothing panics, a verdict is the same cold and cached, and what is accepted
//! was signed.
//!
//! The first byte of an input says what the rest is:
//!
//! - `S`, `H`: a JOSE header, a line feed, a payload. Both are encoded, and signed with EdDSA or HS256, so that what lies
//!   behind the signature is reached;
//! - `Q`: a query, and lines `name: value`: a request in which the token is looked for first;
//! - anything else begins a token.

#![no_main]

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use jsonwebtoken::jwk::Jwk;
use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Value, json};
use tollgate_auth::token::cache::Fingerprint;
use tollgate_auth::token::jwt::DEFAULT_MAX_BYTES;
use tollgate_auth::token::{
    Algorithm, Candidate, Carrier, HeaderScheme, Issuer, KeySet, Keys, TokenSource, TokenType,
    VerdictCache, redact, source, verify,
};
use tollgate_auth::{Reason, Refusal, UnixTime};
use tollgate_http::fields::{valid_name, valid_value};
use tollgate_http::path::valid_query;
use tollgate_http::{Fields, Method, Path, RequestHead, Scheme, Version};

/// The `exp` of the seeds, and the skew of the rule.
const EXPIRES: u64 = 1_800_000_300;
const SKEW: u64 = 30;

fuzz_target!(|input: &[u8]| {
    match input.split_first() {
        Some((b'S', text)) => check(&signed(text, |covered| {
            WORLD.pair.sign(covered).as_ref().to_vec()
        })),
        Some((b'H', text)) => check(&signed(text, |covered| {
            hmac::sign(&WORLD.secret, covered).as_ref().to_vec()
        })),
        Some((b'Q', text)) => request(text),
        _ => check(input),
    }
});

/// One issuer with a key of each kind, and the verdicts on everything tried so far.
struct World {
    issuer: Arc<Issuer>,
    set: KeySet,
    jwks: Vec<Jwk>,
    pair: Ed25519KeyPair,
    secret: hmac::Key,
    cache: VerdictCache,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("32 bytes are a seed");
    let secret = [9; 32];
    let public = include_str!("../../benches/fixtures/jwks.json");
    let mut jwks: Value = serde_json::from_str(public).expect("the fixture is JSON");
    let keys = jwks["keys"].as_array_mut().expect("the fixture is a JWKS");
    // The fixture's own EdDSA key has lost its private half.
    keys.retain(|key| key["alg"] != "EdDSA");
    keys.push(json!({ "kty": "OKP", "crv": "Ed25519", "kid": "ed", "alg": "EdDSA", "x": base64url(pair.public_key()) }));
    keys.push(json!({ "kty": "oct", "kid": "hs", "alg": "HS256", "k": base64url(secret) }));
    World {
        issuer: Arc::new(Issuer {
            name: "corp".into(),
            issuer: "https://login.example.com/realms/corp".into(),
            audiences: vec!["orders-api".into()],
            algorithms: Algorithm::ALL.into_iter().collect(),
            clock_skew: Duration::from_secs(SKEW),
            token_type: TokenType::Any,
            max_bytes: DEFAULT_MAX_BYTES,
        }),
        set: KeySet::from_local_jwks(jwks.to_string().as_bytes()).expect("the keys are good"),
        jwks: serde_json::from_value(jwks["keys"].take()).expect("the keys are JWKs"),
        pair,
        secret: hmac::Key::new(hmac::HMAC_SHA256, &secret),
        cache: VerdictCache::new(1 << 20),
    }
});

/// A token of any text, with a good signature.
fn signed(text: &[u8], sign: impl FnOnce(&[u8]) -> Vec<u8>) -> Vec<u8> {
    let at = text
        .iter()
        .position(|&byte| byte == b'\n')
        .unwrap_or(text.len());
    let (header, payload) = (&text[..at], text.get(at + 1..).unwrap_or_default());
    let covered = format!("{}.{}", base64url(header), base64url(payload));
    let signature = base64url(sign(covered.as_bytes()));
    format!("{covered}.{signature}").into_bytes()
}

fn check(token: &[u8]) {
    let in_time = verdict_at(token, EXPIRES - 300);
    let depends_on_time = in_time.as_ref().is_err_and(|refusal| {
        matches!(
            refusal.reason,
            Reason::TokenExpired | Reason::TokenNotYetValid | Reason::IssuedInFuture
        )
    });
    if in_time.is_err() && !depends_on_time {
        return;
    }
    // The last second of the seeds' tokens, the first one after, and two times that no clock shows.
    for now in [EXPIRES + SKEW - 1, EXPIRES + SKEW, 0, u64::MAX / 2] {
        drop(verdict_at(token, now));
    }
}

/// The verdict at this time: cold, and twice by way of the cache, which may know it from an earlier time.
fn verdict_at(token: &[u8], now: u64) -> Result<Map<String, Value>, Refusal> {
    let now = UnixTime::from_secs(now);
    let candidates = [Candidate {
        issuer: &WORLD.issuer,
        keys: Keys::Ready {
            set: &WORLD.set,
            generation: 1,
        },
        epoch: 1,
    }];
    let cold = verify(token, &candidates, now).map(|claims| claims.json().clone());
    for _ in 0..2 {
        let checked = WORLD.cache.check(token, &candidates, now).verdict;
        let cached = checked.map(|verdict| verdict.claims().json().clone());
        assert_eq!(cold, cached, "cold and cached");
    }
    if let Ok(claims) = &cold {
        genuine(token, claims, now);
    }
    cold
}

/// What is accepted is a token that another implementation finds signed, saying the same, for us and now.
fn genuine(token: &[u8], claims: &Map<String, Value>, now: UnixTime) {
    let segments: Vec<&[u8]> = token.split(|&byte| byte == b'.').collect();
    let [header, payload, signature] = segments[..] else {
        panic!("an accepted token has three segments")
    };
    let header = Value::Object(object(header));
    let named = |jwk: &&Jwk| jwk.common.key_id.as_deref() == header["kid"].as_str();
    let fits = |jwk: &&Jwk| {
        jwk.common
            .key_algorithm
            .is_some_and(|fixed| header["alg"] == *fixed.to_string())
    };
    let jwk = match header.get("kid") {
        Some(_) => WORLD.jwks.iter().find(named),
        None => WORLD.jwks.iter().find(fits),
    };
    let key = DecodingKey::from_jwk(jwk.expect("it names a key of ours")).expect("a good key");
    let algorithm = header["alg"].as_str().and_then(|name| name.parse().ok());
    let covered = &token[..token.len() - signature.len() - 1];
    let signature = std::str::from_utf8(signature).expect("ASCII");
    let is_good = jsonwebtoken::crypto::verify(
        signature,
        covered,
        &key,
        algorithm.expect("an algorithm that has a name"),
    );
    assert!(matches!(is_good, Ok(true)), "{is_good:?}");
    assert_eq!(object(payload), *claims);

    assert_eq!(claims["iss"], *WORLD.issuer.issuer);
    let expires = claims["exp"].as_f64().expect("exp is a number");
    assert!((now.as_secs() as f64) < expires + SKEW as f64);
    let audiences = match &claims["aud"] {
        Value::Array(list) => list.clone(),
        one => vec![one.clone()],
    };
    assert!(
        audiences
            .iter()
            .any(|one| *one == *WORLD.issuer.audiences[0])
    );
    // One content, one spelling: whatever the segments hold, they are its only encoding.
    for segment in segments {
        let bytes = URL_SAFE_NO_PAD.decode(segment).expect("strict base64url");
        assert_eq!(base64url(bytes).as_bytes(), segment);
    }
}

/// A request of this query and these fields.
fn request(text: &[u8]) {
    let mut lines = text.split(|&byte| byte == b'\n');
    let query = lines.next().filter(|query| valid_query(query));
    let mut fields = Fields::new();
    for line in lines {
        let Some(colon) = line.iter().position(|&byte| byte == b':') else {
            continue;
        };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if valid_name(name) && valid_value(value) {
            fields.push(name.to_vec(), value.to_vec());
        }
    }
    let mut head = RequestHead {
        method: Method::GET,
        scheme: Scheme::Https,
        authority: None,
        path: Path::parse(b"/").expect("a path"),
        query: query.map(|query| query.to_vec().into()),
        version: Version::Http11,
        fields,
    };
    let sources = sources();
    let found = source::find(&head, &sources);
    if let Ok(Some(found)) = &found {
        check(found.token);
        redacted(&head, found.token, found.carrier);
    }
    let is_readable = found.is_ok();
    source::strip(&mut head, &sources);
    match source::find(&head, &sources) {
        Ok(None) => {}
        // Two fields of another scheme stay two.
        Err(_) if !is_readable => {}
        left => panic!("left after strip: {left:?}"),
    }
}

fn sources() -> Vec<TokenSource> {
    let header = |name: &str, scheme| TokenSource::Header {
        name: name.to_owned(),
        scheme,
    };
    vec![
        header("authorization", HeaderScheme::Usual),
        header("authorization", HeaderScheme::Named("DPoP".to_owned())),
        header("x-token", HeaderScheme::Bare),
        TokenSource::Cookie {
            name: "session".to_owned(),
        },
        TokenSource::Query {
            name: "access_token".to_owned(),
        },
    ]
}

/// The token of a query is in no URL that is written.
fn redacted(head: &RequestHead, token: &[u8], carrier: Carrier) {
    let Some(query) = &head.query else { return };
    let shown = redact::redact_token(query, token);
    // A token shorter than what stands for it may be part of that.
    if carrier == Carrier::Query && token.len() > 12 {
        let shown = shown.unwrap_or_else(|| query.to_vec());
        // A token that overlaps itself (`vvvv…a`) leaves its beginning before the fingerprint, whose first digit may be
        // what comes next in it. So what is looked at is what stands between fingerprints.
        let mark = Fingerprint::of(token);
        let (mut rest, mark) = (&shown[..], mark.as_str().as_bytes());
        loop {
            let end = rest.windows(mark.len()).position(|window| window == mark);
            let piece = &rest[..end.unwrap_or(rest.len())];
            assert!(!piece.windows(token.len()).any(|window| window == token));
            match end {
                Some(end) => rest = &rest[end + mark.len()..],
                None => break,
            }
        }
    }
    redact::redact(&String::from_utf8_lossy(query));
}

/// A segment as serde_json alone reads it.
fn object(segment: &[u8]) -> Map<String, Value> {
    let json = URL_SAFE_NO_PAD.decode(segment).expect("strict base64url");
    serde_json::from_slice(&json).expect("an object")
}

fn base64url(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
