//! What a route requires of verified claims.

use serde_json::Value;

use crate::reason::Reason;
use crate::refusal::{Refusal, quote};
use crate::token::claims::{ClaimPath, Claims};

/// Everything in it must hold; an empty one holds for every verified token.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Requirement {
    /// Scopes, of which the token must have all.
    pub scopes: Vec<String>,
    /// Claims, each with the values of which it must have one. An array claim has a value if it is one
    /// of its elements; nothing is ever joined or split. A claim with no accepted values never holds.
    pub claims: Vec<(ClaimPath, Vec<Value>)>,
}

impl Requirement {
    /// Whether nothing is required; else a request without a token can never meet it.
    pub const fn is_empty(&self) -> bool {
        self.scopes.is_empty() && self.claims.is_empty()
    }

    /// Decides.
    ///
    /// # Errors
    /// [`Reason::ScopeInsufficient`] or [`Reason::ClaimDenied`], naming the first that does not hold.
    pub fn permit(&self, claims: &Claims) -> Result<(), Refusal> {
        if let Some(lacking) = self
            .scopes
            .iter()
            .find(|s| !claims.scopes().any(|has| has == s.as_str()))
        {
            return Err(Refusal::new(
                Reason::ScopeInsufficient,
                format!("the token lacks scope {}", quote(lacking)),
            ));
        }
        for (path, accepted) in &self.claims {
            match claims.get(path) {
                None => return Err(denied(path, "is absent")),
                Some(found) if !has_any(found, accepted) => {
                    return Err(denied(path, "has none of the accepted values"));
                }
                Some(_) => {}
            }
        }
        Ok(())
    }
}

fn has_any(found: &Value, accepted: &[Value]) -> bool {
    match found {
        Value::Array(elements) => elements.iter().any(|e| accepted.iter().any(|a| same(e, a))),
        scalar => accepted.iter().any(|a| same(scalar, a)),
    }
}

/// Equality, where 2 and 2.0 are one number: configuration and token may spell it differently.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) if a.is_f64() != b.is_f64() => {
            a.as_f64() == b.as_f64()
        }
        _ => a == b,
    }
}

fn denied(path: &ClaimPath, what: &str) -> Refusal {
    Refusal::new(Reason::ClaimDenied, format!("claim {path} {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(require: &Requirement, mut token: Value) -> Result<(), Reason> {
        token
            .as_object_mut()
            .unwrap()
            .extend(json!({"exp": 1, "aud": "a"}).as_object().unwrap().clone());
        let Value::Object(map) = token else {
            unreachable!()
        };
        let claims = Claims::new("corp".into(), None, map).unwrap();
        require.permit(&claims).map_err(|r| r.reason)
    }

    fn claim(path: &[&str], accepted: &[Value]) -> Requirement {
        Requirement {
            scopes: vec![],
            claims: vec![(ClaimPath::new(path.iter().copied()), accepted.to_vec())],
        }
    }

    #[test]
    fn all_scopes_are_needed_as_whole_words() {
        let require = Requirement {
            scopes: vec!["orders:read".into(), "b".into()],
            claims: vec![],
        };
        assert_eq!(check(&require, json!({"scope": "b orders:read"})), Ok(()));
        assert_eq!(
            check(&require, json!({"scp": ["orders:read", "b"]})),
            Ok(())
        );
        for lacking in [
            json!({"scope": "orders:read"}),
            json!({"scope": "orders:readx b"}),
            json!({"scope": 1}),
            json!({}),
        ] {
            assert_eq!(check(&require, lacking), Err(Reason::ScopeInsufficient));
        }
    }

    #[test]
    fn t39_array_claims_match_by_element() {
        let require = claim(&["role"], &[json!("admin")]);
        assert_eq!(check(&require, json!({"role": "admin"})), Ok(()));
        assert_eq!(check(&require, json!({"role": ["user", "admin"]})), Ok(()));
        for other in [
            json!("user,admin"),
            json!(["user,admin"]),
            json!("Admin"),
            json!([["admin"]]),
            json!({"admin": 1}),
            json!(null),
        ] {
            assert_eq!(
                check(&require, json!({"role": other})),
                Err(Reason::ClaimDenied)
            );
        }
        assert_eq!(check(&require, json!({})), Err(Reason::ClaimDenied));
    }

    #[test]
    fn claims_are_found_by_path_and_types_matter() {
        let require = claim(&["https://x/y", "level"], &[json!(2), json!(true)]);
        for good in [json!(2), json!(2.0), json!(true), json!([1, 2])] {
            assert_eq!(
                check(&require, json!({"https://x/y": {"level": good}})),
                Ok(())
            );
        }
        for bad in [json!("2"), json!(2.5), json!(false), json!(1)] {
            assert_eq!(
                check(&require, json!({"https://x/y": {"level": bad}})),
                Err(Reason::ClaimDenied)
            );
        }
    }

    #[test]
    fn nothing_required_holds_and_nothing_accepted_does_not() {
        assert!(Requirement::default().is_empty());
        assert!(!claim(&["a"], &[]).is_empty());
        assert!(
            !Requirement {
                scopes: vec!["s".into()],
                claims: vec![],
            }
            .is_empty()
        );
        assert_eq!(check(&Requirement::default(), json!({})), Ok(()));
        assert_eq!(
            check(&claim(&["a"], &[]), json!({"a": 1})),
            Err(Reason::ClaimDenied)
        );
    }
}
