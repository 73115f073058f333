//! What the upstream is told in a form that it can check: the signed assertion.

use bytes::Bytes;
use tollgate_auth::header::assertion::{Bind, Facts, Request, Signer};
use tollgate_auth::reason::Reason;
use tollgate_auth::refusal::Refusal;
use tollgate_auth::time::UnixTime;
use tollgate_auth::token::cache::{Verdict, VerdictCache};
use tollgate_http::RequestHead;
use tollgate_http::fields::Field;

use crate::snapshot::{Route, Signing};

/// What an assertion is about.
pub(super) struct Subject<'s> {
    pub(super) verdict: &'s Verdict,
    /// The identity headers that were written.
    pub(super) lines: &'s [Field],
    /// The request as it is forwarded.
    pub(super) head: &'s RequestHead,
    pub(super) request_id: &'s str,
}

/// The assertion's value, by the rules of the route's upstream.
pub(super) fn assertion(
    verdicts: &VerdictCache,
    route: &Route,
    signing: &Signing,
    subject: &Subject<'_>,
    now: UnixTime,
) -> Result<Bytes, Refusal> {
    let rules = &*signing.rules;
    let signed = signing.keyring.window(now, |window| {
        let key = window.current();
        sign(verdicts, route, Signer { rules, key }, subject, now)
    });
    signed.map_err(|error| Refusal::new(Reason::AssertionUnsigned, error.to_string()))?
}

fn sign(
    verdicts: &VerdictCache,
    route: &Route,
    signer: Signer<'_>,
    subject: &Subject<'_>,
    now: UnixTime,
) -> Result<Bytes, Refusal> {
    let claims = subject.verdict.claims();
    let rule = route.token.as_ref();
    let until = rule.map_or_else(|| claims.expires(), |rule| rule.accepted_until(claims));
    match signer.rules.bind() {
        Bind::None => verdicts.assertion(
            subject.verdict,
            &signer,
            (&route.inject, subject.lines),
            until,
            now,
        ),
        Bind::Request => {
            let facts = Facts {
                claims,
                set: &route.inject,
                lines: subject.lines,
                until,
            };
            let head = subject.head;
            let request = Request {
                id: subject.request_id,
                method: &head.method,
                scheme: head.scheme,
                authority: head.authority.as_ref(),
                path: &head.path,
                query: head.query.as_deref(),
            };
            let assertion = signer.sign(&facts, Some(&request), now)?;
            Ok(assertion.value().clone())
        }
    }
}
