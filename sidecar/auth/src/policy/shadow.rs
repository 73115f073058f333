//! Routes that no request can reach, because others take all that they match.

use std::collections::HashMap;

use tollgate_http::head::Method;

use super::pattern::{HostMatch, RouteMatch};

/// A route that can never be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shadowed {
    /// Its index.
    pub route: usize,
    /// The routes before it that take its requests, in order, each once.
    pub by: Vec<usize>,
    /// There is one such route, and it matches exactly the same hosts, paths and methods.
    pub same: bool,
}

/// The routes of `routes`, in the order of the file, whose every request goes to routes of equal
/// specificity before them. Those hidden by several narrower ones (a prefix of which every exact path is
/// listed) are not looked for.
pub fn shadowed(routes: &[RouteMatch]) -> Vec<Shadowed> {
    let keys: Vec<Vec<Key>> = routes.iter().map(keys).collect();
    let merged_key = |route: &RouteMatch| match route.normalization.merge_slashes {
        true => None,
        false => route.path.merged_key(),
    };
    let merged_keys: Vec<Option<String>> = routes.iter().map(merged_key).collect();
    let mut first: HashMap<&Key, usize> = HashMap::new();
    let mut found = Vec::new();
    for (route, own) in keys.iter().enumerate() {
        let taken = |key: &Key| {
            let hiding = key.2.hiding(routes[route].path.takes_all());
            let by = hiding.iter().filter_map(|&slashes| {
                let (pattern, method) = (key.0.clone(), key.1.clone());
                first.get(&(pattern, method, slashes)).copied()
            });
            let by = by.min();
            // One path with a run, and whoever sees it without: equally specific, so the first one takes it.
            let merging = merged_keys[route].as_ref().and_then(|merged| {
                let (host, _) = key.0.rsplit_once(" exact ")?;
                let pattern = format!("{host} {merged}");
                first
                    .get(&(pattern, key.1.clone(), Slashes::Merged))
                    .copied()
            });
            [by, merging].into_iter().flatten().min()
        };
        let taken: Option<Vec<usize>> = own.iter().map(taken).collect();
        match taken {
            Some(mut by) => {
                by.sort_unstable();
                by.dedup();
                let same = matches!(by[..], [one] if keys[one] == *own);
                found.push(Shadowed { route, by, same });
            }
            None => {
                for key in own {
                    first.entry(key).or_insert(route);
                }
            }
        }
    }
    found
}

/// Requests of equal specificity: one host pattern and one path pattern, one method or all of them, and paths with or
/// without runs of slashes.
type Key = (String, Option<Method>, Slashes);

/// Paths apart by what routes make of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Slashes {
    /// Without a run: the same for all routes.
    Single,
    /// With runs, which a route sees.
    Runs,
    /// With runs, which a route does not see.
    Merged,
}

impl Slashes {
    /// Routes with which of these, and the same pattern, take all requests of this. A pattern that merges matches whatever
    /// it does without; the reverse holds only if it matches everything.
    const fn hiding(self, takes_all: bool) -> &'static [Self] {
        match self {
            Self::Single => &[Self::Single],
            Self::Merged if !takes_all => &[Self::Merged],
            Self::Runs | Self::Merged => &[Self::Runs, Self::Merged],
        }
    }
}

/// Sorted, each once: equal for routes that match the same.
fn keys(route: &RouteMatch) -> Vec<Key> {
    let path = route.path.key();
    let hosts: Vec<String> = if route.hosts.is_empty() {
        vec![host(&HostMatch::Any)]
    } else {
        route.hosts.iter().map(host).collect()
    };
    let methods: Vec<Option<Method>> = if route.methods.is_empty() {
        vec![None]
    } else {
        route.methods.iter().cloned().map(Some).collect()
    };
    // A pattern may have no path without a run, or none with one. It makes no difference: all of its routes say the same.
    let slashes = match route.normalization.merge_slashes {
        true => [Slashes::Single, Slashes::Merged],
        false => [Slashes::Single, Slashes::Runs],
    };
    let mut keys = Vec::new();
    for host in &hosts {
        let pattern = format!("{host} {path}");
        for method in &methods {
            keys.extend(slashes.map(|s| (pattern.clone(), method.clone(), s)));
        }
    }
    keys.sort_unstable();
    keys.dedup();
    keys
}

fn host(host: &HostMatch) -> String {
    match host {
        HostMatch::Any => "any".to_owned(),
        HostMatch::Exact(name) => format!("exact {}", name.to_ascii_lowercase()),
        HostMatch::Wildcard(suffix) => format!("wildcard {}", suffix.to_ascii_lowercase()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::normalization::Normalization;
    use crate::policy::pattern::{PathMatch, Template};

    fn route(hosts: &[&str], path: PathMatch, methods: &[&str]) -> RouteMatch {
        RouteMatch {
            hosts: hosts
                .iter()
                .map(|h| match h.strip_prefix("*.") {
                    Some(suffix) => HostMatch::Wildcard(suffix.to_owned()),
                    None => HostMatch::Exact((*h).to_owned()),
                })
                .collect(),
            path,
            methods: methods.iter().map(|m| m.parse().unwrap()).collect(),
            normalization: Normalization::default(),
        }
    }

    fn prefix(text: &str) -> PathMatch {
        PathMatch::prefix(text).unwrap()
    }

    fn template(text: &str) -> PathMatch {
        PathMatch::Template(Template::parse(text).unwrap())
    }

    fn hidden(routes: &[RouteMatch]) -> Vec<(usize, Vec<usize>, bool)> {
        shadowed(routes)
            .into_iter()
            .map(|one| (one.route, one.by, one.same))
            .collect()
    }

    /// `//` is `/` to a route that merges slashes, and both are exact.
    #[test]
    fn one_path_in_two_forms_is_taken_by_the_first() {
        let merging = |path: &str| {
            let mut route = route(&["a.test"], PathMatch::exact(path).unwrap(), &[]);
            route.normalization.merge_slashes = true;
            route
        };
        let literal = |path: &str| route(&["a.test"], PathMatch::exact(path).unwrap(), &[]);
        let of = |routes: &[RouteMatch]| -> Vec<usize> {
            shadowed(routes).iter().map(|one| one.route).collect()
        };
        assert_eq!(of(&[merging("/"), literal("//")]), [1]);
        assert_eq!(of(&[merging("/a/b"), literal("//a///b")]), [1]);
        assert!(of(&[literal("//"), merging("/")]).is_empty());
        assert!(of(&[literal("/"), literal("//")]).is_empty());
        assert!(of(&[merging("/b"), literal("//a")]).is_empty());
        assert_eq!(of(&[literal("//"), literal("//")]), [1]);
    }

    #[test]
    fn the_same_match_is_never_reached_twice() {
        let twice = |one: RouteMatch, other: RouteMatch| hidden(&[one, other]);
        let same = vec![(1, vec![0], true)];
        assert_eq!(
            twice(
                route(&["B.test", "*.a.test"], prefix("/a"), &["GET", "PUT"]),
                route(&["*.A.test", "b.test"], prefix("/%61/"), &["PUT", "GET"]),
            ),
            same
        );
        assert_eq!(
            twice(
                route(&[], template("/u/{id}"), &[]),
                route(&[], template("/u/{name}"), &[]),
            ),
            same
        );
    }

    #[test]
    fn a_part_of_an_earlier_match_is_never_reached() {
        let routes = [
            route(&["a.test", "b.test"], prefix("/a"), &["GET"]),
            route(&["a.test", "b.test"], prefix("/a"), &["PUT"]),
            route(&["b.test"], prefix("/a"), &["GET"]),
            route(&["a.test"], prefix("/a"), &["GET", "PUT"]),
        ];
        assert_eq!(
            hidden(&routes),
            [(2, vec![0], false), (3, vec![0, 1], false)]
        );
    }

    #[test]
    fn what_can_be_reached_is_not_reported() {
        let routes = [
            route(&[], prefix("/a"), &["GET"]),
            route(&[], prefix("/a"), &[]),
            route(&[], prefix("/a"), &["PUT"]),
            route(&[], PathMatch::exact("/a").unwrap(), &["GET"]),
            route(&["a.test"], prefix("/a"), &["GET"]),
            route(&["*.a.test"], prefix("/a"), &["GET"]),
            route(&["a.test", "b.test"], prefix("/a"), &["GET"]),
            route(&[], PathMatch::Any, &["GET"]),
            route(&[], template("/{a}"), &["GET"]),
        ];
        assert_eq!(hidden(&routes), []);
    }

    /// A route that merges slashes takes what its like takes without; the reverse holds for those that take everything.
    #[test]
    fn forms_of_paths_hide_each_other_as_far_as_they_match() {
        let merging = |path: PathMatch| {
            let mut route = route(&[], path, &[]);
            route.normalization.merge_slashes = true;
            route
        };
        let literal = |path: PathMatch| route(&[], path, &[]);
        let exact = |text: &str| PathMatch::exact(text).unwrap();
        let whole = vec![(1, vec![0], false)];
        for path in [
            prefix("/a"),
            exact("/a"),
            template("/{a}"),
            prefix("/"),
            PathMatch::Any,
        ] {
            assert_eq!(hidden(&[merging(path.clone()), literal(path)]), whole);
        }
        for path in [prefix("/"), PathMatch::Any] {
            assert_eq!(hidden(&[literal(path.clone()), merging(path)]), whole);
        }
        for path in [prefix("/a"), exact("/a"), exact("/"), template("/{a}")] {
            assert_eq!(hidden(&[literal(path.clone()), merging(path)]), []);
        }
    }
}
