//! Tollgate's kernel side: packet in, parse, service, pick, rewrite, out.
//!
//! The way of a packet ([`pipeline::ingress`]) is generic over where the bytes and the tables are, so the same code
//! runs in the kernel (with the `bpf` feature) and in unit tests on the host.
#![no_std]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]
#![forbid(unsafe_op_in_unsafe_fn)]

pub mod capture;
pub mod check;
pub mod decap;
#[cfg(any(test, feature = "host"))]
pub mod host;
pub mod look;
#[cfg(feature = "bpf")]
pub mod maps;
pub mod memory;
pub mod nat;
pub mod packet;
pub mod parse;
pub mod pick;
pub mod pipeline;
pub mod rewrite;
#[cfg(feature = "bpf")]
pub mod skb;
pub mod too_big;
pub mod vlan;

#[cfg(any(test, feature = "host"))]
extern crate std;
