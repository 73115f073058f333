//! The hostile tokens of docs/threats.md, as tables: line, what it is, the token, the reason of its refusal.
//!
//! Every row is put to the gate cold, to a cache twice, and once more to both beside a second issuer whose
//! keys bear the same names ([`table`]). Where a line is about the moment or about what was remembered, the
//! row says what the cache had seen before ([`moments`]). Lines that need a wire or a fetch have their tests
//! in the suites.

mod claims;
mod form;
mod header;
mod moments;
mod requests;
mod signature;
mod stage;
mod table;

use std::collections::BTreeMap;

/// The lines that are about a token or about where it stands, and nothing else.
const LINES: [std::ops::RangeInclusive<u8>; 5] = [1..=25, 30..=31, 49..=50, 52..=53, 55..=56];

#[test]
fn every_line_of_the_core_has_its_rows_and_every_row_its_verdict() {
    let mut rows: BTreeMap<u8, usize> = BTreeMap::new();
    let mut reasons: BTreeMap<u8, Vec<String>> = BTreeMap::new();
    let tables = [
        header::table(),
        form::table(),
        signature::table(),
        claims::table(),
        moments::table(),
    ];
    for row in tables.iter().flat_map(table::Table::rows) {
        let verdict = row.check();
        *rows.entry(row.line).or_default() += 1;
        let said = reasons.entry(row.line).or_default();
        if !said.contains(&verdict) {
            said.push(verdict);
        }
    }
    for (line, said) in requests::check() {
        *rows.entry(line).or_default() += 1;
        let known = reasons.entry(line).or_default();
        if !known.contains(&said) {
            known.push(said);
        }
    }
    for line in LINES.into_iter().flatten() {
        let (count, said) = (rows.get(&line), reasons.get(&line));
        let count = count.unwrap_or_else(|| panic!("line {line} has no row"));
        println!(
            "line {line:2}: {count:3} rows: {}",
            said.unwrap().join(", ")
        );
    }
    println!("{} rows", rows.values().sum::<usize>());
}
