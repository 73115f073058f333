//! `tollgate token` as a newcomer runs it: the three commands of docs/tokens.md.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tollgate_tests::gate::binary;

const CONFIGURATION: &str = r#"
version: 1
issuers:
  corp:
    issuer: https://login.example.com
    jwks: { file: @DIR@/keys.json }
    audiences: [orders-api]
listeners:
  edge:
    listen: "127.0.0.1:0"
    plaintext: true
    routes: [{ name: orders, token: { issuers: [corp] }, upstream: api }]
upstreams:
  api: { endpoints: ["127.0.0.1:1"] }
"#;

fn token(folder: &Path, words: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(binary())
        .arg("token")
        .args(words)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Whoever reads no input may have ended already.
    let _ = child.stdin.take().unwrap().write_all(input).is_ok();
    child.wait_with_output().unwrap()
}

/// What it printed; the log and what went wrong stand in `stderr`.
#[track_caller]
fn said(output: &Output, code: i32) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// What it complained of.
#[track_caller]
fn complained(output: &Output, code: i32) -> String {
    said(output, code);
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn three_commands_lead_to_an_accepted_token() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let text = CONFIGURATION.replace("@DIR@", folder.to_str().unwrap());
    std::fs::write(folder.join("tollgate.yaml"), text).unwrap();
    let page = include_str!("../../../docs/tokens.md");
    let generate = "token mint --generate ES256 --key key.pem --jwks keys.json";
    let mint = "token mint --key key.pem --issuer https://login.example.com --audience orders-api --subject alice";
    let explain = "token explain --config tollgate.yaml -";
    for command in [generate, mint, explain] {
        assert!(page.contains(&format!("\ntollgate {command}")), "{command}");
    }
    let words = |command: &'static str| -> Vec<&str> { command.split(' ').skip(1).collect() };
    said(&token(folder, &words(generate), b""), 0);
    let minted = token(folder, &words(mint), b"");
    said(&minted, 0);
    let accepted = said(&token(folder, &words(explain), &minted.stdout), 0);
    assert!(accepted.starts_with("accepted"), "{accepted}");
    assert!(!accepted.contains('\u{1b}'), "no colours in a pipe");
    // Pasted with its scheme, as JSON.
    let pasted = [b"Bearer ", &minted.stdout[..]].concat();
    let json = [&words(explain)[..], &["--json"]].concat();
    let json: Value = serde_json::from_str(&said(&token(folder, &json, &pasted), 0)).unwrap();
    assert_eq!(json["accepted"], true, "{json}");

    let expired = [&words(mint)[..], &["--expires-in", "-5m"]].concat();
    let expired = token(folder, &expired, b"");
    let refused = said(&token(folder, &words(explain), &expired.stdout), 1);
    assert!(refused.starts_with("refused: token_expired"), "{refused}");
    let nobody = [&words(explain)[..], &["--issuer", "nobody"]].concat();
    let nobody = complained(&token(folder, &nobody, &minted.stdout), 2);
    assert!(nobody.contains("there is no issuer"), "{nobody}");
    let again = complained(&token(folder, &words(generate), b""), 1);
    assert!(again.contains("never overwritten"), "{again}");
}
