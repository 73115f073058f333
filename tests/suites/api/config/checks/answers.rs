//! Keys that are about what Tollgate itself answers.

use std::path::Path;

use tollgate::app::CHECKS;
use tollgate::config;
use tollgate_auth::reason::Reason;

use super::{ROUTE, WHOLE, mistake, valid};

#[test]
fn a_resource_has_an_identifier_and_the_path_of_its_metadata_to_itself() {
    let resource = |what: &str| format!("plaintext: true\n    resource: {{ {what} }}");
    let config = valid(
        "plaintext: true",
        &resource("identifier: 'https://api.test/v1', documentation: 'https://docs.test/?a'"),
    );
    let found = config.listeners[0].resource.as_ref().unwrap();
    assert_eq!(found.identifier(), "https://api.test/v1");
    for (what, said) in [
        (
            "documentation: 'https://docs.test'",
            "`identifier` is missing here",
        ),
        (
            "identifier: 'http://api.test'",
            "the identifier `http://api.test` does not fit: it does not begin with `https://`",
        ),
        (
            "identifier: 'https://API.test'",
            "its host has another spelling in requests; write `api.test`",
        ),
        (
            "identifier: 'https://api.test', documentation: 'docs'",
            "the page `docs` does not fit",
        ),
    ] {
        mistake("plaintext: true", &resource(what), said);
    }
    let source = WHOLE
        .replace(
            "plaintext: true",
            &resource("identifier: 'https://api.test/first'"),
        )
        .replace(
            "path: /first",
            "path: { exact: /.well-known/oauth-protected-resource/first }",
        );
    let text = config::parse(Path::new("t.yaml"), &source, CHECKS)
        .unwrap_err()
        .to_string();
    assert!(
        text.contains("the route `first` can never be reached under `api.test`"),
        "{text}"
    );
}

/// A route with more in it.
fn route(what: &str) -> String {
    format!("- {{ name: first, match: {{ path: /first }}, upstream: api, {what} }}")
}

#[test]
fn texts_of_refusals_are_inherited_word_by_word() {
    let config = valid(
        "inject: { x-user-id: { claim: sub } }",
        "refusal: { text: { token_expired: Come back., default: Call 42. } }",
    );
    let listener = &config.listeners[0];
    for texts in [&listener.texts, &listener.routes[0].texts] {
        assert_eq!(texts.of(Reason::TokenExpired), Some("Come back."));
        assert_eq!(texts.of(Reason::NoRoute), Some("Call 42."));
    }
    let config = valid(
        ROUTE,
        &route("refusal: { text: { scope_insufficient: 'Ask <your> lead.' } }"),
    );
    let texts = &config.listeners[0].routes[0].texts;
    assert_eq!(
        texts.of(Reason::ScopeInsufficient),
        Some("Ask <your> lead.")
    );
    assert_eq!(texts.of(Reason::TokenExpired), None);
    assert_eq!(
        config.listeners[0].texts.of(Reason::ScopeInsufficient),
        None
    );
}

#[test]
fn texts_are_for_reasons_and_fit_into_a_paragraph() {
    let long = "x".repeat(501);
    for (text, said) in [
        (
            "token_expird: a",
            "there is no reason `token_expird`; did you mean `token_expired`?",
        ),
        (
            "bad: a",
            "there is no reason `bad`; the words stand in docs/reasons.md",
        ),
        ("default: ' '", "the text for `default` is empty"),
        (
            "default: \"a\\nb\"",
            "the text for `default` holds a line break",
        ),
        (
            &format!("default: {long}"),
            "the text for `default` has 501 characters; at most 500",
        ),
    ] {
        mistake(
            ROUTE,
            &route(&format!("refusal: {{ text: {{ {text} }} }}")),
            said,
        );
    }
    valid(
        ROUTE,
        &route(&format!(
            "refusal: {{ text: {{ default: {} }} }}",
            &long[1..]
        )),
    );
}
