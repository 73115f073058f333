//! Where a request carries its token.
//!
//! One token in one place, or a refusal: what [`find`] did not read must not reach the API as a token either. So it
//! also knows the spellings that only some servers take for the name ([`tollgate_http::spelling`], [`reads_alike`]),
//! and refuses them; and [`strip`] takes every spelling out.

use std::fmt;

use tollgate_http::RequestHead;
use tollgate_http::cookie::{self, cookies, unquoted};
use tollgate_http::fields::{Field, Fields, valid_name};
use tollgate_http::query::{self, Pair, parameters};
use tollgate_http::spelling::{Case, Spelling, spelling};

use crate::header::scrub::reads_alike;
use crate::reason::Reason;
use crate::refusal::Refusal;

/// A place to look for the token.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TokenSource {
    /// A header field.
    Header {
        /// Its name, in any case.
        name: String,
        /// What stands before the token.
        scheme: HeaderScheme,
    },
    /// A cookie (RFC 6265). Requests that change something are checked for forgery ([`super::origin`]).
    Cookie {
        /// Its name; case matters.
        name: String,
    },
    /// A parameter of the query (RFC 6750 section 2.3).
    Query {
        /// Its name; case matters.
        name: String,
    },
}

/// What stands before the token in a header.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum HeaderScheme {
    /// `Bearer` in `Authorization` (RFC 6750 section 2.1); in any other header `Bearer` or nothing.
    #[default]
    Usual,
    /// Nothing: the value is the token.
    Bare,
    /// This scheme, in any case, and one space (`credentials` of RFC 9110 section 11.4).
    Named(String),
}

/// What kind of place a token came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// A header field, which a page of another site cannot make a browser send.
    Header,
    /// A cookie, which browsers send by themselves.
    Cookie,
    /// The query, which is part of a URL that browsers remember and pass on.
    Query,
}

/// A token found.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Found<'a> {
    /// The token: at least one character of the `b64token` grammar (RFC 6750 section 2.1), not looked
    /// at any further.
    pub token: &'a [u8],
    /// What it came in.
    pub carrier: Carrier,
}

/// Never prints the token.
impl fmt::Debug for Found<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Found")
            .field("bytes", &self.token.len())
            .field("carrier", &self.carrier)
            .finish_non_exhaustive()
    }
}

/// Finds the one token of a request in `sources`. `None`: no source holds one; an `Authorization` of
/// another scheme, such as `Basic`, is not a token, unless some server might find one in it: a value whose scheme has a dot
/// (`Authorization: eyJ….….…`), and `Bearer` after another word, are malformed.
///
/// # Errors
/// [`Reason::TokenAmbiguous`] if two places hold one, be they equal, or if a field, a cookie or a parameter stands
/// twice; [`Reason::TokenMalformed`] if one is there and is empty, does not have the grammar, or is spelt so that not
/// every server would read it alike.
pub fn find<'a>(
    head: &'a RequestHead,
    sources: &[TokenSource],
) -> Result<Option<Found<'a>>, Refusal> {
    let mut found: Option<Found<'a>> = None;
    for (at, source) in sources.iter().enumerate() {
        // A place configured twice is one; a header may be, with several schemes.
        if sources[..at]
            .iter()
            .any(|before| before.is_same_place(source))
        {
            continue;
        }
        let here = match source {
            TokenSource::Header { name, .. } => in_header(&head.fields, name, sources),
            TokenSource::Cookie { name } => in_cookie(&head.fields, name),
            TokenSource::Query { name } => in_query(head.query.as_deref(), name),
        };
        let refuse = |reason, why: &str| Err(Refusal::new(reason, format!("{source} {why}")));
        let token = match here {
            Here::Nothing => continue,
            Here::Token(token) => token,
            Here::Twice => return refuse(Reason::TokenAmbiguous, "stands more than once"),
            Here::Malformed(why) => return refuse(Reason::TokenMalformed, why),
        };
        let carrier = source.carrier();
        if found.replace(Found { token, carrier }).is_some() {
            return refuse(Reason::TokenAmbiguous, "holds a second token");
        }
    }
    Ok(found)
}

/// Removes all that could be a token for whoever reads `sources`, in every spelling, so that it is not forwarded. The
/// rest stays byte for byte; so does an `Authorization` of another scheme.
pub fn strip(head: &mut RequestHead, sources: &[TokenSource]) {
    for source in sources {
        match source {
            TokenSource::Header { name, .. } => {
                let other_scheme = |f: &Field| {
                    f.is(name)
                        && matches!(
                            credentials(name, sources, &f.value),
                            Credentials::OtherScheme
                        )
                };
                head.fields
                    .retain(|f| !reads_alike(&f.name, name.as_bytes()) || other_scheme(f));
            }
            TokenSource::Cookie { name } => {
                cookie::remove(&mut head.fields, |pair| {
                    cookie_spelling(pair, name) != Spelling::Other
                });
            }
            TokenSource::Query { name } => {
                query::remove(&mut head.query, |pair| {
                    query_spelling(pair, name) != Spelling::Other
                });
            }
        }
    }
}

impl TokenSource {
    /// What kind of place it is.
    pub fn carrier(&self) -> Carrier {
        match self {
            Self::Header { .. } => Carrier::Header,
            Self::Cookie { .. } => Carrier::Cookie,
            Self::Query { .. } => Carrier::Query,
        }
    }

    /// Whether both are one field, cookie or parameter, whatever scheme they expect there.
    pub fn is_same_place(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Header { name, .. }, Self::Header { name: other, .. }) => {
                name.eq_ignore_ascii_case(other)
            }
            (one, other) => one == other,
        }
    }

    /// Whether a request that means one of them might mean the other: two spellings of one name, or one header by one
    /// scheme. Such two cannot stand in one list.
    pub fn reads_like(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::Header { name, scheme },
                Self::Header {
                    name: theirs,
                    scheme: other_scheme,
                },
            ) => {
                if self.is_same_place(other) {
                    scheme == other_scheme
                } else {
                    reads_alike(name.as_bytes(), theirs.as_bytes())
                }
            }
            (Self::Cookie { name }, Self::Cookie { name: other }) => {
                spelling(name.as_bytes(), other, COOKIE_CASE) != Spelling::Other
            }
            (Self::Query { name }, Self::Query { name: other }) => {
                spelling(name.as_bytes(), other, QUERY_CASE) != Spelling::Other
            }
            _ => false,
        }
    }
}

/// As it is called in details: kind and name.
impl fmt::Display for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header { name, .. } => write!(f, "the field {name:?}"),
            Self::Cookie { name } => write!(f, "the cookie {name:?}"),
            Self::Query { name } => write!(f, "the query parameter {name:?}"),
        }
    }
}

/// What a place holds.
enum Here<'a> {
    Nothing,
    Token(&'a [u8]),
    /// It stands there more than once.
    Twice,
    /// And why it is no token.
    Malformed(&'static str),
}

fn in_header<'a>(fields: &'a Fields, name: &str, sources: &[TokenSource]) -> Here<'a> {
    let mut lines = fields
        .iter()
        .filter(|field| reads_alike(&field.name, name.as_bytes()));
    match (lines.next(), lines.next()) {
        (None, _) => Here::Nothing,
        (Some(_), Some(_)) => Here::Twice,
        (Some(field), None) if !field.is(name) => Here::Malformed(DISPUTED),
        (Some(field), None) => match credentials(name, sources, &field.value) {
            Credentials::Token(token) => Here::Token(token),
            Credentials::OtherScheme => Here::Nothing,
            Credentials::Malformed => Here::Malformed(
                "is not its scheme, one space, and a token (or the token alone, where it has no scheme)",
            ),
        },
    }
}

fn in_cookie<'a>(fields: &'a Fields, name: &str) -> Here<'a> {
    let of_that_name = cookies(fields).map(|pair| (pair, cookie_spelling(pair, name)));
    in_pairs(
        of_that_name,
        |spelling| spelling == Spelling::Exact,
        |value| unquoted(value).filter(|token| is_b64token(token)),
    )
}

fn in_query<'a>(query: Option<&'a [u8]>, name: &str) -> Here<'a> {
    let Some(query) = query else {
        return Here::Nothing;
    };
    let of_that_name = parameters(query).map(|pair| (pair, query_spelling(pair, name)));
    let is_same = |spelling| matches!(spelling, Spelling::Exact | Spelling::Encoded);
    in_pairs(of_that_name, is_same, |value| {
        // A `+` is a blank there; no character of a token needs an escape.
        Some(value).filter(|token| is_b64token(token) && !token.contains(&b'+'))
    })
}

fn in_pairs<'a>(
    pairs: impl Iterator<Item = (Pair<'a>, Spelling)>,
    is_same: impl Fn(Spelling) -> bool,
    token: impl Fn(&'a [u8]) -> Option<&'a [u8]>,
) -> Here<'a> {
    let mut named = pairs.filter(|(_, spelling)| *spelling != Spelling::Other);
    let Some((pair, spelling)) = named.next() else {
        return Here::Nothing;
    };
    if named.next().is_some() {
        return Here::Twice;
    }
    if !is_same(spelling) || !pair.is_clear {
        return Here::Malformed(DISPUTED);
    }
    match pair.value.and_then(token) {
        Some(token) => Here::Token(token),
        None => Here::Malformed("is not a token and nothing else"),
    }
}

fn cookie_spelling(pair: Pair<'_>, name: &str) -> Spelling {
    spelling(pair.name, name, COOKIE_CASE)
}

fn query_spelling(pair: Pair<'_>, name: &str) -> Spelling {
    spelling(pair.name, name, QUERY_CASE)
}

enum Credentials<'a> {
    Token(&'a [u8]),
    OtherScheme,
    Malformed,
}

/// `value` by all schemes that `sources` have for the header `name`: a token by one of them is one.
fn credentials<'a>(name: &str, sources: &[TokenSource], value: &'a [u8]) -> Credentials<'a> {
    let mut result = Credentials::OtherScheme;
    for source in sources {
        let TokenSource::Header {
            name: other,
            scheme,
        } = source
        else {
            continue;
        };
        if !other.eq_ignore_ascii_case(name) {
            continue;
        }
        match by_scheme(name, scheme, value) {
            Credentials::OtherScheme => {}
            Credentials::Malformed => result = Credentials::Malformed,
            token => return token,
        }
    }
    result
}

fn by_scheme<'a>(name: &str, scheme: &HeaderScheme, value: &'a [u8]) -> Credentials<'a> {
    // Only there can something else be meant by another scheme (RFC 9110 section 11.6.2).
    let is_shared = name.eq_ignore_ascii_case("authorization");
    let (first, rest) = match memchr::memchr(b' ', value) {
        Some(at) => (&value[..at], Some(&value[at + 1..])),
        None => (value, None),
    };
    let expected = match scheme {
        HeaderScheme::Bare => None,
        HeaderScheme::Usual => Some("Bearer"),
        HeaderScheme::Named(name) => Some(name.as_str()),
    };
    let token = match expected {
        None => Some(value),
        // Exactly one space: what follows must be the token at once.
        Some(expected) if first.eq_ignore_ascii_case(expected.as_bytes()) => rest,
        Some(_) if is_shared && valid_name(first) => {
            let is_bearer = *scheme == HeaderScheme::Usual && holds_bearer(first, rest);
            return match is_bearer {
                true => Credentials::Malformed,
                false => Credentials::OtherScheme,
            };
        }
        Some(_) if !is_shared && *scheme == HeaderScheme::Usual => Some(value),
        Some(_) => None,
    };
    match token {
        Some(token) if is_b64token(token) => Credentials::Token(token),
        _ => Credentials::Malformed,
    }
}

/// Whether a lenient server could find a token for `Bearer` in credentials of another scheme: a JWT that stands where the
/// scheme belongs, or the word after another one. No registered scheme has a dot in its name.
fn holds_bearer(scheme: &[u8], rest: Option<&[u8]>) -> bool {
    let is_between = |byte: &u8| matches!(byte, b' ' | b'\t' | b',' | b';');
    scheme.contains(&b'.')
        || rest.is_some_and(|rest| {
            rest.split(is_between)
                .any(|word| word.eq_ignore_ascii_case(b"bearer"))
        })
}

/// `b64token = 1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"="`
fn is_b64token(text: &[u8]) -> bool {
    let padding = text.iter().rev().take_while(|&&b| b == b'=').count();
    let body = &text[..text.len() - padding];
    let allowed =
        |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~' | b'+' | b'/');
    !body.is_empty() && body.iter().all(allowed)
}

/// Why a name that only some servers would take for the source's is refused.
const DISPUTED: &str = "is spelt or separated so that servers disagree about it";

/// RFC 6265 compares with case, and a host may well have cookies that differ in case alone.
const COOKIE_CASE: Case = Case::Matters;
const QUERY_CASE: Case = Case::MayBeLost;

#[cfg(test)]
mod tests;
