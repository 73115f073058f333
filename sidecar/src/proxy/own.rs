//! A listener's own documents as answers.

use bytes::Bytes;
use tollgate_auth::time::UnixTime;
use tollgate_http::{Fields, Method, ResponseHead};

use super::rejection::Rejection;
use crate::snapshot::own::OwnDocument;

/// What an own document answers to `method`. Pages of every origin may read it, whatever fields their requests have:
/// it is public, and the same for everyone.
///
/// # Errors
///
/// 405: it can be read, and nothing else.
pub(super) fn answer(
    document: &OwnDocument,
    method: &Method,
    now: UnixTime,
) -> Result<(ResponseHead, Bytes), Rejection> {
    let mut fields = Fields::with_capacity(8);
    fields.push("access-control-allow-origin", "*");
    if *method == Method::OPTIONS {
        fields.push("allow", "GET, HEAD, OPTIONS");
        fields.push("access-control-allow-methods", "GET, HEAD");
        // Without credentials the asterisk is every field but `Authorization`, which nobody needs here (Fetch, 3.3.4).
        fields.push("access-control-allow-headers", "*");
        let head = ResponseHead {
            status: 204,
            fields,
        };
        return Ok((head, Bytes::new()));
    }
    if *method != Method::GET && *method != Method::HEAD {
        let allowed = vec![Method::GET, Method::HEAD, Method::OPTIONS];
        return Err(Rejection::MethodNotAllowed(allowed));
    }
    let body = document.content.at(now);
    fields.push("content-type", document.content_type);
    fields.push("content-length", body.len().to_string());
    fields.push(
        "cache-control",
        format!("max-age={}", document.max_age.as_secs()),
    );
    fields.push("x-content-type-options", "nosniff");
    let head = ResponseHead {
        status: 200,
        fields,
    };
    Ok((head, body))
}
