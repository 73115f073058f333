//! Whether a predecessor was here.

use std::os::fd::AsFd as _;

use aya::maps::{MapData, MapType};
use tollgate_common::tables::Tables;

use crate::{maps::Mapping, pins::Pins};

/// What a previous daemon left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// No maps.
    Nothing,
    /// Maps that can be used as they are.
    SameLayout,
    /// Maps of another version.
    OtherLayout,
    /// Something else, that no version of ours has made.
    Foreign,
}

impl Found {
    /// Looks at the pins of the maps.
    pub(crate) fn look(pins: &Pins) -> Self {
        let pin = pins.maps().join("tables");
        if !pin.exists() {
            return Self::Nothing;
        }
        let map = MapData::from_pin(&pin).ok();
        if !map.as_ref().is_some_and(is_ours) {
            return Self::Foreign;
        }
        let mapping = map.and_then(|map| {
            let same_size = map.info().ok()?.value_size() as usize == size_of::<Tables>();
            same_size.then(|| Mapping::of(map.fd().as_fd()).ok())?
        });
        // A map that nobody has signed yet was made a moment before its maker died: it is as good as new.
        match mapping {
            Some(mapping) if mapping.is_of_this_layout() || mapping.magic.load() == 0 => {
                Self::SameLayout
            }
            _ => Self::OtherLayout,
        }
    }
}

/// Whether it is what every version calls its tables, whatever is in it.
fn is_ours(map: &MapData) -> bool {
    let Ok(info) = map.info() else { return false };
    let is_array = info.map_type().is_ok_and(|kind| kind == MapType::Array);
    is_array && info.name_as_str() == Some("TABLES")
}
