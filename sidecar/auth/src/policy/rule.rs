//! What a route requires of verified claims, and of the request.

use super::accepted::Accepted;
use super::expr::Expression;
use super::facts::Facts;
use crate::reason::Reason;
use crate::refusal::{Refusal, quote};
use crate::token::claims::{ClaimPath, Claims};

/// Everything in it must hold; an empty one holds for every request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Requirement {
    /// Scopes, of which the token must have all.
    pub scopes: Vec<String>,
    /// Claims, each with the values of which it must have one. An array claim has a value if it is one
    /// of its elements; nothing is ever joined or split. A claim with no accepted values never holds.
    pub claims: Vec<(ClaimPath, Accepted)>,
    /// A condition over claims and request.
    pub expr: Option<Expression>,
}

impl Requirement {
    /// Whether nothing is required.
    pub const fn is_empty(&self) -> bool {
        self.scopes.is_empty() && self.claims.is_empty() && self.expr.is_none()
    }

    /// Whether it asks something of a token, so that a request without one can never meet it. A condition over the
    /// request alone does not.
    pub fn needs_token(&self) -> bool {
        !self.scopes.is_empty()
            || !self.claims.is_empty()
            || self.expr.as_ref().is_some_and(Expression::reads_claims)
    }

    /// Decides. `claims` is `None` where the request has no token and none is asked for.
    ///
    /// # Errors
    /// [`Reason::ScopeInsufficient`], [`Reason::ClaimDenied`] or [`Reason::PolicyDenied`], naming the first that does not
    /// hold; [`Reason::PolicyError`] if the condition has no answer; [`Reason::TokenMissing`] if something is required of
    /// a token and there is none.
    pub fn permit(&self, claims: Option<&Claims>, facts: &Facts<'_>) -> Result<(), Refusal> {
        match claims {
            Some(claims) => self.permit_claims(claims)?,
            None if self.needs_token() => {
                let why = "this route requires something of the token, and there is none";
                return Err(Refusal::new(Reason::TokenMissing, why));
            }
            None => {}
        }
        match &self.expr {
            Some(expr) => hold(expr, claims, facts),
            None => Ok(()),
        }
    }

    /// Decides what it asks of the request alone, for one that nobody is named for: a browser's question.
    ///
    /// # Errors
    /// [`Reason::PolicyDenied`], [`Reason::PolicyError`].
    pub fn permit_request(&self, facts: &Facts<'_>) -> Result<(), Refusal> {
        match &self.expr {
            Some(expr) if !expr.reads_claims() => hold(expr, None, facts),
            _ => Ok(()),
        }
    }

    fn permit_claims(&self, claims: &Claims) -> Result<(), Refusal> {
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
                Some(found) if !accepted.meets(found) => {
                    return Err(denied(path, "has none of the accepted values"));
                }
                Some(_) => {}
            }
        }
        Ok(())
    }
}

fn hold(expr: &Expression, claims: Option<&Claims>, facts: &Facts<'_>) -> Result<(), Refusal> {
    let rule = || quote(expr.text());
    match expr.evaluate(claims, facts).outcome {
        Ok(true) => Ok(()),
        Ok(false) => Err(Refusal::new(
            Reason::PolicyDenied,
            format!("the rule {} does not hold", rule()),
        )),
        Err(fault) => Err(Refusal::new(
            Reason::PolicyError,
            format!("the rule {} has no answer: {fault}", rule()),
        )),
    }
}

fn denied(path: &ClaimPath, what: &str) -> Refusal {
    Refusal::new(Reason::ClaimDenied, format!("claim {path} {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::request;
    use serde_json::{Value, json};

    fn permit(require: &Requirement, claims: Option<&Claims>) -> Result<(), Refusal> {
        let head = request(&[]);
        let facts = Facts {
            head: &head,
            source: [192, 0, 2, 7].into(),
            client: None,
        };
        require.permit(claims, &facts)
    }

    fn expr(text: &str) -> Requirement {
        Requirement {
            expr: Some(Expression::parse(text).unwrap()),
            ..Requirement::default()
        }
    }

    fn check(require: &Requirement, mut token: Value) -> Result<(), Reason> {
        token
            .as_object_mut()
            .unwrap()
            .extend(json!({"exp": 1, "aud": "a"}).as_object().unwrap().clone());
        let Value::Object(map) = token else {
            unreachable!()
        };
        let claims = Claims::new("corp".into(), None, map).unwrap();
        permit(require, Some(&claims)).map_err(|r| r.reason)
    }

    fn claim(path: &[&str], accepted: &[Value]) -> Requirement {
        Requirement {
            claims: vec![(
                ClaimPath::new(path.iter().copied()),
                accepted.to_vec().into(),
            )],
            ..Requirement::default()
        }
    }

    #[test]
    fn all_scopes_are_needed_as_whole_words() {
        let require = Requirement {
            scopes: vec!["orders:read".into(), "b".into()],
            ..Requirement::default()
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
                ..Requirement::default()
            }
            .is_empty()
        );
        assert_eq!(check(&Requirement::default(), json!({})), Ok(()));
        assert_eq!(
            check(&claim(&["a"], &[]), json!({"a": 1})),
            Err(Reason::ClaimDenied)
        );
    }

    #[test]
    fn conditions_deny_what_does_not_hold_or_has_no_answer() {
        let rule = expr("claims.level >= 2");
        assert_eq!(check(&rule, json!({"level": 2.0})), Ok(()));
        assert_eq!(check(&rule, json!({"level": 1})), Err(Reason::PolicyDenied));
        assert_eq!(check(&rule, json!({})), Err(Reason::PolicyError));
        assert_eq!(
            check(&rule, json!({"level": "2"})),
            Err(Reason::PolicyError)
        );
        let all = Requirement {
            scopes: vec!["s".into()],
            ..rule
        };
        assert_eq!(
            check(&all, json!({"level": 3})),
            Err(Reason::ScopeInsufficient)
        );
        assert_eq!(
            check(&all, json!({"level": 1, "scope": "s"})),
            Err(Reason::PolicyDenied)
        );
        assert_eq!(check(&all, json!({"level": 3, "scope": "s"})), Ok(()));
    }

    #[test]
    fn nobody_meets_what_is_required_of_a_token_and_anybody_what_is_not() {
        let reason = |require: &Requirement| permit(require, None).map_err(|r| r.reason);
        for (rule, expected) in [
            ("claims.level >= 2", Err(Reason::TokenMissing)),
            (
                "request.method == 'GET' || claims.level >= 2",
                Err(Reason::TokenMissing),
            ),
            ("!has(claims.sub)", Err(Reason::TokenMissing)),
            ("cidr('192.0.2.0/24').containsIP(source.address)", Ok(())),
            ("request.method == 'POST'", Err(Reason::PolicyDenied)),
            ("request.headers['x-a'] == ''", Err(Reason::PolicyError)),
        ] {
            assert_eq!(reason(&expr(rule)), expected, "{rule}");
            assert_eq!(
                expr(rule).needs_token(),
                expected == Err(Reason::TokenMissing),
                "{rule}"
            );
        }
        assert_eq!(reason(&Requirement::default()), Ok(()));
        assert_eq!(reason(&claim(&["a"], &[])), Err(Reason::TokenMissing));
    }

    /// The rule is the operator's and may be told; what a token or a request says is not.
    #[test]
    fn t45_a_question_meets_what_is_asked_of_the_request_alone() {
        let head = request(&[]);
        let facts = Facts {
            head: &head,
            source: [192, 0, 2, 7].into(),
            client: None,
        };
        let asked = |text: &str| {
            let require = Requirement {
                scopes: vec!["s".into()],
                ..expr(text)
            };
            require.permit_request(&facts).map_err(|r| r.reason)
        };
        assert_eq!(asked("source.address == '192.0.2.7'"), Ok(()));
        assert_eq!(
            asked("source.address == '192.0.2.8'"),
            Err(Reason::PolicyDenied)
        );
        assert_eq!(asked("claims.x == 1"), Ok(()), "nobody is named");
        let nothing = Requirement::default();
        assert_eq!(nothing.permit_request(&facts), Ok(()));
    }

    #[test]
    fn details_name_the_rule_and_no_value() {
        let secret =
            json!({"exp": 1, "aud": "a", "mail": "eve@secret.test", "list": ["secret"], "n": 4711});
        let Value::Object(map) = secret else {
            unreachable!()
        };
        let claims = Claims::new("corp".into(), None, map).unwrap();
        for rule in [
            "claims.mail == 'x'",
            "claims.mail > 3",
            "emailDomain(claims.mail + '@') == 'x'",
            "claims[claims.mail] == 1",
            "int(claims.mail) == 1",
            "claims.list[9] == 1",
            "claims.n",
            "cidr('10.0.0.0/8').containsIP(claims.mail)",
            "9223372036854775807 + claims.n > 0",
            "claims.n / 0 == 1",
            "{claims.mail: 1, claims.mail: 2}.size() == 1",
            "request.headers['x-secret'] == ''",
        ] {
            let detail = permit(&expr(rule), Some(&claims)).unwrap_err().detail;
            let told = detail.replace(&quote(rule), "");
            assert!(told.len() < detail.len(), "{detail}");
            assert!(!told.contains("eve") && !told.contains("4711"), "{detail}");
            assert!(
                !told.contains("secret") || rule.contains("x-secret"),
                "{detail}"
            );
        }
    }
}
