//! Every map, and what only maps and helpers can do.

use core::ops::DerefMut;

use aya_ebpf::{
    bindings::{BPF_ANY, BPF_F_MMAPABLE, BPF_F_NO_PREALLOC, BPF_NOEXIST},
    helpers::bpf_ktime_get_coarse_ns,
    macros::map,
    maps::{Array, HashMap, LruHashMap, PerCpuArray, SockMap},
    programs::SkLookupContext,
};
use tollgate_common::{
    counter::Counter,
    fragment::{Fragment, FragmentKey},
    limits::{BACKENDS, FRAGMENTS as PIECES, LISTENERS, PINS as FLOWS, SERVICES, TRANSLATIONS},
    nat::{Translation, Tuple},
    pin::{Pin, PinKey, Told},
    service::{Action, Key},
    tables::Tables,
    verdict::Verdict,
};

use crate::{
    look::Seen,
    memory::{Memory, NETWORKS, share},
    nat::{Added, Room, Translations},
    pipeline::Outcome,
};

/// Services, backends, slots: written by user space through `mmap`.
#[map]
static TABLES: Array<Tables> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// Packets by [`Verdict`].
#[map]
static VERDICTS: PerCpuArray<u64> = PerCpuArray::with_max_entries(Verdict::ROOM as u32, 0);

/// Packets that went to no backend, by service and [`Verdict`], [`Verdict::ROOM`] of them for each service.
#[map]
static DROPS: PerCpuArray<u64> =
    PerCpuArray::with_max_entries(((SERVICES + 1) * Verdict::ROOM) as u32, 0);

/// Packets, bytes and connections by backend entry.
#[map]
static COUNTERS: PerCpuArray<Counter> = PerCpuArray::with_max_entries(BACKENDS as u32, 0);

/// The listeners' sockets by number.
#[map]
static SOCKETS: SockMap = SockMap::with_max_entries(LISTENERS as u32, 0);

/// The backends of flows that began in moving slots. Memory is taken as they come, so a node where nothing moves has none.
#[map]
static PINS: HashMap<PinKey, Pin> = HashMap::with_max_entries(FLOWS as u32, BPF_F_NO_PREALLOC);

/// Where the first fragments went; the packets that were longest silent are forgotten first.
#[map]
static FRAGMENTS: LruHashMap<FragmentKey, Fragment> =
    LruHashMap::with_max_entries(PIECES as u32, 0);

/// What each CPU has done in this second: pins, ICMP messages, first fragments noted, flows translated; then ICMP messages by
/// bucket of networks.
#[map]
static RATES: PerCpuArray<Rate> = PerCpuArray::with_max_entries(rate::BY_NETWORK + NETWORKS, 0);

/// Indices of [`RATES`].
mod rate {
    pub(super) const PINS: u32 = 0;
    pub(super) const TOLD: u32 = 1;
    pub(super) const NOTED: u32 = 2;
    pub(super) const BEGUN: u32 = 3;
    pub(super) const BY_NETWORK: u32 = 4;
}

/// How often something was done in a second.
#[repr(C)]
#[derive(Clone, Copy)]
struct Rate {
    second: u32,
    count: u32,
}

/// Room for what a closer look sees.
#[map]
static SEEN: PerCpuArray<Seen> = PerCpuArray::with_max_entries(1, 0);

/// What packets of translated flows become, by what they bear. Memory is taken as they come.
#[map]
static NAT: HashMap<Tuple, Translation> =
    HashMap::with_max_entries(TRANSLATIONS as u32, BPF_F_NO_PREALLOC);

/// Room for the packet that TC looks at.
#[map]
static NAT_ROOM: PerCpuArray<Room> = PerCpuArray::with_max_entries(1, 0);

/// The maps as the pipeline's memory.
#[derive(Clone, Copy)]
pub struct Maps;

impl Maps {
    #[inline(always)]
    fn within(index: u32, now: u32, limit: u32) -> bool {
        let Some(rate) = RATES.get_ptr_mut(index) else {
            return false;
        };
        // SAFETY: this CPU's own cell, and no program of this kind interrupts another on one CPU.
        unsafe {
            if (*rate).second != now {
                (*rate).second = now;
                (*rate).count = 0;
            }
            (*rate).count += 1;
            (*rate).count <= limit
        }
    }
}

impl Memory for Maps {
    #[inline(always)]
    fn now(&mut self) -> u32 {
        const NANOSECONDS: u64 = 1_000_000_000;
        // SAFETY: takes nothing and returns a number.
        (unsafe { bpf_ktime_get_coarse_ns() } / NANOSECONDS) as u32
    }

    #[inline(always)]
    fn recall(&mut self, key: &PinKey, told: Told, now: u32) -> Option<Pin> {
        let pin = PINS.get_ptr_mut(key)?;
        // SAFETY: a value of the map, which the kernel keeps for other elements of it alone while the program runs. Each
        // word is read and written by itself, aligned. Other CPUs may do so too, and the element may meanwhile be taken out
        // and become another flow's pin (since Linux 6.1 at once: bpf_mem_cache_free). Then this packet may go where that
        // flow goes, and that pin may get a second, a SYN's number or bits that are not its own. It never gets another
        // backend: that word is not written here.
        unsafe {
            let before = Pin {
                backend: (&raw const (*pin).backend).read_volatile(),
                seen: (&raw const (*pin).seen).read_volatile(),
                isn: (&raw const (*pin).isn).read_volatile(),
                flags: (&raw const (*pin).flags).read_volatile(),
            };
            let after = before.noted(told, now);
            // Most often they say so already, and a store would take the cache line from other CPUs.
            if after.seen != before.seen {
                (&raw mut (*pin).seen).write_volatile(after.seen);
            }
            if after.isn != before.isn {
                (&raw mut (*pin).isn).write_volatile(after.isn);
            }
            if after.flags != before.flags {
                (&raw mut (*pin).flags).write_volatile(after.flags);
            }
            Some(after)
        }
    }

    #[inline(always)]
    fn pin(&mut self, key: &PinKey, pin: Pin, replace: bool) -> bool {
        let flags = if replace { BPF_ANY } else { BPF_NOEXIST };
        PINS.insert(key, pin, u64::from(flags)).is_ok()
    }

    #[inline(always)]
    fn may_pin(&mut self, now: u32, limit: u32) -> bool {
        Self::within(rate::PINS, now, limit)
    }

    #[inline(always)]
    fn may_begin(&mut self, now: u32, limit: u32) -> bool {
        Self::within(rate::BEGUN, now, limit)
    }

    #[inline(always)]
    fn may_tell(&mut self, now: u32, limit: u32, network: u32) -> bool {
        // First the bucket: what it refuses is nothing that the others have less.
        let bucket = rate::BY_NETWORK + network % NETWORKS;
        Self::within(bucket, now, share(limit)) && Self::within(rate::TOLD, now, limit)
    }

    #[inline(always)]
    fn may_note(&mut self, now: u32, limit: u32) -> bool {
        Self::within(rate::NOTED, now, limit)
    }

    #[inline(always)]
    fn piece(&mut self, key: &FragmentKey) -> Option<Fragment> {
        // SAFETY: copied at once; an element that was replaced meanwhile gives another fragment's backend, and a
        // fragment that went astray is no worse than a lost one.
        unsafe { FRAGMENTS.get(key) }.copied()
    }

    #[inline(always)]
    fn note_piece(&mut self, key: &FragmentKey, fragment: Fragment) {
        // Without it the later ones are dropped, and counted.
        let _noted = FRAGMENTS.insert(key, fragment, u64::from(BPF_ANY));
    }

    #[inline(always)]
    fn seen(&mut self) -> Option<impl DerefMut<Target = Seen>> {
        // SAFETY: this CPU's own cell, taken once for each packet; any bytes are a `Seen`.
        SEEN.get_ptr_mut(0).map(|seen| unsafe { &mut *seen })
    }
}

/// The translations.
#[derive(Clone, Copy)]
pub struct Flows;

impl Translations for Flows {
    #[inline(always)]
    fn recall(self, key: &Tuple, told: Told, now: u32, into: &mut Translation) -> bool {
        let Some(way) = NAT.get_ptr_mut(key) else {
            return false;
        };
        // SAFETY: a value of the map, which the kernel keeps for other elements of it alone while the program runs. What of it
        // changes are aligned words, each read and written by itself; other CPUs may do so too. The element may meanwhile
        // become another flow's, as one of the pins may: this packet then goes where that flow goes.
        unsafe {
            *into = *way;
            if told != Told::ERROR {
                let flags = into.flags_after(key.proto(), told.tcp_flags());
                // Most often they say so already, and a store would take the cache line from other CPUs.
                if flags != into.flags {
                    (&raw mut (*way).flags).write_volatile(flags);
                }
                if now != into.seen {
                    (&raw mut (*way).seen).write_volatile(now);
                }
                into.flags = flags;
                into.seen = now;
            }
        }
        true
    }

    #[inline(always)]
    fn add(self, key: &Tuple, translation: &Translation) -> Added {
        const EEXIST: i32 = -17;
        match NAT.insert(key, translation, u64::from(BPF_NOEXIST)) {
            Ok(()) => Added::Yes,
            Err(EEXIST) => Added::Taken,
            Err(_) => Added::Full,
        }
    }

    #[inline(always)]
    fn remove(self, key: &Tuple) {
        // It may be gone already.
        let _removed = NAT.remove(key);
    }
}

/// Room for the packet that TC looks at.
#[inline(always)]
pub fn nat_room() -> Option<&'static mut Room> {
    // SAFETY: this CPU's own cell, taken once for each packet; any bytes are a `Room`.
    NAT_ROOM.get_ptr_mut(0).map(|room| unsafe { &mut *room })
}

/// Counts what TC has decided about: `pieces` packets that came in as one.
#[inline(always)]
pub fn count_translated(verdict: u32, room: &Room, pieces: u32) {
    if let Some(cell) = VERDICTS.get_ptr_mut(verdict) {
        // SAFETY: this CPU's own cell. A packet of XDP's may interrupt nothing here: both run with softirqs off.
        unsafe { *cell += u64::from(pieces) };
    }
    if verdict == Verdict::Translated as u32 {
        if let Some(cell) = COUNTERS.get_ptr_mut(u32::from(room.way.id())) {
            // SAFETY: as above.
            unsafe {
                (*cell).packets += u64::from(pieces);
                (*cell).bytes += u64::from(room.seen.len);
                (*cell).flows += u64::from(room.opens);
            }
        }
    } else if verdict != Verdict::Answered as u32 && room.service != 0 {
        drop_of(room.service as u16, verdict);
    }
}

/// The tables. They are always there; the verifier wants to be told what else would happen.
#[inline(always)]
pub fn tables() -> Option<&'static Tables> {
    TABLES.get(0)
}

/// Counts a packet.
#[inline(always)]
pub fn count(outcome: Outcome) {
    if let Some(cell) = VERDICTS.get_ptr_mut(outcome.number()) {
        // SAFETY: this CPU's own cell, and no program of this kind interrupts another on one CPU.
        unsafe { *cell += 1 };
    }
    if outcome.entry() != 0
        && let Some(cell) = COUNTERS.get_ptr_mut(u32::from(outcome.entry()))
    {
        // SAFETY: as above.
        unsafe {
            (*cell).packets += 1;
            (*cell).bytes += u64::from(outcome.bytes());
            if outcome.opens() {
                (*cell).flows += 1;
            }
        }
    }
    if outcome.service() != 0 {
        drop_of(outcome.service(), outcome.number());
    }
}

/// Counts what became of a packet for a service and went to none of its backends.
#[inline(never)]
fn drop_of(service: u16, verdict: u32) {
    let index = u32::from(service) * Verdict::ROOM as u32 + verdict;
    if let Some(cell) = DROPS.get_ptr_mut(index) {
        // SAFETY: as above.
        unsafe { *cell += 1 };
    }
}

/// What the tables say about a connection that looks for its socket.
pub enum Lookup {
    /// Nothing.
    NotOurs,
    /// It belongs to the listener with this number.
    Listener(u32),
    /// It belongs to a forwarded service: no socket here may answer.
    Forwarded,
}

/// Looks up the destination of a connection.
#[inline(always)]
pub fn steer_of(ctx: &SkLookupContext) -> Lookup {
    let Some(tables) = tables() else {
        return Lookup::NotOurs;
    };
    let Some(key) = key_of(ctx) else {
        return Lookup::NotOurs;
    };
    match tables.find(key) {
        None => Lookup::NotOurs,
        Some((cell, action)) if action == Action::Steer as u32 => {
            Lookup::Listener((cell.steer.load() >> 32) as u32)
        }
        Some(_) => Lookup::Forwarded,
    }
}

#[inline(always)]
fn key_of(ctx: &SkLookupContext) -> Option<Key> {
    const AF_INET: u32 = 2;
    const AF_INET6: u32 = 10;

    let lookup = ctx.lookup;
    // The verifier takes loads of this context by the field only; LLVM would join two of them.
    macro_rules! field {
        ($($path:tt)+) => {
            // SAFETY: a field of the context that the kernel gave, checked again by the verifier.
            unsafe { (&raw const (*lookup).$($path)+).read_volatile() }
        };
    }
    let port = (field!(local_port) as u16).to_be();
    let proto = field!(protocol) as u8;
    match field!(family) {
        AF_INET => Some(Key::v4(field!(local_ip4), port, proto)),
        AF_INET6 => {
            let hi = u64::from(field!(local_ip6[0])) | u64::from(field!(local_ip6[1])) << 32;
            let lo = u64::from(field!(local_ip6[2])) | u64::from(field!(local_ip6[3])) << 32;
            Some(Key::v6(hi, lo, port, proto))
        }
        _ => None,
    }
}

/// Gives the connection to the socket of a listener. False: there is none.
#[inline(always)]
pub fn assign(ctx: &SkLookupContext, listener: u32) -> bool {
    // No BPF_SK_LOOKUP_F_NO_REUSEPORT: the kernel spreads over the whole reuseport group of the socket.
    SOCKETS.redirect_sk_lookup(ctx, listener, 0).is_ok()
}
