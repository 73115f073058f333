//! What an operator makes of answers: fields that are set, and fields that are removed.

use bytes::Bytes;
use tollgate_http::fields::{Field, Fields, valid_name};

use super::scrub::{is_hop_by_hop, is_own};

/// The rules for the answers of a route. Names compare without case, as they do in answers; they are not folded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResponseRules {
    set: Vec<Field>,
    remove: Vec<Box<str>>,
}

impl ResponseRules {
    /// Rules that [`check`] has accepted, each name once.
    pub fn new(set: Vec<Field>, remove: impl IntoIterator<Item = String>) -> Self {
        Self {
            set,
            remove: remove.into_iter().map(String::into_boxed_str).collect(),
        }
    }

    /// These rules and, where they say nothing of a name, the inherited ones.
    pub fn over(&self, inherited: &Self) -> Self {
        let mut both = self.clone();
        let is_new = |name: &[u8]| !self.names(name);
        let set = inherited.set.iter().filter(|field| is_new(&field.name));
        both.set.extend(set.cloned());
        let remove = inherited
            .remove
            .iter()
            .filter(|name| is_new(name.as_bytes()));
        both.remove.extend(remove.cloned());
        both
    }

    /// The fields that are set.
    pub fn set(&self) -> &[Field] {
        &self.set
    }

    /// The names that are removed.
    pub fn removed(&self) -> impl Iterator<Item = &str> {
        self.remove.iter().map(|name| &**name)
    }

    /// Makes a final answer of an upstream what the rules say, and takes from it what only Tollgate may say
    /// (`x-tollgate-…`: an API that repeats its request would hand out assertions).
    pub fn apply(&self, fields: &mut Fields) {
        fields.retain(|field| !self.drops(&field.name));
        fields.extend(self.set.iter().cloned());
    }

    /// Adds what is set to an answer of Tollgate's own. What that says already stands: it describes this very body, or
    /// tells the client how to go on.
    pub fn complete(&self, fields: &mut Fields) {
        for field in &self.set {
            if !fields
                .iter()
                .any(|said| said.name.eq_ignore_ascii_case(&field.name))
            {
                fields.push(field.name.clone(), field.value.clone());
            }
        }
    }

    /// Whether a field or trailer of an upstream's answer goes. A trailer goes like a field: some clients merge the two.
    pub fn drops(&self, name: &[u8]) -> bool {
        is_own(name) || self.names(name)
    }

    /// Whether something is said of `name`.
    fn names(&self, name: &[u8]) -> bool {
        let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
        self.set.iter().any(|field| is(&field.name))
            || self.remove.iter().any(|known| is(known.as_bytes()))
    }
}

/// What a rule does with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is set.
    Set,
    /// It is removed.
    Remove,
}

/// Why a name or value cannot stand in a rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// Not a field name.
    #[error("{0:?} is no header name: use letters, digits and `-`")]
    Syntax(String),
    /// Frames the message, or describes how its body is coded.
    #[error(
        "`{0}` frames the answer or belongs to the connection; Tollgate and the API keep it right between them"
    )]
    Framing(String),
    /// Is Tollgate's own word.
    #[error("`{0}` is what Tollgate itself says to clients")]
    Own(String),
    /// One value for all answers would be one cookie for all clients.
    #[error("`{0}` differs from client to client; let the API set it (`remove` may take it away)")]
    Cookie(String),
    /// Not visible ASCII.
    #[error(
        "the value {0:?} is not 1 to {MAX_VALUE} characters of visible ASCII, with spaces only between them"
    )]
    Value(String),
}

/// The longest value that is set, in bytes.
const MAX_VALUE: usize = 4096;

/// What describes the framing or the coding of a body: changed, the same bytes would be another message.
const FRAMING: [&str; 4] = [
    "content-length",
    "content-encoding",
    "content-range",
    "trailer",
];

/// What a client learns from Tollgate alone.
const OWN: [&str; 2] = ["x-request-id", "www-authenticate"];

/// Whether a rule may name this field.
///
/// # Errors
///
/// [`RuleError`] says why not.
pub fn check(name: &str, change: Change) -> Result<(), RuleError> {
    let is_one_of = |list: &[&str]| list.iter().any(|known| name.eq_ignore_ascii_case(known));
    if !valid_name(name.as_bytes()) {
        Err(RuleError::Syntax(name.to_owned()))
    } else if is_hop_by_hop(name.as_bytes()) || is_one_of(&FRAMING) {
        Err(RuleError::Framing(name.to_owned()))
    } else if is_own(name.as_bytes()) || is_one_of(&OWN) {
        Err(RuleError::Own(name.to_owned()))
    } else if change == Change::Set && is_one_of(&["set-cookie"]) {
        Err(RuleError::Cookie(name.to_owned()))
    } else {
        Ok(())
    }
}

/// The value of a field that is set.
///
/// # Errors
///
/// [`RuleError::Value`].
pub fn check_value(text: &str) -> Result<Bytes, RuleError> {
    let fits = (1..=MAX_VALUE).contains(&text.len())
        && text.bytes().all(|b| matches!(b, b' '..=b'~'))
        && text.trim_matches(' ') == text;
    if fits {
        Ok(Bytes::copy_from_slice(text.as_bytes()))
    } else {
        Err(RuleError::Value(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(set: &[(&'static str, &'static str)], remove: &[&str]) -> ResponseRules {
        let field = |&(name, value): &(&'static str, &'static str)| Field {
            name: Bytes::from_static(name.as_bytes()),
            value: Bytes::from_static(value.as_bytes()),
        };
        ResponseRules::new(
            set.iter().map(field).collect(),
            remove.iter().copied().map(str::to_owned),
        )
    }

    fn fields(lines: &[(&'static str, &'static str)]) -> Fields {
        let mut fields = Fields::new();
        for (name, value) in lines {
            fields.push(*name, *value);
        }
        fields
    }

    #[test]
    fn an_answer_is_what_the_rules_say() {
        let rules = rules(&[("x-frame-options", "DENY")], &["server", "set-cookie"]);
        let mut answer = fields(&[
            ("Server", "api/1.2"),
            ("X-Frame-Options", "ALLOWALL"),
            ("content-type", "text/plain"),
            ("x-frame-options", "SAMEORIGIN"),
            ("Set-Cookie", "a=1"),
            ("set-cookie", "b=2"),
            ("X-Tollgate-Assertion", "secret"),
            ("x_tollgate_user", "eve"),
            ("x-server", "1"),
        ]);
        rules.apply(&mut answer);
        assert_eq!(
            answer,
            fields(&[
                ("content-type", "text/plain"),
                ("x-server", "1"),
                ("x-frame-options", "DENY"),
            ])
        );
        for (name, dropped) in [
            ("SERVER", true),
            ("x-Frame-options", true),
            ("x-tollgate-x", true),
            ("x-frame", false),
        ] {
            assert_eq!(rules.drops(name.as_bytes()), dropped, "{name}");
        }
    }

    #[test]
    fn what_a_refusal_says_itself_stands() {
        let rules = rules(
            &[
                ("cache-control", "public"),
                ("content-type", "text/html"),
                ("strict-transport-security", "max-age=1"),
            ],
            &["content-length"],
        );
        let said = [
            ("content-type", "application/problem+json"),
            ("content-length", "2"),
            ("Cache-Control", "no-store"),
        ];
        let mut answer = fields(&said);
        rules.complete(&mut answer);
        let more = ("strict-transport-security", "max-age=1");
        assert_eq!(answer, fields(&[said[0], said[1], said[2], more]));
    }

    #[test]
    fn a_routes_own_rule_for_a_name_replaces_the_inherited_one() {
        let inherited = rules(&[("a", "1"), ("b", "1"), ("c", "1")], &["d", "e"]);
        let own = rules(&[("B", "2"), ("D", "2")], &["C"]);
        assert_eq!(
            own.over(&inherited),
            rules(&[("B", "2"), ("D", "2"), ("a", "1")], &["C", "e"])
        );
        let names: Vec<_> = own.set().iter().map(|field| &field.name[..]).collect();
        assert_eq!(names, [b"B", b"D"]);
        assert_eq!(own.removed().collect::<Vec<_>>(), ["C"]);
        let nothing = ResponseRules::default();
        assert_eq!(nothing.over(&inherited), inherited);
        assert_eq!(inherited.over(&nothing), inherited);
    }

    #[test]
    fn names_that_no_rule_may_touch() {
        for good in [
            "strict-transport-security",
            "Server",
            "vary",
            "cache-control",
        ] {
            assert_eq!(check(good, Change::Set), Ok(()), "{good}");
            assert_eq!(check(good, Change::Remove), Ok(()), "{good}");
        }
        assert_eq!(check("Set-Cookie", Change::Remove), Ok(()));
        let cookie = RuleError::Cookie("Set-Cookie".to_owned());
        assert_eq!(check("Set-Cookie", Change::Set), Err(cookie));
        for change in [Change::Set, Change::Remove] {
            for name in [
                "Content-Length",
                "content-encoding",
                "Content-Range",
                "Trailer",
                "transfer-encoding",
                "Connection",
                "upgrade",
                "proxy-authenticate",
            ] {
                let framing = RuleError::Framing(name.to_owned());
                assert_eq!(check(name, change), Err(framing));
            }
            for name in [
                "X-Request-Id",
                "WWW-Authenticate",
                "x-tollgate-a",
                "X_Tollgate",
            ] {
                assert_eq!(check(name, change), Err(RuleError::Own(name.to_owned())));
            }
            for name in ["", "a b", ":status", "ä"] {
                assert_eq!(check(name, change), Err(RuleError::Syntax(name.to_owned())));
            }
        }
    }

    #[test]
    fn values_are_visible_ascii() {
        let most = "x".repeat(MAX_VALUE);
        for good in ["a", "max-age=1; includeSubDomains", "\"~\"", &most] {
            assert_eq!(check_value(good).unwrap(), good.as_bytes());
        }
        let more = "x".repeat(MAX_VALUE + 1);
        for bad in [
            "",
            " a",
            "a ",
            "a\r\nb: 1",
            "a\tb",
            "a\0",
            "ä",
            "\x7f",
            &more,
        ] {
            assert_eq!(check_value(bad), Err(RuleError::Value(bad.to_owned())));
        }
    }
}
