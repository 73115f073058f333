//! Why a rule gives no answer for a request.

use std::fmt;

/// What stopped an evaluation. Its names are those of the expression; nothing of a claim or a header stands in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault<'e> {
    /// A member that is not there.
    Absent(&'e str),
    /// An element or a computed key that is not there.
    NoSuchElement,
    /// An operator or a function that does not take values of these types.
    Types(&'static str),
    /// A condition, or the whole, that is no boolean.
    NotBoolean,
    /// A number beyond its type.
    Overflow,
    /// An integer divided by zero.
    DivisionByZero,
    /// A text that cannot be what a conversion makes of it.
    Conversion(&'static str),
    /// A header that stands more than once, or beside another spelling of its name.
    Repeated(&'e str),
    /// A header that is not UTF-8.
    NotText(&'e str),
    /// A text that is no mail address with exactly one `@`.
    NotMail,
    /// A text that is no IP address.
    NotAddress,
    /// A key that stands twice in a map.
    KeyTwice,
    /// More steps than a rule may take.
    TooManySteps,
}

impl fmt::Display for Fault<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent(name) => write!(f, "`{name}` is absent"),
            Self::NoSuchElement => f.write_str("there is no such element"),
            Self::Types(what) => write!(f, "`{what}` does not take values of these types"),
            Self::NotBoolean => f.write_str("a condition is no boolean"),
            Self::Overflow => f.write_str("a number is out of range"),
            Self::DivisionByZero => f.write_str("a division by zero"),
            Self::Conversion(what) => write!(f, "`{what}()` cannot read this value"),
            Self::Repeated(name) => {
                write!(
                    f,
                    "the header `{name}` stands more than once, in this or another spelling"
                )
            }
            Self::NotText(name) => write!(f, "the header `{name}` is not UTF-8"),
            Self::NotMail => {
                f.write_str("`emailDomain()` wants exactly one `@` with text on both sides")
            }
            Self::NotAddress => f.write_str("`containsIP()` wants an IP address"),
            Self::KeyTwice => f.write_str("a key stands twice in a map"),
            Self::TooManySteps => f.write_str("it takes more steps than a rule may"),
        }
    }
}
