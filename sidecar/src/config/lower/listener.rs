//! `listeners:`; their TLS in [`super::tls`], their routes in [`super::route`].

use std::time::Duration;

use tollgate_auth::policy::shadow::shadowed;

use super::answers;
use super::context::{Context, References, items, lacks_items, names, set};
use super::{forwarding, route, tls};
use crate::config::diagnostic::Position;
use crate::config::model::{ListenerConfig, RouteConfig};
use crate::config::node::{At, Named};
use crate::config::raw::RawListener;

/// `balances`: the datapath has services. A node that does nothing else needs no listener.
pub(super) fn lower(
    cx: &mut Context<'_>,
    raw: Option<&At<Named<RawListener>>>,
    references: &References<'_>,
    balances: bool,
) -> Vec<ListenerConfig> {
    let (list, _) = names(cx, raw);
    let is_empty = raw.is_none_or(|at| at.value.as_ref().is_some_and(|named| named.0.is_empty()));
    if is_empty && !balances {
        cx.report(
            raw.map_or_else(Position::default, |at| at.position),
            "`listeners` is missing or empty, and no `datapath` has `services`; name at least one of either",
        );
    }
    let mut listeners: Vec<ListenerConfig> = Vec::new();
    for (name, position, raw) in list {
        let Some(listener) = listener(cx, name, position, raw, references) else {
            continue;
        };
        if let Some(other) = listeners
            .iter()
            .find(|other| other.address == listener.address && listener.address.port() != 0)
        {
            cx.report(
                position,
                format!(
                    "the listener `{name}` listens on {}, as `{}` does",
                    listener.address, other.name
                ),
            );
        }
        listeners.push(listener);
    }
    listeners
}

fn listener(
    cx: &mut Context<'_>,
    name: &str,
    position: Position,
    raw: &RawListener,
    references: &References<'_>,
) -> Option<ListenerConfig> {
    let address = cx
        .required(position, "listen", raw.listen.as_ref())
        .and_then(|(at, text)| cx.socket_address("listen", at, text));
    let trusted_forwarders = forwarding::forwarders(cx, raw.trusted_forwarders.as_ref());
    let trust_client_cert = forwarding::trust_client_cert(cx, raw);
    let plaintext = set(raw.plaintext.as_ref());
    let tls = match (&raw.tls, plaintext) {
        (Some(_), Some((at, true))) => {
            cx.report(
                at,
                "`plaintext: true` stands beside `tls`; remove one of them",
            );
            None
        }
        (Some(at), _) => at
            .value
            .as_ref()
            .and_then(|tls| tls::lower(cx, at.position, tls)),
        (None, Some((_, true))) => None,
        (None, _) => {
            cx.report(
                position,
                "this listener has no `tls`; add it, or say `plaintext: true` if tokens may cross this wire in the clear",
            );
            None
        }
    };
    let timeouts = set(raw.timeouts.as_ref()).map(|(_, timeouts)| timeouts);
    let range = (Duration::from_millis(100), Duration::from_secs(300));
    let handshake_timeout = cx.duration(
        "handshake",
        timeouts.and_then(|all| all.handshake.as_ref()),
        Duration::from_secs(10),
        range,
    );
    let head_timeout = cx.duration(
        "head",
        timeouts.and_then(|all| all.head.as_ref()),
        Duration::from_secs(10),
        range,
    );
    let idle_timeout = cx.duration(
        "idle",
        timeouts.and_then(|all| all.idle.as_ref()),
        Duration::from_secs(60),
        (Duration::from_secs(1), Duration::from_secs(3600)),
    );
    let resource = answers::resource(cx, raw.resource.as_ref());
    let defaults = route::Defaults::lower(
        cx,
        set(raw.defaults.as_ref()).map(|(_, defaults)| defaults),
        references,
    );
    let mut routes: Vec<RouteConfig> = Vec::new();
    let mut sound = Vec::new();
    for (at, raw) in items(raw.routes.as_ref()) {
        let before = cx.found.len();
        let Some(route) = route::lower(cx, at, raw, &defaults, references) else {
            continue;
        };
        if routes.iter().any(|other| other.name == route.name) {
            cx.report(
                at,
                format!("the route `{}` stands twice in this listener", route.name),
            );
        }
        if cx.found.len() == before {
            sound.push((at, route.clone()));
        }
        routes.push(route);
    }
    let publish_jwks = matches!(set(raw.publish_jwks.as_ref()), Some((_, true)));
    answers::hidden_routes(cx, resource.as_ref(), publish_jwks, &sound);
    unreachable_routes(cx, sound);
    if lacks_items(raw.routes.as_ref()) {
        cx.report(
            raw.routes.as_ref().map_or(position, |at| at.position),
            "`routes` is missing or empty here; without one every request is a 404",
        );
    }
    Some(ListenerConfig {
        name: name.into(),
        address: address?,
        tls,
        trusted_forwarders,
        trust_client_cert,
        response: defaults.response,
        handshake_timeout,
        head_timeout,
        idle_timeout,
        resource,
        texts: defaults.texts,
        publish_jwks,
        routes,
    })
}

/// Looks at routes without another mistake only: one whose match did not fit stands for another match.
fn unreachable_routes(cx: &mut Context<'_>, routes: Vec<(Position, RouteConfig)>) {
    let (named, matches): (Vec<_>, Vec<_>) = routes
        .into_iter()
        .map(|(at, route)| ((at, route.name), route.matches))
        .unzip();
    for one in shadowed(&matches) {
        let (at, name) = &named[one.route];
        let by: Vec<String> = one
            .by
            .iter()
            .map(|by| format!("`{}`", named[*by].1))
            .collect();
        let by = by.join(", ");
        cx.report(
            *at,
            if one.same {
                format!("the route `{name}` can never be reached: {by} before it has the same hosts, path and methods; remove one of them, or make one more specific")
            } else {
                format!("the route `{name}` can never be reached: {by} before it, equally specific, take every request that it matches; remove it, or move it before them")
            },
        );
    }
}
