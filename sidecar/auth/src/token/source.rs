//! Where a request carries its token.

use tollgate_http::fields::{Fields, valid_name};

use crate::reason::Reason;
use crate::refusal::Refusal;

/// A place to look for the token.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TokenSource {
    /// A header. `authorization` holds `Bearer` credentials (RFC 6750 section 2.1); any other header
    /// holds the bare token, or the same credentials.
    Header {
        /// Its name, in any case.
        name: String,
    },
}

/// A token found.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Found<'a> {
    /// The token: at least one character of the `b64token` grammar (RFC 6750 section 2.1), not looked
    /// at any further.
    pub token: &'a [u8],
}

/// Never prints the token.
impl std::fmt::Debug for Found<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Found")
            .field("bytes", &self.token.len())
            .finish_non_exhaustive()
    }
}

/// Finds the one token of a request in `sources`. `None`: no source holds one; an `Authorization` of
/// another scheme, such as `Basic`, is not a token.
///
/// # Errors
/// [`Reason::TokenAmbiguous`] if two places hold one, be they equal, or if one of the fields stands
/// twice; [`Reason::TokenMalformed`] if a field is there and does not have the grammar.
pub fn find<'a>(fields: &'a Fields, sources: &[TokenSource]) -> Result<Option<Found<'a>>, Refusal> {
    let mut found: Option<Found<'a>> = None;
    for (at, TokenSource::Header { name }) in sources.iter().enumerate() {
        // A name configured twice is one place.
        let before = &sources[..at];
        if before
            .iter()
            .any(|TokenSource::Header { name: other }| other.eq_ignore_ascii_case(name))
        {
            continue;
        }
        let mut lines = fields.get_all(name);
        let Some(value) = lines.next() else { continue };
        if lines.next().is_some() {
            return Err(Refusal::new(
                Reason::TokenAmbiguous,
                format!("the field {name:?} stands more than once"),
            ));
        }
        let token = match read(name, value) {
            Credentials::Token(token) => token,
            Credentials::OtherScheme => continue,
            Credentials::Malformed => {
                return Err(Refusal::new(
                    Reason::TokenMalformed,
                    format!("the field {name:?} is not \"Bearer\", one space, and a token"),
                ));
            }
        };
        if found.replace(Found { token }).is_some() {
            return Err(Refusal::new(
                Reason::TokenAmbiguous,
                format!("the field {name:?} holds a second token"),
            ));
        }
    }
    Ok(found)
}

/// Removes the fields that hold a token in `sources`, so that it is not forwarded. An `Authorization`
/// of another scheme stays.
pub fn strip(fields: &mut Fields, sources: &[TokenSource]) {
    for TokenSource::Header { name } in sources {
        fields.retain(|f| !f.is(name) || matches!(read(name, &f.value), Credentials::OtherScheme));
    }
}

enum Credentials<'a> {
    Token(&'a [u8]),
    OtherScheme,
    Malformed,
}

fn read<'a>(name: &str, value: &'a [u8]) -> Credentials<'a> {
    let (scheme, rest) = match memchr::memchr(b' ', value) {
        Some(at) => (&value[..at], Some(&value[at + 1..])),
        None => (value, None),
    };
    let token = if scheme.eq_ignore_ascii_case(b"Bearer") {
        // Exactly one space: what follows must be the token at once.
        rest
    } else if !name.eq_ignore_ascii_case("authorization") {
        Some(value)
    } else if valid_name(scheme) {
        return Credentials::OtherScheme;
    } else {
        None
    };
    match token {
        Some(token) if is_b64token(token) => Credentials::Token(token),
        _ => Credentials::Malformed,
    }
}

/// `b64token = 1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"="`
fn is_b64token(text: &[u8]) -> bool {
    let padding = text.iter().rev().take_while(|&&b| b == b'=').count();
    let body = &text[..text.len() - padding];
    let allowed =
        |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~' | b'+' | b'/');
    !body.is_empty() && body.iter().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(name: &str) -> TokenSource {
        TokenSource::Header { name: name.into() }
    }

    fn request(lines: &[(&'static str, &'static str)]) -> Fields {
        let mut fields = Fields::new();
        for (name, value) in lines {
            fields.push(*name, *value);
        }
        fields
    }

    #[track_caller]
    fn check(lines: &[(&'static str, &'static str)], want: Result<Option<&str>, Reason>) {
        let fields = request(lines);
        let found = find(&fields, &[header("authorization"), header("X-Token")]);
        let found = found
            .map(|f| f.map(|f| std::str::from_utf8(f.token).unwrap()))
            .map_err(|r| r.reason);
        assert_eq!(found, want, "{lines:?}");
    }

    #[test]
    fn t30_two_tokens_are_ambiguous() {
        let ambiguous = Err(Reason::TokenAmbiguous);
        check(
            &[("Authorization", "Bearer a"), ("authorization", "Bearer b")],
            ambiguous,
        );
        check(
            &[("Authorization", "Bearer a"), ("authorization", "Bearer a")],
            ambiguous,
        );
        check(
            &[("Authorization", "Basic a"), ("authorization", "Bearer a")],
            ambiguous,
        );
        check(
            &[("Authorization", "Bearer a"), ("x-token", "b")],
            ambiguous,
        );
        check(&[("x-token", "a"), ("x-token", "b")], ambiguous);
    }

    #[test]
    fn t31_the_grammar_is_exact() {
        for good in ["Bearer a.b-c_d", "bearer a.b-c_d", "BEARER a.b-c_d"] {
            check(&[("Authorization", good)], Ok(Some("a.b-c_d")));
        }
        check(&[("Authorization", "Bearer ab==")], Ok(Some("ab==")));
        for other in ["Basic dXNlcg==", "foo Bearer a", "Negotiate", "Bearerx a"] {
            check(&[("Authorization", other)], Ok(None));
        }
        for bad in [
            "Bearer",
            "Bearer ",
            "Bearer\ta",
            "Bearer  a",
            "Bearer a,",
            "Bearer a b",
            "Bearer a, Bearer b",
            "Bearer,a",
            "",
            "Bearer =",
            "Bearer a=b",
            "Bearer \u{e4}",
            "Bearer \"a\"",
            " Bearer a",
        ] {
            check(&[("Authorization", bad)], Err(Reason::TokenMalformed));
        }
    }

    #[test]
    fn other_headers_hold_the_bare_token_or_credentials() {
        check(&[("X-Token", "abc")], Ok(Some("abc")));
        check(&[("X-Token", "bearer abc")], Ok(Some("abc")));
        check(&[("X-Token", "Basic abc")], Err(Reason::TokenMalformed));
        check(&[("X-Token", "")], Err(Reason::TokenMalformed));
        check(
            &[("Authorization", "Basic abc"), ("X-Token", "t")],
            Ok(Some("t")),
        );
        check(&[], Ok(None));
    }

    #[test]
    fn a_source_named_twice_is_one_place() {
        let fields = request(&[("Authorization", "Bearer a")]);
        let found = find(&fields, &[header("authorization"), header("Authorization")])
            .unwrap()
            .unwrap();
        assert_eq!(found.token, b"a");
        assert!(!format!("{found:?}").contains('a') || !format!("{found:?}").contains("\"a\""));
    }

    #[test]
    fn strip_takes_tokens_and_leaves_other_schemes() {
        let sources = [header("authorization"), header("x-token")];
        let mut fields = request(&[
            ("AUTHORIZATION", "Bearer a"),
            ("X-Token", "b"),
            ("Accept", "c"),
        ]);
        strip(&mut fields, &sources);
        assert_eq!(fields.len(), 1);
        let mut fields = request(&[("Authorization", "Basic a")]);
        strip(&mut fields, &sources);
        assert_eq!(fields.len(), 1);
    }
}
