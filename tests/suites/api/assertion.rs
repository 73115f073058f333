//! What the API is told in a form that it can check: the signed assertion, by a verifier that follows the steps of
//! docs/assertion.md.

mod verifier;

use http::StatusCode;
use serde_json::{Value, json};
use tollgate_tests::client::{Reply, Request};

use self::verifier::{Arrived, Lines, Verifier};
use crate::world::{HOST, ROUTES, World, refused, seen};

const PATH: &str = "/.well-known/tollgate/jwks.json";
const SECRET: &str = "tq0ODXz6mF0m5s1h6nJx0y6mUu3q0iXjv0tqzq9v1no=";

impl World {
    /// A gate that signs for the upstream `api` by these settings.
    fn signing(assertion: &str) -> Self {
        let world = Self::new();
        world.sign(assertion, "");
        world
    }

    /// Reloads with these settings of the assertion, and these lines at the top.
    fn sign(&self, assertion: &str, top: &str) {
        let text = self
            .configuration(ROUTES, "")
            .replace("  api: { ", &format!("  api: {{ assertion: {assertion}, "))
            .replace("    tls:", "    publish_jwks: true\n    tls:");
        self.write(&format!("{text}{top}"));
        self.reload().unwrap();
    }

    fn verifier(&self) -> Verifier {
        Verifier::new(&self.ask(PATH).1, "api")
    }
}

/// What the API got.
fn arrived(reply: &Reply) -> Arrived {
    assert_eq!(reply.status, 200, "{reply:?}");
    Arrived::of(&reply.json())
}

fn assertion(reply: &Reply) -> String {
    let mut all = seen(reply, "x-tollgate-assertion");
    assert_eq!(all.len(), 1, "{reply:?}");
    all.remove(0)
}

#[test]
fn an_api_can_check_who_a_request_is_from() {
    let world = World::signing("{ claims: [groups, [\"https://example.com/tenant\", id]] }");
    let token = world
        .claims()
        .claim("groups", json!(["app-a", "other"]))
        .claim(
            "https://example.com/tenant",
            json!({ "id": "acme", "x": 1 }),
        )
        .sign(&world.key)
        .unwrap();
    let request = Request::get("/orders").bearer(&token);
    let verifier = world.verifier();
    for reply in [world.h1(&request), world.h2(&request)] {
        let identity = verifier.identity(&arrived(&reply)).unwrap();
        assert_eq!(identity.headers["x-user-id"], "alice");
        assert_eq!(identity.headers["x-groups"], "app-a");
        assert_eq!(identity.headers["x-tenant"], "acme");
        assert_eq!(identity.headers.len(), 3);
        let claims = identity.claims;
        assert_eq!(claims["sub"], "alice");
        assert_eq!(claims["origin_iss"], json!(world.issuer.url()));
        assert_eq!(
            claims["claims"],
            json!({ "groups": ["app-a", "other"], "https://example.com/tenant": { "id": "acme" } })
        );
        assert_eq!(claims["headers"]["absent"], json!(["x-profile", "x-blob"]));
        let life = claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap();
        assert_eq!(life, 30);
    }
}

#[test]
fn whoever_changes_a_header_on_the_way_is_found_out() {
    let world = World::signing("{}");
    let token = world
        .claims()
        .claim("groups", json!(["app-a"]))
        .sign(&world.key)
        .unwrap();
    let verifier = world.verifier();
    let reply = world.h1(&Request::get("/orders").bearer(&token));
    let good = arrived(&reply);
    verifier.identity(&good).unwrap();
    let change = |change: &dyn Fn(&mut Lines)| {
        let mut changed = good.clone();
        change(&mut changed.headers);
        verifier.identity(&changed).unwrap_err()
    };
    let at = |name: &str| {
        let place = good.headers.iter().position(|(field, _)| field == name);
        place.unwrap_or_else(|| panic!("{name} in {good:?}"))
    };
    let (user, groups, own) = (at("x-user-id"), at("x-groups"), at("x-tollgate-assertion"));
    let push = |name: &str, value: &str| {
        let line = (name.to_owned(), value.to_owned());
        change(&|headers| headers.push(line.clone()))
    };
    // Another value, and two values in each other's place.
    assert_eq!(change(&|h| h[user].1 = "eve".to_owned()), "other values");
    assert_eq!(
        change(&|h| {
            let other = h[user].1.clone();
            h[user].1 = std::mem::replace(&mut h[groups].1, other);
        }),
        "other values"
    );
    // One less, one more, one twice, one in other words.
    assert_eq!(change(&|h| drop(h.remove(user))), "x-user-id: 0 times");
    assert_eq!(push("x-user-id", "alice"), "x-user-id: 2 times");
    assert_eq!(push("X-USER-ID", "eve"), "x-user-id: 2 times");
    assert_eq!(push("x_user_id", "eve"), "x_user_id reads like x-user-id");
    assert_eq!(push("x-tenant", "evil"), "x-tenant was not written");
    assert_eq!(push("X_Tenant", "evil"), "X_Tenant was not written");
    assert_eq!(push("x-tollgate-assertion", "x"), "assertion: 2 times");
    assert_eq!(push("x_tollgate_assertion", "x"), "assertion: 2 times");
    assert_eq!(change(&|h| drop(h.remove(own))), "assertion: 0 times");
    // A field that Tollgate does not vouch for is nobody's business.
    let mut more = good.clone();
    more.headers.push(("x-more".to_owned(), "1".to_owned()));
    verifier.identity(&more).unwrap();

    // Another's assertion over his own headers, for another API, or under another key.
    let bob = world.claims().claim("sub", "bob");
    let bob = bob
        .claim("groups", json!(["app-a"]))
        .sign(&world.key)
        .unwrap();
    let bobs = assertion(&world.h1(&Request::get("/orders").bearer(&bob)));
    assert_eq!(change(&|h| h[own].1 = bobs.clone()), "other values");
    let elsewhere = Verifier::new(&world.ask(PATH).1, "billing");
    assert_eq!(elsewhere.identity(&good).unwrap_err(), "InvalidAudience");
    let stranger = World::signing("{}").verifier();
    assert_eq!(stranger.identity(&good).unwrap_err(), "no such key");
}

#[test]
fn an_assertion_is_used_again_and_a_bound_one_is_not() {
    let world = World::signing("{ lifetime: 60s }");
    let token = world.token();
    let request = Request::get("/orders?a=1").bearer(&token);
    let first = assertion(&world.h1(&request));
    let other_request = Request::get("/orders/7").bearer(&token);
    assert_eq!(assertion(&world.h2(&other_request)), first);
    // Each token has its own.
    let other_token = world.claims().claim("n", 1).sign(&world.key).unwrap();
    let other = Request::get("/orders").bearer(&other_token);
    assert_ne!(assertion(&world.h1(&other)), first);

    world.sign("{ bind: request }", "");
    let verifier = world.verifier();
    let reply = world.h1(&request);
    let good = arrived(&reply);
    let claims = verifier.identity(&good).unwrap().claims;
    assert_eq!(claims["htm"], "GET");
    assert_eq!(
        claims["htu"],
        json!(format!("https://{}/orders", world.target().authority()))
    );
    assert_eq!(claims["jti"].as_str(), reply.field("x-request-id"));
    assert_ne!(assertion(&reply), assertion(&world.h1(&request)));
    for (change, said) in [
        (("POST", "/orders", Some("a=1")), "htm"),
        (("GET", "/orders/", Some("a=1")), "htu"),
        (("GET", "/orders", Some("a=2")), "htq"),
        (("GET", "/orders", Some("")), "htq"),
        (("GET", "/orders", None), "htq"),
    ] {
        let (method, path, query) = change;
        let other = Arrived {
            method: method.to_owned(),
            path: path.to_owned(),
            query: query.map(str::to_owned),
            ..good.clone()
        };
        assert_eq!(verifier.identity(&other).unwrap_err(), said);
    }
    // Without a query there is nothing to hold it against, and none may be added.
    let plain = arrived(&world.h2(&Request::get("/orders").bearer(&world.token())));
    verifier.identity(&plain).unwrap();
    let with_query = Arrived {
        query: Some("a=1".to_owned()),
        ..plain
    };
    assert_eq!(verifier.identity(&with_query).unwrap_err(), "htq");
}

/// threats.md 32, 34: nor can a client say what Tollgate says.
#[test]
fn threat_34_nobody_is_vouched_for_without_a_token() {
    let world = World::signing("{}");
    let forged = assertion(&world.h1(&Request::get("/orders").bearer(&world.token())));
    for path in ["/open", "/maybe"] {
        let request = Request::get(path)
            .field("x-tollgate-assertion", &forged)
            .field("X_Tollgate_Assertion", &forged);
        let reply = world.h1(&request);
        assert_eq!(reply.status, 200);
        let body = String::from_utf8_lossy(&reply.body).into_owned();
        assert!(!body.contains(&forged), "{body}");
        assert!(!body.to_lowercase().contains("assertion"), "{body}");
    }
    // Where there is a token, the client's own is gone.
    let request = Request::get("/orders")
        .bearer(&world.token())
        .field("x-tollgate-assertion", "forged");
    assert!(
        world
            .verifier()
            .identity(&arrived(&world.h1(&request)))
            .is_ok()
    );
}

#[test]
fn an_assertion_ends_with_the_token() {
    let world = World::signing("{ lifetime: 60s }");
    let token = world.claims().expires_in(-10).sign(&world.key).unwrap();
    let identity = world
        .verifier()
        .identity(&arrived(&world.h1(&Request::get("/orders").bearer(&token))))
        .unwrap();
    let life = identity.claims["exp"].as_u64().unwrap() - identity.claims["iat"].as_u64().unwrap();
    // Of 30 s of `clock_skew` ten are gone, and perhaps some of the test.
    assert!((1..=20).contains(&life), "{life}");
}

#[test]
fn what_is_too_much_to_say_is_refused() {
    let world = World::signing("{ claims: [big] }");
    let token = |size: usize| {
        let big = "b".repeat(size);
        world.claims().claim("big", big).sign(&world.key).unwrap()
    };
    let send = |size: usize| world.h1(&Request::get("/orders").bearer(&token(size)));
    assert_eq!(send(5_000).status, 200);
    refused(&send(7_000), 431, "identity_too_large");
}

#[test]
fn keys_are_published_where_they_are_asked_for() {
    let world = World::signing("{}");
    let (status, keys) = world.ask(PATH);
    assert_eq!(status, StatusCode::OK);
    let listed = keys["keys"].as_array().unwrap();
    assert_eq!(listed.len(), 3);
    for key in listed {
        let members: Vec<_> = key.as_object().unwrap().keys().cloned().collect();
        assert_eq!(members, ["alg", "crv", "kid", "kty", "use", "x", "y"]);
    }
    let tcp = world.probe(PATH);
    assert!(tcp.starts_with("HTTP/1.1 200"), "{tcp}");
    let head = tcp.to_ascii_lowercase();
    assert!(head.contains("content-type: application/jwk-set+json\r\n"));
    assert!(head.contains("cache-control: max-age=3600\r\n"));
    assert!(tcp.ends_with(&keys.to_string()), "{tcp}");
    let foreign = world.probe_with(PATH, "host: tollgate.evil.test\r\n");
    assert!(foreign.starts_with("HTTP/1.1 403"), "{foreign}");

    let get = Request::get(PATH);
    for reply in [world.h1(&get), world.h2(&get)] {
        assert_eq!(reply.status, 200);
        assert_eq!(
            reply.field("content-type"),
            Some("application/jwk-set+json")
        );
        assert_eq!(reply.field("cache-control"), Some("max-age=3600"));
        assert!(reply.field("x-request-id").is_some());
        assert_eq!(reply.json(), keys);
    }
    let with = |method: &str| Request {
        method: method.to_owned(),
        ..get.clone()
    };
    let head = world.h2(&with("HEAD"));
    assert_eq!((head.status, head.body.len()), (200, 0));
    let refused_head = world.h2(&Request {
        path: "/none".to_owned(),
        ..with("HEAD")
    });
    assert_eq!((refused_head.status, refused_head.body.len()), (404, 0));
    let length = keys.to_string().len().to_string();
    assert_eq!(head.field("content-length"), Some(length.as_str()));
    // By no other method, spelling or name, and nowhere else.
    refused(&world.h1(&with("POST")), 405, "method_not_allowed");
    for path in [
        "/.well-known/tollgate/jwks.json/",
        "/.well-known/tollgate/",
        "/x/.well-known/tollgate/jwks.json",
    ] {
        refused(&world.h1(&Request::get(path)), 404, "no_route");
    }
    let reply = world
        .target_for(HOST)
        .h1(&get.clone().field("x-probe", "1"));
    assert_eq!(reply.unwrap().status, 200);
    let line = world.log_line(|line| line["path"] == PATH && line["status"] == 200);
    assert_eq!(line["route"], Value::Null);
    world.write(&world.configuration(ROUTES, ""));
    world.reload().unwrap();
    refused(&world.h1(&get), 404, "no_route");
}

#[test]
fn keys_are_those_of_the_cluster_or_of_the_node() {
    let (one, other) = (World::signing("{}"), World::signing("{}"));
    let kids = |world: &World| world.status()["assertions"]["kids"].clone();
    let owner = |world: &World| world.status()["assertions"]["keys_of"].clone();
    assert_eq!(owner(&one), "node");
    assert_ne!(kids(&one), kids(&other));
    let before = kids(&one);
    // A reload is no reason for other keys.
    one.sign("{ lifetime: 10s }", "");
    assert_eq!(kids(&one), before);

    let token = one.token();
    let early = arrived(&one.h1(&Request::get("/orders").bearer(&token)));
    for world in [&one, &other] {
        std::fs::write(world.folder.path().join("secret"), format!("{SECRET}\n")).unwrap();
        world.sign("{}", "cluster: { secret: { file: secret } }\n");
        assert_eq!(owner(world), "cluster");
    }
    let shared = |world: &World| kids(world).as_array().unwrap()[..3].to_vec();
    assert_eq!(shared(&one), shared(&other));
    // What was signed before is good still, and what is signed now is good with the keys of another node.
    one.verifier().identity(&early).unwrap();
    let late = arrived(&one.h1(&Request::get("/orders").bearer(&token)));
    other.verifier().identity(&late).unwrap();
    assert_eq!(
        other.verifier().identity(&early).unwrap_err(),
        "no such key"
    );
    // Of the node's own keys those are left that it has signed with, lately: two for some minutes around midnight.
    assert!((4..=5).contains(&kids(&one).as_array().unwrap().len()));
    // Nothing shows the secret.
    assert!(!one.status().to_string().contains(&SECRET[..8]));
    std::fs::write(one.folder.path().join("secret"), "hush-hush").unwrap();
    let error = one.reload().unwrap_err();
    assert!(
        error.contains("has 9 bytes") && !error.contains("hush"),
        "{error}"
    );
    assert_eq!(shared(&one), shared(&other));
}

/// The rules of the route are what is signed, not those of another one with the same token.
#[test]
fn routes_with_other_headers_have_other_assertions() {
    let world = World::new();
    let routes = "
      - { name: orders, match: { path: /orders }, upstream: api }
      - { name: more, match: { path: /more }, inject: { x-sub: { claim: sub } }, upstream: api }
";
    let text = world
        .configuration(routes, "")
        .replace("  api: { ", "  api: { assertion: {}, ");
    world.write(&text);
    world.reload().unwrap();
    let token = world.token();
    let verifier = world.verifier();
    let get = |path: &str| arrived(&world.h1(&Request::get(path).bearer(&token)));
    for _ in 0..2 {
        let orders = verifier.identity(&get("/orders")).unwrap();
        let more = verifier.identity(&get("/more")).unwrap();
        assert_eq!(orders.headers.len() + 1, more.headers.len());
        assert_eq!(more.headers["x-sub"], "alice");
    }
}
