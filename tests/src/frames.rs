//! HTTP/2 by hand, frame by frame: names and values that no library would send (RFC 9113, RFC 7541).

use std::io::{self, Read, Write};

use crate::client::{Target, Tls};

/// A connection on which nothing is sent but what is asked for.
pub struct Frames {
    stream: Tls,
    next: u32,
}

/// A request; its fields are sent in this order and spelt like this, pseudo-fields too.
#[derive(Clone, Debug, Default)]
pub struct Message {
    /// `:method`, `:scheme`, `:authority`, `:path` and whatever else, in this order.
    pub fields: Vec<(Vec<u8>, Vec<u8>)>,
    /// The content, in one DATA frame.
    pub body: Vec<u8>,
    /// Fields behind the content.
    pub trailers: Vec<(Vec<u8>, Vec<u8>)>,
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A whole answer: status and content.
    Answered(u16, Vec<u8>),
    /// RST_STREAM with this error code before an answer was whole.
    Reset(u32),
    /// GOAWAY with this error code: no further stream is served.
    Ended(u32),
    /// The connection is gone without a word.
    Closed,
}

impl Message {
    /// A request by these pseudo-fields.
    #[must_use]
    pub fn new(method: &str, authority: &str, path: &str) -> Self {
        Self::default()
            .field(":method", method)
            .field(":scheme", "https")
            .field(":authority", authority)
            .field(":path", path)
    }

    /// One more field.
    #[must_use]
    pub fn field(mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Self {
        let pair = (name.as_ref().to_vec(), value.as_ref().to_vec());
        self.fields.push(pair);
        self
    }
}

impl Frames {
    /// Connects, and tells the server to keep no table of fields: then its answers can be read without one.
    ///
    /// # Errors
    /// When the connection fails, or the server does not speak HTTP/2.
    pub fn connect(target: &Target) -> io::Result<Self> {
        let mut stream = target.tls(&["h2"])?;
        if stream.conn.alpn_protocol() != Some(b"h2") {
            return Err(io::Error::other("the server does not speak HTTP/2"));
        }
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")?;
        // SETTINGS_HEADER_TABLE_SIZE = 0
        stream.write_all(&frame(SETTINGS, 0, 0, &[0, 1, 0, 0, 0, 0]))?;
        Ok(Self { stream, next: 1 })
    }

    /// Sends a request on a stream of its own and waits for what comes of it.
    ///
    /// # Errors
    /// When the server answers with what is no HTTP/2, or keeps silent for too long.
    pub fn send(&mut self, message: &Message) -> io::Result<Outcome> {
        let id = self.next;
        self.next += 2;
        let bare = message.body.is_empty() && message.trailers.is_empty();
        let mut bytes = headers(id, &message.fields, bare);
        if !message.body.is_empty() {
            let last = if message.trailers.is_empty() {
                END_STREAM
            } else {
                0
            };
            bytes.append(&mut frame(DATA, last, id, &message.body));
        }
        if !message.trailers.is_empty() {
            bytes.append(&mut headers(id, &message.trailers, true));
        }
        // A server that has said goodbye may have closed by now; what it said can still be read.
        let _ = self.stream.write_all(&bytes).is_ok();
        self.outcome(id)
    }

    fn outcome(&mut self, id: u32) -> io::Result<Outcome> {
        let mut status = None;
        let mut body = Vec::new();
        loop {
            let frame = match self.read() {
                Ok(frame) => frame,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(error),
                Err(error) if error.kind() == io::ErrorKind::InvalidData => return Err(error),
                Err(_) => return Ok(Outcome::Closed),
            };
            match frame.kind {
                SETTINGS if frame.flags & ACK == 0 => {
                    let _ = self
                        .stream
                        .write_all(&self::frame(SETTINGS, ACK, 0, &[]))
                        .is_ok();
                }
                // A server may say that it will close, and still answer the streams that it names (section 6.8).
                GOAWAY if number(&frame.payload, 0)? < id || number(&frame.payload, 4)? != 0 => {
                    return Ok(Outcome::Ended(number(&frame.payload, 4)?));
                }
                RST_STREAM if frame.id == id => {
                    return Ok(Outcome::Reset(number(&frame.payload, 0)?));
                }
                HEADERS if frame.id == id && status.is_none() => {
                    status = Some(read_status(&frame.payload)?);
                }
                DATA if frame.id == id => body.extend_from_slice(&frame.payload),
                _ => {}
            }
            let last = matches!(frame.kind, HEADERS | DATA) && frame.flags & END_STREAM != 0;
            if last && frame.id == id {
                let status = status.ok_or_else(|| odd("content before a status"))?;
                return Ok(Outcome::Answered(status, body));
            }
        }
    }

    fn read(&mut self) -> io::Result<Frame> {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head)?;
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let mut payload = vec![0; length];
        self.stream.read_exact(&mut payload)?;
        Ok(Frame {
            kind: head[3],
            flags: head[4],
            id: number(&head, 5)? & 0x7fff_ffff,
            payload,
        })
    }
}

struct Frame {
    kind: u8,
    flags: u8,
    id: u32,
    payload: Vec<u8>,
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

/// What every peer takes (section 4.2).
const MAX_PAYLOAD: usize = 16_384;

fn frame(kind: u8, flags: u8, id: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short payload");
    let mut bytes = length.to_be_bytes()[1..].to_vec();
    bytes.extend_from_slice(&[kind, flags]);
    bytes.extend_from_slice(&id.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// HEADERS and as many CONTINUATIONs as it takes.
fn headers(id: u32, fields: &[(Vec<u8>, Vec<u8>)], last: bool) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        // Literal without indexing, a new name (RFC 7541, section 6.2.2).
        block.push(0);
        string(&mut block, name);
        string(&mut block, value);
    }
    let mut pieces: Vec<&[u8]> = block.chunks(MAX_PAYLOAD).collect();
    if pieces.is_empty() {
        pieces.push(&[]);
    }
    let count = pieces.len();
    let mut bytes = Vec::new();
    for (index, piece) in pieces.into_iter().enumerate() {
        let kind = if index == 0 { HEADERS } else { CONTINUATION };
        let mut flags = if index == 0 && last { END_STREAM } else { 0 };
        if index + 1 == count {
            flags |= END_HEADERS;
        }
        bytes.append(&mut frame(kind, flags, id, piece));
    }
    bytes
}

/// A string without Huffman coding (RFC 7541, section 5.2).
fn string(block: &mut Vec<u8>, text: &[u8]) {
    let mut length = text.len();
    if length < 127 {
        block.push(length as u8);
    } else {
        block.push(127);
        length -= 127;
        while length >= 128 {
            block.push((length % 128) as u8 | 128);
            length /= 128;
        }
        block.push(length as u8);
    }
    block.extend_from_slice(text);
}

/// `:status` stands first. Names and values of the static table (RFC 7541, appendix A), or a literal with its name.
fn read_status(mut block: &[u8]) -> io::Result<u16> {
    // Changes of the table's size come first (section 6.3); one that needs more than five bits goes on (5.1).
    while let [first @ 0x20..=0x3f, rest @ ..] = block {
        let more = rest.iter().take_while(|byte| **byte & 0x80 != 0).count() + 1;
        block = rest
            .get(if *first == 0x3f { more } else { 0 }..)
            .unwrap_or_default();
    }
    let status = |index: u8| Some([200, 204, 206, 304, 400, 404, 500][usize::from(index) - 8]);
    let found = match *block {
        [indexed, ..] if (0x88..=0x8e).contains(&indexed) => status(indexed & 0x7f),
        // With the name of an entry, indexed (6.2.1), not indexed or never (6.2.2, 6.2.3).
        [
            0x48..=0x4e | 0x08..=0x0e | 0x18..=0x1e,
            length,
            ref rest @ ..,
        ] => {
            let text = rest.get(..usize::from(length & 0x7f));
            text.and_then(|text| match length & 0x80 {
                0 => std::str::from_utf8(text).ok()?.parse().ok(),
                _ => digits(text)?.parse().ok(),
            })
        }
        _ => None,
    };
    found.ok_or_else(|| odd("no status in front"))
}

/// Three digits in Huffman coding (RFC 7541, appendix B): 0 to 2 have five bits, the others six.
fn digits(text: &[u8]) -> Option<String> {
    let bits: Vec<u8> = text
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1))
        .collect();
    let value = |bits: &[u8]| bits.iter().fold(0, |sum, bit| sum << 1 | bit);
    let mut rest = &bits[..];
    let mut found = String::new();
    while found.len() < 3 {
        let five = value(rest.get(..5)?);
        let (digit, length) = match five {
            0..=2 => (five, 5),
            12..=15 => (value(rest.get(..6)?) - 25 + 3, 6),
            _ => return None,
        };
        found.push(char::from(b'0' + digit));
        rest = &rest[length..];
    }
    Some(found)
}

fn number(bytes: &[u8], at: usize) -> io::Result<u32> {
    let four = bytes.get(at..at + 4).ok_or_else(|| odd("a short frame"))?;
    Ok(four.iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte)))
}

fn odd(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_read_in_every_form() {
        for (block, status) in [
            (&[0x88][..], 200),
            (&[0x20, 0x8c], 400),
            (&[0x3f, 0xe1, 0x1f, 0x8d], 404),
            (&[0x08, 3, b'4', b'2', b'1'], 421),
            // 4 = 011010, 0 = 00000, 1 = 00001
            (&[0x48, 0x82, 0b0110_1000, 0b0000_0001], 401),
            // 4 = 011010, 3 = 011001, 1 = 00001, padded with ones
            (&[0x08, 0x83, 0b0110_1001, 0b1001_0000, 0b1111_1111], 431),
        ] {
            let read = read_status(block);
            assert_eq!(read.ok(), Some(status), "{block:?}");
        }
        assert!(read_status(&[0x82]).is_err());
    }

    #[test]
    fn long_strings_have_their_length_in_pieces() {
        let mut block = Vec::new();
        string(&mut block, &[b'x'; 1337 + 127]);
        assert_eq!(block[..3], [127, 0b1011_1001, 10]);
    }
}
