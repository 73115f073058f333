//! What the fuzz target `config` begins with, and texts near to it, held to what that target holds all texts to.

use std::fs;
use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::{Config, TestRunner};
use tollgate_tests::config_text::hold;

/// Characters that mean something to YAML, or to those who count lines and columns.
const ODD: [&str; 16] = [
    "\r", "\r\n", "\n", "\t", "\0", "\u{feff}", "\u{85}", "é", "🦀", "'", "\"", "{", "[", "#",
    "&a ", "*a",
];

#[test]
fn what_the_fuzz_target_begins_with_is_read_as_it_holds() {
    for text in texts() {
        hold(&text);
    }
}

#[test]
fn texts_near_to_it_are_as_well() {
    let (texts, mut words) = (texts(), dictionary());
    words.extend(ODD.map(str::to_owned));
    let near = (
        select(texts.clone()),
        vec(change(select(words), select(texts)), 1..6),
    );
    // What fails is shrunk, and no file keeps it: it becomes a seed by hand.
    let config = Config {
        cases: 2_048,
        failure_persistence: None,
        ..Config::default()
    };
    let outcome = TestRunner::new(config).run(&near, |(text, changes)| {
        let text = changes.iter().fold(text, |text, change| change.of(&text));
        hold(&text);
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
}

/// What a mistyped or mangled text differs by; places are ends of characters.
#[derive(Clone, Debug)]
enum Change {
    Cut(Index, Index),
    Repeat(Index, Index),
    Write(Index, String),
    SwapLines(Index, Index),
    /// What stands from the first place on is what another text has from the second on.
    GoOnAs(Index, String, Index),
}

fn change(
    words: impl Strategy<Value = String>,
    texts: impl Strategy<Value = String>,
) -> impl Strategy<Value = Change> {
    let place = any::<Index>;
    prop_oneof![
        (place(), place()).prop_map(|(from, to)| Change::Cut(from, to)),
        (place(), place()).prop_map(|(from, to)| Change::Repeat(from, to)),
        (place(), words).prop_map(|(at, word)| Change::Write(at, word)),
        (place(), place()).prop_map(|(one, other)| Change::SwapLines(one, other)),
        (place(), texts, place()).prop_map(|(at, text, from)| Change::GoOnAs(at, text, from)),
    ]
}

impl Change {
    fn of(&self, text: &str) -> String {
        match self {
            Self::Cut(from, to) => {
                let (from, to) = between(text, from, to);
                format!("{}{}", &text[..from], &text[to..])
            }
            Self::Repeat(from, to) => {
                let (from, to) = between(text, from, to);
                format!("{}{}", &text[..to], &text[from..])
            }
            Self::Write(at, word) => {
                let at = place(text, at);
                format!("{}{word}{}", &text[..at], &text[at..])
            }
            Self::SwapLines(one, other) => {
                let mut lines: Vec<&str> = text.split('\n').collect();
                let (one, other) = (one.index(lines.len()), other.index(lines.len()));
                lines.swap(one, other);
                lines.join("\n")
            }
            Self::GoOnAs(at, other, from) => {
                let (at, from) = (place(text, at), place(other, from));
                format!("{}{}", &text[..at], &other[from..])
            }
        }
    }
}

fn place(text: &str, at: &Index) -> usize {
    let mut places: Vec<usize> = text.char_indices().map(|(place, _)| place).collect();
    places.push(text.len());
    *at.get(&places)
}

fn between(text: &str, one: &Index, other: &Index) -> (usize, usize) {
    let (one, other) = (place(text, one), place(text, other));
    (one.min(other), one.max(other))
}

/// The target's seeds, and the configurations of the suites as they are kept: with their keys not replaced.
fn texts() -> Vec<String> {
    let mut texts = Vec::new();
    for folder in ["../fuzz/seeds/config", "fixtures/configs"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        let entries =
            fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        for entry in entries {
            let file = entry.unwrap().path();
            texts.push(
                fs::read_to_string(&file)
                    .unwrap_or_else(|error| panic!("{}: {error}", file.display())),
            );
        }
    }
    // In no order of the file system's, so that what fails is found again.
    texts.sort();
    texts
}

/// The target's words, in libFuzzer's notation.
fn dictionary() -> Vec<String> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds/config.dict");
    let text = fs::read_to_string(file).unwrap();
    let words = text
        .lines()
        .filter_map(|line| line.strip_prefix('"')?.strip_suffix('"'));
    words.map(|word| word.replace("\\x0a", "\n")).collect()
}
