//! `routes:` and the `defaults:` that they inherit.

use bytes::Bytes;
use tollgate_auth::header::encode::Encoding;
use tollgate_auth::header::filter::Filter;
use tollgate_auth::header::inject::Injection;
use tollgate_auth::header::scrub;
use tollgate_auth::policy::matcher::{HostMatch, PathMatch, RouteMatch, Template};
use tollgate_auth::policy::rule::Requirement;
use tollgate_auth::token::claims::ClaimPath;
use tollgate_auth::token::source::TokenSource;
use tollgate_http::Method;

use super::context::{Context, References, check_name, items, lacks_items, set};
use crate::config::diagnostic::Position;
use crate::config::model::{RouteConfig, TokenRule};
use crate::config::node::{At, Named, StrOr};
use crate::config::raw::{
    RawDefaults, RawEncoding, RawFilter, RawInjection, RawMatch, RawOnExpiry, RawPath, RawRequire,
    RawRoute, RawSource, RawTokenRule,
};

/// What routes inherit unless they say otherwise.
pub(super) struct Defaults {
    token: Token,
    require: Requirement,
    inject: Vec<Injection>,
}

/// A token rule as far as it was said.
#[derive(Clone)]
enum Token {
    Unsaid,
    Public,
    Rule(TokenRule),
    /// Said, but wrong; already reported.
    Broken,
}

impl Defaults {
    pub(super) fn lower(
        cx: &mut Context<'_>,
        raw: Option<&RawDefaults>,
        references: &References<'_>,
    ) -> Self {
        Self {
            token: token(cx, raw.and_then(|all| all.token.as_ref()), references),
            require: require(cx, raw.and_then(|all| all.require.as_ref())),
            inject: inject(cx, raw.and_then(|all| all.inject.as_ref())),
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
    let own = token(cx, raw.token.as_ref(), references);
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
    if public && raw.require.is_some() && requirement != Requirement::default() {
        cx.report(
            position,
            "this public route has a `require:`; without a token it can never hold",
        );
    }
    if public {
        // What the listener requires of tokens does not bind a route that asks for none.
        requirement = Requirement::default();
    }
    // A route's own header of the same name replaces the inherited one.
    let mut injections = inject(cx, raw.inject.as_ref());
    for inherited in &defaults.inject {
        if !injections.iter().any(|own| own.name == inherited.name) {
            injections.push(inherited.clone());
        }
    }
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

fn known(names: &std::collections::HashMap<String, usize>) -> String {
    if names.is_empty() {
        return "none is configured".to_owned();
    }
    let mut names: Vec<_> = names.keys().map(|name| format!("`{name}`")).collect();
    names.sort_unstable();
    format!("configured: {}", names.join(", "))
}

fn matches(cx: &mut Context<'_>, raw: Option<&RawMatch>) -> RouteMatch {
    let mut hosts = Vec::new();
    for (at, text) in items(raw.and_then(|all| all.hosts.as_ref())) {
        let lower = text.to_ascii_lowercase();
        let (wildcard, name) = match lower.strip_prefix("*.") {
            Some(suffix) => (true, suffix),
            None => (false, lower.as_str()),
        };
        let fits = !name.is_empty()
            && !name.contains('*')
            && (name.parse::<std::net::Ipv6Addr>().is_ok()
                || name.bytes().all(|byte| {
                    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_')
                }));
        if !fits {
            cx.report(
                at,
                format!("the host `{text}` does not fit; write a name without a port, such as `api.example.com` or `*.example.com`"),
            );
        } else if wildcard {
            hosts.push(HostMatch::Wildcard(name.to_owned()));
        } else {
            hosts.push(HostMatch::Exact(name.to_owned()));
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

fn token(
    cx: &mut Context<'_>,
    raw: Option<&At<StrOr<RawTokenRule>>>,
    references: &References<'_>,
) -> Token {
    let Some(at) = raw else { return Token::Unsaid };
    match &at.value {
        None => Token::Broken,
        Some(StrOr::Str(word)) if word == "none" => Token::Public,
        Some(StrOr::Str(word)) => {
            cx.report(
                at.position,
                format!("`token: {word}` is unknown; say `none`, or `{{ issuers: […] }}`"),
            );
            Token::Broken
        }
        Some(StrOr::Other(rule)) => Token::Rule(token_rule(cx, at.position, rule, references)),
    }
}

fn token_rule(
    cx: &mut Context<'_>,
    position: Position,
    raw: &RawTokenRule,
    references: &References<'_>,
) -> TokenRule {
    let mut issuers = Vec::new();
    for (at, name) in items(raw.issuers.as_ref()) {
        match references.issuers.get(name) {
            Some(index) if issuers.contains(index) => {
                cx.report(at, format!("the issuer `{name}` stands twice"));
            }
            Some(index) => {
                let identifier = |index: &usize| references.identifiers.get(*index);
                if let Some(same) = identifier(index)
                    && issuers.iter().any(|other| identifier(other) == Some(same))
                {
                    cx.report(at, format!("two issuers here have the identifier `{same}`; which one a token means could not be told"));
                }
                issuers.push(*index);
            }
            None => cx.report(
                at,
                format!("there is no issuer `{name}`; {}", known(references.issuers)),
            ),
        }
    }
    if lacks_items(raw.issuers.as_ref()) {
        cx.report(position, "`issuers` is missing or empty; name at least one");
    }
    let mut sources = Vec::new();
    for (at, source) in items(raw.sources.as_ref()) {
        match source {
            RawSource::Header(name) if tollgate_http::fields::valid_name(name.as_bytes()) => {
                sources.push(TokenSource::Header {
                    name: name.to_ascii_lowercase(),
                });
            }
            RawSource::Header(name) => cx.report(at, format!("`{name}` is not a header name")),
            RawSource::Cookie(_) => cx.report(
                at,
                "the source `cookie` is not available in this version; use `header`",
            ),
            RawSource::Query(_) => cx.report(
                at,
                "the source `query` is not available in this version; use `header`",
            ),
        }
    }
    if raw.sources.is_none() {
        sources.push(TokenSource::Header {
            name: "authorization".to_owned(),
        });
    }
    TokenRule {
        issuers,
        sources,
        required: set(raw.required.as_ref()).is_none_or(|(_, value)| *value),
        forward: set(raw.forward.as_ref()).is_some_and(|(_, value)| *value),
        close_on_expiry: !matches!(set(raw.on_expiry.as_ref()), Some((_, RawOnExpiry::Keep))),
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

fn inject(cx: &mut Context<'_>, raw: Option<&At<Named<RawInjection>>>) -> Vec<Injection> {
    let mut injections: Vec<Injection> = Vec::new();
    for (key, raw) in set(raw).map(|(_, named)| &named.0).into_iter().flatten() {
        let Some(name) = &key.value else { continue };
        if let Err(error) = scrub::check_name(name) {
            cx.report(
                key.position,
                format!("the header `{name}` cannot be injected: {error}"),
            );
        }
        let Some(value) = &raw.value else { continue };
        let Some((at, claim)) = cx.required(raw.position, "claim", value.claim.as_ref()) else {
            continue;
        };
        let claim = match claim {
            StrOr::Str(name) => ClaimPath::new([name.clone()]),
            StrOr::Other(path) if path.is_empty() => {
                cx.report(at, "an empty claim path names nothing");
                continue;
            }
            StrOr::Other(path) => ClaimPath::new(path.iter().cloned()),
        };
        injections.push(Injection {
            name: Bytes::from(name.to_ascii_lowercase()),
            claim,
            encoding: match set(value.encode.as_ref()) {
                None | Some((_, RawEncoding::String)) => Encoding::String,
                Some((_, RawEncoding::List)) => Encoding::List,
                Some((_, RawEncoding::Json)) => Encoding::Json,
                Some((_, RawEncoding::Base64url)) => Encoding::Base64Url,
            },
            only: set(value.only.as_ref())
                .map(|(_, RawFilter::Prefix(prefix))| Filter::Prefix(prefix.clone())),
            except: set(value.except.as_ref())
                .map(|(_, RawFilter::Prefix(prefix))| Filter::Prefix(prefix.clone())),
        });
    }
    injections
}
