//! `tollgate capture` and `tollgate flow watch`: what they write, read by tshark, and what they leave behind.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tollgate::demo::lab::UPLINK;
use tollgate_tests::gate::{self, Gate, eventually};

use crate::site::{DATABASE_V4, DATABASE_V6, Site, vip_v4, vip_v6};

/// A command that watches, in the node's namespace.
struct Watch {
    child: Child,
    stderr: BufReader<std::process::ChildStderr>,
}

impl Watch {
    /// Starts it, and waits until it says that it watches.
    fn start(site: &Site, arguments: &[&str]) -> Self {
        let mut watch = Self::spawn(site, arguments, Stdio::piped());
        let mut line = String::new();
        watch.stderr.read_line(&mut line).unwrap();
        assert!(line.contains("watching"), "{line}");
        watch
    }

    fn spawn(site: &Site, arguments: &[&str], stdout: Stdio) -> Self {
        let mut command = Command::new(gate::binary());
        command
            .args(arguments)
            .args([
                "--admin".as_ref(),
                site.config().with_file_name("admin.sock").as_os_str(),
            ])
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(Stdio::piped());
        let child = site.node.ns.run(move || command.spawn()).unwrap();
        let mut child = child.unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        Self { child, stderr }
    }

    fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id()).unwrap();
        kill(Pid::from_raw(id), signal).unwrap();
    }

    /// Waits for its end; standard output, and the rest of what it said.
    fn end(mut self) -> (bool, String, String) {
        let (mut out, mut said) = (String::new(), String::new());
        if let Some(mut stdout) = self.child.stdout.take() {
            stdout.read_to_string(&mut out).unwrap();
        }
        self.stderr.read_to_string(&mut said).unwrap();
        (self.child.wait().unwrap().success(), out, said)
    }

    fn interrupt(self) -> (bool, String, String) {
        self.signal(Signal::SIGINT);
        self.end()
    }
}

/// Some fields of each packet of a file, as tshark reads them.
fn tshark(file: &Path, fields: &[&str]) -> Vec<Vec<String>> {
    let mut command = Command::new("tshark");
    command.arg("-r").arg(file);
    command.args([
        "-o",
        "ip.check_checksum:TRUE",
        "-T",
        "fields",
        "-E",
        "separator=|",
    ]);
    for field in fields {
        command.args(["-e", field]);
    }
    let output = command
        .output()
        .expect("tshark: cargo xtask setup --with e2e");
    assert!(
        output.status.success() && !String::from_utf8_lossy(&output.stderr).contains("cut short"),
        "{output:?}"
    );
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text.lines();
    lines
        .map(|line| line.split('|').map(str::to_owned).collect())
        .collect()
}

fn send(site: &Site, vip: SocketAddr) {
    let sent = site.client.ns.run(|| {
        let client: IpAddr = match vip {
            SocketAddr::V4(_) => site.client.v4.into(),
            SocketAddr::V6(_) => site.client.v6.into(),
        };
        UdpSocket::bind((client, 0))?.send_to(b"a datagram", vip)
    });
    sent.unwrap().unwrap();
}

/// The configuration with services that go by GUE.
fn with_gue(site: &Site) {
    let mut text = fs::read_to_string(site.config()).unwrap();
    for (name, vip, backend) in [
        (
            "gue-44",
            "203.0.113.40:7000/udp",
            IpAddr::from(site.tunnel.v4),
        ),
        (
            "gue-66",
            "[2001:db8:113::40]:7000/udp",
            site.tunnel.v6.into(),
        ),
        ("nobody", "203.0.113.41:7000/udp", site.tunnel.v4.into()),
    ] {
        let drain = if name == "nobody" {
            ", drain: true"
        } else {
            ""
        };
        text.push_str(&format!(
            "    - {{ name: {name}, vip: \"{vip}\", deliver: gue, backends: [{{ address: \"{backend}\"{drain} }}] }}\n"
        ));
    }
    fs::write(site.config(), text).unwrap();
}

fn output(site: &Site) -> PathBuf {
    site.config().with_file_name("capture.pcapng")
}

#[test]
fn tshark_reads_packets_before_and_after() {
    let site = Site::lay();
    with_gue(&site);
    let gate = site.open();
    let file = output(&site);
    let name = file.to_str().unwrap();
    let vips = format!("(client {} or client {})", site.client.v4, site.client.v6);
    let watch = Watch::start(
        &site,
        &["capture", "-o", name, &vips, "and", "(udp or syn)"],
    );
    let datagrams = [
        ("tunnel-44", vip_v4(30)),
        ("tunnel-66", vip_v6(0x30)),
        ("tunnel-46", vip_v4(31)),
        ("tunnel-64", vip_v6(0x31)),
        ("gue-44", vip_v4(40)),
        ("gue-66", vip_v6(0x40)),
        ("nobody", vip_v4(41)),
    ];
    for (_, vip) in datagrams {
        send(&site, SocketAddr::new(vip, 7000));
    }
    let reached = [DATABASE_V4, DATABASE_V6].map(|vip| site.database(vip).unwrap().1);
    assert_eq!(gate.status()["datapath"]["watched"], true);
    let (ended, _, said) = watch.interrupt();
    assert!(ended && !said.contains("no room"), "{said}");
    assert_eq!(gate.status()["datapath"]["watched"], false);

    let rows = tshark(
        &file,
        &[
            "frame.interface_name",
            "frame.comment",
            "ip.dst",
            "ipv6.dst",
            "udp.dstport",
            "ip.checksum.status",
            "eth.dst",
            "ip.ttl",
            "ipv6.hlim",
            "tcp.dstport",
        ],
    );
    let of = |service: &str, way: &str| {
        let rows: Vec<_> = rows
            .iter()
            .filter(|row| row[0] == format!("{UPLINK} {way}"))
            .filter(|row| row[1].contains(&format!("service {service}")))
            .filter(|row| !row[1].contains(&format!("service {service}-")))
            .collect();
        assert_eq!(rows.len(), 1, "{service} {way}: {rows:#?}");
        rows[0].clone()
    };
    let (v4, v6) = (site.tunnel.v4.to_string(), site.tunnel.v6.to_string());
    for (service, vip) in datagrams {
        let (before, after) = (of(service, "in"), of(service, "out"));
        let vip = vip.to_string();
        let is_v4 = !vip.contains(':');
        let plain = |is: bool| if is { vip.clone() } else { String::new() };
        assert_eq!(
            before[2..5],
            [plain(is_v4), plain(!is_v4), "7000".to_owned()],
            "{service}"
        );
        let (ip, ip6, ports) = match service {
            "tunnel-44" => (format!("{v4},{vip}"), String::new(), "7000"),
            "tunnel-66" => (String::new(), format!("{v6},{vip}"), "7000"),
            "tunnel-46" => (vip.clone(), v6.clone(), "7000"),
            "tunnel-64" => (v4.clone(), vip.clone(), "7000"),
            // tshark knows no GUE: what is inside is data to it.
            "gue-44" => (v4.clone(), String::new(), "6080"),
            "gue-66" => (String::new(), v6.clone(), "6080"),
            _ => (vip.clone(), String::new(), "7000"),
        };
        assert_eq!(after[2..5], [ip, ip6, ports.to_owned()], "{service}");
        let verdict = match service {
            "nobody" => "verdict no_backend, service nobody".to_owned(),
            _ => {
                let backend = if service.ends_with("44") || service == "tunnel-64" {
                    &v4
                } else {
                    &v6
                };
                format!("verdict sent, service {service}, backend {backend}")
            }
        };
        assert_eq!((&before[1], &after[1]), (&verdict, &verdict));
        for row in [&before, &after] {
            // 1: good.
            assert!(
                row[5]
                    .split(',')
                    .all(|status| status.is_empty() || status == "1"),
                "{row:?}"
            );
        }
    }
    for (service, vip, reached, hops) in [
        ("database", DATABASE_V4, &reached[0], 7),
        ("database-v6", DATABASE_V6, &reached[1], 8),
    ] {
        let (before, after) = (of(service, "in"), of(service, "out"));
        assert_eq!(before[2..4], after[2..4], "{service}");
        assert!(
            before.contains(&vip.ip().to_string()) && before[9] == "5432",
            "{before:?}"
        );
        let hop = |row: &[String]| row[hops].parse::<u8>().unwrap();
        assert_eq!(hop(&after), hop(&before) - 1, "{service} counts as a hop");
        assert_ne!(before[6], after[6], "{service}: another station");
        let database = site
            .databases
            .iter()
            .find(|one| one.name == *reached)
            .unwrap();
        let address: IpAddr = match vip {
            SocketAddr::V4(_) => database.host.v4.into(),
            SocketAddr::V6(_) => database.host.v6.into(),
        };
        assert_eq!(
            after[1],
            format!("verdict sent, service {service}, backend {address}")
        );
    }
}

#[test]
fn a_capture_goes_down_a_pipe_and_ends_by_itself() {
    let site = Site::lay();
    let _gate = site.open();
    let mut watch = Watch::start(
        &site,
        &["capture", "-o", "-", "--count", "1", "service tunnel-44"],
    );
    let stdout = watch.child.stdout.take().unwrap();
    let tshark = Command::new("tshark")
        .args([
            "-r",
            "-",
            "-T",
            "fields",
            "-e",
            "frame.interface_name",
            "-e",
            "udp.dstport",
        ])
        .stdin(stdout)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("tshark: cargo xtask setup --with e2e");
    send(&site, SocketAddr::new(vip_v6(0x30), 7000));
    send(&site, SocketAddr::new(vip_v4(30), 7000));
    let (ended, _, said) = watch.end();
    assert!(
        ended && said.contains("1 packet(s), each before and after"),
        "{said}"
    );
    let read = String::from_utf8(tshark.wait_with_output().unwrap().stdout).unwrap();
    let rows: Vec<&str> = read.lines().collect();
    assert_eq!(
        rows,
        [format!("{UPLINK} in\t7000"), format!("{UPLINK} out\t7000")]
    );
}

/// The XDP program that the node's uplink runs.
fn attached(site: &Site) -> String {
    let shown = gate::printed(
        &site.node.ns,
        "ip",
        &["-details", "link", "show", "dev", UPLINK],
    );
    let rest = shown.split("prog/xdp id ").nth(1).expect("an XDP program");
    rest.split_whitespace().next().unwrap().to_owned()
}

#[test]
fn one_that_is_killed_leaves_nothing_and_breaks_nothing() {
    let site = Site::lay();
    let gate = site.open();
    let own = attached(&site);
    let (mut open, name) = site.database(DATABASE_V4).unwrap();
    let watch = Watch::start(&site, &["capture", "-o", "/dev/null"]);
    assert_ne!(attached(&site), own);
    answers(&mut open, &name);
    watch.signal(Signal::SIGKILL);
    let (ended, _, _) = watch.end();
    assert!(!ended);
    eventually("the daemon's own program", || match attached(&site) {
        now if now == own => Ok(()),
        now => Err(now),
    });
    answers(&mut open, &name);
    let interface = gate.status()["datapath"]["interfaces"][0].clone();
    assert_eq!(interface["attached"], true, "{interface}");
}

/// A byte there and back.
fn answers(stream: &mut std::net::TcpStream, name: &str) {
    use std::io::Write as _;
    stream.write_all(b"x").unwrap();
    let mut byte = [0];
    stream
        .read_exact(&mut byte)
        .unwrap_or_else(|error| panic!("{name}: {error}"));
}

#[test]
fn a_restart_is_followed() {
    let site = Site::lay();
    let gate = site.open();
    let file = output(&site);
    let mut watch = Watch::start(
        &site,
        &["capture", "-o", file.to_str().unwrap(), "service tunnel-44"],
    );
    send(&site, SocketAddr::new(vip_v4(30), 7000));
    gate.kill();
    // Nobody is there, and it goes on.
    send(&site, SocketAddr::new(vip_v4(30), 7000));
    let _gate = site.open();
    let mut line = String::new();
    watch.stderr.read_line(&mut line).unwrap();
    assert!(line.contains("another program was put in place"), "{line}");
    send(&site, SocketAddr::new(vip_v4(30), 7000));
    let (ended, _, said) = watch.interrupt();
    assert!(ended && said.contains("3 packet(s)"), "{said}");
    assert_eq!(tshark(&file, &["frame.number"]).len(), 6);
}

#[test]
fn flows_are_told_as_they_begin_with_the_backend_that_they_reach() {
    let site = Site::lay();
    with_gue(&site);
    let _gate = site.open();
    let watch = Watch::start(
        &site,
        &[
            "flow",
            "watch",
            "--json",
            "service database or service database-v6 or service nobody",
        ],
    );
    let mut reached = Vec::new();
    for _ in 0..20 {
        for vip in [DATABASE_V4, DATABASE_V6] {
            let (stream, name) = site.database(vip).unwrap();
            reached.push((stream.local_addr().unwrap(), name));
        }
    }
    send(&site, SocketAddr::new(vip_v4(41), 7000));
    let (ended, out, said) = watch.interrupt();
    assert!(ended && said.contains("41 event(s)"), "{said}\n{out}");
    let events: Vec<Value> = out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    for (client, name) in reached {
        let database = site.databases.iter().find(|one| one.name == name).unwrap();
        let address: IpAddr = match client {
            SocketAddr::V4(_) => database.host.v4.into(),
            SocketAddr::V6(_) => database.host.v6.into(),
        };
        let event = events
            .iter()
            .find(|one| one["client"] == client.to_string());
        let event = event.unwrap_or_else(|| panic!("{client}: {out}"));
        assert_eq!(
            (&event["event"], &event["verdict"]),
            (&"flow".into(), &"sent".into())
        );
        assert_eq!(event["backend"], address.to_string(), "{event}");
        assert_eq!(event["proto"], "tcp");
    }
    let drop = events.iter().find(|one| one["event"] == "drop").unwrap();
    assert_eq!(
        (&drop["verdict"], &drop["service"]),
        (&"no_backend".into(), &"nobody".into())
    );
}

#[test]
fn what_cannot_be_is_refused_with_its_reason() {
    let site = Site::lay();
    let gate: Gate = site.open();
    let failed = |arguments: &[&str]| {
        let (ended, _, said) = Watch::spawn(&site, arguments, Stdio::null()).end();
        assert!(!ended, "{arguments:?}");
        said
    };
    let said = failed(&["capture", "-o", "/dev/null", "service datbase"]);
    assert!(
        said.contains("`service datbase`: no service of this name"),
        "{said}"
    );
    let said = failed(&["capture", "-o", "/dev/null", "hots 1.2.3.4"]);
    assert!(said.contains("`hots` is no term of a filter"), "{said}");
    let said = failed(&["capture", "-o", "/no/such/folder/file"]);
    assert!(said.contains("/no/such/folder/file"), "{said}");
    let said = failed(&["flow", "watch", "--bpffs", "/sys/fs/bpf/none"]);
    assert!(said.contains("no datapath is there"), "{said}");
    // Two at once.
    let first = Watch::start(&site, &["capture", "-o", "/dev/null"]);
    let said = failed(&["flow", "watch"]);
    assert!(said.contains("one at a time"), "{said}");
    assert!(first.interrupt().0);
    // Without rights.
    let mut command = Command::new(gate::binary());
    command
        .args(["capture", "-o", "/dev/null"])
        .uid(65_534)
        .gid(65_534);
    let output = site.node.ns.run(move || command.output()).unwrap();
    let output = match output {
        Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
        // The build's folder is closed to others: then this says nothing.
        Err(error) => format!("CAP_BPF ({error})"),
    };
    assert!(output.contains("CAP_BPF"), "{output}");
    // What is gone ends the watch.
    let watch = Watch::start(&site, &["capture", "-o", "/dev/null"]);
    let stopped = thread::spawn(move || watch.end());
    let _said = gate::printed(&site.node.ns, gate::binary().to_str().unwrap(), &["down"]);
    let (ended, _, said) = stopped.join().unwrap();
    assert!(!ended && said.contains("no datapath is there"), "{said}");
    drop(gate);
}

#[test]
fn whoever_reads_may_stall_and_the_capture_still_ends() {
    let site = Site::lay();
    let gate = site.open();
    let mut watch = Watch::start(&site, &["capture", "-o", "-", "udp"]);
    // More than a pipe holds, and nobody reads it.
    for _ in 0..400 {
        send(&site, DATABASE_V4);
    }
    watch.signal(Signal::SIGINT);
    eventually("its end", || match watch.child.try_wait() {
        Ok(Some(status)) if status.success() => Ok(()),
        other => Err(format!("{other:?}")),
    });
    drop(watch.child.stdout.take());
    let (_, _, said) = watch.end();
    assert!(said.contains("the rest is not written"), "{said}");
    assert_eq!(gate.status()["datapath"]["watched"], false);
}
