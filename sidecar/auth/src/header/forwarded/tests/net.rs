use super::*;

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
