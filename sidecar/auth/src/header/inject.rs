//! Which claims are written into which headers.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;
use tollgate_http::fields::Field;

use super::encode::{self, Encoding};
use super::filter::{Filter, Filters};
use crate::reason::Reason;
use crate::refusal::Refusal;
use crate::token::claims::{ClaimPath, Claims};
use crate::token::sha256::sha256;

/// The most that all identity headers of a request may take: names, values, and four bytes a line for
/// colon, space and line end.
pub const MAX_ALL: usize = 16 * 1024;

/// One header from one claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Injection {
    /// The header's name; [`super::scrub::check_name`] has accepted it.
    pub name: Bytes,
    /// The claim.
    pub claim: ClaimPath,
    /// How it is written.
    pub encoding: Encoding,
    /// Only strings that match; of an array, only such elements. Other types never match.
    pub only: Option<Filter>,
    /// No strings that match; of an array, no such elements.
    pub except: Option<Filter>,
}

/// The injections of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InjectSet {
    injections: Vec<Injection>,
    identity: [u8; 32],
}

impl InjectSet {
    /// The set, in the order in which the headers will stand.
    pub fn new(injections: Vec<Injection>) -> Self {
        // What is derived names every field, so none that is added later can be forgotten here.
        let identity = sha256(format!("{injections:?}").as_bytes());
        Self {
            injections,
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

    /// The header lines for `claims`. A claim that is absent, `null`, or a scalar that its filters drop
    /// gives no line; whatever the client sent under that name has been scrubbed already. An array whose
    /// elements are all dropped gives an empty list: it was verified, and nothing of it is for the API.
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
            total += injection.name.len() + value.len() + 4;
            if total > MAX_ALL {
                return Err(Refusal::new(
                    Reason::IdentityTooLarge,
                    format!(
                        "the identity headers would have {total} bytes or more, the limit is {MAX_ALL}"
                    ),
                ));
            }
            lines.push(Field {
                name: injection.name.clone(),
                value,
            });
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
    fn value(&self, claims: &Claims) -> Result<Option<Bytes>, Refusal> {
        let filters = Filters {
            only: self.only.as_ref(),
            except: self.except.as_ref(),
        };
        let value = match claims.get(&self.claim) {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::Array(_)) => claims.get(&self.claim),
            Some(scalar) => Some(scalar).filter(|s| filters.pass(s)),
        };
        let Some(value) = value else { return Ok(None) };
        match encode::encode_filtered(value, self.encoding, &filters) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(refusal) => Err(Refusal::new(
                refusal.reason,
                format!(
                    "claim {} for header {}: {}",
                    self.claim,
                    String::from_utf8_lossy(&self.name),
                    refusal.detail
                ),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn claims(mut value: Value) -> Claims {
        value
            .as_object_mut()
            .unwrap()
            .extend(json!({"exp": 1, "aud": "a"}).as_object().unwrap().clone());
        let Value::Object(map) = value else {
            unreachable!()
        };
        Claims::new("corp".into(), None, map).unwrap()
    }

    fn injection(name: &'static str, claim: &str, encoding: Encoding) -> Injection {
        Injection {
            name: name.into(),
            claim: claim.into(),
            encoding,
            only: None,
            except: None,
        }
    }

    fn render(set: Vec<Injection>, token: Value) -> Result<Vec<String>, Reason> {
        match InjectSet::new(set).render(&claims(token)) {
            Ok(lines) => Ok(lines
                .iter()
                .map(|f| {
                    format!(
                        "{}: {}",
                        String::from_utf8_lossy(&f.name),
                        String::from_utf8_lossy(&f.value)
                    )
                })
                .collect()),
            Err(refusal) => Err(refusal.reason),
        }
    }

    #[test]
    fn absent_claims_give_no_line() {
        let set = vec![
            injection("x-user-id", "sub", Encoding::String),
            injection("x-none", "none", Encoding::String),
            injection("x-null", "null", Encoding::Json),
            injection("x-groups", "groups", Encoding::List),
        ];
        let lines = render(
            set,
            json!({"sub": "u1", "null": null, "groups": ["a", "b,c"]}),
        )
        .unwrap();
        assert_eq!(lines, ["x-user-id: u1", "x-groups: a,b%2Cc"]);
    }

    #[test]
    fn filters_choose_elements() {
        let only = |encoding| Injection {
            only: Some(Filter::Prefix("app-".into())),
            except: Some(Filter::Prefix("app-x".into())),
            ..injection("x-g", "g", encoding)
        };
        let token = json!({"g": ["app-a", "other", "app-x1", 7]});
        assert_eq!(
            render(vec![only(Encoding::List)], token.clone()).unwrap(),
            ["x-g: app-a"]
        );
        assert_eq!(
            render(vec![only(Encoding::Json)], token).unwrap(),
            [r#"x-g: ["app-a"]"#]
        );
        assert_eq!(
            render(vec![only(Encoding::List)], json!({"g": ["z"]})).unwrap(),
            ["x-g: "]
        );
        assert!(
            render(vec![only(Encoding::String)], json!({"g": "other"}))
                .unwrap()
                .is_empty()
        );
        assert_eq!(
            render(vec![only(Encoding::String)], json!({"g": "app-a"})).unwrap(),
            ["x-g: app-a"]
        );
    }

    #[test]
    fn what_cannot_be_written_refuses_the_request() {
        let set = vec![injection("x-user-id", "sub", Encoding::String)];
        assert_eq!(
            render(set.clone(), json!({"sub": "a\r\nx-admin: 1"})),
            Err(Reason::ClaimUnencodable)
        );
        let refusal = InjectSet::new(set)
            .render(&claims(json!({"sub": "ä"})))
            .unwrap_err();
        assert!(
            refusal
                .detail
                .starts_with(r#"claim "sub" for header x-user-id: "#),
            "{}",
            refusal.detail
        );
    }

    #[test]
    fn all_headers_together_are_capped() {
        let set: Vec<_> = (0..3)
            .map(|_| injection("x", "big", Encoding::String))
            .collect();
        let two = MAX_ALL / 2 - 5;
        assert_eq!(
            render(set[..2].to_vec(), json!({"big": "b".repeat(two)})).map(|l| l.len()),
            Ok(2)
        );
        assert_eq!(
            render(set.clone(), json!({"big": "b".repeat(two)})),
            Err(Reason::IdentityTooLarge)
        );
        assert_eq!(
            render(set[..1].to_vec(), json!({"big": "b".repeat(8193)})),
            Err(Reason::IdentityTooLarge)
        );
    }
}
