//! The packet's new first bytes. The outer header comes ready from the backend's entry; added here is only what
//! depends on the packet. The packet inside is not touched.

use tollgate_common::{
    backend::{Backend, ETHERNET, GUE, Header, IPV4, IPV6, Kind, Out},
    checksum,
    flow::Flow,
    verdict::Verdict,
};

use crate::{
    packet::{Packet, u16_at},
    parse::{Segment, V4_HEAD},
};

/// Rewrites the packet for `backend`. `entropy` varies the outer source (and flow label), so that the backend's
/// receive queues share the load.
#[inline(always)]
pub fn rewrite(
    packet: &mut impl Packet,
    segment: &Segment,
    backend: &Backend,
    out: Out,
    entropy: u32,
) -> Result<(), Verdict> {
    // Each way checks by itself what it takes: the kind is looked at once.
    match out.kind() {
        // What is translated never comes here: XDP leaves it to TC.
        None | Some(Kind::Nat) => Err(Verdict::NoNextHop),
        Some(Kind::L2) => {
            fits::<{ Kind::L2.room() }>(segment, out, 2)?;
            l2(packet, segment, backend)
        }
        Some(Kind::Ipip4) => {
            fits::<{ Kind::Ipip4.room() }>(segment, out, 1)?;
            around4::<IPIP4>(packet, segment, backend, entropy)
        }
        Some(Kind::Ipip6) => {
            fits::<{ Kind::Ipip6.room() }>(segment, out, 1)?;
            around6::<IPIP6>(packet, segment, backend, entropy)
        }
        Some(Kind::Gue4) => {
            fits::<{ Kind::Gue4.room() }>(segment, out, 1)?;
            around4::<GUE4>(packet, segment, backend, entropy)?;
            gue::<{ ETHERNET + IPV4 }, GUE4>(packet, segment, backend, entropy)
        }
        Some(Kind::Gue6) => {
            fits::<{ Kind::Gue6.room() }>(segment, out, 1)?;
            around6::<GUE6>(packet, segment, backend, entropy)?;
            gue::<{ ETHERNET + IPV6 }, GUE6>(packet, segment, backend, entropy)
        }
    }
}

/// Whether the packet may go on with `ROOM` bytes before it. `l2` sends on the packet itself, so it counts as a hop (RFC
/// 1812, section 5.3.1; RFC 8200, section 3): two nodes that name each other cannot loop for ever. A tunnel is one hop
/// whose end is the backend.
#[inline(always)]
fn fits<const ROOM: u8>(segment: &Segment, out: Out, least_ttl: u8) -> Result<(), Verdict> {
    if segment.ttl < least_ttl {
        return Err(Verdict::Expired);
    }
    if u32::from(segment.len) + u32::from(ROOM) > u32::from(out.mtu()) {
        return Err(Verdict::TooBig);
    }
    Ok(())
}

#[inline(always)]
fn l2(packet: &mut impl Packet, segment: &Segment, backend: &Backend) -> Result<(), Verdict> {
    const V4_TTL: usize = 22;
    const V4_CHECKSUM: usize = 24;
    const V6_HOP_LIMIT: usize = 21;

    let head = packet.head_mut::<V4_HEAD>().ok_or(Verdict::Malformed)?;
    put64(head, 0, word(backend, 0));
    put32(head, 8, word(backend, 1) as u32);
    match segment.flow {
        Flow::V4(..) => {
            head[V4_TTL] = segment.ttl - 1;
            let checksum = checksum::one_less(u16_at::<V4_CHECKSUM, _>(head));
            put16(head, V4_CHECKSUM, checksum);
        }
        Flow::V6(..) => head[V6_HOP_LIMIT] = segment.ttl - 1,
    }
    Ok(())
}

/// Lengths of the frame's new head.
const IPIP4: usize = ETHERNET + IPV4;
const IPIP6: usize = ETHERNET + IPV6;
const GUE4: usize = IPIP4 + GUE;
const GUE6: usize = IPIP6 + GUE;

/// Puts an IPv4 header before the packet, and room for what else the head of `N` bytes holds.
#[inline(always)]
fn around4<const N: usize>(
    packet: &mut impl Packet,
    segment: &Segment,
    backend: &Backend,
    entropy: u32,
) -> Result<(), Verdict> {
    const CLASS: u32 = 56; // bit of byte 15 in word 1
    const SOURCE: u32 = 32; // bit of bytes 28-29 in word 3

    if !packet.grow((N - ETHERNET) as u8) {
        return Err(Verdict::NoHeadroom);
    }
    let head = packet.head_mut::<N>().ok_or(Verdict::NoHeadroom)?;
    let len = u64::from((segment.len + (N - ETHERNET) as u16).to_be());
    let last = word(backend, 4);
    let source = u64::from(entropy) & last >> Header::VARYING;
    let partial = word(backend, 3);
    let sum = (partial & 0xffff) + len + (u64::from(segment.class) << 8) + source;
    let checksum = u64::from(!checksum::fold_few(sum));

    put64(head, 0, word(backend, 0));
    put64(
        head,
        8,
        word(backend, 1) | u64::from(segment.class) << CLASS,
    );
    put64(head, 16, word(backend, 2) | len);
    put64(head, 24, partial & !0xffff | checksum | source << SOURCE);
    put16(head, 32, last as u16);
    Ok(())
}

/// The same with an IPv6 header.
#[inline(always)]
fn around6<const N: usize>(
    packet: &mut impl Packet,
    segment: &Segment,
    backend: &Backend,
    entropy: u32,
) -> Result<(), Verdict> {
    const CLASS_HIGH: u32 = 48; // bit of byte 14 in word 1
    const CLASS_LOW: u32 = 60; // bit of the upper half of byte 15
    const LENGTH: u32 = 16; // bit of bytes 18-19 in word 2
    const SOURCE: u32 = 16; // bit of bytes 34-37 in word 4

    if !packet.grow((N - ETHERNET) as u8) {
        return Err(Verdict::NoHeadroom);
    }
    let head = packet.head_mut::<N>().ok_or(Verdict::NoHeadroom)?;
    let class = u64::from(segment.class);
    let label = u64::from(entropy >> 16); // the lower 16 bits of the flow label (RFC 6438)
    let len = u64::from((segment.len + (N - ETHERNET - IPV6) as u16).to_be());

    put64(head, 0, word(backend, 0));
    put64(
        head,
        8,
        word(backend, 1) | (class >> 4) << CLASS_HIGH | (class & 0xf) << CLASS_LOW,
    );
    put64(head, 16, word(backend, 2) | label | len << LENGTH);
    put64(head, 24, word(backend, 3));
    put64(head, 32, word(backend, 4) | u64::from(entropy) << SOURCE);
    put64(head, 40, word(backend, 5));
    put32(head, 48, word(backend, 6) as u32);
    put16(head, 52, (word(backend, 6) >> 32) as u16);
    Ok(())
}

/// Writes the UDP and GUE headers at `AT`, whose room is there. The UDP checksum is none, as tunnels may have it with
/// IPv6 too (RFC 6935, section 5): the packet inside has its own.
#[inline(always)]
fn gue<const AT: usize, const N: usize>(
    packet: &mut impl Packet,
    segment: &Segment,
    backend: &Backend,
    entropy: u32,
) -> Result<(), Verdict> {
    /// Source ports are ephemeral ones (RFC 6335, section 6).
    const EPHEMERAL: u16 = 0xc000;
    const IPV4_INSIDE: u64 = 4 << 8;
    const IPV6_INSIDE: u64 = 41 << 8;

    let head = packet.head_mut::<N>().ok_or(Verdict::NoHeadroom)?;
    let from = u64::from((EPHEMERAL | entropy as u16).to_be());
    let to = word(backend, 6) >> Header::PORT;
    let len = u64::from((segment.len + GUE as u16).to_be());
    put64(head, AT, from | to << 16 | len << 32);
    let inside = match segment.flow {
        Flow::V4(..) => IPV4_INSIDE,
        Flow::V6(..) => IPV6_INSIDE,
    };
    put32(head, AT + 8, inside as u32);
    Ok(())
}

#[inline(always)]
fn word(backend: &Backend, index: usize) -> u64 {
    backend.header[index].load()
}

#[inline(always)]
fn put16<const N: usize>(bytes: &mut [u8; N], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_le_bytes());
}

#[inline(always)]
fn put32<const N: usize>(bytes: &mut [u8; N], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

#[inline(always)]
fn put64<const N: usize>(bytes: &mut [u8; N], at: usize, value: u64) {
    bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
}
