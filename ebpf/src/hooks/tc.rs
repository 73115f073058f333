//! Every packet that comes in, as the stack is about to take it: services whose addresses are translated, and answers.

use aya_ebpf::{macros::classifier, programs::TcContext};
use tollgate_ebpf::{maps, nat, skb};

#[classifier]
fn tollgate_nat(ctx: TcContext) -> i32 {
    let (Some(tables), Some(room)) = (maps::tables(), maps::nat_room()) else {
        return skb::UNSPEC;
    };
    let Some(mut packet) = skb::Frame::new(&ctx, room) else {
        return skb::UNSPEC;
    };
    let verdict = nat::ingress(&mut packet, tables, maps::Maps, maps::Flows, room);
    if verdict == nat::PASS {
        return skb::UNSPEC;
    }
    let (verdict, action) = skb::deliver(&ctx, tables, room, verdict);
    maps::count_translated(verdict, room, packet.pieces()); // the only exit: each packet is counted exactly once
    action
}
