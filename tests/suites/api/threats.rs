//! Lines of docs/threats.md that need a wire, and the page itself.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use serde_json::json;
use tollgate::demo::issuer::SigningKey;
use tollgate_auth::reason::Reason;
use tollgate_tests::client::Request;

use crate::world::{World, refused};

/// The key in the header, or the place that it names, is the attacker's: it could only answer if it were asked.
#[test]
fn threat_08_no_address_in_a_token_is_ever_asked() {
    let world = World::new();
    let trap = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    trap.set_nonblocking(true).unwrap();
    let url = format!("http://{}/keys", trap.local_addr().unwrap());
    let fetches = world.issuer.key_fetches();
    let token = world.token();
    let (_, rest) = token.split_once('.').unwrap();
    for more in [
        json!({"jku": url}),
        json!({"x5u": url}),
        json!({"jwk": {"kty": "RSA", "n": "AAAA", "e": "AQAB"}, "x5c": ["AAAA"]}),
        json!({"jku": "file:///etc/passwd", "x5u": "http://169.254.169.254/latest/meta-data"}),
    ] {
        let mut header = json!({"alg": "ES256", "kid": "first", "typ": "JWT"});
        for (name, value) in more.as_object().unwrap() {
            header[name] = value.clone();
        }
        let token = format!("{}.{rest}", URL_SAFE_NO_PAD.encode(header.to_string()));
        // Its signature was over another header.
        let reply = world.h1(&Request::get("/orders").bearer(&token));
        refused(&reply, 401, "signature_invalid");
    }
    assert_eq!(world.issuer.key_fetches(), fetches);
    // A key that is not known is asked for at the issuer, and nowhere else.
    let stranger = SigningKey::generate("stranger", Algorithm::ES256).unwrap();
    let token = world.claims().sign(&stranger).unwrap();
    let (_, rest) = token.split_once('.').unwrap();
    let header = json!({"alg": "ES256", "kid": "stranger", "jku": url, "x5u": url});
    let token = format!("{}.{rest}", URL_SAFE_NO_PAD.encode(header.to_string()));
    let reply = world.h1(&Request::get("/orders").bearer(&token));
    refused(&reply, 401, "key_unknown");
    assert_eq!(world.issuer.key_fetches(), fetches + 1);
    // A connection to the trap would stand in its backlog.
    assert_eq!(trap.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
    assert_eq!(world.echo.count(), 0);
}

/// What the head still takes is refused as a token; what it does not, as a head. Neither counts as a look into the
/// cache, and the next request is served.
#[test]
fn threat_14_a_token_beyond_all_size_costs_nothing_but_its_answer() {
    let world = World::new();
    let good = world.token();
    let looks = || {
        let verdicts = world.status()["verdict_cache"].clone();
        (verdicts["hits"].clone(), verdicts["misses"].clone())
    };
    let before = looks();
    for token in [
        ".".repeat(20_000),
        "a".repeat(20_000),
        format!("{good}{}", "A".repeat(17_000)),
    ] {
        let reply = world.h1(&Request::get("/orders").bearer(&token));
        refused(&reply, 401, "token_too_large");
        let line = world.log_line(|line| line["request_id"] == reply.json()["request_id"]);
        assert!(
            line.get("token").is_none(),
            "not even hashed for the log: {line}"
        );
    }
    for token in [".".repeat(100_000), "a".repeat(1 << 20)] {
        // Refused while it is still being sent: the answer may be lost with the connection.
        if let Ok(reply) = world.target().h1(&Request::get("/orders").bearer(&token)) {
            assert!(matches!(reply.status, 401 | 431), "{reply:?}");
        }
    }
    assert_eq!(looks(), before);
    assert_eq!(world.echo.count(), 0);
    assert_eq!(world.h1(&Request::get("/orders").bearer(&good)).status, 200);
}

/// The page names every line once, and no test or reason that does not exist.
#[test]
fn the_page_of_threats_holds_to_the_tree() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let page = fs::read_to_string(root.join("docs/threats.md")).unwrap();
    let mut tests = BTreeSet::new();
    for folder in ["ebpf", "sidecar", "tests"] {
        collect(&root.join(folder), &mut tests);
    }
    let reasons: BTreeSet<&str> = Reason::ALL.iter().map(|reason| reason.word()).collect();
    let mut next = 1;
    let (mut proven, mut later) = (0, 0);
    for row in page.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [line, _, behaviour, why, proof] = cells[..] else {
            panic!("not five cells: {row}");
        };
        let Ok(line) = line.parse::<u32>() else {
            assert_eq!(line, "line", "no number: {row}");
            continue;
        };
        assert_eq!(line, next, "the lines stand in their order");
        next += 1;
        for word in quoted(why) {
            assert!(reasons.contains(word), "line {line}: no reason {word:?}");
        }
        let named: Vec<&str> = quoted(proof).collect();
        for name in &named {
            let exists = *name == "core" || tests.contains(*name);
            assert!(exists, "line {line}: no test {name}");
        }
        if named.is_empty() {
            assert!(
                behaviour.starts_with("Not in this version"),
                "line {line} has no test"
            );
            later += 1;
        } else {
            proven += 1;
        }
    }
    assert_eq!(next, 84);
    assert!(tests.contains("every_line_of_the_core_has_its_rows_and_every_row_its_verdict"));
    println!("{proven} lines with tests, {later} not in this version");
}

/// What stands between backquotes.
fn quoted(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

/// The names of all test functions below a folder.
fn collect(folder: &Path, tests: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            if path.file_name().is_some_and(|name| name != "target") {
                collect(&path, tests);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let mut attribute = false;
            for line in text.lines().map(str::trim) {
                if line == "#[test]" || line.starts_with("#[tokio::test") {
                    attribute = true;
                } else if let Some(rest) = line
                    .strip_prefix("fn ")
                    .or_else(|| line.strip_prefix("async fn "))
                    && std::mem::take(&mut attribute)
                {
                    let name = rest.split(['(', '<']).next().unwrap();
                    tests.insert(name.to_owned());
                }
            }
        }
    }
}
