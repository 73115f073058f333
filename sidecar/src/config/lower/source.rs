//! `sources:` of a token rule: where a token may stand.

use tollgate_auth::header::scrub;
use tollgate_auth::token::source::{HeaderScheme, TokenSource};
use tollgate_http::fields::valid_name;

use super::context::{Context, items, set};
use crate::config::diagnostic::Position;
use crate::config::node::{At, StrOr};
use crate::config::raw::RawSource;

/// The parameter of RFC 6750, section 2.3.
const USUAL_PARAMETER: &str = "access_token";

/// The longest name of a cookie or a parameter: they are compared with every one of every request.
const LONGEST_NAME: usize = 64;

/// The sources in the order of the file; `authorization` where none are said.
pub(super) fn lower(
    cx: &mut Context<'_>,
    raw: Option<&At<Vec<At<StrOr<RawSource>>>>>,
) -> Vec<TokenSource> {
    let Some(list) = raw else {
        return vec![TokenSource::Header {
            name: "authorization".to_owned(),
            scheme: HeaderScheme::Usual,
        }];
    };
    if list.value.as_ref().is_some_and(Vec::is_empty) {
        cx.report(
            list.position,
            "`sources` is empty, so no token would ever be found; remove it for `[{ header: authorization }]`",
        );
    }
    let mut sources: Vec<TokenSource> = Vec::new();
    for (at, raw) in items(raw) {
        let Some(source) = source(cx, at, raw) else {
            continue;
        };
        match sources.iter().find(|other| other.reads_like(&source)) {
            Some(other) if *other == source => cx.report(at, format!("{source} stands twice")),
            Some(other) => cx.report(
                at,
                format!("{source} reads like {other}; a token in one of them would count as two"),
            ),
            None => sources.push(source),
        }
    }
    sources
}

fn source(cx: &mut Context<'_>, position: Position, raw: &StrOr<RawSource>) -> Option<TokenSource> {
    let raw = match raw {
        StrOr::Str(word) if word == "query" => {
            return Some(TokenSource::Query {
                name: USUAL_PARAMETER.to_owned(),
            });
        }
        StrOr::Str(word) => {
            let message = match word.as_str() {
                "header" => "`header` needs a name: `{ header: authorization }`".to_owned(),
                "cookie" => "`cookie` needs a name: `{ cookie: __Host-session }`".to_owned(),
                _ => format!(
                    "`{word}` is no source; say `{{ header: NAME }}`, `{{ cookie: NAME }}` or `{{ query: NAME }}`"
                ),
            };
            cx.report(position, message);
            return None;
        }
        StrOr::Other(raw) => raw,
    };
    if let (Some(scheme), None) = (&raw.scheme, &raw.header) {
        cx.report(
            scheme.position,
            "`scheme` belongs to a `header`; cookies and query parameters hold the bare token",
        );
        return None;
    }
    match (&raw.header, &raw.cookie, &raw.query) {
        (Some(name), None, None) => header(cx, name, raw.scheme.as_ref()),
        (None, Some(name), None) => cookie(cx, name),
        (None, None, Some(name)) => parameter(cx, name),
        (None, None, None) => {
            cx.report(
                position,
                "a source says where: `header`, `cookie` or `query`",
            );
            None
        }
        _ => {
            cx.report(
                position,
                "a source is one place; write each of `header`, `cookie` and `query` as an item of its own",
            );
            None
        }
    }
}

fn header(
    cx: &mut Context<'_>,
    name: &At<String>,
    scheme: Option<&At<String>>,
) -> Option<TokenSource> {
    let (at, name) = set(Some(name))?;
    if scrub::is_hop_by_hop(name.as_bytes()) || name.eq_ignore_ascii_case("host") {
        cx.report(
            at,
            format!("the source `{name}` can never hold a token: it belongs to the connection and is gone before a token is looked for; name another header"),
        );
        return None;
    }
    if name.eq_ignore_ascii_case("cookie") {
        cx.report(
            at,
            "the header `cookie` is a list of cookies; say `{ cookie: NAME }` for one of them",
        );
        return None;
    }
    if !valid_name(name.as_bytes()) {
        cx.report(at, format!("`{name}` is not a header name"));
        return None;
    }
    let name = name.to_ascii_lowercase();
    let scheme = match scheme {
        None => HeaderScheme::Usual,
        Some(_) => scheme_of(cx, &name, set(scheme)?)?,
    };
    Some(TokenSource::Header { name, scheme })
}

fn scheme_of(
    cx: &mut Context<'_>,
    header: &str,
    (at, word): (Position, &String),
) -> Option<HeaderScheme> {
    let word = word.as_str();
    if word == "none" {
        return Some(HeaderScheme::Bare);
    }
    if word.eq_ignore_ascii_case("dpop") {
        cx.report(
            at,
            "`scheme: DPoP` is not available in this version: such a token is worth nothing without its proof",
        );
        return None;
    }
    if !valid_name(word.as_bytes()) {
        cx.report(
            at,
            format!("`scheme: {word}` is not the name of a scheme; say for example `Bearer`, or `none` for the bare token"),
        );
        return None;
    }
    if header == "authorization" && word.eq_ignore_ascii_case("bearer") {
        return Some(HeaderScheme::Usual);
    }
    // In one spelling, so that what stands twice is seen.
    Some(HeaderScheme::Named(word.to_ascii_lowercase()))
}

fn cookie(cx: &mut Context<'_>, name: &At<String>) -> Option<TokenSource> {
    let (at, name) = set(Some(name))?;
    if !valid_name(name.as_bytes()) || name.len() > LONGEST_NAME {
        cx.report(
            at,
            format!("`{name}` is not the name of a cookie: 1 to {LONGEST_NAME} letters, digits and of !#$%&'*+-.^_`|~"),
        );
        return None;
    }
    Some(TokenSource::Cookie { name: name.clone() })
}

fn parameter(cx: &mut Context<'_>, name: &At<String>) -> Option<TokenSource> {
    let (at, name) = set(Some(name))?;
    let needs_no_escape =
        |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~');
    if name.is_empty() || name.len() > LONGEST_NAME || !name.bytes().all(needs_no_escape) {
        cx.report(
            at,
            format!("`{name}` cannot be the name of a token's query parameter: 1 to {LONGEST_NAME} letters, digits and of -._~"),
        );
        return None;
    }
    Some(TokenSource::Query { name: name.clone() })
}
