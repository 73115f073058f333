//! Where a head ends, and whether its lines are lines.
//!
//! This stands before the parser, which takes a bare LF for the end of a line and empty lines for nothing. Whatever is
//! refused here is refused at its first byte that is wrong, however the bytes were cut into reads: nothing behind that
//! byte, and no end of a read, changes the reason.

use memchr::memchr2;

use super::error::Error;

/// What bounds a section of lines.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Of all bytes, the empty line at the end included, and what is said of more.
    pub(super) whole: (usize, Error),
    /// Of lines with a field.
    pub(super) fields: usize,
    /// Of the first line, likewise; `None` where there is none, as in trailers.
    pub(super) first: Option<(usize, Error)>,
}

/// A search for the empty line at a section's end, which goes on where it stopped when there is more to read.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Scan {
    /// All before it has been looked at.
    at: usize,
    /// Where the line begins that `at` stands in.
    line: usize,
    lines: usize,
}

impl Scan {
    /// How long the section is that `input` begins with, or `None` if its end is not there yet. `input` begins with the
    /// same bytes at each call.
    pub(super) fn end(&mut self, input: &[u8], bounds: &Bounds) -> Result<Option<usize>, Error> {
        loop {
            let (limit, too_long) = self.limit(bounds);
            let window = &input[..input.len().min(limit)];
            let rest = window.get(self.at..).unwrap_or_default();
            if self.at == self.line && matches!(rest.first(), Some(b' ' | b'\t')) {
                return Err(Error::Folded);
            }
            let found = memchr2(b'\r', b'\n', rest).map(|found| self.at + found);
            let Some(at) = found else {
                self.at = window.len();
                return more(input, limit, too_long);
            };
            if window[at] == b'\n' {
                return Err(Error::BareLf);
            }
            match window.get(at + 1) {
                Some(b'\n') => {}
                Some(_) => return Err(Error::BareCr),
                None => {
                    self.at = at;
                    return more(input, limit, too_long);
                }
            }
            let is_empty = at == self.line;
            (self.at, self.line) = (at + 2, at + 2);
            if is_empty {
                return Ok(Some(at + 2));
            }
            self.lines += 1;
            let fields = self.lines - usize::from(bounds.first.is_some());
            if fields > bounds.fields {
                return Err(Error::TooManyFields(bounds.fields));
            }
        }
    }

    /// How far is read now, and what is said of more.
    fn limit(&self, bounds: &Bounds) -> (usize, Error) {
        match bounds.first {
            Some(first) if self.lines == 0 && first.0 < bounds.whole.0 => first,
            _ => bounds.whole,
        }
    }
}

fn more(input: &[u8], limit: usize, too_long: Error) -> Result<Option<usize>, Error> {
    if input.len() > limit {
        Err(too_long)
    } else {
        Ok(None)
    }
}

/// The first control in `section`, whose lines are known to end in CR LF: HTAB is none, CR and LF are where they belong.
///
/// Without a way out in the loop, so that it runs over a whole register of bytes at a time.
pub(super) fn control(section: &[u8]) -> Option<u8> {
    let is_one = |b: u8| ((b < 0x20) & (b != b'\t') & (b != b'\r') & (b != b'\n')) | (b == 0x7f);
    if section.iter().fold(false, |found, &b| found | is_one(b)) {
        section.iter().copied().find(|&b| is_one(b))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Case = (&'static [u8], Result<Option<usize>, Error>);

    const BOUNDS: Bounds = Bounds {
        whole: (40, Error::HeadTooLarge(40)),
        fields: 2,
        first: Some((16, Error::TargetTooLong(16))),
    };

    fn whole(input: &[u8]) -> Result<Option<usize>, Error> {
        Scan::default().end(input, &BOUNDS)
    }

    #[test]
    fn a_section_ends_with_its_empty_line() {
        let cases: &[Case] = &[
            (b"", Ok(None)),
            (b"GET", Ok(None)),
            (b"GET\r", Ok(None)),
            (b"GET\r\n", Ok(None)),
            (b"GET\r\n\r", Ok(None)),
            (b"GET\r\n\r\n", Ok(Some(7))),
            (b"GET\r\n\r\nX\nY", Ok(Some(7))),
            (b"\r\n", Ok(Some(2))),
            (b"GET\n", Err(Error::BareLf)),
            (b"GET\r\n\n", Err(Error::BareLf)),
            (b"GET\rX", Err(Error::BareCr)),
            (b"GET\r\r\n", Err(Error::BareCr)),
            (b"GET\r\n\rX", Err(Error::BareCr)),
            (b" GET", Err(Error::Folded)),
            (b"GET\r\n a", Err(Error::Folded)),
            (b"GET\r\na:\r\n\tb", Err(Error::Folded)),
            (b"GET\r\na:\r\nb:\r\n\r\n", Ok(Some(15))),
            (b"GET\r\na:\r\nb:\r\nc:\r\n", Err(Error::TooManyFields(2))),
            (b"0123456789abcd\r\n\r\n", Ok(Some(18))),
            (b"0123456789abcde\r\n", Err(Error::TargetTooLong(16))),
            (b"0123456789abcdef0", Err(Error::TargetTooLong(16))),
            (b"G\r\n0123456789012345678901234567890123\r\n\r", Ok(None)),
            (
                b"G\r\n012345678901234567890123456789012\r\n\r\n",
                Ok(Some(40)),
            ),
            (
                b"G\r\n0123456789012345678901234567890123\r\n\r\n",
                Err(Error::HeadTooLarge(40)),
            ),
        ];
        for (input, want) in cases {
            assert_eq!(whole(input), *want, "{}", input.escape_ascii());
            // However it is cut.
            let mut scan = Scan::default();
            let mut found = Ok(None);
            for end in 0..=input.len() {
                found = scan.end(&input[..end], &BOUNDS);
                if found != Ok(None) {
                    break;
                }
            }
            assert_eq!(found, *want, "{} byte by byte", input.escape_ascii());
        }
    }

    #[test]
    fn the_whole_is_named_where_it_is_as_short_as_the_line() {
        let bounds = Bounds {
            whole: (16, Error::HeadTooLarge(16)),
            ..BOUNDS
        };
        let long = Scan::default().end(&[b'a'; 17], &bounds);
        assert_eq!(long, Err(Error::HeadTooLarge(16)));
        assert_eq!(Scan::default().end(&[b'a'; 16], &bounds), Ok(None));
    }

    #[test]
    fn controls_are_found_wherever_they_stand() {
        for byte in 0..=u8::MAX {
            for at in [0, 7, 40, 99] {
                let mut section = [b'a'; 100];
                section[at] = byte;
                let wanted = byte.is_ascii_control() && !b"\t\r\n".contains(&byte);
                assert_eq!(control(&section), wanted.then_some(byte));
                // Two do not undo each other.
                section[50] = byte;
                assert_eq!(control(&section), wanted.then_some(byte));
            }
        }
    }
}
