//! Who verifies a token that several workers see for the first time at once.
//!
//! The first leads; whoever comes while it works waits for it, as a future: the worker goes on with its
//! other connections. A lead is held for one synchronous verification, some tens of microseconds, and
//! ends even if that panics.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// The verifications under way, by the print of their token.
#[derive(Debug, Default)]
pub(super) struct Flights(Arc<Mutex<Under>>);

#[derive(Debug, Default)]
struct Under {
    flights: HashMap<u64, Flight>,
    /// Numbers the flights, so that nobody waits for a later one of the same token.
    last: u64,
}

#[derive(Debug)]
struct Flight {
    number: u64,
    waiting: Vec<Waker>,
}

/// One's part in a verification.
pub(super) enum Part<'f> {
    Lead(Lead<'f>),
    Wait(Waiting),
}

/// Held by whoever verifies; its end wakes all that wait.
pub(super) struct Lead<'f> {
    flights: &'f Flights,
    print: u64,
}

/// Ready when the verification under way has ended; then its verdict is remembered, if it may be.
#[derive(Debug)]
pub struct Waiting {
    under: Arc<Mutex<Under>>,
    print: u64,
    number: u64,
}

impl Flights {
    /// Leads, or waits for who does. Prints that are equal by chance cost a wait and nothing else.
    pub(super) fn join(&self, print: u64) -> Part<'_> {
        let mut under = lock(&self.0);
        let Under { flights, last } = &mut *under;
        match flights.entry(print) {
            Entry::Occupied(flight) => Part::Wait(Waiting {
                under: Arc::clone(&self.0),
                print,
                number: flight.get().number,
            }),
            Entry::Vacant(place) => {
                *last += 1;
                place.insert(Flight {
                    number: *last,
                    waiting: Vec::new(),
                });
                Part::Lead(Lead {
                    flights: self,
                    print,
                })
            }
        }
    }
}

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        let flight = lock(&self.flights.0).flights.remove(&self.print);
        // Outside the lock: whoever wakes may run at once.
        if let Some(flight) = flight {
            flight.waiting.into_iter().for_each(Waker::wake);
        }
    }
}

impl Future for Waiting {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        match lock(&self.under).flights.get_mut(&self.print) {
            Some(flight) if flight.number == self.number => {
                let waker = context.waker();
                if !flight.waiting.iter().any(|one| one.will_wake(waker)) {
                    flight.waiting.push(waker.clone());
                }
                Poll::Pending
            }
            _ => Poll::Ready(()),
        }
    }
}

fn lock(under: &Mutex<Under>) -> MutexGuard<'_, Under> {
    under.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn lead(flights: &Flights, print: u64) -> Lead<'_> {
        match flights.join(print) {
            Part::Lead(lead) => lead,
            Part::Wait(_) => panic!("somebody leads already"),
        }
    }

    fn wait(flights: &Flights, print: u64) -> Waiting {
        match flights.join(print) {
            Part::Wait(waiting) => waiting,
            Part::Lead(_) => panic!("nobody led"),
        }
    }

    #[test]
    fn all_who_wait_are_woken_once_when_the_lead_ends() {
        let flights = Flights::default();
        let count = Arc::new(Count::default());
        let waker = Waker::from(Arc::clone(&count));
        let mut context = Context::from_waker(&waker);
        let leading = lead(&flights, 1);
        let mut waiting = wait(&flights, 1);
        for _ in 0..3 {
            assert!(Pin::new(&mut waiting).poll(&mut context).is_pending());
        }
        // Another token is nobody's business.
        drop(lead(&flights, 2));
        assert_eq!(count.0.load(Ordering::Relaxed), 0);
        drop(leading);
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        // A later verification of the same token is not waited for.
        let _later = lead(&flights, 1);
        assert!(Pin::new(&mut waiting).poll(&mut context).is_ready());
    }

    #[test]
    fn a_panic_ends_the_lead() {
        let flights = Flights::default();
        let broken = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _leading = lead(&flights, 1);
            panic!("while verifying");
        }));
        assert!(broken.is_err());
        drop(lead(&flights, 1));
        assert!(lock(&flights.0).flights.is_empty());
    }
}
