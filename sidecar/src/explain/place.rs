//! Which listener a request reaches.

use std::net::SocketAddr;
use std::sync::Arc;

use tollgate_http::{Authority, Scheme};

use super::asked::Asked;
use crate::proxy::connection::Names;

/// What is known of a listener beside its routes.
#[derive(Debug, Clone)]
pub struct Place {
    /// Its name.
    pub name: Arc<str>,
    /// Where it listens.
    pub address: SocketAddr,
    /// What it speaks.
    pub scheme: Scheme,
    /// Whom its certificates are for; none over plaintext.
    pub certificates: Vec<Names>,
}

impl Place {
    /// Whether it has a certificate for this host. Over plaintext nothing is promised.
    pub(super) fn covers(&self, host: &str) -> bool {
        self.scheme == Scheme::Http || self.certificates.iter().any(|names| names.cover(host))
    }

    fn line(&self) -> String {
        format!("`{}` ({} on {})", self.name, self.scheme, self.address)
    }
}

/// The listener that `asked` reaches, and what to note of that choice.
///
/// # Errors
///
/// None is there, or several are and nothing tells which; in words, with their names.
pub(super) fn choose<'p>(
    places: &'p [Place],
    asked: &Asked,
    only: Option<&str>,
) -> Result<(&'p Place, Option<String>), String> {
    if let Some(name) = only {
        let Some(place) = places.iter().find(|place| *place.name == *name) else {
            let name = name.escape_default();
            return Err(format!(
                "there is no listener `{name}`; there are: {}",
                list(places)
            ));
        };
        let other = asked.scheme.filter(|scheme| *scheme != place.scheme);
        let note = other.map(|scheme| {
            format!(
                "the URL says {scheme}, and `{name}` speaks {}",
                place.scheme
            )
        });
        return Ok((place, note));
    }
    let all: Vec<&Place> = places.iter().collect();
    let speaking = narrowed(&all, |place| {
        asked.scheme.is_none_or(|scheme| scheme == place.scheme)
    });
    if speaking.is_empty() {
        let scheme = asked.scheme.map_or("http", Scheme::as_str);
        return Err(format!(
            "no listener speaks {scheme}; if something before it does, say --listener, one of: {}",
            list(places)
        ));
    }
    let there = narrowed(&speaking, |place| {
        asked.port() == Some(place.address.port())
    });
    let candidates = if there.is_empty() { &speaking } else { &there };
    let host = asked.authority.as_ref().map(Authority::host);
    let certified = narrowed(candidates, |place| {
        host.is_some_and(|host| place.covers(host))
    });
    let (([place], _) | (_, [place])) = (&candidates[..], &certified[..]) else {
        return Err(format!(
            "several listeners would take it; say --listener, one of: {}",
            list(candidates.iter().copied())
        ));
    };
    // An address that is steered or translated to the listener has another port.
    let note = asked.port().filter(|_| there.is_empty()).map(|port| {
        format!(
            "no listener has port {port}; this is for what comes to {}",
            place.line()
        )
    });
    Ok((place, note))
}

fn narrowed<'p>(places: &[&'p Place], fits: impl Fn(&Place) -> bool) -> Vec<&'p Place> {
    places.iter().copied().filter(|place| fits(place)).collect()
}

fn list<'p>(places: impl IntoIterator<Item = &'p Place>) -> String {
    let lines: Vec<String> = places.into_iter().map(Place::line).collect();
    lines.join(", ")
}

#[cfg(test)]
mod tests {
    use super::super::asked::RouteQuestion;
    use super::*;

    fn place(name: &str, port: u16, names: Option<&str>) -> Place {
        Place {
            name: name.into(),
            address: SocketAddr::from(([0, 0, 0, 0], port)),
            scheme: if names.is_some() {
                Scheme::Https
            } else {
                Scheme::Http
            },
            certificates: names
                .into_iter()
                .map(|name| Names {
                    exact: vec![name.to_owned()],
                    ..Names::default()
                })
                .collect(),
        }
    }

    fn chosen(places: &[Place], url: &str, only: Option<&str>) -> Result<(String, bool), String> {
        let asked = Asked::of(&RouteQuestion {
            method: "GET".to_owned(),
            url: url.to_owned(),
            listener: None,
            headers: vec![],
            token: None,
            from: None,
        })
        .unwrap();
        choose(places, &asked, only).map(|(place, note)| (place.name.to_string(), note.is_some()))
    }

    #[test]
    fn scheme_then_port_then_certificate_tell_listeners_apart() {
        let places = [
            place("plain", 80, None),
            place("a", 8443, Some("a.test")),
            place("b", 8443, Some("b.test")),
            place("c", 9443, Some("a.test")),
        ];
        let of = |url| chosen(&places, url, None);
        let sure = |name: &str| Ok((name.to_owned(), false));
        let noted = |name: &str| Ok((name.to_owned(), true));
        assert_eq!(of("http://a.test/"), sure("plain"));
        assert_eq!(of("http://a.test:8080/"), noted("plain"));
        assert_eq!(of("https://a.test:8443/"), sure("a"));
        assert_eq!(of("https://b.test:8443/"), sure("b"));
        assert_eq!(of("https://b.test/"), noted("b"));
        assert_eq!(of("https://x.test:9443/"), sure("c"));
        for url in ["https://a.test/", "https://x.test:8443/", "/orders"] {
            let why = of(url).unwrap_err();
            assert!(
                why.contains("say --listener") && why.contains("`a` (https on 0.0.0.0:8443)"),
                "{why}"
            );
        }
        assert_eq!(chosen(&places[..1], "/orders", None), sure("plain"));
        let why = chosen(&places[..1], "https://a.test/", None).unwrap_err();
        assert!(why.starts_with("no listener speaks https"), "{why}");
        assert_eq!(chosen(&places, "https://x.test/", Some("b")), sure("b"));
        assert_eq!(
            chosen(&places, "https://x.test/", Some("plain")),
            noted("plain")
        );
        let why = chosen(&places, "https://x.test/", Some("z")).unwrap_err();
        assert!(why.starts_with("there is no listener `z`"), "{why}");
    }
}
