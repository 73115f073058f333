use std::{collections::BTreeSet, sync::LazyLock, vec::Vec};

use etherparse::PacketBuilder;
use proptest::{collection::vec, prelude::*, strategy::ValueTree as _};

use super::*;
use crate::{memory::host::Table, packet::host::Buffer, pipeline::ingress};

static TABLES: LazyLock<&'static Tables> = LazyLock::new(|| {
    static TABLES: Tables = Tables::zero();
    fill(&TABLES);
    &TABLES
});

/// Sends frames one after the other and checks what becomes of each; the verdicts.
fn run(frames: &[Vec<u8>], room: usize) -> Result<Vec<Verdict>, TestCaseError> {
    let memory = Table::new(16);
    let mut verdicts = Vec::new();
    for frame in frames {
        let mut packet = Buffer::new(frame, room);
        let outcome = ingress(&mut packet, &TABLES, &memory);
        if let Err(error) = check(&TABLES, frame, outcome, packet.frame()) {
            let after = packet.frame();
            return Err(TestCaseError::fail(std::format!(
                "{error}: {:?}\n{frame:02x?}\n{after:02x?}",
                outcome
            )));
        }
        verdicts.push(outcome.verdict());
    }
    Ok(verdicts)
}

/// What a frame is made of.
#[derive(Clone, Debug)]
struct Made {
    is_v4: bool,
    last: u8,
    port: u16,
    is_udp: bool,
    payload: usize,
    ttl: u8,
    class: u8,
    tags: Vec<(bool, u16)>,
    /// Offset in units of eight bytes, whether more follow, the packet.
    piece: Option<(u16, bool, u8)>,
    headers: usize,
    is_error: bool,
}

fn made() -> impl Strategy<Value = Made> {
    let payload = prop_oneof![3 => 0..64_usize, 1 => 1380..1500_usize];
    let port = prop_oneof![8 => 79..93_u16, 1 => Just(443), 1 => any::<u16>()];
    let tags = prop_oneof![2 => Just(Vec::new()), 1 => vec(any::<(bool, u16)>(), 1..4)];
    let piece = proptest::option::weighted(0.2, (0..9_u16, any::<bool>(), 0..4_u8));
    let what = (any::<bool>(), 0..5_u8, port, any::<bool>(), payload);
    let how = (
        any::<u8>(),
        any::<u8>(),
        tags,
        piece,
        0..6_usize,
        proptest::bool::weighted(0.2),
    );
    (what, how).prop_map(
        |((is_v4, last, port, is_udp, payload), (ttl, class, tags, piece, headers, is_error))| {
            Made {
                is_v4,
                last,
                port,
                is_udp,
                payload,
                ttl,
                class,
                tags,
                piece,
                headers: headers.saturating_sub(1),
                is_error,
            }
        },
    )
}

impl Made {
    fn frame(&self) -> Vec<u8> {
        let packet = if self.is_error {
            self.error()
        } else {
            self.packet(false)
        };
        let mut frame = [NODE, [2, 0, 0, 0, 0, 0xc1]].concat();
        for (is_provider, control) in &self.tags {
            let ethertype = if *is_provider { Tags::S } else { Tags::C };
            frame.extend(ethertype.to_be_bytes());
            frame.extend(control.to_be_bytes());
        }
        frame.extend(if self.is_v4 {
            [0x08, 0x00]
        } else {
            [0x86, 0xdd]
        });
        [frame, packet].concat()
    }

    /// The packet; `back`: the one that its backend answers.
    fn packet(&self, back: bool) -> Vec<u8> {
        let (mut ports, payload) = ((40_000, self.port), std::vec![7; self.payload]);
        if back {
            ports = (self.port, 40_000);
        }
        let ethernet = PacketBuilder::ethernet2(NODE, NODE);
        let ip = if self.is_v4 {
            let (client, vip) = ([198, 51, 100, 7], [203, 0, 113, self.last]);
            let (from, to) = if back { (vip, client) } else { (client, vip) };
            ethernet.ipv4(from, to, self.ttl)
        } else {
            let (client, vip) = (documentation(0xc, 7), documentation(0, self.last));
            let (from, to) = if back { (vip, client) } else { (client, vip) };
            ethernet.ipv6(from, to, self.ttl)
        };
        let mut frame = Vec::new();
        if self.is_udp {
            ip.udp(ports.0, ports.1).write(&mut frame, &payload)
        } else {
            let tcp = ip.tcp(ports.0, ports.1, 1, 1);
            tcp.syn().write(&mut frame, &payload)
        }
        .unwrap();
        let mut packet = frame.split_off(14);
        if self.is_v4 {
            packet[1] = self.class;
            if let Some((offset, more, id)) = self.piece {
                packet[5] = id;
                let place = offset | u16::from(more) << 13;
                packet[6..8].copy_from_slice(&place.to_be_bytes());
            }
            packet[10..12].fill(0);
            let sum = !checksum::fold(checksum::sum(&packet[..20]));
            packet[10..12].copy_from_slice(&sum.to_ne_bytes());
            return packet;
        }
        packet[1] = self.class << 4;
        let mut headers: Vec<(u8, Vec<u8>)> = (0..self.headers)
            .map(|index| (if index == 0 { 0 } else { 60 }, std::vec![0; 8]))
            .collect();
        if let Some((offset, more, id)) = self.piece {
            let [high, low] = (offset << 3 | u16::from(more)).to_be_bytes();
            headers.push((44, std::vec![0, 0, high, low, 0, 0, 0, id]));
        }
        for (number, mut header) in headers.into_iter().rev() {
            header[0] = packet[6];
            packet[6] = number;
            packet.splice(40..40, header);
        }
        let len = packet.len() as u16 - 40;
        packet[4..6].copy_from_slice(&len.to_be_bytes());
        packet
    }

    /// An ICMP error about what the backend answers.
    fn error(&self) -> Vec<u8> {
        let about = Self {
            headers: 0,
            piece: None,
            ..self.clone()
        }
        .packet(true);
        let (proto, kind) = if self.is_v4 { (1, 3) } else { (58, 1) };
        let message = [&[kind, 1, 0, 0, 0, 0, 0, 0], &about[..]].concat();
        let mut packet = Self {
            payload: 0,
            is_udp: true,
            headers: 0,
            piece: None,
            ..self.clone()
        }
        .packet(false);
        packet.truncate(packet.len() - 8);
        packet.extend(&message);
        let total = packet.len() as u16;
        if self.is_v4 {
            packet[9] = proto;
            packet[2..4].copy_from_slice(&total.to_be_bytes());
            packet[10..12].fill(0);
            let sum = !checksum::fold(checksum::sum(&packet[..20]));
            packet[10..12].copy_from_slice(&sum.to_ne_bytes());
        } else {
            packet[6] = proto;
            packet[4..6].copy_from_slice(&(total - 40).to_be_bytes());
        }
        packet
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn valid_frames_become_valid_frames(made in vec(made(), 1..6), room in 0..80_usize) {
        let frames: Vec<_> = made.iter().map(Made::frame).collect();
        run(&frames, room)?;
    }

    #[test]
    fn broken_frames_do_no_harm(
        made in vec(made(), 1..4),
        flips in vec((any::<prop::sample::Index>(), 0..90_usize, any::<u8>()), 1..6),
        end in proptest::option::of(any::<prop::sample::Index>()),
        more in 0..40_usize,
    ) {
        let mut frames: Vec<_> = made.iter().map(Made::frame).collect();
        for (which, at, value) in flips {
            let frame = which.get_mut(&mut frames);
            if let Some(byte) = frame.get_mut(at) {
                *byte = value;
            }
        }
        if let (Some(end), Some(frame)) = (end, frames.last_mut()) {
            frame.truncate(end.index(frame.len() + 1));
            frame.extend(std::vec![0; more]);
        }
        run(&frames, 256)?;
    }

    #[test]
    fn random_bytes_do_no_harm(frames in vec(vec(any::<u8>(), 0..200), 1..4), room in 0..80_usize) {
        run(&frames, room)?;
    }

    /// Mostly right at its front, so that it comes farther.
    #[test]
    fn random_packets_do_no_harm(
        made in made(), from in 0..60_usize, rest in vec(any::<u8>(), 0..200),
    ) {
        let mut frame = made.frame();
        frame.truncate(14 + 4 * made.tags.len() + from);
        frame.extend(rest);
        run(&[frame], 256)?;
    }
}

/// What the properties above are about does come about.
#[test]
fn every_verdict_is_reached() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut reached = BTreeSet::new();
    for _ in 0..3000 {
        let made = vec(made(), 1..6).new_tree(&mut runner).unwrap().current();
        let frames: Vec<_> = made.iter().map(Made::frame).collect();
        for room in [0, 256] {
            reached.extend(run(&frames, room).unwrap());
        }
    }
    let mut all = BTreeSet::from(Verdict::ALL);
    all.retain(|verdict| !verdict.is_of_tc());
    // Made with IPv6's routing header or IPv4's options, with a false length, or where nobody is to be told.
    for verdict in [Verdict::Malformed, Verdict::Options] {
        all.remove(&verdict);
        reached.remove(&verdict);
    }
    assert_eq!(reached, all);
}

#[test]
fn what_must_not_be_is_told() {
    let whole = Made {
        is_v4: true,
        last: 2,
        port: 80,
        is_udp: false,
        payload: 5,
        ttl: 61,
        class: 0,
        tags: std::vec![(true, 9)],
        piece: None,
        headers: 0,
        is_error: false,
    };
    // A byte of the frame that leaves, and what is wrong when it is another.
    let wrong = |made: &Made, at: usize| {
        let frame = made.frame();
        let mut packet = Buffer::new(&frame, 256);
        let outcome = ingress(&mut packet, &TABLES, &Table::new(0));
        let mut after = packet.frame().to_vec();
        assert_eq!(check(&TABLES, &frame, outcome, &after), Ok(()));
        after[at] ^= 1;
        check(&TABLES, &frame, outcome, &after).unwrap_err()
    };
    for (port, at, what) in [
        (79, 17, "what passes is changed"),
        (80, 0, "other MAC addresses"),
        (80, 17, "the outer length is another"),
        (80, 24, "the outer checksum is wrong"),
        (80, 40, "the packet inside is changed"),
        (81, 24, "the checksum is wrong on the segment"),
        (81, 40, "more than the hops is changed"),
        (83, 39, "the UDP header of GUE is wrong"),
        (83, 41, "the UDP header of GUE is wrong"),
        (85, 15, "the tags are not those of the way"),
    ] {
        assert_eq!(
            wrong(
                &Made {
                    port,
                    ..whole.clone()
                },
                at
            ),
            what,
            "{port}, byte {at}"
        );
    }
    for is_v4 in [true, false] {
        let large = Made {
            is_v4,
            payload: 1490,
            ..whole.clone()
        };
        let address = if is_v4 { 30 } else { 26 };
        for (at, what) in [
            (0, "a message goes to another station"),
            (15, "a message has other tags than the packet had"),
            (address, "a message is not to the sender"),
            (90, "a message's checksum is wrong"),
        ] {
            let told = wrong(&large, at);
            // An IPv4 address is in the header's checksum, an IPv6 address in the message's.
            let is_other = matches!(
                told,
                "a message has a wrong header" | "a message's checksum is wrong"
            );
            assert!(
                told == what || at == address && is_other,
                "byte {at}: {told}"
            );
        }
    }
}
