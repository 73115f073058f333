//! The sockets of a daemon's own: where it is asked, told, and taken over from.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

use tokio::net::TcpListener;

use super::before::Before;
use super::bound::bound;
use crate::config::model::Config;
use crate::handover::{self, Named, Role};
use crate::local::Socket;
use crate::privileged::Privileged;

/// All of them, bound or inherited.
pub(super) struct Own {
    pub(super) socket: Socket,
    pub(super) tcp: Option<TcpListener>,
    pub(super) handover: Option<Socket>,
    admin_path: PathBuf,
    /// Where `handover` is.
    pub(super) place: Option<PathBuf>,
}

impl Own {
    /// Takes what a predecessor has, and binds the rest. The admin socket comes first: it tells two daemons apart before they
    /// share anything.
    pub(super) async fn take(config: &Config, before: &mut Before) -> io::Result<Self> {
        let admin_path = config.admin.socket.clone();
        let socket = match before.unix(&Role::AdminSocket, &admin_path) {
            Some(listener) => Socket::adopt(listener, &admin_path)?,
            None => Socket::bind("admin socket", &admin_path).await?,
        };
        let tcp = match config.admin.listen {
            None => None,
            Some(address) => Some(match before.admin_tcp(address)? {
                Some(listener) => {
                    listener.set_nonblocking(true)?;
                    TcpListener::from_std(listener)?
                }
                None => admin(address, before.privileged.as_ref()).await?,
            }),
        };
        let place = handover::path(&admin_path);
        let handover = match before.unix(&Role::HandOver, &place) {
            Some(listener) => Socket::adopt(listener, &place),
            None => Socket::bind("hand-over socket", &place).await,
        };
        let handover = handover
            .inspect_err(
                |error| tracing::warn!(%error, "no other daemon can take over from this one"),
            )
            .ok();
        Ok(Self {
            socket,
            tcp,
            place: handover.is_some().then_some(place),
            handover,
            admin_path,
        })
    }

    /// The files are ours, whoever bound them.
    pub(super) fn claim(&self) {
        self.socket.file.claim();
        if let Some(handover) = &self.handover {
            handover.file.claim();
        }
    }

    /// Doubles of them, by what they are for.
    pub(super) fn named(&self) -> io::Result<Vec<(Named, OwnedFd)>> {
        let name = |path: &PathBuf| path.to_string_lossy().into_owned();
        let named = |role, name, fd: io::Result<OwnedFd>| fd.map(|fd| (Named { role, name }, fd));
        let double = |fd: std::os::fd::BorrowedFd<'_>| fd.try_clone_to_owned();
        let mut all = vec![named(
            Role::AdminSocket,
            name(&self.admin_path),
            double(self.socket.listener.as_fd()),
        )?];
        if let Some(tcp) = &self.tcp {
            all.push(named(Role::AdminTcp, String::new(), double(tcp.as_fd()))?);
        }
        if let (Some(socket), Some(place)) = (&self.handover, &self.place) {
            all.push(named(
                Role::HandOver,
                name(place),
                double(socket.listener.as_fd()),
            )?);
        }
        Ok(all)
    }
}

async fn admin(
    address: SocketAddr,
    privileged: Option<&Arc<Privileged>>,
) -> io::Result<TcpListener> {
    let explain = |error: io::Error| {
        io::Error::new(error.kind(), format!("admin address {address}: {error}"))
    };
    let sockets = bound(privileged, address, 1, None).await.map_err(explain)?;
    let mut sockets = sockets.into_iter();
    let socket = sockets
        .next()
        .ok_or_else(|| explain(io::Error::other("no socket came")))?;
    TcpListener::from_std(socket).map_err(explain)
}
