//! What clients and proxies say of where a client is: nothing panics, no text of a client's moves its address, and what the
//! API is told is read by the next hop as it was meant.
//!
//! An input is lines, each of a field: the first byte says which, the rest is its value.

#![no_main]

use std::net::IpAddr;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use tollgate_auth::header::forwarded::{Client, Forwarders, Style, parse_net};
use tollgate_http::fields::valid_value;
use tollgate_http::{Fields, Scheme};

static FORWARDERS: LazyLock<Forwarders> = LazyLock::new(|| {
    let networks = ["10.0.0.0/8", "fd00::/8"].map(|text| parse_net(text).expect("a network"));
    Forwarders::new(networks)
});

const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));

/// What a forwarder writes of its own peer, as proxies in use do, and whom it means by that.
const APPENDED: [(&str, &str, &str); 5] = [
    ("x-forwarded-for", "203.0.113.9", "203.0.113.9"),
    ("x-forwarded-for", "2001:db8::9", "2001:db8::9"),
    ("forwarded", "for=203.0.113.9", "203.0.113.9"),
    ("forwarded", "for=\"[2001:db8::9]:4711\"", "2001:db8::9"),
    (
        "forwarded",
        "by=_me;for=\"203.0.113.9:80\";host=\"a.test\";proto=\"https\"",
        "203.0.113.9",
    ),
];

fuzz_target!(|input: &[u8]| {
    let mut fields = Fields::new();
    for line in input.split(|&b| b == b'\n') {
        let Some((&which, value)) = line.split_first() else {
            continue;
        };
        // Whoever reads a message from a wire takes no other values.
        if !valid_value(value) {
            return;
        }
        let name = match which {
            b'F' => "forwarded",
            b'X' => "x-forwarded-for",
            b'R' => "x-real-ip",
            b'P' => "x-forwarded-proto",
            b'H' => "x-forwarded-host",
            b'N' => "x-forwarded-port",
            _ => return,
        };
        fields.push(name, value.to_vec());
    }
    let stranger = of(&fields, IpAddr::from([203, 0, 113, 77])).expect("a stranger is not read");
    assert_eq!(
        stranger,
        of(&Fields::new(), stranger.address).expect("nothing to read")
    );
    if let Ok(client) = of(&fields, PEER) {
        told(&client);
    }
    for (name, own, meant) in APPENDED {
        appended(
            fields.clone(),
            name,
            own,
            meant.parse().expect("an address"),
        );
    }
});

fn of(fields: &Fields, peer: IpAddr) -> Result<Client, tollgate_auth::Refusal> {
    Client::of(fields, peer, Scheme::Http, &FORWARDERS)
}

/// A forwarder appends what it knows to the last line that the client sent. The client is whom it names, or nobody.
fn appended(mut fields: Fields, name: &str, own: &str, meant: IpAddr) {
    let last = fields.count(name);
    let mut at = 0;
    fields.retain_mut(|field| {
        if field.is(name) {
            at += 1;
            if at == last {
                let line = [&field.value[..], b", ", own.as_bytes()].concat();
                field.value = line.into();
            }
        }
        true
    });
    if last == 0 {
        fields.push(name.to_owned(), own.to_owned());
    }
    if let Ok(client) = of(&fields, PEER) {
        assert_eq!(client.address, meant);
    }
}

/// The next hop, which trusts us, reads what we meant; from either family.
fn told(client: &Client) {
    let mut both = Fields::new();
    client.introduce(Style::Both, None, &mut both);
    assert!(both.iter().all(|field| valid_value(&field.value)));
    let next = IpAddr::from([10, 0, 0, 77]);
    for family in ["", "x-forwarded", "forwarded"] {
        let mut fields = both.clone();
        fields.retain(|field| field.name.starts_with(family.as_bytes()));
        match of(&fields, next) {
            Ok(read) => {
                assert_eq!((read.address, read.scheme), (client.address, client.scheme));
                assert_eq!(read.host, client.host);
            }
            // One hop more than anybody passes on.
            Err(refusal) => assert!(refusal.detail.contains("trusted hops"), "{refusal}"),
        }
    }
}
