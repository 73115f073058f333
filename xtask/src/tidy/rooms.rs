//! Who may import whom among the rooms of the shell.

use crate::tidy::finding::Finding;
use crate::tidy::house::{ABOVE_ROOMS, ROOMS, Room};
use crate::tidy::paths::{Leads, Modules, named};
use crate::tidy::source::{File, Tree};

const SHELL: &str = "sidecar/src/";
const RULE: &str = "rooms";

pub(super) fn examine(tree: &Tree) -> Vec<Finding> {
    let crates = Modules::of(tree);
    let shell = crates.iter().find(|modules| {
        modules
            .files
            .values()
            .any(|file| file.path.starts_with(SHELL))
    });
    let Some(shell) = shell else {
        return Vec::new();
    };
    let mut findings = Vec::new();
    for (module, file) in &shell.files {
        let name = module.first().map_or("lib", String::as_str);
        if ABOVE_ROOMS.contains(&name) {
            continue;
        }
        match ROOMS.iter().find(|room| room.name == name) {
            Some(room) => imports(shell, module, file, room, &mut findings),
            None => findings.push(Finding {
                file: file.path.clone(),
                line: 1,
                rule: RULE,
                what: format!(
                    "`{name}` is no room yet: say in xtask/src/tidy/house.rs what it may import"
                ),
            }),
        }
    }
    findings
}

fn imports(
    shell: &Modules<'_>,
    module: &[String],
    file: &File,
    room: &Room,
    findings: &mut Vec<Finding>,
) {
    for path in named(file).iter().filter(|path| !path.test) {
        let target = match shell.follow(module, path) {
            Leads::Inside(target) => target,
            Leads::Outside(target) if target[0].starts_with("tollgate") => target,
            Leads::Outside(_) => continue,
        };
        // What the root re-exports or defines (a macro, say) has no room of its own.
        let is_room = target.first().is_some_and(|first| {
            first.starts_with("tollgate") || shell.files.contains_key(std::slice::from_ref(first))
        });
        if !is_room || target.first().is_some_and(|first| first == room.name) {
            continue;
        }
        if !room.may.iter().any(|allowed| covers(allowed, &target)) {
            findings.push(Finding {
                file: file.path.clone(),
                line: path.line,
                rule: RULE,
                what: format!(
                    "`{}` may not import `{}` (it may: {}); move what both need into a leaf, or send a message over a \
                     channel that `app` makes",
                    room.name,
                    target.join("::"),
                    if room.may.is_empty() { "nothing of ours".to_owned() } else { room.may.join(", ") },
                ),
            });
        }
    }
}

/// `upstream::endpoint` covers that module and what is in it; `upstream` the whole room.
fn covers(allowed: &str, target: &[String]) -> bool {
    let allowed: Vec<&str> = allowed.split("::").collect();
    target.len() >= allowed.len()
        && allowed
            .iter()
            .zip(target)
            .all(|(allowed, segment)| allowed == segment)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::found;

    #[test]
    fn a_room_imports_what_its_line_allows_and_nothing_else() {
        let sources = [
            ("sidecar/src/lib.rs", ""),
            (
                "sidecar/src/proxy.rs",
                "use crate::snapshot::Snapshot;\nuse tollgate_auth::Reason;\nuse crate::downstream;",
            ),
            ("sidecar/src/snapshot.rs", ""),
            (
                "sidecar/src/downstream.rs",
                "fn f() { crate::proxy::handle(); tollgate_datapath::open(); }",
            ),
        ];
        assert_eq!(
            found(examine, &sources),
            [
                "sidecar/src/downstream.rs:1 rooms",
                "sidecar/src/proxy.rs:3 rooms"
            ]
        );
    }

    #[test]
    fn a_single_module_may_be_allowed_without_its_room() {
        let sources = [
            ("sidecar/src/lib.rs", ""),
            (
                "sidecar/src/config/lower.rs",
                "use crate::upstream::endpoint::Endpoint;\nuse crate::upstream::pool::Pool;",
            ),
            (
                "sidecar/src/config/model.rs",
                "use tollgate_datapath::model::Model;\nuse tollgate_datapath::Datapath;",
            ),
            ("sidecar/src/upstream.rs", ""),
        ];
        assert_eq!(
            found(examine, &sources),
            [
                "sidecar/src/config/lower.rs:2 rooms",
                "sidecar/src/config/model.rs:2 rooms"
            ]
        );
    }

    #[test]
    fn app_knows_all_and_nobody_knows_app() {
        let sources = [
            ("sidecar/src/lib.rs", ""),
            ("sidecar/src/app.rs", "use crate::proxy; use crate::drain;"),
            ("sidecar/src/drain.rs", "use crate::app::App;"),
            (
                "sidecar/src/proxy.rs",
                "#[cfg(test)] mod tests { use crate::app; }",
            ),
        ];
        assert_eq!(found(examine, &sources), ["sidecar/src/drain.rs:1 rooms"]);
    }

    #[test]
    fn a_room_without_a_line_is_asked_for_one() {
        let sources = [("sidecar/src/lib.rs", ""), ("sidecar/src/attic/box.rs", "")];
        assert_eq!(
            found(examine, &sources),
            ["sidecar/src/attic/box.rs:1 rooms"]
        );
    }
}
