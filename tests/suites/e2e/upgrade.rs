//! Restarts, upgrades and deaths under traffic: what is lost, which is nothing but what a killed process had in its hands.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;
use tollgate_tests::client::{Request, read_reply};
use tollgate_tests::gate::{binary, eventually, tollgate};
use tollgate_tests::supervised::Supervisor;

use crate::handover::looks_after_the_kernel;
use crate::site::{API_HOST, API_V4, DATABASE_V4, DATABASE_V6, Site, vip_v4, vip_v6};

/// Threads that open connections to the API.
const CLIENTS: usize = 8;
/// Connections with data that begin before a change of the backends, and as many after it; half of each family.
const STREAMS: usize = 100;
/// How often each stream is used.
const BEAT: Duration = Duration::from_millis(50);
/// How long a request may take: longer than any daemon needs to start.
const PATIENCE: Duration = Duration::from_secs(15);

/// One of the binaries, and whether it is the one that knows a key more.
#[derive(Clone, Copy)]
struct Build<'p> {
    path: &'p Path,
    is_next: bool,
}

impl Build<'_> {
    /// Puts it where the daemon is started from, with a configuration of its own.
    fn install(self, site: &Site, to: &Path) {
        const KEY: &str = "next: true\n";
        let text = fs::read_to_string(site.config()).unwrap().replace(KEY, "");
        let key = if self.is_next { KEY } else { "" };
        fs::write(site.config(), text + key).unwrap();
        install(self.path, to);
    }
}

/// What is done to the daemon, so often.
struct Plan {
    restarts: usize,
    upgrades: usize,
    kills: usize,
    /// Requests that go through between two changes.
    requests: u64,
}

/// Adds a listener without TLS, as a steered service of both families: handshakes would be all that is measured.
fn with_plain(site: &Site) {
    let text = fs::read_to_string(site.config()).unwrap();
    let listener = "listeners:\n  plain:\n    listen: \"[::]:8081\"\n    plaintext: true\n    routes:\n      - { name: ping, match: { path: { exact: /ping } }, token: none, upstream: api }\n";
    let services = "  services:\n    - { name: plain, vip: \"203.0.113.10:80/tcp\", deliver: { listener: plain } }\n    - { name: plain-v6, vip: \"[2001:db8:113::10]:80/tcp\", deliver: { listener: plain } }\n";
    let text = text
        .replace("listeners:\n", listener)
        .replace("  services:\n", services)
        .replace("version: 1\n", "version: 1\nworkers: 2\n");
    fs::write(site.config(), text).unwrap();
}

fn folder(site: &Site) -> PathBuf {
    site.config().parent().unwrap().to_owned()
}

fn admin(site: &Site) -> String {
    folder(site).join("admin.sock").to_str().unwrap().to_owned()
}

fn status(site: &Site) -> Value {
    let output = tollgate(None, &["status", "--json", "--admin", &admin(site)]);
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {output:?}\n{}", log(site)))
}

fn log(site: &Site) -> String {
    fs::read_to_string(folder(site).join("daemon.log")).unwrap_or_default()
}

/// `tollgate upgrade --json`: its exit code and its answer.
fn upgrade(site: &Site) -> (i32, Value) {
    let output = tollgate(None, &["upgrade", "--json", "--admin", &admin(site)]);
    let answer = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {output:?}\n{}", log(site)));
    (output.status.code().unwrap(), answer)
}

/// Puts a binary where the daemon is started from.
fn install(from: &Path, to: &Path) {
    let next = to.with_extension("next");
    fs::copy(from, &next).unwrap();
    fs::rename(&next, to).unwrap();
}

/// A request that went wrong: when it began, when that was known, and what was.
struct Lost {
    began: Instant,
    ended: Instant,
    what: String,
}

/// Asks once over a connection of its own.
fn ask(address: SocketAddr) -> io::Result<()> {
    let step = |what: &'static str| {
        move |error: io::Error| io::Error::new(error.kind(), format!("{what}: {error}"))
    };
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE).map_err(step("connect"))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream
        .write_all(b"GET /ping HTTP/1.1\r\nhost: api.example.com\r\nconnection: close\r\n\r\n")
        .map_err(step("write"))?;
    let mut text = Vec::new();
    stream.read_to_end(&mut text).map_err(step("read"))?;
    if !text.starts_with(b"HTTP/1.1 200 ") {
        let text = String::from_utf8_lossy(&text).into_owned();
        return Err(io::Error::other(format!("answered {text:?}")));
    }
    Ok(())
}

/// One byte there and back.
fn beat(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(b"x")?;
    stream.read_exact(&mut [0])
}

/// Streams to all databases, in slots that have settled and in such that move: those that began before, and those since.
fn streams(site: &Site) -> Vec<TcpStream> {
    let open = |count: usize| {
        let both = [DATABASE_V4, DATABASE_V6].into_iter();
        let both = both.flat_map(move |vip| std::iter::repeat_n(vip, count / 2));
        both.map(|vip| site.database(vip).unwrap().0)
    };
    let mut streams: Vec<TcpStream> = open(STREAMS).collect();
    // Half of the slots change hands, and move from now on.
    site.configure(&["db-1", "db-2", "db-3", "db-4"]);
    with_plain(site);
    let reload = tollgate(None, &["reload", "--admin", &admin(site)]);
    assert!(reload.status.success(), "{reload:?}\n{}", log(site));
    streams.extend(open(STREAMS));
    let services = status(site)["datapath"]["services"].clone();
    let moving = |name: &str| {
        let mut services = services.as_array().unwrap().iter();
        let service = services.find(|one| one["name"] == name).unwrap();
        service["slots"]["moving"].as_u64().unwrap()
    };
    assert!(moving("database") > 1_000 && moving("database-v6") > 1_000);
    streams
}

fn under_traffic(plan: &Plan, builds: [Build<'_>; 2]) {
    let site = Site::lay();
    site.configure(&["db-1", "db-2"]);
    with_plain(&site);
    let installed = folder(&site).join("tollgate");
    builds[0].install(&site, &installed);
    let place = std::sync::Arc::clone(&site.node.ns);
    let mut daemon = Supervisor::new(&folder(&site), &site.config(), Some(place), true);
    daemon.start(&installed);
    assert_eq!(daemon.kept().len(), 4, "two sockets of two listeners each");

    let mut streams = streams(&site);
    let done = AtomicBool::new(false);
    let (asked, beats) = (AtomicU64::new(0), AtomicU64::new(0));
    let lost = Mutex::new(Vec::new());
    let mut dark = Vec::new();
    let began = Instant::now();
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (site, done, asked, lost) = (&site, &done, &asked, &lost);
            let ip = if client % 2 == 0 {
                vip_v4(10)
            } else {
                vip_v6(0x10)
            };
            scope.spawn(move || {
                let work = || {
                    while !done.load(Ordering::Relaxed) {
                        let began = Instant::now();
                        if let Err(error) = ask(SocketAddr::new(ip, 80)) {
                            lost.lock().unwrap().push(Lost {
                                began,
                                ended: Instant::now(),
                                what: error.to_string(),
                            });
                        }
                        asked.fetch_add(1, Ordering::Relaxed);
                    }
                };
                site.client.ns.run(work).unwrap();
            });
        }
        let (done, beats) = (&done, &beats);
        let beating = scope.spawn(move || {
            while !done.load(Ordering::Relaxed) {
                for (number, stream) in streams.iter_mut().enumerate() {
                    beat(stream).unwrap_or_else(|error| panic!("stream {number}: {error}"));
                    beats.fetch_add(1, Ordering::Relaxed);
                }
                // The machine is for the connections.
                thread::sleep(BEAT);
            }
        });
        let change = || {
            let most = plan.restarts.max(plan.upgrades).max(plan.kills);
            let mut number = 0;
            let mut next = || {
                number += 1;
                builds[number % 2]
            };
            for round in 0..most {
                if round < plan.restarts {
                    // Every second one is of another build.
                    if round % 2 == 1 {
                        next().install(&site, &installed);
                    }
                    daemon.restart(&installed);
                }
                if round < plan.upgrades {
                    next().install(&site, &installed);
                    let before = daemon.main();
                    let (code, answer) = upgrade(&site);
                    assert_eq!(code, 0, "{answer:#}\n{}", log(&site));
                    eventually("the supervisor to know", || match daemon.main() {
                        main if main == before => Err(format!("{main}")),
                        _ => Ok(()),
                    });
                    assert_eq!(status(&site)["pid"], daemon.main());
                }
                if round < plan.kills {
                    let killed = Instant::now();
                    daemon.end(Signal::SIGKILL);
                    daemon.start(&installed);
                    dark.push((killed, Instant::now()));
                }
                // Something must go through each daemon.
                let (asked_before, beats_before) =
                    (asked.load(Ordering::Relaxed), beats.load(Ordering::Relaxed));
                eventually("traffic", || {
                    let more = asked.load(Ordering::Relaxed) > asked_before + plan.requests
                        && beats.load(Ordering::Relaxed) > beats_before + 400;
                    if more || beating.is_finished() {
                        Ok(())
                    } else {
                        Err("little".to_owned())
                    }
                });
            }
        };
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(change));
        done.store(true, Ordering::Relaxed);
        outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    let took = began.elapsed();
    let asked = asked.into_inner();
    let lost = lost.into_inner().unwrap();
    let excused = |one: &&Lost| {
        let mut dark = dark.iter();
        dark.any(|(killed, back)| one.began <= *back && one.ended >= *killed)
    };
    let (by_kills, others): (Vec<&Lost>, Vec<&Lost>) = lost.iter().partition(excused);
    let dark_for: Duration = dark.iter().map(|(killed, back)| *back - *killed).sum();
    println!(
        "{} restarts, {} upgrades, {} kills in {took:.1?}: {asked} requests by connections of their own ({:.0} a second), {} lost, all while a killed daemon was replaced ({dark_for:.1?} in all); {} streams, {} bytes there and back, none lost",
        plan.restarts,
        plan.upgrades,
        plan.kills,
        asked as f64 / took.as_secs_f64(),
        by_kills.len(),
        2 * STREAMS,
        beats.into_inner(),
    );
    for one in by_kills.iter().take(3) {
        println!("  while killed: {}", one.what);
    }
    let others: Vec<&str> = others.iter().map(|one| &*one.what).collect();
    assert!(
        others.is_empty(),
        "lost without a kill: {others:?}\n{}",
        log(&site)
    );
}

/// `TOLLGATE_NEXT_BIN` names a build with another version, layout and keys: then all of it, between that one and this.
#[test]
fn restarts_upgrades_and_kills_under_traffic() {
    let this = binary();
    let build = |path, is_next| Build { path, is_next };
    match std::env::var_os("TOLLGATE_NEXT_BIN") {
        None => under_traffic(
            &Plan {
                restarts: 2,
                upgrades: 3,
                kills: 1,
                requests: 200,
            },
            [build(&this, false); 2],
        ),
        Some(next) => under_traffic(
            &Plan {
                restarts: 10,
                upgrades: 10,
                kills: 3,
                requests: 4_000,
            },
            [build(&this, false), build(Path::new(&next), true)],
        ),
    }
}

#[test]
fn an_upgrade_lets_requests_in_flight_finish() {
    let site = Site::lay();
    let mut daemon = Supervisor::new(
        &folder(&site),
        &site.config(),
        Some(std::sync::Arc::clone(&site.node.ns)),
        true,
    );
    daemon.start(&binary());
    let old = daemon.main();
    let target = site.target(API_V4, API_HOST);
    let mut held = target.tls(&["http/1.1"]).unwrap();
    let request = Request::get("/orders?hold").bearer(&site.token("alice"));
    held.write_all(&request.to_h1(API_HOST)).unwrap();
    eventually("the held request at the API", || match site.echo.count() {
        1 => Ok(()),
        count => Err(format!("{count} requests")),
    });
    let (code, answer) = upgrade(&site);
    assert_eq!(code, 0, "{answer:#}\n{}", log(&site));
    assert_eq!(answer["from"], env!("CARGO_PKG_VERSION"));
    assert_ne!(answer["pid"], old);
    // The new one serves with the keys that it fetched before it took over, and the old one still has its request.
    let request = Request::get("/plain").bearer(&site.token("bob"));
    let reply = target.h1(&request).unwrap();
    assert_eq!(reply.status, 200, "{:?}", reply.body);
    assert!(Path::new(&format!("/proc/{old}")).exists());
    site.echo.release();
    let reply = read_reply(&mut held).unwrap();
    assert_eq!(reply.status, 200, "{:?}", reply.body);
    eventually("the old daemon's end", || {
        match fs::read_to_string(format!("/proc/{old}/stat")) {
            Ok(stat) if !stat.contains(") Z ") => Err(stat),
            _ => Ok(()),
        }
    });
    assert_eq!(status(&site)["datapath"]["adopted"], true);
}

/// Whatever goes wrong with the new one, the old one serves on, has the datapath and takes reloads.
#[test]
fn an_upgrade_that_fails_leaves_the_running_daemon_as_it_was() {
    let site = Site::lay();
    let mut daemon = Supervisor::new(
        &folder(&site),
        &site.config(),
        Some(std::sync::Arc::clone(&site.node.ns)),
        true,
    );
    let installed = folder(&site).join("tollgate");
    install(&binary(), &installed);
    daemon.start(&installed);
    let old = daemon.main();
    let good = fs::read_to_string(site.config()).unwrap();
    let request = Request::get("/ping");
    let target = site.target(API_V4, API_HOST);
    let fails = |text: String, said: &str| {
        fs::write(site.config(), text).unwrap();
        let (code, answer) = upgrade(&site);
        let why = answer["error"].as_str().unwrap();
        assert!(code == 1 && why.contains(said), "{why}\n{}", log(&site));
        assert_eq!(target.h1(&request).unwrap().status, 200);
        let status = status(&site);
        assert_eq!(status["pid"], old);
        assert_eq!(status["upgrade"]["last_error"].as_str(), Some(why));
        // Without a reload, which would mend what was not taken back.
        looks_after_the_kernel(&site);
        fs::write(site.config(), &good).unwrap();
        let reload = tollgate(None, &["reload", "--admin", &admin(&site)]);
        assert!(reload.status.success(), "{reload:?}\n{}", log(&site));
        assert_eq!(target.h1(&request).unwrap().status, 200);
    };
    // Before the datapath is handed over, and after.
    fails(
        good.replace("version: 1\n", "version: 1\nnonsense: true\n"),
        "nonsense",
    );
    fails(
        good.replace("interfaces: [eth0]", "interfaces: [eth7]"),
        "eth7",
    );
    // With the datapath in its hands: what it holds is free before the running one is told.
    let own = format!(
        "  services:\n    - {{ name: own, vip: \"{}:7/tcp\", deliver: {{ listener: edge }} }}\n",
        site.node.v4
    );
    fails(
        good.replace("  services:\n", &own),
        "this host's own address",
    );
    assert!(!log(&site).contains("was not taken back"), "{}", log(&site));
    // A program that ends without a word.
    fs::remove_file(&installed).unwrap();
    fs::write(&installed, "#!/bin/sh\nexit 3\n").unwrap();
    let executable = fs::metadata(binary()).unwrap().permissions();
    fs::set_permissions(&installed, executable).unwrap();
    fails(good.clone(), "ended with exit status: 3");
    assert_eq!(daemon.main(), old);
    site.database(DATABASE_V4).unwrap();
}
