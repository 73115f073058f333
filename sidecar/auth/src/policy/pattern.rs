//! What a route matches: hosts, a path, methods.

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
}

#[cfg(test)]
mod tests {
    use super::*;

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
