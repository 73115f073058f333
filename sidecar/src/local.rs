//! Unix sockets of the daemon's own: mode 0600, and a file that goes when its daemon ends, unless another daemon has it by then.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener as StdListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use socket2::{Domain, SockAddr, Type};
use tokio::net::UnixListener;

/// How long another may answer, and how often is looked.
const PATIENCE: Duration = Duration::from_secs(2);
const STEP: Duration = Duration::from_millis(20);
/// Connections that may wait to be accepted.
const BACKLOG: i32 = 128;

/// A socket's file. It is removed with the last handle, if nobody [left](Self::leave) it to another daemon, nor put another in
/// its place.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    /// What stood there when the socket was bound or taken over.
    file: Option<(u64, u64)>,
    left: AtomicBool,
}

impl SocketFile {
    fn new(path: &Path) -> Arc<Self> {
        Arc::new(Self {
            path: path.to_owned(),
            file: number(path),
            left: AtomicBool::new(false),
        })
    }

    /// Leaves the file where it is: it is another daemon's from here on.
    pub fn leave(&self) {
        self.left.store(true, Ordering::Relaxed);
    }

    /// Takes the file that another daemon leaves.
    pub fn claim(&self) {
        self.left.store(false, Ordering::Relaxed);
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let is_ours = self.file.is_some() && self.file == number(&self.path);
        if is_ours && !self.left.load(Ordering::Relaxed) {
            let _ = fs::remove_file(&self.path).is_ok();
        }
    }
}

/// What a file is, whatever its name: its device and number.
fn number(path: &Path) -> Option<(u64, u64)> {
    let there = fs::symlink_metadata(path).ok()?;
    Some((there.dev(), there.ino()))
}

/// A Unix socket that listens, and its file.
#[derive(Debug)]
pub struct Socket {
    /// What accepts.
    pub listener: UnixListener,
    /// Its place.
    pub file: Arc<SocketFile>,
}

impl Socket {
    /// Binds a path; `what` it is stands in errors. A predecessor that was just killed is given a moment to be gone.
    ///
    /// # Errors
    ///
    /// The path cannot be made or bound, or another daemon answers there.
    pub async fn bind(what: &str, path: &Path) -> io::Result<Self> {
        let mut left = PATIENCE;
        loop {
            match Self::bind_now(what, path) {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse && !left.is_zero() => {
                    tokio::time::sleep(STEP).await;
                    left = left.saturating_sub(STEP);
                }
                bound => return bound,
            }
        }
    }

    fn bind_now(what: &str, path: &Path) -> io::Result<Self> {
        let explain = |error: io::Error| {
            io::Error::new(
                error.kind(),
                format!("{what} `{}`: {error}", path.display()),
            )
        };
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(explain)?;
        }
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            return Err(explain(io::Error::new(
                io::ErrorKind::AddrInUse,
                "another daemon answers there; stop it, or give this one another `admin: { socket: … }`",
            )));
        }
        match fs::symlink_metadata(path) {
            // Left over by a daemon that was killed.
            Ok(there) if there.file_type().is_socket() => fs::remove_file(path).map_err(explain)?,
            Ok(_) => {
                return Err(explain(io::Error::new(
                    io::ErrorKind::AlreadyExists,
                    "something that is no socket stands there; move it away, or give another `admin: { socket: … }`",
                )));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(explain(error)),
        }
        let socket = socket2::Socket::new(Domain::UNIX, Type::STREAM, None).map_err(explain)?;
        let address = SockAddr::unix(path).map_err(explain)?;
        socket.bind(&address).map_err(explain)?;
        let file = SocketFile::new(path);
        // Who may connect may stop the daemon. Nobody can before it listens.
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(explain)?;
        socket.listen(BACKLOG).map_err(explain)?;
        socket.set_nonblocking(true).map_err(explain)?;
        let listener = UnixListener::from_std(socket.into()).map_err(explain)?;
        Ok(Self { listener, file })
    }

    /// Takes over a socket that another daemon has bound to `path`. The file is that one's until it is
    /// [claimed](SocketFile::claim).
    ///
    /// # Errors
    ///
    /// The socket cannot be polled.
    pub fn adopt(listener: StdListener, path: &Path) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let listener = UnixListener::from_std(listener)?;
        let file = SocketFile::new(path);
        file.leave();
        Ok(Self { listener, file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_its_own_file_goes_with_a_socket() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let first = Socket::bind("socket", &path).await.unwrap();
        fs::remove_file(&path).unwrap();
        let second = Socket::bind("socket", &path).await.unwrap();
        drop(first.file);
        assert!(path.exists(), "another daemon's file is gone");
        drop(second.file);
        assert!(!path.exists());
        drop(first.listener);
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_about_to_go_is_waited_for_and_who_stays_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let before = Socket::bind("socket", &path).await.unwrap();
        let error = Socket::bind("socket", &path).await.unwrap_err();
        assert!(error.to_string().contains("another daemon"), "{error}");
        let (bound, ()) = tokio::join!(Socket::bind("socket", &path), async {
            tokio::task::yield_now().await;
            // As a kill does: the file stays.
            before.file.leave();
            drop(before);
        });
        assert!(bound.is_ok(), "{bound:?}");
    }
}
