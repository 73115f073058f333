//! `datapath:`

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};

use tollgate_datapath::model::{
    Affinity, Backend, CONNECTION_IDLE, CONNECTION_IDLES, DRAIN_LIMITS, Deliver, Model, NatError,
    Service, ServiceError, Tunnel, TunnelError, Vip,
};
use tollgate_datapath::prefix::Prefix;

use super::attach;
use super::context::{Context, check_name, items, set};
use super::health::{self, Members};
use super::nat;
use crate::config::diagnostic::Position;
use crate::config::model::{DatapathConfig, ListenerConfig};
use crate::config::node::At;
use crate::config::raw::{RawAffinity, RawBackend, RawDatapath, RawDeliver, RawService, RawTunnel};
use crate::health::settings::Settings;

/// Whether any service stands there, sound or not.
pub(super) fn has_services(raw: Option<&At<RawDatapath>>) -> bool {
    set(raw).is_some_and(|(_, raw)| items(raw.services.as_ref()).next().is_some())
}

pub(super) fn lower(
    cx: &mut Context<'_>,
    raw: Option<&At<RawDatapath>>,
    listeners: &[ListenerConfig],
) -> Option<DatapathConfig> {
    let (position, raw) = set(raw)?;
    let (attach, health_mark) = attach::lower(cx, position, raw);
    let mut services: Vec<Service> = Vec::new();
    let mut places = Vec::new();
    let mut health = HashMap::new();
    for (at, raw) in items(raw.services.as_ref()) {
        let Some(service) = service(cx, at, raw, listeners) else {
            continue;
        };
        if let Some(other) = services.iter().find(|other| other.name == service.name) {
            cx.report(at, format!("the service `{}` stands twice", other.name));
        }
        if let Some(other) = services.iter().find(|other| other.vip == service.vip) {
            cx.report(
                at,
                format!(
                    "the services `{}` and `{}` share {}",
                    other.name, service.name, service.vip
                ),
            );
        }
        if let Some(settings) = checks(cx, raw, &service) {
            health.insert(service.name.clone(), settings);
        }
        services.push(service);
        places.push(at);
    }
    let model = Model {
        services,
        tunnel: tunnel(cx, raw.tunnel.as_ref()),
    };
    for (at, service) in places.into_iter().zip(&model.services) {
        match model.snat_is_vip(service) {
            // Its own was told with the service.
            Some(NatError::SnatIsVip(_, vip)) if vip == service.vip => {}
            Some(error) => told(cx, at, Err(error.into())),
            None => {}
        }
    }
    Some(DatapathConfig {
        attach,
        model,
        health,
        health_mark,
    })
}

/// How the backends of a service are checked, if they are.
fn checks(cx: &mut Context<'_>, raw: &RawService, service: &Service) -> Option<Settings> {
    if let (Deliver::Listener(_), Some(at)) = (&service.deliver, raw.health.as_ref()) {
        cx.report(at.position, "a service delivered to a listener has no backends to check; `health` stands at the listener's upstreams");
        return None;
    }
    let members = Members {
        ports: service.vip.port != 0,
        // Of one family, and to one address: the check's own connection is turned towards it. Translated packets arrive at
        // the backend's own address, as checks do by themselves.
        vip: !matches!(service.deliver, Deliver::Nat(_))
            && service.vip.is_one()
            && service.vip.ip.is_ipv4()
            && (service.deliver.backends().iter()).all(|one| one.address.is_ipv4()),
    };
    health::lower(cx, raw.health.as_ref(), members)
}

/// What tunnels say of this side; what is wrong with it is left as it is by default.
fn tunnel(cx: &mut Context<'_>, raw: Option<&At<RawTunnel>>) -> Tunnel {
    type With = fn(Tunnel, Prefix) -> Result<Tunnel, TunnelError>;

    let mut tunnel = Tunnel::default();
    let Some((_, raw)) = set(raw) else {
        return tunnel;
    };
    let sources: [(_, _, With); 2] = [
        ("source_v4", &raw.source_v4, Tunnel::with_source_v4),
        ("source_v6", &raw.source_v6, Tunnel::with_source_v6),
    ];
    for (key, text, with) in sources {
        let Some((at, text)) = set(text.as_ref()) else {
            continue;
        };
        let told = match text.parse::<Prefix>() {
            Err(error) => error.to_string(),
            Ok(prefix) => match with(tunnel, prefix) {
                Err(error) => error.to_string(),
                Ok(other) => {
                    tunnel = other;
                    continue;
                }
            },
        };
        cx.report(at, format!("`{key}`: {told}"));
    }
    if let Some((at, port)) = set(raw.gue_port.as_ref()) {
        match tunnel.with_gue_port(*port) {
            Err(error) => cx.report(at, format!("`gue_port`: {error}")),
            Ok(other) => tunnel = other,
        }
    }
    tunnel
}

fn service(
    cx: &mut Context<'_>,
    position: Position,
    raw: &RawService,
    listeners: &[ListenerConfig],
) -> Option<Service> {
    let connection_idle = cx.duration(
        "connection_idle",
        raw.connection_idle.as_ref(),
        CONNECTION_IDLE,
        CONNECTION_IDLES,
    );
    let drain_limit = raw.drain_limit.as_ref();
    let drain_limit = set(drain_limit).is_some().then(|| {
        let (_, most) = DRAIN_LIMITS;
        cx.duration("drain_limit", drain_limit, most, DRAIN_LIMITS)
    });
    let name = cx.required(position, "name", raw.name.as_ref());
    if let Some((at, name)) = name {
        check_name(cx, at, name);
    }
    let vip = cx
        .required(position, "vip", raw.vip.as_ref())
        .and_then(|(at, text)| match text.parse::<Vip>() {
            Ok(vip) => Some((at, vip)),
            Err(error) => {
                cx.report(at, format!("the VIP `{text}` does not fit: {error}"));
                None
            }
        });
    if let Some((at, vip)) = &vip {
        told(cx, *at, vip.check());
    }
    let is_nat = matches!(set(raw.deliver.as_ref()), Some((_, RawDeliver::Nat)));
    if !is_nat {
        nat::refuse(cx, raw);
    }
    let (places, backends): (Vec<_>, Vec<_>) = backends(cx, raw).into_iter().unzip();
    let listed = items(raw.backends.as_ref()).next().map(|(at, _)| at);
    let deliver = match cx.required(position, "deliver", raw.deliver.as_ref())? {
        (at, RawDeliver::Listener(listener)) => {
            if let Some(at) = listed {
                cx.report(at, "a service delivered to a listener has no `backends`; the listener's upstreams are its backends");
            }
            match listeners.iter().find(|one| &*one.name == listener) {
                None => cx.report(at, format!("there is no listener `{listener}`")),
                Some(found) => {
                    if let Some((vip_at, vip)) = &vip {
                        steerable(cx, *vip_at, vip, found.address, listener);
                    }
                }
            }
            Deliver::Listener(listener.clone())
        }
        (_, RawDeliver::L2) => Deliver::L2(backends),
        (_, RawDeliver::Ipip) => Deliver::Ipip(backends),
        (_, RawDeliver::Gue) => Deliver::Gue(backends),
        (_, RawDeliver::Nat) => Deliver::Nat(nat::lower(cx, raw, backends)),
    };
    if raw.backends.is_none() && !matches!(deliver, Deliver::Listener(_)) {
        cx.report(position, "`backends` is missing here; write `backends: []` for a service that drops everything for now");
    }
    if let Some((at, vip)) = &vip {
        told(cx, *at, deliver.check(*vip));
        for (at, backend) in places.iter().zip(deliver.backends()) {
            told(cx, *at, deliver.takes(*vip, backend.address));
        }
    }
    Some(Service {
        name: name?.1.clone(),
        vip: vip?.1,
        deliver,
        affinity: match set(raw.affinity.as_ref()) {
            None | Some((_, RawAffinity::Flow)) => Affinity::Flow,
            Some((_, RawAffinity::Client)) => Affinity::Client,
        },
        connection_idle,
        drain_limit,
        // What checks say is no matter of the file.
        reduced: BTreeMap::new(),
        allow_host_address: matches!(set(raw.allow_host_address.as_ref()), Some((_, true))),
    })
}

/// Reports what the datapath itself would refuse, at its place.
fn told(cx: &mut Context<'_>, at: Position, checked: Result<(), ServiceError>) {
    if let Err(error) = checked {
        cx.report(at, error.to_string());
    }
}

/// The kernel hands a connection only to a socket that could have accepted it (bpf_sk_assign in bpf-helpers(7)).
fn steerable(
    cx: &mut Context<'_>,
    position: Position,
    vip: &Vip,
    listen: SocketAddr,
    listener: &str,
) {
    if vip.ip.is_ipv6() && listen.is_ipv4() {
        cx.report(
            position,
            format!("the listener `{listener}` listens on {listen} and cannot take IPv6; let it listen on `[::]:{}`, which takes both", listen.port()),
        );
    }
}

/// The backends, each with its address's place.
fn backends(cx: &mut Context<'_>, raw: &RawService) -> Vec<(Position, Backend)> {
    let mut backends: Vec<(Position, Backend)> = Vec::new();
    for (at, raw) in items(raw.backends.as_ref()) {
        if let Some((at, backend)) = backend(cx, at, raw) {
            let mut others = backends.iter();
            if others.any(|(_, other)| other.address == backend.address) {
                told(cx, at, Err(ServiceError::SharedBackend(backend.address)));
            }
            backends.push((at, backend));
        }
    }
    backends
}

fn backend(
    cx: &mut Context<'_>,
    position: Position,
    raw: &RawBackend,
) -> Option<(Position, Backend)> {
    let weight = set(raw.weight.as_ref());
    let (at, text) = cx.required(position, "address", raw.address.as_ref())?;
    let Ok(address) = text.parse::<IpAddr>() else {
        cx.report(
            at,
            format!("the backend address `{text}` is not an IP address"),
        );
        return None;
    };
    let backend = Backend {
        address,
        weight: weight.map_or(1, |(_, weight)| *weight),
        drain: set(raw.drain.as_ref()).is_some_and(|(_, drain)| *drain),
    };
    let checked = backend.check();
    let place = match (&checked, weight) {
        (Err(ServiceError::Weight(..)), Some((place, _))) => place,
        _ => at,
    };
    told(cx, place, checked);
    Some((at, backend))
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_the_datapath_refuses_is_a_mistake_with_its_place() {
        let source = "version: 1
datapath:
  interfaces: [eth0]
  services:
    - name: a
      vip: 240.0.0.1:80/tcp
      deliver: ipip
      backends:
        - address: 169.254.1.1
        - address: '::ffff:192.0.2.1'
        - { address: 10.0.0.1, weight: 1001 }
    - name: b
      vip: 192.0.2.7:80/udp
      deliver: l2
      backends: [{ address: 192.0.2.7 }, { address: 'fd00::1' }, { address: 10.0.0.1 }, { address: 10.0.0.1 }]
    - name: c
      vip: '[fe80::1]:80/tcp'
      deliver: ipip
      backends: []
";
        let text = crate::config::parse(Path::new("t.yaml"), source, crate::app::CHECKS)
            .unwrap_err()
            .to_string();
        for expected in [
            "t.yaml:6:12: the VIP 240.0.0.1:80/tcp cannot be balanced: it is reserved",
            "t.yaml:9:20: the backend 169.254.1.1 cannot be reached: it is a link-local address",
            "t.yaml:10:20: the backend ::ffff:192.0.2.1 cannot be reached: it is an IPv4 address in IPv6's clothes, which no wire carries; write 192.0.2.1",
            "t.yaml:11:40: `weight: 1001` of the backend 10.0.0.1 is out of range",
            "t.yaml:15:29: the backend 192.0.2.7 is the service's own address",
            "t.yaml:15:53: the VIP 192.0.2.7:80/udp and the backend fd00::1 are of different IP versions",
            "t.yaml:15:100: the backend 10.0.0.1 stands twice",
            "t.yaml:17:12: the VIP [fe80::1]:80/tcp cannot be balanced: it is a link-local address",
        ] {
            assert!(text.contains(expected), "{expected} is not in:\n{text}");
        }
        assert!(text.ends_with("8 mistakes in t.yaml"), "{text}");
    }

    /// What a service may say.
    fn with(services: &str) -> Result<Model, String> {
        model(&format!("  services:\n{services}"))
    }

    /// What `tunnel` may say.
    fn with_tunnel(said: &str) -> Result<Tunnel, String> {
        model(&format!("  tunnel: {said}\n")).map(|model| model.tunnel)
    }

    /// What these lines of `datapath` mean, over a configuration that has nothing else wrong.
    fn model(lines: &str) -> Result<Model, String> {
        let source = format!(
            "version: 1
listeners:
  edge:
    listen: 127.0.0.1:8443
    plaintext: true
    routes: [{{ name: all, token: none, upstream: api }}]
upstreams:
  api: {{ endpoints: [127.0.0.1:8080] }}
datapath:
  interfaces: [eth0]
{lines}"
        );
        match crate::config::parse(Path::new("t.yaml"), &source, crate::app::CHECKS) {
            Ok(config) => Ok(config.datapath.unwrap().model),
            Err(mistakes) => Err(mistakes.to_string()),
        }
    }

    #[test]
    fn tunnels_say_where_they_come_from() {
        let said = |text| {
            let tunnel = with_tunnel(text).unwrap();
            let [v4, v6] = tunnel.sources().map(|one| one.to_string());
            (v4, v6, tunnel.gue_port())
        };
        let all = |v4: &str, v6: &str, port| (v4.to_owned(), v6.to_owned(), port);
        assert_eq!(said("{}"), all("172.16.0.0/16", "100::/64", 6080));
        assert_eq!(
            said("{ source_v4: 10.9.8.0/24, source_v6: 'fd00:1::/96', gue_port: 6635 }"),
            all("10.9.8.0/24", "fd00:1::/96", 6635)
        );
        assert_eq!(
            said("{ source_v4: 10.9.8.7 }"),
            all("10.9.8.7", "100::/64", 6080)
        );
    }

    #[test]
    fn what_tunnels_may_not_say_is_told() {
        for (said, expected) in [
            (
                "{ source_v4: 10.0.0.0/8 }",
                "`source_v4`: 10.0.0.0/8 is no IPv4 prefix of 16 to 32 bits",
            ),
            (
                "{ source_v4: 10.9.8.7/24 }",
                "`source_v4`: `10.9.8.7/24` is no prefix, for bits are set behind its length; write 10.9.8.0/24",
            ),
            (
                "{ source_v6: 'fd00::1' }",
                "`source_v6`: fd00::1 is no IPv6 prefix of 16 to 96 bits",
            ),
            (
                "{ source_v6: 'fe80::/64' }",
                "`source_v6`: nothing can come from fe80::/64: it is a link-local address",
            ),
            ("{ gue_port: 0 }", "`gue_port`: port 0 is no port"),
            ("{ gue_port: 65536 }", "gue_port"),
            ("{ source: 10.9.0.0/16 }", "source"),
        ] {
            let text = with_tunnel(said).unwrap_err();
            assert!(text.contains(expected), "{said}: {text}");
            assert!(text.contains("t.yaml:11:"), "{said}: {text}");
            assert!(text.ends_with("1 mistake in t.yaml"), "{said}: {text}");
        }
    }

    #[test]
    fn services_say_how_their_flows_are_kept() {
        let model = with("
    - { name: a, vip: '203.0.113.1:443/tcp', deliver: ipip, backends: [{ address: 10.0.0.1 }] }
    - { name: b, vip: '203.0.113.2:*/udp', deliver: gue, backends: [{ address: 10.0.0.1 }, { address: 'fd00::1' }], affinity: client, connection_idle: 90s, drain_limit: 15m }
    - { name: c, vip: '192.0.2.0/24:443/tcp', deliver: l2, backends: [{ address: 10.0.0.1 }], affinity: flow, connection_idle: 1s }
    - { name: d, vip: '[2001:db8::/64]:*/tcp', deliver: gue, backends: [], connection_idle: 24h }
    - { name: e, vip: '192.0.2.128/25:*/tcp', deliver: { listener: edge } }
").unwrap();
        let said: Vec<_> = model
            .services
            .iter()
            .map(|one| {
                (
                    one.vip.to_string(),
                    one.deliver.word(),
                    one.affinity,
                    one.connection_idle.as_secs(),
                )
            })
            .collect();
        let limits = model.services.iter().map(|one| one.drain_limit);
        let limits: Vec<_> = limits.collect();
        let quarter = Some(Duration::from_secs(900));
        assert_eq!(limits, [None, quarter, None, None, None]);
        let hour = 3600;
        assert_eq!(
            said,
            [
                (
                    "203.0.113.1:443/tcp".to_owned(),
                    "ipip",
                    Affinity::Flow,
                    hour
                ),
                ("203.0.113.2:*/udp".to_owned(), "gue", Affinity::Client, 90),
                ("192.0.2.0/24:443/tcp".to_owned(), "l2", Affinity::Flow, 1),
                (
                    "[2001:db8::/64]:*/tcp".to_owned(),
                    "gue",
                    Affinity::Flow,
                    24 * hour
                ),
                (
                    "192.0.2.128/25:*/tcp".to_owned(),
                    "listener",
                    Affinity::Flow,
                    hour
                ),
            ]
        );
        assert_eq!(model.services[1].deliver.backends().len(), 2);
        assert_eq!(model.check(), Ok(()));
    }

    #[test]
    fn a_node_that_only_balances_needs_no_listener() {
        let service = "
  services:
    - { name: a, vip: '203.0.113.1:443/tcp', deliver: ipip, backends: [{ address: 10.0.0.1 }] }";
        for listeners in ["", "listeners: {}\n"] {
            let parse = |services: &str| {
                let source =
                    format!("version: 1\n{listeners}datapath:\n  interfaces: [eth0]{services}\n");
                crate::config::parse(Path::new("t.yaml"), &source, crate::app::CHECKS)
            };
            let config = parse(service).unwrap();
            assert!(config.listeners.is_empty());
            assert_eq!(config.datapath.unwrap().model.services.len(), 1);
            for nothing in ["", "\n  services: []"] {
                let text = parse(nothing).unwrap_err().to_string();
                assert!(
                    text.contains(
                        "`listeners` is missing or empty, and no `datapath` has `services`"
                    ) && text.ends_with("1 mistake in t.yaml"),
                    "{text}"
                );
            }
            let steered = service.replace("deliver: ipip", "deliver: { listener: edge }");
            let text = parse(&steered.replace(", backends: [{ address: 10.0.0.1 }]", ""));
            let text = text.unwrap_err().to_string();
            assert!(text.contains("there is no listener `edge`"), "{text}");
        }
    }

    #[test]
    fn what_services_may_not_say_is_told() {
        for (said, expected) in [
            (
                "connection_idle: 999ms",
                "`connection_idle: 999ms` is out of range; allowed are 1s to 1day",
            ),
            (
                "connection_idle: 24h 1s",
                "`connection_idle: 24h 1s` is out of range",
            ),
            (
                "connection_idle: soon",
                "`connection_idle: soon` is not a duration",
            ),
            (
                "drain_limit: 999ms",
                "`drain_limit: 999ms` is out of range; allowed are 1s to 7days",
            ),
            ("drain_limit: soon", "`drain_limit: soon` is not a duration"),
            ("affinity: source", "source"),
            (
                "vip: '203.0.113.1/24:443/tcp'",
                "write 203.0.113.0/24:443/tcp",
            ),
            (
                "vip: '8.0.0.0/7:443/tcp'",
                "is a prefix of fewer than 8 bits",
            ),
            (
                "vip: '[2001::/15]:443/tcp'",
                "is a prefix of fewer than 16 bits",
            ),
            (
                "vip: '203.0.113.1:0/tcp'",
                "port 0 is no port; name one, or write * for any",
            ),
            ("vip: '203.0.113.1:443'", "lacks its protocol"),
            (
                "vip: '203.0.113.0/33:443/tcp'",
                "is not an address with a port",
            ),
            (
                "vip: '10.0.0.0/8:443/tcp'",
                "the backend 10.0.0.1 is the service's own address",
            ),
        ] {
            let vip = if said.starts_with("vip") {
                ""
            } else {
                "vip: '203.0.113.1:443/tcp', "
            };
            let text = with(&format!(
                "    - {{ name: a, {vip}{said}, deliver: ipip, backends: [{{ address: 10.0.0.1 }}] }}\n"
            ))
            .unwrap_err();
            assert!(text.contains(expected), "{said}: {text}");
            assert!(text.ends_with("1 mistake in t.yaml"), "{said}: {text}");
        }
    }
}
