//! A look at the text before the parser sees it.
//!
//! The parser descends once a bracket, and each level takes several kilobytes of stack. How deep an expression is
//! must therefore be known before it is parsed, not after.

use super::error::ExprError;

/// The longest expression, in characters.
pub(super) const MAX_CHARS: usize = 4096;
/// How many brackets, and how many `?:`, may be open at one place.
const MAX_OPEN: usize = 24;
/// How many operators may follow each other between two brackets, commas, `&&`, `||`, `?` or `:`. A chain of them is as
/// deep as it is long.
const MAX_CHAIN: usize = 48;

/// Whether `text` is short and flat enough to be parsed.
pub(super) fn check(text: &str) -> Result<(), ExprError> {
    let length = text.chars().count();
    if length > MAX_CHARS {
        return Err(ExprError::new(
            MAX_CHARS + 1,
            format!("the expression has {length} characters; at most {MAX_CHARS} are taken"),
        ));
    }
    let characters: Vec<char> = text.chars().collect();
    let (mut open, mut conditions, mut chain) = (0_usize, 0_usize, 0_usize);
    let mut at = 0;
    while let Some(&c) = characters.get(at) {
        let rest = &characters[at..];
        let length = match c {
            '"' | '\'' => string(rest, is_raw(&characters[..at])),
            '/' if rest.starts_with(&['/', '/']) => {
                rest.iter().position(|&c| c == '\n').unwrap_or(rest.len())
            }
            _ => {
                match c {
                    '(' | '[' | '{' => open += 1,
                    ')' | ']' | '}' => open = open.saturating_sub(1),
                    '?' => conditions += 1,
                    _ => {}
                }
                match c {
                    '(' | '{' | ',' | ':' | '?' | '&' | '|' => chain = 0,
                    '[' | '.' | '+' | '-' | '*' | '/' | '%' | '!' | '<' | '>' | '=' => chain += 1,
                    _ => {}
                }
                1
            }
        };
        if open > MAX_OPEN {
            return Err(ExprError::new(
                at + 1,
                format!("more than {MAX_OPEN} brackets are open here; write it flatter"),
            ));
        }
        if conditions > MAX_OPEN {
            return Err(ExprError::new(
                at + 1,
                format!("there are more than {MAX_OPEN} `?:`; look values up in a map instead"),
            ));
        }
        if chain > MAX_CHAIN {
            return Err(ExprError::new(
                at + 1,
                format!(
                    "more than {MAX_CHAIN} operators follow each other here; take the expression apart"
                ),
            ));
        }
        at += length.max(1);
    }
    Ok(())
}

/// Whether the letters in front of a quote make the string a raw one, in which a backslash is a backslash.
fn is_raw(before: &[char]) -> bool {
    let prefix = before
        .iter()
        .rev()
        .take_while(|c| c.is_ascii_alphanumeric() || **c == '_');
    let prefix: Vec<char> = prefix.map(char::to_ascii_lowercase).collect();
    matches!(prefix[..], ['r'] | ['b', 'r'] | ['r', 'b'])
}

/// The length of the string literal that `text` begins with, to its end or to that of the text.
fn string(text: &[char], raw: bool) -> usize {
    let quote = text[0];
    let triple = text.starts_with(&[quote; 3]);
    let width = if triple { 3 } else { 1 };
    let mut at = width;
    while at < text.len() {
        match text[at] {
            '\\' if !raw => at += 2,
            // Such a string ends nowhere; the parser says so.
            '\n' if !triple => return at,
            c if c == quote && text[at..].iter().take_while(|&&c| c == quote).count() >= width => {
                return at + width;
            }
            _ => at += 1,
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str) -> Option<usize> {
        check(text).err().map(|error| error.at)
    }

    #[test]
    fn length_and_depth_are_bounded() {
        assert_eq!(place(&"ä".repeat(MAX_CHARS)), None);
        assert_eq!(place(&"a".repeat(MAX_CHARS + 1)), Some(MAX_CHARS + 1));
        for bracket in ["(", "[", "{"] {
            assert_eq!(place(&bracket.repeat(MAX_OPEN)), None, "{bracket}");
            assert_eq!(
                place(&bracket.repeat(MAX_OPEN + 1)),
                Some(MAX_OPEN + 1),
                "{bracket}"
            );
        }
        assert_eq!(place(&"()[]{}".repeat(600)), None);
        assert_eq!(place(&"a?b:".repeat(MAX_OPEN)), None);
        assert_eq!(place(&"a?b:".repeat(MAX_OPEN + 1)), Some(4 * MAX_OPEN + 2));
        assert_eq!(
            place(&format!("a && {}", "!".repeat(MAX_CHAIN + 1))),
            Some(5 + MAX_CHAIN + 1)
        );
        for operator in ["!", "-", "a+", "a.", "a==", "a[0]", "a<", "a%", "a*", "a/"] {
            assert!(
                place(&operator.repeat(MAX_CHAIN + 1)).is_some(),
                "{operator}"
            );
            let flat = format!("{}a || ", operator.repeat(MAX_CHAIN / 2)).repeat(20);
            assert_eq!(place(&flat), None, "{operator}");
        }
    }

    #[test]
    fn texts_and_comments_count_for_nothing() {
        let many = "(".repeat(100);
        for text in [
            format!("'{many}'"),
            format!("\"{many}\""),
            format!("'''a'b{many}\n'''"),
            format!("r'{many}\\'"),
            format!("bR\"{many}\\\""),
            format!("'\\'{many}'"),
            format!("'''\n{many}'''"),
            format!("_r'\\'{many}'"),
            format!("// {many}\na"),
            format!("'\\\\' + '{many}'"),
        ] {
            assert_eq!(place(&text), None, "{text}");
        }
        for text in [
            format!("''{many}"),
            format!("r'\\'{many}"),
            format!("a == r'\\'{many}"),
            format!("'\\\\'{many}"),
            format!("''''''{many}"),
            format!("'a\n{many}"),
            format!("a / {many}"),
            format!("// a\n{many}"),
        ] {
            assert!(place(&text).is_some(), "{text}");
        }
    }
}
