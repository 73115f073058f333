//! Choosing an endpoint.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::endpoint::Balance;

/// How busy an endpoint is that must not be chosen.
pub(super) const OUT: usize = usize::MAX;

/// Chooses one of `count` endpoints; `busy` tells the requests in flight at each, or [`OUT`]. `None` when all are out.
///
/// `turn` counts the choices made so far and is the only state.
pub(super) fn pick(
    balance: Balance,
    turn: &AtomicUsize,
    count: usize,
    busy: impl Fn(usize) -> usize,
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
    (0..count)
        .map(|step| (choice + step) % count)
        .find(|&index| busy(index) != OUT)
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
            counts[pick(balance, &turn, load.len(), |index| load[index]).unwrap()] += 1;
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
        assert_eq!(pick(Balance::P2c, &AtomicUsize::new(0), 2, |_| OUT), None);
    }

    #[test]
    fn nothing_to_choose_from() {
        assert_eq!(pick(Balance::P2c, &AtomicUsize::new(0), 0, |_| 0), None);
    }
}
