//! Watching packets: what is told is what the program got and what it made of it.

use std::net::{IpAddr, SocketAddr};

use aya::{TestRun as _, programs::ProgramInfo};
use tollgate::demo::lab::UPLINK;
use tollgate_common::verdict::Verdict;
use tollgate_datapath::{
    Datapath,
    capture::{Capture, MOST, Seen, ServiceNames, What, filter::Filter},
    model::Model,
};
use tollgate_tests::{
    bpf::{Bench, Ran, action, chain},
    packet::frame,
};

use crate::{
    fixtures::{self, Family, Fixture, build, vip},
    room::{self, Room, device, program_id},
};

/// The programs with the fixtures' services, pinned, and somebody who watches.
struct Watched {
    bench: Bench,
    capture: Option<Capture>,
    model: Model,
}

impl Watched {
    fn new(room: &Room, filter: &str, what: What) -> Self {
        let mut bench = Bench::pinned(&room.pins());
        let (model, hops) = fixtures::model();
        bench.apply(&model, &hops);
        let capture = Some(watch(room, &model, filter, what));
        Self {
            bench,
            capture,
            model,
        }
    }

    fn again(&mut self, room: &Room, filter: &str, what: What) {
        // One at a time: the one before ends first.
        drop(self.capture.take());
        self.capture = Some(watch(room, &self.model, filter, what));
    }

    fn capture(&mut self) -> &mut Capture {
        self.capture.as_mut().expect("a watch")
    }

    fn run(&mut self, fixture: &Fixture) -> (Ran, Vec<Seen>) {
        self.send(&fixture.frame, fixture.metadata)
    }

    fn send(&mut self, frame: &[u8], metadata: usize) -> (Ran, Vec<Seen>) {
        let capture = self.capture.as_mut().expect("a watch");
        let ran = self
            .bench
            .run_by(capture.program().unwrap(), frame, metadata);
        (ran, capture.take().unwrap())
    }
}

fn watch(room: &Room, model: &Model, filter: &str, what: What) -> Capture {
    let filter: Filter = filter.parse().unwrap();
    let services = model.services.iter();
    let names: ServiceNames = services.map(|one| (one.vip, one.name.clone())).collect();
    let interface = |name: &str| nix::net::if_::if_nametoindex(name).ok();
    Capture::open(&room.pins(), what, &filter, names, Box::new(interface))
        .unwrap_or_else(|error| panic!("{}", chain(&error)))
}

/// What the kernel says of the program.
pub(crate) fn program_info(room: &Room) -> ProgramInfo {
    let mut watched = Watched::new(room, "", PACKETS);
    let program = watched.capture().program().unwrap();
    program.info().unwrap()
}

const PACKETS: What = What::Packets {
    snaplen: MOST,
    rate: u32::MAX,
};

#[test]
fn every_verdict_is_told_with_the_packet_before_and_after() {
    let room = Room::new();
    room.run(|| async {
        let mut watched = Watched::new(&room, "", PACKETS);
        let mut verdicts = std::collections::BTreeSet::new();
        for fixture in fixtures::all() {
            let what = format!("{} ({:?})", fixture.what, fixture.family);
            let (ran, seen) = watched.run(&fixture);
            let [before, after] = &seen[..] else {
                panic!("{what}: {seen:#?}")
            };
            assert!(!before.after && after.after, "{what}");
            assert_eq!(before.packet, after.packet, "{what}");
            assert!(before.at <= after.at, "{what}");
            assert_eq!(before.bytes, fixture.frame, "{what}, before");
            assert_eq!(before.len as usize, fixture.frame.len(), "{what}, before");
            assert_eq!(after.bytes, ran.frame, "{what}, after");
            assert_eq!(after.len as usize, ran.frame.len(), "{what}, after");
            for one in [before, after] {
                assert_eq!(one.verdict, ran.verdict.label(), "{what}");
                assert_eq!(one.action, ran.action, "{what}");
                assert_eq!(one.interface, tollgate_tests::bpf::INGRESS, "{what}");
            }
            verdicts.insert(ran.verdict);
            if matches!(ran.verdict, Verdict::Sent | Verdict::Redirected) {
                let service = after.service.as_deref().expect("a service");
                let service = watched
                    .model
                    .services
                    .iter()
                    .find(|one| one.name == service);
                let backends = service.expect("one of the model").deliver.backends();
                let backend = after.backend.expect("a backend");
                assert!(backends.iter().any(|one| one.address == backend), "{what}");
            } else {
                assert_eq!(after.backend, None, "{what}");
            }
        }
        // All but those of TC, where nobody watches.
        let all = Verdict::ALL.iter().filter(|one| !one.is_of_tc()).count();
        assert_eq!(verdicts.len(), all, "{verdicts:?}");
    });
}

#[test]
fn a_filter_lets_through_what_it_says() {
    let room = Room::new();
    let family = Family::V4;
    let (web, steered) = (vip(family, 2, "80/tcp"), vip(family, 1, "443/tcp"));
    let nobody = vip(family, 2, "84/tcp");
    let backend = family.backend(21);
    room.run(|| async {
        let mut watched = Watched::new(&room, "", PACKETS);
        for (filter, passes) in [
            (format!("service {web}"), [true, false, false]),
            (format!("not service {web}"), [false, true, true]),
            (format!("service {steered}"), [false, true, false]),
            (format!("service {nobody}"), [false, false, true]),
            (format!("backend {backend}"), [true, false, false]),
            ("verdict listener".to_owned(), [false, true, false]),
            ("drop".to_owned(), [false, false, true]),
            (
                "drop or verdict sent and tcp".to_owned(),
                [true, false, true],
            ),
            (format!("client {}", family.client()), [true, true, true]),
            ("port 443".to_owned(), [false, true, false]),
            (format!("vip {web}"), [true, false, false]),
            ("udp".to_owned(), [false, false, false]),
            ("interface lo".to_owned(), [true, true, true]),
        ] {
            watched.again(&room, &filter, PACKETS);
            for (vip, passes) in [web, steered, nobody].into_iter().zip(passes) {
                let frame = frame(family.client(), 40_000, vip, &[]);
                let (_, seen) = watched.send(&frame, 0);
                assert_eq!(seen.len(), 2 * usize::from(passes), "{filter}, {vip}");
            }
            let passed = passes.iter().filter(|passes| **passes).count() as u64;
            assert_eq!(
                watched.capture().counted().unwrap().passed,
                passed,
                "{filter}"
            );
        }
    });
}

#[test]
fn errors_and_fragments_are_of_their_flow_and_its_service() {
    let room = Room::new();
    room.run(|| async {
        let mut watched = Watched::new(&room, "", PACKETS);
        for family in fixtures::FAMILIES {
            let web = vip(family, 2, "80/tcp");
            let filter = format!("service {web} and client {}", family.client());
            watched.again(&room, &filter, PACKETS);
            let whole = frame(family.client(), 40_000, web, &[7; 200]);
            let answer = build::answer(&whole);
            let error = build::message(family, web.ip, fixtures::errors(family)[0], &answer);
            let pieces = [0, 8].map(|at| build::piece(&whole, 9, at, 64));
            for frame in [&whole, &error, &pieces[0], &pieces[1]] {
                let (ran, seen) = watched.send(frame, 0);
                let what = tollgate_tests::packet::describe(frame);
                assert_eq!(ran.verdict, Verdict::Sent, "{what}");
                assert_eq!(seen.len(), 2, "{what}");
                assert_eq!(
                    seen[0].client.map(|client| client.ip()),
                    Some(family.client())
                );
                assert_eq!(seen[0].vip.map(|vip| vip.ip()), Some(web.ip));
            }
        }
    });
}

#[test]
fn a_snapshot_is_cut_and_says_how_long_it_was() {
    let room = Room::new();
    room.run(|| async {
        let mut watched = Watched::new(
            &room,
            "",
            What::Packets {
                snaplen: 70,
                rate: u32::MAX,
            },
        );
        let frame = frame(
            Family::V4.client(),
            40_000,
            vip(Family::V4, 2, "80/tcp"),
            &[7; 900],
        );
        let (ran, seen) = watched.send(&frame, 0);
        let cut = |frame: &[u8]| (frame[..70].to_vec(), frame.len() as u32);
        for (seen, frame) in seen.iter().zip([&frame, &ran.frame]) {
            assert_eq!((seen.bytes.clone(), seen.len), cut(frame));
        }
        assert_eq!(seen.len(), 2);
    });
}

#[test]
fn events_are_connections_that_begin_and_drops() {
    const CLIENTS: u16 = 4000;
    let room = Room::new();
    let family = Family::V6;
    let (web, nobody) = (vip(family, 2, "80/tcp"), vip(family, 2, "84/tcp"));
    let events = |sample, drops, rate| What::Events {
        sample,
        drops,
        rate,
    };
    let syn = |port, vip| tollgate_tests::packet::segment(family.client(), port, vip, 1, 0x02, &[]);
    let ack = |port, vip| tollgate_tests::packet::segment(family.client(), port, vip, 1, 0x10, &[]);
    room.run(|| async {
        let mut watched = Watched::new(&room, "", events(1, true, u32::MAX));
        let frames = [syn(1000, web), ack(1000, web), ack(1000, nobody)];
        let seen: Vec<Seen> = frames
            .iter()
            .flat_map(|frame| watched.send(frame, 0).1)
            .collect();
        let [begins, dropped] = &seen[..] else {
            panic!("{seen:#?}")
        };
        let client = Some(SocketAddr::new(family.client(), 1000));
        assert_eq!(
            (begins.verdict, begins.opens, begins.client),
            ("sent", true, client)
        );
        assert_eq!(begins.vip, Some(SocketAddr::new(web.ip, 80)));
        assert_eq!(begins.service.as_deref(), Some(web.to_string().as_str()));
        assert_eq!(begins.backend, Some(family.backend(21)));
        assert_eq!(
            (dropped.verdict, dropped.backend),
            ("no_backend", None::<IpAddr>)
        );
        assert_eq!(
            dropped.service.as_deref(),
            Some(nobody.to_string().as_str())
        );

        // One in ten, and no drops.
        watched.again(&room, "", events(10, false, u32::MAX));
        let mut seen = Vec::new();
        for port in 0..CLIENTS {
            seen.extend(watched.send(&syn(1 + port, web), 0).1);
            seen.extend(watched.send(&syn(1 + port, nobody), 0).1);
        }
        assert!(seen.iter().all(|one| one.verdict == "sent"));
        assert!(
            (200..=700).contains(&seen.len()),
            "{} of {CLIENTS}",
            seen.len()
        );

        // No more than so many a second and CPU; what is beyond is counted.
        watched.again(&room, "", events(1, true, 3));
        let mut seen = 0;
        for port in 0..CLIENTS {
            seen += watched.send(&syn(1 + port, web), 0).1.len() as u64;
        }
        let counted = watched.capture().counted().unwrap();
        assert_eq!(counted.passed, u64::from(CLIENTS));
        assert!(
            counted.held > 0 && seen + counted.held + counted.lost == counted.passed,
            "{seen}, {counted:?}"
        );
    });
}

#[test]
fn what_finds_no_room_is_counted() {
    const PACKETS_SENT: u64 = 4000;
    let room = Room::new();
    room.run(|| async {
        let mut watched = Watched::new(&room, "tcp", PACKETS);
        let frame = frame(
            Family::V4.client(),
            40_000,
            vip(Family::V4, 2, "80/tcp"),
            &[7; 1400],
        );
        for _ in 0..PACKETS_SENT {
            let options = aya::programs::TestRunOptions {
                data_in: Some(&frame),
                ..Default::default()
            };
            let program = watched.capture().program().unwrap();
            assert_eq!(program.test_run(options).unwrap().return_value, action::TX);
        }
        let seen = watched.capture().take().unwrap().len() as u64;
        let counted = watched.capture().counted().unwrap();
        assert_eq!(counted.passed, PACKETS_SENT);
        assert!(
            counted.lost > 0 && seen + counted.lost == 2 * PACKETS_SENT,
            "{seen}, {counted:?}"
        );
    });
}

#[test]
fn packets_beyond_the_rate_are_counted_and_not_told() {
    const PACKETS_SENT: u64 = 2000;
    const RATE: u32 = 5;
    let room = Room::new();
    room.run(|| async {
        let what = What::Packets {
            snaplen: MOST,
            rate: RATE,
        };
        let mut watched = Watched::new(&room, "", what);
        let to = vip(Family::V4, 2, "80/tcp");
        let frame = frame(Family::V4.client(), 40_000, to, &[7; 1400]);
        let mut seen = Vec::new();
        for _ in 0..PACKETS_SENT {
            let options = aya::programs::TestRunOptions {
                data_in: Some(&frame),
                ..Default::default()
            };
            let program = watched.capture().program().unwrap();
            assert_eq!(program.test_run(options).unwrap().return_value, action::TX);
            seen.extend(watched.capture().take().unwrap());
        }
        let counted = watched.capture().counted().unwrap();
        assert_eq!((counted.passed, counted.lost), (PACKETS_SENT, 0));
        assert!(counted.held > 0, "{counted:?}");
        let told = PACKETS_SENT - counted.held;
        assert_eq!(seen.len() as u64, 2 * told, "each before and after");
        assert!(seen.iter().all(|one| one.bytes.len() == one.len as usize));
    });
}

/// The number of the program that the uplink runs.
async fn attached() -> Option<u32> {
    device(UPLINK).await.program
}

#[test]
fn the_program_is_put_back_whoever_restarts_meanwhile() {
    let room = Room::new();
    let (config, pins) = (room.config(), room.pins());
    room.run(|| async {
        let mut first = Datapath::open(&config).await.unwrap();
        first.apply(&room::model()).await.unwrap();
        let own = program_id(&pins);
        assert_eq!(attached().await, Some(own));
        let open = || watch(&room, &room::model(), "", PACKETS);
        let mut capture = open();
        assert_ne!(attached().await, Some(own), "another one stands in");
        // Only one at a time.
        let second = Capture::open(
            &pins,
            PACKETS,
            &Filter::ALL,
            ServiceNames::new(),
            Box::new(|_| None),
        );
        assert!(
            second
                .err()
                .expect("one at a time")
                .to_string()
                .contains("one at a time")
        );
        // The daemon lets it be, and goes on.
        first.refresh().await.unwrap();
        first.apply(&room::model()).await.unwrap();
        assert_ne!(attached().await, Some(own));
        assert!(first.status().interfaces[0].attached && first.status().watched);
        assert!(!capture.follow().unwrap());
        // Another daemon: its program is watched from then on.
        drop(first);
        let mut second = Datapath::open(&config).await.unwrap();
        second.apply(&room::model()).await.unwrap();
        let now = program_id(&pins);
        assert_eq!(attached().await, Some(now));
        assert!(capture.follow().unwrap(), "it goes over");
        assert_ne!(attached().await, Some(now));
        drop(capture);
        assert_eq!(attached().await, Some(now), "put back");
        assert!(!second.status().watched);

        // Killed: nothing is put back, but the lock is gone, and the daemon does it.
        let capture = open();
        capture.abandon();
        assert_ne!(attached().await, Some(now));
        second.refresh().await.unwrap();
        assert_eq!(attached().await, Some(now), "the daemon put it back");
        // And when there is nothing any more, it says so.
        let mut capture = open();
        tollgate_datapath::down(&pins).await.unwrap();
        assert!(
            capture
                .follow()
                .unwrap_err()
                .to_string()
                .contains("no datapath is there")
        );
    });
}

#[test]
fn another_versions_program_is_refused() {
    let room = Room::new();
    room.run(|| async {
        let bench = Bench::pinned(&room.pins());
        bench.object.tables.layout.store(u64::MAX);
        let refused = Capture::open(
            &room.pins(),
            PACKETS,
            &Filter::ALL,
            ServiceNames::new(),
            Box::new(|_| None),
        );
        let error = refused.err().expect("another layout").to_string();
        assert!(error.contains("another build's"), "{error}");
        let nowhere = room.pins().join("nowhere");
        let refused = Capture::open(
            &nowhere,
            PACKETS,
            &Filter::ALL,
            ServiceNames::new(),
            Box::new(|_| None),
        );
        let error = refused.err().expect("nothing there").to_string();
        assert!(error.contains("no datapath is there"), "{error}");
    });
}
