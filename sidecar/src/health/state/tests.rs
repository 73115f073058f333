use proptest::prelude::*;

use super::*;

const RULES: Rules = Rules {
    unhealthy: 3,
    healthy: 2,
};

/// Results in order, a second apart: `+` passed, `-` failed. What turned, where.
fn turns(state: &mut State, results: &str, mut now: Instant) -> (Vec<(usize, Turn)>, Instant) {
    let mut turns = Vec::new();
    for (at, result) in results.char_indices() {
        now += Duration::from_secs(1);
        if let Some(turn) = state.note(result == '+', RULES, now) {
            turns.push((at, turn));
        }
    }
    (turns, now)
}

#[test]
fn thresholds_turn_a_member_and_nothing_less() {
    let now = Instant::now();
    for (results, expected) in [
        ("", vec![]),
        ("+", vec![(0, Turn::Proved)]),
        // Nothing is known yet: the first check decides.
        ("-", vec![(0, Turn::Fell)]),
        ("-++", vec![(0, Turn::Fell), (2, Turn::Rose)]),
        ("+--+--+--", vec![(0, Turn::Proved)]),
        ("+---", vec![(0, Turn::Proved), (3, Turn::Fell)]),
        (
            "+---+-+-++",
            vec![(0, Turn::Proved), (3, Turn::Fell), (9, Turn::Rose)],
        ),
    ] {
        let mut state = State::unproved(now);
        assert_eq!(turns(&mut state, results, now).0, expected, "{results}");
    }
}

#[test]
fn what_a_predecessor_knew_is_held_until_the_thresholds_say_otherwise() {
    let now = Instant::now();
    for (quarters, results, expected) in [
        (WHOLE, "--+--+", vec![]),
        (WHOLE, "---", vec![(2, Turn::Fell)]),
        (1, "---", vec![(2, Turn::Fell)]),
        (0, "+-+-", vec![]),
        (0, "++", vec![(1, Turn::Rose)]),
    ] {
        let mut state = State::adopted(
            Share {
                quarters,
                down: quarters == 0,
            },
            now,
        );
        assert_eq!(state.quarters(Duration::from_secs(30), now), quarters);
        assert_eq!(turns(&mut state, results, now).0, expected, "{results}");
    }
}

#[test]
fn a_share_grows_in_quarters_after_a_fall_and_only_then() {
    let start = Instant::now();
    let slow = Duration::from_secs(30);
    let mut state = State::unproved(start);
    assert_eq!(state.quarters(slow, start), WHOLE, "nobody knows better");
    let (_, now) = turns(&mut state, "+---", start);
    assert_eq!(
        (state.quarters(slow, now), state.grows_at(slow, now)),
        (0, None)
    );
    let (_, back) = turns(&mut state, "++", now);
    for (seconds, quarters, next) in [
        (0, 1, Some(10)),
        (9, 1, Some(10)),
        (10, 2, Some(20)),
        (29, 3, Some(30)),
        (30, 4, None),
        (3000, 4, None),
    ] {
        let now = back + Duration::from_secs(seconds);
        assert_eq!(state.quarters(slow, now), quarters, "{seconds} s");
        let next = next.map(|next| back + Duration::from_secs(next));
        assert_eq!(state.grows_at(slow, now), next, "{seconds} s");
    }
    assert_eq!(state.quarters(Duration::ZERO, back), WHOLE);
    assert_eq!(state.grows_at(Duration::ZERO, back), None);
}

#[test]
fn who_flaps_waits_longer_up_to_a_bound_and_steadiness_is_rewarded() {
    let mut now = Instant::now();
    let mut state = State::unproved(now);
    let mut needed = Vec::new();
    for _ in 0..6 {
        (_, now) = turns(&mut state, "+---", now);
        assert_eq!(state.standing(), Standing::Down);
        let mut passed = 0;
        while state.standing() == Standing::Down {
            (_, now) = turns(&mut state, "+", now);
            passed += 1;
        }
        needed.push(passed);
    }
    assert_eq!(needed, [2, 4, 8, 16, 16, 16]);
    now += STEADY;
    (_, now) = turns(&mut state, "---", now);
    assert_eq!(turns(&mut state, "++", now).0, [(1, Turn::Rose)]);
}

proptest! {
    /// Against the plain words: down after `unhealthy` failures in a row and never with fewer, up after at least `healthy`
    /// passed ones in a row and at most eight times as many; a share never shrinks while a member is up.
    #[test]
    fn every_history_keeps_to_the_words(
        results in proptest::collection::vec(any::<bool>(), 0..200),
        unhealthy in 1_u32..6,
        healthy in 1_u32..6,
        step in 0_u64..200,
    ) {
        let rules = Rules { unhealthy, healthy };
        let slow = Duration::from_secs(30);
        let mut now = Instant::now();
        let mut state = State::unproved(now);
        let (mut failed, mut passed, mut quarters) = (0, 0, WHOLE);
        for (at, &result) in results.iter().enumerate() {
            now += Duration::from_secs(step);
            let before = state.standing();
            if before == Standing::Up {
                prop_assert!(state.quarters(slow, now) >= quarters);
            }
            (failed, passed) = if result { (0, passed + 1) } else { (failed + 1, 0) };
            let turn = state.note(result, rules, now);
            match turn {
                Some(Turn::Proved) => prop_assert!(at == 0 && result),
                Some(Turn::Fell) => prop_assert!(at == 0 || failed >= unhealthy),
                Some(Turn::Rose) => prop_assert!(passed >= healthy),
                None => prop_assert_eq!(state.standing(), before),
            }
            if failed >= unhealthy {
                prop_assert_eq!(state.standing(), Standing::Down);
            }
            if passed >= healthy << DOUBLINGS {
                prop_assert_eq!(state.standing(), Standing::Up);
            }
            quarters = state.quarters(slow, now);
            prop_assert!(quarters <= WHOLE);
            prop_assert_eq!(quarters == 0, state.standing() == Standing::Down);
            if let Some(next) = state.grows_at(slow, now) {
                prop_assert!(next > now && state.quarters(slow, next) == quarters + 1);
            }
        }
    }
}
