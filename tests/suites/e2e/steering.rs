//! Connections to prefixes and to any port: who gets them, how evenly, and who must not.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use tollgate::demo::daemon::Daemon;
use tollgate_tests::gate::{PATIENCE, eventually};

use crate::site::{Site, listen, vip_v4};

const WORKERS: usize = 4;
const CONNECTIONS: usize = 1_000;

const LISTENER: &str = "listeners:
  plain:
    listen: \"[::]:8081\"
    plaintext: true
    routes:
      - { name: ping, match: { path: { exact: /ping } }, token: none, upstream: api }
";

const SERVICES: &str = "  services:
    - { name: prefix, vip: \"203.0.113.64/26:80/tcp\", deliver: { listener: plain } }
    - { name: prefix-v6, vip: \"[2001:db8:113:0:1::/80]:80/tcp\", deliver: { listener: plain } }
    - { name: any, vip: \"203.0.113.40:*/tcp\", deliver: { listener: plain } }
    - { name: any-v6, vip: \"[2001:db8:113::40]:*/tcp\", deliver: { listener: plain } }
";

/// A site whose listener `plain` has these services beside the others.
fn site(services: &str) -> Site {
    let site = Site::lay_routed();
    let text = fs::read_to_string(site.config()).unwrap();
    let text = text
        .replace("listeners:\n", LISTENER)
        .replace("  services:\n", services)
        .replace("version: 1\n", &format!("version: 1\nworkers: {WORKERS}\n"));
    fs::write(site.config(), text).unwrap();
    site
}

fn v6(last: u16, further: u16) -> IpAddr {
    Ipv6Addr::new(0x2001, 0xdb8, 0x113, 0, further, 0, 0, last).into()
}

/// Asks over a connection of its own, from where the caller is; the status line.
fn ask(to: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream
        .write_all(b"GET /ping HTTP/1.1\r\nhost: api.example.com\r\nconnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

#[test]
fn prefixes_and_any_port_reach_the_listener_and_nobody_else() {
    let site = site(SERVICES);
    // Whoever listens on all addresses of the node gets none of it.
    let decoys = ["[::]:80", "[::]:1", "[::]:65535"].map(|address: &str| {
        let decoy = listen(&site.node, address.parse().unwrap());
        decoy.set_nonblocking(true).unwrap();
        decoy
    });
    let inside = [
        (vip_v4(64), 80),
        (vip_v4(90), 80),
        (vip_v4(127), 80),
        (v6(0, 1), 80),
        (v6(0xffff, 1), 80),
        (vip_v4(40), 1),
        (vip_v4(40), 4711),
        (vip_v4(40), 65_535),
        (v6(0x40, 0), 1),
        (v6(0x40, 0), 65_535),
    ];
    let outside = [
        (vip_v4(63), 80),
        (vip_v4(128), 80),
        (vip_v4(64), 81),
        (v6(1, 2), 80),
    ];
    let gate = site.open();
    let inside = inside.map(|(ip, port)| SocketAddr::new(ip, port));
    let hear = |to: SocketAddr| site.client.ns.run(|| ask(to)).unwrap();
    for to in inside {
        assert_eq!(hear(to).unwrap(), "HTTP/1.1 200 OK", "{to}");
    }
    for (ip, port) in outside {
        // The node has no such address, or nobody listens there.
        let connect =
            || TcpStream::connect_timeout(&SocketAddr::new(ip, port), Duration::from_millis(300));
        assert!(site.client.ns.run(connect).unwrap().is_err(), "{ip} {port}");
    }

    // The socket is gone: refused.
    gate.kill();
    for to in inside {
        let error = hear(to).expect_err("nobody may answer");
        assert_eq!(
            error.kind(),
            io::ErrorKind::ConnectionRefused,
            "{to}: {error}"
        );
    }
    for decoy in &decoys {
        let got = decoy.accept().expect_err("passed to the host");
        assert_eq!(got.kind(), io::ErrorKind::WouldBlock);
    }
}

#[test]
fn connections_are_spread_evenly_over_the_workers() {
    let site = site(SERVICES);
    let gate = site.open();
    let targets = [
        (vip_v4(70), 80),
        (v6(7, 1), 80),
        (vip_v4(40), 4711),
        (v6(0x40, 0), 443),
    ];
    let asked = site.client.ns.run(|| {
        for (ip, port) in targets.iter().cycle().take(CONNECTIONS) {
            assert_eq!(ask(SocketAddr::new(*ip, *port))?, "HTTP/1.1 200 OK");
        }
        io::Result::Ok(())
    });
    asked.unwrap().unwrap();
    let of = |worker: usize| {
        let label = worker.to_string();
        gate.metric("tollgate_connections_total", &[("worker", &label)]) as usize
    };
    let shares = eventually("the last connection to be counted", || {
        let shares: Vec<usize> = (0..WORKERS).map(of).collect();
        if shares.iter().sum::<usize>() >= CONNECTIONS {
            Ok(shares)
        } else {
            Err(format!("{shares:?}"))
        }
    });
    println!("{CONNECTIONS} connections by worker: {shares:?}");
    // Five standard deviations of a fair draw, 1 in a million.
    let (fair, spread) = (CONNECTIONS / WORKERS, 70);
    for share in &shares {
        assert!(share.abs_diff(fair) < spread, "{shares:?}");
    }
}

#[test]
fn an_address_of_the_host_is_taken_only_if_that_is_allowed() {
    let services = "  services:
    - { name: own, vip: \"@NODE@:8099/tcp\", deliver: { listener: plain } }
    - { name: own-v6, vip: \"[@NODE6@]:8099/tcp\", deliver: { listener: plain } }
";
    let site = site(services);
    let text = fs::read_to_string(site.config()).unwrap();
    let text = text
        .replace("@NODE@", &site.node.v4.to_string())
        .replace("@NODE6@", &site.node.v6.to_string());
    fs::write(site.config(), &text).unwrap();
    let decoy = listen(&site.node, "[::]:8099".parse().unwrap());
    decoy.set_nonblocking(true).unwrap();
    let mut daemon = Daemon::start(site.launch()).unwrap();
    let refused = daemon.wait_ready(PATIENCE).unwrap_err().to_string();
    for word in [
        "service `own`",
        "this host's own address",
        "allow_host_address: true",
    ] {
        assert!(refused.contains(word), "{refused}");
    }
    drop(daemon);

    let allowed = text.replace("8099/tcp\", ", "8099/tcp\", allow_host_address: true, ");
    fs::write(site.config(), allowed).unwrap();
    let gate = site.open();
    let of_node: [IpAddr; 2] = [site.node.v4.into(), site.node.v6.into()];
    for ip in of_node {
        let heard = site
            .client
            .ns
            .run(|| ask(SocketAddr::new(ip, 8099)))
            .unwrap();
        assert_eq!(heard.unwrap(), "HTTP/1.1 200 OK", "{ip}");
    }
    assert!(decoy.accept().is_err(), "passed to the host");
    assert_eq!(
        gate.status()["datapath"]["warnings"]
            .as_array()
            .unwrap()
            .len(),
        0
    );
}
