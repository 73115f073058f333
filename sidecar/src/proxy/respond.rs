//! A rejection as a response: status, challenge (RFC 6750, section 3), and in the form that the client prefers a problem
//! document (RFC 9457), a page or a few lines. All of them say the reason, the request id and the operator's own text;
//! nothing of the request, its token or the configuration.

mod page;

use bytes::Bytes;
use tollgate_auth::reason::Reason;
use tollgate_http::{Fields, ResponseHead};

use super::manner::{Form, Manner};
use super::rejection::Rejection;

/// The response that tells a client why, and no more than that.
pub(super) fn refusal(
    rejection: &Rejection,
    request_id: &str,
    manner: &Manner<'_>,
) -> (ResponseHead, Bytes) {
    let reason = rejection.reason();
    let status = reason.status();
    let told = Told {
        reason,
        title: title(status),
        text: manner.text(reason),
        request_id,
    };
    let form = manner.form();
    let body = Bytes::from(told.body(form));

    let mut fields = Fields::with_capacity(12);
    fields.push("content-type", content_type(form));
    fields.push("content-length", body.len().to_string());
    fields.push("vary", "accept");
    // A refusal belongs to this request alone.
    fields.push("cache-control", "no-store");
    fields.push("x-content-type-options", "nosniff");
    if form == Form::Html {
        fields.push("content-security-policy", page::POLICY);
    }
    for challenge in manner.challenges(reason) {
        fields.push("www-authenticate", challenge);
    }
    if let Rejection::MethodNotAllowed(allowed) = rejection {
        let allowed: Vec<&str> = allowed.iter().map(tollgate_http::Method::as_str).collect();
        fields.push("allow", allowed.join(", "));
    }
    if let Some(seconds) = reason.retry_after() {
        fields.push("retry-after", seconds.to_string());
    }
    (ResponseHead { status, fields }, body)
}

/// All that a body says.
struct Told<'t> {
    reason: Reason,
    /// The status in words; with no `type` that is what RFC 9457, section 4.2.1, asks for.
    title: &'static str,
    text: Option<&'t str>,
    request_id: &'t str,
}

impl Told<'_> {
    fn body(&self, form: Form) -> String {
        match form {
            Form::Problem | Form::Json => self.problem(),
            Form::Html => page::render(self.title, self.reason, self.text, self.request_id),
            Form::Plain => self.lines(),
        }
    }

    fn problem(&self) -> String {
        let mut problem = serde_json::json!({
            "title": self.title,
            "status": self.reason.status(),
            "reason": self.reason.word(),
            "request_id": self.request_id,
        });
        if let Some(text) = self.text {
            problem["detail"] = text.into();
        }
        problem.to_string()
    }

    fn lines(&self) -> String {
        let Self {
            reason,
            title,
            request_id,
            ..
        } = self;
        let text = self
            .text
            .map(|text| format!("{text}\n"))
            .unwrap_or_default();
        format!(
            "{} {title}\n{}\n{text}{}\nreason: {reason}\nrequest id: {request_id}\n",
            reason.status(),
            reason.sentence(),
            reason.remedy().text()
        )
    }
}

fn content_type(form: Form) -> &'static str {
    match form {
        Form::Html => "text/html; charset=utf-8",
        Form::Plain => "text/plain; charset=utf-8",
        Form::Problem | Form::Json => form.media_type(),
    }
}

fn title(status: u16) -> &'static str {
    http::StatusCode::from_u16(status)
        .ok()
        .and_then(|status| status.canonical_reason())
        .unwrap_or("Error")
}

#[cfg(test)]
mod tests;
