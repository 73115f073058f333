//! Assertions of the real binary, checked by a library that is not ours: docs/examples/verify_assertion.py, on PyJWT.
//!
//! Beyond the core suites, since it wants Python and packages of PyPI; needs no rights. `TOLLGATE_PYTHON` names the
//! interpreter that has them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "panicking is how a test fails, in its helpers too"
)]

mod python;
mod site;

use serde_json::{Value, json};
use tollgate_tests::client::Request;

use self::python::Python;
use self::site::{Site, change, push};

const PAYMENTS: &str = "https://payments.example.com";

#[test]
fn every_header_and_claim_arrives_and_is_vouched_for() {
    let site = Site::open();
    let request = site.arrived(&Request::get("/orders/7?a=1"));
    // Where the admin interface publishes the keys, and where the listener does.
    for jwks in [site.admin_jwks(), site.edge_jwks()] {
        let identity = site.python.identity(&jwks, "orders", &request).unwrap();
        assert_eq!(
            identity["headers"],
            json!({
                "x-user-id": "alice", "x-user-groups": "app-a,app-b%2Cc", "x-profile": "{\"name\":\"Zo\\u00eb\"}",
                "x-stage": "test",
            })
        );
        let claims = &identity["claims"];
        assert_eq!(claims["sub"], "alice");
        assert_eq!(claims["origin_iss"], json!(site.issuer()));
        assert_eq!(claims["headers"]["absent"], json!(["x-tenant"]));
        assert_eq!(
            claims["claims"],
            json!({ "groups": ["app-a", "app-b,c"], "profile": { "name": "Zoë" } })
        );
    }
}

#[test]
fn the_sample_verifier_finds_out_every_change() {
    let site = Site::open();
    let jwks = site.admin_jwks();
    let good = site.arrived(&Request::get("/orders"));
    let refusal = |request: &Value| site.python.identity(&jwks, "orders", request).unwrap_err();
    let swapped = {
        let groups = site::value(&good, "x-user-groups");
        let user = site::value(&good, "x-user-id");
        let one = change(&good, "x-user-id", Some(&groups));
        change(&one, "x-user-groups", Some(&user))
    };
    for (request, said) in [
        (change(&good, "x-user-id", Some("eve")), "other values"),
        (swapped, "other values"),
        (change(&good, "x-stage", Some("live")), "other values"),
        (change(&good, "x-user-id", None), "stands 0 times"),
        (push(&good, "x-user-id", "alice"), "stands 2 times"),
        (push(&good, "X_User_Id", "eve"), "stands 2 times"),
        (push(&good, "x-tenant", "evil"), "x-tenant was not written"),
        (push(&good, "x.tenant", "evil"), "x-tenant was not written"),
        (change(&good, "x-tollgate-assertion", None), "0 assertions"),
        (push(&good, "X-Tollgate_Assertion", "x"), "2 assertions"),
        (
            change(&good, "x-tollgate-assertion", Some("a.b.c")),
            "header",
        ),
    ] {
        let why = refusal(&request);
        assert!(why.contains(said), "{why:?} is not {said:?}: {request}");
    }
    let elsewhere = site.python.identity(&jwks, "billing", &good).unwrap_err();
    assert!(elsewhere.contains("Audience"), "{elsewhere}");
    // An access token is no assertion.
    let token = change(&good, "x-tollgate-assertion", Some(&site.token()));
    assert!(refusal(&token).contains("another type"));
}

#[test]
fn a_bound_assertion_is_for_its_request_alone() {
    let site = Site::open();
    let jwks = site.admin_jwks();
    let good = site.arrived(&Request::get("/payments/7?amount=1"));
    let check = |request: &Value| site.python.identity(&jwks, PAYMENTS, request);
    check(&good).unwrap();
    for (name, value, said) in [
        ("method", json!("DELETE"), "another request: htm"),
        ("path", json!("/payments/8"), "another request: htu"),
        ("scheme", json!("http"), "another request: htu"),
        ("query", json!("amount=1000"), "another request: htq"),
        ("query", Value::Null, "another request: htq"),
    ] {
        let mut other = good.clone();
        other[name] = value;
        let why = check(&other).unwrap_err();
        assert!(why.contains(said), "{why}");
    }
    let host = change(&good, "host", Some("other.example.com"));
    assert!(check(&host).unwrap_err().contains("htu"));
    check(&site.arrived(&Request::get("/payments"))).unwrap();
}

/// What the documentation publishes as vectors is what this library says as well.
#[test]
fn the_vectors_hold_for_another_library() {
    let python = Python::find();
    let said = python.run(python::VECTORS, &[]);
    assert_eq!(said.unwrap().trim(), "fine");
}

/// Keys that are withdrawn, cannot be had or come slowly; assertions that no Tollgate makes; the scheme by `Forwarded`.
#[test]
fn the_sample_verifier_forgets_keys_and_makes_nobody_wait() {
    let said = Python::find().run(python::VERIFIER, &[]);
    assert_eq!(said.unwrap().trim(), "fine");
}
