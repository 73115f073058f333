//! The bodies of commands that are more than a question to the daemon.

pub mod explain;
pub mod mint;
mod paper;
pub mod route;
