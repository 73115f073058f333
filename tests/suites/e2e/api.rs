//! Tokens, certificates and headers through the steered listener.

use std::net::SocketAddr;
use std::process::Stdio;

use serde_json::json;
use tollgate::demo::issuer::forge_subject;
use tollgate::demo::lab::tethered;
use tollgate_tests::client::{Reply, Request};
use tollgate_tests::gate::printed;

use crate::site::{API_HOST, API_V4, API_V6, SHOP_HOST, Site};

#[test]
fn curl_by_http2_reaches_an_address_that_no_interface_owns() {
    let site = Site::lay_routed();
    let gate = site.open();
    let curl = site.curl();
    assert!(
        curl.speaks_http2(),
        "this curl has no HTTP/2: cargo xtask setup --with e2e"
    );
    let token = site
        .claims("alice")
        .claim("groups", json!(["a", "b,c"]))
        .sign(&site.key)
        .unwrap();
    let bearer = ["-H".to_owned(), format!("Authorization: Bearer {token}")];

    for address in [API_V4, API_V6] {
        let owned = printed(&site.node.ns, "ip", &["-oneline", "address", "show"]);
        assert!(
            !owned.contains(&address.ip().to_string()),
            "an interface owns it: {owned}"
        );

        let reply = curl.get(address, "/orders?page=2", &bearer).unwrap();
        assert_eq!(
            (reply.version.as_str(), reply.status),
            ("HTTP/2", 200),
            "{}",
            reply.body
        );
        let seen = reply.json();
        assert_eq!(seen["path"], "/orders");
        assert_eq!(seen["query"], "page=2");
        assert_eq!(values(&seen, "x-user-id"), ["alice"]);
        assert_eq!(values(&seen, "x-user-groups"), ["a,b%2Cc"]);
        assert!(
            values(&seen, "authorization").is_empty(),
            "the token is not forwarded: {seen:#}"
        );
    }
    assert!(
        gate.metric(
            "tollgate_requests_total",
            &[("route", "orders"), ("status", "200")]
        ) >= 2.0
    );
}

#[test]
fn openssl_gets_the_certificate_of_the_name_it_asks_for() {
    let site = Site::lay();
    let _gate = site.open();
    for address in [API_V4, API_V6] {
        for host in [API_HOST, SHOP_HOST] {
            for version in ["-tls1_2", "-tls1_3"] {
                let shown = s_client(&site, address, &["-servername", host, version]);
                assert!(
                    shown.contains(&format!("CN = {host}")),
                    "{host} {version}: {shown}"
                );
                assert!(
                    shown.contains("Verify return code: 0 (ok)"),
                    "{host} {version}: {shown}"
                );
            }
        }
    }
    // A name that no certificate has gets the first, never a failed handshake that says which names there are.
    let unknown = s_client(&site, API_V4, &["-servername", "other.example.net"]);
    assert!(unknown.contains(&format!("CN = {API_HOST}")), "{unknown}");
}

fn s_client(site: &Site, address: SocketAddr, more: &[&str]) -> String {
    let openssl = tollgate::demo::lab::in_path("openssl")
        .expect("`openssl` is not installed: cargo xtask setup --with e2e");
    let mut command = tethered(&openssl);
    command
        .args(["s_client", "-connect", &address.to_string(), "-CAfile"])
        .arg(site.ca_file())
        .args(more)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let output = site.client.ns.spawn(command).unwrap().output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn an_expired_token_is_named_in_body_log_and_metric() {
    let site = Site::lay();
    let gate = site.open();
    let token = site
        .claims("alice")
        .expires_in(-60)
        .sign(&site.key)
        .unwrap();
    let target = site.target(API_V4, API_HOST);
    let request = Request::get("/orders").bearer(&token);

    let h1 = target.h1(&request).unwrap();
    let h2 = target.h2(std::slice::from_ref(&request)).unwrap().remove(0);
    for reply in [h1, h2] {
        assert_refused(&reply, 401, "token_expired");
        assert!(
            reply
                .field("www-authenticate")
                .unwrap()
                .contains("error=\"invalid_token\"")
        );

        let id = reply.json()["request_id"].clone();
        let line = gate.access_log_line("the expired token", |line| line["request_id"] == id);
        assert_eq!(line["reason"], "token_expired", "{line:#}");
        assert_eq!(line["status"], 401, "{line:#}");
        assert_eq!(line["route"], "orders", "{line:#}");
        assert_eq!(line["listener"], "edge", "{line:#}");
        assert!(
            line["client"]
                .as_str()
                .unwrap()
                .contains(&site.client.v4.to_string()),
            "{line:#}"
        );
        let logged = line.to_string();
        for part in token.split('.') {
            assert!(
                !logged.contains(part),
                "a part of the token is in the log: {logged}"
            );
        }
    }
    let labels = [
        ("listener", "edge"),
        ("status", "401"),
        ("reason", "token_expired"),
    ];
    assert_eq!(gate.metric("tollgate_requests_total", &labels), 2.0);
    assert_eq!(site.echo.count(), 0, "a refused request reached the API");
}

#[test]
fn refusals_name_their_reason() {
    let site = Site::lay();
    let _gate = site.open();
    let target = site.target(API_V4, API_HOST);
    let good = site.token("alice");
    let other_audience = site
        .claims("alice")
        .claim("aud", "billing")
        .sign(&site.key)
        .unwrap();
    let early = site
        .claims("alice")
        .claim("nbf", 4_102_444_800_u64)
        .sign(&site.key)
        .unwrap();
    let orders = || Request::get("/orders");
    let cases = [
        (orders(), 401, "token_missing"),
        (orders().bearer("a.b"), 401, "token_malformed"),
        (
            orders().bearer(&forge_subject(&good, "admin")),
            401,
            "signature_invalid",
        ),
        (orders().bearer(&other_audience), 401, "audience_mismatch"),
        (orders().bearer(&early), 401, "token_not_yet_valid"),
        (orders().bearer(&good).bearer(&good), 400, "token_ambiguous"),
        (Request::get("/nowhere").bearer(&good), 404, "no_route"),
        (
            Request::get("/orders/%2e%2e/admin").bearer(&good),
            400,
            "path_refused",
        ),
    ];
    for (request, status, reason) in cases {
        assert_refused(&target.h1(&request).unwrap(), status, reason);
        let by_h2 = target.h2(std::slice::from_ref(&request)).unwrap().remove(0);
        assert_refused(&by_h2, status, reason);
    }
    assert_eq!(site.echo.count(), 0, "a refused request reached the API");
}

#[test]
fn forged_identity_headers_never_reach_the_api() {
    const FORGED: [&str; 9] = [
        "X-User-Id",
        "X_User_Id",
        "x.user.id",
        "x-user-id",
        "XUserId",
        "x-User_id",
        "X-User-Groups",
        "x_user.groups",
        "X-Tollgate-Anything",
    ];
    let site = Site::lay();
    let _gate = site.open();
    let token = site.token("alice");
    let routes = [
        (API_HOST, "/orders", Some(&token)),
        (API_HOST, "/plain", Some(&token)),
        (API_HOST, "/ping", None),
        (API_HOST, "/ping", Some(&token)),
        (SHOP_HOST, "/anything", None),
    ];
    for (host, path, token) in routes {
        let target = site.target(API_V4, host);
        let mut request = Request::get(path);
        for name in FORGED {
            request = request.field(name, "root").field(name, "root");
        }
        // Naming the header in Connection must not take the injected one away either.
        let nominated = request.clone().field("connection", "close, x-user-id");
        let with_token = |request: Request| match token {
            Some(token) => request.bearer(token),
            None => request,
        };
        let mut replies = vec![target.h1(&with_token(nominated)).unwrap()];
        replies.extend(target.h2(&[with_token(request)]).unwrap());
        for reply in replies {
            assert_eq!(reply.status, 200, "{host}{path}: {:?}", reply.body);
            let seen = reply.json();
            let injected: &[&str] = if path == "/orders" { &["alice"] } else { &[] };
            assert_eq!(
                values(&seen, "x-user-id"),
                injected,
                "{host}{path}: {seen:#}"
            );
            assert!(
                !seen.to_string().contains("root"),
                "{host}{path} let it through: {seen:#}"
            );
        }
    }
    let reached = site.echo.seen();
    assert_eq!(reached.len(), 2 * routes.len());
    assert!(
        reached
            .iter()
            .all(|seen| seen.headers.iter().all(|(_, value)| value != "root")),
        "the API itself saw a forged value: {reached:#?}",
    );
}

#[test]
fn a_rotated_key_is_found_and_a_withdrawn_one_is_refused() {
    use jsonwebtoken::Algorithm;
    use tollgate::demo::issuer::SigningKey;

    let site = Site::lay();
    let _gate = site.open();
    let target = site.target(API_V6, API_HOST);
    let old = site.token("alice");
    assert_eq!(
        target
            .h1(&Request::get("/orders").bearer(&old))
            .unwrap()
            .status,
        200
    );

    let algorithms = [
        Algorithm::RS256,
        Algorithm::PS256,
        Algorithm::ES384,
        Algorithm::EdDSA,
        Algorithm::ES256,
    ];
    let keys: Vec<SigningKey> = algorithms
        .iter()
        .enumerate()
        .map(|(n, &algorithm)| SigningKey::generate(&format!("new-{n}"), algorithm).unwrap())
        .collect();
    site.publish(&keys);
    for key in &keys {
        let token = site.claims("bob").sign(key).unwrap();
        // No waiting: the unknown key id itself makes the keys be fetched.
        let reply = target.h1(&Request::get("/orders").bearer(&token)).unwrap();
        assert_eq!(reply.status, 200, "{}: {:?}", key.kid(), reply.body);
        assert_eq!(values(&reply.json(), "x-user-id"), ["bob"]);
    }
    let reply = target.h1(&Request::get("/orders").bearer(&old)).unwrap();
    assert_refused(&reply, 401, "key_unknown");
}

#[track_caller]
fn assert_refused(reply: &Reply, status: u16, reason: &str) {
    assert_eq!(reply.status, status, "{:?}", reply.body);
    assert_eq!(
        reply.field("content-type"),
        Some("application/problem+json")
    );
    assert_eq!(reply.field("cache-control"), Some("no-store"));
    let problem = reply.json();
    assert_eq!(problem["reason"], reason, "{problem:#}");
    assert_eq!(problem["status"], status, "{problem:#}");
    assert!(
        problem["request_id"]
            .as_str()
            .is_some_and(|id| !id.is_empty()),
        "{problem:#}"
    );
    let challenged = reply
        .field("www-authenticate")
        .is_some_and(|value| value.starts_with("Bearer"));
    assert_eq!(
        challenged,
        matches!(status, 401 | 403) || reason == "token_ambiguous",
        "{reply:?}"
    );
}

/// The values of a header in what the echo API says it saw.
fn values(seen: &serde_json::Value, name: &str) -> Vec<String> {
    let headers = seen["headers"]
        .as_array()
        .unwrap_or_else(|| panic!("no echo: {seen:#}"));
    let named = headers.iter().filter(|header| header[0] == name);
    named
        .map(|header| header[1].as_str().unwrap().to_owned())
        .collect()
}
