mod precedence;

use super::*;
use crate::policy::normalization::Normalization;

fn route(hosts: &[&str], path: &str, methods: &[&str]) -> RouteMatch {
    RouteMatch {
        hosts: hosts.iter().map(|h| host(h)).collect(),
        path: pattern(path),
        methods: methods.iter().map(|m| m.parse().unwrap()).collect(),
        normalization: Normalization::default(),
    }
}

fn merging(route: RouteMatch) -> RouteMatch {
    let normalization = Normalization {
        merge_slashes: true,
        ..route.normalization
    };
    RouteMatch {
        normalization,
        ..route
    }
}

fn keeping(route: RouteMatch) -> RouteMatch {
    let normalization = Normalization {
        encoded_slash: EncodedSlash::Keep,
        ..route.normalization
    };
    RouteMatch {
        normalization,
        ..route
    }
}

fn host(text: &str) -> HostMatch {
    match text.strip_prefix("*.") {
        Some(suffix) => HostMatch::Wildcard(suffix.into()),
        None if text == "*" => HostMatch::Any,
        None => HostMatch::Exact(text.into()),
    }
}

/// `=/a` is exact, `/{a}` a template, `*` any, the rest a prefix.
fn pattern(text: &str) -> PathMatch {
    match text.strip_prefix('=') {
        Some(exact) => PathMatch::exact(exact).unwrap(),
        None if text == "*" => PathMatch::Any,
        None if text.contains('{') => PathMatch::Template(Template::parse(text).unwrap()),
        None => PathMatch::prefix(text).unwrap(),
    }
}

fn path(text: &str) -> Path {
    if text == "*" {
        Path::asterisk()
    } else {
        Path::parse(text.as_bytes()).unwrap()
    }
}

#[track_caller]
fn check(routes: &[RouteMatch], request: &str, want: Found) {
    let target = request.rsplit(' ').next().unwrap();
    let form = path(target).as_str().to_owned();
    check_form(routes, request, want, &form);
}

/// `form` is the path as it is decided on and forwarded.
#[track_caller]
fn check_form(routes: &[RouteMatch], request: &str, want: Found, form: &str) {
    let mut parts = request.split(' ');
    let (method, host, target) = (
        parts.next().unwrap(),
        parts.next().unwrap(),
        parts.next().unwrap(),
    );
    let host = Some(host).filter(|h| *h != "-");
    let mut path = path(target);
    let table = RouteTable::new(routes.to_vec());
    let found = table.find(host, &mut path, &method.parse().unwrap());
    assert_eq!((found, path.as_str()), (want, form), "{request}");
}

#[test]
fn hosts_from_exact_to_any() {
    let routes = [
        route(&[], "/", &[]),
        route(&["*.example.com"], "/", &[]),
        route(&["*.api.example.com"], "/", &[]),
        route(&["API.example.com"], "/", &[]),
    ];
    check(&routes, "GET api.example.com /", Found::Route(3));
    check(&routes, "GET a.api.example.com /", Found::Route(2));
    check(&routes, "GET a.b.api.example.com /", Found::Route(2));
    check(&routes, "GET www.example.com /", Found::Route(1));
    check(&routes, "GET example.com /", Found::Route(0));
    check(&routes, "GET badexample.com /", Found::Route(0));
    check(&routes, "GET - /", Found::Route(0));
    check(&routes[1..], "GET example.org /", Found::NoRoute);
    check(&routes[1..], "GET - /", Found::NoRoute);
}

#[test]
fn paths_from_exact_to_any() {
    let routes = [
        route(&[], "*", &[]),
        route(&[], "/", &[]),
        route(&[], "/orders", &[]),
        route(&[], "/orders/open/", &[]),
        route(&[], "/orders/{id}", &[]),
        route(&[], "/orders/{id}/lines", &[]),
        route(&[], "/{any}/latest", &[]),
        route(&[], "=/orders/7", &[]),
    ];
    for (target, want) in [
        ("/orders/7", 7),
        ("/orders/8", 4),
        ("/orders/latest", 4),
        ("/%6frders/7", 7),
        ("/people/latest", 6),
        ("/orders/8/lines", 5),
        ("/orders/open/now", 3),
        ("/orders/8/other", 2),
        ("/orders", 2),
        ("/orders/", 2),
        ("/ordersx", 1),
        ("/", 1),
        ("//orders", 1),
        ("/orders;x=y", 1),
        ("*", 0),
    ] {
        check(&routes, &format!("GET h {target}"), Found::Route(want));
    }
    check(&routes[1..], "OPTIONS h *", Found::NoRoute);
    check(&routes[2..3], "GET h /other", Found::NoRoute);
}

#[test]
fn methods_then_the_order_of_the_file() {
    let routes = [
        route(&[], "/a", &[]),
        route(&[], "/a", &["GET", "HEAD"]),
        route(&[], "/a", &["GET"]),
        route(&[], "/b", &["POST"]),
        route(&[], "=/b/c", &["PUT", "POST"]),
    ];
    check(&routes, "GET h /a", Found::Route(1));
    check(&routes, "PUT h /a", Found::Route(0));
    check(&routes, "POST h /b/c", Found::Route(4));
    // A more specific route that does not take the method leaves it to a less specific one that does.
    check(
        &routes,
        "get h /b/c",
        Found::MethodNotAllowed(vec![Method::PUT, Method::POST]),
    );
    check(
        &routes,
        "GET h /b",
        Found::MethodNotAllowed(vec![Method::POST]),
    );
    check(&routes[3..4], "POST h /b/c", Found::Route(0));
    check(&routes, "GET h /c", Found::NoRoute);
}

#[test]
fn a_specific_host_without_the_path_leaves_it_to_others() {
    let routes = [route(&["h"], "/a", &["GET"]), route(&["*"], "/b", &[])];
    check(&routes, "GET h /b", Found::Route(1));
    check(
        &routes,
        "POST h /a",
        Found::MethodNotAllowed(vec![Method::GET]),
    );
}

/// threats.md 41: patterns are compared in the form of requests, however the configuration spells them.
#[test]
fn t41_patterns_have_the_form_of_paths() {
    let routes = [route(&[], "/%61dmin", &[]), route(&[], "=/%7eb", &[])];
    check(&routes, "GET h /admin/x", Found::Route(0));
    check(&routes, "GET h /~b", Found::Route(1));
    let raw = RouteMatch {
        path: PathMatch::Prefix("/%61dmin".into()),
        ..route(&[], "/", &[])
    };
    check(&[raw], "GET h /admin", Found::Route(0));
    for bad in ["/a/../b", "a", "", "/a%2f..", "/a?b"] {
        assert!(
            PathMatch::prefix(bad).is_err() && PathMatch::exact(bad).is_err(),
            "{bad}"
        );
    }
}

#[test]
fn templates_parse_and_print() {
    for good in ["/orders/{id}", "/{a}/{b_1}", "/a/{id}/", "/{_x}"] {
        assert_eq!(Template::parse(good).unwrap().to_string(), good);
    }
    for bad in [
        "orders",
        "/{id",
        "/id}",
        "/x{id}",
        "/{}",
        "/{1a}",
        "/{a-b}",
        "/{a}/{a}",
        "/*",
        "/../{a}",
        "/a%2f./{b}",
    ] {
        assert!(Template::parse(bad).is_err(), "{bad}");
    }
}

/// A parameter takes one segment that is there.
#[test]
fn parameters_are_not_empty() {
    let routes = [route(&[], "/a/{id}", &[])];
    check(&routes, "GET h /a/x", Found::Route(0));
    for target in ["/a/", "/a", "/a/x/", "/a//", "/a/x/y"] {
        check(&routes, &format!("GET h {target}"), Found::NoRoute);
    }
}

/// threats.md 41: the route decides what an encoded separator is, and no laxer one is asked in its place.
#[test]
fn t41_the_most_specific_route_refuses_or_keeps_encoded_separators() {
    let at = |byte| PathError::EncodedSeparator(byte);
    let routes = [
        keeping(route(&[], "/files", &["GET"])),
        route(&[], "/files/private", &[]),
        keeping(route(&[], "=/files/a%2fb", &[])),
        keeping(route(&[], "/files/{name}/raw", &["GET"])),
        route(&[], "/things", &["PUT"]),
    ];
    check(&routes, "GET h /files/x%2fy", Found::Route(0));
    check(&routes, "GET h /files/a%2Fb", Found::Route(2));
    // One segment, whose bytes are these.
    check(&routes, "GET h /files/a%2fb/raw", Found::Route(3));
    check(&routes, "GET h /files/a/b/raw", Found::Route(0));
    check(&routes, "GET h /files/a%5cb", Found::Route(0));
    let refused = |route, byte| Found::PathRefused(route, at(byte));
    check(&routes, "GET h /files/private/a%2Fb", refused(Some(1), 16));
    check(&routes, "GET h /%2ffiles", refused(None, 1));
    // The whole first segment is another one.
    check(&routes, "GET h /files%2Fprivate", refused(None, 6));
    // Only who keeps it could take it with another method.
    let get = Found::MethodNotAllowed(vec![Method::GET]);
    check(&routes, "PUT h /files/x%2Fy", get);
    check(&routes, "GET h /things/x%2Fy", refused(None, 9));
    check(&routes, "PUT h /things/x%2Fy", refused(Some(4), 9));
}

/// threats.md 41: `//admin` is `/admin` where slashes are merged, for the decision and for the API alike.
#[test]
fn t41_merged_slashes_are_merged_for_the_decision_and_behind_it() {
    let guarded = merging(route(&[], "/admin", &[]));
    let routes = [route(&[], "/", &[]), guarded.clone()];
    for (target, route, form) in [
        ("/admin", 1, "/admin"),
        ("//admin", 1, "/admin"),
        ("///admin//x/", 1, "/admin/x/"),
        ("/admin//", 1, "/admin/"),
        ("//public", 0, "//public"),
        ("//", 0, "//"),
    ] {
        check_form(
            &routes,
            &format!("GET h {target}"),
            Found::Route(route),
            form,
        );
    }
    // As `merge_slashes: true` for all of a listener.
    let routes = [merging(route(&[], "/", &[])), guarded];
    check_form(&routes, "GET h //public", Found::Route(0), "/public");
    check_form(&routes, "GET h //", Found::Route(0), "/");
    check_form(&routes, "OPTIONS h *", Found::NoRoute, "*");
}

#[test]
fn of_two_forms_the_more_specific_route_wins() {
    let both =
        |literal: &str, merged: &str| [route(&[], literal, &[]), merging(route(&[], merged, &[]))];
    for (literal, merged, target, want, form) in [
        ("/", "/", "//a", 0, "//a"),
        ("*", "/", "//a", 1, "/a"),
        ("//a", "/a", "//a/b", 0, "//a/b"),
        ("//a", "/a/b", "//a/b", 0, "//a/b"),
        ("//", "/a/b", "//a/b", 1, "/a/b"),
        ("//a", "/{x}", "//a", 1, "/a"),
        ("=//a", "=/a", "//a", 0, "//a"),
        ("//a", "=/a", "//a", 1, "/a"),
        ("//{x}", "/a", "//a", 0, "//a"),
    ] {
        let routes = both(literal, merged);
        check_form(
            &routes,
            &format!("GET h {target}"),
            Found::Route(want),
            form,
        );
    }
    // Then the file's order, a listed method before it, a host before all.
    let [literal, merged] = both("/", "/");
    check_form(&[merged, literal.clone()], "GET h //", Found::Route(0), "/");
    let listed = merging(route(&[], "/", &["GET"]));
    check_form(&[literal.clone(), listed], "GET h //", Found::Route(1), "/");
    let host = merging(route(&["h"], "*", &[]));
    check_form(&[literal, host], "GET h //a", Found::Route(1), "/a");
    let wide = merging(route(&["*.h"], "*", &[]));
    let exact = route(&["x.h"], "*", &[]);
    check_form(
        &[wide.clone(), exact],
        "GET x.h //a",
        Found::Route(1),
        "//a",
    );
    let narrow = route(&["*.x.h", "x.h"], "*", &[]);
    check_form(&[wide, narrow], "GET a.x.h //a", Found::Route(1), "//a");
    // What either form would take with another method.
    let routes = [
        route(&[], "//a", &["GET"]),
        merging(route(&[], "/a", &["PUT", "GET"])),
    ];
    let allowed = Found::MethodNotAllowed(vec![Method::GET, Method::PUT]);
    check(&routes, "POST h //a", allowed);
}

/// threats.md 41: who merges slashes may refuse encoded ones, and the reverse.
#[test]
fn t41_encoded_slashes_are_never_merged() {
    let routes = [
        merging(keeping(route(&[], "/files", &[]))),
        merging(route(&[], "/admin", &[])),
        keeping(route(&[], "/raw", &[])),
    ];
    check_form(
        &routes,
        "GET h //files//a%2f%2fb",
        Found::Route(0),
        "/files/a%2F%2Fb",
    );
    check_form(
        &routes,
        "GET h /files/%2f/a",
        Found::Route(0),
        "/files/%2F/a",
    );
    check(&routes, "GET h /raw//%2F", Found::Route(2));
    let refused = |route, byte| Found::PathRefused(route, PathError::EncodedSeparator(byte));
    check(&routes, "GET h //admin%2F", refused(None, 7));
    check(&routes, "GET h //admin//%2F", refused(Some(1), 9));
}

#[test]
fn patterns_that_their_own_route_could_never_match_are_told() {
    let encoded = route(&[], "/a%2fb", &[]);
    let said = encoded.check().unwrap_err().to_string();
    assert!(said.starts_with("/a%2Fb holds %2F or %5C"), "{said}");
    assert_eq!(keeping(encoded).check(), Ok(()));
    for text in ["=/a%5Cb", "/a%2F/{b}"] {
        assert!(route(&[], text, &[]).check().is_err(), "{text}");
        assert_eq!(keeping(route(&[], text, &[])).check(), Ok(()));
    }
    for text in ["//a", "=/a//", "/{a}//b"] {
        assert_eq!(route(&[], text, &[]).check(), Ok(()));
        let said = merging(route(&[], text, &[])).check().unwrap_err();
        assert!(matches!(said, PatternError::EmptySegment(_)), "{text}");
    }
    for text in ["*", "/", "/a/", "=/a/"] {
        assert_eq!(merging(route(&[], text, &[])).check(), Ok(()), "{text}");
    }
}

#[test]
fn a_route_is_closer_by_host_or_path_and_by_nothing_else() {
    let table = RouteTable::new(vec![
        route(&[], "/a", &["PUT"]),
        route(&[], "/a", &["OPTIONS"]),
        route(&[], "/a/b", &["PUT"]),
        route(&["h.test"], "/", &["PUT"]),
        route(&[], "/{x}/b", &["PUT"]),
        route(&[], "/a/{x}", &["PUT"]),
        route(&[], "/a/{y}", &["OPTIONS"]),
    ]);
    let closer = |one, other| table.is_closer(one, other, Some("h.test"));
    for (near, far) in [(2, 0), (2, 1), (3, 0), (3, 2), (4, 2), (5, 4), (6, 4)] {
        assert!(closer(near, far) && !closer(far, near), "{near} {far}");
    }
    for (one, other) in [(0, 1), (1, 0), (0, 0), (5, 6), (6, 5)] {
        assert!(!closer(one, other), "{one} {other}");
    }
}

/// threats.md 43: a method is itself alone. What says otherwise, in another case or in a field, is no method.
#[test]
fn t43_only_the_method_as_it_was_sent_is_compared() {
    let routes = [
        route(&[], "/orders", &["GET", "POST"]),
        route(&[], "/orders", &["DELETE"]),
        route(&[], "=/orders/1", &["GET"]),
        route(&["*"], "*", &["PURGE"]),
    ];
    for (method, path, want) in [
        ("GET", "/orders/1", Some(2)),
        ("POST", "/orders/1", Some(0)),
        ("DELETE", "/orders/1", Some(1)),
        ("PURGE", "/orders/1", Some(3)),
        ("get", "/orders/1", None),
        ("Get", "/orders", None),
        ("delete", "/orders", None),
        ("GETX", "/orders", None),
        ("GE", "/orders", None),
        ("HEAD", "/orders", None),
        ("CONNECT", "/orders", None),
        ("X-HTTP-METHOD", "/orders", None),
    ] {
        let table = RouteTable::new(routes.to_vec());
        let found = table.find(Some("h"), &mut self::path(path), &method.parse().unwrap());
        match want {
            Some(route) => assert_eq!(found, Found::Route(route), "{method} {path}"),
            None => assert!(
                matches!(found, Found::MethodNotAllowed(_)),
                "{method} {path}: {found:?}"
            ),
        }
    }
    // Who lists no method takes every one, whatever it is called.
    for method in ["GET", "get", "CONNECT", "ANYTHING"] {
        check(
            &[route(&[], "/", &[])],
            &format!("{method} h /x"),
            Found::Route(0),
        );
    }
}

/// threats.md 44: no path is a health check's by its name; one that a route names is that one and nothing below it.
#[test]
fn t44_paths_of_health_checks_are_paths_as_others() {
    let routes = [
        route(&[], "/", &[]),
        route(&[], "=/ping", &[]),
        route(&[], "=/healthz", &["GET"]),
    ];
    for (request, want) in [
        ("GET h /ping", 1),
        ("GET h /healthz", 2),
        ("POST h /healthz", 0),
        ("GET h /ping/", 0),
        ("GET h /ping/admin", 0),
        ("GET h //ping", 0),
        ("GET h /ping;x", 0),
        ("GET h /PING", 0),
        ("GET h /healthz/ready", 0),
        ("GET h /admin/ping", 0),
        ("GET h /health", 0),
        ("GET h /livez", 0),
        ("GET h /readyz", 0),
        ("GET h /metrics", 0),
        ("GET h /.well-known/health", 0),
    ] {
        check(&routes, request, Found::Route(want));
    }
}
