//! `deliver: ipip` and `gue` to a backend whose kernel takes packets out of tunnels by itself.

use std::net::SocketAddr;

use tollgate::demo::lab::{UPLINK, sysctl};
use tollgate_tests::gate;
use tollgate_tests::tunnel::{PORT, Site, datagram, told_too_big, upload, ways};

/// The ends of tunnels that a backend's kernel has of its own, as docs/decap.md shows them.
#[test]
fn the_kernels_own_tunnels_bring_whole_transfers_and_fragments() {
    let site = Site::lay();
    let gate = site.open();
    let ip = |line: &str| {
        let words: Vec<_> = line.split(' ').collect();
        gate::printed(&site.backend.ns, "ip", &words)
    };
    ip("link set tunl0 up");
    ip("link set sit0 up");
    ip("-6 tunnel change ip6tnl0 mode any");
    ip("link set ip6tnl0 up");
    ip("fou add port 6080 gue");
    ip("-6 fou add port 6080 gue");
    for interface in ["all", UPLINK, "tunl0"] {
        sysctl(
            &site.backend.ns,
            &format!("ipv4/conf/{interface}/rp_filter"),
            "0",
        )
        .unwrap();
    }
    for (vip, outcome, _) in ways() {
        println!("{outcome}");
        let to = SocketAddr::new(vip, PORT);
        let before = told_too_big(&gate);
        upload(&site, &gate, to);
        assert!(
            told_too_big(&gate) > before,
            "{outcome}: the client never sent too much, so it learnt nothing"
        );
        datagram(&site, to);
    }
}
