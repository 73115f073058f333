//! The program that stands in for the datapath's own: loaded over the same maps, put behind the links, and taken away again.

use std::{
    fs::{File, TryLockError},
    io,
    os::fd::{AsFd as _, OwnedFd},
    time::Duration,
};

use aya::{
    Ebpf, EbpfLoader,
    maps::{
        Array, Map, MapData, MapError, MapInfo, PerCpuArray, PerfEventArray,
        perf::PerfEventArrayBuffer,
    },
    programs::{
        ProgramInfo, Xdp,
        links::{FdLink, PinnedLink},
        xdp::XdpLink,
    },
};
use aya_obj::programs::XdpAttachType;
use nix::{
    sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags},
    time::{ClockId, clock_gettime},
};
use tokio::io::unix::AsyncFd;
use tollgate_common::capture::{Rules, SNAPLEN, mode};

use super::{
    error::CaptureError,
    filter::Filter,
    names::{Known, ServiceNames},
};
use crate::{
    maps::Mapping,
    object::{self, MAPS, Object, ObjectError, is_permission, program, refused},
    pins::Pins,
};

#[repr(align(8))]
struct Aligned<T: ?Sized>(T);

static OBJECT: &Aligned<[u8]> =
    &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/capture.bpf.o")));

/// Name of the program inside the object.
pub const PROGRAM: &str = "tollgate_watched";
/// For how long the program tells what it is not told again to tell.
const LEASE: Duration = Duration::from_secs(5);
/// Most bytes of a packet that are told.
pub const MOST: u32 = SNAPLEN as u32;

/// What is to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Packets, before and after, so many bytes of each.
    Packets {
        /// Bytes, at most [`MOST`].
        snaplen: u32,
        /// Packets that each CPU tells in a second.
        rate: u32,
    },
    /// Flows that begin and drops.
    Events {
        /// Of so many flows that begin one; 0: none.
        sample: u32,
        /// Whether drops are told.
        drops: bool,
        /// Events that each CPU tells in a second.
        rate: u32,
    },
}

type Buffers = Vec<PerfEventArrayBuffer<MapData>>;

/// The program in the kernel, for one program that it stands in for.
pub(super) struct Watcher {
    pub(super) ebpf: Ebpf,
    pub(super) tables: Mapping,
    pub(super) buffers: Buffers,
    pub(super) ready: AsyncFd<OwnedFd>,
    pub(super) counts: PerCpuArray<MapData, u64>,
    pub(super) until: Array<MapData, u64>,
    /// The number of the program that it stands in for.
    pub(super) stands_for: u32,
    /// Its own.
    pub(super) number: u32,
}

impl Watcher {
    /// Loads the program, with a filter; it stands nowhere yet.
    pub(super) fn load(
        pins: &Pins,
        what: What,
        filter: &Filter,
        names: &ServiceNames,
        interface: &dyn Fn(&str) -> Option<u32>,
    ) -> Result<Self, CaptureError> {
        if OBJECT.0.is_empty() {
            return Err(ObjectError::Stub.into());
        }
        let stands_for = same_build(pins)?;
        let mut loader = EbpfLoader::new();
        for map in MAPS {
            // Of some the code that is embedded here has no use; aya takes no offence.
            loader.map_pin_path(map, pins.maps().join(map.to_lowercase()));
        }
        let mut ebpf = loader.load(&OBJECT.0).map_err(|error| {
            if is_permission(&error) {
                CaptureError::Rights(error.to_string())
            } else {
                ObjectError::Load(Box::new(error)).into()
            }
        })?;
        // Before any map is taken out: it is the program that keeps them from here on.
        let code = program::<Xdp>(&mut ebpf, PROGRAM)?;
        code.load().map_err(|source| refused(PROGRAM, source))?;
        let number = code.info()?.id();
        let tables = object::tables(&mut ebpf)?;
        let compiled = filter.compile(&Known {
            tables: &tables,
            names,
            interface,
        })?;
        let mut rules = Rules {
            early: compiled.early,
            late: compiled.late,
            snaplen: 0,
            mode: mode::PACKETS,
            sample: 0,
            drops: 0,
            rate: 0,
            reserved: 0,
        };
        match what {
            What::Packets { snaplen, rate } => {
                (rules.snaplen, rules.rate) = (snaplen.min(MOST), rate);
            }
            What::Events {
                sample,
                drops,
                rate,
            } => {
                rules.mode = mode::EVENTS;
                (rules.sample, rules.drops, rules.rate) = (sample, drops.into(), rate);
            }
        }
        let mut cell: Array<_, Rules> = take(&mut ebpf, "RULES")?;
        cell.set(0, rules, 0)?;
        let counts = take(&mut ebpf, "COUNTS")?;
        let until = take(&mut ebpf, "UNTIL")?;
        let (buffers, ready) = buffers(take(&mut ebpf, "TOLD")?)?;
        let mut watcher = Self {
            ebpf,
            tables,
            buffers,
            ready,
            counts,
            until,
            stands_for,
            number,
        };
        watcher.renew()?;
        Ok(watcher)
    }

    /// Says that somebody watches for some more seconds.
    pub(super) fn renew(&mut self) -> Result<(), MapError> {
        // It fails only for clocks that do not exist.
        let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from);
        self.until.set(0, (now + LEASE).as_nanos() as u64, 0)
    }

    /// Takes the place of the program behind all links; of how many where it was not there yet. None may be there for a moment: a
    /// daemon that starts puts its program behind the links before it pins it.
    pub(super) fn take_place(&mut self, pins: &Pins) -> Result<usize, CaptureError> {
        let stands_for = self.stands_for;
        let code = program::<Xdp>(&mut self.ebpf, PROGRAM)?;
        exchange(code, pins, |behind| behind == stands_for)
    }

    /// Puts back the program that is pinned.
    pub(super) fn give_back(&self, pins: &Pins) -> Result<(), CaptureError> {
        let pin = pins.programs().join("xdp");
        let mut other = Xdp::from_pin(pin, XdpAttachType::Interface)?;
        exchange(&mut other, pins, |behind| behind == self.number)?;
        Ok(())
    }
}

/// Puts a program behind those links whose program is one to be replaced; how many those were.
fn exchange(
    program: &mut Xdp,
    pins: &Pins,
    is_replaced: impl Fn(u32) -> bool,
) -> Result<usize, CaptureError> {
    let mut count = 0;
    for pin in pins.xdp_links()? {
        let failed = |error| CaptureError::Link(pin.display().to_string(), error);
        // One that went just now is nobody's any more.
        let Ok(link) = PinnedLink::from_pin(&pin) else {
            continue;
        };
        let link: FdLink = link.into();
        if !is_replaced(link.info().map_err(failed)?.program_id()) {
            continue;
        }
        let link = XdpLink::try_from(link).map_err(failed)?;
        match program.attach_to_link(link) {
            // The pin alone keeps the link: with a handle here it would outlive `tollgate down`.
            Ok(id) => drop(program.take_link(id)),
            // Its device is gone.
            Err(error) if object::errno(&error) == Some(nix::libc::ENOLINK) => continue,
            Err(error) => return Err(error.into()),
        }
        count += 1;
    }
    Ok(count)
}

/// Takes the lock of whoever watches. The daemon looks now and then whether it is held, and so may be in the way for a moment.
pub(super) fn lock(pins: &Pins) -> Result<File, CaptureError> {
    const TRIES: u32 = 20;
    const STEP: Duration = Duration::from_millis(5);
    let folder = pins.programs();
    let file = File::open(&folder).map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => {
            CaptureError::Rights(format!("{}: {error}", folder.display()))
        }
        _ => CaptureError::NoDatapath(folder.clone()),
    })?;
    for _ in 0..TRIES {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => std::thread::sleep(STEP),
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
    }
    Err(CaptureError::Busy(folder))
}

/// The program that the daemon has pinned.
pub(super) fn pinned_program(pins: &Pins) -> Result<ProgramInfo, CaptureError> {
    let pin = pins.programs().join("xdp");
    if !pin.exists() {
        return Err(CaptureError::NoDatapath(pin));
    }
    ProgramInfo::from_pin(&pin).map_err(|error| {
        if is_permission(&error) {
            CaptureError::Rights(error.to_string())
        } else {
            error.into()
        }
    })
}

/// Refuses to stand in for the program of another build: its packets would be treated by the code of this one. The number of
/// the program that is pinned.
fn same_build(pins: &Pins) -> Result<u32, CaptureError> {
    let other = || CaptureError::OtherVersion(pins.programs());
    let pinned = pinned_program(pins)?;
    let tables = pins.maps().join("tables");
    let map = MapData::from_pin(&tables)?;
    if !Mapping::of(map.fd().as_fd())
        .map_err(ObjectError::Mmap)?
        .is_of_this_layout()
    {
        return Err(other());
    }
    // Maps are made anew when the layout changes; a program that is pinned has its own.
    let of_map = MapInfo::from_pin(&tables)?.id();
    let maps = pinned.map_ids()?.unwrap_or_default();
    let mut own = Object::load(Some(&pins.maps()))?;
    let tag = own.xdp()?.info()?.tag();
    if tag != pinned.tag() || !maps.contains(&of_map) {
        return Err(other());
    }
    Ok(pinned.id())
}

/// A buffer for each CPU, and one descriptor that tells when there is something in any.
fn buffers(mut told: PerfEventArray<MapData>) -> Result<(Buffers, AsyncFd<OwnedFd>), CaptureError> {
    /// Pages of a buffer, a power of two: a megabyte.
    const PAGES: usize = 256;
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(io::Error::from)?;
    let mut buffers = Vec::new();
    for cpu in aya::util::online_cpus().map_err(|(_, error)| error)? {
        let buffer = told.open(cpu, Some(PAGES))?;
        let event = EpollEvent::new(EpollFlags::EPOLLIN, cpu.into());
        epoll.add(buffer.as_fd(), event).map_err(io::Error::from)?;
        buffers.push(buffer);
    }
    let ready = readiness(epoll.0)?;
    Ok((buffers, ready))
}

#[expect(
    deprecated,
    reason = "its successor is unsafe, for types that are no `OwnedFd`"
)]
fn readiness(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::new(fd)
}

fn take<M>(ebpf: &mut Ebpf, name: &'static str) -> Result<M, CaptureError>
where
    M: TryFrom<Map, Error = MapError>,
{
    let map = ebpf.take_map(name).ok_or(ObjectError::Missing(name))?;
    Ok(map.try_into()?)
}
