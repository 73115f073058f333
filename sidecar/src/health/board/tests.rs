use std::cell::RefCell;
use std::io;
use std::time::Duration;

use super::*;
use crate::health::group::{Kind, Target};
use crate::health::settings::{Panic, Probe, Rules, Via};

fn settings() -> Settings {
    Settings {
        probe: Probe::Tcp { port: None },
        via: Via::Direct,
        interval: Duration::from_secs(1),
        timeout: Duration::from_secs(1),
        rules: Rules {
            unhealthy: 2,
            healthy: 1,
        },
        slow_start: Duration::from_secs(30),
        panic: Panic::Below(50),
    }
}

fn address(last: u8) -> Address {
    Address {
        ip: [10, 0, 0, last].into(),
        port: None,
    }
}

fn group(members: impl IntoIterator<Item = u8>) -> Group {
    let member = |last| Member {
        address: address(last),
        counts: true,
        target: Target {
            ip: address(last).ip,
            port: 80,
            way: None,
        },
        adopted: Some(Share {
            quarters: WHOLE,
            down: false,
        }),
    };
    Group {
        name: Name {
            kind: Kind::Service,
            name: "a".into(),
        },
        settings: settings(),
        members: members.into_iter().map(member).collect(),
    }
}

/// A board with the numbers of the checks that it began.
#[derive(Default)]
struct Table {
    board: Board,
    begun: RefCell<Vec<(u8, u64)>>,
}

impl Table {
    fn watch(&mut self, group: &Group, now: Instant) {
        let Self { board, begun } = self;
        begun.borrow_mut().clear();
        board.watch(std::slice::from_ref(group), now, |number, _, member, _| {
            let std::net::IpAddr::V4(ip) = member.address.ip else {
                panic!("{}", member.address)
            };
            begun.borrow_mut().push((ip.octets()[3], number));
            Runs::default()
        });
    }

    fn number(&self, last: u8) -> u64 {
        let begun = self.begun.borrow();
        begun.iter().find(|(of, _)| *of == last).unwrap().1
    }

    fn note(&mut self, number: u64, last: u8, result: Result<(), Failure>, now: Instant) -> bool {
        let name = group([]).name;
        self.board.note(number, &name, address(last), result, now)
    }

    fn share(&mut self, last: u8, now: Instant) -> u8 {
        self.board.shares(now)[&group([]).name][&address(last)].quarters
    }
}

#[test]
fn this_hosts_own_trouble_turns_nobody() {
    let now = Instant::now();
    let mut table = Table::default();
    table.watch(&group(1..=2), now);
    let number = table.number(1);
    for _ in 0..10 {
        let own = Failure::of_connecting(io::Error::from_raw_os_error(nix::libc::EMFILE));
        assert!(own.is_own(), "{own}");
        assert!(!table.note(number, 1, Err(own), now));
    }
    // Nor does it break a row: the second failure is the second.
    assert!(!table.note(number, 1, Err(Failure::Refused), now));
    let own = Failure::Own(io::Error::other("again"));
    assert!(!table.note(number, 1, Err(own), now));
    assert!(table.note(number, 1, Err(Failure::Refused), now));
    assert_eq!(table.share(1, now), 0);
    let report = &table.board.report(now)[0].members[0];
    assert_eq!(report.failed, [("refused", 2), ("own", 11)]);
}

#[test]
fn what_is_known_outlives_a_reload_and_old_checks_say_nothing() {
    let now = Instant::now();
    let mut table = Table::default();
    table.watch(&group(1..=3), now);
    let old = table.number(1);
    for _ in 0..2 {
        table.note(old, 1, Err(Failure::Status(500)), now);
    }
    assert_eq!(table.share(1, now), 0);
    // The same again: nothing begins anew.
    table.watch(&group(1..=3), now);
    assert_eq!(*table.begun.borrow(), []);
    // Another way to check, one member less and one more.
    let mut other = group([1, 2, 4]);
    other.settings.probe = Probe::Tcp { port: Some(81) };
    assert_eq!(
        table.board.shares_of(&[other.clone()], now)[&other.name][&address(1)].quarters,
        0
    );
    table.watch(&other, now);
    assert_eq!(table.begun.borrow().len(), 3);
    assert_eq!((table.share(1, now), table.share(4, now)), (0, WHOLE));
    assert!(
        !table.note(old, 1, Ok(()), now),
        "a check that was replaced"
    );
    assert_eq!(table.share(1, now), 0);
    let number = table.number(1);
    assert!(table.note(number, 1, Ok(()), now));
    assert_eq!(table.share(1, now), 1);
    let later = table.board.grows_at(now).unwrap();
    assert_eq!(
        (later - now, table.share(1, later)),
        (Duration::from_secs(10), 2)
    );
    assert!(!table.note(table.number(2), 3, Ok(()), now), "who is gone");
}

#[test]
fn panic_begins_and_ends_with_who_is_up() {
    let now = Instant::now();
    let mut table = Table::default();
    table.watch(&group(1..=3), now);
    for last in [1, 2] {
        for _ in 0..2 {
            table.note(table.number(last), last, Err(Failure::Refused), now);
        }
        let is_panic = last == 2;
        assert_eq!(table.share(1, now), if is_panic { WHOLE } else { 0 });
        assert_eq!(table.board.report(now)[0].panic, is_panic);
    }
    table.note(table.number(1), 1, Ok(()), now);
    let shares = [1, 2, 3].map(|last| table.share(last, now));
    assert_eq!(shares, [1, 0, WHOLE]);
    assert!(!table.board.report(now)[0].panic);
}

#[test]
fn a_daemon_that_starts_in_panic_buries_nobody() {
    let now = Instant::now();
    let mut table = Table::default();
    table.watch(&group(1..=4), now);
    let fail = |table: &mut Table, last| {
        for _ in 0..2 {
            table.note(table.number(last), last, Err(Failure::Refused), now);
        }
    };
    for last in 1..=4 {
        fail(&mut table, last);
    }
    let shares = table.board.shares(now).remove(&group([]).name).unwrap();
    // As the next one finds them.
    let mut next = group(1..=4);
    for member in &mut next.members {
        member.adopted = shares.get(&member.address).copied();
    }
    let mut table = Table::default();
    table.watch(&next, now);
    for last in 1..=4 {
        fail(&mut table, last);
        let shares = [1, 2, 3, 4].map(|last| table.share(last, now));
        assert_eq!(shares, [WHOLE; 4], "after {last} failed again");
    }
}
