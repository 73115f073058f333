//! What the datapath remembers, as a file that has no name: so it goes from one process to the next.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Seek as _, Write as _};

use rustix::fs::{MemfdFlags, memfd_create};
use tollgate_datapath::History;

/// Writes it.
pub(super) fn file(history: &History) -> io::Result<File> {
    let file = memfd_create("tollgate-history", MemfdFlags::CLOEXEC)?;
    let mut writer = BufWriter::new(File::from(file));
    serde_json::to_writer(&mut writer, history)?;
    writer.flush()?;
    let mut file = writer.into_inner()?;
    file.rewind()?;
    Ok(file)
}

/// Reads it; what cannot be understood is said and forgotten.
pub(super) fn read(file: File) -> Option<History> {
    // Whoever writes at the other end of a pipe would decide for how long this takes.
    if !file.metadata().is_ok_and(|there| there.is_file()) {
        tracing::warn!("what the daemon before remembered of flows is no file, and is not read");
        return None;
    }
    let history = serde_json::from_reader(BufReader::new(file));
    let history = history.inspect_err(|error| {
        tracing::warn!(%error, "what the daemon before remembered of flows is not understood");
    });
    history.ok()
}
