//! Keys about those around us: forwarders, clients with certificates, what upstreams are told, what becomes of answers.

use std::fs;
use std::path::Path;

use tollgate::app::CHECKS;
use tollgate::config;
use tollgate::demo::pki::Authority;
use tollgate_auth::header::client_cert::Forward;
use tollgate_auth::header::forwarded::Style;

use super::{ROUTE, WHOLE, mistake, valid};

#[test]
fn forwarders_are_addresses_and_networks() {
    let trusted = |list: &str| format!("plaintext: true\n    trusted_forwarders: {list}");
    let config = valid(
        "plaintext: true",
        &trusted("[10.0.0.0/8, 192.0.2.7, 'fd00::/8', '::ffff:198.51.100.0/120']"),
    );
    let networks = config.listeners[0].trusted_forwarders.networks();
    let text: Vec<String> = networks.iter().map(ToString::to_string).collect();
    assert_eq!(
        text,
        ["10.0.0.0/8", "192.0.2.7/32", "fd00::/8", "198.51.100.0/24"]
    );
    let none = valid("plaintext: true", &trusted("[]"));
    assert!(none.listeners[0].trusted_forwarders.networks().is_empty());
    for (list, said) in [
        (
            "[lb.test]",
            "\"lb.test\" is neither an address nor a network",
        ),
        ("['10.0.0.1:80']", "neither an address nor a network"),
        ("[10.0.0.7/8]", "write `10.0.0.0/8` for the network"),
        ("[0.0.0.0/0]", "\"0.0.0.0/0\" is everybody"),
        ("['::/0']", "is everybody"),
        (
            "[10.0.0.1, 10.0.0.1/32]",
            "the forwarder `10.0.0.1/32` stands twice",
        ),
    ] {
        mistake("plaintext: true", &trusted(list), said);
    }
}

#[test]
fn forwarders_do_not_speak_for_certificates_unasked() {
    let with = |more: &str| format!("plaintext: true\n    {more}");
    for (more, trusted) in [
        ("trusted_forwarders: [192.0.2.7]", false),
        (
            "trusted_forwarders: [192.0.2.7]\n    trust_client_cert: false",
            false,
        ),
        (
            "trusted_forwarders: [192.0.2.7]\n    trust_client_cert: true",
            true,
        ),
        ("trust_client_cert: false", false),
    ] {
        let config = valid("plaintext: true", &with(more));
        assert_eq!(config.listeners[0].trust_client_cert, trusted, "{more}");
    }
    for more in [
        "trust_client_cert: true",
        "trusted_forwarders: []\n    trust_client_cert: true",
    ] {
        mistake(
            "plaintext: true",
            &with(more),
            "`trust_client_cert: true` stands without `trusted_forwarders`",
        );
    }
}

#[test]
fn an_upstream_is_told_in_a_style() {
    let api = "api: { endpoints: [127.0.0.1:9000] }";
    let with = |style: &str| format!("api: {{ endpoints: [127.0.0.1:9000], forwarded: {style} }}");
    assert_eq!(valid(api, api).upstreams[0].forwarded, Style::XForwarded);
    for (style, meant) in [
        ("x_forwarded", Style::XForwarded),
        ("rfc7239", Style::Rfc7239),
        ("both", Style::Both),
    ] {
        assert_eq!(valid(api, &with(style)).upstreams[0].forwarded, meant);
    }
    mistake(
        api,
        &with("x-forwarded"),
        "unknown value `x-forwarded`; did you mean `x_forwarded`?",
    );
}

#[test]
fn clients_are_held_against_authorities() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("Clients").unwrap();
    let leaf = authority.leaf(&["api.test"]).unwrap();
    leaf.write(folder.path(), "tls").unwrap();
    for (name, text) in [
        ("ca.pem", authority.pem()),
        ("leaf.pem", leaf.certificate.clone()),
        (
            "both.pem",
            format!("{}{}", authority.pem(), leaf.certificate),
        ),
        ("empty.pem", String::new()),
        ("key.pem", leaf.key),
        ("torn.pem", authority.pem().replace("END", "AND")),
    ] {
        fs::write(folder.path().join(name), text).unwrap();
    }
    let read = |more: &str| {
        let tls = format!("tls: {{ certificates: [{{ cert: tls.crt, key: tls.key }}], {more} }}");
        let source = WHOLE.replace("plaintext: true", &tls);
        config::parse(&folder.path().join("t.yaml"), &source, CHECKS)
            .map_err(|mistakes| mistakes.to_string())
    };
    let clients = |more: &str| read(more).unwrap().listeners[0].tls.clone().unwrap();
    assert!(clients("client_auth: none").clients.is_none());
    for (mode, required) in [("optional", false), ("required", true)] {
        let tls = clients(&format!("client_auth: {mode}, client_ca: ca.pem"));
        assert_eq!(tls.clients.unwrap().required, required);
        assert_eq!(tls.forward_client_cert, Forward::None);
    }
    for (mode, meant) in [
        ("none", Forward::None),
        ("leaf", Forward::Leaf),
        ("chain", Forward::Chain),
    ] {
        let tls = clients(&format!(
            "client_auth: required, client_ca: ca.pem, forward_client_cert: {mode}"
        ));
        assert_eq!(tls.forward_client_cert, meant);
    }
    for (more, said) in [
        (
            "client_auth: required",
            "no `client_ca` says whose are believed",
        ),
        (
            "client_auth: optional",
            "no `client_ca` says whose are believed",
        ),
        (
            "client_ca: ca.pem",
            "`client_ca` stands beside `client_auth: none`",
        ),
        (
            "forward_client_cert: leaf",
            "`forward_client_cert` has nothing to tell where `client_auth` is `none`",
        ),
        ("client_auth: required, client_ca: none.pem", "cannot read"),
        (
            "client_auth: required, client_ca: leaf.pem",
            "`leaf.pem` cannot be used: certificate 1 (`CN=api.test`) is no authority's",
        ),
        (
            "client_auth: required, client_ca: both.pem",
            "`both.pem` cannot be used: certificate 2 (`CN=api.test`) is no authority's",
        ),
        (
            "client_auth: required, client_ca: empty.pem",
            "`empty.pem` cannot be used: there is no certificate in it",
        ),
        (
            "client_auth: required, client_ca: key.pem",
            "`key.pem` cannot be used: there is no certificate in it",
        ),
        (
            "client_auth: required, client_ca: torn.pem",
            "`torn.pem` cannot be used: certificate 1 is not PEM",
        ),
    ] {
        let text = read(more).unwrap_err();
        assert!(text.contains(said), "{said:?} is not in:\n{text}");
        assert!(text.contains("\n1 mistake in "), "{text}");
    }
}

#[test]
fn rules_for_answers_keep_off_what_is_not_theirs() {
    let route = |what: &str| {
        format!(
            "- {{ name: first, match: {{ path: /first }}, upstream: api, response: {{ {what} }} }}"
        )
    };
    for (what, said) in [
        (
            "set: { Content-Length: '1' }",
            "`Content-Length` frames the answer",
        ),
        (
            "remove: [transfer-encoding]",
            "`transfer-encoding` frames the answer",
        ),
        (
            "set: { connection: close }",
            "`connection` frames the answer",
        ),
        (
            "set: { X-Request-Id: '1' }",
            "`X-Request-Id` is what Tollgate itself says",
        ),
        (
            "remove: [www-authenticate]",
            "`www-authenticate` is what Tollgate itself says",
        ),
        (
            "set: { x-tollgate-a: '1' }",
            "`x-tollgate-a` is what Tollgate itself says",
        ),
        (
            "set: { set-cookie: a=1 }",
            "`set-cookie` differs from client to client",
        ),
        ("set: { 'a b': '1' }", "\"a b\" is no header name"),
        ("set: { x-a: '' }", "`x-a` cannot be set: the value \"\""),
        (
            "set: { x-a: ' a' }",
            "`x-a` cannot be set: the value \" a\"",
        ),
        (
            "set: { x-a: \"a\\r\\nb: 1\" }",
            "`x-a` cannot be set: the value \"a\\r\\nb: 1\"",
        ),
        ("set: { x-a: Zoë }", "`x-a` cannot be set"),
        ("set: { x-a: '1', X-A: '2' }", "`X-A` is set twice"),
        ("remove: [x-a, X-A]", "`x-a` is removed twice"),
        ("set: { x-a: '1' }, remove: [X-A]", "`X-A` is set as well"),
    ] {
        mistake(ROUTE, &route(what), said);
    }
    valid(
        ROUTE,
        &route("set: { x-a: '1' }, remove: [set-cookie, server]"),
    );
}

#[test]
fn rules_for_answers_are_inherited_name_by_name() {
    let defaults = "      inject: { x-user-id: { claim: sub } }";
    let inherited = format!(
        "{defaults}\n      response: {{ set: {{ x-a: one, x-b: one, x-c: one }}, remove: [x-d, x-e] }}"
    );
    let own = "- { name: first, match: { path: /first }, upstream: api, response: { set: { X-B: two, x-d: two }, remove: [X-C] } }";
    let source = WHOLE.replace(defaults, &inherited).replace(ROUTE, own);
    let config = config::parse(Path::new("t.yaml"), &source, CHECKS).unwrap();
    let listener = &config.listeners[0];
    let all = |rules: &tollgate_auth::header::response::ResponseRules| {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let set: Vec<_> = rules
            .set()
            .iter()
            .map(|field| format!("{}={}", text(&field.name), text(&field.value)))
            .collect();
        (set.join(" "), rules.removed().collect::<Vec<_>>().join(" "))
    };
    assert_eq!(
        all(&listener.response),
        ("x-a=one x-b=one x-c=one".to_owned(), "x-d x-e".to_owned())
    );
    assert_eq!(
        all(&listener.routes[0].response),
        ("x-b=two x-d=two x-a=one".to_owned(), "x-c x-e".to_owned())
    );
}
