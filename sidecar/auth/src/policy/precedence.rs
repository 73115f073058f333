//! Which of two routes that match one request is the more specific; the rule is stated in [`super::matcher`].

use std::cmp::{Ordering, Reverse};

use super::pattern::{HostMatch, Part, PathMatch, RouteMatch, Template};

/// How specific a route is for a host: the greatest wins.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank<'r> {
    host: HostRank,
    path: PathRank<'r>,
    lists_method: bool,
    order: Reverse<usize>,
}

/// Of the pattern that matched; a longer suffix is more specific.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum HostRank {
    Any,
    Wildcard(usize),
    Exact,
}

/// More segments of a prefix are more specific.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum PathRank<'r> {
    Any,
    Prefix(usize),
    Template(Shape<'r>),
    Exact,
}

/// Which segments of a template are literal. Names of parameters mean nothing here.
#[derive(Debug)]
struct Shape<'r>(&'r Template);

impl<'r> Rank<'r> {
    /// Of the route at `order` in the file. Of its hosts, the most specific one counts that matches `host`; where none does,
    /// the most specific one.
    pub(super) fn new(route: &'r RouteMatch, order: usize, host: Option<&str>) -> Self {
        let best = |hosts: &mut dyn Iterator<Item = &HostMatch>| hosts.map(HostRank::of).max();
        Self {
            host: best(&mut route.hosts.iter().filter(|one| one.matches(host)))
                .or_else(|| best(&mut route.hosts.iter()))
                .unwrap_or(HostRank::Any),
            path: PathRank::of(&route.path),
            lists_method: !route.methods.is_empty(),
            order: Reverse(order),
        }
    }

    /// The first point in which this is ahead of `other`, which is behind it.
    pub(super) fn ahead_of(&self, other: &Self) -> Point {
        if self.host != other.host {
            Point::Host
        } else if self.path != other.path {
            Point::Path
        } else if self.lists_method != other.lists_method {
            Point::Method
        } else {
            Point::Order
        }
    }
}

/// What one route is more specific in than another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    /// An exact host, or a longer wildcard.
    Host,
    /// The kind of its pattern, or a longer prefix.
    Path,
    /// It names the method.
    Method,
    /// Nothing: it stands earlier in the file.
    Order,
}

impl HostRank {
    fn of(host: &HostMatch) -> Self {
        match host {
            HostMatch::Any => Self::Any,
            HostMatch::Wildcard(suffix) => Self::Wildcard(suffix.len()),
            HostMatch::Exact(_) => Self::Exact,
        }
    }
}

impl<'r> PathRank<'r> {
    fn of(path: &'r PathMatch) -> Self {
        match path {
            PathMatch::Any => Self::Any,
            PathMatch::Prefix(text) => {
                Self::Prefix(text.strip_suffix('/').unwrap_or(text).matches('/').count())
            }
            PathMatch::Template(template) => Self::Template(Shape(template)),
            PathMatch::Exact(_) => Self::Exact,
        }
    }
}

impl Shape<'_> {
    fn literals(&self) -> impl Iterator<Item = bool> {
        let parts = self.0.0.iter();
        parts.map(|part| matches!(part, Part::Literal(_)))
    }
}

impl Ord for Shape<'_> {
    /// A literal segment before a parameter, from the left; then the longer template, which only forms of one path that
    /// differ in their slashes can ask for.
    fn cmp(&self, other: &Self) -> Ordering {
        self.literals().cmp(other.literals())
    }
}

impl PartialOrd for Shape<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Shape<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Shape<'_> {}
