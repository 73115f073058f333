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
use tollgate::demo::lab::{Process, in_path, tethered};
use tollgate_tests::client::{Request, read_reply};
use tollgate_tests::gate::{binary, eventually, tollgate};
use tollgate_tests::supervised::Supervisor;

use crate::handover::looks_after_the_kernel;
use crate::site::{API_HOST, API_V4, DATABASE_V4, DATABASE_V6, Site, vip_v4, vip_v6};

/// Threads that open connections to the API.
const CLIENTS: usize = 4;
/// Connections with data that begin before a change of the backends, and as many after it; half of each family.
const STREAMS: usize = 100;
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
                    let more = asked.load(Ordering::Relaxed) > asked_before + 200
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
            },
            [build(&this, false); 2],
        ),
        Some(next) => under_traffic(
            &Plan {
                restarts: 10,
                upgrades: 10,
                kills: 3,
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
    // A program that ends without a word.
    fs::remove_file(&installed).unwrap();
    fs::write(&installed, "#!/bin/sh\nexit 3\n").unwrap();
    let executable = fs::metadata(binary()).unwrap().permissions();
    fs::set_permissions(&installed, executable).unwrap();
    fails(good.clone(), "ended with exit status: 3");
    assert_eq!(daemon.main(), old);
    site.database(DATABASE_V4).unwrap();
}

/// A daemon that is the first process of a container.
struct Container {
    directory: tempfile::TempDir,
    process: Process,
}

impl Container {
    fn start(upstream: SocketAddr) -> Self {
        tollgate_tests::gate::require_rights();
        let directory = tempfile::tempdir().unwrap();
        let config = directory.path().join("tollgate.yaml");
        let text = format!(
            "version: 1\nadmin: {{ socket: \"{}\" }}\nlisteners:\n  edge:\n    listen: \"127.0.0.1:0\"\n    plaintext: true\n    routes:\n      - {{ name: all, match: {{ path: / }}, token: none, upstream: api }}\nupstreams:\n  api: {{ endpoints: [\"{upstream}\"], protocol: http1 }}\n",
            directory.path().join("admin.sock").display()
        );
        fs::write(&config, text).unwrap();
        let log = fs::File::create(directory.path().join("daemon.log")).unwrap();
        let mut command = tethered(&in_path("unshare").expect("util-linux"));
        command
            .args(["--pid", "--fork", "--kill-child", "--mount-proc"])
            .arg(binary())
            .args(["run", "--config"])
            .arg(&config)
            .stdin(std::process::Stdio::null())
            .stderr(log);
        let process = Process::spawn(&mut command).unwrap();
        let this = Self { directory, process };
        eventually("the first daemon", || match this.pid()? {
            1 => Ok(()),
            other => Err(format!("process {other}")),
        });
        this
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("admin.sock")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("daemon.log")).unwrap()
    }

    fn status(&self) -> Result<Value, String> {
        let socket = self.socket();
        let output = tollgate(
            None,
            &["status", "--json", "--admin", socket.to_str().unwrap()],
        );
        serde_json::from_slice(&output.stdout).map_err(|error| format!("{error}: {output:?}"))
    }

    /// The daemon that serves, as the container numbers it.
    fn pid(&self) -> Result<u64, String> {
        let status = self.status()?;
        status["pid"].as_u64().ok_or_else(|| format!("{status}"))
    }

    fn upgrade(&self) {
        let socket = self.socket();
        let output = tollgate(None, &["upgrade", "--admin", socket.to_str().unwrap()]);
        assert!(output.status.success(), "{output:?}\n{}", self.log());
    }

    /// Asks for an upgrade, and hangs up as soon as it has begun.
    fn upgrade_and_hang_up(&self) {
        let begun = || self.log().matches("upgrading").count();
        let before = begun();
        let mut stream = std::os::unix::net::UnixStream::connect(self.socket()).unwrap();
        stream
            .write_all(b"POST /upgrade HTTP/1.1\r\nhost: tollgate\r\ncontent-length: 0\r\n\r\n")
            .unwrap();
        eventually("an upgrade", || match begun() {
            now if now > before => Ok(()),
            _ => Err(self.log()),
        });
    }

    fn terminate(&self) {
        let outer = self.process.id();
        let children = fs::read_to_string(format!("/proc/{outer}/task/{outer}/children")).unwrap();
        let first: i32 = children.trim().parse().unwrap();
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(first), Signal::SIGTERM).unwrap();
    }
}

/// The first process of a container ends with the last daemon, not with itself.
#[test]
fn process_1_stays_for_those_who_came_after_it() {
    let mut container = Container::start(SocketAddr::from(([127, 0, 0, 1], 9)));
    let mut pids = vec![1];
    // Whoever is upgraded to ends as well when it is upgraded from, and leaves its successor to process 1.
    for is_heard in [false, true, false] {
        if is_heard {
            container.upgrade();
        } else {
            container.upgrade_and_hang_up();
        }
        let before = pids.last().copied();
        pids.push(eventually("the next daemon", || match container.pid()? {
            pid if Some(pid) == before => Err(format!("process {pid}")),
            pid => Ok(pid),
        }));
    }
    assert!(container.process.ended().unwrap().is_none());
    container.terminate();
    let status = container.process.wait(PATIENCE).unwrap();
    assert!(status.success(), "{status}");
    assert!(
        !container.socket().exists(),
        "the daemon did not end by itself"
    );
}

/// Process 1 still has a request when it is told to end: the daemon that took over hears of it, and both finish.
#[test]
fn process_1_hands_signals_on_while_it_drains() {
    let upstream = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut container = Container::start(upstream.local_addr().unwrap());
    let status = container.status().unwrap();
    let address = &status["listeners"][0]["address"];
    let address: SocketAddr = address.as_str().unwrap().parse().unwrap();
    let mut client = TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client
        .write_all(b"GET / HTTP/1.1\r\nhost: a.example\r\nconnection: close\r\n\r\n")
        .unwrap();
    let (mut held, _) = upstream.accept().unwrap();
    container.upgrade();
    eventually("the next daemon", || match container.pid()? {
        1 => Err("process 1".to_owned()),
        _ => Ok(()),
    });
    container.terminate();
    eventually("the next daemon's end", || {
        if container.socket().exists() {
            Err(container.log())
        } else {
            Ok(())
        }
    });
    assert!(container.process.ended().unwrap().is_none());
    held.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nkept")
        .unwrap();
    let mut text = String::new();
    client.read_to_string(&mut text).unwrap();
    assert!(text.ends_with("kept"), "{text:?}\n{}", container.log());
    let status = container.process.wait(PATIENCE).unwrap();
    assert!(status.success(), "{status}\n{}", container.log());
}
