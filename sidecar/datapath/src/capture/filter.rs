//! Which packets are told of: terms close to tcpdump's, compiled to tests of a packet's words.
//!
//! ```text
//! expression = term { "or" term }
//! term       = factor { ["and"] factor }
//! factor     = "not" factor | "(" expression ")" | primitive
//! ```

use std::{
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use tollgate_common::{
    answer::Answer,
    capture::{TESTS, Test, Tests, flow, word},
    service::{ICMP, ICMPV6, TCP, UDP},
    verdict::{Disposition, Verdict},
};

use crate::{
    model::{Proto, Vip},
    prefix::Prefix,
};

/// What names stand for on this host.
pub trait Names {
    /// The number of a service, and what clients send to.
    fn service(&self, name: &str) -> Option<(u16, Vip)>;
    /// The index of an interface.
    fn interface(&self, name: &str) -> Option<u32>;
}

/// Why a filter is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// A word that begins no term.
    #[error(
        "`{0}` is no term of a filter; there are host, net, port (with src or dst before them), client, vip, backend, service, verdict, interface, tcp, udp, icmp, icmp6, ip, ip6, syn, drop, and, or, not, ( )"
    )]
    Word(String),
    /// A term lacks what it is about.
    #[error("`{0}` wants {1} behind it")]
    Lacks(String, &'static str),
    /// What stands behind a term does not fit.
    #[error("`{term} {value}`: {wanted}")]
    Value {
        /// The term.
        term: String,
        /// What stands there.
        value: String,
        /// What may stand there.
        wanted: String,
    },
    /// A parenthesis.
    #[error("a parenthesis is not closed, or closes nothing")]
    Parenthesis,
    /// Too many tests.
    #[error("the filter takes {0} tests, and {TESTS} are what a packet is put to; leave some out")]
    Long(usize),
}

/// A filter, its names not yet looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter(Node);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Node {
    Always(bool),
    /// The masked word has the value.
    Word(Masked),
    Service(String),
    Interface(String),
    Not(Box<Self>),
    And(Box<Self>, Box<Self>),
    Or(Box<Self>, Box<Self>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Masked {
    word: usize,
    mask: u64,
    value: u64,
}

/// A filter as the programs take it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compiled {
    /// What a packet is put to when it comes in: what is known only later passes.
    pub early: Tests,
    /// The filter.
    pub late: Tests,
}

impl Filter {
    /// A filter that all packets pass.
    pub const ALL: Self = Self(Node::Always(true));

    /// The tests, with names looked up.
    ///
    /// # Errors
    /// A name that is not there, or a filter that is too long.
    pub fn compile(&self, names: &dyn Names) -> Result<Compiled, FilterError> {
        let late = self.0.resolve(names)?;
        Ok(Compiled {
            early: compiled(&late.loose(true).fold())?,
            late: compiled(&late.fold())?,
        })
    }
}

impl FromStr for Filter {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, FilterError> {
        let spaced = text
            .replace('(', " ( ")
            .replace(')', " ) ")
            .replace('!', " ! ");
        let mut words = Words(spaced.split_whitespace().collect(), 0);
        if words.0.is_empty() {
            return Ok(Self::ALL);
        }
        let node = words.expression(0)?;
        match words.next() {
            None => Ok(Self(node)),
            Some(")") => Err(FilterError::Parenthesis),
            Some(word) => Err(FilterError::Word(word.to_owned())),
        }
    }
}

/// How deep parentheses and `not` may stand in each other.
const DEPTH: usize = 32;

struct Words<'a>(Vec<&'a str>, usize);

impl<'a> Words<'a> {
    fn peek(&self) -> Option<&'a str> {
        self.0.get(self.1).copied()
    }

    fn next(&mut self) -> Option<&'a str> {
        let word = self.peek();
        self.1 += 1;
        word
    }

    fn take(&mut self, words: &[&str]) -> bool {
        let is = self.peek().is_some_and(|word| words.contains(&word));
        self.1 += usize::from(is);
        is
    }

    fn expression(&mut self, depth: usize) -> Result<Node, FilterError> {
        let mut node = self.term(depth)?;
        while self.take(&["or", "||"]) {
            node = node.or(self.term(depth)?);
        }
        Ok(node)
    }

    fn term(&mut self, depth: usize) -> Result<Node, FilterError> {
        let mut node = self.factor(depth)?;
        loop {
            let said = self.take(&["and", "&&"]);
            match self.peek() {
                None | Some("or" | "||" | ")") if !said => return Ok(node),
                _ => node = node.and(self.factor(depth)?),
            }
        }
    }

    fn factor(&mut self, depth: usize) -> Result<Node, FilterError> {
        if depth > DEPTH {
            return Err(FilterError::Parenthesis);
        }
        if self.take(&["not", "!"]) {
            return Ok(Node::Not(Box::new(self.factor(depth + 1)?)));
        }
        if self.take(&["("]) {
            let node = self.expression(depth + 1)?;
            return if self.take(&[")"]) {
                Ok(node)
            } else {
                Err(FilterError::Parenthesis)
            };
        }
        self.primitive()
    }

    fn primitive(&mut self) -> Result<Node, FilterError> {
        let lacks = |word: &str| FilterError::Lacks(word.to_owned(), "a term");
        let word = self.next().ok_or_else(|| lacks("the filter"))?;
        let side = match word {
            "src" | "dst" => Some(word),
            _ => None,
        };
        let term = match side {
            // As in tcpdump: `src 192.0.2.1` is `src host 192.0.2.1`.
            Some(side) => match self.peek() {
                Some("host" | "net" | "port") => self.next().unwrap_or_default(),
                Some(_) => "host",
                None => return Err(lacks(side)),
            },
            None => word,
        };
        if let Some(node) = plain(term) {
            return Ok(node);
        }
        let wanted = match term {
            "host" | "client" | "backend" => "an address",
            "net" => "a prefix, such as 192.0.2.0/24",
            "port" => "a number",
            "vip" => "an address, with a port and protocol or without: 203.0.113.20:5432/tcp",
            "service" | "interface" => "a name",
            "verdict" => "one of the verdicts of `tollgate status`",
            _ => return Err(FilterError::Word(term.to_owned())),
        };
        let value = self
            .next()
            .ok_or_else(|| FilterError::Lacks(term.to_owned(), wanted))?;
        about(term, side, value).ok_or_else(|| FilterError::Value {
            term: term.to_owned(),
            value: value.to_owned(),
            wanted: match term {
                "verdict" => {
                    let all = Verdict::ALL.map(Verdict::label);
                    format!("it is one of {}", all.join(", "))
                }
                _ => format!("{wanted} is wanted"),
            },
        })
    }
}

/// A term that stands by itself.
fn plain(term: &str) -> Option<Node> {
    let line = |first: u32, bits: u64, value: u64| Masked {
        word: word::FLOW,
        mask: bits << first,
        value: value << first,
    };
    let own = |proto: u8| line(flow::OWN, 0xff, proto.into());
    Some(Node::Word(match term {
        "tcp" => own(TCP),
        "udp" => own(UDP),
        "icmp" => own(ICMP),
        "icmp6" => own(ICMPV6),
        "ip" => line(flow::VERSION, 0xff, 4),
        "ip6" => line(flow::VERSION, 0xff, 6),
        // SYN without ACK.
        "syn" => line(flow::FLAGS, 0x12, 0x02),
        "drop" => Masked {
            word: word::ANSWER,
            mask: 0xf,
            value: Disposition::Drop as u64,
        },
        _ => return None,
    }))
}

/// A term about something. `None`: that does not fit.
fn about(term: &str, side: Option<&str>, value: &str) -> Option<Node> {
    Some(match term {
        "host" | "net" => {
            let prefix: Prefix = value.parse().ok()?;
            if term == "host" && !is_one(prefix) {
                return None;
            }
            let one = |at| address(at, prefix);
            sided(side, || one(word::SOURCE), || one(word::DESTINATION))
        }
        "port" => {
            let number: u16 = value.parse().ok()?;
            let one = |first| port(first, number);
            sided(side, || one(flow::CLIENT_PORT), || one(flow::PORT))
        }
        "client" => address(word::CLIENT, one(value)?),
        "backend" => address(word::BACKEND, one(value)?),
        "vip" => vip(value)?,
        "service" => Node::Service(value.to_owned()),
        "interface" => Node::Interface(value.to_owned()),
        "verdict" => {
            let verdict = Verdict::ALL.into_iter().find(|one| one.label() == value)?;
            Node::Word(Masked {
                word: word::ANSWER,
                mask: Answer::VERDICT_MASK << Answer::VERDICT,
                value: (verdict as u64) << Answer::VERDICT,
            })
        }
        _ => return None,
    })
}

fn sided(side: Option<&str>, source: impl Fn() -> Node, destination: impl Fn() -> Node) -> Node {
    match side {
        Some("src") => source(),
        Some(_) => destination(),
        None => source().or(destination()),
    }
}

fn is_one(prefix: Prefix) -> bool {
    prefix.bits() == if prefix.address().is_ipv4() { 32 } else { 128 }
}

fn one(text: &str) -> Option<Prefix> {
    let prefix: Prefix = text.parse().ok()?;
    is_one(prefix).then_some(prefix)
}

/// `203.0.113.20`, `203.0.113.20:443`, `203.0.113.20:443/tcp`, and a prefix or any port as a service may have it.
fn vip(text: &str) -> Option<Node> {
    if let Ok(prefix) = text.parse::<Prefix>() {
        return Some(address(word::VIP, prefix));
    }
    if let Ok(whole) = text.parse::<SocketAddr>() {
        let node = address(word::VIP, one(&whole.ip().to_string())?);
        return Some(node.and(port(flow::PORT, whole.port())));
    }
    let vip: Vip = text.parse().ok()?;
    let addresses = prefix_of(vip)?;
    let proto = match vip.proto {
        Proto::Tcp => TCP,
        Proto::Udp => UDP,
    };
    let node = address(word::VIP, addresses).and(Node::Word(Masked {
        word: word::FLOW,
        mask: 0xff << flow::PROTO,
        value: u64::from(proto) << flow::PROTO,
    }));
    Some(match vip.port {
        0 => node,
        number => node.and(port(flow::PORT, number)),
    })
}

fn prefix_of(vip: Vip) -> Option<Prefix> {
    format!("{}/{}", vip.ip, vip.bits).parse().ok()
}

/// A port of the flow; packets without ports have none.
fn port(first: u32, number: u16) -> Node {
    Node::Word(Masked {
        word: word::FLOW,
        mask: 0xffff << first,
        value: u64::from(number) << first,
    })
}

/// The address in the two words from `at` on is in a prefix.
fn address(at: usize, prefix: Prefix) -> Node {
    let (number, bits) = match prefix.address() {
        IpAddr::V4(ip) => (ip.to_ipv6_mapped().to_bits(), u32::from(prefix.bits()) + 96),
        IpAddr::V6(ip) => (ip.to_bits(), u32::from(prefix.bits())),
    };
    let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
    let half = |word, shift: u32| {
        Node::Word(Masked {
            word,
            mask: (mask >> shift) as u64,
            value: ((number & mask) >> shift) as u64,
        })
    };
    half(at, 64).and(half(at + 1, 0))
}

impl Node {
    fn and(self, other: Self) -> Self {
        Self::And(Box::new(self), Box::new(other))
    }

    fn or(self, other: Self) -> Self {
        Self::Or(Box::new(self), Box::new(other))
    }

    /// The same with names looked up.
    fn resolve(&self, names: &dyn Names) -> Result<Self, FilterError> {
        let missing = |term: &str, value: &str, wanted: &str| FilterError::Value {
            term: term.to_owned(),
            value: value.to_owned(),
            wanted: wanted.to_owned(),
        };
        Ok(match self {
            Self::Service(name) => {
                let Some((number, vip)) = names.service(name) else {
                    return Err(missing(
                        "service",
                        name,
                        "no service of this name is in the tables; `tollgate status` lists them",
                    ));
                };
                // The address is known when it comes in: no other packet is copied.
                let there =
                    prefix_of(vip).map_or(Self::Always(true), |one| address(word::VIP, one));
                there.and(Self::Word(Masked {
                    word: word::ANSWER,
                    mask: ((1 << (Answer::ENTRY - Answer::SERVICE)) - 1) << Answer::SERVICE,
                    value: u64::from(number) << Answer::SERVICE,
                }))
            }
            Self::Interface(name) => {
                let Some(index) = names.interface(name) else {
                    return Err(missing(
                        "interface",
                        name,
                        "there is none of this name in this network namespace",
                    ));
                };
                Self::Word(Masked {
                    word: word::INTERFACE,
                    mask: u64::MAX,
                    value: index.into(),
                })
            }
            Self::Always(_) | Self::Word(_) => self.clone(),
            Self::Not(node) => Self::Not(Box::new(node.resolve(names)?)),
            Self::And(a, b) => a.resolve(names)?.and(b.resolve(names)?),
            Self::Or(a, b) => a.resolve(names)?.or(b.resolve(names)?),
        })
    }

    /// The same, where whatever is known only when the program is through is taken for `wide`.
    fn loose(&self, wide: bool) -> Self {
        match self {
            Self::Word(one) if matches!(one.word, word::ANSWER | word::BACKEND) => {
                Self::Always(wide)
            }
            // The second half of the backend's address.
            Self::Word(one) if one.word == word::BACKEND + 1 => Self::Always(wide),
            Self::Not(node) => Self::Not(Box::new(node.loose(!wide))),
            Self::And(a, b) => a.loose(wide).and(b.loose(wide)),
            Self::Or(a, b) => a.loose(wide).or(b.loose(wide)),
            other => other.clone(),
        }
    }

    /// The same without parts that are always so.
    fn fold(&self) -> Self {
        match self {
            Self::Word(one) if one.mask == 0 => Self::Always(one.value == 0),
            Self::Not(node) => match node.fold() {
                Self::Always(is) => Self::Always(!is),
                node => Self::Not(Box::new(node)),
            },
            Self::And(a, b) => match (a.fold(), b.fold()) {
                (Self::Always(false), _) | (_, Self::Always(false)) => Self::Always(false),
                (Self::Always(true), other) | (other, Self::Always(true)) => other,
                (a, b) => a.and(b),
            },
            Self::Or(a, b) => match (a.fold(), b.fold()) {
                (Self::Always(true), _) | (_, Self::Always(true)) => Self::Always(true),
                (Self::Always(false), other) | (other, Self::Always(false)) => other,
                (a, b) => a.or(b),
            },
            other => other.clone(),
        }
    }

    /// Adds the tests before those that are there; the index of the first, counted from the last test of all.
    fn emit(&self, tests: &mut Vec<Masked>, ways: &mut Vec<[u16; 2]>, yes: u16, no: u16) -> u16 {
        match self {
            Self::Word(one) => {
                tests.push(*one);
                ways.push([yes, no]);
                (tests.len() - 1) as u16
            }
            Self::Not(node) => node.emit(tests, ways, no, yes),
            Self::And(a, b) => {
                let then = b.emit(tests, ways, yes, no);
                a.emit(tests, ways, then, no)
            }
            Self::Or(a, b) => {
                let otherwise = b.emit(tests, ways, yes, no);
                a.emit(tests, ways, yes, otherwise)
            }
            // `fold` and `resolve` leave none inside.
            Self::Always(_) | Self::Service(_) | Self::Interface(_) => no,
        }
    }
}

/// The tests of a folded node.
fn compiled(node: &Node) -> Result<Tests, FilterError> {
    let mut all = [Test {
        yes: Test::REFUSE,
        no: Test::REFUSE,
        ..Test::default()
    }; TESTS];
    if let Node::Always(is) = node {
        all[0].yes = if *is { Test::ACCEPT } else { Test::REFUSE };
        return Ok(all);
    }
    let (mut tests, mut ways) = (Vec::new(), Vec::new());
    let _first = node.emit(&mut tests, &mut ways, Test::ACCEPT, Test::REFUSE);
    let count = tests.len();
    if count > TESTS {
        return Err(FilterError::Long(count));
    }
    let place = |way: u16| match way {
        Test::ACCEPT | Test::REFUSE => way,
        way => (count - 1) as u16 - way,
    };
    let pairs = tests.into_iter().zip(ways).rev();
    for (slot, (test, [yes, no])) in all.iter_mut().zip(pairs) {
        *slot = Test {
            word: test.word as u32,
            yes: place(yes),
            no: place(no),
            mask: test.mask,
            value: test.value,
        };
    }
    Ok(all)
}

#[cfg(test)]
mod tests;
