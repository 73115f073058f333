//! What the datapath remembers, on its way from one daemon to the next: in memory at a hand-over, else in a file.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Seek as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{MemfdFlags, memfd_create};
use tollgate_datapath::History;

/// Where a daemon that ends leaves it, by its admin socket.
pub(super) fn path(admin: &Path) -> PathBuf {
    let mut path = OsString::from(admin);
    path.push(".history");
    path.into()
}

/// As a file that has no name.
pub(super) fn unnamed(history: &History) -> io::Result<File> {
    let file = memfd_create("tollgate-history", MemfdFlags::CLOEXEC)?;
    let mut file = write(File::from(file), history)?;
    file.rewind()?;
    Ok(file)
}

/// Leaves it for the next daemon; what cannot be written is said and forgotten.
pub(super) fn leave(path: &Path, history: &History) {
    let write = || {
        let _ = fs::remove_file(path).is_ok();
        let mut new = File::options();
        // Whoever reads it knows who talks to whom.
        let file = new.write(true).create_new(true).mode(0o600).open(path)?;
        write(file, history).map(drop)
    };
    if let Err(error) = write() {
        let _ = fs::remove_file(path).is_ok();
        tracing::warn!(path = %path.display(), %error, "what is remembered of flows was not left for a daemon of another layout");
    }
}

/// Takes what the daemon before has left. It is there once: the next one's is another.
pub(super) fn take(path: &Path) -> Option<History> {
    let mut there = File::options();
    let flags = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
    let file = there.read(true).custom_flags(flags).open(path).ok()?;
    let _ = fs::remove_file(path).is_ok();
    let owner = file.metadata().ok()?.uid();
    if owner != rustix::process::geteuid().as_raw() {
        tracing::warn!(path = %path.display(), owner, "what another user has left there is not read");
        return None;
    }
    read(file)
}

/// Reads it; what cannot be understood is said and forgotten.
pub(super) fn read(file: File) -> Option<History> {
    let history = serde_json::from_reader(BufReader::new(file));
    let history = history.inspect_err(|error| {
        tracing::warn!(%error, "what the daemon before remembered of flows is not understood");
    });
    history.ok()
}

fn write(file: File, history: &History) -> io::Result<File> {
    let mut writer = BufWriter::new(file);
    serde_json::to_writer(&mut writer, history)?;
    writer.flush()?;
    Ok(writer.into_inner()?)
}
