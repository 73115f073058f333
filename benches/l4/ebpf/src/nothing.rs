//! Programs that do nothing with a packet: what a driver costs by itself, and the ends of a stream.

use aya_ebpf::{
    bindings::xdp_action::{XDP_ABORTED, XDP_DROP, XDP_PASS, XDP_TX},
    helpers::{bpf_xdp_adjust_head, bpf_xdp_adjust_tail},
    macros::{map, xdp},
    maps::PerCpuArray,
    programs::XdpContext,
};

use crate::drive::SETUP;

/// Frames that came to [`sink`].
#[map]
static ARRIVED: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

#[xdp(frags)]
fn empty(_: XdpContext) -> u32 {
    XDP_TX
}

/// Defines a program that moves the frame's beginning and no more, for the driver to undo.
macro_rules! grow {
    ($name:ident, $by:literal) => {
        #[xdp(frags)]
        fn $name(ctx: XdpContext) -> u32 {
            // SAFETY: the context is the one that the kernel gave.
            unsafe { bpf_xdp_adjust_head(ctx.ctx, -$by) };
            XDP_TX
        }
    };
}

grow!(grow_16, 16);
grow!(grow_20, 20);
grow!(grow_32, 32);
grow!(grow_40, 40);

/// Moves the frame's beginning there and back, so that what one move costs is known.
#[xdp(frags)]
fn grow_and_back(ctx: XdpContext) -> u32 {
    // SAFETY: as above.
    unsafe {
        if bpf_xdp_adjust_head(ctx.ctx, -20) != 0 || bpf_xdp_adjust_head(ctx.ctx, 20) != 0 {
            return XDP_ABORTED;
        }
    }
    XDP_TX
}

/// Moves the frame's beginning and its end, as a message that quotes it does.
#[xdp(frags)]
fn quote(ctx: XdpContext) -> u32 {
    let Some(setup) = SETUP.get(0) else {
        return XDP_ABORTED;
    };
    // SAFETY: as above.
    unsafe {
        bpf_xdp_adjust_tail(ctx.ctx, -(setup.cut as i32));
        bpf_xdp_adjust_head(ctx.ctx, -setup.grown);
    }
    XDP_TX
}

/// The same there and back.
#[xdp(frags)]
fn quote_and_back(ctx: XdpContext) -> u32 {
    let Some(setup) = SETUP.get(0) else {
        return XDP_ABORTED;
    };
    // SAFETY: as above.
    unsafe {
        bpf_xdp_adjust_tail(ctx.ctx, -(setup.cut as i32));
        bpf_xdp_adjust_head(ctx.ctx, -setup.grown);
        bpf_xdp_adjust_head(ctx.ctx, setup.grown);
        bpf_xdp_adjust_tail(ctx.ctx, setup.cut as i32);
    }
    XDP_TX
}

/// Counts a frame and drops it.
#[xdp(frags)]
fn sink(_: XdpContext) -> u32 {
    if let Some(arrived) = ARRIVED.get_ptr_mut(0) {
        // SAFETY: this CPU's own cell.
        unsafe { *arrived += 1 };
    }
    XDP_DROP
}

/// Leaves all to the stack.
#[xdp(frags)]
fn pass(_: XdpContext) -> u32 {
    XDP_PASS
}
