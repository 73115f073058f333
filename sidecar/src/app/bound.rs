//! Sockets at addresses, bound by whoever has the rights for it.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use crate::bind;
use crate::downstream::settings::Live;
use crate::downstream::{Listening, Workers};
use crate::privileged::Privileged;

/// As many as are asked for; see [`bind::listeners`].
pub(super) async fn bound(
    privileged: Option<&Arc<Privileged>>,
    address: SocketAddr,
    count: usize,
    beside: Option<&TcpListener>,
) -> io::Result<Vec<TcpListener>> {
    match privileged {
        Some(privileged) => privileged.bind(address, count, beside).await,
        None => bind::listeners(address, count, beside).await,
    }
}

/// What a listener is bound to.
pub(super) struct Wanted<'w> {
    pub(super) name: &'w Arc<str>,
    pub(super) address: SocketAddr,
    /// A socket that listens there already, for another listener.
    pub(super) beside: Option<TcpListener>,
    /// What a predecessor had bound for it.
    pub(super) given: Vec<TcpListener>,
}

/// Makes a listener of what is given, and of what is missing.
pub(super) async fn listen(
    privileged: Option<&Arc<Privileged>>,
    workers: &Workers,
    live: &Live,
    wanted: Wanted<'_>,
) -> io::Result<Listening> {
    let Wanted {
        name,
        address,
        beside,
        given: mut sockets,
    } = wanted;
    let missing = workers.missing(sockets.len());
    if missing > 0 {
        let explain = |error: io::Error| {
            let said = format!("listener `{name}` cannot listen on {address}: {error}");
            io::Error::new(error.kind(), said)
        };
        let at = match sockets.first() {
            None => address,
            Some(first) => first.local_addr().map_err(explain)?,
        };
        let beside = sockets.first().or(beside.as_ref());
        let more = bound(privileged, at, missing, beside).await;
        sockets.extend(more.map_err(explain)?);
    }
    workers.listen(name, live, sockets)
}
