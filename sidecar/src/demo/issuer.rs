//! A small OpenID provider: discovery document, key set, tokens. It fails on command.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::Response;
use hyper::header::{self, HeaderName, HeaderValue};
use serde_json::{Value, json};

use super::serve::{self, Server};

mod token;

pub use token::{IssuerError, SigningKey, Token, forge_subject};

/// A provider at a loopback or lab address, with no keys yet.
pub struct Issuer {
    url: String,
    server: Server,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    discoveries: AtomicU64,
    key_fetches: AtomicU64,
}

#[derive(Default)]
struct State {
    url: String,
    published: Vec<Value>,
    key_set_url: Option<String>,
    failure: Option<Failure>,
    delay: Duration,
    redirect: Option<String>,
    fields: Vec<(HeaderName, HeaderValue)>,
}

/// How the provider is to fail: the answer to every request.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The status.
    pub status: u16,
    /// The body, whatever it is.
    pub body: String,
}

impl Issuer {
    /// Serves `listener`; the issuer's name is `http://ADDRESS`.
    ///
    /// # Errors
    /// When its thread cannot be started.
    pub fn start(listener: TcpListener) -> Result<Self, IssuerError> {
        let url = format!("http://{}", listener.local_addr()?);
        let shared = Arc::new(Shared::default());
        shared.state().url.clone_from(&url);
        let for_requests = Arc::clone(&shared);
        let server = Server::start("issuer", listener, move |request| {
            answer(Arc::clone(&for_requests), request.uri().path().to_owned())
        })?;
        Ok(Self {
            url,
            server,
            shared,
        })
    }

    /// The issuer's name: what `iss` says and what the configuration says.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Publishes these keys and no others: a rotation, in one step.
    pub fn publish<'a>(&self, keys: impl IntoIterator<Item = &'a SigningKey>) {
        self.publish_raw(keys.into_iter().map(|key| key.jwk().clone()).collect());
    }

    /// Publishes key set entries as they are, well-formed or not.
    pub fn publish_raw(&self, keys: Vec<Value>) {
        self.shared.state().published = keys;
    }

    /// Fails every request from now on, or stops failing.
    pub fn fail(&self, failure: Option<Failure>) {
        self.shared.state().failure = failure;
    }

    /// Lets every request from now on wait this long for its answer.
    pub fn delay(&self, delay: Duration) {
        self.shared.state().delay = delay;
    }

    /// Redirects requests for the key set to this location (307) from now on, or serves them again.
    pub fn redirect(&self, location: Option<&str>) {
        self.shared.state().redirect = location.map(ToOwned::to_owned);
    }

    /// Names this `jwks_uri` in the discovery document from now on, or its own again.
    pub fn name_key_set(&self, url: Option<&str>) {
        self.shared.state().key_set_url = url.map(ToOwned::to_owned);
    }

    /// Sends these fields with every answer from now on, and no others of the same name: a `Date` of another time, a
    /// `Cache-Control`.
    ///
    /// # Errors
    /// When one of them is no field.
    pub fn send_fields(&self, fields: &[(&str, &str)]) -> Result<(), IssuerError> {
        let fields = fields.iter().map(|(name, value)| {
            let name = name.parse::<HeaderName>().map_err(io::Error::other)?;
            let value = value.parse::<HeaderValue>().map_err(io::Error::other)?;
            Ok((name, value))
        });
        self.shared.state().fields = fields.collect::<io::Result<_>>()?;
        Ok(())
    }

    /// How often the discovery document was asked for.
    #[must_use]
    pub fn discoveries(&self) -> u64 {
        self.shared.discoveries.load(Ordering::Relaxed)
    }

    /// How often the key set was asked for, redirected requests included.
    #[must_use]
    pub fn key_fetches(&self) -> u64 {
        self.shared.key_fetches.load(Ordering::Relaxed)
    }

    /// A token of this issuer for `subject` and `audience`, issued now, good for an hour.
    #[must_use]
    pub fn token(&self, subject: &str, audience: &str) -> Token {
        Token::new(&self.url, subject, audience)
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where the key set is, and where it may be said to have moved to.
const KEY_SETS: [&str; 2] = ["/jwks.json", "/moved.json"];

async fn answer(shared: Arc<Shared>, path: String) -> Response<Full<Bytes>> {
    let (mut response, fields, delay) = {
        let state = shared.state();
        let is_key_set = KEY_SETS.contains(&path.as_str());
        let body = if is_key_set {
            shared.key_fetches.fetch_add(1, Ordering::Relaxed);
            Some(json!({ "keys": state.published }))
        } else if path == "/.well-known/openid-configuration" {
            shared.discoveries.fetch_add(1, Ordering::Relaxed);
            let own = || format!("{}{}", state.url, KEY_SETS[0]);
            let url = state.key_set_url.clone().unwrap_or_else(own);
            Some(json!({ "issuer": state.url, "jwks_uri": url }))
        } else {
            None
        };
        let response = match (&state.failure, &state.redirect, body) {
            (Some(failure), _, _) => {
                let mut response = serve::json(failure.status, &Value::Null);
                *response.body_mut() = Full::new(Bytes::from(failure.body.clone()));
                response
            }
            // What has moved is served where it is now.
            (None, Some(location), _) if is_key_set && *location != path => redirect(location),
            (None, _, Some(body)) => serve::json(200, &body),
            (None, _, None) => serve::json(404, &json!({ "error": "no such document" })),
        };
        (response, state.fields.clone(), state.delay)
    };
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
    for (name, value) in fields {
        response.headers_mut().insert(name, value);
    }
    response
}

fn redirect(location: &str) -> Response<Full<Bytes>> {
    let mut response = serve::json(307, &Value::Null);
    if let Ok(location) = location.parse() {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::Algorithm;

    use super::*;

    fn issuer() -> Issuer {
        Issuer::start(TcpListener::bind("127.0.0.1:0").unwrap()).unwrap()
    }

    #[test]
    fn it_publishes_rotates_and_fails_on_command() {
        let issuer = issuer();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let ask = |path: &str| {
            let response = runtime.block_on(answer(Arc::clone(&issuer.shared), path.to_owned()));
            let status = response.status().as_u16();
            let body = runtime.block_on(http_body_util::BodyExt::collect(response.into_body()));
            (
                status,
                String::from_utf8(body.unwrap().to_bytes().to_vec()).unwrap(),
            )
        };
        let (status, discovery) = ask("/.well-known/openid-configuration");
        assert_eq!(status, 200);
        let discovery: Value = serde_json::from_str(&discovery).unwrap();
        assert_eq!(discovery["issuer"], issuer.url());
        assert_eq!(discovery["jwks_uri"], format!("{}/jwks.json", issuer.url()));

        let keys = ["a", "b"].map(|kid| SigningKey::generate(kid, Algorithm::ES256).unwrap());
        issuer.publish(&keys[..1]);
        assert!(ask("/jwks.json").1.contains("\"kid\":\"a\""));
        issuer.publish(&keys[1..]);
        let (_, rotated) = ask("/jwks.json");
        assert!(rotated.contains("\"kid\":\"b\"") && !rotated.contains("\"kid\":\"a\""));
        assert_eq!(issuer.key_fetches(), 2);

        issuer.fail(Some(Failure {
            status: 503,
            body: "<html>".to_owned(),
        }));
        assert_eq!(ask("/jwks.json"), (503, "<html>".to_owned()));
        issuer.fail(None);
        assert_eq!(ask("/jwks.json").0, 200);
        assert_eq!(ask("/elsewhere").0, 404);
    }
}
