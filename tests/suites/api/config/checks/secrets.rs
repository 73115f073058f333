//! Shared secrets: where they may stand, what must stand beside them, and that nothing shows them.

use std::path::Path;

use tollgate::app::CHECKS;
use tollgate::config;

use super::{mistake, parse, valid};

/// threats.md 5: a secret that anyone can fetch is none.
#[test]
fn threat_05_shared_secrets_are_named_and_never_fetched() {
    let issuer = "jwks: discover, audiences: [api], keys: {}";
    let with = |jwks: &str, algorithms: &str| {
        format!("jwks: {jwks}, audiences: [api], algorithms: [{algorithms}], keys: {{}}")
    };
    for jwks in ["discover", "{ url: 'https://login.test/keys' }"] {
        mistake(issuer, &with(jwks, "HS256"), "`HS256` is symmetric");
    }
    mistake(issuer, &with("discover", "none"), "never accepted");
    mistake(issuer, &with("discover", "RSA1_5"), "unknown algorithm");
    let secret = "A".repeat(43);
    let inline = format!("{{ inline: {{ keys: [{{ kty: oct, k: {secret} }}] }} }}");
    let config = valid(issuer, &with(&inline, "HS256, ES512"));
    assert_eq!(
        config.issuers[0].rules.algorithms.to_string(),
        "ES512, HS256"
    );
    let short = inline.replace(&secret, "c2hvcnQ");
    mistake(issuer, &with(&short, "HS256"), "32 are the least");
}

/// Both halves of a shared secret, the key and the algorithm, or neither.
#[test]
fn secrets_and_their_algorithms_belong_together() {
    let issuer = "jwks: discover, audiences: [api], keys: {}";
    let with = |keys: &str, algorithms: &str| {
        format!(
            "jwks: {{ inline: {{ keys: [{keys}] }} }}, audiences: [api], {algorithms}keys: {{}}"
        )
    };
    let ed25519 = "{ kty: OKP, crv: Ed25519, x: 11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo }";
    let oct = &format!("{{ kty: oct, k: {} }}", "A".repeat(43));
    let both = &format!("{ed25519}, {oct}");
    valid(issuer, &with(ed25519, ""));
    valid(issuer, &with(ed25519, "algorithms: [EdDSA], "));
    valid(issuer, &with(oct, "algorithms: [HS256], "));
    valid(issuer, &with(both, "algorithms: [EdDSA, HS256], "));
    for algorithms in ["HS256", "EdDSA, HS256"] {
        let algorithms = format!("algorithms: [{algorithms}], ");
        let said = "`algorithms` names HS256, and the key set has no key of type `oct`: such tokens could never be accepted; add their secret";
        mistake(issuer, &with(ed25519, &algorithms), said);
    }
    for algorithms in ["", "algorithms: [EdDSA], "] {
        let said = "it would never be used; name one of HS256 in `algorithms`, or remove the key";
        mistake(issuer, &with(oct, algorithms), said);
        mistake(issuer, &with(both, algorithms), said);
    }
    // 32 bytes are too few for SHA-512 (RFC 7518 section 3.2).
    let said = "`algorithms` names HS512, and the keys of type `oct` in the set are for HS256";
    mistake(issuer, &with(oct, "algorithms: [HS512], "), said);
    // One mistake in the list is enough to mend at a time.
    mistake(
        issuer,
        &with(oct, "algorithms: [HS257], "),
        "unknown algorithm",
    );
}

/// Diagnostics are printed, logged and shown by status.
#[test]
fn threat_05_no_mistake_shows_the_secret_beside_it() {
    let secret = "SHARED-secret";
    for k in [
        format!("k: {secret}"),
        format!("k: '{secret}'"),
        format!("\"k\": \"{secret}\""),
        format!("\"k\":\"{secret}\""),
        format!("'k': {secret}"),
        format!("\"\\u006b\": {secret}"),
        format!("k:\n    {secret}"),
        format!("? k\n    : {secret}\n   "),
    ] {
        for (jwks, rest) in [
            // Not to be used; a wrong name, value and shape on its line; not YAML; repeated by a message.
            ("{ inline: { keys: [ { kty: oct, @ } ] } }", ""),
            ("{ inlin: { keys: [ { kty: oct, @ } ] } }", ""),
            ("{ inline: { keys: [ { @, @ } ] } }", ""),
            ("{ kty: oct, @ }", ""),
            ("[ { kty: oct, @ } ]", ""),
            (
                "{ inline: { keys: [ { kty: oct, @ } ] } }",
                ", clock_skew: x, algorithms: y",
            ),
            ("{ inline: { keys: [ { kty: oct, @ ] } }", ""),
            ("{ inline: { keys: [ { kty: oct, @ } ] } }", ", }"),
        ] {
            let jwks = jwks.replace('@', &k);
            let text = parse("jwks: discover", &format!("jwks: {jwks}{rest}")).unwrap_err();
            assert!(
                !text.contains("SHARED") && !text.contains("secret"),
                "{jwks}:\n{text}"
            );
        }
    }
    let alias = "jwks: { inline: { keys: [ { kty: oct, k: &k SHARED-secret } ] } }, token_type: *k";
    let text = parse("jwks: discover", alias).unwrap_err();
    assert!(text.contains("unknown value `*************`"), "{text}");
    // A whole configuration on one line.
    let json = r#"{"version":1,"issuers":{"a":{"issuer":"x","jwks":{"inline":{"keys":[{"kty":"oct","k":"SHARED-secret"}]}},"audience":["y"]}}}"#;
    let text = config::parse(Path::new("t"), json, CHECKS)
        .unwrap_err()
        .to_string();
    assert!(
        text.contains("unknown key `audience`") && text.contains("\"kty\":\"oct\""),
        "{text}"
    );
    assert!(!text.contains("SHARED"), "{text}");
}

#[test]
fn threat_05_what_is_printed_of_a_configuration_holds_no_secret() {
    let issuer = "jwks: discover, audiences: [api], keys: {}";
    let secret = "A".repeat(43);
    let jwks = format!("{{ inline: {{ keys: [{{ kty: oct, k: {secret} }}] }} }}");
    let config = valid(
        issuer,
        &format!("jwks: {jwks}, audiences: [api], algorithms: [HS256], keys: {{}}"),
    );
    let shown = format!("{config:?}");
    assert!(shown.contains("Inline(..)"), "{shown}");
    // As text and as a list of bytes.
    assert!(
        !shown.contains("AAAA") && !shown.contains("65, 65"),
        "{shown}"
    );
    let source = tollgate::jwks::Source::Inline(secret.into_bytes());
    assert_eq!(format!("{source:?}"), "Inline(..)");
}
