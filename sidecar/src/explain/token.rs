//! Why a token is accepted or refused by the issuers of the moment: the same for the running daemon and for a
//! configuration that is only read.

use std::sync::Arc;

use tollgate_auth::token::explain::{Clock, Explanation, Offset, Subject, explain};

use crate::clock;
use crate::snapshot::issuer::{IssuerState, KeyState};

/// Explains the verdict on `token` at the time of `clock`, as for a route that accepts all of `issuers`; with `only`, that one alone.
///
/// # Errors
///
/// There is no issuer, or none of that name; or two have one identifier, which no route may accept together.
pub fn token(
    issuers: &[Arc<IssuerState>],
    only: Option<&str>,
    token: &str,
    clock: Clock,
) -> Result<Explanation, String> {
    let chosen: Vec<_> = issuers
        .iter()
        .filter(|issuer| only.is_none_or(|name| *issuer.rules.name == *name))
        .collect();
    if let (true, Some(name)) = (chosen.is_empty(), only) {
        let known: Vec<_> = issuers.iter().map(|issuer| &*issuer.rules.name).collect();
        return Err(format!(
            "there is no issuer `{}`; there are: {}",
            name.escape_default(),
            known.join(", ")
        ));
    }
    if chosen.is_empty() {
        return Err("the configuration has no issuers, so no token is accepted".to_owned());
    }
    if let Some((one, other)) = alike(&chosen) {
        return Err(format!(
            "the issuers `{one}` and `{other}` have the same identifier, so a token does not tell which is meant; say --issuer"
        ));
    }
    let keys: Vec<_> = chosen.iter().map(|issuer| issuer.keys()).collect();
    let subjects: Vec<_> = chosen
        .iter()
        .zip(&keys)
        .map(|(issuer, keys)| subject(issuer, keys))
        .collect();
    Ok(explain(bare(token).as_bytes(), &subjects, clock))
}

/// This host's clock at this moment.
pub fn moment() -> Clock {
    Clock {
        now: clock::now(),
        synchronised: clock::kernel().map(|kernel| kernel.is_synchronised),
    }
}

/// Two that a token could not tell apart.
fn alike<'i>(issuers: &[&'i Arc<IssuerState>]) -> Option<(&'i str, &'i str)> {
    issuers.iter().enumerate().find_map(|(at, one)| {
        let other = issuers[..at]
            .iter()
            .find(|other| other.rules.issuer == one.rules.issuer)?;
        Some((&*other.rules.name, &*one.rules.name))
    })
}

fn subject<'a>(issuer: &'a IssuerState, keys: &'a KeyState) -> Subject<'a> {
    Subject {
        candidate: issuer.candidate(keys),
        source: issuer.source.clone(),
        age: keys.age(),
        last_error: keys.last_error.clone(),
        offset: issuer.clock_offset().map(|offset| Offset {
            seconds: offset.seconds,
            uncertainty: offset.uncertainty,
            source: offset.source.word().to_owned(),
        }),
    }
}

/// The token alone: what is pasted often brings the scheme, the header's name or a line end along.
pub(super) fn bare(pasted: &str) -> &str {
    let text = pasted.trim();
    let text = strip_word(text, "authorization:").unwrap_or(text);
    strip_word(text, "bearer ").unwrap_or(text)
}

fn strip_word<'t>(text: &'t str, word: &str) -> Option<&'t str> {
    let (start, rest) = text.split_at_checked(word.len())?;
    start.eq_ignore_ascii_case(word).then(|| rest.trim_start())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_pasted_is_made_bare() {
        for pasted in [
            "a.b.c",
            " a.b.c\n",
            "Bearer a.b.c",
            "bearer  a.b.c",
            "Authorization: Bearer a.b.c\r\n",
        ] {
            assert_eq!(bare(pasted), "a.b.c", "{pasted:?}");
        }
        assert_eq!(bare("bearer"), "bearer");
        assert_eq!(bare(""), "");
    }
}
