//! A glance at a name that tells most names apart from everything on the lists, without folding them.

use super::folded::FOLDS_TO;
use super::spelled::{OWN, SPELLED};
use super::unvouched::{SUFFIX, UNVOUCHED, UNVOUCHED_PREFIXES};

/// A Bloom filter with one hash, over folded names: it holds what the lists of this module hold, and whatever else it was
/// given. What it does not hold is on none of them; what it may hold is looked at closely.
///
/// The hash is a sum over letters and digits, so it need not know which of a name's bytes fold to nothing before it comes
/// to them. It is the same for anagrams, which costs them a closer look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bloom([u64; WORDS]);

const WORDS: usize = 32;

impl Bloom {
    /// The lists alone.
    pub(super) const LISTS: Self = {
        let (mut bloom, mut at) = (Self([0; WORDS]), 0);
        while at < SPELLED.len() {
            bloom = bloom.with(SPELLED[at].0);
            at += 1;
        }
        at = 0;
        while at < UNVOUCHED.len() {
            bloom = bloom.with(UNVOUCHED[at]);
            at += 1;
        }
        bloom
    };

    /// With a name, in any spelling.
    pub(super) const fn with(mut self, name: &[u8]) -> Self {
        let (word, bit) = place(name);
        self.0[word] |= bit;
        self
    }

    /// Whether `name` may be one of those that were given, begin with a prefix that is listed or with our own, or end with
    /// the suffix.
    pub(super) fn may_hold(&self, name: &[u8]) -> bool {
        let (word, bit) = place(name);
        self.0[word] & bit != 0 || begins(name)
    }
}

/// By the highest eleven bits of the sum.
const fn place(name: &[u8]) -> (usize, u64) {
    let (mut sum, mut at) = (0_u32, 0);
    while at < name.len() {
        sum = sum.wrapping_add(ADDS[name[at] as usize]);
        at += 1;
    }
    ((sum >> 27) as usize, 1 << (sum >> 21 & 63))
}

/// What each byte adds to a name's sum: nothing if folding drops it, the same for both cases of a letter.
const ADDS: [u32; 256] = {
    let (mut adds, mut at) = ([0; 256], 0);
    while at < 256 {
        // The output function of SplitMix64 (Steele, Lea and Flood, 2014); it makes 0 of 0.
        let mut mixed = FOLDS_TO[at] as u64;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        adds[at] = (mixed >> 16) as u32;
        at += 1;
    }
    adds
};

/// Whether `name` begins as a prefix does, or could be `X-…-Original-Path`.
fn begins(name: &[u8]) -> bool {
    let (mut head, mut length) = ([0; HEAD], 0);
    for &byte in name {
        let folded = FOLDS_TO[usize::from(byte)];
        head[length] = folded;
        length += usize::from(folded != 0);
        if length == HEAD {
            let (word, bit) = mark(head);
            return HEADS[word] & bit != 0 || head[0] == b'x' && ends(name);
        }
    }
    false
}

/// Whether `name` may end as the suffix does.
fn ends(name: &[u8]) -> bool {
    let Some(last) = name.last_chunk::<3>() else {
        return true;
    };
    let last = last.map(|byte| FOLDS_TO[usize::from(byte)]);
    // One that folds to nothing hides the one before it.
    last.contains(&0) || SUFFIX.ends_with(&last)
}

/// So many folded bytes are looked at. No prefix is shorter, nor is the suffix with its `x`.
const HEAD: usize = 4;

/// A bit for the first bytes of each prefix.
const HEADS: [u64; 4] = {
    const fn with(mut heads: [u64; 4], name: &[u8]) -> [u64; 4] {
        let (word, bit) = mark([name[0], name[1], name[2], name[3]]);
        heads[word] |= bit;
        heads
    }
    let (mut heads, mut at) = (with([0; 4], OWN), 0);
    while at < UNVOUCHED_PREFIXES.len() {
        heads = with(heads, UNVOUCHED_PREFIXES[at]);
        at += 1;
    }
    heads
};

const fn mark(head: [u8; HEAD]) -> (usize, u64) {
    let mixed = u32::from_le_bytes(head).wrapping_mul(0x9E37_79B1);
    ((mixed >> 30) as usize, 1 << (mixed >> 24 & 63))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::header::scrub::{ManagedNames, fold, is_hop_by_hop, may_stay};

    /// One name of the lists, and what may stand around it.
    fn listed() -> impl Strategy<Value = String> {
        let exact = SPELLED
            .iter()
            .map(|(folded, _)| *folded)
            .chain(UNVOUCHED.iter().copied());
        let text = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
        let exact: Vec<_> = exact.map(text).collect();
        let prefixes = UNVOUCHED_PREFIXES.iter().copied().chain([OWN]);
        let prefixes: Vec<_> = prefixes.map(text).collect();
        prop_oneof![
            prop::sample::select(exact),
            (prop::sample::select(prefixes), "[a-z0-9-]{0,70}").prop_map(|(p, rest)| p + &rest),
            "[xy][a-z0-9-]{0,70}".prop_map(|begin| begin + "originalpath"),
            "[a-z0-9]{1,70}",
        ]
    }

    /// What must go, and some of what may stay; a filter that holds everything would be of no use.
    #[test]
    fn most_other_names_are_told_apart_at_a_glance() {
        let names = crate::header::registry::NAMES;
        let looked_at = names
            .iter()
            .filter(|name| Bloom::LISTS.may_hold(name.as_bytes()));
        let looked_at: Vec<_> = looked_at.collect();
        assert!(
            looked_at.len() * 6 < names.len(),
            "{looked_at:?} of {}",
            names.len()
        );
    }

    /// Most fields of a client's own begin with `x`, as one kind of listed name does that is known by its end alone.
    #[test]
    fn names_that_begin_with_x_are_told_apart_by_their_end() {
        for name in [
            "X-Csrf-Token",
            "x-api-key",
            "x-b3-traceid",
            "x_idempotency_key",
        ] {
            assert!(!Bloom::LISTS.may_hold(name.as_bytes()), "{name}");
        }
        for name in ["x-acme-original-path", "X_A_Original_Pat-h-", "x-inal-path"] {
            assert!(Bloom::LISTS.may_hold(name.as_bytes()), "{name}");
        }
    }

    proptest! {
        /// What goes after a close look is never let through at a glance, in whatever spelling.
        #[test]
        fn a_glance_lets_nothing_through(
            name in listed(),
            managed in "[a-z0-9]{1,70}",
            is_managed in any::<bool>(),
            spelling in prop::collection::vec(("[-_.~!#$%&'*+^`|]{0,2}", any::<bool>()), 0..90),
            after in "[-_.]{0,2}",
        ) {
            let names = ManagedNames::new([managed.as_str()]);
            let plain = if is_managed { &managed } else { &name };
            let mut spelled = String::new();
            let mut spelling = spelling.into_iter();
            for c in plain.chars() {
                let (before, upper) = spelling.next().unwrap_or_default();
                spelled.push_str(&before);
                spelled.push(if upper { c.to_ascii_uppercase() } else { c });
            }
            spelled.push_str(&after);
            let goes = !may_stay(spelled.as_bytes(), &names) || is_hop_by_hop(spelled.as_bytes());
            prop_assert!(!goes || names.bloom.may_hold(spelled.as_bytes()), "{}", spelled);
            prop_assert!(!is_managed || goes, "{} folds to {}", spelled, fold(spelled.as_bytes()));
        }
    }
}
