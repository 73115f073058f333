//! What a header may hold, and which ones stand together.

use tollgate_auth::header::{Content, InjectSet};

use super::{ROUTE, WHOLE, mistake, parse, valid};

/// A route that injects `x-a`, and whatever else stands beside it.
fn injecting(what: &str) -> String {
    format!("- {{ name: first, inject: {{ x-a: {what} }}, upstream: api }}")
}

#[test]
fn a_header_holds_one_claim_one_text_or_one_template() {
    let config = valid(
        ROUTE,
        "- name: first
        inject:
          x-environment: { value: prod }
          x-who: { template: '{sub}@{[\"https://x/y\", \"id\"]}' }
          x-groups: { claim: groups, encode: list, only: { one_of: [b, a] }, except: { prefix: x } }
        upstream: api",
    );
    let shown: Vec<_> = config.listeners[0].routes[0]
        .inject
        .iter()
        .map(|one| {
            let name = String::from_utf8_lossy(&one.name).into_owned();
            match &one.content {
                Content::Claim(from) => format!("{name} {} {:?}", from.claim, from.only),
                Content::Template(template) => format!("{name} {template}"),
                Content::Fixed(value) => format!("{name} {}", String::from_utf8_lossy(value)),
            }
        })
        .collect();
    assert_eq!(
        shown,
        [
            "x-environment prod",
            r#"x-who "{sub}@{[\"https://x/y\", \"id\"]}""#,
            r#"x-groups "groups" Some(OneOf({"a", "b"}))"#,
            // Inherited.
            r#"x-user-id "sub" None"#,
        ]
    );
}

#[test]
fn what_cannot_be_meant_is_named_with_its_cure() {
    for (what, said) in [
        (
            "{}",
            "it is not said what this header holds; write `claim: sub`",
        ),
        ("{ encode: list }", "it is not said what this header holds"),
        (
            "{ claim: a, value: b }",
            "this one has `claim` and `value`; keep one of them",
        ),
        (
            "{ value: a, template: '{b}' }",
            "this one has `value` and `template`",
        ),
        ("{ claim: [] }", "an empty claim path names nothing"),
        (
            "{ value: a, encode: json }",
            "`encode` is about the values of one claim and says nothing beside `value`",
        ),
        (
            "{ template: '{a}', only: { prefix: x } }",
            "`only` is about the values of one claim and says nothing beside `template`",
        ),
        (
            "{ template: '{a}', except: { prefix: x } }",
            "`except` is about the values of one claim",
        ),
        (
            "{ value: '' }",
            "`value: \"\"` cannot stand in a header: it is empty",
        ),
        (
            "{ value: \"a\\r\\nx-admin: 1\" }",
            "`value: \"a\\r\\nx-admin: 1\"` cannot stand in a header: '\\r' is not visible ASCII",
        ),
        ("{ value: Zoë }", "'ë' is not visible ASCII"),
        ("{ value: ' a' }", "begins or ends with a space"),
        (
            "{ template: prod }",
            "the template \"prod\" names no claim; put one in braces, as `{sub}`",
        ),
        ("{ template: '{sub' }", "has a `{` of its own at byte 0"),
        (
            "{ template: '{sub}{tenant}' }",
            "put a character such as `@`, `:` or `/` between them",
        ),
        ("{ template: '{sub}%{tenant}' }", "holds '%'"),
        (
            "{ claim: a, only: { prefix: '' } }",
            "every value begins with an empty `prefix`",
        ),
        (
            "{ claim: a, except: { one_of: [] } }",
            "no value is `one_of` none",
        ),
    ] {
        mistake(ROUTE, &injecting(what), said);
    }
}

#[test]
fn threat_75_names_with_a_meaning_of_their_own_are_mistakes() {
    for (name, said) in [
        ("Content_Length", "reads like Content-Length"),
        ("h.o.s.t", "reads like Host"),
        ("connection", "reads like connection"),
        ("Transfer-Encoding", "reads like transfer-encoding"),
        ("te", "reads like te"),
        ("Keep_Alive", "reads like keep-alive"),
        ("upgrade", "reads like upgrade"),
        ("COOKIE", "reads like Cookie"),
        ("set-cookie", "reads like Set-Cookie"),
        ("x_forwarded_for", "reads like X-Forwarded-For"),
        ("Forwarded", "reads like Forwarded"),
        ("x-request-id", "reads like X-Request-Id"),
        ("accept", "reads like the registered field Accept"),
        (
            "content_type",
            "reads like the registered field Content-Type",
        ),
        ("authorization", "reads like Authorization"),
        ("x-tollgate-user", "is reserved"),
        ("X_Tollgate_User", "is reserved"),
        ("'x user'", "is no header name"),
        ("'---'", "is no header name"),
    ] {
        // Whatever they hold: a text that never changes frames messages as well as a claim does.
        for content in ["claim: sub", "value: a", "template: '{sub}'"] {
            let route = format!(
                "- {{ name: first, inject: {{ {name}: {{ {content} }} }}, upstream: api }}"
            );
            mistake(ROUTE, &route, said);
        }
    }
    let long = "x".repeat(65);
    mistake(
        ROUTE,
        &format!("- {{ name: first, inject: {{ {long}: {{ claim: a }} }}, upstream: api }}"),
        "is longer than 64 bytes",
    );
}

#[test]
fn a_public_route_tells_of_itself_and_of_nobody() {
    let public = |what: &str| {
        format!("- {{ name: first, token: none, inject: {{ {what} }}, upstream: api }}")
    };
    let config = valid(ROUTE, &public("x-zone: { value: open }"));
    let set = InjectSet::new(config.listeners[0].routes[0].inject.clone());
    let fixed: Vec<_> = set.fixed().iter().map(|line| &line.name[..]).collect();
    assert_eq!(fixed, [b"x-zone"]);
    mistake(
        ROUTE,
        &public("x-zone: { value: open }, x-b: { template: '{sub}' }"),
        "`x-b` is injected on a public route",
    );
}

#[test]
fn one_name_is_one_header() {
    mistake(
        ROUTE,
        "- { name: first, inject: { x-a: { claim: a }, X_A: { value: b } }, upstream: api }",
        "the header `X_A` reads like `x-a` to servers behind",
    );
    mistake(
        ROUTE,
        "- { name: first, inject: { X.User.Id: { value: b } }, upstream: api }",
        "reads like the inherited `x-user-id`",
    );
    let config = valid(
        ROUTE,
        "- { name: first, inject: { X-User-Id: { value: nobody } }, upstream: api }",
    );
    let inject = &config.listeners[0].routes[0].inject;
    assert_eq!(inject.len(), 1, "the route's own replaces the inherited");
    assert!(matches!(&inject[0].content, Content::Fixed(value) if value == "nobody"));
}

#[test]
fn what_never_changes_must_leave_room() {
    let big = "v".repeat(8 * 1024);
    let inherited = format!("inject: {{ x-b: {{ value: {big} }}, x-user-id: {{ claim: sub }} }}");
    let source = WHOLE.replace("inject: { x-user-id: { claim: sub } }", &inherited);
    let parse = |route: &str| {
        let source = source.replace(ROUTE, route);
        tollgate::config::parse(std::path::Path::new("t.yaml"), &source, super::CHECKS)
            .map_err(|all| all.to_string())
    };
    parse(ROUTE).unwrap();
    let error = parse(&injecting(&format!("{{ value: {big} }}"))).unwrap_err();
    assert!(
        error.contains("the headers of this route that never change have 16398 bytes"),
        "{}",
        &error[..500]
    );
    assert!(self::parse(ROUTE, &injecting(&format!("{{ value: {big}v }}"))).is_err());
}
