//! What else the host has that takes services' packets before their listeners do: IPVS, rules, connection tracking.

use std::{fs, net::IpAddr};

use super::{
    finding::{Findings, Level},
    programs,
    rules::{self, Hit, Packet, Rules, What},
    settings::sysctl,
};
use crate::{
    config::Config,
    model::{Deliver, Model, Service},
    netlink::Device,
};

/// Looks for all of it.
pub(super) fn look(found: &mut Findings, config: &Config, model: &Model, devices: &[Device]) {
    balancers(found, model);
    let is_steered = |one: &&Service| matches!(one.deliver, Deliver::Listener(_));
    let steered: Vec<&Service> = model.services.iter().filter(is_steered).collect();
    if !steered.is_empty() {
        older_rules(found);
        tracking(found);
        rules(found, config, devices, &steered);
    }
}

/// Others that may take the services' packets before the listeners do.
fn balancers(found: &mut Findings, model: &Model) {
    let table = fs::read_to_string("/proc/thread-self/net/ip_vs").unwrap_or_default();
    for vip in ipvs(&table) {
        let mut services = model.services.iter();
        let mine = services
            .find(|one| one.vip.covers(vip.0) && (one.vip.port == 0 || one.vip.port == vip.1));
        if let Some(service) = mine {
            found.error(
                "ipvs",
                &service.name,
                format!(
                    "IPVS (kube-proxy?) has {}:{} too, and may take what is passed to the host",
                    vip.0, vip.1
                ),
                "remove it there, `ipvsadm -Ln` lists it, or give the service another address",
            );
        }
    }
}

/// Rules of the older iptables, which nothing but its own programs can read.
fn older_rules(found: &mut Findings) {
    for family in ["ip", "ip6"] {
        let tables = fs::read_to_string(format!("/proc/thread-self/net/{family}_tables_names"));
        let tables = tables.unwrap_or_default();
        let (nat, others) = older(&tables);
        if nat {
            found.warning(
                "nat_rules",
                &format!("{family}tables"),
                "there is a nat table of the older iptables: a rule for a service's address would send its connections elsewhere before a socket is looked for".to_owned(),
                &format!("look for the addresses in `{family}tables-legacy-save -t nat`; this check does not read these rules"),
            );
        }
        if !others.is_empty() {
            found.warning(
                "not_looked_at",
                &format!("{family}tables"),
                format!(
                    "the older iptables has tables {}: {UNKNOWN}",
                    others.join(", ")
                ),
                &format!("look for the addresses in `{family}tables-legacy-save`"),
            );
        }
    }
}

/// Of the tables that are there: whether one translates, and those that may drop.
fn older(tables: &str) -> (bool, Vec<&str>) {
    let others = tables.lines().filter(|one| *one != "nat");
    (tables.lines().any(|one| one == "nat"), others.collect())
}

fn tracking(found: &mut Findings) {
    if let Some(most) = sysctl("netfilter/nf_conntrack_max") {
        found.warning(
            "conntrack",
            "net.netfilter.nf_conntrack_max",
            format!("connections are tracked, {most} at most: each steered one takes an entry, and beyond that SYNs are dropped"),
            "leave the services' addresses out in the raw table (`-j CT --notrack`), or raise it",
        );
    }
}

/// Rules of nftables, those that iptables makes of it among them, that take packets before the listeners do.
fn rules(found: &mut Findings, config: &Config, devices: &[Device], steered: &[&Service]) {
    let printed = programs::printed("nft", &["-j", "list", "ruleset"]);
    let value = printed.and_then(|text| {
        serde_json::from_str(&text).map_err(|error| format!("prints no JSON ({error})"))
    });
    let value: serde_json::Value = match value {
        Ok(value) => value,
        Err(why) => return found.not_looked_at("nft", &format!("{why}: {UNKNOWN}")),
    };
    let (rules, mut steps) = (Rules::of(&value), rules::STEPS);
    for interface in &config.interfaces {
        let others = others(interface, devices);
        for service in steered {
            let packet = Packet {
                interface,
                others: &others,
                vip: service.vip,
            };
            match rules.meet(&packet, &mut steps) {
                Ok(hits) => hits
                    .iter()
                    .for_each(|hit| tell(found, service, interface, hit)),
                Err(rules::TooMany) => {
                    return found.not_looked_at(
                        "nft",
                        &format!("lists more rules than are looked at: {UNKNOWN}"),
                    );
                }
            }
        }
    }
}

/// As what packets of an interface may come to rules: as those of the bridge, bond or VRF that it is a part of, or of a VLAN on it.
fn others<'a>(interface: &str, devices: &'a [Device]) -> Vec<&'a str> {
    let Some(one) = devices.iter().find(|device| device.name == interface) else {
        return Vec::new();
    };
    let is_other = |device: &&Device| {
        one.controller == Some(device.index)
            || device
                .vlan
                .as_ref()
                .is_some_and(|(below, _)| *below == one.index)
    };
    let others = devices.iter().filter(is_other);
    others.map(|device| device.name.as_str()).collect()
}

fn tell(found: &mut Findings, service: &Service, interface: &str, hit: &Hit) {
    let by = match &hit.rule {
        Some((chain, handle)) => format!("rule {handle} of chain `{chain}`"),
        None => "the policy".to_owned(),
    };
    let (vip, chain) = (service.vip, &hit.chain);
    let (kind, value) = match hit.what {
        What::Dropped => (
            "rules_drop",
            format!(
                "what comes in at {interface} for {vip} is dropped by {by}, in nftables' `{chain}`"
            ),
        ),
        What::Elsewhere => (
            "rules_elsewhere",
            format!(
                "{} at {interface} for {vip} is sent elsewhere by {by}, in nftables' `{chain}`, before a socket is looked for",
                if hit.certain {
                    "what comes in"
                } else {
                    "some of what comes in"
                },
            ),
        ),
    };
    let level = if hit.certain {
        Level::Error
    } else {
        Level::Warning
    };
    found.add(
        level,
        kind,
        &service.name,
        value,
        "`nft -a list ruleset` shows it with its number: let it leave the service's address out, or accept it first",
    );
}

const UNKNOWN: &str = "whether rules drop or translate what is for listeners is not known";

/// Addresses and ports of IPVS services, as /proc/net/ip_vs lists them.
fn ipvs(table: &str) -> Vec<(IpAddr, u16)> {
    let service = |line: &str| {
        let mut words = line.split_whitespace();
        let ("TCP" | "UDP") = words.next()? else {
            return None;
        };
        let (address, port) = words.next()?.rsplit_once(':')?;
        let port = u16::from_str_radix(port, 16).ok()?;
        let inside = address
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'));
        let ip = match inside {
            Some(v6) => v6.parse().ok()?,
            None => std::net::Ipv4Addr::from_bits(u32::from_str_radix(address, 16).ok()?).into(),
        };
        Some((ip, port))
    };
    table.lines().filter_map(service).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_of_ipvs_are_read() {
        let table = "IP Virtual Server version 1.2.1 (size=4096)\n\
                     Prot LocalAddress:Port Scheduler Flags\n  \
                     -> RemoteAddress:Port Forward Weight ActiveConn InActConn\n\
                     TCP  CB00710A:01BB rr\n  \
                     -> 0A000015:01BB      Masq    1      0          0\n\
                     UDP  [2001:0db8:0000:0000:0000:0000:0000:0010]:0035 rr\n\
                     FWM  00000001 rr\n";
        let [one, other] = ipvs(table)[..] else {
            panic!("two services")
        };
        assert_eq!(one, ("203.0.113.10".parse().unwrap(), 443));
        assert_eq!(other, ("2001:db8::10".parse().unwrap(), 53));
    }

    #[test]
    fn tables_of_the_older_iptables_are_told_apart() {
        assert_eq!(older(""), (false, vec![]));
        assert_eq!(older("nat\nfilter\nraw\n"), (true, vec!["filter", "raw"]));
    }
}
