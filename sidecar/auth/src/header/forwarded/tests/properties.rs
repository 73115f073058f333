use proptest::prelude::*;

use super::*;

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
