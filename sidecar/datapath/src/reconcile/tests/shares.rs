//! Backends that have less than their share, or none.

use super::*;
use crate::model::Share;

fn vip() -> Service {
    service("203.0.113.20:80/tcp", Deliver::Ipip(backends(1..=4)))
}

fn with(shares: &[(u8, u8)]) -> Service {
    let mut service = vip();
    let shares = shares.iter();
    service.reduced = shares
        .map(|(last, quarters)| (IpAddr::from([10, 0, 0, *last]), Share::of(*quarters)))
        .collect();
    service
}

fn life(node: &Node, id: u16) -> u32 {
    node.tables.lives[usize::from(id)].load()
}

fn slots_of(node: &Node, id: u16) -> usize {
    let slots = node.slots(&vip());
    slots.iter().filter(|slot| **slot == id).count()
}

#[test]
fn a_backend_that_is_down_has_no_slot_and_keeps_its_entry_and_the_number_of_slots() {
    // Nine have more slots than eight.
    let nine = service("203.0.113.20:80/tcp", Deliver::Ipip(backends(1..=9)));
    let mut node = Node::new();
    node.apply(std::slice::from_ref(&nine)).unwrap();
    let (before, ids) = (node.slots(&nine), node.ids(&nine));
    let mut eight = nine.clone();
    eight.reduced.insert([10, 0, 0, 9].into(), Share::of(0));
    let applied = node.apply(std::slice::from_ref(&eight)).unwrap();
    let after = node.slots(&eight);
    assert_eq!((applied.added, applied.removed), (0, 0));
    assert_eq!((before.len(), node.ids(&eight)), (after.len(), ids.clone()));
    assert!(!after.contains(&ids[8]), "its slots are others' at once");
    let moved = before.iter().zip(&after);
    let moved = moved
        .filter(|(was, is)| *was != &ids[8] && was != is)
        .count();
    assert!(moved * 100 < before.len(), "{moved} of the others' moved");
    let (cell, _) = node.tables.find(tables::key(nine.vip)).unwrap();
    let Region { base, len, .. } = Region::unpack(cell.region.load());
    let remembers = |slot| node.tables.slot(slot).stable() == ids[8];
    assert!(!(base..base + len).any(remembers), "nor is it remembered");
}

#[test]
fn a_share_is_a_share_and_a_whole_one_leaves_no_trace() {
    let mut node = Node::new();
    node.apply(&[vip()]).unwrap();
    let (plain, first) = (node.slots(&vip()), node.ids(&vip())[0]);
    let settle = |node: &mut Node, service: Service| {
        node.apply(std::slice::from_ref(&service)).unwrap();
        // What is more than a fifth of the slots comes in steps.
        for _ in 0..6 {
            let _ = node
                .state
                .settle(&node.tables, &mut node.effects, |_| u32::MAX);
        }
    };
    for quarters in [1, 2, 3] {
        settle(&mut node, with(&[(1, quarters)]));
        let expected = plain.len() * usize::from(quarters) / (12 + usize::from(quarters));
        let slots = slots_of(&node, first);
        assert!(
            slots.abs_diff(expected) * 50 < expected,
            "{quarters}: {slots}, {expected}"
        );
    }
    settle(&mut node, with(&[]));
    assert_eq!(node.slots(&vip()), plain);
}

#[test]
fn who_comes_back_begins_another_life() {
    let mut node = Node::new();
    node.apply(&[vip()]).unwrap();
    let first = node.ids(&vip())[0];
    let before = life(&node, first);
    node.apply(&[with(&[(1, 0)])]).unwrap();
    assert_eq!(
        life(&node, first),
        before + 1,
        "what was noted of it is void"
    );
    node.apply(&[with(&[(1, 0), (2, 3)])]).unwrap();
    assert_eq!(life(&node, first), before + 1);
    node.apply(&[with(&[(1, 1)])]).unwrap();
    assert_eq!(life(&node, first), before + 2);
}

#[test]
fn the_next_daemon_finds_the_shares_and_moves_nothing() {
    let mut node = Node::new();
    node.apply(&[with(&[(1, 0), (2, 3)])]).unwrap();
    let (slots, id) = (node.slots(&vip()), node.ids(&vip())[0]);
    let before = life(&node, id);
    node.restart();
    let model = Model {
        services: vec![vip()],
        ..Model::default()
    };
    let noted = node.state.shares(&node.tables, &model);
    let each = [1, 2, 3, 4].map(|last| noted[&vip().vip][&IpAddr::from([10, 0, 0, last])]);
    assert_eq!(each, [0, 3, 4, 4].map(Share::of));
    let again = model.with_shares(&noted).services.remove(0);
    let applied = node.apply(std::slice::from_ref(&again)).unwrap();
    assert_eq!((applied.moved, applied.left), (0, 0));
    assert_eq!((node.slots(&again), life(&node, id)), (slots, before));
    // A model that says nothing of it brings it back.
    node.apply(&[vip()]).unwrap();
    assert_eq!(life(&node, id), before + 1);
}

#[test]
fn nobody_is_left() {
    let mut node = Node::new();
    let none = with(&[(1, 0), (2, 0), (3, 0), (4, 0)]);
    node.apply(&[vip()]).unwrap();
    let slots = node.slots(&vip()).len();
    node.apply(std::slice::from_ref(&none)).unwrap();
    assert_eq!(node.slots(&none), vec![0; slots]);
}

#[test]
fn who_drains_keeps_its_connections_whatever_its_checks_say() {
    let mut node = Node::new();
    node.apply(&[vip()]).unwrap();
    let first = node.ids(&vip())[0];
    let before = life(&node, first);
    let mut drains = vip();
    let Deliver::Ipip(backends) = &mut drains.deliver else {
        unreachable!("it is made so")
    };
    backends[0].drain = true;
    // A quarter of the slots takes two steps.
    node.apply(std::slice::from_ref(&drains)).unwrap();
    assert_eq!(node.apply(std::slice::from_ref(&drains)).unwrap().left, 0);
    let (cell, _) = node.tables.find(tables::key(vip().vip)).unwrap();
    let Region { base, len, .. } = Region::unpack(cell.region.load());
    let remembering = |node: &Node| {
        let slots = base..base + len;
        let of = slots.filter(|slot| node.tables.slot(*slot).stable() == first);
        of.count()
    };
    let remembered = remembering(&node);
    assert!(remembered > 0, "flows from before are its own");
    let mut failing = drains.clone();
    failing.reduced = with(&[(1, 0)]).reduced;
    node.apply(std::slice::from_ref(&failing)).unwrap();
    assert_eq!(
        (life(&node, first), remembering(&node)),
        (before, remembered)
    );
    // Nor does the next daemon end them, and it knows that the checks failed.
    node.restart();
    let model = Model {
        services: vec![drains],
        ..Model::default()
    };
    let noted = node.state.shares(&node.tables, &model);
    let again = model.with_shares(&noted).services.remove(0);
    assert!(again.share([10, 0, 0, 1].into()).down);
    node.apply(std::slice::from_ref(&again)).unwrap();
    assert_eq!(
        (life(&node, first), remembering(&node)),
        (before, remembered)
    );
    // Who is to take connections again and cannot is down as others are.
    node.apply(&[with(&[(1, 0)])]).unwrap();
    assert_eq!((life(&node, first), remembering(&node)), (before + 1, 0));
}

#[test]
fn that_a_backend_is_down_is_noted_whatever_share_it_has() {
    let mut node = Node::new();
    let mut panic = vip();
    for last in 1..=4 {
        let share = Share {
            quarters: 4,
            down: last < 4,
        };
        panic.reduced.insert([10, 0, 0, last].into(), share);
    }
    node.apply(std::slice::from_ref(&panic)).unwrap();
    let (slots, id) = (node.slots(&vip()), node.ids(&vip())[0]);
    let before = life(&node, id);
    node.restart();
    let model = Model {
        services: vec![vip()],
        ..Model::default()
    };
    let noted = node.state.shares(&node.tables, &model);
    let again = model.with_shares(&noted).services.remove(0);
    let down = [1, 2, 3, 4].map(|last| again.share([10, 0, 0, last].into()).down);
    assert_eq!(down, [true, true, true, false]);
    let applied = node.apply(std::slice::from_ref(&again)).unwrap();
    assert_eq!((applied.moved, applied.left), (0, 0));
    assert_eq!((node.slots(&again), life(&node, id)), (slots, before));
}
