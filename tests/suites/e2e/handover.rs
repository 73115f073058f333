//! Daemons that begin to take over and do not: what the running one makes of it.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tollgate::demo::lab::BPFFS;
use tollgate_tests::gate::{PATIENCE, eventually, printed};

use crate::site::{DATABASE_V4, Site, vip_v4};

/// Takes the route of an address from the node, and waits until the daemon has put it back: it looks after the kernel.
pub(crate) fn looks_after_the_kernel(site: &Site) {
    let vip = vip_v4(10).to_string();
    let ip = |arguments: &[&str]| printed(&site.node.ns, "ip", arguments);
    ip(&[
        "-4", "route", "del", "local", &vip, "dev", "lo", "table", "local",
    ]);
    eventually("the route to be back", || {
        let there = ip(&["-4", "route", "show", "table", "local"]);
        if there.contains(&format!("local {vip} ")) {
            Ok(())
        } else {
            Err(there)
        }
    });
}

/// Who says what a new daemon says, word by word.
struct Newcomer(UnixStream);

impl Newcomer {
    /// Is offered the running daemon's sockets; they are not kept.
    fn greet(site: &Site) -> Self {
        let place = site.config().parent().unwrap().join("admin.sock.handover");
        let stream = UnixStream::connect(place).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut this = Self(stream);
        this.say(&json!({ "say": "hello", "protocol": 1, "oldest": 1, "version": "9", "pid": 0 }));
        while this.hear().unwrap()["say"] != "welcome" {}
        this
    }

    /// Goes on until the datapath is its own.
    fn be_lent(&mut self) {
        self.say(&json!({ "say": "prepared" }));
        assert_eq!(self.hear().unwrap()["say"], "rested");
    }

    fn say(&mut self, message: &Value) {
        let body = message.to_string();
        let length = u32::try_from(body.len()).unwrap().to_le_bytes();
        self.0.write_all(&length).unwrap();
        self.0.write_all(body.as_bytes()).unwrap();
    }

    fn hear(&mut self) -> io::Result<Value> {
        let mut length = [0; 4];
        self.0.read_exact(&mut length)?;
        let mut body = vec![0; u32::from_le_bytes(length) as usize];
        self.0.read_exact(&mut body)?;
        Ok(serde_json::from_slice(&body)?)
    }
}

#[test]
fn a_datapath_that_somebody_silent_holds_is_taken_back_when_it_is_free() {
    let site = Site::lay();
    let mut gate = site.open();
    let mut newcomer = Newcomer::greet(&site);
    newcomer.be_lent();
    let hold = || {
        let folder = File::open(Path::new(BPFFS).join("tollgate")).unwrap();
        folder.try_lock().unwrap();
        folder
    };
    let held = site.node.ns.run(hold).unwrap();
    drop(newcomer);
    eventually("the daemon to say who has the lock", || {
        let log = gate.daemon().log_tail();
        if log.contains("another daemon has the lock") {
            Ok(())
        } else {
            Err(log)
        }
    });
    site.database(DATABASE_V4).unwrap();
    drop(held);
    looks_after_the_kernel(&site);
    gate.reload();
    site.database(DATABASE_V4).unwrap();
}

#[test]
fn a_daemon_that_is_told_to_end_tells_who_is_about_to_take_over() {
    for is_lent in [false, true] {
        let site = Site::lay();
        let mut gate = site.open();
        let mut newcomer = Newcomer::greet(&site);
        if is_lent {
            newcomer.be_lent();
        }
        gate.signal(Signal::SIGTERM);
        let heard = newcomer.hear().unwrap();
        assert_eq!(heard["say"], "failed", "{heard}");
        let status = gate.wait();
        assert!(status.success(), "{status}\n{}", gate.daemon().log_tail());
        site.database(DATABASE_V4).unwrap();
    }
}
