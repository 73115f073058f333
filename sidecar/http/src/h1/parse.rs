//! Heads (RFC 9112 sections 3 to 5): what the scan has found whole becomes a head of slices of one buffer.
//!
//! The parser is httparse. Before it stand checks of the raw bytes, for all that it forgives; behind it stands that it
//! has read the same lines.

use std::mem::MaybeUninit;

use bytes::Bytes;
use httparse::{Header, ParserConfig, Status};
use memchr::memchr;

use super::error::Error;
use super::framing::{Facts, Framing, Nominated};
use super::limits::{Limits, MAX_FIELDS};
use super::scan;
use super::target;
use crate::fields::Fields;
use crate::head::{Method, RequestHead, ResponseHead, Scheme, Version};

/// A request head, and what it says of its body and its connection.
pub(super) struct Request {
    pub(super) head: RequestHead,
    pub(super) message: Message,
    pub(super) expects: bool,
    pub(super) nominated: Nominated,
}

/// A response head, likewise.
pub(super) struct Response {
    pub(super) head: ResponseHead,
    pub(super) message: Message,
    pub(super) nominated: Nominated,
}

/// What a head says of its body and its connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Message {
    /// Where it says that its body ends; `None` says nothing.
    pub(super) framing: Option<Framing>,
    pub(super) persists: bool,
    pub(super) upgrade: bool,
}

/// A request that is refused, and what could be read of it all the same: for the answer's form, and for logs.
#[derive(Debug)]
pub struct Refused {
    /// Why.
    pub error: Error,
    /// Its method, where there was one.
    pub method: Option<Method>,
    /// Its target, as it came.
    pub target: Option<Bytes>,
    /// Its fields, those before the one that was wrong.
    pub fields: Fields,
    /// The version that it says, where it says one that is known.
    pub(super) version: Option<Version>,
    /// What it says of its body and its connection, where that is beyond doubt.
    pub(super) message: Option<(Version, Message, bool)>,
}

impl Refused {
    /// A refusal before anything is known.
    pub(super) fn early(error: Error, fields: Fields) -> Self {
        Self {
            error,
            method: None,
            target: None,
            fields,
            version: None,
            message: None,
        }
    }
}

/// Reads the request head that `raw` is, from its first line to the empty one. `fields` is empty and brings its room.
pub(super) fn request(
    raw: &Bytes,
    fields: Fields,
    scheme: Scheme,
    limits: &Limits,
) -> Result<Request, Box<Refused>> {
    let mut seen = Refused::early(Error::Ambiguous, fields);
    read_request(raw, &mut seen, scheme, limits).map_err(|error| {
        seen.error = error;
        Box::new(seen)
    })
}

fn read_request(
    raw: &Bytes,
    seen: &mut Refused,
    scheme: Scheme,
    limits: &Limits,
) -> Result<Request, Error> {
    if let Some(control) = scan::control(raw) {
        return Err(Error::Control(control));
    }
    let [method, target, version] = request_line(raw)?;
    seen.target = Some(raw.slice_ref(target));
    seen.method = Some(Method::parse(method).map_err(|_| Error::Method)?);
    let spoken = version_of(version);
    seen.version = spoken.ok();
    if target.len() > limits.target {
        return Err(Error::TargetTooLong(limits.target));
    }
    let version = spoken?;

    let mut room = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut parsed = httparse::Request::new(&mut []);
    let parsing = ParserConfig::default().parse_request_with_uninit_headers(
        &mut parsed,
        raw,
        &mut room[..limits.fields()],
    );
    whole(parsing, raw, limits)?;
    if parsed.method.map(str::as_bytes) != Some(method)
        || parsed.path.map(str::as_bytes) != Some(target)
        || parsed.version != Some(u8::from(version == Version::Http11))
    {
        return Err(Error::Ambiguous);
    }
    let mut facts = Facts::default();
    seen.fields.reserve(parsed.headers.len());
    for header in &*parsed.headers {
        let share = |value: &[u8]| raw.slice_ref(value);
        if facts.note(header.name.as_bytes(), header.value, share)? {
            push(raw, header, &mut seen.fields, limits)?;
        }
    }
    let nominated = facts.nominated(&seen.fields);
    nominated.drop_from(&mut seen.fields);

    // From here on the request ends where it says, and what is wrong with it is its own.
    let framing = facts.framing(version)?.unwrap_or(Framing::None);
    let message = Message {
        framing: Some(framing),
        persists: facts.persists(version),
        upgrade: facts.upgrade(version),
    };
    let expects = facts.expects(version, framing)?;
    if let Framing::Length(bytes) = framing
        && bytes > limits.body
    {
        return Err(Error::BodyTooLarge(limits.body));
    }
    let authority = target::host(facts.host.as_ref(), version)?;
    seen.message = Some((version, message, expects));
    let method = seen.method.clone().ok_or(Error::Method)?;
    if !method.is_passed_on() {
        let tunnel = method.as_str().eq_ignore_ascii_case("CONNECT");
        return Err(Error::NotServed { tunnel });
    }
    let target = target::read(&raw.slice_ref(target), &method, authority, scheme)?;
    Ok(Request {
        head: RequestHead {
            method,
            scheme,
            authority: target.authority,
            path: target.path,
            query: target.query,
            version,
            fields: std::mem::take(&mut seen.fields),
        },
        message,
        expects,
        nominated,
    })
}

/// Reads the response head that `raw` is. `fields` is empty and brings its room.
pub(super) fn response(
    raw: &Bytes,
    mut fields: Fields,
    limits: &Limits,
) -> Result<Response, Error> {
    if let Some(control) = scan::control(raw) {
        return Err(Error::Control(control));
    }
    let (version, status) = status_line(raw)?;
    let mut room = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut parsed = httparse::Response::new(&mut []);
    let parsing = ParserConfig::default().parse_response_with_uninit_headers(
        &mut parsed,
        raw,
        &mut room[..limits.fields()],
    );
    whole(parsing, raw, limits)?;
    if parsed.code != Some(status) || parsed.version != Some(u8::from(version == Version::Http11)) {
        return Err(Error::Ambiguous);
    }
    let mut facts = Facts::default();
    fields.reserve(parsed.headers.len());
    for header in &*parsed.headers {
        facts.note_any(header.name.as_bytes(), header.value)?;
        push(raw, header, &mut fields, limits)?;
    }
    let nominated = facts.nominated(&fields);
    nominated.drop_from(&mut fields);
    Ok(Response {
        head: ResponseHead { status, fields },
        message: Message {
            framing: facts.framing(version)?,
            persists: facts.persists(version),
            upgrade: facts.upgrade(version),
        },
        nominated,
    })
}

/// Reads the trailer section that `raw` is, from its first line to the empty one.
pub(super) fn trailers(raw: &Bytes, limits: &Limits) -> Result<Fields, Error> {
    if let Some(control) = scan::control(raw) {
        return Err(Error::Control(control));
    }
    let mut room = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let parsing = httparse::parse_headers(raw, &mut room[..limits.fields()]);
    let (length, parsed) = match parsing {
        Ok(Status::Complete(parsed)) => parsed,
        Ok(Status::Partial) => return Err(Error::Ambiguous),
        Err(error) => return Err(reason(error, limits)),
    };
    if length != raw.len() {
        return Err(Error::Ambiguous);
    }
    let mut fields = Fields::with_capacity(parsed.len());
    for header in parsed {
        push(raw, header, &mut fields, limits)?;
    }
    Ok(fields)
}

/// `method SP request-target SP HTTP-version` (RFC 9112 section 3), with no other space: the recipient that splits at any
/// white space reads another target.
fn request_line(raw: &[u8]) -> Result<[&[u8]; 3], Error> {
    let line = first_line(raw);
    let space = |text: &[u8]| memchr(b' ', text).ok_or(Error::RequestLine);
    let (method, rest) = line.split_at(space(line)?);
    let rest = &rest[1..];
    let (target, rest) = rest.split_at(space(rest)?);
    let version = &rest[1..];
    if method.is_empty() || target.is_empty() || memchr(b' ', version).is_some() {
        return Err(Error::RequestLine);
    }
    // A tab is no space, and no part of a target: it must not be left to the parser what it is.
    if memchr(b'\t', line).is_some() {
        return Err(Error::RequestLine);
    }
    Ok([method, target, version])
}

/// The method that `raw` begins with, which is refused before its head is whole: whatever is wrong with it stands behind.
pub(super) fn method(raw: &[u8]) -> Option<Method> {
    let begin = &raw[..raw.len().min(Method::MAX_BYTES + 1)];
    Method::parse(&begin[..memchr(b' ', begin)?]).ok()
}

/// `HTTP-version SP status-code SP [ reason-phrase ]` (RFC 9112 section 4). The last space is missing in the wild where
/// there is no phrase; nothing else can be meant.
fn status_line(raw: &[u8]) -> Result<(Version, u16), Error> {
    let line = first_line(raw);
    let (version, rest) = line.split_at_checked(8).ok_or(Error::StatusLine)?;
    let version = version_of(version)?;
    let [b' ', digits @ ..] = rest else {
        return Err(Error::StatusLine);
    };
    let (code, phrase) = digits.split_at_checked(3).ok_or(Error::StatusLine)?;
    if !matches!(phrase.first(), None | Some(b' ')) || !code.iter().all(u8::is_ascii_digit) {
        return Err(Error::StatusLine);
    }
    let status = code
        .iter()
        .fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'));
    if (100..600).contains(&status) {
        Ok((version, status))
    } else {
        Err(Error::Status)
    }
}

fn first_line(raw: &[u8]) -> &[u8] {
    &raw[..memchr(b'\r', raw).unwrap_or(raw.len())]
}

/// `HTTP/1.1` and `HTTP/1.0`, in capitals and with one digit each (RFC 9112 section 2.3).
fn version_of(raw: &[u8]) -> Result<Version, Error> {
    match raw {
        b"HTTP/1.1" => Ok(Version::Http11),
        b"HTTP/1.0" => Ok(Version::Http10),
        [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'] => Err(Error::Version),
        _ => Err(Error::VersionToken),
    }
}

/// The parser has read all of `raw`, and nothing but it.
fn whole(parsing: httparse::Result<usize>, raw: &[u8], limits: &Limits) -> Result<(), Error> {
    match parsing {
        Ok(Status::Complete(length)) if length == raw.len() => Ok(()),
        Ok(_) => Err(Error::Ambiguous),
        Err(error) => Err(reason(error, limits)),
    }
}

fn reason(error: httparse::Error, limits: &Limits) -> Error {
    match error {
        httparse::Error::HeaderName => Error::FieldName,
        httparse::Error::HeaderValue => Error::FieldValue,
        httparse::Error::TooManyHeaders => Error::TooManyFields(limits.fields()),
        httparse::Error::Status => Error::StatusLine,
        httparse::Error::Token => Error::RequestLine,
        httparse::Error::Version => Error::VersionToken,
        httparse::Error::NewLine => Error::Ambiguous,
    }
}

fn push(
    raw: &Bytes,
    header: &Header<'_>,
    fields: &mut Fields,
    limits: &Limits,
) -> Result<(), Error> {
    if header.name.len() > limits.name {
        return Err(Error::NameTooLong(limits.name));
    }
    fields.push(
        raw.slice_ref(header.name.as_bytes()),
        raw.slice_ref(header.value),
    );
    Ok(())
}
