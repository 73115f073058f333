//! Accepting.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tollgate_http::Scheme;

use super::connection;
use super::settings::Live;
use crate::drain::Watch;
use crate::proxy::Shared;
use crate::proxy::connection::Connection;

/// A worker's share of a listener.
pub(super) struct Accept {
    pub(super) socket: TcpListener,
    pub(super) name: Arc<str>,
    pub(super) live: Live,
    pub(super) shared: Arc<Shared>,
    pub(super) worker: usize,
    pub(super) watch: Watch,
}

impl Accept {
    /// Accepts until an end is asked for; then takes what already waits, since the kernel has completed those
    /// handshakes and would reset them, unless the socket lives on with another.
    pub(super) async fn run(self) {
        let mut watch = self.watch.clone();
        loop {
            tokio::select! {
                biased;
                () = watch.asked() => break,
                accepted = self.socket.accept() => match accepted {
                    Ok((stream, client)) => self.serve(stream, client),
                    Err(error) => rest_after(&error).await,
                },
            }
        }
        if watch.leaves() {
            return;
        }
        while let Some(Ok((stream, client))) = now(self.socket.accept()).await {
            self.serve(stream, client);
        }
    }

    fn serve(&self, stream: TcpStream, client: SocketAddr) {
        self.shared.metrics.accepted(self.worker);
        let settings = self.live.load_full();
        let Ok(local) = stream.local_addr() else {
            return; // The peer is gone already.
        };
        // Answers are written whole; waiting to fill a segment only delays them.
        if stream.set_nodelay(true).is_err() {
            return;
        }
        let connection = Connection {
            listener: Arc::clone(&self.name),
            client: canonical(client),
            local: canonical(local),
            worker: self.worker,
            scheme: if settings.tls.is_some() {
                Scheme::Https
            } else {
                Scheme::Http
            },
            names: None,
            certificate: None,
        };
        tokio::spawn(connection::serve(
            stream,
            settings,
            Arc::clone(&self.shared),
            connection,
            self.watch.clone(),
        ));
    }
}

/// Out of descriptors or memory: accepting again at once would spin (accept(2), "Error handling").
async fn rest_after(error: &io::Error) {
    let of_one_connection = matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    );
    if !of_one_connection {
        tracing::warn!(%error, "cannot accept connections");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The outcome if it is there already.
async fn now<F: Future>(future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    std::future::poll_fn(|cx| {
        Poll::Ready(match future.as_mut().poll(cx) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        })
    })
    .await
}

/// A dual-stack socket shows IPv4 peers as `::ffff:a.b.c.d`.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
