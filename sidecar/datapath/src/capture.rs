//! Watching packets: for as long as this is open, another program stands behind the links to the interfaces. It does what the
//! XDP program does, by the same code and maps, and tells of packets. Links are updated in place, so no packet passes by; the
//! program that serves otherwise has no line for it, and costs nothing more.
//!
//! Whoever watches holds a lock on the folder of programs. Is it gone without having put the other program back, the daemon
//! does within seconds; until then the program goes on and tells nothing.

use std::{
    collections::HashMap,
    fs::{File, TryLockError},
    io,
    net::{IpAddr, SocketAddr},
    os::fd::{AsFd as _, OwnedFd},
    path::{Path, PathBuf},
    time::Duration,
};

use aya::{
    Ebpf, EbpfLoader,
    maps::{
        Array, Map, MapData, MapError, MapInfo, PerCpuArray, PerfEventArray,
        perf::{PerfBufferError, PerfEvent, PerfEventArrayBuffer},
    },
    programs::{
        ProgramError, ProgramInfo, Xdp,
        links::{FdLink, LinkError, PinnedLink},
        xdp::XdpLink,
    },
};
use aya_obj::programs::XdpAttachType;
use nix::{
    sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags},
    time::{ClockId, clock_gettime},
};
use tokio::io::unix::AsyncFd;
use tollgate_common::{
    answer::Answer,
    capture::{Record, Rules, SNAPLEN, count, flow, mode, side, word},
    service::{About, Action, Key, TCP, UDP},
};

pub mod filter;

use crate::{
    maps::{self, Mapping},
    model::{Proto, Vip},
    object::{self, MAPS, Object, ObjectError, is_permission, program, refused},
    pins::{Pins, PinsError},
    tables,
};
use filter::{Filter, FilterError, Names};

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

/// Why nothing can be watched.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// Nothing is pinned.
    #[error(
        "{} has no program: no datapath is there; start the daemon, or name its folder by --bpffs or --config", .0.display()
    )]
    NoDatapath(PathBuf),
    /// No rights.
    #[error(
        "the kernel refuses ({0}); run as root or with CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN, and read access to the pins"
    )]
    Rights(String),
    /// Another build's.
    #[error(
        "the program in {} is another build's than this `tollgate` has, and would be replaced by it; use the `tollgate` that runs the daemon", .0.display()
    )]
    OtherVersion(PathBuf),
    /// Somebody else does.
    #[error("{} is watched by another `tollgate capture` or `flow watch` already; one at a time", .0.display())]
    Busy(PathBuf),
    /// Nothing is attached.
    #[error("{} has no link to an interface: nothing comes to the datapath", .0.display())]
    NoLink(PathBuf),
    /// A link.
    #[error("the link {0} was not opened")]
    Link(String, #[source] LinkError),
    /// Pins.
    #[error(transparent)]
    Pins(#[from] PinsError),
    /// The object.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// A map.
    #[error("the maps for watching")]
    Map(#[from] MapError),
    /// A buffer.
    #[error("the buffers for watching")]
    Buffer(#[from] PerfBufferError),
    /// The pinned program.
    #[error("the pinned program was not read")]
    Program(#[from] ProgramError),
    /// The filter.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// The system.
    #[error("the buffers for watching")]
    Io(#[from] io::Error),
}

/// What is told of one packet, before or after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Nanosecond of the monotonic clock.
    pub at: u64,
    /// Which packet: before and after have the same.
    pub packet: u64,
    /// As it leaves, not as it came.
    pub after: bool,
    /// Bytes of the frame.
    pub len: u32,
    /// Its first bytes.
    pub bytes: Vec<u8>,
    /// Index of the interface that it came in at.
    pub interface: u32,
    /// The client of its flow; `None`: no IP packet.
    pub client: Option<SocketAddr>,
    /// The address that its flow goes to.
    pub vip: Option<SocketAddr>,
    /// The flow's protocol number.
    pub proto: u8,
    /// Whether it is of a connection that it opens.
    pub opens: bool,
    /// What the kernel was told to do: an `xdp_action`.
    pub action: u32,
    /// What was counted.
    pub verdict: &'static str,
    /// The service's name.
    pub service: Option<String>,
    /// The backend's address.
    pub backend: Option<IpAddr>,
}

/// What was counted so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Packets or events that passed the filter.
    pub passed: u64,
    /// Of what was to be told so much found no room in the buffers.
    pub lost: u64,
    /// Events beyond the rate.
    pub held: u64,
}

/// The services' names, as the daemon or a configuration has them.
pub type ServiceNames = HashMap<Vip, String>;

/// The index of an interface by its name.
pub type Interfaces = Box<dyn Fn(&str) -> Option<u32> + Send>;

/// An open watch. Dropping it puts the program back that was there.
pub struct Capture {
    bpffs: PathBuf,
    what: What,
    filter: Filter,
    names: ServiceNames,
    interface: Interfaces,
    watcher: Watcher,
    /// What was counted by watchers before this one.
    before: Counted,
    /// Held for as long as this is open.
    _lock: File,
}

type Buffers = Vec<PerfEventArrayBuffer<MapData>>;

/// The program in the kernel, for one program that it stands in for.
struct Watcher {
    ebpf: Ebpf,
    tables: Mapping,
    buffers: Buffers,
    ready: AsyncFd<OwnedFd>,
    counts: PerCpuArray<MapData, u64>,
    until: Array<MapData, u64>,
    /// The number of the program that it stands in for.
    stands_for: u32,
    /// Its own.
    number: u32,
}

impl Capture {
    /// Begins to watch the datapath whose pins are in a folder. Inside a tokio runtime with I/O enabled, in the datapath's
    /// network namespace.
    ///
    /// # Errors
    /// [`CaptureError`].
    pub fn open(
        bpffs: &Path,
        what: What,
        filter: &Filter,
        names: ServiceNames,
        interface: Interfaces,
    ) -> Result<Self, CaptureError> {
        if OBJECT.0.is_empty() {
            return Err(ObjectError::Stub.into());
        }
        let pins = Pins::of(bpffs);
        let lock = lock(&pins)?;
        let watcher = Watcher::load(&pins, what, filter, &names, &*interface)?;
        let mut capture = Self {
            bpffs: bpffs.to_owned(),
            what,
            filter: filter.clone(),
            names,
            interface,
            watcher,
            before: Counted::default(),
            _lock: lock,
        };
        if capture.watcher.take_place(&pins)? == 0 {
            return Err(CaptureError::NoLink(bpffs.to_owned()));
        }
        Ok(capture)
    }

    /// To be called every second or so: says that somebody watches still, and looks whether another program was put in place,
    /// as a restarted daemon does; then that one is watched. True: it is.
    ///
    /// # Errors
    /// [`CaptureError`]: nothing is watched any more.
    pub fn follow(&mut self) -> Result<bool, CaptureError> {
        let pins = Pins::of(&self.bpffs);
        let now = pinned_program(&pins)?.id();
        let is_another = now != self.watcher.stands_for;
        if is_another {
            let next = Watcher::load(
                &pins,
                self.what,
                &self.filter,
                &self.names,
                &*self.interface,
            )?;
            self.before = self.counted()?;
            self.watcher = next;
        }
        self.watcher.renew()?;
        let placed = self.watcher.take_place(&pins)?;
        Ok(is_another || placed > 0)
    }

    /// Waits until there may be something to [`take`](Self::take).
    ///
    /// # Errors
    /// The system's.
    pub async fn ready(&self) -> io::Result<()> {
        let mut guard = self.watcher.ready.readable().await?;
        guard.clear_ready();
        Ok(())
    }

    /// What was told since, in the order of time.
    ///
    /// # Errors
    /// The system's.
    pub fn take(&mut self) -> io::Result<Vec<Seen>> {
        let mut raw = Vec::new();
        for buffer in &mut self.watcher.buffers {
            buffer.for_each(|event| {
                // What is lost is counted where it is told.
                if let PerfEvent::Sample { head, tail } = event {
                    raw.push([head, tail].concat());
                }
            });
        }
        let mut seen: Vec<Seen> = raw.iter().filter_map(|bytes| self.seen(bytes)).collect();
        seen.sort_by_key(|one| one.at);
        Ok(seen)
    }

    /// What was counted.
    ///
    /// # Errors
    /// The map's.
    pub fn counted(&self) -> Result<Counted, MapError> {
        let counts = &self.watcher.counts;
        let sum = |index| -> Result<u64, MapError> { Ok(counts.get(&index, 0)?.iter().sum()) };
        Ok(Counted {
            passed: self.before.passed + sum(count::PASSED)?,
            lost: self.before.lost + sum(count::LOST)?,
            held: self.before.held + sum(count::HELD)?,
        })
    }

    /// Ends as a process does that is killed: the lock is gone, and nothing is put back.
    pub fn abandon(mut self) {
        self.watcher.number = 0;
    }

    /// The program that stands in for the other one, for test runs.
    ///
    /// # Errors
    /// [`ObjectError::Missing`].
    pub fn program(&mut self) -> Result<&mut Xdp, ObjectError> {
        program(&mut self.watcher.ebpf, PROGRAM)
    }

    /// One record in words.
    fn seen(&self, bytes: &[u8]) -> Option<Seen> {
        let record: Record = maps::value(bytes)?;
        let data = bytes.get(size_of::<Record>()..)?;
        let data = data.get(..record.captured as usize)?.to_vec();
        let Record { words, cpu, .. } = record;
        let answer = Answer(words[word::ANSWER]);
        let line = words[word::FLOW];
        let proto = (line >> flow::PROTO) as u8;
        let socket = |at: usize, first: u32| {
            let port = (line >> first) as u16;
            (line >> flow::VERSION & 0xff != 0)
                .then(|| SocketAddr::new(address([words[at], words[at + 1]]), port))
        };
        let backend = address([words[word::BACKEND], words[word::BACKEND + 1]]);
        Some(Seen {
            at: record.at,
            packet: u64::from(cpu) << 48 | record.number & ((1 << 48) - 1),
            after: record.side == side::AFTER,
            len: record.len,
            bytes: data,
            interface: words[word::INTERFACE] as u32,
            client: socket(word::CLIENT, flow::CLIENT_PORT),
            vip: socket(word::VIP, flow::PORT),
            proto,
            opens: answer.opens(),
            action: answer.action(),
            verdict: answer.verdict().map_or("unknown", |one| one.label()),
            service: self.service(answer.service()),
            backend: (!backend.is_unspecified()).then_some(backend),
        })
    }

    /// The name of the service with a number; where none is known, what clients send to.
    fn service(&self, number: u16) -> Option<String> {
        let vip = services(&self.watcher.tables)
            .find(|(one, _)| *one == number)?
            .1;
        Some(
            self.names
                .get(&vip)
                .cloned()
                .unwrap_or_else(|| vip.to_string()),
        )
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        if let Err(error) = self.watcher.give_back(&Pins::of(&self.bpffs)) {
            // The daemon does it then.
            tracing::warn!(%error, "the datapath's own program was not put back");
        }
    }
}

impl Watcher {
    fn load(
        pins: &Pins,
        what: What,
        filter: &Filter,
        names: &ServiceNames,
        interface: &dyn Fn(&str) -> Option<u32>,
    ) -> Result<Self, CaptureError> {
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
            What::Packets { snaplen } => rules.snaplen = snaplen.min(MOST),
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
    fn renew(&mut self) -> Result<(), MapError> {
        // It fails only for clocks that do not exist.
        let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from);
        self.until.set(0, (now + LEASE).as_nanos() as u64, 0)
    }

    /// Takes the place of the program behind all links; of how many where it was not there yet. None may be there for a moment: a
    /// daemon that starts puts its program behind the links before it pins it.
    fn take_place(&mut self, pins: &Pins) -> Result<usize, CaptureError> {
        let stands_for = self.stands_for;
        let code = program::<Xdp>(&mut self.ebpf, PROGRAM)?;
        exchange(code, pins, |behind| behind == stands_for)
    }

    /// Puts back the program that is pinned.
    fn give_back(&self, pins: &Pins) -> Result<(), CaptureError> {
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
fn lock(pins: &Pins) -> Result<File, CaptureError> {
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

fn pinned_program(pins: &Pins) -> Result<ProgramInfo, CaptureError> {
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

struct Known<'a> {
    tables: &'a Mapping,
    names: &'a ServiceNames,
    interface: &'a dyn Fn(&str) -> Option<u32>,
}

impl Names for Known<'_> {
    fn service(&self, name: &str) -> Option<(u16, Vip)> {
        services(self.tables).find(|(_, vip)| match self.names.get(vip) {
            Some(known) => known == name,
            None => vip.to_string() == name,
        })
    }

    fn interface(&self, name: &str) -> Option<u32> {
        (self.interface)(name)
    }
}

/// The services in the tables: their numbers, and what clients send to.
fn services(tables: &Mapping) -> impl Iterator<Item = (u16, Vip)> + '_ {
    tables.cells.iter().filter_map(|cell| {
        let tag = cell.tag.load();
        match Action::from_number((tag >> 32) as u32)? {
            Action::Steer | Action::Forward => {}
            Action::Fragments => return None,
        }
        let key = Key {
            hi: cell.hi.load(),
            lo: cell.lo.load(),
            tag: tag as u32,
        };
        let scope = key.scope();
        let ip = tables::address(key.hi, key.lo, if scope.is_v4() { 4 } else { 6 })?;
        let proto = match key.proto() {
            TCP => Proto::Tcp,
            UDP => Proto::Udp,
            _ => return None,
        };
        let port = u16::from_be(key.tag as u16);
        let number = About::unpack(cell.about.load()).number;
        let bits = scope.bits();
        (number != 0).then_some((
            number,
            Vip {
                ip,
                bits,
                port,
                proto,
            },
        ))
    })
}

/// An address out of its halves.
fn address([hi, lo]: [u64; 2]) -> IpAddr {
    let ip = std::net::Ipv6Addr::from_bits(u128::from(hi) << 64 | u128::from(lo));
    ip.to_ipv4_mapped().map_or(IpAddr::V6(ip), IpAddr::V4)
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
