//! No file of a crate imports, over however many others, itself: a parent stands above its children, and what two
//! children share becomes a leaf.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::tidy::finding::Finding;
use crate::tidy::paths::{Leads, Modules, named};
use crate::tidy::source::Tree;

/// For each file, the files it imports and the first line that does so.
type Graph<'a> = BTreeMap<&'a str, BTreeMap<&'a str, usize>>;

pub(super) fn examine(tree: &Tree) -> Vec<Finding> {
    Modules::of(tree)
        .iter()
        .flat_map(|modules| circles(&graph(modules)))
        .collect()
}

fn graph<'a>(modules: &Modules<'a>) -> Graph<'a> {
    let mut graph = Graph::new();
    for (module, file) in &modules.files {
        let imports = graph.entry(&file.path).or_default();
        for path in named(file).iter().filter(|path| !path.test) {
            let Leads::Inside(target) = modules.follow(module, path) else {
                continue;
            };
            if let Some((_, target)) = modules.holder(&target)
                && target.path != file.path
            {
                imports.entry(&target.path).or_insert(path.line);
            }
        }
    }
    graph
}

/// One finding for each knot: its shortest circle through its first file.
fn circles(graph: &Graph<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut told = BTreeSet::new();
    for &file in graph.keys() {
        if told.contains(file) {
            continue;
        }
        let Some(circle) = shortest_circle(graph, file) else {
            continue;
        };
        let line = |from: &str, to: &str| graph[from].get(to).copied().unwrap_or(1);
        let ends = circle.iter().skip(1).copied().chain([file]);
        let steps: Vec<String> = circle
            .iter()
            .zip(ends)
            .map(|(from, to)| format!("{from}:{}", line(from, to)))
            .collect();
        findings.push(Finding {
            file: file.to_owned(),
            line: line(file, circle.get(1).unwrap_or(&file)),
            rule: "circle",
            what: format!(
                "{} -> back: files that import each other in a circle; move what the child needs of its parent into a leaf",
                steps.join(" -> ")
            ),
        });
        told.extend(circle);
    }
    findings
}

/// The files of the shortest way from `start` back to it, `start` first; breadth first, so the first way is shortest.
fn shortest_circle<'a>(graph: &Graph<'a>, start: &'a str) -> Option<Vec<&'a str>> {
    let mut came_from: BTreeMap<&str, &str> = BTreeMap::new();
    let mut queue = VecDeque::from([start]);
    while let Some(file) = queue.pop_front() {
        for &next in graph.get(file)?.keys() {
            if next == start {
                let mut way = vec![file];
                while let Some(&before) = came_from.get(way[way.len() - 1]) {
                    way.push(before);
                }
                way.reverse();
                return Some(way);
            }
            if !came_from.contains_key(next) {
                came_from.insert(next, file);
                queue.push_back(next);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::found;

    #[test]
    fn a_child_that_uses_its_parent_closes_a_circle() {
        let sources = [
            ("sidecar/src/lib.rs", "pub mod token;"),
            (
                "sidecar/src/token.rs",
                "mod claims;\nuse claims::Claims;\nstruct Config;",
            ),
            ("sidecar/src/token/claims.rs", "use super::Config;"),
        ];
        assert_eq!(found(examine, &sources), ["sidecar/src/token.rs:2 circle"]);
    }

    #[test]
    fn a_long_way_round_is_still_a_circle_and_told_once() {
        let sources = [
            ("common/src/lib.rs", ""),
            ("common/src/a.rs", "use crate::b;"),
            ("common/src/b.rs", "fn f() { crate::c::g() }"),
            ("common/src/c.rs", "use crate::{a::X, d::Y};"),
            ("common/src/d.rs", ""),
        ];
        assert_eq!(found(examine, &sources), ["common/src/a.rs:1 circle"]);
        let what = examine(&Tree::of(&sources)).remove(0).what;
        assert!(
            what.starts_with("common/src/a.rs:1 -> common/src/b.rs:1 -> common/src/c.rs:1 -> back"),
            "{what}"
        );
    }

    #[test]
    fn leaves_and_tests_close_nothing() {
        let sources = [
            ("sidecar/src/lib.rs", "pub use token::Claims; mod token;"),
            (
                "sidecar/src/token.rs",
                "use self::claims::Claims; #[cfg(test)] mod tests;",
            ),
            (
                "sidecar/src/token/claims.rs",
                "use super::keys::Key; mod inner { use super::*; }",
            ),
            ("sidecar/src/token/keys.rs", ""),
            (
                "sidecar/src/token/tests.rs",
                "use super::*; use crate::token::Config;",
            ),
        ];
        assert_eq!(found(examine, &sources), Vec::<String>::new());
    }
}
