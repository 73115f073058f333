//! `tollgate token mint`: keys and tokens for tests and demos. It is no issuer: nobody is asked who they are.

mod key;

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};
use thiserror::Error;
use tollgate_auth::token::Algorithm;

use self::key::Key;
pub use self::key::KeyError;

/// What is asked.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The private key: PEM (RSA, EC or Ed25519; PKCS #8, PKCS #1 or SEC 1), or a JWK with its private half. A JWK of type
    /// oct is a shared secret for HS*: for tests, since whoever can check such a token can make one.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Make a new key for this algorithm instead of a token, and write it to the file of --key, which must not be there.
    #[arg(long, value_name = "ALG", conflicts_with_all = ["issuer", "audience", "subject", "algorithm"])]
    generate: Option<Algorithm>,
    /// With --generate: where the key set to publish goes, instead of standard output. Must not be there.
    #[arg(long, value_name = "FILE", requires = "generate")]
    jwks: Option<PathBuf>,
    /// iss.
    #[arg(long, value_name = "ISS", required_unless_present = "generate")]
    issuer: Option<String>,
    /// aud; several make a list.
    #[arg(long, value_name = "AUD", required_unless_present = "generate")]
    audience: Vec<String>,
    /// sub.
    #[arg(long, value_name = "SUB", required_unless_present = "generate")]
    subject: Option<String>,
    /// exp, from now; -5m has expired five minutes ago.
    #[arg(long, value_name = "TIME", default_value = "300s", allow_hyphen_values = true, value_parser = offset)]
    expires_in: i64,
    /// iat, from now.
    #[arg(long, value_name = "TIME", default_value = "0s", allow_hyphen_values = true, value_parser = offset)]
    issued_at: i64,
    /// nbf, from now; without it the token has none.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, value_parser = offset)]
    not_before: Option<i64>,
    /// Any claim, as JSON; null takes one out. Repeatable.
    #[arg(long = "claim", value_name = "NAME=JSON", value_parser = member)]
    claims: Vec<(String, Value)>,
    /// Any member of the header, as JSON; null takes one out. It does not change what is signed with. Repeatable.
    #[arg(long = "header", value_name = "NAME=JSON", value_parser = member)]
    headers: Vec<(String, Value)>,
    /// What to sign with, where the key can do more than one thing.
    #[arg(long, value_name = "ALG")]
    algorithm: Option<Algorithm>,
    /// The key's name; without it the JWK's own, or its thumbprint (RFC 7638).
    #[arg(long, value_name = "KID")]
    kid: Option<String>,
}

/// Why nothing was minted.
#[derive(Debug, Error)]
pub enum MintError {
    /// The key cannot be used as asked.
    #[error("{}: {why}", path.display())]
    Key {
        /// Its file.
        path: PathBuf,
        /// What is wrong with it.
        why: KeyError,
    },
    /// A file cannot be read or written.
    #[error("cannot {verb} {}: {error}{}", path.display(), cure(error))]
    File {
        /// `read` or `write`.
        verb: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
}

fn cure(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AlreadyExists => {
            "; a key is never overwritten: name another file, or remove this one"
        }
        _ => "",
    }
}

/// Does what is asked; `now`, in seconds since the epoch, is what every time counts from. What goes to standard output:
/// the token, or the key set to publish.
///
/// # Errors
/// See [`MintError`].
pub fn run(args: &Args, now: u64) -> Result<String, MintError> {
    let wrong = |why| MintError::Key {
        path: args.key.clone(),
        why,
    };
    if let Some(algorithm) = args.generate {
        let (key, file) = Key::generate(algorithm).map_err(wrong)?;
        let set =
            json!({ "keys": [key.published(algorithm, args.kid.as_deref()).map_err(wrong)?] });
        write(&args.key, &file, 0o600)?;
        let set = format!("{set:#}");
        let Some(path) = &args.jwks else {
            return Ok(set);
        };
        // What is published of a shared secret is the secret.
        let mode = if algorithm.is_symmetric() {
            0o600
        } else {
            0o644
        };
        write(path, &format!("{set}\n"), mode)?;
        return Ok(format!(
            "wrote {} and {}",
            args.key.display(),
            path.display()
        ));
    }
    let document = fs::read(&args.key).map_err(|error| MintError::File {
        verb: "read",
        path: args.key.clone(),
        error,
    })?;
    let key = Key::read(&document).map_err(wrong)?;
    token(args, &key, now).map_err(wrong)
}

fn token(args: &Args, key: &Key, now: u64) -> Result<String, KeyError> {
    let algorithm = key.algorithm(args.algorithm)?;
    let kid = match &args.kid {
        Some(kid) => kid.clone(),
        None => key.kid()?,
    };
    let mut header = Map::new();
    for (name, value) in [("alg", algorithm.name()), ("kid", &kid), ("typ", "JWT")] {
        header.insert(name.to_owned(), json!(value));
    }
    let mut claims = Map::new();
    let at = |offset: i64| json!(now.saturating_add_signed(offset));
    claims.insert("iss".to_owned(), json!(args.issuer));
    claims.insert("sub".to_owned(), json!(args.subject));
    let audience = match args.audience.as_slice() {
        [one] => json!(one),
        several => json!(several),
    };
    claims.insert("aud".to_owned(), audience);
    claims.insert("iat".to_owned(), at(args.issued_at));
    claims.insert("exp".to_owned(), at(args.expires_in));
    if let Some(offset) = args.not_before {
        claims.insert("nbf".to_owned(), at(offset));
    }
    change(&mut header, &args.headers);
    change(&mut claims, &args.claims);
    let signed = [header, claims]
        .map(|part| URL_SAFE_NO_PAD.encode(Value::Object(part).to_string()))
        .join(".");
    let signature = key.sign(algorithm, signed.as_bytes())?;
    Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

fn change(members: &mut Map<String, Value>, changes: &[(String, Value)]) {
    for (name, value) in changes {
        if value.is_null() {
            members.remove(name);
        } else {
            members.insert(name.clone(), value.clone());
        }
    }
}

/// A new file, whole and readable by whom it is for from its first moment.
fn write(path: &Path, text: &str, mode: u32) -> Result<(), MintError> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(mode);
    let written = options
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| MintError::File {
        verb: "write",
        path: path.to_owned(),
        error,
    })
}

/// `5m`, `-30s`: seconds from now.
fn offset(text: &str) -> Result<i64, String> {
    let (sign, span) = match text.strip_prefix('-') {
        Some(span) => (-1, span),
        None => (1, text),
    };
    let span: Duration = humantime::parse_duration(span)
        .map_err(|error| format!("{error}; write it as 300s, 5m or -30s"))?;
    i64::try_from(span.as_secs())
        .map(|seconds| sign * seconds)
        .map_err(|_| "too far away".to_owned())
}

fn member(text: &str) -> Result<(String, Value), String> {
    let (name, value) = text
        .split_once('=')
        .filter(|(name, _)| !name.is_empty())
        .ok_or("it is NAME=JSON")?;
    let value = serde_json::from_str(value).map_err(|error| {
        format!("{name} is not JSON ({error}); a text has quotes: '{name}=\"…\"'")
    })?;
    Ok((name.to_owned(), value))
}

#[cfg(test)]
mod tests;
