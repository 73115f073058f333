//! What can be seen from outside: metrics and the access log. Each room owns its own metric family; this room owns the
//! registry and the ways out.

pub mod access_log;
pub mod log;
pub mod metrics;
