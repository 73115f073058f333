//! Where the daemon is asked and told: a Unix socket for everything, a TCP address for probes, metrics and public keys
//! only.

pub mod client;

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;

use crate::cluster::{JWKS_MAX_AGE, JWKS_PATH, JWKS_TYPE};
use tollgate_datapath::FlowQuestion;

use crate::drain::Watch;
use crate::explain::RouteQuestion;
use crate::local::Socket;
use crate::telemetry::metrics::CONTENT_TYPE;

/// A future that the daemon answers with.
pub type Reply<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What the daemon answers and does; made by the app.
pub struct Handles {
    /// Everything that `tollgate status` shows.
    pub status: Box<dyn Fn() -> Reply<Value> + Send + Sync>,
    /// Reads the configuration again; what went wrong, if it did.
    pub reload: Box<dyn Fn() -> Reply<Result<(), String>> + Send + Sync>,
    /// Lets the next version take over; what came of it.
    pub upgrade: Box<dyn Fn() -> Reply<Result<Value, String>> + Send + Sync>,
    /// Held by each connection: an answer is not cut off.
    pub watch: Watch,
    /// Begins the graceful end.
    pub drain: Box<dyn Fn() + Send + Sync>,
    /// Explains a token; what is wrong with the question, if it is.
    pub explain: Box<dyn Fn(Question) -> Result<Value, String> + Send + Sync>,
    /// Explains which route a request takes; what is wrong with the question, if it is.
    pub explain_route: Box<dyn Fn(RouteQuestion) -> Reply<Result<Value, String>> + Send + Sync>,
    /// Explains where a client's packets go.
    pub explain_flow: Box<dyn Fn(FlowQuestion) -> Reply<Result<Value, String>> + Send + Sync>,
    /// The metrics text.
    pub metrics: Box<dyn Fn() -> Reply<String> + Send + Sync>,
    /// The keys of assertions as a JWK set.
    pub jwks: Box<dyn Fn() -> Bytes + Send + Sync>,
    /// Why the daemon is not ready; `None` = ready.
    pub unready: Box<dyn Fn() -> Option<String> + Send + Sync>,
}

/// Why a token is accepted or refused.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// The token. It is never logged, nor kept.
    pub token: String,
    /// The only issuer to ask, by its name.
    #[serde(default)]
    pub issuer: Option<String>,
}

/// Bytes of a question, at most: more than any token that is accepted.
const MAX_QUESTION: usize = 256 * 1024;

/// Serves the Unix socket until dropped.
pub async fn serve_socket(socket: Socket, handles: Arc<Handles>) {
    let Socket {
        listener,
        file: _file,
    } = socket;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => spawn(stream, Arc::clone(&handles), socket_route),
            Err(error) => rest(&error).await,
        }
    }
}

/// Serves the TCP address until dropped: probes, metrics and public keys, nothing that changes or reveals more.
pub async fn serve_tcp(listener: TcpListener, handles: Arc<Handles>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => spawn(stream, Arc::clone(&handles), tcp_route),
            Err(error) => rest(&error).await,
        }
    }
}

async fn rest(error: &io::Error) {
    tracing::warn!(%error, "the admin interface cannot accept");
    tokio::time::sleep(Duration::from_millis(100)).await;
}

type Answer = Response<Full<Bytes>>;
type Route = fn(Arc<Handles>, Request<Incoming>) -> Reply<Answer>;

fn spawn(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    handles: Arc<Handles>,
    route: Route,
) {
    let mut watch = handles.watch.clone();
    tokio::spawn(async move {
        let service = service_fn(move |request| {
            let answer = route(Arc::clone(&handles), request);
            async move { Ok::<_, Infallible>(answer.await) }
        });
        let serving = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(Duration::from_secs(10))
            .serve_connection(TokioIo::new(stream), service);
        let mut serving = pin!(serving);
        let ended = tokio::select! {
            ended = serving.as_mut() => ended,
            () = watch.asked() => {
                serving.as_mut().graceful_shutdown();
                serving.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "admin connection ended");
        }
    });
}

fn socket_route(handles: Arc<Handles>, request: Request<Incoming>) -> Reply<Answer> {
    Box::pin(async move {
        match (request.method(), request.uri().path()) {
            (&Method::GET, "/status") => json_answer(StatusCode::OK, &(handles.status)().await),
            (&Method::POST, "/reload") => match (handles.reload)().await {
                Ok(()) => json_answer(StatusCode::OK, &json!({ "reloaded": true })),
                Err(error) => json_answer(
                    StatusCode::UNPROCESSABLE_ENTITY,
                    &json!({ "reloaded": false, "error": error }),
                ),
            },
            (&Method::POST, "/explain") => explain(&handles, request).await,
            (&Method::POST, "/explain/route") => explain_route(&handles, request).await,
            (&Method::POST, "/explain/flow") => explain_flow(&handles, request).await,
            (&Method::POST, "/upgrade") => match (handles.upgrade)().await {
                Ok(upgraded) => json_answer(StatusCode::OK, &upgraded),
                Err(why) => refused(StatusCode::UNPROCESSABLE_ENTITY, &why),
            },
            (&Method::POST, "/drain") => {
                (handles.drain)();
                json_answer(StatusCode::ACCEPTED, &json!({ "draining": true }))
            }
            _ => shared_route(&handles, &request).await,
        }
    })
}

async fn explain(handles: &Handles, request: Request<Incoming>) -> Answer {
    match question(request, "{\"token\": …}").await {
        Ok(question) => explained((handles.explain)(question)),
        Err(refused) => refused,
    }
}

async fn explain_route(handles: &Handles, request: Request<Incoming>) -> Answer {
    match question(request, "{\"method\": …, \"url\": …}").await {
        Ok(question) => explained((handles.explain_route)(question).await),
        Err(refused) => refused,
    }
}

async fn explain_flow(handles: &Handles, request: Request<Incoming>) -> Answer {
    match question(request, "{\"client\": …, \"destination\": …, \"udp\": …}").await {
        Ok(question) => explained((handles.explain_flow)(question).await),
        Err(refused) => refused,
    }
}

fn explained(explanation: Result<Value, String>) -> Answer {
    match explanation {
        Ok(explanation) => json_answer(StatusCode::OK, &explanation),
        Err(why) => refused(StatusCode::UNPROCESSABLE_ENTITY, &why),
    }
}

/// What is asked, in the form of `wanted`.
async fn question<Q: DeserializeOwned>(
    request: Request<Incoming>,
    wanted: &str,
) -> Result<Q, Answer> {
    let body = Limited::new(request.into_body(), MAX_QUESTION);
    let body = match body.collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => return Err(refused(StatusCode::PAYLOAD_TOO_LARGE, &error.to_string())),
    };
    serde_json::from_slice(&body).map_err(|error| {
        // The position alone: what stands there may be part of a token.
        let (line, column) = (error.line(), error.column());
        let why = format!("the question is not `{wanted}` at line {line}, column {column}");
        refused(StatusCode::BAD_REQUEST, &why)
    })
}

fn refused(status: StatusCode, why: &str) -> Answer {
    json_answer(status, &json!({ "error": why }))
}

fn tcp_route(handles: Arc<Handles>, request: Request<Incoming>) -> Reply<Answer> {
    Box::pin(async move {
        if let Some(refused) = foreign(&request) {
            return text(StatusCode::FORBIDDEN, refused);
        }
        shared_route(&handles, &request).await
    })
}

async fn shared_route(handles: &Handles, request: &Request<Incoming>) -> Answer {
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/healthz") => text(StatusCode::OK, "ok\n".to_owned()),
        (&Method::GET, "/readyz") => match (handles.unready)() {
            None => text(StatusCode::OK, "ready\n".to_owned()),
            Some(why) => text(
                StatusCode::SERVICE_UNAVAILABLE,
                format!("not ready: {why}\n"),
            ),
        },
        // Public halves only: whoever is to verify must get them.
        (&Method::GET | &Method::HEAD, JWKS_PATH) => {
            let mut answer = answer(StatusCode::OK, JWKS_TYPE, (handles.jwks)());
            let max_age = format!("max-age={}", JWKS_MAX_AGE.as_secs());
            if let Ok(value) = max_age.try_into() {
                answer.headers_mut().insert(header::CACHE_CONTROL, value);
            }
            answer
        }
        (&Method::GET, "/metrics") => {
            answer(StatusCode::OK, CONTENT_TYPE, (handles.metrics)().await)
        }
        _ => text(StatusCode::NOT_FOUND, "not found\n".to_owned()),
    }
}

/// A web page must not reach this through its visitor's browser (DNS rebinding): a browser says where the page is from,
/// and a rebound name is a name. Probes and scrapers use an address or `localhost`.
fn foreign(request: &Request<Incoming>) -> Option<String> {
    if request.headers().contains_key(header::ORIGIN) {
        return Some("requests of web pages are refused here\n".to_owned());
    }
    let host = request
        .headers()
        .get(header::HOST)?
        .to_str()
        .unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, port)| {
        if port.bytes().all(|byte| byte.is_ascii_digit()) {
            name
        } else {
            host
        }
    });
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    let known = bare.parse::<std::net::IpAddr>().is_ok() || bare.eq_ignore_ascii_case("localhost");
    (!known).then(|| {
        "ask by address, or as localhost: the Host is not one of this interface\n".to_owned()
    })
}

fn json_answer(status: StatusCode, value: &Value) -> Answer {
    answer(status, "application/json", format!("{value}\n"))
}

fn text(status: StatusCode, text: String) -> Answer {
    answer(status, "text/plain; charset=utf-8", text)
}

fn answer(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static(content_type),
    );
    answer
}
