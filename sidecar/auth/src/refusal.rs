//! A refusal: the reason that everyone may see, and the detail for logs and `explain`.

use std::borrow::Cow;
use std::fmt;

use crate::reason::Reason;

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The word of the contract; the only part that a client sees.
    pub reason: Reason,
    /// The deciding names and numbers, for logs and `explain` only. It never holds a token, and what a
    /// client wrote stands in it escaped and shortened.
    pub detail: Cow<'static, str>,
}

impl Refusal {
    /// A refusal for `reason`, with the deciding names and numbers.
    pub fn new(reason: Reason, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            reason,
            detail: detail.into(),
        }
    }

    /// The same, with what it is about in front of the detail.
    pub(crate) fn about(self, what: &str) -> Self {
        Self::new(self.reason, format!("{what}: {}", self.detail))
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.detail.is_empty() {
            self.reason.fmt(f)
        } else {
            write!(f, "{}: {}", self.reason, self.detail)
        }
    }
}

impl std::error::Error for Refusal {}

/// `text` as it may stand in a detail: in quotes, ASCII only, controls escaped, at most 96 characters of
/// it. What a client wrote can then neither forge a log line nor flood it.
pub(crate) fn quote(text: &str) -> String {
    const SHOWN: usize = 96;
    let mut out = String::from("\"");
    for (at, c) in text.chars().enumerate() {
        if at == SHOWN {
            out.push('…');
            break;
        }
        out.extend(c.escape_default());
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// threats.md 9 and 27: what a client wrote cannot break a log line.
    #[test]
    fn t27_details_are_escaped_and_short() {
        assert_eq!(quote("a\r\nb\0\"\u{1b}ä"), r#""a\r\nb\u{0}\"\u{1b}\u{e4}""#);
        assert!(quote(&"x".repeat(10_000)).len() < 110);
    }

    #[test]
    fn prints_reason_then_detail() {
        let refusal = Refusal::new(Reason::KeyUnknown, "kid \"a\"");
        assert_eq!(refusal.to_string(), "key_unknown: kid \"a\"");
        assert_eq!(Refusal::new(Reason::NoRoute, "").to_string(), "no_route");
    }
}
