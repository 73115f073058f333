//! What an operator sees: access log, metrics, probes, status.

use tollgate_tests::client::Request;

use crate::world::{World, eventually, refused};

#[test]
fn the_reason_is_the_same_in_body_log_and_metric() {
    let world = World::new();
    let expired = world.claims().expires_in(-3600).sign(&world.key).unwrap();
    let reply = world.h1(&Request::get("/orders").bearer(&expired));
    refused(&reply, 401, "token_expired");
    let id = reply.field("x-request-id").unwrap();
    let line = world.log_line(|line| line["request_id"] == id);
    assert_eq!(line["reason"], "token_expired", "{line}");
    assert_eq!(line["status"], 401);
    assert_eq!(line["route"], "orders");
    assert!(line["detail"].as_str().unwrap().contains("exp"), "{line}");
    let text = line.to_string();
    assert!(!text.contains(&expired[..40]), "no token in a log: {text}");
    assert!(
        line["token"]
            .as_str()
            .is_some_and(|print| print.len() <= 16)
    );
    let series = r#"tollgate_requests_total{listener="edge",route="orders",status="401",reason="token_expired"} 1"#;
    eventually("the metric", || {
        world.probe("/metrics").contains(series).then_some(())
    });
}

#[test]
fn a_served_request_is_told_whole() {
    let world = World::new();
    let mut request = Request::get("/orders/7?secret=1").bearer(&world.token());
    request.method = "POST".to_owned();
    request.body = b"hello".to_vec().into();
    let reply = world.h2(&request);
    let id = reply.field("x-request-id").unwrap();
    let line = world.log_line(|line| line["request_id"] == id);
    for (name, value) in [
        ("listener", "edge"),
        ("protocol", "http/2"),
        ("method", "POST"),
        ("host", "api.test"),
        ("path", "/orders/7"),
        ("subject", "alice"),
        ("issuer", "corp"),
        ("upstream", "api"),
    ] {
        assert_eq!(line[name], value, "{name} in {line}");
    }
    assert_eq!(line["bytes_in"], 5);
    assert_eq!(line["bytes_out"].as_u64(), Some(reply.body.len() as u64));
    assert!(
        line["reason"].is_null() && line["ended"].is_null(),
        "{line}"
    );
    assert!(
        !line.to_string().contains("secret"),
        "queries may hold secrets: {line}"
    );
}

#[test]
fn threat_71_the_admin_address_answers_probes_and_nothing_else() {
    let world = World::new();
    assert!(world.probe("/healthz").starts_with("HTTP/1.1 200"));
    for path in ["/status", "/reload", "/drain"] {
        assert!(world.probe(path).starts_with("HTTP/1.1 404"), "{path}");
    }
    for fields in [
        "host: rebound.evil.test\r\n",
        "host: localhost\r\norigin: https://evil.test\r\n",
    ] {
        assert!(
            world
                .probe_with("/metrics", fields)
                .starts_with("HTTP/1.1 403"),
            "{fields}"
        );
    }
    assert!(
        world
            .probe_with("/metrics", "host: 127.0.0.1:9901\r\n")
            .starts_with("HTTP/1.1 200")
    );
}

#[test]
fn status_shows_what_runs() {
    let world = World::new();
    let status = world.status();
    assert_eq!(status["ready"], true);
    assert_eq!(status["listeners"][0]["name"], "edge");
    assert_eq!(status["issuers"][0]["keys"], 1);
    assert!(status["datapath"].is_null());
    let socket = world.folder.path().join("admin.sock");
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(socket).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
}
