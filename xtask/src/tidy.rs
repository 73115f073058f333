//! `cargo xtask tidy`: the rules of the house that no compiler checks. What they are stands as data in `tidy/house.rs`.
//!
//! The checks read text: the sources are cut into tokens (comments and literals dropped), `use` trees and written-out
//! paths are followed to files of the same crate. Macros that write paths are not expanded; nothing here needs them.

use crate::shell::{Failure, Outcome, root};
use crate::tidy::finding::Finding;
use crate::tidy::source::Tree;

mod crates;
mod cycles;
mod finding;
mod house;
mod paths;
mod rooms;
mod source;
mod text;

pub(crate) fn run() -> Outcome {
    let tree = Tree::read(root())
        .map_err(|error| Failure::new(format!("tidy cannot read the sources: {error}")))?;
    if tree.files.is_empty() {
        return Err(Failure::new(format!(
            "tidy found no source below {}; is that the repository?",
            root().display()
        )));
    }
    for (file, lines) in text::long_files(&tree) {
        println!(
            "hint: {file} has {lines} lines; past {} ask what could stand alone",
            house::LONG_FILE
        );
    }
    let findings = examine(&tree);
    for finding in &findings {
        eprintln!("{finding}");
    }
    if findings.is_empty() {
        println!("tidy: {} files keep the house's rules", tree.files.len());
        return Ok(());
    }
    Err(Failure::new(format!("tidy: {} finding(s)", findings.len())))
}

fn examine(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(text::examine(tree));
    findings.extend(crates::examine(tree));
    findings.extend(rooms::examine(tree));
    findings.extend(cycles::examine(tree));
    findings.sort();
    findings.dedup();
    findings
}

/// The findings of `examine` over sources given as (path, text), as "path:line rule".
#[cfg(test)]
fn found(examine: impl Fn(&Tree) -> Vec<Finding>, sources: &[(&str, &str)]) -> Vec<String> {
    let mut findings = examine(&Tree::of(sources));
    findings.sort();
    findings
        .iter()
        .map(|finding| format!("{}:{} {}", finding.file, finding.line, finding.rule))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_house_itself_is_tidy() {
        let tree = Tree::read(root()).expect("the repository can be read");
        assert!(
            tree.files.len() > 20,
            "only {} files were found",
            tree.files.len()
        );
        let findings = examine(&tree);
        let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
        assert!(lines.is_empty(), "{}", lines.join("\n"));
    }
}
