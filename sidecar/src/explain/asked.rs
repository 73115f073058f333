//! A request as it is asked about: a method and a URL, as a client would send them.

use std::fmt;
use std::net::IpAddr;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tollgate_auth::token::redact::redact;
use tollgate_http::fields::{valid_name, valid_value};
use tollgate_http::path::valid_query;
use tollgate_http::{Authority, Fields, Method, Scheme};

use super::words::written;

/// Which request is meant.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteQuestion {
    /// Its method.
    pub method: String,
    /// Its URL, absolute; or a path alone, for a request without a host.
    pub url: String,
    /// The listener that it reaches, where the URL does not tell.
    #[serde(default)]
    pub listener: Option<String>,
    /// Its fields.
    #[serde(default)]
    pub headers: Vec<(String, String)>,
    /// A token, to be put where the route looks first. It is never logged, nor kept.
    #[serde(default)]
    pub token: Option<String>,
    /// Where it comes from, for rules that ask.
    #[serde(default)]
    pub from: Option<IpAddr>,
}

/// Never prints what may be a credential.
impl fmt::Debug for RouteQuestion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RouteQuestion")
            .field("method", &self.method)
            .field("listener", &self.listener)
            .finish_non_exhaustive()
    }
}

impl RouteQuestion {
    /// Whether the whole decision is asked for, and not the route alone.
    pub fn brings_credentials(&self) -> bool {
        self.token.is_some() || self.from.is_some() || !self.headers.is_empty()
    }
}

/// A question taken apart.
pub(super) struct Asked {
    pub(super) method: Method,
    /// `None` where a path alone was given.
    pub(super) scheme: Option<Scheme>,
    pub(super) authority: Option<Authority>,
    /// As written, before it is brought into its form.
    pub(super) path: String,
    pub(super) query: Option<Bytes>,
    pub(super) fields: Fields,
}

impl Asked {
    /// Takes `question` apart by hand: what a library for URLs would put right is what is asked about.
    ///
    /// # Errors
    ///
    /// What no client could send, in words.
    pub(super) fn of(question: &RouteQuestion) -> Result<Self, String> {
        let method = Method::parse(question.method.as_bytes())
            .map_err(|error| format!("`{}`: {error}", redact(&question.method).escape_debug()))?;
        // A fragment is never sent.
        let url = question.url.split('#').next().unwrap_or_default();
        let (scheme, authority, target) = split(url)?;
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (target, None),
        };
        if query.is_some_and(|query| !valid_query(query.as_bytes())) {
            return Err("the query holds bytes that a query may not hold".to_owned());
        }
        Ok(Self {
            method,
            scheme,
            authority,
            // RFC 9110, section 4.2.3: an empty path is `/`.
            path: if path.is_empty() { "/" } else { path }.to_owned(),
            query: query.map(|query| Bytes::copy_from_slice(query.as_bytes())),
            fields: fields(&question.headers)?,
        })
    }

    /// The port that a client connects to.
    pub(super) fn port(&self) -> Option<u16> {
        let written = self.authority.as_ref().and_then(Authority::port);
        written.or_else(|| self.scheme.map(Scheme::default_port))
    }

    /// The request in a line, without what may be a token.
    pub(super) fn line(&self) -> String {
        let start = match (self.scheme, &self.authority) {
            (Some(scheme), Some(authority)) => format!("{scheme}://{authority}"),
            _ => String::new(),
        };
        let query = if self.query.is_some() { "?…" } else { "" };
        format!("{} {start}{}{query}", self.method, written(&self.path))
    }
}

/// Scheme and authority, if there are any, and the target.
fn split(url: &str) -> Result<(Option<Scheme>, Option<Authority>, &str), String> {
    if url.starts_with('/') {
        return Ok((None, None, url));
    }
    let lower = |word: &str| {
        url.get(..word.len())
            .is_some_and(|s| s.eq_ignore_ascii_case(word))
    };
    let (scheme, rest) = if lower("https://") {
        (Scheme::Https, &url["https://".len()..])
    } else if lower("http://") {
        (Scheme::Http, &url["http://".len()..])
    } else {
        return Err(
            "the URL begins with neither http:// nor https://, nor is it a path; write for example https://api.example.com/orders"
                .to_owned(),
        );
    };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, target) = rest.split_at(end);
    match Authority::parse(authority.as_bytes()) {
        Ok(authority) => Ok((Some(scheme), Some(authority), target)),
        Err(error) => Err(error.to_string()),
    }
}

fn fields(headers: &[(String, String)]) -> Result<Fields, String> {
    let mut fields = Fields::with_capacity(headers.len());
    for (name, value) in headers {
        let shown = name.escape_debug();
        if !valid_name(name.as_bytes()) || !valid_value(value.as_bytes()) {
            // The value may be a credential.
            return Err(format!("the header `{shown}` is none that could be sent"));
        }
        if name.eq_ignore_ascii_case("host") {
            return Err("the host is that of the URL; leave the header out".to_owned());
        }
        fields.push(name.clone(), value.clone());
    }
    Ok(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(url: &str) -> Result<Asked, String> {
        Asked::of(&RouteQuestion {
            method: "GET".to_owned(),
            url: url.to_owned(),
            listener: None,
            headers: vec![],
            token: None,
            from: None,
        })
    }

    #[test]
    fn a_url_is_taken_apart_and_nothing_of_it_is_put_right() {
        for (url, line, path, port) in [
            ("https://A.test", "GET https://a.test/", "/", Some(443)),
            (
                "HTTP://a.test:8080/x",
                "GET http://a.test:8080/x",
                "/x",
                Some(8080),
            ),
            (
                "http://a.test?q=secret",
                "GET http://a.test/?…",
                "/",
                Some(80),
            ),
            (
                "https://a.test/a/../%61//b#f?g",
                "GET https://a.test/a/../%61//b",
                "/a/../%61//b",
                Some(443),
            ),
            ("/a\\b", "GET /a\\\\b", "/a\\b", None),
            ("https://[::1]:1/", "GET https://[::1]:1/", "/", Some(1)),
        ] {
            let asked = asked(url).unwrap();
            assert_eq!(
                (asked.line(), asked.path.as_str(), asked.port()),
                (line.to_owned(), path, port),
                "{url}"
            );
        }
        for url in [
            "",
            "a.test/x",
            "ftp://a.test/",
            "https:///x",
            "https://u:p@a.test/",
            "https://a.test/?a b",
        ] {
            assert!(asked(url).is_err(), "{url}");
        }
    }

    #[test]
    fn headers_are_those_that_could_be_sent() {
        let header = |name: &str, value: &str| fields(&[(name.to_owned(), value.to_owned())]);
        assert!(header("x-a", "b").is_ok());
        for (name, value) in [
            ("x a", "b"),
            ("", "b"),
            ("x-a", "b\r\nx: y"),
            ("Host", "a.test"),
        ] {
            let why = header(name, value).unwrap_err();
            assert!(!why.contains("x: y"), "{why}");
        }
    }

    #[test]
    fn what_may_be_a_token_is_not_shown() {
        let question = RouteQuestion {
            method: "GET".to_owned(),
            url: "https://a.test/".to_owned(),
            listener: None,
            headers: vec![("authorization".to_owned(), "Bearer s3cret".to_owned())],
            token: Some("s3cret".to_owned()),
            from: None,
        };
        assert!(!format!("{question:?}").contains("s3cret"));
        let token = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl";
        for path in [token.to_owned(), token.replacen("eyJ", "%65yJ", 1)] {
            let line = asked(&format!("https://a.test/{path}")).unwrap().line();
            assert!(!line.contains("c2lnbmF0dXJl"), "{line}");
        }
        // The two arguments in the wrong order.
        let swapped = RouteQuestion {
            method: format!("https://a.test/{token}"),
            ..question
        };
        let why = Asked::of(&swapped).err().unwrap();
        assert!(!why.contains("c2lnbmF0dXJl"), "{why}");
    }
}
