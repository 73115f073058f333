//! L4 balancing with real TCP connections: shares, and what a change of backends moves.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tollgate::demo::lab::{Prefix, UPLINK};
use tollgate_tests::gate::eventually;

use crate::site::{CONNECT, DATABASE_V4, DATABASE_V6, Site, read_line};

const CONNECTIONS: usize = 10_000;
const OPEN: usize = 2_000;
const CLIENTS: u8 = 8;

#[test]
fn ten_thousand_connections_spread_evenly_and_hardly_move_ipv4() {
    shares_and_moves(
        DATABASE_V4,
        |n| Ipv4Addr::new(10, 77, 0, 100 + n).into(),
        "database",
    );
}

#[test]
fn ten_thousand_connections_spread_evenly_and_hardly_move_ipv6() {
    let client = |n| Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 0x100 + u16::from(n)).into();
    shares_and_moves(DATABASE_V6, client, "database-v6");
}

#[test]
fn a_node_without_listeners_balances() {
    let site = Site::lay();
    let text = fs::read_to_string(site.config()).unwrap();
    let part = |from: &str, to: &str| {
        let (from, to) = (
            text.find(from).unwrap(),
            text.find(to).unwrap_or(text.len()),
        );
        &text[from..to]
    };
    let datapath: Vec<&str> = part("datapath:", "\0")
        .lines()
        .filter(|line| !line.contains("listener:"))
        .collect();
    let only = [part("version:", "issuers:"), &datapath.join("\n")].concat();
    fs::write(site.config(), only).unwrap();
    let gate = site.open();
    assert_eq!(gate.status()["listeners"].as_array().unwrap().len(), 0);
    for vip in [DATABASE_V4, DATABASE_V6] {
        let (mut stream, _) = site.database(vip).unwrap();
        answers(&mut stream).unwrap();
    }
    assert!(gate.metric("tollgate_datapath_packets_total", &[("verdict", "sent")]) > 0.0);
    let attached = gate.metric(
        "tollgate_datapath_interface_attached",
        &[("interface", UPLINK)],
    );
    let next_hops = gate.metric(
        "tollgate_datapath_backend_next_hop",
        &[("service", "database")],
    );
    assert_eq!((attached, next_hops), (1.0, site.databases.len() as f64));
    // And takes changes.
    let less = fs::read_to_string(site.config()).unwrap();
    fs::write(site.config(), less.replace("tunnel-tcp", "tunnel-stream")).unwrap();
    gate.reload();
    let _there = gate.service("tunnel-stream");
}

fn shares_and_moves(vip: SocketAddr, client: impl Fn(u8) -> IpAddr, service: &str) {
    let site = Site::lay();
    let clients: Vec<IpAddr> = (1..=CLIENTS).map(client).collect();
    for &address in &clients {
        let bits = if address.is_ipv4() { 24 } else { 64 };
        site.client
            .address(UPLINK, Prefix::new(address, bits))
            .unwrap();
    }
    let gate = site.open();

    let before = connect_all(&site, vip, &clients);
    let expected = CONNECTIONS / site.databases.len();
    let shares = shares(&before);
    println!("shares of {CONNECTIONS} connections: {shares:?}");
    for database in &site.databases {
        let share = shares
            .get(database.name.as_str())
            .copied()
            .unwrap_or_default();
        assert!(
            share.abs_diff(expected) * 20 <= expected,
            "{} has {share} of {CONNECTIONS} connections, expected {expected} within 5 %: {shares:?}",
            database.name,
        );
    }
    // SYN, ACK and RST of each at least; and what the status says must be the kernel's own count by backend.
    let counted = gate.service(service);
    let backends = counted["backends"].as_array().unwrap();
    let packets = |value: &serde_json::Value| value["packets"].as_u64().unwrap();
    assert!(packets(&counted) >= 3 * CONNECTIONS as u64, "{counted:#}");
    assert_eq!(
        packets(&counted),
        backends.iter().map(packets).sum::<u64>(),
        "{counted:#}"
    );
    for backend in backends {
        assert!(
            packets(backend) as usize >= 3 * expected * 9 / 10,
            "{counted:#}"
        );
    }

    // Connections that are open must live on, wherever their slot stays.
    let mut open = site.client.ns.run(|| {
        let opened = sources(&clients, 40_000, OPEN).map(|source| connect(source, vip));
        opened.collect::<io::Result<Vec<(TcpStream, String)>>>()
    });
    let open = open.as_mut().unwrap().as_mut().unwrap();
    open.retain(|(_, name)| name != "db-4");
    site.configure(&["db-1", "db-2", "db-3"]);
    gate.reload();
    eventually("three backends", || {
        let backends = gate.service(service)["backends"].as_array().unwrap().len();
        if backends == 3 {
            Ok(())
        } else {
            Err(format!("{backends}"))
        }
    });

    let after = connect_all(&site, vip, &clients);
    let stayed: Vec<_> = before
        .iter()
        .zip(&after)
        .filter(|(old, _)| *old != "db-4")
        .collect();
    let moved = stayed.iter().filter(|(old, new)| old != new).count();
    println!(
        "removing db-4 moved {moved} of the {} connections of the others",
        stayed.len()
    );
    assert!(
        after.iter().all(|name| name != "db-4"),
        "a removed backend still gets connections"
    );
    assert!(
        moved * 100 < stayed.len(),
        "removing one backend moved {moved} of the {} flows of the others: 1 % or more",
        stayed.len(),
    );

    let broken = open
        .iter_mut()
        .filter_map(|(stream, _)| answers(stream).err())
        .count();
    println!(
        "of {} connections that were open to the others, {broken} broke",
        open.len()
    );
    assert!(
        broken * 100 < open.len(),
        "{broken} of {} open connections broke",
        open.len()
    );
}

/// Addresses and ports in turn: the same at each run, so that shares and moves are too.
fn sources(clients: &[IpAddr], first: u16, count: usize) -> impl Iterator<Item = SocketAddr> {
    (0..count).map(move |n| {
        let port = first + u16::try_from(n / clients.len()).unwrap();
        SocketAddr::new(clients[n % clients.len()], port)
    })
}

/// Opens, reads and closes 10 000 connections; the names of their backends, in order.
fn connect_all(site: &Site, vip: SocketAddr, clients: &[IpAddr]) -> Vec<String> {
    let names = site.client.ns.run(|| {
        let names = sources(clients, 20_000, CONNECTIONS).map(|source| {
            connect(source, vip)
                .map(|(_, name)| name)
                .map_err(|error| (source, error))
        });
        names.collect::<Result<Vec<String>, (SocketAddr, io::Error)>>()
    });
    names
        .unwrap()
        .unwrap_or_else(|(source, error)| panic!("{source} → {vip}: {error}"))
}

/// Connects from an address and port, and reads the backend's name.
pub(crate) fn connect(source: SocketAddr, vip: SocketAddr) -> io::Result<(TcpStream, String)> {
    let socket = Socket::new(Domain::for_address(vip), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    // Closing by RST leaves no TIME_WAIT behind, so that the same five values can be used again.
    socket.set_linger(Some(Duration::ZERO))?;
    socket.bind(&source.into())?;
    socket.connect_timeout(&vip.into(), CONNECT)?;
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(CONNECT))?;
    let name = read_line(&mut stream)?;
    Ok((stream, name))
}

fn shares(names: &[String]) -> BTreeMap<&str, usize> {
    let mut shares = BTreeMap::new();
    for name in names {
        *shares.entry(name.as_str()).or_default() += 1;
    }
    shares
}

/// A byte there and back.
pub(crate) fn answers(stream: &mut TcpStream) -> io::Result<()> {
    use std::io::{Read as _, Write as _};
    stream.write_all(b"x")?;
    let mut byte = [0];
    stream.read_exact(&mut byte)
}
