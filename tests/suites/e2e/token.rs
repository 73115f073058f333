//! `tollgate token` as a newcomer runs it: the three commands of docs/tokens.md.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tollgate::demo::daemon::Launch;
use tollgate::demo::echo::Echo;
use tollgate_tests::client::{Request, read_reply};
use tollgate_tests::gate::{Gate, binary};
use tollgate_tests::port::Port;

const CONFIGURATION: &str = r#"
version: 1
issuers:
  corp:
    issuer: https://login.example.com
    jwks: { file: @DIR@/keys.json }
    audiences: [orders-api]
listeners:
  edge:
    listen: "@EDGE@"
    plaintext: true
    routes: [{ name: orders, token: { issuers: [corp] }, upstream: api }]
upstreams:
  api: { endpoints: ["@API@"] }
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
    let text = CONFIGURATION
        .replace("@DIR@", folder.to_str().unwrap())
        .replace("@EDGE@", "127.0.0.1:0")
        .replace("@API@", "127.0.0.1:1");
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

/// The page's last command, with the suite's own client instead of curl.
#[test]
fn the_running_daemon_passes_what_was_minted_and_nothing_broken() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let echo = Echo::start("api", TcpListener::bind("127.0.0.1:0").unwrap()).unwrap();
    let (edge, admin) = (Port::hold(), Port::hold());
    let socket = folder.join("admin.sock");
    let generate = "mint --generate PS256 --key key.pem --jwks keys.json --kid mine";
    let generated = token(folder, &generate.split(' ').collect::<Vec<_>>(), b"");
    let generated = said(&generated, 0);
    assert!(
        generated.contains("--kid mine --algorithm PS256"),
        "{generated}"
    );
    let text = CONFIGURATION
        .replace("@DIR@", folder.to_str().unwrap())
        .replace("@EDGE@", &edge.address().to_string())
        .replace("@API@", &echo.address().to_string())
        .replace("    audiences:", "    algorithms: [PS256]\n    audiences:");
    let text = format!(
        "{text}admin: {{ socket: {socket:?}, listen: \"{}\" }}\n",
        admin.address()
    );
    let config = folder.join("tollgate.yaml");
    std::fs::write(&config, text).unwrap();
    let _gate = Gate::start(Launch {
        binary: binary(),
        config,
        admin: admin.address(),
        socket,
        logs: folder.to_owned(),
        place: None,
        env: Vec::new(),
    });
    let status = |algorithm: &str, more: &[&str]| {
        let mint = "mint --key key.pem --kid mine --issuer https://login.example.com --audience orders-api --subject a";
        let words: Vec<&str> = mint.split(' ').chain(["--algorithm", algorithm]).collect();
        let words = [&words, more].concat();
        let minted = said(&token(folder, &words, b""), 0);
        let mut stream = TcpStream::connect(edge.address()).unwrap();
        let request = Request::get("/").bearer(minted.trim_end());
        stream.write_all(&request.to_h1("localhost")).unwrap();
        let reply = read_reply(&mut stream).unwrap();
        match reply.status {
            200 => "accepted".to_owned(),
            _ => reply.json()["reason"].as_str().unwrap().to_owned(),
        }
    };
    for (algorithm, more, expected) in [
        ("PS256", &[][..], "accepted"),
        ("PS256", &["--type", "none"], "accepted"),
        ("PS256", &["--claim", "exp=null"], "claim_missing"),
        ("PS256", &["--header", "kid=other"], "key_unknown"),
        ("PS384", &[], "alg_not_allowed"),
        ("RS256", &["--header", "alg=PS256"], "signature_invalid"),
    ] {
        assert_eq!(status(algorithm, more), expected, "{algorithm} {more:?}");
    }
}
