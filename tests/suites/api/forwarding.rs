//! Where a client is when proxies stand before the gate (threat 38): peers are told apart by their loopback address.

use std::io::Write;
use std::net::IpAddr;

use tollgate_tests::client::{Reply, Request, Target, read_reply};

use crate::world::{ROUTES, World, refused, seen};

/// The trusted forwarder of these tests.
const FORWARDER: &str = "127.0.0.2";
/// Somebody else on this host.
const STRANGER: &str = "127.0.0.3";
/// Whom the forwarder speaks for.
const CLIENT: &str = "203.0.113.9";

fn world() -> World {
    World::with_listener(
        "trusted_forwarders: [127.0.0.2, 'fd00::/8']\n    trust_client_cert: true",
        ROUTES,
    )
}

fn from(world: &World, peer: &str) -> Target {
    let mut target = world.target();
    target.caller.from = Some(peer.parse::<IpAddr>().unwrap());
    target
}

/// The same request over both protocols.
fn both(target: &Target, request: &Request) -> [Reply; 2] {
    [
        target.h1(request).unwrap(),
        target.h2(std::slice::from_ref(request)).unwrap().remove(0),
    ]
}

/// All that says where a client is, as a peer would write it.
fn said() -> Request {
    Request::get("/open")
        .field("x-forwarded-for", &format!("10.0.0.5, {CLIENT}, 127.0.0.2"))
        .field("x-forwarded-proto", "http")
        .field("x-forwarded-host", "shop.test")
        .field("x-forwarded-port", "8080")
        .field("x-real-ip", CLIENT)
        .field("client-cert", ":bGVhZg==:")
        .field("client-cert-chain", ":b25l:, :dHdv:")
}

#[test]
fn threat_38_a_trusted_forwarder_is_believed() {
    let world = world();
    let request = said()
        // Nobody vouches for these, whoever sends them.
        .field("true-client-ip", "10.0.0.5")
        .field("x-original-url", "/admin")
        .field("x-forwarded-client-cert", "x")
        .field("x_forwarded_for", "10.0.0.5")
        .field("x-envoy-original-path", "/admin");
    for reply in both(&from(&world, FORWARDER), &request) {
        assert_eq!(reply.status, 200, "{reply:?}");
        for (name, value) in [
            ("x-forwarded-for", "203.0.113.9, 127.0.0.2, 127.0.0.2"),
            ("x-forwarded-proto", "http"),
            ("x-forwarded-host", "shop.test"),
            ("x-forwarded-port", "8080"),
            ("client-cert", ":bGVhZg==:"),
            ("client-cert-chain", ":b25l:, :dHdv:"),
        ] {
            assert_eq!(seen(&reply, name), [value], "{name}");
        }
        for gone in [
            "forwarded",
            "x-real-ip",
            "true-client-ip",
            "x-original-url",
            "x-forwarded-client-cert",
            "x_forwarded_for",
            "x-envoy-original-path",
        ] {
            assert_eq!(seen(&reply, gone), [""; 0], "{gone}");
        }
        assert_eq!(
            reply.json()["host"].as_str(),
            Some(world.target().authority().as_str()),
            "the message's own authority is what is asked for"
        );
        let id = reply.field("x-request-id").unwrap();
        let line = world.log_line(|line| line["request_id"] == id);
        assert_eq!(line["client"], CLIENT, "{line}");
        assert!(
            line["peer"].as_str().unwrap().starts_with("127.0.0.2:"),
            "{line}"
        );
    }
}

#[test]
fn threat_38_a_stranger_is_the_client_whatever_it_says() {
    let world = world();
    let unreadable = said()
        .field("forwarded", "for=\"")
        .field("x-forwarded-proto", "ftp");
    for peer in [STRANGER, "127.0.0.1"] {
        for request in [said(), unreadable.clone()] {
            for reply in both(&from(&world, peer), &request) {
                assert_eq!(reply.status, 200, "{reply:?}");
                assert_eq!(seen(&reply, "x-forwarded-for"), [peer]);
                assert_eq!(seen(&reply, "x-forwarded-proto"), ["https"]);
                let host = world.target().authority();
                assert_eq!(seen(&reply, "x-forwarded-host"), [host]);
                for gone in [
                    "x-forwarded-port",
                    "x-real-ip",
                    "forwarded",
                    "client-cert",
                    "client-cert-chain",
                ] {
                    assert_eq!(seen(&reply, gone), [""; 0], "{gone}");
                }
                let id = reply.field("x-request-id").unwrap();
                let line = world.log_line(|line| line["request_id"] == id);
                let client = line["client"].as_str().unwrap();
                assert!(client.starts_with(&format!("{peer}:")), "{line}");
                assert!(line.get("peer").is_none(), "{line}");
            }
        }
    }
}

/// A proxy that is trusted for addresses passes `Client-Cert` on as its client wrote it: nobody says it is the proxy's.
#[test]
fn threat_38_forwarders_do_not_speak_for_certificates_unasked() {
    let world = World::with_listener("trusted_forwarders: [127.0.0.2]", ROUTES);
    for request in [
        said(),
        said().field("client-cert", "junk"),
        Request::get("/open").field("client-cert-chain", ":b25l:"),
    ] {
        for reply in both(&from(&world, FORWARDER), &request) {
            assert_eq!(reply.status, 200, "{reply:?}");
            for gone in ["client-cert", "client-cert-chain"] {
                assert_eq!(seen(&reply, gone), [""; 0], "{gone}");
            }
        }
    }
}

#[test]
fn threat_38_what_a_forwarder_says_and_nobody_can_read_is_refused() {
    let world = world();
    let target = from(&world, FORWARDER);
    for (name, value) in [
        ("x-forwarded-for", "unknown"),
        ("x-forwarded-for", "203.0.113.9, "),
        ("forwarded", "for=_hidden"),
        ("forwarded", "for=203.0.113.9; proto=https"),
        ("x-forwarded-proto", "https, http"),
        ("x-real-ip", "localhost"),
        ("client-cert", "leaf"),
        ("client-cert-chain", ":b25l:"),
    ] {
        let request = Request::get("/open").field(name, value);
        for reply in both(&target, &request) {
            refused(&reply, 400, "request_malformed");
            let id = reply.field("x-request-id").unwrap();
            let line = world.log_line(|line| line["request_id"] == id);
            let client = line["client"].as_str().unwrap();
            assert!(client.starts_with("127.0.0.2:"), "{line}");
        }
    }
    let contradiction = Request::get("/open")
        .field("forwarded", "for=10.0.0.5")
        .field("x-forwarded-for", CLIENT);
    for reply in both(&target, &contradiction) {
        refused(&reply, 400, "request_malformed");
    }
    assert_eq!(world.echo.count(), 0);
}

/// The client's Connection, passed on by a proxy that should not have, would take away what that proxy wrote
/// (CVE-2022-31813): the client would then be its own proxy.
#[test]
fn threat_38_connection_does_not_take_the_clients_address_away() {
    let world = world();
    let mut stream = from(&world, FORWARDER).tls(&["http/1.1"]).unwrap();
    stream
        .write_all(
            b"GET /open HTTP/1.1\r\nhost: api.test\r\nX-Forwarded-For: 10.0.0.5\r\nX-FORWARDED-FOR: 203.0.113.9\r\n\
              Connection: x-forwarded-for, x-forwarded-proto, client-cert\r\nx-forwarded-proto: https\r\n\
              Client-Cert: :bGVhZg==:\r\n\r\n",
        )
        .unwrap();
    let reply = read_reply(&mut stream).unwrap();
    assert_eq!(seen(&reply, "x-forwarded-for"), ["203.0.113.9, 127.0.0.2"]);
    assert_eq!(seen(&reply, "client-cert"), [":bGVhZg==:"]);
}

#[test]
fn an_upstream_hears_it_in_the_words_that_it_asks_for() {
    let world = world();
    let words = |style: &str, request: &Request, peer: &str| {
        let configuration = std::fs::read_to_string(world.path()).unwrap();
        let (head, upstreams) = configuration.split_once("\nupstreams:").unwrap();
        let echo = world.echo.address();
        let api =
            format!("\nupstreams:\n  api: {{ endpoints: [\"{echo}\"], forwarded: {style} }}\n");
        let (_, rest) = upstreams.split_once("  nobody:").unwrap();
        world.write(&format!("{head}{api}  nobody:{rest}"));
        world.reload().unwrap();
        let reply = from(&world, peer).h1(request).unwrap();
        let list = seen(&reply, "x-forwarded-for");
        (list, seen(&reply, "forwarded"))
    };
    let request = Request::get("/open")
        .field("x-forwarded-for", "2001:db8::9")
        .field("x-forwarded-proto", "https");
    let none = || Vec::<String>::new();
    let list = || vec!["2001:db8::9, 127.0.0.2".to_owned()];
    let host = world.target().authority();
    let elements = vec![format!(
        "for=\"[2001:db8::9]\";host=\"{host}\";proto=https, for=127.0.0.2;host=\"{host}\";proto=https"
    )];
    let told = words("x_forwarded", &request, FORWARDER);
    assert_eq!(told, (list(), none()));
    let told = words("both", &request, FORWARDER);
    assert_eq!(told, (list(), elements.clone()));
    let told = words("rfc7239", &request, FORWARDER);
    assert_eq!(told, (none(), elements));
    let told = words("rfc7239", &request, STRANGER);
    let own = format!("for=127.0.0.3;host=\"{host}\";proto=https");
    assert_eq!(told, (none(), vec![own]));
}

/// Where something else terminates TLS, the page's origin is the one that the client's browser saw.
#[test]
fn a_cookies_origin_is_that_before_the_forwarder() {
    let route = "
      - { name: orders, match: { path: /orders }, token: { issuers: [corp], sources: [{ cookie: sid }] }, upstream: api }";
    let world = World::with_listener("trusted_forwarders: [127.0.0.2]", route);
    let configuration = std::fs::read_to_string(world.path()).unwrap();
    let from_tls = configuration.find("    tls:").unwrap();
    let after = from_tls + configuration[from_tls..].find('\n').unwrap();
    let plain = format!(
        "{}    plaintext: true{}",
        &configuration[..from_tls],
        &configuration[after..]
    );
    world.write(&plain);
    world.reload().unwrap();
    let ask = |peer: &str, proto: &str, origin: &str| {
        let mut stream = from(&world, peer).connect().unwrap();
        let token = world.token();
        write!(
            stream,
            "POST /orders HTTP/1.1\r\nhost: api.test\r\ncookie: sid={token}\r\norigin: {origin}\r\n\
             x-forwarded-proto: {proto}\r\nx-forwarded-for: {CLIENT}\r\ncontent-length: 0\r\n\r\n"
        )
        .unwrap();
        read_reply(&mut stream).unwrap()
    };
    let reply = ask(FORWARDER, "https", "https://api.test");
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(seen(&reply, "x-forwarded-proto"), ["https"]);
    for (peer, proto, origin) in [
        (FORWARDER, "http", "https://api.test"),
        (FORWARDER, "https", "http://api.test"),
        (FORWARDER, "https", "https://evil.test"),
        (STRANGER, "https", "https://api.test"),
    ] {
        refused(&ask(peer, proto, origin), 403, "origin_mismatch");
    }
}

#[test]
fn a_reload_changes_who_is_believed() {
    let world = world();
    let target = from(&world, FORWARDER);
    let mut session = target.session().unwrap();
    let told = |reply: &Reply| seen(reply, "x-forwarded-for");
    let request = Request::get("/open").field("x-forwarded-for", CLIENT);
    let reply = session.send(&request).unwrap();
    assert_eq!(told(&reply), ["203.0.113.9, 127.0.0.2"]);
    let configuration = std::fs::read_to_string(world.path()).unwrap();
    world.write(&configuration.replace("[127.0.0.2, 'fd00::/8']", "[127.0.0.3/32]"));
    world.reload().unwrap();
    // On the connection that was open already as well.
    let reply = session.send(&request).unwrap();
    assert_eq!(told(&reply), ["127.0.0.2"]);
}

/// What an allow-list grants goes to the client, never to whom it came by; and nothing is granted to somebody unreadable.
#[test]
fn threat_38_an_allow_list_is_about_the_client() {
    let routes = "
      - { name: inside, match: { path: /inside }, token: none, require: { expr: 'cidr(\"127.0.0.0/8\").containsIP(source.address)' }, upstream: api }
      - { name: partner, match: { path: /partner }, token: none, require: { expr: 'source.address == \"203.0.113.9\"' }, upstream: api }";
    let world = World::with_listener("trusted_forwarders: [127.0.0.2]", routes);
    for (peer, list, path, status) in [
        (FORWARDER, CLIENT, "/inside", 403),
        (FORWARDER, "127.0.0.1, 203.0.113.9", "/inside", 403),
        (FORWARDER, "127.0.0.1, unknown", "/inside", 400),
        (FORWARDER, "", "/inside", 400),
        (FORWARDER, "203.0.113.7, 127.0.0.9", "/inside", 200),
        (FORWARDER, CLIENT, "/partner", 200),
        (FORWARDER, "203.0.113.9, 203.0.113.7", "/partner", 403),
        (STRANGER, CLIENT, "/partner", 403),
        (STRANGER, CLIENT, "/inside", 200),
    ] {
        let request = Request::get(path).field("x-forwarded-for", list);
        for reply in both(&from(&world, peer), &request) {
            assert_eq!(reply.status, status, "{peer} {list} {path}: {reply:?}");
        }
    }
}
