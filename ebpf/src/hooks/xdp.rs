//! Every packet that comes in.

use aya_ebpf::{bindings::xdp_action, macros::xdp, programs::XdpContext};
use tollgate_ebpf::{maps, packet::Frame, pipeline};

#[xdp(frags)]
fn tollgate_xdp(ctx: XdpContext) -> u32 {
    let Some(tables) = maps::tables() else {
        return xdp_action::XDP_PASS;
    };
    let outcome = pipeline::ingress(&mut Frame::new(&ctx), tables, maps::Maps);
    maps::count(outcome); // the only exit: each packet is counted exactly once
    outcome.action()
}
