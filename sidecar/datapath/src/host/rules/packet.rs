//! What is known of a connection's first packet, and whether an expression of a rule holds for it.

use std::net::IpAddr;

use serde_json::Value;

use crate::model::{Proto, Vip};

/// The first packet of a connection to a service.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Packet<'a> {
    /// Where it comes in.
    pub(in super::super) interface: &'a str,
    /// As what it may come in as well: what the interface is a part of, and VLANs on it.
    pub(in super::super) others: &'a [&'a str],
    /// The service: of a prefix, or of any port, some packet.
    pub(in super::super) vip: Vip,
}

/// Whether something holds for the packets of all clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Truth {
    No,
    /// Of some, or that is not known.
    Some,
    Yes,
}

impl Truth {
    pub(super) const fn not(self) -> Self {
        match self {
            Self::No => Self::Yes,
            Self::Some => Self::Some,
            Self::Yes => Self::No,
        }
    }

    pub(super) const fn or(self, other: Self) -> Self {
        self.not().and(other.not()).not()
    }

    const fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::No, _) | (_, Self::No) => Self::No,
            (Self::Yes, Self::Yes) => Self::Yes,
            _ => Self::Some,
        }
    }

    const fn of(holds: bool) -> Self {
        if holds { Self::Yes } else { Self::No }
    }
}

/// What an expression reads of the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field<'a> {
    Address(Vip),
    /// 0: any.
    Port(u16),
    Word(&'a str),
    Proto(Proto),
    /// One of these.
    Interface(&'a str, &'a [&'a str]),
    /// That of connection tracking.
    State,
    /// It is in no such packet: the rule is about others.
    OfAnother,
    Unknown,
}

impl Field<'_> {
    pub(super) fn is_of_another(&self) -> bool {
        *self == Self::OfAnother
    }
}

/// Whether address or port are asked for.
pub(super) fn is_destination(fields: &[Field<'_>]) -> bool {
    let mut fields = fields.iter();
    fields.any(|field| matches!(field, Field::Address(_) | Field::Port(_)))
}

impl<'a> Packet<'a> {
    /// Whether chains of a family see it.
    pub(super) fn is_of(&self, family: &str) -> bool {
        match family {
            "ip" => self.vip.ip.is_ipv4(),
            "ip6" => self.vip.ip.is_ipv6(),
            "inet" | "netdev" => true,
            _ => false,
        }
    }

    /// What the left side of a match, or the key of a map, reads.
    pub(super) fn fields(&self, left: &Value) -> Vec<Field<'a>> {
        match left["concat"].as_array() {
            Some(parts) => parts.iter().map(|part| self.field(part)).collect(),
            None => vec![self.field(left)],
        }
    }

    fn field(&self, left: &Value) -> Field<'a> {
        let text = |object: &'_ Value, key: &str| -> String {
            object[key].as_str().unwrap_or_default().to_owned()
        };
        let (payload, meta) = (&left["payload"], &left["meta"]);
        if payload.is_object() {
            return self.payload(&text(payload, "protocol"), &text(payload, "field"));
        }
        if meta.is_object() {
            return match text(meta, "key").as_str() {
                "iif" | "iifname" => Field::Interface(self.interface, self.others),
                "l4proto" => Field::Proto(self.vip.proto),
                "nfproto" if self.vip.ip.is_ipv4() => Field::Word("ipv4"),
                "nfproto" => Field::Word("ipv6"),
                "protocol" if self.vip.ip.is_ipv4() => Field::Word("ip"),
                "protocol" => Field::Word("ip6"),
                _ => Field::Unknown,
            };
        }
        if text(&left["ct"], "key") == "state" {
            return Field::State;
        }
        // A steered service's addresses are routed to this host.
        let flags = left["fib"]["flags"].as_array();
        let is_about_it = flags.is_some_and(|flags| flags.iter().any(|flag| flag == "daddr"));
        if is_about_it && text(&left["fib"], "result") == "type" {
            return Field::Word("local");
        }
        Field::Unknown
    }

    fn payload(&self, protocol: &str, field: &str) -> Field<'a> {
        let is_v4 = self.vip.ip.is_ipv4();
        let is_its = match protocol {
            "ip" => is_v4,
            "ip6" => !is_v4,
            "tcp" => self.vip.proto == Proto::Tcp,
            "udp" => self.vip.proto == Proto::Udp,
            "th" | "ether" | "vlan" => true,
            _ => false,
        };
        match (protocol, field) {
            _ if !is_its => Field::OfAnother,
            ("ip" | "ip6", "daddr") => Field::Address(self.vip),
            ("ip", "protocol") | ("ip6", "nexthdr") => Field::Proto(self.vip.proto),
            ("tcp" | "udp" | "th", "dport") => Field::Port(self.vip.port),
            _ => Field::Unknown,
        }
    }
}

/// Whether what was read is what the right side says, or stands in its set.
pub(super) fn holds<'s>(
    fields: &[Field<'_>],
    right: &Value,
    sets: &dyn Fn(&str) -> Option<&'s [Value]>,
) -> Truth {
    let any = |all: &[Value]| {
        let mut truth = Truth::No;
        for one in all {
            match holds(fields, one, sets) {
                Truth::Yes => return Truth::Yes,
                Truth::Some => truth = Truth::Some,
                Truth::No => {}
            }
        }
        truth
    };
    if let Some(name) = right.as_str().and_then(|text| text.strip_prefix('@')) {
        return sets(name).map_or(Truth::Some, any);
    }
    if right == "*" {
        return Truth::Yes;
    }
    if let Some(all) = right.as_array().or_else(|| right["set"].as_array()) {
        return any(all);
    }
    let element = &right["elem"]["val"];
    if !element.is_null() {
        return holds(fields, element, sets);
    }
    match (fields, right["concat"].as_array()) {
        ([field], None) => is(*field, right),
        (fields, Some(parts)) if fields.len() == parts.len() => fields
            .iter()
            .zip(parts)
            .fold(Truth::Yes, |truth, (field, part)| {
                truth.and(is(*field, part))
            }),
        _ => Truth::Some,
    }
}

/// Whether one value is the one that is written.
fn is(field: Field<'_>, written: &Value) -> Truth {
    let text = written.as_str();
    match field {
        Field::OfAnother => Truth::No,
        Field::Unknown => Truth::Some,
        _ if written == "*" => Truth::Yes,
        Field::Address(vip) => address(vip, written),
        Field::Port(port) => {
            let number = |value: &Value| value.as_u64();
            let range = written["range"].as_array().map(Vec::as_slice);
            let (first, last) = match range {
                Some([first, last]) => (number(first), number(last)),
                _ => (number(written), number(written)),
            };
            match (first, last) {
                (Some(first), Some(last)) if port != 0 => {
                    Truth::of((first..=last).contains(&u64::from(port)))
                }
                _ => Truth::Some,
            }
        }
        Field::Word(word) => text.map_or(Truth::Some, |text| Truth::of(text == word)),
        Field::Proto(proto) => {
            let (name, number) = match proto {
                Proto::Tcp => ("tcp", 6),
                Proto::Udp => ("udp", 17),
            };
            match (text, written.as_u64()) {
                (Some(text), _) => Truth::of(text == name),
                (_, Some(written)) => Truth::of(written == number),
                _ => Truth::Some,
            }
        }
        Field::Interface(name, others) => text.map_or(Truth::Some, |text| {
            let is = |name: &str| match text.strip_suffix('*') {
                Some(begin) => name.starts_with(begin),
                None => name == text,
            };
            let known = others.iter().filter(|other| is(other)).count();
            match (is(name), known) {
                (false, 0) => Truth::No,
                (true, known) if known == others.len() => Truth::Yes,
                _ => Truth::Some,
            }
        }),
        Field::State => match text {
            Some("new") => Truth::Yes,
            Some("established" | "related" | "invalid") => Truth::No,
            _ => Truth::Some,
        },
    }
}

fn address(vip: Vip, written: &Value) -> Truth {
    let ip = |value: &Value| value.as_str()?.parse::<IpAddr>().ok();
    let (prefix, range) = (&written["prefix"], written["range"].as_array());
    if let (Some(ip), Some(bits)) = (ip(&prefix["addr"]), prefix["len"].as_u64()) {
        let Ok(bits) = u8::try_from(bits) else {
            return Truth::Some;
        };
        let network = Vip { ip, bits, ..vip };
        return if network.bits <= vip.bits && network.covers(vip.ip) {
            Truth::Yes
        } else if vip.covers(ip) {
            Truth::Some
        } else {
            Truth::No
        };
    }
    if let Some([first, last]) = range.map(Vec::as_slice) {
        let (Some(first), Some(last)) = (ip(first), ip(last)) else {
            return Truth::Some;
        };
        // Of a prefix only its first address is looked up.
        let is_in = first.is_ipv4() == vip.ip.is_ipv4() && first <= vip.ip && vip.ip <= last;
        return match (is_in, vip.is_one()) {
            (_, true) => Truth::of(is_in),
            _ => Truth::Some,
        };
    }
    match ip(written) {
        Some(ip) if vip.is_one() => Truth::of(ip == vip.ip),
        Some(ip) if !vip.covers(ip) => Truth::No,
        _ => Truth::Some,
    }
}
