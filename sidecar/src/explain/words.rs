//! What the parts of an explanation are made of.

use serde_json::Map;
use tollgate_auth::reason::Reason;
use tollgate_auth::token::explain::{Check, Outcome};

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

pub(super) fn joined(words: impl Iterator<Item = impl ToString>, between: &str) -> String {
    let words: Vec<String> = words.map(|word| word.to_string()).collect();
    words.join(between)
}
