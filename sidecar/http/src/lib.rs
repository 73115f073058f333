//! Tollgate's HTTP core: message heads, ordered fields, the one form of a request path; queries and cookies taken apart;
//! HTTP/1.1 itself ([`h1`]).
//!
//! Pure: bytes come in as arguments, values go out. There is no I/O, no clock and no global state, so
//! the same code serves HTTP/1.1 and HTTP/2, tests and fuzzers. Nothing here knows tokens or policy.

#![forbid(unsafe_code)]

pub mod accept;
pub mod cookie;
mod decimal;
pub mod fields;
pub mod h1;
pub mod head;
pub mod origin;
mod pairs;
pub mod path;
pub mod query;
pub mod spelling;

pub use fields::{Field, Fields};
pub use head::{Authority, HeadError, Method, RequestHead, ResponseHead, Scheme, Version};
pub use origin::Origin;
pub use path::{Path, PathError};
