//! `tollgate status` for a person.

use std::fmt::Write as _;
use std::time::{Duration, UNIX_EPOCH};

use serde_json::Value;
use tollgate_datapath::cost::Cost;

/// A screen for a person; `--json` has everything.
#[must_use]
pub fn summary(status: &Value) -> String {
    let word = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    };
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut text = String::new();
    let state = match (&status["draining"], &status["unready"]) {
        (Value::Bool(true), _) => "draining".to_owned(),
        (_, Value::Null) => "ready".to_owned(),
        (_, why) => format!("not ready: {}", word(why)),
    };
    let configuration = &status["configuration"];
    // Writing into a String cannot fail.
    let _ = writeln!(text, "tollgate {}  {state}", word(&status["version"]));
    let _ = writeln!(
        text,
        "configuration {}  loaded {}  reloads {}",
        word(&configuration["path"]),
        word(&configuration["loaded_at"]),
        word(&configuration["reloads"]),
    );
    if let Value::String(error) = &configuration["last_error"] {
        let _ = writeln!(text, "the last reload was refused:\n{error}");
    }
    if let Value::String(error) = &status["upgrade"]["last_error"] {
        let _ = writeln!(text, "the last upgrade came to nothing:\n{error}");
    }
    for one in list(&status["processes"]) {
        let _ = writeln!(text, "{}", process_line(&one));
    }
    for one in list(&status["listeners"]) {
        let _ = writeln!(
            text,
            "listener {:<16} {}",
            word(&one["name"]),
            word(&one["address"])
        );
    }
    for one in list(&status["issuers"]) {
        let _ = writeln!(
            text,
            "issuer   {:<16} {}, {} key(s), {} s old{}",
            word(&one["name"]),
            word(&one["state"]),
            word(&one["keys"]),
            word(&one["age_seconds"]),
            match &one["last_error"] {
                Value::String(error) => format!(", last fetch failed: {error}"),
                _ => String::new(),
            }
        );
        for skipped in list(&one["skipped"]) {
            let _ = writeln!(
                text,
                "         key {} is not used: {}",
                word(&skipped["kid"]),
                word(&skipped["why"]),
            );
        }
        if let Value::String(why) = &one["unwatched"] {
            let _ = writeln!(text, "         {why}");
        }
        if let Some(offset) = one["clock"]["ahead_seconds"].as_f64() {
            let _ = writeln!(text, "         {}", clock_line(&one["clock"], offset));
        }
    }
    let kids = list(&status["assertions"]["kids"]);
    let _ = writeln!(
        text,
        "signing  {}, key {}",
        match status["assertions"]["keys_of"].as_str() {
            Some("cluster") => "keys of the cluster",
            _ => "keys of this node alone (no `cluster: { secret: … }`)",
        },
        word(kids.first().unwrap_or(&Value::Null)),
    );
    let _ = writeln!(
        text,
        "clock    {}",
        match &status["clock"]["synchronised"] {
            Value::Bool(true) => format!(
                "synchronised, off by at most {} s",
                word(&status["clock"]["max_error_seconds"])
            ),
            Value::Bool(false) => "NOT synchronised, by what the kernel was told".to_owned(),
            _ => "the kernel does not say whether it is synchronised".to_owned(),
        }
    );
    let datapath = &status["datapath"];
    if datapath.is_null() {
        text.push_str("datapath none\n");
    }
    for one in list(&datapath["interfaces"]) {
        let how = match &one["attached"] {
            Value::Bool(false) => "NOT attached".to_owned(),
            _ => format!("{} XDP", word(&one["mode"])),
        };
        let (interface, why) = (word(&one["interface"]), word(&one["why"]));
        let _ = writeln!(text, "datapath {interface:<16} {how}: {why}");
    }
    for one in list(&datapath["warnings"]) {
        let _ = writeln!(text, "         WARNING: {}", word(&one["text"]));
    }
    if !datapath.is_null() {
        let _ = writeln!(text, "         {}", flows_line(&datapath["flows"]));
        if datapath["watched"] == true {
            text.push_str("         somebody captures packets or watches flows\n");
        }
        kernel_lines(&mut text, datapath);
    }
    let nat = &datapath["nat"];
    if !nat.is_null() {
        let _ = writeln!(
            text,
            "nat      {} of {} translations, two a flow",
            word(&nat["translations"]),
            word(&nat["translations_limit"]),
        );
    }
    for one in list(&nat["interfaces"]) {
        let how = match &one["attached"] {
            Value::Bool(false) => format!("NOT attached: {}", word(&one["why"])),
            _ => word(&one["how"]),
        };
        let _ = writeln!(text, "         {:<16} {how}", word(&one["interface"]));
    }
    for one in list(&datapath["services"]) {
        let _ = writeln!(
            text,
            "service  {:<16} {} by {}  {} packets",
            word(&one["name"]),
            word(&one["vip"]),
            word(&one["deliver"]),
            word(&one["packets"]),
        );
        let moving = &one["slots"]["moving"];
        if moving.as_u64().is_some_and(|moving| moving > 0) {
            let count = word(&one["slots"]["count"]);
            let _ = writeln!(
                text,
                "         {} of {count} slots are moving",
                word(moving)
            );
        }
        for (verdict, packets) in one["drops"].as_object().into_iter().flatten() {
            let _ = writeln!(text, "         {verdict:<16} {} packets", word(packets));
        }
        for backend in list(&one["backends"]) {
            let _ = writeln!(
                text,
                "         {:<16} via {}  {} packets",
                word(&backend["address"]),
                word(&backend["next_hop"]),
                word(&backend["packets"]),
            );
        }
    }
    for group in list(&status["health"]) {
        text.push_str(&health(&group));
    }
    text
}

/// What checks say of one service's backends or one upstream's endpoints.
fn health(group: &Value) -> String {
    let word = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let mut text = format!(
        "health   {:<16} {} by {}{}\n",
        word(&group["name"]),
        word(&group["kind"]),
        word(&group["probe"]),
        match group["panic"] {
            Value::Bool(true) => "  PANIC: too few are up, so all are used",
            _ => "",
        },
    );
    for one in group["members"].as_array().into_iter().flatten() {
        let share = match one["share"].as_f64() {
            Some(share) if share > 0.0 && share < 1.0 => {
                format!(", {:.0} % of its share", share * 100.0)
            }
            _ => String::new(),
        };
        let why = match &one["last_failure"]["why"] {
            Value::String(why) => {
                format!("; last failure {}: {why}", word(&one["last_failure"]["at"]))
            }
            _ => String::new(),
        };
        // Writing into a String cannot fail.
        let _ = writeln!(
            text,
            "         {:<16} {} since {}{share}{why}",
            word(&one["address"]),
            word(&one["state"]),
            word(&one["since"]),
        );
    }
    text
}

/// The kernel, and what of it is missing, each with what that costs.
fn kernel_lines(text: &mut String, datapath: &Value) {
    let features = datapath["features"].as_array();
    let all: Vec<&Value> = features.into_iter().flatten().collect();
    let there = |one: &&&Value| one["there"] == true;
    // Writing into a String cannot fail.
    let _ = writeln!(
        text,
        "kernel   {:<16} {} of {} features",
        datapath["kernel"].as_str().unwrap_or("-"),
        all.iter().filter(there).count(),
        all.len(),
    );
    for one in all {
        let (name, without) = (one["name"].as_str(), one["without"].as_str());
        let (name, without) = (name.unwrap_or("-"), without.unwrap_or("-"));
        let how = match &one["there"] {
            Value::Bool(true) => continue,
            Value::Bool(false) => "missing",
            _ => "unknown; if missing",
        };
        let _ = writeln!(text, "         {name} {how}: {without}");
    }
}

/// What the programs cost, a line each.
#[must_use]
pub fn costs(costs: &[Cost]) -> String {
    let mut text = format!(
        "{:<18} {:>8} {:>10} {:>14} {:>10}\n",
        "program", "number", "ns/run", "runs/s", "% of a CPU"
    );
    for one in costs {
        let each = one
            .nanoseconds_per_run
            .map_or_else(|| "-".to_owned(), |ns| format!("{ns:.1}"));
        let share = one.nanoseconds_per_run.unwrap_or(0.0) * one.runs_per_second / 1e7;
        // Writing into a String cannot fail.
        let _ = writeln!(
            text,
            "{:<18} {:>8} {each:>10} {:>14.0} {share:>10.2}",
            one.program, one.id, one.runs_per_second,
        );
    }
    text
}

/// What the datapath remembers of flows, in words.
fn flows_line(flows: &Value) -> String {
    let number = |key: &str| flows[key].as_u64().unwrap_or_default();
    let since = UNIX_EPOCH + Duration::from_secs(number("since"));
    format!(
        "changes are remembered since {} ({} s); {} of {} pins in use",
        humantime::format_rfc3339_seconds(since),
        number("history"),
        number("pins"),
        number("pins_limit"),
    )
}

/// An issuer's clock in words.
fn process_line(process: &Value) -> String {
    let role = process["role"].as_str().unwrap_or("?");
    if let Value::String(error) = &process["error"] {
        return format!("process  {role:<16} GONE: {error}");
    }
    let names: Vec<&str> = process["capabilities"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|one| one["name"].as_str())
        .map(|name| name.strip_prefix("CAP_").unwrap_or(name))
        .collect();
    let names = match names.is_empty() {
        true => "none".to_owned(),
        false => names.join(" ").to_lowercase(),
    };
    let (pid, uid) = (&process["pid"], &process["uid"]);
    format!("process  {role:<16} {pid}, user {uid}, capabilities: {names}")
}

fn clock_line(clock: &Value, ahead: f64) -> String {
    let side = if ahead < 0.0 { "behind" } else { "ahead of" };
    let number = |key: &str| clock[key].as_f64().unwrap_or_default();
    let distance = ahead.abs();
    if clock["source"] == "iat" {
        return format!("its clock is at least {distance:.1} s {side} ours, by the iat of a token");
    }
    let uncertainty = number("uncertainty_seconds");
    if distance <= uncertainty {
        return format!("its clock agrees with ours (within {uncertainty:.1} s)");
    }
    format!(
        "its clock is {distance:.1} s {side} ours (within {uncertainty:.1} s), by its Date {} s ago",
        number("age_seconds")
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_wrong_with_the_datapath_stands_on_the_screen() {
        let text = summary(&json!({
            "datapath": {
                "interfaces": [
                    { "interface": "eth0", "attached": true, "mode": "native", "why": "the driver takes it" },
                    { "interface": "eth1", "attached": false, "mode": "native", "why": "the interface is gone" },
                ],
                "warnings": [{ "kind": "host_address", "text": "service `web`: …" }],
                "flows": { "since": 1_800_000_000, "history": 90, "pins": 7, "pins_limit": 1000 },
            }
        }));
        for line in [
            "datapath eth0             native XDP: the driver takes it",
            "datapath eth1             NOT attached: the interface is gone",
            "         WARNING: service `web`: …",
            "         changes are remembered since 2027-01-15T08:00:00Z (90 s); 7 of 1000 pins in use",
        ] {
            assert!(text.lines().any(|one| one == line), "{line}\n{text}");
        }
        let sick = summary(&json!({ "health": [{
            "kind": "service", "name": "database", "probe": "tcp", "panic": true,
            "members": [
                { "address": "10.0.0.1", "state": "down", "since": "2027-01-15T08:00:00Z", "share": 0.0,
                  "last_failure": { "why": "the connection was refused", "at": "2027-01-15T08:00:01Z" } },
                { "address": "10.0.0.2", "state": "starting", "since": "2027-01-15T08:00:00Z", "share": 0.25, "last_failure": null },
            ],
        }] }));
        for line in [
            "health   database         service by tcp  PANIC: too few are up, so all are used",
            "         10.0.0.1         down since 2027-01-15T08:00:00Z; last failure 2027-01-15T08:00:01Z: the connection was refused",
            "         10.0.0.2         starting since 2027-01-15T08:00:00Z, 25 % of its share",
        ] {
            assert!(sick.lines().any(|one| one == line), "{line}\n{sick}");
        }
        let kernel = summary(&json!({
            "datapath": { "kernel": "6.1.0", "watched": true, "features": [
                { "name": "xdp", "there": true, "without": "…" },
                { "name": "tcx", "there": false, "without": "classic filters" },
                { "name": "BTF", "there": null, "without": "no names" },
            ] }
        }));
        for line in [
            "kernel   6.1.0            1 of 3 features",
            "         tcx missing: classic filters",
            "         BTF unknown; if missing: no names",
            "         somebody captures packets or watches flows",
        ] {
            assert!(kernel.lines().any(|one| one == line), "{line}\n{kernel}");
        }
        let alone = summary(&json!({ "datapath": null }));
        assert!(alone.contains("datapath none") && !alone.contains("remembered"));
    }
}
