//! What sets two issuers apart that look alike.

use crate::refusal::quote;

/// Where `said` leaves `ours`, byte by byte, and what that may mean.
pub(super) fn difference(said: &str, ours: &str) -> String {
    let same = said.bytes().zip(ours.bytes()).take_while(|(a, b)| a == b);
    let at = same.count();
    let there = |text: &str| match text.as_bytes().get(at) {
        Some(byte) => format!("0x{byte:02x} {}", quote(&String::from(char::from(*byte)))),
        None => "its end".to_owned(),
    };
    let hint = likeness(said, ours).map(|hint| format!("; {hint}"));
    format!(
        "at byte {at} it has {}, the configuration has {}{}",
        there(said),
        there(ours),
        hint.unwrap_or_default()
    )
}

/// What the two have apart, if that is one of the usual things.
pub(super) fn likeness(said: &str, ours: &str) -> Option<&'static str> {
    if said == ours {
        return None;
    }
    let bare = |text: &str| text.trim_end_matches('/').to_owned();
    let lower = |text: &str| text.to_lowercase();
    let rest = |text: &str| text.split_once("://").map(|(_, rest)| rest.to_owned());
    if bare(said) == bare(ours) {
        Some("only a slash at the end sets them apart")
    } else if lower(said) == lower(ours) {
        Some("only upper and lower case set them apart")
    } else if said.trim() == ours.trim() {
        Some("only white space around them sets them apart")
    } else if rest(said).is_some() && rest(said) == rest(ours) {
        Some("only the scheme sets them apart")
    } else if said.contains("://") != ours.contains("://") && named(said) == named(ours) {
        Some("only the scheme sets them apart, which one of them lacks")
    } else if portless(said) == portless(ours) {
        Some("only the port sets them apart")
    } else if !said.is_ascii() || is_punycode(said) != is_punycode(ours) {
        Some("one of them holds an internationalised name, or letters that look like others")
    } else {
        None
    }
}

fn named(text: &str) -> &str {
    text.split_once("://").map_or(text, |(_, rest)| rest)
}

/// `text` without the port of its authority.
fn portless(text: &str) -> String {
    let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
    let (authority, path) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    };
    format!("{scheme}://{host}{path}")
}

fn is_punycode(text: &str) -> bool {
    text.contains("xn--")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// threats.md 23: what differs is named, and nothing but equality is accepted for it.
    #[test]
    fn t23_the_first_byte_that_differs_and_what_it_means() {
        let ours = "https://login.example.com/realms/corp";
        for (said, at, hint) in [
            (
                "https://login.example.com/realms/corp/",
                37,
                "slash at the end",
            ),
            (
                "https://login.example.com/realms/Corp",
                33,
                "upper and lower case",
            ),
            ("http://login.example.com/realms/corp", 4, "only the scheme"),
            ("login.example.com/realms/corp", 0, "lacks"),
            (
                "https://login.example.com:443/realms/corp",
                25,
                "only the port",
            ),
            ("https://login.example.com/realms/corp ", 37, "white space"),
            (
                "https://login.exаmple.com/realms/corp",
                16,
                "internationalised",
            ),
            (
                "https://xn--lgin-example.com/realms/corp",
                8,
                "internationalised",
            ),
            ("https://login.example.com/realms/other", 33, ""),
            ("other.example.com/realms/corp", 0, ""),
            ("https://login.example.com:abc/realms/corp", 25, ""),
        ] {
            let text = difference(said, ours);
            assert!(text.starts_with(&format!("at byte {at} ")), "{text}");
            assert_eq!(likeness(said, ours).is_some(), !hint.is_empty(), "{said}");
            assert!(text.contains(hint), "{text}");
            assert!(text.is_ascii(), "{text}");
        }
        assert_eq!(likeness(ours, ours), None);
        let shorter = difference("https://login", ours);
        assert_eq!(
            shorter,
            r#"at byte 13 it has its end, the configuration has 0x2e ".""#
        );
    }
}
