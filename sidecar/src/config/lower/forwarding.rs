//! `trusted_forwarders` and `trust_client_cert` of a listener, and `response` of its routes: what passes between us and
//! those around us.

use tollgate_auth::header::forwarded::{Forwarders, parse_net};
use tollgate_auth::header::response::{Change, ResponseRules, check, check_value};
use tollgate_http::fields::Field;

use super::context::{Context, items, lacks_items, set};
use crate::config::node::At;
use crate::config::raw::{RawListener, RawResponse};

/// Whose word on where a client is counts.
pub(super) fn forwarders(cx: &mut Context<'_>, raw: Option<&At<Vec<At<String>>>>) -> Forwarders {
    let mut networks = Vec::new();
    for (at, text) in items(raw) {
        match parse_net(text) {
            Ok(network) if networks.contains(&network) => {
                cx.report(at, format!("the forwarder `{text}` stands twice"));
            }
            Ok(network) => networks.push(network),
            Err(error) => cx.report(at, format!("in `trusted_forwarders`, {error}")),
        }
    }
    Forwarders::new(networks)
}

/// Whether forwarders speak for their clients' certificates too. Where nobody is one, nobody would.
pub(super) fn trust_client_cert(cx: &mut Context<'_>, raw: &RawListener) -> bool {
    let Some((at, true)) = set(raw.trust_client_cert.as_ref()) else {
        return false;
    };
    if lacks_items(raw.trusted_forwarders.as_ref()) {
        cx.report(
            at,
            "`trust_client_cert: true` stands without `trusted_forwarders`; name there whose `Client-Cert` is believed, or remove it",
        );
    }
    true
}

/// What is made of answers. Names are compared without case; each may stand once.
pub(super) fn response(cx: &mut Context<'_>, raw: Option<&At<RawResponse>>) -> ResponseRules {
    let Some((_, raw)) = set(raw) else {
        return ResponseRules::default();
    };
    let mut fields: Vec<Field> = Vec::new();
    for (key, value) in set(raw.set.as_ref())
        .map(|(_, named)| &named.0)
        .into_iter()
        .flatten()
    {
        let Some(name) = &key.value else { continue };
        if let Err(error) = check(name, Change::Set) {
            cx.report(
                key.position,
                format!("an answer's field cannot be set: {error}"),
            );
        }
        if fields.iter().any(|field| field.is(name)) {
            cx.report(
                key.position,
                format!("`{name}` is set twice; keep one of them"),
            );
        }
        let Some(text) = &value.value else { continue };
        match check_value(text) {
            Ok(value) => fields.push(Field {
                name: name.to_ascii_lowercase().into(),
                value,
            }),
            Err(error) => cx.report(value.position, format!("`{name}` cannot be set: {error}")),
        }
    }
    let mut removed: Vec<String> = Vec::new();
    for (at, name) in items(raw.remove.as_ref()) {
        if let Err(error) = check(name, Change::Remove) {
            cx.report(at, format!("an answer's field cannot be removed: {error}"));
        }
        if fields.iter().any(|field| field.is(name)) {
            cx.report(
                at,
                format!(
                    "`{name}` is set as well, which replaces what the API said; keep one of the two"
                ),
            );
        }
        let name = name.to_ascii_lowercase();
        if removed.contains(&name) {
            cx.report(at, format!("`{name}` is removed twice; keep one of them"));
        }
        removed.push(name);
    }
    ResponseRules::new(fields, removed)
}
