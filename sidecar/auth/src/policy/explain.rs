//! Why a request takes the route that it takes, and no other.

use std::fmt;

use tollgate_http::head::Method;
use tollgate_http::path::{Path, PathError};

use super::normalization::EncodedSlash;
use super::pattern::RouteMatch;
use super::precedence::{Point, Rank};

/// A route, and what it says to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Considered {
    /// Its index.
    pub route: usize,
    /// The path as this route sees it.
    pub path: Path,
    /// What came of it.
    pub outcome: Outcome,
}

/// What a route says to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It takes it.
    Takes,
    /// It would, but this one is more specific in this point.
    Yields(usize, Point),
    /// It is the most specific that matches, and refuses the path.
    Refuses(PathError),
    /// It is for other hosts.
    OtherHost,
    /// It is for other paths.
    OtherPath,
    /// It is for other methods.
    OtherMethod,
}

/// Every route of a table, the most specific first, and what it says to this request: what
/// [`RouteTable::find`](super::RouteTable::find) decides, read off the routes one by one. `routes` are those of
/// [`RouteTable::routes`](super::RouteTable::routes).
pub fn explain(
    routes: &[RouteMatch],
    host: Option<&str>,
    path: &Path,
    method: &Method,
) -> Vec<Considered> {
    let mut ranked: Vec<(Rank<'_>, usize)> = routes
        .iter()
        .enumerate()
        .map(|(at, route)| (Rank::new(route, at, host), at))
        .collect();
    ranked.sort_by(|(one, _), (other, _)| other.cmp(one));
    let merged = path.merged();
    let mut best: Option<(&Rank<'_>, usize)> = None;
    let mut considered = Vec::with_capacity(routes.len());
    for (rank, at) in &ranked {
        let route = &routes[*at];
        let seen = merged
            .as_ref()
            .filter(|_| route.normalization.merge_slashes)
            .unwrap_or(path);
        let outcome = match (mismatch(route, host, seen, method), best) {
            (Some(mismatch), _) => mismatch,
            (None, Some((better, by))) => Outcome::Yields(by, better.ahead_of(rank)),
            (None, None) => {
                best = Some((rank, *at));
                // Counted in the path that came, as the log has it.
                match path.encoded_separator() {
                    Some(error) if route.normalization.encoded_slash == EncodedSlash::Refuse => {
                        Outcome::Refuses(error)
                    }
                    _ => Outcome::Takes,
                }
            }
        };
        considered.push(Considered {
            route: *at,
            path: seen.clone(),
            outcome,
        });
    }
    considered
}

/// The first point that speaks against it.
fn mismatch(
    route: &RouteMatch,
    host: Option<&str>,
    path: &Path,
    method: &Method,
) -> Option<Outcome> {
    if !route.hosts.is_empty() && !route.hosts.iter().any(|one| one.matches(host)) {
        Some(Outcome::OtherHost)
    } else if !route.path.matches(path) {
        Some(Outcome::OtherPath)
    } else if !route.methods.is_empty() && !route.methods.contains(method) {
        Some(Outcome::OtherMethod)
    } else {
        None
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Host => "host",
            Self::Path => "path",
            Self::Method => "method",
            Self::Order => "order",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::normalization::Normalization;
    use crate::policy::{HostMatch, PathMatch, Template};

    fn route(host: &str, path: PathMatch, methods: &[Method]) -> RouteMatch {
        let hosts = match host.strip_prefix("*.") {
            Some(suffix) => vec![HostMatch::Wildcard(suffix.to_owned())],
            None if host.is_empty() => vec![],
            None => vec![HostMatch::Exact(host.to_owned())],
        };
        RouteMatch {
            hosts,
            path,
            methods: methods.to_vec(),
            normalization: Normalization::default(),
        }
    }

    fn said(routes: &[RouteMatch], host: &str, path: &str) -> Vec<(usize, Outcome)> {
        let path = Path::parse(path.as_bytes()).unwrap();
        explain(routes, Some(host), &path, &Method::GET)
            .into_iter()
            .map(|one| (one.route, one.outcome))
            .collect()
    }

    #[test]
    fn each_route_says_its_first_reason_in_the_order_of_precedence() {
        use Outcome::*;
        let prefix = |text: &str| PathMatch::prefix(text).unwrap();
        let orders = Template::parse("/orders/{id}").unwrap();
        let routes = [
            route("", PathMatch::Any, &[]),
            route("", prefix("/"), &[Method::GET]),
            route("*.h.test", prefix("/orders"), &[]),
            route("*.test", PathMatch::Template(orders), &[]),
            route("*.test", prefix("/orders"), &[Method::PUT]),
            route("*.test", prefix("/orders"), &[]),
            route("*.test", prefix("/orders"), &[]),
            route("a.test", PathMatch::exact("/").unwrap(), &[]),
        ];
        assert_eq!(
            said(&routes, "a.test", "/orders/7"),
            [
                (7, OtherPath),
                (2, OtherHost),
                (3, Takes),
                (4, OtherMethod),
                (5, Yields(3, Point::Path)),
                (6, Yields(3, Point::Path)),
                (1, Yields(3, Point::Host)),
                (0, Yields(3, Point::Host)),
            ]
        );
        let orders = said(&routes, "b.test", "/orders");
        assert_eq!(orders[4..6], [(5, Takes), (6, Yields(5, Point::Order))]);
        let methods = [
            route("", prefix("/"), &[]),
            route("", prefix("/"), &[Method::GET]),
        ];
        assert_eq!(
            said(&methods, "h", "/"),
            [(1, Takes), (0, Yields(1, Point::Method))]
        );
    }

    #[test]
    fn a_prefix_is_of_whole_segments_and_of_a_path() {
        use Outcome::*;
        let routes = [route("", PathMatch::prefix("/orders").unwrap(), &[])];
        for (path, outcome) in [
            ("/orders", Takes),
            ("/orders/", Takes),
            ("/orders/7", Takes),
            ("/ordersx", OtherPath),
            ("/order", OtherPath),
            ("/x/orders", OtherPath),
        ] {
            assert_eq!(said(&routes, "h", path), [(0, outcome)], "{path}");
        }
        let all = [route("", PathMatch::prefix("/").unwrap(), &[])];
        let asterisk = explain(&all, None, &Path::asterisk(), &Method::OPTIONS);
        assert_eq!(asterisk[0].outcome, OtherPath);
    }

    /// A literal segment before a parameter, from the left; names of parameters mean nothing.
    #[test]
    fn templates_are_told_apart_by_their_literal_segments() {
        use Outcome::*;
        let template = |text: &str| {
            let template = Template::parse(text).unwrap();
            route("", PathMatch::Template(template), &[])
        };
        let routes = [
            template("/{a}/{b}"),
            template("/{a}/b"),
            template("/{x}/b"),
            template("/a/{b}"),
        ];
        assert_eq!(
            said(&routes, "h", "/a/b"),
            [
                (3, Takes),
                (1, Yields(3, Point::Path)),
                (2, Yields(3, Point::Path)),
                (0, Yields(3, Point::Path)),
            ]
        );
        assert_eq!(
            said(&routes, "h", "/x/b")[1..],
            [
                (1, Takes),
                (2, Yields(1, Point::Order)),
                (0, Yields(1, Point::Path)),
            ]
        );
        let words = [Point::Host, Point::Path, Point::Method, Point::Order].map(|p| p.to_string());
        assert_eq!(words, ["host", "path", "method", "order"]);
    }

    #[test]
    fn t41_a_route_that_refuses_is_not_passed_over() {
        let error = PathError::EncodedSeparator(2);
        let mut routes = [
            route("", PathMatch::Any, &[]),
            route("", PathMatch::prefix("/").unwrap(), &[]),
        ];
        let any = (0, Outcome::Yields(1, Point::Path));
        routes[0].normalization.encoded_slash = EncodedSlash::Keep;
        assert_eq!(
            said(&routes, "h", "/a%2Fb"),
            [(1, Outcome::Refuses(error)), any.clone()]
        );
        routes[1].normalization.encoded_slash = EncodedSlash::Keep;
        assert_eq!(said(&routes, "h", "/a%2Fb"), [(1, Outcome::Takes), any]);
    }
}
