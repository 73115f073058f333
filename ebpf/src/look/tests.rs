use std::{net::IpAddr, vec::Vec};

use etherparse::PacketBuilder;
use proptest::{collection::vec, prelude::*};
use tollgate_common::service::{TCP, UDP};

use super::*;
use crate::{
    packet::host::Buffer,
    parse::{self, Parsed},
};

/// A frame from an address to another one of its family, and the way back.
fn frames(from: IpAddr, to: IpAddr, ports: (u16, u16), is_udp: bool) -> [Vec<u8>; 2] {
    [(from, to, ports), (to, from, (ports.1, ports.0))].map(|(from, to, ports)| {
        let ethernet = PacketBuilder::ethernet2([2; 6], [4; 6]);
        let ip = match (from, to) {
            (IpAddr::V4(from), IpAddr::V4(to)) => ethernet.ipv4(from.octets(), to.octets(), 9),
            (IpAddr::V6(from), IpAddr::V6(to)) => ethernet.ipv6(from.octets(), to.octets(), 9),
            _ => unreachable!("one family"),
        };
        let mut frame = Vec::new();
        if is_udp {
            ip.udp(ports.0, ports.1).write(&mut frame, &[7; 40])
        } else {
            ip.tcp(ports.0, ports.1, 1, 1).write(&mut frame, &[7; 40])
        }
        .unwrap();
        frame
    })
}

fn ends() -> impl Strategy<Value = (IpAddr, IpAddr)> {
    prop_oneof![
        any::<[[u8; 4]; 2]>().prop_map(|[a, b]| (a.into(), b.into())),
        any::<[[u8; 16]; 2]>().prop_map(|[a, b]| (a.into(), b.into())),
    ]
}

/// What a closer look sees; over what an earlier packet has left.
fn seen(frame: &[u8]) -> Seen {
    let mut seen = Seen {
        source: [!0; 2],
        destination: [!0; 2],
        ports: !0,
        id: !0,
        proto: !0,
        what: what::OTHER,
        ..Seen::default()
    };
    let packet = Buffer::new(frame, 0);
    let family = if frame[14] >> 4 == 4 {
        Family::V4
    } else {
        Family::V6
    };
    look(&packet, family, &mut seen);
    seen
}

/// What a first glance sees.
fn glance(frame: &[u8]) -> Segment {
    let packet = Buffer::new(frame, 0);
    let parsed = if frame[14] >> 4 == 4 {
        parse::v4(&packet)
    } else {
        parse::v6(&packet)
    };
    match parsed {
        Parsed::Whole(segment) => segment,
        other => panic!("{other:?}"),
    }
}

/// Extension headers before what a frame bears: numbers, and lengths in units of eight bytes beyond the first.
fn chained(frame: &[u8], headers: &[(u8, u8)]) -> Vec<u8> {
    let mut frame = frame.to_vec();
    for (number, units) in headers.iter().rev() {
        let mut header = std::vec![0; 8 * (usize::from(*units) + 1)];
        header[0] = frame[20];
        // An authentication header counts in units of four bytes, less two.
        header[1] = if *number == 51 { 2 * units } else { *units };
        frame[20] = *number;
        frame.splice(54..54, header);
    }
    let len = frame.len() as u16 - 54;
    frame[18..20].copy_from_slice(&len.to_be_bytes());
    frame
}

proptest! {
    #[test]
    fn a_closer_look_sees_what_a_first_glance_does(
        (from, to) in ends(), ports: (u16, u16), is_udp: bool,
    ) {
        let [frame, _] = frames(from, to, ports, is_udp);
        let seen = seen(&frame);
        prop_assert_eq!(seen.what, what::WHOLE);
        prop_assert_eq!(seen.segment(), glance(&frame));
    }

    #[test]
    fn an_error_is_about_the_flow_of_the_packet_in_it(
        (from, to) in ends(), ports: (u16, u16), is_udp: bool, router in ends(), options in 0..11_usize,
    ) {
        let [frame, back] = frames(from, to, ports, is_udp);
        let mut inner = back[14..].to_vec();
        let is_v4 = from.is_ipv4();
        if is_v4 {
            inner.splice(20..20, std::vec![1; 4 * options]);
            inner[0] += options as u8;
        }
        let header = if is_v4 { 20 } else { 40 };
        // The outer source is a router's, whoever that is.
        let mut error = [&frame[..14 + header], &[3, 0, 0, 0, 0, 0, 0, 0], &inner].concat();
        match router.0 {
            IpAddr::V4(router) if is_v4 => error[26..30].copy_from_slice(&router.octets()),
            IpAddr::V6(router) if !is_v4 => error[22..38].copy_from_slice(&router.octets()),
            _ => {}
        }
        error[if is_v4 { 23 } else { 20 }] = if is_v4 { ICMP } else { ICMPV6 };
        let seen = seen(&error);
        prop_assert_eq!(seen.what, what::WHOLE);
        let (segment, own) = (seen.segment(), glance(&frame));
        prop_assert_eq!((segment.key, segment.flow), (own.key, own.flow));
        prop_assert_eq!(segment.transport, 0, "it says nothing of how its flow begins");
    }

    #[test]
    fn ports_are_found_behind_any_chain(
        (from, to) in (any::<[u8; 16]>(), any::<[u8; 16]>()),
        is_udp: bool,
        headers in vec((prop_oneof![Just(0), Just(60), Just(51)], 0..40_u8), 1..7),
    ) {
        let [frame, _] = frames(from.into(), to.into(), (1, 2), is_udp);
        let chain = chained(&frame, &headers);
        let seen = seen(&chain);
        let length: usize = headers.iter().map(|(_, units)| 8 * (usize::from(*units) + 1)).sum();
        if headers.len() > HEADERS || 54 + length > FAR {
            prop_assert_eq!(seen.what, what::OPTIONS);
        } else {
            prop_assert_eq!(seen.what, what::WHOLE);
            let (segment, plain) = (seen.segment(), glance(&frame));
            prop_assert_eq!((segment.key, segment.flow), (plain.key, plain.flow));
            prop_assert_eq!(segment.transport, 54 + length);
            prop_assert_eq!(usize::from(seen.least as u16), 40 + length + if is_udp { 8 } else { 20 });
            prop_assert_eq!(usize::from(segment.len), chain.len() - 14);
        }
    }

    #[test]
    fn pieces_of_one_packet_have_one_key((from, to) in ends(), is_udp: bool, id in 0..0xffff_u16) {
        let [frame, back] = frames(from, to, (1, 2), is_udp);
        let piece = |frame: &[u8], id: u16, first: bool| {
            let mut piece = frame.to_vec();
            if from.is_ipv4() {
                piece[18..20].copy_from_slice(&id.to_be_bytes());
                piece[20..22].copy_from_slice(if first { &[0x20, 0] } else { &[0x20, 4] });
            } else {
                piece = chained(frame, &[(44, 0)]);
                piece[56..58].copy_from_slice(if first { &[0, 1] } else { &[0, 0x21] });
                piece[60..62].copy_from_slice(&id.to_be_bytes());
            }
            let seen = seen(&piece);
            assert_eq!(seen.what, if first { what::FIRST } else { what::LATER });
            seen.piece()
        };
        let first = piece(&frame, id, true);
        prop_assert_eq!(first, piece(&frame, id, false));
        prop_assert_ne!(first, piece(&frame, id + 1, false));
        if from != to {
            prop_assert_ne!(first, piece(&back, id, false));
        }
    }
}

#[test]
fn who_has_another_protocol_is_another_packet_of_ipv4() {
    let [mut frame, _] = frames([10, 0, 0, 1].into(), [10, 0, 0, 2].into(), (1, 2), false);
    frame[20..22].copy_from_slice(&[0x20, 0]);
    let first = seen(&frame).piece();
    assert_eq!((frame[23], first.tag >> 16 & 0xff), (TCP, u32::from(TCP)));
    frame[23] = UDP;
    assert_ne!(seen(&frame).piece(), first);
}
