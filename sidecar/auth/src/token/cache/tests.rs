mod assertion;

use super::*;
use crate::header::encode::Encoding;
use crate::header::inject::{Content, FromClaim, Injection};
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
            .verdict
            .map(|v| v.claims().json().clone());
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
    assert_eq!(world.cache.good.len(), 0);
}

#[test]
fn both_stores_are_counted() {
    let world = World::new();
    assert_eq!(world.cache.stats(), CacheStats::default());
    assert_eq!(
        world.check("a.b", world.candidate(), NOW),
        Some(Reason::TokenMalformed)
    );
    let bad = world.cache.stats();
    let words = "fewer than three segments".len() as u64;
    assert_eq!((bad.entries, bad.bytes), (1, 3 + words + 1024));
    let token = world.signer.token(&json!({}));
    assert_eq!(world.check(&token, world.candidate(), NOW), None);
    let both = world.cache.stats();
    assert_eq!(both.entries, 2);
    assert!(both.bytes > bad.bytes + token.len() as u64 + 1024);
}

#[test]
fn refusals_are_kept_for_seconds_whatever_the_clock_does() {
    let world = World::new();
    let verified_anew = |seconds: i64| {
        let now = UnixTime::from_secs(NOW.as_secs().saturating_add_signed(seconds));
        let before = world.hits_and_misses().1;
        let refused = world.check("a.b", world.candidate(), now);
        assert_eq!(refused, Some(Reason::TokenMalformed));
        world.hits_and_misses().1 > before
    };
    let rows = [(0, true), (9, false), (10, true), (19, false), (18, false)];
    // A clock that steps back before the refusal makes it old, too, and not younger than it is.
    for (seconds, anew) in rows.into_iter().chain([(-3600, true), (10, true)]) {
        assert_eq!(verified_anew(seconds), anew, "{seconds}");
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
    let refusal = world.cache.check(b"a.b.c", &[], NOW).verdict.unwrap_err();
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
    let stats = world.cache.stats();
    assert!(
        stats.bytes <= 64 * 1024 && stats.entries < 60 && stats.entries > 5,
        "{stats:?}"
    );
}

/// threats.md 53: an epoch that two rules share by mistake does not let one's token pass for the other's.
#[test]
fn t53_a_verdict_belongs_to_its_issuer() {
    let world = World::new();
    let token = world.signer.token(&json!({}));
    assert_eq!(world.check(&token, world.candidate(), NOW), None);
    let other = Arc::new(Issuer {
        name: "other".into(),
        ..(*world.issuer).clone()
    });
    let candidate = candidate(&other, &world.set);
    let checked = world.cache.check(token.as_bytes(), &[candidate], NOW);
    let issuer = Arc::clone(checked.verdict.unwrap().claims().issuer_name());
    assert_eq!(&*issuer, "other");
}

fn set(names: &[&'static str]) -> InjectSet {
    let injections = names.iter().map(|&name| Injection {
        name: name.into(),
        content: Content::Claim(FromClaim {
            claim: "sub".into(),
            encoding: Encoding::String,
            only: None,
            except: None,
        }),
    });
    InjectSet::new(injections.collect())
}

#[test]
fn headers_are_made_once_for_equal_sets_and_never_for_another() {
    let world = World::new();
    let token = world.signer.token(&json!({}));
    let verdict = || {
        let checked = world
            .cache
            .check(token.as_bytes(), &[world.candidate()], NOW);
        checked.verdict.unwrap()
    };
    let headers = |set: &InjectSet| world.cache.headers(&verdict(), set).unwrap();
    let (one, again, two) = (set(&["x-user"]), set(&["x-user"]), set(&["x-user", "x-id"]));
    let first = headers(&one);
    assert!(Arc::ptr_eq(&first, &headers(&again)));
    assert_eq!((first.len(), headers(&two).len()), (1, 2));
    assert!(Arc::ptr_eq(&first, &headers(&one)));
    // Another token of the same set has its own.
    let other = world.signer.token(&json!({"sub": "u2"}));
    let other = world
        .cache
        .check(other.as_bytes(), &[world.candidate()], NOW);
    let lines = world.cache.headers(&other.verdict.unwrap(), &one).unwrap();
    assert_eq!(
        (&*first[0].value, &*lines[0].value),
        (&b"u1"[..], &b"u2"[..])
    );
}

#[test]
fn headers_count_against_the_memory() {
    let world = World {
        cache: VerdictCache::new(64 << 20),
        ..World::new()
    };
    let token = world.signer.token(&json!({"sub": "s".repeat(4000)}));
    let weighed = || world.cache.stats().bytes;
    let checked = world
        .cache
        .check(token.as_bytes(), &[world.candidate()], NOW);
    let verdict = checked.verdict.unwrap();
    let before = weighed();
    world.cache.headers(&verdict, &set(&["x-user"])).unwrap();
    assert!((4000..5000).contains(&(weighed() - before)));
    // However many sets there are, no more than 64 such blocks are kept of one token.
    let names: Vec<&'static str> = (0..100).map(|n| &*format!("x-{n}").leak()).collect();
    for name in &names {
        world.cache.headers(&verdict, &set(&[name])).unwrap();
    }
    let kept = (weighed() - before) / 4000;
    assert!((64..80).contains(&kept), "{kept}");
    // One that was swept out is not put back.
    world.cache.good.clear();
    world.cache.headers(&verdict, &set(&["x-late"])).unwrap();
    assert_eq!(world.cache.stats().entries, 0);
}

#[test]
fn what_was_learnt_is_told_once() {
    let world = World::new();
    let fresh = |token: &str| {
        let checked = world
            .cache
            .check(token.as_bytes(), &[world.candidate()], NOW);
        checked.fresh.map(|fresh| fresh.issued_at)
    };
    let iat = NOW.as_secs() - 10;
    let token = world.signer.token(&json!({}));
    assert_eq!(fresh(&token), Some(Some(UnixTime::from_secs(iat))));
    assert_eq!(fresh(&token), None);
    // A clock that is ahead shows in tokens that are refused for it.
    let late = NOW + Duration::from_secs(100);
    let token = world.signer.token(&json!({"iat": late.as_secs()}));
    assert_eq!(fresh(&token), Some(Some(late)));
    let forged = format!("{}AAAA", &token[..token.len() - 4]);
    assert_eq!(fresh(&forged), None);
}

/// Eight threads meet a hundred tokens at once, each token first seen by all: each is verified once.
#[test]
fn a_token_seen_by_all_at_once_is_verified_once() {
    const THREADS: usize = 8;
    let world = World::new();
    let tokens: Vec<_> = (0..100)
        .map(|n| world.signer.token(&json!({"sub": format!("u{n}")})))
        .collect();
    let start = std::sync::Barrier::new(THREADS);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for token in &tokens {
                    start.wait();
                    let token = token.as_bytes();
                    let verdict = match world.cache.look(token, &[world.candidate()], NOW) {
                        Look::Done(checked) => checked.verdict,
                        Look::Wait(waiting) => {
                            block_on(waiting);
                            world.cache.check(token, &[world.candidate()], NOW).verdict
                        }
                    };
                    assert!(verdict.is_ok());
                }
            });
        }
    });
    let (hits, misses) = world.hits_and_misses();
    assert_eq!((hits, misses), (700, 100));
}

/// A runtime of one future.
fn block_on(waiting: Waiting) {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Unpark(std::thread::current())).into();
    let mut context = std::task::Context::from_waker(&waker);
    let mut waiting = std::pin::pin!(waiting);
    while waiting.as_mut().poll(&mut context).is_pending() {
        std::thread::park();
    }
}
