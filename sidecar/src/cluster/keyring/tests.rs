use serde_json::json;

use super::*;

const DAY: u64 = PERIOD.as_secs();
const NOON: UnixTime = UnixTime::from_secs(20_000 * DAY + DAY / 2);

fn secret(text: &[u8]) -> Secret {
    Secret::new(&[text, b"tq0ODXz6mF0m5s1h6nJx0y6mUu3q0iXjv0tqzq9v1no="].concat()).unwrap()
}

fn keyring() -> Keyring {
    Keyring::new(secret(b""), Owner::Cluster)
}

fn kids(keyring: &Keyring, now: UnixTime) -> Vec<String> {
    let set = keyring.jwks(now).unwrap();
    let keys = set["keys"].as_array().unwrap();
    keys.iter()
        .map(|key| key["kid"].as_str().unwrap().to_owned())
        .collect()
}

fn signing(keyring: &Keyring, now: UnixTime) -> String {
    keyring
        .window(now, |window| window.current().kid().to_string())
        .unwrap()
}

#[test]
fn nodes_with_one_secret_sign_with_one_key_and_publish_one_set() {
    let (one, other) = (keyring(), keyring());
    assert_eq!(signing(&one, NOON), signing(&other, NOON));
    assert_eq!(one.jwks(NOON), other.jwks(NOON));
    assert_eq!(kids(&one, NOON)[0], signing(&one, NOON));
    let stranger = Keyring::new(secret(b"x"), Owner::Cluster);
    assert!(
        kids(&stranger, NOON)
            .iter()
            .all(|kid| !kids(&one, NOON).contains(kid))
    );
}

#[test]
fn a_key_signs_for_one_period_and_is_published_one_before_and_one_after() {
    let keyring = keyring();
    let key = signing(&keyring, NOON);
    let first = UnixTime::from_secs(20_000 * DAY);
    let last = first + PERIOD - Duration::from_millis(1);
    assert_eq!(signing(&keyring, first), key);
    assert_eq!(signing(&keyring, last), key);
    for other in [first - Duration::from_millis(1), first + PERIOD] {
        assert_ne!(signing(&keyring, other), key);
        assert!(kids(&keyring, other).contains(&key));
    }
    assert!(kids(&keyring, first - PERIOD).contains(&key));
    assert!(!kids(&keyring, first - PERIOD - Duration::from_millis(1)).contains(&key));
    assert!(kids(&keyring, first + 2 * PERIOD - Duration::from_millis(1)).contains(&key));
    assert!(!kids(&keyring, first + 2 * PERIOD).contains(&key));
}

/// Whose clock is a little behind at midnight signs with the old key, and the others publish it.
#[test]
fn nodes_whose_clocks_differ_know_each_others_keys() {
    let (slow, fast) = (keyring(), keyring());
    let midnight = UnixTime::from_secs(20_000 * DAY);
    let (behind, ahead) = (
        midnight - Duration::from_secs(30),
        midnight + Duration::from_secs(30),
    );
    assert_ne!(signing(&slow, behind), signing(&fast, ahead));
    assert!(kids(&fast, ahead).contains(&signing(&slow, behind)));
    assert!(kids(&slow, behind).contains(&signing(&fast, ahead)));
}

#[test]
fn a_stepped_clock_gets_the_keys_of_its_time() {
    let keyring = keyring();
    let key = signing(&keyring, NOON);
    for step in [400, 4000] {
        let later = NOON + step * PERIOD;
        assert_ne!(signing(&keyring, later), key);
        assert_eq!(signing(&keyring, NOON), key);
    }
    // The first period has none before it.
    assert_eq!(kids(&keyring, UnixTime::EPOCH).len(), 2);
    assert_eq!(kids(&keyring, UnixTime::from_secs(u64::MAX)).len(), 3);
}

/// Neither the key of tomorrow, which has signed nothing yet, nor for longer than nodes need to learn of the new secret.
#[test]
fn the_key_of_a_replaced_secret_stays_published_for_ten_minutes() {
    let old = keyring();
    let old_kids = kids(&old, NOON);
    let new = old.replaced(secret(b"x"), Owner::Cluster, NOON);
    assert!(!old_kids.contains(&signing(&new, NOON)), "it signs at once");
    let all = kids(&new, NOON);
    assert_eq!(all.len(), 4);
    assert_eq!(all[0], signing(&new, NOON));
    assert_eq!(all[3], signing(&old, NOON));
    let end = NOON + Duration::from_secs(600);
    assert_eq!(kids(&new, end - Duration::from_millis(1)), all);
    assert_eq!(kids(&new, end), all[..3]);

    // A secret that comes back publishes no key twice.
    let back = new.replaced(secret(b""), Owner::Cluster, NOON);
    assert_eq!(kids(&back, NOON).len(), 4);
    assert_eq!(signing(&back, NOON), old_kids[0]);
    // What is no longer published is not published again.
    let late = new.replaced(secret(b"y"), Owner::Node, end);
    assert!(kids(&late, end).iter().all(|kid| !old_kids.contains(kid)));
}

/// What was signed a moment before midnight is alive, and who does not know of the new secret changes keys at midnight.
#[test]
fn around_midnight_two_keys_of_a_replaced_secret_stay_published() {
    let midnight = UnixTime::from_secs(20_000 * DAY);
    let minutes = |count: u64| Duration::from_secs(60 * count);
    for (at, other) in [
        (midnight + minutes(9), midnight - minutes(1)),
        (midnight - minutes(9), midnight),
    ] {
        let old = keyring();
        let all = kids(&old.replaced(secret(b"x"), Owner::Cluster, at), at);
        assert_eq!(all.len(), 5);
        assert!(all.contains(&signing(&old, at)) && all.contains(&signing(&old, other)));
    }
    let late = keyring().replaced(secret(b"x"), Owner::Cluster, midnight + minutes(11));
    assert_eq!(kids(&late, midnight + minutes(11)).len(), 4);
}

/// It is made once, and anew when what it says changes.
#[test]
fn the_document_is_kept_while_it_is_true() {
    let new = keyring().replaced(secret(b"x"), Owner::Cluster, NOON);
    let text = |now| new.document(now);
    let same = |a: &Bytes, b: &Bytes| a.as_ptr() == b.as_ptr();
    let first = text(NOON);
    assert!(same(&first, &text(NOON + Duration::from_secs(599))));
    for now in [NOON, NOON + Duration::from_secs(600), NOON + PERIOD, NOON] {
        let said: Value = serde_json::from_slice(&text(now)).unwrap();
        assert_eq!(said, new.jwks(now).unwrap());
    }
}

#[test]
fn keyrings_are_told_apart_by_secret_and_owner() {
    let one = keyring();
    assert!(one.is_of(&secret(b""), Owner::Cluster));
    assert!(!one.is_of(&secret(b"x"), Owner::Cluster));
    assert!(!one.is_of(&secret(b""), Owner::Node));
    assert_eq!(
        (Owner::Cluster.word(), Owner::Node.word()),
        ("cluster", "node")
    );
}

/// What others must derive who share the secret: docs/assertion.md has the recipe, and another implementation of it made
/// these numbers.
#[test]
fn derivation_is_as_documented() {
    let vectors: Value = serde_json::from_str(include_str!(
        "../../../../tests/fixtures/assertion/derivation.json"
    ))
    .unwrap();
    for one in vectors["keys"].as_array().unwrap() {
        let secret = Secret::new(one["secret"].as_str().unwrap().as_bytes()).unwrap();
        let period = one["period"].as_u64().unwrap();
        let scalar: String = secret
            .derive(PURPOSE, period, 0)
            .unwrap()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(json!(scalar), one["scalar"]);
        let keyring = Keyring::new(secret, Owner::Cluster);
        let now = UnixTime::from_secs(period * DAY);
        assert_eq!(json!(signing(&keyring, now)), one["kid"]);
    }
}
