//! The client's side of a connection: requests go out, responses come in, one after the other.

use bytes::{Bytes, BytesMut};

use super::body::{Body, Part};
use super::encode::{self, EncodeError, Frame, Outgoing, Said, undone};
use super::error::Error;
use super::framing::{Framing, Length, Nominated, protocol};
use super::limits::Limits;
use super::parse;
use super::scan::{Bounds, Scan};
use crate::fields::Fields;
use crate::head::{Method, RequestHead, ResponseHead};

/// A response whose head has arrived.
#[derive(Debug)]
pub struct Response {
    /// Its head.
    pub head: ResponseHead,
    /// What it is.
    pub kind: Kind,
    /// Where its body ends; what it says of a body that it does not have is in its fields, and in `length`.
    pub framing: Framing,
    /// What to say of the body where it is passed on: to HEAD, and with 304, the length that it would have.
    pub length: Length,
}

/// What a response is to its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Another response follows: 100, 103 and the like.
    Interim,
    /// The answer.
    Final,
    /// The answer, and the connection speaks another protocol from here on: what is in the buffer belongs to it.
    Switched,
}

/// One connection to a server.
///
/// A request is written ([`Self::encode_head`], [`Self::encode_data`], [`Self::encode_end`]) and its response read
/// ([`Self::receive_head`] until it is final, [`Self::receive_body`]), in any interleaving: a server may answer before it
/// has read all. [`Self::finish`] then says whether another request may follow. Nothing is pipelined, so whatever arrives
/// beside the answer that is due belongs to nobody, and ends the connection.
#[derive(Debug)]
pub struct ClientConnection {
    limits: Limits,
    scan: Scan,
    writing: Outgoing,
    reading: Reading,
    /// What of the response's fields is the connection's.
    nominated: Nominated,
    is_head: bool,
    /// The protocol that the request asks to change to.
    asked: Option<Bytes>,
    interim: usize,
    /// A head has been taken since the request began.
    touched: bool,
    closes: bool,
}

#[derive(Debug)]
enum Reading {
    /// Nothing is due.
    Idle,
    Head,
    Body(Body),
    Switched,
    Broken(Error),
}

impl ClientConnection {
    /// A connection that was just opened.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            scan: Scan::default(),
            writing: Outgoing::Before,
            reading: Reading::Idle,
            nominated: Nominated::default(),
            is_head: false,
            asked: None,
            interim: 0,
            touched: false,
            closes: false,
        }
    }

    /// Appends a request head, with what frames its body. `upgrade`: it asks to change to the one protocol that its
    /// `Upgrade` names, which is not passed on else.
    /// Nothing is appended when it fails, and the connection is as it was; but with `buffered` bytes that were received and
    /// not taken no request begins any more.
    ///
    /// # Errors
    /// A method that is not passed on, a field or query that cannot be written, an upgrade to no protocol or to several; a request
    /// is under way.
    pub fn encode_head(
        &mut self,
        head: &RequestHead,
        length: Length,
        upgrade: bool,
        buffered: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        // What nobody asked for is not the answer to this.
        self.closes |= buffered > 0 && matches!(self.reading, Reading::Idle);
        let is_free = matches!(self.reading, Reading::Idle) && !self.closes;
        let asked = upgrade.then(|| protocol(&head.fields)).flatten();
        if !is_free || (upgrade && asked.is_none()) {
            return Err(EncodeError::Turn);
        }
        let said = asked.as_deref().map_or(Said::None, Said::Upgrade);
        undone(out, |out| encode::request(head, length, said, out))?;
        self.writing = Outgoing::of(length);
        self.reading = Reading::Head;
        self.is_head = head.method == Method::HEAD;
        self.asked = asked;
        self.interim = 0;
        self.touched = false;
        Ok(())
    }

    /// Frames the next `length` bytes of the request's body, for who sends them from where they lie.
    ///
    /// # Errors
    /// More than the head said; no head, or the end, was written. The connection must then be closed.
    pub fn frame(&mut self, length: usize) -> Result<Frame, EncodeError> {
        self.writing.frame(length)
    }

    /// Appends some of the request's body.
    ///
    /// # Errors
    /// As [`Self::frame`].
    pub fn encode_data(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<(), EncodeError> {
        self.writing.data(data, out)
    }

    /// Ends the request. Trailers are appended where its body is chunked, and dropped elsewhere; so are those that may not
    /// come behind a body (RFC 9110 section 6.5.1). Which of the others the receiver may merge into a head, the caller knows.
    ///
    /// # Errors
    /// Fewer bytes than the head said, a trailer that cannot be written; the connection must then be closed.
    pub fn encode_end(&mut self, trailers: &Fields, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        self.writing.end(trailers, out)
    }

    /// Takes a response head from the front of `buffer`; `None`: more must be read. `spare` are the fields of a message
    /// that is over: their room is used again.
    ///
    /// # Errors
    /// Why it is no response, or none that was asked for. Nothing more can be read.
    pub fn receive_head(
        &mut self,
        buffer: &mut BytesMut,
        spare: &mut Fields,
    ) -> Result<Option<Response>, Error> {
        let received = self.head(buffer, spare);
        if let Err(error) = received {
            self.fail(error);
        }
        received
    }

    fn head(
        &mut self,
        buffer: &mut BytesMut,
        spare: &mut Fields,
    ) -> Result<Option<Response>, Error> {
        match self.reading {
            Reading::Head => {}
            Reading::Broken(error) => return Err(error),
            Reading::Idle if !buffer.is_empty() => return Err(Error::Unsolicited),
            _ => return Ok(None),
        }
        let bounds = Bounds {
            whole: (self.limits.head, Error::HeadTooLarge(self.limits.head)),
            fields: self.limits.fields(),
            first: Some((self.limits.head, Error::HeadTooLarge(self.limits.head))),
        };
        // What speaks something else is not waited for to end a line.
        let begin = b"HTTP/1.";
        let known = buffer.len().min(begin.len());
        if !buffer.is_empty() && !buffer.starts_with(b"\r") && buffer[..known] != begin[..known] {
            return Err(Error::StatusLine);
        }
        let Some(end) = self.scan.end(buffer, &bounds)? else {
            return Ok(None);
        };
        if end == 2 {
            return Err(Error::EmptyLines);
        }
        let raw = buffer.split_to(end).freeze();
        self.scan = Scan::default();
        self.touched = true;
        spare.clear();
        let response = parse::response(&raw, std::mem::take(spare), &self.limits)?;
        self.classify(response).map(Some)
    }

    fn classify(&mut self, response: parse::Response) -> Result<Response, Error> {
        let status = response.head.status;
        let said = response.message.framing;
        let none = |head, kind| Response {
            head,
            kind,
            framing: Framing::None,
            length: Length::None,
        };
        if status < 200 {
            // RFC 9110 section 8.6, RFC 9112 section 6.1; a length of nothing does no harm.
            if !matches!(said, None | Some(Framing::Length(0))) {
                return Err(Error::InterimBody);
            }
            if status == 101 {
                let named = protocol(&response.head.fields);
                let is_asked = match (&self.asked, &named) {
                    (Some(asked), Some(named)) => asked.eq_ignore_ascii_case(named),
                    _ => false,
                };
                if !is_asked || !response.message.upgrade || self.writing != Outgoing::Ended {
                    return Err(Error::Switched);
                }
                self.reading = Reading::Switched;
                return Ok(none(response.head, Kind::Switched));
            }
            self.interim += 1;
            if self.interim > self.limits.interim {
                return Err(Error::TooManyInterim(self.limits.interim));
            }
            return Ok(none(response.head, Kind::Interim));
        }
        // threats.md 58: a server that has refused another protocol may have read some of it, or may speak it yet.
        self.closes |= !response.message.persists || self.asked.is_some();
        // RFC 9112 section 6.3, item 1
        let (framing, length) = if self.is_head || matches!(status, 204 | 304) {
            // Who announces a body here may send one, and nobody could tell it from the next response.
            let announced = match said {
                None | Some(Framing::Length(0)) => false,
                Some(Framing::Length(_)) => status == 204,
                Some(_) => !self.is_head || matches!(status, 204 | 304),
            };
            self.closes |= announced;
            (Framing::None, said.map_or(Length::None, Length::from))
        } else {
            let framing = said.unwrap_or(Framing::UntilClose);
            (framing, framing.into())
        };
        if let Framing::Length(bytes) = framing
            && bytes > self.limits.body
        {
            return Err(Error::BodyTooLarge(self.limits.body));
        }
        self.closes |= framing == Framing::UntilClose;
        self.reading = Reading::Body(Body::new(framing, &self.limits));
        self.nominated = response.nominated;
        Ok(Response {
            head: response.head,
            kind: Kind::Final,
            framing,
            length,
        })
    }

    /// Takes the next part of the response's body from the front of `buffer`, as [`Body::next`] does.
    ///
    /// # Errors
    /// What is wrong with it. What was passed on of it must not look whole.
    pub fn receive_body(&mut self, buffer: &mut BytesMut) -> Result<Part, Error> {
        let mut part = match &mut self.reading {
            Reading::Body(body) => body.next(buffer),
            Reading::Broken(error) => return Err(*error),
            Reading::Idle | Reading::Head | Reading::Switched => return Ok(Part::End),
        };
        match &mut part {
            Ok(Part::Trailers(trailers)) => self.nominated.drop_from(trailers),
            Ok(_) => {}
            Err(error) => {
                let error = *error;
                self.fail(error);
            }
        }
        part
    }

    /// What the end of the server's sending means: the end of a body that ends so, or of a connection that was idle.
    /// Not to be called for a reset, nor for an end of TLS without `close_notify`: a body that ends so is cut then.
    ///
    /// # Errors
    /// [`Error::Truncated`]: a response is due, or cut. Of one that had not begun, [`Self::is_untouched`] tells.
    pub fn end_of_input(&mut self) -> Result<(), Error> {
        self.closes = true;
        let ended = match &mut self.reading {
            Reading::Idle | Reading::Switched => Ok(()),
            Reading::Head => Err(Error::Truncated),
            Reading::Body(body) => body.end_of_input(),
            Reading::Broken(error) => Err(*error),
        };
        if let Err(error) = ended {
            self.fail(error);
        }
        ended
    }

    /// Whether nothing of a response has been read since the request began: with nothing in the buffer either, a server
    /// that closes may have closed before it saw the request (RFC 9112 section 9.3.1).
    pub fn is_untouched(&self) -> bool {
        !self.touched
            && matches!(
                self.reading,
                Reading::Head | Reading::Broken(Error::Truncated)
            )
    }

    /// Whether the response has been read to its end.
    pub fn has_response(&self) -> bool {
        matches!(&self.reading, Reading::Body(body) if body.has_ended())
    }

    /// Whether another request may follow, with so many bytes in the buffer that were received and not taken. Not before
    /// the request has been written and the response read, both to their ends, nor with a byte that nobody asked for.
    pub fn finish(&mut self, buffered: usize) -> bool {
        let is_whole = self.writing == Outgoing::Ended && self.has_response();
        if !is_whole || self.closes || buffered > 0 {
            self.closes = true;
            return false;
        }
        self.writing = Outgoing::Before;
        self.reading = Reading::Idle;
        self.asked = None;
        true
    }

    fn fail(&mut self, error: Error) {
        self.reading = Reading::Broken(error);
        self.closes = true;
    }
}
