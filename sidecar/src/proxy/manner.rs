//! How a request is to be answered where Tollgate answers it: in which form, by whose words. Known in parts from the head on,
//! whole when the route is found.

use bytes::Bytes;
use tollgate_auth::challenge::Challenge;
use tollgate_auth::policy::cors::{Cors, Sharing};
use tollgate_auth::reason::Reason;
use tollgate_auth::resource::Resource;
use tollgate_http::accept::{Accept, preferred};
use tollgate_http::{Fields, Method, Origin};

use crate::snapshot::{Listener, Response, Route};

/// The forms of a refusal, the one that is taken when the client does not care first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// RFC 9457.
    Problem,
    /// The same document under the type that older clients ask for.
    Json,
    /// A page for a person.
    Html,
    /// A few lines.
    Plain,
}

impl Form {
    const ALL: [Self; 4] = [Self::Problem, Self::Json, Self::Html, Self::Plain];

    /// Its media type, in the words of `Accept`.
    pub(super) const fn media_type(self) -> &'static str {
        match self {
            Self::Problem => "application/problem+json",
            Self::Json => "application/json",
            Self::Html => "text/html",
            Self::Plain => "text/plain",
        }
    }

    /// What a client that says so would rather have.
    fn of(accept: &Accept) -> Self {
        preferred(accept, &Self::ALL.map(Self::media_type))
            .map_or(Self::Problem, |at| Self::ALL[at])
    }
}

/// How a request is to be answered.
pub(super) struct Manner<'s> {
    /// Read when there is a refusal to write, and not before.
    accept: Accept,
    is_head: bool,
    pub(super) listener: Option<&'s Listener>,
    /// What the request's host is to OAuth clients.
    resource: Option<&'s Resource>,
    route: Option<&'s Route>,
    /// Whose page may read the answer.
    reader: Option<&'s Origin>,
}

impl<'s> Manner<'s> {
    /// Of a request by `method` for `host` that came to `listener`, if that is still there.
    pub(super) fn new(
        method: &str,
        host: Option<&str>,
        fields: &Fields,
        listener: Option<&'s Listener>,
    ) -> Self {
        Self {
            accept: Accept::of(fields),
            is_head: method == Method::HEAD.as_str(),
            listener,
            resource: listener.and_then(|listener| listener.resource_of(host)),
            route: None,
            reader: None,
        }
    }

    /// The route is found; `fields` are those of the request.
    pub(super) fn routed(&mut self, route: &'s Route, fields: &Fields) {
        self.route = Some(route);
        if let Cors::Answer(sharing) = &route.cors {
            self.reader = sharing.reader(fields);
        }
    }

    /// The form that the client would rather have.
    pub(super) fn form(&self) -> Form {
        Form::of(&self.accept)
    }

    /// Takes from an upstream's answer what it says of the pages that may read it, where that is Tollgate's to say.
    pub(super) fn silence(&self, fields: &mut Fields) {
        if self.sharing().is_some() {
            Sharing::silence(fields);
        }
    }

    /// Says in an answer, whoever gives it, which page may read it.
    pub(super) fn dress(&self, fields: &mut Fields) {
        if let Some(sharing) = self.sharing() {
            sharing.dress(self.reader, fields);
        }
    }

    fn sharing(&self) -> Option<&'s Sharing> {
        match &self.route?.cors {
            Cors::Answer(sharing) => Some(sharing),
            Cors::Off | Cors::Forward => None,
        }
    }

    /// A body of ours as it is sent: to HEAD its length is told and nothing else (RFC 9110, section 9.3.2). Over HTTP/2
    /// nobody else sees to that.
    pub(super) fn sent(&self, body: Bytes) -> Bytes {
        if self.is_head { Bytes::new() } else { body }
    }

    /// The operator's own words for a refusal.
    pub(super) fn text(&self, reason: Reason) -> Option<&'s str> {
        match (self.route, self.listener) {
            (Some(route), _) => route.texts.of(reason),
            (None, Some(listener)) => listener.texts.of(reason),
            (None, None) => None,
        }
    }

    /// What the operator makes of the answer.
    pub(super) fn response(&self) -> Option<&'s Response> {
        match (self.route, self.listener) {
            (Some(route), _) => Some(&route.response),
            (None, listener) => listener.map(|listener| &listener.response),
        }
    }

    /// What the client is asked for.
    pub(super) fn challenges(&self, reason: Reason) -> Vec<String> {
        match self.route {
            // A public route refuses for what the request is; a token would change nothing.
            Some(route) if route.token.is_none() && reason.status() != 401 => Vec::new(),
            Some(route) => {
                let url = self.resource.map(Resource::metadata_url);
                route.challenge.values(reason, url.as_deref())
            }
            None => Challenge::default().values(reason, None),
        }
    }
}
