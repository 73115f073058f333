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
mod when;

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use self::differ::difference;
use self::when::{apart, date, spoken};
use super::cache::Fingerprint;
use super::checks;
use super::claims::Claims;
use super::issuer::{Candidate, Issuer, Keys, TokenType};
use super::jws::{Jws, Typ};
use super::keys::KeySet;
use crate::refusal::{Refusal, quote};
use crate::time::UnixTime;

/// Names that are listed of a longer list.
const LISTED: usize = 8;

/// An issuer whose tokens are accepted, with what is known of its keys and clock beside them.
#[derive(Clone, Debug)]
pub struct Subject<'a> {
    /// Its rule and keys.
    pub candidate: Candidate<'a>,
    /// Where its keys come from, in words.
    pub source: String,
    /// How long ago they were fetched or confirmed.
    pub age: Option<Duration>,
    /// Why the last fetch failed.
    pub last_error: Option<String>,
    /// How far its clock is from this host's.
    pub offset: Option<Offset>,
}

/// How far an issuer's clock is from this host's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Offset {
    /// Seconds that it is ahead; negative: behind.
    pub seconds: f64,
    /// Seconds that this may be wrong by.
    pub uncertainty: f64,
    /// What told.
    pub source: String,
}

/// The moment of the explanation.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// This host's clock.
    pub now: UnixTime,
    /// Whether the kernel holds it for synchronised; `None` if it cannot be asked.
    pub synchronised: Option<bool>,
}

/// A token explained. The names of its members are stable: `--json` prints it, the admin socket answers
/// with it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// Every check passed.
    pub accepted: bool,
    /// The first check that failed, as every refusal names it.
    pub reason: Option<String>,
    /// The name of the token in logs.
    pub fingerprint: String,
    /// The issuer that decided, by its name in the configuration.
    pub issuer: Option<String>,
    /// This host's clock, seconds since the epoch.
    pub now: f64,
    /// Whether the kernel holds that clock for synchronised.
    pub synchronised: Option<bool>,
    /// How far the issuer's clock is from it.
    pub offset: Option<Offset>,
    /// In the order in which they decide.
    pub checks: Vec<Check>,
    /// What else may help.
    pub notes: Vec<String>,
}

/// One check.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// Its name: `size`, `form`, `algorithm`, `issuer`, `type`, `keys`, `key`, `signature`, `claims`,
    /// `expiry`, `not_before`, `issued_at`, `audience`.
    pub name: String,
    /// How it ended.
    pub outcome: Outcome,
    /// The word of its refusal.
    pub reason: Option<String>,
    /// The deciding names and numbers.
    pub says: String,
}

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It holds.
    Passed,
    /// It does not.
    Failed,
    /// An earlier failure leaves nothing to check.
    NotReached,
}

/// Explains the verdict on `token`; the same as [`super::jwt::verify`] gives.
pub fn explain(token: &[u8], subjects: &[Subject<'_>], clock: Clock) -> Explanation {
    let mut report = Report {
        checks: Vec::with_capacity(NAMES.len()),
        notes: Vec::new(),
    };
    let subject = run(token, subjects, clock, &mut report);
    let reached = report.checks.len();
    report
        .checks
        .extend(NAMES[reached..].iter().map(|name| Check {
            name: (*name).to_owned(),
            outcome: Outcome::NotReached,
            reason: None,
            says: String::new(),
        }));
    let failed = report.checks.iter().find_map(|check| check.reason.clone());
    Explanation {
        accepted: failed.is_none(),
        reason: failed,
        fingerprint: Fingerprint::of(token).to_string(),
        issuer: subject.map(|subject| subject.candidate.issuer.name.to_string()),
        now: clock.now.since_epoch().as_secs_f64(),
        synchronised: clock.synchronised,
        offset: subject.and_then(|subject| subject.offset.clone()),
        checks: report.checks,
        notes: report.notes,
    }
}

/// The checks in their order.
const NAMES: [&str; 13] = [
    "size",
    "form",
    "algorithm",
    "issuer",
    "type",
    "keys",
    "key",
    "signature",
    "claims",
    "expiry",
    "not_before",
    "issued_at",
    "audience",
];

struct Report {
    checks: Vec<Check>,
    notes: Vec<String>,
}

impl Report {
    /// Notes the next check: what it says where it passes, and after its refusal where it does not.
    fn note<T>(&mut self, result: Result<T, Refusal>, says: impl Into<String>) -> Option<T> {
        let says = says.into();
        let name = NAMES[self.checks.len()].to_owned();
        let (outcome, reason, says, value) = match result {
            Ok(value) => (Outcome::Passed, None, says, Some(value)),
            Err(refusal) => {
                let says = match (refusal.detail.as_ref(), says.as_str()) {
                    (detail, "") => detail.to_owned(),
                    (_, says) => says.to_owned(),
                };
                let reason = refusal.reason.word().to_owned();
                (Outcome::Failed, Some(reason), says, None)
            }
        };
        self.checks.push(Check {
            name,
            outcome,
            reason,
            says,
        });
        value
    }

    /// The token is too large for the issuer that it turned out to be of.
    fn belie_size(&mut self, refusal: Refusal) {
        if let Some(size) = self.checks.first_mut() {
            size.outcome = Outcome::Failed;
            size.reason = Some(refusal.reason.word().to_owned());
            size.says = refusal.detail.into_owned();
        }
    }

    /// The next check has nothing to look at.
    fn skip(&mut self, why: &str) {
        self.checks.push(Check {
            name: NAMES[self.checks.len()].to_owned(),
            outcome: Outcome::NotReached,
            reason: None,
            says: why.to_owned(),
        });
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
    report.note(
        limit.and_then(|limit| checks::size(token, limit)),
        format!("{} bytes; {shown} are the limit", token.len()),
    )?;
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
    // What no issuer accepts fails before the issuer is known, what this one does not after; one line says both.
    let (algorithm, accepted) = match (&listed, narrowed) {
        (Ok(_), Ok(own)) => (checks::algorithm(&jws.header.alg, own), own),
        _ => (listed, accepted),
    };
    if let Ok(at) = &selected
        && let Err(refusal) = checks::size(token, candidates[*at].issuer.max_bytes)
    {
        report.belie_size(refusal);
    }
    let algorithm = report.note(
        algorithm,
        format!("alg is {}; accepted are {accepted}", quote(&jws.header.alg)),
    );
    let says = issuer_line(&jws, &candidates, selected.as_ref().ok().copied());
    let is_selected = report.note(selected, says).is_some();
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
    algorithm: Option<super::Algorithm>,
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
    let found = checks::key(set, kid, algorithm, issuer);
    let says = match &found {
        Ok(_) => key_line(set, kid, algorithm),
        Err(refusal) => format!("{}; {}", refusal.detail, set_line(set, kid)),
    };
    match report.note(found, says) {
        None => report.skip("no key to check it with"),
        Some(key) => {
            let result = checks::signature(key, jws, algorithm, issuer);
            let says = match &result {
                Ok(()) => format!("{algorithm} over {} bytes verifies", jws.signed.len()),
                Err(_) => format!(
                    "{algorithm} over {} bytes does not verify under this key: another key of the same name signed it, or it was changed",
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
    }
    report.note(
        checks::audience(&claims, issuer),
        format!(
            "aud {}; accepted is any of {}",
            list(claims.audiences()),
            list(issuer.audiences.iter().map(String::as_str))
        ),
    );
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
        let theirs = if offset.seconds < 0.0 {
            clock.now - Duration::from_secs_f64(-offset.seconds)
        } else {
            clock.now + Duration::from_secs_f64(offset.seconds)
        };
        let way = if offset.seconds < 0.0 {
            "behind"
        } else {
            "ahead of"
        };
        let verdict = if timely(theirs) {
            "by its clock the token is in time: set this host's clock right, or the issuer's"
        } else {
            "by its clock the token is out of time as well"
        };
        report.notes.push(format!(
            "the issuer's clock seems {:.1} s {way} this host's (± {:.1} s, by its {}); {verdict}",
            offset.seconds.abs(),
            offset.uncertainty,
            offset.source
        ));
    }
    if clock.synchronised == Some(false) {
        let note = "the kernel does not hold this host's clock for synchronised: is a time daemon running?";
        report.notes.push(note.to_owned());
    }
}

fn issuer_line(jws: &Jws<'_>, candidates: &[Candidate<'_>], selected: Option<usize>) -> String {
    let Some(Value::String(said)) = jws.payload.get("iss") else {
        // The refusal says what is wrong with it.
        return String::new();
    };
    match (selected, candidates) {
        (Some(at), _) => {
            let issuer = candidates[at].issuer;
            format!(
                "iss {} is that of {:?}, byte for byte",
                quote(said),
                issuer.name
            )
        }
        (None, [only]) => {
            let ours = &only.issuer.issuer;
            format!(
                "iss {} is not {} of {:?}: {}",
                quote(said),
                quote(ours),
                only.issuer.name,
                difference(said, ours)
            )
        }
        (None, all) => {
            let close = all.iter().find_map(|c| {
                let hint = differ::likeness(said, &c.issuer.issuer)?;
                Some(format!("; nearest is {:?}: {hint}", c.issuer.name))
            });
            format!(
                "iss {} is none of {}{}",
                quote(said),
                list(all.iter().map(|c| c.issuer.issuer.as_str())),
                close.unwrap_or_default()
            )
        }
    }
}

fn type_line(jws: &Jws<'_>, issuer: &Issuer) -> String {
    let said = match jws.header.typ {
        Typ::Absent => "no typ",
        Typ::Jwt => "typ is JWT",
        Typ::AccessToken => "typ is at+jwt",
    };
    match issuer.token_type {
        TokenType::Any => format!("{said}; any is accepted"),
        TokenType::AccessTokenJwt => format!("{said}; at+jwt alone is accepted (RFC 9068)"),
    }
}

fn keys_line(subject: &Subject<'_>) -> String {
    let age = subject.age.map(|age| format!(", {} old", spoken(age)));
    let error = subject.last_error.as_ref();
    let error = error.map(|why| format!("; the last fetch failed: {why}"));
    let what = match subject.candidate.keys {
        Keys::Ready { set, generation } => {
            let skipped = match set.skipped().len() {
                0 => String::new(),
                some => format!(", {some} unusable"),
            };
            format!("{} key(s){skipped}, generation {generation}", set.len())
        }
        Keys::Unavailable => "none yet".to_owned(),
        Keys::Stale => "too old to be used (`keys.max_stale`)".to_owned(),
    };
    format!(
        "{what}, from {}{}{}",
        subject.source,
        age.unwrap_or_default(),
        error.unwrap_or_default()
    )
}

fn key_line(set: &KeySet, kid: Option<&str>, algorithm: super::Algorithm) -> String {
    let fits = |key: &super::keys::KeyInfo<'_>| {
        key.algorithms.contains(algorithm) && (kid.is_none() || key.kid == kid)
    };
    match (set.entries().find(fits), kid) {
        (Some(key), Some(kid)) => format!(
            "kid {}: {}, {} bits, for {}",
            quote(kid),
            key.kind,
            key.bits,
            key.algorithms
        ),
        (Some(key), None) => format!(
            "no kid; the only key for {algorithm}: {}, {} bits",
            key.kind, key.bits
        ),
        (None, _) => String::new(),
    }
}

/// What the set has instead.
fn set_line(set: &KeySet, kid: Option<&str>) -> String {
    let known = format!("known are {}", list(set.kids()));
    let skipped = set
        .skipped()
        .iter()
        .find(|key| kid.is_some() && key.kid == kid.map(quote));
    match skipped {
        Some(key) => format!("{known}; one of that name cannot be used: {}", key.why),
        None => known,
    }
}

fn list<'v>(values: impl Iterator<Item = &'v str>) -> String {
    let all: Vec<_> = values.map(quote).collect();
    let more = all.len().saturating_sub(LISTED);
    let shown = all[..all.len() - more].join(", ");
    match more {
        0 => format!("[{shown}]"),
        more => format!("[{shown}] and {more} more"),
    }
}

#[cfg(test)]
mod tests;
