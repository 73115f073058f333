//! A key for tests: its private half into a file for its owner alone, its public half for the configuration.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::json;
use thiserror::Error;
use tollgate_auth::token::Algorithm;

use crate::signing::{PrivateKey, SignError};

/// Why no key was made. Nothing is left behind then.
#[derive(Debug, Error)]
pub enum GenerateError {
    /// The library failed.
    #[error("cannot make a key: {0}")]
    Key(#[from] SignError),
    /// A file is there already.
    #[error("{} is there already, and is never overwritten: name another file, or remove this one", .0.display())]
    Exists(PathBuf),
    /// A file cannot be written.
    #[error("cannot write {}: {error}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
}

/// Makes a key and writes it to `path`; gives what is to be printed: the public key set, or where it was written.
pub(super) fn generate(
    algorithm: Algorithm,
    path: &Path,
    kid: Option<&str>,
    jwks: Option<&Path>,
) -> Result<String, GenerateError> {
    let made = PrivateKey::generate(algorithm, kid)?;
    let name = kid.map(ToOwned::to_owned).or_else(|| made.key.thumbprint());
    let public = made.key.published(name.as_deref(), algorithm);
    write_new(path, 0o600, &made.file)?;
    // A secret has no public half: its file is the key set, and so is a copy of it, for its owner alone as well.
    let (set, mode) = match public {
        Some(public) => (format!("{:#}\n", json!({ "keys": [public] })), 0o644),
        None => (made.file, 0o600),
    };
    let Some(jwks) = jwks else {
        if !algorithm.is_symmetric() {
            return Ok(set.trim_end().to_owned());
        }
        return Ok(format!(
            "{}: a shared secret, as a key set for your eyes alone; it is both --key and `jwks: {{ file: … }}`,\n\
             and the issuer's `algorithms` must name {algorithm}",
            path.display()
        ));
    };
    if let Err(error) = write_new(jwks, mode, &set) {
        // Of no use without its key set, and it would stand in the way of the next attempt.
        let _ = fs::remove_file(path).is_ok();
        return Err(error);
    }
    // PEM keeps neither; a JWK keeps both.
    let kid = kid
        .filter(|_| !algorithm.is_symmetric())
        .map_or_else(String::new, |kid| format!(" --kid {kid}"));
    let suggested = made.key.algorithms().iter().next() == Some(algorithm);
    let unsaid = suggested || algorithm.is_symmetric();
    let algorithm = if unsaid {
        String::new()
    } else {
        format!(" --algorithm {algorithm}")
    };
    Ok(format!(
        "{key}: the private key, readable by you alone\n{}: the key set, for `jwks: {{ file: … }}`\n\
         a token of it: tollgate token mint --key {key}{kid}{algorithm} --issuer … --audience … --subject …",
        jwks.display(),
        key = path.display(),
    ))
}

/// Writes a file that is not there yet, not even as a link (`O_EXCL`).
fn write_new(path: &Path, mode: u32, text: &str) -> Result<(), GenerateError> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::AlreadyExists => GenerateError::Exists(path.to_owned()),
        _ => GenerateError::Write {
            path: path.to_owned(),
            error,
        },
    };
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(mode);
    let mut file = options.open(path).map_err(failed)?;
    let written = file
        .write_all(text.as_bytes())
        .and_then(|()| file.sync_all());
    written.map_err(|error| {
        // Half a key is none.
        let _ = fs::remove_file(path).is_ok();
        failed(error)
    })
}
