//! Backends that are gone, hang or fail lose their connections to nobody but themselves, and come back in steps.

use std::collections::BTreeMap;
use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Instant;

use serde_json::Value;
use tollgate::demo::lab::{Host, Netns};
use tollgate_tests::gate::{Gate, eventually};
use tollgate_tests::patient::Patient;

use crate::balance::answers;
use crate::site::{DATABASE_V4, Site};

/// Where backends are asked how they are.
const PORT: u16 = 8081;
const PACE: &str = "interval: 100ms, timeout: 100ms, unhealthy: 3, healthy: 2, slow_start: 600ms";
const HELD: usize = 200;

/// The backends' health, at addresses of their own.
fn patients(site: &Site) -> Vec<Patient> {
    let each = site.databases.iter();
    each.map(|database| patient(&database.host)).collect()
}

fn patient(host: &Host) -> Patient {
    let (ns, address) = (Arc::clone(&host.ns), SocketAddr::from((host.v4, PORT)));
    Patient::start("health", move || bind(&ns, address)).unwrap()
}

fn bind(ns: &Arc<Netns>, address: SocketAddr) -> std::io::Result<TcpListener> {
    ns.run(|| TcpListener::bind(address))
        .map_err(std::io::Error::other)?
}

/// Lets the database's backends be checked.
fn configure(site: &Site, health: &str) {
    let text = fs::read_to_string(site.config()).unwrap();
    let service = "vip: \"203.0.113.20:5432/tcp\", deliver: l2,";
    assert_eq!(text.matches(service).count(), 1);
    let checked = format!("{service} health: {{ {health} }},");
    fs::write(site.config(), text.replace(service, &checked)).unwrap();
}

fn known(gate: &Gate, host: &Host) -> Value {
    let status = gate.status();
    let mut members = status["health"][0]["members"].as_array().unwrap().iter();
    let address = host.v4.to_string();
    let member = members.find(|one| one["address"] == address);
    member.unwrap_or_else(|| panic!("{status:#}")).clone()
}

fn until(gate: &Gate, host: &Host, state: &str) -> Value {
    eventually(state, || {
        let member = known(gate, host);
        if member["state"] == state {
            Ok(member)
        } else {
            Err(format!("{member:#}"))
        }
    })
}

fn count(member: &Value, what: &str) -> u64 {
    let failed = || member["failed"].as_object().unwrap().values();
    match what {
        "failed" => failed().filter_map(Value::as_u64).sum(),
        _ => member[what].as_u64().unwrap(),
    }
}

/// Connections with the name of who answers.
fn connect(site: &Site, connections: usize) -> Vec<(TcpStream, String)> {
    let each = (0..connections).map(|_| site.database(DATABASE_V4).unwrap());
    each.collect()
}

fn by_name(connections: &[(TcpStream, String)]) -> BTreeMap<&str, usize> {
    let mut names = BTreeMap::new();
    for (_, name) in connections {
        *names.entry(name.as_str()).or_default() += 1;
    }
    names
}

fn all_answer(connections: &mut [(TcpStream, String)], except: &str) {
    let others = connections.iter_mut().filter(|(_, name)| name != except);
    for (stream, name) in others {
        answers(stream).unwrap_or_else(|error| panic!("a connection to {name}: {error}"));
    }
}

type Illness = (&'static str, fn(&mut Patient), &'static str);

#[test]
fn a_backend_that_falls_is_out_within_its_thresholds_and_harms_no_other() {
    let site = Site::lay();
    let mut patients = patients(&site);
    configure(
        &site,
        &format!("path: /healthz, port: {PORT}, via: direct, {PACE}"),
    );
    let gate = site.open();
    for database in &site.databases {
        let _up = until(&gate, &database.host, "up");
    }
    let mut held = connect(&site, HELD);
    let illnesses: [Illness; 3] = [
        ("gone", Patient::leave, "refused"),
        ("hung", |patient| patient.hang(), "answer_timeout"),
        ("500", |patient| patient.answer(500), "status"),
    ];
    for (at, (what, fall, word)) in illnesses.into_iter().enumerate() {
        let database = &site.databases[at];
        let name = database.name.as_str();
        let failed_before = count(&known(&gate, &database.host), "failed");
        let began = Instant::now();
        fall(&mut patients[at]);
        let down = eventually("down", || {
            let member = known(&gate, &database.host);
            let is_down = member["state"] == "down";
            let failed = count(&member, "failed") - failed_before;
            assert_eq!(is_down, failed >= 3, "{member:#}");
            if is_down { Ok(member) } else { Err(failed) }
        });
        let out = began.elapsed();
        assert!(down["failed"][word].as_u64() >= Some(3), "{down:#}");
        // The tables follow the status at once, or nearly.
        eventually("its slots are the others'", || {
            let names = connect(&site, 40);
            match by_name(&names).get(name) {
                None => Ok(()),
                Some(some) => Err(some.to_string()),
            }
        });
        let fresh = connect(&site, 100);
        assert!(!by_name(&fresh).contains_key(name), "{:?}", by_name(&fresh));
        all_answer(&mut held, name);
        held.retain(|(_, of)| of != name);
        held.extend(fresh);

        let passed_before = count(&known(&gate, &database.host), "passed");
        let began = Instant::now();
        patients[at].recover().unwrap();
        let back = eventually("back", || {
            let member = known(&gate, &database.host);
            let is_back = member["state"] != "down";
            let passed = count(&member, "passed") - passed_before;
            assert_eq!(is_back, passed >= 2, "{member:#}");
            if is_back { Ok(member) } else { Err(passed) }
        });
        let first = began.elapsed();
        let up = until(&gate, &database.host, "up");
        println!(
            "{what}: out after {out:?}, back with {} of its share after {first:?}, with all after {:?}",
            back["share"],
            began.elapsed(),
        );
        assert_eq!(up["share"], 1.0);
        eventually("it gets connections", || {
            let names = connect(&site, 40);
            by_name(&names).get(name).copied().ok_or("none")
        });
        all_answer(&mut held, "");
    }
}

#[test]
fn a_daemon_that_starts_knows_who_was_down_and_moves_nothing() {
    let site = Site::lay();
    let mut patients = patients(&site);
    configure(
        &site,
        &format!("path: /healthz, port: {PORT}, via: direct, {PACE}"),
    );
    let gate = site.open();
    let first = &site.databases[0];
    for database in &site.databases {
        let _up = until(&gate, &database.host, "up");
    }
    patients[0].leave();
    let _down = until(&gate, &first.host, "down");
    let names = |site: &Site| by_name(&connect(site, 40)).contains_key("db-1");
    eventually("its slots are the others'", || {
        if names(&site) { Err("not yet") } else { Ok(()) }
    });
    let mut held = connect(&site, HELD);
    let id = gate.service("database")["backends"][0]["id"].clone();
    let moving = gate.service("database")["slots"].clone();

    gate.kill();
    assert!(!names(&site), "the kernel goes on without a daemon");
    // It is well again, and that takes as many checks as ever.
    patients[0].recover().unwrap();
    let gate = site.open();
    let member = known(&gate, &first.host);
    assert_eq!(
        member["state"] == "down",
        count(&member, "passed") < 2,
        "{member:#}"
    );
    if member["state"] == "down" {
        assert_eq!(gate.service("database")["slots"], moving);
    }
    all_answer(&mut held, "");
    let _up = until(&gate, &first.host, "up");
    assert_eq!(gate.service("database")["backends"][0]["id"], id);
    eventually("it gets connections", || {
        if names(&site) { Ok(()) } else { Err("none") }
    });
    all_answer(&mut held, "");
}
