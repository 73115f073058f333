//! Threat 69: what a TLS ticket is good for.

use std::fs;
use std::io::{self, Write};
use std::sync::Arc;

use rustls::client::{
    ClientSessionMemoryCache, ClientSessionStore, Resumption, Tls12ClientSessionValue,
    Tls13ClientSessionValue,
};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, HandshakeKind, NamedGroup, StreamOwned};
use tollgate::demo::pki::Authority;
use tollgate_tests::client::{Request, Target, read_reply};

use super::{REQUIRED, Site, client, decoded, der};

/// Tickets of a client that offers each to whomever it speaks to next, which no good client does.
#[derive(Debug)]
struct Anywhere(ClientSessionMemoryCache);

fn one() -> ServerName<'static> {
    ServerName::try_from("one.test").unwrap()
}

impl ClientSessionStore for Anywhere {
    fn set_kx_hint(&self, _: ServerName<'static>, group: NamedGroup) {
        self.0.set_kx_hint(one(), group);
    }
    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        self.0.kx_hint(&one())
    }
    fn set_tls12_session(&self, _: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.0.set_tls12_session(one(), value);
    }
    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.0.tls12_session(&one())
    }
    fn remove_tls12_session(&self, _: &ServerName<'static>) {
        self.0.remove_tls12_session(&one());
    }
    fn insert_tls13_ticket(&self, _: ServerName<'static>, value: Tls13ClientSessionValue) {
        self.0.insert_tls13_ticket(one(), value);
    }
    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.0.take_tls13_ticket(&one())
    }
}

/// A client that remembers its tickets.
struct Client(Arc<ClientConfig>);

impl Client {
    fn of(target: &Target) -> Self {
        let mut config = target.tls_config(&["http/1.1"]);
        let store = Anywhere(ClientSessionMemoryCache::new(8));
        config.resumption = Resumption::store(Arc::new(store));
        Self(Arc::new(config))
    }

    fn handshake(&self, target: &Target, name: &str) -> io::Result<HandshakeKind> {
        let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
        let connection =
            ClientConnection::new(Arc::clone(&self.0), name).map_err(io::Error::other)?;
        let mut stream = StreamOwned::new(connection, target.connect()?);
        // TLS 1.3 sends its ticket after the handshake: an answer comes behind it.
        stream.write_all(&Request::get("/open").to_h1(&target.authority()))?;
        read_reply(&mut stream)?;
        let kind = stream.conn.handshake_kind();
        kind.ok_or_else(|| io::Error::other("no handshake"))
    }
}

fn a_ticket_is_good_for_nothing_but_what_it_was_given_for(only_tls12: bool) {
    let site = Site::new("client_auth: none", "");
    let leaf = site.leaf();
    let mut target = site.with(Some(&leaf));
    target.caller.only_tls12 = only_tls12;
    let session = Client::of(&target);
    let again = |name: &str| session.handshake(&target, name).unwrap();
    let (api, wild) = ("api.test", "a.wild.test");
    assert_eq!(again(api), HandshakeKind::Full);
    assert_eq!(again(api), HandshakeKind::Resumed);
    // Another name of the very same certificate.
    assert_eq!(again(wild), HandshakeKind::Full);
    assert_eq!(again(wild), HandshakeKind::Resumed);
    // Another listener.
    let mut other = target.clone();
    let gate = site.world.gate.as_ref().unwrap();
    other.address = site.world.runtime.block_on(gate.listener("other")).unwrap();
    assert_eq!(
        session.handshake(&other, wild).unwrap(),
        HandshakeKind::Full
    );
    assert_eq!(
        session.handshake(&other, wild).unwrap(),
        HandshakeKind::Resumed
    );
    // Another setting: no ticket is a way around a certificate, and none is given.
    assert_eq!(again(api), HandshakeKind::Full);
    site.configure(REQUIRED, "");
    for _ in 0..3 {
        assert_eq!(again(api), HandshakeKind::Full);
    }
    let mut without = target.clone();
    without.caller.certificate = None;
    assert!(Client::of(&without).handshake(&without, api).is_err());
    // Other authorities: who was let in before is not.
    let others = Authority::new("Other CA").unwrap();
    fs::write(site.world.folder.path().join("clients.pem"), others.pem()).unwrap();
    site.world.reload().unwrap();
    assert!(session.handshake(&target, api).is_err());
    let admitted = client(&others, false);
    let reply = site
        .with(Some(&admitted))
        .h1(&Request::get("/open"))
        .unwrap();
    assert_eq!(decoded(&reply, "client-cert"), [der(&admitted.certificate)]);
    // And back: a ticket does not outlive a reload.
    site.configure("client_auth: none", "");
    assert_eq!(again(api), HandshakeKind::Full);
    assert_eq!(again(api), HandshakeKind::Resumed);
    site.world.reload().unwrap();
    assert_eq!(again(api), HandshakeKind::Full);
}

#[test]
fn threat_69_a_tls13_ticket_is_good_for_nothing_but_what_it_was_given_for() {
    a_ticket_is_good_for_nothing_but_what_it_was_given_for(false);
}

#[test]
fn threat_69_a_tls12_ticket_is_good_for_nothing_but_what_it_was_given_for() {
    a_ticket_is_good_for_nothing_but_what_it_was_given_for(true);
}
