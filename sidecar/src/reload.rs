//! From a configuration to a snapshot: what did not change is kept, so that a reload costs neither keys nor
//! connections.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tollgate_auth::challenge::Challenge;
use tollgate_auth::header::assertion::Rules;
use tollgate_auth::header::client_cert::Forward;
use tollgate_auth::header::inject::InjectSet;
use tollgate_auth::header::response::ResponseRules;
use tollgate_auth::header::scrub::{ManagedNames, is_hop_by_hop, is_never_trailer};
use tollgate_auth::policy::cors::Cors;
use tollgate_auth::policy::matcher::RouteTable;
use tollgate_auth::resource::{Offers, Resource};
use tollgate_auth::time::UnixTime;
use tollgate_auth::token::source::TokenSource;

use crate::client::{Client, Limits};
use crate::cluster::{JWKS_MAX_AGE, JWKS_PATH, JWKS_TYPE, Keyring, Owner, Secret};
use crate::config::model::{Config, IssuerConfig, KeySource, ListenerConfig, RouteConfig};
use crate::jwks;
use crate::snapshot::issuer::IssuerState;
use crate::snapshot::own::{Content, OwnDocument, OwnDocuments};
use crate::snapshot::{Listener, Response, Route, SAID_BY_US, Signing, Snapshot, TokenRule};
use crate::upstream;

/// What lives longer than one configuration.
#[derive(Debug)]
pub struct Carried {
    workers: usize,
    client: Client,
    epoch: u64,
    issuers: HashMap<Arc<str>, Issuer>,
    upstreams: HashMap<Arc<str>, Arc<upstream::Client>>,
    /// The secret where the cluster has none.
    own: Secret,
    keyring: Option<Arc<Keyring>>,
}

#[derive(Debug)]
struct Issuer {
    state: Arc<IssuerState>,
    settings: jwks::Settings,
    task: JoinHandle<()>,
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.task.abort();
        self.state.retire();
    }
}

impl Carried {
    /// Nothing yet. `workers` is how many runtimes send requests; `client` fetches keys; `own` is the secret of this node
    /// where the configuration names none for the cluster.
    pub fn new(workers: usize, client: Client, own: Secret) -> Self {
        Self {
            workers,
            client,
            epoch: 0,
            issuers: HashMap::new(),
            upstreams: HashMap::new(),
            own,
            keyring: None,
        }
    }

    /// The snapshot of `config`, taken at `now`. Starts to fetch keys of issuers that are new or changed, and forgets those that are
    /// gone; must be called on the runtime that shall fetch.
    pub fn build(&mut self, config: &Config, now: UnixTime) -> Snapshot {
        self.epoch += 1;
        let mut issuers = HashMap::new();
        for one in &config.issuers {
            let issuer = self.issuer(one);
            issuers.insert(Arc::clone(&one.rules.name), issuer);
        }
        // What is left of the old ones is dropped here, with its task.
        self.issuers = issuers;
        let upstreams: Vec<_> = config
            .upstreams
            .iter()
            .map(|one| match self.upstreams.get(&one.name) {
                Some(old) if old.config() == one => Arc::clone(old),
                _ => Arc::new(upstream::Client::new(one.clone(), self.workers)),
            })
            .collect();
        self.upstreams = upstreams
            .iter()
            .map(|one| (Arc::clone(&one.config().name), Arc::clone(one)))
            .collect();
        let issuers: Vec<_> = config
            .issuers
            .iter()
            .filter_map(|one| self.issuers.get(&one.rules.name))
            .map(|issuer| Arc::clone(&issuer.state))
            .collect();

        let keyring = self.keyring(config, now);
        // One list for all listeners: a header that one of them vouches for is believed by the API behind all.
        let managed = Arc::new(managed(config));
        let listeners = config
            .listeners
            .iter()
            .map(|one| {
                Arc::new(listener(
                    one,
                    &managed,
                    &issuers,
                    &upstreams,
                    &config.assertions,
                    &keyring,
                ))
            })
            .collect();
        Snapshot {
            epoch: self.epoch,
            listeners,
            issuers,
            upstreams,
            keyring,
        }
    }

    /// Keys outlive a reload, and their publication a change of the secret.
    fn keyring(&mut self, config: &Config, now: UnixTime) -> Arc<Keyring> {
        let (secret, owner) = match &config.cluster {
            Some(secret) => (secret, Owner::Cluster),
            None => (&self.own, Owner::Node),
        };
        let keyring = match &self.keyring {
            Some(old) if old.is_of(secret, owner) => Arc::clone(old),
            Some(old) => Arc::new(old.replaced(secret.clone(), owner, now)),
            None => Arc::new(Keyring::new(secret.clone(), owner)),
        };
        self.keyring = Some(Arc::clone(&keyring));
        keyring
    }

    fn issuer(&mut self, config: &IssuerConfig) -> Issuer {
        let settings = settings(config);
        let old = match self.issuers.remove(&config.rules.name) {
            Some(old)
                if old.settings == settings
                    && *old.state.rules == *config.rules
                    && !old.task.is_finished() =>
            {
                return old;
            }
            other => other,
        };
        // A set that is part of the configuration cannot go stale.
        let max_stale =
            (!matches!(config.source, KeySource::Inline(_))).then_some(config.keys.max_stale);
        let rules = Arc::clone(&config.rules);
        let mut state = IssuerState::new(rules, max_stale, config.keys.unknown_kid_cooldown)
            .with_source(settings.source.to_string());
        if let Some(old) = &old
            && old.settings.source == settings.source
            && old.state.rules.issuer == config.rules.issuer
            && allows(&settings.limits, &old.settings.limits)
        {
            state = state.with_keys_of(&old.state);
        }
        let state = Arc::new(state);
        let task = jwks::keep(Arc::clone(&state), settings.clone(), self.client.clone());
        Issuer {
            state,
            settings,
            task: tokio::spawn(task),
        }
    }
}

/// Whether `new` allows what `old` did: keys that came by a way that is closed now are not kept.
fn allows(new: &Limits, old: &Limits) -> bool {
    (new.allow_http || !old.allow_http) && (new.allow_private || !old.allow_private)
}

/// Every name that no client may say on any listener.
pub fn managed(config: &Config) -> ManagedNames {
    let routes = config
        .listeners
        .iter()
        .flat_map(|listener| &listener.routes);
    let injected = routes
        .flat_map(|route| &route.inject)
        .filter_map(|injection| std::str::from_utf8(&injection.name).ok());
    ManagedNames::new(injected.chain(SAID_BY_US))
}

fn settings(config: &IssuerConfig) -> jwks::Settings {
    let keys = &config.keys;
    jwks::Settings {
        source: match &config.source {
            KeySource::Discover => jwks::Source::Discover,
            KeySource::Url(url) => jwks::Source::Url(url.clone()),
            KeySource::File(path) => jwks::Source::File(path.clone()),
            KeySource::Inline(document) => jwks::Source::Inline(document.clone()),
        },
        refresh: keys.refresh,
        least: keys.unknown_kid_cooldown,
        limits: jwks::Settings::limits(keys.timeout, keys.allow_http, keys.allow_private),
    }
}

fn listener(
    config: &ListenerConfig,
    managed: &Arc<ManagedNames>,
    issuers: &[Arc<IssuerState>],
    upstreams: &[Arc<upstream::Client>],
    assertions: &[Option<Arc<Rules>>],
    keyring: &Arc<Keyring>,
) -> Listener {
    let matches = config
        .routes
        .iter()
        .map(|route| route.matches.clone())
        .collect();
    let routes: Vec<_> = config
        .routes
        .iter()
        .map(|route| Route {
            name: Arc::clone(&route.name),
            token: route.token.as_ref().map(|rule| TokenRule {
                issuers: rule
                    .issuers
                    .iter()
                    .map(|&index| Arc::clone(&issuers[index]))
                    .collect(),
                sources: rule.sources.clone(),
                required: rule.required,
                forward: rule.forward,
                close_on_expiry: rule.close_on_expiry,
            }),
            require: route.require.clone(),
            inject: InjectSet::new(route.inject.clone()),
            assertion: assertions[route.upstream].clone().map(|rules| Signing {
                rules,
                keyring: Arc::clone(keyring),
            }),
            texts: route.texts.clone(),
            cors: route.cors.clone(),
            challenge: challenge(route),
            response: response(&route.response),
            upstream: Arc::clone(&upstreams[route.upstream]),
        })
        .collect();
    let mut own = OwnDocuments::default();
    if let Some(resource) = &config.resource {
        own.publish(metadata(resource, config, issuers));
    }
    if config.publish_jwks {
        own.publish(keys_of_assertions(keyring));
    }
    let managed_in_trailers = Arc::clone(managed);
    let credentials = credentials(config);
    Listener {
        name: Arc::clone(&config.name),
        table: RouteTable::new(matches),
        has_cors: routes.iter().any(|route| route.cors != Cors::Off),
        routes,
        resource: config.resource.clone(),
        own,
        texts: config.texts.clone(),
        managed: Arc::clone(managed),
        // What a field may not say, a trailer may not say either (RFC 9110, section 6.5.1).
        trailers: Arc::new(move |name| {
            is_never_trailer(name) || managed_in_trailers.matches(name) || credentials.matches(name)
        }),
        forwarders: config.trusted_forwarders.clone(),
        trust_client_cert: config.trust_client_cert,
        forward_client_cert: config
            .tls
            .as_ref()
            .map_or(Forward::None, |tls| tls.forward_client_cert),
        response: response(&config.response),
    }
}

/// What clients that `route` refuses are asked for.
fn challenge(route: &RouteConfig) -> Challenge {
    let sources = route.token.as_ref().map(|rule| rule.sources.as_slice());
    Challenge::new(sources.unwrap_or_default(), &route.require.scopes)
}

/// Clients ask for it after a refusal; what changes with a reload is seen in time.
const METADATA_MAX_AGE: Duration = Duration::from_secs(300);

/// What `resource` says of the routes under its host (RFC 9728); what others ask of tokens is not its to tell.
fn metadata(
    resource: &Resource,
    config: &ListenerConfig,
    issuers: &[Arc<IssuerState>],
) -> OwnDocument {
    let mut offers = Offers::default();
    let served = |route: &&RouteConfig| route.matches.serves(resource.host());
    for route in config.routes.iter().filter(served) {
        let Some(rule) = &route.token else { continue };
        let identifiers = rule.issuers.iter().map(|&at| &*issuers[at].rules.issuer);
        offers.issuers.extend(identifiers);
        offers.sources.extend(&rule.sources);
        let scopes = route.require.scopes.iter().map(String::as_str);
        offers.scopes.extend(scopes);
    }
    OwnDocument {
        path: resource.metadata_path(),
        host: Some(resource.host().to_owned()),
        content_type: "application/json",
        max_age: METADATA_MAX_AGE,
        content: Content::Ready(resource.metadata(offers).into()),
    }
}

fn response(rules: &ResponseRules) -> Response {
    let in_trailers = rules.clone();
    Response {
        rules: rules.clone(),
        trailers: Arc::new(move |name| {
            in_trailers.drops(name)
                || is_hop_by_hop(name)
                || SAID_BY_US
                    .iter()
                    .any(|ours| name.eq_ignore_ascii_case(ours.as_bytes()))
        }),
    }
}

/// What whoever checks assertions needs, and no more than that.
fn keys_of_assertions(keyring: &Arc<Keyring>) -> OwnDocument {
    let keyring = Arc::clone(keyring);
    OwnDocument {
        path: JWKS_PATH.to_owned(),
        host: None,
        content_type: JWKS_TYPE,
        max_age: JWKS_MAX_AGE,
        content: Content::At(Arc::new(move |now| keyring.document(now))),
    }
}

/// Fields that a token may stand in. In a trailer nobody would verify it, and some servers merge trailers into fields.
fn credentials(config: &ListenerConfig) -> ManagedNames {
    let rules = config
        .routes
        .iter()
        .filter_map(|route| route.token.as_ref());
    let headers = rules
        .flat_map(|rule| &rule.sources)
        .filter_map(|source| match source {
            TokenSource::Header { name, .. } => Some(name.as_str()),
            TokenSource::Cookie { .. } | TokenSource::Query { .. } => None,
        });
    ManagedNames::new(headers.chain(["authorization", "cookie"]))
}
