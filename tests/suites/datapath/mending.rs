//! What goes wrong on the host while the datapath runs: told in status, mended where it can be, and in nobody's way.

use tollgate_datapath::{Attached, Config, Datapath, model::Deliver, object::Object};

use crate::room::{Room, device, ids, ip, model};

const PAIRS: [[&str; 2]; 2] = [["v0", "v1"], ["w0", "w1"]];

fn make([name, peer]: [&str; 2]) {
    ip(&["link", "add", name, "type", "veth", "peer", "name", peer]);
}

fn delete(name: &str) {
    ip(&["link", "del", name]);
}

/// Two interfaces that are no use to anybody.
fn two(room: &Room) -> Config {
    Config {
        interfaces: PAIRS.map(|[name, _]| name.to_owned()).into(),
        ..room.config()
    }
}

fn interfaces(datapath: &Datapath) -> [Attached; 2] {
    datapath.status().interfaces.try_into().unwrap()
}

#[test]
fn an_interface_that_is_gone_holds_up_no_change_and_no_other_interface() {
    let room = Room::new();
    let config = two(&room);
    room.run(|| async {
        PAIRS.into_iter().for_each(make);
        let mut datapath = Datapath::open(&config).await.unwrap();
        datapath.apply(&model()).await.unwrap();
        assert_eq!(interfaces(&datapath).map(|one| one.attached), [true; 2]);
        assert_eq!(ids(&datapath).len(), 4);

        delete("v0");
        let mut less = model();
        less.services[1].deliver = Deliver::Ipip(less.services[1].deliver.backends()[1..].into());
        datapath.apply(&less).await.unwrap();
        assert_eq!(ids(&datapath).len(), 3, "a backend can go meanwhile");
        let [gone, other] = interfaces(&datapath);
        assert!(
            !gone.attached && gone.why.contains("the interface is gone"),
            "{gone:?}"
        );
        assert!(other.attached, "{other:?}");

        // The other one loses its program too, and gets it back although the first is still away.
        delete("w0");
        make(PAIRS[1]);
        datapath.refresh().await.unwrap();
        assert!(device("w0").await.xdp.is_some());
        assert_eq!(interfaces(&datapath).map(|one| one.attached), [false, true]);

        make(PAIRS[0]);
        datapath.apply(&less).await.unwrap();
        assert!(device("v0").await.xdp.is_some());
        assert_eq!(interfaces(&datapath).map(|one| one.attached), [true; 2]);
        tollgate_datapath::down(&config.bpffs).await.unwrap();
        datapath.refresh().await.unwrap();
        assert_eq!(interfaces(&datapath).map(|one| one.attached), [false; 2]);
    });
}

#[test]
fn a_device_that_another_program_took_is_told_and_attached_when_it_is_free() {
    let room = Room::new();
    let config = two(&room);
    room.run(|| async {
        PAIRS.into_iter().for_each(make);
        let mut datapath = Datapath::open(&config).await.unwrap();
        datapath.apply(&model()).await.unwrap();
        delete("v0");
        make(PAIRS[0]);
        let mut other = Object::load(None).unwrap();
        let mode = aya::programs::XdpMode::Driver;
        let program = other.xdp().unwrap();
        let taken = program.attach("v0", mode).unwrap();
        for _ in 0..2 {
            datapath.refresh().await.unwrap();
            datapath.apply(&model()).await.unwrap();
            let [taken, free] = interfaces(&datapath);
            assert!(!taken.attached && free.attached);
            let why = taken.why;
            assert!(
                why.starts_with("another XDP program is attached")
                    && why.contains("v0 has another XDP program already"),
                "{why}"
            );
        }
        program.detach(taken).unwrap();
        datapath.refresh().await.unwrap();
        assert_eq!(interfaces(&datapath).map(|one| one.attached), [true; 2]);
    });
}

#[test]
fn a_start_wants_all_its_interfaces_before_it_touches_one() {
    let room = Room::new();
    let config = two(&room);
    room.run(|| async {
        PAIRS.into_iter().for_each(make);
        drop(Datapath::open(&config).await.unwrap());
        let before = device("w0").await.program;
        delete("v0");
        let error = Datapath::open(&config).await.err().expect("v0 is missing");
        assert!(error.to_string().contains("no interface `v0`"), "{error}");
        assert_eq!(device("w0").await.program, before, "what ran goes on");
    });
}
