//! The corpus of framing (`tests/fixtures/framing`), read by our core and by hyper.
//!
//! What we take hyper must take as the same messages, and it may not find another one between them. Where only one of both
//! takes a message it stands in `hyper.json`, with the reason.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::Value;

mod flat;
mod oracle;
mod ours;

/// A message as both may read it: names in lower case, since hyper keeps no spelling.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Message {
    line: String,
    fields: Vec<(String, Vec<u8>)>,
    content: Vec<u8>,
}

/// What was made of a request.
#[derive(Debug)]
enum Asked {
    Read(Message),
    /// Refused, and the connection went on behind it: one message, whatever it says.
    Passed,
}

/// Name, bytes, and the request that a response answers.
fn cases(file: &str) -> Vec<(String, Vec<u8>, String)> {
    let Value::Array(rows) = json(file) else {
        panic!("{file} is no list");
    };
    let text = |row: &Value, key: &str| row[key].as_str().unwrap_or_default().to_owned();
    rows.iter()
        .map(|row| {
            let mut bytes = Vec::new();
            for letter in text(row, "in").chars() {
                match (letter, &row["fill"]) {
                    ('¤', Value::Array(fill)) => {
                        let times = fill[1].as_u64().unwrap() as usize;
                        bytes.extend(fill[0].as_str().unwrap().repeat(times).bytes());
                    }
                    _ => bytes.push(u8::try_from(u32::from(letter)).unwrap()),
                }
            }
            (text(row, "name"), bytes, text(row, "to"))
        })
        .collect()
}

fn json(file: &str) -> Value {
    let path = format!("{}/fixtures/framing/{file}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// How hyper differs; the words that begin a reason in `hyper.json`.
const OTHERWISE: &str = "hyper reads otherwise";
const REFUSES: &str = "hyper refuses";
const TAKES: &str = "hyper takes";

fn requests_differ(bytes: &[u8]) -> Option<&'static str> {
    let (ours, theirs) = (ours::requests(bytes), oracle::requests(bytes));
    let is_other = |(ours, theirs): (&Asked, &Message)| match ours {
        Asked::Read(ours) => ours != theirs,
        Asked::Passed => false,
    };
    if ours.iter().zip(&theirs).any(is_other) {
        return Some(OTHERWISE);
    }
    match theirs.len().cmp(&ours.len()) {
        Ordering::Less => Some(REFUSES),
        Ordering::Equal => None,
        Ordering::Greater => Some(TAKES),
    }
}

fn response_differs(to: &str, bytes: &[u8]) -> Option<&'static str> {
    let method = if to == "HEAD" { "HEAD" } else { "GET" };
    match (
        ours::response(method, bytes),
        oracle::response(method, bytes),
    ) {
        (Some(ours), Some(theirs)) => (ours != theirs).then_some(OTHERWISE),
        (None, None) => None,
        (Some(_), None) => Some(REFUSES),
        (None, Some(_)) => Some(TAKES),
    }
}

/// Each difference is known, and each that is known is there.
#[test]
fn t57_what_we_take_hyper_reads_the_same_way() {
    let mut known: BTreeMap<String, String> = serde_json::from_value(json("hyper.json")).unwrap();
    let mut wrong = Vec::new();
    let mut all = 0;
    for (kind, file) in [("request", "requests.json"), ("response", "responses.json")] {
        for (name, bytes, to) in cases(file) {
            let found = match kind {
                "request" => requests_differ(&bytes),
                // hyper's side of an upgrade is an interface of its own.
                _ if to == "upgrade" => continue,
                _ => response_differs(&to, &bytes),
            };
            all += 1;
            let key = format!("{kind}: {name}");
            let known = known.remove(&key);
            let as_known = match (found, &known) {
                (None, None) => true,
                (Some(found), Some(known)) => known.starts_with(&format!("{found}: ")),
                _ => false,
            };
            if !as_known {
                wrong.push(format!("{key}: {found:?}; known is {known:?}"));
            }
        }
    }
    wrong.extend(
        known
            .into_keys()
            .map(|name| format!("{name}: no such case")),
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    println!("{all} cases");
}

/// Pieces of requests in any order, and a byte of damage.
fn nearly() -> impl Strategy<Value = Vec<u8>> {
    let pieces = [
        "GET / HTTP/1.1\r\nHost: a.test\r\n",
        "POST /a?b HTTP/1.1\r\nHost: a.test\r\n",
        "HEAD / HTTP/1.0\r\nHost: a.test\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: a.test\r\n",
        "GET http://a.test/x HTTP/1.1\r\nHost: a.test\r\n",
        "Content-Length: 5\r\n",
        "Content-Length: 0\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Connection: keep-alive\r\n",
        "Connection: close\r\n",
        "Expect: 100-continue\r\n",
        "x: y\r\n",
        "\r\n",
        "\r\n",
        "\r\nhello",
        "\r\n5\r\nhello\r\n0\r\n\r\n",
        "\r\n5;a=\"b\"\r\nhello\r\n0\r\nx: y\r\n\r\n",
        "\r\n\r\n",
    ];
    let piece = proptest::sample::select(pieces.map(str::as_bytes).to_vec());
    let byte = prop_oneof![
        any::<u8>(),
        proptest::sample::select(b"\r\n\t :;,0".to_vec())
    ];
    let damage = proptest::option::of((any::<prop::sample::Index>(), byte, 0..3_u8));
    (proptest::collection::vec(piece, 1..12), damage).prop_map(|(pieces, damage)| {
        let mut bytes = pieces.concat();
        if let Some((at, byte, how)) = damage {
            let at = at.index(bytes.len());
            match how {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => drop(bytes.remove(at)),
            }
        }
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn t57_no_bytes_are_two_messages_to_one_and_one_to_the_other(bytes in nearly()) {
        prop_assert_ne!(requests_differ(&bytes), Some(OTHERWISE));
        let answer = String::from_utf8_lossy(&bytes).replace("GET / HTTP/1.1\r\n", "HTTP/1.1 200 OK\r\n");
        prop_assert_ne!(response_differs("GET", answer.as_bytes()), Some(OTHERWISE));
    }
}
