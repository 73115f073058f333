//! What was made of a token: a few pieces, found by name.

use arc_swap::ArcSwap;

/// So many pieces are always kept.
const LEAST_PIECES: usize = 64;

/// Beyond [`LEAST_PIECES`], pieces are kept while all together weigh no more than this, in bytes.
const MOST_BYTES: usize = 128 << 10;

/// Pieces in the order of their names. One is read without a lock, and found in a handful of comparisons however many there
/// are; to put one in copies the list, which holds pointers.
///
/// Names are digests of the configuration, so no client can make many: the bounds are for configurations that change
/// often, and for tokens that very many routes share.
pub(super) struct Shelf<N, V>(ArcSwap<Vec<Piece<N, V>>>);

#[derive(Clone)]
struct Piece<N, V> {
    name: N,
    /// The greatest is the newest.
    turn: u64,
    bytes: usize,
    value: V,
}

impl<N, V> Default for Shelf<N, V> {
    fn default() -> Self {
        Self(ArcSwap::default())
    }
}

impl<N: Ord + Copy, V: Clone> Shelf<N, V> {
    /// What `read` takes from the piece of this name.
    pub(super) fn find<R>(&self, name: &N, read: impl FnOnce(&V) -> R) -> Option<R> {
        let pieces = self.0.load();
        let at = pieces.binary_search_by(|piece| piece.name.cmp(name)).ok()?;
        pieces.get(at).map(|piece| read(&piece.value))
    }

    /// Puts a piece in, in place of one of the same name, and takes those out that `is_good` does not hold of any more.
    /// `bytes` is what `value` weighs beside its own size.
    pub(super) fn put(&self, name: N, value: &V, bytes: usize, is_good: impl Fn(&V) -> bool) {
        self.0.rcu(|pieces| {
            let turn = pieces.iter().map(|piece| piece.turn).max().unwrap_or(0) + 1;
            let others = pieces.iter();
            let others = others.filter(|piece| piece.name != name && is_good(&piece.value));
            let mut kept: Vec<_> = others.cloned().collect();
            kept.push(Piece {
                name,
                turn,
                bytes: bytes + size_of::<Piece<N, V>>(),
                value: value.clone(),
            });
            bound(&mut kept);
            kept.sort_unstable_by_key(|piece| piece.name);
            kept
        });
    }

    /// All pieces in bytes, roughly.
    pub(super) fn weight(&self) -> usize {
        self.0.load().iter().map(|piece| piece.bytes).sum()
    }

    /// The values, in no order that says anything.
    pub(super) fn values(&self) -> Vec<V> {
        let pieces = self.0.load();
        pieces.iter().map(|piece| piece.value.clone()).collect()
    }
}

/// Takes the oldest out while there are too many.
fn bound<N, V>(pieces: &mut Vec<Piece<N, V>>) {
    let mut bytes: usize = pieces.iter().map(|piece| piece.bytes).sum();
    while pieces.len() > LEAST_PIECES && bytes > MOST_BYTES {
        let ages = pieces.iter().enumerate();
        let Some((oldest, _)) = ages.min_by_key(|(_, piece)| piece.turn) else {
            return;
        };
        bytes -= pieces.swap_remove(oldest).bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shelf(names: impl Iterator<Item = u32>, bytes: usize) -> Shelf<u32, u32> {
        let shelf = Shelf::default();
        names.for_each(|name| shelf.put(name, &(2 * name), bytes, |_| true));
        shelf
    }

    #[test]
    fn every_piece_is_found_by_its_own_name() {
        // Neither the first nor the last by name comes first or last.
        let shelf = shelf((0..200).map(|number| number * 37 % 200), 1);
        for name in 0..200 {
            assert_eq!(shelf.find(&name, |value| *value), Some(2 * name));
        }
        assert_eq!(shelf.find(&200, |value| *value), None);
        shelf.put(7, &1, 1, |_| true);
        assert_eq!(shelf.find(&7, |value| *value), Some(1));
        assert_eq!(shelf.values().len(), 200);
        let empty = Shelf::<u32, u32>::default();
        assert_eq!((empty.find(&0, |value| *value), empty.weight()), (None, 0));
    }

    #[test]
    fn sixty_four_are_kept_and_beyond_as_many_as_weigh_little() {
        let names = |shelf: &Shelf<u32, u32>| {
            let mut names: Vec<_> = shelf.values().iter().map(|value| value / 2).collect();
            names.sort_unstable();
            names
        };
        let heavy = shelf((0..100).rev(), 10_000);
        assert_eq!(names(&heavy), (0..64).collect::<Vec<_>>(), "the newest");
        let piece = 10_000 + size_of::<Piece<u32, u32>>();
        assert_eq!(heavy.weight(), 64 * piece);
        // A thousand and what a piece is beside.
        let light = shelf(0..1_000, 1_000);
        assert!(light.weight() <= MOST_BYTES);
        assert!(light.weight() + 1_000 + size_of::<Piece<u32, u32>>() > MOST_BYTES);
        let kept = names(&light);
        assert_eq!(kept.last(), Some(&999));
        assert_eq!(kept[0], 1_000 - u32::try_from(kept.len()).unwrap());
        // As many go as must, for one that weighs much.
        let one = 1_000 + size_of::<Piece<u32, u32>>();
        let mixed = shelf(0..100, 1_000);
        mixed.put(200, &400, 60_000, |_| true);
        assert!(mixed.weight() <= MOST_BYTES && mixed.weight() + one > MOST_BYTES);
        assert_eq!(names(&mixed).last(), Some(&200));
        // Renewed, one is the newest.
        heavy.put(63, &126, 10_000, |_| true);
        heavy.put(100, &200, 10_000, |_| true);
        assert!(names(&heavy).contains(&63) && !names(&heavy).contains(&62));
    }

    #[test]
    fn what_is_no_good_any_more_goes() {
        let shelf = shelf(0..10, 1);
        let before = shelf.weight();
        shelf.put(20, &40, 1, |value| *value >= 10);
        assert_eq!(shelf.values().len(), 6);
        assert_eq!(shelf.weight(), before / 10 * 6);
    }
}
