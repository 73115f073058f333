//! Why bytes are no HTTP/1.1 that could be passed on, each reason its own.

use crate::head::HeadError;
use crate::path::PathError;

/// Why a message, or a part of one, is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// More than the one empty line that RFC 9112 section 2.2 lets a client send before a request; any before a response.
    #[error("empty lines stand before the message")]
    EmptyLines,
    /// CR without LF (RFC 9112 section 2.2).
    #[error("a CR stands alone; lines end in CR LF")]
    BareCr,
    /// LF without CR: some take it for the end of a line, some do not (RFC 9112 section 2.2).
    #[error("an LF stands alone; lines end in CR LF")]
    BareLf,
    /// NUL or another control.
    #[error("the control 0x{0:02X} stands in the head")]
    Control(u8),
    /// Not method, target and version with one space between each (RFC 9112 section 3).
    #[error("the first line is not `METHOD TARGET HTTP/1.1`, with one space between each")]
    RequestLine,
    /// What begins is no method: TLS to a plain port, a body that was not announced, binary data.
    #[error("the method is no token of 1 to 32 bytes")]
    Method,
    /// CONNECT asks for a tunnel, TRACE and TRACK for an echo. Carries whether a tunnel is asked for: its bytes follow, no request.
    #[error("CONNECT, TRACE and TRACK are not served here")]
    NotServed {
        /// It is CONNECT.
        tunnel: bool,
    },
    /// The first line is longer than is read.
    #[error("the target is longer than {0} bytes")]
    TargetTooLong(usize),
    /// A target in none of the forms of RFC 9112 section 3.2 that its method may have.
    #[error("the target is no path, no http or https URI, and not the `*` of OPTIONS")]
    TargetForm,
    /// The path can be read in two ways.
    #[error(transparent)]
    Path(PathError),
    /// The query holds what none may hold.
    #[error("the query holds bytes that a query may not hold")]
    Query,
    /// No version of HTTP.
    #[error("the version is not `HTTP/1.1` or `HTTP/1.0`")]
    VersionToken,
    /// A version that is not spoken here.
    #[error("the version is neither 1.1 nor 1.0")]
    Version,
    /// No `HTTP/1.1 200`.
    #[error("the first line is not `HTTP/1.1 STATUS REASON`")]
    StatusLine,
    /// A status outside 100 to 599 (RFC 9110 section 15).
    #[error("the status is not 100 to 599")]
    Status,
    /// A line begins with white space: folded (RFC 9112 section 5.2), or behind the first line (section 2.2).
    #[error("a line begins with white space")]
    Folded,
    /// Empty, not a token, or white space before the colon (RFC 9112 section 5.1).
    #[error("a field name is empty or no token; no white space may stand before the colon")]
    FieldName,
    /// A byte that no value may hold.
    #[error("a field value holds a byte that none may hold")]
    FieldValue,
    /// A longer name than is read.
    #[error("a field name is longer than {0} bytes")]
    NameTooLong(usize),
    /// More field lines than are read.
    #[error("more than {0} fields")]
    TooManyFields(usize),
    /// A longer head than is read.
    #[error("the head is longer than {0} bytes")]
    HeadTooLarge(usize),
    /// A longer trailer section than is read.
    #[error("the trailers are longer than {0} bytes")]
    TrailersTooLarge(usize),
    /// RFC 9112 section 3.2: HTTP/1.1 without `Host`.
    #[error("no Host")]
    HostMissing,
    /// `Host` more than once, even with the same value.
    #[error("more than one Host field")]
    HostRepeated,
    /// What `Host`, or the target, names is no authority.
    #[error(transparent)]
    Host(HeadError),
    /// threats.md 42: whoever decides by one and forwards the other decides about another request.
    #[error("Host differs from the target's authority")]
    HostDiffers,
    /// `Content-Length` is no plain number: a sign, a list, a fraction, nothing at all.
    #[error("Content-Length is no plain number")]
    Length,
    /// A number over 2^63 - 1, which some would read as another.
    #[error("Content-Length is beyond all bounds")]
    LengthTooLarge,
    /// `Content-Length` more than once, even with the same value.
    #[error("more than one Content-Length field")]
    LengthRepeated,
    /// RFC 9112 section 6.1: the attack that has its name from it.
    #[error("Content-Length stands beside Transfer-Encoding")]
    LengthAndCoding,
    /// RFC 9112 section 6.1: HTTP/1.0 knows no transfer codings, so one of both sides reads another length.
    #[error("Transfer-Encoding in HTTP/1.0")]
    CodingInHttp10,
    /// Not a list of tokens.
    #[error("Transfer-Encoding is no list of codings")]
    Coding,
    /// `chunked` is not the last coding (RFC 9112 section 6.3): nobody knows where the body ends.
    #[error("the last transfer coding is not `chunked`")]
    CodingNotChunked,
    /// `chunked` twice (RFC 9112 section 6.1).
    #[error("`chunked` more than once")]
    CodingRepeated,
    /// Another coding before `chunked`: its end is known, its content is not.
    #[error("a transfer coding other than `chunked`")]
    CodingUnknown,
    /// An expectation other than `100-continue` (RFC 9110 section 10.1.1).
    #[error("an expectation other than 100-continue")]
    Expectation,
    /// A longer body than is taken.
    #[error("the body is longer than {0} bytes")]
    BodyTooLarge(u64),
    /// No hex digits, more than 16, or something that stands behind them.
    #[error("a chunk does not begin with a plain hex number")]
    ChunkSize,
    /// A chunk of 2^63 bytes or more.
    #[error("a chunk is beyond all bounds")]
    ChunkTooLarge,
    /// Not `;name`, `;name=token` or `;name="text"` (RFC 9112 section 7.1.1).
    #[error("a chunk extension is malformed")]
    ChunkExtension,
    /// More bytes of extensions than are read.
    #[error("more than {0} bytes of chunk extensions")]
    ChunkExtensionsTooLong(usize),
    /// Something other than CR LF behind a chunk's data, or behind its size.
    #[error("a chunk does not end in CR LF")]
    ChunkEnd,
    /// The sender closed before its message was whole.
    #[error("the message ends before its end")]
    Truncated,
    /// A response to nothing.
    #[error("a response that nothing was asked for")]
    Unsolicited,
    /// An interim response with a body (RFC 9110 section 15.2, RFC 9112 section 6.1).
    #[error("an interim response that announces a body")]
    InterimBody,
    /// More interim responses than are read.
    #[error("more than {0} interim responses")]
    TooManyInterim(usize),
    /// 101 to a request that did not ask for it, or that has not ended (RFC 9110 section 15.2.2).
    #[error("switched protocols, which nobody asked for")]
    Switched,
    /// The parser read another head than the checks before it: never seen, and never passed on.
    #[error("the head can be read in two ways")]
    Ambiguous,
}

impl Error {
    /// The status of the answer to a request that is refused for this. Whose response is refused for it is answered for
    /// with 502, whatever it was.
    pub const fn status(self) -> u16 {
        match self {
            Self::BodyTooLarge(_) => 413,
            Self::TargetTooLong(_) => 414,
            Self::Expectation => 417,
            Self::NameTooLong(_)
            | Self::TooManyFields(_)
            | Self::HeadTooLarge(_)
            | Self::TrailersTooLarge(_) => 431,
            Self::CodingUnknown => 501,
            Self::Version => 505,
            Self::StatusLine
            | Self::Status
            | Self::Unsolicited
            | Self::InterimBody
            | Self::TooManyInterim(_)
            | Self::Switched => 502,
            _ => 400,
        }
    }

    /// Whether the connection ends with the answer. It goes on only where head and framing are beyond doubt, and what
    /// they ask for alone is refused: then where the request ends is known, and the next one cannot be misread.
    pub const fn closes(self) -> bool {
        !matches!(
            self,
            Self::Path(_) | Self::Query | Self::NotServed { tunnel: false }
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What requests get is in the corpus; these are of responses alone.
    #[test]
    fn what_is_wrong_with_a_response_is_a_502() {
        for error in [
            Error::StatusLine,
            Error::Status,
            Error::Unsolicited,
            Error::InterimBody,
            Error::TooManyInterim(1),
            Error::Switched,
        ] {
            assert_eq!((error.status(), error.closes()), (502, true), "{error}");
        }
    }
}
