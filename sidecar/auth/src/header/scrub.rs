//! What a client must not be able to say: every alias of a managed name goes, on every route.
//!
//! Servers behind Tollgate fold header names: CGI, WSGI, Rack and PHP turn `-` into `_` and forget case,
//! some drop dots. So a header is an alias of a managed one if both are equal once reduced to lower-case
//! letters and digits: `X-User-Id`, `X_User_Id`, `x.user.id`, `xuserid`.

use tollgate_http::fields::{Fields, valid_name};

/// The prefix of Tollgate's own headers, folded: `x-tollgate-…`.
const OWN: &[u8] = b"xtollgate";

/// Folded names up to this length are looked up from a buffer on the stack.
const SHORT: usize = 64;

/// Reduces a name to its letters and digits, lower-cased.
pub fn fold(name: &[u8]) -> String {
    folded(name).map(char::from).collect()
}

fn folded(name: &[u8]) -> impl Iterator<Item = u8> {
    name.iter()
        .filter(|b| b.is_ascii_alphanumeric())
        .map(u8::to_ascii_lowercase)
}

/// The names that are Tollgate's to write: what any route injects, and the `x-tollgate-` prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManagedNames {
    /// Folded, sorted, each once.
    names: Vec<Box<str>>,
    /// A bit for each length in `names`; the last one also for all longer. Most headers of a request
    /// are told apart from managed ones by their length alone.
    lengths: u64,
}

impl ManagedNames {
    /// The set of `names` in any spelling. The `x-tollgate-` prefix is always in it.
    pub fn new<'n>(names: impl IntoIterator<Item = &'n str>) -> Self {
        let mut names: Vec<_> = names
            .into_iter()
            .map(|n| fold(n.as_bytes()).into_boxed_str())
            .filter(|n| !n.is_empty())
            .collect();
        names.sort_unstable();
        names.dedup();
        let lengths = names.iter().fold(0, |bits, n| bits | length_bit(n.len()));
        Self { names, lengths }
    }

    /// Whether `name` is an alias of a managed name. Does not allocate.
    pub fn matches(&self, name: &[u8]) -> bool {
        let mut buffer = [0; SHORT];
        let mut length = 0;
        for byte in folded(name) {
            if length == SHORT {
                return self.matches_long(name);
            }
            buffer[length] = byte;
            length += 1;
        }
        let short = &buffer[..length];
        short.starts_with(OWN)
            || (self.lengths & length_bit(length) != 0
                && self
                    .names
                    .binary_search_by(|n| n.as_bytes().cmp(short))
                    .is_ok())
    }

    /// The managed names in their folded form, sorted; the prefix `x-tollgate-` goes without saying.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(|n| &**n)
    }

    fn matches_long(&self, name: &[u8]) -> bool {
        folded(name).take(OWN.len()).eq(OWN.iter().copied())
            || (self.lengths & length_bit(SHORT) != 0
                && self.names.iter().any(|n| folded(name).eq(n.bytes())))
    }
}

const fn length_bit(length: usize) -> u64 {
    1 << if length < 63 { length } else { 63 }
}

/// Fields that belong to one connection (RFC 9110 section 7.6.1), and those of HTTP/1.1's upgrade to
/// HTTP/2 and of proxies' own authentication.
const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
    "proxy-authenticate",
    "proxy-authorization",
];

/// Fields that a client cannot make hop-by-hop by naming them in `Connection`: without them the message
/// would be another one.
const NEVER_NOMINATED: [&[u8]; 3] = [b"host", b"content-length", b"content-type"];

/// Removes what belongs to the client's connection: first the fields that `Connection` names, then the
/// fixed ones. The caller keeps what it needs of them (`TE: trailers`, `Upgrade`) before it calls.
///
/// It runs before anything is injected, so `Connection: x-user-id` cannot take a verified header away.
pub fn hop_by_hop(fields: &mut Fields) {
    // Clones of `Bytes` share their memory; without `Connection` nothing is allocated.
    let nominations: Vec<_> = fields.get_all("connection").cloned().collect();
    if !nominations.is_empty() {
        let nominated = |name: &[u8]| {
            nominations
                .iter()
                .flat_map(|value| value.split(|&b| b == b','))
                .any(|option| option.trim_ascii().eq_ignore_ascii_case(name))
        };
        let guarded = |name: &[u8]| NEVER_NOMINATED.iter().any(|n| name.eq_ignore_ascii_case(n));
        fields.retain(|f| guarded(&f.name) || !nominated(&f.name));
    }
    fields.retain(|f| !HOP_BY_HOP.iter().any(|name| f.is(name)));
}

/// Removes hop-by-hop fields, then every alias of a managed name. For request headers, and for trailers
/// as well. Does not allocate, but for a client that sends `Connection`.
pub fn scrub(fields: &mut Fields, managed: &ManagedNames) {
    hop_by_hop(fields);
    fields.retain(|f| !managed.matches(&f.name));
}

/// Why a name cannot be managed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Not a field name.
    #[error("{0:?} is no header name: use letters, digits and '-'")]
    Syntax(String),
    /// Longer than 64 bytes.
    #[error("the header name {0:?} is longer than {SHORT} bytes")]
    TooLong(String),
    /// Begins with `x-tollgate-`, in whatever spelling.
    #[error("the header name {0:?} is reserved: Tollgate writes x-tollgate- headers itself")]
    Reserved(String),
    /// Reads like a field that frames messages or belongs to a connection.
    #[error(
        "the header name {name:?} reads like {like}, which frames messages or belongs to the connection"
    )]
    Framing {
        /// As configured.
        name: String,
        /// The field it would be taken for.
        like: &'static str,
    },
    /// Reads like a field that Tollgate itself writes about the client or its cookies.
    #[error(
        "the header name {name:?} reads like {like}, which has its own meaning for every server"
    )]
    Taken {
        /// As configured.
        name: String,
        /// The field it would be taken for.
        like: &'static str,
    },
    /// Reads like a field registered at IANA.
    #[error(
        "the header name {name:?} reads like the registered field {like}; choose a name of your own, such as x-user-id"
    )]
    Registered {
        /// As configured.
        name: String,
        /// The field it would be taken for.
        like: &'static str,
    },
}

/// Whether `name` may be injected: a field name of at most 64 bytes that no server behind could take for
/// a field with a meaning of its own.
///
/// # Errors
/// [`NameError`] names the field it collides with.
pub fn check_name(name: &str) -> Result<(), NameError> {
    let fold = fold(name.as_bytes());
    if !valid_name(name.as_bytes()) || fold.is_empty() {
        return Err(NameError::Syntax(name.to_owned()));
    }
    if name.len() > SHORT {
        return Err(NameError::TooLong(name.to_owned()));
    }
    if fold.as_bytes().starts_with(OWN) {
        return Err(NameError::Reserved(name.to_owned()));
    }
    let reads_like = |list: &[&'static str]| {
        list.iter()
            .copied()
            .find(|n| folded(n.as_bytes()).eq(fold.bytes()))
    };
    let name = || name.to_owned();
    if let Some(like) = reads_like(FRAMING).or_else(|| reads_like(&HOP_BY_HOP)) {
        return Err(NameError::Framing { name: name(), like });
    }
    if let Some(like) = reads_like(TAKEN) {
        return Err(NameError::Taken { name: name(), like });
    }
    if let Some(like) = reads_like(super::registry::NAMES) {
        return Err(NameError::Registered { name: name(), like });
    }
    Ok(())
}

const FRAMING: &[&str] = &["Content-Length", "Content-Encoding", "Trailer", "Expect"];

const TAKEN: &[&str] = &[
    "Host",
    "Cookie",
    "Set-Cookie",
    "Forwarded",
    "X-Forwarded-For",
    "X-Forwarded-Host",
    "X-Forwarded-Port",
    "X-Forwarded-Proto",
    "X-Real-IP",
    "X-Request-Id",
    "Traceparent",
    "Tracestate",
];

#[cfg(test)]
mod tests;
