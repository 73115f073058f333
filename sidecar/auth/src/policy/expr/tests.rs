//! What expressions mean, what is refused at load, and what they may cost.

mod bounds;
mod load;
mod parity;
mod prices;

use serde_json::{Map, Value as Json, json};
use tollgate_http::RequestHead;

use super::*;
use crate::policy::facts::TlsClient;
use crate::policy::testing::request;

/// The claims of most tests.
fn token() -> Json {
    json!({
        "sub": "alice", "level": 2, "score": 2.5, "whole": 2.0, "big": 18_446_744_073_709_551_615_u64,
        "near": 9_007_199_254_740_993_u64, "active": true, "none": null, "email": "alice@corp.com",
        "groups": ["dev", "ops"], "mixed": [1, "a", null, 2.0], "empty": [], "scope": "orders:read orders:write",
        "address": {"country": "DE", "zip": {"code": "10115"}}, "https://x/y": {"tenant": "acme"}, "a.b": "dotted",
        "a": {"b": "inner"}, "name": "Zoë",
    })
}

fn claims(json: Json) -> Claims {
    let Json::Object(mut map) = json else {
        panic!("claims are an object");
    };
    map.extend(Map::from_iter([
        ("exp".to_owned(), 1.into()),
        ("aud".to_owned(), "api".into()),
    ]));
    Claims::new("corp".into(), None, map).unwrap()
}

fn facts<'r>(head: &'r RequestHead, client: Option<&'r TlsClient>) -> Facts<'r> {
    Facts {
        head,
        source: [192, 0, 2, 7].into(),
        client,
    }
}

/// The outcome over [`token`] and a request, an error by its words.
#[track_caller]
fn outcome(text: &str) -> Result<bool, String> {
    let head = request(&[
        ("X-Role", b"user"),
        ("x-twice", b"a"),
        ("X-Twice", b"b"),
        ("x-alias", b"a"),
        ("X_Alias", b"b"),
        ("X.Only", b"a"),
        ("x-bytes", b"\xff"),
        ("accept", b""),
    ]);
    let rule = Expression::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    let claims = claims(token());
    let facts = facts(&head, None);
    let outcome = rule.evaluate(Some(&claims), &facts).outcome;
    outcome.map_err(|fault| fault.to_string())
}

#[track_caller]
fn holds(rules: &[&str]) {
    for rule in rules {
        assert_eq!(outcome(rule), Ok(true), "{rule}");
    }
}

#[track_caller]
fn fails(rules: &[(&str, &str)]) {
    for (rule, said) in rules {
        let error = outcome(rule).expect_err(rule);
        assert!(error.contains(said), "{rule}: {error}");
    }
}

#[test]
fn t26_claims_are_found_by_their_whole_names() {
    holds(&[
        "claims.sub == 'alice'",
        "claims['sub'] == 'alice'",
        "claims.address.country == 'DE' && claims.address.zip.code == '10115'",
        "claims['https://x/y'].tenant == 'acme'",
        "claims['a.b'] == 'dotted' && claims.a.b == 'inner'",
        "has(claims.address.zip) && !has(claims.address.street)",
        "'sub' in claims && !('role' in claims)",
        "claims['ad' + 'dress'].country == 'DE'",
        "claims.none == null && has(claims.none)",
        "claims.size() > 10",
    ]);
    fails(&[
        ("claims.role == 'a'", "`role` is absent"),
        (
            "claims.sub.name == 'a'",
            "does not take values of these types",
        ),
        ("has(claims.role.name)", "`role` is absent"),
        ("claims['a' + 'b'] == 1", "no such element"),
    ]);
}

#[test]
fn numbers_compare_across_types_and_exactly() {
    holds(&[
        "claims.level >= 2 && claims.whole >= 2 && claims.whole == 2 && claims.level == 2.0 && claims.level == 2u",
        "claims.score > 2 && claims.score < 3 && claims.score != 2",
        "claims.big == 18446744073709551615u && claims.big > 9223372036854775807",
        "claims.big != 18446744073709551614u",
        "claims.near == 9007199254740993 && claims.near != 9007199254740992.0 && claims.near > 9007199254740992.0",
        "claims.big < 18446744073709551616.0 && -9223372036854775808 == -9223372036854775808.0",
        "2 in claims.mixed && 2.0 in claims.mixed && !(3 in claims.mixed)",
        "claims.level + 1 == 3 && claims.level * 3 - 1 == 5 && 7 / claims.level == 3 && 7 % claims.level == 1 && -7 / 2 == -3",
        "claims.score + 0.5 == 3.0 && -claims.score == -2.5 && 1.0 / 0.0 > 1.0",
        "-claims.level == -2 && 5u + 2u == 7u && 5u - 2u == 3u && 5u * 2u == 10u && 5u / 2u == 2u && 5u % 2u == 1u",
        "claims.score + 2.0 == 4.5 && claims.score - 2.0 == 0.5 && claims.score * 2.0 == 5.0 && claims.score / 2.0 == 1.25",
    ]);
    fails(&[
        ("claims.level + 0.5 == 2.5", "`+` does not take"),
        ("claims.level / 0 == 1", "division by zero"),
        ("claims.level % 0 == 1", "division by zero"),
        ("claims.big / 0u == 1u", "division by zero"),
        ("claims.big % 0u == 1u", "division by zero"),
        ("claims.big + 1u == 1u", "out of range"),
        ("dyn(1.5) % dyn(2.0) == 1.0", "`%` does not take"),
        ("9223372036854775807 + claims.level == 1", "out of range"),
        ("1u - 2u == 1u", "out of range"),
        ("-(-9223372036854775808) == 1", "out of range"),
        ("-claims.sub == 1", "`-` does not take"),
        ("claims.sub < 3", "`<` does not take"),
        ("claims.none < 3", "`<` does not take"),
    ]);
    // Nothing is greater than what is no number, and nothing equals it.
    for rule in [
        "0.0 / 0.0 < 1.0",
        "0.0 / 0.0 >= 1.0",
        "0.0 / 0.0 == 0.0 / 0.0",
    ] {
        assert_eq!(outcome(rule), Ok(false), "{rule}");
    }
}

/// Each conversion of each type that it takes, at the bounds of what it gives.
#[test]
fn conversions_give_the_value_or_nothing() {
    holds(&[
        "int(claims.level) == 2 && int(2u) == 2 && int('-5') == -5 && int(-2.9) == -2",
        "int(9223372036854774784.0) == 9223372036854774784 && int(-9223372036854774784.0) == -9223372036854774784",
        "uint(claims.big) == 18446744073709551615u && uint(claims.level) == 2u && uint('7') == 7u",
        "uint(2.9) == 2u && uint(0.5) == 0u && uint(-0.5) == 0u && uint(18446744073709549568.0) == 18446744073709549568u",
        "double(claims.score) == 2.5 && double(claims.level) == 2.0 && double(2u) == 2.0 && double('1.5') == 1.5",
        "double(claims.level) + 0.5 == 2.5 && int(claims.whole) + 1 == 3",
        "string(claims.sub) == 'alice' && string(claims.level) + 'x' == '2x' && string(claims.big) == '18446744073709551615'",
        "string(true) == 'true' && string(false) == 'false'",
        "bool(claims.active) && bool('true') && !bool('false') && !bool(false)",
    ]);
    fails(&[
        ("int(claims.big) == 1", "out of range"),
        ("int(1e300) == 1", "out of range"),
        ("int(9223372036854775808.0) == 1", "out of range"),
        ("int(-9223372036854775808.0) == 1", "out of range"),
        ("int(claims.sub) == 1", "`int()` cannot read"),
        ("int(claims.active) == 1", "`int()` cannot read"),
        ("uint(-1) == 1u", "out of range"),
        ("uint(-1.0) == 1u", "out of range"),
        ("uint(-2.0) == 1u", "out of range"),
        ("uint(18446744073709551616.0) == 1u", "out of range"),
        ("uint(1e300) == 1u", "out of range"),
        ("uint(claims.sub) == 1u", "`uint()` cannot read"),
        ("uint('-1') == 1u", "`uint()` cannot read"),
        ("double(claims.sub) == 1.0", "`double()` cannot read"),
        ("double(claims.none) == 1.0", "`double()` cannot read"),
        ("string(claims.score) == '2.5'", "`string()` cannot read"),
        ("bool(claims.sub)", "`bool()` cannot read"),
        ("bool('True')", "`bool()` cannot read"),
        ("bool(claims.level)", "`bool()` cannot read"),
    ]);
}

#[test]
fn texts_lists_and_maps() {
    holds(&[
        "claims.sub.startsWith('al') && claims.sub.endsWith('ce') && claims.sub.contains('lic')",
        "claims.name.size() == 3 && size(claims.groups) == 2 && size('') == 0",
        "claims.sub.upperAscii() == 'ALICE' && 'ÄB'.lowerAscii() == 'Äb'",
        "'orders:read' in claims.scope.split(' ') && !('orders' in claims.scope.split(' '))",
        "claims.scope.split(' ').size() == 2 && 'a'.split('b') == ['a']",
        "claims.sub + '@' + 'x' == 'alice@x' && 'b' > 'a' && 'a' < 'ab'",
        "'dev' in claims.groups && claims.sub in ['alice', 'bob']",
        "claims.groups[0] == 'dev' && claims.groups[1.0] == 'ops' && claims.groups == ['dev', 'ops']",
        "claims.groups + ['x'] == ['dev', 'ops', 'x'] && claims.groups != ['ops', 'dev']",
        "{'DE': 1, 'FR': 2}[claims.address.country] == 1 && {1: 'a'}[claims.level - 1] == 'a'",
        "{'country': 'DE', 'zip': {'code': '10115'}} == claims.address && {'b': claims.a.b} == claims.a",
        "claims.sub == 'bob' ? false : claims.active",
        "dyn(request.path) != 3 && dyn(1) != 'a' && request.path != null && null != request.path",
        "claims.sub.matches('^al') && !claims.sub.matches('^b') && matches(claims.sub, r'^\\w+$')",
    ]);
    fails(&[
        ("claims.groups[2] == 'a'", "no such element"),
        ("claims.groups[-1] == 'a'", "no such element"),
        ("claims.groups[1.5] == 'a'", "`[]` does not take"),
        ("claims.level in claims.sub", "`in` does not take"),
        ("claims.none in claims.address", "`in` does not take"),
        ("claims.address[claims.none] == 1", "`[]` does not take"),
        ("{claims.sub: 1, 'alice': 2}.size() == 1", "stands twice"),
        ("claims.level.startsWith('a')", "`startsWith` does not take"),
        ("claims.level.endsWith('a')", "`endsWith` does not take"),
        ("claims.level.contains('a')", "`contains` does not take"),
        ("claims.level.split('a') == []", "`split` does not take"),
        ("claims.sub.split('').size() == 1", "`split` does not take"),
        ("claims.level.matches('2')", "`matches` does not take"),
        ("size(claims.level) == 1", "`size` does not take"),
    ]);
}

#[test]
fn macros_go_through_lists_and_keys() {
    holds(&[
        "claims.groups.exists(g, g.startsWith('o')) && !claims.groups.exists(g, g == 'x')",
        "claims.groups.all(g, g.size() == 3) && claims.empty.all(g, false) && !claims.empty.exists(g, true)",
        "claims.groups.exists_one(g, g == 'dev') && !claims.groups.exists_one(g, g.size() == 3)",
        "claims.groups.map(g, g + '!') == ['dev!', 'ops!'] && claims.groups.map(g, g == 'ops', g + '!') == ['ops!']",
        "claims.groups.filter(g, g != 'dev') == ['ops'] && claims.groups.filter(g, g > 'd').size() == 2",
        "claims.address.exists(k, k == 'zip') && claims.address.all(k, k.size() > 2)",
        "claims.groups.exists(g, ['ops', 'root'].exists(h, g == h))",
        "claims.groups.map(g, claims.groups.map(h, g + h)) == [['devdev', 'devops'], ['opsdev', 'opsops']]",
        "claims.groups.filter(g, g == 'dev').map(h, h + '1').exists(i, i == 'dev1')",
        // An error of one element counts only if no other one decides.
        "claims.mixed.exists(m, m == 'a' || m > 5 || m == null)",
        "!claims.mixed.all(m, m > 1)",
        "claims.mixed.exists(m, m > 5 || m == 2.0) && !claims.mixed.all(m, m > 0 && m != 2.0)",
    ]);
    fails(&[
        ("claims.mixed.exists(m, m > 5)", "`>` does not take"),
        ("claims.mixed.all(m, m >= 0)", "`>=` does not take"),
        ("claims.mixed.exists_one(m, m > 1)", "`>` does not take"),
        (
            "claims.mixed.filter(m, m > 1).size() == 1",
            "`>` does not take",
        ),
        (
            "claims.mixed.map(m, m + 1).size() == 4",
            "`+` does not take",
        ),
        ("claims.groups.all(g, g)", "no boolean"),
        ("claims.sub.exists(c, c == 'a')", "`a macro` does not take"),
    ]);
}

#[test]
fn an_error_counts_only_where_it_decides() {
    holds(&[
        "claims.absent == 1 || true",
        "true || claims.absent == 1",
        "!(false && claims.absent == 1) && !(claims.absent == 1 && false)",
        "has(claims.role) && claims.role == 'x' || claims.active",
    ]);
    fails(&[
        ("claims.absent == 1 || false", "`absent` is absent"),
        ("false || claims.absent == 1", "`absent` is absent"),
        ("claims.absent == 1 && true", "`absent` is absent"),
        ("!claims.absent", "`absent` is absent"),
        ("claims.absent == 1 ? true : true", "`absent` is absent"),
        // What is no boolean never counts as one.
        ("claims.sub", "no boolean"),
        ("claims.level", "no boolean"),
        ("claims.none", "no boolean"),
        ("!claims.level", "no boolean"),
        ("claims.active && claims.level", "no boolean"),
        ("claims.sub || false", "no boolean"),
        ("claims.level ? true : false", "no boolean"),
    ]);
}

#[test]
fn requests_and_their_source_can_be_read() {
    holds(&[
        "request.method == 'GET' && request.path.startsWith('/orders/') && request.host == 'api.example.com'",
        "request.path.split('/')[2] == '7' && request.method in ['GET', 'HEAD']",
        "has(request.host)",
        "source.address == '192.0.2.7' && cidr('192.0.2.0/24').containsIP(source.address)",
        "cidr('192.0.2.7').containsIP('::ffff:192.0.2.7') && cidr('2001:db8::/32').containsIP('2001:db8::1')",
        "!cidr('10.0.0.0/8').containsIP(source.address) && cidr('10.0.0.0/8').containsIP('10.1.2.3')",
        "tls.client == null",
        "request.headers['x-role'] == 'user' && request.headers['X-ROLE'] == 'user' && request.headers.accept == ''",
        "'x-role' in request.headers && has(request.headers.accept) && !('x-none' in request.headers)",
        "request.headers.values('x-twice') == ['a', 'b'] && request.headers.values('x-none') == []",
    ]);
    fails(&[
        ("request.headers['x-none'] == ''", "`x-none` is absent"),
        ("request.headers['x-bytes'] == ''", "`x-bytes` is not UTF-8"),
        (
            "request.headers.values('x-bytes').size() == 1",
            "`x-bytes` is not UTF-8",
        ),
        ("tls.client.subject == 'a'", "does not take values"),
        (
            "cidr('10.0.0.0/8').containsIP(claims.sub)",
            "wants an IP address",
        ),
        (
            "cidr('10.0.0.0/8').containsIP(claims.level)",
            "wants an IP address",
        ),
    ]);
    let mut head = request(&[]);
    head.authority = None;
    let facts = facts(&head, None);
    for (rule, expected) in [
        ("has(request.host)", Ok(false)),
        ("request.host == 'a'", Err(Fault::Absent("host"))),
    ] {
        let rule = Expression::parse(rule).unwrap();
        assert_eq!(rule.evaluate(None, &facts).outcome, expected);
    }
}

/// threats.md 39: a value that a rule has read is the only one that anybody behind can read.
#[test]
fn t39_a_header_that_stands_twice_is_no_value() {
    for rule in [
        "request.headers['x-twice'] == 'a'",
        "request.headers['x-twice'] == 'b'",
        "request.headers['x-twice'] == 'a,b'",
        "request.headers['x-twice'] != 'c'",
        "request.headers['x-twice'].contains('a')",
        // Another spelling, which CGI, WSGI and their kin read as the same header.
        "request.headers['x-alias'] == 'a'",
        "request.headers['x-only'] == 'a'",
        "request.headers['x-only'] != 'a'",
    ] {
        fails(&[(rule, "stands more than once, in this or another spelling")]);
    }
    holds(&[
        "request.headers.values('x-twice').all(v, v in ['a', 'b'])",
        "!request.headers.values('x-twice').all(v, v == 'a')",
        "request.headers.values('x-alias') == ['a', 'b']",
        "'x-only' in request.headers",
    ]);
}

/// threats.md 29: `a@evil.com@corp.com` is of no domain.
#[test]
fn t29_an_address_with_two_halves_too_many_is_of_no_domain() {
    let rule = Expression::parse("emailDomain(claims.email) == 'corp.com'").unwrap();
    let head = request(&[]);
    let check = |email: Json| {
        let claims = claims(json!({ "email": email }));
        let facts = facts(&head, None);
        rule.evaluate(Some(&claims), &facts).outcome.ok()
    };
    for good in ["a@corp.com", "a@CORP.com", "a.b+c@corp.com", "Zoë@corp.com"] {
        assert_eq!(check(good.into()), Some(true), "{good}");
    }
    for other in [
        "a@evil.com",
        "a@sub.corp.com",
        "a@corp.com.evil.com",
        "a@xcorp.com",
        "a@corp.co",
    ] {
        assert_eq!(check(other.into()), Some(false), "{other}");
    }
    for bad in [
        "a@evil.com@corp.com",
        "@corp.com",
        "a@",
        "@",
        "",
        "corp.com",
        "a@@corp.com",
        "a@.corp.com",
        "a@corp.com.",
        "a@corp..com",
        "a@evil.com, b@corp.com",
        "\"a@evil.com\"@corp.com",
        "<a@corp.com>",
        "a@corp.com ",
        " a@corp.com",
        "a@corp.com\n",
        "a%evil.com@corp.com",
        "evil.com!a@corp.com",
        "a(evil)@corp.com",
        "a@corp.com\0",
        "a'b@corp.com",
        "a;b@corp.com",
        "a:b@corp.com",
        "a\\b@corp.com",
    ] {
        assert_eq!(check(bad.into()), None, "{bad:?}");
    }
    for other in [json!(null), json!(7), json!(["a@corp.com"]), json!({})] {
        assert_eq!(check(other.clone()), None, "{other}");
    }
    // The trap that it is there for.
    let naive = Expression::parse("claims.email.endsWith('@corp.com')").unwrap();
    let claims = claims(json!({"email": "a@evil.com@corp.com"}));
    let facts = facts(&head, None);
    assert_eq!(naive.evaluate(Some(&claims), &facts).outcome, Ok(true));
}

#[test]
fn certificates_of_clients_can_be_read() {
    let client = TlsClient::new(
        "CN=billing".into(),
        vec!["billing.internal".into()],
        vec!["spiffe://corp/billing".into()],
        &[0xab; 32],
    );
    let head = request(&[]);
    let facts = facts(&head, Some(&client));
    for rule in [
        "tls.client != null && tls.client.subject == 'CN=billing'",
        "'billing.internal' in tls.client.san_dns",
        "tls.client.san_uri.exists(u, u.startsWith('spiffe://corp/'))",
        "tls.client.fingerprint.startsWith('abab') && tls.client.fingerprint.size() == 64",
    ] {
        let rule = Expression::parse(rule).unwrap();
        assert_eq!(rule.evaluate(None, &facts).outcome, Ok(true), "{rule:?}");
        assert!(!rule.reads_claims() && rule.reads_request());
    }
    let names: Vec<_> = client.json().keys().map(String::as_str).collect();
    assert_eq!(names, TlsClient::NAMES);
}
