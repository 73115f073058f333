//! `token:` of routes and of `defaults:`.

use super::context::{Context, References, items, known, lacks_items, set};
use super::source;
use crate::config::diagnostic::Position;
use crate::config::model::TokenRule;
use crate::config::node::{At, StrOr};
use crate::config::raw::{RawOnExpiry, RawTokenRule};

/// A token rule as far as it was said.
#[derive(Clone)]
pub(super) enum Token {
    Unsaid,
    Public,
    Rule(TokenRule),
    /// Said, but wrong; already reported.
    Broken,
}

pub(super) fn lower(
    cx: &mut Context<'_>,
    raw: Option<&At<StrOr<RawTokenRule>>>,
    references: &References<'_>,
) -> Token {
    let Some(at) = raw else { return Token::Unsaid };
    match &at.value {
        None => Token::Broken,
        Some(StrOr::Str(word)) if word == "none" => Token::Public,
        Some(StrOr::Str(word)) => {
            cx.report(
                at.position,
                format!("`token: {word}` is unknown; say `none`, or `{{ issuers: […] }}`"),
            );
            Token::Broken
        }
        Some(StrOr::Other(raw)) => Token::Rule(rule(cx, at.position, raw, references)),
    }
}

fn rule(
    cx: &mut Context<'_>,
    position: Position,
    raw: &RawTokenRule,
    references: &References<'_>,
) -> TokenRule {
    let mut issuers = Vec::new();
    for (at, name) in items(raw.issuers.as_ref()) {
        match references.issuers.get(name) {
            Some(index) if issuers.contains(index) => {
                cx.report(at, format!("the issuer `{name}` stands twice"));
            }
            Some(index) => {
                let identifier = |index: &usize| references.identifiers.get(*index);
                if let Some(same) = identifier(index)
                    && issuers.iter().any(|other| identifier(other) == Some(same))
                {
                    cx.report(at, format!("two issuers here have the identifier `{same}`; which one a token means could not be told"));
                }
                issuers.push(*index);
            }
            None => cx.report(
                at,
                format!("there is no issuer `{name}`; {}", known(references.issuers)),
            ),
        }
    }
    if lacks_items(raw.issuers.as_ref()) {
        cx.report(position, "`issuers` is missing or empty; name at least one");
    }
    TokenRule {
        issuers,
        sources: source::lower(cx, raw.sources.as_ref()),
        required: set(raw.required.as_ref()).is_none_or(|(_, value)| *value),
        forward: set(raw.forward.as_ref()).is_some_and(|(_, value)| *value),
        close_on_expiry: !matches!(set(raw.on_expiry.as_ref()), Some((_, RawOnExpiry::Keep))),
    }
}
