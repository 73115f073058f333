//! What a supervisor keeps for the next start: the sockets of the listeners that there are, and of no others.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;

use tollgate_tests::gate::{PATIENCE, binary, eventually, tollgate};
use tollgate_tests::supervised::Supervisor;

use crate::site::Site;

const PLAIN: &str = "listeners:\n  plain:\n    listen: \"[::]:8081\"\n    plaintext: true\n    routes:\n      - { name: ping, match: { path: { exact: /ping } }, token: none, upstream: api }\n";

#[test]
fn a_listener_that_comes_is_kept_and_one_that_goes_is_not() {
    let site = Site::lay();
    let folder = site.config().parent().unwrap().to_owned();
    let place = Some(Arc::clone(&site.node.ns));
    let mut daemon = Supervisor::new(&folder, &site.config(), place, true);
    daemon.start(&binary());
    let without = fs::read_to_string(site.config()).unwrap();
    let with = without.replace("listeners:\n", PLAIN);
    let connect = || {
        let address = SocketAddr::from(([127, 0, 0, 1], 8081));
        let connected = site
            .node
            .ns
            .run(|| TcpStream::connect_timeout(&address, PATIENCE));
        connected.unwrap().map(drop).map_err(|error| error.kind())
    };
    for (text, is_there) in [(&with, true), (&without, false), (&with, true)] {
        reload(&folder, &site.config(), text);
        eventually("what is kept", || {
            match daemon.kept().iter().any(|name| name.ends_with("plain")) {
                is_kept if is_kept == is_there => Ok(()),
                _ => Err(format!("{:?}", daemon.kept())),
            }
        });
        // Nobody waits in a queue that nobody empties.
        let refused = Err(io::ErrorKind::ConnectionRefused);
        eventually("the listener", || match connect() {
            outcome if outcome == if is_there { Ok(()) } else { refused } => Ok(()),
            outcome => Err(format!("{outcome:?}")),
        });
    }
}

fn reload(folder: &Path, config: &Path, text: &str) {
    fs::write(config, text).unwrap();
    let admin = folder.join("admin.sock");
    let output = tollgate(None, &["reload", "--admin", admin.to_str().unwrap()]);
    assert!(output.status.success(), "{output:?}");
}
