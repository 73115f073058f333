use super::*;
use serde_json::json;

fn claims(mut value: Value) -> Claims {
    value
        .as_object_mut()
        .unwrap()
        .extend(json!({"exp": 1, "aud": "a"}).as_object().unwrap().clone());
    let Value::Object(map) = value else {
        unreachable!()
    };
    Claims::new("corp".into(), None, map).unwrap()
}

fn injection(name: &'static str, claim: &str, encoding: Encoding) -> Injection {
    filtered(name, claim, encoding, None, None)
}

fn filtered(
    name: &'static str,
    claim: &str,
    encoding: Encoding,
    only: Option<Filter>,
    except: Option<Filter>,
) -> Injection {
    Injection {
        name: name.into(),
        content: Content::Claim(FromClaim {
            claim: claim.into(),
            encoding,
            only,
            except,
        }),
    }
}

fn fixed(name: &'static str, value: &'static str) -> Injection {
    Injection {
        name: name.into(),
        content: Content::Fixed(value.into()),
    }
}

fn template(name: &'static str, source: &str) -> Injection {
    Injection {
        name: name.into(),
        content: Content::Template(Template::parse(source).unwrap()),
    }
}

fn render(set: Vec<Injection>, token: Value) -> Result<Vec<String>, Reason> {
    match InjectSet::new(set).render(&claims(token)) {
        Ok(lines) => Ok(lines
            .iter()
            .map(|f| {
                format!(
                    "{}: {}",
                    String::from_utf8_lossy(&f.name),
                    String::from_utf8_lossy(&f.value)
                )
            })
            .collect()),
        Err(refusal) => Err(refusal.reason),
    }
}

#[test]
fn absent_claims_give_no_line() {
    let set = vec![
        injection("x-user-id", "sub", Encoding::String),
        injection("x-none", "none", Encoding::String),
        injection("x-null", "null", Encoding::Json),
        injection("x-groups", "groups", Encoding::List),
    ];
    let lines = render(
        set,
        json!({"sub": "u1", "null": null, "groups": ["a", "b,c"]}),
    )
    .unwrap();
    assert_eq!(lines, ["x-user-id: u1", "x-groups: a,b%2Cc"]);
}

#[test]
fn filters_choose_elements() {
    let only = |encoding| {
        let prefix = |text: &str| Some(Filter::Prefix(text.into()));
        filtered("x-g", "g", encoding, prefix("app-"), prefix("app-x"))
    };
    let token = json!({"g": ["app-a", "other", "app-x1", 7]});
    assert_eq!(
        render(vec![only(Encoding::List)], token.clone()).unwrap(),
        ["x-g: app-a"]
    );
    assert_eq!(
        render(vec![only(Encoding::Json)], token).unwrap(),
        [r#"x-g: ["app-a"]"#]
    );
    assert_eq!(
        render(vec![only(Encoding::List)], json!({"g": ["z"]})).unwrap(),
        ["x-g: "]
    );
    assert!(
        render(vec![only(Encoding::String)], json!({"g": "other"}))
            .unwrap()
            .is_empty()
    );
    assert_eq!(
        render(vec![only(Encoding::String)], json!({"g": "app-a"})).unwrap(),
        ["x-g: app-a"]
    );
}

#[test]
fn what_cannot_be_written_refuses_the_request() {
    let set = vec![injection("x-user-id", "sub", Encoding::String)];
    assert_eq!(
        render(set.clone(), json!({"sub": "a\r\nx-admin: 1"})),
        Err(Reason::ClaimUnencodable)
    );
    let refusal = InjectSet::new(set)
        .render(&claims(json!({"sub": "ä"})))
        .unwrap_err();
    assert!(
        refusal
            .detail
            .starts_with(r#"header x-user-id: claim "sub": the string"#),
        "{}",
        refusal.detail
    );
}

#[test]
fn a_filter_of_values_takes_them_whole() {
    let one_of = |values: &[&str]| {
        Some(Filter::OneOf(
            values.iter().map(|&v| v.to_owned()).collect(),
        ))
    };
    let token = json!({"g": ["admin", "admins", "ops", 7], "s": "ops"});
    let lines = |claim, only, except| {
        let set = vec![filtered("x", claim, Encoding::List, only, except)];
        render(set, token.clone()).unwrap()
    };
    assert_eq!(
        lines("g", one_of(&["ops", "admin"]), None),
        ["x: admin,ops"]
    );
    assert_eq!(lines("g", None, one_of(&["admin"])), ["x: admins,ops,7"]);
    assert_eq!(lines("s", one_of(&["ops"]), None), ["x: ops"]);
    assert!(lines("s", one_of(&["op"]), None).is_empty());
    assert!(lines("s", None, one_of(&["ops"])).is_empty());
}

/// A number is no string that could match: told by `except`, not by `only`.
#[test]
fn other_types_never_match() {
    let prefix = || Some(Filter::Prefix("7".into()));
    let lines = |claim, only, except| {
        let set = vec![filtered("x", claim, Encoding::Json, only, except)];
        render(set, json!({"n": 7, "o": {"7": 7}})).unwrap()
    };
    for claim in ["n", "o"] {
        assert!(lines(claim, prefix(), None).is_empty());
        assert_eq!(lines(claim, None, prefix()).len(), 1);
    }
}

#[test]
fn what_never_changes_is_said_without_a_token_and_in_its_place_with_one() {
    let set = InjectSet::new(vec![
        fixed("x-environment", "prod"),
        injection("x-user-id", "sub", Encoding::String),
        fixed("x-edge", "a b"),
        template("x-who", "{sub}@{tenant}"),
    ]);
    let show = |lines: &[Field]| -> Vec<_> {
        let text = |b: &Bytes| String::from_utf8_lossy(b).into_owned();
        lines
            .iter()
            .map(|f| (text(&f.name), text(&f.value)))
            .collect()
    };
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(
        show(set.fixed()),
        [pair("x-environment", "prod"), pair("x-edge", "a b")]
    );
    let lines = set
        .render(&claims(json!({"sub": "u1", "tenant": "t"})))
        .unwrap();
    assert_eq!(
        show(&lines),
        [
            pair("x-environment", "prod"),
            pair("x-user-id", "u1"),
            pair("x-edge", "a b"),
            pair("x-who", "u1@t"),
        ]
    );
    assert!(InjectSet::default().fixed().is_empty());
}

#[test]
fn fixed_values_are_visible_and_not_empty() {
    for good in ["a", "a b", "~!", &"x".repeat(MAX_VALUE)] {
        assert_eq!(check_fixed(good), Ok(()), "{good}");
    }
    for (bad, why) in [
        ("", "it is empty"),
        (" a", "begins or ends with a space"),
        ("a ", "begins or ends with a space"),
        ("a\tb", "'\\t' is not visible ASCII"),
        ("a\r\nb: c", "'\\r' is not visible ASCII"),
        ("\u{7f}", "'\\u{7f}' is not visible ASCII"),
        ("Zoë", "'ë' is not visible ASCII"),
        (&"x".repeat(MAX_VALUE + 1), "it has 8193 bytes"),
    ] {
        let said = check_fixed(bad).unwrap_err();
        assert!(said.contains(why), "{bad:?}: {said}");
    }
}

/// Ready headers are found by it: sets that say other things must never share one.
#[test]
fn the_identity_of_a_set_tells_every_part_of_it() {
    let one_of = |value: &str| Some(Filter::OneOf([value.to_owned()].into()));
    let prefix = |value: &str| Some(Filter::Prefix(value.to_owned()));
    let sets = [
        vec![],
        vec![injection("x", "a", Encoding::String)],
        vec![injection("y", "a", Encoding::String)],
        vec![injection("x", "b", Encoding::String)],
        vec![injection("x", "a", Encoding::List)],
        vec![filtered("x", "a", Encoding::String, prefix("a"), None)],
        vec![filtered("x", "a", Encoding::String, None, prefix("a"))],
        vec![filtered("x", "a", Encoding::String, one_of("a"), None)],
        vec![filtered("x", "a", Encoding::String, one_of("b"), None)],
        vec![fixed("x", "a")],
        vec![fixed("x", "b")],
        vec![template("x", "{a}")],
        vec![template("x", "{b}")],
        vec![template("x", "{a}/")],
        vec![fixed("x", "a"), fixed("y", "a")],
        vec![fixed("y", "a"), fixed("x", "a")],
    ];
    let identities: std::collections::BTreeSet<_> = sets
        .iter()
        .map(|set| *InjectSet::new(set.clone()).identity())
        .collect();
    assert_eq!(identities.len(), sets.len());
    for set in sets {
        let (one, other) = (InjectSet::new(set.clone()), InjectSet::new(set));
        assert_eq!(one.identity(), other.identity());
    }
}

#[test]
fn all_headers_together_are_capped() {
    let set: Vec<_> = (0..3)
        .map(|_| injection("x", "big", Encoding::String))
        .collect();
    let two = MAX_ALL / 2 - 5;
    assert_eq!(
        render(set[..2].to_vec(), json!({"big": "b".repeat(two)})).map(|l| l.len()),
        Ok(2)
    );
    assert_eq!(
        render(set.clone(), json!({"big": "b".repeat(two)})),
        Err(Reason::IdentityTooLarge)
    );
    assert_eq!(
        render(set[..1].to_vec(), json!({"big": "b".repeat(8193)})),
        Err(Reason::IdentityTooLarge)
    );
    // What never changes counts as well.
    let mixed = vec![
        fixed("x-fixed", "f"),
        injection("x", "big", Encoding::String),
        injection("x", "big", Encoding::String),
    ];
    assert_eq!(
        render(mixed, json!({"big": "b".repeat(two)})),
        Err(Reason::IdentityTooLarge)
    );
}

#[test]
fn what_counts_towards_the_limit_is_the_line() {
    assert_eq!(MAX_ALL, 16_384);
    // Name, colon, space, value, line end.
    let set = InjectSet::new(vec![
        fixed("x-zone", "abc"),
        injection("x-user-id", "sub", Encoding::String),
        fixed("x-b", "d"),
    ]);
    assert_eq!(set.fixed_size(), (6 + 3 + 4) + (3 + 1 + 4));
    assert_eq!(InjectSet::default().fixed_size(), 0);
    let names: Vec<_> = set.injections().iter().map(|one| &one.name[..]).collect();
    assert_eq!(names, [&b"x-zone"[..], b"x-user-id", b"x-b"]);
}
