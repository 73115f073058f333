//! `tollgate decap` on a backend host, behind a balancer: client, node and backend on links of 1500 bytes.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::Path;

use serde_json::Value;
use tollgate::demo::lab::{BPFFS, UPLINK};
use tollgate_tests::gate::{self, Gate};
use tollgate_tests::tunnel::{AGAIN, MIB, PORT, Site, datagram, told_too_big, upload, ways};

use crate::site::{has_xdp, vip_v4};

#[test]
fn xdp_brings_whole_transfers_and_fragments() {
    transfers(&["--mode", "xdp"], "xdp");
}

#[test]
fn tc_brings_whole_transfers_and_fragments() {
    transfers(&["--mode", "tc"], tc());
}

#[test]
fn a_classic_filter_brings_whole_transfers_and_fragments() {
    transfers(&["--mode", "clsact"], "clsact");
}

/// How a program comes to TC on this kernel: by a link since Linux 6.6.
fn tc() -> &'static str {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut parts = release
        .split(['.', '-'])
        .map_while(|part| part.parse::<u32>().ok());
    let version = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    if version >= (6, 6) { "tcx" } else { "clsact" }
}

fn transfers(mode: &[&str], attached: &str) {
    let site = Site::lay();
    let gate = site.open();
    let told = site.up(mode).unwrap();
    assert!(told.contains("What else this host needs"), "{told}");
    assert_eq!(site.status()["attached"], attached);
    // TC sees what was merged, XDP does not.
    site.backend.merge_received().unwrap();

    for (vip, outcome, room) in ways() {
        let to = SocketAddr::new(vip, PORT);
        let before = told_too_big(&gate);
        upload(&site, &gate, to);
        assert!(
            told_too_big(&gate) > before,
            "{outcome}: the client never sent too much, so it learnt nothing"
        );
        // Merged packets are counted as one, of 64 KiB at most.
        assert!(
            site.packets(outcome) > (MIB >> 16) as u64,
            "{outcome} is not how it came"
        );
        let learnt = gate::printed(&site.client.ns, "ip", &["route", "get", &vip.to_string()]);
        let mtu = format!("mtu {} ", 1500 - room);
        assert!(learnt.contains(&mtu), "{outcome}: not {mtu}: {learnt}");
        // That holds for datagrams too: their fragments fit.
        let before = site.packets(outcome);
        datagram(&site, to);
        assert!(
            site.packets(outcome) >= before + 3,
            "{outcome}: no fragments came"
        );
    }
    let packets = site.status()["packets"].clone();
    for nothing in [
        "malformed",
        "congested",
        "not_removed",
        "refused_source",
        "refused_destination",
    ] {
        assert_eq!(packets[nothing], 0, "{packets:#}");
    }
}

#[test]
fn without_the_source_or_the_vip_nothing_is_taken_out() {
    let site = Site::lay();
    let _gate = site.open();
    let (vip, outcome, _) = ways()[0];
    let to = SocketAddr::new(vip, PORT);
    let backend = site
        .backend
        .ns
        .run(|| UdpSocket::bind(to))
        .unwrap()
        .unwrap();
    backend.set_read_timeout(Some(AGAIN)).unwrap();
    let client = site
        .client
        .ns
        .run(|| UdpSocket::bind("0.0.0.0:0"))
        .unwrap()
        .unwrap();
    let arrives = |how: &[&str], counted: &str| {
        site.decap(&[&["--interface", UPLINK], how].concat())
            .unwrap();
        let before = site.packets(counted);
        client.send_to(b"inside", to).unwrap();
        gate::eventually(counted, || match site.packets(counted) {
            n if n > before => Ok(()),
            n => Err(n.to_string()),
        });
        backend.recv(&mut [0; 16]).is_ok()
    };
    assert!(arrives(&["--vip", "203.0.113.44"], outcome));
    assert!(!arrives(&["--vip", "203.0.113.45"], "refused_destination"));
    assert!(!arrives(
        &["--vip", "203.0.113.44", "--from", "172.17.0.0/16"],
        "refused_source"
    ));
    assert!(arrives(
        &["--vip", "203.0.113.44", "--from", "172.16.0.0/12"],
        outcome
    ));
    // A tunnel to another address is another host's.
    assert!(!arrives(
        &["--vip", "203.0.113.44", "--to", "192.0.2.1"],
        "other_host"
    ));
    let own = site.backend.v4.to_string();
    assert!(arrives(
        &["--vip", "203.0.113.44", "--to", "192.0.2.1", "--to", &own],
        outcome
    ));
}

#[test]
fn tunnels_come_from_where_both_sides_were_told() {
    let site = Site::lay();
    let gate = site.open();
    let file = site.directory.path().join("tollgate.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    let sources = "source_v4: 10.98.0.0/24, source_v6: 'fd00:98::/96'";
    let tunnel = format!("  announce: none\n  tunnel: {{ {sources}, gue_port: 6635 }}\n");
    let other = text.replace("  announce: none\n", &tunnel);
    assert_ne!(other, text);
    std::fs::write(&file, other).unwrap();
    gate.reload();
    site.up(&[
        "--from",
        "10.98.0.0/24",
        "--from",
        "fd00:98::/96",
        "--gue-port",
        "6635",
    ])
    .unwrap();
    for (vip, outcome, _) in ways() {
        upload(&site, &gate, SocketAddr::new(vip, PORT));
        assert!(
            site.packets(outcome) > (MIB >> 16) as u64,
            "{outcome} is not how it came"
        );
    }
    assert_eq!(site.packets("refused_source"), 0);
}

#[test]
fn another_call_replaces_the_configuration_and_down_leaves_nothing() {
    let site = Site::lay();
    let first = site.up(&[]).unwrap();
    assert!(first.contains("XDP in the driver"), "{first}");
    assert!(!first.contains("replaced"), "{first}");
    let program = |site: &Site| {
        let text = gate::printed(
            &site.backend.ns,
            "ip",
            &["-details", "link", "show", "dev", UPLINK],
        );
        let (_, number) = text
            .split_once("prog/xdp id ")
            .unwrap_or_else(|| panic!("{text}"));
        number.split_whitespace().next().unwrap().to_owned()
    };
    let before = program(&site);
    let second = site
        .decap(&[
            "--interface",
            UPLINK,
            "--vip",
            "203.0.113.44",
            "--gue-port",
            "6081",
        ])
        .unwrap();
    assert!(
        second.contains("The configuration before is replaced"),
        "{second}"
    );
    assert_ne!(program(&site), before);
    let status = site.status();
    assert_eq!(status["vips"], serde_json::json!(["203.0.113.44"]));
    // The host's, but for loopback and link-local ones; the other VIPs on `lo` are its addresses too.
    let addresses = status["addresses"].as_array().unwrap();
    let has = |address: IpAddr| addresses.contains(&Value::from(address.to_string()));
    assert!(
        has(site.backend.v4.into()) && has(site.backend.v6.into()),
        "{status:#}"
    );
    assert!(!has(vip_v4(44)) && has(vip_v4(46)), "{status:#}");
    assert!(
        addresses.iter().all(|one| {
            let text = one.as_str().unwrap();
            !text.starts_with("127.") && !text.starts_with("fe80:") && text != "::1"
        }),
        "{status:#}"
    );
    assert_eq!(
        status["sources"],
        serde_json::json!(["172.16.0.0/16", "100::/64"])
    );
    assert_eq!(status["gue_port"], 6081);
    // To another program, and back to what stands.
    for (mode, attached, is_xdp) in [
        ("tc", tc(), false),
        ("auto", tc(), false),
        ("clsact", "clsact", false),
        ("clsact", "clsact", false),
        ("auto", "clsact", false),
        ("xdp", "xdp", true),
    ] {
        site.up(&["--mode", mode])
            .unwrap_or_else(|error| panic!("{mode}: {error}"));
        assert_eq!(site.status()["attached"], attached, "{mode}");
        gate::eventually(mode, || match has_xdp(&site.backend) {
            now if now == is_xdp => Ok(()),
            now => Err(now.to_string()),
        });
    }
    let table = site.decap(&["--status"]).unwrap();
    assert!(
        table.contains("ipv6_in_ipv6") && table.contains("for  203.0.113.0/24"),
        "{table}"
    );
    let down = site.decap(&["--down"]).unwrap();
    assert!(
        down.contains("no packet is decapsulated any more on eth0"),
        "{down}"
    );
    let folder = Path::new(BPFFS).join("tollgate-decap");
    assert!(!site.backend.ns.run(|| folder.exists()).unwrap());
    gate::eventually("no XDP", || match has_xdp(&site.backend) {
        false => Ok(()),
        true => Err("still there".to_owned()),
    });
    assert!(
        site.decap(&["--down"])
            .unwrap()
            .contains("nothing is attached")
    );
    assert_eq!(
        site.decap(&["--status"]).unwrap().trim(),
        "nothing is attached"
    );
}

#[test]
fn refusals_name_the_cure() {
    let site = Site::lay();
    let refused = |arguments: &[&str], words: &str| {
        let error = site.decap(arguments).expect_err(words);
        assert!(error.contains(words), "{arguments:?}: {error}");
    };
    let vip = ["--vip", "203.0.113.44"];
    refused(&["--interface", UPLINK], "--vip");
    refused(&vip, "--interface");
    refused(
        &["--interface", UPLINK, "--vip", "203.0.113.44/24"],
        "write 203.0.113.0/24",
    );
    refused(
        &["--interface", UPLINK, "--vip", "0.0.0.0/0"],
        "fewer than 8 bits",
    );
    refused(&["--interface", UPLINK, "--vip", "127.0.0.1"], "loopback");
    refused(
        &["--interface", UPLINK, vip[0], vip[1], "--to", "fe80::1"],
        "--to fe80::1: it is a link-local address",
    );
    refused(
        &[&["--interface", "eth9"], &vip[..]].concat(),
        "there is no interface `eth9`",
    );
    refused(
        &[
            &["--interface", UPLINK, "--bpffs", "/tmp/tollgate-decap"],
            &vip[..],
        ]
        .concat(),
        "mount -t bpf bpf /sys/fs/bpf",
    );
    refused(
        &[&["--interface", "lo", "--mode", "xdp"], &vip[..]].concat(),
        "lo does not take native XDP",
    );
    let auto = site
        .decap(&[&["--interface", "lo"], &vip[..]].concat())
        .unwrap();
    assert!(
        auto.contains("a TC program") && auto.contains("the driver refuses native XDP"),
        "{auto}"
    );

    // Another program on the device: the balancer's own will do.
    let gate = Gate::start(gate::launch_on(&site.backend, site.directory.path()));
    refused(
        &[&["--interface", UPLINK, "--mode", "xdp"], &vip[..]].concat(),
        "eth0 has another XDP program already, and a device takes one; say `--mode tc`",
    );
    let auto = site.up(&[]).unwrap();
    assert!(
        auto.contains("the interface has another XDP program"),
        "{auto}"
    );
    drop(gate);
}
