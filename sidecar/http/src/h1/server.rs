//! The server's side of a connection: requests come in, responses go out, and what may follow is decided here.

use bytes::{Buf, Bytes, BytesMut};

use super::body::{Body, Part};
use super::encode::{self, EncodeError, Frame, Outgoing, Said, undone};
use super::error::Error;
use super::framing::{Framing, Length, Nominated, protocol};
use super::limits::Limits;
use super::parse::{self, Message, Refused};
use super::scan::{Bounds, Scan};
use crate::fields::{Fields, is_token_byte};
use crate::head::{Method, RequestHead, ResponseHead, Scheme, Version};

/// A request whose head has arrived.
#[derive(Debug)]
pub struct Request {
    /// Its head. `Host` is not among the fields: what it says, agreed with the target, is the authority.
    pub head: RequestHead,
    /// Where its body ends.
    pub framing: Framing,
    /// It asks to change to the one protocol that its `Upgrade` names, and may be answered with 101. Who names several
    /// has asked for none.
    pub upgrade: bool,
}

/// What may be done with the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The response is not written to its end.
    Respond,
    /// The next request may be read.
    Request,
    /// The rest of a request that is answered must be read over first: [`ServerConnection::receive_body`] until it says
    /// [`Part::End`], or an error, which closes.
    Drain,
    /// Nothing more is read as a request. Whoever closes while the client still sends loses it the answer: first end
    /// the writing side, then read for a while (RFC 9112 section 9.6).
    Close,
    /// The connection speaks another protocol; what is in the buffer belongs to it.
    Switched,
}

/// One connection to a client.
///
/// A request is read ([`Self::receive_head`], [`Self::receive_body`]) and answered ([`Self::encode_head`],
/// [`Self::encode_data`], [`Self::encode_end`]), in any interleaving; then [`Self::finish`] says what follows. Pipelined
/// requests wait in the caller's buffer: none is read before the answer to the one before it is whole.
#[derive(Debug)]
pub struct ServerConnection {
    scheme: Scheme,
    limits: Limits,
    scan: Scan,
    skipped_empty_line: bool,
    reading: Reading,
    /// What of the request's fields is the connection's.
    nominated: Nominated,
    writing: Outgoing,
    version: Version,
    is_head: bool,
    /// The client waits for a 100 before it sends its body.
    awaits_continue: bool,
    /// It asks for another protocol, or for several.
    upgrade: bool,
    /// The one that it asks for.
    protocol: Option<Bytes>,
    /// The next response whose head is written is the last.
    leaves: bool,
    closes: bool,
}

#[derive(Debug)]
enum Reading {
    Head,
    Body(Body),
    /// Of what nobody wants.
    Discard(Body),
    /// Nothing more can be read.
    Broken(Error),
    Switched,
}

impl ServerConnection {
    /// A connection that was just accepted.
    pub fn new(scheme: Scheme, limits: Limits) -> Self {
        Self {
            scheme,
            limits,
            scan: Scan::default(),
            skipped_empty_line: false,
            reading: Reading::Head,
            nominated: Nominated::default(),
            writing: Outgoing::Before,
            version: Version::Http11,
            is_head: false,
            awaits_continue: false,
            upgrade: false,
            protocol: None,
            leaves: false,
            closes: false,
        }
    }

    /// Takes a request head from the front of `buffer`; `None`: more must be read. `spare` are the fields of a request
    /// that is over: their room is used again. The head is slices of `buffer`, which uses its room again only when they are
    /// gone: clear `spare` when the request is over, not when the next one comes.
    ///
    /// # Errors
    /// Why there is no request. It may be answered all the same; if its error [`closes`](Error::closes), that is the last
    /// answer, and says so.
    pub fn receive_head(
        &mut self,
        buffer: &mut BytesMut,
        spare: &mut Fields,
    ) -> Result<Option<Request>, Box<Refused>> {
        match self.head_end(buffer) {
            Ok(None) => Ok(None),
            Ok(Some(end)) => {
                let raw = buffer.split_to(end).freeze();
                self.scan = Scan::default();
                self.skipped_empty_line = false;
                spare.clear();
                let fields = std::mem::take(spare);
                match parse::request(&raw, fields, self.scheme, &self.limits) {
                    Ok(request) => Ok(Some(self.begin(request))),
                    Err(refused) => Err(self.refuse(refused)),
                }
            }
            Err(error) => {
                let mut refused = Refused::early(error, Fields::new());
                refused.method = parse::method(buffer);
                Err(self.refuse(Box::new(refused)))
            }
        }
    }

    fn head_end(&mut self, buffer: &mut BytesMut) -> Result<Option<usize>, Error> {
        match self.reading {
            Reading::Head if !self.closes => {}
            Reading::Broken(error) => return Err(error),
            // Whoever asks out of turn gets nothing, and reads no body as a head.
            _ => return Ok(None),
        }
        // RFC 9112 section 2.2: one empty line, which old clients send behind a body.
        if !self.skipped_empty_line && buffer.starts_with(b"\r\n") {
            buffer.advance(2);
            self.skipped_empty_line = true;
        }
        match buffer.first() {
            None => return Ok(None),
            Some(&byte) if is_token_byte(byte) || b"\r\n \t".contains(&byte) => {}
            Some(_) => return Err(Error::Method),
        }
        let target = self.limits.target;
        let line = target.saturating_add(Method::MAX_BYTES + "  HTTP/1.1\r\n".len());
        let bounds = Bounds {
            whole: (self.limits.head, Error::HeadTooLarge(self.limits.head)),
            fields: self.limits.fields(),
            first: Some((line, Error::TargetTooLong(target))),
        };
        match self.scan.end(buffer, &bounds)? {
            Some(2) => Err(Error::EmptyLines),
            end => Ok(end),
        }
    }

    fn begin(&mut self, request: parse::Request) -> Request {
        self.is_head = request.head.method == Method::HEAD;
        self.begin_message(request.head.version, request.message, request.expects);
        self.nominated = request.nominated;
        if self.upgrade {
            self.protocol = protocol(&request.head.fields);
        }
        Request {
            head: request.head,
            framing: request.message.framing.unwrap_or(Framing::None),
            upgrade: self.protocol.is_some(),
        }
    }

    fn begin_message(&mut self, version: Version, message: Message, expects: bool) {
        let framing = message.framing.unwrap_or(Framing::None);
        self.version = version;
        self.closes |= !message.persists;
        self.upgrade = message.upgrade;
        self.protocol = None;
        self.awaits_continue = expects;
        self.reading = Reading::Body(Body::new(framing, &self.limits));
        self.writing = Outgoing::Before;
    }

    fn refuse(&mut self, refused: Box<Refused>) -> Box<Refused> {
        self.is_head = refused.method == Some(Method::HEAD);
        // Who has not said what it speaks gets nothing that an old one would not read.
        self.version = refused.version.unwrap_or(Version::Http10);
        match refused.message {
            Some((version, message, expects)) if !refused.error.closes() => {
                self.begin_message(version, message, expects);
                self.abandon_body();
            }
            _ => self.fail(refused.error),
        }
        refused
    }

    fn fail(&mut self, error: Error) {
        self.reading = Reading::Broken(error);
        self.closes = true;
        self.upgrade = false;
        self.protocol = None;
        self.awaits_continue = false;
    }

    /// Takes the next part of the request's body from the front of `buffer`, as [`Body::next`] does. A body that nobody
    /// wants ([`Self::abandon_body`]) is read over within [`Limits::drain`].
    ///
    /// # Errors
    /// What is wrong with it: the request cannot be served, and nothing follows it.
    pub fn receive_body(&mut self, buffer: &mut BytesMut) -> Result<Part, Error> {
        let mut part = match &mut self.reading {
            Reading::Head | Reading::Switched => return Ok(Part::End),
            Reading::Broken(error) => return Err(*error),
            Reading::Body(body) => body.next(buffer),
            Reading::Discard(body) => body.skip(buffer),
        };
        if let Ok(Part::Trailers(trailers)) = &mut part {
            self.nominated.drop_from(trailers);
        }
        match &part {
            Err(error) => self.fail(*error),
            Ok(Part::More) => {}
            // It waits no longer.
            Ok(_) => self.awaits_continue = false,
        }
        part
    }

    /// What the end of the client's sending means: `Ok` between requests and behind a whole one.
    /// Not to be called for a reset, behind which nobody reads an answer.
    ///
    /// # Errors
    /// [`Error::Truncated`], with the `buffered` bytes that were received and not taken, or in the middle of a body.
    pub fn end_of_input(&mut self, buffered: usize) -> Result<(), Error> {
        let ended = match &mut self.reading {
            Reading::Head if buffered == 0 => {
                self.closes = true;
                Ok(())
            }
            Reading::Head => {
                (self.is_head, self.version) = (false, Version::Http10);
                Err(Error::Truncated)
            }
            Reading::Switched => Ok(()),
            Reading::Body(body) | Reading::Discard(body) => body.end_of_input(),
            Reading::Broken(error) => Err(*error),
        };
        if let Err(error) = ended {
            self.fail(error);
        }
        ended
    }

    /// Whether the client waits for a 100 before it sends its body (RFC 9110 section 10.1.1): it should get one, by
    /// [`Self::encode_interim`], when the body is wanted.
    pub fn awaits_continue(&self) -> bool {
        self.awaits_continue && self.writing == Outgoing::Before
    }

    /// Nobody wants the rest of the request's body. Before the response's head is written that head says that the
    /// connection closes, if it must.
    pub fn abandon_body(&mut self) {
        if let Reading::Body(mut body) = self.reading {
            let is_too_long = body
                .remaining()
                .is_some_and(|left| left > self.limits.drain);
            // Whether the client sends its body now or leaves it out, nobody knows (RFC 9110 section 10.1.1).
            if is_too_long || self.awaits_continue {
                self.closes = true;
            }
            body.abandon();
            self.reading = Reading::Discard(body);
        }
    }

    /// The next response whose head is written is the last, and says so: a server on its way out. A request that has
    /// arrived, whole or in part, is answered so; where none has, [`Self::finish`] says to close.
    pub fn close(&mut self) {
        self.leaves = true;
    }

    /// Whether a request is under way.
    pub fn is_busy(&self) -> bool {
        !matches!(self.reading, Reading::Head)
    }

    /// Appends an interim response (RFC 9110 section 15.2), as often as one likes before the final one. HTTP/1.0 knows
    /// none and gets none.
    ///
    /// # Errors
    /// A status that is none, or 101, which is a final one; a field that cannot be written; a final response has begun.
    pub fn encode_interim(
        &mut self,
        head: &ResponseHead,
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        if self.writing != Outgoing::Before || matches!(self.reading, Reading::Head) {
            return Err(EncodeError::Turn);
        }
        if !(100..200).contains(&head.status) || head.status == 101 {
            return Err(EncodeError::Status);
        }
        if self.version == Version::Http10 {
            return Ok(());
        }
        undone(out, |out| {
            encode::response(head.status, &head.fields, Length::None, Said::None, out)
        })?;
        if head.status == 100 {
            self.awaits_continue = false;
        }
        Ok(())
    }

    /// Appends the head of the response, with what frames its body and what becomes of the connection. Nothing is appended
    /// when it fails.
    ///
    /// # Errors
    /// Interim statuses; 101 to what has not ended, or to another protocol than was asked for; a field that cannot be
    /// written; a response that has begun.
    pub fn encode_head(
        &mut self,
        head: &ResponseHead,
        length: Length,
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        if self.writing != Outgoing::Before || matches!(self.reading, Reading::Head) {
            return Err(EncodeError::Turn);
        }
        if head.status == 101 {
            return self.encode_switch(head, out);
        }
        if head.status < 200 {
            return Err(EncodeError::Status);
        }
        // Without a 100 and with a final answer nobody knows whether the body comes.
        if self.awaits_continue {
            self.closes = true;
        }
        let is_silent = self.is_head || matches!(head.status, 204 | 304);
        let (length, outgoing, closes) = match length {
            // RFC 9110 section 8.6: none in a 204; RFC 9112 section 6.1: nor a coding.
            _ if head.status == 204 => (Length::None, Outgoing::Silent, false),
            Length::Unknown if is_silent => (Length::None, Outgoing::Silent, false),
            length if is_silent => (length, Outgoing::Silent, false),
            // What has no length and no coding would go on until the connection ends (RFC 9112 section 6.3).
            Length::None => (Length::Known(0), Outgoing::Length(0), false),
            Length::Unknown if !encode::is_chunkable(self.version) => {
                (Length::None, Outgoing::UntilClose, true)
            }
            length => (length, Outgoing::of(length), false),
        };
        // threats.md 58: who asked for another protocol and is refused it may have begun to speak it, and what it has
        // sent by now hangs on the network.
        let closes = self.closes || self.leaves || self.upgrade || closes;
        let said = match (closes, self.version) {
            (true, _) => Said::Close,
            (false, Version::Http10) => Said::KeepAlive,
            (false, _) => Said::None,
        };
        undone(out, |out| {
            encode::response(head.status, &head.fields, length, said, out)
        })?;
        (self.writing, self.closes) = (outgoing, closes);
        Ok(())
    }

    fn encode_switch(&mut self, head: &ResponseHead, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let has_ended = matches!(&self.reading, Reading::Body(body) if body.has_ended());
        let (Some(asked), Some(named), true) = (&self.protocol, protocol(&head.fields), has_ended)
        else {
            return Err(EncodeError::Turn);
        };
        if !asked.eq_ignore_ascii_case(&named) {
            return Err(EncodeError::Turn);
        }
        undone(out, |out| {
            let said = Said::Upgrade(&named);
            encode::response(101, &head.fields, Length::None, said, out)
        })?;
        self.reading = Reading::Switched;
        self.writing = Outgoing::Ended;
        Ok(())
    }

    /// Frames the next `length` bytes of the response's body, for who sends them from where they lie.
    ///
    /// # Errors
    /// More than the head said; no head, or the end, was written. The connection must then be closed.
    pub fn frame(&mut self, length: usize) -> Result<Frame, EncodeError> {
        self.writing.frame(length)
    }

    /// Appends some of the response's body.
    ///
    /// # Errors
    /// As [`Self::frame`].
    pub fn encode_data(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<(), EncodeError> {
        self.writing.data(data, out)
    }

    /// Ends the response. Trailers are appended where its body is chunked, and dropped elsewhere; so are those that may not
    /// come behind a body (RFC 9110 section 6.5.1). Which of the others the receiver may merge into a head, the caller knows.
    ///
    /// # Errors
    /// Fewer bytes than the head said, a trailer that cannot be written; the connection must then be closed.
    pub fn encode_end(&mut self, trailers: &Fields, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        self.writing.end(trailers, out)
    }

    /// The bytes of the response's body still to be written, where its head said how many.
    pub fn owed(&self) -> Option<u64> {
        match self.writing {
            Outgoing::Length(left) => Some(left),
            _ => None,
        }
    }

    /// What follows, with so many bytes in the buffer that were received and not taken.
    pub fn finish(&mut self, buffered: usize) -> Next {
        if matches!(self.reading, Reading::Switched) {
            return Next::Switched;
        }
        if matches!(self.reading, Reading::Head) {
            self.closes |= self.leaves && buffered == 0;
            return if self.closes {
                Next::Close
            } else {
                Next::Request
            };
        }
        if self.writing != Outgoing::Ended {
            return Next::Respond;
        }
        self.abandon_body();
        let has_ended = match &self.reading {
            Reading::Discard(body) => body.has_ended(),
            _ => false,
        };
        // Its head may have been written before it was to be the last.
        self.closes |= self.leaves && buffered == 0;
        if self.closes {
            return Next::Close;
        }
        if !has_ended {
            return Next::Drain;
        }
        self.reading = Reading::Head;
        self.writing = Outgoing::Before;
        self.upgrade = false;
        self.protocol = None;
        Next::Request
    }
}
