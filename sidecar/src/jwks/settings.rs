//! Where keys come from and how they are kept.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use tollgate_auth::token::keys::MAX_JWKS_BYTES;

use crate::client::{Limits, shown};

/// Where keys come from.
#[derive(Clone, PartialEq, Eq)]
pub enum Source {
    /// OpenID Connect Discovery 1.0, section 4: the issuer's document names the key set.
    Discover,
    /// A key set by URL.
    Url(String),
    /// A key set in a file, which is watched.
    File(PathBuf),
    /// A key set in the configuration.
    Inline(Vec<u8>),
}

/// In words: a key set that was written here may hold secrets.
impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Discover => f.write_str("Discover"),
            Self::Url(url) => f.debug_tuple("Url").field(&shown(url)).finish(),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Inline(_) => f.write_str("Inline(..)"),
        }
    }
}

/// In words; nothing of a URL's query, which may hold a key.
impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Discover => f.write_str("discovery"),
            Self::Url(url) => f.write_str(&shown(url)),
            Self::File(path) => write!(f, "the file {}", path.display()),
            Self::Inline(_) => f.write_str("the configuration"),
        }
    }
}

/// How keys are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where they come from.
    pub source: Source,
    /// Time between fetches, at most.
    pub refresh: Duration,
    /// Time between fetches, at least, whatever Cache-Control says.
    pub least: Duration,
    /// What a fetch may do.
    pub limits: Limits,
}

impl Settings {
    /// Limits for fetching keys: a key set is at most [`MAX_JWKS_BYTES`] large, a discovery document as well.
    pub fn limits(timeout: Duration, allow_http: bool, allow_private: bool) -> Limits {
        Limits {
            timeout,
            max_bytes: MAX_JWKS_BYTES,
            allow_http,
            allow_private,
        }
    }
}
