//! The embedded eBPF object: loaded into the kernel, its maps new or pinned ones.

use std::{io, os::fd::AsFd as _, path::Path};

use aya::{
    Ebpf, EbpfError, EbpfLoader,
    maps::{HashMap, Map, MapError, PerCpuArray, SockMap},
    programs::{Program, ProgramError, SchedClassifier, SkLookup, Xdp},
};

use tollgate_common::{
    counter::Counter,
    nat::{Translation, Tuple},
    pin::{Pin, PinKey},
};

use crate::maps::{Counters, Mapping, Pinned, Sockets, Translated};

#[repr(align(8))]
struct Aligned<T: ?Sized>(T);

static OBJECT: &Aligned<[u8]> =
    &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/tollgate.bpf.o")));

/// Name of the XDP program inside the object.
pub const XDP: &str = "tollgate_xdp";
/// Name of the sk_lookup program inside the object.
pub const SK_LOOKUP: &str = "tollgate_steer";
/// Name of the TC program inside the object.
pub const TRANSLATE: &str = "tollgate_nat";
/// The maps inside the object; the pins have the same names, in lower case.
pub const MAPS: [&str; 11] = [
    "TABLES",
    "VERDICTS",
    "COUNTERS",
    "DROPS",
    "SOCKETS",
    "PINS",
    "FRAGMENTS",
    "RATES",
    "SEEN",
    "NAT",
    "NAT_ROOM",
];

/// Why the object was not loaded.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// Built without the BPF tools.
    #[error(
        "this binary was built without its eBPF object; run `cargo xtask setup` and build again without TOLLGATE_BPF_SKIP"
    )]
    Stub,
    /// No rights.
    #[error(
        "the kernel refuses to load eBPF programs ({0}); run as root or with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON"
    )]
    Rights(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The kernel or aya refuses it.
    #[error("the eBPF object was not loaded; Tollgate needs Linux 6.1 or newer")]
    Load(#[source] Box<EbpfError>),
    /// The verifier refuses a program.
    #[error("the program {program} was not loaded; Tollgate needs Linux 6.1 or newer")]
    Program {
        /// The program.
        program: &'static str,
        /// The verifier's words.
        #[source]
        source: Box<ProgramError>,
    },
    /// A map does not fit.
    #[error("the map {map} is not as this version makes it")]
    Map {
        /// The map.
        map: &'static str,
        /// What is wrong.
        #[source]
        source: Box<MapError>,
    },
    /// The tables were not mapped into memory.
    #[error("the map TABLES was not mapped into memory ({0})")]
    Mmap(#[source] nix::Error),
    /// The object lacks what its own build made.
    #[error("the eBPF object has no {0}")]
    Missing(&'static str),
}

/// Whether this binary has its eBPF object.
#[must_use]
pub const fn is_stub() -> bool {
    OBJECT.0.is_empty()
}

/// The object, its programs loaded but attached nowhere.
pub struct Object {
    ebpf: Ebpf,
    /// The tables, shared with the programs.
    pub tables: Mapping,
    /// The counters.
    pub counters: Counters,
    /// The listeners' sockets.
    pub sockets: Sockets,
    /// The backends of flows that began in moving slots.
    pub pinned: Pinned,
    /// What packets of translated flows become.
    pub translated: Translated,
}

impl Object {
    /// Loads the programs. Maps that are pinned in `pins` are used, the others made and pinned there; without `pins`
    /// they live as long as the object.
    ///
    /// # Errors
    /// See [`ObjectError`].
    pub fn load(pins: Option<&Path>) -> Result<Self, ObjectError> {
        if is_stub() {
            return Err(ObjectError::Stub);
        }
        let mut loader = EbpfLoader::new();
        for map in MAPS {
            if let Some(pins) = pins {
                loader.map_pin_path(map, pins.join(map.to_lowercase()));
            }
        }
        let mut ebpf = loader.load(&OBJECT.0).map_err(|error| {
            if is_permission(&error) {
                ObjectError::Rights(Box::new(error))
            } else {
                ObjectError::Load(Box::new(error))
            }
        })?;
        program::<Xdp>(&mut ebpf, XDP)?
            .load()
            .map_err(|source| refused(XDP, source))?;
        program::<SkLookup>(&mut ebpf, SK_LOOKUP)?
            .load()
            .map_err(|source| refused(SK_LOOKUP, source))?;
        program::<SchedClassifier>(&mut ebpf, TRANSLATE)?
            .load()
            .map_err(|source| refused(TRANSLATE, source))?;

        let tables = tables(&mut ebpf)?;
        Ok(Self {
            tables,
            counters: Counters::new(
                take::<PerCpuArray<_, u64>>(&mut ebpf, "VERDICTS")?,
                take::<PerCpuArray<_, Counter>>(&mut ebpf, "COUNTERS")?,
                take::<PerCpuArray<_, u64>>(&mut ebpf, "DROPS")?,
            ),
            pinned: Pinned::new(take::<HashMap<_, PinKey, Pin>>(&mut ebpf, "PINS")?),
            translated: Translated::new(take::<HashMap<_, Tuple, Translation>>(&mut ebpf, "NAT")?),
            sockets: Sockets::new(take::<SockMap<_>>(&mut ebpf, "SOCKETS")?),
            ebpf,
        })
    }

    /// The XDP program.
    ///
    /// # Errors
    /// [`ObjectError::Missing`].
    pub fn xdp(&mut self) -> Result<&mut Xdp, ObjectError> {
        program(&mut self.ebpf, XDP)
    }

    /// The TC program.
    ///
    /// # Errors
    /// [`ObjectError::Missing`].
    pub fn translate(&mut self) -> Result<&mut SchedClassifier, ObjectError> {
        program(&mut self.ebpf, TRANSLATE)
    }

    /// The sk_lookup program.
    ///
    /// # Errors
    /// [`ObjectError::Missing`].
    pub fn sk_lookup(&mut self) -> Result<&mut SkLookup, ObjectError> {
        program(&mut self.ebpf, SK_LOOKUP)
    }
}

pub(crate) fn program<'a, P>(
    ebpf: &'a mut Ebpf,
    name: &'static str,
) -> Result<&'a mut P, ObjectError>
where
    &'a mut P: TryFrom<&'a mut Program, Error = ProgramError>,
{
    let program = ebpf.program_mut(name).ok_or(ObjectError::Missing(name))?;
    program.try_into().map_err(|source| refused(name, source))
}

fn take<M>(ebpf: &mut Ebpf, name: &'static str) -> Result<M, ObjectError>
where
    M: TryFrom<Map, Error = MapError>,
{
    let map = ebpf.take_map(name).ok_or(ObjectError::Missing(name))?;
    map.try_into().map_err(|source| ObjectError::Map {
        map: name,
        source: Box::new(source),
    })
}

/// The tables: one value larger than any typed view of aya's; only the descriptor is wanted.
pub(crate) fn tables(ebpf: &mut Ebpf) -> Result<Mapping, ObjectError> {
    match ebpf.take_map("TABLES") {
        Some(Map::Array(map)) => Mapping::of(map.fd().as_fd()).map_err(ObjectError::Mmap),
        _ => Err(ObjectError::Missing("TABLES")),
    }
}

pub(crate) fn refused(program: &'static str, source: ProgramError) -> ObjectError {
    if is_permission(&source) {
        ObjectError::Rights(Box::new(source))
    } else {
        ObjectError::Program {
            program,
            source: Box::new(source),
        }
    }
}

/// Whether somewhere below this error stands `EPERM`.
pub(crate) fn is_permission(error: &(dyn std::error::Error + 'static)) -> bool {
    errno(error) == Some(nix::libc::EPERM)
}

/// The first error number of the system below this error.
pub(crate) fn errno(error: &(dyn std::error::Error + 'static)) -> Option<i32> {
    std::iter::successors(Some(error), |error| error.source())
        .find_map(|error| error.downcast_ref::<io::Error>()?.raw_os_error())
}
