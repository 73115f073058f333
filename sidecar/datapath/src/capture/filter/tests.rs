use tollgate_common::capture::{WORDS, accepts};

use super::*;

struct Known;

impl Names for Known {
    fn service(&self, name: &str) -> Option<(u16, Vip)> {
        (name == "web").then(|| (7, "203.0.113.10:443/tcp".parse().unwrap()))
    }

    fn interface(&self, name: &str) -> Option<u32> {
        (name == "eth0").then_some(3)
    }
}

fn halves(address: &str) -> [u64; 2] {
    let ip: IpAddr = address.parse().unwrap();
    let number = match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().to_bits(),
        IpAddr::V6(ip) => ip.to_bits(),
    };
    [(number >> 64) as u64, number as u64]
}

/// A TCP packet that was sent to a backend, or one that was dropped.
fn packet(client: &str, port: u16, vip: &str, verdict: Verdict, backend: &str) -> [u64; WORDS] {
    let mut words = [0; WORDS];
    let mut put = |at: usize, address: &str| [words[at], words[at + 1]] = halves(address);
    put(word::SOURCE, client);
    put(word::CLIENT, client);
    put(word::DESTINATION, vip);
    put(word::VIP, vip);
    if !backend.is_empty() {
        put(word::BACKEND, backend);
    }
    let version = if vip.contains(':') { 6 } else { 4 };
    words[word::FLOW] = u64::from(port) << flow::CLIENT_PORT
        | 443 << flow::PORT
        | u64::from(TCP) << flow::PROTO
        | u64::from(TCP) << flow::OWN
        | version << flow::VERSION
        | 0x02 << flow::FLAGS;
    words[word::ANSWER] =
        verdict.disposition() as u64 | (verdict as u64) << Answer::VERDICT | 7 << Answer::SERVICE;
    words[word::INTERFACE] = 3;
    words
}

#[track_caller]
fn check(filter: &str, passes: bool) {
    let parsed: Filter = filter
        .parse()
        .unwrap_or_else(|error| panic!("{filter}: {error}"));
    let compiled = parsed
        .compile(&Known)
        .unwrap_or_else(|error| panic!("{filter}: {error}"));
    let sent = packet(
        "198.51.100.7",
        40_000,
        "203.0.113.10",
        Verdict::Sent,
        "10.0.0.21",
    );
    assert_eq!(accepts(&compiled.late, &sent), passes, "{filter}");
    let mut early = sent;
    early[word::ANSWER] = 0;
    early[word::BACKEND..word::BACKEND + 2].fill(0);
    // What passes in the end must pass when it comes in.
    assert!(
        !passes || accepts(&compiled.early, &early),
        "{filter}, early"
    );
}

#[test]
fn terms_say_what_they_do_in_tcpdump() {
    for filter in [
        "",
        "host 198.51.100.7",
        "host 203.0.113.10",
        "src 198.51.100.7",
        "src host 198.51.100.7 and dst port 443",
        "dst net 203.0.113.0/24",
        "net 198.51.0.0/16",
        "port 40000",
        "port 443",
        "src port 40000",
        "tcp port 443",
        "tcp and ip and not ip6",
        "syn",
        "client 198.51.100.7",
        "vip 203.0.113.10",
        "vip 203.0.113.10:443",
        "vip 203.0.113.10:443/tcp",
        "vip 203.0.113.0/24:*/tcp",
        "backend 10.0.0.21",
        "service web",
        "interface eth0",
        "verdict sent",
        "not verdict no_backend",
        "udp or (host 1.2.3.4 or verdict sent) and tcp",
        "!(udp or drop)",
        "not not tcp",
    ] {
        check(filter, true);
    }
    for filter in [
        "host 198.51.100.8",
        "dst 198.51.100.7",
        "src net 203.0.113.0/24",
        "src port 443",
        "dst port 40000",
        "udp",
        "ip6",
        "vip 203.0.113.10:443/udp",
        "vip 203.0.113.10:80",
        "client 203.0.113.10",
        "backend 10.0.0.22",
        "backend 2001:db8::1",
        "verdict no_backend",
        "drop",
        "not service web",
        "tcp and not port 443",
        "udp or icmp or drop",
        "not (tcp and verdict sent)",
    ] {
        check(filter, false);
    }
}

#[test]
fn addresses_of_both_versions_are_told_apart() {
    let filter: Filter = "host 2001:db8::7 and net 2001:db8::/32".parse().unwrap();
    let tests = filter.compile(&Known).unwrap().late;
    let v6 = packet("2001:db8::7", 1, "2001:db8:1::1", Verdict::Sent, "");
    assert!(accepts(&tests, &v6));
    assert!(!accepts(
        &tests,
        &packet("198.51.100.7", 1, "203.0.113.10", Verdict::Sent, "")
    ));
    let all_v4: Filter = "net 0.0.0.0/0".parse().unwrap();
    let tests = all_v4.compile(&Known).unwrap().late;
    assert!(!accepts(&tests, &v6));
}

#[test]
fn what_is_known_later_holds_nothing_back_early() {
    for filter in [
        "verdict sent",
        "not verdict sent",
        "drop or backend 10.0.0.1",
        "not backend 10.0.0.1",
    ] {
        let compiled = filter.parse::<Filter>().unwrap().compile(&Known).unwrap();
        assert!(accepts(&compiled.early, &[0; WORDS]), "{filter}");
    }
    // And what is known holds back.
    let compiled = "service web"
        .parse::<Filter>()
        .unwrap()
        .compile(&Known)
        .unwrap();
    assert!(!accepts(&compiled.early, &[0; WORDS]));
    let compiled = "udp and drop"
        .parse::<Filter>()
        .unwrap()
        .compile(&Known)
        .unwrap();
    assert!(!accepts(&compiled.early, &[0; WORDS]));
}

#[test]
fn mistakes_are_named() {
    for (filter, part) in [
        ("hots 1.2.3.4", "`hots` is no term"),
        ("host", "`host` wants an address"),
        ("host nowhere", "`host nowhere`: an address is wanted"),
        ("host 10.0.0.0/8", "an address is wanted"),
        ("port 70000", "a number is wanted"),
        ("verdict lost", "it is one of not_ours, "),
        ("(tcp", "parenthesis"),
        ("tcp)", "parenthesis"),
        ("tcp and", "wants a term"),
        ("src", "wants a term"),
    ] {
        let error = filter.parse::<Filter>().unwrap_err().to_string();
        assert!(error.contains(part), "{filter}: {error}");
    }
    for (filter, part) in [
        ("service wbe", "no service of this name"),
        ("interface eth7", "none of this name"),
    ] {
        let error = filter
            .parse::<Filter>()
            .unwrap()
            .compile(&Known)
            .unwrap_err();
        assert!(error.to_string().contains(part), "{filter}: {error}");
    }
    let long = vec!["host 10.0.0.1"; 33].join(" or ");
    let error = long.parse::<Filter>().unwrap().compile(&Known).unwrap_err();
    assert_eq!(error, FilterError::Long(132));
    let deep = "(".repeat(100_000);
    assert_eq!(
        deep.parse::<Filter>().unwrap_err(),
        FilterError::Parenthesis
    );
}
