//! What tables remember goes into others and is the same there.

use std::collections::BTreeMap;

use super::*;
use crate::{
    model::{Nat, Share},
    reconcile::history::HistoryError,
};

const BOOT: &str = "3f1c";

/// What each slot says, by the backends' addresses: moving, current, stable, and the stamp.
type Said = Vec<(bool, Option<IpAddr>, Option<IpAddr>, u32)>;

fn said(node: &Node, service: &Service, previous: bool) -> Said {
    let (cell, _) = node.tables.find(tables::key(service.vip)).unwrap();
    let word = if previous {
        &cell.previous
    } else {
        &cell.region
    };
    let Region { base, len, .. } = Region::unpack(word.load());
    let name = |id: u16| {
        let mut entries = node.state.entries.iter();
        let (owner, _) = entries.find(|(_, known)| **known == id)?;
        owner.backend.map(|(address, _)| address)
    };
    let slots = (base..base + len).map(|index| {
        let slot = node.tables.slot(index);
        let stamp = node.tables.stamps[index as usize].load();
        let stamp = if slot.is_moving() { stamp } else { 0 };
        (
            slot.is_moving(),
            name(slot.current()),
            name(slot.stable()),
            stamp,
        )
    });
    slots.collect()
}

/// A node that has been through changes, with pins in slots that move.
fn old() -> (Node, Vec<Service>, Vec<(PinKey, Pin)>) {
    let mut node = Node::new();
    node.tables.sign();
    let of = |last: std::ops::RangeInclusive<u8>, other: u8| {
        vec![
            service("203.0.113.9:80/tcp", Deliver::L2(backends([other]))),
            service("203.0.113.10:443/tcp", Deliver::L2(backends(last.clone()))),
            service("[2001:db8::/64]:*/udp", Deliver::Ipip(backends(last))),
        ]
    };
    node.effects.now = 100;
    node.apply(&of(1..=8, 50)).unwrap();
    node.effects.now = 200;
    // Another number of slots: the table before goes on beside.
    node.apply(&of(1..=9, 51)).unwrap();
    node.effects.now = 300;
    let services = of(2..=9, 51);
    let services: Vec<Service> = services
        .into_iter()
        .map(|mut one| {
            if let Deliver::L2(backends) | Deliver::Ipip(backends) = &mut one.deliver {
                for backend in backends.iter_mut().skip(6) {
                    backend.drain = true;
                }
                // What checks have found.
                if backends.len() > 4 {
                    let half = Share {
                        quarters: 2,
                        down: true,
                    };
                    one.reduced = BTreeMap::from([
                        (backends[2].address, half),
                        (backends[3].address, Share::of(0)),
                    ]);
                }
            }
            one
        })
        .collect();
    node.apply(&services).unwrap();
    let mut pins = Vec::new();
    for (number, service) in services.iter().enumerate() {
        let (cell, _) = node.tables.find(tables::key(service.vip)).unwrap();
        for region in [&cell.region, &cell.previous] {
            let Region { base, len, .. } = Region::unpack(region.load());
            for slot in (base..base + len).step_by(97) {
                let id = node.tables.slot(slot).current();
                if id == 0 {
                    continue;
                }
                let key = PinKey {
                    hash: u64::from(slot) << 32 | number as u64,
                    slot,
                    extra: slot ^ 7,
                };
                let pin = Pin {
                    backend: u32::from(id) | u32::from(node.tables.life(id)) << 16,
                    seen: 250,
                    isn: slot,
                    flags: Pin::CONFIRMED,
                };
                pins.push((key, pin));
            }
        }
    }
    (node, services, pins)
}

#[test]
fn slots_stamps_and_pins_are_the_same_in_other_tables() {
    let (before, services, pins) = old();
    let history = before
        .state
        .history(&before.tables, &pins, &[], BOOT.to_owned());
    let text = serde_json::to_vec(&history).unwrap();
    let history: History = serde_json::from_slice(&text).unwrap();
    assert_eq!(history.usable(BOOT), Ok(()));

    let mut after = Node::new();
    after.tables.sign();
    after.effects.now = 400;
    let laid = history.lay(&after.tables).pins;
    after.restart();
    let check = |after: &Node| {
        for service in &services {
            for previous in [false, true] {
                assert_eq!(
                    said(after, service, previous),
                    said(&before, service, previous),
                    "{} {previous}",
                    service.name
                );
            }
        }
    };
    check(&after);
    assert_eq!(after.tables.made.load(), before.tables.made.load());

    let model = Model {
        services: services.clone(),
        ..Model::default()
    };
    let shares = after.state.shares(&after.tables, &model);
    assert_eq!(shares, before.state.shares(&before.tables, &model));
    assert!(
        shares[&services[1].vip]
            .values()
            .any(|one| *one == Share::of(0))
    );

    // Each pin, by what it means.
    let meaning = |node: &Node, (key, pin): &(PinKey, Pin)| {
        let mut entries = node.state.entries.iter();
        let owner = entries
            .find(|(_, id)| **id == pin.id())
            .map(|(owner, _)| *owner);
        assert_eq!(pin.life(), node.tables.life(pin.id()));
        let owner = owner.map(|owner| format!("{owner:?}"));
        (key.hash, key.extra, owner, pin.seen, pin.isn, pin.flags)
    };
    let mut expected: Vec<_> = pins.iter().map(|one| meaning(&before, one)).collect();
    let mut found: Vec<_> = laid.iter().map(|one| meaning(&after, one)).collect();
    expected.sort();
    found.sort();
    assert_eq!(found.len(), pins.len());
    assert_eq!(found, expected);

    // And the configuration that was in force moves nothing more.
    let applied = after.apply(&services).unwrap();
    assert_eq!((applied.moved, applied.left, applied.added), (0, 0, 0));
    check(&after);
}

#[test]
fn what_this_build_does_not_understand_is_refused() {
    let (node, ..) = old();
    let history = node.state.history(&node.tables, &[], &[], BOOT.to_owned());
    assert_eq!(history.usable("other"), Err(HistoryError::OtherBoot));
    assert_eq!(history.usable(""), Err(HistoryError::OtherBoot));
    let with = |key: &str, value: serde_json::Value| {
        let mut json = serde_json::to_value(&history).unwrap();
        json[key] = value;
        serde_json::from_value::<History>(json).unwrap()
    };
    assert_eq!(
        with("version", 9.into()).usable(BOOT),
        Err(HistoryError::Newer(9))
    );
    assert_eq!(
        with("hash", 9.into()).usable(BOOT),
        Err(HistoryError::OtherHash)
    );
    assert_eq!(
        with("pin_words", 2.into()).usable(BOOT),
        Err(HistoryError::OtherHash)
    );
    // What a later build says more is passed over, what an earlier one does not say is refused whole.
    assert_eq!(with("mood", "fine".into()).usable(BOOT), Ok(()));
    let bare: History = serde_json::from_str("{\"version\":1}").unwrap();
    assert!(bare.usable(BOOT).is_err());
}

/// Whatever stands there, nothing is written where it does not belong.
#[test]
fn nonsense_lays_nothing_wrong() {
    let (node, _, pins) = old();
    let history = node
        .state
        .history(&node.tables, &pins, &[], BOOT.to_owned());
    let mut json = serde_json::to_value(&history).unwrap();
    json["services"][0]["backends"] = serde_json::json!([{ "address": "::1", "kind": 77 }]);
    json["services"][1]["bits"] = 200.into();
    let history: History = serde_json::from_value(json).unwrap();
    let after = Node::new();
    for (key, pin) in history.lay(&after.tables).pins {
        let owner = &after.tables.owners[usize::from(pin.id())];
        assert_ne!(owner.tag.load(), 0);
        assert!((key.slot as usize) < tollgate_common::limits::SLOTS);
    }
}

/// A service that is translated keeps its slots, which is translated, and its flows.
#[test]
fn translated_flows_are_the_same_in_other_tables() {
    let nat = |last| {
        let nat = Nat {
            backends: backends(1..=last),
            ..Nat::default()
        };
        vec![
            service("203.0.113.9:80/tcp", Deliver::L2(backends([50]))),
            service("203.0.113.10:443/tcp", Deliver::Nat(nat)),
        ]
    };
    let mut before = Node::new();
    before.tables.sign();
    before.effects.now = 100;
    before.apply(&nat(7)).unwrap();
    before.effects.now = 200;
    before.apply(&nat(8)).unwrap();
    let key = tables::key(nat(8)[1].vip);
    let number = before.state.number(key).unwrap();
    let of = |node: &Node, id: u16| {
        let mut entries = node.state.entries.iter();
        let owner = entries.find(|(_, known)| **known == id).unwrap().0;
        assert_eq!(owner.service, key);
        owner.backend.unwrap().0
    };
    let ids = before
        .state
        .entries
        .iter()
        .filter(|(owner, _)| owner.service == key);
    let mut translations = Vec::new();
    for (at, (_, &id)) in (1..).zip(ids) {
        let way = Translation {
            to: Tuple {
                source: [at << 40, 7],
                destination: [3, 4 << 33],
                ports: 0x1234_0000 + at as u32,
                tag: Tuple::tag(6, true),
            },
            backend: u32::from(id) | u32::from(before.tables.life(id)) << 16,
            service: number.into(),
            seen: 150,
            flags: 3,
            interface: 2,
            reserved: 0,
        };
        let client = Tuple {
            source: [at, 9 << 50],
            ports: 7,
            ..way.to
        };
        let back = Translation {
            to: client.reversed(),
            service: way.service | Translation::ANSWERS,
            seen: 160,
            flags: 1,
            ..way
        };
        translations.extend([(client, way), (way.to.reversed(), back)]);
    }
    // Half a flow, and one whose backend is gone.
    let (mut alone, mut dead) = (translations[0], translations[2]);
    alone.0.ports = 8;
    alone.1.to.ports = 8;
    dead.1.backend += 2 << 16;
    let mut all = translations.clone();
    all[2] = dead;
    all.push(alone);

    let history = before
        .state
        .history(&before.tables, &[], &all, BOOT.to_owned());
    let text = serde_json::to_vec(&history).unwrap();
    let history: History = serde_json::from_slice(&text).unwrap();
    let mut after = Node::new();
    after.tables.sign();
    after.effects.now = 400;
    let laid = history.lay(&after.tables).translations;
    after.restart();
    let (_, action) = after.tables.find(key).unwrap();
    assert_eq!(action, Action::Translate as u32);
    for previous in [false, true] {
        let service = &nat(8)[1];
        assert_eq!(
            said(&after, service, previous),
            said(&before, service, previous)
        );
    }
    let meaning = |node: &Node, (key, way): &(Tuple, Translation)| {
        assert_eq!(way.life(), node.tables.life(way.id()));
        let address = of(node, way.id());
        let way = Translation {
            backend: 0,
            service: way.service & Translation::ANSWERS,
            ..*way
        };
        (*key, address, format!("{way:?}"))
    };
    let mut expected: Vec<_> = [&translations[..2], &translations[4..]]
        .concat()
        .iter()
        .map(|one| meaning(&before, one))
        .collect();
    let mut found: Vec<_> = laid.iter().map(|one| meaning(&after, one)).collect();
    expected.sort();
    found.sort();
    assert_eq!(found, expected);
    let number = after.state.number(key);
    assert!(laid.iter().all(|(_, way)| Some(way.service()) == number));
    let applied = after.apply(&nat(8)).unwrap();
    assert_eq!((applied.moved, applied.left, applied.added), (0, 0, 0));
}
