use std::net::{Ipv4Addr, SocketAddr};

use super::*;

fn backend(address: &str, weight: u32) -> Backend {
    Backend {
        address: address.parse().unwrap(),
        weight,
        drain: false,
    }
}

/// What is wrong with one service.
fn check(vip: &str, deliver: Deliver) -> Result<(), ServiceError> {
    let service = Service::new("s".into(), vip.parse().unwrap(), deliver);
    let model = Model {
        services: vec![service],
        ..Model::default()
    };
    model.check().map_err(|error| match error {
        ModelError::Service(name, error) if name == "s" => error,
        other => panic!("{other}"),
    })
}

#[test]
fn a_vip_reads_as_it_is_written() {
    for text in ["203.0.113.10:443/tcp", "[2001:db8::1]:53/udp"] {
        assert_eq!(
            text.parse::<Vip>().map(|vip| vip.to_string()),
            Ok(text.to_owned())
        );
    }
    let error = |text: &str| text.parse::<Vip>().unwrap_err();
    assert!(matches!(error("203.0.113.10:443"), VipError::NoProtocol(_)));
    assert!(matches!(
        error("203.0.113.10:443/sctp"),
        VipError::Protocol(_)
    ));
    assert!(matches!(error("2001:db8::1:443/tcp"), VipError::Address(_)));
    assert!(matches!(error("203.0.113.10:0/tcp"), VipError::PortZero));
}

#[test]
fn what_no_map_expresses_is_refused() {
    let twice = vec![backend("10.0.0.1", 1), backend("10.0.0.1", 2)];
    assert!(matches!(
        check("192.0.2.1:80/tcp", Deliver::Ipip(twice)),
        Err(ServiceError::SharedBackend(_))
    ));
    for weight in [0, 1001] {
        assert!(matches!(
            check(
                "192.0.2.1:80/tcp",
                Deliver::L2(vec![backend("10.0.0.1", weight)])
            ),
            Err(ServiceError::Weight(_, given)) if given == weight
        ));
    }
    let mixed = vec![backend("fd00::1", 1)];
    assert!(check("192.0.2.1:80/tcp", Deliver::Ipip(mixed.clone())).is_ok());
    assert!(matches!(
        check("192.0.2.1:80/tcp", Deliver::L2(mixed)),
        Err(ServiceError::Family(..))
    ));
    assert!(matches!(
        check("192.0.2.1:80/udp", Deliver::Listener("edge".into())),
        Err(ServiceError::UdpListener(_))
    ));
    assert!(matches!(
        check("192.0.2.1:80/tcp", Deliver::Listener(String::new())),
        Err(ServiceError::ListenerName(_))
    ));
    for deliver in [Deliver::Ipip, Deliver::L2] {
        assert_eq!(
            check("192.0.2.1:80/tcp", deliver(vec![backend("192.0.2.1", 1)])),
            Err(ServiceError::OwnBackend([192, 0, 2, 1].into()))
        );
    }
    let service = |name: &str| {
        Service::new(
            name.into(),
            "192.0.2.1:80/tcp".parse().unwrap(),
            Deliver::Ipip(Vec::new()),
        )
    };
    let model = Model {
        services: vec![service("a"), service("b")],
        ..Model::default()
    };
    assert!(matches!(model.check(), Err(ModelError::SharedVip(..))));
}

#[test]
fn addresses_that_cannot_be_sent_to_are_neither_vip_nor_backend() {
    for (address, why) in [
        ("0.0.0.0", Unfit::Unspecified),
        ("0.1.2.3", Unfit::Unspecified),
        ("127.0.0.1", Unfit::Loopback),
        ("127.255.255.255", Unfit::Loopback),
        ("169.254.0.0", Unfit::LinkLocal),
        ("169.254.255.255", Unfit::LinkLocal),
        ("224.0.0.1", Unfit::Multicast),
        ("239.255.255.255", Unfit::Multicast),
        ("240.0.0.0", Unfit::Reserved),
        ("255.255.255.254", Unfit::Reserved),
        ("255.255.255.255", Unfit::Broadcast),
        ("::", Unfit::Unspecified),
        ("::1", Unfit::Loopback),
        ("fe80::1", Unfit::LinkLocal),
        ("febf::1", Unfit::LinkLocal),
        ("ff02::1", Unfit::Multicast),
        (
            "::ffff:192.0.2.1",
            Unfit::Mapped(Ipv4Addr::new(192, 0, 2, 1)),
        ),
    ] {
        let vip = SocketAddr::new(address.parse().unwrap(), 80);
        let as_vip = check(&format!("{vip}/tcp"), Deliver::Ipip(Vec::new()));
        assert!(
            matches!(as_vip, Err(ServiceError::Vip(_, told)) if told == why),
            "{address}: {as_vip:?}"
        );
        let as_backend = check(
            "198.51.100.1:80/tcp",
            Deliver::Ipip(vec![backend(address, 1)]),
        );
        assert!(
            matches!(as_backend, Err(ServiceError::Backend(_, told)) if told == why),
            "{address}: {as_backend:?}"
        );
    }
    for address in [
        "1.0.0.0",
        "169.253.255.255",
        "169.255.0.0",
        "223.255.255.255",
        "10.0.0.1",
        "fec0::1",
        "fd00::1",
        "2001:db8::1",
    ] {
        assert_eq!(Unfit::check(address.parse().unwrap()), Ok(()), "{address}");
    }
    let mapped = Unfit::Mapped(Ipv4Addr::new(192, 0, 2, 1)).to_string();
    assert!(mapped.ends_with("write 192.0.2.1"), "{mapped}");
}

#[test]
fn prefixes_are_checked_with_their_services() {
    let ipip = |address| Deliver::Ipip(vec![backend(address, 1)]);
    assert!(matches!(
        check("10.0.0.0/7:80/tcp", Deliver::Ipip(Vec::new())),
        Err(ServiceError::WidePrefix(_, 8))
    ));
    assert!(matches!(
        check("192.0.2.1/24:80/tcp", Deliver::Ipip(Vec::new())),
        Err(ServiceError::InsidePrefix(..))
    ));
    // A backend inside would get its own packets to send on.
    for deliver in [Deliver::Ipip, Deliver::Gue, Deliver::L2] {
        assert_eq!(
            check("192.0.2.0/24:*/tcp", deliver(vec![backend("192.0.2.9", 1)])),
            Err(ServiceError::OwnBackend([192, 0, 2, 9].into()))
        );
    }
    assert_eq!(check("192.0.2.0/24:*/tcp", ipip("192.0.3.9")), Ok(()));
    assert_eq!(check("[2001:db8::/64]:*/udp", ipip("192.0.2.9")), Ok(()));
    let model = |vips: [&str; 2]| Model {
        services: vips
            .map(|vip| Service::new(vip.into(), vip.parse().unwrap(), Deliver::Ipip(Vec::new())))
            .into(),
        ..Model::default()
    };
    // Overlapping is no mistake: who names more goes first. The same twice is one.
    let overlapping = ["192.0.2.0/24:80/tcp", "192.0.2.0/25:80/tcp"];
    assert_eq!(model(overlapping).check(), Ok(()));
    let ports = ["192.0.2.1:*/tcp", "192.0.2.1:80/tcp"];
    assert_eq!(model(ports).check(), Ok(()));
    let twice = ["192.0.2.1/32:80/tcp", "192.0.2.1:80/tcp"];
    assert!(matches!(
        model(twice).check(),
        Err(ModelError::SharedVip(..))
    ));
}

#[test]
fn a_drain_may_take_from_a_second_to_a_week() {
    for (limit, fits) in [
        (Duration::from_millis(999), false),
        (Duration::from_secs(1), true),
        (Duration::from_secs(604_800), true),
        (Duration::from_secs(604_801), false),
    ] {
        let vip = "192.0.2.1:80/tcp".parse().unwrap();
        let service = Service {
            drain_limit: Some(limit),
            ..Service::new("s".into(), vip, Deliver::Ipip(Vec::new()))
        };
        let model = Model {
            services: vec![service],
            ..Model::default()
        };
        let refused = ModelError::Service("s".into(), ServiceError::DrainLimit(limit));
        let expected = if fits { Ok(()) } else { Err(refused) };
        assert_eq!(model.check(), expected);
    }
}

#[test]
fn a_flow_may_be_silent_from_a_second_to_a_day() {
    let with = |connection_idle| {
        let vip = "192.0.2.1:80/tcp".parse().unwrap();
        let service = Service {
            connection_idle,
            ..Service::new("s".into(), vip, Deliver::Ipip(Vec::new()))
        };
        let model = Model {
            services: vec![service],
            ..Model::default()
        };
        model.check()
    };
    for (silent, fits) in [
        (Duration::from_millis(999), false),
        (Duration::from_secs(1), true),
        (CONNECTION_IDLE, true),
        (Duration::from_secs(86_400), true),
        (Duration::from_millis(86_400_001), false),
    ] {
        let refused = ModelError::Service("s".into(), ServiceError::ConnectionIdle(silent));
        assert_eq!(with(silent), if fits { Ok(()) } else { Err(refused) });
    }
}

#[test]
fn prefixes_begin_at_their_first_address_and_are_not_too_wide() {
    for (text, first) in [
        ("203.0.113.1/24:80/tcp", "203.0.113.0/24:80/tcp"),
        ("203.0.113.255/31:*/udp", "203.0.113.254/31:*/udp"),
        ("[2001:db8::1/64]:80/tcp", "[2001:db8::/64]:80/tcp"),
        ("[2001:db8:0:1::/63]:80/tcp", "[2001:db8::/63]:80/tcp"),
    ] {
        let inside = ServiceError::InsidePrefix(vip(text), vip(first));
        assert_eq!(vip(text).check(), Err(inside.clone()));
        assert!(
            inside.to_string().ends_with(&format!("write {first}")),
            "{inside}"
        );
    }
    for (text, least) in [
        ("10.0.0.0/7:80/tcp", 8),
        ("0.0.0.0/0:*/tcp", 8),
        ("[2000::/15]:80/tcp", 16),
        ("[::/0]:*/udp", 16),
    ] {
        assert_eq!(
            vip(text).check(),
            Err(ServiceError::WidePrefix(vip(text), least))
        );
    }
    assert_eq!(vip("10.0.0.0/8:80/tcp").check(), Ok(()));
    assert_eq!(vip("[2001::/16]:80/tcp").check(), Ok(()));
    for (text, why) in [
        ("127.0.0.0/8:80/tcp", Unfit::Loopback),
        ("224.0.0.0/8:*/udp", Unfit::Multicast),
        ("[fe80::/16]:80/tcp", Unfit::LinkLocal),
        ("[ff00::/16]:80/tcp", Unfit::Multicast),
    ] {
        assert_eq!(vip(text).check(), Err(ServiceError::Vip(vip(text), why)));
    }
}

fn vip(text: &str) -> Vip {
    text.parse()
        .unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn shares_reduce_backends_that_are_there_and_no_others() {
    let backends = ["10.0.0.1", "10.0.0.2", "10.0.0.3"].map(|address| backend(address, 1));
    let vip: Vip = "203.0.113.1:80/tcp".parse().unwrap();
    let service = Service::new("a".to_owned(), vip, Deliver::Ipip(backends.to_vec()));
    let model = Model {
        services: vec![service],
        ..Model::default()
    };
    let shares = [(1, 0), (2, WHOLE), (3, 3), (9, 0)];
    let shares =
        shares.map(|(last, quarters)| (IpAddr::from([10, 0, 0, last]), Share::of(quarters)));
    let reduced = model.with_shares(&HashMap::from([(vip, shares.into())]));
    let each = [1, 2, 3].map(|last| reduced.services[0].quarters([10, 0, 0, last].into()));
    assert_eq!(
        (each, reduced.services[0].reduced.len()),
        ([0, WHOLE, 3], 2)
    );
    // They are what the shares say and nothing that was before.
    assert_eq!(reduced.with_shares(&Shares::new()), model);
}

/// What another process says is held to what a configuration is.
#[test]
fn a_model_that_is_told_is_the_one_that_is_heard_and_nothing_else_gets_in() {
    let vip = |text: &str| text.parse::<Vip>().unwrap();
    let backend = |address: &str| Backend {
        address: address.parse().unwrap(),
        weight: 3,
        drain: false,
    };
    let mut nat = Nat {
        backends: vec![backend("10.0.0.1"), backend("10.0.0.2")],
        snat: Some(Snat::From("198.51.100.0/28".parse().unwrap())),
        ..Nat::default()
    };
    nat.ports.insert("10.0.0.1".parse().unwrap(), 8080);
    let mut translated = Service::new(
        "translated".to_owned(),
        vip("203.0.113.10:80/tcp"),
        Deliver::Nat(nat),
    );
    let down = Share {
        quarters: 1,
        down: true,
    };
    translated.reduced.insert("10.0.0.2".parse().unwrap(), down);
    let wide = Service::new(
        "wide".to_owned(),
        vip("[2001:db8::/64]:*/udp"),
        Deliver::Gue(vec![backend("2001:db8:1::1")]),
    );
    let model = Model {
        services: vec![translated.clone(), wide],
        tunnel: Tunnel::default().with_gue_port(6081).unwrap(),
    };
    let told = serde_json::to_string(&model).unwrap();
    assert_eq!(serde_json::from_str::<Model>(&told).unwrap(), model);
    let shares = Shares::from([(translated.vip, translated.reduced.clone())]);
    let text = serde_json::to_string(&shares).unwrap();
    assert_eq!(serde_json::from_str::<Shares>(&text).unwrap(), shares);

    for (from, to) in [
        ("203.0.113.10:80/tcp", "203.0.113.10/33:80/tcp"),
        ("198.51.100.0/28", "198.51.100.1/28"),
        ("\"10.0.0.2\":[1,true]", "\"10.0.0.2\":[200,true]"),
        ("100::/64", "100::/97"),
        ("6081", "0"),
    ] {
        let false_word = told.replace(from, to);
        assert_ne!(false_word, told, "{from}: {told}");
        let heard = serde_json::from_str::<Model>(&false_word);
        assert!(heard.is_err(), "{to}: {heard:?}");
    }
    // What no type can say is said before anything is written.
    let loopback: Model = serde_json::from_str(&told.replace("10.0.0.1", "127.0.0.1")).unwrap();
    assert!(loopback.check().is_err());
}
