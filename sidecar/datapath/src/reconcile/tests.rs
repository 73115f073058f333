use std::{collections::HashMap, net::IpAddr};

use tollgate_common::limits::{LISTENERS, SHAPES};

use super::*;
use crate::{
    maps::Mapping,
    model::{Backend, Deliver, Service},
    tables::NextHop,
};

mod history;
mod order;
mod shapes;
mod shares;
mod tunnel;

#[derive(Default)]
struct Record {
    now: u32,
    pins: Vec<(PinKey, Pin)>,
    reset: Vec<u16>,
    forgotten: Vec<u32>,
    graces: usize,
}

impl Effects for Record {
    fn reset(&mut self, entry: u16) {
        self.reset.push(entry);
    }

    fn reset_drops(&mut self, _: u16) {}

    fn now(&self) -> u32 {
        self.now
    }

    fn retain_pins(&mut self, keep: &mut dyn FnMut(&PinKey, &Pin) -> bool) -> Option<usize> {
        self.pins.retain(|(key, pin)| keep(key, pin));
        Some(self.pins.len())
    }

    fn forget(&mut self, listener: u32) {
        self.forgotten.push(listener);
    }

    fn grace(&mut self) {
        self.graces += 1;
    }
}

struct Node {
    tables: Mapping,
    state: State,
    effects: Record,
}

impl Node {
    fn new() -> Self {
        let tables = Mapping::private().unwrap();
        Self {
            state: State::read(&tables),
            tables,
            effects: Record::default(),
        }
    }

    fn apply(&mut self, services: &[Service]) -> Result<Applied, PlanError> {
        let model = Model {
            services: services.to_vec(),
            ..Model::default()
        };
        self.state
            .apply(&self.tables, &model, &hops(services), &mut self.effects)
    }

    /// As a new daemon finds it.
    fn restart(&mut self) {
        self.state = State::read(&self.tables);
    }

    fn ids(&self, service: &Service) -> Vec<u16> {
        owners(service)
            .iter()
            .map(|owner| self.state.entry(owner).unwrap())
            .collect()
    }

    fn slots(&self, service: &Service) -> Vec<u16> {
        let (cell, _) = self.tables.find(tables::key(service.vip)).unwrap();
        let Region { base, len, .. } = Region::unpack(cell.region.load());
        (base..base + len)
            .map(|slot| self.tables.slot(slot).current())
            .collect()
    }

    fn action(&self, service: &Service) -> Option<Action> {
        let (_, action) = self.tables.find(tables::key(service.vip))?;
        Action::from_number(action)
    }
}

fn hops(services: &[Service]) -> Hops {
    let hop = NextHop {
        ifindex: 3,
        source: [2; 6],
        destination: [4; 6],
        mtu: 1500,
        tags: tollgate_common::tag::Tags::NONE,
    };
    services
        .iter()
        .flat_map(|service| service.deliver.backends())
        .map(|backend| (backend.address, hop.clone()))
        .collect()
}

fn backends(last: impl IntoIterator<Item = u8>) -> Vec<Backend> {
    last.into_iter()
        .map(|last| Backend {
            address: IpAddr::from([10, 0, 0, last]),
            weight: 1,
            drain: false,
        })
        .collect()
}

fn service(vip: &str, deliver: Deliver) -> Service {
    Service::new(vip.to_owned(), vip.parse().unwrap(), deliver)
}

#[test]
fn a_backend_that_goes_takes_only_its_own_flows() {
    let mut node = Node::new();
    let four = service("203.0.113.20:80/tcp", Deliver::Ipip(backends(1..=4)));
    node.apply(std::slice::from_ref(&four)).unwrap();
    let (before, ids) = (node.slots(&four), node.ids(&four));

    let three = service("203.0.113.20:80/tcp", Deliver::Ipip(backends(1..=3)));
    let applied = node.apply(std::slice::from_ref(&three)).unwrap();
    let after = node.slots(&three);
    let others = before
        .iter()
        .zip(&after)
        .filter(|(b, a)| **b != ids[3] && b != a)
        .count();
    assert!((others as f64) < 0.01 * before.len() as f64, "{others}");
    assert!(after.iter().all(|id| *id != ids[3] && *id != 0));
    assert_eq!((applied.added, applied.removed), (0, 1));
    assert_eq!(node.tables.backends[usize::from(ids[3])].out.load(), 0);
}

#[test]
fn the_last_backend_can_go_and_come_back() {
    let mut node = Node::new();
    let one = service("203.0.113.20:80/tcp", Deliver::L2(backends([1])));
    node.apply(std::slice::from_ref(&one)).unwrap();
    let none = service("203.0.113.20:80/tcp", Deliver::L2(Vec::new()));
    node.apply(std::slice::from_ref(&none)).unwrap();
    assert!(node.slots(&none).is_empty());
    assert_eq!(node.tables.slot(0).current(), 0);
    node.apply(std::slice::from_ref(&one)).unwrap();
    assert!(node.slots(&one).iter().all(|id| *id == node.ids(&one)[0]));
}

#[test]
fn a_draining_backend_keeps_its_entry_and_gets_no_slots() {
    let mut node = Node::new();
    let mut drained = backends(1..=2);
    drained[1].drain = true;
    let service = service("[2001:db8::1]:80/udp", Deliver::Ipip(drained));
    node.apply(std::slice::from_ref(&service)).unwrap();
    let ids = node.ids(&service);
    assert!(node.slots(&service).iter().all(|id| *id == ids[0]));
    assert_ne!(node.tables.backends[usize::from(ids[1])].out.load(), 0);
}

#[test]
fn a_restart_knows_everything_again() {
    let mut node = Node::new();
    let services = [
        service("203.0.113.20:80/tcp", Deliver::Ipip(backends(1..=4))),
        service("203.0.113.20:443/tcp", Deliver::Listener("edge".into())),
        service(
            "[2001:db8::1]:53/udp",
            Deliver::L2(vec![Backend {
                address: "2001:db8::21".parse().unwrap(),
                weight: 3,
                drain: false,
            }]),
        ),
    ];
    node.apply(&services).unwrap();
    let before: Vec<_> = services
        .iter()
        .map(|service| (node.ids(service), node.slots(service)))
        .collect();
    node.restart();
    node.effects = Record::default();
    let applied = node.apply(&services).unwrap();
    assert_eq!((applied.added, applied.removed, applied.moved), (0, 0, 0));
    assert!(node.effects.reset.is_empty());
    let after: Vec<_> = services
        .iter()
        .map(|service| (node.ids(service), node.slots(service)))
        .collect();
    assert_eq!(before, after);
    assert_eq!(node.state.listener(&node.tables, "edge"), Ok(0));
    assert_eq!(node.state.listener(&node.tables, "other"), Ok(1));
}

#[test]
fn numbers_that_went_are_given_again_and_count_from_zero() {
    let mut node = Node::new();
    let first = service("203.0.113.20:80/tcp", Deliver::Ipip(backends([1])));
    node.apply(std::slice::from_ref(&first)).unwrap();
    let id = node.ids(&first)[0];
    node.apply(&[]).unwrap();
    assert_eq!(node.action(&first), None);
    node.effects.reset.clear();
    let second = service("203.0.113.21:80/tcp", Deliver::Ipip(backends([2])));
    node.apply(std::slice::from_ref(&second)).unwrap();
    assert_eq!(node.ids(&second), [id]);
    assert_eq!(node.effects.reset, [id]);
}

#[test]
fn a_service_changes_what_it_is() {
    let mut node = Node::new();
    let vip = "203.0.113.20:80/tcp";
    let forward = service(vip, Deliver::Ipip(backends([1])));
    let steer = service(vip, Deliver::Listener("edge".into()));
    let fragments = tables::key(forward.vip).address();
    for (service, action) in [
        (&forward, Action::Forward),
        (&steer, Action::Steer),
        (&forward, Action::Forward),
    ] {
        node.apply(std::slice::from_ref(service)).unwrap();
        assert_eq!(node.action(service), Some(action));
        // Fragments of an address with a listener are for the stack.
        assert_eq!(
            node.tables.find(fragments).is_some(),
            action == Action::Forward
        );
    }
}

#[test]
fn a_model_that_does_not_fit_changes_nothing() {
    let mut node = Node::new();
    let good = service("203.0.113.20:80/tcp", Deliver::Ipip(backends([1])));
    node.apply(std::slice::from_ref(&good)).unwrap();
    let (ids, slots) = (node.ids(&good), node.slots(&good));
    // 64 tables of the large kind are one more than the pool has.
    let many: Vec<_> = (1..=64)
        .map(|last| {
            service(
                &format!("203.0.113.{last}:80/tcp"),
                Deliver::Ipip(backends(1..=17)),
            )
        })
        .collect();
    assert!(matches!(node.apply(&many), Err(PlanError::NoSlots(..))));
    assert_eq!((node.ids(&good), node.slots(&good)), (ids, slots));
}

#[test]
fn a_next_hop_that_is_lost_drops_and_comes_back() {
    let mut node = Node::new();
    let services = [service("203.0.113.20:80/tcp", Deliver::Ipip(backends([1])))];
    node.apply(&services).unwrap();
    let entry = &node.tables.backends[usize::from(node.ids(&services[0])[0])];
    let before = entry.out.load();
    node.state
        .refresh(&node.tables, &HashMap::new(), &mut node.effects);
    assert_eq!(entry.out.load(), 0);
    node.state
        .refresh(&node.tables, &hops(&services), &mut node.effects);
    assert_eq!(entry.out.load(), before);
}

#[test]
fn a_thousand_services_fit_and_are_found() {
    let mut node = Node::new();
    let services: Vec<_> = (0..1024_u16)
        .map(|i| {
            let vip = format!("10.1{}.{}.1:443/tcp", i >> 8, i & 0xff);
            match i % 8 {
                0 => service(&vip, Deliver::Ipip(backends([1]))),
                _ => service(&vip, Deliver::Listener(format!("l{}", i % 5))),
            }
        })
        .collect();
    node.apply(&services).unwrap();
    for service in &services {
        assert!(node.action(service).is_some(), "{}", service.name);
    }
    node.restart();
    assert_eq!(node.apply(&services).unwrap().added, 0);
}

#[test]
fn what_a_predecessor_left_is_not_refreshed_before_the_first_model() {
    let mut node = Node::new();
    let services = [service(
        "203.0.113.20:80/tcp",
        Deliver::Ipip(backends(1..=4)),
    )];
    node.apply(&services).unwrap();
    let words = |node: &Node| -> Vec<u64> {
        node.ids(&services[0])
            .iter()
            .flat_map(|id| {
                let entry = &node.tables.backends[usize::from(*id)];
                entry.header.iter().chain([&entry.out])
            })
            .map(tollgate_common::pod::Word64::load)
            .collect()
    };
    let before = words(&node);
    node.restart();
    node.effects = Record::default();
    assert_eq!(node.state.hops(&node.tables), hops(&services));
    node.state
        .refresh(&node.tables, &HashMap::new(), &mut node.effects);
    assert_eq!(words(&node), before);
    // The hops that were read back are enough for a first model.
    let read = node.state.hops(&node.tables);
    let model = Model {
        services: services.to_vec(),
        ..Model::default()
    };
    node.state
        .apply(&node.tables, &model, &read, &mut node.effects)
        .unwrap();
    assert_eq!(words(&node), before);
    assert_eq!(node.effects.graces, 1, "only the one after what went");
}

#[test]
fn a_hundred_changed_entries_wait_for_one_grace() {
    let mut node = Node::new();
    let services = [service(
        "203.0.113.20:80/tcp",
        Deliver::Ipip(backends(1..=100)),
    )];
    node.apply(&services).unwrap();
    let mut moved = hops(&services);
    for hop in moved.values_mut() {
        (hop.ifindex, hop.source) = (9, [8; 6]);
    }
    node.effects = Record::default();
    node.state.refresh(&node.tables, &moved, &mut node.effects);
    assert_eq!(node.effects.graces, 1);
    assert_eq!(node.state.hops(&node.tables), moved);
    // Another MAC address of the next hop alone is one word.
    for hop in moved.values_mut() {
        hop.destination = [7; 6];
    }
    node.state.refresh(&node.tables, &moved, &mut node.effects);
    assert_eq!(node.effects.graces, 1);
    assert_eq!(node.state.hops(&node.tables), moved);
}

#[test]
fn who_saw_the_action_before_finds_what_it_reads() {
    let mut node = Node::new();
    let vip = "203.0.113.20:80/tcp";
    let forward = service(vip, Deliver::Ipip(backends([1])));
    let steer = service(vip, Deliver::Listener("edge".into()));
    let other = service("203.0.113.21:80/tcp", Deliver::Listener("first".into()));
    let key = tables::key(forward.vip);
    node.apply(&[other.clone(), steer.clone()]).unwrap();
    let steered = node.tables.find(key).unwrap().0.steer.load();
    assert_ne!(steered >> 32, 0);
    node.apply(&[other.clone(), forward]).unwrap();
    let cell = node.tables.find(key).unwrap().0;
    assert_eq!(cell.steer.load(), steered);
    let region = cell.region.load();
    assert_ne!(region, 0);
    node.apply(&[other, steer]).unwrap();
    assert_eq!(node.tables.find(key).unwrap().0.region.load(), region);
    // A new daemon takes what nobody reads for nothing: the slots are free.
    node.restart();
    assert_eq!(node.state.services[&key].region, Region::default());
}

#[test]
fn names_of_listeners_that_went_are_free_again() {
    let mut node = Node::new();
    for round in 0..3 * LISTENERS {
        let one = service(
            "203.0.113.20:80/tcp",
            Deliver::Listener(format!("listener-{round}")),
        );
        node.apply(&[one]).unwrap();
        if round % 100 == 0 {
            node.restart();
        }
    }
    assert_eq!(node.effects.forgotten.len(), 3 * LISTENERS - 1);
}
