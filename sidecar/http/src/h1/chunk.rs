//! The line before a chunk: `chunk-size [ chunk-ext ] CRLF` (RFC 9112 section 7.1), a byte at a time.
//!
//! Where parsers differ here, one message becomes two (`0x5`, `5 `, a bare LF at the end of an extension that is "read
//! over"). So the grammar is held to the letter, extensions too, though nothing of them is kept.

use super::error::Error;
use super::framing::LONGEST;
use crate::fields::is_token_byte;

/// The most hex digits of a size, leading zeros included.
const DIGITS: u8 = 16;

/// How far a line has been read.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Line {
    size: u64,
    digits: u8,
    at: At,
}

/// What was read last. `BWS` of the grammar stands before `;`, and around `=`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum At {
    #[default]
    Size,
    /// White space that only `;` may follow.
    BeforeSemicolon,
    /// `;`, and white space.
    Semicolon,
    Name,
    /// White space behind a name, which `=` or `;` may follow.
    AfterName,
    /// `=`, and white space.
    Equals,
    Token,
    Quoted,
    Backslash,
    /// The quote that ends a text.
    QuoteEnd,
    Cr,
}

impl Line {
    /// Takes a byte in: `Some(size)` when it was the line's last.
    pub(super) fn next(&mut self, byte: u8) -> Result<Option<u64>, Error> {
        let is_token = is_token_byte(byte);
        self.at = match (self.at, byte) {
            (At::Size, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                self.digit(byte)?;
                At::Size
            }
            // Nothing but digits may stand first.
            (At::Size, _) if self.digits == 0 => return Err(Error::ChunkSize),
            (
                At::Size
                | At::BeforeSemicolon
                | At::Name
                | At::AfterName
                | At::Token
                | At::QuoteEnd,
                b';',
            ) => At::Semicolon,
            (At::Size | At::Name | At::Token | At::QuoteEnd, b'\r') => At::Cr,
            (At::Size | At::BeforeSemicolon | At::Token | At::QuoteEnd, b' ' | b'\t') => {
                At::BeforeSemicolon
            }
            (At::Size, _) => return Err(Error::ChunkSize),
            (At::Semicolon, b' ' | b'\t') => At::Semicolon,
            (At::Semicolon | At::Name, _) if is_token => At::Name,
            (At::Name | At::AfterName, b' ' | b'\t') => At::AfterName,
            (At::Name | At::AfterName, b'=') => At::Equals,
            (At::Equals, b' ' | b'\t') => At::Equals,
            (At::Equals, b'"') => At::Quoted,
            (At::Equals | At::Token, _) if is_token => At::Token,
            (At::Quoted, b'"') => At::QuoteEnd,
            (At::Quoted, b'\\') => At::Backslash,
            (At::Quoted | At::Backslash, b'\t' | b' '..=b'~' | 0x80..) => At::Quoted,
            (At::Cr, b'\n') => return Ok(Some(self.size)),
            (At::Cr, _) => return Err(Error::ChunkEnd),
            _ => return Err(Error::ChunkExtension),
        };
        Ok(None)
    }

    /// Whether the byte that was read last is one of an extension.
    pub(super) fn is_extension(&self) -> bool {
        !matches!(self.at, At::Size | At::Cr)
    }

    fn digit(&mut self, byte: u8) -> Result<(), Error> {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            _ => (byte | 0x20) - b'a' + 10,
        };
        if self.digits == DIGITS {
            return Err(Error::ChunkSize);
        }
        self.digits += 1;
        self.size = self.size << 4 | u64::from(digit);
        if self.size > LONGEST {
            return Err(Error::ChunkTooLarge);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Case = (&'static [u8], Result<Option<u64>, Error>);

    fn line(text: &[u8]) -> Result<Option<u64>, Error> {
        let mut line = Line::default();
        for (at, &byte) in text.iter().enumerate() {
            if let Some(size) = line.next(byte)? {
                assert_eq!(at + 1, text.len(), "bytes behind the line");
                return Ok(Some(size));
            }
        }
        Ok(None)
    }

    /// threats.md 57: the syntax of RFC 9112 section 7.1.1, to the letter.
    #[test]
    fn t57_sizes_and_extensions() {
        use Error::{ChunkEnd, ChunkExtension, ChunkSize, ChunkTooLarge};
        let cases: &[Case] = &[
            (b"0\r\n", Ok(Some(0))),
            (b"1A\r\n", Ok(Some(26))),
            (b"ffF\r\n", Ok(Some(4095))),
            (b"0000000000000005\r\n", Ok(Some(5))),
            (b"7fffffffffffffff\r\n", Ok(Some(LONGEST))),
            (b"5;a\r\n", Ok(Some(5))),
            (b"5;a=b\r\n", Ok(Some(5))),
            (b"5 ; a = b\t;c\r\n", Ok(Some(5))),
            (b"5;a ;b\r\n", Ok(Some(5))),
            (b"5;a=\"b;\\\"c\\\\\xe9\"\r\n", Ok(Some(5))),
            (b"5;a=\"\";b=\"\" ;c\r\n", Ok(Some(5))),
            (b"5", Ok(None)),
            (b"5\r", Ok(None)),
            (b"\r\n", Err(ChunkSize)),
            (b";a\r\n", Err(ChunkSize)),
            (b" 5\r\n", Err(ChunkSize)),
            (b"+5\r\n", Err(ChunkSize)),
            (b"-5\r\n", Err(ChunkSize)),
            (b"0x5\r\n", Err(ChunkSize)),
            (b"5g\r\n", Err(ChunkSize)),
            (b"5_0\r\n", Err(ChunkSize)),
            (b"5\n", Err(ChunkSize)),
            (b"5\0\r\n", Err(ChunkSize)),
            (b"00000000000000005\r\n", Err(ChunkSize)),
            (b"8000000000000000\r\n", Err(ChunkTooLarge)),
            (b"ffffffffffffffff\r\n", Err(ChunkTooLarge)),
            (b"10000000000000005\r\n", Err(ChunkSize)),
            (b"5 \r\n", Err(ChunkExtension)),
            (b"5 5\r\n", Err(ChunkExtension)),
            (b"5\t\r\n", Err(ChunkExtension)),
            (b"5;\r\n", Err(ChunkExtension)),
            (b"5; \r\n", Err(ChunkExtension)),
            (b"5;;a\r\n", Err(ChunkExtension)),
            (b"5;=a\r\n", Err(ChunkExtension)),
            (b"5;a=\r\n", Err(ChunkExtension)),
            (b"5;a=;b\r\n", Err(ChunkExtension)),
            (b"5;a \r\n", Err(ChunkExtension)),
            (b"5;a=b \r\n", Err(ChunkExtension)),
            (b"5;a=b c\r\n", Err(ChunkExtension)),
            (b"5;a b\r\n", Err(ChunkExtension)),
            (b"5;a\n", Err(ChunkExtension)),
            (b"5;a=b\n", Err(ChunkExtension)),
            (b"5;a=\"b\n\"\r\n", Err(ChunkExtension)),
            (b"5;a=\"b\r\n", Err(ChunkExtension)),
            (b"5;a=\"b\\\r\n", Err(ChunkExtension)),
            (b"5;a=\"b\"c\r\n", Err(ChunkExtension)),
            (b"5;a=\"\x7f\"\r\n", Err(ChunkExtension)),
            (b"5;a=\"\\\x01\"\r\n", Err(ChunkExtension)),
            (b"5;\xe9\r\n", Err(ChunkExtension)),
            (b"5\rX", Err(ChunkEnd)),
            (b"5\r\r\n", Err(ChunkEnd)),
            (b"5;a\rX", Err(ChunkEnd)),
        ];
        for (text, want) in cases {
            assert_eq!(line(text), *want, "{}", text.escape_ascii());
        }
    }
}
