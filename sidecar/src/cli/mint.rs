//! `tollgate token mint`: tokens for tests and demos, good ones and broken ones, and the keys to sign them with.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use serde_json::{Map, Value, json};
use thiserror::Error;
use tollgate_auth::token::{Algorithm, Algorithms};

use crate::signing::{KeyError, KeyFile, SignError};

mod generate;
mod value;

pub use generate::GenerateError;
pub use value::{Member, MemberError, Offset, OffsetError};

/// What stands under `tollgate token mint --help`.
pub const EXAMPLE: &str = "\
Examples:
  tollgate token mint --generate ES256 --key key.pem --jwks jwks.json
  tollgate token mint --key key.pem --issuer https://login.example.com --audience orders-api --subject alice
  tollgate token mint --key key.pem --issuer https://login.example.com --audience orders-api --subject alice \\
    --expires-in 1h --claim scope='orders:read orders:write' --claim level=2 --claim 'groups=[\"staff\"]'

A VALUE is JSON where it is JSON; any other text is a string, unless it begins like an object, a list or a quoted
string: that is refused as a mistake. `level=2` is a number, `tenant=acme` a string, `level='\"2\"'` a string as well.
`null` takes the member out, so that broken tokens can be made: --claim exp=null, --header kid=null.

Keys: PEM (PKCS #8; RSA also PKCS #1, EC also SEC 1), a JWK with its private half, or for HS256 to HS512 a JWK of type
oct (for tests: whoever can check such a token can make one).";

/// What `tollgate token mint` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The private key. With --generate: where it is written, for its owner alone (mode 0600); never overwritten.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Make a key for this algorithm instead of a token.
    #[arg(long, value_name = "ALG", conflicts_with_all = TOKEN)]
    generate: Option<Algorithm>,
    /// Where --generate writes the key set, instead of standard output. Never overwritten. A secret for HS* is written as
    /// it is, and never to standard output.
    // clap waives `requires` where the argument required conflicts with one that is there.
    #[arg(long, value_name = "FILE", requires = "generate", conflicts_with_all = TOKEN)]
    jwks: Option<PathBuf>,
    /// The key's name, also in --generate's key set [default: that of the JWK; of PEM, the key's thumbprint of RFC 7638]
    #[arg(long)]
    kid: Option<String>,
    /// The claim iss.
    #[arg(long, required_unless_present = "generate")]
    issuer: Option<String>,
    /// The claim aud. Given twice or more, it is a list.
    #[arg(long, required_unless_present = "generate")]
    audience: Vec<String>,
    /// The claim sub.
    #[arg(long, required_unless_present = "generate")]
    subject: Option<String>,
    /// The claim exp, from now: 5m, 1h 30m; negative for a token that has expired.
    #[arg(
        long,
        value_name = "TIME",
        default_value = "5m",
        allow_hyphen_values = true
    )]
    expires_in: Offset,
    /// The claim nbf, from now: -10s, +1m. Left out unless given.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    not_before: Option<Offset>,
    /// The claim iat, from now: -10s, +1m.
    #[arg(
        long,
        value_name = "TIME",
        default_value = "0s",
        allow_hyphen_values = true
    )]
    issued_at: Offset,
    /// Any claim, over what the options above say; null takes it out. Times are seconds since 1970.
    #[arg(long = "claim", value_name = "NAME=VALUE")]
    claims: Vec<Member>,
    /// Any header parameter, over what the options above say; null takes it out. The signature stays that of --algorithm.
    #[arg(long = "header", value_name = "NAME=VALUE")]
    headers: Vec<Member>,
    /// The algorithm [default: the JWK's alg, or what the key's type suggests: RSA RS256, EC by its curve, Ed25519 EdDSA]
    #[arg(long, value_name = "ALG")]
    algorithm: Option<Algorithm>,
    /// The header parameter typ.
    #[arg(long = "type", value_name = "TYPE", default_value = "at+jwt")]
    typ: Type,
}

/// What belongs to tokens alone.
const TOKEN: [&str; 10] = [
    "issuer",
    "audience",
    "subject",
    "expires_in",
    "not_before",
    "issued_at",
    "claims",
    "headers",
    "algorithm",
    "typ",
];

/// The header parameter `typ`.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Type {
    /// An access token (RFC 9068).
    #[value(name = "at+jwt")]
    AccessToken,
    /// Any JWT.
    #[value(name = "JWT")]
    Jwt,
    /// No typ at all.
    None,
}

/// Why there is no token. Never shows what stands in a key file.
#[derive(Debug, Error)]
pub enum MintError {
    /// The key file cannot be read.
    #[error("cannot read the key {}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// The key file is far too long for a key.
    #[error("{} is no key: it has more than {MAX_KEY_BYTES} bytes", .0.display())]
    TooLong(PathBuf),
    /// The key file holds no private key that can be used.
    #[error("{} cannot sign: {error}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: KeyError,
    },
    /// The algorithm asked for is not one of the key's.
    #[error(
        "--algorithm {algorithm} does not fit the key in {}; it can do {fitting}",
        path.display()
    )]
    Unfit {
        /// The file.
        path: PathBuf,
        /// What was asked for.
        algorithm: Algorithm,
        /// What the key can do.
        fitting: Algorithms,
    },
    /// The token cannot be signed.
    #[error("cannot sign with {}: {error}", path.display())]
    Sign {
        /// The key file.
        path: PathBuf,
        /// Why not.
        error: SignError,
    },
    /// No key could be made.
    #[error(transparent)]
    Generate(#[from] GenerateError),
}

impl MintError {
    /// The exit code: 2 if the key does not fit what is asked, 1 if a file cannot be read or written.
    #[must_use]
    pub fn code(&self) -> u8 {
        match self {
            Self::TooLong(_) | Self::Key { .. } | Self::Unfit { .. } => 2,
            Self::Read { .. } | Self::Sign { .. } | Self::Generate(_) => 1,
        }
    }
}

/// Makes a token, or a key; gives what is to be printed, never a private key. `now`, in seconds since 1970, is what every
/// time counts from.
///
/// # Errors
/// When a file cannot be read or written, or the key is none or does not fit.
pub fn run(args: &Args, now: u64) -> Result<String, MintError> {
    if let Some(algorithm) = args.generate {
        let (kid, jwks) = (args.kid.as_deref(), args.jwks.as_deref());
        return Ok(generate::generate(algorithm, &args.key, kid, jwks)?);
    }
    let path = || args.key.clone();
    let text = read(&args.key)?;
    let file = KeyFile::parse(&text).map_err(|error| MintError::Key {
        path: path(),
        error,
    })?;
    let fitting = file.key.algorithms();
    // The first is what a key's type suggests: RS256, the curve's, EdDSA, HS256.
    let suggested = file.algorithm.or_else(|| fitting.iter().next());
    let algorithm = args.algorithm.or(suggested).unwrap_or(Algorithm::RS256);
    if !fitting.contains(algorithm) {
        return Err(MintError::Unfit {
            path: path(),
            algorithm,
            fitting,
        });
    }
    let kid = args.kid.clone().or(file.kid);
    let kid = kid.or_else(|| file.key.thumbprint());
    let header = header(args, algorithm, kid.as_deref());
    file.key
        .token(algorithm, &header, &claims(args, now))
        .map_err(|error| MintError::Sign {
            path: path(),
            error,
        })
}

/// Far more than the longest RSA key takes.
const MAX_KEY_BYTES: usize = 64 * 1024;

fn read(path: &Path) -> Result<Vec<u8>, MintError> {
    let mut text = Vec::new();
    File::open(path)
        // A device may never end.
        .and_then(|file| file.take(MAX_KEY_BYTES as u64 + 1).read_to_end(&mut text))
        .map_err(|error| MintError::Read {
            path: path.to_owned(),
            error,
        })?;
    if text.len() > MAX_KEY_BYTES {
        return Err(MintError::TooLong(path.to_owned()));
    }
    Ok(text)
}

fn header(args: &Args, algorithm: Algorithm, kid: Option<&str>) -> Map<String, Value> {
    let typ = match args.typ {
        Type::AccessToken => Some("at+jwt"),
        Type::Jwt => Some("JWT"),
        Type::None => None,
    };
    let named = [("alg", Some(algorithm.name())), ("typ", typ), ("kid", kid)];
    let mut header = Map::new();
    for (name, value) in named {
        if let Some(value) = value {
            header.insert(name.to_owned(), json!(value));
        }
    }
    for member in &args.headers {
        member.apply(&mut header);
    }
    header
}

fn claims(args: &Args, now: u64) -> Map<String, Value> {
    let audience = match args.audience.as_slice() {
        [one] => json!(one),
        several => json!(several),
    };
    let mut claims = Map::new();
    for (name, value) in [
        ("iss", json!(args.issuer)),
        ("aud", audience),
        ("sub", json!(args.subject)),
        ("iat", json!(args.issued_at.after(now))),
        ("exp", json!(args.expires_in.after(now))),
    ] {
        claims.insert(name.to_owned(), value);
    }
    if let Some(offset) = args.not_before {
        claims.insert("nbf".to_owned(), json!(offset.after(now)));
    }
    for member in &args.claims {
        member.apply(&mut claims);
    }
    claims
}

#[cfg(test)]
mod tests;
