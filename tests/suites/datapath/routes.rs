//! What the datapath puts into the kernel's own tables, and what it must leave there; odd routes to backends.

use std::{process::Command, time::Instant};

use tollgate::demo::lab::UPLINK;
use tollgate_datapath::{
    Announce, Config, Datapath, Status, XdpMode,
    model::{Backend, Deliver, Model, Service},
};
use tollgate_tests::bpf::chain;

use crate::room::{Room, inside};

/// Runs `ip` and gives what it wrote.
fn ip(arguments: &str) -> String {
    let output = Command::new("ip")
        .args(arguments.split_whitespace())
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {arguments}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

fn config(room: &Room) -> Config {
    Config {
        interfaces: vec![UPLINK.to_owned()],
        xdp: XdpMode::Generic,
        bpffs: room.pins(),
        announce: Announce::Neighbour,
    }
}

fn service(vip: &str, deliver: fn(Vec<Backend>) -> Deliver, backends: &[&str]) -> Service {
    let backends = backends.iter().map(|address| Backend {
        address: address.parse().unwrap(),
        weight: 1,
        drain: false,
    });
    Service::new(
        vip.to_owned(),
        vip.parse().unwrap(),
        deliver(backends.collect()),
    )
}

/// What status says of each backend's next hop.
fn words(status: &Status) -> Vec<(String, String)> {
    let backends = status.services.iter().flat_map(|one| &one.backends);
    backends
        .map(|one| (one.address.to_string(), one.next_hop.clone()))
        .collect()
}

const OURS: &str = "2001:db8::10";

/// Whether the VIP is there as an address and as a proxy entry.
fn announced() -> (bool, bool) {
    let addresses = ip(&format!("-6 address show dev {UPLINK}"));
    let proxies = ip(&format!("-6 neighbour show proxy dev {UPLINK}"));
    (
        addresses.contains(&format!("{OURS}/128")),
        proxies.contains(OURS),
    )
}

#[test]
fn nothing_of_others_is_removed_or_taken_for_ours() {
    let room = Room::new();
    let config = config(&room);
    let everything = || {
        let mut all = vec![
            ip("-4 route show table all"),
            ip("-6 route show table all"),
            ip("-6 neighbour show proxy"),
        ];
        all.push(ip("-6 address show"));
        // In the order of their kinds; lines of one kind may come in another order.
        let mut lines: Vec<String> = all
            .iter()
            .flat_map(|text| text.lines())
            .map(|line| line.trim().to_owned())
            .collect();
        lines.sort();
        lines
    };
    inside(&room.host.ns, || async {
        for foreign in [
            // Our number in other tables, of other types and devices.
            format!("route add 198.51.100.0/24 dev {UPLINK} proto 137"),
            "route add local 203.0.113.91 dev lo table 100 proto 137".to_owned(),
            "route add local 203.0.113.92 dev lo table 1000 proto 137".to_owned(),
            format!("route add local 203.0.113.93 dev {UPLINK} table local proto 137"),
            "route add blackhole 203.0.113.94 table local proto 137".to_owned(),
            "-6 route add local 2001:db8::91 dev lo table 100 proto 137".to_owned(),
            // Our shape, of other makers.
            "route add local 203.0.113.95 dev lo table local proto 84".to_owned(),
            "-6 route add local 2001:db8::92 dev lo table local proto static".to_owned(),
            format!("-6 address add 2001:db8::93/128 dev {UPLINK} nodad preferred_lft 0"),
            format!("-6 neighbour add proxy 2001:db8::94 dev {UPLINK} protocol static"),
        ] {
            ip(&foreign);
        }
        let before = everything();
        let mut datapath = Datapath::open(&config)
            .await
            .map_err(|error| chain(&error))
            .unwrap();
        let mut model = Model {
            services: vec![
                service(&format!("[{OURS}]:443/tcp"), Deliver::Ipip, &[]),
                // Somebody's table 100 has this one: it is no local route of ours.
                service("203.0.113.91:443/tcp", Deliver::Ipip, &[]),
            ],
            ..Model::default()
        };
        datapath.apply(&model).await.unwrap();
        let ours = ip("route show table local proto 137 type local");
        assert!(ours.contains("203.0.113.91"), "{ours}");
        let now = everything();
        let lost: Vec<_> = before.iter().filter(|line| !now.contains(line)).collect();
        assert!(lost.is_empty(), "{lost:#?}");
        model.services.pop();
        datapath.apply(&model).await.unwrap();
        let now = everything();
        let lost: Vec<_> = before.iter().filter(|line| !now.contains(line)).collect();
        assert!(lost.is_empty(), "{lost:#?}");
        drop(datapath);
        let removed = tollgate_datapath::down(&config.bpffs).await.unwrap();
        assert_eq!(
            removed.routes, 2,
            "the local route and the address of {OURS}"
        );
        assert_eq!(everything(), before);
    });
}

#[test]
fn what_goes_with_the_link_is_put_back() {
    let room = Room::new();
    let config = config(&room);
    inside(&room.host.ns, || async {
        let mut datapath = Datapath::open(&config).await.unwrap();
        let model = Model {
            services: vec![service(&format!("[{OURS}]:443/tcp"), Deliver::Ipip, &[])],
            ..Model::default()
        };
        for (forwarding, there) in [("0", (true, false)), ("1", (false, true))] {
            let path = format!("/proc/sys/net/ipv6/conf/{UPLINK}/forwarding");
            std::fs::write(path, forwarding).unwrap();
            datapath.apply(&model).await.unwrap();
            assert_eq!(announced(), there);
            ip(&format!("link set {UPLINK} down"));
            assert_eq!(announced(), (false, false), "the kernel drops it");
            ip(&format!("link set {UPLINK} up"));
            assert_eq!(announced(), (false, false));
            datapath.refresh().await.unwrap();
            assert_eq!(announced(), there);
            // Put back while the link is down, it is there when the link comes.
            ip(&format!("link set {UPLINK} down"));
            datapath.refresh().await.unwrap();
            ip(&format!("link set {UPLINK} up"));
            datapath.refresh().await.unwrap();
            assert_eq!(announced(), there);
            if there.0 {
                let local = ip(&format!("-6 route show table local {OURS}"));
                assert!(local.contains(OURS), "{local}");
            }
        }
    });
}

#[test]
fn an_odd_route_is_its_backends_matter_alone() {
    let room = Room::new();
    let config = config(&room);
    inside(&room.host.ns, || async {
        for odd in [
            "route add prohibit 192.0.2.1".to_owned(),
            "route add unreachable 192.0.2.2".to_owned(),
            "route add blackhole 192.0.2.3".to_owned(),
            "route add throw 192.0.2.4".to_owned(),
            format!("route add 192.0.2.9 via 10.77.0.200 dev {UPLINK} onlink"),
            format!("neighbour add 10.77.0.200 lladdr 02:00:00:00:00:01 dev {UPLINK}"),
            format!("neighbour add 10.77.0.201 lladdr 02:00:00:00:00:02 dev {UPLINK}"),
            "-6 route add prohibit 2001:db8:2::1".to_owned(),
        ] {
            ip(&odd);
        }
        let _ = Command::new("ip")
            .args(["route", "del", "default"])
            .status()
            .unwrap();
        let mut datapath = Datapath::open(&config).await.unwrap();
        let odd = [
            "192.0.2.1",
            "192.0.2.2",
            "192.0.2.3",
            "192.0.2.4",
            "2001:db8:2::1",
            "192.0.2.9",
            "10.77.0.201",
        ];
        let mut model = Model {
            services: vec![service("203.0.113.20:80/tcp", Deliver::Ipip, &odd)],
            ..Model::default()
        };
        let begun = Instant::now();
        datapath.apply(&model).await.unwrap();
        assert!(
            begun.elapsed().as_millis() < 1000,
            "nothing is there to wait for: {:?}",
            begun.elapsed()
        );
        datapath.refresh().await.unwrap();
        let told = words(&datapath.status());
        let expected = [
            "its route is prohibited",
            "its route is unreachable",
            "its route is a blackhole",
            "no route leads to it",
            "its route is prohibited",
            "02:00:00:00:00:01 (10.77.0.200) on eth0",
            "02:00:00:00:00:02 (10.77.0.201) on eth0",
        ];
        for ((address, words), expected) in told.iter().zip(expected) {
            assert_eq!(words, expected, "{address}");
        }
        // A frame for the gateway would not reach the backend behind it.
        model.services[0] = service(
            "203.0.113.20:80/tcp",
            Deliver::L2,
            &["192.0.2.9", "10.77.0.201"],
        );
        datapath.apply(&model).await.unwrap();
        let status = datapath.status();
        let told = words(&status);
        assert_eq!(
            told[0].1,
            "192.0.2.9 is behind 10.77.0.200; l2 needs it on the same segment"
        );
        assert_eq!(told[1].1, expected[6]);
        let out = |backend: usize| {
            let id = usize::from(status.services[0].backends[backend].id);
            datapath.tables().backends[id].out.load()
        };
        assert_eq!(out(0), 0, "no next hop");
        assert_ne!(out(1), 0);
    });
}

#[test]
fn who_is_known_to_be_silent_is_not_waited_for() {
    let room = Room::new();
    let config = config(&room);
    inside(&room.host.ns, || async {
        let mut datapath = Datapath::open(&config).await.unwrap();
        let model = Model {
            services: vec![service(
                "203.0.113.20:80/tcp",
                Deliver::Ipip,
                &["10.77.0.202"],
            )],
            ..Model::default()
        };
        ip(&format!(
            "neighbour add 10.77.0.202 dev {UPLINK} nud failed"
        ));
        for _ in 0..3 {
            let begun = Instant::now();
            datapath.apply(&model).await.unwrap();
            let took = begun.elapsed();
            assert!(took.as_millis() < 1000, "{took:?}");
            let told = words(&datapath.status());
            assert!(told[0].1.contains("does not answer"), "{told:?}");
        }
    });
}
