//! Requests for the tests of rules.

use bytes::Bytes;
use tollgate_http::{Authority, Fields, Method, Path, RequestHead, Scheme, Version};

/// `GET https://api.example.com/orders/7` with these fields.
pub(crate) fn request(fields: &[(&str, &[u8])]) -> RequestHead {
    let mut all = Fields::new();
    for (name, value) in fields {
        all.push(
            Bytes::copy_from_slice(name.as_bytes()),
            Bytes::copy_from_slice(value),
        );
    }
    RequestHead {
        method: Method::GET,
        scheme: Scheme::Https,
        authority: Some(Authority::parse(b"api.example.com").unwrap()),
        path: Path::parse(b"/orders/7").unwrap(),
        query: None,
        version: Version::Http2,
        fields: all,
    }
}
