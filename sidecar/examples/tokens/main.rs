//! Prints docs/tokens.md with its samples, explained by the code itself; `cargo xtask docs` writes it.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tollgate::cli::explain::page;
use tollgate_auth::time::UnixTime;
use tollgate_auth::token::explain::{Clock, Explanation, Offset, Subject, explain};
use tollgate_auth::token::jwt::DEFAULT_MAX_BYTES;
use tollgate_auth::token::{Algorithms, Candidate, Issuer, KeySet, Keys, TokenType};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// 2027-01-15T08:00:00Z
const NOW: u64 = 1_800_000_000;
/// RFC 7515, appendix A.2.1
const MODULUS: &str = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ";

fn main() -> Outcome<()> {
    let mut text = String::new();
    for (number, sample) in samples()?.iter().enumerate() {
        let page = anstream::adapter::strip_str(&page::render(&sample.explanation)).to_string();
        let failing = sample.explanation.reason.as_deref();
        if failing != sample.reason {
            return Err(format!("sample {number}: {failing:?} and not {:?}", sample.reason).into());
        }
        text += &format!("### {}\n\n```text\n{page}```\n\n", sample.title);
    }
    print!(
        "{}",
        include_str!("page.md").replace("@SAMPLES@\n", text.trim_end_matches('\n'))
    );
    println!();
    Ok(())
}

/// A token, and what it must be refused for.
struct Sample {
    title: &'static str,
    reason: Option<&'static str>,
    explanation: Explanation,
}

/// Nothing is drawn at random: the page is the same each time.
fn samples() -> Outcome<Vec<Sample>> {
    let key = Signer::new(1)?;
    let stranger = Signer::new(2)?;
    let rsa = json!({"kty": "RSA", "n": MODULUS, "e": "AQAB", "kid": "2026-10", "alg": "RS256"});
    let jwks = json!({ "keys": [key.jwk("2027-01"), rsa] });
    let set = KeySet::from_jwks(jwks.to_string().as_bytes())?;
    let rule = Arc::new(rule(TokenType::Any));
    let strict = Arc::new(self::rule(TokenType::AccessTokenJwt));
    let ready = Keys::Ready {
        set: &set,
        generation: 3,
    };
    let by = |issuer, keys| Subject {
        candidate: Candidate {
            issuer,
            keys,
            epoch: 1,
        },
        source: "discovery".to_owned(),
        age: Some(Duration::from_secs(12)),
        last_error: None,
        offset: None,
    };
    let usual = || by(&rule, ready);
    let stale = Subject {
        age: Some(Duration::from_secs(3725)),
        last_error: Some("`https://login.example.com/keys` answered 502 Bad Gateway".to_owned()),
        ..by(&rule, Keys::Stale)
    };
    let ahead = Subject {
        offset: Some(Offset {
            seconds: 42.3,
            uncertainty: 0.5,
            source: "date".to_owned(),
        }),
        ..usual()
    };
    let header = json!({"alg": "EdDSA", "kid": "2027-01", "typ": "JWT"});
    let with = |changes: Value| key.token(&header, &merged(claims(), changes));
    let under = |changes: Value| key.token(&merged(header.clone(), changes), &claims());
    let truncated = with(json!({}));
    let truncated = &truncated[..100];
    let rows: Vec<(&str, Option<&str>, String, Subject<'_>)> = vec![
        ("Accepted", None, with(json!({})), usual()),
        (
            "1. Expired",
            Some("token_expired"),
            with(json!({"exp": NOW - 222, "iat": NOW - 522})),
            usual(),
        ),
        (
            "2. Issued in the future: the clocks are apart",
            Some("issued_in_future"),
            with(json!({"iat": NOW + 41})),
            ahead,
        ),
        (
            "3. Not valid yet",
            Some("token_not_yet_valid"),
            with(json!({"nbf": NOW + 3600})),
            usual(),
        ),
        (
            "4. Another issuer, by a slash",
            Some("issuer_mismatch"),
            with(json!({"iss": "https://login.example.com/realms/corp/"})),
            usual(),
        ),
        (
            "5. Made for another API",
            Some("audience_mismatch"),
            with(json!({"aud": ["account", "billing-api"]})),
            usual(),
        ),
        (
            "6. A key that the issuer does not publish",
            Some("key_unknown"),
            under(json!({"kid": "2026-12"})),
            usual(),
        ),
        (
            "7. A key of another type",
            Some("key_mismatch"),
            under(json!({"kid": "2026-10"})),
            usual(),
        ),
        (
            "8. Forged: another key under the same name",
            Some("signature_invalid"),
            stranger.token(&header, &claims()),
            usual(),
        ),
        (
            "9. Unsigned",
            Some("alg_not_allowed"),
            format!("{}.", unsigned()),
            usual(),
        ),
        (
            "10. A date in quotes",
            Some("claim_malformed"),
            with(json!({"exp": "1800000300"})),
            usual(),
        ),
        (
            "11. An ID token where access tokens are asked for (`token_type: at+jwt`)",
            Some("header_unsupported"),
            with(json!({"nonce": "n-0S6_WzA2Mj", "aud": "web-client"})),
            by(&strict, ready),
        ),
        (
            "12. The issuer is away, and its keys are too old",
            Some("keys_stale"),
            with(json!({})),
            stale,
        ),
        (
            "13. Cut off while it was copied",
            Some("token_malformed"),
            truncated.to_owned(),
            usual(),
        ),
    ];
    let clock = Clock {
        now: UnixTime::from_secs(NOW),
        synchronised: Some(true),
    };
    Ok(rows
        .into_iter()
        .map(|(title, reason, token, subject)| Sample {
            title,
            reason,
            explanation: explain(token.as_bytes(), &[subject], clock),
        })
        .collect())
}

fn rule(token_type: TokenType) -> Issuer {
    Issuer {
        name: "corp".into(),
        issuer: "https://login.example.com/realms/corp".to_owned(),
        audiences: vec!["orders-api".to_owned()],
        algorithms: Algorithms::default(),
        clock_skew: Duration::from_secs(30),
        token_type,
        max_bytes: DEFAULT_MAX_BYTES,
    }
}

fn claims() -> Value {
    json!({
        "iss": "https://login.example.com/realms/corp", "aud": "orders-api", "sub": "alice",
        "iat": NOW - 10, "exp": NOW + 290,
    })
}

fn merged(mut all: Value, changes: Value) -> Value {
    if let (Some(all), Value::Object(changes)) = (all.as_object_mut(), changes) {
        all.extend(changes);
    }
    all
}

fn unsigned() -> String {
    let segments = [json!({"alg": "none"}), claims()];
    segments.map(|part| encoded(part.to_string())).join(".")
}

fn encoded(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A key made of a number, known to all: for samples alone.
struct Signer(Ed25519KeyPair);

impl Signer {
    fn new(number: u8) -> Outcome<Self> {
        Ok(Self(Ed25519KeyPair::from_seed_unchecked(&[number; 32])?))
    }

    fn jwk(&self, kid: &str) -> Value {
        let x = encoded(self.0.public_key());
        json!({"kty": "OKP", "crv": "Ed25519", "x": x, "kid": kid, "alg": "EdDSA", "use": "sig"})
    }

    fn token(&self, header: &Value, claims: &Value) -> String {
        let signed = format!(
            "{}.{}",
            encoded(header.to_string()),
            encoded(claims.to_string())
        );
        let signature = encoded(self.0.sign(signed.as_bytes()));
        format!("{signed}.{signature}")
    }
}
