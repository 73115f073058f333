//! jsonwebtoken as the oracle, for every algorithm that both have: what is accepted here it accepts too, with the same
//! claims; and what it alone accepts is refused for one of the rules listed beside each edit.
//!
//! It is told all that it can check: algorithm, `exp`, `nbf`, `iss`, `aud`, which must be there, and the skew. The
//! moment is the oracle's, since it reads the clock itself; no date here is near a boundary.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use jsonwebtoken::{DecodingKey, Validation};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use serde_json::{Map, Value, json};

use super::jws::base64url;
use super::jwt::{Issuer, verify};
use super::keys::{Algorithm, Algorithms};
use super::testing::{Signer, b64, candidate, issuer, key_set, merged, payload};
use crate::reason::Reason;
use crate::time::UnixTime;

const SKEW: u64 = 30;

/// Two of each algorithm but ES512, which the oracle does not have: the issuer's, and a stranger's of the same name.
static SIGNERS: LazyLock<Vec<(Signer, Signer)>> = LazyLock::new(|| {
    let theirs = |algorithm: &Algorithm| *algorithm != Algorithm::ES512;
    Algorithm::ALL
        .into_iter()
        .filter(theirs)
        .map(|algorithm| (Signer::new(algorithm, "k"), Signer::new(algorithm, "k")))
        .collect()
});

/// A change to header or payload, and the rule by which it may be refused here alone.
type Edit = (&'static str, Option<Reason>);

/// As members of the header, over those of a good token; `null` removes one. `+` adds text, so that a member can
/// stand twice.
const HEADERS: [Edit; 17] = [
    (r#"{"typ":null}"#, None),
    (r#"{"typ":"at+jwt"}"#, None),
    (r#"{"cty":"x","x":[1,{"y":2}]}"#, None),
    (r#"{"kid":null}"#, None),
    (
        r#"{"jku":"https://e.example","x5u":"https://e.example"}"#,
        None,
    ),
    // Its key would have to be chosen by kid; the oracle is handed one.
    (r#"{"kid":"x"}"#, Some(Reason::KeyUnknown)),
    (r#"{"kid":""}"#, Some(Reason::KeyUnknown)),
    (r#"{"kid":7}"#, Some(Reason::TokenMalformed)),
    (r#"{"typ":"dpop+jwt"}"#, Some(Reason::HeaderUnsupported)),
    (r#"{"crit":["x"],"x":1}"#, Some(Reason::HeaderUnsupported)),
    (r#"{"crit":[]}"#, Some(Reason::HeaderUnsupported)),
    (r#"{"b64":true}"#, Some(Reason::HeaderUnsupported)),
    (r#"{"zip":"DEF"}"#, Some(Reason::HeaderUnsupported)),
    (r#"{"alg":"none"}"#, None),
    (r#"{"alg":7}"#, None),
    (r#"+"x":1,"x":2"#, Some(Reason::TokenMalformed)),
    (
        r#"+"x":[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]"#,
        Some(Reason::TokenMalformed),
    ),
];

/// The same of the payload. `EXP` and `SOON` are moments after now, `PAST` one before.
const PAYLOADS: [Edit; 33] = [
    (r#"{"aud":["x","orders-api"]}"#, None),
    (r#"{"aud":["x"]}"#, None),
    (r#"{"aud":[]}"#, None),
    (r#"{"aud":null}"#, None),
    (r#"{"aud":"orders-ap"}"#, None),
    (r#"{"aud":7}"#, None),
    (r#"{"aud":["orders-api",7]}"#, Some(Reason::ClaimMalformed)),
    (r#"{"iss":"https://login.example.com/"}"#, None),
    (r#"{"iss":null}"#, None),
    (
        r#"{"iss":["https://login.example.com"]}"#,
        Some(Reason::ClaimMalformed),
    ),
    (r#"{"iss":7}"#, None),
    (r#"{"exp":null}"#, None),
    (r#"{"exp":PAST}"#, None),
    (r#"{"exp":"SOON"}"#, Some(Reason::ClaimMalformed)),
    (r#"{"exp":SOON.5}"#, None),
    (r#"{"exp":-1}"#, None),
    (r#"{"exp":1e300}"#, Some(Reason::ClaimMalformed)),
    (r#"{"exp":253402300800}"#, Some(Reason::ClaimMalformed)),
    (r#"{"nbf":PAST}"#, None),
    (r#"{"nbf":SOON}"#, None),
    (r#"{"nbf":"PAST"}"#, Some(Reason::ClaimMalformed)),
    (r#"{"nbf":-1}"#, Some(Reason::ClaimMalformed)),
    (r#"{"iat":SOON}"#, Some(Reason::IssuedInFuture)),
    (r#"{"iat":"PAST"}"#, Some(Reason::ClaimMalformed)),
    (r#"{"iat":null}"#, None),
    (r#"{"sub":7}"#, Some(Reason::ClaimMalformed)),
    (r#"{"sub":null}"#, None),
    (r#"{"sub":""}"#, None),
    (r#"+"sub":"eve""#, Some(Reason::TokenMalformed)),
    (r#"+"exp":99999999999"#, Some(Reason::TokenMalformed)),
    (r#"+"r":{"a":1,"a":1}"#, Some(Reason::TokenMalformed)),
    (
        r#"+"x":[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]"#,
        Some(Reason::TokenMalformed),
    ),
    (r#"+"x":1e400"#, None),
];

/// What happens to the token after it was signed.
#[derive(Clone, Debug)]
enum Harm {
    /// A bit of the decoded segment.
    Bit(usize, prop::sample::Index, u8),
    /// A character of the text.
    Character(prop::sample::Index, char),
    Truncated(prop::sample::Index),
    Swapped(usize, usize),
    Padded(usize),
    /// `-` and `_` become `+` and `/`.
    OtherAlphabet,
    /// The last character of a segment, with other bits behind its end.
    StrayBits(usize),
    Doubled,
    /// The stranger signed.
    OtherKey,
    /// The payload is another token's.
    OtherPayload,
    WithoutSignature,
}

#[derive(Clone, Debug)]
struct Case {
    signer: usize,
    header: Option<Edit>,
    payload: Option<Edit>,
    extra: String,
    number: i64,
    harm: Option<Harm>,
    /// The verifier's key and algorithm, if not the signer's.
    verifier: Option<usize>,
}

fn cases() -> impl Strategy<Value = Case> {
    let segment = 0..3_usize;
    let at = any::<prop::sample::Index>;
    let harm = prop_oneof![
        (segment.clone(), at(), 0..8_u8).prop_map(|(segment, at, bit)| Harm::Bit(segment, at, bit)),
        (at(), any::<char>()).prop_map(|(at, c)| Harm::Character(at, c)),
        at().prop_map(Harm::Truncated),
        (segment.clone(), segment.clone()).prop_map(|(a, b)| Harm::Swapped(a, b)),
        segment.clone().prop_map(Harm::Padded),
        Just(Harm::OtherAlphabet),
        segment.prop_map(Harm::StrayBits),
        Just(Harm::Doubled),
        Just(Harm::OtherKey),
        Just(Harm::OtherPayload),
        Just(Harm::WithoutSignature),
    ];
    let signers = Algorithm::ALL.len() - 1;
    (
        0..signers,
        prop::option::weighted(0.3, prop::sample::select(&HEADERS[..])),
        prop::option::weighted(0.5, prop::sample::select(&PAYLOADS[..])),
        "\\PC{0,20}",
        any::<i64>(),
        prop::option::weighted(0.3, harm),
        prop::option::weighted(0.05, 0..signers),
    )
        .prop_map(
            |(signer, header, payload, extra, number, harm, verifier)| Case {
                signer,
                header,
                payload,
                extra,
                number,
                harm,
                verifier,
            },
        )
}

impl Case {
    fn token(&self, now: u64) -> String {
        let (ours, stranger) = &SIGNERS[self.signer];
        let good = json!({"alg": ours.algorithm.name(), "kid": "k", "typ": "JWT"});
        let header = edited(good, self.header, now);
        let claims = json!({"exp": now + 300, "iat": now - 10, "x_extra": self.extra, "x_number": [self.number]});
        let claims = merged(payload(), &claims);
        let signer = if matches!(self.harm, Some(Harm::OtherKey)) {
            stranger
        } else {
            ours
        };
        let token = signer.token_of(&header, &edited(claims.clone(), self.payload, now));
        let parts: Vec<String> = token.split('.').map(str::to_owned).collect();
        let with = |at: usize, part: String| {
            let mut parts = parts.clone();
            parts[at] = part;
            parts.join(".")
        };
        match &self.harm {
            None | Some(Harm::OtherKey) => token,
            Some(Harm::Bit(segment, at, bit)) => {
                let mut bytes = base64url("", parts[*segment].as_bytes()).unwrap();
                let at = at.index(bytes.len());
                bytes[at] ^= 1 << bit;
                with(*segment, b64(bytes))
            }
            Some(Harm::Character(at, c)) => {
                let at = at.index(token.len());
                format!("{}{c}{}", &token[..at], &token[at + 1..])
            }
            Some(Harm::Truncated(at)) => token[..at.index(token.len())].to_owned(),
            Some(Harm::Swapped(a, b)) => {
                let mut parts = parts;
                parts.swap(*a, *b);
                parts.join(".")
            }
            Some(Harm::Padded(at)) => {
                let part = &parts[*at];
                with(*at, format!("{part}{}", "=".repeat(4 - part.len() % 4)))
            }
            Some(Harm::OtherAlphabet) => token.replace('-', "+").replace('_', "/"),
            Some(Harm::StrayBits(at)) => {
                let (front, last) = parts[*at].split_at(parts[*at].len() - 1);
                let next = char::from(last.as_bytes()[0].wrapping_add(1));
                with(*at, format!("{front}{next}"))
            }
            Some(Harm::Doubled) => format!("{token}.{}", parts[2]),
            Some(Harm::OtherPayload) => {
                with(1, b64(merged(claims, &json!({"sub": "eve"})).to_string()))
            }
            Some(Harm::WithoutSignature) => with(2, String::new()),
        }
    }

    /// The claims, or the reason.
    fn ours(&self, token: &str, now: u64) -> Result<Map<String, Value>, Reason> {
        let (signer, _) = &SIGNERS[self.verifier.unwrap_or(self.signer)];
        let rule = Arc::new(Issuer {
            algorithms: Algorithms::ALL,
            clock_skew: Duration::from_secs(SKEW),
            ..issuer()
        });
        let set = key_set(&[signer.jwk()]);
        verify(
            token.as_bytes(),
            &[candidate(&rule, &set)],
            UnixTime::from_secs(now),
        )
        .map(|claims| claims.json().clone())
        .map_err(|refusal| refusal.reason)
    }

    fn theirs(&self, token: &str) -> Option<Map<String, Value>> {
        let (signer, _) = &SIGNERS[self.verifier.unwrap_or(self.signer)];
        let key = DecodingKey::from_jwk(&serde_json::from_value(signer.jwk()).unwrap()).unwrap();
        let mut rules = Validation::new(signer.algorithm.name().parse().unwrap());
        rules.set_audience(&["orders-api"]);
        rules.set_issuer(&["https://login.example.com"]);
        rules.set_required_spec_claims(&["exp", "iss", "aud"]);
        rules.validate_nbf = true;
        rules.leeway = SKEW;
        jsonwebtoken::decode(token, &key, &rules)
            .ok()
            .map(|data| data.claims)
    }

    fn stricter(&self) -> Vec<Reason> {
        let edits = [self.header, self.payload];
        edits
            .into_iter()
            .flatten()
            .filter_map(|(_, reason)| reason)
            .collect()
    }
}

fn edited(good: Value, edit: Option<Edit>, now: u64) -> String {
    let Some((edit, _)) = edit else {
        return good.to_string();
    };
    let edit = edit
        .replace("SOON", &(now + 200).to_string())
        .replace("PAST", &(now - 100).to_string());
    match edit.strip_prefix('+') {
        Some(more) => format!("{},{more}}}", good.to_string().trim_end_matches('}')),
        None => merged(good, &serde_json::from_str(&edit).unwrap()).to_string(),
    }
}

#[test]
fn parity_what_is_accepted_here_the_oracle_accepts_and_only_listed_rules_are_stricter() {
    let seen: RefCell<BTreeMap<String, usize>> = RefCell::default();
    let count = |what: String| *seen.borrow_mut().entry(what).or_default() += 1;
    let mut runner = TestRunner::new(ProptestConfig {
        // Keys are made anew in each run, so a seed alone would bring nothing back.
        failure_persistence: None,
        ..ProptestConfig::with_cases(2_000)
    });
    let outcome = runner.run(&cases(), |case| {
        let now = jsonwebtoken::get_current_timestamp();
        let token = case.token(now);
        match (case.ours(&token, now), case.theirs(&token)) {
            (Ok(ours), theirs) => {
                prop_assert_eq!(Some(ours), theirs, "{}", token);
                count("accepted by both".into());
            }
            (Err(_), None) => count("refused by both".into()),
            (Err(reason), Some(_)) => {
                prop_assert!(
                    case.stricter().contains(&reason),
                    "{} refuses {}",
                    reason,
                    token
                );
                count(format!("refused here alone: {reason}"));
            }
        }
        Ok(())
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
    let seen = seen.into_inner();
    println!("{seen:#?}");
    // The generator reaches all three; else the property says nothing.
    assert!(
        seen["accepted by both"] > 200 && seen["refused by both"] > 200 && seen.len() > 4,
        "{seen:?}"
    );
}
