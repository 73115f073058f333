//! What goes wrong on the host while the datapath runs: told in status, mended where it can be, and in nobody's way.

use std::process::Command;

use tollgate::demo::lab::UPLINK;
use tollgate_datapath::{
    Announce, Attached, Config, Datapath, Warning, WarningKind,
    model::{Backend, Deliver, Model, Service},
    object::Object,
};

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

fn warnings(datapath: &Datapath, kind: WarningKind) -> Vec<String> {
    let warnings = datapath.status().warnings.into_iter();
    warnings
        .filter(|one| one.kind == kind)
        .map(|Warning { text, .. }| text)
        .collect()
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

fn mount(arguments: &[&str]) {
    let ran = Command::new("mount").args(arguments).status().unwrap();
    assert!(ran.success(), "mount {arguments:?}");
}

/// A proxy entry wants a setting below /proc/sys, which containers often have read-only.
#[test]
fn an_address_that_cannot_be_taken_undoes_no_change_and_is_tried_again() {
    let room = Room::new();
    let config = Config {
        announce: Announce::Neighbour,
        ..room.config()
    };
    room.run(|| async {
        std::fs::write(format!("/proc/sys/net/ipv6/conf/{UPLINK}/forwarding"), "1").unwrap();
        mount(&["--bind", "/proc/sys", "/proc/sys"]);
        mount(&["-o", "remount,bind,ro", "/proc/sys"]);
        let mut datapath = Datapath::open(&config).await.unwrap();
        datapath.apply(&model()).await.unwrap();
        assert_eq!(warnings(&datapath, WarningKind::Routes), [""; 0]);

        let mut more = model();
        more.services.push(Service::new(
            "six".to_owned(),
            "[2001:db8::20]:80/tcp".parse().unwrap(),
            Deliver::Ipip(vec![Backend {
                address: "fd77::21".parse().unwrap(),
                weight: 1,
                drain: false,
            }]),
        ));
        datapath.apply(&more).await.unwrap();
        let status = datapath.status();
        assert_eq!(
            status.services.len(),
            3,
            "what the tables do is what status says"
        );
        let told = warnings(&datapath, WarningKind::Routes);
        assert!(
            told.len() == 1 && told[0].contains("proxy_ndp was not set to 1: Read-only"),
            "{told:?}"
        );
        datapath.refresh().await.unwrap();
        assert_eq!(warnings(&datapath, WarningKind::Routes), told);

        mount(&["-o", "remount,bind,rw", "/proc/sys"]);
        datapath.refresh().await.unwrap();
        assert_eq!(warnings(&datapath, WarningKind::Routes), [""; 0]);
        let mut proxies = Command::new("ip");
        let proxies = proxies.args(["-6", "neighbour", "show", "proxy"]).output();
        let proxies = String::from_utf8(proxies.unwrap().stdout).unwrap();
        assert!(proxies.contains("2001:db8::20"), "{proxies}");
    });
}

fn services(vips: &[&str]) -> Model {
    let service = |vip: &&str| {
        let deliver = Deliver::Ipip(Vec::new());
        Service::new((*vip).to_owned(), vip.parse().unwrap(), deliver)
    };
    Model {
        services: vips.iter().map(service).collect(),
        ..Model::default()
    }
}

#[test]
fn threat_74_prefixes_and_any_port_do_not_take_the_hosts_own_addresses() {
    let room = Room::new();
    let config = room.config();
    let (v4, v6) = (room.host.v4, room.host.v6);
    room.run(|| async {
        for address in ["203.0.113.7/32", "2001:db8:7::7/128", "203.0.113.8/32"] {
            ip(&["address", "add", address, "dev", "lo"]);
        }
        let mut datapath = Datapath::open(&config).await.unwrap();
        let on_lo = "which no service has as its one address with one port";
        for (vips, expected) in [
            (
                vec![format!("{v4}:22/tcp")],
                "this host's own address on eth0",
            ),
            (
                vec![format!("{v4}:*/udp")],
                "this host's own address on eth0",
            ),
            (
                vec!["10.77.0.0/16:443/tcp".to_owned()],
                "this host's own address on eth0",
            ),
            (
                vec!["[fd77::/64]:*/tcp".to_owned()],
                "this host's own address on eth0",
            ),
            // An address on an interface is the host's, whatever other services say.
            (
                vec![format!("[{v6}]:80/tcp"), "[fd77::/64]:*/tcp".to_owned()],
                "on eth0",
            ),
            (vec!["203.0.113.7:*/tcp".to_owned()], on_lo),
            (vec!["203.0.113.0/29:443/tcp".to_owned()], on_lo),
            (vec!["203.0.113.0/24:*/tcp".to_owned()], on_lo),
            (vec!["[2001:db8:7::/48]:22/tcp".to_owned()], on_lo),
            // One of two is a VIP, the other may be what the host is managed by.
            (
                vec![
                    "203.0.113.0/24:*/tcp".to_owned(),
                    "203.0.113.7:443/tcp".to_owned(),
                ],
                on_lo,
            ),
            // Any port of it is not that word.
            (
                vec![
                    "203.0.113.0/29:443/tcp".to_owned(),
                    "203.0.113.7:*/tcp".to_owned(),
                ],
                on_lo,
            ),
        ] {
            let vips: Vec<&str> = vips.iter().map(String::as_str).collect();
            for outcome in [
                datapath.check(&services(&vips)).await,
                datapath.apply(&services(&vips)).await.map(drop),
            ] {
                let error = outcome.expect_err(&vips.join(", ")).to_string();
                assert!(error.contains(expected), "{vips:?}: {error}");
            }
        }
        for vips in [
            &["203.0.113.7:443/tcp"][..],
            &["203.0.113.0/29:443/tcp", "203.0.113.7:80/udp"],
            &[
                "203.0.113.0/24:*/tcp",
                "203.0.113.7:80/tcp",
                "203.0.113.8:80/tcp",
            ],
            &["203.0.113.7:*/tcp", "203.0.113.7:443/tcp"],
            &["[2001:db8:7::/48]:22/tcp", "[2001:db8:7::7]:443/tcp"],
            &["203.0.113.32/27:*/tcp"],
        ] {
            let applied = datapath.apply(&services(vips)).await;
            applied.unwrap_or_else(|error| panic!("{vips:?}: {error}"));
            assert_eq!(warnings(&datapath, WarningKind::HostAddress), [""; 0]);
        }
    });
}

#[test]
fn threat_74_an_address_of_the_host_that_comes_later_is_told() {
    let room = Room::new();
    let config = room.config();
    room.run(|| async {
        let mut datapath = Datapath::open(&config).await.unwrap();
        let model = services(&["203.0.113.0/24:*/tcp", "198.51.100.9:443/tcp"]);
        datapath.apply(&model).await.unwrap();
        let told = |datapath: &Datapath| warnings(datapath, WarningKind::HostAddress);
        for (address, dev, expected) in [
            (
                "203.0.113.66/32",
                "lo",
                "203.0.113.0/24:*/tcp covers 203.0.113.66 on lo",
            ),
            (
                "203.0.113.67/24",
                UPLINK,
                "203.0.113.67 is this host's own address on eth0",
            ),
            (
                "198.51.100.9/24",
                UPLINK,
                "198.51.100.9 is this host's own address on eth0",
            ),
        ] {
            datapath.refresh().await.unwrap();
            assert_eq!(told(&datapath), [""; 0]);
            ip(&["address", "add", address, "dev", dev]);
            datapath.refresh().await.unwrap();
            let now = told(&datapath);
            assert!(now.len() == 1 && now[0].contains(expected), "{now:?}");
            assert!(datapath.check(&model).await.is_err());
            ip(&["address", "del", address, "dev", dev]);
        }
    });
}
