//! `match:` of a route, and the form of the paths that it is compared with.

use std::net::{Ipv4Addr, Ipv6Addr};

use tollgate_auth::policy::matcher::{HostMatch, PathMatch, RouteMatch, Template};
use tollgate_auth::policy::normalization::{EncodedSlash, Normalization};
use tollgate_http::Method;
use tollgate_http::head::{Authority, HeadError};

use super::context::{Context, items, set};
use crate::config::node::{At, StrOr};
use crate::config::raw::{RawEncodedSlash, RawMatch, RawNormalization, RawPath};

/// The `match:` of a route; without one it takes everything.
pub(super) fn lower(
    cx: &mut Context<'_>,
    raw: Option<&At<RawMatch>>,
    normalization: Normalization,
) -> RouteMatch {
    let raw = set(raw).map(|(_, raw)| raw);
    let mut hosts = Vec::new();
    for (at, text) in items(raw.and_then(|all| all.hosts.as_ref())) {
        match host(text) {
            Ok(host) => hosts.push(host),
            Err(why) => cx.report(
                at,
                format!("the host `{text}` does not fit: {why}; write a name without a port, such as `api.example.com` or `*.example.com`"),
            ),
        }
    }
    let path_at = set(raw.and_then(|all| all.path.as_ref()));
    let path = match path_at {
        None => PathMatch::Any,
        Some((at, path)) => {
            let pattern = match path {
                StrOr::Str(text) | StrOr::Other(RawPath::Prefix(text)) => PathMatch::prefix(text),
                StrOr::Other(RawPath::Exact(text)) => PathMatch::exact(text),
                StrOr::Other(RawPath::Template(text)) => {
                    Template::parse(text).map(PathMatch::Template)
                }
            };
            pattern.unwrap_or_else(|error| {
                cx.report(at, error.to_string());
                PathMatch::Any
            })
        }
    };
    let mut methods = Vec::new();
    for (at, text) in items(raw.and_then(|all| all.methods.as_ref())) {
        match Method::parse(text.as_bytes()) {
            Ok(method) if !method.is_passed_on() => cx.report(
                at,
                format!("the method `{text}` is never passed on (CONNECT, TRACE and TRACK are not); remove it"),
            ),
            Ok(method) if *text == text.to_ascii_uppercase() => methods.push(method),
            _ => cx.report(
                at,
                format!("the method `{text}` does not fit; methods are case-sensitive and upper-case, such as `GET`"),
            ),
        }
    }
    let matches = RouteMatch {
        hosts,
        path,
        methods,
        normalization,
    };
    if let (Some((at, _)), Err(error)) = (path_at, matches.check()) {
        cx.report(at, error.to_string());
    }
    matches
}

/// Key by key: what the route does not say, it inherits.
pub(super) fn normalization(
    raw: Option<&At<RawNormalization>>,
    inherited: Normalization,
) -> Normalization {
    let raw = set(raw).map(|(_, raw)| raw);
    Normalization {
        encoded_slash: match raw.and_then(|all| set(all.encoded_slash.as_ref())) {
            None => inherited.encoded_slash,
            Some((_, RawEncodedSlash::Refuse)) => EncodedSlash::Refuse,
            Some((_, RawEncodedSlash::Keep)) => EncodedSlash::Keep,
        },
        merge_slashes: raw
            .and_then(|all| set(all.merge_slashes.as_ref()))
            .map_or(inherited.merge_slashes, |(_, &said)| said),
    }
}

/// A host in the form that requests' hosts are brought into, so that it can match.
fn host(text: &str) -> Result<HostMatch, &'static str> {
    let (wildcard, name) = match text.strip_prefix("*.") {
        Some(suffix) => (true, suffix),
        None => (false, text),
    };
    let bare = name
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(name);
    let address = bare.parse::<Ipv6Addr>();
    let host = match &address {
        Ok(address) => address.to_string(),
        Err(_) if name.contains(':') => return Err("it holds a colon and is no IPv6 address"),
        Err(_) => match Authority::parse(name.as_bytes()) {
            Ok(authority) => authority.host().to_owned(),
            Err(HeadError::Authority(why)) => return Err(why),
            Err(HeadError::Method) => return Err("it is no host"),
        },
    };
    match wildcard {
        false => Ok(HostMatch::Exact(host)),
        true if address.is_ok() || host.parse::<Ipv4Addr>().is_ok() => {
            Err("nothing stands below an address")
        }
        true => Ok(HostMatch::Wildcard(host)),
    }
}
