//! Configurations that are well-formed and cannot be meant: each is named with its place and a cure.

mod answers;
mod assertion;
mod forwarding;
mod inject;
mod secrets;

use std::path::Path;
use std::time::Duration;

use tollgate::app::CHECKS;
use tollgate::config::{self, model::Config};
use tollgate_auth::policy::{EncodedSlash, Normalization};
use tollgate_auth::token::source::{HeaderScheme, TokenSource};

/// A valid configuration, of which a test replaces one part.
const WHOLE: &str = "
version: 1
issuers:
  corp: { issuer: 'https://login.test', jwks: discover, audiences: [api], keys: {} }
listeners:
  edge:
    listen: 127.0.0.1:0
    plaintext: true
    timeouts: {}
    defaults:
      token: { issuers: [corp] }
      inject: { x-user-id: { claim: sub } }
    routes:
      - { name: first, match: { path: /first }, upstream: api }
upstreams: { api: { endpoints: [127.0.0.1:9000] } }
";

const ROUTE: &str = "- { name: first, match: { path: /first }, upstream: api }";

fn parse(part: &str, replacement: &str) -> Result<Config, String> {
    assert_eq!(WHOLE.matches(part).count(), 1, "{part}");
    let source = WHOLE.replace(part, replacement);
    config::parse(Path::new("t.yaml"), &source, CHECKS).map_err(|all| all.to_string())
}

#[track_caller]
fn valid(part: &str, replacement: &str) -> Config {
    parse(part, replacement).unwrap_or_else(|text| panic!("{text}"))
}

/// One mistake and no other, which `said` is a part of.
#[track_caller]
fn mistake(part: &str, replacement: &str, said: &str) {
    match parse(part, replacement) {
        Ok(_) => panic!("{replacement} is taken"),
        Err(text) => {
            assert!(text.contains(said), "{said:?} is not in:\n{text}");
            assert!(text.ends_with("\n1 mistake in t.yaml"), "{text}");
        }
    }
}

/// With `{…}` as a route's `match`.
fn matching(what: &str) -> String {
    format!("- {{ name: first, match: {what}, upstream: api }}")
}

#[test]
fn what_is_required_of_tokens_requires_tokens() {
    let said = "a request without a token could never meet the `require`";
    let optional = "token: { issuers: [corp], required: false }";
    let require = "require: { scopes: [a] }";
    mistake(
        ROUTE,
        &format!("- {{ name: first, {optional}, {require}, upstream: api }}"),
        said,
    );
    // Either half may be inherited, and both.
    mistake(
        "token: { issuers: [corp] }",
        &format!("{optional}\n      {require}"),
        said,
    );
    let inherited = WHOLE.replace(
        "token: { issuers: [corp] }",
        &format!("token: {{ issuers: [corp] }}\n      {require}"),
    );
    for (route, taken) in [
        (format!("{optional}, "), false),
        (format!("{optional}, require: {{}}, "), true),
        (String::new(), true),
    ] {
        let route = format!("- {{ name: first, {route}upstream: api }}");
        let source = inherited.replace(ROUTE, &route);
        let result = config::parse(Path::new("t.yaml"), &source, CHECKS);
        assert_eq!(result.is_ok(), taken, "{route}: {result:?}");
    }
    mistake(
        ROUTE,
        "- { name: first, token: none, inject: { x-a: { claim: a } }, upstream: api }",
        "`x-a` is injected on a public route",
    );
    valid(ROUTE, "- { name: first, token: none, upstream: api }");
}

#[test]
fn threat_41_patterns_of_other_proxies_guard_nothing() {
    mistake(
        ROUTE,
        &matching("{ path: /admin/* }"),
        "a prefix already covers what is below it; write `/admin`",
    );
    mistake(
        ROUTE,
        &matching("{ path: { exact: '/u/{id}' } }"),
        "say `{ template: ",
    );
}

#[test]
fn threat_41_what_a_route_makes_of_paths_is_inherited_key_by_key() {
    let config = valid(
        "      inject: { x-user-id: { claim: sub } }",
        "      path_normalization: { merge_slashes: true }",
    );
    let said = |config: &Config| config.listeners[0].routes[0].matches.normalization;
    let keep = EncodedSlash::Keep;
    let merged = Normalization {
        merge_slashes: true,
        ..Normalization::default()
    };
    assert_eq!(said(&config), merged);
    let route = |keys: &str| {
        format!("- {{ name: first, path_normalization: {{ {keys} }}, upstream: api }}")
    };
    let normalized = |keys: &str| {
        let source = WHOLE
            .replace(
                "inject: { x-user-id: { claim: sub } }",
                "path_normalization: { merge_slashes: true, encoded_slash: keep }",
            )
            .replace(ROUTE, &route(keys));
        said(&config::parse(Path::new("t.yaml"), &source, CHECKS).unwrap())
    };
    let of = |encoded_slash, merge_slashes| Normalization {
        encoded_slash,
        merge_slashes,
    };
    assert_eq!(normalized(""), of(keep, true));
    assert_eq!(normalized("merge_slashes: false"), of(keep, false));
    assert_eq!(
        normalized("encoded_slash: refuse"),
        of(EncodedSlash::Refuse, true)
    );
    mistake(
        ROUTE,
        &route("encoded_slash: decode"),
        "t.yaml:14:61: unknown value `decode`; expected one of `refuse`, `keep`",
    );
    mistake(
        ROUTE,
        &route("merge_slashes: yes please"),
        "expected a boolean",
    );
    mistake(ROUTE, &route("merge: true"), "unknown key `merge`");
    // A pattern that the route's own rule leaves without a request.
    mistake(
        ROUTE,
        &matching("{ path: /files/a%2fb }"),
        "/files/a%2Fb holds %2F or %5C, which this route refuses; say `path_normalization: { encoded_slash: keep }`",
    );
    let kept = "- { name: first, match: { path: /files/a%2fb }, path_normalization: { encoded_slash: keep }, upstream: api }";
    valid(ROUTE, kept);
    let merging = kept
        .replace("a%2fb", "/a")
        .replace("encoded_slash: keep", "merge_slashes: true");
    mistake(ROUTE, &merging, "write one slash");
}

#[test]
fn routes_that_nothing_reaches_are_named_with_what_hides_them() {
    let two = |one: &str, other: &str| {
        format!(
            "{ROUTE}\n      - {{ name: a, match: {one}, upstream: api }}\n      - {{ name: b, match: {other}, upstream: api }}"
        )
    };
    mistake(
        ROUTE,
        &two(
            "{ hosts: [x.test, Y.test], path: /a }",
            "{ hosts: [y.test., x.test], path: /%61/ }",
        ),
        "t.yaml:16:9: the route `b` can never be reached: `a` before it has the same hosts, path and methods",
    );
    mistake(
        ROUTE,
        &two(
            "{ path: /a, methods: [GET, PUT] }",
            "{ path: /a, methods: [PUT] }",
        ),
        "the route `b` can never be reached: `a` before it, equally specific, take every request",
    );
    valid(ROUTE, &two("{ path: /a, methods: [GET] }", "{ path: /a }"));
    valid(ROUTE, &two("{ path: /a }", "{ path: { exact: /a } }"));
}

/// An API that answers TRACE repeats what was injected.
#[test]
fn threat_43_methods_that_are_never_passed_on_have_no_route() {
    for method in ["TRACE", "TRACK", "CONNECT", "trace"] {
        mistake(
            ROUTE,
            &matching(&format!("{{ path: /a, methods: [GET, {method}] }}")),
            &format!("the method `{method}` is never passed on"),
        );
    }
}

#[test]
fn hosts_are_kept_in_the_form_that_requests_have() {
    for (text, host) in [
        ("API.Example.com.", r#"Exact("api.example.com")"#),
        ("2001:DB8:0::1", r#"Exact("2001:db8::1")"#),
        ("[::1]", r#"Exact("::1")"#),
        ("*.Example.com.", r#"Wildcard("example.com")"#),
        ("192.0.2.1", r#"Exact("192.0.2.1")"#),
    ] {
        let config = valid(ROUTE, &matching(&format!("{{ hosts: ['{text}'] }}")));
        let hosts = &config.listeners[0].routes[0].matches.hosts;
        assert_eq!(format!("{hosts:?}"), format!("[{host}]"));
    }
    for text in [
        "api.test:443",
        "[::1]:443",
        "a..b",
        "999.1.1.1",
        "*",
        "a.*.b",
        "*.192.0.2.1",
        "*.[::1]",
        "user@a",
        "ä.test",
        "",
    ] {
        mistake(
            ROUTE,
            &matching(&format!("{{ hosts: ['{text}'] }}")),
            &format!("the host `{text}` does not fit"),
        );
    }
}

#[test]
fn keys_outlive_the_time_between_fetches() {
    mistake(
        "keys: {}",
        "keys: { refresh: 2h, max_stale: 1h }",
        "`max_stale: 1h` is not longer than `refresh`, 2h",
    );
    mistake(
        "keys: {}",
        "keys: { max_stale: 300s }",
        "`max_stale: 300s` is not longer than `refresh`, 5m",
    );
    let stale = |keys: &str| valid("keys: {}", keys).issuers[0].keys.max_stale;
    let hour = Duration::from_secs(3600);
    assert_eq!(stale("keys: {}"), hour);
    assert_eq!(stale("keys: { refresh: 2h }"), 6 * hour);
    assert_eq!(
        stale("keys: { refresh: 2h, max_stale: 2h 1s }").as_secs(),
        7201
    );
}

#[test]
fn every_key_setting_goes_down_to_a_second() {
    let second = "keys: { refresh: 1s, unknown_kid_cooldown: 1s, max_stale: 2s, timeout: 1s }";
    let keys = &valid("keys: {}", second).issuers[0].keys;
    let all = [
        keys.refresh,
        keys.unknown_kid_cooldown,
        keys.max_stale / 2,
        keys.timeout,
    ];
    assert_eq!(all, [Duration::from_secs(1); 4]);
    for setting in ["refresh", "unknown_kid_cooldown"] {
        let too_short = format!("keys: {{ {setting}: 999ms }}");
        mistake("keys: {}", &too_short, setting);
    }
}

#[test]
fn threat_51_keys_by_plain_http_must_be_allowed_by_name() {
    mistake("'https://login.test'", "'http://login.test'", "plain HTTP");
    mistake(
        "jwks: discover",
        "jwks: { url: 'http://keys.test/jwks' }",
        "plain HTTP",
    );
    for url in ["file:///etc/jwks", "ftp://keys.test/jwks", "/jwks", ""] {
        let jwks = format!("jwks: {{ url: '{url}' }}");
        mistake("jwks: discover", &jwks, "`url");
    }
    for issuer in ["'https://login.test?a=b'", "'https://login.test/#x'"] {
        mistake("'https://login.test'", issuer, "query or a fragment");
    }
}

#[test]
fn passwords_in_urls_are_refused_and_not_repeated() {
    for (part, with) in [
        (
            "jwks: discover",
            "jwks: { url: 'https://me:hunter2@keys.test/jwks' }",
        ),
        ("'https://login.test'", "'https://me:hunter2@login.test'"),
        (
            "jwks: discover",
            "jwks: { url: 'https://me:hunter2@keys test' }",
        ),
    ] {
        let text = parse(part, with).unwrap_err();
        assert!(!text.contains("hunter2") && !text.contains("me:"), "{text}");
        assert!(text.contains("https://**********@"), "{text}");
    }
    mistake(
        "jwks: discover",
        "jwks: { url: 'https://me:hunter2@keys.test/jwks' }",
        "`url` holds a user name or password before `@`",
    );
    mistake(
        "'https://login.test'",
        "'https://me@login.test'",
        "`issuer` holds a user name or password before `@`",
    );
}

#[test]
fn sources_that_never_hold_a_token_are_named() {
    let rule = |sources: &str| format!("token: {{ issuers: [corp], sources: {sources} }}");
    let part = "token: { issuers: [corp] }";
    mistake(part, &rule("[]"), "`sources` is empty");
    for name in ["Host", "connection", "Proxy-Authorization", "TE"] {
        mistake(
            part,
            &rule(&format!("[{{ header: {name} }}]")),
            &format!("the source `{name}` can never hold a token"),
        );
    }
}

#[test]
fn sources_are_of_every_kind() {
    let sources = |list: &str| {
        let rule = format!("token: {{ issuers: [corp], sources: {list} }}");
        let config = valid("token: { issuers: [corp] }", &rule);
        config.listeners[0].routes[0].token.clone().unwrap().sources
    };
    let name = |name: &str| name.to_owned();
    let header = |of: &str, scheme| TokenSource::Header {
        name: name(of),
        scheme,
    };
    assert_eq!(
        sources(
            "[{ header: X-Auth, scheme: Token }, { header: x-jwt, scheme: none }, { header: Authorization, scheme: bearer }, { header: x-any }]"
        ),
        [
            header("x-auth", HeaderScheme::Named(name("token"))),
            header("x-jwt", HeaderScheme::Bare),
            header("authorization", HeaderScheme::Usual),
            header("x-any", HeaderScheme::Usual),
        ]
    );
    assert_eq!(
        sources("[{ cookie: __Host-Sid }, { query: jwt }, query]"),
        [
            TokenSource::Cookie {
                name: name("__Host-Sid")
            },
            TokenSource::Query { name: name("jwt") },
            TokenSource::Query {
                name: name("access_token")
            },
        ]
    );
    // One header by several schemes, cookies that differ in case.
    assert_eq!(
        sources("[{ header: a }, { header: A, scheme: T }, { cookie: s }, { cookie: S }]").len(),
        4
    );
}

#[test]
fn sources_that_cannot_be_meant_are_named() {
    let of = |list: &str, said: &str| {
        let rule = format!("token: {{ issuers: [corp], sources: [{list}] }}");
        mistake("token: { issuers: [corp] }", &rule, said);
    };
    of("{ cookie: 'a b' }", "`a b` is not the name of a cookie");
    of("{ cookie: '' }", "`` is not the name of a cookie");
    of(
        &format!("{{ cookie: {} }}", "a".repeat(65)),
        "1 to 64 letters",
    );
    of(
        "{ query: 'a b' }",
        "`a b` cannot be the name of a token's query parameter",
    );
    of("{ query: 'a%62' }", "cannot be the name");
    of("{ query: 'a[]' }", "cannot be the name");
    of("{ query: '' }", "cannot be the name");
    of("cookie", "`cookie` needs a name");
    of("header", "`header` needs a name");
    of("body", "`body` is no source");
    of("{}", "a source says where");
    of("{ scheme: Token }", "`scheme` belongs to a `header`");
    of(
        "{ cookie: a, scheme: Token }",
        "`scheme` belongs to a `header`",
    );
    of("{ cookie: a, query: b }", "a source is one place");
    of("{ header: a, cookie: b }", "a source is one place");
    of("{ header: cookie }", "say `{ cookie: NAME }`");
    of("{ header: 'a b' }", "`a b` is not a header name");
    of(
        "{ header: a, scheme: 'T oken' }",
        "`scheme: T oken` is not the name of a scheme",
    );
    of("{ header: a, scheme: '' }", "or `none` for the bare token");
    of(
        "{ header: a, scheme: dpop }",
        "`scheme: DPoP` is not available in this version",
    );
    of(
        "{ cookie: a }, { cookie: a }",
        "the cookie \"a\" stands twice",
    );
    of(
        "{ header: a }, { header: A }",
        "the field \"a\" stands twice",
    );
    of(
        "{ header: a, scheme: T }, { header: A, scheme: t }",
        "the field \"a\" stands twice",
    );
    of(
        "query, { query: access_token }",
        "the query parameter \"access_token\" stands twice",
    );
    of(
        "{ header: x-a }, { header: x_a }",
        "reads like the field \"x-a\"",
    );
    of(
        "{ query: T }, { query: t }",
        "reads like the query parameter \"T\"",
    );
    of(
        "{ cookie: a.b }, { cookie: a_b }",
        "reads like the cookie \"a.b\"",
    );
}

#[test]
fn headers_that_read_alike_are_named() {
    let inject = "inject: { x-user-id: { claim: sub } }";
    for other in ["x_user_id", "X-User-Id"] {
        mistake(
            inject,
            &format!("inject: {{ x-user-id: {{ claim: sub }}, {other}: {{ claim: a }} }}"),
            &format!("the header `{other}` reads like `x-user-id`"),
        );
    }
    let own = |name: &str| {
        format!("- {{ name: first, inject: {{ {name}: {{ claim: a }} }}, upstream: api }}")
    };
    mistake(
        ROUTE,
        &own("x_user_id"),
        "the header `x_user_id` reads like the inherited `x-user-id` to servers behind",
    );
    let config = valid(ROUTE, &own("X-User-Id"));
    assert_eq!(config.listeners[0].routes[0].inject.len(), 1);
    mistake(
        inject,
        "inject: { authorization: { claim: sub } }",
        "replacing that by explicit choice is not available in this version",
    );
}

#[test]
fn nothing_to_listen_on_or_send_to() {
    mistake(ROUTE, "[]", "`routes` is missing or empty here");
    let listeners = &WHOLE[WHOLE.find("listeners:").unwrap()..WHOLE.find("upstreams:").unwrap()];
    mistake(
        listeners,
        "listeners: {}\n",
        "t.yaml:5:12: `listeners` is missing or empty",
    );
    let part = "[127.0.0.1:9000]";
    mistake(part, "[127.0.0.1:0]", "has port 0");
    for address in ["0.0.0.0:80", "'[::]:80'"] {
        mistake(
            part,
            &format!("[{address}]"),
            "is the address to listen on everywhere",
        );
    }
}

#[test]
fn one_value_where_a_list_belongs_is_shown_as_a_list_of_one() {
    let claims = |value: &str| {
        format!("- {{ name: first, require: {{ claims: {{ tenant: {value} }} }}, upstream: api }}")
    };
    for (value, said) in [
        ("acme", "the string `acme`; write `[acme]`"),
        ("7", "the number `7`; write `[7]`"),
        ("true", "the boolean `true`; write `[true]`"),
        ("'a, b'", r#"the string `"a, b"`; write `["a, b"]`"#),
        ("{ a: b }", "a mapping; begin each item with `- `"),
    ] {
        mistake(
            ROUTE,
            &claims(value),
            &format!("expected a list, found {said}"),
        );
    }
    mistake(
        "[127.0.0.1:9000]",
        "127.0.0.1:9000",
        "t.yaml:15:32: expected a list, found the string `127.0.0.1:9000`; write `[127.0.0.1:9000]`",
    );
}

#[test]
fn what_was_written_of_workers_is_kept() {
    let workers = |text: &str| {
        let config = valid("version: 1", &format!("version: 1\nworkers: {text}"));
        (config.workers_configured, config.workers)
    };
    assert_eq!(workers("3"), (3, 3));
    let (configured, threads) = workers("0");
    assert_eq!(configured, 0);
    assert!(threads >= 1);
}

#[test]
fn idle_connections_have_their_time() {
    let idle = |text: &str| valid("timeouts: {}", text).listeners[0].idle_timeout;
    assert_eq!(idle("timeouts: {}"), Duration::from_secs(60));
    assert_eq!(idle("timeouts: { idle: 5m }"), Duration::from_secs(300));
    for text in ["500ms", "61m"] {
        mistake(
            "timeouts: {}",
            &format!("timeouts: {{ idle: {text} }}"),
            "is out of range; allowed are 1s to 1h",
        );
    }
}
