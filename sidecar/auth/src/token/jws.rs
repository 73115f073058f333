//! A strict reader of signed tokens in compact form (RFC 7515 section 7.1), in front of any
//! cryptography.
//!
//! It accepts exactly one spelling of each token: three segments of base64url without padding,
//! whitespace or stray bits, each a JSON object of bounded size in which no member stands twice. So
//! one content under one signature is one string, and the cache can go by the string. A later deny list
//! cannot: anybody can turn an ECDSA signature (r, s) into (r, n-s), which verifies too, and has another
//! string for the same content. It must go by `jti` or subject. Everything that would let the sender of
//! the token choose how it is checked is refused (`crit`, `b64`, `zip`) or never looked at (`jwk`, `jku`,
//! `x5u`, `x5c`).

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::json::{self, Limits};
use crate::reason::Reason;
use crate::refusal::{Refusal, quote};

/// The longest `kid`, in bytes of UTF-8.
pub const MAX_KID: usize = 1024;

/// Levels of objects and arrays in header and payload.
pub const MAX_DEPTH: usize = 16;

const HEADER: Limits = Limits {
    depth: MAX_DEPTH,
    members: 64,
    values: 256,
};

const PAYLOAD: Limits = Limits {
    depth: MAX_DEPTH,
    members: 512,
    values: 4096,
};

/// A well-formed token, nothing of it verified.
pub struct Jws<'t> {
    /// What the header says.
    pub header: Header,
    /// The payload.
    pub payload: Map<String, Value>,
    /// What the signature covers: the first two segments with the dot between them.
    pub signed: &'t [u8],
    /// The decoded signature; empty if the segment is.
    pub signature: Vec<u8>,
}

/// Prints lengths: content and signature together are the token.
impl fmt::Debug for Jws<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jws")
            .field("header", &self.header)
            .field("claims", &self.payload.len())
            .field("signed_bytes", &self.signed.len())
            .field("signature_bytes", &self.signature.len())
            .finish()
    }
}

/// The members of a JOSE header that Tollgate looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The algorithm as the sender names it.
    pub alg: String,
    /// The name of the key, at most [`MAX_KID`] bytes.
    pub kid: Option<String>,
    /// The type of the token.
    pub typ: Typ,
}

/// The `typ` of a token (RFC 7515 section 4.1.9). Others are refused: a logout token, a DPoP proof or a
/// security event is signed by the same issuer and must not pass for an access token (RFC 8725 section
/// 3.11).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Typ {
    /// No `typ`.
    Absent,
    /// `JWT`.
    Jwt,
    /// `at+jwt` (RFC 9068).
    AccessToken,
}

impl<'t> Jws<'t> {
    /// Reads `token`, which the caller has already found short enough.
    ///
    /// # Errors
    /// [`Reason::TokenMalformed`], or [`Reason::HeaderUnsupported`] for `crit`, `b64`, `zip` and foreign
    /// `typ`s.
    pub fn parse(token: &'t [u8]) -> Result<Self, Refusal> {
        let [header, payload, signature] = split(token)?;
        let header = Header::read(header)?;
        let signed = &token[..token.len() - signature.len() - 1];
        Ok(Self {
            header,
            payload: json::object(&base64url("payload", payload)?, PAYLOAD)
                .map_err(|e| malformed(format!("the payload is refused: {e}")))?,
            signed,
            signature: base64url("signature", signature)?,
        })
    }
}

/// The three segments. Dots are searched only as far as needed: a token of many dots costs nothing.
pub(super) fn split(token: &[u8]) -> Result<[&[u8]; 3], Refusal> {
    let mut dots = memchr::memchr_iter(b'.', token);
    match (dots.next(), dots.next(), dots.next()) {
        (Some(first), Some(second), None) => Ok([
            &token[..first],
            &token[first + 1..second],
            &token[second + 1..],
        ]),
        (_, _, Some(_)) => Err(malformed(
            "more than three segments; encrypted tokens are not accepted",
        )),
        _ => Err(malformed("fewer than three segments")),
    }
}

impl Header {
    pub(super) fn read(segment: &[u8]) -> Result<Self, Refusal> {
        let mut unsupported = None;
        let (mut alg, mut kid, mut typ) = (None, None, None);
        let text = base64url("header", segment)?;
        json::members(&text, HEADER, |name, value| match name {
            "alg" => alg = Some(value),
            "kid" => kid = Some(value),
            "typ" => typ = Some(value),
            "crit" | "b64" | "zip" => {
                unsupported = unsupported.take().or_else(|| Some(name.to_owned()));
            }
            // Never looked at: `jwk`, `jku`, `x5u`, `x5c` and their kind.
            _ => {}
        })
        .map_err(|e| malformed(format!("the header is refused: {e}")))?;
        if let Some(name) = unsupported {
            return Err(Refusal::new(
                Reason::HeaderUnsupported,
                format!("the header holds {name:?}, which is not supported"),
            ));
        }
        let alg = match alg {
            Some(Value::String(alg)) => alg,
            Some(_) => return Err(malformed("\"alg\" is no string")),
            None => return Err(malformed("the header has no \"alg\"")),
        };
        let kid = match kid {
            None => None,
            Some(Value::String(kid)) if kid.len() <= MAX_KID => Some(kid),
            Some(Value::String(_)) => return Err(malformed("\"kid\" is longer than 1024 bytes")),
            Some(_) => return Err(malformed("\"kid\" is no string")),
        };
        let typ = match typ {
            None => Typ::Absent,
            Some(Value::String(typ)) => Typ::read(&typ)?,
            Some(_) => return Err(malformed("\"typ\" is no string")),
        };
        Ok(Self { alg, kid, typ })
    }
}

impl Typ {
    fn read(typ: &str) -> Result<Self, Refusal> {
        // "application/" may be left out where no other slash follows (RFC 7515 section 4.1.9).
        let short = match typ.split_at_checked("application/".len()) {
            Some((prefix, rest)) if prefix.eq_ignore_ascii_case("application/") => rest,
            _ => typ,
        };
        if short.eq_ignore_ascii_case("JWT") {
            Ok(Self::Jwt)
        } else if short.eq_ignore_ascii_case("at+jwt") {
            Ok(Self::AccessToken)
        } else {
            Err(Refusal::new(
                Reason::HeaderUnsupported,
                format!("\"typ\" is {}; JWT and at+jwt are accepted", quote(typ)),
            ))
        }
    }
}

pub(super) fn base64url(part: &str, segment: &[u8]) -> Result<Vec<u8>, Refusal> {
    // The engine refuses padding, other alphabets, whitespace and trailing bits that are not zero.
    URL_SAFE_NO_PAD
        .decode(segment)
        .map_err(|_| malformed(format!("the {part} is no strict base64url")))
}

fn malformed(detail: impl Into<std::borrow::Cow<'static, str>>) -> Refusal {
    Refusal::new(Reason::TokenMalformed, detail)
}

#[cfg(test)]
mod tests;
