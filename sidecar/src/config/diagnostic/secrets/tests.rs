use super::*;

/// What must not be shown. `REST` is the second line of a secret in several.
const SECRET: &str = "SHARED-secret";

/// With two files and some variables.
fn masked(source: &str) -> Masked {
    Masked::new(source, &|place, name| match place {
        Place::File => ["/etc/there", "/etc/tollgate/secret"].contains(&name),
        Place::Variable => name == "SET" || name.starts_with("TOLLGATE_"),
    })
}

#[track_caller]
fn hidden(source: &str) -> String {
    let masked = masked(source);
    for word in ["SHARED", "secret", "REST"] {
        assert!(
            !masked.text.contains(word),
            "{source:?} -> {:?}",
            masked.text
        );
    }
    // Places stay what they are.
    assert_eq!(masked.text.chars().count(), source.chars().count());
    let breaks = |text: &str| text.chars().map(is_break).collect::<Vec<_>>();
    assert_eq!(breaks(&masked.text), breaks(source));
    masked.text
}

#[test]
fn every_private_member_is_masked_in_every_spelling() {
    // The last is a word of its own in these texts.
    for name in PRIVATE.into_iter().filter(|name| *name != "secret") {
        let escaped: String = name
            .chars()
            .map(|c| format!("\\u{:04x}", u32::from(c)))
            .collect();
        let names = [
            name.to_owned(),
            format!("\"{name}\""),
            format!("'{name}'"),
            format!("\"{escaped}\""),
            format!("&a {name}"),
            format!("!!str {name}"),
        ];
        for name in names {
            for colon in [
                ": ",
                ":",
                " : ",
                "\t:\t",
                " :",
                ": &b ",
                ": !!str ",
                ": !!str &b ",
            ] {
                for value in [
                    SECRET.to_owned(),
                    format!("\"{SECRET}\""),
                    format!("'{SECRET}'"),
                ] {
                    let member = format!("{name}{colon}{value}");
                    for around in [
                        "jwks: { inline: { keys: [ { kty: oct, @ } ] } }",
                        "jwks: { inline: { keys: [ { @, kty: oct } ] } }",
                        "jwks: {inline: {keys: [{@}]}}",
                        "{\"jwks\":{\"inline\":{\"keys\":[{\"kty\":\"oct\",@}]}}}",
                        "{\"jwks\":{\"inline\":{\"keys\":[{@,\"kty\":\"oct\"}]}}}",
                        "@",
                        "  @",
                        "- @",
                        "x: 1\r@\r\ny: 2",
                        // No YAML.
                        "jwks: { inline: { keys: [ { kty: oct, @",
                        "keys: [ @ ] } }",
                        "@ x: y",
                    ] {
                        hidden(&around.replace('@', &member));
                    }
                }
            }
        }
    }
}

#[test]
fn values_in_several_lines_or_none_of_the_usual_are_masked() {
    for source in [
        "k:\n  SHARED",
        "k: # why\n  SHARED",
        "{ k:\n  'SHARED' }",
        "{ \"k\"\n:\n\"SHARED\" }",
        "? k\n: SHARED",
        "? k\n: |\n  SHARED\n  REST",
        "k: |\n  SHARED\n  REST\n\n  secret\nx: 1",
        "- k: >-\n    SHARED\n    REST\n  kty: oct",
        "  k: |2-\n    SHARED",
        "k: \"SHARED\n  REST\"",
        "k: 'SHARED''s\n  REST'",
        "k: \"SHARED\\\"secret\"",
        "k: SHARED\n  REST",
        "{ kty: oct, k: SHARED\n  REST, alg: HS256 }",
        "k: [SHARED, [secret], REST]",
        "k:\n  - SHARED\n  - REST",
        "k: SHARED, secret",
        "k: SHARED}secret",
        "k: SHARED # REST",
        // Quotes that do not match.
        "{ kty: oct, k: \"SHARED\"secret\", alg: HS256 }",
        "{ kty: oct, k: \"SHARED, alg: HS256 }",
        "{ kty: oct, k: SHARED\", alg: HS256 }",
        "{ kty: oct, k: 'SHARED\", alg: HS256 }",
        "oth: [{ r: SHARED, t: REST }]",
    ] {
        hidden(source);
    }
}

#[test]
fn what_stands_around_a_secret_stays() {
    for (source, want) in [
        (
            "jwks: { inline: { keys: [ { kty: oct, k: \"SHARED\" } ] } }",
            "jwks: { inline: { keys: [ { kty: oct, k: \"******\" } ] } }",
        ),
        (
            "{\"k\":\"SHARED\",\"kid\":\"a\"}",
            "{\"k\":\"******\",\"kid\":\"a\"}",
        ),
        ("{ k: SHARED, kid: a }", "{ k: ******, kid: a }"),
        ("k: SHARED\nkid: a", "k: ******\nkid: a"),
        ("  k:\n  kid: a", "  k:\n  kid: a"),
        // Names of the operator's own may be as short.
        (
            "issuers:\n  d:\n    issuer: x\n    k: SHARED\n  p: { issuer: y }",
            "issuers:\n  d:\n    issuer: x\n    k: ******\n  p: { issuer: y }",
        ),
        ("url: https://a:SHARED@b/c", "url: https://********@b/c"),
    ] {
        assert_eq!(masked(source).text, want);
    }
    for source in [
        "listen: '[fd00::d:1]:80'",
        "listen: '[d::1]:80'",
        "path: /k/d",
        "kid: a, id: b, ok: c, x-k: d, a.d: e, k_d: f",
        "issuer: https://login.test/realms/k",
        "a-very-long-service-name-of-somebody.in-a-namespace.svc.cluster.local:8080",
        "ä: ö, k",
        "",
    ] {
        assert_eq!(masked(source).text, source);
    }
}

/// Where the name is misspelt only the look of a key is left.
#[test]
fn what_looks_like_a_key_is_masked_by_any_name() {
    let key = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_";
    for around in ["key: @", "k \"@\"", "- @", "jwks: '@'"] {
        let source = around.replace('@', key);
        let want = around.replace('@', &"*".repeat(key.len()));
        assert_eq!(masked(&source).text, want);
        assert_eq!(masked("").message(&source), want);
    }
}

/// What should say where the secret of a cluster is, and is the secret.
#[test]
fn a_secret_in_the_place_of_its_whereabouts_is_masked() {
    let hex = "3f2a".repeat(16);
    for (source, want) in [
        ("secret: SHARED", "secret: ******"),
        ("cluster: { secret: SHARED }", "cluster: { secret: ****** }"),
        (
            "cluster: { secret: 'SHARED' }",
            "cluster: { secret: '******' }",
        ),
        ("secret:\n  SHARED", "secret:\n  ******"),
        ("secret: { env: shared }", "secret: { env: ****** }"),
        ("secret: { env: \"sHARED\" }", "secret: { env: \"******\" }"),
        ("secret:\n  env: SHARED+1", "secret:\n  env: ********"),
        ("secret: { value: @ }", "secret: { value: # }"),
        ("secret: { file: @ }", "secret: { file: # }"),
    ] {
        let with = |text: &str| text.replace('@', &hex).replace('#', &"*".repeat(hex.len()));
        assert_eq!(masked(&with(source)).text, with(want));
    }
    for source in [
        "cluster: { secret: { file: /etc/tollgate/secret } }",
        "cluster: { secret: { env: TOLLGATE_SECRET } }",
        "cluster:\n  secret:\n    env: 'TOLLGATE_SECRET_2'\nadmin: {}",
        "cluster: { secret: { env:",
    ] {
        assert_eq!(masked(source).text, source);
    }
}

#[test]
fn messages_do_not_repeat_what_is_masked() {
    let masked = masked("k: &a SHARED-secret\naudiences: *a\n");
    assert_eq!(
        masked.message("expected a list, found the string `SHARED-secret`"),
        "expected a list, found the string `*************`"
    );
    assert_eq!(masked.message("`k` stands twice"), "`k` stands twice");
}

/// A secret that stands where its file or its variable should.
#[test]
fn what_is_no_place_for_a_secret_is_masked_as_one() {
    for value in [
        "SHAREDtq0ODXz6mF0m/5s1h6nJx+y6mUu3q0=",
        "SHARED5XJBSWY3DPEHPK3PXP",
        "/etc/SHARED",
        "SHARED",
    ] {
        for name in ["file", "env", "\"file\"", "'env'"] {
            for (member, shown) in [
                (
                    format!("cluster: {{ secret: {{ {name}: {value} }} }}"),
                    "cluster: { ",
                ),
                (
                    format!("cluster: {{ secret: {{ {name}: '{value}' }} }} # no"),
                    "# no",
                ),
                (
                    format!("cluster: {{\"secret\":{{{name}: \"{value}\"}}}}"),
                    "cluster",
                ),
                (
                    format!("cluster:\n  secret:\n    {name}: {value}\n  x: y\n"),
                    "x: y",
                ),
                (
                    format!(
                        "cluster:\n  secret: # where\n    # in\n    {name}: &a {value} # b\nfile: d\n"
                    ),
                    "file: d",
                ),
                (
                    format!("cluster: {{ secret: {{ {name}: {value}, file: /etc/there }} }}"),
                    "/etc/there",
                ),
            ] {
                let text = masked(&member).text;
                assert!(
                    !text.contains("SHARED") && text.contains(shown),
                    "{member:?} -> {text:?}"
                );
                let message = masked(&member).message(&format!("no `{value}`"));
                assert!(!message.contains("SHARED"), "{message}");
            }
        }
    }
    for source in [
        "cluster: { secret: { file: /etc/there } }",
        "cluster: { secret: { file: '/etc/there' } }",
        "cluster:\n  secret:\n    file: /etc/there # openssl rand\n",
        "cluster:\n  secret: { env: SET }\nfile: nowhere\nenv: UNSET\n",
        "jwks: { file: nowhere }\n",
    ] {
        assert_eq!(masked(source).text, source);
    }
}
