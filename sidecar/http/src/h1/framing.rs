//! Where a message's body ends, and what its head says of the connection (RFC 9112 sections 6 and 9, RFC 9110 section 7).

use std::collections::HashSet;

use bytes::Bytes;

use super::error::Error;
use crate::fields::{Fields, is_token_byte};
use crate::head::Version;

/// Where a received body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    None,
    /// After so many bytes.
    Length(u64),
    /// With a chunk of no length, and trailers.
    Chunked,
    /// When the sender closes: responses alone.
    UntilClose,
}

/// How long a body is, as its sender knows it before it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// There is none, and nothing is said of it.
    None,
    /// So many bytes. With a response to HEAD, or a 304, what GET would bring: none is sent.
    Known(u64),
    /// It ends when it ends.
    Unknown,
}

impl From<Framing> for Length {
    /// As it was received, it is passed on: `Content-Length: 0` stays said, and a length that nobody said stays unsaid.
    fn from(framing: Framing) -> Self {
        match framing {
            Framing::None => Self::None,
            Framing::Length(bytes) => Self::Known(bytes),
            Framing::Chunked | Framing::UntilClose => Self::Unknown,
        }
    }
}

/// The longest length that anybody means: 2^63 - 1, since many hold lengths in signed words.
pub(super) const LONGEST: u64 = i64::MAX as u64;

/// What a head says in fields that are of the message and its connection, gathered while they pass by.
#[derive(Default)]
pub(super) struct Facts {
    pub(super) host: Option<Bytes>,
    length: Option<u64>,
    codings: Codings,
    pub(super) close: bool,
    pub(super) keep_alive: bool,
    upgrade_option: bool,
    upgrade: bool,
    nominates: bool,
    expects: bool,
    unknown_expectation: bool,
}

#[derive(Default)]
struct Codings {
    lines: usize,
    all: usize,
    chunked: usize,
    last_is_chunked: bool,
}

impl Facts {
    /// Takes a line of a request in; whether it stays among the fields. `Host` does not: what it says is in the authority.
    /// `share` makes shared bytes of a value.
    pub(super) fn note(
        &mut self,
        name: &[u8],
        value: &[u8],
        share: impl FnOnce(&[u8]) -> Bytes,
    ) -> Result<bool, Error> {
        if name.eq_ignore_ascii_case(b"host") {
            if self.host.replace(share(value)).is_some() {
                return Err(Error::HostRepeated);
            }
            return Ok(false);
        }
        self.note_any(name, value).map(|()| true)
    }

    /// Takes a line in.
    pub(super) fn note_any(&mut self, name: &[u8], value: &[u8]) -> Result<(), Error> {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        match name.len() {
            6 if is("expect") => {
                let known = value.eq_ignore_ascii_case(b"100-continue") && !self.expects;
                self.expects |= known;
                self.unknown_expectation |= !known;
            }
            7 if is("upgrade") => self.upgrade |= !value.is_empty(),
            10 if is("connection") => self.connection(value),
            14 if is("content-length") => self.length(value)?,
            17 if is("transfer-encoding") => self.codings.note(value)?,
            _ => {}
        }
        Ok(())
    }

    fn length(&mut self, value: &[u8]) -> Result<(), Error> {
        match self.length.replace(length(value)?) {
            None => Ok(()),
            Some(_) => Err(Error::LengthRepeated),
        }
    }

    fn connection(&mut self, value: &[u8]) {
        for option in value.split(|&b| b == b',').map(<[u8]>::trim_ascii) {
            let is = |known: &str| option.eq_ignore_ascii_case(known.as_bytes());
            match option.len() {
                0 => {}
                5 if is("close") => self.close = true,
                7 if is("upgrade") => self.upgrade_option = true,
                10 if is("keep-alive") => self.keep_alive = true,
                _ => self.nominates = true,
            }
        }
    }

    /// Where the message says that its body ends (RFC 9112 section 6.3, items 3 to 6); `None` says nothing.
    pub(super) fn framing(&self, version: Version) -> Result<Option<Framing>, Error> {
        if self.codings.lines == 0 {
            return Ok(self.length.map(Framing::Length));
        }
        if self.length.is_some() {
            return Err(Error::LengthAndCoding);
        }
        if version == Version::Http10 {
            return Err(Error::CodingInHttp10);
        }
        self.codings.framing().map(Some)
    }

    /// Whether the sender lets the connection go on (RFC 9112 section 9.3).
    pub(super) fn persists(&self, version: Version) -> bool {
        !self.close && (version != Version::Http10 || self.keep_alive)
    }

    /// The fields that `Connection`, among `fields`, names.
    pub(super) fn nominated(&self, fields: &Fields) -> Nominated {
        let mut options = Vec::new();
        if self.nominates {
            for value in fields.get_all("connection") {
                options.extend(value.to_ascii_lowercase());
                options.push(b',');
            }
        }
        Nominated(options)
    }

    /// Whether another protocol is asked for. Not in HTTP/1.0 (RFC 9110 section 7.8), and not by a field alone that the
    /// connection does not name.
    pub(super) fn upgrade(&self, version: Version) -> bool {
        self.upgrade && self.upgrade_option && version != Version::Http10
    }

    /// Whether the sender waits for a 100 (RFC 9110 section 10.1.1: not in HTTP/1.0, nor without a body).
    pub(super) fn expects(&self, version: Version, framing: Framing) -> Result<bool, Error> {
        if self.unknown_expectation {
            return Err(Error::Expectation);
        }
        let has_body = !matches!(framing, Framing::None | Framing::Length(0));
        Ok(self.expects && has_body && version != Version::Http10)
    }
}

/// The fields of a message that are of the connection that it came by alone, since its `Connection` names them (RFC 9110
/// section 7.6.1): a list in small letters.
#[derive(Debug, Default)]
pub(super) struct Nominated(Vec<u8>);

impl Nominated {
    /// Takes them out of `fields`, as they arrive: what is added for the next hop is not the sender's to take out. What is
    /// known of the connection stays, for whoever writes a head leaves it out himself.
    pub(super) fn drop_from(&self, fields: &mut Fields) {
        if self.0.is_empty() {
            return;
        }
        let named: HashSet<&[u8]> = self
            .0
            .split(|&b| b == b',')
            .map(<[u8]>::trim_ascii)
            .collect();
        fields.retain(|field| {
            is_of_the_connection(&field.name)
                || !named.contains(field.name.to_ascii_lowercase().as_slice())
        });
    }
}

impl Codings {
    fn note(&mut self, value: &[u8]) -> Result<(), Error> {
        self.lines += 1;
        for coding in value.split(|&b| b == b',') {
            let coding = trim_ows(coding);
            // Parameters are no part of any coding that is known, and `chunked` has none.
            if coding.is_empty() || !coding.iter().copied().all(is_token_byte) {
                return Err(Error::Coding);
            }
            self.all += 1;
            self.last_is_chunked = coding.eq_ignore_ascii_case(b"chunked");
            self.chunked += usize::from(self.last_is_chunked);
        }
        Ok(())
    }

    fn framing(&self) -> Result<Framing, Error> {
        if self.chunked > 1 {
            Err(Error::CodingRepeated)
        } else if !self.last_is_chunked {
            Err(Error::CodingNotChunked)
        } else if self.all > 1 {
            Err(Error::CodingUnknown)
        } else {
            Ok(Framing::Chunked)
        }
    }
}

/// `Content-Length = 1*DIGIT` (RFC 9110 section 8.6). The list of equal numbers that section 8.6 lets a recipient mend is
/// refused: nobody sends it who means well.
fn length(value: &[u8]) -> Result<u64, Error> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(Error::Length);
    }
    value
        .iter()
        .try_fold(0_u64, |sum, digit| {
            sum.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
        })
        .filter(|&sum| sum <= LONGEST)
        .ok_or(Error::LengthTooLarge)
}

fn trim_ows(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    text
}

/// Whether a line of this name says where a message ends, or is about one connection: whoever writes a head says it anew.
pub(super) fn is_of_the_connection(name: &[u8]) -> bool {
    let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
    match name.len() {
        2 => is("te"),
        7 => is("upgrade"),
        10 => is("connection") || is("keep-alive"),
        14 => is("content-length"),
        16 => is("proxy-connection"),
        17 => is("transfer-encoding"),
        _ => false,
    }
}

/// The same with `Host`, which a request's authority says.
pub(super) fn is_the_messages_own(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"host") || is_of_the_connection(name)
}

/// What may not come behind a body (RFC 9110 section 6.5.1), since it frames, routes, modifies, authenticates or describes
/// a message that has been acted on by then; and what a proxy says of the one before it.
const NO_TRAILERS: [&str; 43] = [
    "accept-encoding",
    "age",
    "authentication-info",
    "authorization",
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-location",
    "content-range",
    "content-type",
    "cookie",
    "date",
    "expect",
    "expires",
    "forwarded",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "last-modified",
    "location",
    "max-forwards",
    "origin",
    "pragma",
    "proxy-authenticate",
    "proxy-authentication-info",
    "proxy-authorization",
    "range",
    "referer",
    "retry-after",
    "set-cookie",
    "strict-transport-security",
    "trailer",
    "vary",
    "via",
    "warning",
    "www-authenticate",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-real-ip",
];

/// Whether a line of this name is left out of trailers.
pub(super) fn is_no_trailer(name: &[u8]) -> bool {
    is_the_messages_own(name)
        || NO_TRAILERS
            .iter()
            .any(|known| name.eq_ignore_ascii_case(known.as_bytes()))
}

/// The protocol to change to that `fields` name, in all their `Upgrade` lines together, where it is one alone: of several
/// each hop might choose another.
pub(super) fn protocol(fields: &Fields) -> Option<Bytes> {
    let mut found = None;
    for value in fields.get_all("upgrade") {
        for one in value.split(|&b| b == b',').map(trim_ows) {
            if one.is_empty() {
                continue;
            }
            if found.is_some() || !is_protocol(one) {
                return None;
            }
            found = Some(value.slice_ref(one));
        }
    }
    found
}

/// `protocol-name ["/" protocol-version]` (RFC 9110 section 7.8).
fn is_protocol(text: &[u8]) -> bool {
    let is_token = |part: &[u8]| !part.is_empty() && part.iter().copied().all(is_token_byte);
    let mut parts = text.split(|&b| b == b'/');
    parts.by_ref().take(2).all(is_token) && parts.next().is_none()
}

#[cfg(test)]
mod tests;
