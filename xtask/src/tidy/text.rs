//! What may stand in a file, and how long it may be.

use crate::tidy::finding::Finding;
use crate::tidy::house::{CLOCKLESS, LONG_FILE, LONGEST_FILE, UNSAFE_ALLOWED, UNSAFE_LINTS};
use crate::tidy::source::{File, Tree, stands_in};

pub(super) fn examine(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in &tree.files {
        for rule in [
            length,
            module_file,
            unsafe_code,
            unsafe_lint,
            clock,
            ignored,
            borrowed_file,
            unwritten,
            reasonless,
        ] {
            rule(file, &mut findings);
        }
    }
    findings
}

/// Files worth a question, the refused ones left out.
pub(super) fn long_files(tree: &Tree) -> impl Iterator<Item = (&str, usize)> {
    let long = tree
        .files
        .iter()
        .filter(|file| file.lines > LONG_FILE && file.lines <= LONGEST_FILE);
    long.map(|file| (file.path.as_str(), file.lines))
}

fn length(file: &File, findings: &mut Vec<Finding>) {
    if file.lines > LONGEST_FILE {
        let what = format!(
            "{} lines, at most {LONGEST_FILE}: give what can stand alone its own file",
            file.lines
        );
        findings.push(Finding {
            file: file.path.clone(),
            line: file.lines,
            rule: "length",
            what,
        });
    }
}

fn module_file(file: &File, findings: &mut Vec<Finding>) {
    if file.path.ends_with("/mod.rs") {
        note(
            file,
            1,
            "mod.rs",
            "name the file after its module: foo.rs beside foo/",
            findings,
        );
    }
}

fn unsafe_code(file: &File, findings: &mut Vec<Finding>) {
    if UNSAFE_ALLOWED
        .iter()
        .any(|place| stands_in(&file.path, place))
    {
        return;
    }
    for at in file.find(&["unsafe"]) {
        // `#[unsafe(link_section = …)]` is how an attribute is written, not a block.
        let is_attribute =
            at >= 2 && file.tokens[at - 1].text == "[" && file.tokens[at - 2].text == "#";
        if !is_attribute {
            let cure = "stands only where the house says (xtask/src/tidy/house.rs): find a safe function or extend one there";
            note(file, file.tokens[at].line, "unsafe", cure, findings);
        }
    }
}

fn unsafe_lint(file: &File, findings: &mut Vec<Finding>) {
    for (root, level) in UNSAFE_LINTS {
        let has = || {
            file.find(&["#", "!", "[", level, "(", "unsafe_code"])
                .next()
                .is_some()
        };
        if file.path == *root && !has() {
            note(
                file,
                1,
                "unsafe",
                &format!("this crate root must say #![{level}(unsafe_code)]"),
                findings,
            );
        }
    }
}

fn clock(file: &File, findings: &mut Vec<Finding>) {
    if !CLOCKLESS.iter().any(|place| stands_in(&file.path, place)) {
        return;
    }
    for clock in ["Instant", "SystemTime"] {
        for at in file.find(&[clock, "::", "now"]) {
            if !file.tokens[at].test {
                note(
                    file,
                    file.tokens[at].line,
                    "clock",
                    "time is an argument here: let the caller bring it",
                    findings,
                );
            }
        }
    }
}

fn ignored(file: &File, findings: &mut Vec<Finding>) {
    for at in file.find(&["#", "[", "ignore"]) {
        note(
            file,
            file.tokens[at].line,
            "ignore",
            "a test runs or does not exist: repair it or remove it",
            findings,
        );
    }
}

fn borrowed_file(file: &File, findings: &mut Vec<Finding>) {
    for at in file.find(&["#", "[", "path", "="]) {
        note(
            file,
            file.tokens[at].line,
            "path",
            "no file is compiled into two crates: what both need is a library (tests/src)",
            findings,
        );
    }
}

fn unwritten(file: &File, findings: &mut Vec<Finding>) {
    for word in ["todo", "unimplemented"] {
        for at in file.find(&[word, "!"]) {
            note(
                file,
                file.tokens[at].line,
                "unwritten",
                "write it, or refuse the case with an error",
                findings,
            );
        }
    }
}

fn reasonless(file: &File, findings: &mut Vec<Finding>) {
    for level in ["allow", "expect"] {
        for row in [&["#", "[", level, "("][..], &["#", "!", "[", level, "("]] {
            for at in file.find(row) {
                let attribute = file.tokens[at..]
                    .iter()
                    .take_while(|token| token.text != "]");
                if !attribute.into_iter().any(|token| token.text == "reason") {
                    note(
                        file,
                        file.tokens[at].line,
                        "reason",
                        "say why: #[allow(…, reason = \"…\")]",
                        findings,
                    );
                }
            }
        }
    }
}

fn note(file: &File, line: usize, rule: &'static str, what: &str, findings: &mut Vec<Finding>) {
    findings.push(Finding {
        file: file.path.clone(),
        line,
        rule,
        what: what.to_owned(),
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::found;

    #[test]
    fn a_file_past_the_limit_is_refused_and_a_long_one_hinted_at() {
        let (long, longest) = ("\n".repeat(LONG_FILE + 1), "\n".repeat(LONGEST_FILE + 1));
        let sources = [
            ("tests/src/a.rs", long.as_str()),
            ("tests/src/b.rs", longest.as_str()),
        ];
        assert_eq!(found(examine, &sources), ["tests/src/b.rs:601 length"]);
        assert_eq!(
            long_files(&Tree::of(&sources)).collect::<Vec<_>>(),
            [("tests/src/a.rs", 401)]
        );
    }

    #[test]
    fn modules_are_files_named_after_them() {
        assert_eq!(
            found(examine, &[("tests/src/lab/mod.rs", "")]),
            ["tests/src/lab/mod.rs:1 mod.rs"]
        );
    }

    #[test]
    fn unsafe_stands_where_the_house_says() {
        let sources = [
            ("ebpf/src/hooks/xdp.rs", "fn f() { unsafe { g() } }"),
            (
                "ebpf/src/parse.rs",
                "/// unsafe in words\nfn f() { unsafe { g() } }",
            ),
            (
                "ebpf/src/main.rs",
                "#[unsafe(link_section = \"license\")]\nstatic L: u8 = 0;\nunsafe fn f() {}",
            ),
        ];
        assert_eq!(
            found(examine, &sources),
            ["ebpf/src/main.rs:3 unsafe", "ebpf/src/parse.rs:2 unsafe"]
        );
    }

    #[test]
    fn crate_roots_carry_their_unsafe_lint() {
        let sources = [
            ("sidecar/auth/src/lib.rs", "#![forbid(unsafe_code)]"),
            ("sidecar/http/src/lib.rs", "//! #![forbid(unsafe_code)]"),
            ("sidecar/datapath/src/lib.rs", "#![deny(unsafe_code)]"),
        ];
        assert_eq!(
            found(examine, &sources),
            ["sidecar/http/src/lib.rs:1 unsafe"]
        );
    }

    #[test]
    fn the_cores_ask_no_clock() {
        let text = "fn f() { std::time::Instant::now(); }\n#[test]\nfn t() { Instant::now(); }";
        let sources = [
            ("sidecar/auth/src/token.rs", text),
            ("sidecar/src/clock.rs", text),
        ];
        assert_eq!(
            found(examine, &sources),
            ["sidecar/auth/src/token.rs:1 clock"]
        );
    }

    #[test]
    fn nothing_is_ignored_unwritten_or_allowed_without_a_reason() {
        let text = "#[ignore = \"slow\"]\nfn a() { todo!() }\nfn b() { unimplemented!(\"x\") }\n#[allow(dead_code)]\n\
                    fn c() {}\n#[expect(dead_code, reason = \"kept\")]\nfn d() { result.expect(\"y\") }\n#![allow(clippy::all)]\n#[path = \"../x.rs\"]\nmod x;";
        let expected = [
            "1 ignore",
            "2 unwritten",
            "3 unwritten",
            "4 reason",
            "8 reason",
            "9 path",
        ];
        assert_eq!(
            found(examine, &[("tests/src/x.rs", text)]),
            expected.map(|place| format!("tests/src/x.rs:{place}"))
        );
    }
}
