use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::Parser;
use tollgate_auth::time::UnixTime;
use tollgate_auth::token::{Candidate, Issuer, KeySet, Keys, TokenType, verify};

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
        max_bytes: 16 * 1024,
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
        let generated = mint(&["--generate", algorithm.name(), "--key", key]).unwrap();
        // A secret has no public half: its file is the key set.
        let set = match algorithm.is_symmetric() {
            true => fs::read_to_string(&path).unwrap(),
            false => generated.clone(),
        };
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
        let kid = format!("kid={kid}");
        let forged = [&asked[2..], &["--key", other, "--header", &kid]].concat();
        assert_eq!(
            refusal(&mint(&forged).unwrap(), set.as_bytes(), algorithm),
            Some("signature_invalid"),
            "{algorithm}"
        );
        let private = ["PRIVATE", "\"d\"", "\"k\""];
        assert!(
            !private.iter().any(|word| generated.contains(word)),
            "the private half is never printed: {generated}"
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
    assert!(error.to_string().contains("it can do ES256"), "{error}");
    fs::write(
        &path,
        "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
    )
    .unwrap();
    let error = asked(&[]).unwrap_err();
    assert!(error.to_string().contains("public key only"), "{error}");
    fs::write(&path, r#"{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}"#).unwrap();
    let error = asked(&[]).unwrap_err();
    assert!(error.to_string().contains("private half"), "{error}");
    // Neither file stays when one of them cannot be written.
    let [fresh, set] = ["fresh", "set"].map(|name| folder.path().join(name));
    fs::write(&set, "{}").unwrap();
    let [fresh, set] = [&fresh, &set].map(|path| path.to_str().unwrap());
    let both = ["--generate", "ES256", "--key", fresh, "--jwks", set];
    let error = mint(&both).unwrap_err();
    assert_eq!(error.code(), 1);
    assert!(error.to_string().contains(set), "{error}");
    assert_eq!(fs::read(set).unwrap(), b"{}");
    assert!(!fs::exists(fresh).unwrap(), "a key without its public half");
    // A secret's set is the secret.
    let set = folder.path().join("shared");
    let both = [
        "--generate",
        "HS256",
        "--key",
        fresh,
        "--jwks",
        set.to_str().unwrap(),
    ];
    mint(&both).unwrap();
    assert_eq!(
        fs::metadata(&set).unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert_eq!(fs::read(&set).unwrap(), fs::read(fresh).unwrap());
    assert!(line(&["--key", key]).is_err(), "no issuer, no audience");
    assert!(line(&[&["--key", key, "--claim", "role=[admin"], &WHO[..]].concat()).is_err());
}

/// The arguments of a token, with more behind them.
fn arguments(more: &[&str]) -> Result<Args, clap::Error> {
    let key = fixture("rsa.jwk.json");
    line(&[&["--key", key.as_str()], &WHO[..], more].concat())
}

fn fixture(name: &str) -> String {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/keys/");
    format!("{folder}{name}")
}

/// The header and the claims of what `more` makes.
fn parts(more: &[&str]) -> (Value, Value) {
    let token = run(&arguments(more).unwrap(), NOW).unwrap();
    let mut parts = token.split('.').map(|part| {
        let json = URL_SAFE_NO_PAD.decode(part).unwrap();
        serde_json::from_slice(&json).unwrap_or(Value::Null)
    });
    (parts.next().unwrap(), parts.next().unwrap())
}

#[test]
fn a_token_says_what_it_was_told() {
    let args = arguments(&["--not-before", "-10s", "--issued-at", "-1m"]).unwrap();
    assert_eq!(
        Value::Object(claims(&args, 1_000)),
        json!({
            "iss": "https://login.example.com", "aud": "orders-api", "sub": "alice",
            "iat": 940, "nbf": 990, "exp": 1300,
        })
    );
    // The name and the algorithm are the JWK's.
    let (header, claims) = parts(&[]);
    assert_eq!(
        header,
        json!({ "alg": "PS256", "typ": "at+jwt", "kid": "rsa-1" })
    );
    assert!(claims["exp"].as_u64() > claims["iat"].as_u64());
    assert_eq!(claims["nbf"], Value::Null);

    let (header, _) = parts(&["--kid", "x", "--algorithm", "RS512", "--type", "none"]);
    assert_eq!(header, json!({ "alg": "RS512", "kid": "x" }));
    let (_, claims) = parts(&["--audience", "more", "--expires-in", "-5m"]);
    assert_eq!(claims["aud"], json!(["orders-api", "more"]));
    assert!(claims["exp"].as_u64() < claims["iat"].as_u64());
}

#[test]
fn whatever_is_named_is_changed_or_taken_out() {
    let (header, claims) = parts(&[
        "--claim",
        "exp=null",
        "--claim",
        "aud=[]",
        "--claim",
        "sub=7",
        "--header",
        "kid=null",
        "--header",
        "alg=none",
        "--header",
        "crit=[\"b64\"]",
    ]);
    assert_eq!(
        header,
        json!({ "alg": "none", "typ": "at+jwt", "crit": ["b64"] })
    );
    assert_eq!(claims.get("exp"), None);
    assert_eq!((&claims["aud"], &claims["sub"]), (&json!([]), &json!(7)));
}

#[test]
fn without_a_name_the_key_is_named_by_its_thumbprint() {
    let pem = fixture("p256.pk8.pem");
    let key = KeyFile::parse(&fs::read(&pem).unwrap()).unwrap().key;
    let mut args = arguments(&[]).unwrap();
    args.key = pem.into();
    let token = run(&args, NOW).unwrap();
    let header = URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap());
    let header: Value = serde_json::from_slice(&header.unwrap()).unwrap();
    assert_eq!(header["kid"].as_str(), key.thumbprint().as_deref());
    assert_eq!(header["alg"], "ES256");
}

#[test]
fn what_does_not_fit_is_refused_with_its_code() {
    let unfit = arguments(&["--algorithm", "ES256"]).unwrap();
    let missing = Args {
        key: "/nonexistent/key.pem".into(),
        ..arguments(&[]).unwrap()
    };
    let endless = Args {
        key: "/dev/zero".into(),
        ..arguments(&[]).unwrap()
    };
    let public = Args {
        key: fixture("rsa.public.pem").into(),
        ..arguments(&[]).unwrap()
    };
    for (args, code, said) in [
        (unfit, 2, ["rsa.jwk.json", "RS256, RS384"]),
        (missing, 1, ["/nonexistent/key.pem", "cannot read"]),
        (endless, 2, ["/dev/zero", "no key"]),
        (public, 2, ["rsa.public.pem", "public key only"]),
    ] {
        let error = run(&args, NOW).unwrap_err();
        assert_eq!(error.code(), code, "{error}");
        for part in said {
            assert!(error.to_string().contains(part), "{error}");
        }
    }
    // Usage is clap's: code 2.
    for wrong in [
        &["--claim", "groups=[1"][..],
        &["--expires-in", "soon"],
        &["--algorithm", "none"],
        &["--generate", "ES256"],
        &["--jwks", "jwks.json"],
    ] {
        assert_eq!(arguments(wrong).unwrap_err().exit_code(), 2, "{wrong:?}");
    }
    let nothing = line(&["--key", "k"]);
    assert!(nothing.is_err(), "a token needs an issuer");
}
