//! The one form of a request path: what decides is what is forwarded.
//!
//! Gateways are bypassed where the form that matches a rule differs from the form that the server
//! behind them reads. So a path is brought into one form when it enters, everything that could be read
//! in two ways is refused, and that form alone is matched, logged and sent on:
//!
//! - `%XX` of an unreserved character (RFC 3986 section 2.3) is decoded, other hex digits are
//!   upper-cased (section 6.2.2);
//! - dot segments, written plainly or encoded, are refused rather than resolved;
//! - `%00`, a raw backslash, `#`, `?`, controls, spaces and raw non-ASCII are refused;
//! - `;` stays as it is: it is matched literally, and forwarded literally.
//!
//! Two things are left to the route, which is not known here: `%2F` and `%5C` stay as bytes of their segment and are noted
//! ([`Path::encoded_separator`]), since most routes refuse them; `//` stays, and [`Path::merged`] is the form without it.

use std::fmt;

use bytes::Bytes;
use bytestring::ByteString;

/// A request path in its one form. It starts with `/`, or is the asterisk form of `OPTIONS *`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Path {
    text: ByteString,
    /// Holds `%2F` or `%5C`. This and the next follow from the text: asked at each request, found once.
    encoded: bool,
    /// Holds `//`.
    runs: bool,
}

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
        let (mut encoded, mut runs) = (false, false);
        let mut at = 0;
        while let Some(&byte) = raw.get(at) {
            if byte == b'%' {
                encoded |= decode(raw, at, &mut out)?;
                at += 3;
            } else {
                check_raw(byte, at)?;
                runs |= byte == b'/' && out.ends_with('/');
                out.push(char::from(byte));
                at += 1;
            }
        }
        // After decoding, so that `%2e%2e` is seen for what it is.
        let dots = if encoded {
            // Whatever a route makes of them: who keeps a separator encoded does not mean to go up by it.
            has_dots(&out.replace("%2F", "/").replace("%5C", "/"))
        } else {
            has_dots(&out)
        };
        if dots {
            return Err(PathError::DotSegment);
        }
        Ok(Self {
            text: out.into(),
            encoded,
            runs,
        })
    }

    /// [`Self::parse`] for a path that is a slice of a shared buffer. What is in its one form already, as nearly all
    /// paths are, stays that slice: nothing is copied, nothing is allocated.
    ///
    /// # Errors
    /// Those of [`Self::parse`].
    pub fn parse_shared(raw: &Bytes) -> Result<Self, PathError> {
        if raw.first() != Some(&b'/') || !raw.iter().fold(true, |plain, &b| plain & is_plain(b)) {
            return Self::parse(raw);
        }
        let next = raw.get(1..).unwrap_or_default();
        let (mut runs, mut dots) = (false, false);
        for (&one, &other) in raw.iter().zip(next) {
            runs |= (one == b'/') & (other == b'/');
            dots |= (one == b'/') & (other == b'.');
        }
        let Ok(text) = ByteString::try_from(raw.clone()) else {
            return Self::parse(raw);
        };
        if dots && has_dots(&text) {
            return Err(PathError::DotSegment);
        }
        Ok(Self {
            text,
            encoded: false,
            runs,
        })
    }

    /// The path of `OPTIONS *` (RFC 9112 section 3.2.4).
    pub fn asterisk() -> Self {
        Self {
            text: ByteString::from_static("*"),
            encoded: false,
            runs: false,
        }
    }

    /// Whether this is the asterisk form.
    pub fn is_asterisk(&self) -> bool {
        &*self.text == "*"
    }

    /// The path as it is matched and forwarded.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The refusal of this path by whoever takes no `%2F` and `%5C`, if it holds one.
    pub fn encoded_separator(&self) -> Option<PathError> {
        let first = || {
            ["%2F", "%5C"]
                .iter()
                .filter_map(|s| self.text.find(s))
                .min()
        };
        self.encoded.then(first)?.map(PathError::EncodedSeparator)
    }

    /// This path with each run of `/` made one; `None` where there is no run. An encoded slash is no part of a run: whoever
    /// keeps it means it literally.
    pub fn merged(&self) -> Option<Self> {
        if !self.runs {
            return None;
        }
        let mut text = String::with_capacity(self.text.len());
        for c in self.text.chars() {
            if c != '/' || !text.ends_with('/') {
                text.push(c);
            }
        }
        Some(Self {
            text: text.into(),
            encoded: self.encoded,
            runs: false,
        })
    }

    /// What stands between the slashes: `/a/b` has two segments, `/` a single empty one, `/a/` ends
    /// with an empty one; the asterisk form has none.
    pub fn segments(&self) -> impl Iterator<Item = &str> + Clone {
        self.text
            .strip_prefix('/')
            .into_iter()
            .flat_map(|rest| rest.split('/'))
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
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

/// Why a path is refused. Offsets count bytes from 0, of the raw path, or of its form where that is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// Empty, or relative.
    #[error("the path does not start with '/'")]
    NotAbsolute,
    /// `.` or `..` as a segment, plain or encoded, with or without `;` parameters.
    #[error("the path holds a dot segment; send it resolved")]
    DotSegment,
    /// `%2F` or `%5C`: a separator for some servers and a letter for others. Counted in the form, since it is a route that
    /// refuses them.
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

/// Whether `byte` stands for itself in the one form, wherever it stands.
const fn is_plain(byte: u8) -> bool {
    byte.is_ascii_graphic() & (byte != b'%') & (byte != b'\\') & (byte != b'#') & (byte != b'?')
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

/// A `;` parameter does not hide a dot segment: servers that strip parameters would see `..` in `..;x`, and those that decode
/// before in `..%3Bx`.
fn has_dots(text: &str) -> bool {
    text.split('/').any(|segment| {
        let name = segment.split(';').next().unwrap_or_default();
        matches!(name.split("%3B").next(), Some("." | ".."))
    })
}

/// Writes the form of the `%XX` at `at`; whether it is a separator.
fn decode(raw: &[u8], at: usize, out: &mut String) -> Result<bool, PathError> {
    let digit = |i: usize| raw.get(i).and_then(|&b| char::from(b).to_digit(16));
    let (Some(high), Some(low)) = (digit(at + 1), digit(at + 2)) else {
        return Err(PathError::BadPercent(at));
    };
    // Two hex digits fill exactly one byte.
    let byte = (high << 4 | low) as u8;
    match byte {
        0 => return Err(PathError::EncodedNul(at)),
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
    Ok(matches!(byte, b'/' | b'\\'))
}

#[cfg(test)]
mod tests;
