//! What a service of `datapath:` says of `deliver: nat`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use tollgate_datapath::model::{Backend, Nat, Snat, Timeouts};
use tollgate_datapath::prefix::Prefix;

use super::context::{Context, items, set};
use crate::config::raw::RawService;

/// Reports what is there for `nat` alone, in a service that is delivered otherwise.
pub(super) fn refuse(cx: &mut Context<'_>, raw: &RawService) {
    let mut places = vec![
        ("snat", set(raw.snat.as_ref()).map(|(at, _)| at)),
        ("nat", set(raw.nat.as_ref()).map(|(at, _)| at)),
    ];
    for (_, backend) in items(raw.backends.as_ref()) {
        places.push(("port", set(backend.port.as_ref()).map(|(at, _)| at)));
    }
    for (key, at) in places {
        if let Some(at) = at {
            cx.report(
                at,
                format!("`{key}` is for `deliver: nat` alone; otherwise packets reach backends as clients sent them"),
            );
        }
    }
}

/// What is wrong with it is left as it is by default.
pub(super) fn lower(cx: &mut Context<'_>, raw: &RawService, backends: Vec<Backend>) -> Nat {
    let ports: BTreeMap<IpAddr, u16> = items(raw.backends.as_ref())
        .filter_map(|(_, backend)| {
            let (_, address) = set(backend.address.as_ref())?;
            let (_, port) = set(backend.port.as_ref())?;
            Some((address.parse().ok()?, *port))
        })
        .collect();
    Nat {
        backends,
        ports,
        snat: snat(cx, raw),
        timeouts: timeouts(cx, raw),
    }
}

fn snat(cx: &mut Context<'_>, raw: &RawService) -> Option<Snat> {
    let (at, text) = set(raw.snat.as_ref())?;
    if text == "own" {
        return Some(Snat::Own);
    }
    match text.parse::<Prefix>() {
        Ok(from) => Some(Snat::From(from)),
        Err(error) => {
            cx.report(
                at,
                format!("`snat`: {error}; write an address, a prefix, or `own` for the host's"),
            );
            None
        }
    }
}

fn timeouts(cx: &mut Context<'_>, raw: &RawService) -> Timeouts {
    let mut all = Timeouts::default();
    let Some((_, raw)) = set(raw.nat.as_ref()) else {
        return all;
    };
    let said = [
        &raw.tcp_established,
        &raw.tcp_transitory,
        &raw.tcp_closed,
        &raw.udp,
        &raw.udp_stream,
    ];
    for (one, text) in Timeouts::ALL.into_iter().zip(said) {
        let place = (one.of)(&mut all);
        *place = cx.duration(one.name, text.as_ref(), *place, one.bounds);
    }
    all
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use tollgate_datapath::model::Deliver;

    use super::*;

    /// What a service says that has this address and these lines.
    fn with(vip: &str, lines: &str) -> Result<Deliver, String> {
        let source = format!(
            "version: 1
datapath:
  interfaces: [eth0]
  services:
    - name: a
      vip: '{vip}'
{lines}"
        );
        match crate::config::parse(Path::new("t.yaml"), &source, crate::app::CHECKS) {
            Ok(config) => Ok(config.datapath.unwrap().model.services.remove(0).deliver),
            Err(mistakes) => Err(mistakes.to_string()),
        }
    }

    #[test]
    fn services_are_translated_as_they_say() {
        let nat = |lines| match with("203.0.113.1:80/tcp", lines) {
            Ok(Deliver::Nat(nat)) => nat,
            other => panic!("{other:?}"),
        };
        let plain = nat("      deliver: nat\n      backends: [{ address: 10.0.0.1 }]\n");
        assert_eq!((plain.snat, plain.timeouts), (None, Timeouts::default()));
        assert_eq!(plain.port(80, plain.backends[0].address), 80);
        let all = nat("      deliver: nat
      snat: own
      nat: { tcp_established: 2h, tcp_transitory: 4m, tcp_closed: 1s, udp: 10s, udp_stream: 5m }
      backends: [{ address: 10.0.0.1, port: 8080 }, { address: 10.0.0.2 }]
");
        let seconds = Duration::from_secs;
        let timeouts = Timeouts {
            tcp_established: seconds(7200),
            tcp_transitory: seconds(240),
            tcp_closed: seconds(1),
            udp: seconds(10),
            udp_stream: seconds(300),
        };
        assert_eq!((all.snat, all.timeouts), (Some(Snat::Own), timeouts));
        let ports = [0, 1].map(|n| all.port(80, all.backends[n].address));
        assert_eq!(ports, [8080, 80]);
        let from = nat("      deliver: nat\n      snat: 10.9.0.0/28\n      backends: []\n");
        let prefix = "10.9.0.0/28".parse().unwrap();
        assert_eq!(from.snat, Some(Snat::From(prefix)));
    }

    #[test]
    fn what_cannot_be_translated_is_a_mistake_with_its_cure() {
        for (vip, lines, told) in [
            (
                "203.0.113.1:80/tcp",
                "      deliver: nat\n      backends: [{ address: 'fd00::1' }]\n",
                "the VIP 203.0.113.1:80/tcp and the backend fd00::1 are of different IP versions; `nat`",
            ),
            (
                "203.0.113.1:80/tcp",
                "      deliver: nat\n      backends: [{ address: 10.0.0.1, port: 0 }]\n",
                "`port: 0` of the backend 10.0.0.1 is no port",
            ),
            (
                "203.0.113.1:80/tcp",
                "      deliver: nat\n      snat: 'fd00::1'\n      backends: []\n",
                "`snat: fd00::1` are of different IP versions",
            ),
            (
                "203.0.113.1:80/tcp",
                "      deliver: nat\n      snat: true-ish\n      backends: []\n",
                "write an address, a prefix, or `own`",
            ),
            (
                "203.0.113.1:80/tcp",
                "      deliver: nat\n      snat: 10.0.0.0/15\n      backends: []\n",
                "names more than 65536 addresses; write a prefix of at least 16 bits",
            ),
            (
                "203.0.113.1:80/tcp",
                "      deliver: nat\n      snat: 127.0.0.1\n      backends: []\n",
                "nothing can come from 127.0.0.1",
            ),
            (
                "203.0.113.1:80/tcp",
                "      deliver: nat\n      snat: 203.0.113.0/24\n      backends: []\n",
                "`snat: 203.0.113.0/24` and the VIP 203.0.113.1:80/tcp share addresses",
            ),
            (
                "203.0.113.1:80/tcp",
                "      deliver: nat\n      nat: { tcp_established: 1s }\n      backends: []\n",
                "`tcp_established: 1s` is out of range; allowed are 1m to 7days",
            ),
            (
                "203.0.113.1:80/tcp",
                "      deliver: l2\n      snat: own\n      backends: []\n",
                "`snat` is for `deliver: nat` alone",
            ),
            (
                "203.0.113.1:80/tcp",
                "      deliver: ipip\n      nat: {}\n      backends: [{ address: 10.0.0.1, port: 1 }]\n",
                "`port` is for `deliver: nat` alone",
            ),
        ] {
            let error = with(vip, lines).unwrap_err();
            assert!(error.contains(told), "{told} is not in:\n{error}");
        }
    }

    /// Whoever answers to sources that are another service's address is taken for one of its clients.
    #[test]
    fn sources_are_of_no_services_address() {
        let other = "    - { name: b, vip: '203.0.113.128/25:*/udp', deliver: l2, backends: [] }\n";
        let nat = |snat: &str| {
            let lines =
                format!("      deliver: nat\n      snat: {snat}\n      backends: []\n{other}");
            with("203.0.113.1:80/tcp", &lines)
        };
        assert!(nat("203.0.113.2").is_ok());
        for snat in ["203.0.113.200", "203.0.113.128/30"] {
            let error = nat(snat).unwrap_err();
            let told = format!("`snat: {snat}` and the VIP 203.0.113.128/25:*/udp share addresses");
            assert!(error.contains(&told), "{error}");
        }
    }
}
