//! What is found out when the configuration is read: what can be no rule, and what a rule reads.

use crate::policy::expr::Expression;

#[track_caller]
fn refused(rules: &[(&str, &str)]) {
    for (rule, said) in rules {
        let error = Expression::parse(rule).expect_err(rule).to_string();
        assert!(error.contains(said), "{rule}: {error}");
        assert!(
            error.len() < 900 && !error.contains('\n'),
            "{rule}: {error}"
        );
    }
}

#[test]
fn what_can_never_be_evaluated_is_refused() {
    refused(&[
        ("claim.x == 1", "at character 1: there is no `claim`"),
        ("claims.x == level", "at character 13: there is no `level`"),
        (
            "request == null",
            "`request` is no value; a rule may read `request.method`",
        ),
        (
            "request.query == 'a'",
            "there is no `request.query`; there is `request.method`",
        ),
        (
            "request.headers.size() == 1",
            "`request.headers` is no value; say",
        ),
        (
            "request.headers.all(h, h == 'a')",
            "`request.headers` is no value; say",
        ),
        (
            "request.headers[claims.sub] == 'a'",
            "must be written here as a string",
        ),
        (
            "claims.sub in request.headers",
            "must be written here as a string",
        ),
        ("request.headers['x y'] == 'a'", "is no name of a header"),
        (
            "request.headers.connection == 'a'",
            "belongs to the connection",
        ),
        ("request.headers['Host'] == 'a'", "read as `request.host`"),
        ("has(request.path)", "always there"),
        (
            "source.port == 1",
            "there is no `source.port`; there is `source.address`",
        ),
        ("tls.server == null", "there is no `tls.server`"),
        ("f(claims.x)", "`f` is no function"),
        ("claims.x.exist(y, true)", "`exist` is no function"),
        ("claims.x.exists(y)", "is called in another way"),
        ("claims.x.values('a') == []", "`values` is no function"),
        ("contains(claims.x, 'a')", "is called in another way"),
        (
            "claims.x.contains('a', 'b')",
            "takes 2 values and was given 3",
        ),
        (
            "timestamp('2020-01-01T00:00:00Z') < 1",
            "`timestamp` is no function",
        ),
        (
            "claims.x.matches(claims.y)",
            "a pattern must be written here",
        ),
        (
            "claims.x.matches('(')",
            "this pattern cannot be used: unclosed group",
        ),
        (
            "claims.x.matches('(a{1,100}){1,100}{1,100}')",
            "this pattern cannot be used",
        ),
        (
            "cidr('10.0.0.1/8').containsIP(source.address)",
            "has bits behind its prefix; write `10.0.0.0/8`",
        ),
        (
            "cidr('0.0.0.0/0').containsIP(source.address)",
            "is everybody",
        ),
        (
            "cidr('10.0.0.0/33').containsIP(source.address)",
            "neither an address nor a network",
        ),
        (
            "cidr(claims.x).containsIP(source.address)",
            "asked of a network that is written out",
        ),
        (
            "string('10.0.0.0/8').containsIP(source.address)",
            "asked of a network that is written out",
        ),
        (
            "claims.x.cidr('10.0.0.0/8').containsIP(source.address)",
            "asked of a network that is written out",
        ),
        (
            "claims.a.all(x, claims.b.all(y, claims.c.all(z, true)))",
            "more than 2 macros stand inside each other",
        ),
        (
            "claims.a.all(claims, true)",
            "`claims` has a meaning already",
        ),
        ("claims.a.all(x.y, true)", "simple name"),
        ("b'x' == claims.x", "bytes are not offered"),
        (
            "claims == a{b: 1}",
            "messages such as `a{…}` are not offered",
        ),
        ("{'a': 1, 'a': 2}.size() == 1", "stands twice"),
        ("{1.5: 1}.size() == 1", "a double cannot be a key"),
        ("1e400 > 1.0", "invalid double literal"),
    ]);
}

#[test]
fn what_can_never_be_a_boolean_or_has_types_that_never_fit_is_refused() {
    refused(&[
        (
            "'a'",
            "the expression is a string, and a rule must be a bool",
        ),
        ("claims.level + 1", "the expression is a int"),
        ("claims", "the expression is a map"),
        ("request.path", "the expression is a string"),
        ("true ? 'a' : 'b'", "the expression is a string"),
        (
            "request.method && true",
            "a bool is wanted here, and this is a string",
        ),
        ("!request.path", "a bool is wanted here"),
        (
            "request.method == 3",
            "`==` cannot stand between a string and a int",
        ),
        ("request.method > 3", "`>` cannot stand between"),
        ("[1] < [2]", "`<` cannot stand between"),
        ("1 + 1.5 == 2.5", "say `int()` or `double()` of one of them"),
        ("'a' - 'b' == ''", "`-` cannot stand between"),
        ("1.5 % 2.0 == 1.0", "`%` cannot stand between"),
        ("-'a' == 'b'", "`-` does not take a string"),
        ("request.path.x == 1", "which has no members"),
        ("request.path[0] == 'a'", "cannot be asked for the element"),
        (
            "claims.x['a'] == [1]['b']",
            "cannot be asked for the element",
        ),
        (
            "'a' in request.path",
            "a part of a text is found by `contains`",
        ),
        (
            "request.path.all(c, true)",
            "a macro goes through a list or a map, not a string",
        ),
        (
            "size(1) == 1",
            "`size` takes a string, a list or a map, and this is a int",
        ),
        (
            "request.path.contains(1)",
            "`contains` takes a string, and this is a int",
        ),
        (
            "int(claims) == 1",
            "`int` takes a string, a number or a bool",
        ),
    ]);
}

/// No conversion makes a number of a text that never was one.
#[test]
fn a_conversion_is_advised_between_numbers_alone() {
    let said = |text: &str| Expression::parse(text).unwrap_err().to_string();
    assert!(said("1 + 1.5 == 2.5").contains("; say `int()`"));
    for text in ["1 + 'a' == 'b'", "'a' + 1 == 'b'", "'a' == 1"] {
        assert!(!said(text).contains("; say"), "{}", said(text));
    }
}

/// How deep an expression is counts, not how long.
#[test]
fn a_long_flat_expression_is_taken() {
    let list = vec!["1"; 150].join(", ");
    assert!(Expression::parse(&format!("claims.level in [{list}]")).is_ok());
    let both = vec!["claims.active"; 200].join(" && ");
    assert!(Expression::parse(&both).is_ok());
}

#[test]
fn what_is_no_cel_is_refused_with_its_place() {
    for (text, at) in [
        ("", 1),
        ("claims.", 8),
        ("claims.a = 1", 10),
        ("claims.a == 1 &&\n  claims.b b", 29),
        ("(claims.a", 10),
        ("claims.a ==", 12),
        ("'a", 1),
        ("claims.a.?b", 9),
    ] {
        let error = Expression::parse(text).unwrap_err();
        assert!(error.at.abs_diff(at) <= 1, "{text:?}: {error}");
    }
}

#[test]
fn a_rule_says_what_it_reads() {
    for (text, claims, request, connection, headers) in [
        ("true", false, false, false, &[][..]),
        ("claims.a == 1", true, false, false, &[]),
        ("has(claims.a)", true, false, false, &[]),
        ("request.path == ''", false, true, false, &[]),
        ("source.address == ''", false, true, true, &[]),
        ("tls.client == null", false, true, true, &[]),
        ("[1].all(x, x == claims.a)", true, false, false, &[]),
        (
            "request.headers['X-B'] == '' && 'x-a' in request.headers || request.headers.values('x-b').size() == 1 || has(request.headers.c)",
            false,
            true,
            false,
            &["x-b", "x-a", "c"],
        ),
    ] {
        let rule = Expression::parse(text).unwrap();
        assert_eq!(
            (
                rule.reads_claims(),
                rule.reads_request(),
                rule.reads_connection()
            ),
            (claims, request, connection),
            "{text}"
        );
        assert_eq!(rule.headers().collect::<Vec<_>>(), headers, "{text}");
    }
    let rule = Expression::parse("claims.a == 1").unwrap();
    assert_eq!(format!("{rule:?}"), "Expression(\"claims.a == 1\")");
    assert!(rule == rule.clone() && rule == Expression::parse(rule.text()).unwrap());
    assert!(rule != Expression::parse("claims.a == 2").unwrap());
}
