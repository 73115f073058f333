//! Services of any port and of prefixes: which one is found, and how the shapes are written.

use super::*;

fn key(vip: &str) -> Key {
    tables::key(vip.parse().unwrap())
}

/// The service that takes packets to this address and port.
fn found<'a>(node: &Node, services: &'a [Service], to: &str) -> Option<&'a str> {
    let (cell, _) = node.tables.find(key(to))?;
    let has = (cell.hi.load(), cell.lo.load(), cell.tag.load() as u32);
    let mut services = services.iter();
    let its = services.find(|service| {
        let key = tables::key(service.vip);
        (key.hi, key.lo, key.tag) == has
    });
    its.map(|service| service.name.as_str())
}

const VIPS: [&str; 12] = [
    "192.0.2.200:443/tcp",
    "192.0.2.200:*/tcp",
    "192.0.2.128/25:*/tcp",
    "192.0.2.0/24:443/tcp",
    "192.0.2.0/24:*/tcp",
    "192.0.0.0/16:443/udp",
    "[2001:db8::c8]:443/tcp",
    "[2001:db8::c8]:*/tcp",
    "[2001:db8::80/121]:*/tcp",
    "[2001:db8::/64]:443/tcp",
    "[2001:db8::/64]:*/tcp",
    "[2001:db8::/32]:443/udp",
];

fn services() -> Vec<Service> {
    VIPS.map(|vip| service(vip, Deliver::Ipip(backends(1..=2))))
        .into()
}

#[test]
fn who_names_more_goes_before_who_names_less() {
    let mut node = Node::new();
    let mut services = services();
    for _ in 0..services.len() {
        services.rotate_left(1);
        node.apply(&services).unwrap();
        for (to, name) in [
            ("192.0.2.200:443/tcp", Some("192.0.2.200:443/tcp")),
            ("192.0.2.200:80/tcp", Some("192.0.2.200:*/tcp")),
            ("192.0.2.201:443/tcp", Some("192.0.2.128/25:*/tcp")),
            ("192.0.2.127:443/tcp", Some("192.0.2.0/24:443/tcp")),
            ("192.0.2.127:80/tcp", Some("192.0.2.0/24:*/tcp")),
            ("192.0.2.200:443/udp", Some("192.0.0.0/16:443/udp")),
            ("192.0.255.255:443/udp", Some("192.0.0.0/16:443/udp")),
            ("192.0.255.255:443/tcp", None),
            ("192.1.0.0:443/udp", None),
            ("192.0.2.200:80/udp", None),
            ("[2001:db8::c8]:443/tcp", Some("[2001:db8::c8]:443/tcp")),
            ("[2001:db8::c8]:80/tcp", Some("[2001:db8::c8]:*/tcp")),
            ("[2001:db8::c9]:443/tcp", Some("[2001:db8::80/121]:*/tcp")),
            ("[2001:db8::100]:443/tcp", Some("[2001:db8::/64]:443/tcp")),
            (
                "[2001:db8::ffff:0:0:1]:80/tcp",
                Some("[2001:db8::/64]:*/tcp"),
            ),
            ("[2001:db8:0:1::]:443/tcp", None),
            (
                "[2001:db8:ffff::1]:443/udp",
                Some("[2001:db8::/32]:443/udp"),
            ),
            ("[2001:db9::]:443/udp", None),
        ] {
            assert_eq!(found(&node, &services, to), name, "{to}");
        }
    }
    node.restart();
    assert_eq!(node.apply(&services).unwrap().added, 0);
    assert_eq!(
        found(&node, &services, "192.0.2.9:9/tcp"),
        Some("192.0.2.0/24:*/tcp")
    );
}

#[test]
fn a_service_that_goes_leaves_its_packets_to_the_wider_one() {
    let mut node = Node::new();
    let mut services = services();
    for _ in 0..5 {
        services.remove(0);
        node.apply(&services).unwrap();
        let next = services[0].name.as_str();
        let expected = next.starts_with("192.0.2.").then_some(next);
        // Whoever is next of those that are about it.
        let to = "192.0.2.200:443/tcp";
        assert_eq!(found(&node, &services, to), expected, "{next}");
    }
}

#[test]
fn more_kinds_than_there_is_room_for_are_refused() {
    let mut node = Node::new();
    let prefix = |bits: usize| {
        let vip = format!("10.0.0.0/{bits}:80/tcp");
        service(&vip, Deliver::Ipip(Vec::new()))
    };
    let mut services: Vec<_> = (8..8 + SHAPES).map(prefix).collect();
    // One more of a kind that is there takes no room, nor does the other family.
    let alike = format!("10.128.0.0/{}:443/udp", 7 + SHAPES);
    services.push(service(&alike, Deliver::Ipip(Vec::new())));
    services.push(service("[2001:db8::/32]:80/tcp", Deliver::Ipip(Vec::new())));
    node.apply(&services).unwrap();
    let before = node.tables.shaped.load();
    let one_more = prefix(8 + SHAPES);
    let too_many = [services.clone(), vec![one_more]].concat();
    assert_eq!(node.apply(&too_many), Err(PlanError::NoShape(SHAPES + 1)));
    assert_eq!(node.tables.shaped.load(), before, "nothing is written");
    let any = service("10.0.0.0/8:*/tcp", Deliver::Ipip(Vec::new()));
    let too_many = [services.clone(), vec![any]].concat();
    assert!(
        node.apply(&too_many).is_err(),
        "any port is a kind of its own"
    );
    for service in &services[..SHAPES] {
        assert!(node.action(service).is_some(), "{}", service.name);
    }
}

#[test]
fn one_set_of_shapes_is_written_while_the_other_is_read() {
    let mut node = Node::new();
    let words = |node: &Node, set: usize| -> Vec<u64> {
        let shapes = node.tables.shapes[set].iter().flatten();
        shapes
            .flat_map(|shape| [shape.hi.load(), shape.lo.load(), shape.tag.load()])
            .collect()
    };
    let wide = service("10.0.0.0/8:80/tcp", Deliver::Ipip(Vec::new()));
    let any = service("[2001:db8::1]:*/udp", Deliver::Ipip(Vec::new()));
    let exact = service("203.0.113.1:80/tcp", Deliver::Ipip(Vec::new()));
    let mut set = 0;
    for (services, families) in [
        (vec![exact.clone()], 0),
        (vec![exact.clone(), wide.clone()], 1),
        (vec![wide, any.clone()], 3),
        (vec![any], 2),
        (vec![exact], 0),
    ] {
        let before = words(&node, set);
        node.apply(&services).unwrap();
        // A packet that has begun with the old set ends with it.
        assert_eq!(words(&node, set), before);
        set ^= 1;
        assert_eq!(node.tables.shaped.load(), set as u64 | families << 32);
        for service in &services {
            assert_eq!(node.action(service), Some(Action::Forward));
        }
        node.restart();
    }
}

#[test]
fn fragments_of_a_prefix_are_the_stacks_where_a_listener_is() {
    let mut node = Node::new();
    let lost = |node: &Node, address: &str| {
        let key = key(&format!("{address}:1/tcp")).address();
        let found = node.tables.find(key);
        found.map(|(_, action)| action) == Some(Action::Fragments as u32)
    };
    let wide = service("192.0.2.0/24:443/tcp", Deliver::Ipip(Vec::new()));
    let any = service("203.0.113.1:*/tcp", Deliver::Ipip(Vec::new()));
    node.apply(&[wide.clone(), any.clone()]).unwrap();
    assert!(lost(&node, "192.0.2.77") && lost(&node, "203.0.113.1"));
    assert!(!lost(&node, "192.0.3.77") && !lost(&node, "203.0.113.2"));
    for vip in [
        "192.0.2.200:22/tcp",
        "192.0.2.128/25:22/tcp",
        "192.0.0.0/16:*/tcp",
    ] {
        let listener = service(vip, Deliver::Listener("edge".into()));
        node.apply(&[wide.clone(), any.clone(), listener]).unwrap();
        assert!(
            !lost(&node, "192.0.2.77") && lost(&node, "203.0.113.1"),
            "{vip}"
        );
    }
    let elsewhere = service("192.0.3.0/24:22/tcp", Deliver::Listener("edge".into()));
    node.apply(&[wide, any, elsewhere]).unwrap();
    assert!(lost(&node, "192.0.2.77"));
}
