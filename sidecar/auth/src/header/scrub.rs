//! What a client must not be able to say: every alias of a managed name goes, on every route.
//!
//! Servers behind Tollgate fold header names: CGI, WSGI, Rack and PHP turn `-` into `_` and forget case,
//! some drop dots. So a header is an alias of a managed one if both are equal once reduced to lower-case
//! letters and digits: `X-User-Id`, `X_User_Id`, `x.user.id`, `xuserid`.

mod bloom;
mod folded;
mod spelled;
mod unvouched;

use std::cmp::Ordering;

use tollgate_http::fields::{Fields, MAX_NAME, valid_name};

use self::bloom::Bloom;
use self::folded::{Folded, SHORT, folded};
use self::spelled::{OWN, SPELLED};

/// Reduces a name to its letters and digits, lower-cased.
pub fn fold(name: &[u8]) -> String {
    folded(name).map(char::from).collect()
}

/// Whether two names are one to servers that fold them. Does not allocate.
pub fn reads_alike(one: &[u8], other: &[u8]) -> bool {
    folded(one).eq(folded(other))
}

/// The names that are Tollgate's to write: what any route injects, and the `x-tollgate-` prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManagedNames {
    /// Folded, sorted, each once.
    names: Vec<Box<str>>,
    /// Holds them, and what is removed whatever is managed.
    bloom: Bloom,
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
        let bloom = names
            .iter()
            .fold(Bloom::LISTS, |bloom, n| bloom.with(n.as_bytes()));
        Self { names, bloom }
    }

    /// Whether `name` is an alias of a managed name. Does not allocate.
    pub fn matches(&self, name: &[u8]) -> bool {
        self.hold(name, &Folded::of(name))
    }

    /// The managed names in their folded form, sorted; the prefix `x-tollgate-` goes without saying.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(|n| &**n)
    }

    fn hold(&self, name: &[u8], short: &Folded) -> bool {
        let bytes = short.bytes();
        if !short.is_whole {
            return bytes.starts_with(OWN) || self.names.iter().any(|n| folded(name).eq(n.bytes()));
        }
        bytes.starts_with(OWN)
            || self
                .names
                .binary_search_by(|n| n.as_bytes().cmp(bytes))
                .is_ok()
    }
}

/// Whether `name` is one of Tollgate's own, `x-tollgate-…` in whatever spelling. Does not allocate.
pub fn is_own(name: &[u8]) -> bool {
    folded(name).take(OWN.len()).eq(OWN.iter().copied())
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

/// Removes what belongs to the client's connection: the fields that `Connection` names, and the fixed
/// ones. The caller keeps what it needs of them (`TE: trailers`, `Upgrade`) before it calls.
///
/// It runs before anything is injected, so `Connection: x-user-id` cannot take a verified header away.
pub fn hop_by_hop(fields: &mut Fields) {
    let mut nominated = nominated(fields).into_iter();
    fields.retain(|f| !nominated.next().unwrap_or(false) && !is_hop_by_hop(&f.name));
}

/// The names in `Connection`, lower-cased and sorted, that would otherwise be passed on; of those that make the
/// message none. Trailers lose the same names (RFC 9110 section 7.6.1), and come when the fields are gone: so this
/// is asked before [`hop_by_hop`]. Allocates only for a client that names fields of its own choice.
pub fn nominations(fields: &Fields) -> Vec<Box<[u8]>> {
    let mut names: Vec<Box<[u8]>> = fields
        .get_all("connection")
        .flat_map(|value| options(value))
        .filter(|name| !is_plain(name) && !is_guarded(name) && valid_name(name))
        .map(|name| name.to_ascii_lowercase().into())
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// Removes what a client may not say to the API: hop-by-hop fields, every alias of a managed name, what
/// [`is_respelled`] and what [`is_unvouched`]. Whoever vouches for a client says it anew, after this. Does not allocate,
/// but for a client whose `Connection` names fields of its own choice.
pub fn scrub(fields: &mut Fields, managed: &ManagedNames) {
    let mut nominated = nominated(fields).into_iter();
    fields.retain(|f| {
        if nominated.next().unwrap_or(false) {
            return false;
        }
        !managed.bloom.may_hold(&f.name) || may_stay(&f.name, managed)
    });
}

fn may_stay(name: &[u8], managed: &ManagedNames) -> bool {
    let short = Folded::of(name);
    match spelling(name, &short) {
        // Nothing of these is managed or unvouched.
        Some(is_right) => is_right && !is_hop_by_hop(name),
        None => !managed.hold(name, &short) && !unvouched::holds(name, &short),
    }
}

/// Whether `name` is not one of the fields that say where a message ends, what its body is, whom it is for or who asks,
/// and yet reads like one: `Content_Length`, `Transfer.Encoding`, `C-ookie`. Whoever folds names behind us would take it
/// for the field itself, which was read, checked or removed under its own name alone. Does not allocate.
pub fn is_respelled(name: &[u8]) -> bool {
    spelling(name, &Folded::of(name)) == Some(false)
}

/// Of a name that reads like one of [`SPELLED`]: whether it is spelled as that.
fn spelling(name: &[u8], short: &Folded) -> Option<bool> {
    if !short.is_whole {
        return None;
    }
    let mut all = SPELLED.iter();
    let (_, spelled) = all.find(|(known, _)| *known == short.bytes())?;
    Some(spelled.eq_ignore_ascii_case(name))
}

/// For each field, in order, whether `Connection` names it; empty where it names nothing that would not be
/// removed in any case.
///
/// The client chooses both the fields and the options, tens of thousands of them in one head. So each option
/// is looked up among the sorted field names, and a name found once is not walked through again: the cost
/// is that of a sort and of a search per option, not of fields times options.
fn nominated(fields: &Fields) -> Vec<bool> {
    let mut values = fields
        .get_all("connection")
        .filter(|value| !options(value).all(is_plain))
        .peekable();
    if values.peek().is_none() {
        return Vec::new();
    }
    let mut names: Vec<(&[u8], usize)> = fields
        .iter()
        .enumerate()
        .map(|(at, f)| (f.name.as_ref(), at))
        .filter(|(name, _)| !is_guarded(name))
        .collect();
    names.sort_unstable_by(|a, b| without_case(a.0, b.0));
    let mut nominated = vec![false; fields.len()];
    for option in values.flat_map(|value| options(value)) {
        let first = names.partition_point(|(name, _)| without_case(name, option).is_lt());
        for (name, at) in &names[first..] {
            if nominated[*at] || !name.eq_ignore_ascii_case(option) {
                break;
            }
            nominated[*at] = true;
        }
    }
    nominated
}

/// Says something of the connection, or names what is removed in any case.
fn is_plain(option: &[u8]) -> bool {
    option.eq_ignore_ascii_case(b"close") || is_hop_by_hop(option)
}

fn is_guarded(name: &[u8]) -> bool {
    NEVER_NOMINATED.iter().any(|n| name.eq_ignore_ascii_case(n))
}

fn without_case(a: &[u8], b: &[u8]) -> Ordering {
    a.iter()
        .map(u8::to_ascii_lowercase)
        .cmp(b.iter().map(u8::to_ascii_lowercase))
}

fn options(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&b| b == b',').map(<[u8]>::trim_ascii)
}

/// Whether `name` is one of the fixed hop-by-hop fields; compared without case, not folded. For trailers
/// and for configuration: [`hop_by_hop`] also removes what `Connection` names.
pub fn is_hop_by_hop(name: &[u8]) -> bool {
    // Most names have another length than all of them.
    HOP_BY_HOP_LENGTHS & 1_u64.checked_shl(name.len() as u32).unwrap_or(0) != 0
        && HOP_BY_HOP
            .iter()
            .any(|n| name.eq_ignore_ascii_case(n.as_bytes()))
}

const HOP_BY_HOP_LENGTHS: u64 = {
    let (mut lengths, mut at) = (0, 0);
    while at < HOP_BY_HOP.len() {
        lengths |= 1 << HOP_BY_HOP[at].len();
        at += 1;
    }
    lengths
};

/// Whether a trailer of this name is passed on by no route: one that is longer than the name of a field may be, belongs to
/// the connection, is for a trusted proxy to say, or [`is_respelled`]. What a field may not say, a trailer may not say
/// either (RFC 9110, section 6.5.1). Does not allocate.
pub fn is_never_trailer(name: &[u8]) -> bool {
    name.len() > MAX_NAME || is_hop_by_hop(name) || is_unvouched(name) || is_respelled(name)
}

/// Whether `name` is for a trusted proxy alone to say: where the client is (`Forwarded`, `X-Forwarded-*`,
/// `X-Real-IP` and what content networks call it), by which host and scheme it came (`X-Host`,
/// `Front-End-Https`), which user it is (`Remote-User`, and what gateways and clouds call it) or which
/// certificate it showed (`Client-Cert`, RFC 9440, and older spellings), what it asked for before rewriting
/// (`X-Original-*`, `X-Rewrite-URL`, `X-…-Original-Path`), methods other than the one that was matched
/// (`X-HTTP-Method-Override`), what Envoy tells itself (`X-Envoy-*`, which Envoy as well removes at an
/// edge), and `Proxy`, which CGI turns into `HTTP_PROXY` (CVE-2016-5385 and its kin). Names are folded as
/// managed ones are. Does not allocate.
pub fn is_unvouched(name: &[u8]) -> bool {
    unvouched::holds(name, &Folded::of(name))
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
    /// Reads like `Authorization`, which a later version will let an operator replace by explicit choice.
    #[error(
        "the header name {0:?} reads like Authorization; replacing that by explicit choice is not available in this version, choose a name of your own, such as x-user-id"
    )]
    Authorization(String),
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
    if fold == "authorization" {
        return Err(NameError::Authorization(name()));
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
