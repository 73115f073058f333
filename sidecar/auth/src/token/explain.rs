//! Every check of a token, in order, with the numbers that decide: what `tollgate token explain` shows.
//!
//! The checks are those of [`super::jwt`]; they go on after the first failure wherever a later one can still
//! say something true, and the first that failed is the reason of the refusal. What is said of claims after
//! a bad signature is what the token says of itself.
//!
//! Nothing here repeats a token: neither its signature nor a segment of it. Of the header `alg`, `kid` and
//! `typ` are shown, of the claims the values of `iss`, `aud`, `exp`, `nbf` and `iat`, of the others their
//! names.

mod differ;
mod report;
mod subject;
mod when;
mod words;

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use self::report::Report;
use self::when::{apart, date, spoken};
use self::words::{LISTED, issuer_line, key_line, keys_line, list, set_line, short, type_line};
use super::algorithm::Algorithm;
use super::cache::Fingerprint;
use super::checks;
use super::claims::Claims;
use super::issuer::Candidate;
use super::jws::Jws;
use crate::refusal::quote;
use crate::time::UnixTime;

pub use self::report::{Check, Explanation, Outcome};
pub use self::subject::{Clock, Offset, Subject};

/// Explains the verdict on `token`; the same as [`super::jwt::verify`] gives.
pub fn explain(token: &[u8], subjects: &[Subject<'_>], clock: Clock) -> Explanation {
    let mut report = Report::new();
    let subject = run(token, subjects, clock, &mut report);
    let (checks, notes) = report.end();
    let failed = checks.iter().find_map(|check| check.reason.clone());
    Explanation {
        accepted: failed.is_none(),
        reason: failed,
        fingerprint: Fingerprint::of(token).to_string(),
        issuer: subject.map(|subject| subject.candidate.issuer.name.to_string()),
        now: clock.now.since_epoch().as_secs_f64(),
        synchronised: clock.synchronised,
        offset: subject.and_then(|subject| subject.offset.clone()),
        checks,
        notes,
    }
}

/// Runs the checks as far as they go; the subject whose rules decided, if one did.
fn run<'s, 'k>(
    token: &[u8],
    subjects: &'s [Subject<'k>],
    clock: Clock,
    report: &mut Report,
) -> Option<&'s Subject<'k>> {
    let candidates: Vec<Candidate<'_>> = subjects.iter().map(|s| s.candidate).collect();
    let limit = checks::limit(&candidates);
    let shown = limit.as_ref().map_or(0, |limit| *limit);
    let fits = report.note(
        limit.and_then(|limit| checks::size(token, limit)),
        format!("{} bytes; {shown} are the limit", token.len()),
    );
    report.facts(json!({ "bytes": token.len(), "limit": shown }));
    fits?;
    let jws = match Jws::parse(token) {
        Ok(jws) => report.note(Ok(jws), "three segments, strict base64url and JSON")?,
        Err(refusal) => report.note(Err(refusal), "")?,
    };
    let selected = checks::select(&jws.payload, &candidates);
    // The only one there is explains a token of another, too, as far as that goes.
    let subject = match (&selected, subjects) {
        (Ok(at), _) => Some(&subjects[*at]),
        (Err(_), [only]) => Some(only),
        (Err(_), _) => None,
    };
    let accepted = checks::listed(&candidates);
    let listed = checks::algorithm(&jws.header.alg, accepted);
    let narrowed = selected
        .as_ref()
        .map(|at| candidates[*at].issuer.algorithms);
    let is_listed = listed.is_ok();
    // What no issuer accepts fails before the issuer is known, what this one does not after; one line says both.
    let (algorithm, accepted) = match (&listed, narrowed) {
        (Ok(_), Ok(own)) => (checks::algorithm(&jws.header.alg, own), own),
        _ => (listed, accepted),
    };
    if let (Ok(at), true) = (&selected, is_listed)
        && let Err(refusal) = checks::size(token, candidates[*at].issuer.max_bytes)
    {
        report.belie_size(refusal);
    }
    let algorithm = report.note(
        algorithm,
        format!("alg is {}; accepted are {accepted}", quote(&jws.header.alg)),
    );
    let names: Vec<_> = accepted.iter().map(Algorithm::name).collect();
    report.facts(json!({ "alg": short(&jws.header.alg), "accepted": names }));
    let says = issuer_line(&jws, &candidates, selected.as_ref().ok().copied());
    let is_selected = report.note(selected, says).is_some();
    let ours: Vec<_> = candidates.iter().map(|c| &c.issuer.issuer).collect();
    let said = jws.payload.get("iss").and_then(Value::as_str).map(short);
    report.facts(json!({ "iss": said, "accepted": ours }));
    let subject = subject?;
    let issuer = subject.candidate.issuer;
    report.note(checks::typ(jws.header.typ, issuer), type_line(&jws, issuer));
    keys(&jws, subject, is_selected, algorithm, report);
    times(&jws, subject, clock, report);
    Some(subject)
}

/// `keys`, `key` and `signature`.
fn keys(
    jws: &Jws<'_>,
    subject: &Subject<'_>,
    is_selected: bool,
    algorithm: Option<Algorithm>,
    report: &mut Report,
) {
    let issuer = subject.candidate.issuer;
    if !is_selected {
        // Never a key of one issuer for a token of another (threats.md 25).
        for _ in 0..3 {
            report.skip("the token is of another issuer");
        }
        return;
    }
    let set = report.note(checks::keys(&subject.candidate), keys_line(subject));
    report.facts(json!({
        "age": subject.age.map(|age| age.as_secs_f64()),
        "kids": set.map(|set| set.kids().collect::<Vec<_>>()),
        "last_error": subject.last_error,
    }));
    let (Some(set), Some(algorithm)) = (set, algorithm) else {
        for _ in 0..2 {
            report.skip(match set {
                None => "there are no keys to look in",
                Some(_) => "no key is looked for with an algorithm that is not accepted",
            });
        }
        return;
    };
    let kid = jws.header.kid.as_deref();
    let found = checks::key(set, kid, algorithm, issuer)
        .map_err(|refusal| checks::doubted(refusal, subject.last_error.as_deref()));
    let says = match &found {
        Ok(_) => key_line(set, kid, algorithm),
        Err(refusal) => format!("{}; {}", refusal.detail, set_line(set, kid)),
    };
    let found = report.note(found, says);
    report.facts(json!({ "kid": kid.map(short) }));
    match found {
        None => report.skip("no key to check it with"),
        Some(key) => {
            let result = checks::signature(key, jws, algorithm, issuer);
            let says = match &result {
                Ok(()) => format!("{algorithm} over {} bytes verifies", jws.signed.len()),
                Err(_) => format!(
                    "{algorithm} over {} bytes does not verify under this key: another key signed it, or it was changed",
                    jws.signed.len()
                ),
            };
            report.note(result, says);
        }
    }
}

/// `claims`, `expiry`, `not_before`, `issued_at` and `audience`.
fn times(jws: &Jws<'_>, subject: &Subject<'_>, clock: Clock, report: &mut Report) {
    let issuer = subject.candidate.issuer;
    let names: Vec<_> = jws
        .payload
        .keys()
        .take(24)
        .map(|name| quote(name))
        .collect();
    let more = jws.payload.len().saturating_sub(names.len());
    let claims = Claims::new(
        Arc::clone(&issuer.name),
        jws.header.kid.clone(),
        jws.payload.clone(),
    );
    let says = match (&claims, more) {
        (Err(_), _) => String::new(),
        (Ok(_), 0) => format!("there are {}", names.join(", ")),
        (Ok(_), more) => format!("there are {} and {more} more", names.join(", ")),
    };
    let Some(claims) = report.note(claims, says) else {
        return;
    };
    let now = clock.now;
    let skew = issuer.clock_skew;
    report.note(
        checks::expires(&claims, issuer, now),
        format!(
            "exp {}; {}; clock_skew {}",
            date(claims.expires()),
            apart(now, claims.expires()),
            spoken(skew)
        ),
    );
    let fact = |name: &str, at: UnixTime| {
        let seconds = |time: UnixTime| time.since_epoch().as_secs_f64();
        json!({
            name: seconds(at),
            "from_now": seconds(at) - seconds(now),
            "clock_skew": skew.as_secs_f64(),
        })
    };
    report.facts(fact("exp", claims.expires()));
    for (name, at, result) in [
        (
            "nbf",
            claims.not_before(),
            checks::begins(&claims, issuer, now),
        ),
        (
            "iat",
            claims.issued_at(),
            checks::issued(&claims, issuer, now),
        ),
    ] {
        let says = match at {
            None => format!("no {name}"),
            Some(at) => format!(
                "{name} {}; {}; clock_skew {}",
                date(at),
                apart(now, at),
                spoken(skew)
            ),
        };
        report.note(result, says);
        if let Some(at) = at {
            report.facts(fact(name, at));
        }
    }
    report.note(
        checks::audience(&claims, issuer),
        format!(
            "aud {}; accepted is any of {}",
            list(claims.audiences()),
            list(issuer.audiences.iter().map(String::as_str))
        ),
    );
    let said: Vec<_> = claims.audiences().take(LISTED).map(short).collect();
    report.facts(json!({ "aud": said, "accepted": issuer.audiences }));
    clocks(&claims, subject, clock, report);
}

/// Says so where another clock would have decided otherwise.
fn clocks(claims: &Claims, subject: &Subject<'_>, clock: Clock, report: &mut Report) {
    let issuer = subject.candidate.issuer;
    let timely = |now| {
        checks::expires(claims, issuer, now)
            .and_then(|()| checks::begins(claims, issuer, now))
            .and_then(|()| checks::issued(claims, issuer, now))
            .is_ok()
    };
    if timely(clock.now) {
        return;
    }
    if let Some(offset) = &subject.offset {
        report.notes.push(offset_note(offset, clock.now, timely));
    }
    if clock.synchronised == Some(false) {
        let note = "the kernel does not hold this host's clock for synchronised: is a time daemon running?";
        report.notes.push(note.to_owned());
    }
}

/// What the issuer's clock is, as far as is known, and what it would have said.
fn offset_note(offset: &Offset, now: UnixTime, timely: impl Fn(UnixTime) -> bool) -> String {
    // Beyond all clocks: then there is no other time to ask about.
    let apart = Duration::try_from_secs_f64(offset.seconds.abs()).unwrap_or(Duration::MAX);
    let (theirs, way) = if offset.seconds < 0.0 {
        (now - apart, "behind")
    } else {
        (now + apart, "ahead of")
    };
    let (least, told_by) = match offset.source.as_str() {
        // A token cannot have been issued after it was seen: its clock may be further ahead.
        "iat" => ("at least ", "tokens' `iat`".to_owned()),
        "date" => ("", format!("`Date`, ± {:.1} s", offset.uncertainty)),
        other => ("", other.to_owned()),
    };
    let verdict = match (timely(theirs), least) {
        (true, _) => {
            "by its clock the token is in time: set this host's clock right, or the issuer's"
        }
        (false, "") => "by its clock the token is out of time as well",
        (false, _) => "whether the token is in time by its clock is not known",
    };
    format!(
        "the issuer's clock seems {least}{:.1} s {way} this host's (by its {told_by}); {verdict}",
        offset.seconds.abs()
    )
}

#[cfg(test)]
mod tests;
