mod net;
mod properties;

use super::*;
use tollgate_http::fields::Field;

/// Forwarders of the tests, and one of them that is the peer.
const TRUSTED: [&str; 3] = ["10.0.0.0/8", "fd00::/8", "192.0.2.7"];
const PEER: &str = "10.0.0.1";
/// Somebody whom nobody trusts.
const CLIENT: &str = "203.0.113.9";

fn forwarders(networks: &[&str]) -> Forwarders {
    Forwarders::new(networks.iter().map(|text| parse_net(text).unwrap()))
}

fn fields(lines: &[(&'static str, &str)]) -> Fields {
    let mut fields = Fields::new();
    for (name, value) in lines {
        fields.push(*name, (*value).to_owned());
    }
    fields
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn of(peer: &str, fields: &Fields) -> Result<Client, Refusal> {
    Client::of(fields, address(peer), Scheme::Http, &forwarders(&TRUSTED))
}

fn introduced(client: &Client, style: Style) -> Vec<(String, String)> {
    let authority = Authority::parse(b"api.test:8443").unwrap();
    let mut told = Fields::new();
    client.introduce(style, Some(&authority), &mut told);
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let both = |field: Field| (text(&field.name), text(&field.value));
    told.into_iter().map(both).collect()
}

/// The list that the API gets, or the refusal's detail.
fn chain(lines: &[(&'static str, &str)]) -> Result<String, String> {
    let client = of(PEER, &fields(lines)).map_err(|refusal| {
        assert_eq!(refusal.reason, Reason::RequestMalformed);
        refusal.detail.into_owned()
    })?;
    let told = introduced(&client, Style::XForwarded);
    let (name, list) = told[0].clone();
    assert_eq!(name, "x-forwarded-for");
    // Whichever end a reader begins at, the client stands first.
    assert_eq!(list.split(", ").next(), Some(&*client.address.to_string()));
    Ok(list)
}

#[track_caller]
fn reads(lines: &[(&'static str, &str)], list: &str) {
    assert_eq!(chain(lines).as_deref(), Ok(list), "{lines:?}");
}

#[track_caller]
fn refuses(lines: &[(&'static str, &str)], said: &str) {
    let detail = chain(lines).expect_err(&format!("{lines:?}"));
    assert!(
        detail.contains(said) && detail.ends_with(", of the trusted forwarder 10.0.0.1"),
        "{detail}"
    );
}

#[test]
fn t38_a_stranger_is_the_peer_whatever_it_says() {
    for peer in [CLIENT, "2001:db8::1", "11.0.0.1", "192.0.2.8", "fc00::1"] {
        for value in ["10.0.0.5", "for=10.0.0.5", "\"", ""] {
            let lines = [
                ("forwarded", value),
                ("x-forwarded-for", value),
                ("x-real-ip", value),
                ("x-forwarded-proto", "https"),
                ("x-forwarded-host", "evil.test"),
                ("x-forwarded-port", "1"),
            ];
            let client = of(peer, &fields(&lines)).unwrap();
            assert_eq!(client.address, address(peer));
            assert!(!client.is_vouched);
            let told = introduced(&client, Style::Both);
            assert_eq!(
                told,
                introduced(&of(peer, &Fields::new()).unwrap(), Style::Both)
            );
        }
    }
}

#[test]
fn t38_the_client_is_found_from_the_right() {
    for (list, told) in [
        (CLIENT, "203.0.113.9, 10.0.0.1"),
        ("10.0.0.99, 203.0.113.9", "203.0.113.9, 10.0.0.1"),
        ("203.0.113.9, 10.0.0.2", "203.0.113.9, 10.0.0.2, 10.0.0.1"),
        (
            "198.51.100.1,203.0.113.9 ,\t10.0.0.2,fd00::3, 192.0.2.7",
            "203.0.113.9, 10.0.0.2, fd00::3, 192.0.2.7, 10.0.0.1",
        ),
        // Nobody but forwarders: the first of them is as far as anybody vouches.
        ("10.0.0.3, 10.0.0.2", "10.0.0.3, 10.0.0.2, 10.0.0.1"),
        // What a stranger wrote is not even read.
        ("unknown, <script>, , 203.0.113.9", "203.0.113.9, 10.0.0.1"),
        ("10.0.0.5, x, 203.0.113.9", "203.0.113.9, 10.0.0.1"),
        ("203.0.113.9:4711", "203.0.113.9, 10.0.0.1"),
        ("2001:DB8:0::1", "2001:db8::1, 10.0.0.1"),
        ("[2001:db8::1]", "2001:db8::1, 10.0.0.1"),
        (
            "[2001:db8::1]:443, 10.0.0.2:80",
            "2001:db8::1, 10.0.0.2, 10.0.0.1",
        ),
        // IPv4 in other clothes is IPv4, as a client and as a forwarder.
        ("::ffff:203.0.113.9", "203.0.113.9, 10.0.0.1"),
        ("1.1.1.1, ::ffff:10.0.0.2", "1.1.1.1, 10.0.0.2, 10.0.0.1"),
    ] {
        reads(&[("X-Forwarded-For", list)], told);
        // Several fields are one list.
        if let Some((left, right)) = list.split_once(',') {
            reads(
                &[("x-forwarded-for", left), ("X-FORWARDED-FOR", right)],
                told,
            );
        }
    }
    reads(&[], PEER);
    let client = of("::ffff:10.0.0.1", &fields(&[("x-forwarded-for", CLIENT)])).unwrap();
    assert_eq!(client.address, address(CLIENT));
}

/// An address decides in a policy: a proxy's own is never given to somebody of whom nothing can be read.
#[test]
fn t38_what_a_forwarder_says_and_names_no_address_refuses() {
    for entry in [
        "",
        "unknown",
        "_hidden",
        "localhost",
        "203.0.113.9 10.0.0.1",
        "203.0.113",
        "203.0.113.09",
        "203.0.113.9/32",
        "203.0.113.9:",
        "203.0.113.9:65536",
        "203.0.113.9:http",
        "203.0.113.9:+80",
        "203.0.113.9:000080",
        "[203.0.113.9]",
        "[2001:db8::1",
        "2001:db8::1]",
        "[2001:db8::1]443",
        "[2001:db8::1]:",
        "fe80::1%eth0",
        "\"203.0.113.9\"",
        "0x7f000001",
        "3405803785",
        "for=203.0.113.9",
        "203.0.113.9;10.0.0.1",
        "２.2.2.2",
    ] {
        for list in [
            entry.to_owned(),
            format!("{CLIENT}, {entry}"),
            format!("{CLIENT}, {entry}, 10.0.0.2"),
            format!("10.0.0.5, {entry}, 10.0.0.2"),
        ] {
            refuses(&[("x-forwarded-for", &list)], "X-Forwarded-For names a hop");
        }
        if !entry.is_empty() {
            refuses(&[("x-real-ip", entry)], "x-real-ip is ");
        }
    }
    refuses(&[("x-forwarded-for", "unknown")], "keeps to itself");
    refuses(&[("forwarded", "for=\"_hidden\"")], "keeps to itself");
    refuses(&[("x-forwarded-for", "a")], "no address");
}

#[test]
fn t38_forwarded_is_read_to_the_letter() {
    for (list, told) in [
        ("for=203.0.113.9", "203.0.113.9, 10.0.0.1"),
        ("FOR=203.0.113.9;by=_x;Proto=http", "203.0.113.9, 10.0.0.1"),
        ("for=\"203.0.113.9\"", "203.0.113.9, 10.0.0.1"),
        ("for=\"203.0.113.9:4711\"", "203.0.113.9, 10.0.0.1"),
        ("for=\"203.0.113.9:_p\"", "203.0.113.9, 10.0.0.1"),
        ("for=\"\\203.0.11\\3.9\"", "203.0.113.9, 10.0.0.1"),
        ("for=\"[2001:DB8::1]\"", "2001:db8::1, 10.0.0.1"),
        ("for=\"[2001:db8::1]:1\"", "2001:db8::1, 10.0.0.1"),
        ("for=\"[::ffff:203.0.113.9]\"", "203.0.113.9, 10.0.0.1"),
        (";;for=203.0.113.9;", "203.0.113.9, 10.0.0.1"),
        (
            "for=10.0.0.9,for=203.0.113.9 ,\tfor=10.0.0.2;secret=x",
            "203.0.113.9, 10.0.0.2, 10.0.0.1",
        ),
        // What a stranger wrote counts for nothing, as long as it is Forwarded at all.
        ("for=unknown, for=203.0.113.9", "203.0.113.9, 10.0.0.1"),
        ("proto=https, for=203.0.113.9", "203.0.113.9, 10.0.0.1"),
        (
            "for=\"a, for=10.0.0.5\";x=\"\\\"\", for=203.0.113.9",
            "203.0.113.9, 10.0.0.1",
        ),
    ] {
        reads(&[("Forwarded", list)], told);
    }
    reads(
        &[
            ("forwarded", "for=10.0.0.9"),
            ("forwarded", "for=203.0.113.9"),
        ],
        "203.0.113.9, 10.0.0.1",
    );
    for node in [
        "unknown",
        "Unknown",
        "_gazonk",
        "_",
        "localhost",
        "\"\"",
        "\"203.0.113.9:\"",
        "\"203.0.113.9:65536\"",
        "\"203.0.113.9:_\"",
        "\"2001:db8::1\"",
        "\"[203.0.113.9]\"",
        "\"[2001:db8::1\"",
        "\"[fe80::1%eth0]\"",
        "\"unknown:80\"",
        "\" 203.0.113.9\"",
        "\"_a b\"",
    ] {
        for list in [
            format!("for={node}"),
            format!("for={CLIENT}, for={node}"),
            format!("for={CLIENT}, for={node}, for=10.0.0.2"),
        ] {
            refuses(&[("forwarded", &list)], "Forwarded names a hop");
        }
    }
    refuses(
        &[("forwarded", "for=203.0.113.9, proto=https")],
        "without `for`",
    );
    for syntax in [
        "",
        " ",
        ",",
        ";",
        "for=203.0.113.9,",
        ",for=203.0.113.9",
        "for=1.1.1.1,,for=203.0.113.9",
        "for",
        "for=",
        "=203.0.113.9",
        "for =203.0.113.9",
        "for= 203.0.113.9",
        "for=203.0.113.9; proto=https",
        "for=203.0.113.9 ;proto=https",
        "for=203.0.113.9 proto=https",
        "for=203.0.113.9:80",
        "for=[2001:db8::1]",
        "for=\"203.0.113.9",
        "for=\"203.0.113.9\\",
        "for=\"203.0.113.9\"x",
        "for=\"a\"\"b\"",
        "for=203.0.113.9;for=10.0.0.5",
        "for=203.0.113.9;FOR=203.0.113.9",
        "for=203.0.113.9;by=a;by=b",
        "for=203.0.113.9;proto=http;proto=https",
        "for=203.0.113.9;host=a;host=b",
        "for=203.0.113.9;a",
        "203.0.113.9",
        // A quote that a stranger left open would swallow what its proxy appended.
        "for=\"x, for=203.0.113.9",
        "for=\"x, for=\"[2001:db8::1]\"",
        "for=1.1.1.1;x=\"\\, for=\"[2001:db8::1]\"",
    ] {
        refuses(&[("forwarded", syntax)], "Forwarded is no list of elements");
    }
    // A quoted string does not go on in another field.
    refuses(
        &[("forwarded", "for=\"x"), ("forwarded", "for=203.0.113.9\"")],
        "a quoted value does not end",
    );
}

#[test]
fn t38_fields_that_contradict_each_other_refuse() {
    let forwarded = ("forwarded", "for=203.0.113.9");
    let list = ("x-forwarded-for", "203.0.113.9, 10.0.0.2");
    let told = "203.0.113.9, 10.0.0.2, 10.0.0.1";
    reads(&[forwarded, list], told);
    reads(&[list, ("x-real-ip", "203.0.113.9")], told);
    reads(&[list, ("x-real-ip", "10.0.0.2")], told);
    reads(&[("x-real-ip", "203.0.113.9")], "203.0.113.9, 10.0.0.1");
    reads(&[("x-real-ip", "10.0.0.2")], "10.0.0.2, 10.0.0.1");
    reads(
        &[forwarded, ("x-real-ip", "203.0.113.9")],
        "203.0.113.9, 10.0.0.1",
    );
    for (lines, said) in [
        // Either may be the client's own, passed on by a proxy that knows the other one only.
        (
            [("forwarded", "for=10.0.0.5"), list],
            "Forwarded says 10.0.0.5 and X-Forwarded-For says 203.0.113.9",
        ),
        (
            [forwarded, ("x-forwarded-for", "10.0.0.5")],
            "Forwarded says 203.0.113.9 and X-Forwarded-For says 10.0.0.5",
        ),
        (
            [("x-forwarded-for", "10.0.0.5"), ("x-real-ip", CLIENT)],
            "X-Real-IP says 203.0.113.9 and the list of forwarders says 10.0.0.5",
        ),
        (
            [list, ("x-real-ip", "10.0.0.5")],
            "X-Real-IP says 10.0.0.5 and the list of forwarders says 203.0.113.9",
        ),
        (
            [("x-real-ip", CLIENT), ("x-real-ip", PEER)],
            "x-real-ip says two things",
        ),
        (
            [
                ("x-forwarded-proto", "https"),
                ("x-forwarded-proto", "http"),
            ],
            "x-forwarded-proto says two things",
        ),
        (
            [list, ("x-forwarded-proto", "https, http")],
            "x-forwarded-proto says two things",
        ),
        (
            [
                ("forwarded", "for=203.0.113.9;proto=https"),
                ("x-forwarded-proto", "http"),
            ],
            "Forwarded says https and X-Forwarded-Proto says http",
        ),
        (
            [
                ("forwarded", "for=203.0.113.9;host=a.test"),
                ("x-forwarded-host", "b.test"),
            ],
            "Forwarded says a.test and X-Forwarded-Host says b.test",
        ),
        (
            [list, ("x-forwarded-host", "a.test,b.test")],
            "x-forwarded-host says two things",
        ),
        (
            [list, ("x-forwarded-port", "1,2")],
            "x-forwarded-port says two things",
        ),
        (
            [list, ("x-forwarded-proto", "ftp")],
            "x-forwarded-proto is \"ftp\"",
        ),
        (
            [list, ("x-forwarded-proto", "")],
            "x-forwarded-proto is \"\"",
        ),
        (
            [list, ("x-forwarded-host", "a b")],
            "x-forwarded-host is \"a b\"",
        ),
        (
            [list, ("x-forwarded-port", "65536")],
            "x-forwarded-port is \"65536\"",
        ),
        ([list, ("x-forwarded-port", "")], "x-forwarded-port is \"\""),
        (
            [list, ("forwarded", "for=203.0.113.9;proto=ftp")],
            "Forwarded's proto is \"ftp\"",
        ),
        (
            [list, ("forwarded", "for=203.0.113.9;host=\"a b\"")],
            "Forwarded's host is \"a b\"",
        ),
    ] {
        refuses(&lines, said);
    }
}

#[test]
fn t38_scheme_host_and_port_are_those_of_the_first_hop() {
    let client = |lines: &[(&'static str, &str)]| of(PEER, &fields(lines)).unwrap();
    for (lines, scheme, host, port) in [
        (&[][..], Scheme::Http, None, None),
        (&[("x-forwarded-proto", "HTTPS")], Scheme::Https, None, None),
        (
            &[("x-forwarded-proto", "https, https")],
            Scheme::Https,
            None,
            None,
        ),
        (&[("x-forwarded-proto", "wss")], Scheme::Https, None, None),
        (&[("x-forwarded-proto", "ws")], Scheme::Http, None, None),
        (
            &[("x-forwarded-host", "A.test:444")],
            Scheme::Http,
            Some("a.test:444"),
            None,
        ),
        (
            &[("x-forwarded-port", "444")],
            Scheme::Http,
            None,
            Some(444),
        ),
        (
            &[(
                "forwarded",
                "for=203.0.113.9;proto=https;host=a.test, for=10.0.0.2;proto=http;host=b",
            )],
            Scheme::Https,
            Some("a.test"),
            None,
        ),
        // Not the client's own element, however much it looks like it.
        (
            &[(
                "forwarded",
                "for=10.0.0.5;proto=https;host=evil.test, for=203.0.113.9",
            )],
            Scheme::Http,
            None,
            None,
        ),
        (
            &[
                ("forwarded", "for=203.0.113.9;proto=https;host=\"a.test:1\""),
                ("x-forwarded-proto", "https"),
                ("x-forwarded-host", "a.test:1"),
            ],
            Scheme::Https,
            Some("a.test:1"),
            None,
        ),
    ] {
        let client = client(lines);
        assert_eq!(client.scheme, scheme, "{lines:?}");
        assert_eq!(client.host.map(|host| host.to_string()).as_deref(), host);
        assert_eq!(client.port, port);
        assert!(client.is_vouched);
    }
    // The client's own `Forwarded`, with its true address, beside what a proxy wrote that does not know the field; and the
    // other way round.
    for (lines, scheme, host, port) in [
        (
            &[
                ("forwarded", "for=203.0.113.9;host=evil.test;proto=https"),
                ("x-forwarded-for", "203.0.113.9"),
            ][..],
            Scheme::Http,
            None,
            None,
        ),
        (
            &[
                ("forwarded", "for=203.0.113.9;host=evil.test"),
                ("x-forwarded-for", "203.0.113.9"),
                ("x-forwarded-proto", "https"),
                ("x-forwarded-port", "444"),
            ],
            Scheme::Https,
            None,
            Some(444),
        ),
        (
            &[
                ("forwarded", "for=203.0.113.9"),
                ("x-forwarded-proto", "https"),
                ("x-forwarded-host", "evil.test"),
                ("x-forwarded-port", "444"),
            ],
            Scheme::Http,
            None,
            None,
        ),
        (
            &[("x-real-ip", "203.0.113.9"), ("x-forwarded-proto", "https")],
            Scheme::Https,
            None,
            None,
        ),
    ] {
        let client = client(lines);
        assert_eq!(client.address.to_string(), CLIENT);
        assert_eq!(client.scheme, scheme, "{lines:?}");
        assert_eq!(client.host.map(|host| host.to_string()).as_deref(), host);
        assert_eq!(client.port, port, "{lines:?}");
    }
    let encrypted = |lines: &[(&'static str, &str)]| {
        let fields = fields(lines);
        Client::of(&fields, address(PEER), Scheme::Https, &forwarders(&TRUSTED))
            .unwrap()
            .scheme
    };
    assert_eq!(encrypted(&[]), Scheme::Https);
    assert_eq!(encrypted(&[("x-forwarded-proto", "http")]), Scheme::Http);
}

#[test]
fn t38_ten_thousand_entries_cost_a_look_each_and_are_not_passed_on() {
    let many = |entry: &str| vec![entry; 10_000].join(",");
    let strangers = format!("{},{CLIENT}", many("1.1.1.1"));
    reads(&[("x-forwarded-for", &strangers)], "203.0.113.9, 10.0.0.1");
    let garbage = format!("{},{CLIENT}", many(""));
    reads(&[("x-forwarded-for", &garbage)], "203.0.113.9, 10.0.0.1");
    let elements = format!("{},for={CLIENT}", many("for=unknown"));
    reads(&[("forwarded", &elements)], "203.0.113.9, 10.0.0.1");
    let before = format!("{},{CLIENT}", many("10.0.0.2"));
    reads(&[("x-forwarded-for", &before)], "203.0.113.9, 10.0.0.1");
    let hops = format!("{CLIENT},{}", many("10.0.0.2"));
    refuses(&[("x-forwarded-for", &hops)], "more than 32 trusted hops");
    for (count, taken) in [(32, true), (33, false)] {
        let hops = format!("{CLIENT},{}", vec!["10.0.0.2"; count].join(","));
        assert_eq!(chain(&[("x-forwarded-for", &hops)]).is_ok(), taken);
        let hops = format!("for={CLIENT},{}", vec!["for=10.0.0.2"; count].join(","));
        assert_eq!(chain(&[("forwarded", &hops)]).is_ok(), taken);
    }
}

#[test]
fn the_api_is_told_the_same_in_either_family() {
    let told = |peer: &str, lines: &[(&'static str, &str)], style| {
        introduced(&of(peer, &fields(lines)).unwrap(), style)
    };
    let lines = |all: &[(&str, &str)]| -> Vec<(String, String)> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        all.iter().map(owned).collect()
    };
    assert_eq!(
        told(CLIENT, &[], Style::Both),
        lines(&[
            ("x-forwarded-for", "203.0.113.9"),
            ("x-forwarded-proto", "http"),
            ("x-forwarded-host", "api.test:8443"),
            (
                "forwarded",
                "for=203.0.113.9;host=\"api.test:8443\";proto=http"
            ),
        ])
    );
    let said = [
        ("x-forwarded-for", "1.1.1.1, 2001:db8::1, 10.0.0.2"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "shop.test"),
        ("x-forwarded-port", "443"),
    ];
    let x_forwarded = lines(&[
        ("x-forwarded-for", "2001:db8::1, 10.0.0.2, 10.0.0.1"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "shop.test"),
        ("x-forwarded-port", "443"),
    ]);
    let standard = lines(&[(
        "forwarded",
        "for=\"[2001:db8::1]\";host=shop.test;proto=https, for=10.0.0.2, for=10.0.0.1;host=\"api.test:8443\";proto=http",
    )]);
    assert_eq!(told(PEER, &said, Style::XForwarded), x_forwarded);
    assert_eq!(told(PEER, &said, Style::Rfc7239), standard);
    assert_eq!(
        told(PEER, &said, Style::Both),
        [x_forwarded, standard].concat()
    );
    // What a forwarder says without a list is said of itself.
    assert_eq!(
        told(PEER, &[("x-forwarded-proto", "https")], Style::Rfc7239),
        lines(&[(
            "forwarded",
            "for=10.0.0.1;host=\"api.test:8443\";proto=https"
        )])
    );
    let v6 = Client {
        host: Authority::parse(b"[::1]").ok(),
        ..of(CLIENT, &Fields::new()).unwrap()
    };
    assert_eq!(
        introduced(&v6, Style::Rfc7239)[0].1,
        "for=203.0.113.9;host=\"[::1]\";proto=http"
    );
    let mut none = Fields::new();
    of(CLIENT, &Fields::new())
        .unwrap()
        .introduce(Style::Both, None, &mut none);
    assert_eq!(
        none,
        fields(&[
            ("x-forwarded-for", "203.0.113.9"),
            ("x-forwarded-proto", "http"),
            ("forwarded", "for=203.0.113.9;proto=http"),
        ])
    );
}
