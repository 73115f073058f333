//! `tollgate route explain` against a running daemon: what it says of a request is what becomes of it.

use std::collections::BTreeMap;

use jsonwebtoken::Algorithm;
use serde_json::{Value, json};
use tollgate::cli::route::page;
use tollgate::demo::issuer::SigningKey;
use tollgate::explain::RouteExplanation;
use tollgate_auth::token::cache::Fingerprint;
use tollgate_tests::client::Request;

use crate::world::{World, seen};

const TABLE: &str = r#"
      - { name: orders, match: { path: /orders }, upstream: api }
      - { name: lines, match: { path: { template: "/orders/{id}/lines" }, methods: [GET] }, upstream: api }
      - { name: scoped, match: { path: /scoped }, require: { scopes: [orders:read], claims: { tenant: [acme, 7] } }, upstream: api }
      - { name: open, match: { path: /open }, token: none, upstream: api }
      - { name: maybe, match: { path: /maybe }, token: { issuers: [corp], required: false }, upstream: api }
      - { name: cookie, match: { path: /cookie }, token: { issuers: [corp], sources: [{ cookie: session }] }, upstream: api }
      - { name: query, match: { path: /query }, token: { issuers: [corp], sources: [{ query: key }] }, upstream: api }
      - { name: posts, match: { path: /posts, methods: [POST] }, token: none, upstream: api }
      - { name: admin, match: { path: /admin }, path_normalization: { merge_slashes: true }, upstream: api }
      - { name: files, match: { path: /files }, token: none, path_normalization: { encoded_slash: keep }, upstream: api }
      - { name: shared, match: { path: /shared, methods: [POST] }, cors: { origins: ["https://shop.test"] }, upstream: api }
      - { name: passed, match: { path: /passed }, cors: forward, upstream: api }
      - { name: near, match: { path: /near }, token: none, require: { expr: 'cidr("127.0.0.0/8").containsIP(source.address)' }, upstream: api }
      - { name: far, match: { path: /far }, token: none, require: { expr: 'cidr("10.0.0.0/8").containsIP(source.address)' }, upstream: api }
      - { name: level, match: { path: /level }, require: { expr: 'claims.sub == "alice" && request.path == "/level"' }, upstream: api }
      - { name: elsewhere, match: { hosts: [second.test] }, token: none, upstream: api }
"#;

/// The names that the usual configuration injects.
const INJECTED: [&str; 5] = ["x-user-id", "x-groups", "x-profile", "x-blob", "x-tenant"];

fn explain(world: &World, question: &Value) -> Value {
    let (status, answer) = world.post("/explain/route", question);
    assert_eq!(status, 200, "{answer}");
    answer
}

/// Asks the daemon what it would do with `request`, lets it do that, and compares.
#[track_caller]
fn agree(world: &World, request: &Request) -> Value {
    let headers: Vec<_> = request.fields.iter().map(|(n, v)| json!([n, v])).collect();
    // A field that means nothing, so that the whole decision is explained where there is no other.
    let headers = [headers, vec![json!(["x-nothing", "1"])]].concat();
    let url = format!("{}{}", origin(world), request.path);
    let question = json!({ "method": request.method, "url": url, "headers": headers });
    let explanation = explain(world, &question);

    let reply = world.h1(request);
    let what = format!(
        "{} {}: {explanation:#} {reply:?}",
        request.method, request.path
    );
    let passes = [200, 204].contains(&reply.status);
    assert_eq!(explanation["passes"], passes, "{what}");
    let id = reply.field("x-request-id").unwrap().to_owned();
    let line = world.log_line(|line| line["request_id"] == id.as_str());
    assert_eq!(explanation["route"], line["route"], "{what}");
    if reply.status == 200 {
        assert_eq!(explanation["path"], reply.json()["path"], "{what}");
        let said: Vec<(String, String)> =
            serde_json::from_value(explanation["headers"].clone()).unwrap();
        let said: BTreeMap<String, String> = said.into_iter().collect();
        for name in INJECTED {
            assert_eq!(said.get(name), seen(&reply, name).first(), "{name}: {what}");
        }
    } else if !passes {
        assert_eq!(explanation["reason"], reply.json()["reason"], "{what}");
        assert_eq!(explanation["status"], reply.status, "{what}");
    }
    explanation
}

/// The client names the port, as its listener has one that nobody would guess.
fn origin(world: &World) -> String {
    format!("https://api.test:{}", world.target().address.port())
}

fn post(path: &str) -> Request {
    Request {
        method: "POST".to_owned(),
        ..Request::get(path)
    }
}

#[test]
fn what_is_explained_is_what_happens() {
    let world = World::with(TABLE, "");
    let token = world.token();
    let stranger = SigningKey::generate("stranger", Algorithm::ES256).unwrap();
    let scoped = world
        .claims()
        .claim("scope", "orders:read")
        .claim("tenant", "acme");
    let rich = world
        .claims()
        .claim("groups", json!(["app-a", "b", "app-c"]))
        .claim("profile", json!({ "a": [1, "ü"] }))
        .claim("https://example.com/tenant", json!({ "id": "acme" }));
    let unwritable = world
        .claims()
        .claim("https://example.com/tenant", json!({ "id": "a\nb" }));
    let tokens = [
        token.clone(),
        "garbage".to_owned(),
        world.claims().sign(&stranger).unwrap(),
        world.claims().expires_in(-31).sign(&world.key).unwrap(),
        scoped.sign(&world.key).unwrap(),
        rich.sign(&world.key).unwrap(),
        unwritable.sign(&world.key).unwrap(),
    ];
    for path in [
        "/orders",
        "/orders/7/lines",
        "/scoped",
        "/open",
        "/maybe",
        "/near",
        "/far",
        "/level",
        "/cookie",
        "/query",
        "/posts",
        "/admin",
        "//admin",
        "//orders",
        "/nowhere",
        "/files/a%2fb",
        "/orders/a%2fb",
        "/nowhere%2f",
        "/a/../orders",
        "/orders%00",
    ] {
        for method in [Request::get, post] {
            let bare = method(path);
            agree(&world, &bare);
            for token in &tokens {
                agree(&world, &bare.clone().bearer(token));
            }
            agree(&world, &bare.clone().bearer(&token).bearer(&token));
            let forged = bare
                .clone()
                .bearer(&token)
                .field("x-user-id", "eve")
                .field("X_Tenant", "evil");
            agree(&world, &forged);
        }
    }
    for (path, origin) in [
        ("/shared", "https://shop.test"),
        ("/shared", "https://evil.test"),
        ("/shared/x", "null"),
        ("/passed", "https://evil.test"),
        ("/orders", "https://shop.test"),
    ] {
        let preflight = Request {
            method: "OPTIONS".to_owned(),
            ..Request::get(path)
        };
        let preflight = preflight.field("origin", origin);
        agree(&world, &preflight);
        for method in ["POST", "DELETE"] {
            let asked = preflight
                .clone()
                .field("access-control-request-method", method);
            agree(&world, &asked);
            agree(&world, &asked.bearer(&token));
        }
    }
    for token in &tokens {
        agree(&world, &Request::get(&format!("/query?key={token}")));
        let cookie = Request::get("/cookie").field("cookie", &format!("session={token}"));
        agree(&world, &cookie);
        let unsafe_ = post("/cookie").field("cookie", &format!("session={token}"));
        agree(&world, &unsafe_);
        agree(&world, &unsafe_.field("origin", &origin(&world)));
    }
}

#[test]
fn a_token_is_put_where_the_route_looks() {
    let world = World::with(TABLE, "");
    let token = world.token();
    for (url, passes) in [
        ("https://api.test/orders", true),
        ("https://api.test/cookie", true),
        ("https://api.test/query?a=b", true),
        ("https://api.test/open", true),
        ("https://api.test/scoped", false),
    ] {
        let question = json!({ "method": "GET", "url": url, "token": format!("Bearer {token}\n") });
        let explanation = explain(&world, &question);
        assert_eq!(explanation["passes"], passes, "{url}: {explanation:#}");
        assert!(!explanation.to_string().contains(&token), "{url}");
    }
}

/// threats.md 72: a token in the URL is in neither form of an explanation, whatever becomes of the request.
#[test]
fn t72_a_token_in_the_url_is_not_repeated() {
    let world = World::with(TABLE, "");
    let token = world.token();
    let encoded = token.replacen("eyJ", "%65yJ", 1);
    let fingerprint = Fingerprint::of(token.as_bytes());
    for (path, route) in [
        (format!("/open/{token}"), Some("open")),
        (format!("/open/{encoded}"), Some("open")),
        (format!("//admin/{token}"), Some("admin")),
        (format!("/files/a%2Faccess_token={token}"), Some("files")),
        (format!("/open/a%2F{token}"), Some("open")),
        (format!("/nowhere/{token}"), None),
        (format!("/posts/{token}"), None),
        (format!("/open/{token}%zz"), None),
        (format!("/open?access_token={token}"), Some("open")),
        (format!("/query?key={token}"), Some("query")),
        (format!("/nowhere?{token}"), None),
    ] {
        let url = format!("https://api.test{path}");
        for headers in [json!([]), json!([["x-nothing", "1"]])] {
            let question = json!({ "method": "GET", "url": url, "headers": headers });
            let answer = explain(&world, &question);
            assert_eq!(answer["route"], json!(route), "{path}: {answer:#}");
            let explanation: RouteExplanation = serde_json::from_value(answer.clone()).unwrap();
            for said in [answer.to_string(), page::render(&explanation)] {
                for part in token.split('.') {
                    assert!(!said.contains(&part[3..]), "{path}: {said}");
                }
                let in_path = !path.contains('?');
                assert!(!in_path || said.contains(fingerprint.as_str()), "{said}");
            }
        }
    }
}

/// What a public route requires of the request is decided without credentials as well.
#[test]
fn a_request_that_no_credential_could_mend_is_told() {
    let world = World::with(TABLE, "");
    let said = |path: &str| {
        let url = format!("https://api.test{path}");
        let explanation = explain(&world, &json!({ "method": "GET", "url": url }));
        (
            explanation["passes"].as_bool(),
            explanation["reason"].clone(),
        )
    };
    assert_eq!(said("/near"), (Some(true), Value::Null));
    assert_eq!(said("/far"), (Some(false), json!("policy_denied")));
    assert_eq!(said("/level"), (Some(true), Value::Null));
}

#[test]
fn hosts_and_listeners_are_told_apart() {
    let world = World::with(TABLE, "");
    let asked = |url: &str| explain(&world, &json!({ "method": "GET", "url": url }));
    let misdirected = asked("https://third.test/open");
    assert_eq!(misdirected["reason"], "misdirected");
    assert_eq!(misdirected["status"], 421);
    // Which routes it would have met is told nevertheless.
    assert_eq!(misdirected["route"], "open");
    let other = asked("https://second.test/x");
    assert_eq!(other["route"], "elsewhere");
    let routes: Vec<_> = other["routes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["route"].clone())
        .collect();
    assert_eq!(routes[0], "elsewhere", "the most specific first");
    assert_eq!(routes.len(), 16);

    let (status, answer) = world.post(
        "/explain/route",
        &json!({ "method": "GET", "url": "http://api.test/open" }),
    );
    assert_eq!(status, 422);
    let why = answer["error"].as_str().unwrap();
    assert!(
        why.starts_with("no listener speaks http;") && why.contains("`edge` (https on 127.0.0.1:"),
        "{why}"
    );
}

#[test]
fn questions_without_an_answer_are_refused_and_never_repeated() {
    let world = World::new();
    let token = world.token();
    for question in [
        json!({ "token": token }),
        json!({ "method": "GET", "url": 1, "token": token }),
        json!({ "method": "GET", "url": "/open", "tokn": token }),
    ] {
        let (status, answer) = world.post("/explain/route", &question);
        assert_eq!(status, 400, "{answer}");
        assert!(!answer.to_string().contains(&token[..20]), "{answer}");
    }
    let question = json!({ "method": "GET", "url": "/open", "headers": [["a b", token]] });
    let (status, answer) = world.post("/explain/route", &question);
    assert_eq!(status, 422, "{answer}");
    assert!(!answer.to_string().contains(&token[..20]), "{answer}");
    assert!(world.probe("/explain/route").starts_with("HTTP/1.1 404"));
}
