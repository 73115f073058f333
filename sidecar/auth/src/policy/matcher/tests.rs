use super::*;
use proptest::prelude::*;
use std::cmp::Reverse;

fn route(hosts: &[&str], path: &str, methods: &[&str]) -> RouteMatch {
    RouteMatch {
        hosts: hosts.iter().map(|h| host(h)).collect(),
        path: pattern(path),
        methods: methods.iter().map(|m| m.parse().unwrap()).collect(),
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
    let mut parts = request.split(' ');
    let (method, host, target) = (
        parts.next().unwrap(),
        parts.next().unwrap(),
        parts.next().unwrap(),
    );
    let host = Some(host).filter(|h| *h != "-");
    let found =
        RouteTable::new(routes.to_vec()).find(host, &path(target), &method.parse().unwrap());
    assert_eq!(found, want, "{request}");
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
    for bad in ["/a/../b", "a", "", "/a%2fb", "/a?b"] {
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
        "/a%2f/{b}",
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

/// The stated precedence, read off every route one by one.
fn reference(routes: &[RouteMatch], host: Option<&str>, path: &Path, method: &Method) -> Found {
    let mut best: Option<((Rank, Reverse<usize>), usize)> = None;
    let mut allowed = std::collections::HashSet::new();
    for (at, route) in routes.iter().enumerate() {
        let any = [HostMatch::Any];
        let hosts = if route.hosts.is_empty() {
            &any[..]
        } else {
            &route.hosts
        };
        let host_rank = hosts.iter().filter_map(|h| host_rank(h, host)).max();
        let (Some(host_rank), Some(path_rank)) = (host_rank, path_rank(&route.path, path)) else {
            continue;
        };
        if !route.methods.is_empty() && !route.methods.contains(method) {
            allowed.extend(route.methods.iter().cloned());
            continue;
        }
        let rank = (
            (host_rank, path_rank, !route.methods.is_empty()),
            Reverse(at),
        );
        if best.as_ref().is_none_or(|(b, _)| rank > *b) {
            best = Some((rank, at));
        }
    }
    match best {
        Some((_, at)) => Found::Route(at),
        None if allowed.is_empty() => Found::NoRoute,
        None => Found::MethodNotAllowed(allowed.into_iter().collect()),
    }
}

type Rank = ((u8, usize), (u8, Vec<bool>, usize), bool);

fn host_rank(pattern: &HostMatch, host: Option<&str>) -> Option<(u8, usize)> {
    match (pattern, host) {
        (HostMatch::Any, _) => Some((0, 0)),
        (HostMatch::Exact(want), Some(host)) => (want == host).then_some((2, 0)),
        (HostMatch::Wildcard(suffix), Some(host)) => host
            .ends_with(&format!(".{suffix}"))
            .then_some((1, suffix.len())),
        _ => None,
    }
}

fn path_rank(pattern: &PathMatch, path: &Path) -> Option<(u8, Vec<bool>, usize)> {
    let text = path.as_str();
    match pattern {
        PathMatch::Any => Some((0, vec![], 0)),
        PathMatch::Exact(want) => (want == text).then_some((3, vec![], 0)),
        PathMatch::Prefix(prefix) => {
            let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
            let rest = text.strip_prefix(prefix)?;
            ((rest.is_empty() || rest.starts_with('/')) && text != "*").then_some((
                1,
                vec![],
                prefix.split('/').count(),
            ))
        }
        PathMatch::Template(template) => {
            let segments: Vec<_> = path.segments().collect();
            let fits = segments.len() == template.0.len()
                && template
                    .0
                    .iter()
                    .zip(&segments)
                    .all(|(part, segment)| match part {
                        Part::Literal(text) => **text == **segment,
                        Part::Parameter(_) => !segment.is_empty(),
                    });
            let literal = template
                .0
                .iter()
                .map(|p| matches!(p, Part::Literal(_)))
                .collect();
            fits.then_some((2, literal, 0))
        }
    }
}

fn any_path(parameters: bool) -> impl Strategy<Value = String> {
    let segment = if parameters {
        prop::sample::select(vec!["a", "b", "", "{}"])
    } else {
        prop::sample::select(vec!["a", "b", ""])
    };
    prop::collection::vec(segment, 0..4).prop_map(|segments| {
        let named: Vec<_> = segments
            .iter()
            .enumerate()
            .map(|(i, s)| {
                if *s == "{}" {
                    format!("{{p{i}}}")
                } else {
                    (*s).to_owned()
                }
            })
            .collect();
        format!("/{}", named.join("/"))
    })
}

fn any_route() -> impl Strategy<Value = RouteMatch> {
    let hosts = prop::collection::vec(
        prop::sample::select(vec!["*", "h", "x.h", "*.h", "*.x.h"]),
        0..3,
    );
    let path = prop_oneof![
        any_path(false),
        any_path(false).prop_map(|p| format!("={p}")),
        any_path(true).prop_filter("a template", |p| p.contains('{')),
        Just("*".to_owned()),
    ];
    let methods = prop::collection::vec(prop::sample::select(vec!["GET", "POST"]), 0..2);
    (hosts, path, methods).prop_map(|(hosts, path, methods)| route(&hosts, &path, &methods))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn lookups_follow_the_stated_precedence(
        routes in prop::collection::vec(any_route(), 0..12),
        host in prop::sample::select(vec![None, Some("h"), Some("x.h"), Some("y.x.h"), Some("z")]),
        target in prop_oneof![9 => any_path(false), 1 => Just("*".to_owned())],
        method in prop::sample::select(vec!["GET", "POST", "PUT"]),
    ) {
        let (path, method) = (path(&target), method.parse().unwrap());
        let want = reference(&routes, host, &path, &method);
        let found = RouteTable::new(routes).find(host, &path, &method);
        match (found, want) {
            (Found::MethodNotAllowed(mut a), Found::MethodNotAllowed(mut b)) => {
                a.sort();
                b.sort();
                prop_assert_eq!(a, b);
            }
            (found, want) => prop_assert_eq!(found, want),
        }
    }
}
