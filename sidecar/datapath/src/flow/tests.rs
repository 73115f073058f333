//! What is promised to flows, held against random histories of changes. Nothing here knows how slots change hands: a
//! ledger notes the first backend of each flow, and each later packet must go there.

use std::{
    collections::{BTreeMap, HashMap},
    net::Ipv4Addr,
    time::Duration,
};

use proptest::prelude::*;

use super::*;
use crate::{
    maps::Mapping,
    model::{self, Affinity, Deliver, Model, Service},
    reconcile::{Applied, Effects, Hops, State},
};

mod forget;

const IDLE: u32 = 600;
const VIP: &str = "203.0.113.20:80";

struct Node {
    tables: Mapping,
    state: State,
    kernel: Kernel,
    proto: Proto,
    affinity: Affinity,
    drain_limit: Option<Duration>,
    /// Weight and drain by last byte of the address.
    backends: BTreeMap<u8, (u32, bool)>,
}

/// What the kernel does beside.
struct Kernel {
    now: u32,
    /// The pins cannot be looked through.
    fails: bool,
    pins: Table,
}

impl Effects for Kernel {
    fn reset(&mut self, _: u16) {}
    fn reset_drops(&mut self, _: u16) {}
    fn forget(&mut self, _: u32) {}
    fn grace(&mut self) {}

    fn now(&self) -> u32 {
        self.now
    }

    fn retain_pins(&mut self, keep: &mut dyn FnMut(&PinKey, &Pin) -> bool) -> Option<usize> {
        if self.fails {
            return None;
        }
        self.pins.pins.retain(|key, pin| keep(key, pin));
        Some(self.pins.pins.len())
    }
}

impl Node {
    fn new(proto: Proto, backends: impl IntoIterator<Item = u8>, room: usize) -> Self {
        let tables = Mapping::private().unwrap();
        tables.sign();
        let mut node = Self {
            state: State::read(&tables),
            tables,
            kernel: Kernel {
                now: 1_000,
                fails: false,
                pins: Table {
                    pins: HashMap::new(),
                    room,
                },
            },
            proto,
            affinity: Affinity::Flow,
            drain_limit: None,
            backends: backends
                .into_iter()
                .map(|last| (last, (1, false)))
                .collect(),
        };
        node.apply();
        node
    }

    fn apply(&mut self) -> Applied {
        let backends = self.backends.iter();
        let backends = backends.map(|(&last, &(weight, drain))| model::Backend {
            address: Ipv4Addr::new(10, 0, 0, last).into(),
            weight,
            drain,
        });
        let vip = format!("{VIP}/{}", self.proto).parse().unwrap();
        let mut service = Service::new("s".into(), vip, Deliver::Ipip(backends.collect()));
        service.affinity = self.affinity;
        service.connection_idle = Duration::from_secs(IDLE.into());
        service.drain_limit = self.drain_limit;
        let model = Model {
            services: vec![service],
            ..Model::default()
        };
        self.state
            .apply(&self.tables, &model, &Hops::new(), &mut self.kernel)
            .unwrap()
    }

    /// Seconds go by, as many rounds of the daemon with them.
    fn pass(&mut self, seconds: u32) {
        self.kernel.now += seconds;
        self.state.settle(&self.tables, &mut self.kernel, |_| IDLE);
    }

    fn settle(&mut self) {
        while self
            .state
            .settle(&self.tables, &mut self.kernel, |_| IDLE)
            .left
            > 0
        {}
        self.pass(IDLE + 1);
        let settled = self.state.settle(&self.tables, &mut self.kernel, |_| IDLE);
        assert_eq!((settled.moving, settled.left), (0, 0));
    }

    /// A SYN, or what is sent right behind it.
    fn send(&mut self, client: u32, opens: bool) -> Backend {
        self.say(client, if opens { syn(client) } else { data(client, 1) })
    }

    fn say(&mut self, client: u32, segment: Segment) -> Backend {
        let source = Ipv4Addr::from(0xc633_6400 | client >> 12 & 0xff);
        let packet = Packet {
            source: (source, 1024 + (client & 0xfff) as u16).into(),
            destination: VIP.parse().unwrap(),
            proto: self.proto,
            segment,
        };
        let Kernel { now, pins, .. } = &mut self.kernel;
        match pick(&self.tables, pins, &packet, *now) {
            Picked::Backend(backend) => backend,
            other => panic!("{packet:?} became {other:?}"),
        }
    }

    fn last_of(&self, id: u16) -> Option<u8> {
        match address(&self.tables, id) {
            Some(IpAddr::V4(ip)) => Some(ip.octets()[3]),
            _ => None,
        }
    }
}

/// The SYN of a client, whose number nobody else knows.
fn syn(client: u32) -> Segment {
    Segment {
        sequence: Some(client.wrapping_mul(0x9e37_79b9)),
        flags: 0x02,
    }
}

/// Data of a client, so far behind its SYN.
fn data(client: u32, behind: u32) -> Segment {
    let isn = syn(client).sequence;
    Segment {
        sequence: isn.map(|isn| isn.wrapping_add(behind)),
        flags: 0x18,
    }
}

/// A SYN in the name of a client, by somebody who knows its addresses and ports alone.
fn forged(client: u32) -> Segment {
    Segment {
        sequence: Some(!client.wrapping_mul(0x9e37_79b9)),
        flags: 0x02,
    }
}

/// How far behind its SYN a flow's data is that has gone on for a while.
const FAR: u32 = 10_000_000;

/// Flows, and the backend that each had first.
#[derive(Default)]
struct Ledger {
    flows: BTreeMap<u32, (u16, u8)>,
    next: u32,
}

impl Ledger {
    fn begin(&mut self, node: &mut Node, count: u32) {
        for client in self.next..self.next + count {
            let got = node.send(client, true);
            let Some(last) = node.last_of(got.id) else {
                assert_eq!(got.id, 0);
                continue;
            };
            // A repeated SYN finds the same.
            assert_eq!(
                node.send(client, true).id,
                got.id,
                "the SYN of {client} again"
            );
            assert_eq!(
                node.send(client, false).id,
                got.id,
                "what follows the SYN of {client}"
            );
            self.flows.insert(client, (got.id, last));
        }
        self.next += count;
    }

    /// Somebody sends a SYN in each flow's name.
    fn forge(&self, node: &mut Node) {
        for &client in self.flows.keys() {
            node.say(client, forged(client));
        }
    }

    /// Each flow sends packets. Those whose backend is gone are over.
    fn go_on(&mut self, node: &mut Node) -> Result<(), TestCaseError> {
        let gone = |last: &u8| !node.backends.contains_key(last);
        self.flows.retain(|_, (_, last)| !gone(last));
        for (&client, &(id, _)) in &self.flows {
            // Of a datagram flow from before a second one is waited for as well.
            node.say(client, data(client, FAR));
            let got = node.say(client, data(client, FAR));
            prop_assert_eq!(got.id, id, "flow {} {:?}", client, got);
        }
        Ok(())
    }
}

#[derive(Clone, Debug)]
enum Op {
    Put(u8, u32, bool),
    Remove(u8),
    Restart,
    Pass(u32),
    Begin(u32),
    /// Forged SYNs, one for each living flow.
    Forge,
}

fn ops(most: u8) -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        4 => (1..=most, 1..4_u32, prop::bool::weighted(0.2)).prop_map(|(last, weight, drain)| Op::Put(last, weight, drain)),
        2 => (3..=most).prop_map(Op::Remove),
        1 => Just(Op::Restart),
        2 => (1..120_u32).prop_map(Op::Pass),
        4 => (1..40_u32).prop_map(Op::Begin),
        1 => Just(Op::Forge),
    ];
    prop::collection::vec(op, 1..30)
}

fn run(node: &mut Node, ops: Vec<Op>) -> Result<Ledger, TestCaseError> {
    let mut ledger = Ledger::default();
    ledger.begin(node, 200);
    for op in ops {
        match op {
            Op::Put(last, weight, drain) => {
                node.backends.insert(last, (weight, drain));
                node.apply();
            }
            Op::Remove(last) => {
                node.backends.remove(&last);
                node.apply();
            }
            Op::Restart => {
                node.state = State::read(&node.tables);
                node.apply();
            }
            Op::Pass(seconds) => node.pass(seconds),
            Op::Begin(count) => ledger.begin(node, count),
            Op::Forge if node.proto == Proto::Udp => {}
            Op::Forge => ledger.forge(node),
        }
        ledger.go_on(node)?;
    }
    Ok(ledger)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Nothing takes a TCP flow from its living backend: no change of others, no drain, no restart, no forged SYN; with room for pins,
    /// without any, and with some.
    #[test]
    fn a_flow_keeps_its_living_backend(ops in ops(8), room in prop::sample::select(vec![0, 30, 100_000])) {
        let mut node = Node::new(Proto::Tcp, [1, 2, 3, 4], room);
        let mut ledger = run(&mut node, ops)?;
        node.settle();
        prop_assert!(node.kernel.pins.pins.is_empty());
        // Silent for longer than was promised, they go where new flows go; what comes keeps that again.
        ledger.flows.clear();
        ledger.begin(&mut node, 100);
        node.backends.insert(9, (1, false));
        node.backends.remove(&8);
        if node.backends.len() > 8 {
            node.backends.remove(&9);
        }
        node.apply();
        ledger.go_on(&mut node)?;
    }

    /// The same under the flood guard: nobody may make a pin.
    #[test]
    fn the_flood_guard_takes_no_flow(ops in ops(8)) {
        let mut node = Node::new(Proto::Tcp, [1, 2, 3, 4], 100_000);
        node.tables.guards.store(Guards { pins: 0, icmp: 0 }.pack());
        run(&mut node, ops)?;
        prop_assert!(node.kernel.pins.pins.is_empty());
    }

    /// One change of the number of slots within the time that silent flows are remembered for.
    #[test]
    fn another_number_of_slots_takes_no_flow(before in 1..=8_u8, after in 9..=12_u8, back in 1..=8_u8, ops in ops(8)) {
        let mut node = Node::new(Proto::Tcp, 1..=before, 100_000);
        let mut ledger = Ledger::default();
        ledger.begin(&mut node, 300);
        for last in 9..=8 + after {
            node.backends.insert(last, (1, false));
        }
        node.apply();
        ledger.go_on(&mut node)?;
        ledger.begin(&mut node, 100);
        // Whatever happens among the others meanwhile; so many stay that the number of slots does.
        for op in ops {
            match op {
                Op::Put(last, weight, drain) => {
                    node.backends.insert(20 + last, (weight, drain));
                }
                Op::Remove(last) => {
                    node.backends.remove(&(20 + last));
                }
                _ => continue,
            }
            node.apply();
            ledger.go_on(&mut node)?;
            ledger.begin(&mut node, 10);
        }
        node.settle();
        ledger.flows.clear();
        ledger.begin(&mut node, 300);
        node.backends.retain(|last, _| *last <= back.max(2));
        node.apply();
        ledger.go_on(&mut node)?;
    }

    /// Another affinity names other slots for all flows: those from before stay where they are, in either direction, whatever
    /// happens among the others meanwhile.
    #[test]
    fn another_affinity_takes_no_flow(to_client: bool, ops in ops(8)) {
        let mut node = Node::new(Proto::Tcp, [1, 2, 3, 4], 100_000);
        node.affinity = if to_client { Affinity::Flow } else { Affinity::Client };
        node.apply();
        node.settle();
        let mut ledger = Ledger::default();
        ledger.begin(&mut node, 300);
        node.affinity = if to_client { Affinity::Client } else { Affinity::Flow };
        node.apply();
        ledger.go_on(&mut node)?;
        ledger.begin(&mut node, 100);
        for op in ops {
            match op {
                Op::Put(last, weight, drain) => {
                    node.backends.insert(20 + last % 4, (weight, drain));
                }
                Op::Remove(last) => {
                    node.backends.remove(&(20 + last % 4));
                }
                _ => continue,
            }
            node.apply();
            ledger.go_on(&mut node)?;
            ledger.begin(&mut node, 10);
        }
        node.settle();
    }

    /// UDP: a flow that is heard of twice in the first minute after each change keeps its backend.
    #[test]
    fn a_datagram_flow_that_goes_on_keeps_its_backend(ops in ops(8)) {
        let mut node = Node::new(Proto::Udp, [1, 2, 3, 4], 100_000);
        run(&mut node, ops)?;
    }
}

#[test]
fn new_flows_go_where_the_table_says_and_none_to_who_drains() {
    let mut node = Node::new(Proto::Tcp, [1, 2, 3, 4], 100_000);
    node.backends.insert(4, (1, true));
    node.backends.insert(5, (1, false));
    node.apply();
    while node
        .state
        .settle(&node.tables, &mut node.kernel, |_| IDLE)
        .left
        > 0
    {}
    let mut shares: BTreeMap<u8, u32> = BTreeMap::new();
    for client in 0..8_000 {
        let got = node.send(client, true);
        assert!(matches!(got.why, Why::Begins | Why::Settled), "{got:?}");
        *shares.entry(node.last_of(got.id).unwrap()).or_default() += 1;
    }
    assert_eq!(shares.keys().copied().collect::<Vec<_>>(), [1, 2, 3, 5]);
    assert!(
        shares.values().all(|share| (1_850..2_150).contains(share)),
        "{shares:?}"
    );
}

#[test]
fn a_large_change_comes_in_steps_and_a_death_at_once() {
    let mut node = Node::new(Proto::Tcp, [1], 100_000);
    node.backends = (1..=4).map(|last| (last, (1, false))).collect();
    node.apply();
    node.settle();
    let weights = |node: &mut Node, weight| {
        for last in [1, 2] {
            node.backends.insert(last, (weight, false));
        }
        node.apply()
    };
    let applied = weights(&mut node, 100);
    assert!(
        applied.left > 0 && applied.moved <= 16_381 / 5 + 1,
        "{applied:?}"
    );
    let mut rounds = 1;
    while node
        .state
        .settle(&node.tables, &mut node.kernel, |_| IDLE)
        .left
        > 0
    {
        rounds += 1;
    }
    assert!((2..=5).contains(&rounds), "{rounds}");
    node.backends.remove(&1);
    let applied = node.apply();
    assert!(applied.moved > 16_381 * 2 / 5, "{applied:?}");
    for client in 0..2_000 {
        let got = node.send(client, false);
        assert_ne!(node.last_of(got.id), Some(1));
    }
}

#[test]
fn everybody_drains() {
    let mut node = Node::new(Proto::Tcp, [1, 2], 100_000);
    let mut ledger = Ledger::default();
    ledger.begin(&mut node, 200);
    node.backends = [(1, (1, true)), (2, (1, true))].into();
    node.apply();
    while node
        .state
        .settle(&node.tables, &mut node.kernel, |_| IDLE)
        .left
        > 0
    {}
    ledger.go_on(&mut node).unwrap();
    for client in 1_000..1_200 {
        assert_eq!(node.send(client, true).why, Why::Nobody);
    }
    node.backends.insert(1, (1, false));
    node.apply();
    ledger.go_on(&mut node).unwrap();
    while node
        .state
        .settle(&node.tables, &mut node.kernel, |_| IDLE)
        .left
        > 0
    {}
    for client in 1_000..1_200 {
        let got = node.send(client, true);
        assert_eq!(node.last_of(got.id), Some(1), "{got:?}");
    }
}

#[test]
fn one_client_has_one_backend_where_the_service_says_so() {
    let mut node = Node::new(Proto::Tcp, [1, 2, 3, 4], 100_000);
    node.affinity = Affinity::Client;
    node.apply();
    for client in 0..64_u32 {
        let first = node.send(client << 12, true).id;
        for port in 1..40 {
            assert_eq!(node.send(client << 12 | port, true).id, first);
        }
    }
}

#[test]
fn a_number_that_is_given_anew_is_not_taken_for_the_one_before() {
    let mut node = Node::new(Proto::Tcp, [1, 2, 3], 100_000);
    node.backends.insert(4, (1, false));
    node.apply();
    while node
        .state
        .settle(&node.tables, &mut node.kernel, |_| IDLE)
        .left
        > 0
    {}
    let mine: Vec<u32> = (0..4_000)
        .filter(|client| {
            let got = node.send(*client, true);
            node.last_of(got.id) == Some(4) && got.why == Why::Begins
        })
        .collect();
    assert!(mine.len() > 500);
    node.backends.remove(&4);
    node.apply();
    node.backends.insert(5, (1, false));
    node.apply();
    let Some(five) = (1..100).find(|id| node.last_of(*id) == Some(5)) else {
        panic!("it has no number");
    };
    let pins = &node.kernel.pins.pins;
    assert!(
        pins.values().any(|pin| pin.id() == five),
        "the number was given anew"
    );
    for client in mine {
        let got = node.send(client, false);
        assert_ne!(got.why, Why::Pinned, "{got:?}");
    }
}
