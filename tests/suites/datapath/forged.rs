//! What strangers send in the name of clients: it takes no flow away, and keeps no slot moving.

use std::net::IpAddr;

use tollgate_common::{
    pin::{Pin, PinKey},
    service::Region,
    verdict::Verdict,
};
use tollgate_datapath::{
    flow,
    maps::second,
    model::{Backend, Deliver, Model, Service, Vip},
    reconcile::Hops,
    tables::{self, NextHop},
};
use tollgate_tests::{
    bpf::{Bench, INGRESS},
    packet::{NODE_MAC, segment, tunnelled},
};

use crate::fixtures::{
    FAMILIES, Family, MTU, NEXT_MAC,
    build::{answer, message, piece, tagged},
    errors, vip,
};

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

/// The clients' ports.
const PORTS: std::ops::Range<u16> = 20_000..20_300;
/// Where the clients' own sequence numbers are.
const OWN: u32 = 1_000_000;
/// The sequence number of a SYN that somebody else sends.
const FORGED: u32 = u32::MAX - 9;

/// A service, some of whose slots move to a backend that came later.
struct Moving {
    bench: Bench,
    family: Family,
    vip: Vip,
    /// The flows whose slots move: port, place of the slot, and the backend from before.
    flows: Vec<(u16, u32, IpAddr)>,
}

impl Moving {
    fn of(family: Family) -> Self {
        let mut moving = Self {
            bench: Bench::new(),
            family,
            vip: vip(family, 2, "80/tcp"),
            flows: Vec::new(),
        };
        moving.apply(4);
        let before: Vec<_> = PORTS
            .map(|port| (port, moving.slot(port), moving.say(port, OWN, ACK)))
            .collect();
        moving.apply(5);
        while moving.bench.settle(3600).left > 0 {}
        let tables = &moving.bench.object.tables;
        let goes_to_newest = |slot: u32| {
            let slot = tables.slot(slot);
            slot.is_moving() && flow::address(tables, slot.current()) == Some(moving.newest())
        };
        moving.flows = before
            .into_iter()
            .filter(|(_, slot, _)| goes_to_newest(*slot))
            .collect();
        assert!(moving.flows.len() > 20, "{} flows", moving.flows.len());
        moving
    }

    fn apply(&mut self, backends: u8) {
        let address = |last| self.family.backend(20 + last);
        let hop = NextHop {
            ifindex: INGRESS,
            source: NODE_MAC,
            destination: NEXT_MAC,
            mtu: MTU,
            tags: tollgate_common::tag::Tags::NONE,
        };
        let hops: Hops = (1..=backends)
            .map(|last| (address(last), hop.clone()))
            .collect();
        let backends = (1..=backends).map(|last| Backend {
            address: address(last),
            weight: 1,
            drain: false,
        });
        let deliver = Deliver::Ipip(backends.collect());
        let services = vec![Service::new("s".to_owned(), self.vip, deliver)];
        self.bench.apply(
            &Model {
                services,
                ..Model::default()
            },
            &hops,
        );
    }

    /// The backend that came later.
    fn newest(&self) -> IpAddr {
        self.family.backend(25)
    }

    /// The place of a flow's slot.
    fn slot(&self, port: u16) -> u32 {
        self.key(port).slot
    }

    fn key(&self, port: u16) -> PinKey {
        let key = tables::key(self.vip);
        let (cell, _) = self.bench.object.tables.find(key).unwrap();
        let Region { base, len, .. } = Region::unpack(cell.region.load());
        let flow = tables::flow(self.family.client(), port, self.vip).unwrap();
        let hash = flow.hash(cell.seed.load());
        PinKey {
            hash: hash.0,
            slot: base + hash.slot(len),
            extra: PinKey::extra(key.hi, key.lo),
        }
    }

    fn frame(&self, port: u16, sequence: u32, flags: u8) -> Vec<u8> {
        let client = self.family.client();
        segment(client, port, self.vip, sequence, flags, &[7; 40])
    }

    /// The backend that a segment goes to.
    fn say(&mut self, port: u16, sequence: u32, flags: u8) -> IpAddr {
        let frame = self.frame(port, sequence, flags);
        self.way(&frame)
    }

    fn way(&mut self, frame: &[u8]) -> IpAddr {
        let ran = self.bench.run(frame, 0);
        assert_eq!(ran.verdict, Verdict::Sent);
        tunnelled(&ran.frame).to
    }

    fn pin(&mut self, port: u16) -> Option<Pin> {
        let key = self.key(port);
        self.bench.pins().get(&key).copied()
    }
}

#[test]
fn a_forged_syn_takes_no_flow() {
    const TAG: [(u16, u16); 1] = [(0x8100, 5)];

    for family in FAMILIES {
        let mut moving = Moving::of(family);
        for (port, _, backend) in moving.flows.clone() {
            let newest = moving.newest();
            assert_eq!(moving.say(port, FORGED, SYN), newest);
            let pin = moving.pin(port).unwrap();
            assert_eq!((pin.isn, pin.flags), (FORGED, 0));
            // The connection that lives, in every shape; also its challenge to the answer to that SYN (RFC 5961).
            for sequence in [
                OWN,
                FORGED,
                FORGED.wrapping_sub(1),
                FORGED.wrapping_add(65_537),
            ] {
                for flags in [ACK, ACK | FIN, ACK | RST, RST] {
                    assert_eq!(moving.say(port, sequence, flags), backend, "{flags:#x}");
                }
            }
            let own = moving.frame(port, OWN, ACK);
            assert_eq!(moving.way(&tagged(&own, &TAG)), backend);
            assert_eq!(moving.way(&piece(&own, port, 0, 24)), backend);
            assert_eq!(moving.pin(port), Some(pin), "left as it is");
            // An error is about a packet of whoever answered the SYN.
            let about = answer(&own);
            let error = message(family, moving.vip.ip, errors(family)[0], &about);
            assert_eq!(moving.way(&error), newest);
            assert_eq!(moving.pin(port), Some(pin), "and proves nothing");
        }
    }
}

#[test]
fn a_connection_is_its_own_when_its_first_flight_follows_its_syn() {
    const TAG: [(u16, u16); 1] = [(0x8100, 5)];

    for family in FAMILIES {
        let mut moving = Moving::of(family);
        let newest = moving.newest();
        let first_flight = [1, 2, 1460, 65_536];
        for (n, (port, _, backend)) in moving.flows.clone().into_iter().enumerate() {
            // A SYN again is the same connection's; another one is the next.
            for isn in [OWN, OWN, FORGED] {
                assert_eq!(moving.say(port, isn, SYN), newest);
            }
            assert_eq!(moving.say(port, OWN + 1, ACK), backend);
            let by = first_flight[n % first_flight.len()];
            let first = moving.frame(port, FORGED.wrapping_add(by), ACK);
            let way = match n % 3 {
                0 => moving.way(&first),
                1 => moving.way(&tagged(&first, &TAG)),
                _ => moving.way(&piece(&first, port, 0, 24)),
            };
            assert_eq!(way, newest, "{by} behind its SYN");
            assert_eq!(moving.pin(port).unwrap().flags, Pin::CONFIRMED);
            // From now on it answers everything.
            for flags in [ACK, SYN] {
                assert_eq!(moving.say(port, OWN, flags), newest);
            }
            assert_eq!(moving.pin(port).unwrap().isn, FORGED);
            let end = [ACK | FIN, RST][n % 2];
            assert_eq!(moving.say(port, OWN, end), newest);
            assert_eq!(moving.say(port, OWN, ACK), newest);
            let pin = moving.pin(port).unwrap();
            assert_eq!(pin.flags, Pin::CONFIRMED | Pin::CLOSING);
        }
    }
}

/// Hosts in whose name a stranger has sent SYNs to others, with our address as their source, answer us.
#[test]
fn what_others_answer_to_forged_packets_keeps_no_slot_moving() {
    const IDLE: u32 = 100;

    for family in FAMILIES {
        let mut moving = Moving::of(family);
        // As if all slots had begun to move long ago.
        let tables = &moving.bench.object.tables;
        let is_moving = |slot: &u32| tables.slot(*slot).is_moving();
        let all: Vec<u32> = (0..tables.slots.len() as u32).filter(is_moving).collect();
        for slot in &all {
            tables.stamps[*slot as usize].store(second().saturating_sub(IDLE + 1));
        }
        let [(living, ..), others @ ..] = &moving.flows.clone()[..] else {
            panic!("no flows");
        };
        for (port, _, backend) in others {
            for flags in [SYN | ACK, RST, RST | ACK] {
                assert_eq!(moving.say(*port, OWN, flags), *backend);
            }
            let about = answer(&moving.frame(*port, OWN, ACK));
            let error = message(family, moving.vip.ip, errors(family)[0], &about);
            assert_eq!(moving.way(&error), *backend);
        }
        moving.say(*living, OWN, ACK);
        let settled = moving.bench.settle(IDLE);
        assert_eq!((settled.settled, settled.moving), (all.len() - 1, 1));
        let slot = moving.slot(*living);
        assert!(moving.bench.object.tables.slot(slot).is_moving());
    }
}
