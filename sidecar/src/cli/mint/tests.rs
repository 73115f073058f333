use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use clap::Parser;
use tollgate_auth::time::UnixTime;
use tollgate_auth::token::jwt::{Candidate, DEFAULT_MAX_BYTES, Issuer, Keys, TokenType, verify};
use tollgate_auth::token::keys::KeySet;

use super::*;

const NOW: u64 = 1_800_000_000;
const WHO: [&str; 6] = [
    "--issuer",
    "https://login.example.com",
    "--audience",
    "orders-api",
    "--subject",
    "alice",
];

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    args: Args,
}

fn line(words: &[&str]) -> Result<Args, clap::Error> {
    Line::try_parse_from([&["mint"], words].concat()).map(|line| line.args)
}

fn mint(words: &[&str]) -> Result<String, MintError> {
    run(&line(words).unwrap_or_else(|error| panic!("{error}")), NOW)
}

/// The reason of the refusal, by the daemon's own verdict; none if it is accepted.
fn refusal(token: &str, set: &[u8], algorithm: Algorithm) -> Option<&'static str> {
    let issuer = Arc::new(Issuer {
        name: "corp".into(),
        issuer: "https://login.example.com".to_owned(),
        audiences: vec!["orders-api".to_owned()],
        algorithms: [algorithm].into_iter().collect(),
        clock_skew: Duration::ZERO,
        token_type: TokenType::Any,
        max_bytes: DEFAULT_MAX_BYTES,
    });
    let set = KeySet::from_local_jwks(set).unwrap();
    let candidate = Candidate {
        issuer: &issuer,
        keys: Keys::Ready {
            set: &set,
            generation: 1,
        },
        epoch: 1,
    };
    let verdict = verify(token.as_bytes(), &[candidate], UnixTime::from_secs(NOW));
    verdict.err().map(|refusal| refusal.reason.word())
}

#[test]
fn every_algorithm_goes_from_nothing_to_an_accepted_token() {
    for algorithm in Algorithm::ALL {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let key = path.to_str().unwrap();
        let set = mint(&["--generate", algorithm.name(), "--key", key]).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{algorithm}");
        let asked = [&["--key", key, "--algorithm", algorithm.name()], &WHO[..]].concat();
        let token = mint(&asked).unwrap();
        assert_eq!(
            refusal(&token, set.as_bytes(), algorithm),
            None,
            "{algorithm}"
        );
        // Another key of the same name is another key.
        let other = folder.path().join("other");
        let other = other.to_str().unwrap();
        mint(&["--generate", algorithm.name(), "--key", other, "--kid", "k"]).unwrap();
        let kid = serde_json::from_str::<Value>(&set).unwrap()["keys"][0]["kid"].clone();
        let forged = [
            &asked[2..],
            &["--key", other, "--kid", kid.as_str().unwrap()],
        ]
        .concat();
        assert_eq!(
            refusal(&mint(&forged).unwrap(), set.as_bytes(), algorithm),
            Some("signature_invalid"),
            "{algorithm}"
        );
        assert!(
            !set.contains("\"d\""),
            "the private half is never published"
        );
    }
}

#[test]
fn broken_tokens_are_broken_as_asked() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    let key = path.to_str().unwrap();
    let set = mint(&["--generate", "EdDSA", "--key", key]).unwrap();
    for (words, expected) in [
        (&["--expires-in", "-1s"][..], "token_expired"),
        (&["--not-before", "30s"], "token_not_yet_valid"),
        (&["--issued-at", "1m"], "issued_in_future"),
        (
            &["--audience", "x", "--claim", "aud=[\"x\"]"],
            "audience_mismatch",
        ),
        (&["--claim", "exp=null"], "claim_missing"),
        (
            &["--claim", "iss=\"https://evil.example\""],
            "issuer_mismatch",
        ),
        (&["--header", "alg=\"none\""], "alg_not_allowed"),
        (&["--header", "crit=[\"x\"]"], "header_unsupported"),
        (&["--kid", "nobody"], "key_unknown"),
    ] {
        let token = mint(&[&["--key", key], &WHO[..], words].concat()).unwrap();
        let reason = refusal(&token, set.as_bytes(), Algorithm::EdDSA);
        assert_eq!(reason, Some(expected), "{words:?}");
    }
}

#[test]
fn nothing_is_overwritten_and_what_cannot_be_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    let key = path.to_str().unwrap();
    mint(&["--generate", "ES256", "--key", key]).unwrap();
    let before = fs::read(&path).unwrap();
    let error = mint(&["--generate", "ES256", "--key", key]).unwrap_err();
    assert!(error.to_string().contains("never overwritten"), "{error}");
    assert_eq!(fs::read(&path).unwrap(), before);
    let asked = |more: &[&str]| mint(&[&["--key", key], &WHO[..], more].concat());
    let error = asked(&["--algorithm", "RS256"]).unwrap_err();
    assert!(error.to_string().contains("it is for ES256"), "{error}");
    fs::write(
        &path,
        "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
    )
    .unwrap();
    let error = asked(&[]).unwrap_err();
    assert!(error.to_string().contains("neither a PEM"), "{error}");
    fs::write(&path, r#"{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}"#).unwrap();
    let error = asked(&[]).unwrap_err();
    assert!(error.to_string().contains("private half"), "{error}");
    assert!(line(&["--key", key]).is_err(), "no issuer, no audience");
    assert!(line(&[&["--key", key, "--claim", "role=admin"], &WHO[..]].concat()).is_err());
}

/// RFC 7638, section 3.1.
#[test]
fn the_thumbprint_is_that_of_the_rfc() {
    const N: &str = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";
    let public = json!({ "kty": "RSA", "n": N, "e": "AQAB" });
    let thumbprint = key::thumbprint(&public).unwrap();
    assert_eq!(thumbprint, "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
}
