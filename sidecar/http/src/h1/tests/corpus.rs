//! The corpus of framing: `tests/fixtures/framing/{requests,responses}.json`, a case each line.
//!
//! `name`; `in`, the bytes, a character each, where `¤` stands for `fill` (text and how often); `to`, the request that a
//! response answers (GET where it is not said); `want`, what is made of it. `TOLLGATE_BLESS=1` writes what is made of it
//! now, to be read before it is kept.

use std::fmt::Write;
use std::path::PathBuf;

use serde_json::Value;

use super::transcript;
use crate::h1::Limits;

struct Case {
    row: Value,
    name: String,
    bytes: Vec<u8>,
    to: String,
    want: String,
}

impl Case {
    fn read(row: Value) -> Self {
        let text = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
        let mut bytes = Vec::new();
        for letter in text("in").chars() {
            match (letter, &row["fill"]) {
                ('¤', Value::Array(fill)) => {
                    let times = fill[1].as_u64().unwrap() as usize;
                    bytes.extend(fill[0].as_str().unwrap().repeat(times).bytes());
                }
                _ => bytes.push(u8::try_from(u32::from(letter)).unwrap()),
            }
        }
        Self {
            name: text("name"),
            to: text("to"),
            want: text("want"),
            bytes,
            row,
        }
    }

    fn found(&self, pieces: Vec<&[u8]>, is_request: bool) -> String {
        let limits = Limits::default();
        if is_request {
            transcript::server(pieces, limits)
        } else {
            let to = if self.to.is_empty() { "GET" } else { &self.to };
            transcript::client(to, pieces, limits)
        }
    }
}

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/fixtures/framing")
        .join(name)
}

fn cases(name: &str) -> Vec<Case> {
    let text = std::fs::read_to_string(file(name)).unwrap();
    let rows: Vec<Value> = serde_json::from_str(&text).unwrap();
    rows.into_iter().map(Case::read).collect()
}

fn bless(name: &str, cases: &[Case], is_request: bool) {
    let mut text = String::from("[\n");
    for (at, case) in cases.iter().enumerate() {
        let mut row = case.row.clone();
        row["want"] = case.found(vec![&case.bytes], is_request).into();
        let end = if at + 1 == cases.len() {
            "\n]\n"
        } else {
            ",\n"
        };
        write!(text, "{row}{end}").unwrap();
    }
    std::fs::write(file(name), text).unwrap();
}

fn check(name: &str, is_request: bool) -> usize {
    let cases = cases(name);
    if std::env::var_os("TOLLGATE_BLESS").is_some() {
        bless(name, &cases, is_request);
        return cases.len();
    }
    let mut wrong = Vec::new();
    for case in &cases {
        let mut found = vec![("whole", case.found(vec![&case.bytes], is_request))];
        // What is long is long by repetition: its pieces may be long as well.
        for (how, size) in [("byte by byte", 1), ("by threes", 3), ("by hundreds", 100)] {
            let size = size.max(case.bytes.len() / 4096);
            let pieces = case.bytes.chunks(size).collect();
            found.push((how, case.found(pieces, is_request)));
        }
        for (how, found) in found {
            if found != case.want {
                wrong.push(format!(
                    "{} ({how})\n  wanted {}\n   found {found}",
                    case.name, case.want
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    cases.len()
}

/// threats.md 57 to 59: at least two hundred cases between both.
#[test]
fn t57_t58_t59_the_corpus_of_framing() {
    let (requests, responses) = (check("requests.json", true), check("responses.json", false));
    println!("{requests} requests, {responses} responses");
    assert!(requests >= 200 && responses >= 60);
}

#[test]
fn names_are_of_one_case_each() {
    for name in ["requests.json", "responses.json"] {
        let mut names: Vec<_> = cases(name).into_iter().map(|case| case.name).collect();
        names.sort();
        let all = names.len();
        names.dedup();
        assert_eq!(names.len(), all, "{name}");
    }
}
