//! How little a packet could cost: balancers that lack most of what one has to do.

use aya_ebpf::{
    bindings::{
        BPF_ANY,
        xdp_action::{XDP_DROP, XDP_PASS, XDP_TX},
    },
    helpers::bpf_xdp_adjust_head,
    macros::{map, xdp},
    maps::{Array, LruHashMap, PerCpuArray},
    programs::XdpContext,
};
use tollgate_bench_ebpf::{BACKENDS, SLOTS};

/// Flows that the floor with a flow table remembers: twice the largest number that is measured.
const FLOWS: u32 = 1 << 21;

#[map]
static RING: Array<u32> = Array::with_max_entries(SLOTS, 0);

/// Address and flags.
#[map]
static REALS: Array<[u32; 5]> = Array::with_max_entries(BACKENDS, 0);

/// Packets and bytes.
#[map]
static COUNTERS: PerCpuArray<[u64; 2]> = PerCpuArray::with_max_entries(BACKENDS, 0);

#[map]
static LRU: LruHashMap<[u32; 4], [u64; 2]> = LruHashMap::with_max_entries(FLOWS, 0);

/// What of a packet the floors look at; addresses by their last 32 bits, all as they load.
struct Seen {
    source: u32,
    destination: u32,
    ports: u32,
    proto: u32,
    len: u16,
    opens: bool,
}

/// Without a flow table: parse, slot, backend, counter, outer IPv4 header. It looks up no service.
#[xdp(frags)]
fn stateless(ctx: XdpContext) -> u32 {
    let mut seen = Seen::none();
    if !parse(&ctx, &mut seen) {
        return XDP_PASS;
    }
    let Some(&backend) = RING.get(seen.slot()) else {
        return XDP_DROP;
    };
    send(&ctx, &seen, backend)
}

/// The same with a table of flows, the longest silent of which is forgotten. For IPv4.
#[xdp(frags)]
fn lru(ctx: XdpContext) -> u32 {
    let mut seen = Seen::none();
    if !parse(&ctx, &mut seen) {
        return XDP_PASS;
    }
    let key = [seen.source, seen.destination, seen.ports, seen.proto];
    let known = if seen.opens { None } else { LRU.get_ptr(key) };
    let backend = match known {
        // SAFETY: a value of the map, which is preallocated.
        Some(flow) => unsafe { (*flow)[0] as u32 },
        None => {
            let Some(&backend) = RING.get(seen.slot()) else {
                return XDP_DROP;
            };
            // A flow that finds no room is as good as any other here.
            let _inserted = LRU.insert(key, [u64::from(backend), 0], u64::from(BPF_ANY));
            backend
        }
    };
    send(&ctx, &seen, backend)
}

impl Seen {
    #[inline(always)]
    const fn none() -> Self {
        Self {
            source: 0,
            destination: 0,
            ports: 0,
            proto: 0,
            len: 0,
            opens: false,
        }
    }

    #[inline(always)]
    const fn slot(&self) -> u32 {
        let mut mixed = self.source ^ self.ports.wrapping_mul(0x9e37_79b1);
        mixed = mixed.rotate_left(15).wrapping_mul(0x85eb_ca77) ^ self.destination;
        mixed = (mixed ^ mixed >> 15).wrapping_mul(0xc2b2_ae3d);
        mixed ^= mixed >> 13;
        ((mixed as u64 * SLOTS as u64) >> 32) as u32
    }
}

const ETHERNET: usize = 14;
const IPV4: usize = 20;
const IPV6: usize = 40;
const TCP: u32 = 6;
const UDP: u32 = 17;

/// Reads an integer at a place in the frame that was checked to be there.
macro_rules! at {
    ($data:expr, $at:expr, $int:ty) => {
        // SAFETY: inside the frame (checked before, and again by the verifier).
        unsafe { (($data + $at) as *const $int).read_unaligned() }
    };
}

#[inline(always)]
fn parse(ctx: &XdpContext, seen: &mut Seen) -> bool {
    const V4: u16 = 0x0800_u16.to_be();
    const V6: u16 = 0x86dd_u16.to_be();
    /// `MF` and the offset.
    const FRAGMENT: u16 = 0x3fff_u16.to_be();
    const SYN: u8 = 2;

    let (data, end) = (ctx.data(), ctx.data_end());
    if data + ETHERNET > end {
        return false;
    }
    let l4 = match at!(data, 12, u16) {
        V4 => {
            if data + ETHERNET + IPV4 > end
                || at!(data, 14, u8) & 0xf != 5
                || at!(data, 20, u16) & FRAGMENT != 0
            {
                return false;
            }
            seen.source = at!(data, 26, u32);
            seen.destination = at!(data, 30, u32);
            seen.proto = u32::from(at!(data, 23, u8));
            seen.len = u16::from_be(at!(data, 16, u16));
            data + ETHERNET + IPV4
        }
        V6 => {
            if data + ETHERNET + IPV6 > end {
                return false;
            }
            seen.source = at!(data, 34, u32);
            seen.destination = at!(data, 50, u32);
            seen.proto = u32::from(at!(data, 20, u8));
            seen.len = u16::from_be(at!(data, 18, u16));
            data + ETHERNET + IPV6
        }
        _ => return false,
    };
    match seen.proto {
        TCP => {
            if l4 + 20 > end {
                return false;
            }
            seen.opens = at!(l4, 13, u8) & SYN != 0;
        }
        UDP => {
            if l4 + 8 > end {
                return false;
            }
        }
        _ => return false,
    }
    seen.ports = at!(l4, 0, u32);
    true
}

#[inline(always)]
fn send(ctx: &XdpContext, seen: &Seen, backend: u32) -> u32 {
    let Some(real) = REALS.get(backend) else {
        return XDP_DROP;
    };
    let Some(counter) = COUNTERS.get_ptr_mut(0) else {
        return XDP_DROP;
    };
    // SAFETY: this CPU's own cell, and no program of this kind interrupts another on one CPU.
    unsafe {
        (*counter)[0] += 1;
        (*counter)[1] += u64::from(seen.len);
    }
    encapsulate(ctx, real[0], seen.len)
}

#[inline(always)]
fn encapsulate(ctx: &XdpContext, to: u32, len: u16) -> u32 {
    const FROM: u32 = u32::from_le_bytes([172, 16, 0, 1]);
    const NEXT: [u8; 6] = [2, 0, 0, 0, 0, 9];

    // SAFETY: the context is the one that the kernel gave; the frame's bounds are read anew.
    if unsafe { bpf_xdp_adjust_head(ctx.ctx, -(IPV4 as i32)) } != 0 {
        return XDP_DROP;
    }
    let data = ctx.data();
    if data + ETHERNET + 2 * IPV4 > ctx.data_end() {
        return XDP_DROP;
    }
    let words = [
        (0x4500_0000 | (u32::from(len) + IPV4 as u32) & 0xffff).to_be(),
        0,
        0x4004_0000_u32.to_be(),
        FROM,
        to,
    ];
    let mut sum = 0;
    for word in words {
        sum += u64::from(word);
    }
    sum = (sum & 0xffff_ffff) + (sum >> 32);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    // SAFETY: inside the frame (checked above, and again by the verifier).
    unsafe {
        let own = ((data + 20) as *const u32).read_unaligned();
        let own_end = ((data + 24) as *const u16).read_unaligned();
        (data as *mut [u8; 6]).write_unaligned(NEXT);
        ((data + 6) as *mut u32).write_unaligned(own);
        ((data + 10) as *mut u16).write_unaligned(own_end);
        ((data + 12) as *mut u16).write_unaligned(0x0800_u16.to_be());
        let ip = (data + ETHERNET) as *mut u32;
        for (at, word) in words.into_iter().enumerate() {
            ip.add(at).write_unaligned(word);
        }
        ((data + ETHERNET + 10) as *mut u16).write_unaligned(!sum as u16);
    }
    XDP_TX
}
