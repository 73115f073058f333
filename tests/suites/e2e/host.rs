//! `tollgate check --host`, `tollgate status` and `status --cost`: what they find of a host that lacks something.

use std::fs;
use std::io::Read as _;
use std::net::{SocketAddr, TcpStream};
use std::process::Command;

use serde_json::Value;
use tollgate::demo::lab::{UPLINK, sysctl};
use tollgate_tests::gate;

use crate::site::{API_V4, API_V6, CONNECT, DATABASE_V4, Site};

/// What the check finds on the node: exit code, and the findings by their word.
fn check(site: &Site) -> (Option<i32>, Vec<Value>) {
    let output = gate::tollgate(
        Some(&site.node.ns),
        &["check", "--host", "--json", site.config().to_str().unwrap()],
    );
    let text = String::from_utf8(output.stdout).unwrap();
    let value: Value = serde_json::from_str(&text).unwrap_or_else(|error| {
        panic!("{error}: {text}{}", String::from_utf8_lossy(&output.stderr))
    });
    (
        output.status.code(),
        value["findings"].as_array().unwrap().clone(),
    )
}

#[track_caller]
fn find<'a>(found: &'a [Value], kind: &str, level: &str) -> &'a Value {
    let one = found.iter().find(|one| one["kind"] == kind);
    let one = one.unwrap_or_else(|| panic!("no {kind} in {found:#?}"));
    assert_eq!(one["level"], level, "{one}");
    for part in ["thing", "value", "cure"] {
        assert!(!one[part].as_str().unwrap().is_empty(), "{one}");
    }
    one
}

fn configure(site: &Site, from: &str, to: &str) {
    let text = fs::read_to_string(site.config()).unwrap();
    assert!(text.contains(from), "{from} in {text}");
    fs::write(site.config(), text.replace(from, to)).unwrap();
}

#[test]
fn a_host_is_fine_before_and_while_the_daemon_runs() {
    let site = Site::lay();
    let (code, found) = check(&site);
    let errors: Vec<_> = found.iter().filter(|one| one["level"] == "error").collect();
    assert!(errors.is_empty() && code == Some(0), "{errors:#?}");
    let _gate = site.open();
    let (code, found) = check(&site);
    assert_eq!(
        code,
        Some(0),
        "its own program is in nobody's way: {found:#?}"
    );
}

#[test]
fn what_is_wrong_with_the_host_is_found() {
    let site = Site::lay();
    // Settings of the namespace.
    for (setting, value) in [
        (format!("ipv4/conf/{UPLINK}/rp_filter"), "1"),
        (format!("ipv6/conf/{UPLINK}/disable_ipv6"), "1"),
        ("ipv4/tcp_syncookies".to_owned(), "0"),
    ] {
        sysctl(&site.node.ns, &setting, value).unwrap();
    }
    let (code, found) = check(&site);
    assert_eq!(code, Some(2));
    assert_eq!(find(&found, "rp_filter", "warning")["thing"], UPLINK);
    find(&found, "ipv6_disabled", "error");
    find(&found, "tcp_syncookies", "warning");
    sysctl(
        &site.node.ns,
        &format!("ipv6/conf/{UPLINK}/disable_ipv6"),
        "0",
    )
    .unwrap();
    sysctl(
        &site.node.ns,
        &format!("ipv4/conf/{UPLINK}/arp_ignore"),
        "0",
    )
    .unwrap();
    configure(&site, "announce: neighbour", "announce: none");
    find(&check(&site).1, "arp_ignore", "warning");

    // Interfaces.
    configure(&site, "interfaces: [eth0]", "interfaces: [eth0, eth7]");
    let (code, found) = check(&site);
    assert_eq!(
        (code, &find(&found, "interface_missing", "error")["thing"]),
        (Some(2), &"eth7".into())
    );
    configure(&site, "interfaces: [eth0, eth7]", "interfaces: [eth0]");

    // An address of the host.
    let own = site.node.v4.to_string();
    configure(&site, "203.0.113.20:5432", &format!("{own}:5432"));
    let (code, found) = check(&site);
    let address = find(&found, "host_address", "error");
    assert!(
        code == Some(2) && address["value"].as_str().unwrap().contains(&own),
        "{address}"
    );
    configure(&site, &format!("{own}:5432"), "203.0.113.20:5432");

    // No BPF file system.
    configure(&site, "bpffs: /sys/fs/bpf/tollgate", "bpffs: /tmp/no-bpf");
    let (code, found) = check(&site);
    assert_eq!(
        (code, &find(&found, "bpffs", "error")["thing"]),
        (Some(2), &"/tmp/no-bpf".into())
    );
    configure(&site, "bpffs: /tmp/no-bpf", "bpffs: /sys/fs/bpf/tollgate");

    // Another's XDP program: the daemon's own, seen by one with another folder.
    let gate = site.open();
    configure(
        &site,
        "bpffs: /sys/fs/bpf/tollgate",
        "bpffs: /sys/fs/bpf/other",
    );
    let (code, found) = check(&site);
    let taken = find(&found, "xdp_taken", "error");
    assert!(
        code == Some(2) && taken["value"].as_str().unwrap().contains("tollgate_xdp"),
        "{taken}"
    );
    drop(gate);

    let _said = gate::printed(&site.node.ns, "ip", &["link", "set", "dev", UPLINK, "down"]);
    find(&check(&site).1, "interface_down", "warning");
}

/// Each set of rules by what the check says of it, and by what becomes of connections under it.
#[test]
fn rules_that_take_packets_before_the_listener_are_found() {
    let site = Site::lay();
    let _gate = site.open();
    let nobody = format!("{}:1", site.node.v4);
    let rules = |of: &str| {
        // A chain ends on a line of its own.
        let text = of.replace("NOBODY", &nobody).replace("} }", "}\n}");
        let file = site.config().with_file_name("rules.nft");
        fs::write(&file, format!("flush ruleset\n{text}\n")).unwrap();
        let _said = gate::printed(&site.node.ns, "nft", &["-f", file.to_str().unwrap()]);
    };
    let (drop, elsewhere) = (("rules_drop", "error"), ("rules_elsewhere", "error"));
    for (of, on_v4, on_v6) in [
        ("", None, None),
        // A host's firewall, as it would be without the services, and with them.
        (
            "table inet filter { chain in { type filter hook input priority 0; policy accept
                ct state established,related accept
                iif lo accept
                tcp dport 22 accept
                meta l4proto tcp reject with tcp reset
            } }",
            Some(drop),
            Some(drop),
        ),
        (
            "table inet filter { chain in { type filter hook input priority 0; policy accept
                ct state vmap { established : accept, related : accept, invalid : drop }
                iif lo accept
                ip saddr 198.51.100.0/24 drop
                tcp dport { 22, 400-500 } accept
                meta l4proto tcp reject with tcp reset
            } }",
            None,
            None,
        ),
        // By chains, a set and an address of one family.
        (
            "table inet filter {
                set theirs { type ipv6_addr; flags interval; elements = { 2001:db8:113::/96 } }
                chain public { tcp dport 443 reject with tcp reset
                }
                chain in { type filter hook prerouting priority -150; policy accept
                    iifname \"eth*\" ip6 daddr @theirs goto public
                }
            }",
            None,
            Some(drop),
        ),
        // What kube-proxy does, by a map.
        (
            "table ip proxy {
                map services { type ipv4_addr . inet_proto . inet_service : verdict
                    elements = { 203.0.113.10 . tcp . 443 : goto api, 203.0.113.11 . tcp . 443 : drop }
                }
                chain api { meta l4proto tcp dnat to NOBODY
                }
                chain pre { type nat hook prerouting priority -100; policy accept
                    ip daddr . meta l4proto . th dport vmap @services
                }
            }",
            Some(elsewhere),
            None,
        ),
        // Of a published port, and of all that is local.
        (
            "table ip docker { chain pre { type nat hook prerouting priority -100; policy accept
                fib daddr type local tcp dport 8080 dnat to NOBODY
            } }",
            None,
            None,
        ),
        (
            "table ip docker { chain pre { type nat hook prerouting priority -100; policy accept
                fib daddr type local tcp dport 443 dnat to NOBODY
            } }",
            Some(elsewhere),
            None,
        ),
        // For some clients, ours among them.
        (
            "table ip some { chain pre { type nat hook prerouting priority -100; policy accept
                ip saddr 10.77.0.0/16 ip daddr 203.0.113.0/24 meta l4proto tcp dnat to NOBODY
            } }",
            Some(("rules_elsewhere", "warning")),
            None,
        ),
    ] {
        rules(of);
        let (_, found) = check(&site);
        for (service, address, expected) in [("api", API_V4, on_v4), ("api-v6", API_V6, on_v6)] {
            let told: Vec<_> = found
                .iter()
                .filter(|one| {
                    one["thing"] == service && one["kind"].as_str().unwrap().starts_with("rules_")
                })
                .map(|one| (one["kind"].as_str().unwrap(), one["level"].as_str().unwrap()))
                .collect();
            assert_eq!(told, Vec::from_iter(expected), "{service} under {of}");
            let connected = connect(&site, address);
            assert_eq!(
                connected.is_ok(),
                expected.is_none(),
                "{service} under {of}: {connected:?}"
            );
        }
    }
    rules("table inet filter { chain in { type filter hook input priority 0; policy drop; } }");
    let (code, found) = check(&site);
    let one = find(&found, "rules_drop", "error");
    let value = one["value"].as_str().unwrap();
    assert!(
        value.contains("the policy") && value.contains("inet filter in"),
        "{value}"
    );
    assert_eq!(code, Some(2));

    // To rules the port of a bridge is the bridge.
    for arguments in [
        ["link", "add", "br9", "type", "bridge"].as_slice(),
        &["link", "set", "dev", UPLINK, "master", "br9"],
    ] {
        let _said = gate::printed(&site.node.ns, "ip", arguments);
    }
    rules(
        "table inet filter { chain in { type filter hook input priority 0; policy drop
            iifname \"br9\" accept
        } }",
    );
    let (_, found) = check(&site);
    assert!(
        found.iter().all(|one| one["kind"] != "rules_drop"),
        "{found:#?}"
    );
}

fn connect(site: &Site, to: SocketAddr) -> std::io::Result<TcpStream> {
    let connect = move || TcpStream::connect_timeout(&to, CONNECT);
    site.client.ns.run(connect).unwrap()
}

#[test]
fn rights_that_are_missing_are_named() {
    let site = Site::lay();
    let without = |capabilities: &str| {
        let mut command = Command::new("setpriv");
        command
            .arg(format!("--bounding-set={capabilities}"))
            .arg(format!("--inh-caps={capabilities}"))
            .arg(gate::binary())
            .args(["check", "--host", "--json"])
            .arg(site.config());
        let output = site.node.ns.run(move || command.output()).unwrap().unwrap();
        assert_eq!(output.status.code(), Some(2));
        let value: Value =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
        value["findings"].as_array().unwrap().clone()
    };
    let found = without("-bpf,-perfmon");
    let rights = find(&found, "rights", "error");
    assert_eq!(rights["value"], "it lacks CAP_PERFMON, CAP_BPF");
    // Who may not see the rules is told so.
    let found = without("-net_admin");
    find(&found, "rights", "error");
    assert_eq!(find(&found, "not_looked_at", "warning")["thing"], "nft");
}

#[test]
fn status_tells_the_kernels_features_and_on_demand_what_programs_cost() {
    let site = Site::lay();
    let gate = site.open();
    let datapath = gate.status()["datapath"].clone();
    let features = datapath["features"].as_array().unwrap();
    assert!(features.len() >= 8, "{features:#?}");
    for name in [
        "xdp",
        "xdp frags",
        "sk_lookup",
        "coarse clock",
        "perf buffers",
    ] {
        let one = features.iter().find(|one| one["name"] == name);
        assert_eq!(one.unwrap()["there"], true, "{features:#?}");
    }
    assert!(!datapath["kernel"].as_str().unwrap().is_empty());
    let socket = site.config().with_file_name("admin.sock");
    let shown = gate::printed(
        &site.node.ns,
        gate::binary().to_str().unwrap(),
        &["status", "--admin", socket.to_str().unwrap()],
    );
    assert!(shown.contains("kernel   "), "{shown}");

    // Something must run while it is measured.
    let mut command = Command::new(gate::binary());
    command
        .args(["status", "--cost", "1", "--json"])
        .stdout(std::process::Stdio::piped());
    let mut measuring = site.node.ns.run(move || command.spawn()).unwrap().unwrap();
    let mut connections = 0;
    while measuring.try_wait().unwrap().is_none() {
        let _stream = site.database(DATABASE_V4).unwrap();
        connections += 1;
    }
    let mut text = String::new();
    measuring
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut text)
        .unwrap();
    let costs: Value =
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    let xdp = costs
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["program"] == "tollgate_xdp");
    let xdp = xdp.unwrap_or_else(|| panic!("{costs:#}"));
    assert!(
        connections > 0 && xdp["runs"].as_u64().unwrap() > 0,
        "{xdp}"
    );
    assert!(xdp["nanoseconds_per_run"].as_f64().unwrap() > 0.0, "{xdp}");
    let steer = costs
        .as_array()
        .unwrap()
        .iter()
        .any(|one| one["program"] == "tollgate_steer");
    assert!(steer, "{costs:#}");
    // It measures only while it is asked to.
    let nowhere = gate::tollgate(
        Some(&site.node.ns),
        &["status", "--cost", "--bpffs", "/sys/fs/bpf/none"],
    );
    assert_eq!(nowhere.status.code(), Some(1));
}
