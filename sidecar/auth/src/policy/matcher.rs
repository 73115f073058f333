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
use std::fmt;

use tollgate_http::head::Method;
use tollgate_http::path::Path;

/// Which hosts a route serves.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HostMatch {
    /// Every host, and requests without one.
    Any,
    /// This host, in any case.
    Exact(String),
    /// Every host with one label or more before this suffix: `example.com` stands for `*.example.com`.
    Wildcard(String),
}

/// Which paths a route serves. The strings may be spelled as any request may spell them: they are
/// brought into the form of [`Path`] before they are compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathMatch {
    /// Every path, and the asterisk form.
    Any,
    /// Paths that begin with these whole segments: `/a` matches `/a`, `/a/` and `/a/b`, not `/ab`. A slash
    /// at the end means nothing.
    Prefix(String),
    /// This path alone; a slash at the end counts.
    Exact(String),
    /// Paths with as many segments, literal ones equal.
    Template(Template),
}

impl PathMatch {
    /// A prefix.
    ///
    /// # Errors
    /// [`PatternError`] if no request could have that path, or it is written as a pattern.
    pub fn prefix(text: &str) -> Result<Self, PatternError> {
        literal(text, |parent| {
            format!("a prefix already covers what is below it; write `{parent}`")
        })
        .map(Self::Prefix)
    }

    /// An exact path.
    ///
    /// # Errors
    /// [`PatternError`] if no request could have that path, or it is written as a pattern.
    pub fn exact(text: &str) -> Result<Self, PatternError> {
        literal(text, |parent| {
            format!("an exact path covers itself alone; say `{{ prefix: {parent} }}`")
        })
        .map(Self::Exact)
    }

    /// A text that two patterns share if and only if they match the same paths equally specifically.
    pub(crate) fn key(&self) -> String {
        match self {
            Self::Any => "any".to_owned(),
            Self::Prefix(text) => format!("prefix {}", text.strip_suffix('/').unwrap_or(text)),
            Self::Exact(text) => format!("exact {text}"),
            Self::Template(template) => {
                template
                    .0
                    .iter()
                    .fold("template ".to_owned(), |key, part| match part {
                        Part::Literal(text) => key + "/" + text,
                        Part::Parameter(_) => key + "/{}",
                    })
            }
        }
    }
}

/// A path without the wildcards of other proxies' patterns: they would be compared letter by letter, and a
/// route that guards `/admin/*` would guard nothing.
fn literal(text: &str, subtree: impl Fn(&str) -> String) -> Result<String, PatternError> {
    let tail = text.trim_end_matches('*');
    let cure = if !text.contains(['*', '{', '}']) {
        return canonical(text);
    } else if tail.len() < text.len() && !tail.contains(['*', '{', '}']) && tail.ends_with('/') {
        let parent = tail.trim_end_matches('/');
        subtree(if parent.is_empty() { "/" } else { parent })
    } else {
        "for a parameter, a whole segment, say `{ template: \"/orders/{id}\" }`".to_owned()
    };
    Err(PatternError::Wildcard(text.to_owned(), cure))
}

/// A path with parameters, such as `/orders/{id}`: each takes one segment that is not empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(Box<str>),
    Parameter(Box<str>),
}

impl Template {
    /// Parses a template.
    ///
    /// # Errors
    /// [`PatternError`] if a literal part is no path, or a parameter has no good name, or its name twice.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let Some(rest) = text.strip_prefix('/') else {
            return Err(PatternError::Path(
                text.to_owned(),
                tollgate_http::PathError::NotAbsolute,
            ));
        };
        let mut parts: Vec<Part> = Vec::new();
        for segment in rest.split('/') {
            let part = match segment.strip_prefix('{').and_then(|s| s.strip_suffix('}')) {
                Some(name) => {
                    let good = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
                        && name.bytes().next().is_some_and(|b| !b.is_ascii_digit());
                    if !good {
                        return Err(PatternError::Parameter(segment.to_owned()));
                    }
                    if parts.contains(&Part::Parameter(name.into())) {
                        return Err(PatternError::Twice(name.to_owned()));
                    }
                    Part::Parameter(name.into())
                }
                None if segment.contains(['{', '}', '*']) => {
                    return Err(PatternError::Parameter(segment.to_owned()));
                }
                None => Part::Literal(canonical(&format!("/{segment}"))?[1..].into()),
            };
            parts.push(part);
        }
        Ok(Self(parts))
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|part| match part {
            Part::Literal(text) => write!(f, "/{text}"),
            Part::Parameter(name) => write!(f, "/{{{name}}}"),
        })
    }
}

/// Why a path pattern is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// No request could have this path.
    #[error("{0:?} is no path that a request could have: {1}")]
    Path(String, tollgate_http::PathError),
    /// An asterisk or braces where every byte is meant literally, and what to write instead.
    #[error("{0:?} is no pattern: `*`, `{{` and `}}` mean nothing here; {1}")]
    Wildcard(String, String),
    /// Braces or an asterisk that are no whole-segment parameter.
    #[error("{0:?} is no parameter: write a whole segment as {{name}}, of letters, digits and '_'")]
    Parameter(String),
    /// Two parameters of one name.
    #[error("the parameter {0:?} stands twice")]
    Twice(String),
}

fn canonical(text: &str) -> Result<String, PatternError> {
    match Path::parse(text.as_bytes()) {
        Ok(path) => Ok(path.as_str().to_owned()),
        Err(error) => Err(PatternError::Path(text.to_owned(), error)),
    }
}

/// What a route matches; all parts must.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteMatch {
    /// Any of these hosts; none given: any host.
    pub hosts: Vec<HostMatch>,
    /// The path.
    pub path: PathMatch,
    /// Any of these methods; none given: any method.
    pub methods: Vec<Method>,
}

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
        // A pattern that is no path stays as it is: it then matches nothing.
        let form = |text: &str| canonical(text).unwrap_or_else(|_| text.to_owned());
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
