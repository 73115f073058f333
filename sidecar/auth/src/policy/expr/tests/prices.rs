//! What each operation is charged, to the step: a price is changed on purpose or not at all.

use serde_json::json;

use super::{claims, facts};
use crate::policy::expr::Expression;
use crate::policy::testing::request;

/// A node of the expression.
const NODE: u32 = 1;
/// The test of two values for equality, beside what their bytes take.
const EQUAL: u32 = 1;

const fn bulk(bytes: u32) -> u32 {
    1 + bytes / 32
}

const fn bytewise(bytes: u32) -> u32 {
    1 + bytes / 8
}

const fn allocation(pieces: u32) -> u32 {
    8 + 2 * pieces
}

/// Sizes are such that no other sum or product of them comes to the same.
#[test]
fn operations_are_charged_by_the_size_of_what_they_go_through() {
    let long_name = "n".repeat(40);
    let over = json!({
        "forty": "a".repeat(40), "seventy": "a".repeat(70), "eight": "--------",
        "three": "aaaaaaaa--------bbbbbbbb--------cccccccc",
        "mail": format!("a@{}", "b".repeat(38)), "MAIL": format!("a@{}", "B".repeat(38)),
        "digits": format!("{:040}", 7), "number": 7, "ip": "192.0.2.7",
        "list": [1, 2, 3], "pair": [1, 2], "map": {"a": 1, "b": 2}, long_name.as_str(): 1,
    });
    let value = [b'a'; 40];
    let head = request(&[("x-a", &value[..]), ("x-forty", b"1")]);
    let claims = claims(over);
    let facts = facts(&head, None);
    let taken = |text: &str| {
        let rule = Expression::parse(&format!("dyn({text})")).unwrap();
        rule.evaluate(Some(&claims), &facts).steps
    };
    // The names of the two fields.
    let fields = 2 + bytewise(3 + 7);
    let (long, absent) = (
        format!("claims.{long_name}"),
        format!("{{claims.eight: 1, claims.forty: 2}}.{long_name}"),
    );
    let rows: &[(&str, &[&str], u32)] = &[
        // Texts.
        ("size(claims.forty)", &["claims.forty"], bytewise(40)),
        (
            "claims.forty.lowerAscii()",
            &["claims.forty"],
            bytewise(80) + allocation(0),
        ),
        (
            "claims.forty.upperAscii()",
            &["claims.forty"],
            bytewise(80) + allocation(0),
        ),
        (
            "claims.forty.contains(claims.eight)",
            &["claims.forty", "claims.eight"],
            bytewise(48),
        ),
        (
            "claims.eight.startsWith(claims.forty)",
            &["claims.eight", "claims.forty"],
            bulk(40),
        ),
        (
            "claims.eight.endsWith(claims.forty)",
            &["claims.eight", "claims.forty"],
            bulk(40),
        ),
        (
            "claims.three.split(claims.eight)",
            &["claims.three", "claims.eight"],
            bytewise(2 * 48) + allocation(2 * 3),
        ),
        (
            "(claims.three + '').split(claims.eight)",
            &["claims.three + ''", "claims.eight"],
            bytewise(2 * 48) + allocation(2 * 3) + allocation(4 * 3 + 1),
        ),
        (
            "claims.forty + claims.seventy",
            &["claims.forty", "claims.seventy"],
            allocation(3),
        ),
        (
            "claims.forty.matches('b$')",
            &["claims.forty"],
            bytewise(80),
        ),
        ("emailDomain(claims.mail)", &["claims.mail"], bytewise(120)),
        (
            "emailDomain(claims.MAIL)",
            &["claims.MAIL"],
            bytewise(120) + allocation(1),
        ),
        (
            "emailDomain(claims.mail + '')",
            &["claims.mail + ''"],
            bytewise(120) + allocation(1),
        ),
        (
            "cidr('10.0.0.0/8').containsIP(claims.ip)",
            &["claims.ip"],
            bytewise(9),
        ),
        // Conversions.
        ("int(claims.digits)", &["claims.digits"], bytewise(40)),
        ("uint(claims.digits)", &["claims.digits"], bytewise(40)),
        (
            "double(claims.digits)",
            &["claims.digits"],
            16 + bytewise(160),
        ),
        ("string(claims.number)", &["claims.number"], allocation(1)),
        // Comparisons.
        (
            "claims.forty == claims.forty",
            &["claims.forty", "claims.forty"],
            EQUAL + bulk(40),
        ),
        (
            "claims.forty == claims.eight",
            &["claims.forty", "claims.eight"],
            EQUAL,
        ),
        (
            "claims.seventy < claims.forty",
            &["claims.seventy", "claims.forty"],
            bulk(40),
        ),
        (
            "claims.number < claims.number",
            &["claims.number", "claims.number"],
            0,
        ),
        (
            "claims.list == claims.list",
            &["claims.list", "claims.list"],
            EQUAL + 3 * EQUAL,
        ),
        (
            "claims.list == claims.pair",
            &["claims.list", "claims.pair"],
            EQUAL,
        ),
        (
            "claims.map == claims.map",
            &["claims.map", "claims.map"],
            EQUAL + allocation(2) + 2 * (bulk(8) + bulk(8) + EQUAL),
        ),
        // Lists and maps.
        (
            "claims.number in claims.list",
            &["claims.number", "claims.list"],
            3 * EQUAL,
        ),
        (
            "claims.list + claims.pair",
            &["claims.list", "claims.pair"],
            allocation(5),
        ),
        ("claims.list[1]", &["claims.list", "1"], 0),
        (
            "[claims, claims, claims]",
            &["claims", "claims", "claims"],
            allocation(3),
        ),
        (
            "{'a': claims, 'b': claims, 'c': claims}",
            &["'a'", "'b'", "'c'", "claims", "claims", "claims"],
            allocation(6) + 3 * (EQUAL + bulk(1)),
        ),
        (
            "{1: claims, 2: claims, 3: claims}[2]",
            &["{1: claims, 2: claims, 3: claims}", "2"],
            2 * EQUAL,
        ),
        (&long, &["claims"], bulk(8 * 40)),
        (
            &absent,
            &["{claims.eight: 1, claims.forty: 2}"],
            2 * bulk(40),
        ),
        // What the request brings.
        ("source.address", &[], allocation(2)),
        ("request.headers['x-a']", &[], fields + bulk(40)),
        ("'x-a' in request.headers", &[], fields),
        (
            "request.headers.values('x-a')",
            &[],
            fields + allocation(1) + bulk(40),
        ),
        // Macros: for each element a step, its test, its item and its place in what is collected.
        ("claims.list.all(x, true)", &["claims.list"], 3 * (1 + NODE)),
        (
            "claims.map.all(x, true)",
            &["claims.map"],
            allocation(2) + 2 * (1 + NODE),
        ),
        (
            "claims.list.map(x, 1)",
            &["claims.list"],
            3 * (1 + NODE + 4),
        ),
        (
            "claims.list.filter(x, true)",
            &["claims.list"],
            3 * (1 + NODE + NODE + 4),
        ),
    ];
    for (operation, operands, price) in rows {
        let operands: u32 = operands.iter().map(|operand| taken(operand)).sum();
        assert_eq!(taken(operation), operands + NODE + price, "{operation}");
    }
}
