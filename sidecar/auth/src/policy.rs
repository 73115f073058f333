//! Which route a request takes, and what that route requires of the claims and of the request.

pub mod accepted;
pub mod cors;
pub mod explain;
pub mod expr;
pub mod facts;
pub mod matcher;
pub mod normalization;
mod pattern;
mod precedence;
pub mod rule;
pub mod shadow;
#[cfg(test)]
mod testing;

pub use expr::{ExprError, Expression};
pub use facts::{Facts, TlsClient};
pub use matcher::{Found, HostMatch, PathMatch, PatternError, RouteMatch, RouteTable, Template};
pub use normalization::{EncodedSlash, Normalization};
pub use precedence::Point;
pub use rule::Requirement;
