use super::*;

/// What becomes of a service's packets that come in at eth0, a line each.
#[track_caller]
fn check(vip: &str, chains: &[&str], expected: &[&str]) {
    let text = format!("{{ \"nftables\": [{}] }}", chains.join(", "));
    let value: Value = serde_json::from_str(&text).unwrap_or_else(|why| panic!("{why}: {text}"));
    let packet = Packet {
        interface: "eth0",
        others: &[],
        vip: vip.parse().unwrap(),
    };
    let hits = Rules::of(&value).meet(&packet, &mut STEPS.clone()).unwrap();
    let told = |hit: &Hit| {
        let what = match (hit.what, hit.certain) {
            (What::Dropped, true) => "dropped",
            (What::Dropped, false) => "some dropped",
            (What::Elsewhere, true) => "elsewhere",
            (What::Elsewhere, false) => "some elsewhere",
        };
        let by = hit.rule.as_ref().map_or_else(
            || "policy".to_owned(),
            |(chain, handle)| format!("{chain} {handle}"),
        );
        format!("{what} by {by} in {}", hit.chain)
    };
    assert_eq!(hits.iter().map(told).collect::<Vec<_>>(), expected);
}

/// A chain that the kernel calls, with its rules' statements; handles count from 1.
fn base(hook: &str, policy: &str, rules: &[&str]) -> String {
    let kind = if hook == "prerouting" {
        "nat"
    } else {
        "filter"
    };
    let chain = format!(
        r#"{{"chain": {{"family": "inet", "table": "t", "name": "{hook}", "type": "{kind}", "hook": "{hook}", "prio": 0, "policy": "{policy}"}}}}"#
    );
    [vec![chain], with_rules(hook, rules)].concat().join(", ")
}

fn chain(name: &str, rules: &[&str]) -> String {
    let chain = format!(
        r#"{{"chain": {{"family": "inet", "table": "t", "name": "{name}", "handle": 1}}}}"#
    );
    [vec![chain], with_rules(name, rules)].concat().join(", ")
}

fn with_rules(name: &str, rules: &[&str]) -> Vec<String> {
    let rule = |(at, statements): (usize, &&str)| {
        format!(
            r#"{{"rule": {{"family": "inet", "table": "t", "chain": "{name}", "handle": {}, "expr": [{statements}]}}}}"#,
            at + 1
        )
    };
    rules.iter().enumerate().map(rule).collect()
}

fn of(protocol: &str, field: &str, op: &str, right: &str) -> String {
    format!(
        r#"{{"match": {{"op": "{op}", "left": {{"payload": {{"protocol": "{protocol}", "field": "{field}"}}}}, "right": {right}}}}}"#
    )
}

fn and(parts: &[&str]) -> String {
    parts.join(", ")
}

const VIP: &str = "203.0.113.10:443/tcp";
const DROP: &str = r#"{"drop": null}"#;
const ACCEPT: &str = r#"{"accept": null}"#;
const RETURN: &str = r#"{"return": null}"#;
const DNAT: &str = r#"{"dnat": {"addr": "10.0.0.9", "port": 8443}}"#;
const STATE: &str = r#"{"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": ["established", "related"]}}, {"accept": null}"#;

#[test]
fn without_rules_nothing_becomes_of_it() {
    check(VIP, &[], &[]);
    check(VIP, &[&base("input", "accept", &[STATE])], &[]);
    // What is behind the look for a socket, or not on its way.
    check(VIP, &[&base("forward", "drop", &[])], &[]);
    check(VIP, &[&base("output", "drop", &[])], &[]);
}

#[test]
fn a_policy_drops_what_no_rule_accepts() {
    let ssh = and(&[&of("tcp", "dport", "==", "22"), ACCEPT]);
    let told = &["dropped by policy in inet t input"];
    check(VIP, &[&base("input", "drop", &[STATE, &ssh])], told);
    let ours = and(&[
        &of(
            "tcp",
            "dport",
            "==",
            r#"{"set": [80, {"range": [400, 500]}]}"#,
        ),
        ACCEPT,
    ]);
    check(VIP, &[&base("input", "drop", &[STATE, &ssh, &ours])], &[]);
    // From some clients alone: so it was meant.
    let near = and(&[&of("ip", "saddr", "==", r#""10.0.0.1""#), ACCEPT]);
    check(VIP, &[&base("input", "drop", &[&near])], &[]);
    check(
        "[2001:db8::1]:443/tcp",
        &[&base("input", "drop", &[&near])],
        told,
    );
    let lo = r#"{"match": {"op": "==", "left": {"meta": {"key": "iif"}}, "right": "lo"}}, {"accept": null}"#;
    check(VIP, &[&base("input", "drop", &[lo])], told);
    check(
        VIP,
        &[&base("input", "drop", &[&lo.replace("lo", "eth*")])],
        &[],
    );
}

#[test]
fn a_rule_drops_what_comes_to_it_for_sure() {
    let ours = and(&[
        &of(
            "ip",
            "daddr",
            "==",
            r#"{"prefix": {"addr": "203.0.113.0", "len": 24}}"#,
        ),
        r#"{"counter": {"packets": 0, "bytes": 0}}"#,
        r#"{"reject": null}"#,
    ]);
    let told = &["dropped by input 1 in inet t input"];
    check(VIP, &[&base("input", "accept", &[&ours])], told);
    check(
        "203.0.113.0/28:*/udp",
        &[&base("input", "accept", &[&ours])],
        told,
    );
    // Part of it alone.
    check(
        "203.0.0.0/16:443/tcp",
        &[&base("input", "accept", &[&ours])],
        &[],
    );
    check(
        "198.51.100.1:443/tcp",
        &[&base("input", "accept", &[&ours])],
        &[],
    );
    let over = and(&[
        &of("tcp", "dport", "==", "443"),
        r#"{"limit": {"rate": 5}}"#,
        DROP,
    ]);
    check(VIP, &[&base("input", "accept", &[&over])], &[]);
    let others = and(&[&of("tcp", "dport", "!=", "22"), DROP]);
    check(VIP, &[&base("input", "accept", &[&others])], told);
    // A match on TCP is about TCP alone, whatever it asks.
    check(
        "203.0.113.10:443/udp",
        &[&base("input", "accept", &[&others])],
        &[],
    );
}

#[test]
fn chains_are_gone_into_and_returned_from() {
    let goto = r#"{"goto": {"target": "c"}}"#;
    let jump = r#"{"jump": {"target": "c"}}"#;
    let accepted = chain("c", &[&and(&[&of("tcp", "dport", "==", "443"), ACCEPT])]);
    check(VIP, &[&base("input", "drop", &[jump]), &accepted], &[]);
    let ssh = chain("c", &[&and(&[&of("tcp", "dport", "==", "22"), ACCEPT])]);
    let told = &["dropped by policy in inet t input"];
    check(VIP, &[&base("input", "drop", &[jump]), &ssh], told);
    // Behind a goto no rule of this chain is met, but the policy.
    check(VIP, &[&base("input", "drop", &[goto, ACCEPT]), &ssh], told);
    check(VIP, &[&base("input", "drop", &[jump, ACCEPT]), &ssh], &[]);
    // Who returns is not dropped here.
    let near = and(&[&of("ip", "saddr", "==", r#""10.0.0.1""#), RETURN]);
    let some = chain("c", &[&near, DROP]);
    check(VIP, &[&base("input", "accept", &[jump]), &some], &[]);
    let all = chain("c", &[RETURN, DROP]);
    check(VIP, &[&base("input", "accept", &[jump]), &all], &[]);
    let circle = chain("c", &[jump]);
    let text = format!(
        "{{\"nftables\": [{}, {circle}]}}",
        base("input", "drop", &[jump])
    );
    let value = serde_json::from_str(&text).unwrap();
    let packet = Packet {
        interface: "eth0",
        others: &[],
        vip: VIP.parse().unwrap(),
    };
    assert_eq!(
        Rules::of(&value).meet(&packet, &mut STEPS.clone()),
        Err(TooMany)
    );
    assert_eq!(Rules::of(&value).meet(&packet, &mut 3), Err(TooMany));
}

#[test]
fn what_is_translated_goes_elsewhere_for_some_or_all() {
    let ours = and(&[&of("ip", "daddr", "==", r#""203.0.113.10""#), DNAT]);
    let all = &["elsewhere by prerouting 1 in inet t prerouting"];
    let some = &["some elsewhere by prerouting 1 in inet t prerouting"];
    check(VIP, &[&base("prerouting", "accept", &[&ours])], all);
    let near = and(&[&of("ip", "saddr", "==", r#""10.0.0.1""#), &ours]);
    check(VIP, &[&base("prerouting", "accept", &[&near])], some);
    check(
        "203.0.113.11:443/tcp",
        &[&base("prerouting", "accept", &[&ours])],
        &[],
    );
    // Docker's rule for a published port, and one that is about marks.
    let local = r#"{"match": {"op": "==", "left": {"fib": {"result": "type", "flags": ["daddr"]}}, "right": "local"}}, {"redirect": {"port": 1}}"#;
    check(VIP, &[&base("prerouting", "accept", &[local])], all);
    let mark = format!(
        r#"{{"match": {{"op": "==", "left": {{"meta": {{"key": "mark"}}}}, "right": 1}}}}, {DNAT}"#
    );
    check(VIP, &[&base("prerouting", "accept", &[&mark])], &[]);
    // One that is behind what takes every packet.
    check(VIP, &[&base("prerouting", "accept", &[ACCEPT, &ours])], &[]);
}

#[test]
fn kube_proxy_is_found_by_its_maps_and_by_its_chains() {
    let key = r#"{"concat": [{"payload": {"protocol": "ip", "field": "daddr"}}, {"meta": {"key": "l4proto"}}, {"payload": {"protocol": "th", "field": "dport"}}]}"#;
    let vmap = format!(r#"{{"vmap": {{"key": {key}, "data": "@services"}}}}"#);
    let map = r#"{"map": {"family": "inet", "table": "t", "name": "services", "map": "verdict", "elem": [[{"concat": ["203.0.113.10", "tcp", 443]}, {"goto": {"target": "svc"}}], [{"concat": ["203.0.113.11", "udp", 53]}, {"drop": null}]]}}"#;
    let chains = [
        base("prerouting", "accept", &[&vmap]),
        map.to_owned(),
        chain("svc", &[DNAT]),
    ];
    let chains = chains.each_ref().map(String::as_str);
    check(VIP, &chains, &["elsewhere by svc 1 in inet t prerouting"]);
    check(
        "203.0.113.11:53/udp",
        &chains,
        &["dropped by prerouting 1 in inet t prerouting"],
    );
    check("203.0.113.11:53/tcp", &chains, &[]);

    // By iptables over nf_tables: what nft does not know it prints as `xt`, older ones without a name.
    let service = and(&[
        &of("ip", "daddr", "==", r#""203.0.113.10""#),
        r#"{"xt": null}"#,
        &of("tcp", "dport", "==", "443"),
        r#"{"jump": {"target": "KUBE-SVC"}}"#,
    ]);
    let dice =
        r#"{"xt": {"type": "match", "name": "statistic"}}, {"jump": {"target": "KUBE-SEP"}}"#;
    for target in [
        r#"{"xt": null}"#,
        r#"{"xt": {"type": "target", "name": "DNAT"}}"#,
    ] {
        let chains = [
            base("prerouting", "accept", &[&service]),
            chain("KUBE-SVC", &[dice]),
            chain("KUBE-SEP", &[target]),
        ];
        let chains = chains.each_ref().map(String::as_str);
        check(
            VIP,
            &chains,
            &["some elsewhere by KUBE-SEP 1 in inet t prerouting"],
        );
    }
}

#[test]
fn sets_and_maps_of_addresses_are_looked_up() {
    let set = r#"{"set": {"family": "inet", "table": "t", "name": "s", "elem": [{"elem": {"val": {"prefix": {"addr": "10.0.0.0", "len": 8}}, "timeout": 3600}}, {"range": ["203.0.113.4", "203.0.113.11"]}]}}"#;
    let within = and(&[&of("ip", "daddr", "==", r#""@s""#), DROP]);
    let chains = [base("input", "accept", &[&within]), set.to_owned()];
    let chains = chains.each_ref().map(String::as_str);
    check(VIP, &chains, &["dropped by input 1 in inet t input"]);
    check("203.0.113.12:443/tcp", &chains, &[]);
    // A set that is not there is one that is not known.
    let chains = [base("input", "accept", &[&within.replace("@s", "@r")])];
    check(VIP, &chains.each_ref().map(String::as_str), &[]);

    let map = r#"{"map": {"family": "inet", "table": "t", "name": "m", "elem": [["203.0.113.10", "10.0.0.2"]]}}"#;
    let by = r#"{"dnat": {"addr": {"map": {"key": {"payload": {"protocol": "ip", "field": "daddr"}}, "data": "@m"}}}}"#;
    let chains = [base("prerouting", "accept", &[by]), map.to_owned()];
    let chains = chains.each_ref().map(String::as_str);
    check(
        VIP,
        &chains,
        &["elsewhere by prerouting 1 in inet t prerouting"],
    );
    check("203.0.113.12:443/tcp", &chains, &[]);
}

/// What comes to rules as a bridge's, because the interface is a port of it, is not dropped for sure by rules for the port.
#[test]
fn an_interface_may_have_another_name_for_rules() {
    let of = |name: &str| {
        let left = r#"{"meta": {"key": "iifname"}}"#;
        format!(r#"{{"match": {{"op": "==", "left": {left}, "right": "{name}"}}}}, {ACCEPT}"#)
    };
    for (accepted, others, is_told) in [
        ("br0", &[][..], true),
        ("br0", &["br0"], false),
        ("eth0", &["br0"], false),
        ("eth1", &["br0"], true),
        ("eth0.7", &["eth0.6", "eth0.7"], false),
        ("eth*", &["eth0.6", "eth0.7"], false),
    ] {
        let text = format!(
            "{{\"nftables\": [{}]}}",
            base("input", "drop", &[&of(accepted)])
        );
        let value = serde_json::from_str(&text).unwrap();
        let packet = Packet {
            interface: "eth0",
            others,
            vip: VIP.parse().unwrap(),
        };
        let hits = Rules::of(&value).meet(&packet, &mut STEPS.clone()).unwrap();
        assert_eq!(!hits.is_empty(), is_told, "{accepted} {others:?}");
    }
}
