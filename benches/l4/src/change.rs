//! What a change of backends takes, from the model to the tables that the kernel reads.

use std::cell::Cell;
use std::time::{Duration, Instant};

use tollgate_common::pin::{Pin, PinKey};
use tollgate_datapath::{
    maps::{self, Pinned},
    model::{Deliver, Model, Service},
    object::Object,
    reconcile::{Effects, Hops, State},
};

use crate::{Failure, services};

/// What writing a change may take at most, by its median.
pub const BAR: Duration = Duration::from_millis(1);

/// A change and what it took.
#[derive(Clone, Copy, Debug)]
pub struct Change {
    /// What people call it.
    pub name: &'static str,
    /// Deciding what the tables shall say, the Maglev table above all: least and median.
    pub planned: (Duration, Duration),
    /// Writing it, until the kernel reads the last of it: least and median.
    pub written: (Duration, Duration),
}

impl Change {
    /// Whether the bar is missed, in words.
    #[must_use]
    pub fn missed(&self) -> Option<String> {
        let (_, median) = self.written;
        (median > BAR).then(|| format!("{}: written in {median:.1?}, over {BAR:?}", self.name))
    }
}

/// Takes one backend of a service with 65 537 slots away, and gives it back, `rounds` times: each time the whole table is
/// computed, compared and written.
///
/// # Errors
/// The maps are not made, or do not take the model.
pub fn measure((here, elsewhere): (u32, u32), rounds: usize) -> Result<Vec<Change>, Failure> {
    let (mut whole, hops) = services::model(here, elsewhere);
    whole.services.truncate(1);
    let mut less = whole.clone();
    less.services.iter_mut().for_each(without_one);
    let mut object =
        Object::load(None).map_err(|error| Failure::new("load the programs", error))?;
    object.tables.sign();
    let mut state = State::read(&object.tables);
    timed(&mut object, &mut state, &whole, &hops)?;
    let mut changes = [
        ("one of 16 backends goes", &less),
        ("it comes back", &whole),
    ]
    .map(|(name, model)| (name, model, Vec::new()));
    for _ in 0..rounds {
        for (_, model, times) in &mut changes {
            times.push(timed(&mut object, &mut state, model, &hops)?);
        }
    }
    let pair = |times: &[(Duration, Duration)], which: fn(&(Duration, Duration)) -> Duration| {
        let mut times: Vec<Duration> = times.iter().map(which).collect();
        times.sort_unstable();
        (times[0], times[times.len() / 2])
    };
    Ok(changes
        .map(|(name, _, times)| Change {
            name,
            planned: pair(&times, |one| one.0),
            written: pair(&times, |one| one.1),
        })
        .into())
}

fn without_one(service: &mut Service) {
    if let Deliver::Ipip(backends) = &mut service.deliver {
        backends.pop();
    }
}

/// How long planning the change took, and writing it.
fn timed(
    object: &mut Object,
    state: &mut State,
    model: &Model,
    hops: &Hops,
) -> Result<(Duration, Duration), Failure> {
    let Object { tables, pinned, .. } = object;
    let mut watch = Watch {
        pinned,
        begun: Cell::new(None),
        written: None,
    };
    let start = Instant::now();
    state
        .apply(tables, model, hops, &mut watch)
        .map_err(|error| Failure::new("change the backends", error))?;
    let begun = watch.begun.get().unwrap_or(start);
    let written = watch.written.unwrap_or(begun);
    Ok((begun - start, written - begun))
}

/// Notes when the first slot is about to be written, which asks for the time, and when the last word was: what follows waits
/// for packets under way.
struct Watch<'a> {
    pinned: &'a mut Pinned,
    begun: Cell<Option<Instant>>,
    written: Option<Instant>,
}

impl Effects for Watch<'_> {
    fn reset(&mut self, _: u16) {}
    fn reset_drops(&mut self, _: u16) {}
    fn forget(&mut self, _: u32) {}

    fn grace(&mut self) {
        self.written.get_or_insert_with(Instant::now);
    }

    fn now(&self) -> u32 {
        if self.begun.get().is_none() {
            self.begun.set(Some(Instant::now()));
        }
        maps::second()
    }

    fn retain_pins(&mut self, keep: &mut dyn FnMut(&PinKey, &Pin) -> bool) -> Option<usize> {
        self.pinned.retain(keep).ok()
    }
}
