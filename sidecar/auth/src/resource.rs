//! What a protected resource says of itself: whose tokens it takes, and how (RFC 9728).

use serde::Serialize;
use tollgate_http::head::Authority;
use tollgate_http::path::Path;

use crate::token::source::{HeaderScheme, TokenSource};

/// Where metadata stands (RFC 9728 section 3).
const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

/// A resource by its identifier: an `https` URL without query and fragment (RFC 9728 section 1.2), spelled as requests
/// are matched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    identifier: String,
    authority: Authority,
    /// Empty, or the path behind the authority; `/` alone is none (section 3.1).
    path: String,
    documentation: Option<String>,
}

/// What the routes under a resource's host ask of tokens, taken together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offers<'o> {
    /// Identifiers of the issuers whose tokens are accepted.
    pub issuers: Vec<&'o str>,
    /// Scopes that some route requires.
    pub scopes: Vec<&'o str>,
    /// Where tokens are looked for.
    pub sources: Vec<&'o TokenSource>,
}

/// Why a URL cannot stand in metadata.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResourceError {
    /// Another scheme, or none.
    #[error("it does not begin with `https://` (RFC 9728, section 1.2)")]
    Scheme,
    /// The host or the port.
    #[error("its host does not fit: {0}")]
    Host(String),
    /// Another spelling of the host, which clients would compare byte for byte.
    #[error("its host has another spelling in requests; write `{0}`")]
    Spelling(String),
    /// A query or a fragment.
    #[error("it has a query or a fragment, which an identifier should not have")]
    Query,
    /// The path would not be that of any request.
    #[error("its path is not as requests are matched; write it decoded, without dot segments")]
    Path,
}

impl Resource {
    /// Parses an identifier.
    ///
    /// # Errors
    /// See [`ResourceError`].
    pub fn parse(identifier: &str) -> Result<Self, ResourceError> {
        let (authority, path) = https(identifier)?;
        let path = match path {
            "/" => "",
            path => path,
        };
        Ok(Self {
            identifier: identifier.to_owned(),
            authority,
            path: path.to_owned(),
            documentation: None,
        })
    }

    /// With the page for developers (`resource_documentation`).
    ///
    /// # Errors
    /// See [`ResourceError`]; a query is allowed here.
    pub fn documented(self, url: &str) -> Result<Self, ResourceError> {
        let page = url.split(['?', '#']).next().unwrap_or_default();
        https(page)?;
        if !url.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(ResourceError::Path);
        }
        Ok(Self {
            documentation: Some(url.to_owned()),
            ..self
        })
    }

    /// The identifier as it was written.
    pub fn identifier(&self) -> &str {
        &self.identifier
    }

    /// The host of the identifier, in the form of [`Authority::host`]. Under another one the document would not be its
    /// own (RFC 9728 section 3.3).
    pub fn host(&self) -> &str {
        self.authority.host()
    }

    /// The path of the metadata: the well-known one, and the identifier's own behind it (section 3.1).
    pub fn metadata_path(&self) -> String {
        format!("{WELL_KNOWN}{}", self.path)
    }

    /// The URL of the metadata, for `resource_metadata` of a challenge (section 5.1).
    pub fn metadata_url(&self) -> String {
        format!("https://{}{}", self.authority, self.metadata_path())
    }

    /// The document (section 2), with everything in one order.
    pub fn metadata(&self, offers: Offers<'_>) -> Vec<u8> {
        #[derive(Serialize)]
        struct Metadata<'m> {
            resource: &'m str,
            authorization_servers: Vec<&'m str>,
            #[serde(skip_serializing_if = "Vec::is_empty")]
            scopes_supported: Vec<&'m str>,
            // Empty means that none of RFC 6750's three ways is taken, which is a statement.
            bearer_methods_supported: Vec<&'static str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            resource_documentation: Option<&'m str>,
        }
        let metadata = Metadata {
            resource: &self.identifier,
            authorization_servers: sorted(offers.issuers),
            scopes_supported: sorted(offers.scopes),
            bearer_methods_supported: sorted(
                offers
                    .sources
                    .into_iter()
                    .filter_map(bearer_method)
                    .collect(),
            ),
            resource_documentation: self.documentation.as_deref(),
        };
        // Strings alone: nothing in it can fail to be written.
        serde_json::to_vec(&metadata).unwrap_or_default()
    }
}

/// Authority and path of an `https` URL, both spelled as requests are matched.
fn https(url: &str) -> Result<(Authority, &str), ResourceError> {
    let rest = url.strip_prefix("https://").ok_or(ResourceError::Scheme)?;
    if rest.contains(['?', '#']) {
        return Err(ResourceError::Query);
    }
    // It stands in a quoted string of the challenge.
    if rest.contains(['"', '\\']) {
        return Err(ResourceError::Path);
    }
    let (written, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let authority = Authority::parse(written.as_bytes())
        .map_err(|error| ResourceError::Host(error.to_string()))?;
    let spelling = authority.to_string();
    if spelling != written {
        return Err(ResourceError::Spelling(spelling));
    }
    match Path::parse(path.as_bytes()) {
        _ if path.is_empty() => Ok((authority, path)),
        Ok(parsed) if parsed.as_str() == path => Ok((authority, path)),
        _ => Err(ResourceError::Path),
    }
}

/// The way that RFC 6750 section 2 knows; cookies and other headers are ways of ours.
fn bearer_method(source: &TokenSource) -> Option<&'static str> {
    match source {
        TokenSource::Header {
            name,
            scheme: HeaderScheme::Usual,
        } if name.eq_ignore_ascii_case("authorization") => Some("header"),
        TokenSource::Query { name } if name == "access_token" => Some("query"),
        _ => None,
    }
}

fn sorted(mut list: Vec<&str>) -> Vec<&str> {
    list.sort_unstable();
    list.dedup();
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(name: &str, scheme: HeaderScheme) -> TokenSource {
        let name = name.to_owned();
        TokenSource::Header { name, scheme }
    }

    #[test]
    fn the_well_known_path_stands_between_host_and_path() {
        for (identifier, host, path, url) in [
            (
                "https://api.example.com",
                "api.example.com",
                "/.well-known/oauth-protected-resource",
                "https://api.example.com/.well-known/oauth-protected-resource",
            ),
            (
                "https://api.example.com/",
                "api.example.com",
                "/.well-known/oauth-protected-resource",
                "https://api.example.com/.well-known/oauth-protected-resource",
            ),
            (
                "https://api.example.com:8443/v1/orders",
                "api.example.com",
                "/.well-known/oauth-protected-resource/v1/orders",
                "https://api.example.com:8443/.well-known/oauth-protected-resource/v1/orders",
            ),
            (
                "https://[2001:db8::1]/a/",
                "2001:db8::1",
                "/.well-known/oauth-protected-resource/a/",
                "https://[2001:db8::1]/.well-known/oauth-protected-resource/a/",
            ),
        ] {
            let resource = Resource::parse(identifier).unwrap();
            assert_eq!(
                (
                    resource.identifier(),
                    resource.host(),
                    &*resource.metadata_path(),
                    &*resource.metadata_url()
                ),
                (identifier, host, path, url)
            );
        }
    }

    #[test]
    fn what_is_no_identifier_is_refused() {
        for bad in [
            "",
            "api.example.com",
            "http://api.example.com",
            "HTTPS://api.example.com",
            "https://",
            "https:///x",
            "https://API.example.com",
            "https://api.example.com.",
            "https://me@api.example.com",
            "https://api.example.com?x=1",
            "https://api.example.com/#x",
            "https://api.example.com/a/../b",
            "https://api.example.com/%41",
            "https://api.example.com/a b",
            "https://api.example.com/\"",
        ] {
            assert!(Resource::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_document_has_one_order_and_names_no_way_that_is_not_taken() {
        let sources = [
            source("Authorization", HeaderScheme::Usual),
            source("authorization", HeaderScheme::Named("token".to_owned())),
            source("x-api-token", HeaderScheme::Usual),
            TokenSource::Query {
                name: "access_token".to_owned(),
            },
            TokenSource::Query {
                name: "t".to_owned(),
            },
            TokenSource::Cookie {
                name: "access_token".to_owned(),
            },
        ];
        let resource = Resource::parse("https://api.example.com/v1")
            .unwrap()
            .documented("https://docs.example.com/api?lang=en#auth")
            .unwrap();
        let document = resource.metadata(Offers {
            issuers: vec!["https://b.test", "https://a.test", "https://b.test"],
            scopes: vec!["w", "r", "w"],
            sources: sources.iter().collect(),
        });
        assert_eq!(
            String::from_utf8(document).unwrap(),
            r#"{"resource":"https://api.example.com/v1","authorization_servers":["https://a.test","https://b.test"],"scopes_supported":["r","w"],"bearer_methods_supported":["header","query"],"resource_documentation":"https://docs.example.com/api?lang=en#auth"}"#
        );
        let bare = Resource::parse("https://api.example.com").unwrap();
        assert_eq!(
            bare.metadata(Offers {
                sources: sources[1..3].iter().collect(),
                ..Offers::default()
            }),
            br#"{"resource":"https://api.example.com","authorization_servers":[],"bearer_methods_supported":[]}"#
        );
    }

    #[test]
    fn only_ways_of_rfc_6750_are_told() {
        let query = |name: &str| {
            bearer_method(&TokenSource::Query {
                name: name.to_owned(),
            })
        };
        assert_eq!(query("access_token"), Some("query"));
        assert_eq!((query("key"), query("access_token2")), (None, None));
    }

    #[test]
    fn documentation_is_a_page() {
        let resource = || Resource::parse("https://api.example.com").unwrap();
        for bad in [
            "docs",
            "http://docs.test",
            "https://docs.test/a b",
            "https://docs.test/?ä",
        ] {
            assert!(resource().documented(bad).is_err(), "{bad}");
        }
    }
}
