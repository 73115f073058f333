//! What a packet costs in the datapath, in nanoseconds and in packets a second, beside programs that do less; and what a change
//! of backends takes.
//! docs/bench.md says how it is measured and how the figures are read.

pub mod cases;
pub mod change;
pub mod driver;
mod failure;
pub mod frames;
pub mod measure;
pub mod plot;
pub mod report;
pub mod services;
pub mod site;
pub mod stream;

pub use failure::Failure;
