//! Key sets of strangers: nothing panics, what is kept is within the bounds, and the same text is the same set.

#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use tollgate_auth::token::KeySet;
use tollgate_auth::token::keys::MAX_KEYS;

fuzz_target!(|text: &[u8]| {
    let remote = KeySet::from_jwks(text);
    let local = KeySet::from_local_jwks(text);
    for set in [&remote, &local].into_iter().flatten() {
        within_bounds(set);
    }
    if let Ok(remote) = &remote {
        let local = local
            .as_ref()
            .expect("what a stranger may write, the operator may");
        assert!(remote.entries().all(|key| key.kind != "oct"));
        assert!(local.len() >= remote.len());
        assert_eq!(Some(remote), KeySet::from_jwks(text).as_ref().ok());
        if remote.skipped().is_empty() {
            assert_eq!(remote, local);
            order_is_no_matter(text, remote);
        }
    }
});

fn within_bounds(set: &KeySet) {
    assert!(!set.is_empty());
    assert_eq!(set.entries().count(), set.len());
    assert!(set.len() + set.skipped().len() <= MAX_KEYS);
    for key in set.entries() {
        assert!(!key.algorithms.is_empty());
        let known = match key.kind {
            "RSA" => (2048..=8192).contains(&key.bits),
            "EC" => matches!(key.bits, 256 | 384 | 521),
            "OKP" => key.bits >= 255,
            "oct" => key.bits >= 256,
            _ => false,
        };
        assert!(known, "{key:?}");
        assert!(key.kid.is_none_or(|kid| set.kids().any(|one| one == kid)));
    }
}

/// The same keys listed backwards are the same set.
fn order_is_no_matter(text: &[u8], set: &KeySet) {
    let mut jwks: Value = serde_json::from_slice(text).expect("a set that was read is JSON");
    if let Some(keys) = jwks["keys"].as_array_mut() {
        keys.reverse();
    }
    let backwards = KeySet::from_jwks(jwks.to_string().as_bytes());
    assert_eq!(backwards.as_ref().ok(), Some(set));
}
