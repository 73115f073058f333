//! Checks of backends by the way of clients' packets, an object of its own: it has none of the balancer's tables.
//!
//! The daemon connects to the backend's own address with the mark of its entry. What leaves is sent to the VIP instead, inside
//! the header that clients' packets get; what comes back from the VIP seems to come from the backend. So neither routes nor
//! neighbours have to know the VIP, and no answer looks forged where the VIP is the host's.
#![no_std]
#![no_main]

use aya_ebpf::{
    bindings::{
        __sk_buff, BPF_F_ADJ_ROOM_ENCAP_L3_IPV4, BPF_F_ADJ_ROOM_ENCAP_L4_UDP, BPF_F_NO_PREALLOC,
        BPF_F_PSEUDO_HDR, bpf_adj_room_mode::BPF_ADJ_ROOM_MAC,
    },
    helpers::{
        bpf_ktime_get_coarse_ns, bpf_l3_csum_replace, bpf_l4_csum_replace, bpf_skb_adjust_room,
        bpf_skb_store_bytes,
    },
    macros::{classifier, map},
    maps::{HashMap, LruHashMap},
    programs::TcContext,
};
use tollgate_common::{
    backend::{ETHERNET, IPV4, Kind},
    check::{ADDRESSES, CONNECTIONS, Connection, Flow, KIND, TURNED, WAYS, Way},
    service::TCP,
};
use tollgate_ebpf::check::{BEFORE, LONGEST, outer};

/// What is done to checks, by their mark.
#[map]
static CHECKS: HashMap<u32, Way> = HashMap::with_max_entries(WAYS, BPF_F_NO_PREALLOC);

/// A [`Flow`], by the connection as its answers have it.
#[map]
static FLOWS: LruHashMap<Connection, u64> = LruHashMap::with_max_entries(CONNECTIONS, 0);

/// What is left to the other programs of the interface; with none it goes on.
const UNSPEC: i32 = -1;
const SHOT: i32 = 2;

const V4: u16 = 0x0800_u16.to_be();
const LENGTH: usize = ETHERNET + 2;
const PROTOCOL: usize = ETHERNET + 9;
const IP_CHECKSUM: usize = ETHERNET + 10;
const SOURCE: usize = ETHERNET + 12;
const DESTINATION: usize = ETHERNET + 16;
const PORTS: usize = ETHERNET + IPV4;
const FLAGS: usize = ETHERNET + IPV4 + 13;
const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const TCP_CHECKSUM: usize = ETHERNET + IPV4 + 16;

/// Every packet that leaves by an interface: those of checks go to the VIP, by the way of clients' packets.
#[classifier]
fn tollgate_check_out(ctx: TcContext) -> i32 {
    // SAFETY: a field of the context that the kernel gave.
    let mark = unsafe { (*ctx.skb.skb).mark };
    if mark == 0 {
        return UNSPEC;
    }
    let Some(way) = CHECKS.get_ptr_mut(mark) else {
        return UNSPEC;
    };
    // SAFETY: the words before the last one are copied where they are used, and an entry is replaced as a whole.
    match send(&ctx, unsafe { &*way }) {
        Some(()) => {
            // SAFETY: the last word is inside the value. A check sends from one CPU at a time; what is asked is whether it grew.
            unsafe {
                let turned = way.cast::<u64>().add(TURNED);
                turned.write_volatile(turned.read_volatile() + 1);
            }
            // Once is enough: the device below (of a VLAN) may have the program too, as may another daemon.
            // SAFETY: a field of the context that the kernel gave; programs at TC may write it.
            unsafe { (&raw mut (*ctx.skb.skb).mark).write_volatile(0) };
            UNSPEC
        }
        // Half of a way would tell nothing of the backend.
        None => SHOT,
    }
}

/// Every packet that comes in by an interface: answers to checks come from the backend.
#[classifier]
fn tollgate_check_in(ctx: TcContext) -> i32 {
    match receive(&ctx) {
        Some(()) | None => UNSPEC,
    }
}

#[inline(always)]
fn send(ctx: &TcContext, way: &Way) -> Option<()> {
    let (vip, backend) = (way[ADDRESSES] as u32, (way[ADDRESSES] >> 32) as u32);
    if !is_tcp(ctx) || ctx.load::<u32>(DESTINATION).ok()? != backend {
        return None;
    }
    let source = ctx.load::<u32>(SOURCE).ok()?;
    let ports = ctx.load::<u32>(PORTS).ok()?;
    let connection = [vip, source, ports.rotate_left(16)];
    remember(&connection, backend, ctx.load::<u8>(FLAGS).ok()?)?;
    replace(ctx, DESTINATION, backend, vip)?;
    let (is_gue, room, flags) = match Kind::from_number(way[KIND] as u8)? {
        Kind::L2 => return Some(()),
        Kind::Ipip4 => (false, IPV4, BPF_F_ADJ_ROOM_ENCAP_L3_IPV4),
        Kind::Gue4 => (
            true,
            LONGEST,
            BPF_F_ADJ_ROOM_ENCAP_L3_IPV4 | BPF_F_ADJ_ROOM_ENCAP_L4_UDP,
        ),
        Kind::Ipip6 | Kind::Gue6 | Kind::Nat => return None,
    };
    let len = u16::from_be(ctx.load::<u16>(LENGTH).ok()?);
    let skb = ctx.skb.skb;
    // SAFETY: the context is the one that the kernel gave.
    let grown = unsafe { bpf_skb_adjust_room(skb, room as i32, BPF_ADJ_ROOM_MAC, flags.into()) };
    if grown != 0 {
        return None;
    }
    let words = outer(way, len, (ports ^ ports >> 16) as u16, is_gue);
    let head = (&raw const words).cast::<u8>().wrapping_add(BEFORE);
    // SAFETY: as above; the longest header and what is before it lie inside the words.
    let stored = unsafe { bpf_skb_store_bytes(skb, ETHERNET as u32, head.cast(), room as u32, 0) };
    (stored == 0).then_some(())
}

#[inline(always)]
fn receive(ctx: &TcContext) -> Option<()> {
    if !is_tcp(ctx) {
        return None;
    }
    let vip = ctx.load::<u32>(SOURCE).ok()?;
    let connection = [
        vip,
        ctx.load::<u32>(DESTINATION).ok()?,
        ctx.load::<u32>(PORTS).ok()?,
    ];
    // SAFETY: the value is copied at once.
    let flow = Flow::unpack(unsafe { FLOWS.get(connection) }.copied()?);
    if flow.until < now() {
        // It may be another connection of the node's by now, to the VIP itself.
        return None;
    }
    if ctx.load::<u8>(FLAGS).ok()? & RST != 0 {
        let _ = FLOWS.remove(connection).is_ok();
    }
    replace(ctx, SOURCE, vip, flow.backend)
}

/// Lets answers of a connection be known, by the flags of what leaves.
#[inline(always)]
fn remember(connection: &Connection, backend: u32, flags: u8) -> Option<()> {
    if flags & RST != 0 {
        let _ = FLOWS.remove(connection).is_ok();
        return Some(());
    }
    // SAFETY: the value is copied at once.
    let before = unsafe { FLOWS.get(connection) }.copied();
    let before = before.map(Flow::unpack);
    let flow = Flow::after(before, backend, now(), flags & SYN != 0, flags & FIN != 0);
    FLOWS.insert(connection, flow.pack(), 0).ok()
}

/// The second of the monotonic clock.
#[inline(always)]
fn now() -> u32 {
    const NANOSECONDS: u64 = 1_000_000_000;
    // SAFETY: takes nothing and returns a number.
    (unsafe { bpf_ktime_get_coarse_ns() } / NANOSECONDS) as u32
}

/// Whether it is plain TCP over IPv4, without options: the node's own kernel sends no other, and answers have none either.
#[inline(always)]
fn is_tcp(ctx: &TcContext) -> bool {
    const NO_OPTIONS: u8 = 0x45;

    matches!(ctx.load::<u16>(12), Ok(V4))
        && matches!(ctx.load::<u8>(ETHERNET), Ok(NO_OPTIONS))
        && matches!(ctx.load::<u8>(PROTOCOL), Ok(TCP))
}

/// Writes another address into a packet, with the checksums that it is in.
#[inline(always)]
fn replace(ctx: &TcContext, at: usize, from: u32, to: u32) -> Option<()> {
    const ADDRESS: u64 = 4;

    let skb = ctx.skb.skb;
    let (from_word, to_word) = (u64::from(from), u64::from(to));
    let of_pseudo_header = u64::from(BPF_F_PSEUDO_HDR) | ADDRESS;
    // SAFETY: the context is the one that the kernel gave, which checks the places.
    let replaced = unsafe {
        bpf_l4_csum_replace(
            skb,
            TCP_CHECKSUM as u32,
            from_word,
            to_word,
            of_pseudo_header,
        ) == 0
            && bpf_l3_csum_replace(skb, IP_CHECKSUM as u32, from_word, to_word, ADDRESS) == 0
    };
    if !replaced {
        return None;
    }
    store(skb, at, &to.to_ne_bytes())
}

#[inline(always)]
fn store<const N: usize>(skb: *mut __sk_buff, at: usize, bytes: &[u8; N]) -> Option<()> {
    // SAFETY: the context is the one that the kernel gave, which checks the place; N bytes of the stack are read.
    let stored = unsafe { bpf_skb_store_bytes(skb, at as u32, bytes.as_ptr().cast(), N as u32, 0) };
    (stored == 0).then_some(())
}

/// The helpers' licence towards the kernel.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // Never reached: the verifier refuses a program that could loop here.
    loop {}
}
