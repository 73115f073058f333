use std::path::Path;

use super::*;
use crate::config::model::Config;

/// A configuration with this health of an upstream, and this of a service delivered so to these backends.
fn parse(upstream: &str, service: &str) -> Result<Config, String> {
    let source = format!(
        "version: 1
listeners:
  edge:
    listen: 127.0.0.1:0
    plaintext: true
    routes: [{{ name: a, token: none, upstream: api }}]
upstreams:
  api: {{ endpoints: ['10.0.0.7:8080'], health: {{ {upstream} }} }}
datapath:
  interfaces: [eth0]
  services:
    - {{ name: db, {service} }}
"
    );
    let parsed = crate::config::parse(Path::new("t.yaml"), &source, crate::app::CHECKS);
    parsed.map_err(|mistakes| mistakes.to_string())
}

const IPIP: &str = "vip: '203.0.113.1:5432/tcp', deliver: ipip, backends: [{ address: 10.0.0.1 }]";

fn of_service(service: &str) -> Settings {
    let config = parse("path: /", service).unwrap();
    config.datapath.unwrap().health["db"].clone()
}

#[test]
fn a_contract_of_little_is_filled_up() {
    let config = parse(
        "path: /healthz, interval: 5s, timeout: 1s, unhealthy: 3, healthy: 2",
        &format!("{IPIP}, health: {{ tcp: 5432, interval: 2s }}"),
    )
    .unwrap();
    let seconds = Duration::from_secs;
    let upstream = Settings {
        probe: Probe::Http(Http {
            port: None,
            path: "/healthz".to_owned(),
            host: None,
            expect: vec![(200, 299)],
            tls: None,
        }),
        via: Via::Direct,
        interval: seconds(5),
        timeout: seconds(1),
        rules: Rules {
            unhealthy: 3,
            healthy: 2,
        },
        slow_start: seconds(30),
        panic: Panic::Below(0),
    };
    assert_eq!(config.health, [Some(upstream.clone())]);
    let datapath = config.datapath.unwrap();
    let service = Settings {
        probe: Probe::Tcp { port: Some(5432) },
        via: Via::Vip,
        interval: seconds(2),
        ..upstream
    };
    assert_eq!(datapath.health["db"], service);
    assert_eq!(datapath.health_mark, 0x67);
}

#[test]
fn everything_can_be_said() {
    let service = format!(
        "{IPIP}, health: {{ path: '/h?x=1', port: 9, host: 'db.test:9', expect: [204, 300-399], via: direct, panic: 50%, slow_start: 0s, interval: 200ms, tls: {{ insecure: true, name: db.test }} }}"
    );
    let said = of_service(&service);
    let Probe::Http(http) = said.probe else {
        panic!("{said:?}")
    };
    assert_eq!(http.expect, [(204, 204), (300, 399)]);
    assert_eq!(
        (http.port, http.host.as_deref()),
        (Some(9), Some("db.test:9"))
    );
    let tls = http.tls.unwrap();
    assert_eq!(
        (tls.trust, tls.name.as_deref()),
        (Trust::Nobody, Some("db.test"))
    );
    assert_eq!((said.via, said.panic), (Via::Direct, Panic::Below(50)));
    // A check takes no longer than until the next one.
    assert_eq!(said.timeout, Duration::from_millis(200));
    assert_eq!(
        of_service(&format!("{IPIP}, health: {{ grpc: '', panic: never }}")).panic,
        Panic::Never
    );
}

#[test]
fn checks_go_by_the_vip_where_that_can_be() {
    for (service, via) in [
        (IPIP.to_owned(), Via::Vip),
        (IPIP.replace("ipip", "gue"), Via::Vip),
        (IPIP.replace("ipip", "l2"), Via::Vip),
        (IPIP.replace("10.0.0.1", "'fd00::1'"), Via::Direct),
        (IPIP.replace("203.0.113.1:", "203.0.113.0/24:"), Via::Direct),
    ] {
        let said = of_service(&format!("{service}, health: {{ tcp: 1 }}"));
        assert_eq!(said.via, via, "{service}");
    }
}

#[test]
fn what_health_may_not_say_is_told() {
    for (health, expected) in [
        ("interval: 1s", "what shall be asked is missing here"),
        (
            "tcp: 1, path: /",
            "`tcp` and `path` are two checks; write one of them",
        ),
        ("tcp: 0", "`tcp: 0` is no port"),
        ("tcp: 1, port: 2", "`port` says nothing beside `tcp`"),
        (
            "tcp: 1, expect: [200]",
            "`expect` says nothing beside `tcp`",
        ),
        (
            "grpc: a, expect: [200]",
            "`expect` says nothing beside `grpc`",
        ),
        ("tcp: 1, tls: {}", "`tls` says nothing beside `tcp`"),
        ("path: healthz", "`path: healthz` is no path of a request"),
        ("path: '/a b'", "is no path of a request"),
        ("grpc: 'a b'", "is no service's name"),
        ("path: /, host: 'a b'", "is no host"),
        ("path: /, expect: []", "`expect` is empty"),
        ("path: /, expect: [99]", "`99` is no status"),
        ("path: /, expect: [300-200]", "`300-200` is no status"),
        ("path: /, expect: [ok]", "`ok` is no status"),
        (
            "path: /, timeout: 6s",
            "let `timeout` be at most `interval`",
        ),
        (
            "path: /, interval: 99ms",
            "`interval: 99ms` is out of range",
        ),
        ("path: /, unhealthy: 0", "`unhealthy: 0` is out of range"),
        ("path: /, healthy: 101", "`healthy: 101` is out of range"),
        (
            "path: /, panic: 101%",
            "`panic: 101%` is neither a percentage",
        ),
        ("path: /, panic: 50", "panic"),
        (
            "path: /, via: vip",
            "`via: vip` is for services of one IPv4 address",
        ),
        (
            "path: /, tls: { name: 'a b' }",
            "neither a host name nor an address",
        ),
        ("path: /, tls: { ca: none.pem }", "cannot read `none.pem`"),
        (
            "path: /, tls: { ca: none.pem, insecure: true }",
            "write one of them",
        ),
        ("path: /, rise: 2", "rise"),
    ] {
        let text = parse(health, IPIP).unwrap_err();
        assert!(text.contains(expected), "{health}: {text}");
        assert!(text.contains("t.yaml:8:"), "{health}: {text}");
        assert!(text.ends_with("1 mistake in t.yaml"), "{health}: {text}");
    }
    for (service, expected) in [
        (
            "vip: '203.0.113.1:5432/tcp', deliver: { listener: edge }, health: { tcp: 1 }",
            "has no backends to check",
        ),
        (
            "vip: '203.0.113.1:*/tcp', deliver: ipip, backends: [], health: { path: / }",
            "the check must name one: `port: …`",
        ),
        (
            "vip: '[2001:db8::1]:80/tcp', deliver: ipip, backends: [], health: { path: /, via: vip }",
            "`via: vip` is for services of one IPv4 address",
        ),
    ] {
        let text = parse("path: /", service).unwrap_err();
        assert!(text.contains(expected), "{service}: {text}");
        assert!(text.ends_with("1 mistake in t.yaml"), "{service}: {text}");
    }
}
