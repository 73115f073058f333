use std::vec::Vec;

use etherparse::{PacketBuilder, icmpv4, icmpv6};

use super::*;

struct Bytes<'a>(&'a [u8]);

impl Head for Bytes<'_> {
    fn at<const N: usize>(&self, at: usize) -> [u8; N] {
        let bytes = self.0.get(at..at + N);
        bytes.map_or([0; N], |bytes| bytes.try_into().unwrap())
    }
}

fn known(frame: &[u8]) -> [u64; WORDS] {
    let mut known = [0; WORDS];
    words(&Bytes(frame), &mut known);
    known
}

const CLIENT: [u8; 4] = [198, 51, 100, 7];
const VIP: [u8; 4] = [203, 0, 113, 20];

fn tcp() -> Vec<u8> {
    let builder = PacketBuilder::ethernet2([2; 6], [4; 6])
        .ipv4(CLIENT, VIP, 61)
        .tcp(40_000, 5432, 7, 1000)
        .syn();
    let mut frame = Vec::new();
    builder.write(&mut frame, &[]).unwrap();
    frame
}

fn number(address: [u8; 4]) -> u64 {
    0xffff_0000_0000 | u64::from(u32::from_be_bytes(address))
}

#[track_caller]
fn check(frame: &[u8], own: u8) {
    let words = known(frame);
    assert_eq!(words[word::CLIENT + 1], number(CLIENT));
    assert_eq!(words[word::VIP + 1], number(VIP));
    let line = words[word::FLOW];
    assert_eq!((line >> flow::CLIENT_PORT) as u16, 40_000);
    assert_eq!((line >> flow::PORT) as u16, 5432);
    assert_eq!((line >> flow::PROTO) as u8, TCP);
    assert_eq!((line >> flow::OWN) as u8, own);
    assert_eq!((line >> flow::VERSION) as u8, 4);
}

#[test]
fn a_segment_is_known_with_and_without_tags() {
    let frame = tcp();
    check(&frame, TCP);
    assert_eq!((known(&frame)[word::FLOW] >> flow::FLAGS) as u8, 0x02);
    let tag = [0x81, 0, 0, 100];
    let tagged = [&frame[..12], &tag, &frame[12..]].concat();
    check(&tagged, TCP);
    let twice = [&frame[..12], &[0x88, 0xa8, 0, 9], &tag, &frame[12..]].concat();
    check(&twice, TCP);
}

#[test]
fn an_icmp_error_is_of_the_flow_that_it_is_about() {
    // What a backend answered, which did not fit somewhere.
    let mut answer = Vec::new();
    PacketBuilder::ipv4(VIP, CLIENT, 60)
        .tcp(5432, 40_000, 1, 1000)
        .write(&mut answer, &[])
        .unwrap();
    let router = [198, 51, 100, 254];
    let mut frame = Vec::new();
    PacketBuilder::ethernet2([2; 6], [4; 6])
        .ipv4(router, VIP, 60)
        .icmpv4(etherparse::Icmpv4Type::DestinationUnreachable(
            icmpv4::DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: 1400 },
        ))
        .write(&mut frame, &answer[..28])
        .unwrap();
    check(&frame, ICMP);
    assert_eq!(known(&frame)[word::SOURCE + 1], number(router));
    // One that asks for an echo is about nothing.
    let mut echo = Vec::new();
    PacketBuilder::ethernet2([2; 6], [4; 6])
        .ipv4(CLIENT, VIP, 60)
        .icmpv4_echo_request(1, 1)
        .write(&mut echo, &answer[..28])
        .unwrap();
    let words = known(&echo);
    assert_eq!(words[word::CLIENT + 1], number(CLIENT));
    assert_eq!(words[word::FLOW] as u32, 0, "no ports");
}

#[test]
fn ipv6_headers_are_passed_over() {
    let (client, vip) = ([0x20; 16], [0x21; 16]);
    let mut frame = Vec::new();
    PacketBuilder::ethernet2([2; 6], [4; 6])
        .ipv6(client, vip, 61)
        .udp(40_000, 53)
        .write(&mut frame, &[7; 9])
        .unwrap();
    let plain = known(&frame);
    assert_eq!(plain[word::CLIENT], u64::from_be_bytes([0x20; 8]));
    assert_eq!(plain[word::VIP + 1], u64::from_be_bytes([0x21; 8]));
    assert_eq!(plain[word::FLOW] as u32, 40_000 | 53 << 16);
    // A hop-by-hop header of eight bytes before UDP.
    let mut longer = frame.clone();
    longer[20] = HOP_BY_HOP;
    longer.splice(54..54, [UDP, 0, 1, 4, 0, 0, 0, 0]);
    assert_eq!(known(&longer), plain);
    // A later fragment has no ports.
    let mut later = frame.clone();
    later[20] = FRAGMENT;
    later.splice(54..54, [UDP, 0, 0, 8, 0, 0, 0, 1]);
    let words = known(&later);
    assert_eq!(words[word::FLOW] as u32, 0);
    assert_eq!((words[word::FLOW] >> flow::PROTO) as u8, UDP);
    let mut error = Vec::new();
    let mut answer = Vec::new();
    PacketBuilder::ipv6(vip, client, 60)
        .udp(53, 40_000)
        .write(&mut answer, &[])
        .unwrap();
    PacketBuilder::ethernet2([2; 6], [4; 6])
        .ipv6([0x22; 16], vip, 60)
        .icmpv6(etherparse::Icmpv6Type::TimeExceeded(
            icmpv6::TimeExceededCode::HopLimitExceeded,
        ))
        .write(&mut error, &answer)
        .unwrap();
    let words = known(&error);
    assert_eq!(words[word::FLOW] as u32, 40_000 | 53 << 16);
    assert_eq!(
        words[word::CLIENT..word::CLIENT + 2],
        plain[word::CLIENT..word::CLIENT + 2]
    );
}

#[test]
fn what_is_cut_off_is_unknown_and_nothing_is_read_beyond() {
    let frame = tcp();
    for len in 0..frame.len() {
        let _words = known(&frame[..len]);
    }
    assert_eq!(known(&frame[..13]), [0; WORDS]);
}
