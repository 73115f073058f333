use tollgate_common::flow::Flow;

use super::*;
use crate::memory::host::Table;

const OLD: u16 = 1;
const NEW: u16 = 2;
const NEWEST: u16 = 3;
const INDEX: u32 = 9;

/// Tables whose slot [`INDEX`] moves from [`OLD`] to [`NEW`]; the backends live.
fn moving(tables: &'static Tables) -> &'static Tables {
    for life in &tables.lives[1..=3] {
        life.store(1);
    }
    slot(tables, Slot::moving(NEW, OLD));
    guard(tables, 1000);
    tables
}

fn slot(tables: &Tables, slot: Slot) {
    tables.slots[INDEX as usize].store(slot.0);
}

fn guard(tables: &Tables, pins: u32) {
    tables.guards.store(Guards { pins, icmp: 0 }.pack());
}

fn settled_udp(tables: &Tables, second: u32) {
    let about = About {
        number: 1,
        settled_udp: second,
    };
    tables.cells[0].about.store(about.pack());
}

/// The sequence number of all SYNs.
const ISN: u32 = u32::MAX;
const SYN: Told = Told::segment(ISN, 0x02);
/// What follows the SYN.
const ACK: Told = Told::segment(ISN.wrapping_add(1), 0x10);
/// What follows another one.
const OTHER: Told = Told::segment(ISN.wrapping_add(1_000_000), 0x18);
const DATAGRAM: Told = Told::DATAGRAM;

fn ask(tables: &'static Tables, memory: &Table, port: u16, told: Told) -> u16 {
    let flow = Flow::v4([198, 51, 100, 7], port, 443).hash(7);
    let asked = Asked {
        cell: &tables.cells[0],
        index: INDEX,
        extra: 0,
        flow,
        client: flow,
        told,
    };
    super::moving(tables, memory, &asked)
}

#[test]
fn who_begins_goes_to_the_new_one_and_stays() {
    static TABLES: Tables = Tables::zero();
    let (tables, memory) = (moving(&TABLES), Table::new(9));
    assert_eq!(ask(tables, &memory, 1, ACK), OLD, "from before");
    assert_eq!(ask(tables, &memory, 2, SYN), NEW);
    let is_confirmed = |memory: &Table| memory.pins()[0].1.is_confirmed();
    assert!(!is_confirmed(&memory));
    assert_eq!(ask(tables, &memory, 2, SYN), NEW, "the SYN again");
    assert!(!is_confirmed(&memory));
    assert_eq!(ask(tables, &memory, 2, ACK), NEW);
    assert!(is_confirmed(&memory));
    slot(tables, Slot::moving(NEWEST, OLD));
    assert_eq!(ask(tables, &memory, 2, ACK), NEW, "its pin");
    assert_eq!(ask(tables, &memory, 3, SYN), NEWEST);
    slot(tables, Slot::moving(OLD, OLD));
    assert_eq!(ask(tables, &memory, 2, ACK), NEW);
    assert_eq!(ask(tables, &memory, 1, ACK), OLD);
    assert_eq!(memory.pins().len(), 2);
}

/// Whoever knows a connection's addresses and ports can send a SYN in its name.
#[test]
fn a_forged_syn_takes_no_flow() {
    static TABLES: Tables = Tables::zero();
    let (tables, memory) = (moving(&TABLES), Table::new(9));
    assert_eq!(ask(tables, &memory, 1, OTHER), OLD);
    assert_eq!(ask(tables, &memory, 1, SYN), NEW);
    let pins = memory.pins();
    memory.at(5);
    assert_eq!(ask(tables, &memory, 1, OTHER), OLD, "it lives on");
    assert_eq!(memory.pins(), pins, "the pin is left as it is");
    assert_eq!(ask(tables, &memory, 1, Told::ERROR), NEW);
    assert_eq!(memory.pins(), pins);
    // Also when the backend that the SYN went to is gone.
    tables.lives[usize::from(NEW)].store(3);
    slot(tables, Slot::moving(NEWEST, OLD));
    assert_eq!(ask(tables, &memory, 1, OTHER), OLD);
    // A connection that is its own answers everything, a SYN too.
    assert_eq!(ask(tables, &memory, 2, SYN), NEWEST);
    assert_eq!(ask(tables, &memory, 2, ACK), NEWEST);
    slot(tables, Slot::moving(NEW, OLD));
    for told in [OTHER, SYN, Told::segment(99, 0x02), OTHER] {
        assert_eq!(ask(tables, &memory, 2, told), NEWEST);
    }
}

#[test]
fn a_connection_that_ends_is_closing() {
    static TABLES: Tables = Tables::zero();
    let (tables, memory) = (moving(&TABLES), Table::new(9));
    for told in [SYN, ACK, Told::segment(9, 0x11), OTHER] {
        assert!(!memory.pins().iter().any(|(_, pin)| pin.is_closing()));
        assert_eq!(ask(tables, &memory, 1, told), NEW);
        if told.ends() {
            break;
        }
    }
    assert!(memory.pins()[0].1.is_closing());
}

#[test]
fn who_finds_no_room_or_no_place_under_the_guard_goes_to_the_old_one() {
    static TABLES: Tables = Tables::zero();
    let (tables, memory) = (moving(&TABLES), Table::new(3));
    guard(tables, 2);
    let open = |port| ask(tables, &memory, port, SYN);
    assert_eq!([open(1), open(2), open(3)], [NEW, NEW, OLD]);
    assert_eq!(open(2), NEW, "a pin asks no guard");
    memory.at(1);
    assert_eq!(open(3), NEW, "another second");
    assert_eq!(open(4), OLD, "the table is full");
    memory.at(2);
    assert_eq!([open(4), open(1)], [OLD, NEW]);
    assert_eq!(memory.pins().len(), 3);
    let seen = memory.pins().iter().map(|(_, pin)| pin.seen).max();
    assert_eq!(seen, Some(2));
}

#[test]
fn the_dead_are_left_and_their_numbers_are_nobody_elses() {
    static TABLES: Tables = Tables::zero();
    let (tables, memory) = (moving(&TABLES), Table::new(9));
    for port in 1..=3 {
        assert_eq!(ask(tables, &memory, port, SYN), NEW);
    }
    slot(tables, Slot::moving(NEWEST, OLD));
    // Taken back and given anew: another life.
    tables.lives[usize::from(NEW)].store(3);
    assert_eq!(ask(tables, &memory, 1, ACK), NEWEST, "not the old one");
    assert_eq!(ask(tables, &memory, 2, SYN), NEWEST);
    let pinned = memory
        .pins()
        .iter()
        .filter(|(_, pin)| pin.id() == NEWEST)
        .count();
    assert_eq!(pinned, 1, "in place of the dead one");
    settled_udp(tables, 100);
    assert_eq!(ask(tables, &memory, 3, DATAGRAM), NEWEST);
}

#[test]
fn an_unknown_datagram_is_an_old_flows_for_a_while() {
    static TABLES: Tables = Tables::zero();
    let (tables, memory) = (moving(&TABLES), Table::new(9));
    settled_udp(tables, 60);
    memory.at(59);
    assert_eq!(ask(tables, &memory, 1, DATAGRAM), OLD);
    memory.at(60);
    assert_eq!(ask(tables, &memory, 2, DATAGRAM), NEW);
    assert_eq!(ask(tables, &memory, 1, DATAGRAM), OLD, "its pin");
    assert_eq!(memory.pins().len(), 2);
}

#[test]
fn nobody_is_pinned_to_nobody() {
    static TABLES: Tables = Tables::zero();
    let (tables, memory) = (moving(&TABLES), Table::new(9));
    slot(tables, Slot::moving(0, OLD));
    assert_eq!(ask(tables, &memory, 1, SYN), 0, "new flows are refused");
    assert_eq!(ask(tables, &memory, 2, DATAGRAM), 0);
    assert_eq!(ask(tables, &memory, 3, ACK), OLD);
    assert_eq!(memory.pins(), []);
    slot(tables, Slot::moving(NEW, OLD));
    assert_eq!(ask(tables, &memory, 1, SYN), NEW);
    assert_eq!(ask(tables, &memory, 2, DATAGRAM), NEW);
}

#[test]
fn the_stamp_says_when_somebody_last_went_elsewhere() {
    static TABLES: Tables = Tables::zero();
    let (tables, memory) = (moving(&TABLES), Table::new(9));
    let stamp = || tables.stamps[INDEX as usize].load();
    memory.at(5);
    ask(tables, &memory, 1, SYN);
    assert_eq!(stamp(), 0, "to the new one");
    ask(tables, &memory, 2, ACK);
    assert_eq!(stamp(), 5);
    memory.at(6);
    ask(tables, &memory, 1, ACK);
    assert_eq!(stamp(), 5);
    // What anybody makes others send: answers to forged SYNs, errors; and SYNs themselves, that find no room.
    guard(tables, 0);
    for flags in [0x12, 0x04, 0x14, 0x02, 0x01, 0x00] {
        assert_eq!(ask(tables, &memory, 2, Told::segment(7, flags)), OLD);
    }
    assert_eq!(ask(tables, &memory, 2, Told::ERROR), OLD);
    assert_eq!(stamp(), 5);
    memory.at(7);
    ask(tables, &memory, 2, Told::segment(7, 0x11));
    assert_eq!(stamp(), 7);
    // A pinned flow that goes elsewhere, and a datagram.
    memory.at(8);
    slot(tables, Slot::moving(NEWEST, OLD));
    ask(tables, &memory, 1, Told::segment(7, 0x04));
    assert_eq!(stamp(), 8);
    memory.at(9);
    settled_udp(tables, 60);
    ask(tables, &memory, 3, DATAGRAM);
    assert_eq!(stamp(), 9);
}

#[test]
fn the_previous_table_tells_flows_from_before() {
    static TABLES: Tables = Tables::zero();
    let (tables, memory) = (moving(&TABLES), Table::new(9));
    let previous = Region {
        base: 100,
        len: 1,
        by_client: false,
    };
    tables.cells[0].previous.store(previous.pack());
    let before = |slot: Slot| tables.slots[100].store(slot.0);
    slot(tables, Slot::moving(NEW, Slot::PREVIOUS));
    before(Slot::settled(OLD));
    assert_eq!(ask(tables, &memory, 1, ACK), OLD);
    assert_eq!(ask(tables, &memory, 2, SYN), NEW);
    // Moving then already: its pins are the previous slot's.
    before(Slot::moving(OLD, NEWEST));
    assert_eq!(ask(tables, &memory, 1, ACK), NEWEST);
    let flow = Flow::v4([198, 51, 100, 7], 1, 443).hash(7);
    let key = PinKey {
        hash: flow.0,
        slot: 100,
        extra: 0,
    };
    assert!((&memory).pin(&key, Pin::new(OLD, 1, SYN, 0), false));
    assert_eq!(ask(tables, &memory, 1, OTHER), NEWEST, "not its pin");
    assert_eq!(ask(tables, &memory, 1, ACK), OLD);
    // Nobody was there.
    before(Slot::settled(0));
    assert_eq!(ask(tables, &memory, 3, ACK), NEW);
}
