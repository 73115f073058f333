//! `upstreams:`

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tollgate_auth::header::assertion::Rules;
use tollgate_auth::header::forwarded::Style;

use super::assertion;
use super::context::{Context, items, names, set};
use super::health::{self, Members};
use crate::config::diagnostic::Position;
use crate::config::node::{At, Named};
use crate::config::raw::{RawBalance, RawForwarded, RawProtocol, RawUpstream};
use crate::health::settings::Settings;
use crate::upstream::endpoint::{Balance, Timeouts, Upstream};

/// An upstream, and what others do for it.
pub(super) struct Told {
    pub(super) upstream: Upstream,
    /// What is signed for it.
    pub(super) assertion: Option<Arc<Rules>>,
    /// How its endpoints are checked.
    pub(super) health: Option<Settings>,
}

/// Endpoints are asked where they are.
const ENDPOINTS: Members = Members {
    ports: true,
    vip: false,
};

pub(super) fn lower(
    cx: &mut Context<'_>,
    raw: Option<&At<Named<RawUpstream>>>,
) -> (Vec<Told>, HashMap<String, usize>) {
    let (list, index) = names(cx, raw);
    let upstreams = list
        .into_iter()
        .map(|(name, position, raw)| Told {
            upstream: upstream(cx, name, position, raw),
            assertion: assertion::rules(cx, name, raw.assertion.as_ref()),
            health: health::lower(cx, raw.health.as_ref(), ENDPOINTS),
        })
        .collect();
    (upstreams, index)
}

fn upstream(cx: &mut Context<'_>, name: &str, position: Position, raw: &RawUpstream) -> Upstream {
    cx.not_yet("discovery", raw.discovery.as_ref());
    let mut endpoints = Vec::new();
    for (at, text) in items(raw.endpoints.as_ref()) {
        match text.parse() {
            Ok(address) if std::net::SocketAddr::port(&address) == 0 => {
                cx.report(at, format!("the endpoint `{text}` has port 0, which nothing listens on; name the API's port"));
            }
            Ok(address) if address.ip().is_unspecified() => {
                cx.report(at, format!("the endpoint `{text}` is the address to listen on everywhere, not one to connect to; for this host say `127.0.0.1` or `[::1]`"));
            }
            Ok(address) if endpoints.contains(&address) => {
                cx.report(at, format!("the endpoint `{text}` stands twice"));
            }
            Ok(address) => endpoints.push(address),
            Err(_) => cx.report(
                at,
                format!("the endpoint `{text}` is not an address with a port such as `10.0.0.7:8080` or `[fd00::7]:8080`; names are not available in this version"),
            ),
        }
    }
    match &raw.endpoints {
        None => cx.report(position, "`endpoints` is missing here"),
        Some(list) if list.value.as_ref().is_some_and(Vec::is_empty) => {
            cx.report(list.position, "`endpoints` is empty; name at least one");
        }
        Some(_) => {}
    }
    if let Some((at, protocol @ (RawProtocol::H2c | RawProtocol::H2))) = set(raw.protocol.as_ref())
    {
        let name = if matches!(protocol, RawProtocol::H2) {
            "h2"
        } else {
            "h2c"
        };
        cx.report(
            at,
            format!("`protocol: {name}` is not available in this version; use `http1`"),
        );
    }
    let balance = match set(raw.balance.as_ref()) {
        None | Some((_, RawBalance::P2c)) => Balance::P2c,
        Some((_, RawBalance::RoundRobin)) => Balance::RoundRobin,
        Some((at, RawBalance::Maglev)) => {
            cx.report(
                at,
                "`balance: maglev` is not available in this version; use `p2c` or `round_robin`",
            );
            Balance::P2c
        }
    };
    let timeouts = set(raw.timeouts.as_ref()).map(|(_, timeouts)| timeouts);
    let range = (Duration::from_millis(1), Duration::from_secs(24 * 3600));
    let defaults = Timeouts::default();
    let forwarded = match set(raw.forwarded.as_ref()) {
        None | Some((_, RawForwarded::XForwarded)) => Style::XForwarded,
        Some((_, RawForwarded::Rfc7239)) => Style::Rfc7239,
        Some((_, RawForwarded::Both)) => Style::Both,
    };
    Upstream {
        name: name.into(),
        forwarded,
        endpoints,
        balance,
        timeouts: Timeouts {
            connect: cx.duration(
                "connect",
                timeouts.and_then(|all| all.connect.as_ref()),
                defaults.connect,
                range,
            ),
            first_byte: cx.duration(
                "first_byte",
                timeouts.and_then(|all| all.first_byte.as_ref()),
                defaults.first_byte,
                range,
            ),
            idle: cx.duration(
                "idle",
                timeouts.and_then(|all| all.idle.as_ref()),
                defaults.idle,
                range,
            ),
        },
    }
}
