//! Which claims are written into which headers.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;
use tollgate_http::fields::Field;

use super::encode::{self, Encoding, MAX_VALUE};
use super::filter::{Filter, Filters};
use super::template::Template;
use crate::reason::Reason;
use crate::refusal::Refusal;
use crate::token::claims::{ClaimPath, Claims};
use crate::token::sha256::sha256;

/// The most that all identity headers of a request may take: names, values, and four bytes a line for
/// colon, space and line end.
pub const MAX_ALL: usize = 16 * 1024;

/// One header and what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Injection {
    /// The header's name; [`super::scrub::check_name`] has accepted it.
    pub name: Bytes,
    /// What stands in it.
    pub content: Content,
}

/// What an injected header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// One claim of the verified token.
    Claim(FromClaim),
    /// Several of them in a text.
    Template(Template),
    /// The same on every request of the route, with a token or without: it tells of the route, not of the
    /// client. [`check_fixed`] has accepted it.
    Fixed(Bytes),
}

/// One claim as a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FromClaim {
    /// The claim.
    pub claim: ClaimPath,
    /// How it is written.
    pub encoding: Encoding,
    /// Only strings that match; of an array, only such elements. Other types never match.
    pub only: Option<Filter>,
    /// No strings that match; of an array, no such elements.
    pub except: Option<Filter>,
}

/// Whether `value` can stand in a header on every request: 1 to [`MAX_VALUE`] bytes of visible ASCII, spaces
/// within it.
///
/// # Errors
/// What is wrong and what is allowed, in words.
pub fn check_fixed(value: &str) -> Result<(), String> {
    let bytes = value.as_bytes();
    if bytes.len() > MAX_VALUE {
        return Err(format!(
            "it has {} bytes, the limit is {MAX_VALUE}",
            bytes.len()
        ));
    }
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else {
        return Err("it is empty; remove the header, or say something".to_owned());
    };
    if let Some(odd) = value.chars().find(|c| !(' '..='~').contains(c)) {
        return Err(format!("{odd:?} is not visible ASCII; use only that"));
    }
    if *first == b' ' || *last == b' ' {
        return Err("it begins or ends with a space, which servers cut off; remove it".to_owned());
    }
    Ok(())
}

/// The injections of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InjectSet {
    injections: Vec<Injection>,
    fixed: Arc<[Field]>,
    identity: [u8; 32],
}

impl InjectSet {
    /// The set, in the order in which the headers will stand.
    pub fn new(injections: Vec<Injection>) -> Self {
        // What is derived names every field, so none that is added later can be forgotten here.
        let identity = sha256(format!("{injections:?}").as_bytes());
        let fixed = injections.iter().filter_map(Injection::fixed).collect();
        Self {
            injections,
            fixed,
            identity,
        }
    }

    /// The injections.
    pub fn injections(&self) -> &[Injection] {
        &self.injections
    }

    /// The same for sets that say the same, and for no others: ready headers are found by it.
    pub fn identity(&self) -> &[u8; 32] {
        &self.identity
    }

    /// The header lines of a request without a token: those that never change.
    pub fn fixed(&self) -> &Arc<[Field]> {
        &self.fixed
    }

    /// What [`Self::fixed`] counts towards [`MAX_ALL`], in bytes.
    pub fn fixed_size(&self) -> usize {
        self.fixed.iter().map(size).sum()
    }

    /// All header lines for `claims`. A claim that is absent, `null`, or a scalar that its filters drop
    /// gives no line, and neither does a template that lacks one of its claims; whatever the client sent under
    /// that name has been scrubbed already. An array whose elements are all dropped gives an empty list: it
    /// was verified, and nothing of it is for the API.
    ///
    /// # Errors
    /// [`Reason::ClaimUnencodable`], [`Reason::IdentityTooLarge`]: never a part of the identity.
    pub fn render(&self, claims: &Claims) -> Result<Arc<[Field]>, Refusal> {
        let mut lines = Vec::with_capacity(self.injections.len());
        let mut total = 0;
        for injection in &self.injections {
            let Some(value) = injection.value(claims)? else {
                continue;
            };
            let line = Field {
                name: injection.name.clone(),
                value,
            };
            total += size(&line);
            if total > MAX_ALL {
                return Err(Refusal::new(
                    Reason::IdentityTooLarge,
                    format!(
                        "the identity headers would have {total} bytes or more, the limit is {MAX_ALL}"
                    ),
                ));
            }
            lines.push(line);
        }
        Ok(lines.into())
    }
}

impl Default for InjectSet {
    /// Nothing is told.
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

impl Injection {
    /// The line, if it is the same on every request.
    fn fixed(&self) -> Option<Field> {
        match &self.content {
            Content::Fixed(value) => Some(Field {
                name: self.name.clone(),
                value: value.clone(),
            }),
            Content::Claim(_) | Content::Template(_) => None,
        }
    }

    fn value(&self, claims: &Claims) -> Result<Option<Bytes>, Refusal> {
        let value = match &self.content {
            Content::Claim(one) => one.value(claims),
            Content::Template(template) => template.render(claims),
            Content::Fixed(value) => Ok(Some(value.clone())),
        };
        value.map_err(|refusal| {
            let header = String::from_utf8_lossy(&self.name);
            refusal.about(&format!("header {header}"))
        })
    }
}

impl FromClaim {
    fn value(&self, claims: &Claims) -> Result<Option<Bytes>, Refusal> {
        let filters = Filters {
            only: self.only.as_ref(),
            except: self.except.as_ref(),
        };
        let value = match claims.get(&self.claim) {
            None | Some(Value::Null) => return Ok(None),
            Some(list @ Value::Array(_)) => list,
            Some(scalar) if filters.pass(scalar) => scalar,
            Some(_) => return Ok(None),
        };
        encode::encode_filtered(value, self.encoding, &filters)
            .map(Some)
            .map_err(|refusal| refusal.about(&format!("claim {}", self.claim)))
    }
}

/// What a line counts towards [`MAX_ALL`].
fn size(line: &Field) -> usize {
    line.name.len() + line.value.len() + 4
}

#[cfg(test)]
mod tests;
