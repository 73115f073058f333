//! Documents that a listener answers itself, under paths that no route has to name: who issues tokens for it
//! (RFC 9728), which keys its assertions are signed with.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tollgate_auth::time::UnixTime;

/// The own documents of a listener.
#[derive(Debug, Default)]
pub struct OwnDocuments(Vec<OwnDocument>);

/// A document, public and readable by pages of every origin.
#[derive(Debug)]
pub struct OwnDocument {
    /// The whole path, in the form that requests' paths are brought into.
    pub path: String,
    /// The one host under which it stands, in the form of `Authority::host`; `None` = every one.
    pub host: Option<String>,
    /// Its media type.
    pub content_type: &'static str,
    /// How long caches may keep it.
    pub max_age: Duration,
    /// What it says.
    pub content: Content,
}

/// What a document says.
pub enum Content {
    /// The same until the next reload.
    Ready(Bytes),
    /// What depends on the time: asked for with each request, so it must be cheap.
    At(Arc<dyn Fn(UnixTime) -> Bytes + Send + Sync>),
}

impl OwnDocuments {
    /// Adds a document. Of two with one host and path the first is answered.
    pub fn publish(&mut self, document: OwnDocument) {
        self.0.push(document);
    }

    /// The document that a request asks for, whatever its method.
    pub fn find(&self, host: Option<&str>, path: &str) -> Option<&OwnDocument> {
        // A handful at most, and none of them under a path that an API's requests often have.
        self.0.iter().find(|document| {
            document.path == path && document.host.as_deref().is_none_or(|own| Some(own) == host)
        })
    }

    /// All of them, in the order of their publication.
    pub fn iter(&self) -> std::slice::Iter<'_, OwnDocument> {
        self.0.iter()
    }
}

impl Content {
    /// What it says at this moment.
    pub fn at(&self, now: UnixTime) -> Bytes {
        match self {
            Self::Ready(bytes) => bytes.clone(),
            Self::At(say) => say(now),
        }
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready(bytes) => f.debug_tuple("Ready").field(bytes).finish(),
            Self::At(_) => f.write_str("At(..)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_stands_under_its_path_and_host_alone() {
        let document = |path: &str, host: Option<&str>| OwnDocument {
            path: path.to_owned(),
            host: host.map(str::to_owned),
            content_type: "application/json",
            max_age: Duration::ZERO,
            content: Content::Ready(Bytes::from_static(b"{}")),
        };
        let mut own = OwnDocuments::default();
        own.publish(document("/.well-known/a", Some("api.test")));
        own.publish(document("/.well-known/b", None));
        let found = |host, path| own.find(host, path).is_some();
        assert!(found(Some("api.test"), "/.well-known/a"));
        assert!(!found(Some("other.test"), "/.well-known/a"));
        assert!(!found(None, "/.well-known/a"));
        assert!(found(None, "/.well-known/b") && found(Some("other.test"), "/.well-known/b"));
        for path in ["/.well-known/a/", "/.well-known", "/", "/.well-known/A"] {
            assert!(!found(Some("api.test"), path), "{path}");
        }
    }
}
