//! What an evaluation may cost, counted as it goes.
//!
//! A step stands for at most about twenty-five nanoseconds of work. Every node that is evaluated is charged one, and every operation
//! whose work grows with its operands is charged by their size, before the work is done. So the work of a rule is bounded
//! whatever a token or a request holds, and a bound in steps is one in time.

use super::fault::Fault;

/// The steps that one evaluation may take: half a millisecond of the costliest ones (docs/bench.md), so that a slower
/// processor still ends within one.
pub const BUDGET: u32 = 20_000;

/// How many macros may stand inside each other; what is inside runs for each pair of elements.
pub(super) const MAX_NESTED: usize = 2;

/// Bytes a step, for work that goes eight or more bytes at a time: comparing, searching, copying.
const BULK: usize = 32;
/// Bytes a step, for work that goes byte by byte: an automaton, a change of case, a number.
const BYTEWISE: usize = 8;

/// What is left of the steps.
pub(super) struct Meter {
    left: u32,
}

impl Meter {
    pub(super) const fn new() -> Self {
        Self { left: BUDGET }
    }

    /// Steps taken so far, at most [`BUDGET`].
    pub(super) const fn taken(&self) -> u32 {
        BUDGET - self.left
    }

    /// Takes `steps`. Once a charge has failed every other one fails as well, so that no operator that forgives errors
    /// goes on.
    pub(super) fn charge(&mut self, steps: usize) -> Result<(), Fault<'static>> {
        let left = u32::try_from(steps)
            .ok()
            .and_then(|steps| self.left.checked_sub(steps));
        match left {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => {
                self.left = 0;
                Err(Fault::TooManySteps)
            }
        }
    }

    /// Takes the steps of bulk work on so many bytes, which are 1 at least.
    pub(super) fn bulk(&mut self, bytes: usize) -> Result<(), Fault<'static>> {
        self.charge(1 + bytes / BULK)
    }

    /// Takes the steps of byte-wise work on so many bytes, which are 1 at least.
    pub(super) fn bytewise(&mut self, bytes: usize) -> Result<(), Fault<'static>> {
        self.charge(1 + bytes / BYTEWISE)
    }

    /// Takes the steps of an allocation of so many values or 32-byte pieces.
    pub(super) fn allocation(&mut self, pieces: usize) -> Result<(), Fault<'static>> {
        const ALLOCATE: usize = 8;
        self.charge(ALLOCATE + 2 * pieces)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_spent_stays_spent() {
        let mut meter = Meter::new();
        assert_eq!(meter.charge(BUDGET as usize - 1), Ok(()));
        assert_eq!(meter.charge(2), Err(Fault::TooManySteps));
        assert_eq!(meter.charge(1), Err(Fault::TooManySteps));
        assert_eq!(meter.taken(), BUDGET);
        assert_eq!(Meter::new().charge(usize::MAX), Err(Fault::TooManySteps));
    }

    #[test]
    fn charges_grow_with_the_data() {
        let taken = |charge: fn(&mut Meter, usize) -> Result<(), Fault<'static>>, size| {
            let mut meter = Meter::new();
            charge(&mut meter, size).unwrap();
            meter.taken()
        };
        assert_eq!(
            [0, 31, 32, 3200].map(|n| taken(Meter::bulk, n)),
            [1, 1, 2, 101]
        );
        assert_eq!(
            [0, 7, 8, 3200].map(|n| taken(Meter::bytewise, n)),
            [1, 1, 2, 401]
        );
        assert_eq!(
            [0, 1, 100].map(|n| taken(Meter::allocation, n)),
            [8, 10, 208]
        );
    }
}
