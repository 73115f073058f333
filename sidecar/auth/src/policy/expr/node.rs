//! A rule as it is evaluated: names resolved, patterns compiled, macros recognised.

use ipnet::IpNet;
use serde_json::Value as Json;

use super::regex::Regex;

/// An expression.
pub(super) enum Node {
    /// Written in the expression, lists and maps of literals included.
    Literal(Json),
    /// An unsigned literal, which JSON could not tell from another integer.
    Uint(u64),
    /// `claims`.
    Claims,
    /// Of the request.
    Given(Given),
    /// `has(request.host)`.
    HasHost,
    /// `request.headers["…"]`: the one field of this name.
    Header(Box<str>),
    /// `"…" in request.headers`.
    HasHeader(Box<str>),
    /// `request.headers.values("…")`: each field of this name.
    HeaderValues(Box<str>),
    /// What a macro goes through, by how many macros stand around it.
    Variable(usize),
    /// `operand.name`.
    Field(Box<Self>, Box<str>),
    /// `has(operand.name)`.
    HasField(Box<Self>, Box<str>),
    Not(Box<Self>),
    Negate(Box<Self>),
    And(Box<[Self; 2]>),
    Or(Box<[Self; 2]>),
    /// Condition, then, else.
    If(Box<[Self; 3]>),
    Binary(Operator, Box<[Self; 2]>),
    List(Vec<Self>),
    Map(Vec<(Self, Self)>),
    Call(Function, Vec<Self>),
    /// `text.matches("…")`.
    Matches(Box<Self>, Box<Regex>),
    /// `cidr("…").containsIP(address)`.
    InNetwork(IpNet, Box<Self>),
    Each(Box<Each>),
}

/// What a request brings beside claims and headers.
#[derive(Clone, Copy)]
pub(super) enum Given {
    Method,
    Path,
    Host,
    Address,
    Client,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
    In,
    Index,
}

impl Operator {
    /// As it is written.
    pub(super) const fn sign(self) -> &'static str {
        match self {
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessEqual => "<=",
            Self::Greater => ">",
            Self::GreaterEqual => ">=",
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Multiply => "*",
            Self::Divide => "/",
            Self::Remainder => "%",
            Self::In => "in",
            Self::Index => "[]",
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Function {
    Size,
    Contains,
    StartsWith,
    EndsWith,
    LowerAscii,
    UpperAscii,
    Split,
    EmailDomain,
    Int,
    Uint,
    Double,
    Text,
    Bool,
}

/// A macro over the elements of a list or the keys of a map.
pub(super) struct Each {
    pub(super) what: What,
    pub(super) range: Node,
    /// The place of its variable.
    pub(super) variable: usize,
    /// The condition; `map` may have none.
    pub(super) test: Option<Node>,
    /// What `map` and `filter` collect.
    pub(super) item: Option<Node>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    All,
    Exists,
    ExistsOne,
    Collect,
}
