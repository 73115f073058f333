//! Which route a request takes, and what that route requires of the claims.

pub mod cors;
pub mod explain;
pub mod matcher;
pub mod normalization;
mod pattern;
mod precedence;
pub mod rule;
pub mod shadow;

pub use matcher::{Found, HostMatch, PathMatch, PatternError, RouteMatch, RouteTable, Template};
pub use normalization::{EncodedSlash, Normalization};
pub use precedence::Point;
pub use rule::Requirement;
