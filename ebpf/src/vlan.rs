//! VLAN tags taken off and put on: in between a frame is like any other.

use tollgate_common::tag::Tags;

use crate::packet::{Packet, u16_at, u32_at, u64_at};

/// Takes up to two tags off. `None`: there are more of them, or no room to take one; nothing changed.
#[inline(always)]
pub fn take(packet: &mut impl Packet) -> Option<Tags> {
    /// As many bytes as are moved or read: addresses, two tags, an EtherType.
    const HEAD: usize = 22;

    let head = packet.head::<HEAD>()?;
    let macs = (u64_at::<0, _>(head), u32_at::<8, _>(head));
    let mut tags = u64::from(u32_at::<12, _>(head));
    if is_tag(u16_at::<16, _>(head)) {
        if is_tag(u16_at::<20, _>(head)) {
            return None;
        }
        tags |= u64::from(u32_at::<16, _>(head)) << 32;
    }
    let tags = Tags(tags);
    packet.shrink(tags.len()).then_some(())?;
    let head = packet.head_mut::<12>()?;
    head[..8].copy_from_slice(&macs.0.to_le_bytes());
    head[8..].copy_from_slice(&macs.1.to_le_bytes());
    Some(tags)
}

/// Puts tags, at least one, before the EtherType. False: there is no room, nothing changed.
#[inline(always)]
pub fn put(packet: &mut impl Packet, tags: Tags) -> bool {
    let Some(head) = packet.head::<12>() else {
        return false;
    };
    let macs = (u64_at::<0, _>(head), u32_at::<8, _>(head));
    // Constant numbers of bytes: the verifier follows no other ones.
    let is_double = tags.len() == 8;
    if !(if is_double {
        packet.grow(8)
    } else {
        packet.grow(4)
    }) {
        return false;
    }
    let Some(head) = packet.head_mut::<20>() else {
        return false;
    };
    head[..8].copy_from_slice(&macs.0.to_le_bytes());
    head[8..12].copy_from_slice(&macs.1.to_le_bytes());
    head[12..16].copy_from_slice(&(tags.0 as u32).to_le_bytes());
    if is_double {
        head[16..20].copy_from_slice(&((tags.0 >> 32) as u32).to_le_bytes());
    }
    true
}

#[inline(always)]
const fn is_tag(ethertype: u16) -> bool {
    ethertype == Tags::C.to_be() || ethertype == Tags::S.to_be()
}
