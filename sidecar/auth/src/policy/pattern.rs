//! What a route matches: hosts, a path, methods.

use std::fmt;

use tollgate_http::head::Method;
use tollgate_http::path::Path;

use super::normalization::{EncodedSlash, Normalization};

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

impl HostMatch {
    /// Whether a request for `host` is meant; `None` is a request without one.
    pub fn matches(&self, host: Option<&str>) -> bool {
        match (self, host) {
            (Self::Any, _) => true,
            (Self::Exact(name), Some(host)) => name.eq_ignore_ascii_case(host),
            (Self::Wildcard(suffix), Some(host)) => host
                .len()
                .checked_sub(suffix.len() + 1)
                .and_then(|at| host.get(at..)?.strip_prefix('.'))
                .is_some_and(|end| end.eq_ignore_ascii_case(suffix)),
            (_, None) => false,
        }
    }
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

    /// Whether `path` is meant. The pattern is [`Self::in_form`].
    pub(super) fn matches(&self, path: &Path) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(text) => path.as_str() == text,
            Self::Prefix(text) => {
                let own = text.strip_suffix('/').unwrap_or(text);
                let rest = path.as_str().strip_prefix(own);
                // The empty prefix is a path's; the asterisk form has no path.
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
                    && !path.is_asterisk()
            }
            Self::Template(template) => template.matches(path),
        }
    }

    /// Whether this matches `path`, given as [`Path::as_str`], and no other path, however either is spelled.
    pub fn is_only(&self, path: &str) -> bool {
        match self {
            Self::Any | Self::Prefix(_) => false,
            Self::Exact(text) => form(text) == path,
            Self::Template(template) => {
                let is_literal = |part: &Part| matches!(part, Part::Literal(_));
                template.0.iter().all(is_literal) && template.to_string() == path
            }
        }
    }

    /// With its text in the form that requests' paths have.
    pub(super) fn in_form(self) -> Self {
        match self {
            Self::Prefix(text) => Self::Prefix(form(&text)),
            Self::Exact(text) => Self::Exact(form(&text)),
            other => other,
        }
    }

    /// Whether this matches every path that is one.
    pub(super) fn takes_all(&self) -> bool {
        match self {
            Self::Any => true,
            Self::Prefix(text) => text == "/" || text.is_empty(),
            Self::Exact(_) | Self::Template(_) => false,
        }
    }

    /// The [`key`](Self::key) of the exact path that a route which merges slashes sees where this one sees its own.
    pub(super) fn merged_key(&self) -> Option<String> {
        let Self::Exact(text) = self else { return None };
        let mut merged = form(text);
        if !merged.contains("//") {
            return None;
        }
        while merged.contains("//") {
            merged = merged.replace("//", "/");
        }
        Some(format!("exact {merged}"))
    }

    /// A text that two patterns share if and only if they match the same paths equally specifically.
    pub(super) fn key(&self) -> String {
        match self {
            Self::Any => "any".to_owned(),
            Self::Prefix(text) => {
                let form = form(text);
                format!("prefix {}", form.strip_suffix('/').unwrap_or(&form))
            }
            Self::Exact(text) => format!("exact {}", form(text)),
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
    } else if !tail.contains(['*', '{', '}']) && tail.ends_with('/') {
        let parent = tail.trim_end_matches('/');
        subtree(if parent.is_empty() { "/" } else { parent })
    } else {
        "for a parameter, a whole segment, say `{ template: \"/orders/{id}\" }`".to_owned()
    };
    Err(PatternError::Wildcard(text.to_owned(), cure))
}

/// A path with parameters, such as `/orders/{id}`: each takes one segment that is not empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(pub(super) Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
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

    fn matches(&self, path: &Path) -> bool {
        let mut segments = path.segments();
        let all = self.0.iter().all(|part| match (part, segments.next()) {
            (Part::Literal(text), Some(segment)) => **text == *segment,
            (Part::Parameter(_), Some(segment)) => !segment.is_empty(),
            (_, None) => false,
        });
        all && segments.next().is_none()
    }
}

impl fmt::Display for HostMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any"),
            Self::Exact(name) => f.write_str(name),
            Self::Wildcard(suffix) => write!(f, "*.{suffix}"),
        }
    }
}

/// As the configuration says it: `/orders`, `{ exact: /ping }`, `{ template: "/orders/{id}" }`.
impl fmt::Display for PathMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any"),
            Self::Prefix(text) => f.write_str(text),
            Self::Exact(text) => write!(f, "{{ exact: {text} }}"),
            Self::Template(template) => write!(f, "{{ template: \"{template}\" }}"),
        }
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
    /// An encoded separator in a pattern of a route that refuses it.
    #[error(
        "{0} holds %2F or %5C, which this route refuses; say `path_normalization: {{ encoded_slash: keep }}` if the API means them literally"
    )]
    EncodedSeparator(String),
    /// An empty segment in a pattern of a route that merges slashes.
    #[error("{0} holds `//`, which `merge_slashes: true` leaves in no path; write one slash")]
    EmptySegment(String),
}

/// The form that requests' paths have. A pattern that is no path stays as it is: it then matches nothing.
pub(super) fn form(text: &str) -> String {
    canonical(text).unwrap_or_else(|_| text.to_owned())
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
    /// The form of the path that is compared, and what is refused of it.
    pub normalization: Normalization,
}

impl RouteMatch {
    /// Whether requests for `host` can be meant.
    pub fn serves(&self, host: &str) -> bool {
        self.hosts.is_empty() || self.hosts.iter().any(|one| one.matches(Some(host)))
    }

    /// Whether there is a path that this could match.
    ///
    /// # Errors
    /// [`PatternError`] if the pattern holds what the route's own [`Normalization`] refuses, or leaves in no path.
    pub fn check(&self) -> Result<(), PatternError> {
        let text = match &self.path {
            PathMatch::Any => return Ok(()),
            PathMatch::Prefix(text) | PathMatch::Exact(text) => form(text),
            PathMatch::Template(template) => template.to_string(),
        };
        if self.normalization.encoded_slash == EncodedSlash::Refuse
            && (text.contains("%2F") || text.contains("%5C"))
        {
            return Err(PatternError::EncodedSeparator(text));
        }
        if self.normalization.merge_slashes && text.contains("//") {
            return Err(PatternError::EmptySegment(text));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_of_one_path_is_known_by_it() {
        let template = |text: &str| PathMatch::Template(Template::parse(text).unwrap());
        for (pattern, is_only) in [
            (PathMatch::Exact("/a/b".to_owned()), true),
            (PathMatch::Exact("/%61/b".to_owned()), true),
            (PathMatch::Exact("/a/b/".to_owned()), false),
            (PathMatch::Exact("/A/b".to_owned()), false),
            (template("/a/b"), true),
            (template("/a/{x}"), false),
            (PathMatch::Prefix("/a/b".to_owned()), false),
            (PathMatch::Any, false),
        ] {
            assert_eq!(pattern.is_only("/a/b"), is_only, "{pattern}");
        }
        assert!(!template("/a/{x}").is_only("/a/{x}"));
    }

    #[test]
    fn patterns_are_printed_as_they_are_configured() {
        let template = Template::parse("/a/{x}").unwrap();
        for (pattern, printed) in [
            (PathMatch::Any, "any"),
            (PathMatch::Prefix("/a".to_owned()), "/a"),
            (PathMatch::Exact("/a".to_owned()), "{ exact: /a }"),
            (PathMatch::Template(template), "{ template: \"/a/{x}\" }"),
        ] {
            assert_eq!(pattern.to_string(), printed);
        }
        for (pattern, printed) in [
            (HostMatch::Any, "any"),
            (HostMatch::Exact("a.test".to_owned()), "a.test"),
            (HostMatch::Wildcard("a.test".to_owned()), "*.a.test"),
        ] {
            assert_eq!(pattern.to_string(), printed);
        }
    }

    #[test]
    fn a_route_serves_its_hosts_and_without_any_all() {
        let serves = |hosts: Vec<HostMatch>, host: &str| {
            let route = RouteMatch {
                hosts,
                path: PathMatch::Any,
                methods: vec![],
                normalization: Normalization::default(),
            };
            route.serves(host)
        };
        assert!(serves(vec![], "a.test"));
        assert!(serves(vec![HostMatch::Any], "a.test"));
        let two = vec![
            HostMatch::Exact("b.test".to_owned()),
            HostMatch::Wildcard("a.test".to_owned()),
        ];
        for (host, is_served) in [("b.test", true), ("x.a.test", true), ("a.test", false)] {
            assert_eq!(serves(two.clone(), host), is_served, "{host}");
        }
    }

    /// threats.md 41: `/admin/*` of other proxies' patterns would be compared letter by letter and guard nothing.
    #[test]
    fn wildcards_of_other_proxies_are_refused_with_a_cure() {
        let cure = |pattern: Result<PathMatch, PatternError>| match pattern {
            Err(error @ PatternError::Wildcard(..)) => error.to_string(),
            other => panic!("{other:?}"),
        };
        for text in ["/admin/*", "/admin/**", "/admin//*"] {
            let said = cure(PathMatch::prefix(text));
            assert!(said.ends_with("write `/admin`"), "{said}");
        }
        assert!(cure(PathMatch::prefix("/*")).ends_with("write `/`"));
        assert!(cure(PathMatch::exact("/admin/*")).ends_with("say `{ prefix: /admin }`"));
        for text in ["/a/*/b", "/a/{id}", "/a/b*", "/a/{id}/*", "/a}"] {
            for pattern in [PathMatch::prefix(text), PathMatch::exact(text)] {
                let said = cure(pattern);
                assert!(said.contains("{ template: "), "{said}");
            }
        }
    }
}
