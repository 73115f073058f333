//! Keys that rotate, go, and cannot be had.

use std::collections::HashSet;

use jsonwebtoken::decode_header;
use tollgate_tests::client::Reply;
use tollgate_tests::gate::eventually;

use crate::site::{Site, issuer, number, said};

#[test]
fn threat_49_a_rotation_costs_one_fetch_and_no_restart() {
    let mut site = Site::lay("refresh: 1h, max_stale: 2h, unknown_kid_cooldown: 1s");
    let gate = site.open();
    let old = site.provider.token("ES256", "orders:read");
    site.accepts(&old);
    let (fetches, served) = (number(&issuer(&gate), "fetches"), site.provider.key_sets());
    assert_eq!((fetches, served), (1, 1));

    site.provider.rotate();
    let new: Vec<String> = ["ES256", "RS256", "EdDSA"]
        .map(|algorithm| site.provider.token(algorithm, "orders:read"))
        .into();
    let kids: HashSet<_> = new.iter().chain([&old]).map(|token| kid(token)).collect();
    assert_eq!(kids.len(), 4, "new keys sign: {kids:?}");
    for token in new.iter().chain([&old]) {
        site.accepts(token);
    }
    let after = issuer(&gate);
    assert_eq!(number(&after, "fetches"), 2, "one more, for all: {after}");
    assert_eq!(site.provider.key_sets(), 2);
    assert_eq!(
        number(&after, "keys"),
        6,
        "the old ones are published still"
    );
}

#[test]
fn threat_49_tokens_of_a_removed_key_die_with_the_next_refresh() {
    let mut site = Site::lay("refresh: 1s, max_stale: 1h, unknown_kid_cooldown: 1s");
    let gate = site.open();
    let cached = site.provider.token("ES256", "orders:read");
    let fresh = site.provider.token("ES256", "orders:read");
    site.accepts(&cached);
    site.provider.rotate();
    let new = site.provider.token("ES256", "orders:read");
    site.accepts(&new);
    site.accepts(&cached);

    let generation = number(&issuer(&gate), "generation");
    let served = site.provider.retire();
    eventually("the refresh after the key is gone", || {
        let issuer = issuer(&gate);
        if number(&issuer, "generation") > generation {
            return Ok(());
        }
        // What was published before was served so often; the next fetch brings what is published now.
        let good = number(&issuer, "fetches") - number(&issuer, "failures");
        assert!(good <= served, "a fetch brought the removed key: {issuer}");
        Err(format!("{issuer}"))
    });
    site.refuses(&cached, 401, "key_unknown");
    site.refuses(&fresh, 401, "key_unknown");
    site.accepts(&new);
    let after = issuer(&gate);
    assert_eq!(
        (number(&after, "keys"), number(&after, "failures")),
        (3, 0),
        "{after}"
    );
}

#[test]
fn threat_47_a_dead_provider_leaves_the_last_good_keys_until_they_are_stale() {
    let mut site = Site::lay("refresh: 1s, max_stale: 6s, unknown_kid_cooldown: 1s");
    let mut gate = site.open();
    let cached = site.provider.token("ES256", "orders:read");
    let fresh = site.provider.token("EdDSA", "orders:read");
    site.accepts(&cached);
    let generation = number(&issuer(&gate), "generation");

    site.provider.kill();
    let error = eventually("a fetch that fails", || {
        let issuer = issuer(&gate);
        assert_eq!(issuer["state"], "ready", "{issuer}");
        let error = issuer["last_error"].as_str();
        error.map(str::to_owned).ok_or_else(|| issuer.to_string())
    });
    let address = site.provider.issuer().replace("https://", "");
    assert!(
        error.contains(&address) && error.contains("refused"),
        "{error}"
    );
    site.accepts(&cached);
    site.accepts(&fresh);

    for token in [&cached, &fresh] {
        eventually("the keys to be stale", || turned(&site.orders(token), 503));
        site.refuses(token, 503, "keys_stale");
    }
    let stale = issuer(&gate);
    assert_eq!(stale["state"], "stale", "{stale}");
    assert!(number(&stale, "age_seconds") >= 6, "{stale}");

    // It comes back with the keys that it had: so do its tokens, without a word to the daemon.
    site.provider.revive();
    eventually("the keys to be fresh again", || {
        turned(&site.orders(&cached), 200)
    });
    site.accepts(&fresh);
    let back = issuer(&gate);
    assert_eq!(
        (&back["state"], &back["last_error"]),
        (&"ready".into(), &().into())
    );
    assert_eq!(
        number(&back, "generation"),
        generation,
        "the same keys: {back}"
    );
    assert!(gate.daemon().process().ended().unwrap().is_none());
}

#[test]
fn a_provider_that_lost_its_keys_comes_back_with_others() {
    let mut site = Site::lay("refresh: 1h, max_stale: 2h, unknown_kid_cooldown: 1s");
    let gate = site.open();
    let lost = site.provider.token("RS256", "orders:read");
    site.accepts(&lost);
    site.provider.kill();
    site.provider.forget_keys();
    site.accepts(&lost);

    site.provider.revive();
    let new = site.provider.token("RS256", "orders:read");
    site.accepts(&new);
    // Known by the fetch that the new token paid for.
    let (fetches, served) = (number(&issuer(&gate), "fetches"), site.provider.key_sets());
    assert_eq!((fetches, served), (2, 1));
    site.refuses(&lost, 401, "key_unknown");
}

fn kid(token: &str) -> String {
    decode_header(token).unwrap().kid.expect("a kid")
}

/// Only ever an answer of the API or `keys_stale`.
fn turned(reply: &Reply, status: u16) -> Result<(), String> {
    match reply.status {
        200 => {}
        _ => assert_eq!((reply.status, &*said(reply)), (503, "keys_stale")),
    }
    match reply.status == status {
        true => Ok(()),
        false => Err(format!("still {}", reply.status)),
    }
}
