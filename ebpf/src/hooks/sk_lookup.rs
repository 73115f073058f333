//! Every TCP connection and UDP datagram for which the kernel looks for a socket.

use aya_ebpf::{bindings::sk_action, macros::sk_lookup, programs::SkLookupContext};
use tollgate_ebpf::maps::{self, Lookup};

#[sk_lookup]
fn tollgate_steer(ctx: SkLookupContext) -> u32 {
    let steered = match maps::steer_of(&ctx) {
        Lookup::NotOurs => return sk_action::SK_PASS,
        Lookup::Listener(number) => maps::assign(&ctx, number),
        Lookup::Forwarded => false,
    };
    // A configured address without its socket is refused, never left to whoever else listens there.
    if steered {
        sk_action::SK_PASS
    } else {
        sk_action::SK_DROP
    }
}
