//! Types that are maps' keys and values, for the user side.

use crate::{
    capture::{Record, Rules},
    counter::Counter,
    nat::{Translation, Tuple},
    pin::{Pin, PinKey},
};

// SAFETY: repr(C), four u64, no padding (asserted beside the type), every bit pattern valid.
unsafe impl aya::Pod for Counter {}
// SAFETY: repr(C), integers only, no padding (asserted beside the type), every bit pattern valid.
unsafe impl aya::Pod for Rules {}
// SAFETY: as above.
unsafe impl aya::Pod for Record {}
// SAFETY: repr(C), a u64 and two u32, no padding, every bit pattern valid.
unsafe impl aya::Pod for PinKey {}
// SAFETY: repr(C), two u32, no padding, every bit pattern valid.
unsafe impl aya::Pod for Pin {}
// SAFETY: repr(C), four u64 and two u32, no padding, every bit pattern valid.
unsafe impl aya::Pod for Tuple {}
// SAFETY: repr(C), a Tuple and six u32, no padding, every bit pattern valid.
unsafe impl aya::Pod for Translation {}
