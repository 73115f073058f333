use super::report::NAMES;
use super::*;
use crate::reason::Reason;
use crate::token::algorithm::Algorithm;
use crate::token::issuer::{Issuer, Keys, TokenType};
use crate::token::jwt::verify;
use crate::token::keys::KeySet;
use crate::token::testing::{NOW, Signer, b64, candidate, issuer, jwks, merged, payload};
use proptest::prelude::*;
use serde_json::json;

/// An issuer, its keys, and one of the same name at another place.
struct World {
    rule: Arc<Issuer>,
    other: Arc<Issuer>,
    set: KeySet,
    strangers: KeySet,
    signer: Signer,
    rsa: Signer,
}

impl World {
    fn new() -> Self {
        let signer = Signer::new(Algorithm::ES256, "k1");
        let rsa = Signer::new(Algorithm::RS256, "k2");
        let encryption = signer.jwk_with(&json!({"kid": "k3", "use": "enc"}));
        let rule = Issuer {
            clock_skew: Duration::from_secs(30),
            algorithms: [Algorithm::ES256, Algorithm::RS256].into_iter().collect(),
            ..issuer()
        };
        Self {
            other: Arc::new(Issuer {
                name: "partner".into(),
                issuer: "https://partner.example".into(),
                audiences: vec!["partner-api".into()],
                algorithms: [Algorithm::EdDSA].into_iter().collect(),
                max_bytes: 1000,
                token_type: TokenType::AccessTokenJwt,
                ..issuer()
            }),
            rule: Arc::new(rule),
            set: KeySet::from_jwks(&jwks(&[signer.jwk(), rsa.jwk(), encryption])).unwrap(),
            strangers: KeySet::from_jwks(&jwks(&[Signer::new(Algorithm::EdDSA, "k1").jwk()]))
                .unwrap(),
            signer,
            rsa,
        }
    }

    fn subjects(&self, both: bool) -> Vec<Subject<'_>> {
        let subject = |candidate| Subject {
            candidate,
            source: "a file".to_owned(),
            age: Some(Duration::from_secs(12)),
            last_error: None,
            offset: None,
        };
        let mut all = vec![subject(candidate(&self.rule, &self.set))];
        if both {
            all.push(subject(candidate(&self.other, &self.strangers)));
        }
        all
    }

    fn explain(&self, token: &str) -> Explanation {
        self.explain_among(token, false)
    }

    /// Explains, and holds the explanation to the verdict and to secrecy.
    #[track_caller]
    fn explain_among(&self, token: &str, both: bool) -> Explanation {
        let subjects = self.subjects(both);
        let clock = Clock {
            now: NOW,
            synchronised: Some(true),
        };
        let explanation = explain(token.as_bytes(), &subjects, clock);
        let candidates: Vec<_> = subjects.iter().map(|s| s.candidate).collect();
        let verdict = verify(token.as_bytes(), &candidates, NOW);
        let reason = verdict
            .err()
            .map(|refusal| refusal.reason.word().to_owned());
        assert_eq!(explanation.reason, reason, "{explanation:#?}");
        assert_eq!(explanation.accepted, reason.is_none());
        let failed = explanation
            .checks
            .iter()
            .find(|c| c.outcome == Outcome::Failed);
        assert_eq!(failed.and_then(|c| c.reason.clone()), reason);
        let names: Vec<_> = explanation.checks.iter().map(|c| c.name.as_str()).collect();
        assert_eq!(names, NAMES);
        let text = serde_json::to_string(&explanation).unwrap();
        for segment in token.split('.') {
            for window in segment.as_bytes().windows(16) {
                let window = String::from_utf8_lossy(window);
                assert!(
                    !text.contains(&*window),
                    "{window} of the token is in {text}"
                );
            }
        }
        explanation
    }
}

fn check<'e>(explanation: &'e Explanation, name: &str) -> &'e Check {
    explanation.checks.iter().find(|c| c.name == name).unwrap()
}

#[test]
fn a_good_token_passes_everything() {
    let world = World::new();
    for both in [false, true] {
        let token = world.signer.token(&json!({"secret": "hunter2"}));
        let explanation = world.explain_among(&token, both);
        assert!(explanation.accepted);
        assert!(
            explanation
                .checks
                .iter()
                .all(|c| c.outcome == Outcome::Passed)
        );
        assert_eq!(explanation.issuer.as_deref(), Some("corp"));
        assert!(
            !serde_json::to_string(&explanation)
                .unwrap()
                .contains("hunter2")
        );
        assert_eq!(
            check(&explanation, "expiry").says,
            "exp 1800000300 (2027-01-15T08:05:00Z); in 5m; clock_skew 30s"
        );
        assert_eq!(
            check(&explanation, "key").says,
            r#"kid "k1": EC, 256 bits, for ES256"#
        );
        let other = world.explain_among(&world.rsa.token(&json!({})), both);
        assert_eq!(
            check(&other, "key").says,
            r#"kid "k2": RSA, 2048 bits, for RS256"#
        );
        assert_eq!(
            check(&explanation, "type").says,
            "typ is JWT; JWT, at+jwt and none are accepted"
        );
        assert_eq!(
            check(&explanation, "keys").says,
            "2 key(s), 1 unusable, generation 1, from a file, 12s old"
        );
    }
}

/// A terminal that shows the JSON is not steered by what a stranger wrote.
#[test]
fn facts_are_escaped_like_words() {
    let world = World::new();
    let kid = "a\"\u{9b}31m\u{202e}\"";
    let token = world.signer.token_with(&json!({"kid": kid}), &json!({}));
    let explanation = world.explain(&token);
    let facts = &check(&explanation, "key").facts;
    assert_eq!(facts["kid"], r#"a\"\u{9b}31m\u{202e}\""#);
    assert!(serde_json::to_string(&explanation).unwrap().is_ascii());
}

#[test]
fn programs_get_the_deciding_numbers() {
    let world = World::new();
    let explanation = world.explain(&world.signer.token(&json!({"exp": NOW.as_secs() - 222})));
    let facts = |name: &str| Value::Object(check(&explanation, name).facts.clone());
    let exp = NOW.as_secs() as f64 - 222.0;
    let expiry = json!({"exp": exp, "from_now": -222.0, "clock_skew": 30.0});
    assert_eq!(facts("expiry"), expiry);
    assert_eq!(facts("issued_at")["from_now"], -10.0);
    assert_eq!(facts("not_before"), json!({}));
    assert_eq!(
        facts("algorithm"),
        json!({"alg": "ES256", "accepted": ["RS256", "ES256"]})
    );
    let issuer = "https://login.example.com";
    assert_eq!(
        facts("issuer"),
        json!({"iss": issuer, "accepted": [issuer]})
    );
    assert_eq!(
        facts("keys"),
        json!({"age": 12.0, "kids": ["k1", "k2"], "last_error": null})
    );
    assert_eq!(facts("key"), json!({"kid": "k1"}));
    assert_eq!(
        facts("audience"),
        json!({"aud": ["orders-api"], "accepted": ["orders-api"]})
    );
    assert_eq!(facts("size")["limit"], 16384);
}

/// Each token is broken in one way; the first failing line names it, with what decides.
#[test]
fn the_first_failing_line_is_the_true_cause() {
    let world = World::new();
    let stranger = Signer::new(Algorithm::ES256, "k1");
    let sign = |changes: Value| world.signer.token(&changes);
    let head = |header: Value| world.signer.token_with(&header, &json!({}));
    let now = NOW.as_secs();
    for (token, name, reason, says) in [
        (
            "x".repeat(20_000),
            "size",
            Reason::TokenTooLarge,
            "20000 bytes; 16384",
        ),
        (
            "a.b".to_owned(),
            "form",
            Reason::TokenMalformed,
            "fewer than three",
        ),
        (
            head(json!({"crit": ["x"]})),
            "form",
            Reason::HeaderUnsupported,
            "crit",
        ),
        (
            head(json!({"alg": "none"})),
            "algorithm",
            Reason::AlgNotAllowed,
            "RS256, ES256",
        ),
        (
            sign(json!({"iss": "https://login.example.com/"})),
            "issuer",
            Reason::IssuerMismatch,
            "slash at the end",
        ),
        (
            sign(json!({"iss": null})),
            "issuer",
            Reason::ClaimMissing,
            "no iss",
        ),
        (
            head(json!({"kid": "k9"})),
            "key",
            Reason::KeyUnknown,
            r#"known are ["k1", "k2"]"#,
        ),
        (
            head(json!({"kid": "k3"})),
            "key",
            Reason::KeyUnknown,
            "cannot be used: its use is encryption",
        ),
        (
            head(json!({"kid": "k2"})),
            "key",
            Reason::KeyMismatch,
            "is for RS256",
        ),
        (
            stranger.token(&json!({})),
            "signature",
            Reason::SignatureInvalid,
            "does not verify",
        ),
        (
            sign(json!({"exp": "soon"})),
            "claims",
            Reason::ClaimMalformed,
            "exp is a string",
        ),
        (
            sign(json!({"exp": now - 222})),
            "expiry",
            Reason::TokenExpired,
            "3m 42s ago; clock_skew 30s",
        ),
        (
            sign(json!({"nbf": now + 90})),
            "not_before",
            Reason::TokenNotYetValid,
            "in 1m 30s",
        ),
        (
            sign(json!({"iat": now + 31})),
            "issued_at",
            Reason::IssuedInFuture,
            "in 31s",
        ),
        (
            sign(json!({"aud": ["a", "b"]})),
            "audience",
            Reason::AudienceMismatch,
            r#"aud ["a", "b"]; accepted is any of ["orders-api"]"#,
        ),
    ] {
        let explanation = world.explain(&token);
        let failed = check(&explanation, name);
        assert_eq!(
            explanation.reason.as_deref(),
            Some(reason.word()),
            "{explanation:#?}"
        );
        assert_eq!(failed.outcome, Outcome::Failed, "{explanation:#?}");
        assert!(failed.says.contains(says), "{}", failed.says);
        world.explain_among(&token, true);
    }
}

#[test]
fn what_can_still_be_said_is_said() {
    let world = World::new();
    // Three things are wrong at once.
    let token = world.signer.token_with(
        &json!({"kid": "k9"}),
        &json!({"exp": NOW.as_secs() - 100, "aud": "x"}),
    );
    let explanation = world.explain(&token);
    let failed: Vec<_> = explanation
        .checks
        .iter()
        .filter(|c| c.outcome == Outcome::Failed)
        .map(|c| c.name.as_str())
        .collect();
    assert_eq!(failed, ["key", "expiry", "audience"]);
    assert_eq!(
        check(&explanation, "signature").outcome,
        Outcome::NotReached
    );
    let says = &check(&explanation, "key").says;
    assert!(!says.contains("cannot be used"), "{says}");
    // A token of another issuer is never looked up among these keys.
    let token = world.signer.token(&json!({"iss": "https://evil.example"}));
    let explanation = world.explain(&token);
    for name in ["keys", "key", "signature"] {
        assert_eq!(check(&explanation, name).outcome, Outcome::NotReached);
    }
    assert_eq!(check(&explanation, "audience").outcome, Outcome::Passed);
    // Among several, whose rules would decide is not known.
    let explanation = world.explain_among(&token, true);
    assert_eq!(explanation.issuer, None);
    assert_eq!(check(&explanation, "audience").outcome, Outcome::NotReached);
}

#[test]
fn an_issuers_own_bounds_decide_as_they_do_in_verify() {
    let world = World::new();
    let partner = |more: &Value| {
        let claims = merged(json!({"iss": "https://partner.example"}), more);
        world.signer.token(&claims)
    };
    // Longer than the partner's limit, shorter than the other's.
    let explanation = world.explain_among(&partner(&json!({"pad": "p".repeat(900)})), true);
    assert_eq!(explanation.reason.as_deref(), Some("token_too_large"));
    // Both, and an algorithm that nobody accepts: that is looked at before the issuer is known.
    let long = merged(
        payload(),
        &json!({"iss": "https://partner.example", "pad": "p".repeat(900)}),
    );
    let token = world.signer.token_with(&json!({"alg": "none"}), &long);
    let explanation = world.explain_among(&token, true);
    assert_eq!(explanation.reason.as_deref(), Some("alg_not_allowed"));
    // An algorithm of the other issuer.
    let explanation = world.explain_among(&partner(&json!({})), true);
    assert_eq!(explanation.reason.as_deref(), Some("alg_not_allowed"));
    assert_eq!(explanation.issuer.as_deref(), Some("partner"));
}

#[test]
fn keys_that_are_not_there_and_clocks_that_are_wrong() {
    let world = World::new();
    let mut subject = world.subjects(false).remove(0);
    subject.last_error = Some("connection refused".to_owned());
    let clock = Clock {
        now: NOW,
        synchronised: Some(false),
    };
    for (keys, reason, says) in [
        (
            Keys::Unavailable,
            "keys_unavailable",
            "none yet, from a file",
        ),
        (Keys::Stale, "keys_stale", "too old"),
    ] {
        subject.candidate.keys = keys;
        let token = world.signer.token(&json!({}));
        let explanation = explain(token.as_bytes(), std::slice::from_ref(&subject), clock);
        assert_eq!(explanation.reason.as_deref(), Some(reason));
        let keys = &check(&explanation, "keys").says;
        assert!(
            keys.contains(says) && keys.ends_with("failed: connection refused"),
            "{keys}"
        );
        assert!(
            explanation.notes.is_empty(),
            "in time, so no clock is to blame"
        );
    }
    // A key that may only be missing because nobody can be asked: as the daemon answers.
    let mut subject = world.subjects(false).remove(0);
    subject.last_error = Some("connection refused".to_owned());
    let token = world.signer.token_with(&json!({"kid": "k9"}), &json!({}));
    let explanation = explain(token.as_bytes(), &[subject], clock);
    assert_eq!(explanation.reason.as_deref(), Some("keys_unavailable"));
    let key = &check(&explanation, "key").says;
    assert!(
        key.contains("the last fetch failed: connection refused"),
        "{key}"
    );
    // The issuer's clock is 42 s ahead: what it issues now is of the future here.
    let token = world.signer.token(&json!({"iat": NOW.as_secs() + 40}));
    for (seconds, expected) in [
        (42.0, "is in time"),
        (5.0, "out of time as well"),
        (-5.0, "behind"),
    ] {
        let mut subject = world.subjects(false).remove(0);
        subject.offset = Some(Offset {
            seconds,
            uncertainty: 0.5,
            source: "date".to_owned(),
        });
        let explanation = explain(token.as_bytes(), &[subject], clock);
        assert_eq!(explanation.reason.as_deref(), Some("issued_in_future"));
        let [offset, kernel] = &explanation.notes[..] else {
            panic!("{:?}", explanation.notes)
        };
        assert!(offset.contains(expected), "{offset}");
        assert!(kernel.contains("synchronised"));
    }
}

/// The other way: this host is ahead, and what the issuer holds for good is over here.
#[test]
fn a_clock_behind_ours_is_named_too() {
    let world = World::new();
    let token = world
        .signer
        .token(&json!({"exp": NOW.as_secs() - 50, "iat": null}));
    for (seconds, expected) in [
        (-42.0, "the token is in time"),
        (-1.0, "out of time as well"),
    ] {
        let mut subject = world.subjects(false).remove(0);
        subject.offset = Some(Offset {
            seconds,
            uncertainty: 0.5,
            source: "date".to_owned(),
        });
        let clock = Clock {
            now: NOW,
            synchronised: Some(true),
        };
        let explanation = explain(token.as_bytes(), &[subject], clock);
        assert_eq!(explanation.reason.as_deref(), Some("token_expired"));
        let [note] = &explanation.notes[..] else {
            panic!("{:?}", explanation.notes)
        };
        assert!(
            note.contains("s behind this host's") && note.contains(expected),
            "{note}"
        );
    }
}

#[test]
fn an_iat_is_a_lower_bound_and_no_figure_is_too_large() {
    let world = World::new();
    let token = world.signer.token(&json!({"iat": NOW.as_secs() + 60}));
    for (source, seconds, expected) in [
        (
            "iat",
            20.0,
            "at least 20.0 s ahead of this host's (by its tokens' `iat`); whether",
        ),
        ("iat", 40.0, "by its clock the token is in time"),
        ("date", 1e300, "out of time as well"),
        ("date", -1e300, "out of time as well"),
        ("date", f64::NAN, "out of time as well"),
    ] {
        let mut subject = world.subjects(false).remove(0);
        subject.offset = Some(Offset {
            seconds,
            uncertainty: 0.5,
            source: source.to_owned(),
        });
        let clock = Clock {
            now: NOW,
            synchronised: Some(true),
        };
        let explanation = explain(token.as_bytes(), &[subject], clock);
        let [note] = &explanation.notes[..] else {
            panic!("{:?}", explanation.notes)
        };
        assert!(note.contains(expected), "{note}");
    }
}

#[test]
fn it_comes_back_from_json_as_it_was() {
    let world = World::new();
    let explanation = world.explain(&world.rsa.token(&json!({"exp": 1})));
    let text = serde_json::to_string(&explanation).unwrap();
    assert_eq!(
        serde_json::from_str::<Explanation>(&text).unwrap(),
        explanation
    );
}

fn change() -> impl Strategy<Value = Value> {
    let name = prop::sample::select(vec!["iss", "aud", "exp", "nbf", "iat", "sub", "x"]);
    let near = (0_u64..120).prop_map(|n| json!(NOW.as_secs() - 60 + n));
    let value = prop_oneof![
        near,
        Just(json!(null)),
        Just(json!("orders-api")),
        Just(json!(["orders-api", 1])),
        Just(json!("https://partner.example")),
        any::<i64>().prop_map(|n| json!(n)),
    ];
    (name, value).prop_map(|(name, value)| json!({ name: value }))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever is wrong with a token, and however much of it: the first failing line is what verify refuses for
    /// (held inside `explain_among`).
    #[test]
    fn explanation_and_verdict_agree(
        changes in prop::collection::vec(change(), 0..3),
        header in prop::sample::select(vec![
            json!({}), json!({"kid": null}), json!({"kid": "k2"}), json!({"kid": "zz"}), json!({"alg": "RS256"}),
            json!({"alg": "EdDSA"}), json!({"alg": "none"}), json!({"typ": "at+jwt"}), json!({"crit": []}),
        ]),
        cut in prop::option::of(any::<prop::sample::Index>()),
        both in any::<bool>(),
    ) {
        thread_local!(static WORLD: World = World::new());
        WORLD.with(|world| {
            let changes = changes.iter().fold(payload(), merged);
            let mut token = world.signer.token_with(&header, &changes);
            if let Some(cut) = cut {
                let at = cut.index(token.len());
                token.remove(at);
            }
            world.explain_among(&token, both);
        });
    }

    #[test]
    fn any_text_is_explained(token in "\\PC{0,60}", parts in prop::collection::vec("[ -~]{0,30}", 3)) {
        thread_local!(static WORLD: World = World::new());
        WORLD.with(|world| {
            let subjects = world.subjects(true);
            let clock = Clock { now: NOW, synchronised: None };
            explain(token.as_bytes(), &subjects, clock);
            let token: Vec<_> = parts.iter().map(b64).collect();
            explain(token.join(".").as_bytes(), &subjects, clock);
        });
    }
}
