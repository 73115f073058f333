//! Maglev tables (Eisenbud and others, "Maglev: A Fast and Reliable Software Network Load Balancer", NSDI 2016,
//! section 3.4), weighted: which backend each slot names.
//!
//! One thing is not as in the paper. The last slots to be dealt are those that most backends want and few can have, so
//! they change hands at every change of the backends; the last hundredth is dealt by rendezvous hashing (Thaler and
//! Ravishankar, 1998), where a slot changes hands only if its own backend goes. That moves a fifth fewer of the
//! others' flows when one of a hundred backends goes, and costs under 1 % of evenness.
//!
//! A table follows from the addresses and weights alone, so that all nodes make the same one, in whatever order the
//! backends are named.

use std::net::IpAddr;

use tollgate_common::flow::{mix, seed};

/// A backend that takes flows: what its place in the table follows from, and what the slots shall say for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its address.
    pub address: IpAddr,
    /// Its share, relative to the others', at least 1.
    pub weight: u32,
    /// Its number.
    pub id: u16,
}

/// The number of slots for a service with so many backends, drained ones among them; always a prime.
///
/// A small service pays with little memory for even shares and few flows moved when a backend goes: with 4 093 slots one
/// of four would take more than 1 % of the others' flows with it. The steps are far apart because a change of the number
/// deals all flows anew; that from one backend to two costs nothing, for half of the flows have to go then whatever the
/// table.
#[must_use]
pub const fn slots_for(backends: usize) -> u32 {
    match backends {
        0 => 0,
        1 => 251,
        2..=8 => 16_381,
        _ => 65_537,
    }
}

/// [`slots_for`] in words.
pub(crate) const SIZES: &str =
    "a service takes 251 for one backend, 16 381 for up to 8, 65 537 for more";

/// The table: `len` slots, each with a backend's number. Empty if nobody takes flows.
#[must_use]
pub fn table(members: &[Member], len: u32) -> Vec<u16> {
    let Some(heaviest) = members.iter().map(|member| u64::from(member.weight)).max() else {
        return Vec::new();
    };
    let mut members = members.to_vec();
    members.sort_unstable_by_key(|member| hash(member.address, 0));
    let mut turns: Vec<Turn> = members
        .iter()
        .map(|member| Turn::of(member.address, len))
        .collect();

    let mut table = vec![0; len as usize];
    let mut left = len - len / 100;
    'rounds: for round in 1_u64.. {
        for (member, turn) in members.iter().zip(&mut turns) {
            // A backend has its turn in `weight` of `heaviest` rounds, evenly spread.
            if round * u64::from(member.weight) < turn.due {
                continue;
            }
            turn.due += heaviest;
            turn.take(&mut table, member.id);
            left -= 1;
            if left == 0 {
                break 'rounds;
            }
        }
    }
    for (index, slot) in table.iter_mut().enumerate().filter(|(_, slot)| **slot == 0) {
        *slot = rendezvous(&members, &turns, index as u64);
    }
    table
}

/// The member whose `-log(hash) / weight` is least: each wins in proportion to its weight. Integers throughout, so
/// that all nodes agree; the logarithm is linear inside an octave.
fn rendezvous(members: &[Member], turns: &[Turn], slot: u64) -> u16 {
    let cost = |turn: &Turn| {
        let hash = mix(mix(turn.seed ^ slot)) | 1;
        let zeros = hash.leading_zeros();
        let log = u64::from(63 - zeros) << 32 | (hash << zeros << 1) >> 32;
        u128::from((64 << 32) - log)
    };
    let mut best: Option<(u128, &Member)> = None;
    for (member, turn) in members.iter().zip(turns) {
        let mine = cost(turn);
        if best.is_none_or(|(cost, of)| {
            mine * u128::from(of.weight) < cost * u128::from(member.weight)
        }) {
            best = Some((mine, member));
        }
    }
    best.map_or(0, |(_, member)| member.id)
}

/// One backend's way through the slots: every slot once, since `skip` and the prime number of slots share no divisor.
struct Turn {
    next: u32,
    skip: u32,
    due: u64,
    seed: u64,
}

impl Turn {
    fn of(address: IpAddr, len: u32) -> Self {
        let next = (hash(address, 1) % u64::from(len)) as u32;
        let skip = (hash(address, 2) % u64::from(len - 1)) as u32 + 1;
        Self {
            next,
            skip,
            due: 0,
            seed: hash(address, 3),
        }
    }

    /// Takes the next slot of the way that is free; there is one, or the table would be done.
    fn take(&mut self, table: &mut [u16], id: u16) {
        let len = table.len() as u32;
        loop {
            let slot = &mut table[self.next as usize];
            self.next = (self.next + self.skip) % len;
            if *slot == 0 {
                *slot = id;
                return;
            }
        }
    }
}

/// A hash of an address that stays the same for ever: tables of different versions must agree.
fn hash(address: IpAddr, purpose: u64) -> u64 {
    let (hi, lo, family) = super::words(address);
    seed(hi, lo, u32::from(family) << 8 | purpose as u32)
}

#[cfg(test)]
mod tests;
