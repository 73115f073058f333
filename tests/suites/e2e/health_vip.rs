//! Checks that go by the VIP find what a backend's own address does not show.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;
use tempfile::TempDir;
use tollgate::demo::lab::{BPFFS, Host, Lab, Prefix, UPLINK};
use tollgate_common::backend::Kind;
use tollgate_common::tables::Tables;
use tollgate_datapath::checks::{Checked, Checks};
use tollgate_datapath::features::{self, Feature};
use tollgate_datapath::model::Tunnel;
use tollgate_tests::gate::{self, Gate, eventually, tollgate};
use tollgate_tests::patient::Patient;

use crate::site::{CONNECT, vip_v4};

const PORT: u16 = 7000;
const WAYS: [(&str, u8); 3] = [("ipip", 44), ("gue", 45), ("l2", 46)];

struct Yard {
    client: Host,
    node: Host,
    backends: [Host; 2],
    _patients: Vec<Patient>,
    directory: TempDir,
    _lab: Lab,
}

impl Yard {
    /// Backends that answer at every address of theirs, and take tunnels.
    fn lay(via: &str) -> Self {
        let directory = gate::folder("health");
        let mut lab = Lab::new().unwrap();
        let node = lab.node("node", Path::new(BPFFS)).unwrap();
        let backends = ["first", "second"].map(|name| lab.node(name, Path::new(BPFFS)).unwrap());
        let client = lab.host("client").unwrap();
        client.on_link(Prefix::new(vip_v4(0), 24)).unwrap();
        let mut patients = Vec::new();
        for backend in &backends {
            for (_, last) in WAYS {
                backend.hold_vip(vip_v4(last)).unwrap();
            }
            let ns = Arc::clone(&backend.ns);
            let listen = move || {
                ns.run(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)))
                    .map_err(std::io::Error::other)?
            };
            patients.push(Patient::start(&backend.v4.to_string(), listen).unwrap());
        }
        let folder = directory.path().display();
        let listed = backends
            .each_ref()
            .map(|one| format!("{{ address: {} }}", one.v4));
        let services = WAYS.map(|(deliver, last)| {
            format!(
                "    - {{ name: {deliver}, vip: \"{}:{PORT}/tcp\", deliver: {deliver}, backends: [{}], health: {{ path: /healthz, {via} interval: 100ms, timeout: 100ms, unhealthy: 3, healthy: 2, slow_start: 0s }} }}\n",
                vip_v4(last),
                listed.join(", "),
            )
        });
        // The node answers for the VIPs, so to its kernel they are its own.
        let text = format!(
            "version: 1
admin: {{ socket: {folder}/admin.sock, listen: \"127.0.0.1:9901\" }}
datapath:
  interfaces: [{UPLINK}]
  xdp: native
  bpffs: {BPFFS}/tollgate
  announce: neighbour
  services:
{}",
            services.concat(),
        );
        fs::write(directory.path().join("tollgate.yaml"), text).unwrap();
        let yard = Self {
            client,
            node,
            backends,
            _patients: patients,
            directory,
            _lab: lab,
        };
        for backend in &yard.backends {
            yard.take_tunnels(backend);
        }
        yard
    }

    fn take_tunnels(&self, backend: &Host) {
        self.decap(backend, &["--interface", UPLINK, "--vip", "203.0.113.0/24"]);
    }

    fn decap(&self, backend: &Host, arguments: &[&str]) {
        let output = tollgate(Some(&backend.ns), &[&["decap"], arguments].concat());
        assert!(output.status.success(), "{output:?}");
    }

    fn open(&self) -> Gate {
        Gate::start(gate::launch_on(&self.node, self.directory.path()))
    }

    fn until(&self, gate: &Gate, way: &str, backend: &Host, state: &str) -> Value {
        eventually(&format!("{way} {state}"), || {
            let member = known(gate, way, backend);
            if member["state"] == state {
                Ok(member)
            } else {
                Err(format!("{member:#}"))
            }
        })
    }

    fn connects(&self, from: &Host, to: IpAddr) -> bool {
        let address = SocketAddr::new(to, PORT);
        let connect = || TcpStream::connect_timeout(&address, CONNECT).is_ok();
        from.ns.run(connect).unwrap()
    }
}

fn known(gate: &Gate, way: &str, backend: &Host) -> Value {
    let status = gate.status();
    let groups = status["health"].as_array().unwrap().iter();
    let group = groups.into_iter().find(|one| one["name"] == way).unwrap();
    let mut members = group["members"].as_array().unwrap().iter();
    let address = backend.v4.to_string();
    members
        .find(|one| one["address"] == address)
        .unwrap_or_else(|| panic!("{status:#}"))
        .clone()
}

#[test]
fn broken_decapsulation_is_found_though_the_backend_answers_itself() {
    let yard = Yard::lay("");
    let gate = yard.open();
    for (way, _) in WAYS {
        for backend in &yard.backends {
            let _up = yard.until(&gate, way, backend, "up");
        }
    }
    let broken = &yard.backends[0];
    yard.decap(broken, &["--down"]);
    for way in ["ipip", "gue"] {
        let down = yard.until(&gate, way, broken, "down");
        println!("{way}: {}", down["last_failure"]["why"]);
        assert_eq!(known(&gate, way, &yard.backends[1])["state"], "up");
    }
    assert_eq!(known(&gate, "l2", broken)["state"], "up");
    assert!(yard.connects(&yard.node, broken.v4.into()));
    for (way, last) in WAYS {
        eventually("clients reach who is left", || {
            let all = (0..20).all(|_| yard.connects(&yard.client, vip_v4(last)));
            if all { Ok(()) } else { Err(way) }
        });
    }
    yard.take_tunnels(broken);
    for way in ["ipip", "gue"] {
        let _up = yard.until(&gate, way, broken, "up");
    }
}

#[test]
fn a_check_of_the_backends_own_address_does_not_see_it() {
    let yard = Yard::lay("via: direct,");
    let gate = yard.open();
    for (way, _) in WAYS {
        for backend in &yard.backends {
            let _up = yard.until(&gate, way, backend, "up");
        }
    }
    let broken = &yard.backends[0];
    yard.decap(broken, &["--down"]);
    let passed = |member: &Value| member["passed"].as_u64().unwrap();
    let before = passed(&known(&gate, "ipip", broken));
    eventually("more checks", || {
        let member = known(&gate, "ipip", broken);
        assert_eq!(member["state"], "up", "{member:#}");
        let more = passed(&member) - before;
        if more >= 5 { Ok(()) } else { Err(more) }
    });
}

#[test]
fn a_check_whose_mark_was_taken_off_says_nothing_of_the_backend() {
    let yard = Yard::lay("");
    let gate = yard.open();
    for (way, _) in WAYS {
        for backend in &yard.backends {
            let _up = yard.until(&gate, way, backend, "up");
        }
    }
    // The host's own rules want marks for themselves.
    let rules = format!(
        "table ip marks {{ chain out {{ type filter hook output priority 0; tcp dport {PORT} meta mark set 0; }}; }}"
    );
    let file = yard.directory.path().join("marks.nft");
    fs::write(&file, rules).unwrap();
    let _said = gate::printed(&yard.node.ns, "nft", &["-f", file.to_str().unwrap()]);
    let broken = &yard.backends[0];
    let own = |member: &Value| member["failed"]["own"].as_u64().unwrap_or(0);
    for (way, _) in WAYS {
        eventually("checks that say nothing", || {
            let member = known(&gate, way, broken);
            if own(&member) >= 5 {
                Ok(())
            } else {
                Err(format!("{member:#}"))
            }
        });
        let member = known(&gate, way, broken);
        assert_eq!(member["state"], "up", "{member:#}");
        assert!(
            member.to_string().contains("did not go by the VIP"),
            "{member:#}"
        );
    }
    let _said = gate::printed(&yard.node.ns, "nft", &["delete", "table", "ip", "marks"]);
    let passed = |member: &Value| member["passed"].as_u64().unwrap();
    for (way, _) in WAYS {
        let before = passed(&known(&gate, way, broken));
        eventually("checks that pass", || {
            let now = passed(&known(&gate, way, broken));
            if now >= before + 5 { Ok(()) } else { Err(now) }
        });
    }
}

/// A device takes so many programs at TC and no more; others have them all, until they go.
#[test]
fn what_could_not_be_attached_at_first_is_tried_again() {
    let lacks_tcx = |one: &Feature| one.name == "tcx" && one.there == Some(false);
    if features::probe().iter().any(lacks_tcx) {
        println!("this kernel has filters for it, which there is always a place for");
        return;
    }
    let yard = Yard::lay("");
    static NONE: Tables = Tables::zero();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let others = yard.node.ns.run(|| {
        runtime.block_on(async {
            let mut all = Vec::new();
            loop {
                let mut checks = Checks::load().unwrap();
                if let Err(error) = checks.attach(&[UPLINK.to_owned()], &NONE).await {
                    println!("{} are all: {error:?}", all.len());
                    return all;
                }
                all.push(checks);
            }
        })
    });
    let gate = yard.open();
    let members = || WAYS.map(|(way, _)| known(&gate, way, &yard.backends[0]));
    eventually("checks that say nothing", || {
        let members = members();
        let own = |member: &Value| member["failed"]["own"].as_u64() >= Some(3);
        if members.iter().all(own) {
            Ok(())
        } else {
            Err(format!("{members:#?}"))
        }
    });
    for member in members() {
        assert_eq!(member["passed"], 0, "{member:#}");
    }
    drop(others.unwrap());
    eventually("checks that pass", || {
        let members = members();
        let passed = |member: &Value| member["passed"].as_u64() >= Some(3);
        if members.iter().all(passed) {
            Ok(())
        } else {
            Err(format!("{members:#?}"))
        }
    });
}

#[test]
fn what_was_turned_is_left_alone_by_another_daemons_programs() {
    let yard = Yard::lay("");
    static NONE: Tables = Tables::zero();
    // They stand behind the daemon's, which come first, and know its marks by other ways.
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let programs = yard.node.ns.run(|| {
        runtime.block_on(async {
            let checked: Vec<Checked> = (1..=16)
                .map(|entry| Checked {
                    entry,
                    vip: Ipv4Addr::new(198, 18, 0, 1),
                    backend: Ipv4Addr::new(198, 18, 0, 2),
                    kind: Kind::L2,
                })
                .collect();
            let mut checks = Checks::load().unwrap();
            checks.know(&checked, 103, Tunnel::default()).unwrap();
            checks.attach(&[UPLINK.to_owned()], &NONE).await.unwrap();
            checks
        })
    });
    let gate = yard.open();
    for (way, _) in WAYS {
        for backend in &yard.backends {
            eventually("checks that pass", || {
                let member = known(&gate, way, backend);
                if member["passed"].as_u64() >= Some(3) {
                    Ok(())
                } else {
                    Err(format!("{member:#}"))
                }
            });
        }
    }
    drop(programs.unwrap());
}
