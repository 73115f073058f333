//! What we answer, the `cel` crate's own interpreter answers too.

use std::collections::HashMap;
use std::sync::Arc;

use cel::{Context, Program, Value};
use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::{claims, facts, token};
use crate::policy::expr::{Expression, Fault};
use crate::policy::testing::request;

fn value(json: &Json) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(value) => Value::Bool(*value),
        Json::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(int), _) => Value::Int(int),
            (None, Some(uint)) => Value::UInt(uint),
            (None, None) => Value::Float(number.as_f64().unwrap()),
        },
        Json::String(text) => text.as_str().into(),
        Json::Array(list) => Value::List(Arc::new(list.iter().map(value).collect())),
        Json::Object(map) => {
            let map: HashMap<String, Value> = map
                .iter()
                .map(|(name, json)| (name.clone(), value(json)))
                .collect();
            Value::Map(map.into())
        }
    }
}

/// The interpreter's answer: a boolean, or none.
fn interpreted(text: &str, over: &Json) -> Option<bool> {
    let mut context = Context::default();
    context.add_variable_from_value("claims", value(over));
    match Program::compile(text).unwrap().execute(&context) {
        Ok(Value::Bool(value)) => Some(value),
        _ => None,
    }
}

/// Ours; outside, `None` for what we refuse to compile or to finish.
fn ours(text: &str, over: &Json) -> Option<Option<bool>> {
    let head = request(&[]);
    let rule = Expression::parse(text).ok()?;
    let claims = claims(over.clone());
    match rule.evaluate(Some(&claims), &facts(&head, None)).outcome {
        Ok(value) => Some(Some(value)),
        Err(Fault::TooManySteps) => None,
        Err(_) => Some(None),
    }
}

#[test]
fn parity_of_what_holds_and_what_has_no_answer() {
    let over = token();
    for text in [
        "claims.sub == 'alice'",
        "claims.level >= 2 && claims.whole >= 2",
        "claims.level == 2.0 && claims.level == 2u",
        "claims.big > 9223372036854775807",
        "claims.role == 'a'",
        "has(claims.role)",
        "has(claims.none)",
        "claims.none == null",
        "has(claims.address.zip) && !has(claims.address.street)",
        "'sub' in claims && !('role' in claims)",
        "'dev' in claims.groups && 2.0 in claims.mixed",
        "claims.groups[0] == 'dev' && claims['a.b'] == 'dotted'",
        "claims.groups[7] == 'dev'",
        "claims.groups + ['x'] == ['dev', 'ops', 'x']",
        "{'b': 'inner'} == claims.a && {'a': 1} != {'a': 2}",
        "claims.absent == 1 || true",
        "true || claims.absent == 1",
        "claims.absent == 1 && false",
        "claims.absent == 1 || false",
        "claims.sub || true",
        "claims.level ? true : false",
        "!claims.active || claims.score > 2",
        "claims.mixed.exists(m, m == 'a' || m > 5)",
        "claims.mixed.exists(m, m > 5)",
        "claims.mixed.all(m, m > 1)",
        "claims.empty.all(m, false) && !claims.empty.exists(m, true)",
        "claims.groups.exists_one(g, g == 'dev')",
        "claims.mixed.exists_one(m, m > 1)",
        "claims.groups.map(g, g + '!') == ['dev!', 'ops!']",
        "claims.groups.map(g, g == 'ops', g + '!') == ['ops!']",
        "claims.groups.filter(g, g != 'dev') == ['ops']",
        "claims.groups.map(g, claims.groups.map(h, g + h)) == [['devdev', 'devops'], ['opsdev', 'opsops']]",
        "claims.address.exists(k, k == 'zip') && claims.address.all(k, k.size() > 2)",
        "claims.sub.startsWith('al') && claims.sub.endsWith('ce') && claims.sub.contains('lic')",
        "size(claims.name) == 3 && claims.groups.size() == 2 && size(claims.address) == 2",
        "claims.level + 1 == 3 && 7 % claims.level == 1 && -7 / claims.level == -3",
        "claims.level / 0 == 1",
        "claims.level + 0.5 == 2.5",
        "9223372036854775807 + claims.level == 1",
        "int(claims.whole) == 2 && double(claims.level) == 2.0 && uint(2) == 2u && string(claims.level) == '2'",
        "int('12') == 12 && int(claims.sub) == 1",
        "claims.sub < 'b' && claims.sub >= 'alice'",
        "claims.sub < claims.level",
        "claims.active > false",
    ] {
        assert_eq!(ours(text, &over), Some(interpreted(text, &over)), "{text}");
    }
}

/// Expressions over small claims of every type.
fn expression() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(vec![
        "claims.a",
        "claims.b",
        "claims.list",
        "claims.map",
        "claims.text",
        "claims.none",
        "claims.absent",
        "claims.half",
        "claims.big",
        "true",
        "false",
        "0",
        "1",
        "2",
        "-1",
        "1.0",
        "2.5",
        "2u",
        "'a'",
        "'ab'",
        "''",
        "null",
        "[1, 'a']",
        "{'a': 1}",
        "[]",
    ])
    .prop_map(str::to_owned);
    leaf.prop_recursive(4, 16, 3, |inner| {
        let operator = prop::sample::select(vec![
            "==", "!=", "<", "<=", ">", ">=", "+", "-", "*", "/", "%", "&&", "||", "in",
        ]);
        let member = prop::sample::select(vec!["contains", "startsWith", "endsWith"]);
        let each = prop::sample::select(vec!["all", "exists", "exists_one", "map", "filter"]);
        let test = prop::sample::select(vec![
            "x == 1",
            "x > 1",
            "x",
            "true",
            "x == 'a'",
            "x != claims.a",
            "has(claims.absent)",
        ]);
        prop_oneof![
            (inner.clone(), operator, inner.clone())
                .prop_map(|(a, o, b)| format!("(dyn({a}) {o} dyn({b}))")),
            (inner.clone(), member, inner.clone())
                .prop_map(|(a, m, b)| format!("dyn({a}).{m}(dyn({b}))")),
            (inner.clone(), each, test).prop_map(|(a, e, t)| format!("dyn({a}).{e}(x, {t})")),
            (inner.clone(), inner.clone(), inner.clone())
                .prop_map(|(a, b, c)| format!("(dyn({a}) ? {b} : {c})")),
            inner.clone().prop_map(|a| format!("size(dyn({a}))")),
            inner.clone().prop_map(|a| format!("!dyn({a})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("dyn({a})[dyn({b})]")),
            (inner.clone(), inner).prop_map(|(a, b)| format!("[{a}, {b}]")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    /// Where we have an answer, it is theirs. Where we have none they may: they add a map to a list, for instance.
    #[test]
    fn parity_of_any_expression(a in expression(), b in expression()) {
        let over = json!({
            "a": 1, "b": true, "list": [1, 2, "a", null, 2.0], "map": {"a": 1, "b": [2]}, "text": "abc", "none": null, "half": 2.5,
            "big": u64::MAX,
        });
        for text in [format!("dyn({a}) == dyn({b})"), format!("dyn({a}) || dyn({b})"), format!("dyn({a})")] {
            // `dyn` is ours and the specification's; the crate's interpreter does not have it.
            let bare = text.replace("dyn(", "(");
            if let Some(Some(answer)) = ours(&text, &over) {
                prop_assert_eq!(Some(answer), interpreted(&bare, &over), "{}", text);
            }
        }
    }
}
