//! The one form of a request path: what decides is what is forwarded.
//!
//! Gateways are bypassed where the form that matches a rule differs from the form that the server
//! behind them reads. So a path is brought into one form when it enters, everything that could be read
//! in two ways is refused, and that form alone is matched, logged and sent on:
//!
//! - `%XX` of an unreserved character (RFC 3986 section 2.3) is decoded, other hex digits are
//!   upper-cased (section 6.2.2);
//! - dot segments, written plainly or encoded, are refused rather than resolved;
//! - `%2F`, `%5C`, `%00`, a raw backslash, `#`, `?`, controls, spaces and raw non-ASCII are refused;
//! - `//` and `;` stay as they are: they are matched literally, and forwarded literally.

use std::fmt;

/// A request path in its one form. It starts with `/`, or is the asterisk form of `OPTIONS *`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Path(Box<str>);

impl Path {
    /// Parses the path of a request target: no scheme, no authority, and the query (split off with
    /// [`split_query`]) already gone.
    ///
    /// # Errors
    /// [`PathError`] says what in the path can be read in two ways, or is no path at all.
    pub fn parse(raw: &[u8]) -> Result<Self, PathError> {
        if raw.first() != Some(&b'/') {
            return Err(PathError::NotAbsolute);
        }
        let mut out = String::with_capacity(raw.len());
        let mut at = 0;
        while let Some(&byte) = raw.get(at) {
            if byte == b'%' {
                decode(raw, at, &mut out)?;
                at += 3;
            } else {
                check_raw(byte, at)?;
                out.push(char::from(byte));
                at += 1;
            }
        }
        // After decoding, so that `%2e%2e` is seen for what it is. A `;` parameter does not hide a dot
        // segment: servers that strip parameters would see `..` in `..;x`.
        let dots = |s: &str| matches!(s.split(';').next(), Some("." | ".."));
        if out.split('/').any(dots) {
            return Err(PathError::DotSegment);
        }
        Ok(Self(out.into_boxed_str()))
    }

    /// The path of `OPTIONS *` (RFC 9112 section 3.2.4).
    pub fn asterisk() -> Self {
        Self("*".into())
    }

    /// Whether this is the asterisk form.
    pub fn is_asterisk(&self) -> bool {
        &*self.0 == "*"
    }

    /// The path as it is matched and forwarded.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What stands between the slashes: `/a/b` has two segments, `/` a single empty one, `/a/` ends
    /// with an empty one; the asterisk form has none.
    pub fn segments(&self) -> impl Iterator<Item = &str> + Clone {
        self.0
            .strip_prefix('/')
            .into_iter()
            .flat_map(|rest| rest.split('/'))
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Splits an origin-form target at its first `?` into the raw path and the query, if there is one.
pub fn split_query(target: &[u8]) -> (&[u8], Option<&[u8]>) {
    match memchr::memchr(b'?', target) {
        Some(at) => (&target[..at], Some(&target[at + 1..])),
        None => (target, None),
    }
}

/// Whether `query` holds only what RFC 3986 section 3.4 allows, plus the few raw characters that
/// browsers send unencoded (`"`, `<`, `>`, `[`, `]`, `^`, backquote, `{`, `|`, `}`, backslash).
/// Controls, space, `#` and non-ASCII bytes are not valid. Percent signs are not looked at: a query is
/// opaque to Tollgate and forwarded as it came.
pub fn valid_query(query: &[u8]) -> bool {
    query.iter().all(|&b| b.is_ascii_graphic() && b != b'#')
}

/// Why a path is refused. Offsets count bytes of the raw path from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// Empty, or relative.
    #[error("the path does not start with '/'")]
    NotAbsolute,
    /// `.` or `..` as a segment, plain or encoded, with or without `;` parameters.
    #[error("the path holds a dot segment; send it resolved")]
    DotSegment,
    /// `%2F` or `%5C`: a separator for some servers and a letter for others.
    #[error("the path holds an encoded separator (%2F or %5C) at byte {0}")]
    EncodedSeparator(usize),
    /// `%00`.
    #[error("the path holds an encoded NUL (%00) at byte {0}")]
    EncodedNul(usize),
    /// `%` without two hex digits.
    #[error("the path holds '%' without two hex digits at byte {0}")]
    BadPercent(usize),
    /// `\`, which some servers read as `/`.
    #[error("the path holds a backslash at byte {0}")]
    Backslash(usize),
    /// `#`: a fragment is never sent.
    #[error("the path holds '#' at byte {0}")]
    Fragment(usize),
    /// `?`, where the query should have been split off.
    #[error("the path holds '?' at byte {0}")]
    Query(usize),
    /// Space, a control, DEL, or a byte over 0x7F.
    #[error("the path holds the raw byte 0x{byte:02X} at byte {at}; send it percent-encoded")]
    RawByte {
        /// The byte.
        byte: u8,
        /// Where it stands.
        at: usize,
    },
}

fn check_raw(byte: u8, at: usize) -> Result<(), PathError> {
    match byte {
        b'\\' => Err(PathError::Backslash(at)),
        b'#' => Err(PathError::Fragment(at)),
        b'?' => Err(PathError::Query(at)),
        b if b.is_ascii_graphic() => Ok(()),
        byte => Err(PathError::RawByte { byte, at }),
    }
}

fn decode(raw: &[u8], at: usize, out: &mut String) -> Result<(), PathError> {
    let digit = |i: usize| raw.get(i).and_then(|&b| char::from(b).to_digit(16));
    let (Some(high), Some(low)) = (digit(at + 1), digit(at + 2)) else {
        return Err(PathError::BadPercent(at));
    };
    // Two hex digits fill exactly one byte.
    let byte = (high << 4 | low) as u8;
    match byte {
        0 => return Err(PathError::EncodedNul(at)),
        b'/' | b'\\' => return Err(PathError::EncodedSeparator(at)),
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            out.push(char::from(byte));
        }
        _ => {
            const HEX: &[u8; 16] = b"0123456789ABCDEF";
            out.push('%');
            out.push(char::from(HEX[usize::from(byte >> 4)]));
            out.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn form(raw: &str) -> Result<String, PathError> {
        Path::parse(raw.as_bytes()).map(|p| p.as_str().to_owned())
    }

    /// threats.md 41: the form that decides is the form that is forwarded, or the request is refused.
    #[test]
    fn t41_one_form_or_refused() {
        use PathError::*;
        let cases: &[(&str, Result<&str, PathError>)] = &[
            ("/", Ok("/")),
            ("/orders/1", Ok("/orders/1")),
            ("/%61dmin", Ok("/admin")),
            ("/%7euser", Ok("/~user")),
            ("//admin", Ok("//admin")),
            ("/admin;x=y", Ok("/admin;x=y")),
            ("/a%20b%c3%a4", Ok("/a%20b%C3%A4")),
            ("/admin%23", Ok("/admin%23")),
            ("/admin%3Fx", Ok("/admin%3Fx")),
            ("/a%252fb", Ok("/a%252fb")),
            ("/...", Ok("/...")),
            ("/.well-known/x", Ok("/.well-known/x")),
            ("/a/../admin", Err(DotSegment)),
            ("/a/..", Err(DotSegment)),
            ("/./a", Err(DotSegment)),
            ("/%2e%2E/admin", Err(DotSegment)),
            ("/a/.%2e/admin", Err(DotSegment)),
            ("/a/..;x=y/admin", Err(DotSegment)),
            ("/admin%2f..", Err(EncodedSeparator(6))),
            ("/a%2Fb", Err(EncodedSeparator(2))),
            ("/a%5cb", Err(EncodedSeparator(2))),
            ("/a\\b", Err(Backslash(2))),
            ("/a%00", Err(EncodedNul(2))),
            ("/admin#", Err(Fragment(6))),
            ("/admin?x=/public", Err(Query(6))),
            ("/a%", Err(BadPercent(2))),
            ("/a%4", Err(BadPercent(2))),
            ("/a%+1", Err(BadPercent(2))),
            ("/a b", Err(RawByte { byte: b' ', at: 2 })),
            ("/ä", Err(RawByte { byte: 0xc3, at: 1 })),
            ("/a\u{7f}", Err(RawByte { byte: 0x7f, at: 2 })),
            ("", Err(NotAbsolute)),
            ("*", Err(NotAbsolute)),
            ("admin", Err(NotAbsolute)),
            ("http://h/", Err(NotAbsolute)),
        ];
        for (raw, want) in cases {
            assert_eq!(form(raw), want.map(str::to_owned), "{raw}");
        }
    }

    #[test]
    fn segments_are_what_stands_between_the_slashes() {
        let segments = |raw: &str| {
            let path = Path::parse(raw.as_bytes()).unwrap();
            path.segments().map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(segments("/"), [""]);
        assert_eq!(segments("/a/b"), ["a", "b"]);
        assert_eq!(segments("//a/"), ["", "a", ""]);
        assert_eq!(Path::asterisk().segments().count(), 0);
        assert!(Path::asterisk().is_asterisk());
    }

    #[test]
    fn the_first_question_mark_splits() {
        assert_eq!(split_query(b"/a?b?c"), (&b"/a"[..], Some(&b"b?c"[..])));
        assert_eq!(split_query(b"/a?"), (&b"/a"[..], Some(&b""[..])));
        assert_eq!(split_query(b"/a"), (&b"/a"[..], None));
        assert!(valid_query(b"a=%zz&b={[]}"));
        assert!(!valid_query(b"a b") && !valid_query(b"a#") && !valid_query(b"\x80"));
    }

    proptest! {
        /// Parsing what was parsed changes nothing: a second reader sees the same path.
        #[test]
        fn the_form_is_a_fixed_point(raw in "/[ -~]{0,40}") {
            if let Ok(path) = Path::parse(raw.as_bytes()) {
                prop_assert_eq!(Path::parse(path.as_str().as_bytes()).unwrap(), path);
            }
        }

        /// Whatever bytes come, the form holds nothing that a server could read in another way.
        #[test]
        fn nothing_ambiguous_survives(raw in prop::collection::vec(prop_oneof![
            Just(b'/'), Just(b'.'), Just(b'%'), Just(b'2'), Just(b'5'), Just(b'e'), Just(b'F'), Just(b'0'),
            Just(b';'), Just(b'\\'), any::<u8>()], 0..24)) {
            let mut target = vec![b'/'];
            target.extend(raw);
            if let Ok(path) = Path::parse(&target) {
                let text = path.as_str().to_ascii_lowercase();
                for bad in ["%2f", "%5c", "%00", "\\", "#", "?", "/../", "/./", "%2e"] {
                    prop_assert!(!text.contains(bad), "{} in {}", bad, text);
                }
                prop_assert!(!text.ends_with("/..") && !text.ends_with("/."));
                prop_assert!(text.bytes().all(|b| b.is_ascii_graphic()));
            }
        }
    }
}
