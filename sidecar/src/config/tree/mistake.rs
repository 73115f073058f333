//! What is wrong with a value, in words that name a cure.

use std::fmt;

use serde::de;
use serde_saphyr::Location;

use super::yaml::Node;
use crate::config::diagnostic::Position;

/// What is wrong with one value, without its place: the nearest [`At`] adds that.
#[derive(Debug)]
pub(super) struct Mistake(pub(super) String);

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Mistake {
    /// A list was expected; one value alone is most often meant as a list of one.
    pub(super) fn no_list(found: &Node) -> Self {
        let one = match found {
            Node::Bool(value) => value.to_string(),
            Node::Signed(value) => value.to_string(),
            Node::Unsigned(value) => value.to_string(),
            Node::Float(value) => value.to_string(),
            Node::Str(text) if is_plain(text) => text.clone(),
            Node::Str(text) => format!("{text:?}"),
            Node::Map(_) => {
                return Self(
                    "expected a list, found a mapping; begin each item with `- `".to_owned(),
                );
            }
            Node::Null | Node::Seq(_) => {
                return Self(format!("expected a list, found {}", found.kind()));
            }
        };
        let kind = match found {
            Node::Str(_) => "the string",
            Node::Bool(_) => "the boolean",
            _ => "the number",
        };
        Self(format!(
            "expected a list, found {kind} `{one}`; write `[{one}]`"
        ))
    }
}

/// The text stands for itself without quotes inside `[…]` (YAML 1.2 section 7.3.3, and narrower).
fn is_plain(text: &str) -> bool {
    let inside = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | '/' | ':' | '+');
    text.starts_with(|c: char| c.is_alphanumeric() || c == '/')
        && text.chars().all(inside)
        && !text.ends_with(':')
}

impl std::error::Error for Mistake {}

impl de::Error for Mistake {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }
    fn invalid_type(found: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        if let de::Unexpected::Str(text) = found {
            return Self(format!("expected {expected}, found the string `{text}`"));
        }
        let found = match found {
            de::Unexpected::Unit => "nothing".to_owned(),
            de::Unexpected::Map => "a mapping".to_owned(),
            de::Unexpected::Seq => "a list".to_owned(),
            other => other.to_string(),
        };
        Self(format!("expected {expected}, found {found}"))
    }
}

pub(super) fn position_of(location: Location) -> Position {
    let narrow = |wide: u64| u32::try_from(wide).unwrap_or(u32::MAX);
    Position {
        line: narrow(location.line()),
        column: narrow(location.column()),
        length: narrow(location.span().len()),
    }
}

pub(super) fn list_of(names: &[&str]) -> String {
    names
        .iter()
        .map(|name| format!("`{name}`"))
        .collect::<Vec<_>>()
        .join(", ")
}

/// The known name that a typing slip most likely meant: at most two edits away, and fewer than half its letters.
pub(crate) fn nearest<'n>(name: &str, known: &[&'n str]) -> Option<&'n str> {
    known
        .iter()
        .map(|candidate| (strsim::levenshtein(name, candidate), *candidate))
        .filter(|(distance, candidate)| *distance <= 2 && distance * 2 < candidate.len())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}
