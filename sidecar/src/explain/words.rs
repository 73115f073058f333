//! What the parts of an explanation are made of.

use std::borrow::Cow;

use serde_json::Map;
use tollgate_auth::reason::Reason;
use tollgate_auth::token::explain::{Check, Outcome};
use tollgate_auth::token::redact::redact;
use tollgate_http::Path;

/// A check that passed, or failed for this reason.
pub(super) fn check(name: &str, reason: Option<Reason>, says: String) -> Check {
    Check {
        name: name.to_owned(),
        outcome: match reason {
            None => Outcome::Passed,
            Some(_) => Outcome::Failed,
        },
        reason: reason.map(|reason| reason.word().to_owned()),
        says,
        facts: Map::new(),
    }
}

/// A check that an earlier failure leaves nothing to look at.
pub(super) fn not_reached(name: &str) -> Check {
    Check {
        outcome: Outcome::NotReached,
        ..check(name, None, String::new())
    }
}

/// A path as the access log has it: without what may be a token.
pub(super) fn shown(path: &Path) -> Cow<'_, str> {
    redact(path.as_str())
}

/// A path as the client wrote it, likewise. Letters of a token may be percent-encoded there, which only the path's form
/// tells: where that holds one, it is what is shown.
pub(super) fn written(raw: &str) -> String {
    if let Ok(path) = Path::parse(raw.as_bytes()) {
        let shown = shown(&path);
        if shown != path.as_str() {
            return shown.into_owned();
        }
    }
    redact(raw).escape_debug().to_string()
}

pub(super) fn joined(words: impl Iterator<Item = impl ToString>, between: &str) -> String {
    let words: Vec<String> = words.map(|word| word.to_string()).collect();
    words.join(between)
}
