//! Links, programs and maps: attached, adopted, replaced, removed.

use std::os::fd::AsFd as _;

use tempfile::TempDir;
use tollgate::demo::lab::UPLINK;
use tollgate_datapath::{
    Announce, AttachError, Config, Datapath, XdpMode,
    maps::Mapping,
    model::{Backend, Deliver, Model, Service},
    object::Object,
};
use tollgate_tests::bpf::chain;

use crate::room::*;

#[test]
fn a_new_daemon_adopts_what_the_old_one_left() {
    let room = Room::new();
    let (config, pins) = (room.config(), room.pins());
    room.run(|| async {
        let mut first = Datapath::open(&config)
            .await
            .map_err(|error| chain(&error))
            .unwrap();
        assert!(!first.status().adopted);
        first.apply(&model()).await.unwrap();
        let (before, program) = (ids(&first), program_id(&pins));
        let slots: Vec<u32> = first.tables().slots[..70_000]
            .iter()
            .map(tollgate_common::pod::Word32::load)
            .collect();
        drop(first);
        // Nobody is there, and it goes on.
        assert_eq!(device(UPLINK).await.xdp, Some(XdpMode::Native));

        let mut second = Datapath::open(&config)
            .await
            .map_err(|error| chain(&error))
            .unwrap();
        let status = second.status();
        assert!(status.adopted && status.interfaces[0].adopted);
        assert_ne!(program_id(&pins), program, "the program was replaced");
        let applied = second.apply(&model()).await.unwrap();
        assert_eq!((applied.added, applied.removed, applied.moved), (0, 0, 0));
        assert_eq!(ids(&second), before);
        let now: Vec<u32> = second.tables().slots[..70_000]
            .iter()
            .map(tollgate_common::pod::Word32::load)
            .collect();
        assert!(slots == now, "no slot moved");
    });
}

#[test]
fn maps_of_another_layout_are_replaced_only_when_new_ones_are_filled() {
    let room = Room::new();
    let (config, pins) = (room.config(), room.pins());
    room.run(|| async {
        let mut first = Datapath::open(&config).await.unwrap();
        first.apply(&model()).await.unwrap();
        drop(first);
        let map = aya::maps::MapData::from_pin(pins.join("map/tables")).unwrap();
        let old = Mapping::of(map.fd().as_fd()).unwrap();
        old.layout.store(u64::MAX);
        let program = program_id(&pins);

        let mut second = Datapath::open(&config).await.unwrap();
        assert!(!second.status().adopted);
        assert_eq!(
            program_id(&pins),
            program,
            "the old program still forwards by the old maps"
        );
        second.apply(&model()).await.unwrap();
        assert_ne!(program_id(&pins), program);
        let map = aya::maps::MapData::from_pin(pins.join("map/tables")).unwrap();
        assert!(Mapping::of(map.fd().as_fd()).unwrap().is_of_this_layout());
        assert!(!pins.join("next").exists());
        let status = second.status();
        assert!(
            status.interfaces[0].adopted,
            "the link stayed: {:?}",
            status.interfaces
        );
    });
}

#[test]
fn down_leaves_nothing() {
    let room = Room::new();
    let config = Config {
        announce: Announce::Neighbour,
        ..room.config()
    };
    let pins = room.pins();
    room.run(|| async {
        let mut datapath = Datapath::open(&config).await.unwrap();
        let mut model = model();
        model.services[0].vip = "[2001:db8::10]:443/tcp".parse().unwrap();
        datapath.apply(&model).await.unwrap();
        assert!(device(UPLINK).await.xdp.is_some());
        // The daemon need not be gone.
        let removed = tollgate_datapath::down(&pins).await.unwrap();
        let maps = tollgate_datapath::object::MAPS.len();
        assert_eq!(removed.pins, maps + 2 + 2, "maps, programs, links");
        assert!(removed.routes >= 3, "{removed:?}");
        assert!(!pins.exists());
        assert_eq!(device(UPLINK).await.xdp, None);
        let again = tollgate_datapath::down(&pins).await.unwrap();
        assert_eq!((again.pins, again.routes), (0, 0));
    });
}

#[test]
fn an_interface_that_is_not_named_any_more_is_let_go() {
    let room = Room::new();
    let config = room.config();
    room.run(|| async {
        let both = Config {
            interfaces: vec![UPLINK.into(), "lo".into()],
            ..config.clone()
        };
        drop(Datapath::open(&both).await.unwrap());
        assert_eq!(device("lo").await.xdp, Some(XdpMode::Generic));
        drop(Datapath::open(&config).await.unwrap());
        // The kernel detaches a moment after the link's last pin went.
        for _ in 0..200 {
            if device("lo").await.xdp.is_none() {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        assert_eq!(device("lo").await.xdp, None);
        assert_eq!(device(UPLINK).await.xdp, Some(XdpMode::Native));
    });
}

#[test]
fn another_mode_is_attached_anew() {
    let room = Room::new();
    let config = room.config();
    room.run(|| async {
        drop(Datapath::open(&config).await.unwrap());
        let generic = Config {
            xdp: XdpMode::Generic,
            ..config.clone()
        };
        let datapath = Datapath::open(&generic)
            .await
            .map_err(|error| chain(&error))
            .unwrap();
        let status = datapath.status();
        assert_eq!(
            (status.interfaces[0].mode, status.interfaces[0].adopted),
            (XdpMode::Generic, false)
        );
        assert_eq!(device(UPLINK).await.xdp, Some(XdpMode::Generic));
    });
}

#[test]
fn auto_says_why_it_is_generic_and_native_says_why_not() {
    let room = Room::new();
    let config = Config {
        interfaces: vec!["lo".into()],
        ..room.config()
    };
    room.run(|| async {
        let datapath = Datapath::open(&config).await.unwrap();
        let attached = datapath.status().interfaces.remove(0);
        assert_eq!(attached.mode, XdpMode::Generic);
        assert!(
            attached.why.contains("the driver refuses native XDP"),
            "{}",
            attached.why
        );
        drop(datapath);
        tollgate_datapath::down(&config.bpffs).await.unwrap();
        let native = Config {
            xdp: XdpMode::Native,
            ..config
        };
        let error = Datapath::open(&native)
            .await
            .err()
            .expect("lo has no native XDP");
        assert!(
            error.to_string().contains("lo does not take native XDP"),
            "{error}"
        );
    });
}

#[test]
fn another_program_on_the_device_is_named() {
    let room = Room::new();
    let config = room.config();
    room.run(|| async {
        let mut other = Object::load(None).unwrap();
        other
            .xdp()
            .unwrap()
            .attach(UPLINK, aya::programs::XdpMode::Driver)
            .unwrap();
        let error = Datapath::open(&config)
            .await
            .err()
            .expect("the device is taken");
        assert!(
            matches!(
                error,
                tollgate_datapath::OpenError::Attach(AttachError::Busy(_))
            ),
            "{error}"
        );
        assert!(
            error
                .to_string()
                .contains("eth0 has another XDP program already"),
            "{error}"
        );
        assert!(!config.bpffs.exists(), "a start that failed leaves nothing");
    });
}

#[test]
fn pins_want_a_bpf_file_system() {
    let room = Room::new();
    let folder = TempDir::new().unwrap();
    let config = Config {
        interfaces: vec!["lo".into()],
        xdp: XdpMode::Generic,
        bpffs: folder.path().join("tollgate"),
        announce: Announce::None,
    };
    let error = room.run(|| async { Datapath::open(&config).await.err().map(|e| e.to_string()) });
    let error = error.expect("no bpffs");
    assert!(error.contains("mount -t bpf bpf /sys/fs/bpf"), "{error}");
    let missing = Config {
        interfaces: vec!["nosuch0".into()],
        bpffs: room.pins(),
        ..config
    };
    let error = room.run(|| async { Datapath::open(&missing).await.err().map(|e| e.to_string()) });
    assert!(error.is_some_and(|error| error.contains("no interface `nosuch0`")));
}

#[test]
fn next_hops_are_found_lost_and_found_again() {
    let mut room = Room::new();
    let backend = room.lab.host("backend").unwrap();
    let mac = inside(&backend.ns, || async { device(UPLINK).await.mac.unwrap() });
    let config = room.config();
    let address = backend.v4;
    let model = Model {
        services: vec![Service::new(
            "database".into(),
            "203.0.113.20:5432/tcp".parse().unwrap(),
            Deliver::Ipip(vec![Backend {
                address: address.into(),
                weight: 1,
                drain: false,
            }]),
        )],
        ..Model::default()
    };
    let mut datapath = room.run(|| async {
        let mut datapath = Datapath::open(&config).await.unwrap();
        datapath.apply(&model).await.unwrap();
        datapath
    });
    let entry = |datapath: &Datapath| {
        let id = usize::from(ids(datapath)[0]);
        let entry = &datapath.tables().backends[id];
        (entry.header[0].load().to_le_bytes(), entry.out.load())
    };
    let (header, out) = entry(&datapath);
    assert_eq!(header[..6], mac);
    assert_ne!(out, 0);

    // The host goes, and is silent from here on: the kernel takes a namespace down some time after its last handle.
    inside(&backend.ns, || async {
        ip(&["link", "set", UPLINK, "down"]);
    });
    drop(backend);
    // The kernel finds out only when it asks, so its entry is made to look as if it had.
    let failed = room.run(|| async {
        let arguments = [
            "neigh",
            "replace",
            &address.to_string(),
            "dev",
            UPLINK,
            "nud",
            "failed",
        ];
        std::process::Command::new("ip")
            .args(arguments)
            .status()
            .unwrap()
    });
    assert!(failed.success());
    room.run(|| async { datapath.refresh().await.unwrap() });
    let hop = datapath.status().services[0].backends[0].next_hop.clone();
    assert!(hop.contains("does not answer"), "{hop}");
    assert_eq!(entry(&datapath).1, 0, "packets are dropped, and counted");

    // Another host takes the address, with a MAC address of its own.
    let other = room.lab.host("other").unwrap();
    other
        .address(UPLINK, tollgate::demo::lab::Prefix::host(address.into()))
        .unwrap();
    let mac = inside(&other.ns, || async { device(UPLINK).await.mac.unwrap() });
    for _ in 0..60 {
        room.run(|| async { datapath.refresh().await.unwrap() });
        if entry(&datapath).1 != 0 {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    assert_eq!(entry(&datapath).0[..6], mac);
}

#[test]
fn a_host_address_is_refused_as_a_service() {
    let room = Room::new();
    let config = room.config();
    let own = room.host.v4;
    room.run(|| async {
        let mut datapath = Datapath::open(&config).await.unwrap();
        let mut model = model();
        model.services[0].vip = format!("{own}:443/tcp").parse().unwrap();
        let error = datapath
            .apply(&model)
            .await
            .expect_err("refused")
            .to_string();
        assert!(error.contains("this host's own address on eth0"), "{error}");
    });
}

#[test]
fn a_restart_disturbs_no_backend_that_lives() {
    let mut room = Room::new();
    let hosts: Vec<_> = ["one", "two"]
        .iter()
        .map(|name| room.lab.host(name).unwrap())
        .collect();
    let config = room.config();
    let model = Model {
        services: vec![Service::new(
            "database".into(),
            "203.0.113.20:5432/tcp".parse().unwrap(),
            Deliver::Ipip(
                hosts
                    .iter()
                    .map(|host| Backend {
                        address: host.v4.into(),
                        weight: 1,
                        drain: false,
                    })
                    .collect(),
            ),
        )],
        ..Model::default()
    };
    room.run(|| async {
        let mut first = Datapath::open(&config).await.unwrap();
        first.apply(&model).await.unwrap();
        let ids = ids(&first);
        let map = aya::maps::MapData::from_pin(config.bpffs.join("map/tables")).unwrap();
        let tables = Mapping::of(map.fd().as_fd()).unwrap();
        for id in &ids {
            assert_ne!(tables.backends[usize::from(*id)].out.load(), 0);
        }
        let words = move || -> Vec<u64> {
            let entries = ids.iter().map(|id| &tables.backends[usize::from(*id)]);
            entries
                .flat_map(|entry| entry.header.iter().chain([&entry.out]))
                .map(tollgate_common::pod::Word64::load)
                .collect()
        };
        let before = words();
        drop(first);
        // The kernel has forgotten the neighbours, and asks anew.
        let flushed = std::process::Command::new("ip")
            .args(["neigh", "flush", "all"])
            .status();
        assert!(flushed.unwrap().success());

        let done = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let watch = std::thread::spawn({
            let done = std::sync::Arc::clone(&done);
            let expected = before.clone();
            move || {
                let mut looks = 0_u64;
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    assert_eq!(words(), expected, "after {looks} looks");
                    looks += 1;
                }
                looks
            }
        });
        let mut second = Datapath::open(&config).await.unwrap();
        assert!(second.status().adopted);
        second.refresh().await.unwrap();
        second.apply(&model).await.unwrap();
        second.refresh().await.unwrap();
        assert_eq!(second.status().verdicts["no_next_hop"], 0);
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(watch.join().unwrap() > 0);
    });
}

#[test]
fn a_folder_has_one_daemon_at_a_time() {
    let room = Room::new();
    let config = room.config();
    room.run(|| async {
        let mut first = Datapath::open(&config).await.unwrap();
        let error = Datapath::open(&config).await.err().expect("it is in use");
        let error = error.to_string();
        assert!(
            error.contains("is in use by another Tollgate daemon")
                && error.contains(&*config.bpffs.to_string_lossy()),
            "{error}"
        );
        first.rest();
        let mut second = Datapath::open(&config).await.unwrap();
        second.apply(&model()).await.unwrap();
        let late = first.apply(&Model::default()).await;
        assert!(late.is_err(), "it was handed over");
        assert_eq!(ids(&second).len(), 4);
    });
}

#[test]
fn a_folder_of_another_namespace_is_refused() {
    let mut room = Room::new();
    let other = room.lab.host("other").unwrap();
    let config = room.config();
    let folder = room.pins();
    room.run(|| async { drop(Datapath::open(&config).await.unwrap()) });
    // The same mounts, another network: as after `nsenter --net`.
    let theirs = other
        .ns
        .run(|| std::fs::File::open("/proc/thread-self/ns/net").unwrap());
    let theirs = theirs.unwrap();
    let error = room.run(|| async {
        nix::sched::setns(&theirs, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        Datapath::open(&config)
            .await
            .err()
            .map(|error| error.to_string())
    });
    let error = error.expect("refused");
    assert!(
        error.contains("belongs to the datapath of the network namespace")
            && error.contains(&*folder.to_string_lossy()),
        "{error}"
    );
}

#[test]
fn after_down_a_model_is_refused_and_no_address_comes_back() {
    let room = Room::new();
    let config = room.config();
    room.run(|| async {
        let mut datapath = Datapath::open(&config).await.unwrap();
        datapath.apply(&model()).await.unwrap();
        tollgate_datapath::down(&config.bpffs).await.unwrap();
        for outcome in [
            datapath.check(&model()).await,
            datapath.apply(&model()).await.map(drop),
        ] {
            let error = outcome.expect_err("nothing is attached").to_string();
            assert!(error.contains("`tollgate down` has removed it"), "{error}");
        }
        datapath.refresh().await.unwrap();
        let why = &datapath.status().interfaces[0].why;
        assert!(why.contains("`tollgate down` has removed it"), "{why}");
        let again = tollgate_datapath::down(&config.bpffs).await.unwrap();
        assert_eq!((again.pins, again.routes), (0, 0));
    });
}

#[test]
fn down_detaches_an_adopted_datapath_while_its_daemon_lives() {
    let room = Room::new();
    let config = room.config();
    room.run(|| async {
        drop(Datapath::open(&config).await.unwrap());
        let second = Datapath::open(&config).await.unwrap();
        assert!(second.status().interfaces[0].adopted);
        tollgate_datapath::down(&config.bpffs).await.unwrap();
        assert_eq!(device(UPLINK).await.xdp, None);
    });
}

#[test]
fn a_program_that_was_detached_is_attached_again() {
    let room = Room::new();
    let config = Config {
        interfaces: vec!["v0".into()],
        ..room.config()
    };
    room.run(|| async {
        let make = ["link", "add", "v0", "type", "veth", "peer", "name", "v1"];
        ip(&make);
        let mut datapath = Datapath::open(&config).await.unwrap();
        datapath.apply(&model()).await.unwrap();
        ip(&["link", "del", "v0"]);
        datapath.refresh().await.unwrap();
        let why = datapath.status().interfaces[0].why.clone();
        assert!(why.contains("the interface is gone"), "{why}");
        ip(&make);
        datapath.refresh().await.unwrap();
        assert!(device("v0").await.xdp.is_some());
        let why = datapath.status().interfaces[0].why.clone();
        assert!(!why.contains("gone"), "{why}");
    });
}

#[test]
fn a_renamed_interface_keeps_its_link() {
    let room = Room::new();
    let config = room.config();
    room.run(|| async {
        ip(&["link", "add", "v0", "type", "veth", "peer", "name", "v1"]);
        let named = |name: &str| Config {
            interfaces: vec![name.into()],
            ..config.clone()
        };
        drop(Datapath::open(&named("v0")).await.unwrap());
        ip(&["link", "set", "v0", "name", "uplink"]);
        let datapath = Datapath::open(&named("uplink")).await.unwrap();
        assert!(datapath.status().interfaces[0].adopted);
        assert!(!config.bpffs.join("link/xdp_v0").exists());
    });
}

#[test]
fn a_mode_that_the_device_refuses_leaves_the_one_before() {
    let room = Room::new();
    let generic = Config {
        interfaces: vec!["lo".into()],
        xdp: XdpMode::Generic,
        ..room.config()
    };
    let native = Config {
        xdp: XdpMode::Native,
        ..generic.clone()
    };
    room.run(|| async {
        drop(Datapath::open(&generic).await.unwrap());
        let error = Datapath::open(&native).await.err().expect("not native");
        assert!(error.to_string().contains("lo does not take native XDP"));
        assert_eq!(device("lo").await.xdp, Some(XdpMode::Generic));
        let datapath = Datapath::open(&generic).await.unwrap();
        assert!(datapath.status().interfaces[0].adopted);
    });
}
