//! `datapath:`

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use tollgate_datapath::model::{Backend, Deliver, Model, Proto, Service, Vip};
use tollgate_datapath::{Announce, Config, XdpMode};

use super::context::{Context, check_name, items, lacks_items, set};
use crate::config::diagnostic::Position;
use crate::config::model::{DatapathConfig, ListenerConfig};
use crate::config::node::At;
use crate::config::raw::{
    RawAffinity, RawAnnounce, RawBackend, RawDatapath, RawDeliver, RawService, RawXdp,
};

/// Where pins stand unless the file says otherwise.
const DEFAULT_BPFFS: &str = "/sys/fs/bpf/tollgate";

pub(super) fn lower(
    cx: &mut Context<'_>,
    raw: Option<&At<RawDatapath>>,
    listeners: &[ListenerConfig],
) -> Option<DatapathConfig> {
    let (position, raw) = set(raw)?;
    let interfaces: Vec<String> = items(raw.interfaces.as_ref())
        .map(|(_, name)| name.clone())
        .collect();
    if lacks_items(raw.interfaces.as_ref()) {
        cx.report(
            position,
            "`interfaces` is missing or empty; name the devices that packets arrive on",
        );
    }
    for (at, name) in items(raw.interfaces.as_ref()) {
        // IFNAMSIZ is 16 with its NUL (linux/if.h).
        if name.is_empty() || name.len() > 15 || name.contains(['/', ' ']) {
            cx.report(at, format!("`{name}` is not an interface name"));
        }
    }
    let mut services: Vec<Service> = Vec::new();
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
        services.push(service);
    }
    Some(DatapathConfig {
        attach: Config {
            interfaces,
            xdp: match set(raw.xdp.as_ref()) {
                None | Some((_, RawXdp::Auto)) => XdpMode::Auto,
                Some((_, RawXdp::Native)) => XdpMode::Native,
                Some((_, RawXdp::Generic)) => XdpMode::Generic,
            },
            bpffs: set(raw.bpffs.as_ref())
                .map_or_else(|| PathBuf::from(DEFAULT_BPFFS), |(_, path)| cx.path(path)),
            announce: match set(raw.announce.as_ref()) {
                None | Some((_, RawAnnounce::None)) => Announce::None,
                Some((_, RawAnnounce::Neighbour)) => Announce::Neighbour,
            },
        },
        model: Model { services },
    })
}

fn service(
    cx: &mut Context<'_>,
    position: Position,
    raw: &RawService,
    listeners: &[ListenerConfig],
) -> Option<Service> {
    cx.not_yet("connection_idle", raw.connection_idle.as_ref());
    cx.not_yet("health", raw.health.as_ref());
    if let Some((at, RawAffinity::Client)) = set(raw.affinity.as_ref()) {
        cx.report(
            at,
            "`affinity: client` is not available in this version; use `flow`",
        );
    }
    if let Some((at, true)) = set(raw.allow_host_address.as_ref()) {
        cx.report(
            at,
            "`allow_host_address` is not available in this version; give the service an address that no interface owns",
        );
    }
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
    if let Some((at, vip)) = &vip
        && (vip.ip.is_unspecified() || vip.ip.is_loopback() || vip.ip.is_multicast())
    {
        cx.report(
            *at,
            format!("the VIP {vip} cannot be balanced: it is not a unicast address of a network"),
        );
    }
    let backends = backends(cx, raw);
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
        (at, RawDeliver::Gue | RawDeliver::Nat) => {
            cx.report(
                at,
                "`deliver: gue` and `nat` are not available in this version; use `ipip` or `l2`",
            );
            return None;
        }
    };
    if raw.backends.is_none() && !matches!(deliver, Deliver::Listener(_)) {
        cx.report(position, "`backends` is missing here; write `backends: []` for a service that drops everything for now");
    }
    if let (Deliver::L2(list), Some((at, vip))) = (&deliver, &vip) {
        for backend in list {
            if backend.address.is_ipv4() != vip.ip.is_ipv4() {
                cx.report(
                    *at,
                    format!("the VIP {vip} and the backend {} are of different IP versions; `l2` sends packets as they are, so use `ipip`", backend.address),
                );
            }
        }
    }
    Some(Service {
        name: name?.1.clone(),
        vip: vip?.1,
        deliver,
    })
}

/// The kernel hands a connection only to a socket that could have accepted it (bpf_sk_assign in bpf-helpers(7)).
fn steerable(
    cx: &mut Context<'_>,
    position: Position,
    vip: &Vip,
    listen: SocketAddr,
    listener: &str,
) {
    if vip.proto != Proto::Tcp {
        cx.report(
            position,
            format!("the VIP {vip} is not TCP; the listener `{listener}` takes TCP only"),
        );
    }
    if vip.ip.is_ipv6() && listen.is_ipv4() {
        cx.report(
            position,
            format!("the listener `{listener}` listens on {listen} and cannot take IPv6; let it listen on `[::]:{}`, which takes both", listen.port()),
        );
    }
}

fn backends(cx: &mut Context<'_>, raw: &RawService) -> Vec<Backend> {
    let mut backends: Vec<Backend> = Vec::new();
    for (at, raw) in items(raw.backends.as_ref()) {
        cx.not_yet("port", raw.port.as_ref());
        if let Some(backend) = backend(cx, at, raw) {
            if backends
                .iter()
                .any(|other| other.address == backend.address)
            {
                cx.report(at, format!("the backend {} stands twice", backend.address));
            }
            backends.push(backend);
        }
    }
    backends
}

fn backend(cx: &mut Context<'_>, position: Position, raw: &RawBackend) -> Option<Backend> {
    let weight = match set(raw.weight.as_ref()) {
        None => 1,
        Some((_, &weight)) if (1..=1000).contains(&weight) => weight,
        Some((at, weight)) => {
            cx.report(at, format!("`weight: {weight}` is out of range; allowed are 1 to 1000; `drain: true` takes a backend out"));
            1
        }
    };
    let (at, text) = cx.required(position, "address", raw.address.as_ref())?;
    let Ok(address) = text.parse::<IpAddr>() else {
        cx.report(
            at,
            format!("the backend address `{text}` is not an IP address"),
        );
        return None;
    };
    Some(Backend {
        address,
        weight,
        drain: set(raw.drain.as_ref()).is_some_and(|(_, drain)| *drain),
    })
}
