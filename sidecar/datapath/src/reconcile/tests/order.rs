//! What packets find while a model is being written.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
};

use tollgate_common::{tables::Guards, tag::Tags};

use super::*;
use crate::{
    flow::{Packet, Picked, Segment, Table, pick},
    model::Proto,
};

const CLIENTS: u16 = 96;
const SECOND: u32 = 1_000;

fn packet(client: u16, proto: Proto) -> Packet {
    Packet {
        source: SocketAddr::from(([198, 51, 100, 7], 40_000 + client)),
        destination: SocketAddr::from(([203, 0, 113, 20], 80)),
        proto,
        segment: Segment::ACK,
    }
}

/// The backend of a flow from before, of which nothing is remembered.
fn told(tables: &Tables, client: u16, proto: Proto) -> u16 {
    let mut pins = Table {
        room: 1,
        ..Table::default()
    };
    match pick(tables, &mut pins, &packet(client, proto), SECOND) {
        Picked::Backend(backend) => backend.id,
        other => panic!("{client}: {other:?}"),
    }
}

/// A grace period is over when the reader, whom the machine may have stopped amid a look, has looked once more.
struct Watched<'a> {
    record: Record,
    looks: &'a AtomicUsize,
}

impl Effects for Watched<'_> {
    fn reset(&mut self, entry: u16) {
        self.record.reset(entry);
    }

    fn reset_drops(&mut self, service: u16) {
        self.record.reset_drops(service);
    }

    fn now(&self) -> u32 {
        self.record.now()
    }

    fn retain_pins(&mut self, keep: &mut dyn FnMut(&PinKey, &Pin) -> bool) -> Option<usize> {
        self.record.retain_pins(keep)
    }

    fn forget(&mut self, listener: u32) {
        self.record.forget(listener);
    }

    fn grace(&mut self) {
        let begun = self.looks.load(Ordering::Acquire);
        while self.looks.load(Ordering::Acquire) < begun + 2 {
            thread::yield_now();
        }
    }
}

/// While backends come, drain, go and come back and the table changes its size, packets are looked up all the time: those of
/// flows from before find their backend at any moment, datagrams too, unless it goes, and nobody ever finds none.
#[test]
fn no_packet_finds_half_of_a_change() {
    for proto in [Proto::Tcp, Proto::Udp] {
        let vip = format!("203.0.113.20:80/{proto}");
        for (before, after) in [(8, 9), (9, 8), (4, 5), (12, 14), (14, 12)] {
            for _ in 0..3 {
                while_written(proto, before, after, |last| {
                    service(&vip, Deliver::Ipip(backends(1..=last)))
                });
            }
        }
    }
}

fn while_written(proto: Proto, before: u8, after: u8, of: impl Fn(u8) -> Service) {
    let mut node = Node::new();
    node.effects.now = SECOND;
    let guards = Guards { pins: 1, icmp: 0 };
    node.tables.guards.store(guards.pack());
    // Others whose cells and slots stand around it.
    let filler: Vec<_> = (0..40)
        .map(|port| {
            service(
                &format!("192.0.2.1:{}/tcp", 1000 + port),
                Deliver::Ipip(backends(1..=2)),
            )
        })
        .collect();
    node.apply(&[vec![of(before)], filler[..20].to_vec()].concat())
        .unwrap();
    let stay = node.ids(&of(before.min(after)));
    let first: Vec<u16> = (0..CLIENTS)
        .map(|client| told(&node.tables, client, proto))
        .collect();

    let Node {
        tables,
        mut state,
        effects,
    } = node;
    let (is_done, looks) = (AtomicBool::new(false), AtomicUsize::new(0));
    let mut effects = Watched {
        record: effects,
        looks: &looks,
    };
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut wrong = Vec::new();
            while !is_done.load(Ordering::Acquire) {
                for (client, was) in (0..CLIENTS).zip(&first) {
                    let is = told(&tables, client, proto);
                    if (is == 0 || is != *was && stay.contains(was)) && wrong.len() < 10 {
                        wrong.push((client, *was, is));
                    }
                }
                looks.fetch_add(1, Ordering::Release);
            }
            wrong
        });
        effects.grace();
        let services = [vec![of(after)], filler[10..].to_vec()].concat();
        let model = Model {
            services: services.clone(),
            ..Model::default()
        };
        let applied = state.apply(&tables, &model, &hops(&services), &mut effects);
        effects.grace();
        is_done.store(true, Ordering::Release);
        applied.unwrap();
        let wrong = reader.join().unwrap();
        assert_eq!(
            wrong,
            [],
            "{proto}, {before} to {after}: client, backend before, backend"
        );
    });
}

/// A daemon that died between a number's owner and its life leaves them apart; pins to a dead backend would stay valid.
#[test]
fn lives_agree_with_owners_after_a_crash() {
    let mut node = Node::new();
    let two = service("203.0.113.20:80/tcp", Deliver::Ipip(backends(1..=2)));
    node.apply(std::slice::from_ref(&two)).unwrap();
    let [first, second] = node.ids(&two)[..] else {
        panic!("two backends have two entries")
    };
    let life = |node: &Node, id: u16| node.tables.lives[usize::from(id)].load();
    let before = life(&node, first);
    node.tables.lives[usize::from(first)].store(before + 1);
    node.tables.owners[usize::from(second)].tag.store(0);
    node.restart();
    assert_eq!(life(&node, first), before + 2, "in use, and another life");
    assert_eq!(life(&node, second) & 1, 0, "not in use");
}

#[test]
fn numbers_of_tags_are_free_once_no_entry_names_them() {
    let mut node = Node::new();
    let one = service("203.0.113.20:80/tcp", Deliver::Ipip(backends([1])));
    let model = Model {
        services: vec![one.clone()],
        ..Model::default()
    };
    let tagged = |vlan: u16| {
        let mut hops = hops(std::slice::from_ref(&one));
        for hop in hops.values_mut() {
            hop.tags = Tags::one(Tags::C, vlan);
        }
        hops
    };
    // More than there are numbers.
    for vlan in 1..=600 {
        let hops = tagged(vlan);
        node.state
            .apply(&node.tables, &model, &hops, &mut node.effects)
            .unwrap();
        assert_eq!(node.state.hops(&node.tables), hops, "{vlan}");
    }
    // Who has a number keeps it, also behind a free one.
    node.tables.vlans[1].store(0);
    let words = |node: &Node| {
        node.tables
            .backends
            .iter()
            .map(|entry| entry.out.load())
            .collect::<Vec<_>>()
    };
    let before = words(&node);
    node.state
        .refresh(&node.tables, &tagged(600), &mut node.effects);
    assert_eq!(words(&node), before);
}
