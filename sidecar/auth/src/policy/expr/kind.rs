//! What is known of a value's type before there is a value.

use std::fmt;

/// The type of an expression, as far as its text tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It depends on a token or a request.
    Any,
    Null,
    Bool,
    Int,
    Uint,
    Double,
    Text,
    List,
    Map,
}

impl Kind {
    /// Whether a value of this kind may be one of `other`.
    pub(super) fn may_be(self, other: Self) -> bool {
        self == Self::Any || other == Self::Any || self == other
    }

    pub(super) fn is_number(self) -> bool {
        matches!(self, Self::Int | Self::Uint | Self::Double)
    }

    /// Whether values of the two can be equal. Numbers compare across their types.
    pub(super) fn may_equal(self, other: Self) -> bool {
        self.may_be(other)
            || (self.is_number() && other.is_number())
            || self == Self::Null
            || other == Self::Null
    }

    /// Whether one of the two may be less than the other.
    pub(super) fn may_order(self, other: Self) -> bool {
        let ordered =
            |kind: Self| kind.is_number() || matches!(kind, Self::Any | Self::Bool | Self::Text);
        ordered(self)
            && ordered(other)
            && (self.may_be(other) || (self.is_number() && other.is_number()))
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Any => "value",
            Self::Null => "null",
            Self::Bool => "bool",
            Self::Int => "int",
            Self::Uint => "uint",
            Self::Double => "double",
            Self::Text => "string",
            Self::List => "list",
            Self::Map => "map",
        })
    }
}
