//! `tollgate flow explain` by the running daemon: a thousand random clients of each IP version, and where their connections
//! really go; settled, while a large change is applied in steps, and while slots move.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};

use serde_json::{Value, json};
use tollgate::admin::client;
use tollgate::demo::lab::{Prefix, UPLINK};
use tollgate_tests::gate::{Gate, eventually};

use crate::balance::{answers, connect};
use crate::site::{DATABASE_V4, DATABASE_V6, Site};

/// In each of the four parts.
const CLIENTS: usize = 250;
const ADDRESSES: u8 = 40;

#[test]
fn a_thousand_clients_go_where_it_says_ipv4() {
    agrees(DATABASE_V4, |n| Ipv4Addr::new(10, 77, 0, 100 + n).into());
}

#[test]
fn a_thousand_clients_go_where_it_says_ipv6() {
    agrees(DATABASE_V6, |n| {
        Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 0x100 + u16::from(n)).into()
    });
}

fn agrees(vip: SocketAddr, client: impl Fn(u8) -> IpAddr) {
    let site = Site::lay();
    for n in 0..ADDRESSES {
        let address = client(n);
        let bits = if address.is_ipv4() { 24 } else { 64 };
        let prefix = Prefix::new(address, bits);
        site.client.address(UPLINK, prefix).unwrap();
    }
    site.configure(&["db-1", "db-2", "db-3"]);
    let gate = site.open();
    let asked = Asked::new(&site, vip);
    let mut clients = random_clients(client, 4 * CLIENTS).into_iter();
    let mut part = || clients.by_ref().take(CLIENTS).collect::<Vec<SocketAddr>>();

    // Settled: one answer, asked before there is a connection.
    let mut open = Vec::new();
    for client in part() {
        let said = asked.answers(client);
        assert_eq!(said.len(), 1, "{client}: nothing moves");
        open.push(asked.connect(client, &said[0]));
    }

    // While a quarter of the slots is about to move, in steps: asked of connections that are there, old and new.
    site.configure(&["db-1", "db-2", "db-3", "db-4"]);
    gate.reload();
    for client in part() {
        let (stream, name) = site
            .client
            .ns
            .run(|| connect(client, vip))
            .unwrap()
            .unwrap();
        asked.goes_on(client, &name);
        open.push((client, stream, name));
    }
    settled_steps(&gate);

    // While they move: what begins now is told before it does, and afterwards it is told as what it is.
    let mut differ = 0;
    for client in part() {
        let said = asked.answers(client);
        differ += usize::from(said.len() == 2 && said[0] != said[1]);
        let (client, stream, name) = asked.connect(client, &said[0]);
        asked.goes_on(client, &name);
        open.push((client, stream, name));
    }
    assert!(
        differ >= CLIENTS / 10,
        "{differ} of {CLIENTS} had two answers: nothing was shown"
    );

    // And when one goes.
    site.configure(&["db-1", "db-2", "db-4"]);
    gate.reload();
    settled_steps(&gate);
    for client in part() {
        let said = asked.answers(client);
        open.push(asked.connect(client, &said[0]));
    }
    // All that were opened to a backend that lives are still where it says.
    let mut lost = 0;
    for (client, stream, name) in &mut open {
        if name == "db-3" {
            lost += 1;
            continue;
        }
        asked.goes_on(*client, name);
        answers(stream).unwrap_or_else(|error| panic!("{client} at {name}: {error}"));
    }
    assert!(lost > 0);
    println!(
        "{} connections, {differ} with two answers, {lost} of the backend that went",
        open.len()
    );
}

/// Waits until no part of a change is left to be applied.
fn settled_steps(gate: &Gate) {
    eventually(
        "the last step of the change",
        || match gate.status()["datapath"]["flows"]["left"].as_u64() {
            Some(0) => Ok(()),
            left => Err(format!("{left:?} slots")),
        },
    );
}

/// Addresses and ports at random, each once; the same at each run.
fn random_clients(address: impl Fn(u8) -> IpAddr, count: usize) -> BTreeSet<SocketAddr> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut clients = BTreeSet::new();
    while clients.len() < count {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let port = 20_000 + (state >> 32) % 40_000;
        let n = (state % u64::from(ADDRESSES)) as u8;
        clients.insert(SocketAddr::new(address(n), port as u16));
    }
    clients
}

/// Who asks the daemon.
struct Asked<'a> {
    site: &'a Site,
    vip: SocketAddr,
    names: BTreeMap<String, String>,
    runtime: tokio::runtime::Runtime,
}

impl<'a> Asked<'a> {
    fn new(site: &'a Site, vip: SocketAddr) -> Self {
        let names = site.databases.iter().map(|one| {
            let address: IpAddr = match vip {
                SocketAddr::V4(_) => one.host.v4.into(),
                SocketAddr::V6(_) => one.host.v6.into(),
            };
            (address.to_string(), one.name.clone())
        });
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        Self {
            site,
            vip,
            names: names.collect(),
            runtime: runtime.enable_all().build().unwrap(),
        }
    }

    /// The backends' names, by what is said of a flow: of what begins, and of what goes on where that is another answer.
    fn answers(&self, client: SocketAddr) -> Vec<String> {
        let socket = self.site.config().with_file_name("admin.sock");
        let question = json!({ "client": client, "destination": self.vip, "udp": false });
        let asked = client::post(&socket, "/explain/flow", &question);
        let (status, answer) = self.runtime.block_on(asked).unwrap();
        assert!(status.is_success(), "{answer:#}");
        let answers = answer["answers"].as_array().unwrap();
        let name = |one: &Value| self.names[one["backend"].as_str().unwrap()].clone();
        answers.iter().map(name).collect()
    }

    /// Connects, and holds what is reached against what was said.
    fn connect(&self, client: SocketAddr, said: &str) -> (SocketAddr, TcpStream, String) {
        let connected = self.site.client.ns.run(|| connect(client, self.vip));
        let (stream, name) = connected.unwrap().unwrap();
        assert_eq!(name, said, "{client} begins");
        (client, stream, name)
    }

    /// Holds what is said of a connection that is there against where it is.
    #[track_caller]
    fn goes_on(&self, client: SocketAddr, name: &str) {
        let said = self.answers(client);
        assert_eq!(
            said.last().map(String::as_str),
            Some(name),
            "{client} goes on"
        );
    }
}
