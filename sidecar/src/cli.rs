//! The bodies of commands that are more than a question to the daemon.

mod ask;
pub mod decap;
pub mod explain;
pub mod flow;
pub mod mint;
mod paper;
pub mod route;
pub mod status;

pub use ask::Failure;
