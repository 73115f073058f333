//! What a check says.

use serde_json::Value;

use super::differ::{difference, likeness};
use super::subject::Subject;
use super::when::spoken;
use crate::refusal::quote;
use crate::token::algorithm::Algorithm;
use crate::token::issuer::{Candidate, Issuer, Keys, TokenType};
use crate::token::jws::{Jws, Typ};
use crate::token::keys::{KeyInfo, KeySet};

/// Names that are listed of a longer list.
pub(super) const LISTED: usize = 8;

pub(super) fn issuer_line(
    jws: &Jws<'_>,
    candidates: &[Candidate<'_>],
    selected: Option<usize>,
) -> String {
    let Some(Value::String(said)) = jws.payload.get("iss") else {
        // The refusal says what is wrong with it.
        return String::new();
    };
    match (selected, candidates) {
        (Some(at), _) => {
            let issuer = candidates[at].issuer;
            format!(
                "iss {} is that of {:?}, byte for byte",
                quote(said),
                issuer.name
            )
        }
        (None, [only]) => {
            let ours = &only.issuer.issuer;
            format!(
                "iss {} is not {} of {:?}: {}",
                quote(said),
                quote(ours),
                only.issuer.name,
                difference(said, ours)
            )
        }
        (None, all) => {
            let close = all.iter().find_map(|c| {
                let hint = likeness(said, &c.issuer.issuer)?;
                Some(format!("; nearest is {:?}: {hint}", c.issuer.name))
            });
            format!(
                "iss {} is none of {}{}",
                quote(said),
                list(all.iter().map(|c| c.issuer.issuer.as_str())),
                close.unwrap_or_default()
            )
        }
    }
}

pub(super) fn type_line(jws: &Jws<'_>, issuer: &Issuer) -> String {
    let said = match jws.header.typ {
        Typ::Absent => "no typ",
        Typ::Jwt => "typ is JWT",
        Typ::AccessToken => "typ is at+jwt",
    };
    match issuer.token_type {
        TokenType::Any => format!("{said}; JWT, at+jwt and none are accepted"),
        TokenType::AccessTokenJwt => format!("{said}; at+jwt alone is accepted (RFC 9068)"),
    }
}

pub(super) fn keys_line(subject: &Subject<'_>) -> String {
    let age = subject.age.map(|age| format!(", {} old", spoken(age)));
    let error = subject.last_error.as_ref();
    let error = error.map(|why| format!("; the last fetch failed: {why}"));
    let what = match subject.candidate.keys {
        Keys::Ready { set, generation } => {
            let skipped = match set.skipped().len() {
                0 => String::new(),
                some => format!(", {some} unusable"),
            };
            format!("{} key(s){skipped}, generation {generation}", set.len())
        }
        Keys::Unavailable => "none yet".to_owned(),
        Keys::Stale => "too old to be used (`keys.max_stale`)".to_owned(),
    };
    format!(
        "{what}, from {}{}{}",
        subject.source,
        age.unwrap_or_default(),
        error.unwrap_or_default()
    )
}

pub(super) fn key_line(set: &KeySet, kid: Option<&str>, algorithm: Algorithm) -> String {
    let fits =
        |key: &KeyInfo<'_>| key.algorithms.contains(algorithm) && (kid.is_none() || key.kid == kid);
    match (set.entries().find(fits), kid) {
        (Some(key), Some(kid)) => format!(
            "kid {}: {}, {} bits, for {}",
            quote(kid),
            key.kind,
            key.bits,
            key.algorithms
        ),
        (Some(key), None) => format!(
            "no kid; the only key for {algorithm}: {}, {} bits",
            key.kind, key.bits
        ),
        (None, _) => String::new(),
    }
}

/// What the set has instead.
pub(super) fn set_line(set: &KeySet, kid: Option<&str>) -> String {
    let known = format!("known are {}", list(set.kids()));
    let skipped = set
        .skipped()
        .iter()
        .find(|key| kid.is_some() && key.kid == kid.map(quote));
    match skipped {
        Some(key) => format!("{known}; one of that name cannot be used: {}", key.why),
        None => known,
    }
}

/// What a stranger wrote, as long as it is of use, and as a terminal may show it: JSON leaves controls beyond ASCII and
/// marks that turn the direction of text as they are.
pub(super) fn short(text: &str) -> String {
    let quoted = quote(text);
    let bare = quoted
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    bare.unwrap_or(&quoted).to_owned()
}

pub(super) fn list<'v>(values: impl Iterator<Item = &'v str>) -> String {
    let all: Vec<_> = values.map(quote).collect();
    let more = all.len().saturating_sub(LISTED);
    let shown = all[..all.len() - more].join(", ");
    match more {
        0 => format!("[{shown}]"),
        more => format!("[{shown}] and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lists_say_how_much_is_left_out() {
        assert_eq!(list([].into_iter()), "[]");
        assert_eq!(
            list(["a"; LISTED].into_iter()).matches("\"a\"").count(),
            LISTED
        );
        let longer = list(["a"; LISTED + 2].into_iter());
        assert_eq!(longer.matches("\"a\"").count(), LISTED);
        assert!(longer.ends_with("] and 2 more"), "{longer}");
    }
}
