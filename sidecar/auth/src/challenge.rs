//! What a refused client is asked for (`WWW-Authenticate`: RFC 9110 section 11.6.1, RFC 6750 section 3, RFC 9728 section 5.1).

use std::fmt::Write as _;

use crate::reason::Reason;
use crate::token::source::{HeaderScheme, TokenSource};

/// The challenges of a route, made once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// Each once; at least one.
    schemes: Vec<String>,
    /// What the route requires, separated by blanks.
    scopes: String,
}

/// Of a route that is not known: a bare `Bearer`.
impl Default for Challenge {
    fn default() -> Self {
        Self::new(&[], &[])
    }
}

impl Challenge {
    /// The challenges of a route with these sources, which requires these scopes.
    ///
    /// A scheme that a source has in `Authorization` is asked for by its name. All other places, cookies and headers of
    /// the operator's choice included, are `Bearer`: a 401 must have a challenge, and what is asked for is a bearer token,
    /// wherever it travels.
    pub fn new(sources: &[TokenSource], scopes: &[String]) -> Self {
        let mut schemes: Vec<String> = Vec::new();
        for source in sources {
            let scheme = match source {
                TokenSource::Header {
                    name,
                    scheme: HeaderScheme::Named(scheme),
                } if name.eq_ignore_ascii_case("authorization") => scheme.as_str(),
                _ => BEARER,
            };
            if !schemes.iter().any(|one| one.eq_ignore_ascii_case(scheme)) {
                schemes.push(scheme.to_owned());
            }
        }
        if schemes.is_empty() {
            schemes.push(BEARER.to_owned());
        }
        let words: Vec<&str> = scopes
            .iter()
            .map(String::as_str)
            .filter(|scope| is_scope(scope))
            .collect();
        Self {
            schemes,
            scopes: words.join(" "),
        }
    }

    /// The values of `WWW-Authenticate` in a refusal for `reason`, one for each scheme; none where the refusal is not
    /// about the token. A request without a token learns no error (RFC 6750 section 3.1); one that lacks a scope learns
    /// which ones are required.
    ///
    /// `resource_metadata` is the URL of the metadata of the resource that was asked, without quotes and backslashes;
    /// clients throw away the metadata of another one (RFC 9728 section 3.3).
    pub fn values(&self, reason: Reason, resource_metadata: Option<&str>) -> Vec<String> {
        let parameters = match (reason.status(), reason.error()) {
            (401, None) => String::new(),
            (400 | 401 | 403, Some(error)) => format!(
                " error=\"{error}\", error_description=\"{reason}: {}\"",
                reason.sentence()
            ),
            _ => return Vec::new(),
        };
        self.schemes
            .iter()
            .map(|scheme| {
                let mut value = format!("{scheme}{parameters}");
                let mut add = |name: &str, text: &str| {
                    let comma = if value.len() == scheme.len() { "" } else { "," };
                    let _ = write!(value, "{comma} {name}=\"{text}\"");
                };
                // For a claim or an expression it would send the client for what it has already.
                if reason == Reason::ScopeInsufficient && !self.scopes.is_empty() {
                    add("scope", &self.scopes);
                }
                if let Some(url) = resource_metadata {
                    add("resource_metadata", url);
                }
                value
            })
            .collect()
    }
}

const BEARER: &str = "Bearer";

/// `scope-token` of RFC 6749 section 3.3: no blank, quote or backslash.
fn is_scope(word: &str) -> bool {
    !word.is_empty()
        && word
            .bytes()
            .all(|b| b.is_ascii_graphic() && !matches!(b, b'"' | b'\\'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(name: &str, scheme: HeaderScheme) -> TokenSource {
        let name = name.to_owned();
        TokenSource::Header { name, scheme }
    }

    fn cookie() -> TokenSource {
        TokenSource::Cookie {
            name: "sid".to_owned(),
        }
    }

    fn usual() -> TokenSource {
        header("authorization", HeaderScheme::Usual)
    }

    const METADATA: &str = "https://api.test/.well-known/oauth-protected-resource";

    #[test]
    fn what_a_refusal_asks_for() {
        let scopes = ["orders:read".to_owned(), "orders:write".to_owned()];
        let challenge = Challenge::new(&[usual()], &scopes);
        for (reason, without, with) in [
            (
                Reason::TokenMissing,
                "Bearer",
                "Bearer resource_metadata=\"https://api.test/.well-known/oauth-protected-resource\"",
            ),
            (
                Reason::TokenExpired,
                "Bearer error=\"invalid_token\", error_description=\"token_expired: The token has expired.\"",
                "Bearer error=\"invalid_token\", error_description=\"token_expired: The token has expired.\", resource_metadata=\"https://api.test/.well-known/oauth-protected-resource\"",
            ),
            (
                Reason::TokenAmbiguous,
                "Bearer error=\"invalid_request\", error_description=\"token_ambiguous: More than one token was sent.\"",
                "Bearer error=\"invalid_request\", error_description=\"token_ambiguous: More than one token was sent.\", resource_metadata=\"https://api.test/.well-known/oauth-protected-resource\"",
            ),
            (
                Reason::ScopeInsufficient,
                "Bearer error=\"insufficient_scope\", error_description=\"scope_insufficient: The token lacks a scope that is required here.\", scope=\"orders:read orders:write\"",
                "Bearer error=\"insufficient_scope\", error_description=\"scope_insufficient: The token lacks a scope that is required here.\", scope=\"orders:read orders:write\", resource_metadata=\"https://api.test/.well-known/oauth-protected-resource\"",
            ),
            (
                Reason::ClaimDenied,
                "Bearer error=\"insufficient_scope\", error_description=\"claim_denied: The token does not allow this.\"",
                "Bearer error=\"insufficient_scope\", error_description=\"claim_denied: The token does not allow this.\", resource_metadata=\"https://api.test/.well-known/oauth-protected-resource\"",
            ),
        ] {
            assert_eq!(challenge.values(reason, None), [without], "{reason}");
            assert_eq!(challenge.values(reason, Some(METADATA)), [with], "{reason}");
        }
    }

    #[test]
    fn every_401_has_a_challenge_and_nothing_that_is_not_about_the_token_has_one() {
        for sources in [
            vec![],
            vec![usual()],
            vec![cookie()],
            vec![header("x-api-token", HeaderScheme::Bare)],
            vec![header(
                "authorization",
                HeaderScheme::Named("jwt".to_owned()),
            )],
        ] {
            let challenge = Challenge::new(&sources, &[]);
            for reason in Reason::ALL {
                let values = challenge.values(*reason, None);
                let is_about_the_token = reason.status() == 401 || reason.error().is_some();
                assert_eq!(!values.is_empty(), is_about_the_token, "{reason}");
                for value in values {
                    // Quotes come in pairs, and nothing needs an escape.
                    assert_eq!(value.matches('"').count() % 2, 0, "{value}");
                    assert!(!value.contains('\\') && value.is_ascii(), "{value}");
                }
            }
        }
    }

    #[test]
    fn schemes_are_asked_for_by_their_names_each_once() {
        let named = |name: &str| header("authorization", HeaderScheme::Named(name.to_owned()));
        let ask = |sources: &[TokenSource]| {
            Challenge::new(sources, &[]).values(Reason::TokenMissing, None)
        };
        assert_eq!(ask(&[named("jwt")]), ["jwt"]);
        assert_eq!(ask(&[usual(), named("jwt"), cookie()]), ["Bearer", "jwt"]);
        assert_eq!(
            ask(&[cookie(), named("JWT"), named("jwt")]),
            ["Bearer", "JWT"]
        );
        assert_eq!(
            ask(&[header("x-token", HeaderScheme::Named("jwt".to_owned()))]),
            ["Bearer"]
        );
        assert_eq!(ask(&[]), ["Bearer"]);
    }

    #[test]
    fn a_scope_that_no_challenge_can_hold_is_left_out() {
        let scopes = ["a", "b c", "d\"", "e\\", "", "é", "f"].map(str::to_owned);
        let challenge = Challenge::new(&[usual()], &scopes);
        let value = challenge.values(Reason::ScopeInsufficient, None).remove(0);
        assert!(value.ends_with(", scope=\"a f\""), "{value}");
    }
}
