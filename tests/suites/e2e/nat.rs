//! `deliver: nat` with real TCP: client, node and backend on links of 1500 bytes, nothing but plain sockets at the backend.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use aya::programs::{SchedClassifier, TcAttachType};
use tempfile::TempDir;
use tollgate::demo::lab::{BPFFS, Host, Lab, Netns, Prefix, UPLINK};
use tollgate_tests::gate::{self, Gate, PATIENCE, eventually, tollgate};

use crate::site::{listen, pins, route_vips, vip_v4, vip_v6};

const PORT: u16 = 7000;
const BACKEND_PORT: u16 = 7100;
const MIB: usize = 1 << 20;
/// How long one datagram is waited for before it is sent again.
const AGAIN: Duration = Duration::from_millis(500);

/// Everything but the daemon.
struct Site {
    client: Host,
    node: Host,
    backend: Host,
    directory: TempDir,
    _lab: Lab,
}

/// Who computes checksums and cuts what is sent.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Offload {
    /// Whoever sends.
    Off,
    /// The device, which a veth is not: checksums stay partial, and segments whole.
    On,
}

impl Site {
    fn lay(xdp: &str, offload: Offload) -> Self {
        let directory = gate::folder("nat");
        let mut lab = Lab::new().unwrap();
        let node = lab.node("node", Path::new(BPFFS)).unwrap();
        let backend = lab.host("backend").unwrap();
        let client = lab.host("client").unwrap();
        route_vips(&client, &node);
        // What answers takes the way back through the node, though the client is near.
        for (client, node) in [
            (IpAddr::from(client.v4), IpAddr::from(node.v4)),
            (client.v6.into(), node.v6.into()),
        ] {
            backend.via(Prefix::host(client), node).unwrap();
        }
        if offload == Offload::On {
            for host in [&client, &backend] {
                ethtool(&host.ns, UPLINK);
            }
            for port in ["p-node", "p-client", "p-backend"] {
                ethtool(lab.switch(), port);
            }
        }
        let text = gate::configuration(
            "nat.yaml",
            &[
                ("DIR", &directory.path().display()),
                ("XDP", &xdp),
                ("BACKEND_V4", &backend.v4),
                ("BACKEND_V6", &backend.v6),
            ],
        );
        std::fs::write(directory.path().join("tollgate.yaml"), text).unwrap();
        Self {
            client,
            node,
            backend,
            directory,
            _lab: lab,
        }
    }

    fn open(&self) -> Gate {
        Gate::start(gate::launch_on(&self.node, self.directory.path()))
    }

    /// A server at the backend for one connection: reads all, tells whom it came from, sends all back.
    fn echo(&self, address: IpAddr, port: u16) -> thread::JoinHandle<io::Result<SocketAddr>> {
        let listener: TcpListener = listen(&self.backend, SocketAddr::new(address, port));
        thread::spawn(move || {
            let (mut stream, from) = listener.accept()?;
            stream.set_read_timeout(Some(PATIENCE))?;
            let mut all = Vec::new();
            stream.read_to_end(&mut all)?;
            stream.write_all(&all)?;
            Ok(from)
        })
    }

    /// Sends so much to a service, and has it back; how long that took.
    fn transfer(&self, to: SocketAddr, bytes: usize) -> io::Result<Duration> {
        let data: Vec<u8> = (0..bytes).map(|n| (n ^ n >> 8) as u8).collect();
        let sent = self.client.ns.run(move || {
            let mut stream = TcpStream::connect_timeout(&to, PATIENCE)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            let begin = Instant::now();
            stream.write_all(&data)?;
            stream.shutdown(Shutdown::Write)?;
            let mut back = Vec::new();
            stream.read_to_end(&mut back)?;
            assert!(back == data, "{} of {bytes} bytes", back.len());
            Ok(begin.elapsed())
        });
        sent.unwrap()
    }

    /// Of each host: segments and datagrams with a wrong checksum, and TCP segments that came in at all.
    fn checksum_errors(&self) -> [(&'static str, [u64; 3]); 3] {
        let read = || {
            // Of this thread's namespace; /proc/net is the main thread's. IPv6 counts its datagrams in a file of its own.
            let read = |file| std::fs::read_to_string(format!("/proc/thread-self/net/{file}"));
            let snmp = read("snmp").unwrap();
            let value = |protocol: &str, name: &str| -> u64 {
                let mut lines = snmp.lines().filter(|line| line.starts_with(protocol));
                let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
                let at = names.split(' ').position(|one| one == name).unwrap();
                values.split(' ').nth(at).unwrap().parse().unwrap()
            };
            let snmp6 = read("snmp6").unwrap();
            let mut v6 = snmp6.lines().filter_map(|line| line.split_once(' '));
            let (_, v6) = v6.find(|(name, _)| *name == "Udp6InCsumErrors").unwrap();
            let udp = value("Udp:", "InCsumErrors") + v6.trim().parse::<u64>().unwrap();
            [value("Tcp:", "InCsumErrors"), udp, value("Tcp:", "InSegs")]
        };
        let hosts = [
            ("client", &self.client),
            ("node", &self.node),
            ("backend", &self.backend),
        ];
        hosts.map(|(name, host)| (name, host.ns.run(read).unwrap()))
    }
}

/// How many programs are at TC where the node's packets come in. Links are no filters of tc's.
fn programs(site: &Site) -> usize {
    let query = || SchedClassifier::query_tcx(UPLINK, TcAttachType::Ingress);
    let (_, programs) = site.node.ns.run(query).unwrap().unwrap();
    programs.len()
}

fn ethtool(ns: &Netns, interface: &str) {
    let on = ["tx", "on", "tso", "on", "gso", "on", "gro", "on"];
    let _printed = gate::printed(ns, "ethtool", &[&["-K", interface], &on[..]].concat());
}

#[test]
fn bulk_goes_both_ways_with_native_xdp() {
    bulk("native", Offload::Off);
}

#[test]
fn bulk_goes_both_ways_with_generic_xdp() {
    bulk("generic", Offload::Off);
}

#[test]
fn bulk_goes_both_ways_while_devices_have_the_checksums() {
    bulk("generic", Offload::On);
}

#[test]
fn bulk_goes_both_ways_while_devices_have_the_checksums_before_native_xdp() {
    bulk("native", Offload::On);
}

fn bulk(xdp: &str, offload: Offload) {
    let site = Site::lay(xdp, offload);
    let gate = site.open();
    for (name, vip, is_own) in [
        ("plain-v4", vip_v4(61), false),
        ("plain-v6", vip_v6(0x61), false),
        ("own-v4", vip_v4(62), true),
        ("own-v6", vip_v6(0x62), true),
    ] {
        let host = |host: &Host| -> IpAddr {
            if vip.is_ipv4() {
                host.v4.into()
            } else {
                host.v6.into()
            }
        };
        let server = site.echo(host(&site.backend), BACKEND_PORT);
        let took = site.transfer(SocketAddr::new(vip, PORT), 16 * MIB);
        let took = took.unwrap_or_else(|error| panic!("{name}: {error}: {:#}", gate.status()));
        let from = server.join().unwrap().unwrap();
        println!("{name}: 16 MiB there and back in {took:?}, from {from}");
        let source = if is_own { &site.node } else { &site.client };
        assert_eq!(from.ip(), host(source), "{name}");
        let service = gate.service(name);
        assert!(service["packets"].as_u64() > Some(16), "{service:#}");
        assert!(
            service["bytes"].as_u64() > Some(16 * MIB as u64),
            "{service:#}"
        );
        assert_eq!(service["flows"], 1, "{service:#}");
    }
    for (address, vip) in [
        (IpAddr::from(site.backend.v4), vip_v4(61)),
        (site.backend.v6.into(), vip_v6(0x62)),
    ] {
        datagrams(&site, SocketAddr::new(address, BACKEND_PORT), vip);
    }
    for (host, [tcp, udp, segments]) in site.checksum_errors() {
        assert_eq!((tcp, udp), (0, 0), "{host}");
        // The right counters: those of whoever the connections were between.
        assert!(segments > 0 || host == "node", "{host}");
    }
    let status = gate.status();
    let verdicts = &status["datapath"]["verdicts"];
    for verdict in ["translated", "answered"] {
        assert!(verdicts[verdict].as_u64() > Some(0), "{verdicts:#}");
    }
    for verdict in ["no_flow", "no_room", "no_port", "too_big", "malformed"] {
        assert_eq!(verdicts[verdict], 0, "{verdicts:#}");
    }
    let attached = &status["datapath"]["nat"]["interfaces"][0];
    assert_eq!(
        (&attached["interface"], &attached["attached"]),
        (&"eth0".into(), &true.into())
    );
}

/// A datagram there and one back, over and over until they come.
fn datagrams(site: &Site, backend: SocketAddr, vip: IpAddr) {
    let server = site
        .backend
        .ns
        .run(|| UdpSocket::bind(backend))
        .unwrap()
        .unwrap();
    server.set_read_timeout(Some(PATIENCE)).unwrap();
    let server = thread::spawn(move || -> io::Result<()> {
        let mut room = [0; 2000];
        let (len, from) = server.recv_from(&mut room)?;
        server.send_to(&room[..len], from).map(drop)
    });
    let any = if vip.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let client = site
        .client
        .ns
        .run(|| UdpSocket::bind(any))
        .unwrap()
        .unwrap();
    client.connect(SocketAddr::new(vip, PORT)).unwrap();
    client.set_read_timeout(Some(AGAIN)).unwrap();
    let mut room = [0; 2000];
    let len = eventually("a datagram back", || {
        client.send(&[7; 1200])?;
        client.recv(&mut room)
    });
    assert_eq!(room[..len], [7; 1200]);
    server.join().unwrap().unwrap();
}

/// The host's own connection tracking, a firewall that drops what it does not know, and DNAT of another port.
#[test]
fn the_hosts_own_nat_and_tracking_go_on_beside_it() {
    let site = Site::lay("generic", Offload::On);
    let ns = &site.node.ns;
    let _set = gate::printed(ns, "sysctl", &["-w", "net.ipv4.ip_forward=1"]);
    let rules = format!(
        "table ip beside {{
            chain pre {{
                type nat hook prerouting priority -100; policy accept;
                tcp dport 9000 dnat to {backend}:{BACKEND_PORT}
            }}
            chain post {{
                type nat hook postrouting priority 100; policy accept;
                tcp dport {BACKEND_PORT} masquerade
            }}
            chain watch {{
                type filter hook prerouting priority -150; policy accept;
                ip daddr 203.0.113.0/24 counter
            }}
            chain forward {{
                type filter hook forward priority 0; policy drop;
                ct state invalid drop
                ct state established,related accept
                tcp dport {BACKEND_PORT} ct state new accept
            }}
        }}
        ",
        backend = site.backend.v4,
    );
    let file = site.directory.path().join("rules.nft");
    std::fs::write(&file, rules).unwrap();
    let _loaded = gate::printed(ns, "nft", &["-f", file.to_str().unwrap()]);
    let gate = site.open();
    let ours = [
        ("nat", SocketAddr::new(vip_v4(61), PORT)),
        ("nat with snat", SocketAddr::new(vip_v4(62), PORT)),
        (
            "nft dnat and masquerade",
            SocketAddr::new(site.node.v4.into(), 9000),
        ),
    ];
    for round in 0..2 {
        for (what, to) in ours {
            let server = site.echo(site.backend.v4.into(), BACKEND_PORT);
            let took = site.transfer(to, 64 * MIB).unwrap();
            server.join().unwrap().unwrap();
            let rate = 128.0 / took.as_secs_f64();
            println!("round {round}: {what}: 64 MiB there and back, {rate:.0} MiB/s");
        }
    }
    // Nothing of ours was seen there: neither tracked nor filtered.
    let listed = gate::printed(ns, "nft", &["list", "chain", "ip", "beside", "watch"]);
    assert!(listed.contains("counter packets 0 bytes 0"), "{listed}");
    let verdicts = gate.status()["datapath"]["verdicts"].clone();
    assert_eq!(verdicts["no_flow"], 0, "{verdicts:#}");
}

#[test]
fn connections_outlive_the_daemon_and_nothing_outlives_down() {
    let site = Site::lay("native", Offload::Off);
    let gate = site.open();
    let listener = listen(
        &site.backend,
        SocketAddr::new(site.backend.v4.into(), BACKEND_PORT),
    );
    let to = SocketAddr::new(vip_v4(62), PORT);
    let connect = move || TcpStream::connect_timeout(&to, PATIENCE);
    let mut client = site.client.ns.run(connect).unwrap().unwrap();
    let from = client.local_addr().unwrap();
    let (mut server, _) = listener.accept().unwrap();
    for stream in [&client, &server] {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
    }
    let mut says = || {
        let mut byte = [0];
        client
            .write_all(b"x")
            .and_then(|()| server.read_exact(&mut byte))?;
        server
            .write_all(b"y")
            .and_then(|()| client.read_exact(&mut byte))
    };
    says().unwrap();
    gate.kill();
    says().unwrap();
    let gate = site.open();
    says().unwrap();
    let socket = site.directory.path().join("admin.sock");
    let (client, service) = (from.to_string(), format!("{to}/tcp"));
    let asked = ["flow", "explain", &client, &service, "--admin"];
    let asked = [&asked[..], &[socket.to_str().unwrap()]].concat();
    let output = tollgate(Some(&site.node.ns), &asked);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("its translation says so: from"), "{output:?}");
    assert_eq!(
        gate.status()["datapath"]["nat"]["interfaces"][0]["attached"],
        true
    );
    assert_eq!(programs(&site), 1);
    gate.kill();
    assert_eq!(programs(&site), 1);
    let config = site.directory.path().join("tollgate.yaml");
    let down = ["down", "--config", config.to_str().unwrap()];
    let output = tollgate(Some(&site.node.ns), &down);
    assert!(output.status.success(), "{output:?}");
    assert!(pins(&site.node).is_empty());
    assert_eq!(programs(&site), 0);
}
