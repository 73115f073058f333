//! An explanation as it grows, and as it is given.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::subject::Offset;
use crate::refusal::Refusal;

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
    /// The deciding names and numbers, in words.
    pub says: String,
    /// The same as values, for programs: sizes in bytes, times in seconds since the epoch, spans in seconds.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub facts: Map<String, Value>,
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

/// The checks in their order.
pub(super) const NAMES: [&str; 13] = [
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

pub(super) struct Report {
    pub(super) checks: Vec<Check>,
    pub(super) notes: Vec<String>,
}

impl Report {
    pub(super) fn new() -> Self {
        Self {
            checks: Vec::with_capacity(NAMES.len()),
            notes: Vec::new(),
        }
    }

    /// The checks, those that were not reached included.
    pub(super) fn end(mut self) -> (Vec<Check>, Vec<String>) {
        while self.checks.len() < NAMES.len() {
            self.skip("");
        }
        (self.checks, self.notes)
    }

    /// Notes the next check: what it says where it passes, and after its refusal where it does not.
    pub(super) fn note<T>(
        &mut self,
        result: Result<T, Refusal>,
        says: impl Into<String>,
    ) -> Option<T> {
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
            facts: Map::new(),
        });
        value
    }

    /// What decided the check that was noted last.
    pub(super) fn facts(&mut self, facts: Value) {
        if let (Some(check), Value::Object(facts)) = (self.checks.last_mut(), facts) {
            check.facts = facts;
        }
    }

    /// The token is too large for the issuer that it turned out to be of.
    pub(super) fn belie_size(&mut self, refusal: Refusal) {
        if let Some(size) = self.checks.first_mut() {
            size.outcome = Outcome::Failed;
            size.reason = Some(refusal.reason.word().to_owned());
            size.says = refusal.detail.into_owned();
        }
    }

    /// The next check has nothing to look at.
    pub(super) fn skip(&mut self, why: &str) {
        self.checks.push(Check {
            name: NAMES[self.checks.len()].to_owned(),
            outcome: Outcome::NotReached,
            reason: None,
            says: why.to_owned(),
            facts: Map::new(),
        });
    }
}
