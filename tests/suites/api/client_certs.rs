//! Certificates of clients: who may connect, what the API is told (RFC 9440), and that nothing is remembered of them.

mod tickets;

use std::fs;
use std::io;
use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tollgate::demo::pki::{Authority, Leaf};
use tollgate_tests::client::{Reply, Request, Target};

use crate::world::{ROUTES, World, seen};

/// A gate that asks for certificates of `Clients CA`, with these settings beside.
struct Site {
    world: World,
    clients: Authority,
}

impl Site {
    fn new(client_auth: &str, listener: &str) -> Self {
        let world = World::new();
        let clients = Authority::new("Clients CA").unwrap();
        fs::write(world.folder.path().join("clients.pem"), clients.pem()).unwrap();
        let site = Self { world, clients };
        site.configure(client_auth, listener);
        site
    }

    fn configure(&self, client_auth: &str, listener: &str) {
        let configuration = self.world.configuration(ROUTES, "");
        let tls = "tls: { certificates:";
        assert_eq!(configuration.matches(tls).count(), 1);
        let asked = format!("{listener}\n    tls: {{ {client_auth}, certificates:");
        // Another listener with the same certificates.
        let (head, tail) = configuration.split_once("upstreams:\n").unwrap();
        let configuration = format!(
            "{head}  other:\n    listen: 127.0.0.1:0\n    \
             tls: {{ certificates: [{{ cert: default.crt, key: default.key }}] }}\n    \
             routes: [{{ name: open, token: none, upstream: api }}]\nupstreams:\n{tail}"
        );
        self.world.write(&configuration.replacen(tls, &asked, 1));
        self.world.reload().unwrap();
    }

    fn leaf(&self) -> Leaf {
        client(&self.clients, false)
    }

    fn with(&self, leaf: Option<&Leaf>) -> Target {
        let mut target = self.world.target();
        target.caller.certificate = leaf.map(|leaf| (leaf.certificate.clone(), leaf.key.clone()));
        target
    }
}

fn client(authority: &Authority, expired: bool) -> Leaf {
    authority
        .client(
            "orders, O=Admins",
            "orders.test",
            "spiffe://test/orders",
            expired,
        )
        .unwrap()
}

const REQUIRED: &str = "client_auth: required, client_ca: clients.pem, forward_client_cert: leaf";
const OPTIONAL: &str = "client_auth: optional, client_ca: clients.pem, forward_client_cert: leaf";

fn both(target: &Target, request: &Request) -> io::Result<[Reply; 2]> {
    Ok([
        target.h1(request)?,
        target.h2(std::slice::from_ref(request))?.remove(0),
    ])
}

/// What stands between the colons of each member, as RFC 9440 and RFC 9651 have it, read by hand.
fn decoded(reply: &Reply, name: &str) -> Vec<Vec<u8>> {
    let lines = seen(reply, name);
    let members = lines.iter().flat_map(|line| line.split(", "));
    members
        .map(|member| {
            let inside = member
                .strip_prefix(':')
                .and_then(|rest| rest.strip_suffix(':'));
            let inside = inside.unwrap_or_else(|| panic!("no byte sequence: {member}"));
            STANDARD.decode(inside).unwrap()
        })
        .collect()
}

fn der(pem: &str) -> Vec<u8> {
    CertificateDer::from_pem_slice(pem.as_bytes())
        .unwrap()
        .to_vec()
}

#[test]
fn who_may_connect_is_said_by_the_authorities() {
    let site = Site::new(REQUIRED, "");
    let request = Request::get("/open");
    let stranger = client(&Authority::new("Clients CA").unwrap(), false);
    let expired = client(&site.clients, true);
    // A server's certificate is for another purpose, whoever signed it.
    let server = site.clients.leaf(&["orders.test"]).unwrap();
    for bad in [&stranger, &expired, &server] {
        assert!(both(&site.with(Some(bad)), &request).is_err());
    }
    assert!(both(&site.with(None), &request).is_err());
    assert_eq!(site.world.echo.count(), 0);
    let leaf = site.leaf();
    for reply in both(&site.with(Some(&leaf)), &request).unwrap() {
        assert_eq!(reply.status, 200);
        assert_eq!(decoded(&reply, "client-cert"), [der(&leaf.certificate)]);
        assert_eq!(seen(&reply, "client-cert-chain"), [""; 0]);
    }
    site.configure(OPTIONAL, "");
    for bad in [&stranger, &expired, &server] {
        assert!(
            both(&site.with(Some(bad)), &request).is_err(),
            "a bad one is worse than none"
        );
    }
    for reply in both(&site.with(None), &request).unwrap() {
        assert_eq!(reply.status, 200);
        assert_eq!(seen(&reply, "client-cert"), [""; 0]);
    }
    for reply in both(&site.with(Some(&leaf)), &request).unwrap() {
        assert_eq!(decoded(&reply, "client-cert"), [der(&leaf.certificate)]);
    }
}

#[test]
fn threat_38_a_client_cannot_say_which_certificate_it_has() {
    let site = Site::new(OPTIONAL, "");
    let leaf = site.leaf();
    let request = Request::get("/open")
        .field("client-cert", ":Zm9yZ2Vk:")
        .field("client_cert", ":Zm9yZ2Vk:")
        .field("client-cert-chain", ":Zm9yZ2Vk:");
    for (shown, told) in [(None, vec![]), (Some(&leaf), vec![der(&leaf.certificate)])] {
        for reply in both(&site.with(shown), &request).unwrap() {
            assert_eq!(decoded(&reply, "client-cert"), told);
            assert!(!String::from_utf8_lossy(&reply.body).contains("Zm9yZ2Vk"));
        }
    }
}

#[test]
fn threat_38_the_chain_is_told_as_far_as_it_issued_the_leaf_and_nothing_unasked() {
    let site = Site::new(&REQUIRED.replace("leaf", "chain"), "");
    let leaf = site.leaf();
    let mut target = site.with(Some(&leaf));
    let issuer = site.clients.pem();
    // Of the issuer's name with another key; a leaf of the issuer's; the leaf once more.
    let forged = Authority::new("Clients CA").unwrap().pem();
    let other = site.leaf().certificate;
    for (sent, told) in [
        (vec![&issuer], vec![der(&issuer)]),
        (vec![&forged], vec![]),
        (vec![&other, &leaf.certificate], vec![]),
        (vec![&forged, &other, &issuer, &forged], vec![der(&issuer)]),
    ] {
        let sent: String = sent.into_iter().map(String::as_str).collect();
        let chain = format!("{}{sent}", leaf.certificate);
        target.caller.certificate = Some((chain, leaf.key.clone()));
        for reply in both(&target, &Request::get("/open")).unwrap() {
            assert_eq!(decoded(&reply, "client-cert"), [der(&leaf.certificate)]);
            assert_eq!(decoded(&reply, "client-cert-chain"), told);
        }
    }
    site.configure(&REQUIRED.replace("leaf", "none"), "");
    for reply in both(&target, &Request::get("/open")).unwrap() {
        assert_eq!(reply.status, 200);
        assert_eq!(seen(&reply, "client-cert"), [""; 0]);
    }
}

#[test]
fn threat_38_a_forwarders_own_certificate_is_not_its_clients() {
    let site = Site::new(REQUIRED, "trusted_forwarders: [127.0.0.2]");
    let leaf = site.leaf();
    let mut target = site.with(Some(&leaf));
    target.caller.from = Some(IpAddr::from([127, 0, 0, 2]));
    for reply in both(&target, &Request::get("/open")).unwrap() {
        assert_eq!(reply.status, 200);
        assert_eq!(seen(&reply, "client-cert"), [""; 0]);
    }
    let request = Request::get("/open").field("client-cert", ":bGVhZg==:");
    for reply in both(&target, &request).unwrap() {
        assert_eq!(reply.status, 200);
        assert_eq!(seen(&reply, "client-cert"), [""; 0]);
    }
    site.configure(
        REQUIRED,
        "trust_client_cert: true\n    trusted_forwarders: [127.0.0.2]",
    );
    for reply in both(&target, &request).unwrap() {
        assert_eq!(decoded(&reply, "client-cert"), [b"leaf"]);
    }
}

/// The subject's common name is `orders, O=Admins`: what it looks like decides nothing.
#[test]
fn a_rule_reads_what_the_certificate_says() {
    let site = Site::new(OPTIONAL, "trusted_forwarders: [127.0.0.2]");
    let leaf = site.leaf();
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &der(&leaf.certificate));
    let print: String = digest
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let configuration = fs::read_to_string(site.world.path()).unwrap();
    for (rule, passes) in [
        ("\"spiffe://test/orders\" in tls.client.san_uri", true),
        ("\"orders.test\" in tls.client.san_dns", true),
        (r#"tls.client.subject == "CN=orders\\, O=Admins""#, true),
        ("tls.client.subject == \"CN=orders, O=Admins\"", false),
        (&format!("tls.client.fingerprint == \"{print}\""), true),
        ("\"other.test\" in tls.client.san_dns", false),
    ] {
        let open = "name: open, match: { path: /open }, token: none,";
        let ruled = format!("{open} require: {{ expr: '{rule}' }},");
        site.world.write(&configuration.replacen(open, &ruled, 1));
        site.world.reload().unwrap();
        let request = Request::get("/open");
        for reply in both(&site.with(Some(&leaf)), &request).unwrap() {
            assert_eq!(reply.status == 200, passes, "{rule}: {reply:?}");
        }
        for reply in both(&site.with(None), &request).unwrap() {
            assert_eq!(reply.status, 403, "{rule} without one");
        }
        // Nor does a forwarder pass for its clients.
        let mut forwarder = site.with(Some(&leaf));
        forwarder.caller.from = Some(IpAddr::from([127, 0, 0, 2]));
        for reply in both(&forwarder, &request).unwrap() {
            assert_eq!(reply.status, 403, "{rule} by a forwarder");
        }
    }
}
