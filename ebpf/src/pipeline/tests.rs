//! The pipeline on the host. The same packets through the kernel's own test run are in tests/suites/datapath.

use std::{net::IpAddr, vec::Vec};

use etherparse::{EtherType, IpNumber, PacketBuilder, SlicedPacket};
use proptest::prelude::*;
use tollgate_common::{
    backend::{Header, Kind, SOURCE_V4, SOURCE_V6, SourceV4},
    checksum, flow,
    service::TCP,
    slot::Slot,
};

use super::*;
use crate::{memory::host::Table, packet::host::Buffer};

const ROOM: usize = 256;
const NODE: [u8; 6] = [2, 0, 0, 0, 0, 1];
const NEXT: [u8; 6] = [2, 0, 0, 0, 0, 9];
const LEN: u32 = 251;

/// Tables with one forwarded service of each family, both to backend 1 behind interface `ifindex`.
fn tables(tables: &'static Tables, header: Header, kind: Kind, mtu: u16) -> &'static Tables {
    for (word, value) in tables.backends[1].header.iter().zip(header.0) {
        word.store(value);
    }
    tables.backends[1]
        .out
        .store(Out::new(1, mtu, kind, 0).pack());
    for slot in &tables.slots[1..=LEN as usize] {
        slot.store(Slot::settled(1).0);
    }
    for key in [v4_key(), v6_key()] {
        let cell = &tables.cells[key.cells()[1]];
        cell.hi.store(key.hi);
        cell.lo.store(key.lo);
        cell.seed.store(flow::seed(key.hi, key.lo, key.tag));
        let region = Region {
            base: 1,
            len: LEN,
            by_client: false,
        };
        cell.region.store(region.pack());
        cell.tag
            .store(u64::from(key.tag) | u64::from(Action::Forward as u32) << 32);
    }
    tables
}

fn v4_key() -> Key {
    Key::v4(u32::from_ne_bytes([203, 0, 113, 10]), 443_u16.to_be(), TCP)
}

fn v6_vip() -> [u8; 16] {
    let mut vip = [0; 16];
    vip[..4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
    vip[15] = 0x10;
    vip
}

fn v6_key() -> Key {
    let word = u128::from_ne_bytes(v6_vip());
    Key::v6(word as u64, (word >> 64) as u64, 443_u16.to_be(), TCP)
}

fn frame(source: IpAddr, port: u16, payload: &[u8]) -> Vec<u8> {
    let ethernet = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 2], NODE);
    let builder = match source {
        IpAddr::V4(source) => ethernet.ipv4(source.octets(), [203, 0, 113, 10], 61),
        IpAddr::V6(source) => ethernet.ipv6(source.octets(), v6_vip(), 61),
    }
    .tcp(port, 443, 7, 1024);
    let mut frame = Vec::with_capacity(builder.size(payload.len()));
    builder.write(&mut frame, payload).unwrap();
    frame
}

/// The frame after a router: etherparse computes the checksum.
fn one_hop_on(frame: &[u8]) -> Vec<u8> {
    let mut frame = frame.to_vec();
    match frame[14] >> 4 {
        4 => {
            frame[22] -= 1;
            let (header, _) = etherparse::Ipv4Header::from_slice(&frame[14..]).unwrap();
            frame[24..26].copy_from_slice(&header.calc_header_checksum().to_be_bytes());
        }
        _ => frame[21] -= 1,
    }
    frame
}

/// The outer header of a tunnelled frame, as etherparse reads it, and the packet inside.
fn outer(frame: &[u8]) -> (u8, usize, &[u8]) {
    let sliced = SlicedPacket::from_ethernet(frame).unwrap();
    let link = sliced.link.unwrap().to_header().unwrap();
    let ethernet = link.ethernet2().unwrap();
    assert_eq!((ethernet.destination, ethernet.source), (NEXT, NODE));
    match ethernet.ether_type {
        EtherType::IPV4 => {
            let (header, inner) = etherparse::Ipv4Header::from_slice(&frame[14..]).unwrap();
            assert_eq!(header.header_checksum, header.calc_header_checksum());
            assert!(header.dont_fragment && header.source[..2] == [172, 16]);
            assert_eq!(header.time_to_live, 64);
            (header.protocol.0, usize::from(header.total_len) - 20, inner)
        }
        EtherType::IPV6 => {
            let (header, inner) = etherparse::Ipv6Header::from_slice(&frame[14..]).unwrap();
            assert_eq!(
                (header.source[..8].to_vec(), header.hop_limit),
                (std::vec![1, 0, 0, 0, 0, 0, 0, 0], 64)
            );
            (
                header.next_header.0,
                usize::from(header.payload_length),
                inner,
            )
        }
        other => panic!("EtherType {other:?}"),
    }
}

fn source() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        any::<[u8; 4]>().prop_map(IpAddr::from),
        any::<[u8; 16]>().prop_map(IpAddr::from)
    ]
}

proptest! {
    #[test]
    fn ipip_carries_the_packet_untouched(
        source in source(),
        port in any::<u16>(),
        class in any::<u8>(),
        payload in proptest::collection::vec(any::<u8>(), 0..1200),
    ) {
        static V4: Tables = Tables::zero();
        static V6: Tables = Tables::zero();
        let inner = if source.is_ipv4() { IpNumber::IPV4 } else { IpNumber::IPV6 };
        let to4 = Header::ipip4(NEXT, NODE, SOURCE_V4, [10, 0, 0, 21], inner.0);
        let to6 = Header::ipip6(NEXT, NODE, SOURCE_V6, v6_vip(), inner.0);
        for tables in [tables(&V4, to4, Kind::Ipip4, 1500), tables(&V6, to6, Kind::Ipip6, 1500)] {
            let mut before = frame(source, port, &payload);
            if source.is_ipv4() {
                before[15] = class;
            } else {
                before[14] = 0x60 | class >> 4;
                before[15] = class << 4;
            }
            let mut packet = Buffer::new(&before, ROOM);
            let outcome = ingress(&mut packet, tables, &Table::new(0));
            prop_assert_eq!(outcome.verdict(), Verdict::Sent);
            prop_assert_eq!((outcome.entry(), usize::from(outcome.bytes())), (1, before.len() - 14));
            let (protocol, len, carried) = outer(packet.frame());
            prop_assert_eq!(protocol, inner.0);
            prop_assert_eq!(carried, &before[14..]);
            prop_assert_eq!(len, before.len() - 14);
            // The class is copied to the outer header (RFC 6040).
            let head = packet.frame();
            let outer_class = if head[14] >> 4 == 4 { head[15] } else { head[14] << 4 | head[15] >> 4 };
            prop_assert_eq!(outer_class, class);
        }
    }

    #[test]
    fn outer_sources_keep_to_their_prefix(
        address in any::<[u8; 4]>(), bits in 16..=32_u8, v6 in any::<[u8; 12]>(), ports in proptest::collection::hash_set(any::<u16>(), 64),
    ) {
        static V4: Tables = Tables::zero();
        static V6: Tables = Tables::zero();
        let fixed = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
        let from = SourceV4 { address: (u32::from_be_bytes(address) & fixed).to_be_bytes(), bits };
        let to4 = Header::ipip4(NEXT, NODE, from, [10, 0, 0, 21], 4);
        let to6 = Header::ipip6(NEXT, NODE, v6, v6_vip(), 4);
        let v4 = tables(&V4, to4, Kind::Ipip4, 1500);
        let v6_tables = tables(&V6, to6, Kind::Ipip6, 1500);
        let (mut set, mut all) = (0, u32::MAX);
        for port in ports {
            let before = frame(IpAddr::from([198, 51, 100, 7]), port, b"hello");
            let mut packet = Buffer::new(&before, ROOM);
            prop_assert_eq!(ingress(&mut packet, v4, &Table::new(0)).verdict(), Verdict::Sent);
            let (header, _) = etherparse::Ipv4Header::from_slice(&packet.frame()[14..]).unwrap();
            prop_assert_eq!(header.header_checksum, header.calc_header_checksum());
            let source = u32::from_be_bytes(header.source);
            prop_assert_eq!((source & fixed).to_be_bytes(), from.address);
            (set, all) = (set | source, all & source);
            let mut packet = Buffer::new(&before, ROOM);
            prop_assert_eq!(ingress(&mut packet, v6_tables, &Table::new(0)).verdict(), Verdict::Sent);
            prop_assert_eq!(&packet.frame()[22..34], &v6);
        }
        // Every bit behind the prefix was met both ways: of 64 flows one set in 2^59 misses one.
        prop_assert_eq!(set & !all, !fixed);
    }

    #[test]
    fn l2_changes_the_macs_and_the_ttl(source in source(), port in any::<u16>()) {
        static TABLES: Tables = Tables::zero();
        let tables = tables(&TABLES, Header::l2(NEXT, NODE), Kind::L2, 1500);
        let before = frame(source, port, b"hello");
        let mut packet = Buffer::new(&before, ROOM);
        prop_assert_eq!(ingress(&mut packet, tables, &Table::new(0)).verdict(), Verdict::Sent);
        prop_assert_eq!(&packet.frame()[..12], &[NEXT, NODE].concat()[..]);
        prop_assert_eq!(&packet.frame()[12..], &one_hop_on(&before)[12..]);
    }

    #[test]
    fn no_bytes_make_it_panic_or_change_what_passes(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
        static TABLES: Tables = Tables::zero();
        let tables = tables(&TABLES, Header::l2(NEXT, NODE), Kind::L2, 1500);
        let mut packet = Buffer::new(&bytes, 0);
        let outcome = ingress(&mut packet, tables, &Table::new(0));
        if outcome.verdict() != Verdict::Sent {
            prop_assert_eq!(packet.frame(), &bytes[..]);
        }
    }

    #[test]
    fn the_added_checksum_is_that_of_a_full_recompute(
        to in any::<[u8; 4]>(), len in 0_u16..1400, class in any::<u8>(), entropy in any::<u16>(),
    ) {
        let header = Header::ipip4(NEXT, NODE, SOURCE_V4, to, 4);
        let mut bytes: Vec<u8> = header.0.iter().flat_map(|word| word.to_le_bytes()).collect();
        let partial = u16::from_le_bytes([bytes[24], bytes[25]]);
        let added = u64::from(partial) + u64::from(len.to_be()) + (u64::from(class) << 8) + u64::from(entropy);
        bytes[24..26].copy_from_slice(&[0, 0]);
        bytes[15] = class;
        bytes[16..18].copy_from_slice(&len.to_be_bytes());
        bytes[28..30].copy_from_slice(&entropy.to_le_bytes());
        prop_assert_eq!(checksum::fold_few(added), checksum::fold(checksum::sum(&bytes[14..34])));
    }
}

#[test]
fn what_cannot_be_sent_is_dropped_by_reason() {
    static TABLES: Tables = Tables::zero();
    let tables = tables(
        &TABLES,
        Header::ipip4(NEXT, NODE, SOURCE_V4, [10, 0, 0, 21], 4),
        Kind::Ipip4,
        100,
    );
    let source = IpAddr::from([198, 51, 100, 7]);
    let verdict = |frame: &[u8], room| {
        ingress(&mut Buffer::new(frame, room), tables, &Table::new(0)).verdict()
    };

    let fits = frame(source, 5000, &[0; 40]);
    assert_eq!(verdict(&fits, 20), Verdict::Sent);
    assert_eq!(verdict(&fits, 19), Verdict::NoHeadroom);
    assert_eq!(
        verdict(&frame(source, 5000, &[0; 41]), ROOM),
        Verdict::TooBig
    );
    assert_eq!(verdict(&fits[..fits.len() - 1], ROOM), Verdict::Malformed);

    let mut headless = fits.clone();
    headless[16..18].copy_from_slice(&39_u16.to_be_bytes());
    assert_eq!(verdict(&headless, ROOM), Verdict::Malformed);

    let mut group = fits.clone();
    group[0] |= 1;
    assert_eq!(verdict(&group, ROOM), Verdict::NotOurs);

    let mut last = fits.clone();
    (last[22], last[24], last[25]) = (1, 0, 0);
    assert_eq!(verdict(&last, ROOM), Verdict::Sent, "a tunnel is no hop");
    last[22] = 0;
    assert_eq!(verdict(&last, ROOM), Verdict::Expired);

    let mut options = fits.clone();
    options[14] = 0x46;
    assert_eq!(verdict(&options, ROOM), Verdict::Options);

    tables.backends[1].out.store(0);
    assert_eq!(verdict(&fits, ROOM), Verdict::NoNextHop);
    let cell = tables.find(v4_key()).unwrap().0;
    cell.region.store(0);
    assert_eq!(verdict(&fits, ROOM), Verdict::NoBackend);
}

/// The world of [`host`](crate::host), and a memory.
fn world() -> (&'static Tables, Table) {
    static TABLES: std::sync::LazyLock<&'static Tables> = std::sync::LazyLock::new(|| {
        static TABLES: Tables = Tables::zero();
        crate::host::fill(&TABLES);
        &TABLES
    });
    (&TABLES, Table::new(9))
}

/// A frame of the client's to `203.0.113.2`.
fn to(port: u16, payload: usize) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 2], NODE)
        .ipv4([198, 51, 100, 7], [203, 0, 113, 2], 61)
        .udp(40_000, port);
    let mut frame = Vec::new();
    builder.write(&mut frame, &std::vec![7; payload]).unwrap();
    frame
}

/// The piece of a frame that such an offset and flags make of it, in bytes 20 and 21.
fn piece(mut frame: Vec<u8>, place: [u8; 2], id: u8) -> Vec<u8> {
    (frame[19], frame[20], frame[21]) = (id, place[0], place[1]);
    frame
}

#[test]
fn later_fragments_follow_the_first() {
    static TABLES: Tables = Tables::zero();
    crate::host::fill(&TABLES);
    let (tables, memory) = (&TABLES, Table::new(0));
    let send = |frame: Vec<u8>| {
        let mut packet = Buffer::new(&frame, ROOM);
        let outcome = ingress(&mut packet, tables, &memory);
        (outcome.verdict(), packet.frame()[..34].to_vec())
    };
    let (first, later) = ([0x20, 0], [0, 8]);
    assert_eq!(send(piece(to(82, 64), later, 1)).0, Verdict::Fragment);
    for (port, id) in [(80, 2), (83, 3), (82, 4)] {
        let whole = send(to(port, 64));
        assert_eq!(send(piece(to(port, 64), first, id)), whole);
        assert_eq!(
            send(piece(to(80, 64), later, id)),
            whole,
            "{port}: it tells no port"
        );
    }
    // A backend that is gone is not followed, nor its successor in the number.
    assert_eq!(send(piece(to(81, 64), first, 5)).0, Verdict::Sent);
    let life = &tables.lives[2];
    life.store(3);
    assert_eq!(send(piece(to(81, 64), later, 5)).0, Verdict::Fragment);
    life.store(1);
    assert_eq!(send(piece(to(81, 64), later, 5)).0, Verdict::Sent);
}

#[test]
fn as_many_first_fragments_are_noted_in_a_second_as_the_guard_says() {
    static TABLES: Tables = Tables::zero();
    crate::host::fill(&TABLES);
    TABLES.fragments.store(3);
    let memory = Table::new(0);
    let verdict =
        |frame: Vec<u8>| ingress(&mut Buffer::new(&frame, ROOM), &TABLES, &memory).verdict();
    for (second, ids) in [(0, 0..5), (1, 5..10), (7, 10..15)] {
        memory.at(second);
        let followed = ids.map(|id| {
            let first = verdict(piece(to(80, 64), [0x20, 0], id));
            assert_eq!(first, Verdict::Sent, "noted or not");
            verdict(piece(to(80, 64), [0, 8], id))
        });
        let lost = Verdict::Fragment;
        assert_eq!(
            followed.collect::<Vec<_>>(),
            [Verdict::Sent, Verdict::Sent, Verdict::Sent, lost, lost]
        );
    }
}

#[test]
fn as_many_are_told_in_a_second_as_the_guard_says() {
    static TABLES: Tables = Tables::zero();
    crate::host::fill(&TABLES);
    let guards = Guards { pins: 0, icmp: 16 };
    TABLES.guards.store(guards.pack());
    let memory = Table::new(0);
    let told = |network: u8| {
        let mut frame = to(80, 1490);
        frame[28] = network;
        let verdict = ingress(&mut Buffer::new(&frame, ROOM), &TABLES, &memory).verdict();
        verdict == Verdict::TooBigTold
    };
    for second in [0, 1, 7] {
        memory.at(second);
        // One network gets its share, however much it sends, and leaves the others theirs.
        let loud = (0..100).filter(|_| told(1)).count();
        let others = (2..=255).filter(|network| told(*network)).count();
        assert_eq!((loud, others), (3, 13));
    }
}

#[test]
fn a_moving_slot_asks_for_pins() {
    let (tables, memory) = world();
    let entry = |second| {
        memory.at(second);
        ingress(&mut Buffer::new(&to(90, 9), ROOM), tables, &memory).entry()
    };
    // A datagram of an unknown flow.
    assert_eq!(entry(crate::host::SETTLED - 1), 2, "is one from before");
    assert_eq!(entry(crate::host::SETTLED), 2, "has a pin");
    assert_eq!(memory.pins().len(), 1);
    let (_, other) = world();
    other.at(crate::host::SETTLED);
    let outcome = ingress(&mut Buffer::new(&to(90, 9), ROOM), tables, &other);
    assert_eq!(outcome.entry(), 1, "is a new one then");
}
