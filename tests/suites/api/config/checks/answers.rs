//! Keys that are about what Tollgate itself answers.

use std::path::Path;
use std::time::Duration;

use tollgate::app::CHECKS;
use tollgate::config;
use tollgate_auth::policy::cors::{Cors, Headers, Origins, Sharing};
use tollgate_auth::reason::Reason;
use tollgate_http::{Method, Origin};

use super::{ROUTE, WHOLE, mistake, valid};

#[test]
fn a_resource_has_an_identifier_and_perhaps_a_page() {
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
}

/// What the listener answers itself hides no route, and refuses none that is reached.
#[test]
fn a_route_behind_an_own_document_is_a_mistake() {
    let found = |listener: &str, route: &str| {
        let source = WHOLE
            .replace("plaintext: true", listener)
            .replace("path: /first", route);
        let parsed = config::parse(Path::new("t.yaml"), &source, CHECKS);
        parsed.err().map(|errors| errors.to_string())
    };
    let resource = "plaintext: true\n    resource: { identifier: 'https://api.test/first' }";
    let jwks = "plaintext: true\n    publish_jwks: true";
    let metadata = "path: { exact: /.well-known/oauth-protected-resource/first }";
    let keys = "path: { exact: /.well-known/tollgate/jwks.json }";
    let under = "the route `first` can never be reached under `api.test`: `resource` answers";
    let never = "the route `first` can never be reached: `publish_jwks` answers";
    let of = |hosts: &str, path: &str| format!("hosts: {hosts}, {path}");
    for (listener, route, said) in [
        (resource, metadata.to_owned(), Some(under)),
        (resource, of("[API.test]", metadata), Some(under)),
        (resource, of("[b.test, api.test]", metadata), Some(under)),
        (
            resource,
            "path: { exact: /.well-known/%6fauth-protected-resource/first }".to_owned(),
            Some(under),
        ),
        (
            resource,
            "path: { template: /.well-known/oauth-protected-resource/first }".to_owned(),
            Some(under),
        ),
        (resource, of("[b.test]", metadata), None),
        (resource, of("['*.test']", metadata), None),
        (resource, of("['*.api.test']", metadata), None),
        (
            resource,
            "path: { exact: /.well-known/oauth-protected-resource }".to_owned(),
            None,
        ),
        (
            resource,
            "path: /.well-known/oauth-protected-resource/first".to_owned(),
            None,
        ),
        (resource, keys.to_owned(), None),
        (jwks, keys.to_owned(), Some(never)),
        (jwks, of("[b.test]", keys), Some(never)),
        (
            jwks,
            "path: { exact: /.well-known/tollgate/jwk%73.json }".to_owned(),
            Some(never),
        ),
        (jwks, metadata.to_owned(), None),
        ("plaintext: true", keys.to_owned(), None),
    ] {
        let text = found(listener, &route);
        match said {
            Some(said) => assert!(
                text.as_ref().is_some_and(|text| text.contains(said)),
                "{route}: {text:?}"
            ),
            None => assert_eq!(text, None, "{route}"),
        }
    }
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

#[test]
fn pages_of_other_origins_are_inherited_replaced_and_switched_off() {
    let defaults = "defaults:\n      cors: { origins: ['https://APP.test', 'http://localhost:3000'], methods: [PUT], headers: [X-A], expose: [X-B], credentials: true, max_age: 1h }";
    let config = valid("defaults:", defaults);
    let Cors::Answer(sharing) = &config.listeners[0].routes[0].cors else {
        panic!("{config:?}");
    };
    let origin = |text: &str| Origin::parse(text.as_bytes()).unwrap();
    assert_eq!(
        **sharing,
        Sharing {
            origins: Origins::These(vec![
                origin("https://app.test"),
                origin("http://localhost:3000")
            ]),
            methods: vec![Method::PUT],
            headers: Headers::These(vec!["x-a".to_owned()]),
            expose: vec!["x-b".to_owned()],
            credentials: true,
            max_age: Duration::from_secs(3600),
        }
    );
    let cors = |what: &str| {
        let config = valid(ROUTE, &route(&format!("cors: {what}")));
        config.listeners[0].routes[0].cors.clone()
    };
    assert_eq!(cors("none"), Cors::Off);
    assert_eq!(cors("forward"), Cors::Forward);
    let Cors::Answer(open) = cors("{ origins: ['*'], headers: ['*'], expose: ['*'] }") else {
        panic!("not answered");
    };
    assert_eq!(
        (&open.origins, &open.headers, open.credentials, open.max_age),
        (
            &Origins::Any,
            &Headers::Any,
            false,
            Duration::from_secs(600)
        )
    );
    let Cors::Answer(usual) = cors("{ origins: ['https://a.test'] }") else {
        panic!("not answered");
    };
    let usual_headers = ["authorization", "content-type"].map(str::to_owned);
    assert_eq!(usual.headers, Headers::These(usual_headers.to_vec()));
    assert_eq!(valid(ROUTE, ROUTE).listeners[0].routes[0].cors, Cors::Off);
}

#[test]
fn what_cannot_be_meant_of_pages_is_named() {
    for (what, said) in [
        ("all", "`cors: all` is unknown; say `none`, `forward`"),
        ("{ methods: [GET] }", "`origins` is missing or empty"),
        ("{ origins: [] }", "`origins` is missing or empty"),
        (
            "{ origins: ['*'], credentials: true }",
            "`credentials: true` with the origin `*`",
        ),
        (
            "{ origins: ['*', 'https://a.test'] }",
            "`*` stands beside other origins",
        ),
        (
            "{ origins: [a.test] }",
            "the origin `a.test` does not fit: it does not begin with a scheme",
        ),
        (
            "{ origins: ['https://a.test/'] }",
            "the origin `https://a.test/` does not fit",
        ),
        (
            "{ origins: ['https://*.a.test'] }",
            "the origin `https://*.a.test` does not fit",
        ),
        (
            "{ origins: ['https://a.test:443'] }",
            "browsers leave out the port",
        ),
        (
            "{ origins: ['null'] }",
            "`null` is the origin of nobody in particular",
        ),
        (
            "{ origins: ['https://a.test', 'https://A.test'] }",
            "the origin `https://a.test` stands twice",
        ),
        (
            "{ origins: ['https://a.test'], methods: [get] }",
            "the method `get` does not fit",
        ),
        (
            "{ origins: ['https://a.test'], headers: ['a b'] }",
            "`a b` is not a header name",
        ),
        (
            "{ origins: ['https://a.test'], headers: ['*', x] }",
            "`*` stands beside other headers",
        ),
        (
            "{ origins: ['https://a.test'], expose: ['*'], credentials: true }",
            "browsers do not take `*` in `expose`",
        ),
        (
            "{ origins: ['https://a.test'], max_age: 2d }",
            "`max_age: 2d` is out of range",
        ),
        (
            "{ origin: ['https://a.test'], origins: ['https://a.test'] }",
            "unknown key `origin`; did you mean `origins`?",
        ),
    ] {
        mistake(ROUTE, &route(&format!("cors: {what}")), said);
    }
}

#[test]
fn one_of_the_two_says_who_may_read_an_answer() {
    let cors = "cors: { origins: ['https://app.test'] }";
    for (rules, name) in [
        (
            "set: { Access-Control-Allow-Origin: '*' }",
            "access-control-allow-origin",
        ),
        (
            "set: { access-control-allow-credentials: 'true' }",
            "access-control-allow-credentials",
        ),
        ("remove: [access-control-max-age]", "access-control-max-age"),
    ] {
        let said = format!("says something of `{name}`, and so does `cors`");
        let response = format!("response: {{ {rules} }}");
        mistake(ROUTE, &route(&format!("{cors}, {response}")), &said);
        // Where the API says it, it may be changed.
        for other in ["cors: forward", "cors: none"] {
            valid(ROUTE, &route(&format!("{other}, {response}")));
        }
        // Inherited on either side.
        let defaults = format!("defaults:\n      {response}");
        let source = WHOLE.replace("defaults:", &defaults);
        let with_cors = source.replace(ROUTE, &route(cors));
        let text = config::parse(Path::new("t.yaml"), &with_cors, CHECKS)
            .unwrap_err()
            .to_string();
        assert!(text.contains(&said), "{text}");
        assert!(config::parse(Path::new("t.yaml"), &source, CHECKS).is_ok());
    }
    let other = "response: { set: { x-access-control-allow-origin: a, cache-control: no-store } }";
    valid(ROUTE, &route(&format!("{cors}, {other}")));
}
