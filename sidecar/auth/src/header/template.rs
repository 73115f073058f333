//! Several claims in one header value: text with claims in braces.

use std::fmt;

use bytes::Bytes;
use serde_json::Value;

use super::encode::{self, MAX_VALUE};
use crate::refusal::{Refusal, quote};
use crate::token::claims::{ClaimPath, Claims};

/// The longest template, in bytes.
pub const MAX_TEMPLATE: usize = 1024;

/// Text and claims, such as `{sub}@{tenant}`.
///
/// `{name}` is a member of the token, its name taken whole; `{["a", "b"]}` is a path, a JSON array of names
/// from the outside in. `{{` and `}}` are braces. Where the text holds a character that is no letter or digit,
/// that character is percent-encoded in what the claims say, and there is one between any two claims: so the
/// value reads in one way, and no claim can say what belongs to the text or to another claim.
#[derive(Clone, PartialEq, Eq)]
pub struct Template {
    source: String,
    parts: Vec<Part>,
    /// A bit for each ASCII character of the text that is no letter or digit.
    separators: u128,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Claim(ClaimPath),
}

/// Why a text is no template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// Longer than [`MAX_TEMPLATE`].
    #[error("the template has {0} bytes; at most {MAX_TEMPLATE} are read")]
    TooLong(usize),
    /// No claim in it.
    #[error(
        "the template {0:?} names no claim; put one in braces, as `{{sub}}`, or write `value:` for a text that never changes"
    )]
    NoClaim(String),
    /// A brace without its other half.
    #[error(
        "the template {0:?} has a `{1}` of its own at byte {2}; write `{1}{1}` for the character itself, and claims as `{{sub}}`"
    )]
    Brace(String, char, usize),
    /// What stands in braces is neither a name nor a path.
    #[error(
        "`{{{name}}}` at byte {at} of the template {template:?} {why}; write `{{sub}}` for a claim, `{{[\"address\", \"country\"]}}` for one within another, names as JSON strings"
    )]
    Claim {
        /// As configured.
        template: String,
        /// What stands in braces.
        name: String,
        /// Where the brace stands, from 0.
        at: usize,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Text that cannot stand in a header, or would be taken for an escape.
    #[error(
        "the template {0:?} holds {1:?}, which is not for a header's text; use visible ASCII without `%`, which marks what was encoded"
    )]
    Text(String, char),
    /// White space that no server would see.
    #[error("the template {0:?} begins or ends with a space, which servers cut off; remove it")]
    Edge(String),
    /// Two claims that could not be told apart.
    #[error(
        "in the template {template:?} nothing but letters and digits separates {before} from {after}, so one could pass for a part of the other; put a character such as `@`, `:` or `/` between them"
    )]
    Together {
        /// As configured.
        template: String,
        /// The first of them.
        before: ClaimPath,
        /// The second.
        after: ClaimPath,
    },
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// [`TemplateError`] names the template, what is wrong with it and the cure.
    pub fn parse(source: &str) -> Result<Self, TemplateError> {
        if source.len() > MAX_TEMPLATE {
            return Err(TemplateError::TooLong(source.len()));
        }
        let parts = parts(source)?;
        let mut separators = 0;
        for part in &parts {
            if let Part::Text(text) = part {
                separators |= separators_of(source, text)?;
            }
        }
        let template = Self {
            source: source.to_owned(),
            parts,
            separators,
        };
        template.check()?;
        Ok(template)
    }

    /// The claims that it names, in their order.
    pub fn claims(&self) -> impl Iterator<Item = &ClaimPath> {
        self.parts.iter().filter_map(|part| match part {
            Part::Claim(path) => Some(path),
            Part::Text(_) => None,
        })
    }

    /// The value for `claims`; none where a claim is absent, `null` or an empty string: half of an identity is
    /// another identity.
    ///
    /// # Errors
    /// [`crate::Reason::ClaimUnencodable`] for an array or object, [`crate::Reason::IdentityTooLarge`] above
    /// [`MAX_VALUE`] bytes.
    pub(super) fn render(&self, claims: &Claims) -> Result<Option<Bytes>, Refusal> {
        let mut out = String::new();
        for part in &self.parts {
            let path = match part {
                Part::Text(text) => {
                    out.push_str(text);
                    continue;
                }
                Part::Claim(path) => path,
            };
            match claims.get(path) {
                None | Some(Value::Null) => return Ok(None),
                Some(Value::String(text)) if text.is_empty() => return Ok(None),
                Some(value) => encode::insert(value, self.separators, &mut out)
                    .map_err(|refusal| refusal.about(&format!("claim {path}")))?,
            }
            // Before the next claim multiplies it.
            encode::within(out.len(), MAX_VALUE)?;
        }
        encode::within(out.len(), MAX_VALUE)?;
        Ok(Some(out.into()))
    }

    fn check(&self) -> Result<(), TemplateError> {
        let source = || self.source.clone();
        if self.claims().next().is_none() {
            return Err(TemplateError::NoClaim(source()));
        }
        if self.source.starts_with(' ') || self.source.ends_with(' ') {
            return Err(TemplateError::Edge(source()));
        }
        // Texts are never neighbours, so two claims have one text between them or none.
        let mut before: Option<&ClaimPath> = None;
        let mut apart = true;
        for part in &self.parts {
            match part {
                Part::Text(text) => apart |= !text.bytes().all(|b| b.is_ascii_alphanumeric()),
                Part::Claim(after) => {
                    if let Some(before) = before.filter(|_| !apart) {
                        return Err(TemplateError::Together {
                            template: source(),
                            before: before.clone(),
                            after: after.clone(),
                        });
                    }
                    before = Some(after);
                    apart = false;
                }
            }
        }
        Ok(())
    }
}

/// As configured.
impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&quote(&self.source))
    }
}

/// The source says all there is.
impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Template").field(&self.source).finish()
    }
}

fn parts(source: &str) -> Result<Vec<Part>, TemplateError> {
    let mut parts = Vec::new();
    let mut text = String::new();
    let mut at = 0;
    while let Some(next) = source[at..].chars().next() {
        let rest = &source[at..];
        if rest.starts_with("{{") || rest.starts_with("}}") {
            text.push(next);
            at += 2;
        } else if next == '{' {
            if !text.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut text)));
            }
            let (path, length) = claim(source, at)?;
            parts.push(Part::Claim(path));
            at += length;
        } else if next == '}' {
            return Err(TemplateError::Brace(source.to_owned(), '}', at));
        } else {
            text.push(next);
            at += next.len_utf8();
        }
    }
    if !text.is_empty() {
        parts.push(Part::Text(text));
    }
    Ok(parts)
}

/// The claim whose opening brace stands at `at`, and how many bytes it takes with both braces.
fn claim(source: &str, at: usize) -> Result<(ClaimPath, usize), TemplateError> {
    let inside = &source[at + 1..];
    let unclosed = || TemplateError::Brace(source.to_owned(), '{', at);
    let wrong = |name: &str, why| TemplateError::Claim {
        template: source.to_owned(),
        name: name.to_owned(),
        at,
        why,
    };
    if inside.starts_with('[') {
        // The array says itself where it ends: a name in it may hold brackets and braces.
        let mut read = serde_json::Deserializer::from_str(inside).into_iter::<Vec<String>>();
        let names = read.next();
        let length = read.byte_offset();
        let shown = || inside.split('}').next().unwrap_or(inside);
        return match names {
            Some(Ok(_)) if !inside[length..].starts_with('}') => {
                Err(wrong(&inside[..length], "does not end behind its list"))
            }
            Some(Ok(names)) if names.is_empty() => Err(wrong("[]", "names nothing")),
            Some(Ok(names)) => Ok((ClaimPath::new(names), length + 2)),
            _ => Err(wrong(shown(), "is no list of names")),
        };
    }
    let length = inside.find('}').ok_or_else(unclosed)?;
    let name = &inside[..length];
    if name.contains('{') {
        return Err(unclosed());
    }
    if name.trim().is_empty() {
        return Err(wrong(name, "names nothing"));
    }
    if name.trim() != name || name.contains('"') {
        return Err(wrong(name, "has spaces or quotes around a name"));
    }
    Ok((ClaimPath::from(name), length + 2))
}

/// A bit for each character of `text` that claims must not say.
fn separators_of(source: &str, text: &str) -> Result<u128, TemplateError> {
    let mut bits = 0;
    for c in text.chars() {
        if !(' '..='~').contains(&c) || c == '%' {
            return Err(TemplateError::Text(source.to_owned(), c));
        }
        if !c.is_ascii_alphanumeric() {
            bits |= 1_u128 << u32::from(c);
        }
    }
    Ok(bits)
}

#[cfg(test)]
mod tests;
