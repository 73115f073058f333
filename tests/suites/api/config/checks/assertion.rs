//! What is signed for upstreams, and with whose secret.

use std::path::Path;
use std::time::Duration;

use tollgate::app::CHECKS;
use tollgate::config;
use tollgate::config::lower::Checks;
use tollgate_auth::header::assertion::Bind;

use super::{WHOLE, mistake, valid};

const UPSTREAM: &str = "api: { endpoints: [127.0.0.1:9000] }";

fn assertion(what: &str) -> String {
    format!("api: {{ endpoints: [127.0.0.1:9000], assertion: {what} }}")
}

#[test]
fn an_assertion_has_defaults_and_limits() {
    let rules = |what: &str| {
        let config = valid(UPSTREAM, &assertion(what));
        config.assertions[0].clone().unwrap()
    };
    let default = rules("{}");
    assert_eq!(default.audience(), "api", "the upstream's name");
    assert_eq!(default.lifetime(), Duration::from_secs(30));
    assert_eq!(default.bind(), Bind::None);
    assert!(default.claims().is_empty());
    let all = rules(
        "{ audience: 'https://orders.test', lifetime: 60s, claims: [email, [t, id]], bind: request }",
    );
    assert_eq!(all.audience(), "https://orders.test");
    assert_eq!(all.lifetime(), Duration::from_secs(60));
    assert_eq!(all.bind(), Bind::Request);
    assert_eq!(all.claims()[0].names(), ["email"]);
    assert_eq!(all.claims()[1].names(), ["t", "id"]);
    assert!(valid(UPSTREAM, UPSTREAM).assertions[0].is_none());
}

#[test]
fn assertions_that_cannot_be_meant_are_mistakes() {
    for (what, said) in [
        (
            "{ lifetime: 61s }",
            "`lifetime: 61s` is out of range; allowed are 5s to 1m",
        ),
        ("{ lifetime: 0s }", "out of range"),
        ("{ lifetime: 4s }", "out of range"),
        (
            "{ lifetime: 5500ms }",
            "assertions live 5 to 60 whole seconds",
        ),
        (
            "{ audience: '' }",
            "the audience is empty; leave it out for the upstream's name",
        ),
        ("{ claims: [[]] }", "an empty claim path names nothing"),
        (
            "{ claims: [email, email] }",
            "t.yaml:15:79: the claim \"email\" is named already",
        ),
        (
            "{ claims: [[t, id], t] }",
            "t.yaml:15:81: the claim \"t\" is named already, whole or with what it is a part of",
        ),
        ("{ bind: client }", "client"),
        ("{ aud: x }", "unknown key `aud`"),
    ] {
        mistake(UPSTREAM, &assertion(what), said);
    }
}

/// With these files and variables, and with `cluster:` as given.
fn with_secret(cluster: &str) -> Result<config::model::Config, String> {
    const TEXT: &[u8] = b"tq0ODXz6mF0m5s1h6nJx0y6mUu3q0iXjv0tqzq9v1no=";
    let checks = Checks {
        read: |path| match path.file_name().and_then(|name| name.to_str()) {
            Some("good") => Ok([TEXT, b"\n"].concat()),
            Some("short") => Ok(b"hush-hush\n".to_vec()),
            Some("dull") => Ok(vec![b'a'; 64]),
            _ => Err(std::io::ErrorKind::NotFound.into()),
        },
        variable: |name| (name == "TOLLGATE_SECRET").then(|| TEXT.to_vec()),
        ..CHECKS
    };
    let source = format!("{WHOLE}cluster: {cluster}\n");
    config::parse(Path::new("t.yaml"), &source, checks).map_err(|all| all.to_string())
}

#[test]
fn a_secret_is_one_wherever_it_stands() {
    let file = with_secret("{ secret: { file: good } }").unwrap();
    let env = with_secret("{ secret: { env: TOLLGATE_SECRET } }").unwrap();
    assert!(file.cluster.is_some());
    assert_eq!(file.cluster, env.cluster);
    assert!(!format!("{file:?}").contains("tq0O"));
    assert!(valid(UPSTREAM, UPSTREAM).cluster.is_none());
}

#[test]
fn secrets_that_are_none_are_named_and_never_shown() {
    for (cluster, said) in [
        ("{}", "`secret` is missing here"),
        (
            "{ secret: { file: none } }",
            "the file that `file` names cannot be read",
        ),
        (
            "{ secret: { file: short } }",
            "the cluster's secret in `short` has 9 bytes, and at least 32 are needed; make one with `openssl rand -base64 48`",
        ),
        ("{ secret: { file: dull } }", "has only 1 different bytes"),
        (
            "{ secret: { env: NOT_SET } }",
            "the environment variable that `env` names is not set; set it for the daemon, or say",
        ),
        (
            "{ secret: { env: hush-hush } }",
            "`env` wants the name of an environment variable",
        ),
        ("{ secret: { env: '' } }", "`env` wants the name"),
        (
            "{ secret: { file: \"HUSHtq0O/Xz6mF0m5s1h+nJx=\" } }",
            "cannot be read",
        ),
        ("{ secret: { env: HUSH5XJBSWY3DPEHPK3PXP } }", "is not set"),
        (
            "{ secret: { env: HUSH5XJBSWY3DPEHPK3PXP }, x: 1 }",
            "is not set",
        ),
        ("{ secret: hush-hush }", "t.yaml"),
        ("{ secret: { value: hush-hush } }", "t.yaml"),
    ] {
        let text = with_secret(cluster).unwrap_err();
        assert!(text.contains(said), "{said:?} is not in:\n{text}");
        let count = if cluster.contains("x: 1") {
            "2 mistakes"
        } else {
            "1 mistake"
        };
        assert!(text.ends_with(&format!("\n{count} in t.yaml")), "{text}");
        assert!(!text.contains("HUSH") && !text.contains("tq0O"), "{text}");
        // Of a name that nobody knows the value stands there to be seen, unless it looks like a key.
        if !cluster.contains("value") {
            assert!(!text.contains("hush-hush"), "{text}");
        }
    }
}
