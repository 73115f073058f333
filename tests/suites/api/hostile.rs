//! Lines 26 to 45 of docs/threats.md on the wire: rows of HTTP/1.1 bytes and HTTP/2 frames, put to a listener before an
//! API that shows the bytes it got.
//!
//! Whatever a row forges says `eve!`, and no byte of that may arrive. Behind each row another request follows on the same
//! connection: it is served as itself, or the connection is closed. Line 75 is about configurations and has its rows
//! there; lines with a feature of their own have further tests beside it.

use std::panic::{AssertUnwindSafe, catch_unwind};

mod claims;
mod fields;
mod messages;
mod scrubbed;
mod stage;
mod table;
mod ways;

use self::stage::Stage;
use self::table::Table;

type Line = (u8, fn() -> Table, usize);

/// Each line's table, and the rows that it has at least.
const LINES: [Line; 18] = [
    (26, claims::t26, 40),
    (27, claims::t27, 190),
    (28, claims::t28, 70),
    (29, claims::t29, 45),
    (32, fields::t32, 80),
    (33, fields::t33, 80),
    (34, fields::t34, 150),
    (35, fields::t35, 30),
    (36, fields::t36, 195),
    (37, messages::t37, 60),
    (38, fields::t38, 185),
    (39, claims::t39, 75),
    (40, claims::t40, 50),
    (41, messages::t41, 150),
    (42, messages::t42, 65),
    (43, ways::t43, 90),
    (44, ways::t44, 55),
    (45, ways::t45, 30),
];

#[test]
fn every_line_has_its_rows() {
    let mut all = 0;
    for (line, table, least) in LINES {
        let rows = table().rows.len();
        println!("line {line}: {rows:3} rows");
        assert!(
            rows >= least,
            "line {line} has {rows} rows; {least} are wanted"
        );
        all += rows;
    }
    println!("{all} rows");
}

/// Puts all rows of a line to a gate of their own.
#[track_caller]
fn run(line: u8) {
    let stage = Stage::new();
    let (_, table, _) = LINES.iter().find(|(number, ..)| *number == line).unwrap();
    let rows = table().rows;
    // All are tried, whichever fails: the panics have said which did.
    let failed = rows
        .iter()
        .filter(|row| catch_unwind(AssertUnwindSafe(|| stage.check(row))).is_err())
        .count();
    assert_eq!(failed, 0, "of {} rows", rows.len());
    stage.check_log();
}

#[test]
fn threat_26_claims_are_found_by_whole_names() {
    run(26);
}

#[test]
fn threat_27_no_claim_ends_a_line() {
    run(27);
}

#[test]
fn threat_28_no_element_is_taken_for_two() {
    run(28);
}

#[test]
fn threat_29_an_address_is_of_one_domain_or_none() {
    run(29);
}

#[test]
fn threat_32_no_alias_stands_beside_the_claim() {
    run(32);
}

#[test]
fn threat_33_no_alias_stands_in_for_an_absent_claim() {
    run(33);
}

#[test]
fn threat_34_no_alias_stands_in_for_an_absent_token() {
    run(34);
}

#[test]
fn threat_35_connection_takes_nothing_that_was_injected() {
    run(35);
}

#[test]
fn threat_36_trailers_say_no_more_than_fields() {
    run(36);
}

#[test]
fn threat_37_what_is_no_field_is_no_request() {
    run(37);
}

#[test]
fn threat_38_only_we_say_where_a_request_comes_from() {
    run(38);
}

#[test]
fn threat_39_values_are_compared_one_by_one() {
    run(39);
}

#[test]
fn threat_40_what_is_not_verified_is_nobodys() {
    run(40);
}

#[test]
fn threat_41_one_form_of_a_path_decides_and_is_forwarded() {
    run(41);
}

#[test]
fn threat_42_a_request_has_one_authority() {
    run(42);
}

#[test]
fn threat_43_no_method_is_a_way_around() {
    run(43);
}

#[test]
fn threat_44_no_health_check_is_a_way_around() {
    run(44);
}

#[test]
fn threat_45_no_preflight_is_a_way_around() {
    run(45);
}
