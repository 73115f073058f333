//! One connection: handshake, then HTTP/1.1 or HTTP/2 as agreed, until either side or a drain ends it.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::http;
use super::settings::Settings;
use crate::drain::Watch;
use crate::proxy::Shared;
use crate::proxy::connection::Connection;

/// A request head, all fields together, in bytes.
const MAX_HEAD: usize = 64 * 1024;
/// Fields of a request head.
const MAX_FIELDS: usize = 100;
/// Streams of one HTTP/2 connection at a time.
const MAX_STREAMS: u32 = 128;
/// Streams that a client opened and reset before they were served (CVE-2023-44487), and streams that we had to reset
/// for its mistakes (CVE-2025-8671), before the connection is closed.
const MAX_RESETS: usize = 32;

pub(super) async fn serve(
    stream: TcpStream,
    settings: Arc<Settings>,
    shared: Arc<Shared>,
    connection: Connection,
    watch: Watch,
) {
    let Some(tls) = &settings.tls else {
        return http1(stream, &settings, shared, connection, watch).await;
    };
    let handshake = tls.accept(stream);
    let (stream, h2) = match timeout(settings.handshake_timeout, handshake).await {
        Ok(Ok(done)) => done,
        Ok(Err(error)) => {
            tracing::debug!(client = %connection.client, %error, "TLS handshake failed");
            return;
        }
        Err(_) => {
            tracing::debug!(client = %connection.client, "TLS handshake took too long");
            return;
        }
    };
    if h2 {
        http2(stream, &settings, shared, connection, watch).await;
    } else {
        http1(stream, &settings, shared, connection, watch).await;
    }
}

async fn http1(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    settings: &Settings,
    shared: Arc<Shared>,
    connection: Connection,
    mut watch: Watch,
) {
    let client = connection.client;
    let service =
        service_fn(move |request| http::answer(Arc::clone(&shared), connection.clone(), request));
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(settings.head_timeout)
        .max_headers(MAX_FIELDS)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), service);
    let mut serving = pin!(serving);
    let outcome = tokio::select! {
        outcome = serving.as_mut() => outcome,
        () = watch.asked() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = outcome {
        tracing::debug!(%client, %error, "HTTP/1.1 connection ended");
    }
}

async fn http2(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    settings: &Settings,
    shared: Arc<Shared>,
    connection: Connection,
    mut watch: Watch,
) {
    let client = connection.client;
    let service =
        service_fn(move |request| http::answer(Arc::clone(&shared), connection.clone(), request));
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
    };
    if let Err(error) = outcome {
        tracing::debug!(%client, %error, "HTTP/2 connection ended");
    }
}
