//! The program at TC that translates addresses, over its predecessor's.

use std::{
    net::Ipv4Addr,
    os::fd::AsFd as _,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use aya::{
    maps::MapData,
    programs::{SchedClassifier, TcAttachType},
};
use tollgate::demo::lab::UPLINK;
use tollgate_datapath::{
    Datapath,
    maps::Mapping,
    model::{Backend, Deliver, Model, Nat, Service},
    tables,
};

use crate::room::*;

/// As many services as there is room for with the largest table: what comes before and behind the filling of the maps is far apart.
const SERVICES: u8 = 60;
const BACKENDS: u8 = 9;

fn model() -> Model {
    let backends = (1..=BACKENDS).map(|last| Backend {
        address: Ipv4Addr::new(10, 77, 1, last).into(),
        weight: 1,
        drain: false,
    });
    let backends: Vec<Backend> = backends.collect();
    let nat = Nat {
        ports: backends.iter().map(|one| (one.address, 7000)).collect(),
        backends,
        ..Nat::default()
    };
    let service = |last| {
        let vip = format!("203.0.113.{last}:7000/tcp").parse().unwrap();
        Service::new(format!("service-{last}"), vip, Deliver::Nat(nat.clone()))
    };
    Model {
        services: (1..=SERVICES).map(service).collect(),
        ..Model::default()
    }
}

/// The program at the way in, in this thread's namespace.
fn program() -> u32 {
    let (_, programs) = SchedClassifier::query_tcx(UPLINK, TcAttachType::Ingress).unwrap();
    let [one] = &programs[..] else {
        panic!("{} programs", programs.len());
    };
    one.id()
}

fn tables_at(pin: &Path) -> Option<Mapping> {
    let map = MapData::from_pin(pin).ok()?;
    Some(Mapping::of(map.fd().as_fd()).unwrap())
}

/// How many of the services the tables have that the new program reads: in the folder of the next maps, until they are put in their
/// place.
fn known(pins: &Path, model: &Model) -> usize {
    let tables = tables_at(&pins.join("next/tables"))
        .or_else(|| tables_at(&pins.join("map/tables")))
        .expect("the tables");
    let services = model.services.iter();
    let is_known = |one: &&Service| tables.find(tables::key(one.vip)).is_some();
    services.filter(is_known).count()
}

#[test]
fn the_old_program_translates_until_the_new_maps_are_filled() {
    let room = Room::new();
    let (config, pins, model) = (room.config(), room.pins(), model());
    room.run(|| async {
        let mut first = Datapath::open(&config).await.unwrap();
        first.apply(&model).await.unwrap();
        drop(first);
        let old = program();
        let tables = tables_at(&pins.join("map/tables")).unwrap();
        tables.layout.store(u64::MAX);

        let mut second = Datapath::open(&config).await.unwrap();
        second.refresh().await.unwrap();
        assert_eq!(program(), old, "it goes on by the old maps");
        // Somebody looks all the time, as packets do: whenever the new program is there, its tables are full.
        static IS_APPLIED: AtomicBool = AtomicBool::new(false);
        let (folder, asked): (PathBuf, Model) = (pins.clone(), model.clone());
        let watcher = thread::spawn(move || {
            while program() == old {
                assert!(
                    !IS_APPLIED.load(Ordering::Acquire) || program() != old,
                    "the old one stays"
                );
            }
            known(&folder, &asked)
        });
        second.apply(&model).await.unwrap();
        IS_APPLIED.store(true, Ordering::Release);
        assert_eq!(watcher.join().unwrap(), usize::from(SERVICES));
        let nat = second.status().nat.unwrap();
        assert!(nat.interfaces[0].attached, "{nat:?}");
        assert!(!pins.join("next").exists());
    });
}
