//! What status says of health.

use std::time::SystemTime;

use serde_json::{Value, json};

use super::group::Name;

/// What is known of one group.
#[derive(Clone, Debug)]
pub struct GroupReport {
    /// Whose members they are.
    pub name: Name,
    /// What checks ask: `tcp`, `http`, `https`, `grpc`.
    pub probe: &'static str,
    /// All members are used, since too few are up.
    pub panic: bool,
    /// One by one, in the order of the file.
    pub members: Vec<MemberReport>,
}

/// What is known of one member.
#[derive(Clone, Debug)]
pub struct MemberReport {
    /// Who it is.
    pub address: String,
    /// `unproved`, `up`, `starting` or `down`.
    pub state: &'static str,
    /// Since when it is up or down.
    pub since: SystemTime,
    /// Quarters of its share that it has; 0 to 4.
    pub quarters: u8,
    /// Checks in a row that say the opposite of `state`.
    pub against: u32,
    /// Of so many that turn it.
    pub needed: u32,
    /// Checks that passed.
    pub passed: u64,
    /// Checks that did not, by why.
    pub failed: Vec<(&'static str, u64)>,
    /// Why the last one that did not pass did not, and when.
    pub last_failure: Option<(String, SystemTime)>,
}

/// All groups for `status --json`.
pub fn json(groups: &[GroupReport]) -> Value {
    let time = |time: SystemTime| humantime::format_rfc3339_millis(time).to_string();
    let member = |one: &MemberReport| {
        let failed: serde_json::Map<_, _> = one
            .failed
            .iter()
            .map(|(word, count)| ((*word).to_owned(), (*count).into()))
            .collect();
        json!({
            "address": one.address,
            "state": one.state,
            "since": time(one.since),
            "share": f64::from(one.quarters) / 4.0,
            "against": one.against,
            "needed": one.needed,
            "passed": one.passed,
            "failed": failed,
            "last_failure": one.last_failure.as_ref().map(|(why, at)| json!({ "why": why, "at": time(*at) })),
        })
    };
    let group = |one: &GroupReport| {
        json!({
            "kind": one.name.kind.word(),
            "name": &*one.name.name,
            "probe": one.probe,
            "panic": one.panic,
            "members": one.members.iter().map(member).collect::<Vec<_>>(),
        })
    };
    groups.iter().map(group).collect()
}
