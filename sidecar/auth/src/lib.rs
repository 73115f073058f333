//! Tollgate's identity core: tokens, keys, policy, identity headers, and the reasons of every refusal.
//!
//! Pure: no I/O, no clock, no global state. Bytes, keys and the time are arguments, so every verdict can
//! be repeated in a test, and offline by `tollgate token explain`. Outcomes are values ([`Refusal`] with
//! its [`Reason`]); whoever calls counts and logs them.
//!
//! The way of a request through this crate:
//!
//! 1. [`policy::matcher::RouteTable::find`] picks the route by host, path and method;
//! 2. [`token::source::find`] finds the token; [`token::origin::check`] asks whose page sent it, if it was a cookie;
//! 3. [`token::cache::VerdictCache::check`] (or [`token::jwt::verify`]) turns it into claims;
//! 4. [`policy::rule::Requirement::permit`] decides;
//! 5. [`header::scrub::scrub`] removes whatever a client could have forged, on every route, and
//!    [`header::inject::InjectSet::render`] gives the fields to append.

#![forbid(unsafe_code)]

pub mod advice;
pub mod challenge;
pub mod header;
pub mod policy;
pub mod reason;
pub mod refusal;
pub mod resource;
pub mod texts;
pub mod time;
pub mod token;

pub use reason::Reason;
pub use refusal::Refusal;
pub use time::UnixTime;
