//! The programs of a backend host, an object of their own: it has none of the balancer's tables.
#![no_std]
#![no_main]

use core::ffi::c_long;

use aya_ebpf::{
    EbpfContext as _,
    bindings::{
        __sk_buff, BPF_F_ADJ_ROOM_FIXED_GSO, BPF_F_ADJ_ROOM_NO_CSUM_RESET, BPF_F_NO_PREALLOC,
        BPF_F_RECOMPUTE_CSUM, bpf_adj_room_mode::BPF_ADJ_ROOM_MAC, xdp_action,
    },
    helpers::{
        bpf_l3_csum_replace, bpf_skb_adjust_room, bpf_skb_change_proto, bpf_skb_pull_data,
        bpf_skb_store_bytes, bpf_xdp_adjust_head, bpf_xdp_get_buff_len,
    },
    macros::{classifier, map, xdp},
    maps::{Array, HashMap, LpmTrie, PerCpuArray, lpm_trie::Key},
    programs::{TcContext, XdpContext},
};
use tollgate_common::{
    backend::{ETHERNET, IPV4, IPV6},
    checksum,
    decap::{Address, Outcome, PREFIXES, ROOM},
    service::UDP,
};
use tollgate_ebpf::{
    decap::{self, Decision, Frame, HEADERS, Rules, ecn},
    packet::{length, near, u16_at, u32_at, u64_at},
};

/// The addresses inside that packets are taken out for.
#[map]
static VIPS: LpmTrie<[u32; 5], u32> = LpmTrie::with_max_entries(PREFIXES, 0);

/// The addresses of this host that tunnels are taken at.
#[map]
static ADDRESSES: HashMap<[u32; 5], u32> = HashMap::with_max_entries(PREFIXES, BPF_F_NO_PREALLOC);

/// Where tunnels may come from.
#[map]
static SOURCES: LpmTrie<[u32; 5], u32> = LpmTrie::with_max_entries(PREFIXES, 0);

/// The port of GUE, as it loads.
#[map]
static SETTINGS: Array<u32> = Array::with_max_entries(1, 0);

/// Packets by [`Outcome`].
#[map]
static OUTCOMES: PerCpuArray<u64> = PerCpuArray::with_max_entries(ROOM, 0);

const V4: u16 = 0x0800_u16.to_be();
const V6: u16 = 0x86dd_u16.to_be();

/// Every packet that comes in, before the kernel makes a buffer of it.
#[xdp(frags)]
fn tollgate_decap_xdp(ctx: XdpContext) -> u32 {
    let decision = decap::decide(&Xdp(&ctx), &Maps);
    let mut outcome = decision.outcome;
    if outcome.is_decapsulated() && !unwrap(&ctx, decision) {
        outcome = Outcome::NotRemoved;
    }
    count(outcome); // the only exit: each packet is counted exactly once
    match outcome {
        Outcome::Malformed | Outcome::Congested => xdp_action::XDP_DROP,
        _ => xdp_action::XDP_PASS,
    }
}

/// Every packet that comes in, as the stack is about to take it.
///
/// What passes is left to the other programs of the interface (`TC_ACT_UNSPEC`); with none it goes on into the stack.
#[classifier]
fn tollgate_decap_tc(ctx: TcContext) -> i32 {
    const UNSPEC: i32 = -1;
    const SHOT: i32 = 2;

    if !is_readable(&ctx) {
        count(Outcome::NotOurs);
        return UNSPEC;
    }
    let decision = decap::decide(&Skb(&ctx), &Maps);
    let mut outcome = decision.outcome;
    let mut is_whole = true;
    if outcome.is_decapsulated() {
        let removed = take_off(&ctx, decision);
        if removed != Removed::Wholly {
            outcome = Outcome::NotRemoved;
        }
        is_whole = removed != Removed::Partly;
    }
    count(outcome); // the only exit: each packet is counted exactly once
    match outcome {
        Outcome::Malformed | Outcome::Congested => SHOT,
        _ if !is_whole => SHOT,
        _ => UNSPEC,
    }
}

struct Maps;

impl Rules for Maps {
    #[inline(always)]
    fn gue_port(&self) -> u16 {
        SETTINGS.get(0).map_or(0, |port| *port as u16)
    }

    #[inline(always)]
    fn is_own(&self, address: &Address) -> bool {
        // SAFETY: only whether it is there is asked, and the map is never written again.
        unsafe { ADDRESSES.get(address.0) }.is_some()
    }

    #[inline(always)]
    fn is_source(&self, address: &Address) -> bool {
        SOURCES.get(Key::new(Address::WHOLE, address.0)).is_some()
    }

    #[inline(always)]
    fn is_vip(&self, address: &Address) -> bool {
        VIPS.get(Key::new(Address::WHOLE, address.0)).is_some()
    }
}

#[inline(always)]
fn count(outcome: Outcome) {
    if let Some(cell) = OUTCOMES.get_ptr_mut(outcome as u32) {
        // SAFETY: this CPU's own cell, and no program of this kind interrupts another on one CPU.
        unsafe { *cell += 1 };
    }
}

macro_rules! at {
    () => {
        #[inline(always)]
        fn at<const N: usize>(&self, at: usize) -> Option<&[u8; N]> {
            // What the verifier wants to see right here.
            let data = self.0.data() + near(at);
            if data + N > self.0.data_end() {
                return None;
            }
            // SAFETY: N bytes from `data` on lie before `data_end` (checked above, and again by the verifier). Nothing
            // moves the packet while it is borrowed.
            Some(unsafe { &*(data as *const [u8; N]) })
        }
    };
}

struct Xdp<'a>(&'a XdpContext);

impl Frame for Xdp<'_> {
    at!();

    #[inline(always)]
    fn holds(&self, len: u32) -> bool {
        if self.0.data() + length(len) <= self.0.data_end() {
            return true;
        }
        // SAFETY: the context is the one that the kernel gave.
        let total = unsafe { bpf_xdp_get_buff_len(self.0.as_ptr().cast()) };
        u64::from(len) <= total
    }

    #[inline(always)]
    fn is_merged(&self) -> bool {
        false
    }
}

/// Takes the outer header off. False: nothing changed.
#[inline(always)]
fn unwrap(ctx: &XdpContext, decision: Decision) -> bool {
    let frame = Xdp(ctx);
    let Some(head) = frame.at::<12>(0) else {
        return false;
    };
    let macs = (u64_at::<0, _>(head), u32_at::<8, _>(head));
    // SAFETY: the context is the one that the kernel gave; a refused move leaves the packet as it was.
    let moved: c_long = unsafe { bpf_xdp_adjust_head(ctx.ctx, i32::from(decision.take)) };
    if moved != 0 {
        return false;
    }
    let data = ctx.data();
    if data + ETHERNET + IPV4 > ctx.data_end() {
        // Never: the header inside was read there.
        return true;
    }
    // SAFETY: as in `at`; this is the only view.
    let head = unsafe { &mut *(data as *mut [u8; ETHERNET + IPV4]) };
    head[..8].copy_from_slice(&macs.0.to_le_bytes());
    head[8..12].copy_from_slice(&macs.1.to_le_bytes());
    let is_v6 = is_v6_inside(decision.outcome);
    let ethertype = if is_v6 { V6 } else { V4 };
    head[12..14].copy_from_slice(&ethertype.to_ne_bytes());
    if decision.marks {
        if is_v6 {
            head[15] = marked_v6(head[15], decision.ecn);
        } else {
            let before = u16_at::<14, _>(head);
            head[15] = marked_v4(head[15], decision.ecn);
            let sum = replaced(u16_at::<24, _>(head), before, u16_at::<14, _>(head));
            head[24..26].copy_from_slice(&sum.to_ne_bytes());
        }
    }
    true
}

struct Skb<'a>(&'a TcContext);

impl Frame for Skb<'_> {
    at!();

    #[inline(always)]
    fn holds(&self, len: u32) -> bool {
        len <= self.0.len()
    }

    #[inline(always)]
    fn is_merged(&self) -> bool {
        // SAFETY: a field of the context that the kernel gave.
        unsafe { (&raw const (*self.0.skb.skb).gso_size).read_volatile() != 0 }
    }
}

/// Whether the packet may be a tunnel's; then its headers are where they can be read. A driver may leave all of them in
/// pages: only packets that matter are fetched from there.
#[inline(always)]
fn is_readable(ctx: &TcContext) -> bool {
    if ctx.data() + HEADERS <= ctx.data_end() {
        return true;
    }
    let len = ctx.len();
    if ctx.data() + len as usize <= ctx.data_end() {
        return true;
    }
    let next = match ctx.load::<u16>(12) {
        Ok(V4) => ctx.load::<u8>(23),
        Ok(V6) => ctx.load::<u8>(20),
        _ => return false,
    };
    if !matches!(next, Ok(4 | 41 | UDP)) {
        return false;
    }
    let headers = if len < HEADERS as u32 {
        len
    } else {
        HEADERS as u32
    };
    // SAFETY: the context is the one that the kernel gave; what was read before is read anew.
    unsafe { bpf_skb_pull_data(ctx.skb.skb, headers) == 0 }
}

/// How far an outer header was taken off.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
enum Removed {
    Wholly,
    Partly,
    NotAtAll,
}

/// Takes the outer header off.
///
/// Across families by `bpf_skb_change_proto`, which leaves room for, or lacks, 20 bytes: the flags of
/// `bpf_skb_adjust_room` that do it at once are of Linux 6.3.
#[inline(always)]
fn take_off(ctx: &TcContext, decision: Decision) -> Removed {
    const DIFFERENCE: i32 = (IPV6 - IPV4) as i32;

    let skb = ctx.skb.skb;
    let number = decision.outcome as u32;
    let (is_v6, was_v6, is_gue) = (number & 1 != 0, number & 2 != 0, number & 4 != 0);
    let ethertype = if is_v6 { V6 } else { V4 };
    let mut left = i32::from(decision.take);
    if is_v6 != was_v6 {
        // SAFETY: the context is the one that the kernel gave.
        if unsafe { bpf_skb_change_proto(skb, ethertype, 0) } != 0 {
            return Removed::NotAtAll;
        }
        left += if is_v6 { DIFFERENCE } else { -DIFFERENCE };
    }
    // A merged packet is cut by what is inside. Of GUE the device may have vouched for the outer checksum, so that the
    // one inside must be computed; of IP in IP there is but one.
    let fixed = u64::from(BPF_F_ADJ_ROOM_FIXED_GSO);
    let flags = if is_gue {
        fixed
    } else {
        fixed | u64::from(BPF_F_ADJ_ROOM_NO_CSUM_RESET)
    };
    // SAFETY: as above.
    if unsafe { bpf_skb_adjust_room(skb, -left, BPF_ADJ_ROOM_MAC, flags) } != 0 {
        return if is_v6 == was_v6 {
            Removed::NotAtAll
        } else {
            Removed::Partly
        };
    }
    if is_v6 != was_v6 && !store(skb, 12, ethertype, 0) {
        return Removed::Partly;
    }
    if decision.marks && !mark(ctx, is_v6, decision.ecn) {
        return Removed::Partly;
    }
    Removed::Wholly
}

/// Writes the bits of congestion notification into the packet that was inside.
#[inline(always)]
fn mark(ctx: &TcContext, is_v6: bool, bits: u8) -> bool {
    const AT: u32 = ETHERNET as u32;
    const CHECKSUM: u32 = AT + 10;

    let Ok(before) = ctx.load::<u16>(ETHERNET) else {
        return false;
    };
    let [first, second] = before.to_ne_bytes();
    if is_v6 {
        let after = u16::from_ne_bytes([first, marked_v6(second, bits)]);
        return store(ctx.skb.skb, AT, after, u64::from(BPF_F_RECOMPUTE_CSUM));
    }
    let after = u16::from_ne_bytes([first, marked_v4(second, bits)]);
    // SAFETY: the context is the one that the kernel gave.
    let replaced =
        unsafe { bpf_l3_csum_replace(ctx.skb.skb, CHECKSUM, before.into(), after.into(), 2) };
    // The header's sum stays what it was, so what the device has summed up stays right.
    replaced == 0 && store(ctx.skb.skb, AT, after, 0)
}

#[inline(always)]
fn store(skb: *mut __sk_buff, at: u32, word: u16, flags: u64) -> bool {
    // SAFETY: the context is the one that the kernel gave, which checks the place; two bytes of the stack are read.
    unsafe { bpf_skb_store_bytes(skb, at, (&raw const word).cast(), 2, flags) == 0 }
}

#[inline(always)]
const fn is_v6_inside(outcome: Outcome) -> bool {
    outcome as u32 & 1 != 0
}

#[inline(always)]
const fn marked_v4(byte: u8, bits: u8) -> u8 {
    byte & !ecn::MASK | bits
}

/// The lower half of the traffic class is the upper half of its byte.
#[inline(always)]
const fn marked_v6(byte: u8, bits: u8) -> u8 {
    byte & !(ecn::MASK << 4) | bits << 4
}

/// The header checksum, as it loads, when a word of the header becomes another (RFC 1624, equation 3).
#[inline(always)]
const fn replaced(sum: u16, before: u16, after: u16) -> u16 {
    !checksum::fold(!sum as u64 + !before as u64 + after as u64)
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
