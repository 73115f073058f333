//! What one request sees: immutable, whole, loaded once. A reload builds a new one and publishes it; issuers and
//! upstream connections that did not change are shared between the two.

mod asks;
pub mod issuer;
pub mod own;
pub mod skew;

use std::sync::Arc;

use tollgate_auth::challenge::Challenge;
use tollgate_auth::header::assertion::Rules;
use tollgate_auth::header::client_cert::Forward;
use tollgate_auth::header::forwarded::Forwarders;
use tollgate_auth::header::inject::InjectSet;
use tollgate_auth::header::response::ResponseRules;
use tollgate_auth::header::scrub::ManagedNames;
use tollgate_auth::policy::cors::Cors;
use tollgate_auth::policy::matcher::RouteTable;
use tollgate_auth::policy::rule::Requirement;
use tollgate_auth::resource::Resource;
use tollgate_auth::texts::Texts;
use tollgate_auth::time::UnixTime;
use tollgate_auth::token::claims::Claims;
use tollgate_auth::token::source::TokenSource;

use self::issuer::IssuerState;
use self::own::OwnDocuments;
use crate::cluster::Keyring;
use crate::upstream::Client;
use crate::upstream::body::TrailerFilter;

/// What Tollgate itself says of a request, beside what the claims say. What only a trusted proxy may say
/// (`X-Forwarded-*` and its kind) is taken from clients by `tollgate_auth::header::scrub::unvouched`.
pub const SAID_BY_US: [&str; 1] = ["x-request-id"];

/// The configuration at work.
#[derive(Debug)]
pub struct Snapshot {
    /// Counts the configurations of this process, from 1.
    pub epoch: u64,
    /// Every listener, by its place in the configuration.
    pub listeners: Vec<Arc<Listener>>,
    /// Every issuer, by its place in the configuration.
    pub issuers: Vec<Arc<IssuerState>>,
    /// Every upstream, by its place in the configuration.
    pub upstreams: Vec<Arc<Client>>,
    /// What assertions are signed with.
    pub keyring: Arc<Keyring>,
}

impl Snapshot {
    /// The listener of this name.
    pub fn listener(&self, name: &str) -> Option<&Arc<Listener>> {
        self.listeners.iter().find(|one| &*one.name == name)
    }
}

/// A listener's routes.
pub struct Listener {
    /// Its name in the file.
    pub name: Arc<str>,
    /// Finds the route of a request: an index into `routes`.
    pub table: RouteTable,
    /// The routes.
    pub routes: Vec<Route>,
    /// Some route has `cors`: only then is it asked whether a request is a preflight.
    pub has_cors: bool,
    /// What it is to OAuth clients, under the host of its identifier.
    pub resource: Option<Resource>,
    /// What it answers itself, before any route is looked for.
    pub own: OwnDocuments,
    /// What refusals say beside the reason where no route is found.
    pub texts: Texts,
    /// Names that no client may say: those that any route of any listener injects.
    pub managed: Arc<ManagedNames>,
    /// The same for trailers.
    pub trailers: TrailerFilter,
    /// Peers that are believed when they say where a client is.
    pub forwarders: Forwarders,
    /// They are believed as well when they say which certificate a client showed (RFC 9440).
    pub trust_client_cert: bool,
    /// What the API is told of a client's certificate.
    pub forward_client_cert: Forward,
    /// What is made of answers that belong to no route.
    pub response: Response,
}

impl Listener {
    /// The resource that requests to `host` are for. Under another host it would be another resource, and clients take
    /// no metadata but that of the one they asked (RFC 9728, section 3.3).
    pub fn resource_of(&self, host: Option<&str>) -> Option<&Resource> {
        let resource = self.resource.as_ref()?;
        (host == Some(resource.host())).then_some(resource)
    }
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listener")
            .field("name", &self.name)
            .field("routes", &self.routes)
            .finish_non_exhaustive()
    }
}

/// A route.
#[derive(Debug)]
pub struct Route {
    /// Its name in the file.
    pub name: Arc<str>,
    /// What a request must bring; `None` = public.
    pub token: Option<TokenRule>,
    /// What its token must say.
    pub require: Requirement,
    /// What the API is told.
    pub inject: InjectSet,
    /// What refusals say beside the reason.
    pub texts: Texts,
    /// What pages of other origins may do.
    pub cors: Cors,
    /// What refused clients are asked for.
    pub challenge: Challenge,
    /// What is signed for the upstream, if anything.
    pub assertion: Option<Signing>,
    /// What is made of answers.
    pub response: Response,
    /// Where the request goes.
    pub upstream: Arc<Client>,
}

/// What is made of answers.
pub struct Response {
    /// Fields that are set and removed.
    pub rules: ResponseRules,
    /// Trailers of an upstream that must not reach a client.
    pub trailers: TrailerFilter,
}

impl std::fmt::Debug for Response {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.rules.fmt(f)
    }
}

/// What is signed for an upstream, and with whose keys.
#[derive(Debug, Clone)]
pub struct Signing {
    /// What is said, and for how long.
    pub rules: Arc<Rules>,
    /// The keys, by time.
    pub keyring: Arc<Keyring>,
}

/// What a request must bring.
#[derive(Debug)]
pub struct TokenRule {
    /// Whose tokens are taken.
    pub issuers: Vec<Arc<IssuerState>>,
    /// Where a token may stand.
    pub sources: Vec<TokenSource>,
    /// A request without a token is refused.
    pub required: bool,
    /// The token is passed on.
    pub forward: bool,
    /// A response still running when the token expires is ended.
    pub close_on_expiry: bool,
}

impl TokenRule {
    /// The first moment at which a token with these claims is not accepted any more: its issuer's `clock_skew` after
    /// `exp`.
    pub fn accepted_until(&self, claims: &Claims) -> UnixTime {
        let skew = self
            .issuers
            .iter()
            .find(|issuer| issuer.rules.name == *claims.issuer_name())
            .map_or_else(Default::default, |issuer| issuer.rules.clock_skew);
        claims.expires() + skew
    }
}
