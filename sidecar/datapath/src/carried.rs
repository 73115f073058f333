//! What a predecessor remembered, into new maps.

use crate::{
    effects::grace,
    object::Object,
    reconcile::{History, State},
};

/// The name of this boot of the host: seconds of the monotonic clock mean nothing in another one. Empty if nobody knows.
pub(crate) fn boot() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
    name.map(|name| name.trim().to_owned()).unwrap_or_default()
}

/// What is remembered; `pause`: no pin is made from here on.
pub(crate) fn on(object: &Object, state: &State, pause: bool) -> History {
    if pause {
        object.tables.pause_pins();
        grace();
    }
    let pins = object.pinned.all().unwrap_or_else(|error| {
        tracing::warn!(%error, "the pins were not read; flows that have one may break if another layout follows");
        Vec::new()
    });
    let translations: Result<Vec<_>, _> = object.translated.iter().collect();
    let translations = translations.unwrap_or_else(|error| {
        tracing::warn!(%error, "the translations were not read; flows with a source of this node's end if another layout follows");
        Vec::new()
    });
    state.history(&object.tables, &pins, &translations, boot())
}

/// Lays a history into new maps, or says why flows may lose what it knew.
pub(crate) fn over(object: &mut Object, history: Option<&History>) {
    const MEANS: &str = "flows whose slots were moving may change their backend, and those with a translated source end";
    let Some(history) = history else {
        tracing::warn!("no history came with the maps of another layout: {MEANS}");
        return;
    };
    if let Err(why) = history.usable(&boot()) {
        tracing::warn!(%why, "the history that came with the maps of another layout is not gone on with: {MEANS}");
        return;
    }
    let remembered = history.lay(&object.tables);
    let (mut pins, mut translations, mut lost) = (0, 0, 0);
    for (key, pin) in remembered.pins {
        match object.pinned.put(&key, pin) {
            Ok(()) => pins += 1,
            Err(_) => lost += 1,
        }
    }
    for (key, translation) in remembered.translations {
        match object.translated.put(&key, translation) {
            Ok(()) => translations += 1,
            Err(_) => lost += 1,
        }
    }
    tracing::info!(
        pins,
        translations,
        lost,
        "what was remembered of flows is carried over"
    );
}
