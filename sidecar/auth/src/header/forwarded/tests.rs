use super::*;
use proptest::prelude::*;
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
fn scheme_host_and_port_are_those_of_the_first_hop() {
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

#[test]
fn networks_have_exact_edges() {
    let trust = |network: &str, peer: &str| forwarders(&[network]).trust(address(peer));
    for (network, inside, outside) in [
        (
            "10.0.0.0/8",
            &["10.0.0.0", "10.255.255.255"][..],
            &["9.255.255.255", "11.0.0.0"][..],
        ),
        (
            "192.0.2.128/25",
            &["192.0.2.128", "192.0.2.255"],
            &["192.0.2.127", "192.0.3.0"],
        ),
        (
            "192.0.2.7",
            &["192.0.2.7", "::ffff:192.0.2.7"],
            &["192.0.2.6", "192.0.2.8"],
        ),
        (
            "192.0.2.7/32",
            &["192.0.2.7"],
            &["192.0.2.6", "::192.0.2.7", "::7"],
        ),
        (
            "::ffff:10.0.0.0/104",
            &["10.1.2.3", "::ffff:10.1.2.3"],
            &["11.0.0.0"],
        ),
        ("::ffff:192.0.2.7", &["192.0.2.7"], &["192.0.2.8"]),
        (
            "fd00::/8",
            &["fd00::", "fdff:ffff::1"],
            &["fe00::", "fcff::1", "10.0.0.1"],
        ),
        (
            "2001:db8::1",
            &["2001:db8::1"],
            &["2001:db8::", "2001:db8::2"],
        ),
        // IPv4 is never in an IPv6 network, not even in one that its clothes would be in.
        ("::/64", &["::1"], &["10.0.0.1", "::ffff:10.0.0.1"]),
        (
            "128.0.0.0/1",
            &["255.0.0.1", "128.0.0.0"],
            &["127.255.255.255"],
        ),
    ] {
        for peer in inside {
            assert!(trust(network, peer), "{peer} in {network}");
        }
        for peer in outside {
            assert!(!trust(network, peer), "{peer} not in {network}");
        }
    }
    assert!(!Forwarders::default().trust(address("127.0.0.1")));
    let two = forwarders(&["127.0.0.1", "::1"]);
    assert!(two.trust(address("127.0.0.1")) && two.trust(address("::1")));
    assert_eq!(two.networks().len(), 2);
}

#[test]
fn networks_that_cannot_be_meant() {
    for bad in [
        "",
        "10.0.0",
        "10.0.0.0/33",
        "::/129",
        "10.0.0.0/",
        "a.test",
        "10.0.0.1:80",
        "[::1]",
        " ::1",
    ] {
        assert_eq!(parse_net(bad), Err(NetError::Syntax(bad.to_owned())));
    }
    let said = |text: &str| parse_net(text).unwrap_err().to_string();
    assert!(said("10.0.0.7/8").contains("write `10.0.0.0/8`"));
    assert!(said("2001:db8::7/64").contains("write `2001:db8::/64`"));
    for everybody in ["0.0.0.0/0", "::/0", "::ffff:0:0/96"] {
        assert_eq!(
            parse_net(everybody),
            Err(NetError::Everybody(everybody.to_owned()))
        );
    }
    assert!(parse_net("0.0.0.0/1").is_ok());
}

/// Reads from the right, as one thinks of it.
fn reference(list: &str) -> Option<String> {
    let trusted = forwarders(&TRUSTED);
    let mut told = vec![PEER.to_owned()];
    for entry in list.rsplit(',') {
        let one = entry.trim().parse::<IpAddr>().ok()?.to_canonical();
        told.insert(0, one.to_string());
        if !trusted.trust(one) {
            break;
        }
    }
    Some(told.join(", "))
}

proptest! {
    #[test]
    fn reading_from_either_end_finds_the_same_client(entries in prop::collection::vec(
        prop_oneof![
            Just("10.0.0.2"), Just("fd00::5"), Just("::ffff:10.9.9.9"), Just("203.0.113.9"),
            Just("2001:db8::1"), Just("unknown"), Just(""), Just("x"),
        ], 1..8)) {
        let list = entries.join(", ");
        prop_assert_eq!(chain(&[("x-forwarded-for", &list)]).ok(), reference(&list));
        // The same list in the other grammar, which has no empty entries.
        let element = |entry: &&str| match *entry {
            "" => "proto=https".to_owned(),
            v6 if v6.contains(':') => format!("for=\"[{v6}]\""),
            other => format!("for={other}"),
        };
        let elements: Vec<String> = entries.iter().map(element).collect();
        prop_assert_eq!(chain(&[("forwarded", &elements.join(", "))]).ok(), reference(&list));
    }

    /// Whatever a stranger says to its proxy, the proxy's own word about it is what counts.
    #[test]
    fn no_word_of_a_client_moves_its_address(said in "[ -~]{0,60}", forwarded in "[ -~]{0,60}") {
        let list = format!("{said}, {CLIENT}");
        let client = of(PEER, &fields(&[("x-forwarded-for", &list)])).unwrap();
        prop_assert_eq!(client.address, address(CLIENT));
        // A proxy that appends to Forwarded may have been handed half a quoted string.
        let elements = format!("{forwarded}, for={CLIENT}");
        if let Ok(client) = of(PEER, &fields(&[("forwarded", &elements)])) {
            prop_assert_eq!(client.address, address(CLIENT));
        }
        let elements = format!("{forwarded}, for=\"[2001:db8::9]:443\";proto=\"https\"");
        if let Ok(client) = of(PEER, &fields(&[("forwarded", &elements)])) {
            prop_assert_eq!(client.address, address("2001:db8::9"));
            prop_assert_eq!(client.scheme, Scheme::Https);
        }
    }

    #[test]
    fn what_is_told_is_read_back(
        hops in prop::collection::vec(prop_oneof![Just("10.0.0.2"), Just("fd00::5")], 0..5),
        client in prop_oneof![Just("203.0.113.9"), Just("2001:db8::1")],
        https in any::<bool>(),
        host in prop_oneof![Just("a.test"), Just("a.test:81"), Just("[2001:db8::2]:81")],
    ) {
        let list = [&[client][..], &hops].concat().join(", ");
        let lines = [
            ("x-forwarded-for", &*list),
            ("x-forwarded-proto", if https { "https" } else { "http" }),
            ("x-forwarded-host", host),
        ];
        let first = of(PEER, &fields(&lines)).unwrap();
        let mut told = Fields::new();
        first.introduce(Style::Both, None, &mut told);
        // The next hop trusts us, and sees us as its peer.
        let next = of("10.0.0.77", &told).unwrap();
        prop_assert_eq!(next.address, first.address);
        prop_assert_eq!(next.scheme, first.scheme);
        prop_assert_eq!(&next.host, &first.host);
        let mut only = told.clone();
        only.retain(|field| field.is("forwarded"));
        prop_assert_eq!(of("10.0.0.77", &only).unwrap(), next);
    }

    #[test]
    fn anything_at_all_is_read_without_a_panic(lines in prop::collection::vec(
        (0..6usize, prop::collection::vec(any::<u8>(), 0..40)), 0..6)) {
        const NAMES: [&str; 6] = [
            "forwarded", "x-forwarded-for", "x-real-ip", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-port",
        ];
        let mut fields = Fields::new();
        for (at, value) in lines {
            fields.push(NAMES[at], value);
        }
        if let Err(refusal) = of(PEER, &fields) {
            prop_assert!(refusal.detail.len() < 400);
        }
    }
}
