//! Reloads and the graceful end.

use std::io::Write;

use tollgate::app::Gate;
use tollgate_tests::client::{Request, read_reply};

use crate::world::{ROUTES, World, eventually, refused};

#[test]
fn a_reload_changes_routes_and_keeps_keys() {
    let world = World::new();
    let fetches = world.issuer.key_fetches();
    let more = format!(
        "{ROUTES}      - {{ name: new, match: {{ path: /new }}, token: none, upstream: api }}\n"
    );
    refused(&world.h1(&Request::get("/new")), 404, "no_route");
    world.write(&world.configuration(&more, ""));
    world.reload().unwrap();
    assert_eq!(world.h1(&Request::get("/new")).status, 200);
    assert_eq!(
        world
            .h1(&Request::get("/orders").bearer(&world.token()))
            .status,
        200
    );
    assert_eq!(
        world.issuer.key_fetches(),
        fetches,
        "an issuer that did not change is left alone"
    );
    assert_eq!(world.status()["configuration"]["reloads"], 1);
}

#[test]
fn threat_76_a_bad_reload_changes_nothing_and_says_so() {
    let world = World::new();
    world.write("version: 1\nlisteners: { edge: { listen: nowhere } }\n");
    let error = world.reload().unwrap_err();
    assert!(error.contains("tollgate.yaml:2:"), "{error}");
    assert_eq!(world.h1(&Request::get("/open")).status, 200);
    let configuration = &world.status()["configuration"];
    assert_eq!(configuration["reloads"], 0);
    assert_eq!(configuration["last_error"].as_str(), Some(error.as_str()));

    let workers = world
        .configuration(ROUTES, "")
        .replace("workers: 2", "workers: 1");
    world.write(&workers);
    assert!(world.reload().unwrap_err().contains("restart"));
}

#[test]
fn threat_56_verdicts_made_under_other_rules_are_not_used() {
    let world = World::new();
    let token = world.token();
    assert_eq!(
        world.h1(&Request::get("/orders").bearer(&token)).status,
        200
    );
    let stricter = world
        .configuration(ROUTES, "")
        .replace("audiences: [orders-api]", "audiences: [other-api]");
    world.write(&stricter);
    world.reload().unwrap();
    eventually("keys under the new rules", || {
        world
            .probe("/readyz")
            .starts_with("HTTP/1.1 200")
            .then_some(())
    });
    refused(
        &world.h1(&Request::get("/orders").bearer(&token)),
        401,
        "audience_mismatch",
    );
}

#[test]
fn threat_56_nor_is_one_made_with_an_algorithm_that_is_no_longer_allowed() {
    let world = World::new();
    let token = world.token();
    assert_eq!(
        world.h1(&Request::get("/orders").bearer(&token)).status,
        200
    );
    let stricter = world
        .configuration(ROUTES, "")
        .replace("ES256, ES384, ", "ES384, ");
    world.write(&stricter);
    world.reload().unwrap();
    refused(
        &world.h1(&Request::get("/orders").bearer(&token)),
        401,
        "alg_not_allowed",
    );
}

#[test]
fn a_change_of_rules_needs_no_new_keys() {
    let world = World::new();
    world.issuer.fail(Some(tollgate::demo::issuer::Failure {
        status: 500,
        body: "down".to_owned(),
    }));
    let looser = world
        .configuration(ROUTES, "")
        .replace("clock_skew: 30s", "clock_skew: 60s");
    world.write(&looser);
    world.reload().unwrap();
    let token = world.claims().expires_in(-45).sign(&world.key).unwrap();
    assert_eq!(
        world.h1(&Request::get("/orders").bearer(&token)).status,
        200
    );
}

#[test]
fn two_daemons_share_nothing() {
    let world = World::new();
    let address = world.target().address;
    let same_socket = world.runtime.block_on(Gate::start(&world.path()));
    assert!(
        same_socket
            .err()
            .unwrap()
            .to_string()
            .contains("another daemon answers there")
    );

    let other = tempfile::tempdir().unwrap();
    for file in ["default.crt", "default.key", "second.crt", "second.key"] {
        std::fs::copy(world.folder.path().join(file), other.path().join(file)).unwrap();
    }
    let path = other.path().join("tollgate.yaml");
    let configuration = world.configuration(ROUTES, "");
    std::fs::write(
        &path,
        configuration.replace("listen: 127.0.0.1:0", &format!("listen: {address}")),
    )
    .unwrap();
    let same_port = world
        .runtime
        .block_on(Gate::start(&path))
        .err()
        .unwrap()
        .to_string();
    assert!(
        same_port.contains(&format!("listener `edge` cannot listen on {address}")),
        "{same_port}"
    );

    std::fs::write(other.path().join("precious"), "data").unwrap();
    std::fs::write(
        &path,
        configuration.replace("socket: admin.sock", "socket: precious"),
    )
    .unwrap();
    let file = world
        .runtime
        .block_on(Gate::start(&path))
        .err()
        .unwrap()
        .to_string();
    assert!(file.contains("no socket stands there"), "{file}");
    assert_eq!(
        std::fs::read_to_string(other.path().join("precious")).unwrap(),
        "data"
    );
}

#[test]
fn a_certificate_is_reloaded_under_open_connections() {
    let world = World::new();
    let mut open = world.target().tls(&["http/1.1"]).unwrap();
    let before = world.target().certificate().unwrap();
    let names = ["api.test", "*.wild.test"];
    world
        .authority
        .leaf(&names)
        .unwrap()
        .write(world.folder.path(), "default")
        .unwrap();
    world.reload().unwrap();
    assert_ne!(world.target().certificate().unwrap(), before);
    open.write_all(&Request::get("/open").to_h1("api.test"))
        .unwrap();
    assert_eq!(read_reply(&mut open).unwrap().status, 200);
}

#[test]
fn a_drain_finishes_what_is_in_flight_and_refuses_what_is_new() {
    let mut world = World::new();
    let target = world.target();
    let mut stream = target.tls(&["http/1.1"]).unwrap();
    stream
        .write_all(&Request::get("/open?hold").to_h1("api.test"))
        .unwrap();
    eventually("the request at the API", || {
        (world.echo.count() == 1).then_some(())
    });
    let gate = world.gate.take().unwrap();
    let draining = world.runtime.spawn(gate.drain());
    eventually("an end of accepting", || {
        target.connect().is_err().then_some(())
    });
    assert!(!draining.is_finished(), "a request is in flight");
    world.echo.release();
    let reply = read_reply(&mut stream).unwrap();
    assert_eq!(reply.status, 200);
    world.runtime.block_on(draining).unwrap();
}

#[test]
fn a_listener_that_is_gone_is_closed_and_a_new_one_serves() {
    let world = World::new();
    let old = world.target();
    assert_eq!(old.h1(&Request::get("/open")).unwrap().status, 200);
    let renamed = world
        .configuration(ROUTES, "")
        .replace("  edge:\n", "  front:\n");
    world.write(&renamed);
    world.reload().unwrap();
    let gate = world.gate.as_ref().unwrap();
    let address = world.runtime.block_on(gate.listener("front")).unwrap();
    let new = tollgate_tests::client::Target {
        address,
        ..old.clone()
    };
    assert_eq!(new.h1(&Request::get("/open")).unwrap().status, 200);
    eventually("the old listener's end", || {
        old.connect().is_err().then_some(())
    });
}
