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

use std::collections::HashMap;

use tollgate_http::head::Method;
use tollgate_http::path::Path;

pub use super::pattern::{HostMatch, PathMatch, PatternError, RouteMatch, Template};
use super::pattern::{Part, form};

/// Routes, ready for lookups.
#[derive(Debug)]
pub struct RouteTable {
    routes: Vec<Vec<Method>>,
    exact: HashMap<Box<str>, Paths>,
    wildcard: HashMap<Box<str>, Paths>,
    any: Paths,
}

/// The outcome of a lookup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// The index of the route in what [`RouteTable::new`] was given.
    Route(usize),
    /// No route has this host and path.
    NoRoute,
    /// Routes have this host and path, none of them the method; these are the methods they take, each
    /// once, most specific route first.
    MethodNotAllowed(Vec<Method>),
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
            routes: Vec::with_capacity(routes.len()),
            exact: HashMap::new(),
            wildcard: HashMap::new(),
            any: Paths::default(),
        };
        for (
            route,
            RouteMatch {
                hosts,
                path,
                methods,
            },
        ) in routes.into_iter().enumerate()
        {
            let hosts = if hosts.is_empty() {
                vec![HostMatch::Any]
            } else {
                hosts
            };
            for host in hosts {
                let paths = match host {
                    HostMatch::Any => &mut table.any,
                    HostMatch::Exact(host) => table
                        .exact
                        .entry(host.to_ascii_lowercase().into())
                        .or_default(),
                    HostMatch::Wildcard(host) => table
                        .wildcard
                        .entry(host.to_ascii_lowercase().into())
                        .or_default(),
                };
                paths.add(&path, route);
            }
            table.routes.push(methods);
        }
        table
    }

    /// The route of a request. `host` is [`tollgate_http::head::Authority::host`].
    pub fn find(&self, host: Option<&str>, path: &Path, method: &Method) -> Found {
        let mut search = Search {
            table: self,
            method,
            allowed: Vec::new(),
        };
        match search.hosts(host, path) {
            Some(route) => Found::Route(route),
            None if search.allowed.is_empty() => Found::NoRoute,
            None => Found::MethodNotAllowed(search.allowed),
        }
    }
}

impl Paths {
    fn add(&mut self, path: &PathMatch, route: usize) {
        let here = match path {
            PathMatch::Any => &mut self.every,
            PathMatch::Exact(text) => self.exact.entry(form(text).into()).or_default(),
            PathMatch::Prefix(text) => {
                let form = form(text);
                let segments = form.strip_suffix('/').unwrap_or(&form).split('/').skip(1);
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
    allowed: Vec<Method>,
}

impl Search<'_> {
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
        let methods = |route: &usize| self.table.routes[*route].as_slice();
        let listed = routes.iter().find(|r| methods(r).contains(self.method));
        if let Some(route) = listed.or_else(|| routes.iter().find(|r| methods(r).is_empty())) {
            return Some(*route);
        }
        for method in routes.iter().flat_map(methods) {
            if !self.allowed.contains(method) {
                self.allowed.push(method.clone());
            }
        }
        None
    }
}

#[cfg(test)]
mod tests;
