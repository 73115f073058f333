//! What `deliver: nat` needs beside the tables: the program at TC on each interface, as long as a service is translated, and an
//! end to flows that are over.

use std::{
    borrow::Cow,
    collections::{BTreeSet, HashMap},
    path::{Path, PathBuf},
};

use aya::programs::{
    ProgramError, SchedClassifier, TcAttachType,
    links::{FdLink, PinnedLink},
    tc::SchedClassifierLink,
};
use tollgate_common::{
    limits::TRANSLATIONS,
    nat::{Stage, Translation, Tuple},
    service::TCP,
    tables::Tables,
};

use crate::{
    maps::Translated,
    model::{Deliver, Model, Service, Timeouts},
    netlink::Device,
    object::{self, Object},
    pins::{self, Pins, PinsError},
    reconcile::State,
    stats::{NatInterface, NatStatus},
    tables, tc,
};

/// Seconds from one look through the translations to the next.
const SWEEP: u32 = 10;

/// Seconds in which the second of a flow's translations is made.
const HALF_MADE: u32 = 5;

/// Why the program was not attached.
#[derive(Debug, thiserror::Error)]
pub enum TranslateError {
    /// The kernel refuses.
    #[error("{interface}: the program that translates addresses was not attached ({how})")]
    Attach {
        /// The device.
        interface: String,
        /// In which way.
        how: &'static str,
        /// The kernel's words.
        #[source]
        source: Box<ProgramError>,
    },
    /// It was not pinned.
    #[error("{0} was not pinned")]
    Pin(String, #[source] aya::pin::PinError),
    /// A pin.
    #[error(transparent)]
    Pins(#[from] PinsError),
}

/// The program on the interfaces, and what is known of the translations.
#[derive(Debug, Default)]
pub(crate) struct Translator {
    interfaces: Vec<NatInterface>,
    swept: u32,
    count: usize,
}

impl Translator {
    /// Attaches the program, if a service is translated, to the interfaces where it is not. Each by itself; status says why
    /// where that fails.
    pub(crate) fn attach(
        &mut self,
        object: &mut Object,
        pins: &Pins,
        interfaces: &[String],
        devices: &[Device],
        model: &Model,
    ) {
        if !is_wanted(model) {
            return;
        }
        let program = match object.translate() {
            Ok(program) => program,
            Err(error) => {
                tracing::warn!(%error, "addresses are not translated");
                return;
            }
        };
        let number = program.info().map_or(0, |info| info.id());
        let mut all = Vec::with_capacity(interfaces.len());
        for name in interfaces {
            let before = self.interfaces.iter().find(|one| one.interface == *name);
            let index = devices.iter().find(|device| device.name == *name);
            let index = index.map_or(0, |device| device.index);
            let stands = before.is_some_and(|one| one.attached && one.index == index)
                && is_there(pins, name, number, index);
            let attached = match (stands, before) {
                (true, Some(before)) => Ok(before.how.clone()),
                _ => put(program, pins, name, index).map(Cow::Borrowed),
            };
            let (how, why) = match attached {
                Ok(how) => (how, String::new()),
                Err(error) => (Cow::Borrowed(""), told(&error)),
            };
            if !why.is_empty() && before.is_none_or(|one| one.why != why) {
                tracing::warn!(interface = name, why, "addresses are not translated here");
            } else if why.is_empty() && !stands {
                tracing::info!(interface = name, %how, "addresses are translated here");
            }
            all.push(NatInterface {
                interface: name.clone(),
                attached: why.is_empty(),
                how,
                why,
                index,
            });
        }
        self.interfaces = all;
        leave(pins, interfaces);
    }

    /// Detaches it from everywhere, if no service is translated.
    pub(crate) fn detach(&mut self, pins: &Pins, model: &Model) {
        if is_wanted(model) {
            return;
        }
        self.interfaces.clear();
        if let Err(error) = detach_all(&pins.links()) {
            let error = told(&error);
            tracing::warn!(
                error,
                "the program that translates addresses was not detached"
            );
        }
    }

    /// Forgets flows that are over, if it is time to look.
    pub(crate) fn sweep(&mut self, object: &mut Object, state: &State, model: &Model, now: u32) {
        if self.swept != 0 && now.saturating_sub(self.swept) < SWEEP {
            return;
        }
        self.swept = now;
        let Object {
            tables, translated, ..
        } = object;
        match sweep(translated, now, &Known::of(tables, state, model, now)) {
            Ok(left) => self.count = left,
            Err(error) => {
                tracing::warn!(%error, "the translations were not looked through; the next round tries again");
            }
        }
    }

    pub(crate) fn status(&self) -> Option<NatStatus> {
        (!self.interfaces.is_empty()).then(|| NatStatus {
            translations: self.count,
            translations_limit: TRANSLATIONS,
            interfaces: self.interfaces.clone(),
        })
    }
}

/// What is known of flows.
pub struct Known<'a> {
    /// The backends' lives.
    pub tables: &'a Tables,
    /// Backends whose flows are to end.
    pub overdue: BTreeSet<u16>,
    /// For how long flows may be silent, by the service's number.
    pub timeouts: HashMap<u16, Timeouts>,
}

impl<'a> Known<'a> {
    /// At second `now`, by the model that was applied.
    #[must_use]
    pub fn of(tables: &'a Tables, state: &State, model: &Model, now: u32) -> Self {
        let of = |service: &Service| match &service.deliver {
            Deliver::Nat(nat) => Some((state.number(tables::key(service.vip))?, nat.timeouts)),
            _ => None,
        };
        Self {
            tables,
            overdue: state.overdue(now),
            timeouts: model.services.iter().filter_map(of).collect(),
        }
    }

    /// Whether a flow is over, at second `now`: its service or backend is gone, or it was silent for too long. One that
    /// waits (`may_come_back`) for its backend may be silent for as long as one that opens.
    #[must_use]
    pub fn is_over(&self, key: &Tuple, way: &Translation, back: &Translation, now: u32) -> bool {
        let Some(timeouts) = self.timeouts.get(&way.service()) else {
            return true;
        };
        let mut stage = Stage::of(key.proto(), way.flags, back.flags);
        if self.overdue.contains(&way.id()) {
            return true;
        }
        if self.tables.life(way.id()) != way.life() {
            if !self.may_come_back(key, way) {
                return true;
            }
            if stage == Stage::Established {
                stage = Stage::Transitory;
            }
        }
        let silent = now.saturating_sub(way.seen.max(back.seen));
        u64::from(silent) > timeouts.of(stage).as_secs()
    }

    /// Whether a flow whose backend is down is waited for: one that only this backend can go on with, by what it knows of the client.
    fn may_come_back(&self, key: &Tuple, way: &Translation) -> bool {
        let owner = self.tables.owner(way.id());
        let address = [owner.address_hi.load(), owner.address_lo.load()];
        let is_its = owner.tag.load() != 0 && address == way.to.destination;
        key.proto() == TCP && way.hides(key) && is_its
    }
}

/// Takes the flows out that are over at second `now`; says how many translations are left. Both directions are asked about once
/// more right before: packets may have been seen since.
///
/// # Errors
/// The map's.
pub fn sweep(
    map: &mut Translated,
    now: u32,
    known: &Known<'_>,
) -> Result<usize, aya::maps::MapError> {
    // What answers to the client's direction bear, and whether that is there, as it is now; `None`: it is not over.
    let over =
        |map: &Translated, key: &Tuple| -> Result<Option<(Tuple, bool)>, aya::maps::MapError> {
            let Some(way) = map.get(key)? else {
                return Ok(None);
            };
            let (other, back) = back_of(map, key, &way)?;
            Ok(known
                .is_over(key, &way, &back.unwrap_or_default(), now)
                .then_some((other, back.is_some())))
        };
    let (mut gone, mut left) = (Vec::new(), 0);
    for entry in map.iter() {
        let (key, way) = entry?;
        if way.is_answers() {
            // One alone is of a flow that is just being made, or was left by one that was not.
            if is_alone(map, &key, &way)? && now.saturating_sub(way.seen) > HALF_MADE {
                gone.push(key);
            } else {
                left += 1;
            }
        } else {
            let back = back_of(map, &key, &way)?.1.unwrap_or_default();
            if known.is_over(&key, &way, &back, now) {
                gone.push(key);
            } else {
                left += 1;
            }
        }
    }
    for key in gone {
        let way = map.get(&key)?;
        if let Some(way) = way.filter(Translation::is_answers) {
            if is_alone(map, &key, &way)? {
                map.remove(&key)?;
            } else {
                left += 1;
            }
        } else if let Some((other, is_whole)) = over(map, &key)? {
            map.remove(&key)?;
            if is_whole && map.remove(&other)? {
                left = usize::saturating_sub(left, 1);
            }
        } else {
            left += 1;
        }
    }
    Ok(left)
}

/// Whether the client's direction of what answers so is not there.
fn is_alone(
    map: &Translated,
    key: &Tuple,
    back: &Translation,
) -> Result<bool, aya::maps::MapError> {
    let way = map.get(&back.to.reversed())?;
    Ok(way.is_none_or(|way| way.is_answers() || way.to.reversed() != *key))
}

/// What answers to a flow bear, and what becomes of them; `None`: nothing is there, or another flow's.
fn back_of(
    map: &Translated,
    key: &Tuple,
    way: &Translation,
) -> Result<(Tuple, Option<Translation>), aya::maps::MapError> {
    let other = way.to.reversed();
    let back = map.get(&other)?;
    Ok((other, back.filter(|back| back.to == key.reversed())))
}

/// Whether any service is translated.
fn is_wanted(model: &Model) -> bool {
    let mut services = model.services.iter();
    services.any(|one| matches!(one.deliver, Deliver::Nat(_)))
}

fn link_pin(pins: &Pins, interface: &str) -> PathBuf {
    pins.links().join(named("tcx", interface))
}

fn filter_pin(pins: &Pins, interface: &str) -> PathBuf {
    pins.links().join(named("clsact", interface))
}

/// bpffs takes no dots in names, interfaces do.
fn named(kind: &str, interface: &str) -> String {
    format!("{kind}_{}", interface.replace('.', ":"))
}

/// Whether the program of this number is at the device of this index.
fn is_there(pins: &Pins, interface: &str, number: u32, index: u32) -> bool {
    let pin = link_pin(pins, interface);
    if !pin.exists() {
        return filter_pin(pins, interface).exists();
    }
    is_on(&pin, number, index)
}

fn is_on(pin: &Path, number: u32, index: u32) -> bool {
    let Ok(link) = PinnedLink::from_pin(pin).map(FdLink::from) else {
        return false;
    };
    let info = link.info();
    info.is_ok_and(|info| info.program_id() == number) && tc::is_at(&link, index)
}

/// By a link, which Linux has from 6.6 on, else by a filter.
fn put(
    program: &mut SchedClassifier,
    pins: &Pins,
    interface: &str,
    index: u32,
) -> Result<&'static str, TranslateError> {
    match tcx(program, &link_pin(pins, interface), interface, index) {
        Err(TranslateError::Attach { source, .. }) if tc::is_missing(&source) => {
            clsact(program, &filter_pin(pins, interface), interface)?;
            Ok("clsact")
        }
        Err(error) => Err(error),
        Ok(()) => Ok("tcx"),
    }
}

fn tcx(
    program: &mut SchedClassifier,
    pin: &Path,
    interface: &str,
    index: u32,
) -> Result<(), TranslateError> {
    if pin.exists() {
        // A predecessor's: the program behind the link is replaced, so no packet passes by.
        let link = PinnedLink::from_pin(pin)
            .and_then(|link| SchedClassifierLink::try_from(FdLink::from(link)));
        if let Ok(link) = link
            && let Ok(id) = program.attach_to_link(link)
        {
            // The pin alone keeps the link.
            drop(program.take_link(id));
            if is_on(pin, program.info().map_or(0, |info| info.id()), index) {
                return Ok(());
            }
        }
        // The device of the link went, or has another name now.
        pins::remove(pin)?;
    }
    // First: what others see is what leaves.
    let link =
        tc::link(program, interface, TcAttachType::Ingress).map_err(refused(interface, "tcx"))?;
    link.pin(pin)
        .map(drop)
        .map_err(|error| TranslateError::Pin(pin.display().to_string(), error))
}

/// The filter stays by itself; the pin of its program says that it is ours.
fn clsact(
    program: &mut SchedClassifier,
    pin: &Path,
    interface: &str,
) -> Result<(), TranslateError> {
    tc::filter(program, interface, TcAttachType::Ingress, tc::TRANSLATE)
        .map_err(refused(interface, "clsact"))?;
    if pin.exists() {
        pins::remove(pin)?;
    }
    program
        .pin(pin)
        .map_err(|error| TranslateError::Pin(pin.display().to_string(), error))
}

/// Detaches the program from interfaces that are not named any more.
fn leave(pins: &Pins, interfaces: &[String]) {
    let is_left = |interface: &str| !interfaces.iter().any(|name| name == interface);
    match detach(&pins.links(), is_left) {
        Ok(0) => {}
        Ok(left) => tracing::info!(
            left,
            "addresses are not translated any more at interfaces that are not named"
        ),
        Err(error) => {
            let error = told(&error);
            tracing::warn!(
                error,
                "the program that translates addresses was not detached from interfaces that are not named"
            );
        }
    }
}

/// Detaches what the pins in this folder keep attached, or say to be; how many there were.
pub(crate) fn detach_all(links: &Path) -> Result<usize, TranslateError> {
    detach(links, |_| true)
}

/// As [`detach_all`], of the interfaces that `is_meant` says.
fn detach(links: &Path, is_meant: impl Fn(&str) -> bool) -> Result<usize, TranslateError> {
    let mut removed = 0;
    for pin in pins::entries(links)? {
        let Some(name) = pin.file_name().and_then(|name| name.to_str()) else {
            continue;
        };
        let named = ["clsact_", "tcx_"].map(|kind| name.strip_prefix(kind));
        let ([Some(interface), _] | [_, Some(interface)]) = named else {
            continue;
        };
        let interface = interface.replace(':', ".");
        if !is_meant(&interface) {
            continue;
        }
        if name.starts_with("clsact_") {
            let gone = tc::detach(&interface, TcAttachType::Ingress, object::TRANSLATE);
            if let Err(error) = gone {
                let error = told(&error);
                tracing::debug!(interface, error, "the filter was not detached");
            }
        }
        pins::remove(&pin)?;
        removed += 1;
    }
    Ok(removed)
}

fn refused(interface: &str, how: &'static str) -> impl FnOnce(ProgramError) -> TranslateError {
    let interface = interface.to_owned();
    move |source| TranslateError::Attach {
        interface,
        how,
        source: Box::new(source),
    }
}

/// An error and its causes.
fn told(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

#[cfg(test)]
mod tests;
