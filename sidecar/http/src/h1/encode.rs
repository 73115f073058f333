//! Messages on their way out: heads, chunks and trailers, appended to a caller's buffer.
//!
//! Fields go out in the order and spelling that they have. Those that frame a message or belong to one connection do not
//! (`is_of_the_connection`): they are written here, from what is known of this message and this connection, so that no
//! field that anybody received or configured frames what we send.

use http::StatusCode;

use super::framing::{Length, is_no_trailer, is_of_the_connection, is_the_messages_own};
use crate::decimal;
use crate::fields::{Field, Fields, valid_name};
use crate::head::{RequestHead, Version};
use crate::path::valid_query;

/// Why something is not written. It is never the peer's fault: what is written was read and checked before, or made by us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// A name or value that would end its line: response splitting, if it were written (threats.md 27).
    #[error("a field, or the query, holds what it may not hold")]
    Field,
    /// A status outside 100 to 599, or one that does not fit: a final one where an interim is meant.
    #[error("the status is not one that can be sent here")]
    Status,
    /// CONNECT, TRACE or TRACK, or another than OPTIONS with `*`.
    #[error("the method is not one that is passed on")]
    Method,
    /// A head before its turn, data before a head, an upgrade that nobody asked for.
    #[error("it is not its turn")]
    Turn,
    /// More or fewer bytes of a body than its head says: the connection must be closed.
    #[error("the body is not as long as its head says")]
    Length,
}

/// What a head says of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said<'a> {
    /// Nothing: it goes on, as HTTP/1.1 does.
    None,
    Close,
    /// To HTTP/1.0, which would close.
    KeepAlive,
    /// It changes, or asks to change, to this protocol.
    Upgrade(&'a [u8]),
}

/// A body on its way out: what of it is still to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outgoing {
    /// No head has been written.
    Before,
    /// So many bytes.
    Length(u64),
    Chunked,
    UntilClose,
    /// To HEAD, and with 204 and 304: what is written is dropped.
    Silent,
    Ended,
}

/// The bytes that stand around some data of a body.
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    head: [u8; Self::HEAD],
    from: u8,
    is_chunk: bool,
    is_silent: bool,
}

impl Frame {
    /// 16 hex digits and CR LF.
    const HEAD: usize = 18;

    const fn bare(is_silent: bool) -> Self {
        Self {
            head: [0; Self::HEAD],
            from: Self::HEAD as u8,
            is_chunk: false,
            is_silent,
        }
    }

    fn chunk(mut length: u64) -> Self {
        let mut head = [b'0'; Self::HEAD];
        head[16..].copy_from_slice(b"\r\n");
        let mut from = 16;
        while length != 0 {
            from -= 1;
            head[from] = b"0123456789abcdef"[(length & 15) as usize];
            length >>= 4;
        }
        Self {
            head,
            from: from as u8,
            is_chunk: true,
            is_silent: false,
        }
    }

    /// What is sent before the data.
    pub fn before(&self) -> &[u8] {
        &self.head[usize::from(self.from)..]
    }

    /// What is sent behind them.
    pub fn after(&self) -> &'static [u8] {
        if self.is_chunk { b"\r\n" } else { b"" }
    }

    /// The data themselves are not to be sent: the response has no body, whatever its head says.
    pub fn is_silent(&self) -> bool {
        self.is_silent
    }
}

impl Outgoing {
    /// A body as its head announces it.
    pub(super) fn of(length: Length) -> Self {
        match length {
            Length::None | Length::Known(0) => Self::Length(0),
            Length::Known(bytes) => Self::Length(bytes),
            Length::Unknown => Self::Chunked,
        }
    }

    /// Frames `length` bytes that are sent next.
    pub(super) fn frame(&mut self, length: usize) -> Result<Frame, EncodeError> {
        let length = length as u64;
        match self {
            Self::Before | Self::Ended => Err(EncodeError::Turn),
            // A chunk of no length would be the last.
            Self::Chunked if length == 0 => Ok(Frame::bare(false)),
            Self::Chunked => Ok(Frame::chunk(length)),
            Self::UntilClose => Ok(Frame::bare(false)),
            Self::Silent => Ok(Frame::bare(true)),
            Self::Length(left) => {
                *left = left.checked_sub(length).ok_or(EncodeError::Length)?;
                Ok(Frame::bare(false))
            }
        }
    }

    /// Appends `data`, framed.
    pub(super) fn data(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let frame = self.frame(data.len())?;
        if !frame.is_silent() {
            out.extend_from_slice(frame.before());
            out.extend_from_slice(data);
            out.extend_from_slice(frame.after());
        }
        Ok(())
    }

    /// Ends the body. Trailers go out only where there is room for them, in a chunked body, and without those that mean
    /// nothing there.
    pub(super) fn end(&mut self, trailers: &Fields, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        match *self {
            Self::Before | Self::Ended => return Err(EncodeError::Turn),
            Self::Length(0) | Self::UntilClose | Self::Silent => {}
            Self::Length(_) => return Err(EncodeError::Length),
            Self::Chunked => {
                undone(out, |out| {
                    out.extend_from_slice(b"0\r\n");
                    fields(trailers, is_no_trailer, out)?;
                    out.extend_from_slice(b"\r\n");
                    Ok(())
                })?;
            }
        }
        *self = Self::Ended;
        Ok(())
    }
}

/// Appends a request head (RFC 9112 section 3.2): origin form, `Host` first (RFC 9110 section 7.2).
pub(super) fn request(
    head: &RequestHead,
    length: Length,
    option: Said<'_>,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    if !head.method.is_passed_on() {
        return Err(EncodeError::Method);
    }
    // RFC 9112 section 3.2.4: `*` is of OPTIONS, and has no query.
    if head.path.as_str() == "*" {
        if head.method.as_str() != "OPTIONS" {
            return Err(EncodeError::Method);
        }
        if head.query.is_some() {
            return Err(EncodeError::Field);
        }
    }
    if head.query.as_ref().is_some_and(|query| !valid_query(query)) {
        return Err(EncodeError::Field);
    }
    out.extend_from_slice(head.method.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(head.path.as_str().as_bytes());
    if let Some(query) = &head.query {
        out.push(b'?');
        out.extend_from_slice(query);
    }
    out.extend_from_slice(b" HTTP/1.1\r\nHost: ");
    // RFC 9112 section 3.2: empty where nobody is named.
    if let Some(authority) = &head.authority {
        authority.append(out);
    }
    out.extend_from_slice(b"\r\n");
    fields(&head.fields, is_the_messages_own, out)?;
    framing(length, out);
    connection(option, out);
    out.extend_from_slice(b"\r\n");
    Ok(())
}

/// Appends a response head. The version is ours, whatever the client's is (RFC 9110 section 6.2).
pub(super) fn response(
    status: u16,
    lines: &Fields,
    length: Length,
    option: Said<'_>,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    if !(100..600).contains(&status) {
        return Err(EncodeError::Status);
    }
    out.extend_from_slice(b"HTTP/1.1 ");
    decimal::append(u64::from(status), out);
    out.push(b' ');
    out.extend_from_slice(phrase(status).as_bytes());
    out.extend_from_slice(b"\r\n");
    fields(lines, is_of_the_connection, out)?;
    framing(length, out);
    connection(option, out);
    out.extend_from_slice(b"\r\n");
    Ok(())
}

/// Has `write` append to `out`, and nothing be appended when it fails.
pub(super) fn undone(
    out: &mut Vec<u8>,
    write: impl FnOnce(&mut Vec<u8>) -> Result<(), EncodeError>,
) -> Result<(), EncodeError> {
    let begin = out.len();
    let written = write(out);
    if written.is_err() {
        out.truncate(begin);
    }
    written
}

/// Who has no other way to say where a response without a length ends: HTTP/1.0 reads until the connection closes.
pub(super) fn is_chunkable(version: Version) -> bool {
    version != Version::Http10
}

/// Appends the lines that `is_out` does not name.
fn fields(lines: &Fields, is_out: fn(&[u8]) -> bool, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    for line in lines.iter().filter(|line| !is_out(&line.name)) {
        if !is_one_line(line) {
            return Err(EncodeError::Field);
        }
        out.extend_from_slice(&line.name);
        out.extend_from_slice(b": ");
        out.extend_from_slice(&line.value);
        out.extend_from_slice(b"\r\n");
    }
    Ok(())
}

/// Whether it is read as the line that it is. Without a way out in the loop, so that it runs over many bytes at a time.
fn is_one_line(line: &Field) -> bool {
    let is_control = |b: u8| ((b < 0x20) & (b != b'\t')) | (b == 0x7f);
    let held = line
        .value
        .iter()
        .fold(false, |held, &b| held | is_control(b));
    !held && valid_name(&line.name)
}

fn framing(length: Length, out: &mut Vec<u8>) {
    match length {
        Length::None => {}
        Length::Known(bytes) => {
            out.extend_from_slice(b"Content-Length: ");
            decimal::append(bytes, out);
            out.extend_from_slice(b"\r\n");
        }
        Length::Unknown => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
    }
}

fn connection(option: Said<'_>, out: &mut Vec<u8>) {
    if let Said::Upgrade(protocol) = option {
        out.extend_from_slice(b"Upgrade: ");
        out.extend_from_slice(protocol);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(match option {
        Said::None => b"",
        Said::Close => b"Connection: close\r\n",
        Said::KeepAlive => b"Connection: keep-alive\r\n",
        Said::Upgrade(_) => b"Connection: upgrade\r\n",
    });
}

/// The registered phrase of a status; nobody reads it but people.
fn phrase(status: u16) -> &'static str {
    StatusCode::from_u16(status)
        .ok()
        .and_then(|status| status.canonical_reason())
        .unwrap_or_default()
}
