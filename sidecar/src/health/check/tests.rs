use std::time::Duration;

use super::super::group::{Address, Kind, Member, Name};
use super::super::settings::{Http, Panic, Rules};
use super::*;

/// A group of so many members, checked over HTTPS.
fn group(name: &str, trust: Trust, members: u8) -> Group {
    let member = |last| {
        let ip = IpAddr::from([10, 0, 0, last]);
        Member {
            address: Address { ip, port: None },
            counts: true,
            target: Target {
                ip,
                port: 443,
                way: None,
            },
            adopted: None,
        }
    };
    Group {
        name: Name {
            kind: Kind::Service,
            name: name.into(),
        },
        settings: Settings {
            probe: Probe::Http(Http {
                port: None,
                path: "/healthz".to_owned(),
                host: None,
                expect: vec![(200, 299)],
                tls: Some(Tls { name: None, trust }),
            }),
            via: Via::Direct,
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(1),
            rules: Rules {
                unhealthy: 3,
                healthy: 2,
            },
            slow_start: Duration::ZERO,
            panic: Panic::Never,
        },
        members: (1..=members).map(member).collect(),
    }
}

/// The system's authorities are files, some hundred; a reload with a thousand members must not read them a thousand times.
#[test]
fn roots_are_read_once_for_all_who_trust_them() {
    let groups = [
        group("first", Trust::System, 100),
        group("second", Trust::System, 100),
        group("third", Trust::Nobody, 100),
    ];
    let secured = Secured::of(&groups);
    assert_eq!(secured.0.len(), 2, "one for each whom they trust");
    let of = |group: &Group| -> Vec<Secure> {
        let checks = group.members.iter().map(|member| {
            let check = Check::new(&group.settings, &member.target, &secured).unwrap();
            let (secure, name) = check.secure.unwrap();
            assert_eq!(name, member.address.ip.to_string());
            secure
        });
        checks.collect()
    };
    let [first, second, third] = groups.each_ref().map(of);
    assert!(first.iter().chain(&second).all(|one| one.is(&first[0])));
    assert!(third.iter().all(|one| one.is(&third[0])));
    assert!(!third[0].is(&first[0]));
}

#[test]
fn trust_that_cannot_be_used_is_told_of_each_check() {
    let broken = group(
        "broken",
        Trust::Authorities(b"-----BEGIN CERTIFICATE-----\n".to_vec()),
        2,
    );
    let secured = Secured::of(std::slice::from_ref(&broken));
    for member in &broken.members {
        let check = Check::new(&broken.settings, &member.target, &secured);
        assert!(check.is_err_and(|why| !why.is_empty()));
    }
}
