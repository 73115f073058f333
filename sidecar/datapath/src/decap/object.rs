//! The backend hosts' object: its maps filled, its programs loaded when they are asked for.

use std::{collections::BTreeMap, net::IpAddr, path::Path};

use aya::{
    Ebpf, EbpfLoader,
    maps::{
        Array, HashMap, Map, MapError, PerCpuArray,
        lpm_trie::{Key, LpmTrie},
    },
    programs::{SchedClassifier, Xdp},
};
use tollgate_common::decap::{Address, Outcome};

use super::{config::Config, error::DecapError};
use crate::{
    object::{ObjectError, is_permission, program, refused},
    prefix::Prefix,
};

#[repr(align(8))]
struct Aligned<T: ?Sized>(T);

static OBJECT: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/decap.bpf.o")));

/// Name of the XDP program inside the object.
pub const XDP: &str = "tollgate_decap_xdp";
/// Name of the TC program inside the object.
pub const TC: &str = "tollgate_decap_tc";
/// The maps of what is taken.
pub(super) const RULES: [&str; 4] = [VIPS, ADDRESSES, SOURCES, SETTINGS];

const VIPS: &str = "VIPS";
const ADDRESSES: &str = "ADDRESSES";
const SOURCES: &str = "SOURCES";
const SETTINGS: &str = "SETTINGS";
const OUTCOMES: &str = "OUTCOMES";

/// The object, in the kernel.
pub struct Object(Ebpf);

impl Object {
    /// Makes the maps and fills them. The counters are those that are pinned at `outcomes`, or pinned there anew; without
    /// it they live as long as the object.
    ///
    /// # Errors
    /// [`ObjectError`], or an entry that was not written.
    pub fn load(config: &Config, outcomes: Option<&Path>) -> Result<Self, DecapError> {
        if OBJECT.0.is_empty() {
            return Err(ObjectError::Stub.into());
        }
        let mut loader = EbpfLoader::new();
        if let Some(outcomes) = outcomes {
            loader.map_pin_path(OUTCOMES, outcomes);
        }
        let ebpf = loader.load(&OBJECT.0).map_err(|error| {
            if is_permission(&error) {
                ObjectError::Rights(Box::new(error))
            } else {
                ObjectError::Load(Box::new(error))
            }
        })?;
        let mut object = Self(ebpf);
        for (map, prefixes) in [(VIPS, &config.vips), (SOURCES, &config.sources)] {
            object.fill(map, prefixes)?;
        }
        let failed = |error| DecapError::Map(ADDRESSES.to_owned(), Box::new(error));
        let mut own: HashMap<_, [u32; 5], u32> =
            object.map(ADDRESSES)?.try_into().map_err(failed)?;
        for address in &config.addresses {
            own.insert(Prefix::from(*address).key().1.0, 1, 0)
                .map_err(failed)?;
        }
        let failed = |error| DecapError::Map(SETTINGS.to_owned(), Box::new(error));
        let mut settings: Array<_, u32> = object.map(SETTINGS)?.try_into().map_err(failed)?;
        let port = u32::from(config.gue_port.to_be());
        settings.set(0, port, 0).map_err(failed)?;
        Ok(object)
    }

    /// The XDP program, loaded.
    ///
    /// # Errors
    /// [`ObjectError`], with the verifier's words if it is that one that refuses.
    pub fn xdp(&mut self) -> Result<&mut Xdp, ObjectError> {
        let program: &mut Xdp = program(&mut self.0, XDP)?;
        if program.fd().is_err() {
            program.load().map_err(|source| refused(XDP, source))?;
        }
        Ok(program)
    }

    /// The TC program, loaded.
    ///
    /// # Errors
    /// As [`xdp`](Self::xdp).
    pub fn tc(&mut self) -> Result<&mut SchedClassifier, ObjectError> {
        let program: &mut SchedClassifier = program(&mut self.0, TC)?;
        if program.fd().is_err() {
            program.load().map_err(|source| refused(TC, source))?;
        }
        Ok(program)
    }

    /// Packets by what became of them, all CPUs together.
    ///
    /// # Errors
    /// The map's.
    pub fn outcomes(&self) -> Result<BTreeMap<Outcome, u64>, MapError> {
        let map = self.0.map(OUTCOMES).ok_or_else(|| missing(OUTCOMES))?;
        summed(&PerCpuArray::try_from(map)?)
    }

    /// Pins a map.
    pub(super) fn pin(&self, map: &'static str, pin: &Path) -> Result<(), DecapError> {
        let map = self.0.map(map).ok_or(ObjectError::Missing(map))?;
        map.pin(pin)
            .map_err(|error| DecapError::Pin(pin.display().to_string(), error))
    }

    fn fill(&mut self, name: &'static str, prefixes: &[Prefix]) -> Result<(), DecapError> {
        let failed = |error| DecapError::Map(name.to_owned(), Box::new(error));
        let mut map: LpmTrie<_, [u32; 5], u32> = self.map(name)?.try_into().map_err(failed)?;
        for prefix in prefixes {
            let (len, address) = prefix.key();
            map.insert(&Key::new(len, address.0), 1, 0)
                .map_err(failed)?;
        }
        Ok(())
    }

    fn map(&mut self, name: &'static str) -> Result<&mut Map, ObjectError> {
        self.0.map_mut(name).ok_or(ObjectError::Missing(name))
    }
}

/// The prefixes of a map, sorted.
pub(super) fn prefixes(map: Map) -> Result<Vec<Prefix>, MapError> {
    let map: LpmTrie<_, [u32; 5], u32> = map.try_into()?;
    let mut all = Vec::new();
    for key in map.keys() {
        let key = key?;
        all.push(Prefix::from_key(key.prefix_len(), Address(key.data())));
    }
    all.sort_unstable();
    Ok(all)
}

/// The addresses of a map, sorted.
pub(super) fn addresses(map: Map) -> Result<Vec<IpAddr>, MapError> {
    let map: HashMap<_, [u32; 5], u32> = map.try_into()?;
    let each = map
        .keys()
        .map(|key| Ok(Prefix::from_key(Address::WHOLE, Address(key?)).address()));
    let mut all: Vec<_> = each.collect::<Result<_, MapError>>()?;
    all.sort_unstable();
    Ok(all)
}

/// The port of GUE that a map says.
pub(super) fn gue_port(map: Map) -> Result<u16, MapError> {
    let map: Array<_, u32> = map.try_into()?;
    Ok(u16::from_be(map.get(&0, 0)? as u16))
}

/// Packets by what became of them.
pub(super) fn outcomes(map: Map) -> Result<BTreeMap<Outcome, u64>, MapError> {
    summed(&PerCpuArray::try_from(map)?)
}

fn summed<T: std::borrow::Borrow<aya::maps::MapData>>(
    map: &PerCpuArray<T, u64>,
) -> Result<BTreeMap<Outcome, u64>, MapError> {
    let each = Outcome::ALL.into_iter().map(|outcome| {
        let cells = map.get(&(outcome as u32), 0)?;
        Ok((outcome, cells.iter().sum()))
    });
    each.collect()
}

fn missing(name: &str) -> MapError {
    MapError::InvalidName {
        name: name.to_owned(),
    }
}
