//! A request, top to bottom: one flat function from head to answer. Each phase says what it may still answer.

mod assert;
mod authenticate;
pub mod connection;
mod in_url;
mod manner;
mod origin;
mod own;
pub mod preflight;
pub mod record;
pub mod rejection;
mod respond;
#[cfg(test)]
mod samples;

use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http_body::Body as _;
use tollgate_auth::header::assertion;
use tollgate_auth::header::scrub::{hop_by_hop, nominations, scrub};
use tollgate_auth::policy::cors::Cors;
use tollgate_auth::policy::matcher::Found;
use tollgate_auth::time::UnixTime;
use tollgate_auth::token::cache::{Verdict, VerdictCache};
use tollgate_auth::token::claims::Claims;
use tollgate_http::{Authority, Fields, RequestHead, ResponseHead};

use self::assert::{Subject, assertion};
use self::authenticate::authenticate;
use self::connection::Connection;
use self::in_url::InUrl;
use self::manner::Manner;
use self::origin::Origin;
use self::preflight::Asked;
use self::record::{Metrics, Record, Words};
use self::rejection::Rejection;
use crate::snapshot::{Route, Snapshot};
use crate::telemetry::access_log::AccessLog;
pub use crate::upstream::body::Incoming;
use crate::upstream::body::{Progress, RequestBody, TrailerFilter, nominated_too};
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

impl Shared {
    /// Closes connections to upstreams that `worker` has not used for too long.
    pub fn sweep(&self, worker: usize) {
        for upstream in &self.snapshot.load().upstreams {
            upstream.sweep(worker);
        }
    }
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
    let mut record = record_of(shared, connection, || Words::of(&head));
    // One configuration for the whole request, whatever is reloaded meanwhile.
    let snapshot = shared.snapshot.load_full();
    let listener = snapshot.listener(&connection.listener).map(Arc::as_ref);
    let host = head.authority.as_ref().map(Authority::host);
    let mut manner = Manner::new(head.method.as_str(), host, &head.fields, listener);
    match forward(shared, connection, head, incoming, &mut record, &mut manner).await {
        Ok((mut head, mut body, ends_at)) => {
            if head.fields.get("transfer-encoding").is_some() {
                // RFC 9112, section 6.3: the coding overrides the length, and passing both on invites a misreading.
                head.fields.remove("content-length");
            }
            hop_by_hop(&mut head.fields);
            if let Body::Upstream(_) = &body {
                manner.silence(&mut head.fields);
            }
            if let Some(response) = manner.response() {
                match &mut body {
                    Body::Own(_) => response.rules.complete(&mut head.fields),
                    Body::Upstream(body) => {
                        response.rules.apply(&mut head.fields);
                        body.without_trailers(Arc::clone(&response.trailers));
                    }
                }
            }
            // Last: no rule takes `Vary: origin` away, or lets another page read the answer.
            manner.dress(&mut head.fields);
            record.status = head.status;
            record.stamp(&mut head.fields);
            Answer {
                head,
                body,
                record,
                ends_at,
            }
        }
        Err(rejection) => refuse(rejection, record, &manner),
    }
}

/// Answers a request that could not be read as one. `method` and `fields` are what is known of it; of the fields only
/// `Accept` is looked at.
pub fn refuse_unreadable(
    shared: &Shared,
    connection: &Connection,
    words: Words,
    fields: &Fields,
    rejection: Rejection,
) -> Answer {
    let snapshot = shared.snapshot.load_full();
    let listener = snapshot.listener(&connection.listener).map(Arc::as_ref);
    let manner = Manner::new(&words.method, None, fields, listener);
    refuse(rejection, record_of(shared, connection, || words), &manner)
}

/// Notes a request that the connection itself has refused, or given up on, before there was a head.
pub fn note_unreadable(shared: &Shared, connection: &Connection, rejection: &Rejection) {
    let mut record = record_of(shared, connection, Words::default);
    record.status = rejection.reason().status();
    record.refused(rejection.reason(), rejection.detail());
    record.finish(0, None);
}

fn record_of(shared: &Shared, connection: &Connection, words: impl FnOnce() -> Words) -> Record {
    Record::new(&shared.metrics, &shared.access_log, connection, words)
}

fn refuse(rejection: Rejection, mut record: Record, manner: &Manner<'_>) -> Answer {
    let (mut head, body) = respond::refusal(&rejection, record.request_id(), manner);
    record.status = head.status;
    if let Some(response) = manner.response() {
        response.rules.complete(&mut head.fields);
    }
    manner.dress(&mut head.fields);
    record.stamp(&mut head.fields);
    record.endpoint = record.endpoint.or_else(|| rejection.endpoint());
    record.refused(rejection.reason(), rejection.detail());
    Answer {
        head,
        body: Body::Own(manner.sent(body)),
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
    manner: &mut Manner<'_>,
) -> Result<(ResponseHead, Body, Option<UnixTime>), Rejection> {
    // 503: the listener went away in a reload while this connection stayed open.
    let listener = manner.listener.ok_or(Rejection::Draining)?;

    // 400: a trusted forwarder that says things nobody can read. Before anything is removed, since a client may have named
    // what its forwarder wrote in `Connection`.
    let origin = Origin::of(connection, listener, &head.fields)?;
    record.client = origin.client.address;
    head.scheme = origin.client.scheme;

    // 421: whoever was shown a certificate for one host does not mean another (RFC 9110, section 7.4).
    let host = head.authority.as_ref().map(Authority::host);
    if let (Some(names), Some(host)) = (&connection.names, host)
        && !names.cover(host)
    {
        return Err(Rejection::Misdirected(host.to_owned()));
    }

    // 200, 204, 405: what the listener says of itself is public, and no route can stand in its place.
    if let Some(document) = listener.own.find(host, head.path.as_str()) {
        let (head, body) = own::answer(document, &head.method, (shared.clock)())?;
        return Ok((head, Body::Own(manner.sent(body)), None));
    }

    // 204, 403, or what the API says: a browser asks, without a token, whether a page may send a request. By the strict
    // test; what is not exactly such a question goes on as the request that it is.
    if let Some(asked) = Asked::of(listener, &head, incoming.is_end_stream()) {
        let route = asked.route;
        head.path = asked.path;
        routed(route, &head, record, manner);
        if let Cors::Answer(sharing) = &route.cors {
            let head = preflight::answer(sharing, &asked.preflight)?;
            return Ok((head, Body::Own(Bytes::new()), None));
        }
        // The API learns of nobody: nobody was asked who they are.
        hop_by_hop(&mut head.fields);
        scrub(&mut head.fields, &listener.managed);
        // What is required of the request alone holds for a question as well: it goes to the API.
        let facts = origin.facts(connection, &head);
        route.require.permit_request(&facts)?;
        let style = route.upstream.config().forwarded;
        let origin = origin.without_certificate();
        origin.introduce(style, record.request_id(), &mut head)?;
        let body = (incoming, Arc::clone(&listener.trailers));
        let (head, body) = pass_on(connection, route, head, body, record).await?;
        return Ok((head, body, None));
    }

    // 400, 404, 405: nothing of the token is looked at before a route asks for one. The path is the route's from here on.
    let route = match listener.table.find(host, &mut head.path, &head.method) {
        Found::Route(index) => &listener.routes[index],
        Found::PathRefused(route, error) => {
            if let Some(route) = route.map(|index| &listener.routes[index]) {
                routed(route, &head, record, manner);
            }
            return Err(Rejection::Path(error));
        }
        Found::NoRoute => return Err(Rejection::NoRoute),
        Found::MethodNotAllowed(allowed) => return Err(Rejection::MethodNotAllowed(allowed)),
    };
    routed(route, &head, record, manner);

    // 400, 401, 403, 503. What `Connection` names is gone before the token is looked for: a token is meant for this hop only
    // if the client did not say otherwise.
    let nominated = nominations(&head.fields);
    hop_by_hop(&mut head.fields);
    let verdict = match &route.token {
        None => None,
        Some(rule) => authenticate(&shared.verdicts, shared.clock, rule, &mut head, record).await?,
    };

    // Scrub before anything is decided or injected: a client must not be able to write our headers, even on routes without
    // a token, and no rule may believe what it wrote.
    scrub(&mut head.fields, &listener.managed);

    // 401, 403. A requirement of the token is never met by nobody, even where the token is optional.
    if let Some(verdict) = &verdict {
        record.identified(verdict);
    }
    let facts = origin.facts(connection, &head);
    let claims = verdict.as_ref().map(Verdict::claims);
    route.require.permit(claims, &facts)?;

    // 403, 431. What Tollgate vouches for, and where the request comes from.
    let lines = match &verdict {
        Some(verdict) => shared.verdicts.headers(verdict, &route.inject)?,
        None => Arc::clone(route.inject.fixed()),
    };
    head.fields.extend(lines.iter().cloned());
    let style = route.upstream.config().forwarded;
    origin.introduce(style, record.request_id(), &mut head)?;

    // 431, 503. Over what was written; where there is no token nobody is vouched for.
    if let (Some(verdict), Some(signing)) = (&verdict, &route.assertion) {
        let subject = Subject {
            verdict,
            lines: &lines,
            head: &head,
            request_id: record.request_id(),
        };
        let now = (shared.clock)();
        let value = assertion(&shared.verdicts, route, signing, &subject, now)?;
        head.fields.push(assertion::NAME, value);
    }

    // 502, 503, 504
    let ends_at = ends_at(route, verdict.as_ref().map(Verdict::claims));
    let body = (incoming, nominated_too(&listener.trailers, nominated));
    let (head, body) = pass_on(connection, route, head, body, record).await?;
    Ok((head, body, ends_at))
}

/// Notes what follows from a route alone, whoever answers.
fn routed<'s>(route: &'s Route, head: &RequestHead, record: &mut Record, manner: &mut Manner<'s>) {
    record.routed(&route.name, &head.path);
    if let Some(rule) = &route.token {
        record.in_url = InUrl::of(&rule.sources);
    }
    manner.routed(route, &head.fields);
}

/// Has the route's upstream answer.
async fn pass_on(
    connection: &Connection,
    route: &Route,
    head: RequestHead,
    (incoming, trailers): (Incoming, TrailerFilter),
    record: &mut Record,
) -> Result<(ResponseHead, Body), Rejection> {
    let progress = Arc::<Progress>::default();
    record.progress = Some(Arc::clone(&progress));
    record.upstream = Some(Arc::clone(&route.upstream.config().name));
    let body = RequestBody::new(incoming, trailers, progress);
    let answer = route.upstream.send(connection.worker, head, body).await?;
    record.endpoint = Some(answer.endpoint);
    if answer.head.status == 101 {
        let why = "switched protocols, which nobody asked for";
        return Err(Rejection::Unusable(answer.endpoint, why));
    }
    Ok((answer.head, Body::Upstream(answer.body)))
}

fn ends_at(route: &Route, claims: Option<&Claims>) -> Option<UnixTime> {
    let rule = route.token.as_ref().filter(|rule| rule.close_on_expiry)?;
    Some(rule.accepted_until(claims?))
}
