//! A rejection as a response: status, challenge (RFC 6750, section 3), problem document (RFC 9457).

use bytes::Bytes;
use tollgate_auth::reason::Reason;
use tollgate_http::{Fields, ResponseHead};

use super::rejection::Rejection;

/// The response that tells a client why, and no more than that.
pub(super) fn problem(rejection: &Rejection, request_id: &str) -> (ResponseHead, Bytes) {
    let reason = rejection.reason();
    let status = reason.status();
    let body = serde_json::json!({
        "title": title(status),
        "status": status,
        "reason": reason.word(),
        "request_id": request_id,
    });
    let body = Bytes::from(body.to_string());

    let mut fields = Fields::with_capacity(8);
    fields.push("content-type", "application/problem+json");
    fields.push("content-length", body.len().to_string());
    // A refusal belongs to this request alone.
    fields.push("cache-control", "no-store");
    if let Some(challenge) = challenge(reason) {
        fields.push("www-authenticate", challenge);
    }
    if let Rejection::MethodNotAllowed(allowed) = rejection {
        let allowed: Vec<&str> = allowed.iter().map(tollgate_http::Method::as_str).collect();
        fields.push("allow", allowed.join(", "));
    }
    if status == 503 {
        fields.push("retry-after", "1");
    }
    (ResponseHead { status, fields }, body)
}

/// RFC 6750, section 3: a request without a token learns the scheme only; one with a token learns the error code.
fn challenge(reason: Reason) -> Option<Bytes> {
    match (reason.status(), reason.error()) {
        (401, None) => Some(Bytes::from_static(b"Bearer")),
        (400 | 401 | 403, Some(error)) => Some(Bytes::from(format!(
            "Bearer error=\"{error}\", error_description=\"{}\"",
            reason.word()
        ))),
        _ => None,
    }
}

fn title(status: u16) -> &'static str {
    http::StatusCode::from_u16(status)
        .ok()
        .and_then(|status| status.canonical_reason())
        .unwrap_or("Error")
}
