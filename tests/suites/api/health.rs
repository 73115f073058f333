//! Endpoints that refuse, hang, fail or say that they do not serve get no requests, and come back in steps.

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tollgate_tests::client::Request;
use tollgate_tests::patient::Patient;

use crate::world::{ROUTES, World, eventually};

const PACE: &str = "interval: 100ms, timeout: 100ms, unhealthy: 3, healthy: 2, slow_start: 300ms";

/// At an address that stays the same when it comes back.
fn patient(name: &str) -> Patient {
    let first = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = first.local_addr().unwrap();
    drop(first);
    Patient::start(name, move || TcpListener::bind(address)).unwrap()
}

/// A gate before these endpoints, which are checked so.
fn gate(endpoints: &[SocketAddr], health: &str) -> World {
    let world = World::new();
    configure(&world, endpoints, health);
    world
}

fn configure(world: &World, endpoints: &[SocketAddr], health: &str) {
    let echo = format!("\"{}\"] }}", world.echo.address());
    let endpoints: Vec<String> = endpoints.iter().map(|one| format!("\"{one}\"")).collect();
    let health = format!("{}], health: {{ {health} }} }}", endpoints.join(", "));
    let configuration = world.configuration(ROUTES, "").replace(&echo, &health);
    assert!(configuration.contains("health:"));
    world.write(&configuration);
    world.reload().unwrap();
}

/// What is known of a member of the only group.
fn known(world: &World, address: SocketAddr) -> Value {
    let group = &world.status()["health"][0];
    let mut members = group["members"].as_array().unwrap().iter();
    let is_it = |one: &&Value| one["address"] == address.to_string();
    members.find(is_it).unwrap().clone()
}

fn failed(member: &Value) -> u64 {
    let failed = member["failed"].as_object().unwrap();
    failed.values().filter_map(Value::as_u64).sum()
}

fn until(world: &World, address: SocketAddr, state: &str) -> Value {
    eventually(&format!("{address} {state}"), || {
        Some(known(world, address)).filter(|member| member["state"] == state)
    })
}

/// Who answers so many requests.
fn answers(world: &World, requests: usize) -> BTreeMap<String, usize> {
    let mut answers = BTreeMap::new();
    for _ in 0..requests {
        let reply = world.h1(&Request::get("/open"));
        assert_eq!(reply.status, 200, "{reply:?}");
        let name = String::from_utf8(reply.body.to_vec()).unwrap();
        *answers.entry(name).or_default() += 1;
    }
    answers
}

/// Falls ill, is out after three checks and no fewer, and is back after two with its share growing.
fn falls_and_comes_back(ill: impl Fn(&mut Patient), why: &str, word: &str) {
    let mut patients = ["a", "b", "c"].map(patient);
    let addresses = [0, 1, 2].map(|at: usize| patients[at].address());
    let world = gate(&addresses, &format!("path: /healthz, {PACE}"));
    for address in addresses {
        let _up = until(&world, address, "up");
    }
    assert_eq!(answers(&world, 60).len(), 3);

    ill(&mut patients[0]);
    let down = eventually("down", || {
        let member = known(&world, addresses[0]);
        let is_down = member["state"] == "down";
        assert_eq!(is_down, failed(&member) >= 3, "{member:#}");
        is_down.then_some(member)
    });
    assert!(
        down["last_failure"]["why"].as_str().unwrap().contains(why),
        "{down:#}"
    );
    assert!(down["failed"][word].as_u64() >= Some(3), "{down:#}");
    let others = answers(&world, 60);
    assert_eq!(others.keys().collect::<Vec<_>>(), ["b", "c"], "{others:?}");
    let labels = format!(
        "{{kind=\"upstream\",name=\"api\",member=\"{}\"",
        addresses[0]
    );
    let metrics = world.probe("/metrics");
    assert!(
        metrics.contains(&format!("tollgate_health_up{labels}}} 0")),
        "{metrics}"
    );
    let checks = format!("tollgate_health_checks_total{labels},result=\"{word}\"}}");
    assert!(metrics.contains(&checks), "{metrics}");

    // What is known outlives a reload.
    world.reload().unwrap();
    assert_eq!(known(&world, addresses[0])["state"], "down");

    let passed = |member: &Value| member["passed"].as_u64().unwrap();
    let before = passed(&known(&world, addresses[0]));
    patients[0].recover().unwrap();
    let back = eventually("back", || {
        let member = known(&world, addresses[0]);
        let is_back = member["state"] != "down";
        assert_eq!(is_back, passed(&member) - before >= 2, "{member:#}");
        is_back.then_some(member)
    });
    assert!(back["share"].as_f64().unwrap() > 0.0, "{back:#}");
    let up = until(&world, addresses[0], "up");
    assert_eq!(up["share"], 1.0);
    assert!(answers(&world, 60).contains_key("a"));
}

#[test]
fn an_endpoint_that_answers_500_is_out_and_comes_back() {
    falls_and_comes_back(|patient| patient.answer(500), "it answered 500", "status");
}

#[test]
fn an_endpoint_that_hangs_is_out_and_comes_back() {
    falls_and_comes_back(
        |patient| patient.hang(),
        "it did not answer within 100ms",
        "answer_timeout",
    );
}

#[test]
fn an_endpoint_that_refuses_is_out_and_comes_back() {
    falls_and_comes_back(Patient::leave, "the connection was refused", "refused");
}

#[test]
fn when_too_few_are_up_all_are_used() {
    let mut patients = ["a", "b", "c"].map(patient);
    let addresses = [0, 1, 2].map(|at: usize| patients[at].address());
    let path = format!("path: /healthz, {PACE}");
    let world = gate(&addresses, &path);
    let panic = || world.status()["health"][0]["panic"] == true;
    for at in [0, 1, 2] {
        assert!(!panic(), "{at}");
        patients[at].answer(503);
        let _down = until(&world, addresses[at], "down");
    }
    // None is left: it is more likely that the checks are wrong.
    eventually("panic", || panic().then_some(()));
    assert_eq!(answers(&world, 60).len(), 3);
    let text = world.probe("/metrics");
    let metric = "tollgate_health_panic{kind=\"upstream\",name=\"api\"} 1";
    assert!(text.contains(metric), "{text}");

    // Whoever would rather refuse says so.
    configure(&world, &addresses, &format!("{path}, panic: never"));
    eventually("no panic", || (!panic()).then_some(()));
    assert_eq!(world.h1(&Request::get("/open")).status, 503);

    // One of three is a third.
    patients[2].recover().unwrap();
    let _up = until(&world, addresses[2], "up");
    assert_eq!(answers(&world, 30).len(), 1);
    configure(&world, &addresses, &format!("{path}, panic: 34%"));
    eventually("panic again", || panic().then_some(()));
    assert_eq!(answers(&world, 60).len(), 3);
}

#[test]
fn who_was_never_healthy_is_out_with_its_first_check() {
    let (mut ill, well) = (patient("ill"), patient("well"));
    ill.leave();
    let slow = "path: /healthz, interval: 1s, unhealthy: 50";
    let world = gate(&[ill.address(), well.address()], slow);
    let down = until(&world, ill.address(), "down");
    assert_eq!(failed(&down), 1);
    assert_eq!(answers(&world, 20).len(), 1);
}

#[test]
fn a_port_that_opens_is_enough_for_tcp() {
    let mut patients = ["a", "b"].map(patient);
    let addresses = [0, 1].map(|at: usize| patients[at].address());
    let port = addresses[0].port();
    let world = gate(&addresses[..1], &format!("tcp: {port}, {PACE}"));
    let _up = until(&world, addresses[0], "up");
    // The kernel accepts for a process that hangs: only more than a connection finds that out.
    patients[0].hang();
    patients[0].leave();
    let down = until(&world, addresses[0], "down");
    assert!(down["failed"]["refused"].as_u64() >= Some(3), "{down:#}");
}

#[test]
fn https_is_held_to_whom_the_configuration_trusts() {
    let world = World::new();
    // What is checked is the gate itself: it has certificates.
    let gate = world.target();
    fs::write(world.folder.path().join("ca.pem"), &gate.ca).unwrap();
    let check = format!("path: /open, host: api.test, {PACE}");
    for (tls, state, why) in [
        ("tls: { ca: ca.pem }", "up", ""),
        ("tls: {}", "down", "TLS failed"),
        ("tls: { insecure: true }", "up", ""),
        (
            "tls: { ca: ca.pem, name: other.example }",
            "down",
            "TLS failed",
        ),
        ("tls: { ca: ca.pem }", "up", ""),
        ("plain", "down", "it did not answer in HTTP"),
    ] {
        let check = if tls == "plain" {
            check.clone()
        } else {
            format!("{check}, {tls}")
        };
        // The endpoint behind the gate is the echo API; the upstream that is checked is another one.
        let configuration = world.configuration(ROUTES, "").replace(
            "  nobody:",
            &format!(
                "  itself: {{ endpoints: [\"{}\"], health: {{ {check} }} }}\n  nobody:",
                gate.address
            ),
        );
        world.write(&configuration);
        world.reload().unwrap();
        let member = until(&world, gate.address, state);
        if state == "down" {
            let told = member["last_failure"]["why"].as_str().unwrap();
            assert!(told.contains(why), "{tls}: {told}");
        }
    }
}

/// A server that answers each call as its health service would.
fn grpc(world: &World, status: Arc<AtomicU8>) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    world.runtime.spawn(async move {
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        while let Ok((stream, _)) = listener.accept().await {
            let status = Arc::clone(&status);
            let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
                let status = status.load(Ordering::Relaxed);
                async move {
                    assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
                    assert_eq!(request.headers()["content-type"], "application/grpc");
                    let asked = request.into_body().collect().await?.to_bytes();
                    let known = &asked[..] == b"\0\0\0\0\x0b\x0a\x09orders.v1";
                    let body = Full::new(Bytes::from(vec![0, 0, 0, 0, 2, 8, status]));
                    let code = if known { "0" } else { "5" };
                    let trailers = http::HeaderMap::from_iter([(
                        http::HeaderName::from_static("grpc-status"),
                        http::HeaderValue::from_static(code),
                    )]);
                    let body = body.with_trailers(async { Some(Ok(trailers)) });
                    Ok::<_, hyper::Error>(hyper::Response::new(body))
                }
            });
            tokio::spawn(
                http2::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service),
            );
        }
    });
    address
}

#[test]
fn what_the_health_service_of_grpc_says_counts() {
    let world = World::new();
    let (serving, not_serving) = (1, 2);
    let said = Arc::new(AtomicU8::new(serving));
    let address = grpc(&world, Arc::clone(&said));
    let other = patient("other");
    configure(&world, &[address], &format!("grpc: orders.v1, {PACE}"));
    let _up = until(&world, address, "up");
    said.store(not_serving, Ordering::Relaxed);
    let down = until(&world, address, "down");
    assert_eq!(
        down["last_failure"]["why"],
        "its health service says NOT_SERVING"
    );
    assert_eq!(down["failed"]["not_serving"], failed(&down));
    said.store(serving, Ordering::Relaxed);
    let _up = until(&world, address, "up");

    for (at, service, why) in [
        (address, "other.v1", "it does not know the service"),
        (other.address(), "orders.v1", "it did not answer in HTTP"),
    ] {
        configure(&world, &[at], &format!("grpc: {service}, {PACE}"));
        let down = until(&world, at, "down");
        let told = down["last_failure"]["why"].as_str().unwrap();
        assert!(told.contains(why), "{told}");
    }
}
