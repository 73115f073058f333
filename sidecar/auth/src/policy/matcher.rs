//! The route of a request. Of the routes that match host, path and method, the most specific wins, as in
//! Gateway API's HTTPRoute:
//!
//! 1. host: exact, then the longest wildcard, then any;
//! 2. path: exact, then template (a literal segment before a parameter, from the left), then the longest
//!    prefix, then any;
//! 3. a route that lists the method, then one that takes all;
//! 4. the order of the file.
//!
//! A lookup hashes the host once a label and the path once a segment, so its cost goes with the length of
//! the request and not with the number of routes; only templates that share their literal beginnings are
//! tried one after the other.
//!
//! A route that merges slashes sees `/a` where the client wrote `//a`; the others see what was written. Such a path is
//! looked up in both forms, each over the routes that see it so, and the order above holds between them.

use std::collections::HashMap;

use tollgate_http::head::Method;
use tollgate_http::path::{Path, PathError};

use super::normalization::EncodedSlash;
use super::pattern::Part;
pub use super::pattern::{HostMatch, PathMatch, PatternError, RouteMatch, Template};
use super::precedence::{Point, Rank};

/// Routes, ready for lookups.
#[derive(Debug)]
pub struct RouteTable {
    routes: Vec<RouteMatch>,
    exact: HashMap<Box<str>, Paths>,
    wildcard: HashMap<Box<str>, Paths>,
    any: Paths,
    /// Any route merges slashes.
    merges: bool,
}

/// The outcome of a lookup. Routes are indexes into what [`RouteTable::new`] was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// This route takes the request, with the path as it is now.
    Route(usize),
    /// No route has this host and path.
    NoRoute,
    /// Routes have this host and path, none of them the method; these are the methods they take, each
    /// once, most specific route first.
    MethodNotAllowed(Vec<Method>),
    /// The path holds what this route refuses, or what no route that might take it keeps.
    PathRefused(Option<usize>, PathError),
}

/// The routes of one host pattern.
#[derive(Debug, Default)]
struct Paths {
    exact: HashMap<Box<str>, Vec<usize>>,
    templates: Node,
    prefixes: Node,
    every: Vec<usize>,
}

/// A tree of segments, for prefixes and templates alike; the former have no parameters.
#[derive(Debug, Default)]
struct Node {
    literal: HashMap<Box<str>, Self>,
    parameter: Option<Box<Self>>,
    here: Vec<usize>,
}

impl RouteTable {
    /// The table of `routes` in the order of the file.
    pub fn new(routes: Vec<RouteMatch>) -> Self {
        let mut table = Self {
            merges: routes.iter().any(merges),
            routes: Vec::with_capacity(routes.len()),
            exact: HashMap::new(),
            wildcard: HashMap::new(),
            any: Paths::default(),
        };
        for (at, mut route) in routes.into_iter().enumerate() {
            route.path = route.path.in_form();
            if route.hosts.is_empty() {
                route.hosts.push(HostMatch::Any);
            }
            for host in &route.hosts {
                let paths = match host {
                    HostMatch::Any => &mut table.any,
                    HostMatch::Exact(name) => table.exact.entry(lower(name)).or_default(),
                    HostMatch::Wildcard(name) => table.wildcard.entry(lower(name)).or_default(),
                };
                paths.add(&route.path, at);
            }
            table.routes.push(route);
        }
        table
    }

    /// The routes, in the order of the file, their patterns in the form of requests.
    pub fn routes(&self) -> &[RouteMatch] {
        &self.routes
    }

    /// Whether the route `one` is more specific than `other` by host or path, for requests to `host` that both would take.
    pub fn is_closer(&self, one: usize, other: usize, host: Option<&str>) -> bool {
        let rank = |at: usize| Rank::new(&self.routes[at], at, host);
        let (one, other) = (rank(one), rank(other));
        one > other && matches!(one.ahead_of(&other), Point::Host | Point::Path)
    }

    /// The route of a request, and its path in the form that this route matched: the one to decide on and to forward.
    /// `host` is [`tollgate_http::head::Authority::host`].
    pub fn find(&self, host: Option<&str>, path: &mut Path, method: &Method) -> Found {
        let encoded = path.encoded_separator();
        let mut search = Search {
            table: self,
            method,
            slashes: Slashes::Single,
            keeps: encoded.is_some(),
            allowed: Vec::new(),
        };
        let merged = path.merged();
        let route = match &merged {
            None => search.hosts(host, path),
            Some(merged) => search.both(host, path, merged),
        };
        let refuses =
            |route: &usize| self.routes[*route].normalization.encoded_slash == EncodedSlash::Refuse;
        match (route, encoded) {
            // The most specific one decides; a laxer one behind it is not asked.
            (Some(route), Some(error)) if refuses(&route) => Found::PathRefused(Some(route), error),
            (Some(route), _) => {
                if let Some(merged) = merged
                    && merges(&self.routes[route])
                {
                    *path = merged;
                }
                Found::Route(route)
            }
            (None, _) if !search.allowed.is_empty() => Found::MethodNotAllowed(search.allowed),
            (None, Some(error)) => Found::PathRefused(None, error),
            (None, None) => Found::NoRoute,
        }
    }
}

fn merges(route: &RouteMatch) -> bool {
    route.normalization.merge_slashes
}

fn lower(name: &str) -> Box<str> {
    name.to_ascii_lowercase().into()
}

impl Paths {
    fn add(&mut self, path: &PathMatch, route: usize) {
        let here = match path {
            PathMatch::Any => &mut self.every,
            PathMatch::Exact(text) => self.exact.entry(text.as_str().into()).or_default(),
            PathMatch::Prefix(text) => {
                let segments = text.strip_suffix('/').unwrap_or(text).split('/').skip(1);
                &mut segments
                    .fold(&mut self.prefixes, |node, segment| node.step(segment))
                    .here
            }
            PathMatch::Template(template) => {
                let node = template
                    .0
                    .iter()
                    .fold(&mut self.templates, |node, part| match part {
                        Part::Literal(text) => node.step(text),
                        Part::Parameter(_) => &mut **node.parameter.get_or_insert_default(),
                    });
                &mut node.here
            }
        };
        here.push(route);
    }
}

impl Node {
    fn step(&mut self, segment: &str) -> &mut Self {
        self.literal.entry(segment.into()).or_default()
    }
}

struct Search<'t> {
    table: &'t RouteTable,
    method: &'t Method,
    slashes: Slashes,
    /// Only methods of routes that keep encoded separators are allowed ones: the others refuse this path.
    keeps: bool,
    allowed: Vec<Method>,
}

/// Which routes have a say over the form of the path that is looked up.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Slashes {
    /// The path has no run of slashes: all routes.
    Single,
    /// Its runs are there: those that do not merge.
    Runs,
    /// Its runs were made one: those that merge.
    Merged,
}

impl Search<'_> {
    /// A path with runs of slashes: each form over the routes that see it so, and of two that match the more specific.
    fn both(&mut self, host: Option<&str>, literal: &Path, merged: &Path) -> Option<usize> {
        self.slashes = Slashes::Runs;
        let one = self.hosts(host, literal);
        if !self.table.merges {
            return one;
        }
        self.slashes = Slashes::Merged;
        let other = self.hosts(host, merged);
        let rank = |route: &usize| Rank::new(&self.table.routes[*route], *route, host);
        match (one, other) {
            (Some(one), Some(other)) if rank(&one) > rank(&other) => Some(one),
            (one, other) => other.or(one),
        }
    }

    fn hosts(&mut self, host: Option<&str>, path: &Path) -> Option<usize> {
        let table = self.table;
        if let Some(host) = host {
            if let Some(route) = table
                .exact
                .get(host)
                .and_then(|paths| self.paths(paths, path))
            {
                return Some(route);
            }
            let mut rest = host;
            while let Some((_, suffix)) = rest.split_once('.') {
                if let Some(route) = table
                    .wildcard
                    .get(suffix)
                    .and_then(|paths| self.paths(paths, path))
                {
                    return Some(route);
                }
                rest = suffix;
            }
        }
        self.paths(&table.any, path)
    }

    fn paths(&mut self, paths: &Paths, path: &Path) -> Option<usize> {
        let exact = paths
            .exact
            .get(path.as_str())
            .map_or(&[][..], Vec::as_slice);
        self.pick(exact)
            .or_else(|| self.templates(&paths.templates, path.segments()))
            .or_else(|| {
                // The empty prefix is a path's; the asterisk form has no path.
                let segments = (!path.is_asterisk()).then(|| path.segments())?;
                self.prefixes(&paths.prefixes, segments)
            })
            .or_else(|| self.pick(&paths.every))
    }

    fn templates<'p>(
        &mut self,
        node: &Node,
        mut segments: impl Iterator<Item = &'p str> + Clone,
    ) -> Option<usize> {
        let Some(segment) = segments.next() else {
            return self.pick(&node.here);
        };
        if let Some(next) = node.literal.get(segment)
            && let Some(route) = self.templates(next, segments.clone())
        {
            return Some(route);
        }
        let next = node.parameter.as_deref().filter(|_| !segment.is_empty())?;
        self.templates(next, segments)
    }

    /// Down as far as segments agree, then back up: the longest prefix first.
    fn prefixes<'p>(
        &mut self,
        node: &Node,
        mut segments: impl Iterator<Item = &'p str>,
    ) -> Option<usize> {
        segments
            .next()
            .and_then(|segment| node.literal.get(segment))
            .and_then(|next| self.prefixes(next, segments))
            .or_else(|| self.pick(&node.here))
    }

    /// Of routes that are equally specific by host and path, the one for the method.
    fn pick(&mut self, routes: &[usize]) -> Option<usize> {
        let (table, slashes) = (self.table, self.slashes);
        let route = |at: &usize| &table.routes[*at];
        let seen = |at: &&usize| match slashes {
            Slashes::Single => true,
            Slashes::Runs => !merges(route(at)),
            Slashes::Merged => merges(route(at)),
        };
        let seen = routes.iter().filter(seen);
        let listed = seen
            .clone()
            .find(|at| route(at).methods.contains(self.method));
        let taken = listed.or_else(|| seen.clone().find(|at| route(at).methods.is_empty()));
        if taken.is_some() {
            return taken.copied();
        }
        let passes = |at: &&usize| {
            !self.keeps || route(at).normalization.encoded_slash == EncodedSlash::Keep
        };
        for method in seen.filter(passes).flat_map(|at| &route(at).methods) {
            if !self.allowed.contains(method) {
                self.allowed.push(method.clone());
            }
        }
        None
    }
}

#[cfg(test)]
mod tests;
