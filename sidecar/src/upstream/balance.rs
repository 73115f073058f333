//! Choosing an endpoint.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::endpoint::Balance;

/// The quarters that a whole share has.
const WHOLE: u8 = super::share::WHOLE;

/// How busy an endpoint is that must not be chosen.
pub(super) const OUT: usize = usize::MAX;

/// Chooses one of `count` endpoints; `busy` tells the requests in flight at each, or [`OUT`]. `None` when all are out.
///
/// `turn` counts the choices made so far and is the only state. `quarters` of its share are an endpoint's, 1 to 4: of those that
/// grow, as many choices go to the next one.
pub(super) fn pick(
    balance: Balance,
    turn: &AtomicUsize,
    count: usize,
    busy: impl Fn(usize) -> usize,
    quarters: impl Fn(usize) -> u8,
) -> Option<usize> {
    if count == 0 {
        return None;
    }
    let turn = turn.fetch_add(1, Ordering::Relaxed);
    let choice = match balance {
        _ if count == 1 => 0,
        Balance::RoundRobin => turn % count,
        Balance::P2c => {
            let random = scramble(turn as u64);
            let first = (random as u32 as usize) % count;
            // Any of the others, so that the two always differ.
            let second = (first + 1 + (random >> 32) as usize % (count - 1)) % count;
            if busy(second) < busy(first) {
                second
            } else {
                first
            }
        }
    };
    // The next one in order that is not out; most often the choice itself.
    let mut in_order = (0..count)
        .map(|step| (choice + step) % count)
        .filter(|&index| busy(index) != OUT);
    let chosen = in_order.next()?;
    let die = || (scramble(!(turn as u64)) >> 62) as u8;
    let takes = |index: usize| match quarters(index) {
        WHOLE.. => true,
        some => die() < some,
    };
    if takes(chosen) {
        return Some(chosen);
    }
    // Where all that is left grows, the first choice is as good as any.
    Some(
        in_order
            .find(|&index| quarters(index) >= WHOLE)
            .unwrap_or(chosen),
    )
}

/// SplitMix64's output function (Steele, Lea, Flood, 2014): a counter in, well-mixed bits out.
fn scramble(counter: u64) -> u64 {
    let mut z = counter.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(balance: Balance, load: &[usize], picks: usize) -> Vec<usize> {
        let turn = AtomicUsize::new(0);
        let mut counts = vec![0; load.len()];
        for _ in 0..picks {
            let whole = |_| WHOLE;
            counts[pick(balance, &turn, load.len(), |index| load[index], whole).unwrap()] += 1;
        }
        counts
    }

    #[test]
    fn round_robin_is_even() {
        assert_eq!(
            counts(Balance::RoundRobin, &[9, 0, 0], 300),
            [100, 100, 100]
        );
    }

    #[test]
    fn p2c_avoids_the_busiest_and_spreads_over_equals() {
        let counts_busy = counts(Balance::P2c, &[50, 0, 0], 3000);
        assert_eq!(
            counts_busy[0], 0,
            "the busiest of three always loses: {counts_busy:?}"
        );
        for count in counts(Balance::P2c, &[0, 0, 0, 0], 4000) {
            assert!((800..1200).contains(&count), "{count} of 4000");
        }
    }

    #[test]
    fn what_is_out_is_never_chosen() {
        for balance in [Balance::P2c, Balance::RoundRobin] {
            let counts = counts(balance, &[OUT, 0, OUT, 0], 1000);
            assert_eq!((counts[0], counts[2]), (0, 0), "{counts:?}");
        }
        let turn = AtomicUsize::new(0);
        assert_eq!(pick(Balance::P2c, &turn, 2, |_| OUT, |_| WHOLE), None);
    }

    #[test]
    fn nothing_to_choose_from() {
        let turn = AtomicUsize::new(0);
        assert_eq!(pick(Balance::P2c, &turn, 0, |_| 0, |_| WHOLE), None);
    }

    #[test]
    fn who_grows_gets_its_part_and_the_others_the_rest() {
        for balance in [Balance::P2c, Balance::RoundRobin] {
            for quarters in 1..=WHOLE {
                let turn = AtomicUsize::new(0);
                let mut counts = [0; 4];
                for _ in 0..16_000 {
                    let share = |index| if index == 0 { quarters } else { WHOLE };
                    counts[pick(balance, &turn, 4, |_| 0, share).unwrap()] += 1;
                }
                let part = 1000 * usize::from(quarters);
                let near = |count: usize, wanted: usize| count.abs_diff(wanted) < 300;
                assert!(near(counts[0], part), "{balance:?} {quarters}: {counts:?}");
            }
            // Nobody else is there.
            let turn = AtomicUsize::new(0);
            let alone = |_: usize| pick(balance, &turn, 2, |index| [0, OUT][index], |_| 1);
            assert!((0..100).all(|n| alone(n) == Some(0)));
        }
    }
}
