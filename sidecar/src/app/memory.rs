//! What the datapath remembers, on its way from one daemon to the next by a file. (At a hand-over it has no name.)

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// Where a daemon that ends leaves it, by its admin socket.
pub(super) fn path(admin: &Path) -> PathBuf {
    let mut path = OsString::from(admin);
    path.push(".history");
    path.into()
}

/// Leaves it for the next daemon; what cannot be written is said and forgotten.
pub(super) fn leave(path: &Path, mut history: File) {
    let mut write = || {
        let _ = fs::remove_file(path).is_ok();
        let mut new = File::options();
        // Whoever reads it knows who talks to whom.
        let mut file = new.write(true).create_new(true).mode(0o600).open(path)?;
        io::copy(&mut history, &mut file)
    };
    if let Err(error) = write() {
        let _ = fs::remove_file(path).is_ok();
        tracing::warn!(path = %path.display(), %error, "what is remembered of flows was not left for a daemon of another layout");
    }
}

/// Takes what the daemon before has left. It is there once: the next one's is another.
pub(super) fn take(path: &Path) -> Option<File> {
    let mut there = File::options();
    let flags = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
    let file = there.read(true).custom_flags(flags).open(path).ok()?;
    let _ = fs::remove_file(path).is_ok();
    let owner = file.metadata().ok()?.uid();
    if owner != rustix::process::geteuid().as_raw() {
        tracing::warn!(path = %path.display(), owner, "what another user has left there is not read");
        return None;
    }
    Some(file)
}
