use super::*;
use crate::token::jwt::{Issuer, verify};
use crate::token::keys::{Algorithm, KeySet};
use crate::token::testing::{NOW, Signer, candidate, issuer, key_set};
use serde_json::json;

struct World {
    signer: Signer,
    issuer: Arc<Issuer>,
    set: KeySet,
    cache: VerdictCache,
}

impl World {
    fn new() -> Self {
        let signer = Signer::new(Algorithm::ES256, "k");
        Self {
            issuer: Arc::new(Issuer {
                clock_skew: Duration::from_secs(30),
                ..issuer()
            }),
            set: key_set(&[signer.jwk()]),
            cache: VerdictCache::new(1 << 20),
            signer,
        }
    }

    fn candidate(&self) -> Candidate<'_> {
        candidate(&self.issuer, &self.set)
    }

    /// The verdict, which must be the one that verification without a cache gives.
    #[track_caller]
    fn check(&self, token: &str, candidate: Candidate<'_>, now: UnixTime) -> Option<Reason> {
        let cached = self
            .cache
            .check(token.as_bytes(), &[candidate], now)
            .map(|c| c.json().clone());
        let cold = verify(token.as_bytes(), &[candidate], now).map(|c| c.json().clone());
        assert_eq!(cached, cold);
        cached.err().map(|r| r.reason)
    }

    fn hits_and_misses(&self) -> (u64, u64) {
        let stats = self.cache.stats();
        (stats.hits, stats.misses)
    }
}

#[test]
fn a_token_is_verified_once() {
    let world = World::new();
    let token = world.signer.token(&json!({}));
    for _ in 0..5 {
        assert_eq!(world.check(&token, world.candidate(), NOW), None);
    }
    assert_eq!(world.hits_and_misses(), (4, 1));
    world.cache.good.run_pending_tasks();
    let stats = world.cache.stats();
    assert_eq!(stats.entries, 1);
    assert!(stats.bytes as usize > token.len());
}

#[test]
fn t52_a_remembered_token_ends_in_the_first_second_after() {
    let world = World::new();
    let exp = NOW.as_secs() + 300;
    for claims in [json!({}), json!({"iat": null})] {
        let token = world.signer.token(&claims);
        assert_eq!(world.check(&token, world.candidate(), NOW), None);
        let last = UnixTime::from_millis((exp + 30) * 1000 - 1);
        assert_eq!(world.check(&token, world.candidate(), last), None);
        let first_after = UnixTime::from_secs(exp + 30);
        assert_eq!(
            world.check(&token, world.candidate(), first_after),
            Some(Reason::TokenExpired)
        );
    }
    assert_eq!(world.hits_and_misses().1, 2);
}

#[test]
fn t55_a_stepped_clock_is_right_both_ways() {
    let world = World::new();
    let token = world.signer.token(&json!({}));
    let hour = Duration::from_secs(3600);
    assert_eq!(world.check(&token, world.candidate(), NOW), None);
    assert_eq!(
        world.check(&token, world.candidate(), NOW + hour),
        Some(Reason::TokenExpired)
    );
    assert_eq!(
        world.check(&token, world.candidate(), NOW - hour),
        Some(Reason::IssuedInFuture)
    );
    assert_eq!(world.check(&token, world.candidate(), NOW), None);
}

#[test]
fn t49_t50_new_keys_end_old_verdicts() {
    let world = World::new();
    let token = world.signer.token(&json!({}));
    assert_eq!(world.check(&token, world.candidate(), NOW), None);
    // The same kid with other material, and the key gone.
    for (generation, signer) in [
        (2, Signer::new(Algorithm::ES256, "k")),
        (3, Signer::new(Algorithm::ES256, "new")),
    ] {
        let set = key_set(&[signer.jwk()]);
        let rotated = Candidate {
            keys: Keys::Ready {
                set: &set,
                generation,
            },
            ..world.candidate()
        };
        let want = if generation == 2 {
            Reason::SignatureInvalid
        } else {
            Reason::KeyUnknown
        };
        assert_eq!(world.check(&token, rotated, NOW), Some(want));
    }
    for (keys, reason) in [
        (Keys::Stale, Reason::KeysStale),
        (Keys::Unavailable, Reason::KeysUnavailable),
    ] {
        let without = Candidate {
            keys,
            ..world.candidate()
        };
        assert_eq!(world.check(&token, without, NOW), Some(reason));
    }
}

#[test]
fn t53_t56_another_rule_is_another_verdict() {
    let world = World::new();
    let token = world.signer.token(&json!({}));
    assert_eq!(world.check(&token, world.candidate(), NOW), None);
    let changed = |change: &dyn Fn(&mut Issuer)| {
        let mut rule = (*world.issuer).clone();
        change(&mut rule);
        Arc::new(rule)
    };
    let other_audience = changed(&|i| i.audiences = vec!["other".into()]);
    let es384_only = changed(&|i| i.algorithms = [Algorithm::ES384].into_iter().collect());
    let other_name = changed(&|i| {
        i.name = "other".into();
        i.issuer = "https://other.example".into();
    });
    let rows = [
        // Audience and skew are compared at each hit, so they hold even within one epoch.
        (&other_audience, 1, Reason::AudienceMismatch),
        (&es384_only, 2, Reason::AlgNotAllowed),
        (&other_name, 1, Reason::IssuerMismatch),
    ];
    for (rule, epoch, reason) in rows {
        let candidate = Candidate {
            epoch,
            ..candidate(rule, &world.set)
        };
        assert_eq!(world.check(&token, candidate, NOW), Some(reason));
    }
    assert_eq!(world.check(&token, world.candidate(), NOW), None);
}

#[test]
fn garbage_is_remembered_apart_and_unknown_keys_not_at_all() {
    let world = World::new();
    let good = world.signer.token(&json!({}));
    let forged = format!("{}.{}", good.rsplit_once('.').unwrap().0, "A".repeat(86));
    let cases = [
        (forged, Reason::SignatureInvalid, 1),
        ("a.b".to_owned(), Reason::TokenMalformed, 1),
        (
            world.signer.token_with(&json!({"crit": []}), &json!({})),
            Reason::HeaderUnsupported,
            1,
        ),
        (
            world.signer.token(&json!({"exp": "x"})),
            Reason::ClaimMalformed,
            1,
        ),
        (
            world.signer.token_with(&json!({"kid": "x"}), &json!({})),
            Reason::KeyUnknown,
            3,
        ),
        (
            world
                .signer
                .token_with(&json!({"alg": "HS256"}), &json!({})),
            Reason::AlgNotAllowed,
            3,
        ),
        (
            world.signer.token(&json!({"exp": 1})),
            Reason::TokenExpired,
            3,
        ),
        (
            world.signer.token(&json!({"aud": "x"})),
            Reason::AudienceMismatch,
            3,
        ),
        (
            world.signer.token(&json!({"iss": "x"})),
            Reason::IssuerMismatch,
            3,
        ),
    ];
    for (token, reason, misses) in cases {
        let before = world.hits_and_misses().1;
        for _ in 0..3 {
            assert_eq!(world.check(&token, world.candidate(), NOW), Some(reason));
        }
        assert_eq!(world.hits_and_misses().1 - before, misses, "{reason}");
    }
    world.cache.good.run_pending_tasks();
    assert_eq!(world.cache.good.entry_count(), 0);
    assert!(world.cache.bad.time_to_live_is(NEGATIVE_TTL));
}

/// Only the policy that was built can say this; it cannot be waited for in a test.
trait TimeToLive {
    fn time_to_live_is(&self, ttl: Duration) -> bool;
}

impl TimeToLive for Cache<Key, Arc<Bad>> {
    fn time_to_live_is(&self, ttl: Duration) -> bool {
        self.policy().time_to_live() == Some(ttl)
    }
}

#[test]
fn too_large_tokens_are_not_even_hashed() {
    let world = World::new();
    let token = "a".repeat(1 << 20);
    assert_eq!(
        world.check(&token, world.candidate(), NOW),
        Some(Reason::TokenTooLarge)
    );
    let refusal = world.cache.check(b"a.b.c", &[], NOW).unwrap_err();
    assert_eq!(refusal.reason, Reason::IssuerMismatch);
    assert_eq!(world.hits_and_misses(), (0, 0));
}

#[test]
fn memory_is_bounded() {
    let world = World {
        cache: VerdictCache::new(64 * 1024),
        ..World::new()
    };
    for n in 0..200 {
        let token = world
            .signer
            .token(&json!({"sub": format!("u{n}"), "pad": "p".repeat(500)}));
        assert_eq!(world.check(&token, world.candidate(), NOW), None);
    }
    world.cache.good.run_pending_tasks();
    let stats = world.cache.stats();
    assert!(
        stats.bytes <= 64 * 1024 && stats.entries < 60 && stats.entries > 5,
        "{stats:?}"
    );
}

/// The hash finds an entry, and the whole token decides: another token behind the same hash is no hit.
#[test]
fn t53_the_whole_token_is_compared() {
    let world = World::new();
    let (mine, other) = (
        world.signer.token(&json!({})),
        world.signer.token(&json!({"sub": "u2"})),
    );
    let claims = verify(other.as_bytes(), &[world.candidate()], NOW).unwrap();
    let key = Key::of(sha256(mine.as_bytes()), &world.candidate()).unwrap();
    let planted = Good {
        token: other.as_bytes().into(),
        claims,
    };
    world.cache.good.insert(key, Arc::new(planted));
    let claims = world
        .cache
        .check(mine.as_bytes(), &[world.candidate()], NOW)
        .unwrap();
    assert_eq!(claims.subject(), Some("u1"));
}

#[test]
fn fingerprints_are_short_and_say_nothing() {
    assert_eq!(fingerprint(b""), "e3b0c44298fc");
    assert_eq!(fingerprint(b"abc").len(), 12);
}
