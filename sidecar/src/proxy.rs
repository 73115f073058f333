//! A request, top to bottom: one flat function from head to answer. Each phase says what it may still answer.

pub mod connection;
pub mod record;
pub mod rejection;
mod respond;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use arc_swap::ArcSwap;
use bytes::Bytes;
use tollgate_auth::header::scrub::{hop_by_hop, scrub, unvouched};
use tollgate_auth::policy::matcher::Found;
use tollgate_auth::reason::Reason;
use tollgate_auth::refusal::Refusal;
use tollgate_auth::time::UnixTime;
use tollgate_auth::token::cache::{VerdictCache, fingerprint};
use tollgate_auth::token::claims::Claims;
use tollgate_auth::token::source;
use tollgate_http::{RequestHead, ResponseHead};

use self::connection::Connection;
use self::record::{Metrics, Record};
use self::rejection::Rejection;
use crate::snapshot::issuer::IssuerState;
use crate::snapshot::{Route, Snapshot, TokenRule};
use crate::telemetry::access_log::AccessLog;
pub use crate::upstream::body::Incoming;
use crate::upstream::body::RequestBody;
pub use crate::upstream::response::ResponseBody;

/// What all requests of the process share.
pub struct Shared {
    /// The configuration of the moment; a request loads it once.
    pub snapshot: Arc<ArcSwap<Snapshot>>,
    /// Verified tokens.
    pub verdicts: VerdictCache,
    /// Counters of this room.
    pub metrics: Metrics,
    /// Where a line per request goes.
    pub access_log: AccessLog,
    /// The wall clock; tests bring their own.
    pub clock: fn() -> UnixTime,
}

/// What goes back.
pub struct Answer {
    /// Status and fields.
    pub head: ResponseHead,
    /// The body.
    pub body: Body,
    /// To be finished when the body has gone out.
    pub record: Record,
    /// When a response still running must end.
    pub ends_at: Option<UnixTime>,
}

/// The body of an [`Answer`].
pub enum Body {
    /// Said by Tollgate itself.
    Own(Bytes),
    /// From the upstream.
    Upstream(ResponseBody),
}

/// Answers a request. Never fails: what goes wrong is an answer with its reason.
pub async fn handle(
    shared: &Shared,
    connection: &Connection,
    head: RequestHead,
    incoming: Incoming,
) -> Answer {
    let mut record = Record::new(&shared.metrics, &shared.access_log, connection, &head);
    match forward(shared, connection, head, incoming, &mut record).await {
        Ok((mut head, body, ends_at)) => {
            hop_by_hop(&mut head.fields);
            record.stamp(&mut head.fields);
            record.status = head.status;
            Answer {
                head,
                body: Body::Upstream(body),
                record,
                ends_at,
            }
        }
        Err(rejection) => refuse(rejection, record),
    }
}

/// Answers a request that could not be read as one.
pub fn refuse_unreadable(
    shared: &Shared,
    connection: &Connection,
    method: &str,
    path: &str,
    rejection: Rejection,
) -> Answer {
    refuse(
        rejection,
        Record::unreadable(
            &shared.metrics,
            &shared.access_log,
            connection,
            method,
            path,
        ),
    )
}

fn refuse(rejection: Rejection, mut record: Record) -> Answer {
    let (mut head, body) = respond::problem(&rejection, record.request_id());
    record.stamp(&mut head.fields);
    record.status = head.status;
    record.refused(rejection.reason(), rejection.detail());
    Answer {
        head,
        body: Body::Own(body),
        record,
        ends_at: None,
    }
}

async fn forward(
    shared: &Shared,
    connection: &Connection,
    mut head: RequestHead,
    incoming: Incoming,
    record: &mut Record,
) -> Result<(ResponseHead, ResponseBody, Option<UnixTime>), Rejection> {
    // One configuration for the whole request, whatever is reloaded meanwhile.
    let snapshot = shared.snapshot.load_full();
    // 503: the listener went away in a reload while this connection stayed open.
    let listener = snapshot
        .listener(&connection.listener)
        .ok_or(Rejection::Draining)?;

    // 404, 405: nothing of the token is looked at before a route asks for one.
    let host = head.authority.as_ref().map(tollgate_http::Authority::host);
    let route = match listener.table.find(host, &head.path, &head.method) {
        Found::Route(index) => &listener.routes[index],
        Found::NoRoute => return Err(Rejection::NoRoute),
        Found::MethodNotAllowed(allowed) => return Err(Rejection::MethodNotAllowed(allowed)),
    };
    record.route = Some(Arc::clone(&route.name));

    // 400, 401, 503. What `Connection` names is gone before the token is looked for: a token is meant for this hop only
    // if the client did not say otherwise.
    hop_by_hop(&mut head.fields);
    let claims = match &route.token {
        None => None,
        Some(rule) => authenticate(shared, rule, &mut head, record).await?,
    };

    // 403
    if let Some(claims) = &claims {
        record.identified(claims);
        route.require.permit(claims)?;
    }

    // 403, 431. Scrub first: a client must not be able to write our headers, even on routes without a token.
    scrub(&mut head.fields, &listener.managed);
    unvouched(&mut head.fields);
    inject(route, claims.as_deref(), &mut head)?;
    introduce(connection, record.request_id(), &mut head);

    // 502, 503, 504
    let ends_at = ends_at(route, claims.as_deref());
    let received = Arc::<AtomicU64>::default();
    record.received = Some(Arc::clone(&received));
    record.upstream = Some(Arc::clone(&route.upstream.config().name));
    let body = RequestBody::new(incoming, Arc::clone(&listener.trailers), received);
    let answer = route.upstream.send(connection.worker, head, body).await?;
    record.endpoint = Some(answer.endpoint);
    Ok((answer.head, answer.body, ends_at))
}

async fn authenticate(
    shared: &Shared,
    rule: &TokenRule,
    head: &mut RequestHead,
    record: &mut Record,
) -> Result<Option<Arc<Claims>>, Rejection> {
    let Some(found) = source::find(&head.fields, &rule.sources)? else {
        if rule.required {
            return Err(Refusal::new(
                Reason::TokenMissing,
                "no token where this route looks for one",
            )
            .into());
        }
        return Ok(None);
    };
    record.token = Some(fingerprint(found.token));
    let mut verdict = check(shared, &rule.issuers, found.token);
    if unknown_key(&verdict) {
        // The key may have been published a moment ago. Asking is bounded; a flood of made-up kids is refused at once.
        // Only the issuer that the token names is asked: to every other one it is a stranger's token.
        for issuer in &rule.issuers {
            if unknown_key(&check(shared, std::slice::from_ref(issuer), found.token))
                && issuer.refetch().await
            {
                verdict = check(shared, &rule.issuers, found.token);
            }
        }
    }
    if !rule.forward {
        source::strip(&mut head.fields, &rule.sources);
    }
    Ok(Some(verdict?))
}

fn unknown_key(verdict: &Result<Arc<Claims>, Refusal>) -> bool {
    matches!(verdict, Err(refusal) if refusal.reason == Reason::KeyUnknown)
}

fn check(
    shared: &Shared,
    issuers: &[Arc<IssuerState>],
    token: &[u8],
) -> Result<Arc<Claims>, Refusal> {
    let now = (shared.clock)();
    match issuers {
        // The common case, without an allocation.
        [issuer] => {
            let keys = issuer.keys();
            shared
                .verdicts
                .check(token, &[issuer.candidate(&keys, now)], now)
        }
        issuers => {
            let keys: Vec<_> = issuers.iter().map(|issuer| issuer.keys()).collect();
            let candidates: Vec<_> = issuers
                .iter()
                .zip(&keys)
                .map(|(issuer, keys)| issuer.candidate(keys, now))
                .collect();
            shared.verdicts.check(token, &candidates, now)
        }
    }
}

fn inject(route: &Route, claims: Option<&Claims>, head: &mut RequestHead) -> Result<(), Rejection> {
    if let Some(claims) = claims {
        let block = route.inject.render(claims)?;
        head.fields.extend(block.iter().cloned());
    }
    Ok(())
}

/// Says who the client is and how it came; whatever the client said of that itself was scrubbed.
fn introduce(connection: &Connection, request_id: &str, head: &mut RequestHead) {
    let fields = &mut head.fields;
    // Answered by this hop (RFC 9110, section 10.1.1).
    fields.remove("expect");
    fields.push("x-request-id", request_id.to_owned());
    fields.push(
        "x-forwarded-for",
        connection.client.ip().to_canonical().to_string(),
    );
    fields.push("x-forwarded-proto", connection.scheme.as_str());
    if let Some(authority) = &head.authority {
        fields.push("x-forwarded-host", authority.to_string());
    }
}

fn ends_at(route: &Route, claims: Option<&Claims>) -> Option<UnixTime> {
    let rule = route.token.as_ref().filter(|rule| rule.close_on_expiry)?;
    let claims = claims?;
    let skew = rule
        .issuers
        .iter()
        .find(|issuer| issuer.rules.name == *claims.issuer_name())
        .map_or_else(Default::default, |issuer| issuer.rules.clock_skew);
    Some(claims.expires() + skew)
}
