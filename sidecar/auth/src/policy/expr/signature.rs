//! The functions that a rule may call.

use super::kind::Kind;
use super::node::Function;

/// A function, how it is called, and what it takes and gives.
pub(super) struct Signature {
    pub(super) function: Function,
    pub(super) takes: &'static [Takes],
    pub(super) gives: Kind,
}

/// What an argument may be.
#[derive(Clone, Copy)]
pub(super) enum Takes {
    Text,
    /// A string, a list or a map.
    Sized,
    /// What a conversion may be tried on.
    Scalar,
}

impl Takes {
    pub(super) fn admits(self, kind: Kind) -> bool {
        match self {
            Self::Text => kind.may_be(Kind::Text),
            Self::Sized => matches!(kind, Kind::Any | Kind::Text | Kind::List | Kind::Map),
            Self::Scalar => !matches!(kind, Kind::Null | Kind::List | Kind::Map),
        }
    }

    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Text => "a string",
            Self::Sized => "a string, a list or a map",
            Self::Scalar => "a string, a number or a bool",
        }
    }
}

/// The function of this name; `member` says whether it is called as `value.name(…)`.
pub(super) fn find(name: &str, member: bool) -> Option<Signature> {
    let (function, as_member, as_global, takes, gives): (_, _, _, &'static [Takes], _) = match name
    {
        "size" => (Function::Size, true, true, &[Takes::Sized], Kind::Int),
        "contains" => (
            Function::Contains,
            true,
            false,
            &[Takes::Text, Takes::Text],
            Kind::Bool,
        ),
        "startsWith" => (
            Function::StartsWith,
            true,
            false,
            &[Takes::Text, Takes::Text],
            Kind::Bool,
        ),
        "endsWith" => (
            Function::EndsWith,
            true,
            false,
            &[Takes::Text, Takes::Text],
            Kind::Bool,
        ),
        "lowerAscii" => (
            Function::LowerAscii,
            true,
            false,
            &[Takes::Text],
            Kind::Text,
        ),
        "upperAscii" => (
            Function::UpperAscii,
            true,
            false,
            &[Takes::Text],
            Kind::Text,
        ),
        "split" => (
            Function::Split,
            true,
            false,
            &[Takes::Text, Takes::Text],
            Kind::List,
        ),
        "emailDomain" => (
            Function::EmailDomain,
            false,
            true,
            &[Takes::Text],
            Kind::Text,
        ),
        "int" => (Function::Int, false, true, &[Takes::Scalar], Kind::Int),
        "uint" => (Function::Uint, false, true, &[Takes::Scalar], Kind::Uint),
        "double" => (
            Function::Double,
            false,
            true,
            &[Takes::Scalar],
            Kind::Double,
        ),
        "string" => (Function::Text, false, true, &[Takes::Scalar], Kind::Text),
        "bool" => (Function::Bool, false, true, &[Takes::Scalar], Kind::Bool),
        _ => return None,
    };
    let called_so = if member { as_member } else { as_global };
    called_so.then_some(Signature {
        function,
        takes,
        gives,
    })
}

/// What there is, for the message of a call to something else.
pub(super) const OFFERED: &str = "there are `value.size()`, `text.contains(…)`, `startsWith`, `endsWith`, `matches`, `split`, `lowerAscii`, `upperAscii`, \
     `list.exists(x, …)`, `exists_one`, `all`, `map`, `filter`, `has(a.b)`, `int(…)`, `uint`, `double`, `string`, `bool`, `dyn`, `emailDomain(text)`, \
     `cidr(\"10.0.0.0/8\").containsIP(…)` and `request.headers.values(\"name\")`";
