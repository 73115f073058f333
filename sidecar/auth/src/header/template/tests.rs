use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::reason::Reason;

fn claims(value: Value) -> Claims {
    let Value::Object(mut map) = value else {
        unreachable!("an object")
    };
    map.extend([("exp".to_owned(), json!(1)), ("aud".to_owned(), json!("a"))]);
    Claims::new("corp".into(), None, map).unwrap()
}

fn render(template: &str, token: Value) -> Result<Option<String>, Reason> {
    let template = Template::parse(template).unwrap();
    match template.render(&claims(token)) {
        Ok(value) => Ok(value.map(|bytes| String::from_utf8(bytes.to_vec()).unwrap())),
        Err(refusal) => Err(refusal.reason),
    }
}

#[track_caller]
fn says(template: &str, token: Value, want: &str) {
    assert_eq!(render(template, token).unwrap().as_deref(), Some(want));
}

#[test]
fn claims_stand_in_a_text() {
    let token = || json!({"sub": "u1", "tenant": "acme", "n": 7, "b": true, "f": -1.5});
    says("{sub}@{tenant}", token(), "u1@acme");
    says("{sub}", token(), "u1");
    says("user {sub} of {tenant}.", token(), "user u1 of acme.");
    says("{n}/{b}/{f}", token(), "7/true/-1.5");
    says("{n}-{f}", token(), "7-%2D1.5");
    says("{{{sub}}}", token(), "{u1}");
    says("{sub}{{}}{tenant}", token(), "u1{}acme");
    says("{sub}/{sub}", token(), "u1/u1");
}

#[test]
fn t26_names_are_taken_whole_and_paths_are_lists() {
    let token = || {
        json!({
            "a.b": "dotted", "a": {"b": "inner"}, "https://x/y": {"id": "nested", "a]}b": "odd"},
            "https://x/z": "url", "[x": "bracket", "q\"": "quote",
        })
    };
    says("{a.b}", token(), "dotted");
    says(r#"{["a", "b"]}"#, token(), "inner");
    says(r#"{["a.b"]}"#, token(), "dotted");
    says(r#"<{["https://x/y", "id"]}>"#, token(), "<nested>");
    says("{https://x/z}", token(), "url");
    says(r#"{["https://x/y","a]}b"]}"#, token(), "odd");
    says(r#"{["[x"]}:{["q\""]}"#, token(), "bracket:quote");
    // Only the dotted sibling is there: it does not stand in for the inner member, nor the other way round.
    assert_eq!(
        render(r#"{["a", "b"]}"#, json!({"a.b": "dotted"})),
        Ok(None)
    );
    assert_eq!(render("{a.b}", json!({"a": {"b": "inner"}})), Ok(None));
    let paths = Template::parse(r#"{sub}@{["https://x/y", "id"]}"#).unwrap();
    let paths: Vec<_> = paths.claims().map(ToString::to_string).collect();
    assert_eq!(paths, [r#""sub""#, r#"["https://x/y", "id"]"#]);
}

#[test]
fn half_an_identity_is_none() {
    for token in [
        json!({"sub": "u1"}),
        json!({"tenant": "acme"}),
        json!({"sub": "u1", "tenant": null}),
        json!({"sub": "", "tenant": "acme"}),
        json!({"sub": "u1", "tenant": ""}),
        json!({}),
    ] {
        assert_eq!(render("{sub}@{tenant}", token.clone()), Ok(None), "{token}");
    }
    for odd in [json!(["acme"]), json!([]), json!({"id": "acme"})] {
        let token = json!({"sub": "u1", "tenant": odd});
        assert_eq!(
            render("{sub}@{tenant}", token),
            Err(Reason::ClaimUnencodable)
        );
    }
}

#[test]
fn t27_t28_no_claim_can_say_what_belongs_to_the_text() {
    let who = |sub: &str, tenant: &str| json!({"sub": sub, "tenant": tenant});
    says("{sub}@{tenant}", who("a@evil", "acme"), "a%40evil@acme");
    says("{sub}@{tenant}", who("a", "acme@evil"), "a@acme%40evil");
    says("{sub}@{tenant}", who("a%40evil", "t"), "a%2540evil@t");
    says("{sub}@{tenant}", who("a,b\"c", " t "), "a%2Cb%22c@%20t%20");
    says(
        "{sub}@{tenant}",
        who("a\r\nx-admin: 1\0", "Zoë"),
        "a%0D%0Ax-admin: 1%00@Zo%C3%AB",
    );
    says(
        "user={sub};tenant={tenant}",
        who("a;tenant=b", "user"),
        "user=a%3Btenant%3Db;tenant=user",
    );
    // Letters and digits of the text are no separators, so they stay readable.
    says("id {sub}", who("did it", "t"), "id did%20it");
    says("{sub}", who("a@b:c/d", "t"), "a@b:c/d");
}

#[test]
fn values_are_capped_while_they_are_made() {
    let token = json!({"big": "\u{1}".repeat(3000)});
    assert_eq!(render("{big}", token), Err(Reason::IdentityTooLarge));
    let fits = json!({"a": "x".repeat(MAX_VALUE - 1)});
    assert_eq!(
        render("{a}.", fits.clone()).unwrap().unwrap().len(),
        MAX_VALUE
    );
    assert_eq!(render("{a}..", fits), Err(Reason::IdentityTooLarge));
}

#[test]
fn a_refusal_names_the_claim() {
    let template = Template::parse("{sub}@{tenant}").unwrap();
    let refusal = template
        .render(&claims(json!({"sub": "u", "tenant": [1]})))
        .unwrap_err();
    assert!(
        refusal.detail.starts_with(r#"claim "tenant": "#),
        "{refusal}"
    );
}

#[test]
fn mistakes_name_the_template_and_the_cure() {
    for (source, said) in [
        ("", "names no claim"),
        ("prod", "write `value:` for a text that never changes"),
        ("{{sub}}", "names no claim"),
        ("{sub", "has a `{` of its own at byte 0"),
        ("a{sub{x}", "has a `{` of its own at byte 1"),
        ("sub}", "has a `}` of its own at byte 3; write `}}`"),
        ("{sub}}", "has a `}` of its own at byte 5"),
        ("{}", "`{}` at byte 0"),
        ("{ }", "names nothing"),
        (
            "{[]}",
            "`{[]}` at byte 0 of the template \"{[]}\" names nothing",
        ),
        ("{ sub}", "has spaces or quotes around a name"),
        ("{sub }", "has spaces or quotes around a name"),
        ("{\"sub\"}", "has spaces or quotes around a name"),
        (
            "{[sub]}",
            "`{[sub]}` at byte 0 of the template \"{[sub]}\" is no list of names",
        ),
        ("{[\"a\", 1]}", "is no list of names"),
        ("{[\"a\"", "is no list of names"),
        ("{[\"a\"]", "does not end behind its list"),
        ("{[\"a\"].b}", "does not end behind its list"),
        ("{sub}%{t}", "holds '%', which"),
        ("{sub}é{t}", "holds 'é', which"),
        ("{sub}\n", "holds '\\n', which"),
        (" {sub}", "begins or ends with a space"),
        ("{sub} ", "begins or ends with a space"),
        ("{sub}{t}", "separates \"sub\" from \"t\""),
        ("{sub}x9{t}", "such as `@`, `:` or `/` between them"),
        (
            "{a}@{b}{[\"c\",\"d\"]}",
            "separates \"b\" from [\"c\", \"d\"]",
        ),
        ("{a}x{b}@{c}", "separates \"a\" from \"b\""),
    ] {
        let error = Template::parse(source).unwrap_err().to_string();
        assert!(error.contains(said), "{source:?}: {error}");
        let shown = source.escape_debug().to_string();
        assert!(error.contains(&shown), "{source:?} is not in: {error}");
    }
    let long = format!("{{sub}}{}", "x".repeat(MAX_TEMPLATE - 4));
    assert!(Template::parse(&long[..MAX_TEMPLATE]).is_ok());
    let error = Template::parse(&long).unwrap_err();
    assert_eq!(error, TemplateError::TooLong(MAX_TEMPLATE + 1));
}

#[test]
fn it_is_shown_as_configured() {
    let template = Template::parse("{sub}@{{").unwrap();
    assert_eq!(template.to_string(), r#""{sub}@{{""#);
    assert_eq!(format!("{template:?}"), r#"Template("{sub}@{{")"#);
}

/// Reads a value back by the rule that docs/headers.md gives, and by nothing else.
fn read_back(texts: &[String], value: &str) -> Vec<String> {
    let is_separator = |c: char| {
        texts
            .iter()
            .any(|t| t.contains(c) && !c.is_ascii_alphanumeric())
    };
    let mut rest = value.strip_prefix(texts[0].as_str()).unwrap();
    let mut found = Vec::new();
    for (index, text) in texts.iter().enumerate().skip(1) {
        let end = if index + 1 == texts.len() {
            rest.len() - text.len()
        } else {
            let first = text.find(|c: char| !c.is_ascii_alphanumeric()).unwrap();
            rest.find(is_separator).unwrap() - first
        };
        let (said, behind) = rest.split_at(end);
        rest = behind.strip_prefix(text.as_str()).unwrap();
        found.push(unescape(said));
    }
    assert_eq!(rest, "");
    found
}

fn unescape(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        if first == b'%' {
            let hex = std::str::from_utf8(&tail[..2]).unwrap();
            bytes.push(u8::from_str_radix(hex, 16).unwrap());
            rest = &tail[2..];
        } else {
            bytes.push(first);
            rest = tail;
        }
    }
    String::from_utf8(bytes).unwrap()
}

/// Text before, between and behind `count` claims.
fn texts(count: usize) -> impl Strategy<Value = Vec<String>> {
    let edge = "([a-c@:;=.-][a-c@:; =.-]{0,2}[a-c@])?";
    let between = prop::collection::vec("[ab1]{0,2}[@:; =./-]{1,2}[ab1]{0,2}", count - 1);
    (edge, between, edge).prop_map(|(first, between, last)| {
        let mut all = vec![first];
        all.extend(between);
        all.push(last);
        all
    })
}

/// What an attacker would try: the text's own characters, escapes, and whatever else.
fn said() -> impl Strategy<Value = String> {
    prop_oneof![
        "[ab1@:; =./%-]{1,8}",
        "(%[0-9A-F]{2}|[@,\"\r\n ]|a){1,4}",
        any::<String>().prop_filter("absent", |text| !text.is_empty()),
    ]
}

proptest! {
    /// Whoever knows the template reads each claim back as it was: no two identities look the same.
    #[test]
    fn every_value_reads_back_in_one_way(
        (texts, values) in (1_usize..4).prop_flat_map(|count| {
            (texts(count), prop::collection::vec(said(), count))
        }),
    ) {
        let mut source = texts[0].clone();
        let mut token = json!({});
        for (index, value) in values.iter().enumerate() {
            source.push_str(&format!("{{c{index}}}{}", texts[index + 1]));
            token[format!("c{index}")] = json!(value);
        }
        let value = render(&source, token).unwrap().unwrap();
        prop_assert!(tollgate_http::fields::valid_value(value.as_bytes()));
        prop_assert!(value.bytes().all(|b| (b' '..=b'~').contains(&b)));
        prop_assert_eq!(value.trim(), &value);
        prop_assert_eq!(read_back(&texts, &value), values);
    }

    #[test]
    fn parsing_never_panics(source in "[{}\\[\\]\"a@ ,\\\\é%]{0,12}") {
        let _ = Template::parse(&source).is_ok();
    }
}
