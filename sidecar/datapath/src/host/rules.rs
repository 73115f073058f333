//! What the rules of nftables do to the connections of a service before a socket is looked for: the rules of `nft -j list
//! ruleset`(libnftables-json(5)) are walked as a first packet from some client would walk them.
//!
//! Of that packet are known: where it comes in, its destination, its protocol. What asks for more (the client's address, marks,
//! limits) holds for some and not for others. So what is told as certain holds for each client; what drops some of them is what rules are
//! for, and not told.

use std::collections::HashMap;

use serde_json::Value;

use self::packet::Truth;

mod packet;

pub(super) use self::packet::Packet;

/// What rules do to a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hit {
    /// What.
    pub(super) what: What,
    /// Whether to that of every client.
    pub(super) certain: bool,
    /// The base chain that packets go through, as `nft list chain` takes it.
    pub(super) chain: String,
    /// The rule's chain and handle; `None`: the policy of the base chain.
    pub(super) rule: Option<(String, u64)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// Dropped or refused.
    Dropped,
    /// Sent to another address or port, or given to another socket.
    Elsewhere,
}

/// Rules were too many, or went in circles.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooMany;

/// All rules of a network namespace.
#[derive(Debug, Default)]
pub(super) struct Rules<'a> {
    chains: HashMap<Name<'a>, Chain<'a>>,
    /// Those that the kernel calls, in the order of the text.
    bases: Vec<Name<'a>>,
    /// Elements of sets and maps.
    sets: HashMap<Name<'a>, &'a [Value]>,
}

/// Family, table, and a name in it.
type Name<'a> = (&'a str, &'a str, &'a str);

#[derive(Debug, Default)]
struct Chain<'a> {
    is_nat: bool,
    drops: bool,
    /// Of a chain for devices, these; `None`: they are not told.
    devices: Option<Vec<&'a str>>,
    rules: Vec<(u64, &'a [Value])>,
}

/// Hooks that a packet passes before a socket is looked for.
const HOOKS: [&str; 3] = ["ingress", "prerouting", "input"];
/// Deeper the kernel does not jump (NFT_JUMP_STACK_SIZE).
const DEPTH: u8 = 16;
/// Rules and elements that are looked at for all packets together: some seconds.
pub(super) const STEPS: u64 = 20_000_000;

impl<'a> Rules<'a> {
    /// Of what nft prints.
    pub(super) fn of(printed: &'a Value) -> Self {
        let mut rules = Self::default();
        let all = printed["nftables"].as_array();
        for (kind, one) in all.into_iter().flatten().filter_map(only) {
            let text = |key: &str| one[key].as_str().unwrap_or_default();
            let name = |key| (text("family"), text("table"), text(key));
            match kind {
                "chain" => {
                    let chain = rules.chains.entry(name("name")).or_default();
                    chain.is_nat = text("type") == "nat";
                    chain.drops = text("policy") == "drop";
                    chain.devices = match &one["dev"] {
                        Value::String(one) => Some(vec![one]),
                        Value::Array(all) => Some(all.iter().filter_map(Value::as_str).collect()),
                        _ => None,
                    };
                    if HOOKS.contains(&text("hook")) {
                        rules.bases.push(name("name"));
                    }
                }
                "rule" => {
                    let handle = one["handle"].as_u64().unwrap_or_default();
                    let statements = one["expr"].as_array().map(Vec::as_slice);
                    let chain = rules.chains.entry(name("chain")).or_default();
                    chain.rules.push((handle, statements.unwrap_or_default()));
                }
                "set" | "map" => {
                    let elements = one["elem"].as_array().map(Vec::as_slice);
                    rules
                        .sets
                        .insert(name("name"), elements.unwrap_or_default());
                }
                _ => {}
            }
        }
        rules
    }

    /// What becomes of a packet: of each kind the first, a certain one before others. `steps` are those that are left.
    pub(super) fn meet(&self, packet: &Packet<'_>, steps: &mut u64) -> Result<Vec<Hit>, TooMany> {
        let mut all: Vec<Hit> = Vec::new();
        for base in &self.bases {
            let chain = self.chains.get(base).ok_or(TooMany)?;
            if !packet.is_of(base.0) {
                continue;
            }
            let devices = chain.devices.as_ref();
            if devices.is_some_and(|names| !names.contains(&packet.interface)) {
                continue;
            }
            let mut walk = Walk {
                rules: self,
                packet,
                base,
                is_nat: chain.is_nat,
                some_left: false,
                hits: Vec::new(),
                steps,
            };
            let path = Path {
                certain: base.0 != "netdev" || devices.is_some(),
                named: false,
            };
            if walk.chain(base, path, 0)? != Then::End && chain.drops && path.certain {
                walk.dropped(None);
            }
            all.append(&mut walk.hits);
        }
        let mut told: Vec<Hit> = Vec::new();
        all.sort_by_key(|hit| !hit.certain);
        for hit in all {
            if told.iter().all(|one| one.what != hit.what) {
                told.push(hit);
            }
        }
        Ok(told)
    }

    /// What a map holds, named or written where it is used.
    fn elements<'r>(&'r self, name: &Name<'_>, data: &'r Value) -> Option<&'r [Value]> {
        match data.as_str().and_then(|text| text.strip_prefix('@')) {
            Some(map) => self.sets.get(&(name.0, name.1, map)).copied(),
            None => data["set"].as_array().map(Vec::as_slice),
        }
    }
}

/// How a packet comes to a place.
#[derive(Clone, Copy)]
struct Path {
    /// Each client's does.
    certain: bool,
    /// It was asked for its address or port on the way.
    named: bool,
}

/// What those that came to a chain or rule do behind it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    /// All of them, or some.
    GoOn,
    /// All go back to the chain that jumped here.
    Return,
    /// None comes further in the base chain.
    End,
}

/// A packet's way through one base chain.
struct Walk<'a> {
    rules: &'a Rules<'a>,
    packet: &'a Packet<'a>,
    base: &'a Name<'a>,
    is_nat: bool,
    /// Packets of some clients may have left it: what comes is not for all.
    some_left: bool,
    hits: Vec<Hit>,
    steps: &'a mut u64,
}

/// A rule, and how far a packet came in it.
struct At<'a> {
    /// The chain.
    name: &'a Name<'a>,
    depth: u8,
    handle: u64,
    path: Path,
    /// All that come to the rule come here.
    all: bool,
}

impl At<'_> {
    const fn certain(&self) -> bool {
        self.path.certain && self.all
    }

    const fn then(&self, then: Then) -> Then {
        if self.all { then } else { Then::GoOn }
    }

    fn place(&self) -> Option<(String, u64)> {
        Some((self.name.2.to_owned(), self.handle))
    }
}

impl Walk<'_> {
    fn chain(&mut self, name: &Name<'_>, path: Path, depth: u8) -> Result<Then, TooMany> {
        if depth > DEPTH {
            return Err(TooMany);
        }
        let (rules, mut path, mut some_returned) = (self.rules, path, false);
        let chain = rules.chains.get(name);
        for (handle, statements) in chain.into_iter().flat_map(|chain| &chain.rules) {
            let mut at = At {
                name,
                depth,
                handle: *handle,
                path,
                all: true,
            };
            match self.rule(&mut at, statements)? {
                (Then::GoOn, false) => {}
                // The rest of the chain is for those that stay.
                (Then::GoOn, true) => {
                    some_returned = true;
                    path.certain = false;
                }
                (Then::End, _) if some_returned => return Ok(Then::GoOn),
                (then, _) => return Ok(then),
            }
        }
        Ok(Then::GoOn)
    }

    /// What those do that came to the rule, and whether some of them return from its chain.
    fn rule(&mut self, at: &mut At<'_>, statements: &[Value]) -> Result<(Then, bool), TooMany> {
        self.count(1)?;
        for (number, statement) in statements.iter().enumerate() {
            let Some((kind, value)) = only(statement) else {
                at.all = false;
                continue;
            };
            let is_last = number + 1 == statements.len();
            match kind {
                "match" => match self.matches(at, value)? {
                    Truth::No => return Ok((Then::GoOn, false)),
                    Truth::Some => at.all = false,
                    Truth::Yes => {}
                },
                "vmap" => return self.verdict_map(at, value),
                "accept" | "drop" | "return" | "jump" | "goto" | "reject" | "queue" => {
                    return self.verdict(at, kind, value);
                }
                "dnat" | "redirect" | "tproxy" | "fwd" => return self.elsewhere(at, value),
                "xt" => match value["name"].as_str() {
                    Some("comment") => {}
                    Some("DNAT" | "REDIRECT" | "TPROXY") => return self.elsewhere(at, value),
                    Some("DROP" | "REJECT") => return self.verdict(at, "drop", value),
                    // Older nft does not say what it is.
                    None if is_last && self.is_nat => {
                        at.all = false;
                        return self.elsewhere(at, value);
                    }
                    _ => at.all = false,
                },
                // What only looks, notes or marks.
                "counter" | "log" | "mangle" | "notrack" | "ct helper" | "ct timeout"
                | "ct expectation" | "last" | "dup" | "comment" => {}
                _ => at.all = false,
            }
        }
        Ok((Then::GoOn, false))
    }

    fn verdict(&mut self, at: &At<'_>, kind: &str, value: &Value) -> Result<(Then, bool), TooMany> {
        let (family, table, _) = *at.name;
        let target = (family, table, value["target"].as_str().unwrap_or_default());
        let inner = Path {
            certain: at.certain(),
            named: at.path.named,
        };
        Ok(match kind {
            "drop" | "reject" => {
                if at.certain() {
                    self.dropped(at.place());
                }
                (at.then(Then::End), false)
            }
            "return" => (at.then(Then::Return), !at.all),
            "jump" => match self.chain(&target, inner, at.depth + 1)? {
                Then::End => (at.then(Then::End), false),
                _ => (Then::GoOn, false),
            },
            // Who comes to its end goes on where this chain was jumped to.
            "goto" => match self.chain(&target, inner, at.depth + 1)? {
                Then::End => (at.then(Then::End), false),
                _ => (at.then(Then::Return), !at.all),
            },
            // Accepted, or somebody else's to decide.
            _ => {
                self.some_left |= !at.certain();
                (at.then(Then::End), false)
            }
        })
    }

    fn verdict_map(&mut self, at: &mut At<'_>, value: &Value) -> Result<(Then, bool), TooMany> {
        let Some(elements) = self.rules.elements(at.name, &value["data"]) else {
            self.some_left = true;
            return Ok((Then::GoOn, true));
        };
        let key = self.packet.fields(&value["key"]);
        self.count(elements.len() as u64)?;
        let (mut some_returned, came) = (false, at.all);
        at.path.named |= packet::is_destination(&key);
        for element in elements {
            let (Some(bound), Some((kind, value))) =
                (element.get(0), element.get(1).and_then(only))
            else {
                continue;
            };
            let truth = packet::holds(&key, bound, &|_| None);
            if truth == Truth::No {
                continue;
            }
            at.all = came && truth == Truth::Yes;
            let (then, some) = self.verdict(at, kind, value)?;
            some_returned |= some;
            if truth == Truth::Yes {
                return Ok((then, some_returned));
            }
        }
        Ok((Then::GoOn, some_returned))
    }

    fn elsewhere(&mut self, at: &mut At<'_>, value: &Value) -> Result<(Then, bool), TooMany> {
        // By a map of addresses: where none stands, the packet stays as it is.
        for part in ["addr", "port"] {
            let map = &value[part]["map"];
            let Some(elements) = self.rules.elements(at.name, &map["data"]) else {
                continue;
            };
            self.count(elements.len() as u64)?;
            let key = self.packet.fields(&map["key"]);
            let bounds = elements.iter().filter_map(|element| element.get(0));
            let truth = bounds.fold(Truth::No, |truth, bound| {
                truth.or(packet::holds(&key, bound, &|_| None))
            });
            match truth {
                Truth::No => return Ok((Then::GoOn, false)),
                Truth::Some => at.all = false,
                Truth::Yes => {}
            }
            at.path.named |= packet::is_destination(&key);
        }
        let certain = at.certain() && !self.some_left;
        // A rule that asks for neither address nor port, but for what is not known, is about something else.
        if certain || at.path.named {
            self.hit(What::Elsewhere, certain, at.place());
        }
        self.some_left |= !at.certain();
        Ok((at.then(Then::End), false))
    }

    fn dropped(&mut self, place: Option<(String, u64)>) {
        if !self.some_left {
            self.hit(What::Dropped, true, place);
        }
    }

    fn hit(&mut self, what: What, certain: bool, rule: Option<(String, u64)>) {
        let (family, table, chain) = self.base;
        self.hits.push(Hit {
            what,
            certain,
            chain: format!("{family} {table} {chain}"),
            rule,
        });
    }

    fn matches(&mut self, at: &mut At<'_>, value: &Value) -> Result<Truth, TooMany> {
        let fields = self.packet.fields(&value["left"]);
        if fields.iter().any(packet::Field::is_of_another) {
            return Ok(Truth::No);
        }
        let (rules, (family, table, _)) = (self.rules, *at.name);
        let elements = |name: &str| rules.sets.get(&(family, table, name)).copied();
        let right = &value["right"];
        let named = right.as_str().and_then(|text| text.strip_prefix('@'));
        self.count(named.and_then(elements).map_or(0, <[Value]>::len) as u64)?;
        let truth = packet::holds(&fields, right, &elements);
        Ok(match value["op"].as_str() {
            Some("==" | "in") | None => {
                at.path.named |= truth != Truth::No && packet::is_destination(&fields);
                truth
            }
            Some("!=") => truth.not(),
            Some(_) => Truth::Some,
        })
    }

    fn count(&mut self, steps: u64) -> Result<(), TooMany> {
        *self.steps = self.steps.checked_sub(steps).ok_or(TooMany)?;
        Ok(())
    }
}

/// The one key of an object, and what stands there.
fn only(value: &Value) -> Option<(&str, &Value)> {
    let (key, value) = value.as_object()?.iter().next()?;
    Some((key, value))
}

#[cfg(test)]
mod tests;
