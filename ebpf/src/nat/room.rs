//! The packet that is looked at, in memory.

use tollgate_common::nat::{Translation, Tuple};

use crate::look::Seen;

/// What is known of the packet that is looked at: in memory of the CPU's own, for the stack is small.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Room {
    /// What was seen.
    pub seen: Seen,
    /// What it bears.
    pub key: Tuple,
    /// What becomes of it.
    pub way: Translation,
    /// What answers to it bear.
    pub other: Tuple,
    /// What becomes of those.
    pub back: Translation,
    /// The service's number; 0: none.
    pub service: u32,
    /// Whether it opens a connection; as a number.
    pub opens: u32,
    /// Whether the stack has merged several packets to this one; as a number.
    pub is_merged: u32,
    /// Second of the monotonic clock at which it came.
    pub now: u32,
}
