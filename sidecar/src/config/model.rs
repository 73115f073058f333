//! The configuration as the program runs on it: every reference resolved, every file read, every value in range.

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tollgate_auth::header::assertion::Rules;
use tollgate_auth::header::client_cert::Forward;
use tollgate_auth::header::forwarded::Forwarders;
use tollgate_auth::header::inject::Injection;
use tollgate_auth::header::response::ResponseRules;
use tollgate_auth::policy::cors::Cors;
use tollgate_auth::policy::matcher::RouteMatch;
use tollgate_auth::policy::rule::Requirement;
use tollgate_auth::resource::Resource;
use tollgate_auth::texts::Texts;
use tollgate_auth::token::jwt::Issuer;
use tollgate_auth::token::source::TokenSource;
use tollgate_datapath::model::Model;

use crate::cluster::Secret;
use crate::health::settings::Settings;
use crate::upstream::endpoint::Upstream;

/// A valid configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// The file it came from.
    pub path: PathBuf,
    /// Worker threads, at least 1.
    pub workers: usize,
    /// What the file says of them; 0 is one per core, whatever their number is now. A reload compares this: the
    /// operator changed nothing when the host gave or took a core.
    pub workers_configured: usize,
    /// Whose rights the process has that serves requests; without it those that the daemon was started with.
    pub user: Option<String>,
    /// Where the daemon is asked and told.
    pub admin: Admin,
    /// Where a line per request goes.
    pub access_log: AccessLog,
    /// In the order of the file; token rules refer to them by index.
    pub issuers: Vec<IssuerConfig>,
    /// In the order of the file.
    pub listeners: Vec<ListenerConfig>,
    /// In the order of the file; routes refer to them by index.
    pub upstreams: Vec<Upstream>,
    /// What is signed for each upstream, if anything: by the upstream's place.
    pub assertions: Vec<Option<Arc<Rules>>>,
    /// How the endpoints of each upstream are checked, if they are: by the upstream's place.
    pub health: Vec<Option<Settings>>,
    /// What the nodes of the cluster share; without it each has keys of its own.
    pub cluster: Option<Secret>,
    /// How long requests in flight may take after SIGTERM.
    pub drain: Duration,
    /// The kernel half; without it the sidecar runs alone and needs no rights.
    pub datapath: Option<DatapathConfig>,
}

/// What a daemon knows of its configuration before it gives its rights up. No file that it names is read for that.
#[derive(Debug, Clone)]
pub struct Outline {
    /// [`Config::user`].
    pub user: Option<String>,
    /// [`Admin::socket`].
    pub socket: PathBuf,
    /// [`DatapathConfig::attach`] and [`DatapathConfig::health_mark`].
    pub datapath: Option<(tollgate_datapath::Config, u16)>,
}

/// The admin interfaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// Unix socket, mode 0600: everything that changes or reveals.
    pub socket: PathBuf,
    /// TCP: /metrics, /healthz, /readyz only.
    pub listen: Option<SocketAddr>,
}

/// Where access log lines go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccessLog {
    /// Nowhere.
    None,
    /// Standard output.
    Stdout,
    /// Appended to a file.
    File(PathBuf),
}

/// An issuer of tokens and where its keys come from.
#[derive(Debug, Clone)]
pub struct IssuerConfig {
    /// What its tokens must say.
    pub rules: Arc<Issuer>,
    /// Where its keys are.
    pub source: KeySource,
    /// How they are kept fresh.
    pub keys: KeySettings,
}

/// Where a key set comes from.
#[derive(Clone, PartialEq, Eq)]
pub enum KeySource {
    /// `ISSUER/.well-known/openid-configuration` (OpenID Connect Discovery 1.0, section 4).
    Discover,
    /// A JWKS document by URL.
    Url(String),
    /// A JWKS file, read again when it changes and at each refresh.
    File(PathBuf),
    /// A JWKS in the configuration itself.
    Inline(Vec<u8>),
}

/// In words: a key set that was written here may hold secrets.
impl fmt::Debug for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Discover => f.write_str("Discover"),
            Self::Url(url) => f.debug_tuple("Url").field(url).finish(),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Inline(_) => f.write_str("Inline(..)"),
        }
    }
}

/// How a key set is kept fresh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySettings {
    /// Time between fetches, at most; a shorter Cache-Control max-age is respected down to `unknown_kid_cooldown`.
    pub refresh: Duration,
    /// At most two fetches for unknown kids in this time.
    pub unknown_kid_cooldown: Duration,
    /// How long the last good set is used while fetches fail; longer than `refresh`.
    pub max_stale: Duration,
    /// Limit of one fetch, whole.
    pub timeout: Duration,
    /// Plain HTTP is allowed.
    pub allow_http: bool,
    /// Private address ranges are allowed.
    pub allow_private: bool,
}

/// A listener with its routes.
#[derive(Debug, Clone)]
pub struct ListenerConfig {
    /// Its name in the file.
    pub name: Arc<str>,
    /// Where it listens.
    pub address: SocketAddr,
    /// TLS; plaintext without.
    pub tls: Option<TlsConfig>,
    /// Peers that are believed when they say where a client is.
    pub trusted_forwarders: Forwarders,
    /// They are believed as well when they say which certificate a client showed (RFC 9440).
    pub trust_client_cert: bool,
    /// What is made of answers that belong to no route.
    pub response: ResponseRules,
    /// Limit of a TLS handshake.
    pub handshake_timeout: Duration,
    /// Limit from the first byte of a request to the end of its head.
    pub head_timeout: Duration,
    /// How long a connection without a request is kept.
    pub idle_timeout: Duration,
    /// What it is to its clients; published as metadata (RFC 9728).
    pub resource: Option<Resource>,
    /// What refusals say beside the reason where no route is found.
    pub texts: Texts,
    /// The keys of assertions are published here too.
    pub publish_jwks: bool,
    /// In the order of the file.
    pub routes: Vec<RouteConfig>,
}

/// TLS of a listener.
#[derive(Clone, PartialEq, Eq)]
pub struct TlsConfig {
    /// Chosen by SNI; the first is the default.
    pub certificates: Vec<CertificateConfig>,
    /// TLS 1.2 is refused.
    pub only_tls13: bool,
    /// Who may connect; everybody without.
    pub clients: Option<ClientAuthConfig>,
    /// What the API is told of a client's certificate.
    pub forward_client_cert: Forward,
}

/// Which clients may connect by their certificates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientAuthConfig {
    /// The authorities' file.
    pub path: PathBuf,
    /// PEM.
    pub authorities: Vec<u8>,
    /// A client without a certificate is turned away.
    pub required: bool,
}

impl fmt::Debug for TlsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Private keys are in here: only the paths may be shown.
        f.debug_list()
            .entries(self.certificates.iter().map(|one| &one.path))
            .finish()
    }
}

/// A certificate chain and its key, as read.
#[derive(Clone, PartialEq, Eq)]
pub struct CertificateConfig {
    /// The chain's file.
    pub path: PathBuf,
    /// PEM.
    pub chain: Vec<u8>,
    /// PEM.
    pub key: Vec<u8>,
}

/// One route.
#[derive(Debug, Clone)]
pub struct RouteConfig {
    /// Its name in the file.
    pub name: Arc<str>,
    /// Which requests are its.
    pub matches: RouteMatch,
    /// What a request must bring; `None` = public.
    pub token: Option<TokenRule>,
    /// What a token must say beyond being valid.
    pub require: Requirement,
    /// What the API is told.
    pub inject: Vec<Injection>,
    /// What refusals say beside the reason.
    pub texts: Texts,
    /// What is made of answers.
    pub response: ResponseRules,
    /// What pages of other origins may do.
    pub cors: Cors,
    /// Index into [`Config::upstreams`].
    pub upstream: usize,
}

/// What a request must bring.
#[derive(Debug, Clone)]
pub struct TokenRule {
    /// Indexes into [`Config::issuers`].
    pub issuers: Vec<usize>,
    /// Where a token may stand.
    pub sources: Vec<TokenSource>,
    /// A request without a token is refused.
    pub required: bool,
    /// The token is passed on to the upstream.
    pub forward: bool,
    /// A response still running when the token expires is ended.
    pub close_on_expiry: bool,
}

/// The kernel half.
#[derive(Debug, Clone)]
pub struct DatapathConfig {
    /// Where and how it attaches.
    pub attach: tollgate_datapath::Config,
    /// What it does.
    pub model: Model,
    /// How the backends of services are checked, by the service's name.
    pub health: HashMap<String, Settings>,
    /// The lower half of the marks of checks that go by a VIP.
    pub health_mark: u16,
}
