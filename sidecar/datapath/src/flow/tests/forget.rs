//! What is forgotten of flows, and when.

use tollgate_common::limits::PINS;

use super::*;

/// Of flows in slots that moved to the backend that drains as well as of those from before; also where the number of slots
/// changes at the same time.
#[test]
fn a_draining_backend_has_no_flows_after_its_limit() {
    for is_resized in [false, true] {
        let last = if is_resized { 8 } else { 3 };
        let mut node = Node::new(Proto::Tcp, 1..=last, 100_000);
        node.drain_limit = Some(Duration::from_secs(100));
        let mut ledger = Ledger::default();
        ledger.begin(&mut node, 400);
        node.backends.insert(1, (3, false));
        node.apply();
        node.pass(3);
        ledger.begin(&mut node, 400);
        node.backends.insert(1, (3, true));
        if is_resized {
            node.backends.insert(9, (1, false));
        }
        node.apply();
        for _ in 0..9 {
            node.pass(2);
        }
        let of_one = |ledger: &Ledger| ledger.flows.values().filter(|(_, last)| *last == 1).count();
        assert!(of_one(&ledger) > 100);
        // Applied again, it does not begin anew.
        node.apply();
        node.pass(82);
        ledger.go_on(&mut node).unwrap();
        node.pass(31);
        for (&client, &(id, last)) in &ledger.flows {
            let got = node.say(client, data(client, FAR));
            assert_eq!(got.id == id, last != 1, "flow {client} of {last}: {got:?}");
            assert_ne!(got.id, 0);
        }
    }
}

#[test]
fn a_drain_that_is_taken_back_or_has_no_limit_ends_no_flow() {
    for limit in [None, Some(Duration::from_secs(100))] {
        let mut node = Node::new(Proto::Tcp, [1, 2, 3], 100_000);
        let mut ledger = Ledger::default();
        ledger.begin(&mut node, 400);
        node.drain_limit = limit;
        for is_drained in [true, false, true] {
            node.backends.insert(1, (1, is_drained));
            node.apply();
            node.pass(90);
            ledger.go_on(&mut node).unwrap();
        }
        // A new daemon counts from its own first model on.
        node.state = State::read(&node.tables);
        node.apply();
        node.pass(90);
        ledger.go_on(&mut node).unwrap();
    }
}

#[test]
fn flows_that_never_came_to_be_are_forgotten_soon() {
    for proto in [Proto::Tcp, Proto::Udp] {
        let mut node = Node::new(proto, [1, 2, 3], 100_000);
        node.backends.insert(4, (1, false));
        node.apply();
        for client in 0..4_000 {
            node.send(client, true);
        }
        let made = node.kernel.pins.pins.len();
        assert!(made > 200);
        for client in 0..8 {
            node.send(client, false);
        }
        let pinned = node.kernel.pins.pins.values();
        let confirmed = pinned.filter(|pin| pin.is_confirmed()).count();
        node.pass(75);
        assert_eq!(node.kernel.pins.pins.len(), made);
        node.pass(31);
        assert_eq!(node.kernel.pins.pins.len(), confirmed, "{proto}: {made}");
    }
}

/// Connections that have closed give their pins back where there is little room; those that are silent keep them.
#[test]
fn a_connection_that_closes_gives_its_pin_back_under_pressure() {
    for is_full in [false, true] {
        let mut node = Node::new(Proto::Tcp, [1, 2, 3], usize::MAX);
        node.backends.insert(4, (1, false));
        node.apply();
        let mut ledger = Ledger::default();
        ledger.begin(&mut node, 4_000);
        let mut pinned = node.kernel.pins.pins.clone();
        for client in (0..4_000).step_by(2) {
            let fin = Segment {
                flags: 0x11,
                ..data(client, FAR)
            };
            node.say(client, fin);
            node.say(client, data(client, FAR));
            ledger.flows.remove(&client);
        }
        let closing = node.kernel.pins.pins.values();
        let closing = closing.filter(|pin| pin.is_closing()).count();
        assert!(closing > 100 && closing < pinned.len());
        if is_full {
            let (key, pin) = pinned.drain().next().unwrap();
            let others = (0..PINS as u64 / 2).map(|hash| (PinKey { hash, ..key }, pin));
            node.kernel.pins.pins.extend(others);
        }
        let before = node.kernel.pins.pins.len();
        node.pass(75);
        assert_eq!(node.kernel.pins.pins.len(), before, "not yet");
        node.pass(31);
        let gone = before - node.kernel.pins.pins.len();
        assert_eq!(gone, if is_full { closing } else { 0 });
        ledger.go_on(&mut node).unwrap();
    }
}

/// A pin of a slot that has settled would lead flows of later changes astray.
#[test]
fn pins_that_could_not_be_looked_through_are_before_a_slot_moves_again() {
    let mut node = Node::new(Proto::Tcp, [1, 2, 3], 100_000);
    node.backends.insert(4, (1, false));
    node.apply();
    for client in 0..4_000 {
        node.send(client, true);
    }
    assert!(!node.kernel.pins.pins.is_empty());
    node.kernel.fails = true;
    node.pass(IDLE + 1);
    assert!(!node.kernel.pins.pins.is_empty());
    node.kernel.fails = false;
    node.backends.insert(4, (3, false));
    node.apply();
    assert!(node.kernel.pins.pins.is_empty());
}
