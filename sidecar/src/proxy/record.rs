//! What is remembered of a request until its last byte has gone out: then it becomes an access log line and metrics.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use tollgate_auth::reason::Reason;
use tollgate_auth::token::cache::{Fingerprint, Verdict};
use tollgate_auth::token::claims::Claims;
use tollgate_auth::token::redact::redact;
use tollgate_http::{Fields, Path, RequestHead, Version};

use super::connection::Connection;
use super::in_url::InUrl;
use crate::clock;
use crate::telemetry::access_log::{AccessLog, Client, Line};
use crate::upstream::body::Progress;

/// Metrics of the request path.
#[derive(Debug, Clone)]
pub struct Metrics {
    requests: Family<RequestLabels, Counter>,
    duration: Family<RouteLabels, Histogram, fn() -> Histogram>,
    connections: Family<[(&'static str, u64); 1], Counter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    listener: Arc<str>,
    route: Arc<str>,
    status: u16,
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    listener: Arc<str>,
    route: Arc<str>,
}

impl Metrics {
    /// Registers `tollgate_requests_total`, `tollgate_request_duration_seconds` and `tollgate_connections_total`.
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            requests: Family::default(),
            duration: Family::new_with_constructor(duration_buckets),
            connections: Family::default(),
        };
        registry.register(
            "connections",
            "Connections accepted, by the worker that has them from then on",
            metrics.connections.clone(),
        );
        registry.register(
            "requests",
            "Requests by listener, route, status and reason (empty where the upstream answered)",
            metrics.requests.clone(),
        );
        registry.register_with_unit(
            "request_duration",
            "From the head of the request to the end of the response",
            Unit::Seconds,
            metrics.duration.clone(),
        );
        metrics
    }

    /// A worker has accepted a connection.
    pub fn accepted(&self, worker: usize) {
        let worker = [("worker", worker as u64)];
        self.connections.get_or_create(&worker).inc();
    }
}

/// 250 µs resolves what the gate itself costs, 10 s is where clients give up; factors of two to three between.
fn duration_buckets() -> Histogram {
    Histogram::new([
        0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0,
    ])
}

/// A request under way. It becomes a line and a count when it is finished, or when it is dropped: a client that goes away
/// before there is an answer leaves a trace as well.
pub struct Record {
    id: String,
    started: Instant,
    connection: Connection,
    metrics: Metrics,
    log: Option<(AccessLog, SystemTime, Words)>,
    is_finished: bool,
    pub(super) status: u16,
    /// Whose request it is: the peer's unless a trusted forwarder said otherwise.
    pub(super) client: IpAddr,
    pub(super) route: Option<Arc<str>>,
    /// Of a token that was refused.
    pub(super) token: Option<Fingerprint>,
    pub(super) in_url: InUrl,
    pub(super) upstream: Option<Arc<str>>,
    pub(super) endpoint: Option<SocketAddr>,
    pub(super) progress: Option<Arc<Progress>>,
    reason: Option<Reason>,
    detail: Option<String>,
    verdict: Option<Verdict>,
}

/// The status of a request whose client did not wait for one; nginx's, and only ever seen in logs and metrics.
const CLIENT_GONE: u16 = 499;

/// What a request said of itself, for the access log.
#[derive(Debug, Default)]
pub struct Words {
    /// `http/1.0`, `http/1.1` or `http/2`.
    pub protocol: &'static str,
    /// Request method.
    pub method: String,
    /// Host, lower-case.
    pub host: Option<String>,
    /// Path without the query, as [`shown`].
    pub path: String,
}

/// Of what a client says, as much goes into a line.
const LONGEST_PATH: usize = 2048;

impl Words {
    /// Of a head.
    pub fn of(head: &RequestHead) -> Self {
        Self {
            protocol: match head.version {
                Version::Http10 => "http/1.0",
                Version::Http11 => "http/1.1",
                Version::Http2 => "http/2",
            },
            method: head.method.as_str().to_owned(),
            host: head
                .authority
                .as_ref()
                .map(|authority| authority.host().to_owned()),
            path: shown(head.path.as_str()),
        }
    }
}

/// A path as it may stand in a line: without tokens, which are looked for before it is cut short.
pub fn shown(path: &str) -> String {
    redact(path).chars().take(LONGEST_PATH).collect()
}

impl Record {
    pub(super) fn new(
        metrics: &Metrics,
        log: &AccessLog,
        connection: &Connection,
        words: impl FnOnce() -> Words,
    ) -> Self {
        Self {
            id: request_id(),
            started: Instant::now(),
            connection: connection.clone(),
            metrics: metrics.clone(),
            log: log
                .is_enabled()
                .then(|| (log.clone(), clock::wall(), words())),
            is_finished: false,
            status: 0,
            client: connection.client.ip(),
            route: None,
            token: None,
            in_url: InUrl::No,
            upstream: None,
            endpoint: None,
            progress: None,
            reason: None,
            detail: None,
            verdict: None,
        }
    }

    /// A route takes the request, with the path in this form.
    pub(super) fn routed(&mut self, route: &Arc<str>, path: &Path) {
        self.route = Some(Arc::clone(route));
        // What is logged is what was decided on: the route may have merged slashes.
        if let Some((_, _, words)) = &mut self.log
            && words.path.contains("//")
        {
            words.path = shown(path.as_str());
        }
    }

    /// Whether there will be a line.
    pub(super) fn is_logged(&self) -> bool {
        self.log.is_some()
    }

    /// Unique to the request.
    pub(super) fn request_id(&self) -> &str {
        &self.id
    }

    /// Tells the client the request id, so that it can be asked for; an upstream's own is replaced. Says what a token in
    /// the URL asks for.
    pub(super) fn stamp(&self, fields: &mut Fields) {
        fields.set("x-request-id", self.id.clone());
        self.in_url.guard(self.status, fields);
    }

    pub(super) fn identified(&mut self, verdict: &Verdict) {
        self.verdict = Some(verdict.clone());
    }

    pub(super) fn refused(&mut self, reason: Reason, detail: Option<String>) {
        self.reason = Some(reason);
        self.detail = detail;
    }

    /// The response is over: `bytes_out` body bytes went out, and `ended` says why if not all of them.
    pub fn finish(mut self, bytes_out: u64, ended: Option<&'static str>) {
        self.tell(bytes_out, ended);
    }

    fn tell(&mut self, bytes_out: u64, ended: Option<&'static str>) {
        self.is_finished = true;
        let none = || Arc::from("");
        let route = RouteLabels {
            listener: Arc::clone(&self.connection.listener),
            route: self.route.clone().unwrap_or_else(none),
        };
        let reason = self.reason.map(Reason::word);
        self.metrics
            .duration
            .get_or_create(&route)
            .observe(self.started.elapsed().as_secs_f64());
        self.metrics
            .requests
            .get_or_create(&RequestLabels {
                listener: route.listener,
                route: route.route,
                status: self.status,
                reason: reason.unwrap_or_default(),
            })
            .inc();
        let Some((log, time, words)) = &self.log else {
            return;
        };
        let claims = self.verdict.as_ref().map(Verdict::claims);
        let accepted = self.verdict.as_ref().map(Verdict::fingerprint);
        let is_forwarded = self.client != self.connection.client.ip();
        log.write(&Line {
            time: humantime::format_rfc3339_millis(*time).to_string(),
            request_id: &self.id,
            client: if is_forwarded {
                Client::Forwarded(self.client)
            } else {
                Client::Peer(self.connection.client)
            },
            peer: is_forwarded.then_some(self.connection.client),
            local: self.connection.local,
            listener: &self.connection.listener,
            protocol: words.protocol,
            method: &words.method,
            host: words.host.as_deref(),
            path: &words.path,
            status: self.status,
            route: self.route.as_deref(),
            reason,
            detail: self.detail.as_deref(),
            subject: claims.and_then(Claims::subject),
            issuer: claims.map(|claims| &**claims.issuer_name()),
            token: accepted.or(self.token).as_ref().map(Fingerprint::as_str),
            upstream: self.upstream.as_deref(),
            endpoint: self.endpoint,
            duration_us: micros_since(self.started),
            bytes_in: self.progress.as_ref().map_or(0, |body| body.received()),
            bytes_out,
            ended,
        });
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if !self.is_finished {
            self.status = CLIENT_GONE;
            self.tell(0, Some("client"));
        }
    }
}

/// 64 random bits for the process, 64 for the request: unique across nodes without asking the kernel each time.
fn request_id() -> String {
    static PROCESS: std::sync::LazyLock<u64> = std::sync::LazyLock::new(|| {
        let mut seed = [0; 8];
        // A process that cannot draw random bytes is still told apart by its number and start time.
        if aws_lc_rs::rand::fill(&mut seed).is_err() {
            let since = clock::now().since_epoch();
            seed = (since.as_nanos() as u64 ^ u64::from(std::process::id()) << 32).to_le_bytes();
        }
        u64::from_le_bytes(seed)
    });
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let count = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{:016x}{count:016x}", *PROCESS)
}

/// Microseconds since `start`.
fn micros_since(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX)
}
