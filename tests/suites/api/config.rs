//! Mistakes in configuration files, as `tollgate check` shows them.

mod checks;
mod texts;

use std::fs;
use std::path::Path;

use tollgate::app::CHECKS;
use tollgate::config;

fn mistakes(source: &str) -> String {
    config::parse(Path::new("tollgate.yaml"), source, CHECKS)
        .unwrap_err()
        .to_string()
}

#[test]
fn five_mistakes_are_named_at_once_with_their_places() {
    let text = mistakes(
        "version: 1
issuers:
  corp: { issuer: https://login.test, jwks: discover, audience: [api] }
listeners:
  edge:
    listen: 0.0.0.0
    plaintext: yes please
    routes:
      - name: orders
        match: { path: /orders/../admin }
        token: { issuers: [crop] }
        inject: { Content_Length: { claim: sub } }
        upstream: nowhere
upstreams: { api: { endpoints: [127.0.0.1:9000] } }
",
    );
    for expected in [
        "tollgate.yaml:3:55: unknown key `audience`; did you mean `audiences`?",
        "tollgate.yaml:6:13: `listen: 0.0.0.0` is not an address with a port",
        "tollgate.yaml:7:16: invalid type",
        "tollgate.yaml:10:24: \"/orders/../admin\" is no path",
        "tollgate.yaml:11:28: there is no issuer `crop`; configured: `corp`",
        "tollgate.yaml:12:19: the header `Content_Length` cannot be injected",
        "tollgate.yaml:13:19: there is no upstream `nowhere`; configured: `api`",
        "     3 |   corp: { issuer: https://login.test, jwks: discover, audience: [api] }",
    ] {
        let expected = expected.replace("invalid type", "expected a boolean");
        assert!(text.contains(&expected), "{expected:?} is not in:\n{text}");
    }
}

#[test]
fn what_this_version_does_not_do_is_refused_by_name() {
    let text = mistakes(
        "version: 1
include: [more/*.yaml]
listeners:
  edge:
    listen: 127.0.0.1:0
    plaintext: true
    routes:
      - { name: a, token: none, upstream: api }
      - { name: b, token: { issuers: [corp], sources: [{ header: a, scheme: DPoP }] }, upstream: api }
issuers: { corp: { issuer: 'https://x.test', jwks: discover, audiences: [a], algorithms: [ES256K] } }
upstreams: { api: { endpoints: [127.0.0.1:1], protocol: h2, discovery: { dns: a } } }
",
    );
    for key in ["include", "DPoP", "ES256K", "h2", "discovery"] {
        assert!(
            text.lines()
                .any(|line| line.contains(key) && line.contains("not available in this version")),
            "{key} is not refused in:\n{text}"
        );
    }
}

#[test]
fn repeated_keys_and_dangling_references_are_mistakes() {
    let text = mistakes("version: 1\nversion: 2\nlisteners: {}\nlisteners: {}\n");
    assert!(
        text.contains("tollgate.yaml:2:1: `version` stands twice; the first is on line 1"),
        "{text}"
    );
    assert!(
        text.contains("tollgate.yaml:4:1: `listeners` stands twice"),
        "{text}"
    );
}

#[test]
fn a_route_without_a_token_rule_is_a_mistake() {
    let text = mistakes(
        "version: 1
listeners: { edge: { listen: '127.0.0.1:0', plaintext: true, routes: [{ name: a, upstream: u }] } }
upstreams: { u: { endpoints: [127.0.0.1:1] } }
",
    );
    assert!(text.contains("this route has no token rule"), "{text}");
}

#[test]
fn text_that_is_not_yaml_has_a_place_too() {
    let text = mistakes("version: 1\nlisteners: [\n");
    assert!(text.contains("not valid YAML"), "{text}");
    assert!(text.starts_with("tollgate.yaml:"), "{text}");
}

#[test]
fn the_schema_knows_every_key_of_the_example() {
    let schema = config::schema().to_string();
    for key in [
        "issuers",
        "clock_skew",
        "certificates",
        "on_expiry",
        "backends",
        "announce",
        "first_byte",
    ] {
        assert!(schema.contains(&format!("\"{key}\"")), "{key}");
    }
}

#[test]
fn the_first_configuration_of_the_readme_is_valid() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    let start = readme
        .find("```yaml")
        .expect("a configuration in the README")
        + "```yaml".len();
    let source = &readme[start..start + readme[start..].find("```").unwrap()];
    let folder = tempfile::tempdir().unwrap();
    let leaf = tollgate::demo::pki::Authority::new("CA")
        .unwrap()
        .leaf(&["api.example.com"])
        .unwrap();
    leaf.write(folder.path(), "tls").unwrap();
    let source = source.replace("/etc/tollgate/", "");
    config::parse(&folder.path().join("tollgate.yaml"), &source, CHECKS).unwrap();
}
