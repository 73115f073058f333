//! Who may do what: the process that serves requests has no capability, the other one has what it needs; and all that wants rights
//! is done for all that.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::Path;
use std::sync::Arc;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tollgate::demo::lab::BPFFS;
use tollgate::demo::pki::Authority;
use tollgate_tests::client::{Request, Target};
use tollgate_tests::gate::{Gate, PATIENCE, binary, eventually, tollgate};
use tollgate_tests::supervised::Supervisor;

use crate::site::{API_HOST, API_V4, DATABASE_V4, Site};

/// Nobody's number.
const USER: u32 = 64_123;

/// A port that not everybody may bind.
const LOW: u16 = 81;

/// The lines of /proc/PID/status that tell what a thread may do.
#[derive(Debug, PartialEq, Eq)]
struct Thread {
    uid: String,
    gid: String,
    groups: String,
    /// Inheritable, permitted, effective, bounding, ambient.
    sets: [u64; 5],
    no_new_privileges: bool,
}

/// Of each thread of a process: capabilities belong to threads.
fn threads(pid: u64) -> Vec<Thread> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let of = |task: std::io::Result<fs::DirEntry>| {
        let text = fs::read_to_string(task.ok()?.path().join("status")).ok()?;
        let line = |key: &str| {
            let mut lines = text.lines();
            let line = lines.find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
            line.unwrap_or_else(|| panic!("{key}: {text}"))
                .trim()
                .to_owned()
        };
        let set = |key: &str| u64::from_str_radix(&line(key), 16).unwrap();
        Some(Thread {
            uid: line("Uid"),
            gid: line("Gid"),
            groups: line("Groups"),
            sets: ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"].map(set),
            no_new_privileges: line("NoNewPrivs") == "1",
        })
    };
    tasks.filter_map(of).collect()
}

/// The two processes, as status tells of them.
fn processes(status: &Value) -> [&Value; 2] {
    let of = |role: &str| {
        let mut all = status["processes"].as_array().unwrap().iter();
        all.find(|one| one["role"] == role)
            .unwrap_or_else(|| panic!("{status:#}"))
    };
    [of("serving"), of("privileged")]
}

fn pid(process: &Value) -> u64 {
    process["pid"]
        .as_u64()
        .unwrap_or_else(|| panic!("{process:#}"))
}

/// Both processes are as they should be, by the kernel's word and by their own.
fn are_split(status: &Value, uid: u32) {
    let [serving, privileged] = processes(status);
    assert_eq!(serving["pid"], status["pid"]);
    assert_eq!(serving["uid"], uid);
    assert_eq!(serving["capabilities"], Value::Array(Vec::new()));
    let all = threads(pid(serving));
    assert!(all.len() >= 3, "workers are threads: {all:#?}");
    for thread in all {
        let expected = Thread {
            uid: vec![uid.to_string(); 4].join("\t"),
            gid: vec![uid.to_string(); 4].join("\t"),
            groups: match uid {
                0 => thread.groups.clone(),
                _ => uid.to_string(),
            },
            sets: [0; 5],
            no_new_privileges: true,
        };
        assert_eq!(thread, expected);
    }
    let names: Vec<&str> = privileged["capabilities"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| {
            assert_ne!(one["purpose"], "nothing", "{one}");
            one["name"].as_str().unwrap()
        })
        .collect();
    for needed in ["CAP_BPF", "CAP_NET_ADMIN", "CAP_NET_BIND_SERVICE"] {
        assert!(names.contains(&needed), "{names:?}");
    }
    for never in [
        "CAP_SYS_ADMIN",
        "CAP_DAC_OVERRIDE",
        "CAP_SYS_PTRACE",
        "CAP_NET_RAW",
    ] {
        assert!(!names.contains(&never), "{names:?}");
    }
    for thread in threads(pid(privileged)) {
        let [_, permitted, effective, ..] = thread.sets;
        assert_eq!(permitted, effective);
        assert_eq!(permitted.count_ones() as usize, names.len());
    }
}

/// Puts a listener of its own at a port that wants rights.
fn with_low_port(site: &Site) {
    let text = fs::read_to_string(site.config()).unwrap();
    let listener = format!(
        "listeners:\n  low:\n    listen: \"127.0.0.1:{LOW}\"\n    plaintext: true\n    routes:\n      - {{ name: ping, match: {{ path: {{ exact: /ping }} }}, token: none, upstream: api }}\n"
    );
    fs::write(site.config(), text.replace("listeners:\n", &listener)).unwrap();
}

fn answers_at_low_port(site: &Site) {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, LOW)))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"GET /ping HTTP/1.1\r\nhost: a.example\r\nconnection: close\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    };
    let text = site.node.ns.run(ask).unwrap().unwrap();
    assert!(text.starts_with("HTTP/1.1 200 "), "port {LOW}: {text}");
}

fn folder(site: &Site) -> &Path {
    let config = site.config();
    // The site's own folder, which outlives this.
    Box::leak(config.parent().unwrap().to_owned().into_boxed_path())
}

/// The configuration names a user, and what that one is to read and write is its own.
fn serve_as_user(site: &Site) {
    let text = fs::read_to_string(site.config()).unwrap();
    let user = format!("version: 1\nuser: \"{USER}\"\n");
    fs::write(site.config(), text.replace("version: 1\n", &user)).unwrap();
    give_files(site);
}

fn give_files(site: &Site) {
    let folder = folder(site);
    for entry in fs::read_dir(folder).unwrap() {
        chown(entry.unwrap().path(), Some(USER), Some(USER)).unwrap();
    }
    chown(folder, Some(USER), Some(USER)).unwrap();
}

/// Reloads of backends, listeners and certificates.
fn all_can_be_changed(site: &Site, gate: &Gate, uid: u32) {
    let target = site.target(API_V4, API_HOST);
    let request = Request::get("/orders").bearer(&site.token("alice"));
    assert_eq!(target.h1(&request).unwrap().status, 200);
    // Backends.
    let name = site.database(DATABASE_V4).unwrap().1;
    let others: Vec<&str> = ["db-1", "db-2", "db-3", "db-4"]
        .into_iter()
        .filter(|one| **one != name)
        .collect();
    site.configure(&others);
    with_low_port(site);
    if uid != 0 {
        serve_as_user(site);
    }
    gate.reload();
    for _ in 0..20 {
        assert_ne!(site.database(DATABASE_V4).unwrap().1, name);
    }
    answers_at_low_port(site);
    // Certificates.
    let authority = Authority::new("another").unwrap();
    let pair = authority.leaf(&[API_HOST]).unwrap();
    pair.write(folder(site), "api").unwrap();
    if uid != 0 {
        give_files(site);
    }
    gate.reload();
    let error = target.h1(&request).unwrap_err();
    assert!(error.to_string().contains("certificate"), "{error}");
    let target = Target {
        ca: authority.pem(),
        ..target
    };
    assert_eq!(target.h1(&request).unwrap().status, 200);
}

#[test]
fn who_serves_requests_has_no_capability_and_all_can_be_changed() {
    let site = Site::lay();
    let gate = site.open();
    are_split(&gate.status(), 0);
    all_can_be_changed(&site, &gate, 0);
    are_split(&gate.status(), 0);
}

#[test]
fn who_serves_requests_is_another_user_if_one_is_named() {
    let site = Site::lay();
    serve_as_user(&site);
    let gate = site.open();
    are_split(&gate.status(), USER);
    // Its socket is its own, and nobody else's.
    let socket = fs::metadata(folder(&site).join("admin.sock")).unwrap();
    assert_eq!(
        (socket.uid(), socket.permissions().mode() & 0o777),
        (USER, 0o600)
    );
    all_can_be_changed(&site, &gate, USER);
    // Another user is another process.
    let text = fs::read_to_string(site.config()).unwrap();
    let other = text.replace(&USER.to_string(), "64124");
    fs::write(site.config(), other).unwrap();
    gate.signal(Signal::SIGHUP);
    let why = eventually("a refusal", || {
        let error = gate.status()["configuration"]["last_error"].clone();
        match error.as_str() {
            Some(why) => Ok(why.to_owned()),
            None => Err("none"),
        }
    });
    assert!(why.contains("`user` changed"), "{why}");
}

#[test]
fn both_processes_are_replaced_by_an_upgrade_and_end_with_a_kill() {
    let site = Site::lay();
    serve_as_user(&site);
    let place = Some(Arc::clone(&site.node.ns));
    let mut daemon = Supervisor::new(folder(&site), &site.config(), place, true);
    daemon.start(&binary());
    let admin = folder(&site).join("admin.sock");
    let admin = admin.to_str().unwrap();
    let status = || -> Value {
        let output = tollgate(None, &["status", "--json", "--admin", admin]);
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
    };
    let are_gone = |pids: [u64; 2]| {
        for pid in pids {
            eventually("its end", || {
                match fs::read_to_string(format!("/proc/{pid}/stat")) {
                    Ok(stat) if !stat.contains(") Z ") => Err(stat),
                    _ => Ok(()),
                }
            });
        }
    };
    let before = status();
    are_split(&before, USER);
    for _ in 0..2 {
        let before = processes(&status()).map(pid);
        let output = tollgate(None, &["upgrade", "--admin", admin]);
        assert!(output.status.success(), "{output:?}");
        are_gone(before);
        let now = status();
        are_split(&now, USER);
        assert!(
            processes(&now)
                .map(pid)
                .iter()
                .all(|pid| !before.contains(pid))
        );
        site.database(DATABASE_V4).unwrap();
    }
    let killed = processes(&status()).map(pid);
    daemon.end(Signal::SIGKILL);
    are_gone(killed);
    daemon.start(&binary());
    let now = status();
    assert_eq!(now["datapath"]["adopted"], true);
    are_split(&now, USER);
}

/// As a unit of systemd has it with `User=` and `AmbientCapabilities=`: nothing here is root's.
#[test]
fn a_daemon_that_is_never_root_needs_four_capabilities() {
    let site = Site::lay_routed();
    give_files(&site);
    site.node
        .ns
        .run(|| chown(BPFFS, Some(USER), Some(USER)))
        .unwrap()
        .unwrap();
    let launcher = folder(&site).join("as-user");
    let caps = "+bpf,+perfmon,+net_admin,+net_bind_service";
    let line = format!(
        "#!/bin/sh\nexec setpriv --reuid {USER} --regid {USER} --clear-groups --inh-caps=-all,{caps} --ambient-caps=-all,{caps} --bounding-set=-all,{caps} {} \"$@\"\n",
        binary().display()
    );
    fs::write(&launcher, line).unwrap();
    fs::set_permissions(&launcher, fs::Permissions::from_mode(0o755)).unwrap();
    let launch = tollgate::demo::daemon::Launch {
        binary: launcher,
        ..site.launch()
    };
    let gate = Gate::start(launch);
    let status = gate.status();
    let [serving, privileged] = processes(&status);
    assert_eq!(
        (&serving["uid"], &privileged["uid"]),
        (&USER.into(), &USER.into())
    );
    for thread in threads(pid(serving)) {
        let [inheritable, permitted, effective, _, ambient] = thread.sets;
        assert_eq!([inheritable, permitted, effective, ambient], [0; 4]);
        assert!(thread.no_new_privileges);
    }
    assert_eq!(privileged["capabilities"].as_array().unwrap().len(), 4);
    all_can_be_changed(&site, &gate, 0);
    let admin = folder(&site).join("admin.sock");
    let output = tollgate(None, &["upgrade", "--admin", admin.to_str().unwrap()]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(gate.status()["datapath"]["adopted"], true);
}

/// Nothing that runs depends on it; what it would have to change is refused, and says why.
#[test]
fn what_runs_goes_on_without_the_privileged_process() {
    let site = Site::lay();
    let mut gate = site.open();
    let [_, privileged] = processes(&gate.status()).map(pid);
    let privileged = Pid::from_raw(i32::try_from(privileged).unwrap());
    // Whoever ends all processes of a service means the one that serves.
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        kill(privileged, signal).unwrap();
    }
    are_split(&gate.status(), 0);
    kill(privileged, Signal::SIGKILL).unwrap();
    eventually("word of it", || {
        let status = gate.status();
        match processes(&status)[1]["error"].as_str() {
            Some(why) if why.contains("restart the daemon") => Ok(()),
            _ => Err(format!("{status:#}")),
        }
    });
    let output = tollgate(
        None,
        &[
            "status",
            "--admin",
            folder(&site).join("admin.sock").to_str().unwrap(),
        ],
    );
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("privileged       GONE"), "{text}");
    assert_eq!(gate.metric("tollgate_privileged_process_up", &[]), 0.0);
    let target = site.target(API_V4, API_HOST);
    let request = Request::get("/orders").bearer(&site.token("alice"));
    assert_eq!(target.h1(&request).unwrap().status, 200);
    site.database(DATABASE_V4).unwrap();
    site.configure(&["db-1"]);
    gate.signal(Signal::SIGHUP);
    eventually("a refusal", || {
        let error = gate.status()["configuration"]["last_error"].clone();
        match error.as_str() {
            Some(why) if why.contains("restart") => Ok(()),
            _ => Err(error),
        }
    });
    assert_eq!(target.h1(&request).unwrap().status, 200);
    gate.signal(Signal::SIGTERM);
    assert!(gate.wait().success());
    // And a restart is all that it takes.
    let gate = site.open();
    assert_eq!(gate.status()["datapath"]["adopted"], true);
    are_split(&gate.status(), 0);
    assert_eq!(gate.metric("tollgate_privileged_process_up", &[]), 1.0);
    assert_eq!(site.database(DATABASE_V4).unwrap().1, "db-1");
}

/// Whatever the other process is at: requests in flight have `shutdown.drain`, not that one's time.
#[test]
fn a_privileged_process_that_hangs_holds_up_nobodys_end() {
    let site = Site::lay();
    let mut gate = site.open();
    let [_, privileged] = processes(&gate.status()).map(pid);
    let privileged = Pid::from_raw(i32::try_from(privileged).unwrap());
    kill(privileged, Signal::SIGSTOP).unwrap();
    let target = site.target(API_V4, API_HOST);
    let request = Request::get("/orders").bearer(&site.token("alice"));
    assert_eq!(target.h1(&request).unwrap().status, 200);
    gate.signal(Signal::SIGTERM);
    assert!(gate.wait().success());
    kill(privileged, Signal::SIGCONT).unwrap();
    eventually("its end", || match kill(privileged, None) {
        Err(_) => Ok(()),
        Ok(()) => Err("it is there"),
    });
    let gate = site.open();
    assert_eq!(gate.status()["datapath"]["adopted"], true);
}

/// What the documentation asks a container for is enough, and nothing more than that.
#[test]
fn root_with_the_documented_capabilities_serves_as_a_user() {
    let site = Site::lay();
    serve_as_user(&site);
    // The folder of the socket is made for the user.
    let run = tempfile::Builder::new()
        .prefix("tollgate-run-")
        .tempdir_in("/run")
        .unwrap();
    fs::set_permissions(run.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let socket = run.path().join("tollgate/admin.sock");
    let text = fs::read_to_string(site.config()).unwrap();
    let before = folder(&site).join("admin.sock").display().to_string();
    let text = text.replace(&before, &socket.display().to_string());
    fs::write(site.config(), text).unwrap();
    let launcher = folder(&site).join("with-few");
    let caps = "+bpf,+perfmon,+net_admin,+net_bind_service,+setuid,+setgid,+setpcap,+kill,+chown";
    let line = format!(
        "#!/bin/sh\nexec setpriv --bounding-set=-all,{caps} {} \"$@\"\n",
        binary().display()
    );
    fs::write(&launcher, line).unwrap();
    fs::set_permissions(&launcher, fs::Permissions::from_mode(0o755)).unwrap();
    // Root is no more than another user here: it may read the configuration, and none of the keys.
    for open in [folder(&site), &site.config()] {
        fs::set_permissions(open, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let gate = Gate::start(tollgate::demo::daemon::Launch {
        binary: launcher,
        socket: socket.clone(),
        ..site.launch()
    });
    are_split(&gate.status(), USER);
    let folder = fs::metadata(socket.parent().unwrap()).unwrap();
    assert_eq!((folder.uid(), folder.mode() & 0o777), (USER, 0o755));
    site.database(DATABASE_V4).unwrap();
}

/// A daemon without a datapath has nobody who could load one.
#[test]
fn who_has_no_datapath_keeps_no_rights_for_one() {
    let site = Site::lay();
    let text = fs::read_to_string(site.config()).unwrap();
    let (text, _) = text.split_once("\ndatapath:").unwrap();
    fs::write(site.config(), text).unwrap();
    let gate = site.open();
    let status = gate.status();
    let [_, privileged] = processes(&status);
    let names = privileged["capabilities"].to_string();
    assert!(names.contains("CAP_NET_BIND_SERVICE"), "{names}");
    for of_datapath in ["CAP_BPF", "CAP_PERFMON", "CAP_NET_ADMIN"] {
        assert!(!names.contains(of_datapath), "{names}");
    }
}

#[test]
fn nobody_is_served_by_a_user_that_is_none() {
    let site = Site::lay();
    let text = fs::read_to_string(site.config()).unwrap();
    let named = |user: &str| {
        let text = text.replace("version: 1\n", &format!("version: 1\nuser: {user}\n"));
        fs::write(site.config(), text).unwrap();
        let config = site.config();
        let output = tollgate(
            Some(&site.node.ns),
            &["run", "--config", config.to_str().unwrap()],
        );
        (
            output.status.code(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    let (code, said) = named("nobody-of-this-name");
    assert!(
        code == Some(1) && said.contains("useradd --system nobody-of-this-name"),
        "{said}"
    );
    let (code, said) = named("\"a b\"");
    assert!(
        code == Some(2) && said.contains("`user: a b` is no user"),
        "{said}"
    );
    // What cannot be read twice is no configuration of a daemon.
    let output = tollgate(Some(&site.node.ns), &["run", "--config", "/dev/null"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("this is no file"), "{said}");
    // Nor is the other process anybody's to call.
    let output = tollgate(None, &["privileged", "--config", "/dev/null"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        output.status.code() == Some(1) && said.contains("tollgate run"),
        "{said}"
    );
}
