use std::time::Duration;

use tollgate_common::{
    nat::flag,
    service::{TCP, UDP},
};

use super::*;
use crate::maps::Mapping;

const NUMBER: u16 = 7;
const BACKEND: u16 = 3;

/// A flow of which so much was seen, last at these seconds.
fn flow(proto: u8, client: (u32, u32), answers: (u32, u32)) -> (Tuple, Translation, Translation) {
    let key = Tuple {
        tag: Tuple::tag(proto, true),
        ..Tuple::default()
    };
    let one = |(flags, seen)| Translation {
        backend: u32::from(BACKEND) | 1 << 16,
        service: NUMBER.into(),
        flags,
        seen,
        ..Translation::default()
    };
    (key, one(client), one(answers))
}

fn timeouts() -> Timeouts {
    Timeouts {
        tcp_established: Duration::from_secs(1000),
        tcp_transitory: Duration::from_secs(100),
        tcp_closed: Duration::from_secs(10),
        udp: Duration::from_secs(30),
        udp_stream: Duration::from_secs(60),
    }
}

#[test]
fn flows_end_when_they_were_silent_for_as_long_as_they_may_be() {
    let tables = Mapping::private().unwrap();
    tables.lives[usize::from(BACKEND)].store(1);
    let known = Known {
        tables: &tables,
        overdue: BTreeSet::new(),
        timeouts: HashMap::from([(NUMBER, timeouts())]),
    };
    const ACK: u32 = flag::SEEN | flag::ACK;
    let (fin, rst) = (ACK | flag::FIN, ACK | flag::RST);
    for (proto, client, answers, may_last) in [
        (TCP, flag::SEEN, 0, 100),
        (TCP, flag::SEEN, flag::SEEN, 100),
        (TCP, ACK, 0, 100),
        (TCP, ACK, flag::SEEN, 1000),
        (TCP, ACK, ACK, 1000),
        (TCP, fin, ACK, 100),
        (TCP, ACK, fin, 100),
        (TCP, fin, fin, 10),
        (TCP, rst, ACK, 10),
        (TCP, ACK, rst, 10),
        (UDP, flag::SEEN, 0, 30),
        (UDP, flag::SEEN, flag::SEEN, 60),
    ] {
        // Either side may have been heard of last.
        for (first, second) in [(5000, 4000), (4000, 5000)] {
            let (key, way, back) = flow(proto, (client, first), (answers, second));
            let over = |now| known.is_over(&key, &way, &back, now);
            let said = (over(5000 + may_last), over(5001 + may_last));
            assert_eq!(said, (false, true), "{proto} {client:#x} {answers:#x}");
        }
    }
}

#[test]
fn flows_end_with_their_backend_and_their_service() {
    let tables = Mapping::private().unwrap();
    tables.lives[usize::from(BACKEND)].store(1);
    let (key, way, back) = flow(TCP, (flag::SEEN | flag::ACK, 50), (flag::SEEN, 50));
    let over = |overdue: &[u16], number| {
        let known = Known {
            tables: &tables,
            overdue: overdue.iter().copied().collect(),
            timeouts: HashMap::from([(number, timeouts())]),
        };
        known.is_over(&key, &way, &back, 50)
    };
    assert!(!over(&[BACKEND + 1], NUMBER));
    assert!(over(&[BACKEND], NUMBER), "its drain is over");
    assert!(over(&[], NUMBER + 1), "its service is gone");
    tables.lives[usize::from(BACKEND)].store(3);
    assert!(over(&[], NUMBER), "its number is another backend's");
}

/// A connection whose client its backend knows by another address can go on with no other: it is waited for as one that opens.
#[test]
fn flows_wait_for_their_backend_if_it_alone_knows_them() {
    let tables = Mapping::private().unwrap();
    let place = &tables.owners[usize::from(BACKEND)];
    place.tag.store(1);
    place.address_lo.store(9);
    const ACK: u32 = flag::SEEN | flag::ACK;
    let (key, mut way, back) = flow(TCP, (ACK, 50), (ACK, 50));
    way.to.destination = [0, 9];
    let known = Known {
        tables: &tables,
        overdue: BTreeSet::new(),
        timeouts: HashMap::from([(NUMBER, timeouts())]),
    };
    let over = |way: &Translation, now| known.is_over(&key, way, &back, now);
    assert!(over(&way, 50), "another backend goes on with it");
    way.to.source = [0, 7];
    assert_eq!((over(&way, 150), over(&way, 151)), (false, true));
    let udp = flow(UDP, (flag::SEEN, 50), (flag::SEEN, 50)).0;
    assert!(
        known.is_over(&udp, &way, &back, 50),
        "a datagram begins anew"
    );
    place.address_lo.store(8);
    assert!(over(&way, 50), "the number is another backend's");
}
