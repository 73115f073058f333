//! Assertions that are kept: when one is used again, and when not.

use super::*;
use crate::header::assertion::{Bind, Rules, Signer, SigningKey};
use crate::token::claims::ClaimPath;

fn key(number: u8) -> SigningKey {
    SigningKey::from_scalar(&[number; 32]).unwrap()
}

fn rules(audience: &str, lifetime: u64, claims: &[&str]) -> Rules {
    let claims: Vec<ClaimPath> = claims.iter().map(|name| ClaimPath::from(*name)).collect();
    let lifetime = Duration::from_secs(lifetime);
    Rules::new(audience.into(), lifetime, claims, Bind::None).unwrap()
}

/// A token in the cache, and what is signed for it.
struct Seen {
    world: World,
    verdict: Verdict,
    key: SigningKey,
    rules: Rules,
    set: InjectSet,
}

impl Seen {
    fn new() -> Self {
        let world = World::new();
        let token = world.signer.token(&json!({}));
        let checked = world
            .cache
            .check(token.as_bytes(), &[world.candidate()], NOW);
        Self {
            verdict: checked.verdict.unwrap(),
            world,
            key: key(1),
            rules: rules("orders", 30, &[]),
            set: set(&["x-user"]),
        }
    }

    fn until(&self) -> UnixTime {
        self.verdict.claims().expires() + self.world.issuer.clock_skew
    }

    fn signed(&self, rules: &Rules, key: &SigningKey, set: &InjectSet, now: UnixTime) -> Bytes {
        let cache = &self.world.cache;
        let lines = cache.headers(&self.verdict, set).unwrap();
        let signer = Signer { rules, key };
        cache
            .assertion(&self.verdict, &signer, (set, &lines), self.until(), now)
            .unwrap()
    }

    fn at(&self, now: UnixTime) -> Bytes {
        self.signed(&self.rules, &self.key, &self.set, now)
    }
}

/// Each signature of ECDSA is another one, so equal assertions are one.
#[test]
fn an_assertion_is_used_again_while_enough_of_its_life_is_left() {
    let seen = Seen::new();
    let first = seen.at(NOW);
    let renewal = NOW + Duration::from_secs(25);
    let moment = Duration::from_millis(1);
    assert_eq!(seen.at(NOW), first);
    assert_eq!(seen.at(renewal - moment), first);
    let second = seen.at(renewal);
    assert_ne!(second, first);
    assert_eq!(seen.at(renewal + Duration::from_secs(24)), second);
    // A clock that was set back gets one of its own time, and one that is set right again as well.
    let back = seen.at(NOW - Duration::from_secs(3600));
    assert_ne!(back, second);
    assert_eq!(seen.at(NOW - Duration::from_secs(3600)), back);
    assert_ne!(seen.at(renewal), back);
}

#[test]
fn an_assertion_is_for_its_rules_key_and_headers_alone() {
    let seen = Seen::new();
    let own = seen.at(NOW);
    let (set, key) = (&seen.set, &seen.key);
    let stranger = self::key(2);
    let wider = super::set(&["x-user", "x-more"]);
    let mut all = vec![own.clone()];
    for other in [
        seen.signed(&rules("billing", 30, &[]), key, set, NOW),
        seen.signed(&rules("orders", 31, &[]), key, set, NOW),
        seen.signed(&rules("orders", 30, &["sub"]), key, set, NOW),
        seen.signed(&seen.rules, key, &wider, NOW),
    ] {
        assert!(!all.contains(&other));
        all.push(other);
    }
    // All are kept side by side.
    assert_eq!(seen.at(NOW), own);
    assert_eq!(seen.signed(&seen.rules, key, &wider, NOW), all[4]);
    // A new key takes the old one's place at once.
    let renewed = seen.signed(&seen.rules, &stranger, set, NOW);
    assert!(!all.contains(&renewed));
    assert_eq!(seen.signed(&seen.rules, &stranger, set, NOW), renewed);
    assert_ne!(seen.at(NOW), own);
}

#[test]
fn another_token_has_another_assertion() {
    let seen = Seen::new();
    let own = seen.at(NOW);
    let token = seen.world.signer.token(&json!({"sub": "u2"}));
    let checked = seen
        .world
        .cache
        .check(token.as_bytes(), &[seen.world.candidate()], NOW);
    let other = Seen {
        verdict: checked.verdict.unwrap(),
        ..seen
    };
    assert_ne!(other.at(NOW), own);
}

#[test]
fn assertions_count_and_are_bounded() {
    let seen = Seen::new();
    let weighed = || seen.world.cache.stats().bytes;
    seen.world.cache.headers(&seen.verdict, &seen.set).unwrap();
    let before = weighed();
    let length = seen.at(NOW).len() as u64;
    let added = weighed() - before;
    assert!((length..length + 200).contains(&added), "{added}");
    // What is renewed takes the place of the old.
    seen.at(NOW + Duration::from_secs(29));
    assert_eq!(weighed() - before, added);
    // Those that have expired go with the next.
    seen.signed(
        &rules("billing", 30, &[]),
        &seen.key,
        &seen.set,
        NOW + Duration::from_secs(60),
    );
    assert!(weighed() - before < added + 10, "{}", weighed());
    for number in 0..1_000 {
        let rules = rules(&format!("u{number:03}"), 30, &[]);
        seen.signed(&rules, &seen.key, &seen.set, NOW);
    }
    let most = 128 << 10;
    assert!(
        (most - 2 * added..=most).contains(&(weighed() - before)),
        "{}",
        weighed()
    );
    // One of a token that was swept out is not put back.
    seen.world.cache.good.clear();
    seen.at(NOW);
    assert_eq!(seen.world.cache.stats().entries, 0);
}

/// One token that goes to many upstreams in turn is signed for once for each.
#[test]
fn an_assertion_for_each_of_many_upstreams_is_used_again() {
    for count in [10, 64] {
        let seen = Seen::new();
        let all: Vec<_> = (0..count)
            .map(|number| {
                let name = format!("x-{number}");
                let names = ["x-user", name.leak()];
                (rules(&format!("u{number:02}"), 30, &["big"]), set(&names))
            })
            .collect();
        let turn = || -> Vec<Bytes> {
            all.iter()
                .map(|(rules, set)| seen.signed(rules, &seen.key, set, NOW))
                .collect()
        };
        let first = turn();
        let weighed = seen.world.cache.stats().bytes;
        assert_eq!(turn(), first, "{count}");
        assert_eq!(seen.world.cache.stats().bytes, weighed);
        let value = first.iter().map(|value| value.len() as u64).sum::<u64>();
        assert!(weighed > value, "{weighed}");
        let lines = |set| seen.world.cache.headers(&seen.verdict, set).unwrap();
        let blocks: Vec<_> = all.iter().map(|(_, set)| lines(set)).collect();
        for ((_, set), block) in all.iter().zip(&blocks) {
            assert!(Arc::ptr_eq(&lines(set), block), "{count}");
        }
    }
}

/// A verdict stands in the shell's own types, and those are logged.
#[test]
fn nothing_shows_what_is_kept_of_a_token() {
    let seen = Seen::new();
    let value = seen.at(NOW);
    let shown = format!("{:?} {:?}", seen.verdict, seen.world.cache);
    assert!(
        shown.contains("x-user") && shown.contains(&**seen.key.kid()),
        "{shown}"
    );
    let lines = seen.world.cache.headers(&seen.verdict, &seen.set).unwrap();
    let said = format!("{:?}", lines[0].value);
    let signature = value.rsplit(|byte| *byte == b'.').next().unwrap();
    for secret in [&said, std::str::from_utf8(signature).unwrap()] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
}

/// What cannot be said is said anew each time, and leaves nothing.
#[test]
fn refusals_of_assertions_are_not_kept() {
    let seen = Seen::new();
    let world = &seen.world;
    let token = world.signer.token(&json!({"big": "b".repeat(9000)}));
    let checked = world
        .cache
        .check(token.as_bytes(), &[world.candidate()], NOW);
    let verdict = checked.verdict.unwrap();
    let before = world.cache.stats();
    let rules = rules("orders", 30, &["big"]);
    let signer = Signer {
        rules: &rules,
        key: &seen.key,
    };
    let none = InjectSet::default();
    let refused = world
        .cache
        .assertion(&verdict, &signer, (&none, &[]), seen.until(), NOW)
        .unwrap_err();
    assert_eq!(refused.reason, Reason::IdentityTooLarge);
    assert_eq!(world.cache.stats(), before);
}
