//! `require.expr`: what passes, what does not, and what is said of it.

use std::path::Path;

use serde_json::json;
use tollgate::app::CHECKS;
use tollgate::config::{self, model::Config};
use tollgate_tests::client::Request;

use crate::world::{World, refused, seen};

const ROUTES: &str = r#"
      - { name: level, match: { path: /level }, require: { expr: 'claims.level >= 2' }, upstream: api }
      - { name: all, match: { path: /all }, require: { scopes: [a], claims: { tenant: [acme] }, expr: 'claims.level >= 2' }, upstream: api }
      - { name: role, match: { path: /role }, require: { expr: 'request.headers["x-role"] == "user"' }, upstream: api }
      - { name: near, match: { path: /near }, token: none, require: { expr: 'cidr("127.0.0.0/8").containsIP(source.address)' }, upstream: api }
      - { name: far, match: { path: /far }, token: none, require: { expr: 'cidr("10.0.0.0/8").containsIP(source.address)' }, upstream: api }
      - name: maybe
        match: { path: /maybe }
        token: { issuers: [corp], required: false }
        require: { expr: 'request.method == "GET" && request.host == "api.test" && tls.client == null' }
        upstream: api
      - name: forged
        match: { path: /forged }
        require: { expr: '!("x-hop" in request.headers)' }
        upstream: api
      - name: heavy
        match: { path: /heavy }
        require: { expr: 'claims.groups.all(a, claims.groups.all(b, a + b != "")) || true' }
        upstream: api
"#;

#[test]
fn what_a_rule_says_decides_and_the_log_names_it() {
    let world = World::with(ROUTES, "");
    let bearer = |claims: serde_json::Value| {
        let token = claims
            .as_object()
            .unwrap()
            .iter()
            .fold(world.claims(), |token, (name, value)| {
                token.claim(name, value.clone())
            });
        token.sign(&world.key).unwrap()
    };
    let high = bearer(json!({"level": 2.0, "scope": "a", "tenant": "acme"}));
    for path in ["/level", "/all"] {
        let reply = world.h1(&Request::get(path).bearer(&high));
        assert_eq!(reply.status, 200, "{path}: {reply:?}");
    }
    for (path, claims, reason) in [
        (
            "/level",
            json!({"level": 1, "note": "secret-of-eve"}),
            "policy_denied",
        ),
        ("/level", json!({}), "policy_error"),
        ("/level", json!({"level": "secret-of-eve"}), "policy_error"),
        ("/level", json!({"level": null}), "policy_error"),
        (
            "/all",
            json!({"level": 2, "tenant": "acme"}),
            "scope_insufficient",
        ),
        ("/all", json!({"level": 2, "scope": "a"}), "claim_denied"),
        (
            "/all",
            json!({"level": 1, "scope": "a", "tenant": "acme"}),
            "policy_denied",
        ),
    ] {
        let request = Request::get(path).bearer(&bearer(claims.clone()));
        for reply in [world.h1(&request), world.h2(&request)] {
            refused(&reply, 403, reason);
            let id = reply.field("x-request-id").unwrap().to_owned();
            let line = world.log_line(|line| line["request_id"] == id.as_str());
            assert_eq!(line["reason"], reason, "{path} {claims}");
            assert_eq!(line["subject"], "alice");
            let detail = line["detail"].as_str().unwrap();
            assert!(!detail.contains("secret"), "{detail}");
            if reason.starts_with("policy") {
                assert!(detail.contains("claims.level >= 2"), "{detail}");
            }
        }
    }
    refused(&world.h1(&Request::get("/level")), 401, "token_missing");
    assert!(
        world
            .echo
            .seen()
            .iter()
            .all(|seen| seen.path != "/elsewhere")
    );
    assert_eq!(world.echo.seen().len(), 2);
}

#[test]
fn threat_39_two_headers_never_meet_a_rule_over_one() {
    let world = World::with(ROUTES, "");
    let token = world.token();
    let request = || Request::get("/role").bearer(&token);
    let reply = world.h1(&request().field("x-role", "user"));
    assert_eq!(
        (reply.status, seen(&reply, "x-role")),
        (200, vec!["user".to_owned()])
    );
    for (first, second) in [
        ("x-role", "x-role"),
        ("x-role", "X-ROLE"),
        ("x-role", "x_role"),
        ("x.role", "x-role"),
    ] {
        for (one, other) in [("user", "admin"), ("admin", "user"), ("user", "user")] {
            let request = request().field(first, one).field(second, other);
            refused(&world.h1(&request), 403, "policy_error");
        }
    }
    for (name, value, reason) in [
        ("x_role", "user", "policy_error"),
        ("x-role", "user, admin", "policy_denied"),
        ("x-role", "user,admin", "policy_denied"),
        ("x-role", "", "policy_denied"),
        ("x-other", "user", "policy_error"),
    ] {
        refused(&world.h1(&request().field(name, value)), 403, reason);
    }
    let request = request().field("x-role", "user").field("x-role", "admin");
    refused(&world.h2(&request), 403, "policy_error");
}

#[test]
fn rules_over_the_request_alone_bind_those_without_a_token() {
    let world = World::with(ROUTES, "");
    assert_eq!(world.h1(&Request::get("/near")).status, 200);
    refused(&world.h1(&Request::get("/far")), 403, "policy_denied");
    assert_eq!(world.h1(&Request::get("/maybe")).status, 200);
    assert_eq!(
        world
            .h1(&Request::get("/maybe").bearer(&world.token()))
            .status,
        200
    );
    let delete = Request {
        method: "DELETE".to_owned(),
        ..Request::get("/maybe")
    };
    refused(&world.h1(&delete), 403, "policy_denied");
}

/// threats.md 35 and 38: a rule sees what a client may say, and nothing else.
#[test]
fn threat_38_rules_do_not_see_what_is_not_believed() {
    let world = World::with(ROUTES, "");
    let request = Request::get("/forged")
        .bearer(&world.token())
        .field("x-forwarded-for", "10.0.0.1")
        .field("connection", "x-hop")
        .field("x-hop", "1");
    assert_eq!(world.h1(&request).status, 200);
    let request = Request::get("/forged")
        .bearer(&world.token())
        .field("x-hop", "1");
    refused(&world.h1(&request), 403, "policy_denied");
}

#[test]
fn a_rule_that_takes_too_long_denies() {
    let world = World::with(ROUTES, "");
    let groups: Vec<String> = (0..1_000).map(|n| format!("g{n}")).collect();
    let token = world
        .claims()
        .claim("groups", json!(groups))
        .sign(&world.key)
        .unwrap();
    let reply = world.h1(&Request::get("/heavy").bearer(&token));
    refused(&reply, 403, "policy_error");
    let id = reply.field("x-request-id").unwrap().to_owned();
    let line = world.log_line(|line| line["request_id"] == id.as_str());
    assert!(line["detail"].as_str().unwrap().contains("steps"), "{line}");
}

/// A configuration with these `defaults` and this route.
fn parse(defaults: &str, route: &str) -> Result<Config, String> {
    let source = format!(
        "version: 1
issuers: {{ corp: {{ issuer: 'https://login.test', jwks: discover, audiences: [api] }} }}
listeners:
  edge:
    listen: 127.0.0.1:0
    plaintext: true
    defaults: {{ token: {{ issuers: [corp] }}, inject: {{ x-user-id: {{ claim: sub }} }}, {defaults} }}
    routes:
      - {{ name: a, upstream: u, {route} }}
upstreams: {{ u: {{ endpoints: [127.0.0.1:1] }} }}
"
    );
    config::parse(Path::new("t.yaml"), &source, CHECKS).map_err(|all| all.to_string())
}

#[test]
fn rules_that_cannot_be_are_mistakes_with_their_place() {
    for (route, said) in [
        (
            "require: { expr: 'claim.x == 1' }",
            "t.yaml:9:50: this `expr` cannot be used: at character 1: there is no `claim`",
        ),
        (
            "require: { expr: 'claims.x ==' }",
            "this `expr` cannot be used: at character",
        ),
        (
            "require: { expr: 'claims.x + 1 + \"a\"' }",
            "`+` cannot stand between",
        ),
        ("require: { expr: '' }", "this `expr` cannot be used"),
        (
            "require: { expr: 'request.headers[\"X_User_Id\"] == \"a\"' }",
            "t.yaml:9:50: the header `x_user_id` is written by Tollgate, so what a client says in it is removed before any rule looks; ask `claims` instead",
        ),
        (
            "require: { expr: '\"x-request-id\" in request.headers' }",
            "the header `x-request-id` is written by Tollgate",
        ),
        (
            "require: { expr: 'has(request.headers.`x-tollgate-a`)' }",
            "cannot be used",
        ),
        (
            "require: { expr: 'request.headers[\"x-tollgate-a\"] == \"\"' }",
            "the header `x-tollgate-a` is written by Tollgate",
        ),
        (
            "require: { expr: '!(\"x-original-url\" in request.headers)' }",
            "the header `x-original-url` is removed before any rule looks",
        ),
        (
            "require: { expr: 'request.headers[\"connection\"] == \"close\"' }",
            "the header `connection` belongs to the connection, and no rule sees it",
        ),
        (
            "token: none, require: { expr: 'claims.x == 1' }",
            "this public route has a `require:` of its token",
        ),
        (
            "token: { issuers: [corp], required: false }, require: { expr: 'has(claims.x)' }",
            "a request without a token could never meet",
        ),
    ] {
        let text = parse("", route).expect_err(route);
        assert!(text.contains(said), "{said:?} is not in:\n{text}");
        assert!(text.ends_with("\n1 mistake in t.yaml"), "{text}");
    }
    for route in [
        "require: { expr: 'claims.x == 1' }",
        "token: none, require: { expr: 'source.address == \"::1\"' }",
        "token: { issuers: [corp], required: false }, require: { expr: 'request.method == \"GET\"' }",
    ] {
        parse("", route).unwrap_or_else(|text| panic!("{route}: {text}"));
    }
}

#[test]
fn a_route_inherits_what_can_hold_for_it_or_says_its_own() {
    let required = |defaults: &str, route: &str| {
        parse(defaults, route).map(|config| config.listeners[0].routes[0].require.clone())
    };
    let text = |defaults: &str, route: &str| {
        let require = required(defaults, route).unwrap();
        (
            require.scopes,
            require.expr.map(|expr| expr.text().to_owned()),
        )
    };
    let (claims, source) = ("'claims.x == 1'", "'source.address == \"::1\"'");
    let both = format!("require: {{ scopes: [s], expr: {source} }}");
    let expr = |text: &str| Some(text.trim_matches('\'').to_owned());
    // Part by part: another condition takes none away.
    assert_eq!(text(&both, ""), (vec!["s".to_owned()], expr(source)));
    assert_eq!(
        text(&both, "require: { scopes: [t] }"),
        (vec!["t".to_owned()], expr(source))
    );
    assert_eq!(
        text(&both, "require: { expr: 'claims.y == 2' }"),
        (vec!["s".to_owned()], expr("claims.y == 2"))
    );
    assert_eq!(
        text(&both, "require: { scopes: [] }"),
        (vec![], expr(source))
    );
    let of_claims_too = "require: { claims: { a: [1] }, scopes: [s] }";
    let narrowed = required(of_claims_too, "require: { scopes: [t] }").unwrap();
    assert_eq!(narrowed.claims.len(), 1);
    let replaced = required(of_claims_too, "require: { claims: { b: [1], c: [1] } }").unwrap();
    assert_eq!((replaced.claims.len(), replaced.scopes.len()), (2, 1));
    assert_eq!(text(&both, "require: {}"), (vec![], None));
    // Public: what is required of tokens does not bind it, what is required of requests does.
    assert_eq!(text(&both, "token: none"), (vec![], expr(source)));
    let own = "token: none, require: { expr: 'request.method == \"GET\"' }";
    assert_eq!(
        text(&both, own),
        (vec![], expr("request.method == \"GET\""))
    );
    let of_claims = format!("require: {{ expr: {claims} }}");
    assert_eq!(text(&of_claims, "token: none"), (vec![], None));
    let mixed = "require: { expr: 'claims.x == 1 || source.address == \"::1\"' }";
    let error = required(mixed, "token: none").unwrap_err();
    assert!(
        error.contains("inherits an `expr` over claims and request alike"),
        "{error}"
    );
    assert_eq!(text(mixed, "token: none, require: {}"), (vec![], None));
}
