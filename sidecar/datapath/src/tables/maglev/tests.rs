use std::{collections::HashMap, net::Ipv4Addr};

use proptest::prelude::*;

use super::*;

fn members(n: u16) -> Vec<Member> {
    (1..=n)
        .map(|id| Member {
            address: Ipv4Addr::new(10, 0, (id >> 8) as u8, id as u8).into(),
            weight: 1,
            id,
        })
        .collect()
}

fn shares(table: &[u16]) -> HashMap<u16, u32> {
    let mut shares = HashMap::new();
    for id in table {
        *shares.entry(*id).or_default() += 1;
    }
    shares
}

/// Share of all slots that named a backend which stayed, and name another now.
fn collateral(before: &[u16], after: &[u16], gone: u16) -> f64 {
    let moved = before
        .iter()
        .zip(after)
        .filter(|(b, a)| **b != gone && b != a)
        .count();
    moved as f64 / before.len() as f64
}

/// The worst over all choices of the backend that goes.
fn worst_removal(n: u16) -> f64 {
    let all = members(n);
    let len = slots_for(n.into());
    let before = table(&all, len);
    (1..=n.min(24))
        .map(|gone| {
            let rest: Vec<_> = all
                .iter()
                .copied()
                .filter(|member| member.id != gone)
                .collect();
            collateral(&before, &table(&rest, len), gone)
        })
        .fold(0.0, f64::max)
}

#[test]
fn removing_one_of_four_moves_few_flows_of_the_others() {
    let worst = worst_removal(4);
    assert!(worst < 0.01, "{worst}");
}

#[test]
fn removing_one_of_a_hundred_moves_few_flows_of_the_others() {
    assert_eq!(slots_for(100), 65_537);
    let worst = worst_removal(100);
    assert!(worst <= 0.0055, "{worst}");
}

#[test]
fn shares_are_even_at_every_size() {
    // What docs/datapath.md says.
    for (n, most) in [
        (1, 0.0),
        (2, 0.01),
        (3, 0.01),
        (4, 0.01),
        (8, 0.01),
        (9, 0.01),
        (64, 0.01),
        (256, 0.03),
        (600, 0.05),
        (1024, 0.07),
    ] {
        let len = slots_for(n);
        let members = members(n as u16);
        let expected = f64::from(len) / members.len() as f64;
        for (id, share) in shares(&table(&members, len)) {
            let off = (f64::from(share) - expected).abs() / expected;
            assert!(off <= most, "{n} backends: number {id} is {off} off");
        }
    }
}

#[test]
fn weights_are_shares() {
    let mut all = members(4);
    for (member, weight) in all.iter_mut().zip([1, 2, 3, 10]) {
        member.weight = weight;
    }
    let len = slots_for(4);
    for (id, share) in shares(&table(&all, len)) {
        let expected = f64::from(len) * f64::from(all[usize::from(id) - 1].weight) / 16.0;
        let off = (f64::from(share) - expected).abs() / expected;
        assert!(off < 0.02, "number {id} is {off} off");
    }
}

#[test]
fn nobody_means_no_table() {
    assert!(table(&[], 16_381).is_empty());
    assert_eq!(slots_for(0), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn the_order_of_the_backends_means_nothing(
        all in Just(members(7)).prop_shuffle(),
        weights in proptest::collection::vec(1_u32..50, 7),
    ) {
        let weighted = |all: &[Member]| -> Vec<Member> {
            let weight = |id: u16| weights[usize::from(id) - 1];
            all.iter().map(|member| Member { weight: weight(member.id), ..*member }).collect()
        };
        prop_assert_eq!(table(&weighted(&all), 16_381), table(&weighted(&members(7)), 16_381));
    }
}
