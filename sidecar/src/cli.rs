//! The bodies of commands that are more than a question to the daemon.

mod ask;
pub mod capture;
pub mod decap;
pub mod events;
pub mod explain;
pub mod flow;
pub mod host;
pub mod mint;
mod paper;
pub mod route;
pub mod run;
pub mod status;
pub mod watch;

pub use ask::Failure;
