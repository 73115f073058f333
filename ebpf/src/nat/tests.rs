use std::vec::Vec;

use etherparse::{NetHeaders, PacketBuilder, PacketHeaders, TransportHeader};
use proptest::{collection::vec, prelude::*};
use tollgate_common::{
    backend::Header,
    flow,
    service::{Key, Region, TCP, UDP},
    slot::Slot,
};

use super::{host::Table as Flows, *};
use crate::{memory::host::Table, packet::host::Buffer};

const VIP: [u8; 4] = [203, 0, 113, 2];
const BACKEND: [u8; 4] = [10, 0, 0, 21];
const SERVICE: u16 = 80;
const PORT: u16 = 8080;
const ENTRY: u16 = 1;

const fn words(address: [u8; 4]) -> [u64; 2] {
    [0, u32::from_ne_bytes(address) as u64]
}

/// One service for TCP and UDP, of one backend; with `from`, translated sources.
fn fill(tables: &Tables, from: Option<([u64; 2], u8)>) {
    tables.flows.store(9);
    let header = Header::nat([9; 6], [1; 6], words(BACKEND), PORT, from);
    let backend = &tables.backends[usize::from(ENTRY)];
    for (word, value) in backend.header.iter().zip(header.0) {
        word.store(value);
    }
    backend.out.store(Out::new(1, 1500, Kind::Nat, 0).pack());
    tables.lives[usize::from(ENTRY)].store(1);
    tables.slots[1].store(Slot::settled(ENTRY).0);
    for proto in [TCP, UDP] {
        let key = Key::v4(u32::from_ne_bytes(VIP), SERVICE.to_be(), proto);
        let cell = key.cells().map(|index| &tables.cells[index]);
        let [cell, _] = cell;
        cell.hi.store(key.hi);
        cell.lo.store(key.lo);
        cell.seed.store(flow::seed(key.hi, key.lo, key.tag));
        let region = Region {
            base: 1,
            len: 1,
            by_client: false,
        };
        cell.region.store(region.pack());
        let action = Action::Translate as u64;
        cell.tag.store(u64::from(key.tag) | action << 32);
    }
}

fn frame(
    udp: bool,
    from: ([u8; 4], u16),
    to: ([u8; 4], u16),
    syn: bool,
    payload: &[u8],
) -> Vec<u8> {
    let ip = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4(from.0, to.0, 61);
    let mut frame = Vec::new();
    if udp {
        ip.udp(from.1, to.1).write(&mut frame, payload).unwrap();
    } else {
        let tcp = ip.tcp(from.1, to.1, 7, 9);
        let tcp = if syn { tcp.syn() } else { tcp.ack(1) };
        tcp.write(&mut frame, payload).unwrap();
    }
    frame
}

/// The ends of a frame whose checksums are right.
fn ends(frame: &[u8]) -> (([u8; 4], u16), ([u8; 4], u16)) {
    let headers = PacketHeaders::from_ethernet_slice(frame).unwrap();
    let payload = headers.payload.slice();
    let Some(NetHeaders::Ipv4(ip, _)) = &headers.net else {
        panic!("no IPv4")
    };
    assert_eq!(ip.header_checksum, ip.calc_header_checksum());
    let (ports, said, right) = match &headers.transport {
        Some(TransportHeader::Tcp(tcp)) => (
            (tcp.source_port, tcp.destination_port),
            tcp.checksum,
            tcp.calc_checksum_ipv4(ip, payload),
        ),
        Some(TransportHeader::Udp(udp)) => (
            (udp.source_port, udp.destination_port),
            udp.checksum,
            udp.calc_checksum_ipv4(ip, payload),
        ),
        other => panic!("{other:?}"),
    };
    assert_eq!(Ok(said), right);
    ((ip.source, ports.0), (ip.destination, ports.1))
}

/// Sends a frame through; the verdict, and what it became.
fn pass(tables: &Tables, flows: &Flows, frame: &[u8]) -> (u32, Vec<u8>) {
    let memory = Table::new(0);
    let mut packet = Buffer::new(frame, 0);
    let mut room = Room::default();
    let verdict = ingress(&mut packet, tables, &memory, flows, &mut room);
    if verdict == Verdict::Translated as u32 || verdict == Verdict::Answered as u32 {
        assert!(rewrite(&mut packet, &room));
    }
    (verdict, packet.frame().to_vec())
}

proptest! {
    #[test]
    fn what_goes_there_comes_back(
        source in any::<[u8; 4]>(), port: u16, udp: bool, has_sources: bool, payload in vec(any::<u8>(), 0..50),
    ) {
        static PLAIN: Tables = Tables::zero();
        static SOURCES: Tables = Tables::zero();
        fill(&PLAIN, None);
        fill(&SOURCES, Some((words([10, 9, 8, 0]), 4)));
        let tables = if has_sources { &SOURCES } else { &PLAIN };
        let flows = Flows::new(2);
        let before = frame(udp, (source, port), (VIP, SERVICE), true, &payload);
        let (verdict, there) = pass(tables, &flows, &before);
        prop_assert_eq!(verdict, Verdict::Translated as u32);
        let (from, to) = ends(&there);
        prop_assert_eq!(to, (BACKEND, PORT));
        if has_sources {
            prop_assert_eq!((&from.0[..3], from.0[3] >> 4), (&[10, 9, 8][..], 0));
        } else {
            prop_assert_eq!(from, (source, port));
        }
        let answer = frame(udp, to, from, false, &payload);
        let (verdict, back) = pass(tables, &flows, &answer);
        prop_assert_eq!(verdict, Verdict::Answered as u32);
        prop_assert_eq!(ends(&back), ((VIP, SERVICE), (source, port)));
        prop_assert_eq!(flows.all().len(), 2);
        prop_assert_eq!(&there[there.len() - payload.len()..], &payload[..]);
        prop_assert_eq!(&back[back.len() - payload.len()..], &payload[..]);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in vec(any::<u8>(), 0..200)) {
        static TABLES: Tables = Tables::zero();
        fill(&TABLES, None);
        let flows = Flows::new(2);
        let (verdict, after) = pass(&TABLES, &flows, &bytes);
        if verdict == PASS {
            prop_assert_eq!(after, bytes);
        }
    }
}

#[test]
fn a_flow_that_finds_no_room_is_refused_and_leaves_nothing() {
    static TABLES: Tables = Tables::zero();
    fill(&TABLES, None);
    let syn = frame(
        false,
        ([198, 51, 100, 7], 40_000),
        (VIP, SERVICE),
        true,
        b"",
    );
    for (room, verdict, left) in [
        (0, Verdict::NoRoom, 0),
        (1, Verdict::NoRoom, 0),
        (2, Verdict::Translated, 2),
    ] {
        let flows = Flows::new(room);
        assert_eq!(pass(&TABLES, &flows, &syn).0, verdict as u32, "{room}");
        assert_eq!(flows.all().len(), left, "{room}");
    }
}
