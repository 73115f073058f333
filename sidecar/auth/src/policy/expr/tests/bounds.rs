//! No expression takes more than its steps, or more stack than there is, whatever it is evaluated over.

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::{claims, facts};
use crate::policy::expr::{BUDGET, Expression, Fault};
use crate::policy::testing::request;

/// As hostile as a token of 16 KiB can be: the most values and members that [`crate::token`] takes, long texts, depth.
fn hostile() -> Json {
    let mut deep = json!(1);
    for _ in 0..13 {
        deep = json!([deep]);
    }
    json!({
        "ints": (0..4_000).collect::<Vec<_>>(),
        "texts": vec!["aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab"; 300],
        "map": (0..500).map(|n| (format!("key{n}"), json!(n))).collect::<serde_json::Map<_, _>>(),
        "text": "a".repeat(12_000),
        "mail": format!("{}@{}", "a".repeat(6_000), "B".repeat(6_000)),
        "spaces": " ".repeat(6_000),
        "digits": "9".repeat(12_000),
        "deep": deep,
        "one": 1,
    })
}

fn steps(text: &str, over: &Json) -> (Result<bool, Fault<'static>>, u32) {
    let head = request(&[]);
    let rule = Expression::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    let claims = claims(over.clone());
    let facts = facts(&head, None);
    let evaluated = rule.evaluate(Some(&claims), &facts);
    let outcome = match evaluated.outcome {
        Ok(value) => Ok(value),
        Err(Fault::TooManySteps) => Err(Fault::TooManySteps),
        Err(_) => Err(Fault::NotBoolean),
    };
    (outcome, evaluated.steps)
}

/// What goes through lists in lists, or writes texts and lists without end, is cut off; what an operator forgives is not
/// forgiven here.
#[test]
fn hostile_rules_end_at_their_budget() {
    let over = hostile();
    for rule in [
        "claims.ints.all(x, claims.ints.all(y, x + y >= 0))",
        "claims.ints.all(x, x in claims.ints)",
        "claims.ints.map(x, claims.ints).exists(l, l == 1)  || claims.ints.map(x, claims.ints.map(y, [x, y])).size() == 0",
        "claims.ints.all(x, claims.ints == claims.ints)",
        "claims.texts.all(x, claims.texts == claims.texts)",
        "claims.ints.all(x, claims.map == claims.map)",
        "claims.ints.map(x, claims.text + claims.text).size() == 1",
        "claims.ints.map(x, claims.text.upperAscii()).size() == 1",
        "claims.ints.map(x, claims.spaces.split(' ')).size() == 1",
        "claims.ints.map(x, claims.ints + claims.ints).size() == 1",
        "claims.ints.map(x, {x: claims.map, 'b': x}).size() == 1 && claims.ints.map(x, [x, x, x, x, x, x, x]).size() == 1",
        "claims.ints.all(x, claims.text.contains('aaaaaaaaaaaaaaaaaaab') == false)",
        "claims.ints.all(x, !claims.text.matches('(a|aa)*b$'))",
        "claims.ints.all(x, !claims.text.matches('a{20}b|a{10}c'))",
        "claims.ints.all(x, claims.text < claims.text + 'b')",
        "claims.ints.all(x, size(claims.text) > x)",
        "claims.ints.all(x, emailDomain(claims.mail) != '')",
        "claims.ints.exists(x, int(claims.digits) == 1)",
        "claims.ints.all(x, double(claims.digits) > 1.0)",
        "claims.ints.all(x, claims.map.map(k, k).size() > 0)",
        // Each of these would go on where an error is forgiven.
        "claims.ints.all(x, claims.ints.all(y, true)) || true",
        "claims.ints.all(x, claims.ints.all(y, true)) && false",
        "claims.ints.exists(x, claims.ints.all(y, true) && false || x == -1)",
        "!claims.ints.exists(x, claims.ints.exists(y, claims.none == y) || x == -1) || true",
        "claims.ints.exists_one(x, claims.ints.exists_one(y, y == 5)) || true",
    ] {
        assert_eq!(
            steps(rule, &over),
            (Err(Fault::TooManySteps), BUDGET),
            "{rule}"
        );
    }
}

/// The other side that a stranger writes: names and values of headers, as many and as long as a head may have them.
#[test]
fn hostile_headers_end_rules_at_their_budget() {
    let dashes = "-".repeat(60_000);
    let many: Vec<String> = (0..100).map(|n| format!("x-field-{n}")).collect();
    let long: [(&str, &[u8]); 3] = [(&dashes, b""), ("x-a", b"1"), ("x-b", &[b'a'; 4_000])];
    let many: Vec<(&str, &[u8])> = many.iter().map(|name| (name.as_str(), &b"1"[..])).collect();
    let claims = claims(hostile());
    for fields in [&long[..], &many] {
        let head = request(fields);
        let facts = facts(&head, None);
        for rule in [
            "claims.ints.all(x, !('x-c' in request.headers))",
            "claims.ints.all(x, request.headers.values('x-a').size() < 2)",
            "claims.ints.all(x, claims.ints.all(y, request.headers['x-field-99'] == '1' || true))",
            "claims.ints.map(x, request.headers.values('x-b')).size() == 0",
        ] {
            let rule = Expression::parse(rule).unwrap();
            let evaluated = rule.evaluate(Some(&claims), &facts);
            assert_eq!(evaluated.outcome, Err(Fault::TooManySteps), "{rule:?}");
        }
    }
    // A name is compared letter by letter, and dashes do not count as letters: each look walks through all of them.
    let head = request(&long);
    let facts = facts(&head, None);
    for rule in [
        "!('x-c' in request.headers)",
        "request.headers['x-a'] == '1'",
        "request.headers.values('x-a') == ['1']",
    ] {
        let rule = Expression::parse(rule).unwrap();
        let evaluated = rule.evaluate(Some(&claims), &facts);
        assert_eq!(evaluated.outcome, Ok(true), "{rule:?}");
        assert!(
            evaluated.steps > 60_000 / 8,
            "{rule:?}: {}",
            evaluated.steps
        );
    }
}

/// What a rule is for costs next to nothing beside the budget, over large claims too.
#[test]
fn typical_rules_are_far_from_their_budget() {
    let over = json!({
        "level": 2, "groups": (0..200).map(|n| format!("group-{n:03}")).collect::<Vec<_>>(), "tenant": "acme",
        "email": "alice@corp.com", "scope": "a b c d e f",
    });
    for (rule, most) in [
        ("claims.level >= 2", 10),
        (
            "claims.level >= 2 && claims.tenant in ['acme', 'globex']",
            25,
        ),
        (
            "has(claims.role) && claims.role == 'x' || emailDomain(claims.email) == 'corp.com'",
            40,
        ),
        (
            "request.method in ['GET', 'HEAD'] || 'd' in claims.scope.split(' ')",
            60,
        ),
        ("'group-150' in claims.groups", 700),
        ("claims.groups.exists(g, g.startsWith('group-199'))", 2_000),
        ("claims.groups.all(g, g.matches('^group-[0-9]{3}$'))", 2_000),
    ] {
        let (outcome, steps) = steps(rule, &over);
        assert_eq!(outcome, Ok(true), "{rule}");
        assert!(steps <= most, "{rule}: {steps}");
    }
}

/// Twice the data is about twice the steps, for everything that goes through data: none is charged as if it were free.
#[test]
fn steps_grow_with_what_is_gone_through() {
    let over = |n: usize| {
        json!({
            "list": (0..n).collect::<Vec<_>>(), "text": "a".repeat(32 * n), "spaces": "a ".repeat(n), "last": n - 1,
            "texts": vec!["aaaa"; n], "map": (0..n).map(|n| (format!("k{n}"), json!(n))).collect::<serde_json::Map<_, _>>(),
            "mail": format!("{}@B", "a".repeat(32 * n)), "digits": "0".repeat(32 * n),
        })
    };
    for rule in [
        "claims.last in claims.list",
        "claims.list == claims.list",
        "claims.texts == claims.texts",
        "claims.map == claims.map",
        "claims.list.all(x, x >= 0)",
        "!claims.list.exists(x, x < 0)",
        "claims.list.exists_one(x, x == 1)",
        "claims.list.map(x, x).size() > 0",
        "claims.list.filter(x, true).size() > 0",
        "claims.map.all(k, k != '')",
        "claims.list + claims.list != []",
        "claims.text + 'b' != ''",
        "claims.text == claims.text",
        "claims.text <= claims.text",
        "!claims.text.contains('b')",
        "!('b' + claims.text).contains('a' + claims.text)",
        "claims.text.startsWith(claims.text)",
        "claims.text.endsWith(claims.text)",
        "claims.text.matches('a$')",
        "claims.text.size() > 0",
        "claims.text.lowerAscii() != ''",
        "claims.spaces.split(' ').size() > 0",
        "('' + claims.spaces).split(' ').size() > 0",
        "emailDomain(claims.mail) == 'b'",
        "int(claims.digits) == 0",
        "uint(claims.digits) == 0u",
        "double(claims.digits) == 0.0",
        "!([1].exists(x, claims.text == ''))  && claims.text != claims.text + ''|| claims.text in [claims.text]",
    ] {
        let [small, large] = [50, 100].map(|n| {
            let (outcome, steps) = steps(rule, &over(n));
            assert_eq!(outcome, Ok(true), "{rule}");
            steps
        });
        assert!(
            small >= 25 && large >= small + small / 2,
            "{rule}: {small}, then {large}"
        );
    }
}

/// Texts of one character more than is taken, and of everything that nests, as deep as 4096 characters allow. Each test
/// has the 2 MiB of stack that a thread usually has.
#[test]
fn depth_is_bounded_in_every_form() {
    let wrapped = |open: &str, inside: &str, close: &str, n: usize| {
        format!("{}{inside}{}", open.repeat(n), close.repeat(n))
    };
    let forms: &[(&str, &str, &str)] = &[
        ("(", "true", ")"),
        ("[", "1", "]"),
        ("{1:", "1", "}"),
        ("!", "true", ""),
        ("-", "1", ""),
        ("", "1", "+1"),
        ("", "1", "==1"),
        ("", "claims", ".a"),
        ("", "claims", "[0]"),
        ("", "claims", ".size()"),
        ("true?true:", "true", ""),
        ("true?", "true", ":true"),
        ("", "true", "||true"),
        ("", "true", "&&true"),
        ("", "true", "||true&&true"),
        ("has(", "claims.a", ")"),
        ("size(", "claims", ")"),
        ("claims.all(x,", "true", ")"),
        ("claims.map(x,", "x", ")"),
        ("claims.exists(x,", "true", "||true)"),
        ("(1+", "1", ")"),
        ("f(", "1", ",1)"),
        ("a{b:", "1", "}"),
        ("(", "", ""),
        ("", "", ")"),
        ("\"", "", ""),
        ("claims.a ", "", ""),
        ("1 in ", "claims", ""),
        ("/", "", ""),
        ("?", "", ""),
        ("\\", "", ""),
    ];
    let claims = claims(json!({"a": 1}));
    let head = request(&[]);
    let facts = facts(&head, None);
    for (open, inside, close) in forms {
        for n in [
            1, 8, 20, 24, 25, 40, 48, 49, 60, 97, 200, 500, 1_000, 2_000, 4_000,
        ] {
            let text = wrapped(open, inside, close, n);
            if text.len() > 4_200 {
                break;
            }
            if let Ok(rule) = Expression::parse(&text) {
                let evaluated = rule.evaluate(Some(&claims), &facts);
                assert!(evaluated.steps <= BUDGET, "{text}");
            }
        }
    }
    let error = Expression::parse(&format!("true{}", " ".repeat(4_093))).unwrap_err();
    assert!(error.to_string().contains("at most 4096"), "{error}");
    assert!(Expression::parse(&format!("true{}", " ".repeat(4_092))).is_ok());
}

/// Pieces of which the random texts are made: most make sense beside each other.
const PIECES: &[&str] = &[
    "claims",
    ".ints",
    ".texts",
    ".map",
    ".text",
    ".one",
    ".deep",
    ".none",
    "claims.ints",
    "claims.text",
    "claims.one",
    "request.path",
    "request.headers['x-a']",
    "source.address",
    "tls.client",
    "x",
    "y",
    "1",
    "2u",
    "1.5",
    "'a'",
    "\"b\"",
    "''",
    "true",
    "false",
    "null",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ",",
    ":",
    "?",
    "+",
    "-",
    "*",
    "/",
    "%",
    "!",
    "==",
    "!=",
    "<",
    "<=",
    ">",
    ">=",
    "&&",
    "||",
    " in ",
    ".",
    ".all(x, ",
    ".exists(x, ",
    ".exists_one(y, ",
    ".map(y, ",
    ".filter(x, ",
    ".size()",
    ".contains(",
    ".startsWith(",
    ".matches('a+')",
    ".matches(",
    ".split(",
    "size(",
    "int(",
    "double(",
    "string(",
    "uint(",
    "bool(",
    "dyn(",
    "emailDomain(",
    "has(claims.one)",
    ".lowerAscii()",
    "cidr('10.0.0.0/8').containsIP(",
    ".values('x-a')",
    "[0]",
    "['a']",
    " ",
    "\n",
    "//c\n",
    "'\\u00e4'",
    "r'\\'",
    "b'a'",
    "9223372036854775807",
    "18446744073709551615u",
    "1e300",
    "-9223372036854775808",
    "\u{e4}",
    "`a`",
    "\\",
    "\"\"\"",
    "@",
    "$",
];

/// Random expressions that are well-formed, over the hostile claims.
fn expression() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(vec![
        "claims.ints",
        "claims.texts",
        "claims.map",
        "claims.text",
        "claims.one",
        "claims.deep",
        "claims.digits",
        "claims.none",
        "x",
        "true",
        "1",
        "0",
        "2u",
        "1.5",
        "'a'",
        "''",
        "null",
        "[1, 2]",
        "{'a': 1}",
        "request.path",
        "source.address",
        "-9223372036854775808",
        "18446744073709551615u",
    ])
    .prop_map(str::to_owned);
    leaf.prop_recursive(5, 24, 3, |inner| {
        let operator = prop::sample::select(vec![
            "==", "!=", "<", "<=", ">", ">=", "+", "-", "*", "/", "%", "&&", "||", "in",
        ]);
        let function = prop::sample::select(vec![
            "size",
            "int",
            "uint",
            "double",
            "string",
            "bool",
            "dyn",
            "emailDomain",
        ]);
        let member = prop::sample::select(vec!["contains", "startsWith", "endsWith", "split"]);
        let each = prop::sample::select(vec!["all", "exists", "exists_one", "map", "filter"]);
        prop_oneof![
            (inner.clone(), operator, inner.clone()).prop_map(|(a, o, b)| format!("({a} {o} {b})")),
            (function, inner.clone()).prop_map(|(f, a)| format!("{f}({a})")),
            (inner.clone(), member, inner.clone())
                .prop_map(|(a, m, b)| format!("dyn({a}).{m}({b})")),
            (inner.clone(), each, inner.clone())
                .prop_map(|(a, e, b)| format!("dyn({a}).{e}(x, dyn({b}))")),
            (inner.clone(), inner.clone(), inner.clone())
                .prop_map(|(a, b, c)| format!("(dyn({a}) ? {b} : {c})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("dyn({a})[{b}]")),
            (inner.clone(), inner).prop_map(|(a, b)| format!("[{a}, {b}]")),
        ]
    })
}

proptest! {
    #[test]
    fn any_text_is_taken_or_refused_and_none_breaks_anything(
        pieces in prop::collection::vec(prop::sample::select(PIECES), 0..24)
    ) {
        run(&pieces.concat())?;
    }

    #[test]
    fn well_formed_expressions_end_within_their_steps(text in expression()) {
        run(&format!("dyn([0].exists(x, dyn({text})))"))?;
    }
}

fn run(text: &str) -> Result<(), TestCaseError> {
    let head = request(&[("x-a", b"1")]);
    let facts = facts(&head, None);
    let claims = claims(hostile());
    if let Ok(rule) = Expression::parse(text) {
        let evaluated = rule.evaluate(Some(&claims), &facts);
        prop_assert!(evaluated.steps <= BUDGET);
        let spent = evaluated.outcome == Err(Fault::TooManySteps);
        prop_assert!(!spent || evaluated.steps == BUDGET);
        // The same again: nothing of an evaluation is left behind.
        prop_assert_eq!(rule.evaluate(Some(&claims), &facts), evaluated);
    }
    Ok(())
}
