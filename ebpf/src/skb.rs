//! A packet at TC: read where it lies, changed by the kernel's helpers alone, which know who is to compute its checksums and
//! how it is cut to pieces.

use core::{ffi::c_long, marker::PhantomData};

use aya_ebpf::{
    bindings::{
        __sk_buff, BPF_F_MARK_MANGLED_0, BPF_F_PSEUDO_HDR, bpf_fib_lookup as FibParameters,
        bpf_redir_neigh,
    },
    helpers::{
        bpf_fib_lookup, bpf_l3_csum_replace, bpf_l4_csum_replace, bpf_redirect, bpf_redirect_neigh,
        bpf_skb_change_head, bpf_skb_load_bytes_relative, bpf_skb_pull_data, bpf_skb_store_bytes,
        bpf_skb_vlan_pop, bpf_skb_vlan_push,
    },
    programs::TcContext,
};
use tollgate_common::{
    backend::{Backend, ETHERNET, Out},
    tables::Tables,
    verdict::Verdict,
};

use crate::{
    nat::{Covers, Patch, Room, rewrite},
    packet::{Packet, near, u16_at},
};

/// What the program of an interface says that leaves a packet to the others (`TC_ACT_UNSPEC`).
pub const UNSPEC: i32 = -1;
const SHOT: i32 = 2;
const REDIRECT: i32 = 7;

/// As much is read of most packets: headers, and those inside an ICMP error.
const HEADERS: usize = 128;

/// A packet at the TC hook.
#[derive(Clone, Copy)]
pub struct Frame<'a> {
    ctx: *mut __sk_buff,
    run: PhantomData<&'a TcContext>,
}

impl<'a> Frame<'a> {
    /// The packet that this run of the program is about. `None`: its headers cannot be read. A driver may leave them in pages.
    #[inline(always)]
    pub fn new(ctx: &'a TcContext, room: &mut Room) -> Option<Self> {
        let frame = Self {
            ctx: ctx.skb.skb,
            run: PhantomData,
        };
        if !frame.begins_with_ethernet() {
            return None;
        }
        let (len, linear) = (frame.len() as usize, frame.data_end() - frame.data());
        if linear < HEADERS && linear < len {
            let wanted = if len < HEADERS { len } else { HEADERS };
            // SAFETY: the context is the one that the kernel gave; what was read before is read anew.
            if unsafe { bpf_skb_pull_data(frame.ctx, wanted as u32) } != 0 {
                return None;
            }
        }
        room.is_merged = u32::from(frame.field(|ctx| &raw const ctx.gso_size) != 0);
        Some(frame)
    }

    /// Makes the packet begin with its Ethernet header. Behind generic XDP, which copies most packets, it begins with the IP header:
    /// the copy does not know how long the other one is (`skb_pp_cow_data` in net/core/skbuff.c, Linux 6.18). False: it is no IP,
    /// or cannot be.
    #[inline(always)]
    fn begins_with_ethernet(&self) -> bool {
        const LEN: u32 = ETHERNET as u32;
        const TYPE: usize = 12;
        const V4: u16 = 0x0800_u16.to_be();
        const V6: u16 = 0x86dd_u16.to_be();
        const FROM_MAC: u32 = 0;

        let protocol = self.field(|ctx| &raw const ctx.protocol) as u16;
        if protocol != V4 && protocol != V6 {
            return false;
        }
        let is_there = |head: &[u8; ETHERNET]| u16_at::<TYPE, _>(head) == protocol;
        if self.head::<ETHERNET>().is_some_and(is_there) {
            return true;
        }
        let mut words = [0_u32; 4];
        // SAFETY: the context is the one that the kernel gave; so many bytes of the stack are written.
        let read = unsafe {
            bpf_skb_load_bytes_relative(
                self.ctx.cast(),
                0,
                words.as_mut_ptr().cast(),
                LEN,
                FROM_MAC,
            )
        };
        if read != 0 || words[3] as u16 != protocol {
            return false;
        }
        // SAFETY: as above; so many bytes of the stack are read. What was read of the packet before is read anew.
        unsafe {
            bpf_skb_change_head(self.ctx, LEN, 0) == 0
                && bpf_skb_store_bytes(self.ctx, 0, words.as_ptr().cast(), LEN, 0) == 0
        }
    }

    /// As how many packets it came in: the stack may have merged them.
    #[inline(always)]
    #[must_use]
    pub fn pieces(&self) -> u32 {
        let pieces = self.field(|ctx| &raw const ctx.gso_segs);
        if pieces == 0 { 1 } else { pieces }
    }

    #[inline(always)]
    fn len(&self) -> u32 {
        self.field(|ctx| &raw const ctx.len)
    }

    #[inline(always)]
    fn data(&self) -> usize {
        self.field(|ctx| &raw const ctx.data) as usize
    }

    #[inline(always)]
    fn data_end(&self) -> usize {
        self.field(|ctx| &raw const ctx.data_end) as usize
    }

    /// The verifier takes loads of this context by the field only; LLVM would join two of them.
    #[inline(always)]
    fn field(&self, of: impl FnOnce(&__sk_buff) -> *const u32) -> u32 {
        // SAFETY: a field of the context that the kernel gave, which lives as long as the run.
        unsafe { of(&*self.ctx).read_volatile() }
    }
}

impl Packet for Frame<'_> {
    type Again<'b>
        = Frame<'b>
    where
        Self: 'b;

    #[inline(always)]
    fn again(&mut self) -> Frame<'_> {
        Frame {
            ctx: self.ctx,
            run: PhantomData,
        }
    }

    #[inline(always)]
    fn at<const N: usize>(&self, at: usize) -> Option<&[u8; N]> {
        // What the verifier wants to see right here.
        let data = self.data() + near(at);
        if data + N > self.data_end() {
            return None;
        }
        // SAFETY: N bytes from `data` on lie before `data_end` (checked above, and again by the verifier). Nothing moves the
        // packet while it is borrowed.
        Some(unsafe { &*(data as *const [u8; N]) })
    }

    #[inline(always)]
    fn head<const N: usize>(&self) -> Option<&[u8; N]> {
        let data = self.data();
        if data + N > self.data_end() {
            return None;
        }
        // SAFETY: as in `at`.
        Some(unsafe { &*(data as *const [u8; N]) })
    }

    #[inline(always)]
    fn head_mut<const N: usize>(&mut self) -> Option<&mut [u8; N]> {
        None
    }

    #[inline(always)]
    fn grow(&mut self, _by: u8) -> bool {
        false
    }

    #[inline(always)]
    fn shrink(&mut self, _by: u8) -> bool {
        false
    }

    #[inline(always)]
    fn cut(&mut self, _len: u32) -> bool {
        false
    }

    #[inline(always)]
    fn has(&self, len: usize) -> bool {
        self.data() + len <= self.data_end()
    }

    #[inline(always)]
    fn holds(&self, len: u32) -> bool {
        len <= self.len()
    }

    #[inline(always)]
    fn ingress(&self) -> u32 {
        self.field(|ctx| &raw const ctx.ifindex)
    }

    #[inline(always)]
    fn redirect(&mut self, _ifindex: u32) {}
}

impl Patch for Frame<'_> {
    #[inline(always)]
    fn store<const N: usize>(&mut self, at: usize, bytes: &[u8; N]) -> bool {
        store(self.ctx, at, bytes)
    }

    #[inline(always)]
    fn header_sum(&mut self, at: usize, difference: u32) -> bool {
        // SAFETY: the context is the one that the kernel gave, which checks the place.
        unsafe { bpf_l3_csum_replace(self.ctx, at as u32, 0, u64::from(difference), 0) == 0 }
    }

    #[inline(always)]
    fn sum(&mut self, at: usize, difference: u32, covers: Covers) -> bool {
        let (pseudo, udp) = match covers {
            Covers::Addresses { udp, .. } => (true, udp),
            Covers::Bytes { udp } => (false, udp),
        };
        let mut flags = 0;
        if pseudo {
            flags |= BPF_F_PSEUDO_HDR;
        }
        if udp {
            flags |= BPF_F_MARK_MANGLED_0;
        }
        // SAFETY: as above.
        let done: c_long = unsafe {
            bpf_l4_csum_replace(
                self.ctx,
                at as u32,
                0,
                u64::from(difference),
                u64::from(flags),
            )
        };
        done == 0
    }
}

#[inline(always)]
fn store<const N: usize>(ctx: *mut __sk_buff, at: usize, bytes: &[u8; N]) -> bool {
    // SAFETY: the context is the one that the kernel gave, which checks the place; N bytes of the stack are read.
    unsafe { bpf_skb_store_bytes(ctx, at as u32, bytes.as_ptr().cast(), N as u32, 0) == 0 }
}

/// Does what was decided: the verdict after all, and what the kernel is told.
#[inline(always)]
pub fn deliver(ctx: &TcContext, tables: &Tables, room: &Room, verdict: u32) -> (u32, i32) {
    let failed = if verdict == Verdict::Translated as u32 {
        towards_backend(ctx.skb.skb, tables.backend(room.way.id()), tables, room)
    } else if verdict == Verdict::Answered as u32 {
        towards_client(ctx.skb.skb, room)
    } else {
        return (verdict, SHOT);
    };
    if failed == DONE {
        (verdict, REDIRECT)
    } else {
        (failed, SHOT)
    }
}

/// In place of the verdict of a packet that is dropped.
const DONE: u32 = u32::MAX;

#[inline(always)]
fn translated(ctx: *mut __sk_buff, room: &Room) -> bool {
    let frame = Frame {
        ctx,
        run: PhantomData,
    };
    rewrite(frame, room)
}

/// By the next hop that user space found, with the tags of its device.
#[inline(never)]
fn towards_backend(ctx: *mut __sk_buff, backend: &Backend, tables: &Tables, room: &Room) -> u32 {
    const MACS: usize = 12;

    let out = Out::unpack(backend.out.load());
    if !untagged(ctx) || !translated(ctx, room) {
        return Verdict::Malformed as u32;
    }
    let mut macs = [0; MACS];
    macs[..8].copy_from_slice(&backend.header[0].load().to_le_bytes());
    macs[8..].copy_from_slice(&(backend.header[1].load() as u32).to_le_bytes());
    if !store(ctx, 0, &macs) {
        return Verdict::Malformed as u32;
    }
    if out.vlan() != 0 {
        let tags = tables.tags(out.vlan()).0;
        // The inner one first.
        if !(tags >> 32 == 0 || tagged(ctx, (tags >> 32) as u32)) || !tagged(ctx, tags as u32) {
            return Verdict::NoHeadroom as u32;
        }
    }
    // SAFETY: plain numbers. What it returns is what the program says anyhow.
    let _redirect = unsafe { bpf_redirect(out.ifindex(), 0) };
    DONE
}

#[inline(always)]
fn tagged(ctx: *mut __sk_buff, tag: u32) -> bool {
    let [a, b, c, d] = tag.to_le_bytes();
    // SAFETY: the context is the one that the kernel gave.
    let done =
        unsafe { bpf_skb_vlan_push(ctx, u16::from_ne_bytes([a, b]), u16::from_be_bytes([c, d])) };
    done == 0
}

/// The tag of the VLAN that it came in by is not that of where it goes.
#[inline(always)]
fn untagged(ctx: *mut __sk_buff) -> bool {
    // SAFETY: a field of the context that the kernel gave.
    let is_tagged = unsafe { (&raw const (*ctx).vlan_present).read_volatile() } != 0;
    // SAFETY: the context is the one that the kernel gave.
    !is_tagged || unsafe { bpf_skb_vlan_pop(ctx) } == 0
}

/// By the host's routes; where it routes nothing for others, by the interface that the client's packets came in at.
#[inline(never)]
fn towards_client(ctx: *mut __sk_buff, room: &Room) -> u32 {
    const AF_INET: u8 = 2;
    const AF_INET6: u8 = 10;
    // linux/bpf.h
    const SUCCESS: c_long = 0;
    const FORWARDING_OFF: c_long = 5;
    const NO_NEIGHBOUR: c_long = 7;
    const FRAGMENTATION_NEEDED: c_long = 8;

    const FIB: usize = size_of::<FibParameters>();
    const NEXT: usize = size_of::<bpf_redir_neigh>();
    const _: () = assert!(FIB == 16 * size_of::<u32>() && NEXT == 5 * size_of::<u32>());

    let to = &room.way.to;
    let is_v4 = to.is_v4();
    let words = |[hi, lo]: [u64; 2]| {
        if is_v4 {
            [lo as u32, 0, 0, 0]
        } else {
            [hi as u32, (hi >> 32) as u32, lo as u32, (lo >> 32) as u32]
        }
    };
    // What is merged is cut to what it came in as.
    let len = if room.is_merged == 0 {
        room.seen.len
    } else {
        0
    };
    let (source, destination) = (words(to.source), words(to.destination));
    // struct bpf_fib_lookup (linux/bpf.h), by aligned words, as the stack must be written.
    let mut parameters = [
        u32::from(if is_v4 { AF_INET } else { AF_INET6 })
            | u32::from(to.proto()) << 8
            | to.ports << 16,
        to.ports >> 16 | len << 16,
        // SAFETY: a field of the context that the kernel gave.
        unsafe { (&raw const (*ctx).ifindex).read_volatile() },
        0,
        source[0],
        source[1],
        source[2],
        source[3],
        destination[0],
        destination[1],
        destination[2],
        destination[3],
        0,
        0,
        0,
        0,
    ];
    // SAFETY: the context is the one that the kernel gave; the parameters are on the stack, and of that size.
    let found = unsafe { bpf_fib_lookup(ctx.cast(), (&raw mut parameters).cast(), FIB as i32, 0) };
    let verdict = match found {
        SUCCESS | NO_NEIGHBOUR | FORWARDING_OFF => DONE,
        FRAGMENTATION_NEEDED => Verdict::TooBig as u32,
        _ => Verdict::NoNextHop as u32,
    };
    if verdict != DONE {
        return verdict;
    }
    if !untagged(ctx) || !translated(ctx, room) {
        return Verdict::Malformed as u32;
    }
    if found == FORWARDING_OFF {
        // SAFETY: plain numbers; without parameters the kernel looks for the next hop itself.
        let _redirect =
            unsafe { bpf_redirect_neigh(room.way.interface, core::ptr::null_mut(), 0, 0) };
        return DONE;
    }
    // struct bpf_redir_neigh (linux/bpf.h) is a family and an address: the next hop stands where the destination stood, and
    // the last word of the source before it is free now.
    parameters[7] = parameters[0] & 0xff;
    let ifindex = parameters[2];
    // SAFETY: five words of the stack.
    let _redirect =
        unsafe { bpf_redirect_neigh(ifindex, (&raw mut parameters[7]).cast(), NEXT as i32, 0) };
    DONE
}
