//! Regular expressions of rules: fully determinised at load, so that a search is one table lookup a byte.
//!
//! A lazy or backtracking engine is linear as well, but with a factor that a hostile text chooses. Here there is
//! nothing left to choose: what would need a large automaton is refused when the configuration is read.

use std::fmt::Write as _;

use regex_automata::dfa::{Automaton, StartKind, dense};
use regex_automata::nfa::thompson;
use regex_automata::util::syntax;
use regex_automata::{Anchored, Input};

/// Bytes that one automaton may have, and that building it may take.
const MAX_BYTES: usize = 1 << 20;

/// A compiled pattern.
pub(super) struct Regex(dense::DFA<Vec<u32>>);

impl Regex {
    /// Compiles a pattern of RE2's syntax. `\d`, `\w` and `\s` mean ASCII, as in RE2; so does `(?-u:\b)`, and `\b` alone is refused.
    ///
    /// # Errors
    /// What is wrong with it, or that it is too large.
    pub(super) fn new(pattern: &str) -> Result<Self, String> {
        let config = dense::Config::new()
            .start_kind(StartKind::Unanchored)
            .dfa_size_limit(Some(MAX_BYTES))
            .determinize_size_limit(Some(MAX_BYTES));
        dense::Builder::new()
            .configure(config)
            .syntax(syntax::Config::new().nest_limit(32))
            .thompson(thompson::Config::new().nfa_size_limit(Some(MAX_BYTES)))
            .build(&ascii_classes(pattern))
            .map(Self)
            .map_err(|error| {
                let mut chain = error.to_string();
                let mut source = std::error::Error::source(&error);
                while let Some(error) = source {
                    let _ = write!(chain, ": {error}");
                    source = error.source();
                }
                // The parser draws a picture of several lines; the last one says what is wrong.
                let said = chain.lines().last().unwrap_or_default();
                said.trim_start_matches("error: ").to_owned()
            })
    }

    /// Whether it matches anywhere in `text`; `None` if the automaton gave up, which ours never does.
    pub(super) fn is_match(&self, text: &str) -> Option<bool> {
        let input = Input::new(text).anchored(Anchored::No).earliest(true);
        let found = self.0.try_search_fwd(&input).ok()?;
        Some(found.is_some())
    }
}

/// The pattern with `\d`, `\w` and `\s` written out in ASCII: `\d` would else match digits of every script, and
/// who writes `^\d+$` does not expect them.
fn ascii_classes(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len());
    let mut rest = pattern.chars();
    while let Some(c) = rest.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match rest.next() {
            Some('d') => out.push_str("[0-9]"),
            Some('D') => out.push_str("[^0-9]"),
            Some('w') => out.push_str("[0-9A-Za-z_]"),
            Some('W') => out.push_str("[^0-9A-Za-z_]"),
            Some('s') => out.push_str(r"[\t\n\f\r\x20]"),
            Some('S') => out.push_str(r"[^\t\n\f\r\x20]"),
            Some(other) => {
                out.push('\\');
                out.push(other);
            }
            None => out.push('\\'),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_re2() {
        for (pattern, text, matches) in [
            ("", "", true),
            ("b", "abc", true),
            ("^b", "abc", false),
            (r"^\d+$", "123", true),
            (r"^\d+$", "12\u{663}", false),
            (r"^\d+$", "123\n", false),
            (r"^[\w.-]+@corp\.com$", "a.b-c_1@corp.com", true),
            (r"^[\w.-]+@corp\.com$", "\u{e4}@corp.com", false),
            (r"^\W$", "\u{e4}", true),
            (r"(?-u:\b)cat(?-u:\b)", "a cat!", true),
            (r"(?-u:\b)cat(?-u:\b)", "concat", false),
            (r"^.{3}$", "\u{e4}\u{f6}\u{fc}", true),
            ("(?i)^ADMIN$", "admin", true),
            (r"^\\d$", r"\d", true),
            (r"^a\s\S$", "a b", true),
        ] {
            assert_eq!(
                Regex::new(pattern).unwrap().is_match(text),
                Some(matches),
                "{pattern} {text:?}"
            );
        }
    }

    #[test]
    fn what_is_no_pattern_or_a_large_one_is_refused() {
        for (pattern, said) in [
            ("(", "unclosed group"),
            ("a{2,1}", "invalid repetition"),
            (r"(a)\1", "backreferences"),
            ("(?=a)", "look-around"),
            ("(a|b|c|d|e){1,400}{1,400}", "exceeded limit"),
            ("(.*a.{24}){3}", "exceeded"),
            (
                &format!("{}a{}", "(".repeat(100), ")".repeat(100)),
                "nested",
            ),
            ("\\", "incomplete escape"),
            (r"\bcat", "word boundaries"),
        ] {
            let error = Regex::new(pattern).err().unwrap_or_default();
            assert!(
                error.contains(said) && !error.contains('\n'),
                "{pattern}: {error}"
            );
        }
    }
}
