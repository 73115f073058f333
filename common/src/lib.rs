//! What Tollgate's kernel and user sides share: the layout of the maps, their capacities, the verdicts and the hash of a flow.
//!
//! Everything here is an ABI between two programs that are replaced at different times: a pinned map outlives the
//! process that made it. Whoever changes a layout raises [`limits::LAYOUT`]; the size assertions stand beside each type.
//!
//! The tables are one single value of a memory-mapped array, written by user space while packets are being looked
//! up, so every shared word is one of [`pod`]: a reader
//! sees an old word or a new one, never half of each.
#![no_std]
#![forbid(unsafe_op_in_unsafe_fn)]

#[cfg(target_endian = "big")]
compile_error!(
    "the outer headers are kept as little-endian words; big-endian targets are not supported"
);

pub mod answer;
pub mod backend;
pub mod capture;
pub mod check;
pub mod checksum;
pub mod counter;
pub mod decap;
pub mod flow;
pub mod fragment;
pub mod limits;
pub mod nat;
pub mod pin;
pub mod pod;
pub mod service;
pub mod slot;
pub mod tables;
pub mod tag;
pub mod verdict;
