//! The pipeline off the kernel, for unit tests and the fuzz target: tables with a service of every kind, and what may never
//! become of a frame.

use tollgate_common::{
    backend::{Backend, ETHERNET, GUE, Header, IPV4, IPV6, Kind, Out, SOURCE_V4, SOURCE_V6},
    checksum, flow,
    service::{About, Action, ICMP, ICMPV6, Key, Region, Scope, TCP, UDP},
    slot::Slot,
    tables::{Guards, Tables},
    tag::Tags,
    verdict::{Disposition, QUOTE, Verdict},
};

use crate::pipeline::Outcome;

/// The next hop's MAC address.
pub const NEXT: [u8; 6] = [2, 0, 0, 0, 0, 9];
/// The node's own.
pub const NODE: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// Largest packet on the way to every backend.
pub const MTU: u16 = 1500;
/// Second of [`About::settled_udp`] of all services.
pub const SETTLED: u32 = 100;

/// Backends that the services of ports 80 to 89 of the forwarded addresses have, all of their slots; each family's are 16
/// apart. The last one has no next hop.
const KINDS: [(Kind, u8, u32); 8] = [
    (Kind::Ipip4, 0, 1),
    (Kind::L2, 0, 1),
    (Kind::Ipip6, 0, 2),
    (Kind::Gue4, 0, 1),
    (Kind::Gue6, 0, 1),
    (Kind::Ipip4, 1, 1),
    (Kind::L2, 2, 2),
    (Kind::Gue6, 2, 1),
];
const OF_V6: u16 = 16;
const STEERED: u16 = 15;
/// Slots of each service: Maglev's smallest prime would do, any number does.
const SLOTS: u32 = 7;

/// Writes the services. `203.0.113.1` and `2001:db8::1` have a listener at 443/tcp; `203.0.113.2` and `2001:db8::2` are
/// forwarded, TCP and UDP alike: from port 80 on a backend of each [`Kind`], some behind VLANs; at 88 no backend, at 89 none
/// with a next hop, at 90 slots that move from one to the next, at 91 a client's flows stay together. The last address's
/// neighbour `.3` takes any port; `192.0.2.0/24` and `2001:db8:1::/64` take 443.
pub fn fill(tables: &Tables) {
    let guards = Guards {
        pins: 65_536,
        icmp: 1_000,
    };
    tables.guards.store(guards.pack());
    tables.fragments.store(65_536);
    tables.flows.store(65_536);
    tables.vlans[1].store(Tags::one(Tags::C, 30).0);
    let two = Tags::one(Tags::C, 31).within(Tags::one(Tags::S, 4000));
    tables.vlans[2].store(two.0);
    for (index, (kind, vlan, ifindex)) in (1..).zip(KINDS) {
        for (first, inner) in [(0, 4), (OF_V6, 41)] {
            let out = Out::new(ifindex, MTU, kind, vlan);
            let id = usize::from(first + index);
            write_backend(&tables.backends[id], kind, inner, out);
            tables.lives[id].store(1);
        }
    }
    let mut base = 1;
    for (family, own) in [
        (Family::V4([203, 0, 113, 0], [192, 0, 2, 0]), 0),
        (Family::V6(documentation(0, 0), documentation(1, 0)), OF_V6),
    ] {
        for proto in [TCP, UDP] {
            let mut add = |key, slot: Slot, by_client| {
                for index in base..base + SLOTS {
                    tables.slots[index as usize].store(slot.0);
                }
                let region = Region {
                    base,
                    len: SLOTS,
                    by_client,
                };
                base += SLOTS;
                forward(tables, key, region);
            };
            for (port, index) in (80..).zip(1..=8) {
                add(
                    family.key(2, port, proto),
                    Slot::settled(own + index),
                    false,
                );
            }
            add(family.key(2, 88, proto), Slot::settled(0), false);
            add(family.key(2, 89, proto), Slot::settled(own + 9), false);
            add(
                family.key(2, 90, proto),
                Slot::moving(own + 1, own + 2),
                false,
            );
            add(family.key(2, 91, proto), Slot::settled(own + 3), true);
            add(family.key(3, 0, proto), Slot::settled(own + 1), false);
            add(family.wide(443, proto), Slot::settled(own + 2), false);
        }
        let addresses = [family.key(2, 0, 0), family.key(3, 0, 0), family.wide(0, 0)];
        for key in addresses.map(Key::address) {
            place(tables, key, Action::Fragments);
        }
        let key = family.key(1, 443, TCP);
        let cell = &tables.cells[key.cells()[0]];
        cell.steer.store(u64::from(STEERED));
        place(tables, key, Action::Steer);
    }
    let shapes = &tables.shapes[0];
    shapes[0][0].set(Scope::V4, true);
    shapes[0][1].set(Scope::v4(24), false);
    shapes[1][0].set(Scope::V6, true);
    shapes[1][1].set(Scope::v6(64), false);
    tables.shaped.store(3 << 32);
}

/// Addresses of a family, and a prefix.
#[derive(Clone, Copy)]
enum Family {
    V4([u8; 4], [u8; 4]),
    V6([u8; 16], [u8; 16]),
}

impl Family {
    fn key(self, last: u8, port: u16, proto: u8) -> Key {
        match self {
            Self::V4(mut address, _) => {
                address[3] = last;
                key4(address, port, proto)
            }
            Self::V6(mut address, _) => {
                address[15] = last;
                key6(address, port, proto)
            }
        }
    }

    fn wide(self, port: u16, proto: u8) -> Key {
        match self {
            Self::V4(_, wide) => key4(wide, port, proto).within(Scope::v4(24)),
            Self::V6(_, wide) => key6(wide, port, proto).within(Scope::v6(64)),
        }
    }
}

/// An IPv4 destination's key.
#[must_use]
pub fn key4(address: [u8; 4], port: u16, proto: u8) -> Key {
    Key::v4(u32::from_ne_bytes(address), port.to_be(), proto)
}

/// An IPv6 destination's key.
#[must_use]
pub fn key6(address: [u8; 16], port: u16, proto: u8) -> Key {
    let word = u128::from_ne_bytes(address);
    Key::v6(word as u64, (word >> 64) as u64, port.to_be(), proto)
}

/// `2001:db8:NETWORK::LAST`.
#[must_use]
pub const fn documentation(network: u8, last: u8) -> [u8; 16] {
    let mut address = [0; 16];
    (address[0], address[1], address[2], address[3]) = (0x20, 0x01, 0x0d, 0xb8);
    (address[5], address[15]) = (network, last);
    address
}

fn write_backend(backend: &Backend, kind: Kind, inner: u8, out: Out) {
    let to6 = documentation(0xff, 21);
    let header = match kind {
        Kind::L2 => Header::l2(NEXT, NODE),
        Kind::Ipip4 => Header::ipip4(NEXT, NODE, SOURCE_V4, [10, 0, 0, 21], inner),
        Kind::Ipip6 => Header::ipip6(NEXT, NODE, SOURCE_V6, to6, inner),
        Kind::Gue4 => Header::ipip4(NEXT, NODE, SOURCE_V4, [10, 0, 0, 21], UDP).gue(6080),
        Kind::Gue6 => Header::ipip6(NEXT, NODE, SOURCE_V6, to6, UDP).gue(6080),
        Kind::Nat => Header::nat(NEXT, NODE, [0, 0], 0, None),
    };
    for (word, value) in backend.header.iter().zip(header.0) {
        word.store(value);
    }
    backend.out.store(out.pack());
}

fn forward(tables: &Tables, key: Key, region: Region) {
    let cell = free(tables, key);
    let about = About {
        number: 1,
        settled_udp: SETTLED,
    };
    cell.seed.store(flow::seed(key.hi, key.lo, key.tag));
    cell.region.store(region.pack());
    cell.about.store(about.pack());
    place(tables, key, Action::Forward);
}

/// The first of a key's cells that is not another one's.
fn free(tables: &Tables, key: Key) -> &tollgate_common::service::Cell {
    let [first, second] = key.cells();
    let tag = tables.cells[first].tag.load();
    let is_ours = tables.cells[first].action_of(key).is_some();
    if tag == 0 || is_ours {
        &tables.cells[first]
    } else {
        &tables.cells[second]
    }
}

fn place(tables: &Tables, key: Key, action: Action) {
    let cell = free(tables, key);
    cell.hi.store(key.hi);
    cell.lo.store(key.lo);
    cell.tag
        .store(u64::from(key.tag) | u64::from(action as u32) << 32);
}

/// Whether what became of a frame may be: what passes is untouched; what is sent has lengths and checksums that agree with
/// its size, the tags of its way, and the packet as it came in; what is told is a message to its sender.
///
/// # Errors
/// What contradicts what.
pub fn check(
    tables: &Tables,
    before: &[u8],
    outcome: Outcome,
    after: &[u8],
) -> Result<(), &'static str> {
    match outcome.verdict().disposition() {
        Disposition::Pass => same(before == after, "what passes is changed"),
        Disposition::Drop => Ok(()),
        Disposition::Transmit | Disposition::Redirect => {
            let (had, before) = split(before);
            let (has, after) = split(after);
            if outcome.verdict() == Verdict::TooBigTold {
                same(had == has, "a message has other tags than the packet had")?;
                return told(&before, &after).unwrap_or(Err("a message is too short"));
            }
            let way = Out::unpack(tables.backend(outcome.entry()).out.load());
            let kind = way
                .kind()
                .ok_or("a packet is sent to a backend without a way")?;
            let tags = tables.tags(way.vlan()).0.to_le_bytes();
            let tags = &tags[..usize::from(tables.tags(way.vlan()).len())];
            same(has == tags, "the tags are not those of the way")?;
            let is_other = way.ifindex() != 1;
            same(
                is_other == (outcome.verdict() == Verdict::Redirected),
                "the verdict is not that of the interface",
            )?;
            sent(kind, outcome, &before, &after).unwrap_or(Err("a frame is too short"))
        }
    }
}

fn same(is: bool, otherwise: &'static str) -> Result<(), &'static str> {
    if is { Ok(()) } else { Err(otherwise) }
}

/// A frame's tags, at most two, and the frame without them.
fn split(frame: &[u8]) -> (std::vec::Vec<u8>, std::vec::Vec<u8>) {
    let mut end = 12;
    while end < 20 && matches!(u16_at(frame, end), Some(Tags::C | Tags::S)) {
        end += 4;
    }
    match (frame.get(..12), frame.get(12..end), frame.get(end..)) {
        (Some(macs), Some(tags), Some(rest)) => (tags.to_vec(), [macs, rest].concat()),
        _ => (std::vec::Vec::new(), frame.to_vec()),
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..)?.first_chunk::<2>()?;
    Some(u16::from_be_bytes(*bytes))
}

/// Length of the IP packet and of its header, as the frame says.
fn lengths(frame: &[u8]) -> Option<(usize, usize)> {
    match u16_at(frame, 12)? {
        0x0800 => Some((usize::from(u16_at(frame, 16)?), IPV4)),
        0x86dd => Some((usize::from(u16_at(frame, 18)?) + IPV6, IPV6)),
        _ => None,
    }
}

fn is_sound(header: &[u8]) -> bool {
    checksum::fold(checksum::sum(header)) == 0xffff
}

type Judged = Option<Result<(), &'static str>>;

/// The first claim that does not hold, in its words.
fn all<const N: usize>(claims: [(bool, &'static str); N]) -> Result<(), &'static str> {
    let mut broken = claims.into_iter().filter(|(holds, _)| !holds);
    broken
        .next()
        .map_or(Ok(()), |(_, otherwise)| Err(otherwise))
}

fn sent(kind: Kind, outcome: Outcome, before: &[u8], after: &[u8]) -> Judged {
    let (inner, _) = lengths(before)?;
    let (outer, header) = lengths(after)?;
    let room = usize::from(kind.room());
    let frame = all([
        (
            inner + ETHERNET <= before.len(),
            "a packet is longer than its frame",
        ),
        (
            usize::from(outcome.bytes()) == inner,
            "other bytes are counted",
        ),
        (
            after.len() == before.len() + room,
            "the frame has another size",
        ),
        (outer == inner + room, "the outer length is another"),
        (
            after.get(..12)? == [NEXT, NODE].concat(),
            "other MAC addresses",
        ),
    ]);
    if frame.is_err() || room == 0 {
        return Some(frame.and(on_the_segment(before, after)?));
    }
    let is_inside = after.get(ETHERNET + room..)? == before.get(ETHERNET..)?;
    let is_right = header == IPV6 || is_sound(after.get(ETHERNET..ETHERNET + IPV4)?);
    let is_gue = matches!(kind, Kind::Gue4 | Kind::Gue6);
    let udp = ETHERNET + header;
    Some(all([
        (
            room == header + if is_gue { GUE } else { 0 },
            "the outer header is of another family",
        ),
        (is_right, "the outer checksum is wrong"),
        (
            !is_gue
                || usize::from(u16_at(after, udp + 4)?) == outer - header
                    && u16_at(after, udp + 2)? == 6080
                    && u16_at(after, udp + 6)? == 0,
            "the UDP header of GUE is wrong",
        ),
        (is_inside, "the packet inside is changed"),
    ]))
}

/// One hop less, and the header's checksum as right as it was.
fn on_the_segment(before: &[u8], after: &[u8]) -> Judged {
    let (ttl, checksum) = match u16_at(before, 12)? {
        0x0800 => (22, 24..26),
        _ => (21, 0..0),
    };
    let (was, is) = (before.get(14..34)?, after.get(14..34)?);
    let is_kept = checksum.is_empty() || is_sound(was) == is_sound(is);
    let (mut wanted, mut got) = (before.to_vec(), after.to_vec());
    let hops = wanted.get_mut(ttl)?;
    *hops = hops.wrapping_sub(1);
    for frame in [&mut wanted, &mut got] {
        frame.get_mut(..12)?.fill(0);
        frame.get_mut(checksum.clone())?.fill(0);
    }
    Some(all([
        (is_kept, "the checksum is wrong on the segment"),
        (wanted == got, "more than the hops is changed"),
    ]))
}

fn told(before: &[u8], after: &[u8]) -> Judged {
    let (len, header) = lengths(after)?;
    let message = after.get(ETHERNET + header..)?;
    let (from, size) = if header == IPV4 { (26, 4) } else { (22, 16) };
    let addresses = |frame: &[u8]| {
        let both = frame.get(from..from + 2 * size)?;
        Some((both[..size].to_vec(), both[size..].to_vec()))
    };
    let (source, destination) = addresses(before)?;
    let (sum, is_icmp) = if header == IPV4 {
        let is_icmp = *after.get(23)? == ICMP && is_sound(after.get(14..34)?);
        (checksum::sum(message), is_icmp)
    } else {
        let pseudo = [0, message.len() as u8, 0, ICMPV6];
        let pseudo = checksum::sum(after.get(22..54)?) + checksum::sum(&pseudo);
        (checksum::sum(message) + pseudo, *after.get(20)? == ICMPV6)
    };
    let macs = [before.get(6..12)?, before.get(..6)?].concat();
    Some(all([
        (
            len + ETHERNET == after.len(),
            "a message has another length",
        ),
        (is_icmp, "a message has a wrong header"),
        (
            checksum::fold(sum) == 0xffff,
            "a message's checksum is wrong",
        ),
        (
            addresses(after)? == (destination, source),
            "a message is not to the sender",
        ),
        (
            after.get(..12)? == macs,
            "a message goes to another station",
        ),
        (
            message.get(8..)? == before.get(ETHERNET..ETHERNET + QUOTE)?,
            "a message quotes something else",
        ),
    ]))
}

#[cfg(test)]
mod tests;
