//! How flows begin and end: by what both sides say, and with their backend.

use tollgate_common::nat::{Translation, Tuple};

use super::*;

#[test]
fn flows_end_with_their_backend_and_ports_are_used_again() {
    alone(|| {
        let mut stage = Stage::set();
        for family in FAMILIES {
            let client = SocketAddr::new(family.client(), CLIENT_PORT);
            let backend = SocketAddr::new(family.backend(21), PORT);
            let to = at(vip(family, 2, "81/tcp"));
            let tcp = |flags| frame(Proto::Tcp, client, to, flags, b"");
            let open = |stage: &mut Stage| {
                let (source, ..) = read(&stage.sent(&tcp(Flags::Syn), Verdict::Translated));
                source
            };
            let first = open(&mut stage);
            // A SYN that is repeated, or forged while the connection lives, begins nothing.
            assert_eq!(open(&mut stage), first);
            let back = |flags, to| frame(Proto::Tcp, backend, to, flags, b"");
            stage.sent(&back(Flags::SynAck, first), Verdict::Answered);
            stage.sent(&tcp(Flags::Ack), Verdict::Translated);
            assert_eq!(open(&mut stage), first);
            // Both sides have ended it: the same port opens another one.
            stage.sent(&tcp(Flags::FinAck), Verdict::Translated);
            stage.sent(&back(Flags::FinAck, first), Verdict::Answered);
            open(&mut stage);
            // Another backend comes in its place: neither direction goes on, a SYN finds who is there.
            stage.replace(family, 81, 23);
            stage.dropped(&tcp(Flags::Ack), Verdict::NoFlow);
            stage.dropped(&back(Flags::Ack, first), Verdict::NoFlow);
            let (_, reached, ..) = read(&stage.sent(&tcp(Flags::Syn), Verdict::Translated));
            assert_eq!(reached, SocketAddr::new(family.backend(23), PORT));
        }
    });
}

/// A connection from a client's own address goes on at whoever has its slot now: who does not know it ends it, and nobody waits.
#[test]
fn connections_of_a_backend_that_is_gone_go_where_their_slot_says() {
    alone(|| {
        let mut stage = Stage::set();
        for family in FAMILIES {
            let client = SocketAddr::new(family.client(), CLIENT_PORT);
            let to = at(vip(family, 2, "80/tcp"));
            let tcp = |flags| frame(Proto::Tcp, client, to, flags, b"");
            let gone = SocketAddr::new(family.backend(21), PORT);
            let next = SocketAddr::new(family.backend(23), PORT);
            stage.sent(&tcp(Flags::Syn), Verdict::Translated);
            let back = |from| frame(Proto::Tcp, from, client, Flags::Ack, b"");
            stage.sent(&back(gone), Verdict::Answered);
            stage.replace(family, 80, 23);
            // What ends or answers, and what is said about it, moves nothing.
            stage.dropped(&tcp(Flags::Rst), Verdict::NoFlow);
            stage.dropped(&back(gone), Verdict::NoFlow);
            let (from, reached, ..) = read(&stage.sent(&tcp(Flags::Ack), Verdict::Translated));
            assert_eq!((from, reached), (client, next));
            let rst = frame(Proto::Tcp, next, client, Flags::Rst, b"");
            let (from, reached, ..) = read(&stage.sent(&rst, Verdict::Answered));
            assert_eq!((from, reached), (to, client));
            // Of the other backend nothing is left.
            assert_eq!(stage.bench.translate(&back(gone)).1, None);
        }
    });
}

/// One whose client the backend knows by another address goes on with that backend when it is up again.
#[test]
fn connections_with_other_sources_go_on_when_their_backend_is_back() {
    alone(|| {
        let mut stage = Stage::set();
        for family in FAMILIES {
            let client = SocketAddr::new(family.client(), CLIENT_PORT);
            let backend = SocketAddr::new(family.backend(21), PORT);
            let to = at(vip(family, 2, "81/tcp"));
            let tcp = |flags| frame(Proto::Tcp, client, to, flags, b"");
            let (source, ..) = read(&stage.sent(&tcp(Flags::Syn), Verdict::Translated));
            let back = frame(Proto::Tcp, backend, source, Flags::Ack, b"");
            stage.sent(&back, Verdict::Answered);
            stage.sent(&tcp(Flags::Ack), Verdict::Translated);
            stage.share(81, 0);
            let left = stage.bench.sweep(&stage.model, second());
            stage.dropped(&tcp(Flags::Ack), Verdict::NoFlow);
            stage.dropped(&back, Verdict::NoFlow);
            stage.share(81, 4);
            assert_eq!(stage.bench.sweep(&stage.model, second()), left);
            stage.dropped(&back, Verdict::NoFlow);
            let (from, reached, ..) = read(&stage.sent(&tcp(Flags::Ack), Verdict::Translated));
            assert_eq!((from, reached), (source, backend));
            stage.sent(&back, Verdict::Answered);
        }
    });
}

/// `tollgate upgrade` lets no pins be made while it reads them; what is translated needs none.
#[test]
fn flows_begin_while_no_pins_may_be_made() {
    alone(|| {
        let mut stage = Stage::set();
        stage.bench.object.tables.pause_pins();
        for family in FAMILIES {
            let client = SocketAddr::new(family.client(), CLIENT_PORT);
            for port in [80, 81] {
                let to = at(vip(family, 2, &format!("{port}/tcp")));
                let syn = frame(Proto::Tcp, client, to, Flags::Syn, b"");
                stage.sent(&syn, Verdict::Translated);
            }
        }
        stage.bench.object.tables.sign();
        assert_ne!(stage.bench.object.tables.flows.load(), 0);
    });
}

/// All translations, those of clients' packets first.
fn translations(stage: &Stage) -> Vec<(Tuple, Translation)> {
    let all = stage.bench.object.translated.iter();
    let mut all: Vec<_> = all.map(Result::unwrap).collect();
    all.sort_by_key(|(_, one)| one.is_answers());
    all
}

/// Makes a flow to a service with `snat`; what its client's packets and answers become.
fn flow(stage: &mut Stage, family: Family, client_port: u16) -> [(Tuple, Translation); 2] {
    let before = translations(stage);
    let client = SocketAddr::new(family.client(), client_port);
    let to = at(vip(family, 2, "81/tcp"));
    let syn = frame(Proto::Tcp, client, to, Flags::Syn, b"");
    stage.sent(&syn, Verdict::Translated);
    let is_new = |(key, _): &(Tuple, Translation)| before.iter().all(|(one, _)| one != key);
    let made: Vec<_> = translations(stage).into_iter().filter(is_new).collect();
    let [way, back] = made[..] else {
        panic!("{} translations of one flow", made.len());
    };
    assert!(!way.1.is_answers() && back.1.is_answers());
    [way, back]
}

/// One direction alone is of a flow that is being made, for some seconds; then it is nobody's.
#[test]
fn a_direction_that_stays_alone_is_forgotten() {
    alone(|| {
        let mut stage = Stage::set();
        for family in FAMILIES {
            let [(key, way), (_, back)] = flow(&mut stage, family, CLIENT_PORT);
            let seen = back.seen;
            assert_eq!(stage.bench.sweep(&stage.model, seen + 6), 2);
            stage.bench.object.translated.remove(&key).unwrap();
            assert_eq!(
                stage.bench.sweep(&stage.model, seen + 5),
                1,
                "it is being made"
            );
            assert_eq!(stage.bench.sweep(&stage.model, seen + 6), 0);
            // The client's direction alone is looked after by its time, as a whole flow is.
            let [(_, _), (other, _)] = flow(&mut stage, family, CLIENT_PORT);
            stage.bench.object.translated.remove(&other).unwrap();
            assert_eq!(stage.bench.sweep(&stage.model, way.seen + 100), 1);
            assert_eq!(stage.bench.sweep(&stage.model, way.seen + 1000), 0);
        }
    });
}

/// A flow that was not made, because answers to it would be those to another one, is no part of that one: it neither lives by what the
/// other's backend says nor takes its answers along.
#[test]
fn a_flow_that_ends_takes_no_other_ones_answers_along() {
    alone(|| {
        let mut stage = Stage::set();
        for family in FAMILIES {
            let [(key, mut way), (own, _)] = flow(&mut stage, family, CLIENT_PORT);
            let [theirs, mut back] = flow(&mut stage, family, CLIENT_PORT + 1);
            let map = &mut stage.bench.object.translated;
            map.remove(&own).unwrap();
            way.to = theirs.1.to;
            assert_eq!(way.to.reversed(), back.0);
            map.put(&key, way).unwrap();
            // The other one goes on for long.
            let now = way.seen + 1000;
            back.1.seen = now;
            map.put(&back.0, back.1).unwrap();
            assert_eq!(stage.bench.sweep(&stage.model, now), 2);
            let left = translations(&stage);
            assert_eq!(
                left.iter().map(|one| one.0).collect::<Vec<_>>(),
                [theirs.0, back.0]
            );
            assert_eq!(stage.bench.sweep(&stage.model, now + 1000), 0);
        }
    });
}
