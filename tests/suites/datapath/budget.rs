//! What each program costs the verifier, and that it costs no more than last time.

use std::{collections::BTreeMap, fs, path::PathBuf};

use tollgate_datapath::{
    checks::{self, Checks},
    decap::object as programs,
    object,
};
use tollgate_tests::bpf::Bench;

use crate::{capture, decap, room::Room};

const MARGIN: f64 = 1.05;

#[test]
fn programs_stay_within_their_budget() {
    let mut bench = Bench::new();
    let xdp = bench.object.xdp().unwrap().info().unwrap();
    let steer = bench.object.sk_lookup().unwrap().info().unwrap();
    let translate = bench.object.translate().unwrap().info().unwrap();
    let mut decap = decap::bench();
    let decap_xdp = decap.xdp().unwrap().info().unwrap();
    let decap_tc = decap.tc().unwrap().info().unwrap();
    let room = Room::new();
    let watched = room.run(|| async { capture::program_info(&room) });
    let mut checks = Checks::load().unwrap();
    let [check_out, check_in] =
        [checks::OUT, checks::IN].map(|name| checks.program(name).unwrap().info().unwrap());
    let mut now = BTreeMap::new();
    for (name, info) in [
        (tollgate_datapath::capture::PROGRAM, watched),
        (object::XDP, xdp),
        (object::SK_LOOKUP, steer),
        (object::TRANSLATE, translate),
        (programs::XDP, decap_xdp),
        (programs::TC, decap_tc),
        (checks::OUT, check_out),
        (checks::IN, check_in),
    ] {
        let verified = info
            .verified_instruction_count()
            .expect("Linux 5.16 counts them");
        let translated = info.size_translated().expect("the program's size") / 8;
        now.insert(format!("{name}.verified_instructions"), verified);
        now.insert(format!("{name}.instructions"), translated);
    }
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/budget.toml");
    if std::env::var_os("TOLLGATE_BLESS").is_some() {
        fs::write(&path, render(&now)).unwrap();
    }
    let budget =
        parse(&fs::read_to_string(&path).expect("TOLLGATE_BLESS=1 writes the budget once"));
    for (name, count) in now {
        let allowed = budget
            .get(&name)
            .unwrap_or_else(|| panic!("{name} has no budget"));
        assert!(
            f64::from(count) <= f64::from(*allowed) * MARGIN,
            "{name} is {count}, over {allowed} by more than 5 %; make it cheaper, or bless it (TOLLGATE_BLESS=1) and say why"
        );
    }
}

fn render(counts: &BTreeMap<String, u32>) -> String {
    let mut text =
        "# What each program costs, on the kernel that it was last blessed on. More than 5 % above it fails.\n".to_owned();
    for (name, count) in counts {
        text.push_str(&format!("{name} = {count}\n"));
    }
    text
}

fn parse(text: &str) -> BTreeMap<String, u32> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let pairs = lines.filter_map(|line| line.split_once('='));
    pairs
        .map(|(name, count)| (name.trim().to_owned(), count.trim().parse().unwrap()))
        .collect()
}
