//! Generated tables: the matcher, the stated precedence read off every route one by one, and what is told of routes that
//! nothing reaches.

use std::cmp::Reverse;
use std::collections::HashSet;

use proptest::prelude::*;

use super::*;
use crate::policy::explain::{Outcome, explain};
use crate::policy::shadow::shadowed;

/// The stated precedence. Shares nothing with the matcher but the types.
fn reference(
    routes: &[RouteMatch],
    host: Option<&str>,
    text: &str,
    method: &Method,
) -> (Found, String) {
    let mut best: Option<(Rank, usize, String)> = None;
    let mut allowed = HashSet::new();
    let encoded = text.find("%2F").or_else(|| text.find("%5C"));
    let mut refuses_all = encoded.is_some();
    for (at, route) in routes.iter().enumerate() {
        let form = if route.normalization.merge_slashes {
            merge(text)
        } else {
            text.to_owned()
        };
        let any = [HostMatch::Any];
        let hosts = if route.hosts.is_empty() {
            &any[..]
        } else {
            &route.hosts
        };
        let host_rank = hosts.iter().filter_map(|h| host_rank(h, host)).max();
        let (Some(host_rank), Some(path_rank)) = (host_rank, path_rank(&route.path, &form)) else {
            continue;
        };
        let keeps = route.normalization.encoded_slash == EncodedSlash::Keep;
        if !route.methods.is_empty() && !route.methods.contains(method) {
            if encoded.is_none() || keeps {
                allowed.extend(route.methods.iter().cloned());
                refuses_all = false;
            }
            continue;
        }
        let rank = (host_rank, path_rank, !route.methods.is_empty(), Reverse(at));
        if best.as_ref().is_none_or(|(b, ..)| rank > *b) {
            best = Some((rank, at, form));
        }
    }
    let error = PathError::EncodedSeparator(encoded.unwrap_or_default());
    let refuse = |route| Found::PathRefused(route, error);
    match best {
        Some((_, at, _))
            if encoded.is_some()
                && routes[at].normalization.encoded_slash == EncodedSlash::Refuse =>
        {
            (refuse(Some(at)), text.to_owned())
        }
        Some((_, at, form)) => (Found::Route(at), form),
        None if refuses_all => (refuse(None), text.to_owned()),
        None if allowed.is_empty() => (Found::NoRoute, text.to_owned()),
        None => {
            let mut allowed: Vec<_> = allowed.into_iter().collect();
            allowed.sort();
            (Found::MethodNotAllowed(allowed), text.to_owned())
        }
    }
}

type Rank = ((u8, usize), (u8, Vec<bool>, usize), bool, Reverse<usize>);

fn merge(text: &str) -> String {
    let mut text = text.to_owned();
    while text.contains("//") {
        text = text.replace("//", "/");
    }
    text
}

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

fn path_rank(pattern: &PathMatch, text: &str) -> Option<(u8, Vec<bool>, usize)> {
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
            let segments: Vec<_> = text.strip_prefix('/')?.split('/').collect();
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

const SEGMENTS: [&str; 4] = ["a", "b", "", "a%2Fb"];
const HOSTS: [Option<&str>; 6] = [
    None,
    Some("h"),
    Some("x.h"),
    Some("y.x.h"),
    Some("y.h"),
    Some("z"),
];
const METHODS: [&str; 3] = ["GET", "POST", "PUT"];

fn any_path(parameters: bool) -> impl Strategy<Value = String> {
    let mut pieces = SEGMENTS.to_vec();
    if parameters {
        pieces.push("{}");
    }
    prop::collection::vec(prop::sample::select(pieces), 0..4).prop_map(|segments| {
        let named: Vec<_> = segments
            .iter()
            .enumerate()
            .map(|(i, s)| s.replace("{}", &format!("{{p{i}}}")))
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
        3 => any_path(false),
        3 => any_path(false).prop_map(|p| format!("={p}")),
        3 => any_path(true).prop_filter("a template", |p| p.contains('{')),
        1 => Just("*".to_owned()),
    ];
    let methods = prop::collection::vec(prop::sample::select(vec!["GET", "POST"]), 0..2);
    (hosts, path, methods, any::<bool>(), any::<bool>()).prop_map(
        |(hosts, path, methods, merge_slashes, keep)| RouteMatch {
            normalization: Normalization {
                encoded_slash: if keep {
                    EncodedSlash::Keep
                } else {
                    EncodedSlash::Refuse
                },
                merge_slashes,
            },
            ..route(&hosts, &path, &methods)
        },
    )
}

/// Every path of up to three of the segments, some that are longer than any pattern, and the asterisk.
fn universe() -> Vec<String> {
    let longer = ["*", "/a//b/", "//a//b", "/a/b/a/b", "/a/b//a%2Fb", "////"];
    let mut paths = longer.map(str::to_owned).to_vec();
    let mut longest = vec![String::new()];
    for _ in 0..3 {
        longest = longest
            .iter()
            .flat_map(|path| SEGMENTS.map(|segment| format!("{path}/{segment}")))
            .collect();
        paths.extend(longest.iter().cloned());
    }
    paths
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Every request of a small world put to 200 tables, and what is explained of it: 6 hosts, 90 paths, 3 methods.
    #[test]
    fn lookups_follow_the_stated_precedence(routes in prop::collection::vec(any_route(), 0..12)) {
        let table = RouteTable::new(routes.clone());
        for text in universe() {
            for (host, method) in HOSTS.iter().flat_map(|h| METHODS.map(|m| (*h, m))) {
                let method = method.parse().unwrap();
                let mut decided = path(&text);
                let mut found = table.find(host, &mut decided, &method);
                if let Found::MethodNotAllowed(allowed) = &mut found {
                    allowed.sort();
                }
                let takes: Vec<_> = explain(table.routes(), host, &path(&text), &method)
                    .into_iter()
                    .filter_map(|one| match one.outcome {
                        Outcome::Takes => Some((Found::Route(one.route), one.path)),
                        Outcome::Refuses(why) => Some((Found::PathRefused(Some(one.route), why), path(&text))),
                        _ => None,
                    })
                    .collect();
                match &found {
                    Found::Route(_) | Found::PathRefused(Some(_), _) => {
                        prop_assert_eq!(takes, [(found.clone(), decided.clone())]);
                    }
                    _ => prop_assert_eq!(takes, []),
                }
                let want = reference(&routes, host, &text, &method);
                prop_assert_eq!(
                    (found, decided.as_str().to_owned()), want, "{} {:?} {}", method, host, text
                );
            }
        }
    }

    /// The form that decides is the form that is forwarded: put to the table again, it takes the same way.
    #[test]
    fn t41_a_decided_form_is_decided_the_same_way(routes in prop::collection::vec(any_route(), 1..12)) {
        let table = RouteTable::new(routes.clone());
        for text in universe() {
            let mut decided = path(&text);
            if let Found::Route(at) = table.find(Some("h"), &mut decided, &Method::GET) {
                let merges = routes[at].normalization.merge_slashes;
                prop_assert_eq!(decided.as_str(), if merges { merge(&text) } else { text.clone() });
                let mut again = decided.clone();
                let found = table.find(Some("h"), &mut again, &Method::GET);
                // A merged path belongs to everyone: another route may be more specific for it.
                if !merges {
                    prop_assert_eq!(found, Found::Route(at));
                    prop_assert_eq!(&again, &decided);
                }
            }
        }
    }

    /// Where all routes merge, a path and its merged form are one path.
    #[test]
    fn t41_merging_routes_tell_no_forms_apart(routes in prop::collection::vec(any_route(), 1..12)) {
        let table = RouteTable::new(routes.into_iter().map(merging).collect());
        for text in universe() {
            let (mut one, mut other) = (path(&text), path(&merge(&text)));
            let found = table.find(Some("x.h"), &mut one, &Method::GET);
            let want = table.find(Some("x.h"), &mut other, &Method::GET);
            match (found, want) {
                // The byte is counted in the path that came.
                (Found::PathRefused(a, _), Found::PathRefused(b, _)) => prop_assert_eq!(a, b),
                (found, want) => {
                    if matches!(found, Found::Route(_)) {
                        prop_assert_eq!(&one, &other);
                    }
                    prop_assert_eq!(found, want);
                }
            }
        }
    }

    /// What is said to be unreachable is; what is not said is reached, or hidden by more specific routes alone.
    #[test]
    fn routes_told_as_unreachable_are_those_that_equals_hide(
        routes in prop::collection::vec(any_route(), 0..10),
    ) {
        let routes: Vec<_> = routes.into_iter().filter(|route| route.check().is_ok()).collect();
        let told: HashSet<usize> = shadowed(&routes).iter().map(|one| one.route).collect();
        let mut first = HashSet::new();
        for text in universe() {
            for (host, method) in HOSTS.iter().flat_map(|h| METHODS.map(|m| (*h, m))) {
                first.extend(first_of_its_rank(&routes, host, &text, &method.parse().unwrap()));
            }
        }
        for at in 0..routes.len() {
            prop_assert_eq!(told.contains(&at), !first.contains(&at), "{} of {:#?}", at, routes);
        }
    }
}

/// The routes that would take this request if those more specific than themselves were not there.
fn first_of_its_rank(
    routes: &[RouteMatch],
    host: Option<&str>,
    text: &str,
    method: &Method,
) -> Vec<usize> {
    let mut seen = HashSet::new();
    let mut first = Vec::new();
    for (at, route) in routes.iter().enumerate() {
        let form = if route.normalization.merge_slashes {
            merge(text)
        } else {
            text.to_owned()
        };
        if !route.methods.is_empty() && !route.methods.contains(method) {
            continue;
        }
        let any = [HostMatch::Any];
        let hosts = if route.hosts.is_empty() {
            &any[..]
        } else {
            &route.hosts
        };
        let Some(path) = path_rank(&route.path, &form) else {
            continue;
        };
        // A route with several hosts is there once for each.
        let mut is_first = false;
        for host in hosts.iter().filter_map(|h| host_rank(h, host)) {
            is_first |= seen.insert((host, path.clone(), !route.methods.is_empty()));
        }
        if is_first {
            first.push(at);
        }
    }
    first
}
