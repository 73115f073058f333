//! A body as it arrives (RFC 9112 sections 6 and 7): slices of what was read go out, nothing is copied.

use bytes::{Buf, Bytes, BytesMut};

use super::chunk::Line;
use super::error::Error;
use super::framing::Framing;
use super::limits::Limits;
use super::parse;
use super::scan::{Bounds, Scan};
use crate::fields::Fields;

/// What comes next of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Some of its bytes, at least one.
    Data(Bytes),
    /// Its trailers, where there are any; the end follows.
    Trailers(Fields),
    /// It has ended, and is said to at each further call.
    End,
    /// More must be read.
    More,
}

/// Reads one body.
#[derive(Clone, Copy, Debug)]
pub struct Body {
    state: State,
    received: u64,
    /// Bytes of chunk extensions read over.
    extensions: usize,
    /// What may still be read, framing and trailers included, of one that nobody wants.
    left: u64,
    limits: Limits,
}

/// What stands at the front of the buffer.
enum Step {
    /// So many bytes of the body, which are counted and not taken yet.
    Data(usize),
    Trailers(Fields),
    End,
    More,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Ended,
    UntilClose,
    Length(u64),
    Chunk(Chunk),
    Broken(Error),
}

/// Where in a chunked body.
#[derive(Clone, Copy, Debug)]
enum Chunk {
    Line(Line),
    Data(u64),
    DataCr,
    DataLf,
    Trailers(Scan),
}

impl Chunk {
    /// Whether the next bytes are data or trailers, not the framing between them.
    const fn is_content(self) -> bool {
        matches!(self, Self::Data(_) | Self::Trailers(_))
    }
}

impl Body {
    /// A body that ends as `framing` says.
    pub fn new(framing: Framing, limits: &Limits) -> Self {
        let state = match framing {
            Framing::None | Framing::Length(0) => State::Ended,
            Framing::Length(bytes) => State::Length(bytes),
            Framing::UntilClose => State::UntilClose,
            Framing::Chunked => State::Chunk(Chunk::Line(Line::default())),
        };
        Self {
            state,
            received: 0,
            extensions: 0,
            left: u64::MAX,
            limits: *limits,
        }
    }

    /// Takes the next part from the front of `buffer`, which keeps what cannot be taken yet.
    ///
    /// # Errors
    /// What is wrong with it: nothing that follows on this connection can be read, and each further call says so again.
    pub fn next(&mut self, buffer: &mut BytesMut) -> Result<Part, Error> {
        Ok(match self.checked(buffer)? {
            Step::Data(length) => Part::Data(buffer.split_to(length).freeze()),
            Step::Trailers(trailers) => Part::Trailers(trailers),
            Step::End => Part::End,
            Step::More => Part::More,
        })
    }

    /// Nobody wants the rest: no more of it is read than [`Limits::drain`].
    pub(super) fn abandon(&mut self) {
        self.left = self.limits.drain;
    }

    /// Reads over all of it that `buffer` begins with: [`Part::End`] or [`Part::More`].
    pub(super) fn skip(&mut self, buffer: &mut BytesMut) -> Result<Part, Error> {
        loop {
            match self.checked(buffer)? {
                Step::Data(length) => buffer.advance(length),
                Step::Trailers(_) => {}
                Step::End => return Ok(Part::End),
                Step::More => return Ok(Part::More),
            }
        }
    }

    fn checked(&mut self, buffer: &mut BytesMut) -> Result<Step, Error> {
        let step = self.step(buffer);
        if let Err(error) = step {
            self.state = State::Broken(error);
        }
        step
    }

    /// What the end of the connection means: the end of a body that ends so, or a body that is cut.
    ///
    /// # Errors
    /// [`Error::Truncated`].
    pub fn end_of_input(&mut self) -> Result<(), Error> {
        match self.state {
            State::Ended => Ok(()),
            State::UntilClose => {
                self.state = State::Ended;
                Ok(())
            }
            State::Broken(error) => Err(error),
            State::Length(_) | State::Chunk(_) => Err(Error::Truncated),
        }
    }

    /// Whether all has been read.
    pub fn has_ended(&self) -> bool {
        matches!(self.state, State::Ended)
    }

    /// The bytes read so far, without framing.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// The bytes still to come, where that is known.
    pub fn remaining(&self) -> Option<u64> {
        match self.state {
            State::Ended => Some(0),
            State::Length(left) => Some(left),
            State::UntilClose | State::Chunk(_) | State::Broken(_) => None,
        }
    }

    fn step(&mut self, buffer: &mut BytesMut) -> Result<Step, Error> {
        loop {
            match self.state {
                State::Ended => return Ok(Step::End),
                State::Broken(error) => return Err(error),
                State::UntilClose => return self.data(buffer, u64::MAX),
                State::Length(left) => {
                    let step = self.data(buffer, left)?;
                    if let Step::Data(length) = step {
                        self.state = match left - length as u64 {
                            0 => State::Ended,
                            left => State::Length(left),
                        };
                    }
                    return Ok(step);
                }
                State::Chunk(Chunk::Data(left)) => {
                    let step = self.data(buffer, left)?;
                    if let Step::Data(length) = step {
                        self.state = State::Chunk(match left - length as u64 {
                            0 => Chunk::DataCr,
                            left => Chunk::Data(left),
                        });
                    }
                    return Ok(step);
                }
                State::Chunk(Chunk::Trailers(mut scan)) => {
                    let Some(end) = scan.end(buffer, &self.trailer_bounds())? else {
                        self.state = State::Chunk(Chunk::Trailers(scan));
                        return Ok(Step::More);
                    };
                    self.left -= end as u64;
                    let section = buffer.split_to(end).freeze();
                    self.state = State::Ended;
                    if &section[..] != b"\r\n" {
                        return parse::trailers(&section, &self.limits).map(Step::Trailers);
                    }
                }
                State::Chunk(mut chunk) => {
                    let mut taken = 0;
                    while let (false, Some(&byte)) = (chunk.is_content(), buffer.get(taken)) {
                        self.left = self.left.checked_sub(1).ok_or_else(|| self.abandoned())?;
                        chunk = self.chunk(chunk, byte)?;
                        taken += 1;
                    }
                    buffer.advance(taken);
                    self.state = State::Chunk(chunk);
                    if !chunk.is_content() {
                        return Ok(Step::More);
                    }
                }
            }
        }
    }

    /// What follows `byte`, of the framing between the data of chunks.
    fn chunk(&mut self, chunk: Chunk, byte: u8) -> Result<Chunk, Error> {
        match (chunk, byte) {
            (Chunk::Line(mut line), _) => {
                let size = line.next(byte)?;
                self.extensions += usize::from(line.is_extension());
                if self.extensions > self.limits.extensions {
                    return Err(Error::ChunkExtensionsTooLong(self.limits.extensions));
                }
                Ok(match size {
                    None => Chunk::Line(line),
                    Some(0) => Chunk::Trailers(Scan::default()),
                    Some(size) => Chunk::Data(size),
                })
            }
            (Chunk::DataCr, b'\r') => Ok(Chunk::DataLf),
            (Chunk::DataLf, b'\n') => Ok(Chunk::Line(Line::default())),
            _ => Err(Error::ChunkEnd),
        }
    }

    fn data(&mut self, buffer: &BytesMut, most: u64) -> Result<Step, Error> {
        if buffer.is_empty() {
            return Ok(Step::More);
        }
        // All that may be taken is, so that the same bytes go out however they were cut into reads.
        let allowed = self.limits.body.saturating_sub(self.received);
        let most = most.min(allowed).min(self.left);
        if most == 0 {
            return Err(if allowed == 0 {
                Error::BodyTooLarge(self.limits.body)
            } else {
                self.abandoned()
            });
        }
        let length = usize::try_from(most).map_or(buffer.len(), |most| most.min(buffer.len()));
        self.received += length as u64;
        self.left -= length as u64;
        Ok(Step::Data(length))
    }

    /// More of it than is read of one that nobody wants.
    fn abandoned(&self) -> Error {
        Error::BodyTooLarge(self.limits.drain)
    }

    fn trailer_bounds(&self) -> Bounds {
        let trailers = self.limits.trailers;
        let whole = match usize::try_from(self.left) {
            Ok(left) if left < trailers => (left, self.abandoned()),
            _ => (trailers, Error::TrailersTooLarge(trailers)),
        };
        Bounds {
            whole,
            fields: self.limits.fields(),
            first: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(body: &mut Body, bytes: &str) -> (String, Result<Part, Error>) {
        let (mut buffer, mut content) = (BytesMut::from(bytes), String::new());
        loop {
            match body.next(&mut buffer) {
                Ok(Part::Data(data)) => content += std::str::from_utf8(&data).unwrap(),
                other => return (content, other),
            }
        }
    }

    #[test]
    fn a_body_counts_what_it_is_and_knows_what_is_left() {
        let limits = Limits::default();
        for (framing, bytes, content, last, remaining) in [
            (Framing::None, "x", "", Ok(Part::End), Some(0)),
            (Framing::Length(0), "x", "", Ok(Part::End), Some(0)),
            (Framing::Length(3), "abcd", "abc", Ok(Part::End), Some(0)),
            (Framing::Length(9), "abcd", "abcd", Ok(Part::More), Some(5)),
            (Framing::UntilClose, "abcd", "abcd", Ok(Part::More), None),
            (
                Framing::Chunked,
                "3\r\nabc\r\n2\r\nd",
                "abcd",
                Ok(Part::More),
                None,
            ),
            (
                Framing::Chunked,
                "3\r\nabc\r\n0\r\n\r\n",
                "abc",
                Ok(Part::End),
                Some(0),
            ),
            (
                Framing::Chunked,
                "3\r\nabcX",
                "abc",
                Err(Error::ChunkEnd),
                None,
            ),
        ] {
            let mut body = Body::new(framing, &limits);
            let ended = last == Ok(Part::End);
            assert_eq!(
                all(&mut body, bytes),
                (content.to_owned(), last.clone()),
                "{framing:?}"
            );
            assert_eq!(body.received(), content.len() as u64);
            assert_eq!(body.remaining(), remaining);
            assert_eq!(body.has_ended(), ended);
            let end = body.end_of_input();
            assert_eq!(
                end.is_ok(),
                ended || framing == Framing::UntilClose,
                "{framing:?}"
            );
            if last.is_err() {
                // What is broken stays so.
                assert_eq!(end, Err(Error::ChunkEnd));
                assert_eq!(all(&mut body, "\r\n").1, last);
            }
        }
    }
}
