//! Death, rebirth and departure: what keeps working, what must not, what is left.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use nix::sys::signal::Signal;
use tollgate_tests::client::{Request, read_reply};
use tollgate_tests::gate::{eventually, printed, tollgate};

use crate::site::{
    API_HOST, API_V4, API_V6, DATABASE_V4, DATABASE_V6, Site, has_xdp, listen, pins,
};

#[test]
fn killed_it_forwards_on_refuses_the_api_and_is_adopted_by_the_next() {
    let site = Site::lay();
    // Whoever listens on the host itself must never be handed the API's connections.
    let decoys = ["0.0.0.0:443", "[::]:443"].map(|address: &str| {
        let address: SocketAddr = address.parse().unwrap();
        let decoy = match address {
            // Both on one port: the IPv6 one must keep to IPv6.
            SocketAddr::V6(_) => only_v6(&site, address),
            SocketAddr::V4(_) => listen(&site.node, address),
        };
        decoy.set_nonblocking(true).unwrap();
        decoy
    });
    let gate = site.open();
    assert_eq!(gate.status()["datapath"]["adopted"], false);
    let token = site.token("alice");
    let request = Request::get("/orders").bearer(&token);
    for address in [API_V4, API_V6] {
        let reply = site.target(address, API_HOST).h1(&request).unwrap();
        assert_eq!(reply.status, 200, "{:?}", reply.body);
    }
    let (mut open_v4, name_v4) = site.database(DATABASE_V4).unwrap();
    let (mut open_v6, name_v6) = site.database(DATABASE_V6).unwrap();
    let counted = gate.service("database")["packets"].as_u64().unwrap();
    let served = site.echo.count();

    gate.kill();

    assert!(has_xdp(&site.node), "the program left with the daemon");
    ping(&mut open_v4);
    ping(&mut open_v6);
    for vip in [DATABASE_V4, DATABASE_V6] {
        for _ in 0..20 {
            let (mut stream, _) = site
                .database(vip)
                .expect("a new connection while it is down");
            ping(&mut stream);
        }
    }
    for address in [API_V4, API_V6] {
        let target = site.target(address, API_HOST);
        let refused = site
            .client
            .ns
            .run(|| TcpStream::connect_timeout(&target.address, Duration::from_secs(2)))
            .unwrap();
        let error = refused.expect_err("a connection to the API while the daemon is dead");
        let expected = [
            ErrorKind::ConnectionRefused,
            ErrorKind::TimedOut,
            ErrorKind::HostUnreachable,
        ];
        assert!(expected.contains(&error.kind()), "{address}: {error}");
    }
    for decoy in &decoys {
        let passed_by = decoy.accept().map(|(_, peer)| peer);
        assert_eq!(
            passed_by.unwrap_err().kind(),
            ErrorKind::WouldBlock,
            "passed to the host"
        );
    }
    assert_eq!(site.echo.count(), served, "something reached the API");

    let gate = site.open();
    let status = gate.status();
    assert_eq!(status["datapath"]["adopted"], true, "{status:#}");
    let counted_now = gate.service("database")["packets"].as_u64().unwrap();
    assert!(
        counted_now >= counted + 20,
        "counters did not survive: {counted} → {counted_now}"
    );
    for address in [API_V4, API_V6] {
        let reply = site.target(address, API_HOST).h1(&request).unwrap();
        assert_eq!(reply.status, 200, "{:?}", reply.body);
    }
    ping(&mut open_v4);
    ping(&mut open_v6);
    println!("{name_v4} and {name_v6} kept their connections across the death");
    for decoy in &decoys {
        assert!(decoy.accept().is_err(), "passed to the host");
    }
}

#[test]
fn terminated_it_lets_requests_finish_and_takes_no_more() {
    let site = Site::lay();
    let mut gate = site.open();
    let target = site.target(API_V4, API_HOST);
    let mut held = target.tls(&["http/1.1"]).unwrap();
    let request = Request::get("/orders?hold").bearer(&site.token("alice"));
    held.write_all(&request.to_h1(API_HOST)).unwrap();
    eventually("the held request at the API", || match site.echo.count() {
        1 => Ok(()),
        count => Err(format!("{count} requests")),
    });

    gate.signal(Signal::SIGTERM);

    // Whatever a client sees now, it is never an answer of the API: refused, reset, or told that it drains.
    let fresh = Request::get("/orders").bearer(&site.token("bob"));
    eventually("new requests to be turned away", || {
        match target.h1(&fresh) {
            Ok(reply) if reply.status == 200 => Err("still served".to_owned()),
            Ok(reply) => {
                assert_eq!(reply.status, 503, "{:?}", reply.body);
                Ok(())
            }
            Err(_) => Ok(()),
        }
    });
    assert!(
        gate.daemon().process().ended().unwrap().is_none(),
        "it left with a request in flight"
    );

    site.echo.release();
    let reply = read_reply(&mut held).unwrap();
    assert_eq!(reply.status, 200, "{:?}", reply.body);
    assert_eq!(reply.json()["path"], "/orders");
    let mut rest = Vec::new();
    // The connection is closed, by a TLS close or without.
    drop(held.read_to_end(&mut rest));
    assert!(rest.is_empty(), "something followed the answer: {rest:?}");
    let status = gate.wait();
    assert!(status.success(), "{status}\n{}", gate.daemon().log_tail());
    assert!(has_xdp(&site.node), "plain L4 services are forwarded on");
    site.database(DATABASE_V4)
        .expect("a database while the daemon is stopped");
}

#[test]
fn down_leaves_nothing_in_the_kernel() {
    let site = Site::lay();
    let routes = |site: &Site| {
        let v4 = printed(
            &site.node.ns,
            "ip",
            &["-4", "route", "show", "table", "all"],
        );
        let v6 = printed(
            &site.node.ns,
            "ip",
            &["-6", "route", "show", "table", "all"],
        );
        let proxy = printed(&site.node.ns, "ip", &["neighbour", "show", "proxy"]);
        let addresses = printed(&site.node.ns, "ip", &["-oneline", "address", "show"]);
        let all = [v4, v6, proxy, addresses].concat();
        let ours = all
            .lines()
            .filter(|l| l.contains("203.0.113.") || l.contains("2001:db8:113:"));
        ours.map(str::to_owned).collect::<Vec<String>>()
    };
    assert!(routes(&site).is_empty());

    let mut gate = site.open();
    assert!(has_xdp(&site.node));
    assert!(!pins(&site.node).is_empty());
    assert!(!routes(&site).is_empty());
    gate.signal(Signal::SIGTERM);
    assert!(gate.wait().success());
    assert!(has_xdp(&site.node));

    let config = site.config();
    let output = tollgate(
        Some(&site.node.ns),
        &["down", "--config", config.to_str().unwrap()],
    );
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{}: {text}", output.status);
    assert!(!has_xdp(&site.node), "the program is still attached");
    assert_eq!(pins(&site.node), Vec::<std::path::PathBuf>::new());
    assert_eq!(routes(&site), Vec::<String>::new());
    site.database(DATABASE_V4)
        .expect_err("nobody balances any more");
    // The refused connection's last SYN may have asked for the address once more. A connection that waits for that same
    // question fails with it, even when all three of its requests were sent before anyone was there to answer.
    eventually("the client to give up asking for the address", || {
        let vip = DATABASE_V4.ip().to_string();
        let entry = printed(&site.client.ns, "ip", &["neighbour", "show", "to", &vip]);
        if entry.contains("INCOMPLETE") {
            Err(entry)
        } else {
            Ok(())
        }
    });

    // And it can come back as if it were the first time.
    let gate = site.open();
    assert_eq!(gate.status()["datapath"]["adopted"], false);
    site.database(DATABASE_V4)
        .expect("a database after coming back");
}

fn ping(stream: &mut TcpStream) {
    stream.write_all(b"x").expect("an open connection");
    let mut byte = [0];
    stream.read_exact(&mut byte).expect("its backend's answer");
}

fn only_v6(site: &Site, address: SocketAddr) -> std::net::TcpListener {
    use socket2::{Domain, Socket, Type};
    let listener = site.node.ns.run(|| {
        let socket = Socket::new(Domain::IPV6, Type::STREAM, None)?;
        socket.set_only_v6(true)?;
        socket.bind(&address.into())?;
        socket.listen(16)?;
        Ok::<_, std::io::Error>(socket.into())
    });
    listener.unwrap().unwrap()
}
