//! Message heads: what HTTP/1.1 and HTTP/2 requests and responses both become.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use bytes::Bytes;
use bytestring::ByteString;

use crate::decimal;
use crate::fields::{self, Fields};
use crate::path::Path;

/// The protocol version of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Version {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    Http11,
    /// HTTP/2.
    Http2,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
            Self::Http2 => "HTTP/2",
        })
    }
}

/// How the client reached the listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// Plain text.
    Http,
    /// TLS.
    Https,
}

impl Scheme {
    /// `http` or `https`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// The port that an authority without one means: 80 or 443.
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A request method: a token, compared with case (RFC 9110 section 9.1), so `get` is not `GET`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Method(Name);

#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Name {
    Known(&'static str),
    Other(Box<str>),
}

impl Method {
    /// GET.
    pub const GET: Self = Self(Name::Known("GET"));
    /// HEAD.
    pub const HEAD: Self = Self(Name::Known("HEAD"));
    /// POST.
    pub const POST: Self = Self(Name::Known("POST"));
    /// PUT.
    pub const PUT: Self = Self(Name::Known("PUT"));
    /// DELETE.
    pub const DELETE: Self = Self(Name::Known("DELETE"));
    /// OPTIONS.
    pub const OPTIONS: Self = Self(Name::Known("OPTIONS"));
    /// PATCH (RFC 5789).
    pub const PATCH: Self = Self(Name::Known("PATCH"));
    /// CONNECT.
    pub const CONNECT: Self = Self(Name::Known("CONNECT"));
    /// TRACE.
    pub const TRACE: Self = Self(Name::Known("TRACE"));

    /// The longest method that is taken, in bytes; registered ones have at most 17.
    pub const MAX_BYTES: usize = 32;

    /// Parses a method. Methods named above never allocate.
    ///
    /// # Errors
    /// [`HeadError::Method`] unless `raw` is a token of 1 to [`Self::MAX_BYTES`] bytes.
    pub fn parse(raw: &[u8]) -> Result<Self, HeadError> {
        let known = match raw {
            b"GET" => Self::GET,
            b"HEAD" => Self::HEAD,
            b"POST" => Self::POST,
            b"PUT" => Self::PUT,
            b"DELETE" => Self::DELETE,
            b"OPTIONS" => Self::OPTIONS,
            b"PATCH" => Self::PATCH,
            b"CONNECT" => Self::CONNECT,
            b"TRACE" => Self::TRACE,
            other => {
                if other.len() > Self::MAX_BYTES || !fields::valid_name(other) {
                    return Err(HeadError::Method);
                }
                let text: String = other.iter().copied().map(char::from).collect();
                Self(Name::Other(text.into_boxed_str()))
            }
        };
        Ok(known)
    }

    /// The method as it is sent.
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Name::Known(text) => text,
            Name::Other(text) => text,
        }
    }

    /// Whether it may be passed on: all but CONNECT, which asks for a tunnel, and TRACE and TRACK, whose answer repeats
    /// what the server got, with all that a gateway has written for it (RFC 9110 section 9.3.8). In any case: some servers
    /// read methods so. Pages may not use these three either (Fetch section 2.2.1).
    pub fn is_passed_on(&self) -> bool {
        !["CONNECT", "TRACE", "TRACK"]
            .iter()
            .any(|refused| self.as_str().eq_ignore_ascii_case(refused))
    }

    /// Whether RFC 9110 section 9.2.1 calls it safe: GET, HEAD, OPTIONS, TRACE.
    pub fn is_safe(&self) -> bool {
        matches!(self.as_str(), "GET" | "HEAD" | "OPTIONS" | "TRACE")
    }
}

impl TryFrom<&[u8]> for Method {
    type Error = HeadError;

    fn try_from(raw: &[u8]) -> Result<Self, HeadError> {
        Self::parse(raw)
    }
}

impl std::str::FromStr for Method {
    type Err = HeadError;

    fn from_str(raw: &str) -> Result<Self, HeadError> {
        Self::parse(raw.as_bytes())
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Host and port of a request (RFC 3986 section 3.2, RFC 9110 section 7.2) in one form: lower case, no
/// user information, no trailing dot, IPv6 in its RFC 5952 spelling. As with paths, this form is what
/// is matched and what is forwarded.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Authority {
    host: ByteString,
    port: Option<u16>,
    v6: bool,
}

impl Authority {
    /// Parses a `Host` field, an `:authority` or the authority of an absolute target.
    ///
    /// # Errors
    /// [`HeadError::Authority`] says what is wrong: user information, percent-encoding, a byte that no
    /// host name holds, an empty or overlong label, a name that looks like an IPv4 address and is none,
    /// a port outside 1..=65535.
    pub fn parse(raw: &[u8]) -> Result<Self, HeadError> {
        Self::read(raw, |host| host.into())
    }

    /// [`Self::parse`] for bytes that are a slice of a shared buffer. A host name in its one form already stays that
    /// slice: nothing is copied, nothing is allocated.
    ///
    /// # Errors
    /// Those of [`Self::parse`].
    pub fn parse_shared(raw: &Bytes) -> Result<Self, HeadError> {
        Self::read(raw, |host| {
            ByteString::try_from(raw.slice_ref(host.as_bytes())).unwrap_or_else(|_| host.into())
        })
    }

    /// `keep` makes the host's text of the slice of `raw` that it is.
    fn read(raw: &[u8], keep: impl FnOnce(&str) -> ByteString) -> Result<Self, HeadError> {
        let text = std::str::from_utf8(raw)
            .ok()
            .filter(|t| t.is_ascii())
            .ok_or(HeadError::Authority("it holds bytes that are not ASCII"))?;
        if let Some(rest) = text.strip_prefix('[') {
            let (inside, after) = rest
                .split_once(']')
                .ok_or(HeadError::Authority("'[' is never closed"))?;
            // An IPv6 zone identifier does not parse, and must not: it means nothing to anyone else.
            let address: Ipv6Addr = inside
                .parse()
                .map_err(|_| HeadError::Authority("what stands in brackets is no IPv6 address"))?;
            return Ok(Self {
                host: address.to_string().into(),
                port: port(after)?,
                v6: true,
            });
        }
        let (host, after) = match text.find(':') {
            Some(at) => text.split_at(at),
            None => (text, ""),
        };
        let host = host.strip_suffix('.').unwrap_or(host);
        let host = if host.bytes().any(|b| b.is_ascii_uppercase()) {
            host.to_ascii_lowercase().into()
        } else {
            keep(host)
        };
        check_host(&host)?;
        Ok(Self {
            host,
            port: port(after)?,
            v6: false,
        })
    }

    /// The host: a lower-cased name, an IPv4 address, or an IPv6 address without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Appends it as [`fmt::Display`] prints it, without the formatter's machinery: it stands in each request that is sent.
    pub(crate) fn append(&self, out: &mut Vec<u8>) {
        let brackets: [&[u8]; 2] = if self.v6 { [b"[", b"]"] } else { [b"", b""] };
        out.extend_from_slice(brackets[0]);
        out.extend_from_slice(self.host.as_bytes());
        out.extend_from_slice(brackets[1]);
        if let Some(port) = self.port {
            out.push(b':');
            decimal::append(u64::from(port), out);
        }
    }

    /// The port, where one was written.
    pub fn port(&self) -> Option<u16> {
        self.port
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.v6 {
            write!(f, "[{}]", self.host)?;
        } else {
            f.write_str(&self.host)?;
        }
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

/// The longest host name, in bytes (RFC 1035 section 2.3.4 without the root's own).
const MAX_HOST: usize = 253;

fn check_host(host: &str) -> Result<(), HeadError> {
    let fail = |why| Err(HeadError::Authority(why));
    if host.is_empty() {
        return fail("the host is empty");
    }
    if host.len() > MAX_HOST {
        return fail("the host is longer than 253 bytes");
    }
    if !host
        .bytes()
        .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_'))
    {
        return fail("the host holds a byte other than letters, digits, '-', '.' and '_'");
    }
    if host
        .split('.')
        .any(|label| label.is_empty() || label.len() > 63)
    {
        return fail("the host has an empty label, or one longer than 63 bytes");
    }
    // Resolvers read `127.1` and `0177.0.0.1` as addresses; a name whose last label is a number must be
    // a proper address or it would be two things at once.
    let numeric = host
        .rsplit('.')
        .next()
        .is_some_and(|l| l.bytes().all(|b| b.is_ascii_digit()));
    if numeric && host.parse::<Ipv4Addr>().is_err() {
        return fail("the host ends in a number and is no IPv4 address");
    }
    Ok(())
}

fn port(after: &str) -> Result<Option<u16>, HeadError> {
    let Some(digits) = after.strip_prefix(':') else {
        return if after.is_empty() {
            Ok(None)
        } else {
            Err(HeadError::Authority(
                "something other than a port follows the host",
            ))
        };
    };
    // RFC 3986 section 3.2.3 allows an empty port and asks normalizers to drop it.
    if digits.is_empty() {
        return Ok(None);
    }
    let number = digits
        .bytes()
        .all(|b| b.is_ascii_digit())
        .then(|| digits.parse::<u16>().ok())
        .flatten();
    match number {
        // Neither 0 nor a second spelling of another port.
        Some(port) if !digits.starts_with('0') => Ok(Some(port)),
        _ => Err(HeadError::Authority(
            "the port is no number from 1 to 65535",
        )),
    }
}

/// The head of a request.
#[derive(Clone, Debug)]
pub struct RequestHead {
    /// The method.
    pub method: Method,
    /// How the client reached the listener, not what it claims.
    pub scheme: Scheme,
    /// The host it asks for; `None` only for HTTP/1.0 without `Host`.
    pub authority: Option<Authority>,
    /// The path in its one form.
    pub path: Path,
    /// What follows the first `?`, as received.
    pub query: Option<Bytes>,
    /// The version it was received in.
    pub version: Version,
    /// The fields as received.
    pub fields: Fields,
}

/// The head of a response.
#[derive(Clone, Debug)]
pub struct ResponseHead {
    /// The status code, 100 to 599.
    pub status: u16,
    /// The fields.
    pub fields: Fields,
}

/// Why a part of a request head is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// Not a token, empty, or too long.
    #[error("the method is no token of 1 to 32 bytes")]
    Method,
    /// The authority, and what is wrong with it.
    #[error("the authority is refused: {0}")]
    Authority(&'static str),
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// threats.md 43: a lower-case method is another method, not a way around a rule.
    #[test]
    fn t43_methods_are_tokens_compared_with_case() {
        assert_eq!(Method::parse(b"GET").unwrap(), Method::GET);
        assert_ne!(Method::parse(b"get").unwrap(), Method::GET);
        for (method, passed) in [
            ("GET", true),
            ("get", true),
            ("TRACEX", true),
            ("TRACE", false),
            ("Trace", false),
            ("TRACK", false),
            ("track", false),
            ("CONNECT", false),
            ("connect", false),
        ] {
            let parsed = Method::parse(method.as_bytes()).unwrap();
            assert_eq!(parsed.is_passed_on(), passed, "{method}");
        }
        assert_eq!(Method::parse(b"PROPFIND").unwrap().as_str(), "PROPFIND");
        assert!(
            Method::HEAD.is_safe()
                && !Method::POST.is_safe()
                && !Method::parse(b"get").unwrap().is_safe()
        );
        for bad in [&b""[..], b"GE T", b"GET\r", b"G\0", &[b'A'; 33]] {
            assert_eq!(Method::parse(bad), Err(HeadError::Method));
        }
    }

    #[test]
    fn authorities_have_one_form() {
        let cases = [
            (
                "API.Example.com",
                "api.example.com",
                None,
                "api.example.com",
            ),
            (
                "api.example.com.:8443",
                "api.example.com",
                Some(8443),
                "api.example.com:8443",
            ),
            ("h:", "h", None, "h"),
            ("127.0.0.1:80", "127.0.0.1", Some(80), "127.0.0.1:80"),
            (
                "[2001:DB8:0::1]:443",
                "2001:db8::1",
                Some(443),
                "[2001:db8::1]:443",
            ),
            ("[::1]", "::1", None, "[::1]"),
            ("a_b-c.d1", "a_b-c.d1", None, "a_b-c.d1"),
        ];
        for (raw, host, port, printed) in cases {
            let authority = Authority::parse(raw.as_bytes()).unwrap();
            assert_eq!((authority.host(), authority.port()), (host, port), "{raw}");
            assert_eq!(authority.to_string(), printed);
        }
    }

    #[test]
    fn a_shared_authority_is_the_same_and_no_copy_where_it_can_be() {
        for raw in ["api.test:8443", "API.test.", "[::1]:80", "api.test."] {
            let shared = Bytes::from(raw);
            let authority = Authority::parse_shared(&shared).unwrap();
            assert_eq!(Ok(&authority), Authority::parse(raw.as_bytes()).as_ref());
            let kept = shared.as_ptr() == authority.host.as_ptr();
            assert_eq!(kept, raw.starts_with("api"), "{raw}");
        }
        assert!(Authority::parse_shared(&Bytes::from_static(b"a b")).is_err());
    }

    #[test]
    fn ambiguous_authorities_are_refused() {
        let long = "a".repeat(64);
        for bad in [
            "",
            ":80",
            "user@host",
            "user:pw@host",
            "a..b",
            ".a",
            "a b",
            "ho%73t",
            "h/",
            "h?",
            "h#",
            "h\\",
            "h\0",
            "1",
            "127.1",
            "0177.0.0.1",
            "256.1.1.1",
            "h:0",
            "h:65536",
            "h:080",
            "h:+80",
            "h:8a",
            "h:80:80",
            "::1",
            "[::1",
            "[::1]x",
            "[::1%eth0]",
            "[127.0.0.1]",
            "hä",
            &long,
        ] {
            assert!(Authority::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn printing_and_parsing_an_authority_agree(raw in "[a-zA-Z0-9._:\\[\\]-]{1,30}") {
            if let Ok(authority) = Authority::parse(raw.as_bytes()) {
                let mut appended = Vec::new();
                authority.append(&mut appended);
                prop_assert_eq!(&appended, &authority.to_string().into_bytes());
                let again = Authority::parse(&appended);
                prop_assert_eq!(again, Ok(authority));
            }
        }
    }
}
