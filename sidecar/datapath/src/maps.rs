//! Typed handles on the maps. The only file of this crate with `unsafe`: shared memory is mapped here, and whoever
//! has mapped it sees a `&Tables` whose every word is an atomic.

use std::{
    collections::BTreeMap,
    num::NonZeroUsize,
    ops::Deref,
    os::fd::{AsFd, AsRawFd as _, BorrowedFd},
    ptr::NonNull,
    time::{SystemTime, UNIX_EPOCH},
};

use aya::maps::{HashMap, MapData, MapError, PerCpuArray, SockMap};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};
use tollgate_common::{
    counter::Counter,
    limits::LAYOUT,
    nat::{Translation, Tuple},
    pin::{Pin, PinKey},
    tables::{Guards, MAGIC, Tables},
    verdict::Verdict,
};

/// The flood guards: what a new flow costs the slow way, times so many, is a small part of a CPU's second.
const GUARDS: Guards = Guards {
    pins: 65_536,
    icmp: 1_000,
};

/// As many first fragments each CPU notes in a second; each costs half of what a pin does.
const FRAGMENTS: u64 = 65_536;

/// As many flows each CPU begins to translate in a second; each costs what two pins do.
const FLOWS: u64 = 65_536;

/// The tables in memory: the kernel's, or some of our own to try things on.
#[derive(Debug)]
pub struct Mapping(NonNull<Tables>);

// SAFETY: it owns the mapping, and what is in it are atomics only.
unsafe impl Send for Mapping {}
// SAFETY: as above; atomics are shared by `&`.
unsafe impl Sync for Mapping {}

/// The least that the kernel rounds a mapping to.
const LEN: NonZeroUsize = {
    const PAGE: usize = 4096;
    match NonZeroUsize::new(size_of::<Tables>().next_multiple_of(PAGE)) {
        Some(len) => len,
        None => panic!("the tables are not empty"),
    }
};

impl Mapping {
    /// Maps the array of tables that belongs to `map`.
    ///
    /// # Errors
    /// The kernel's: `EPERM` if the map is not `BPF_F_MMAPABLE`, `EINVAL` if it is smaller.
    pub fn of(map: BorrowedFd<'_>) -> nix::Result<Self> {
        let rw = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping of whole pages; the kernel refuses one that is longer than the map.
        let memory = unsafe { mmap(None, LEN, rw, MapFlags::MAP_SHARED, map, 0) }?;
        Ok(Self(memory.cast()))
    }

    /// Tables that no kernel looks at, all zero.
    ///
    /// # Errors
    /// The kernel's, if there is no memory.
    pub fn private() -> nix::Result<Self> {
        let rw = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new anonymous mapping.
        let memory = unsafe { mmap_anonymous(None, LEN, rw, MapFlags::MAP_PRIVATE) }?;
        Ok(Self(memory.cast()))
    }

    /// Whether whoever made the map meant the same by its bytes.
    #[must_use]
    pub fn is_of_this_layout(&self) -> bool {
        self.magic.load() == MAGIC && self.layout.load() == u64::from(LAYOUT)
    }

    /// Lets packets make no pins from here on: a flow that begins in a slot that moves goes where those from before go, which
    /// needs none. So nobody who reads the pins misses one. [`sign`](Self::sign) lets them again. Flows are translated as before.
    pub fn pause_pins(&self) {
        let guards = Guards::unpack(self.guards.load());
        self.guards.store(Guards { pins: 0, ..guards }.pack());
    }

    /// Says what the bytes of this map mean, if it is new.
    pub fn sign(&self) {
        self.guards.store(GUARDS.pack());
        self.fragments.store(FRAGMENTS);
        self.flows.store(FLOWS);
        if !self.is_of_this_layout() {
            let now = SystemTime::now().duration_since(UNIX_EPOCH);
            self.made.store(now.map_or(0, |now| now.as_secs()));
            self.layout.store(u64::from(LAYOUT));
            self.magic.store(MAGIC);
        }
    }
}

impl Deref for Mapping {
    type Target = Tables;

    fn deref(&self) -> &Tables {
        // SAFETY: mapped for as long as self lives, page-aligned, of at least that size; all-zero and any other bytes
        // are valid, every field being an atomic integer.
        unsafe { self.0.as_ref() }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping that `of` or `private` made, and no borrow of it is left.
        let unmapped = unsafe { munmap(self.0.cast(), LEN.get()) };
        debug_assert!(unmapped.is_ok(), "unmapping what was mapped");
    }
}

/// Waits until no packet is being processed that may have seen the tables as they were before.
///
/// `MEMBARRIER_CMD_GLOBAL` is `synchronize_rcu` in the kernel (membarrier(2)), and XDP programs run inside RCU
/// read-side sections.
///
/// # Errors
/// The kernel's, if it was built without membarrier or runs nohz_full CPUs; wait some milliseconds instead then.
pub fn grace() -> nix::Result<()> {
    const MEMBARRIER_CMD_GLOBAL: nix::libc::c_int = 1;
    // SAFETY: takes numbers only.
    let result =
        unsafe { nix::libc::syscall(nix::libc::SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) };
    nix::errno::Errno::result(result).map(drop)
}

/// A value of the shared layout, out of bytes that the kernel copied; `None`: they are too few.
pub(crate) fn value<T: aya::Pod>(bytes: &[u8]) -> Option<T> {
    // SAFETY: there are as many bytes, and any are good for a `Pod`.
    (bytes.len() >= size_of::<T>()).then(|| unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
}

/// What is counted.
pub struct Counters {
    verdicts: PerCpuArray<MapData, u64>,
    entries: PerCpuArray<MapData, Counter>,
    drops: PerCpuArray<MapData, u64>,
}

impl Counters {
    pub(crate) fn new(
        verdicts: PerCpuArray<MapData, u64>,
        entries: PerCpuArray<MapData, Counter>,
        drops: PerCpuArray<MapData, u64>,
    ) -> Self {
        Self {
            verdicts,
            entries,
            drops,
        }
    }

    /// Packets by verdict, over all CPUs.
    ///
    /// # Errors
    /// The map's.
    pub fn verdicts(&self) -> Result<BTreeMap<Verdict, u64>, MapError> {
        Verdict::ALL
            .into_iter()
            .map(|verdict| {
                let values = self.verdicts.get(&(verdict as u32), 0)?;
                Ok((verdict, values.iter().sum()))
            })
            .collect()
    }

    /// What a backend entry has counted, over all CPUs.
    ///
    /// # Errors
    /// The map's.
    pub fn entry(&self, id: u16) -> Result<Counter, MapError> {
        let values = self.entries.get(&u32::from(id), 0)?;
        Ok(values.iter().fold(Counter::default(), |sum, one| Counter {
            packets: sum.packets.wrapping_add(one.packets),
            bytes: sum.bytes.wrapping_add(one.bytes),
            flows: sum.flows.wrapping_add(one.flows),
            reserved: 0,
        }))
    }

    /// Packets for a service that went to none of its backends, by verdict, over all CPUs; those of which there were any.
    ///
    /// # Errors
    /// The map's.
    pub fn drops(&self, service: u16) -> Result<BTreeMap<Verdict, u64>, MapError> {
        let mut drops = BTreeMap::new();
        for verdict in Verdict::ALL {
            let count = self.drops.get(&drop_index(service, verdict as usize), 0)?;
            let count: u64 = count.iter().sum();
            if count > 0 {
                drops.insert(verdict, count);
            }
        }
        Ok(drops)
    }

    /// Lets what a service drops be counted from zero: its number goes to another one.
    ///
    /// # Errors
    /// The map's.
    pub fn reset_drops(&mut self, service: u16) -> Result<(), MapError> {
        for verdict in 0..Verdict::ROOM {
            let index = drop_index(service, verdict);
            let cpus = self.drops.get(&index, 0)?.len();
            self.drops.set(index, per_cpu(vec![0; cpus])?, 0)?;
        }
        Ok(())
    }

    /// Lets an entry count from zero: its number goes to another backend.
    ///
    /// # Errors
    /// The map's.
    pub fn reset(&mut self, id: u16) -> Result<(), MapError> {
        let cpus = self.entries.get(&u32::from(id), 0)?.len();
        let zero = per_cpu(vec![Counter::default(); cpus])?;
        self.entries.set(u32::from(id), zero, 0)
    }
}

fn drop_index(service: u16, verdict: usize) -> u32 {
    u32::from(service) * Verdict::ROOM as u32 + verdict as u32
}

fn per_cpu<T: aya::Pod>(values: Vec<T>) -> Result<aya::maps::PerCpuValues<T>, MapError> {
    aya::maps::PerCpuValues::try_from(values).map_err(|io_error| {
        MapError::SyscallError(aya::sys::SyscallError {
            call: "possible CPUs",
            io_error,
        })
    })
}

/// The pins.
pub struct Pinned(HashMap<MapData, PinKey, Pin>);

impl Pinned {
    pub(crate) fn new(map: HashMap<MapData, PinKey, Pin>) -> Self {
        Self(map)
    }

    /// A flow's pin.
    ///
    /// # Errors
    /// The map's; one that is not there is none.
    pub fn get(&self, key: &PinKey) -> Result<Option<Pin>, MapError> {
        match self.0.get(key, 0) {
            Ok(pin) => Ok(Some(pin)),
            Err(MapError::KeyNotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All pins. Those that come or go meanwhile may be missed.
    ///
    /// # Errors
    /// The map's.
    pub fn all(&self) -> Result<Vec<(PinKey, Pin)>, MapError> {
        self.0.iter().collect()
    }

    /// Puts in the pin of a flow that other maps know.
    ///
    /// # Errors
    /// The map's; also that it is full.
    pub fn put(&mut self, key: &PinKey, pin: Pin) -> Result<(), MapError> {
        self.0.insert(key, pin, 0)
    }

    /// The same; what cannot be read is none, with a warning in the log.
    pub(crate) fn find(&self, key: &PinKey) -> Option<Pin> {
        self.get(key).unwrap_or_else(|error| {
            tracing::warn!(%error, "a pin was not read");
            None
        })
    }

    /// Takes out what is not to be kept; returns how many are left. Pins that come or go meanwhile may be missed. A pin that is
    /// not to be kept is asked about once more right before it goes: packets may have changed it since, or put another one in
    /// its place. What they do between that and its end is lost with it.
    ///
    /// # Errors
    /// The map's.
    pub fn retain(
        &mut self,
        mut keep: impl FnMut(&PinKey, &Pin) -> bool,
    ) -> Result<usize, MapError> {
        let (mut gone, mut left) = (Vec::new(), 0);
        for pin in self.0.iter() {
            let (key, pin) = pin?;
            if keep(&key, &pin) {
                left += 1;
            } else {
                gone.push(key);
            }
        }
        for key in gone {
            match self.get(&key)? {
                Some(pin) if keep(&key, &pin) => {
                    left += 1;
                    continue;
                }
                Some(_) => {}
                None => continue,
            }
            match self.0.remove(&key) {
                Ok(()) | Err(MapError::KeyNotFound) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(left)
    }
}

/// The translations.
pub struct Translated(HashMap<MapData, Tuple, Translation>);

impl Translated {
    pub(crate) fn new(map: HashMap<MapData, Tuple, Translation>) -> Self {
        Self(map)
    }

    /// What packets that bear this become.
    ///
    /// # Errors
    /// The map's; one that is not there is none.
    pub fn get(&self, key: &Tuple) -> Result<Option<Translation>, MapError> {
        match self.0.get(key, 0) {
            Ok(translation) => Ok(Some(translation)),
            Err(MapError::KeyNotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The same; what cannot be read is none, with a warning in the log.
    pub(crate) fn find(&self, key: &Tuple) -> Option<Translation> {
        self.get(key).unwrap_or_else(|error| {
            tracing::warn!(%error, "a translation was not read");
            None
        })
    }

    /// All of them. Those that come or go meanwhile may be missed.
    pub fn iter(&self) -> impl Iterator<Item = Result<(Tuple, Translation), MapError>> + '_ {
        self.0.iter()
    }

    /// Puts in one that other maps have.
    ///
    /// # Errors
    /// The map's; also that it is full.
    pub fn put(&mut self, key: &Tuple, translation: Translation) -> Result<(), MapError> {
        self.0.insert(key, translation, 0)
    }

    /// Takes one out; whether it was there.
    ///
    /// # Errors
    /// The map's.
    pub fn remove(&mut self, key: &Tuple) -> Result<bool, MapError> {
        match self.0.remove(key) {
            Ok(()) => Ok(true),
            Err(MapError::KeyNotFound) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Second of the monotonic clock, as packets see it (`bpf_ktime_get_coarse_ns`).
#[must_use]
pub fn second() -> u32 {
    use nix::time::{ClockId, clock_gettime};
    // It fails only for clocks that do not exist.
    clock_gettime(ClockId::CLOCK_MONOTONIC_COARSE).map_or(0, |time| time.tv_sec() as u32)
}

/// The listeners' sockets, by number.
pub struct Sockets(SockMap<MapData>);

impl Sockets {
    pub(crate) fn new(map: SockMap<MapData>) -> Self {
        Self(map)
    }

    /// Puts a socket at a number; what stood there goes.
    ///
    /// # Errors
    /// The map's: `EOPNOTSUPP` for a socket that does not listen.
    pub fn set(&mut self, number: u32, socket: BorrowedFd<'_>) -> Result<(), MapError> {
        self.0.set(number, &socket.as_fd().as_raw_fd(), 0)
    }

    /// Takes the socket of a number out, if there is one.
    ///
    /// # Errors
    /// The map's.
    pub fn clear(&mut self, number: u32) -> Result<(), MapError> {
        self.0.clear_index(&number)
    }
}
