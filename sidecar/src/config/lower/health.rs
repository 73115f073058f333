//! `health:` of services and upstreams.

use std::time::Duration;

use super::context::{Context, items, set};
use crate::config::diagnostic::Position;
use crate::config::node::At;
use crate::config::raw::health::{RawHealth, RawHealthTls, RawStatuses, RawVia};
use crate::health::settings::{Grpc, Http, Panic, Probe, Rules, Settings, Tls, Trust, Via};

/// What a member is, as far as its checks depend on it.
#[derive(Clone, Copy)]
pub(super) struct Members {
    /// They have ports of their own: a check need not name one.
    pub(super) ports: bool,
    /// Checks can go to the service's address by the way that its clients' packets take, and do unless the file says
    /// otherwise.
    pub(super) vip: bool,
}

const INTERVALS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(3600));
const TIMEOUTS: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(60));
const SLOW_STARTS: (Duration, Duration) = (Duration::ZERO, Duration::from_secs(3600));

pub(super) fn lower(
    cx: &mut Context<'_>,
    raw: Option<&At<RawHealth>>,
    members: Members,
) -> Option<Settings> {
    let (position, raw) = set(raw)?;
    let interval = cx.duration(
        "interval",
        raw.interval.as_ref(),
        Duration::from_secs(5),
        INTERVALS,
    );
    let timeout = cx.duration(
        "timeout",
        raw.timeout.as_ref(),
        interval.min(Duration::from_secs(1)),
        TIMEOUTS,
    );
    if timeout > interval {
        let at = set(raw.timeout.as_ref()).map_or(position, |(at, _)| at);
        let show = humantime::format_duration;
        cx.report(at, format!("a check may take {} and the next one is due after {}; let `timeout` be at most `interval`", show(timeout), show(interval)));
    }
    let rules = Rules {
        unhealthy: count(cx, "unhealthy", raw.unhealthy.as_ref(), 3),
        healthy: count(cx, "healthy", raw.healthy.as_ref(), 2),
    };
    let slow_start = cx.duration(
        "slow_start",
        raw.slow_start.as_ref(),
        Duration::from_secs(30),
        SLOW_STARTS,
    );
    let panic = panic(cx, raw.panic.as_ref());
    let via = match set(raw.via.as_ref()) {
        None if members.vip => Via::Vip,
        None | Some((_, RawVia::Direct)) => Via::Direct,
        Some((_, RawVia::Vip)) if members.vip => Via::Vip,
        Some((at, RawVia::Vip)) => {
            cx.report(at, "`via: vip` is for services of one IPv4 address with backends of IPv4 addresses in this version; remove it");
            Via::Direct
        }
    };
    let probe = probe(cx, position, raw)?;
    // By the VIP a check goes to the service's port, and any port is none.
    if probe.port().is_none() && !members.ports {
        cx.report(
            position,
            "the service takes any port, so the check must name one: `port: …`",
        );
    }
    Some(Settings {
        probe,
        via,
        interval,
        timeout,
        rules,
        slow_start,
        panic,
    })
}

/// The lower half of marks: what others' marks are told by must not be in it.
pub(super) fn mark(cx: &mut Context<'_>, raw: Option<&At<u16>>) -> u16 {
    const DEFAULT: u16 = 0x67;
    /// Bits by which kube-proxy drops and masquerades.
    const KUBE_PROXY: u16 = 0xc000;

    match set(raw) {
        None => DEFAULT,
        Some((_, &mark)) if mark != 0 && mark & KUBE_PROXY == 0 => mark,
        Some((at, mark)) => {
            cx.report(at, format!("`health_mark: {mark}` is out of range; allowed are 1 to 16383: what is above are kube-proxy's own bits"));
            DEFAULT
        }
    }
}

fn probe(cx: &mut Context<'_>, position: Position, raw: &RawHealth) -> Option<Probe> {
    let asked = [
        ("tcp", raw.tcp.as_ref().map(|one| one.position)),
        ("path", raw.path.as_ref().map(|one| one.position)),
        ("grpc", raw.grpc.as_ref().map(|one| one.position)),
    ];
    let mut asked = asked.into_iter().filter_map(|(key, at)| Some((key, at?)));
    let Some((key, _)) = asked.next() else {
        cx.report(position, "what shall be asked is missing here: `tcp: PORT`, `path: /healthz` (HTTP), or `grpc: SERVICE`");
        return None;
    };
    if let Some((other, at)) = asked.next() {
        cx.report(
            at,
            format!("`{key}` and `{other}` are two checks; write one of them"),
        );
    }
    let is_http = key == "path";
    let (host, expect, tls) = (
        raw.host.as_ref().map(|one| one.position),
        raw.expect.as_ref().map(|one| one.position),
        raw.tls.as_ref().map(|one| one.position),
    );
    for (name, at, fits) in [
        ("host", host, key != "tcp"),
        ("tls", tls, key != "tcp"),
        ("expect", expect, is_http),
        (
            "port",
            raw.port.as_ref().map(|one| one.position),
            key != "tcp",
        ),
    ] {
        if let Some(at) = at.filter(|_| !fits) {
            let cure = match name {
                "port" => "`tcp` names the port itself",
                "expect" => "statuses are HTTP's",
                _ => "only a connection is opened",
            };
            cx.report(at, format!("`{name}` says nothing beside `{key}`: {cure}"));
        }
    }
    let tls = tls_of(cx, raw.tls.as_ref());
    let port = port(cx, "port", raw.port.as_ref());
    let host = host_of(cx, raw.host.as_ref());
    Some(match key {
        "tcp" => Probe::Tcp {
            port: port_or_none(port, self::port(cx, "tcp", raw.tcp.as_ref())),
        },
        "path" => Probe::Http(Http {
            port,
            path: path(cx, raw.path.as_ref()),
            host,
            expect: statuses(cx, raw.expect.as_ref()),
            tls,
        }),
        _ => Probe::Grpc(Grpc {
            port,
            service: service(cx, raw.grpc.as_ref()),
            host,
            tls,
        }),
    })
}

fn port_or_none(port: Option<u16>, tcp: Option<u16>) -> Option<u16> {
    tcp.or(port)
}

fn port(cx: &mut Context<'_>, key: &str, raw: Option<&At<u16>>) -> Option<u16> {
    let (at, &port) = set(raw)?;
    if port == 0 {
        cx.report(at, format!("`{key}: 0` is no port"));
    }
    Some(port)
}

fn count(cx: &mut Context<'_>, key: &str, raw: Option<&At<u32>>, default: u32) -> u32 {
    match set(raw) {
        None => default,
        Some((_, &count)) if (1..=100).contains(&count) => count,
        Some((at, count)) => {
            cx.report(
                at,
                format!("`{key}: {count}` is out of range; allowed are 1 to 100 checks in a row"),
            );
            default
        }
    }
}

fn panic(cx: &mut Context<'_>, raw: Option<&At<String>>) -> Panic {
    let Some((at, text)) = set(raw) else {
        return Panic::Below(0);
    };
    if text == "never" {
        return Panic::Never;
    }
    let percent = text.strip_suffix('%').and_then(|text| text.parse().ok());
    match percent {
        Some(percent @ 0..=100) => Panic::Below(percent),
        _ => {
            cx.report(at, format!("`panic: {text}` is neither a percentage such as `50%` nor `never`; `0%` is when no member is up"));
            Panic::Below(0)
        }
    }
}

fn path(cx: &mut Context<'_>, raw: Option<&At<String>>) -> String {
    let Some((at, path)) = set(raw) else {
        return "/".to_owned();
    };
    let is_written_as_sent = path
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && byte != b'#');
    if !path.starts_with('/') || !is_written_as_sent {
        cx.report(at, format!("`path: {path}` is no path of a request; it begins with `/`, and what is not ASCII stands in it as `%XX`"));
    }
    path.clone()
}

fn service(cx: &mut Context<'_>, raw: Option<&At<String>>) -> String {
    let Some((at, service)) = set(raw) else {
        return String::new();
    };
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'/');
    if service.len() > 255 || !service.bytes().all(fits) {
        cx.report(at, format!("`grpc: {service}` is no service's name; write it as `orders.v1.Orders`, or `\"\"` for the server as a whole"));
    }
    service.clone()
}

fn host_of(cx: &mut Context<'_>, raw: Option<&At<String>>) -> Option<String> {
    let (at, host) = set(raw)?;
    let is_authority = host
        .parse::<http::uri::Authority>()
        .is_ok_and(|authority| !authority.host().is_empty() && !host.contains('@'));
    if !is_authority {
        cx.report(
            at,
            format!("`host: {host}` is no host with or without a port"),
        );
    }
    Some(host.clone())
}

fn statuses(cx: &mut Context<'_>, raw: Option<&At<Vec<At<RawStatuses>>>>) -> Vec<(u16, u16)> {
    let Some((at, listed)) = set(raw) else {
        return vec![(200, 299)];
    };
    if listed.is_empty() {
        cx.report(at, "`expect` is empty; no answer would pass");
    }
    let mut statuses = Vec::new();
    for (at, one) in items(raw) {
        let range = match one {
            RawStatuses::One(status) => Some((*status, *status)),
            RawStatuses::Range(text) => {
                let ends = text.split_once('-');
                ends.and_then(|(first, last)| Some((first.parse().ok()?, last.parse().ok()?)))
            }
        };
        match range {
            Some((first, last)) if first >= 100 && first <= last && last <= 599 => {
                statuses.push((first, last));
            }
            _ => {
                let text = match one {
                    RawStatuses::One(status) => status.to_string(),
                    RawStatuses::Range(text) => text.clone(),
                };
                cx.report(
                    at,
                    format!(
                        "`{text}` is no status; write 204, or 200-399 for a range; from 100 to 599"
                    ),
                );
            }
        }
    }
    statuses
}

fn tls_of(cx: &mut Context<'_>, raw: Option<&At<RawHealthTls>>) -> Option<Tls> {
    let (_, raw) = set(raw)?;
    let insecure = set(raw.insecure.as_ref()).is_some_and(|(_, insecure)| *insecure);
    let trust = match set(raw.ca.as_ref()) {
        _ if insecure => {
            if let Some((at, _)) = set(raw.ca.as_ref()) {
                cx.report(at, "`ca` says who vouches for the server, and `insecure: true` that nobody has to; write one of them");
            }
            Trust::Nobody
        }
        None => Trust::System,
        Some((at, path)) => {
            let path = cx.path(path);
            let pem = cx.file(at, &path).unwrap_or_default();
            if !pem.is_empty()
                && let Err(why) = (cx.checks.client_ca)(&pem)
            {
                cx.report(at, format!("`{}`: {why}", path.display()));
            }
            Trust::Authorities(pem)
        }
    };
    let name = set(raw.name.as_ref()).map(|(at, name)| {
        if rustls_pki_types::ServerName::try_from(name.as_str()).is_err() {
            cx.report(
                at,
                format!("`name: {name}` is neither a host name nor an address"),
            );
        }
        name.clone()
    });
    Some(Tls { name, trust })
}

#[cfg(test)]
mod tests;
