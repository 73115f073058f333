//! What both sides make of bytes: a corpus of framing, bytes cut everywhere, what is written read again.

mod allocations;
mod client;
mod corpus;
mod follows;
mod properties;
mod server;
mod transcript;
