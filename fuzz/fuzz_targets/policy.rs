//! Rules as they might be written, over requests of any kind: nothing panics or overflows the stack, and no evaluation
//! takes more than its steps.
//!
//! The first line of an input is JSON, what a token claims beside what it must; the rest is the expression. Without such a
//! line all of it is the expression, over claims that are as large as a token may have them.

#![no_main]

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Value, json};
use tollgate_auth::UnixTime;
use tollgate_auth::policy::expr::BUDGET;
use tollgate_auth::policy::{Expression, Facts};
use tollgate_auth::token::claims::Claims;
use tollgate_auth::token::{Algorithms, Candidate, Issuer, KeySet, Keys, TokenType, verify};
use tollgate_http::{Authority, Fields, Method, Path, RequestHead, Scheme, Version};

const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);

fuzz_target!(|text: &str| {
    let (first, rest) = text.split_once('\n').unwrap_or(("", text));
    let own = serde_json::from_str::<Map<String, Value>>(first).ok();
    let (claims, text) = match own.map(|own| WORLD.claims(own)) {
        Some(None) => return,
        Some(Some(claims)) => (claims, rest),
        None => (Arc::clone(&WORLD.large), text),
    };
    let Ok(rule) = Expression::parse(text) else {
        return;
    };
    assert_eq!(Expression::parse(rule.text()).as_ref(), Ok(&rule));
    let facts = Facts {
        head: &WORLD.head,
        source: [192, 0, 2, 7].into(),
        client: None,
    };
    let with = rule.evaluate(Some(&claims), &facts);
    assert!(with.steps <= BUDGET);
    assert_eq!(rule.evaluate(Some(&claims), &facts), with);
    let without = rule.evaluate(None, &facts);
    assert!(without.steps <= BUDGET);
    if !rule.reads_claims() {
        assert_eq!(with, without);
    }
    if let Err(fault) = with.outcome {
        assert!(!fault.to_string().is_empty());
    }
});

struct World {
    issuer: Arc<Issuer>,
    set: KeySet,
    pair: Ed25519KeyPair,
    head: RequestHead,
    large: Arc<Claims>,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let pair = Ed25519KeyPair::generate().expect("a key");
    let x = URL_SAFE_NO_PAD.encode(pair.public_key());
    let jwks = json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "kid": "k", "x": x }] });
    let set = KeySet::from_jwks(jwks.to_string().as_bytes()).expect("a key set");
    let issuer = Arc::new(Issuer {
        name: "corp".into(),
        issuer: "https://login.example.com".into(),
        audiences: vec!["api".into()],
        algorithms: Algorithms::default(),
        clock_skew: Duration::ZERO,
        token_type: TokenType::Any,
        max_bytes: 64 << 10,
    });
    let large = json!({
        "ints": (0..2_000).collect::<Vec<_>>(), "text": "a".repeat(4_000), "words": "a ".repeat(1_000), "level": 2,
        "texts": vec!["abc"; 500], "map": { "a": 1, "b": [1, 2.5, null] }, "email": "a@corp.com", "big": u64::MAX,
    });
    let Value::Object(large) = large else {
        unreachable!("an object");
    };
    let large = signed(&issuer, &set, &pair, large).expect("claims");
    World {
        issuer,
        set,
        pair,
        head: request(),
        large,
    }
});

impl World {
    fn claims(&self, own: Map<String, Value>) -> Option<Arc<Claims>> {
        signed(&self.issuer, &self.set, &self.pair, own)
    }
}

/// What a good token says that claims `own`; `None` if that makes it no good token.
fn signed(
    issuer: &Arc<Issuer>,
    set: &KeySet,
    pair: &Ed25519KeyPair,
    mut own: Map<String, Value>,
) -> Option<Arc<Claims>> {
    own.extend([
        ("iss".to_owned(), issuer.issuer.as_str().into()),
        ("aud".to_owned(), "api".into()),
        ("exp".to_owned(), (NOW.as_secs() + 60).into()),
    ]);
    let header = json!({ "alg": "EdDSA", "kid": "k" });
    let [header, payload] =
        [header, own.into()].map(|part: Value| URL_SAFE_NO_PAD.encode(part.to_string()));
    let covered = format!("{header}.{payload}");
    let signature = URL_SAFE_NO_PAD.encode(pair.sign(covered.as_bytes()));
    let candidate = Candidate {
        issuer,
        keys: Keys::Ready { set, generation: 1 },
        epoch: 1,
    };
    verify(
        format!("{covered}.{signature}").as_bytes(),
        &[candidate],
        NOW,
    )
    .ok()
}

fn request() -> RequestHead {
    let mut fields = Fields::new();
    fields.push("x-role", "user");
    fields.push("x-twice", "a");
    fields.push("X_Twice", "b");
    fields.push("x-bytes", &b"\xff"[..]);
    RequestHead {
        method: Method::GET,
        scheme: Scheme::Https,
        authority: Authority::parse(b"api.example.com").ok(),
        path: Path::parse(b"/orders/7").expect("a path"),
        query: None,
        version: Version::Http2,
        fields,
    }
}
