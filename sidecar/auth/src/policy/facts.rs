//! What a rule may know of a request beside the claims.

use std::fmt::Write as _;
use std::net::IpAddr;

use serde_json::{Map, Value};
use tollgate_http::RequestHead;

/// A request as its client may describe it. Whoever makes it has removed from the head what a client may not say:
/// fields of the connection, managed names in any spelling, and what only a trusted proxy vouches for
/// ([`mod@crate::header::scrub`]). A rule reads what is left.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'r> {
    /// Method, host, path and fields.
    pub head: &'r RequestHead,
    /// Where the request comes from.
    pub source: IpAddr,
    /// The client's certificate, where it showed one that was verified.
    pub client: Option<&'r TlsClient>,
}

/// A verified client certificate, in the form that rules read: `tls.client`.
///
/// Made once for a connection, so that no request pays for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsClient(Map<String, Value>);

impl TlsClient {
    /// What a certificate says. `subject` is its distinguished name (RFC 4514), `san_dns` and `san_uri` are its
    /// alternative names (RFC 5280 section 4.2.1.6), `fingerprint` is the SHA-256 of its DER.
    pub fn new(
        subject: String,
        san_dns: Vec<String>,
        san_uri: Vec<String>,
        fingerprint: &[u8; 32],
    ) -> Self {
        let mut hex = String::with_capacity(64);
        for byte in fingerprint {
            // Writing to a string cannot fail.
            let _ = write!(hex, "{byte:02x}");
        }
        Self(Map::from_iter([
            ("subject".to_owned(), subject.into()),
            ("san_dns".to_owned(), san_dns.into()),
            ("san_uri".to_owned(), san_uri.into()),
            ("fingerprint".to_owned(), hex.into()),
        ]))
    }

    /// The names that a rule may ask for behind `tls.client`.
    pub const NAMES: [&str; 4] = ["fingerprint", "san_dns", "san_uri", "subject"];

    pub(super) fn json(&self) -> &Map<String, Value> {
        &self.0
    }
}
