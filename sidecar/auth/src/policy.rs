//! Which route a request takes, and what that route requires of the claims.

pub mod matcher;
mod pattern;
pub mod rule;
pub mod shadow;

pub use matcher::{Found, HostMatch, PathMatch, PatternError, RouteMatch, RouteTable, Template};
pub use rule::Requirement;
