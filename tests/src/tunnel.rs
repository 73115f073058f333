//! A client, a balancing node and a backend at the far end of tunnels, on links of 1500 bytes.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::thread;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tollgate::demo::lab::{BPFFS, Host, Lab, UPLINK};

use crate::gate::{self, Gate, PATIENCE, tollgate};
use crate::place::{listen, route_vips, vip_v4, vip_v6};

/// The port of every service.
pub const PORT: u16 = 7000;
/// Bytes of a whole transfer.
pub const MIB: usize = 1 << 20;
/// How long one datagram is waited for before it is sent again.
pub const AGAIN: Duration = Duration::from_millis(500);

/// Each virtual address: as what its packets are counted at the backend, and the bytes that its tunnel takes.
#[must_use]
pub fn ways() -> [(IpAddr, &'static str, u32); 8] {
    [
        (vip_v4(44), "ipv4_in_ipv4", 20),
        (vip_v6(0x64), "ipv6_in_ipv4", 20),
        (vip_v4(46), "ipv4_in_ipv6", 40),
        (vip_v6(0x66), "ipv6_in_ipv6", 40),
        (vip_v4(144), "gue_ipv4_in_ipv4", 32),
        (vip_v6(0x164), "gue_ipv6_in_ipv4", 32),
        (vip_v4(146), "gue_ipv4_in_ipv6", 52),
        (vip_v6(0x166), "gue_ipv6_in_ipv6", 52),
    ]
}

/// Everything but the balancer's daemon and the backend's program.
#[derive(Debug)]
pub struct Site {
    /// Whose connections are balanced.
    pub client: Host,
    /// Where the daemon runs.
    pub node: Host,
    /// The far end, with all virtual addresses on `lo`.
    pub backend: Host,
    /// The daemon's configuration and logs.
    pub directory: TempDir,
    _lab: Lab,
}

impl Site {
    /// Lays the network and writes the configuration.
    ///
    /// # Panics
    /// Without the rights, or when the kernel refuses a part.
    #[must_use]
    pub fn lay() -> Self {
        let directory = gate::folder("decap");
        let mut lab = Lab::new().unwrap();
        let node = lab.node("node", Path::new(BPFFS)).unwrap();
        let backend = lab.node("backend", Path::new(BPFFS)).unwrap();
        let client = lab.host("client").unwrap();
        route_vips(&client, &node);
        for (vip, ..) in ways() {
            backend.hold_vip(vip).unwrap();
        }
        let text = gate::configuration(
            "decap.yaml",
            &[
                ("DIR", &directory.path().display()),
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

    /// Starts the daemon and waits until it is ready.
    #[must_use]
    pub fn open(&self) -> Gate {
        Gate::start(gate::launch_on(&self.node, self.directory.path()))
    }

    /// `tollgate decap` on the backend: what it prints, or what it says of its failure.
    ///
    /// # Errors
    /// What it said on standard error.
    pub fn decap(&self, arguments: &[&str]) -> Result<String, String> {
        let output = tollgate(Some(&self.backend.ns), &[&["decap"], arguments].concat());
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() {
            Ok(text(&output.stdout))
        } else {
            Err(text(&output.stderr))
        }
    }

    /// Lets the backend's decapsulation begin.
    ///
    /// # Errors
    /// What it said on standard error.
    pub fn up(&self, more: &[&str]) -> Result<String, String> {
        let vips = ["--vip", "203.0.113.0/24", "--vip", "2001:db8:113::/64"];
        self.decap(&[&["--interface", UPLINK], &vips[..], more].concat())
    }

    /// What `tollgate decap --status` says.
    #[must_use]
    pub fn status(&self) -> Value {
        let text = self.decap(&["--status", "--json"]).unwrap();
        let mut all: Value = serde_json::from_str(&text).unwrap();
        all[0].take()
    }

    /// How many packets were counted as this.
    #[must_use]
    pub fn packets(&self, outcome: &str) -> u64 {
        let status = self.status();
        let count = status["packets"][outcome].as_u64();
        count.unwrap_or_else(|| panic!("no {outcome}: {status:#}"))
    }
}

/// How many senders were told that a packet was too big.
#[must_use]
pub fn told_too_big(gate: &Gate) -> u64 {
    gate.status()["datapath"]["verdicts"]["too_big_told"]
        .as_u64()
        .unwrap()
}

/// 1 MiB from the client to the backend, whose kernel hands it on unchanged or not at all; and the answer back.
pub fn upload(site: &Site, gate: &Gate, to: SocketAddr) {
    let listener: TcpListener = listen(&site.backend, to);
    let server = thread::spawn(move || -> io::Result<Vec<u8>> {
        let (mut stream, _) = listener.accept()?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut all = Vec::new();
        stream.read_to_end(&mut all)?;
        stream.write_all(b"done")?;
        Ok(all)
    });
    let data: Vec<u8> = (0..MIB).map(|at| (at / 251 + at % 251) as u8).collect();
    let sent = site.client.ns.run(|| -> io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect_timeout(&to, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.write_all(&data)?;
        stream.shutdown(std::net::Shutdown::Write)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok(answer)
    });
    let answer = sent.unwrap().unwrap_or_else(|error| {
        let verdicts = gate.status()["datapath"]["verdicts"].take();
        panic!("{to}: {error}: {:#} {verdicts:#}", site.status())
    });
    assert_eq!(answer, b"done", "{to}");
    assert!(
        server.join().unwrap().unwrap() == data,
        "{to}: other bytes arrived"
    );
}

/// 4000 bytes in fragments.
pub fn datagram(site: &Site, to: SocketAddr) {
    let backend = site
        .backend
        .ns
        .run(|| UdpSocket::bind(to))
        .unwrap()
        .unwrap();
    backend.set_read_timeout(Some(AGAIN)).unwrap();
    let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let client = site
        .client
        .ns
        .run(|| UdpSocket::bind(any))
        .unwrap()
        .unwrap();
    let data: Vec<u8> = (0..4000_u32).map(|at| (at % 253) as u8).collect();
    let mut buffer = [0; 8192];
    // Datagrams may be lost, as the first one to a narrower path is.
    for _ in 0..PATIENCE.as_millis() / AGAIN.as_millis() {
        client.send_to(&data, to).unwrap();
        if let Ok(length) = backend.recv(&mut buffer) {
            assert!(buffer[..length] == data, "{to}: other bytes arrived");
            return;
        }
    }
    panic!("{to}: no datagram arrived: {:#}", site.status());
}
