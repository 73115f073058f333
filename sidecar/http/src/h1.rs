//! HTTP/1.1 (RFC 9112) without I/O: bytes in, events out, for both sides of a connection.
//!
//! ```text
//! client ──bytes──▶ ServerConnection ──Request, Part──▶ proxy ──head, data──▶ ClientConnection ──bytes──▶ server
//!        ◀─bytes───                  ◀──head, data────        ◀─Response, Part─                ◀─bytes───
//! ```
//!
//! [`ServerConnection`] and [`ClientConnection`] know whose turn it is and what may follow; [`Body`] reads a body, slices
//! of what was read. What is written is appended to a caller's buffer. There is no buffer in here: what is read stands in
//! the caller's, from whose front heads and parts are taken, and which keeps what is not whole yet.
//!
//! # What is taken
//!
//! A gateway is passed by where it reads one message and the server behind it another. So whatever can be read in two
//! ways is refused, each with its own [`Error`], and nothing that frames a message is passed on: lengths, codings and
//! connection options are written anew.
//!
//! | | RFC 9112 | here |
//! |---|---|---|
//! | line ends | 2.2: LF alone may be taken | CR LF alone; a bare CR, a bare LF and controls are refused |
//! | empty lines before a request | 2.2: one at least is ignored | one is; more are refused |
//! | white space in the first line | 3: may be split at any | one SP between each part |
//! | folded lines, space before a colon | 5.1, 5.2: refused or mended | refused, in responses too |
//! | `Content-Length` | 6.3: equal ones may be one | one line, digits, below 2^63 |
//! | `Transfer-Encoding` | 6.1 | one line, `chunked`; other codings before it 501, anything else 400 |
//! | both | 6.1: may be processed | refused, in responses too |
//! | either in 1xx and 204 | 6.1, RFC 9110 8.6: must not be | in 1xx refused, behind a 204 the connection ends; a length of 0 is let pass |
//! | fields that `Connection` names | 9110 7.6.1: removed before a message is passed on | removed as they are read, from trailers too |
//! | several protocols in `Upgrade` | 9110 7.8: any may be chosen | none is asked for; a 101 must be to the one that was |
//! | chunk sizes | 7.1: hex digits | 16 at most; nothing but the grammar's extensions behind them, which are not passed on |
//! | `Host` | 3.2: one, valid | the same; and what an absolute target says |
//! | methods | 9110 9.3 | CONNECT, TRACE and TRACK are refused |
//! | bytes behind an upgrade | 9110 7.8 | the new protocol's after 101; any other answer ends the connection |
//! | an unread body | 9.3: read or close | read within [`Limits::drain`], framing included, or close |
//! | `Expect` | 9110 10.1.1 | `100-continue`; others 417. A final answer without a 100 closes |
//!
//! # How a connection is served
//!
//! ```
//! use bytes::BytesMut;
//! use tollgate_http::h1::{Length, Limits, Next, Part, ServerConnection};
//! use tollgate_http::{Fields, ResponseHead, Scheme};
//!
//! let mut connection = ServerConnection::new(Scheme::Https, Limits::default());
//! let mut buffer = BytesMut::from("POST /a HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\n\r\nhi");
//! let (mut spare, mut out) = (Fields::new(), Vec::new());
//!
//! let request = connection.receive_head(&mut buffer, &mut spare).unwrap().unwrap();
//! assert_eq!(request.head.path.as_str(), "/a");
//!
//! assert_eq!(connection.receive_body(&mut buffer), Ok(Part::Data("hi".into())));
//! assert_eq!(connection.receive_body(&mut buffer), Ok(Part::End));
//!
//! let head = ResponseHead { status: 200, fields: Fields::new() };
//! connection.encode_head(&head, Length::Known(3), &mut out).unwrap();
//! connection.encode_data(b"you", &mut out).unwrap();
//! connection.encode_end(&Fields::new(), &mut out).unwrap();
//! assert_eq!(out, b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nyou");
//! assert_eq!(connection.finish(buffer.len()), Next::Request);
//! ```

mod body;
mod chunk;
mod client;
mod encode;
mod error;
mod framing;
mod limits;
mod parse;
mod scan;
mod server;
mod target;

pub use body::{Body, Part};
pub use client::{ClientConnection, Kind, Response};
pub use encode::{EncodeError, Frame};
pub use error::Error;
pub use framing::{Framing, Length};
pub use limits::{Limits, MAX_FIELDS};
pub use parse::Refused;
pub use server::{Next, Request, ServerConnection};

#[cfg(test)]
mod tests;
