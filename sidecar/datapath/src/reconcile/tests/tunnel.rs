//! What tunnels say of this side changes in place.

use crate::model::Tunnel;

use super::*;

fn tunnel(v4: &str, v6: &str, port: u16) -> Tunnel {
    Tunnel::default()
        .with_source_v4(v4.parse().unwrap())
        .and_then(|one| one.with_source_v6(v6.parse().unwrap()))
        .and_then(|one| one.with_gue_port(port))
        .unwrap()
}

fn tunnelled(tunnel: Tunnel) -> (Model, Hops) {
    let two = vec![
        Backend {
            address: IpAddr::from([10, 0, 0, 1]),
            weight: 1,
            drain: false,
        },
        Backend {
            address: "fd00::1".parse().unwrap(),
            weight: 1,
            drain: false,
        },
    ];
    let services = vec![
        service("203.0.113.20:80/tcp", Deliver::Gue(two.clone())),
        service("203.0.113.20:81/tcp", Deliver::Ipip(two)),
    ];
    let hops = hops(&services);
    (Model { services, tunnel }, hops)
}

/// The entries' headers as bytes, those of the model's services in turn.
fn headers(node: &Node, model: &Model) -> Vec<Vec<u8>> {
    let ids = model.services.iter().flat_map(|one| node.ids(one));
    ids.map(|id| {
        let words = &node.tables.backends[usize::from(id)].header;
        words
            .iter()
            .flat_map(|word| word.load().to_le_bytes())
            .collect()
    })
    .collect()
}

#[test]
fn another_source_and_port_are_written_into_the_entries_that_there_are() {
    let mut node = Node::new();
    let (model, hops) = tunnelled(Tunnel::default());
    node.state
        .apply(&node.tables, &model, &hops, &mut node.effects)
        .unwrap();
    let ids: Vec<_> = model.services.iter().map(|one| node.ids(one)).collect();
    let slots: Vec<_> = model.services.iter().map(|one| node.slots(one)).collect();

    let (other, _) = tunnelled(tunnel("10.9.8.0/24", "fd00:1:2::/48", 6635));
    node.effects = Record::default();
    let applied = node
        .state
        .apply(&node.tables, &other, &hops, &mut node.effects)
        .unwrap();
    assert_eq!((applied.added, applied.removed, applied.moved), (0, 0, 0));
    let all = |each: &dyn Fn(&Service) -> Vec<u16>| -> Vec<_> {
        other.services.iter().map(each).collect()
    };
    assert_eq!(all(&|one| node.ids(one)), ids);
    assert_eq!(all(&|one| node.slots(one)), slots);
    assert!(node.effects.reset.is_empty(), "the counters go on");
    // Several words differ, so the entries are taken out of use until no packet reads them.
    assert_eq!(node.effects.graces, 2);

    let [gue4, gue6, ipip4, ipip6] = &headers(&node, &other)[..] else {
        panic!("four entries")
    };
    let v6 = [0xfd, 0, 0, 1, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    for v4 in [gue4, ipip4] {
        assert_eq!(v4[26..30], [10, 9, 8, 0]);
    }
    for one in [gue6, ipip6] {
        assert_eq!(one[22..38], v6);
    }
    for one in [gue4, gue6] {
        assert_eq!(one[54..56], 6635_u16.to_be_bytes());
    }

    // A refresh of the next hops leaves them so, and nothing is written by another daemon with the same model.
    let before = headers(&node, &other);
    node.state.refresh(&node.tables, &hops, &mut node.effects);
    assert_eq!(headers(&node, &other), before);
    node.restart();
    node.effects = Record::default();
    node.state
        .apply(&node.tables, &other, &hops, &mut node.effects)
        .unwrap();
    assert_eq!(headers(&node, &other), before);
    assert_eq!(node.effects.graces, 1, "only the one after what went");
}
