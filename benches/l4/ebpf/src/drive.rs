//! The drivers: the frame as it was, the next flow, the program under test.

use aya_ebpf::{
    bindings::xdp_action::XDP_ABORTED,
    helpers::{bpf_redirect, bpf_xdp_adjust_head, bpf_xdp_adjust_tail},
    macros::{map, xdp},
    maps::{Array, ProgramArray},
    programs::XdpContext,
};
use tollgate_bench_ebpf::{FIRST_PORT, Order, PORTS, Setup};

/// What is to be done.
#[map]
pub(crate) static SETUP: Array<Setup> = Array::with_max_entries(1, 0);

/// The number of the last flow, or the state of the random numbers (xorshift64; never 0 then).
#[map]
static STATE: Array<u64> = Array::with_max_entries(1, 0);

/// The program under test.
#[map]
static TARGET: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// Defines a driver by where in its frames the last four bytes of the client's address, its port and the IPv4 checksum (0:
/// none) are, and how many words of the header it writes.
macro_rules! driver {
    ($name:ident, $words:literal, $address:literal, $port:literal, $sum:literal) => {
        #[xdp(frags)]
        fn $name(ctx: XdpContext) -> u32 {
            if prepare::<$words, $address, $port, $sum>(&ctx).is_some() {
                // SAFETY: nothing of this program is left to be dropped.
                unsafe { TARGET.tail_call(&ctx, 0) };
            }
            XDP_ABORTED
        }
    };
}

driver!(drive_v4, 8, 26, 34, 24);
driver!(drive_v6, 10, 34, 54, 0);
driver!(drive_tagged_v4, 8, 30, 38, 28);
// Each flow has an identification of its own in place of a port, which the checksum knows nothing of; nobody looks at it.
driver!(drive_piece_v4, 8, 26, 18, 24);
// The client is the one that the packet inside the message was for.
driver!(drive_icmp_v4, 9, 58, 64, 0);
driver!(drive_icmp_v6, 14, 98, 104, 0);

/// Sends the frame to an interface, for runs with live frames.
#[xdp]
fn generate_v4(ctx: XdpContext) -> u32 {
    match prepare::<8, 26, 34, 24>(&ctx) {
        // SAFETY: plain numbers.
        Some(ifindex) => unsafe { bpf_redirect(ifindex, 0) as u32 },
        None => XDP_ABORTED,
    }
}

/// Makes the frame the next one. Returns the interface that a generator sends to.
#[inline(always)]
fn prepare<const WORDS: usize, const ADDRESS: usize, const PORT: usize, const SUM: usize>(
    ctx: &XdpContext,
) -> Option<u32> {
    let setup = SETUP.get(0)?;
    let length = setup.length as usize;
    if ctx.data_end() - ctx.data() != length {
        undo(ctx, setup, length)?;
    }
    let data = ctx.data();
    if data + WORDS * 8 > ctx.data_end() {
        return None;
    }
    for at in 0..WORDS {
        // SAFETY: inside the frame (checked above, and again by the verifier).
        unsafe { (data as *mut u64).add(at).write_unaligned(setup.header[at]) };
    }
    if setup.order != Order::Same as u32 {
        let flow = next(setup)?;
        let address = (setup.first + flow / PORTS).to_be();
        let port = (FIRST_PORT + (flow % PORTS) as u16).to_be();
        // SAFETY: all lie inside the words that are written above.
        unsafe {
            ((data + ADDRESS) as *mut u32).write_unaligned(address);
            ((data + PORT) as *mut u16).write_unaligned(port);
            if SUM != 0 {
                let sum = setup.partial + (address & 0xffff) + (address >> 16);
                let sum = (sum & 0xffff) + (sum >> 16);
                let sum = (sum & 0xffff) + (sum >> 16);
                ((data + SUM) as *mut u16).write_unaligned(!sum as u16);
            }
        }
    }
    Some(setup.ifindex)
}

/// Undoes what the last run did to the frame's length.
#[inline(always)]
fn undo(ctx: &XdpContext, setup: &Setup, length: usize) -> Option<()> {
    // SAFETY: the context is the one that the kernel gave; pointers into the frame are read anew afterwards.
    if unsafe { bpf_xdp_adjust_head(ctx.ctx, setup.grown) } != 0 {
        return None;
    }
    let now = ctx.data_end() - ctx.data();
    if now != length {
        let by = length as i32 - now as i32;
        // SAFETY: as above.
        if unsafe { bpf_xdp_adjust_tail(ctx.ctx, by) } != 0 {
            return None;
        }
    }
    Some(())
}

/// The next flow's number.
#[inline(always)]
fn next(setup: &Setup) -> Option<u32> {
    let state = STATE.get_ptr_mut(0)?;
    // SAFETY: test runs come one after the other.
    let mut x = unsafe { *state };
    let flow = if setup.order == Order::Random as u32 {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        (x >> 11) as u32
    } else {
        x += 1;
        x as u32
    };
    // SAFETY: as above.
    unsafe { *state = x };
    Some(flow & setup.mask)
}
