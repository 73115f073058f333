//! `require:` of routes and defaults.

use tollgate_auth::header::scrub::{ManagedNames, is_unvouched};
use tollgate_auth::policy::expr::Expression;
use tollgate_auth::policy::rule::Requirement;
use tollgate_auth::token::claims::ClaimPath;

use super::context::{Context, items, set};
use super::token::Token;
use crate::config::diagnostic::Position;
use crate::config::model::ListenerConfig;
use crate::config::node::At;
use crate::config::raw::RawRequire;

/// What Tollgate itself says to the API, beside what routes inject; no client's word for it reaches a rule.
const SAID_BY_US: &str = "x-request-id";

pub(super) fn lower(cx: &mut Context<'_>, raw: Option<&At<RawRequire>>) -> Requirement {
    let Some((_, raw)) = set(raw) else {
        return Requirement::default();
    };
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
        claims.push((ClaimPath::new([name.clone()]), values.clone().into()));
    }
    Requirement {
        scopes: items(raw.scopes.as_ref())
            .map(|(_, scope)| scope.clone())
            .collect(),
        claims,
        expr: expr(cx, raw.expr.as_ref()),
    }
}

fn expr(cx: &mut Context<'_>, raw: Option<&At<String>>) -> Option<Expression> {
    let (at, text) = set(raw)?;
    match Expression::parse(text) {
        Ok(expr) => {
            cx.rules.push((at, expr.clone()));
            Some(expr)
        }
        Err(error) => {
            cx.report(at, format!("this `expr` cannot be used: {error}"));
            None
        }
    }
}

/// What a route with this token rule requires: what it says itself, and of what it does not speak of what it inherits, so
/// that one more condition never takes another away. An empty `require` says that nothing is required.
pub(super) fn of_route(
    cx: &mut Context<'_>,
    route: Position,
    raw: Option<&At<RawRequire>>,
    inherited: &Requirement,
    token: &Token,
) -> Requirement {
    let own = lower(cx, raw);
    let said = set(raw).map(|(_, raw)| raw);
    let says_nothing =
        said.is_some_and(|raw| raw.scopes.is_none() && raw.claims.is_none() && raw.expr.is_none());
    let at = raw.map_or(route, |at| at.position);
    let own_needs_token = own.needs_token();
    let is_inherited = !says_nothing && said.is_none_or(|raw| raw.expr.is_none());
    let mut requirement = own;
    if !says_nothing {
        if said.is_none_or(|raw| raw.scopes.is_none()) {
            requirement.scopes.clone_from(&inherited.scopes);
        }
        if said.is_none_or(|raw| raw.claims.is_none()) {
            requirement.claims.clone_from(&inherited.claims);
        }
        if is_inherited {
            requirement.expr.clone_from(&inherited.expr);
        }
    }
    match token {
        Token::Public if own_needs_token => {
            cx.report(
                at,
                "this public route has a `require:` of its token; without a token it can never hold. Only an `expr` over `request`, `source` and `tls` can",
            );
        }
        Token::Public => {
            // What the listener requires of tokens does not bind a route that asks for none; what it requires of requests does.
            requirement.scopes.clear();
            requirement.claims.clear();
            let both = is_inherited
                && requirement
                    .expr
                    .take_if(|expr| expr.reads_claims())
                    .is_some_and(|expr| expr.reads_request());
            if both {
                cx.report(
                    at,
                    "this public route inherits an `expr` over claims and request alike, of which only the latter could hold without a token; give it an `expr` of its own, or say `require: {}`",
                );
            }
        }
        Token::Rule(rule) if !rule.required && requirement.needs_token() => {
            cx.report(
                at,
                "a request without a token could never meet the `require` of this route, and `required: false` lets it pass; say `required: true`, or `require: {}`",
            );
        }
        Token::Rule(_) | Token::Unsaid | Token::Broken => {}
    }
    requirement
}

/// Refuses rules over headers that no rule ever sees, since a client could have forged them.
pub(super) fn forgeable(cx: &mut Context<'_>, listeners: &[ListenerConfig]) {
    let rules = std::mem::take(&mut cx.rules);
    let injected = listeners
        .iter()
        .flat_map(|listener| &listener.routes)
        .flat_map(|route| &route.inject)
        .filter_map(|injection| std::str::from_utf8(&injection.name).ok());
    let managed = ManagedNames::new(injected.chain([SAID_BY_US]));
    for (at, rule) in rules {
        for name in rule.headers() {
            let bytes = name.as_bytes();
            let why = if managed.matches(bytes) {
                "is written by Tollgate, so what a client says in it is removed before any rule looks; ask `claims` instead"
            } else if is_unvouched(bytes) {
                "is removed before any rule looks, so the rule would never see one; where a client is says `source.address`, which certificate it showed `tls.client`"
            } else {
                continue;
            };
            cx.report(at, format!("the header `{name}` {why}"));
        }
    }
}
