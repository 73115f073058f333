//! `routes:` and the `defaults:` that they inherit.

use std::net::{Ipv4Addr, Ipv6Addr};

use tollgate_auth::header::inject::Injection;
use tollgate_auth::policy::matcher::{HostMatch, PathMatch, RouteMatch, Template};
use tollgate_auth::policy::rule::Requirement;
use tollgate_auth::token::claims::ClaimPath;
use tollgate_http::Method;
use tollgate_http::head::{Authority, HeadError};

use super::context::{Context, References, check_name, items, known, set};
use super::inject;
use super::token::{self, Token};
use crate::config::diagnostic::Position;
use crate::config::model::RouteConfig;
use crate::config::node::{At, StrOr};
use crate::config::raw::{RawDefaults, RawMatch, RawPath, RawRequire, RawRoute};

/// What routes inherit unless they say otherwise.
pub(super) struct Defaults {
    token: Token,
    require: Requirement,
    inject: Vec<Injection>,
}

impl Defaults {
    pub(super) fn lower(
        cx: &mut Context<'_>,
        raw: Option<&RawDefaults>,
        references: &References<'_>,
    ) -> Self {
        Self {
            token: token::lower(cx, raw.and_then(|all| all.token.as_ref()), references),
            require: require(cx, raw.and_then(|all| all.require.as_ref())),
            inject: inject::lower(cx, raw.and_then(|all| all.inject.as_ref()))
                .into_iter()
                .map(|(_, injection)| injection)
                .collect(),
        }
    }
}

pub(super) fn lower(
    cx: &mut Context<'_>,
    position: Position,
    raw: &RawRoute,
    defaults: &Defaults,
    references: &References<'_>,
) -> Option<RouteConfig> {
    cx.not_yet("path_normalization", raw.path_normalization.as_ref());
    let name = cx.required(position, "name", raw.name.as_ref());
    if let Some((at, name)) = name {
        check_name(cx, at, name);
    }
    let matches = matches(cx, set(raw.r#match.as_ref()).map(|(_, raw)| raw));
    let upstream = cx
        .required(position, "upstream", raw.upstream.as_ref())
        .and_then(|(at, name)| {
            let found = references.upstreams.get(name).copied();
            if found.is_none() {
                cx.report(
                    at,
                    format!(
                        "there is no upstream `{name}`; {}",
                        known(references.upstreams)
                    ),
                );
            }
            found
        });
    let own = token::lower(cx, raw.token.as_ref(), references);
    let mut requirement = match &raw.require {
        Some(_) => require(cx, raw.require.as_ref()),
        None => defaults.require.clone(),
    };
    let token = match own {
        Token::Unsaid => defaults.token.clone(),
        said => said,
    };
    if matches!(token, Token::Unsaid) {
        cx.report(
            position,
            "this route has no token rule; add `token:` here or in `defaults:`, or say `token: none` to make it public",
        );
    }
    let public = matches!(token, Token::Public);
    if public && raw.require.is_some() && !requirement.is_empty() {
        cx.report(
            position,
            "this public route has a `require:`; without a token it can never hold",
        );
    }
    if public {
        // What the listener requires of tokens does not bind a route that asks for none.
        requirement = Requirement::default();
    }
    if let Token::Rule(rule) = &token
        && !rule.required
        && !requirement.is_empty()
    {
        cx.report(
            raw.require.as_ref().map_or(position, |at| at.position),
            "a request without a token could never meet the `require` of this route, and `required: false` lets it pass; say `required: true`, or `require: {}`",
        );
    }
    let own = inject::lower(cx, raw.inject.as_ref());
    if public {
        inject::without_token(cx, &own);
    }
    let injections = inject::inherit(cx, position, own, &defaults.inject);
    Some(RouteConfig {
        name: name?.1.as_str().into(),
        matches,
        token: match token {
            Token::Rule(rule) => Some(rule),
            Token::Public => None,
            // Reported: no configuration comes of this file.
            Token::Unsaid | Token::Broken => return None,
        },
        require: requirement,
        inject: injections,
        upstream: upstream?,
    })
}

fn matches(cx: &mut Context<'_>, raw: Option<&RawMatch>) -> RouteMatch {
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
    let path = match set(raw.and_then(|all| all.path.as_ref())) {
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
            Ok(method) if *text == text.to_ascii_uppercase() => methods.push(method),
            _ => cx.report(
                at,
                format!("the method `{text}` does not fit; methods are case-sensitive and upper-case, such as `GET`"),
            ),
        }
    }
    RouteMatch {
        hosts,
        path,
        methods,
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

fn require(cx: &mut Context<'_>, raw: Option<&At<RawRequire>>) -> Requirement {
    let Some((_, raw)) = set(raw) else {
        return Requirement::default();
    };
    cx.not_yet("expr", raw.expr.as_ref());
    let mut claims = Vec::new();
    for (key, values) in set(raw.claims.as_ref())
        .map(|(_, named)| &named.0)
        .into_iter()
        .flatten()
    {
        let (Some(name), Some(values)) = (&key.value, &values.value) else {
            continue;
        };
        if values.is_empty() {
            cx.report(
                key.position,
                format!("`{name}: []` allows nothing; list the values that may pass"),
            );
        }
        if let Some(odd) = values
            .iter()
            .find(|value| value.is_object() || value.is_array() || value.is_null())
        {
            cx.report(
                key.position,
                format!("`{name}` may list strings, numbers and booleans, not `{odd}`"),
            );
        }
        claims.push((ClaimPath::new([name.clone()]), values.clone()));
    }
    Requirement {
        scopes: items(raw.scopes.as_ref())
            .map(|(_, scope)| scope.clone())
            .collect(),
        claims,
    }
}
