use super::*;
use tollgate_auth::token::jwt::TokenType;
use tollgate_auth::token::keys::Algorithms;

fn rules() -> Arc<Issuer> {
    Arc::new(Issuer {
        name: "corp".into(),
        issuer: "https://issuer.test".to_owned(),
        audiences: vec!["api".to_owned()],
        algorithms: Algorithms::default(),
        clock_skew: Duration::ZERO,
        token_type: TokenType::Any,
        max_bytes: 16384,
    })
}

fn state(cooldown: Duration) -> IssuerState {
    IssuerState::new(rules(), Some(Duration::from_secs(60)), cooldown)
}

/// RFC 8037, appendix A.2
fn set() -> KeySet {
    KeySet::from_jwks(
        br#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#,
    )
    .unwrap()
}

#[tokio::test]
async fn a_flood_of_unknown_kids_costs_two_fetches() {
    let state = Arc::new(state(Duration::from_secs(3600)));
    let fetcher = tokio::spawn({
        let state = Arc::clone(&state);
        async move {
            loop {
                state.wanted().await;
                let begun = state.begin();
                // Others come while the fetch is under way: they wait for it, and ask for none of their own.
                for _ in 0..20 {
                    tokio::task::yield_now().await;
                }
                state.publish(begun, Err("down".to_owned()));
            }
        }
    });
    let flood: Vec<_> = (0..500)
        .map(|_| {
            let state = Arc::clone(&state);
            tokio::spawn(async move {
                let mut ended = 0;
                for _ in 0..10 {
                    ended += usize::from(state.refetch().await == Refetch::Ended);
                }
                ended
            })
        })
        .collect();
    let mut ended = 0;
    for one in flood {
        ended += one.await.unwrap();
    }
    fetcher.abort();
    assert_eq!(state.keys().fetches, 2);
    assert!(ended >= 2, "those who waited were told");
}

#[tokio::test]
async fn a_fetch_that_began_before_does_not_answer() {
    let state = Arc::new(state(Duration::from_secs(3600)));
    let begun = state.begin();
    let asking = tokio::spawn({
        let state = Arc::clone(&state);
        async move { state.refetch().await }
    });
    state.wanted().await;
    state.publish(begun, Err("too early".to_owned()));
    tokio::task::yield_now().await;
    assert!(!asking.is_finished());
    state.publish(state.begin(), Err("down".to_owned()));
    assert_eq!(asking.await.unwrap(), Refetch::Ended);
}

#[test]
fn threat_47_keys_go_stale_after_max_stale_and_failures_keep_the_last_good() {
    let state = state(Duration::from_secs(30));
    assert!(matches!(
        state.candidate(&state.keys()).keys,
        Keys::Unavailable
    ));
    state.publish(0, Ok(set()));
    state.publish(0, Err("down".to_owned()));
    let keys = state.keys();
    assert_eq!((keys.generation, keys.failures), (1, 1));
    assert!(matches!(
        state.candidate(&keys).keys,
        Keys::Ready { generation: 1, .. }
    ));
    let confirmed = keys.confirmed.unwrap();
    let stale_after = |secs| state.is_stale_at(&keys, confirmed + Duration::from_secs(secs));
    assert!(!stale_after(60));
    assert!(stale_after(61));
    state.publish(0, Ok(set()));
    let again = state.keys();
    assert_eq!(
        again.generation, 1,
        "the same keys again are the same generation"
    );
    assert!(again.confirmed.unwrap() >= confirmed);
}

#[tokio::test]
async fn keys_of_the_configuration_are_never_stale_and_never_asked_for() {
    let state = IssuerState::new(rules(), None, Duration::from_secs(30));
    state.publish(0, Ok(set()));
    let keys = state.keys();
    let year = Duration::from_secs(365 * 24 * 3600);
    assert!(!state.is_stale_at(&keys, keys.confirmed.unwrap() + year));
    assert_eq!(state.refetch().await, Refetch::Denied);
}

#[tokio::test(start_paused = true)]
async fn threat_46_a_thousand_wait_a_second_and_no_more() {
    let state = Arc::new(state(Duration::from_secs(3600)));
    // Nobody fetches.
    let waiting: Vec<_> = (0..MAX_WAITERS)
        .map(|_| {
            let state = Arc::clone(&state);
            tokio::spawn(async move { state.refetch().await })
        })
        .collect();
    // Each of them has come as far as its wait before the clock, which stands still, is moved on.
    while state.waiters.load(Ordering::Relaxed) < MAX_WAITERS {
        tokio::task::yield_now().await;
    }
    assert_eq!(state.refetch().await, Refetch::Denied, "one too many");
    for one in waiting {
        assert_eq!(one.await.unwrap(), Refetch::Late);
    }
    assert_eq!(state.waiters.load(Ordering::Relaxed), 0);
    assert_eq!(state.refetch().await, Refetch::Late, "there is room again");
}

#[test]
fn what_cannot_be_used_is_known_also_when_the_keys_are_the_same() {
    let state = state(Duration::from_secs(30));
    state.publish(0, Ok(set()));
    assert!(state.keys().skipped().is_empty());
    let more = KeySet::from_jwks(
        br#"{"keys":[{"kty":"oct","k":"AA","kid":"shared"},
            {"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#,
    )
    .unwrap();
    state.publish(0, Ok(more));
    let keys = state.keys();
    assert_eq!((keys.generation, keys.skipped().len()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_for_an_issuer_that_goes_is_told_at_once() {
    let state = Arc::new(state(Duration::from_secs(3600)));
    let begun = tokio::time::Instant::now();
    let waiting = tokio::spawn({
        let state = Arc::clone(&state);
        async move { state.refetch().await }
    });
    state.wanted().await;
    let fetch = state.begin();
    state.retire();
    assert_eq!(waiting.await.unwrap(), Refetch::Late);
    assert_eq!(state.refetch().await, Refetch::Late, "nor does a late one");
    assert_eq!(begun.elapsed(), Duration::ZERO, "the clock stood still");
    // A fetch that was under way brings nobody back to waiting.
    state.publish(fetch, Err("down".to_owned()));
    assert_eq!(state.refetch().await, Refetch::Late);
    assert_eq!(begun.elapsed(), Duration::ZERO);
}
