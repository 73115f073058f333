//! One connection: handshake, then HTTP/1.1 or HTTP/2 as agreed, until either side, its idleness or a drain ends it.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::activity::{Activity, Heard, Quiet};
use super::http;
use super::settings::{MAX_FIELDS, MAX_HEAD, Settings};
use crate::drain::Watch;
use crate::proxy::connection::Connection;
use crate::proxy::rejection::Rejection;
use crate::proxy::{self, Shared};

/// Streams of one HTTP/2 connection at a time.
const MAX_STREAMS: u32 = 128;
/// Streams that a client opened and reset before they were served (CVE-2023-44487), and streams that we had to reset
/// for its mistakes (CVE-2025-8671), before the connection is closed.
const MAX_RESETS: usize = 32;

/// How long the first request of a connection is waited for when the daemon drains.
const FIRST: Duration = Duration::from_secs(2);

pub(super) async fn serve(
    stream: TcpStream,
    settings: Arc<Settings>,
    shared: Arc<Shared>,
    mut connection: Connection,
    watch: Watch,
) {
    let Some(tls) = &settings.tls else {
        return http1(stream, &settings, shared, connection, watch).await;
    };
    let handshake = tls.accept(stream);
    let accepted = match timeout(settings.handshake_timeout, handshake).await {
        Ok(Ok(accepted)) => accepted,
        Ok(Err(error)) => {
            tracing::debug!(client = %connection.client, %error, "TLS handshake failed");
            return;
        }
        Err(_) => {
            tracing::debug!(client = %connection.client, "TLS handshake took too long");
            return;
        }
    };
    connection.names = Some(accepted.names);
    connection.certificate = accepted.certificate;
    if accepted.h2 {
        http2(accepted.stream, &settings, shared, connection, watch).await;
    } else {
        http1(accepted.stream, &settings, shared, connection, watch).await;
    }
}

async fn http1(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    settings: &Settings,
    shared: Arc<Shared>,
    connection: Connection,
    mut watch: Watch,
) {
    let activity = Activity::new();
    let service = {
        let (shared, connection, activity) = (
            Arc::clone(&shared),
            connection.clone(),
            Arc::clone(&activity),
        );
        service_fn(move |request| {
            let open = activity.open();
            http::answer(Arc::clone(&shared), connection.clone(), request, open)
        })
    };
    let stream = Heard::new(stream, Arc::clone(&activity));
    let serving = http1::Builder::new()
        // hyper's limit does not tell a slow head from a connection that waits for its next request; ours does.
        .header_read_timeout(None)
        // Above ours, so that most of what is too much is refused by us, with its reason.
        .max_headers(4 * MAX_FIELDS)
        .max_buf_size(2 * MAX_HEAD)
        .serve_connection(TokioIo::new(stream), service);
    let mut serving = pin!(serving);
    let outcome = tokio::select! {
        outcome = serving.as_mut() => outcome,
        () = watch.asked() => {
            // Who was let in a moment ago has a request on its way: closing now would lose it.
            tokio::select! {
                outcome = serving.as_mut() => return outcome.unwrap_or_else(|error| note(&shared, &connection, &error)),
                _ = timeout(settings.head_timeout.min(FIRST), activity.asked()) => {}
            }
            serving.as_mut().graceful_shutdown();
            tokio::select! {
                outcome = serving => outcome,
                // Half a head is not in flight.
                _ = activity.quiet(settings.head_timeout, settings.head_timeout) => return,
            }
        }
        quiet = activity.quiet(settings.head_timeout, settings.idle_timeout) => {
            if quiet == Quiet::SlowHead {
                proxy::note_unreadable(&shared, &connection, &Rejection::HeadTimeout(settings.head_timeout));
            }
            return;
        }
    };
    if let Err(error) = outcome {
        note(&shared, &connection, &error);
    }
}

async fn http2(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    settings: &Settings,
    shared: Arc<Shared>,
    connection: Connection,
    mut watch: Watch,
) {
    let activity = Activity::new();
    let service = {
        let (shared, connection, activity) = (
            Arc::clone(&shared),
            connection.clone(),
            Arc::clone(&activity),
        );
        service_fn(move |request| {
            let open = activity.open();
            http::answer(Arc::clone(&shared), connection.clone(), request, open)
        })
    };
    let serving = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(Some(Duration::from_secs(30)))
        .keep_alive_timeout(settings.head_timeout)
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEAD as u32)
        .max_pending_accept_reset_streams(MAX_RESETS)
        .max_local_error_reset_streams(MAX_RESETS)
        .serve_connection(TokioIo::new(stream), service);
    let mut serving = pin!(serving);
    let outcome = tokio::select! {
        outcome = serving.as_mut() => outcome,
        () = watch.asked() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
        // Nobody waits for anything here: it may be closed without a word.
        _ = activity.quiet(settings.head_timeout, settings.idle_timeout) => return,
    };
    if let Err(error) = outcome {
        note(&shared, &connection, &error);
    }
}

/// What ended a connection before there was a request to answer: hyper has said it to the client, here it gets its reason.
fn note(shared: &Shared, connection: &Connection, error: &hyper::Error) {
    let rejection = if error.is_parse_too_large() {
        Rejection::HeaderTooLarge(error.to_string())
    } else if error.is_parse() {
        Rejection::Malformed(error.to_string().into())
    } else {
        // Clients that leave, time-outs between requests, broken TLS: no request of anybody's.
        tracing::debug!(client = %connection.client, %error, "connection ended");
        return;
    };
    proxy::note_unreadable(shared, connection, &rejection);
}
