//! Every fixture through the kernel.

use std::{collections::BTreeSet, fs, net::IpAddr, path::PathBuf};

use serde_json::{Value, json};
use tollgate_common::verdict::{Disposition, Verdict};
use tollgate_tests::{
    bpf::{Bench, action},
    packet::{NODE_MAC, describe, told, tunnelled},
};

use crate::fixtures::{self, FAMILIES, Family, Fixture, NEXT_MAC, Out, build::untagged};

#[test]
fn every_verdict_has_a_fixture_in_both_families() {
    let have: BTreeSet<(Verdict, Family)> = fixtures::all()
        .iter()
        .map(|fixture| (fixture.verdict, fixture.family))
        .collect();
    // Those of TC alone are in `nat`.
    for verdict in Verdict::ALL.into_iter().filter(|one| !one.is_of_tc()) {
        for family in FAMILIES {
            assert!(
                have.contains(&(verdict, family)),
                "no fixture for {verdict:?} in {family:?}"
            );
        }
    }
}

#[test]
fn packets_become_what_the_fixtures_say() {
    let mut bench = Bench::new();
    let (model, hops) = fixtures::model();
    bench.apply(&model, &hops);
    let mut kept = Vec::new();
    let takes_metadata = Bench::new().takes_metadata(fixtures::METADATA);
    let (fixtures, skipped): (Vec<_>, Vec<_>) = fixtures::all()
        .into_iter()
        .partition(|one| one.metadata == 0 || takes_metadata);
    for fixture in &fixtures {
        let ran = bench.run(&fixture.frame, fixture.metadata);
        let what = format!(
            "{} ({:?}): {}",
            fixture.what,
            fixture.family,
            describe(&fixture.frame)
        );
        assert_eq!(ran.verdict, fixture.verdict, "{what}");
        let wanted = match fixture.verdict.disposition() {
            Disposition::Pass => action::PASS,
            Disposition::Drop => action::DROP,
            Disposition::Transmit => action::TX,
            Disposition::Redirect => action::REDIRECT,
        };
        assert_eq!(ran.action, wanted, "{what}");
        check_out(fixture, &ran.frame, &what);
        kept.push(json!({
            "what": fixture.what,
            "family": format!("{:?}", fixture.family).to_lowercase(),
            "packet": hex(&fixture.frame),
            "verdict": fixture.verdict.label(),
            "out": hex(&ran.frame),
        }));
    }
    let counted: u64 = bench.object.counters.verdicts().unwrap().values().sum();
    assert_eq!(
        counted,
        fixtures.len() as u64,
        "each packet is counted once"
    );
    compare(&kept, &skipped);
}

fn check_out(fixture: &Fixture, out: &[u8], what: &str) {
    let (tags, before) = untagged(&fixture.frame);
    let (tags_after, after) = untagged(out);
    let wanted = match fixture.out {
        Out::Same | Out::Told(_) => tags,
        Out::Gone => tags_after.clone(),
        Out::Macs | Out::Tunnel(_) | Out::Gue(_) => {
            let bytes = fixture.tags.0.to_le_bytes();
            bytes[..usize::from(fixture.tags.len())].to_vec()
        }
    };
    assert_eq!(tags_after, wanted, "{what}: the tags");
    let (before, out) = (&before[..], &after[..]);
    match &fixture.out {
        Out::Same => assert_eq!(out, before, "{what}"),
        Out::Gone => {}
        Out::Told(mtu) => check_told(before, out, *mtu, what),
        Out::Macs => {
            assert_eq!(out[..6], NEXT_MAC, "{what}");
            assert_eq!(out[6..12], NODE_MAC, "{what}");
            assert_eq!(out[12..], one_hop_on(before)[12..], "{what}");
        }
        Out::Tunnel(backend) | Out::Gue(backend) => {
            let padding = before.len() - before_padding(before);
            let tunnel = tunnelled(&out[..out.len() - padding]);
            assert_eq!(
                (tunnel.to_mac, tunnel.from_mac),
                (NEXT_MAC, NODE_MAC),
                "{what}"
            );
            assert_eq!(tunnel.to, *backend, "{what}");
            let network = if backend.is_ipv4() {
                "172.16."
            } else {
                "100::"
            };
            assert!(
                tunnel.from.to_string().starts_with(network),
                "{what}: from {}",
                tunnel.from
            );
            assert_eq!((tunnel.ttl, tunnel.class), (64, class(before)), "{what}");
            assert_eq!(tunnel.inner, before[14..before_padding(before)], "{what}");
            let is_gue = matches!(fixture.out, Out::Gue(_));
            assert_eq!(tunnel.gue.is_some(), is_gue, "{what}");
            // RFC 6335, section 6: ephemeral ports; and the one that IANA gave to GUE.
            let is_right = |(from, to)| from >= 0xc000 && to == 6080;
            assert!(tunnel.gue.is_none_or(is_right), "{what}");
        }
    }
}

/// The message goes back to whoever sent the frame, from whom it was for, and quotes its beginning.
fn check_told(before: &[u8], out: &[u8], mtu: u16, what: &str) {
    const QUOTED: usize = 128;
    let told = told(out);
    assert_eq!(told.to_mac, before[6..12], "{what}");
    assert_eq!(told.from_mac, before[..6], "{what}");
    let (from, to) = addresses(before);
    assert_eq!((told.from, told.to), (to, from), "{what}");
    assert_eq!((told.ttl, told.mtu), (64, mtu.into()), "{what}");
    assert_eq!(told.quoted, before[14..14 + QUOTED], "{what}");
}

/// Source and destination of an IP packet in a frame.
fn addresses(frame: &[u8]) -> (IpAddr, IpAddr) {
    let v4 = |at: usize| IpAddr::from(*frame[at..].first_chunk::<4>().unwrap());
    let v6 = |at: usize| IpAddr::from(*frame[at..].first_chunk::<16>().unwrap());
    match frame[14] >> 4 {
        4 => (v4(26), v4(30)),
        _ => (v6(22), v6(38)),
    }
}

/// The frame after a router: one hop less, and etherparse computes the checksum.
fn one_hop_on(frame: &[u8]) -> Vec<u8> {
    let mut frame = frame.to_vec();
    match frame[14] >> 4 {
        4 => {
            frame[22] -= 1;
            let (header, _) = etherparse::Ipv4Header::from_slice(&frame[14..]).unwrap();
            frame[24..26].copy_from_slice(&header.calc_header_checksum().to_be_bytes());
        }
        _ => frame[21] -= 1,
    }
    frame
}

/// TOS byte or traffic class.
fn class(frame: &[u8]) -> u8 {
    match frame[14] >> 4 {
        4 => frame[15],
        _ => frame[14] << 4 | frame[15] >> 4,
    }
}

/// Where the IP packet ends.
fn before_padding(frame: &[u8]) -> usize {
    match frame[14] >> 4 {
        4 => 14 + usize::from(u16::from_be_bytes([frame[16], frame[17]])),
        _ => 54 + usize::from(u16::from_be_bytes([frame[18], frame[19]])),
    }
}

/// tests/fixtures/packets keeps the bytes: whoever changes one of what leaves sees it in the review.
fn compare(now: &[Value], skipped: &[Fixture]) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/packets/verdicts.json");
    if std::env::var_os("TOLLGATE_BLESS").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, serde_json::to_string_pretty(now).unwrap() + "\n").unwrap();
    }
    let text = fs::read_to_string(&path).expect("TOLLGATE_BLESS=1 writes the fixtures once");
    let mut kept: Vec<Value> = serde_json::from_str(&text).unwrap();
    let skipped: BTreeSet<(&str, String)> = skipped
        .iter()
        .map(|one| (one.what, hex(&one.frame)))
        .collect();
    kept.retain(|one| {
        let [what, packet] = [&one["what"], &one["packet"]].map(|text| text.as_str().unwrap());
        !skipped.contains(&(what, packet.to_owned()))
    });
    assert_eq!(kept.len(), now.len(), "TOLLGATE_BLESS=1 keeps new fixtures");
    for (kept, now) in kept.iter().zip(now) {
        assert_eq!(
            kept, now,
            "other bytes than before; TOLLGATE_BLESS=1 keeps the new ones"
        );
    }
}

/// In hexadecimal digits; of equal bytes in a long row one, and how many.
fn hex(bytes: &[u8]) -> String {
    const LONG: usize = 32;
    let runs = bytes.chunk_by(|a, b| a == b);
    runs.map(|run| match run {
        [byte, ..] if run.len() >= LONG => format!("({byte:02x} x {})", run.len()),
        run => run.iter().map(|byte| format!("{byte:02x}")).collect(),
    })
    .collect()
}
