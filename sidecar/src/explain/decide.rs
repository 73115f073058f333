//! What becomes of a request with its credentials: the phases of `proxy::forward` behind the route, without a request in
//! flight.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use tollgate_auth::header::scrub::{hop_by_hop, scrub};
use tollgate_auth::policy::facts::Facts;
use tollgate_auth::reason::Reason;
use tollgate_auth::refusal::Refusal;
use tollgate_auth::token::claims::Claims;
use tollgate_auth::token::explain::{Check, Clock, Explanation};
use tollgate_auth::token::jwt::verify;
use tollgate_auth::token::origin;
use tollgate_auth::token::source::{self, Carrier, HeaderScheme, TokenSource};
use tollgate_http::{Fields, RequestHead};

use super::token::{self, bare};
use super::words::{check, not_reached};
use crate::snapshot::{Listener, Route, TokenRule};

/// What came of it.
#[derive(Default)]
pub(super) struct Decision {
    /// `token`, `require`, `headers`.
    pub(super) checks: Vec<Check>,
    pub(super) token: Option<Explanation>,
    /// What the API would see in the names that the route injects.
    pub(super) headers: Vec<(String, String)>,
}

/// Decides about `head`, whose path is the one that `route` takes it with. `token` is put where the route looks first;
/// the request comes from `from`, without a client certificate.
pub(super) fn decide(
    listener: &Listener,
    route: &Route,
    head: &mut RequestHead,
    token: Option<&str>,
    from: IpAddr,
    clock: Clock,
) -> Decision {
    let mut decision = Decision::default();
    let before = names(&head.fields);
    if let (Some(token), Some(rule)) = (token, &route.token) {
        carry(head, rule, bare(token));
    }
    let mut phases = ["token", "require", "headers"].into_iter();
    let mut passed = |phase: Result<String, Refusal>, checks: &mut Vec<Check>| {
        let name = phases.next().unwrap_or_default();
        let (check, passed) = match phase {
            Ok(says) => (check(name, None, says), true),
            Err(refusal) => (
                check(name, Some(refusal.reason), refusal.detail.into_owned()),
                false,
            ),
        };
        checks.push(check);
        if !passed {
            checks.extend(phases.by_ref().map(not_reached));
        }
        passed
    };

    hop_by_hop(&mut head.fields);
    let claims = match &route.token {
        None => Ok((None, "none is looked at: the route is public".to_owned())),
        Some(rule) => identify(rule, head, clock, &mut decision.token),
    };
    let (claims, says) = match claims {
        Ok((claims, says)) => (claims, Ok(says)),
        Err(refusal) => (None, Err(refusal)),
    };
    if !passed(says, &mut decision.checks) {
        return decision;
    }
    // Where none was found there is nothing to take out.
    if let (Some(rule), Some(_)) = (&route.token, &claims)
        && !rule.forward
    {
        source::strip(head, &rule.sources);
    }

    scrub(&mut head.fields, &listener.managed);
    let facts = Facts {
        head,
        source: from,
        client: None,
    };
    let permitted = permit(route, claims.as_deref(), &facts);
    if !passed(permitted, &mut decision.checks) {
        return decision;
    }
    let lines = match &claims {
        None => Ok(Arc::clone(route.inject.fixed())),
        Some(claims) => route.inject.render(claims),
    };
    let said = lines.map(|lines| {
        let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
        decision.headers = lines
            .iter()
            .map(|line| (text(&line.name), text(&line.value)))
            .collect();
        told(lines.len(), &before, &head.fields)
    });
    passed(said, &mut decision.checks);
    decision
}

/// What becomes of a preflight that is passed to the API: what is required of the request alone holds for it as well.
pub(super) fn pass_on(
    listener: &Listener,
    route: &Route,
    head: &mut RequestHead,
    from: IpAddr,
) -> Result<String, Refusal> {
    hop_by_hop(&mut head.fields);
    scrub(&mut head.fields, &listener.managed);
    let facts = Facts {
        head,
        source: from,
        client: None,
    };
    route.require.permit_request(&facts)?;
    Ok("passed to the API, without a token".to_owned())
}

/// Who asks, and what to say of it.
fn identify(
    rule: &TokenRule,
    head: &RequestHead,
    clock: Clock,
    explained: &mut Option<Explanation>,
) -> Result<(Option<Arc<Claims>>, String), Refusal> {
    let Some(found) = source::find(head, &rule.sources)? else {
        if rule.required {
            let why = "no token where this route looks for one";
            return Err(Refusal::new(Reason::TokenMissing, why));
        }
        return Ok((None, "there is none, and none is needed".to_owned()));
    };
    if found.carrier == Carrier::Cookie {
        origin::check(head)?;
    }
    // The grammar of a token is ASCII.
    let text = String::from_utf8_lossy(found.token);
    *explained = token::token(&rule.issuers, None, &text, clock).ok();
    let keys: Vec<_> = rule.issuers.iter().map(|issuer| issuer.keys()).collect();
    let candidates: Vec<_> = rule
        .issuers
        .iter()
        .zip(&keys)
        .map(|(issuer, keys)| issuer.candidate(keys))
        .collect();
    let claims = verify(found.token, &candidates, clock.now)?;
    let subject = match claims.subject() {
        Some(_) => "a subject",
        None => "no subject",
    };
    let says = format!("accepted, of {}, with {subject}", claims.issuer_name());
    Ok((Some(claims), says))
}

fn permit(route: &Route, claims: Option<&Claims>, facts: &Facts<'_>) -> Result<String, Refusal> {
    route.require.permit(claims, facts)?;
    Ok(match route.require.is_empty() {
        true => "nothing beyond that".to_owned(),
        false => "all of it holds".to_owned(),
    })
}

fn told(injected: usize, before: &[String], after: &Fields) -> String {
    let gone: Vec<&str> = before
        .iter()
        .filter(|name| after.get(name).is_none())
        .map(String::as_str)
        .collect();
    match gone.is_empty() {
        true => format!("{injected} injected"),
        false => format!(
            "{injected} injected; of the client's, {} removed",
            gone.join(", ")
        ),
    }
}

fn names(fields: &Fields) -> Vec<String> {
    let mut names: Vec<String> = fields
        .iter()
        .map(|field| String::from_utf8_lossy(&field.name).to_ascii_lowercase())
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// Puts `token` where `rule` looks first.
fn carry(head: &mut RequestHead, rule: &TokenRule, token: &str) {
    match rule.sources.first() {
        None => {}
        Some(TokenSource::Header { name, scheme }) => {
            let value = match scheme {
                HeaderScheme::Usual => format!("Bearer {token}"),
                HeaderScheme::Bare => token.to_owned(),
                HeaderScheme::Named(scheme) => format!("{scheme} {token}"),
            };
            head.fields.push(name.clone(), value);
        }
        Some(TokenSource::Cookie { name }) => head.fields.push("cookie", format!("{name}={token}")),
        Some(TokenSource::Query { name }) => {
            let query = match &head.query {
                None => format!("{name}={token}"),
                Some(query) => format!("{}&{name}={token}", String::from_utf8_lossy(query)),
            };
            head.query = Some(Bytes::from(query));
        }
    }
}
