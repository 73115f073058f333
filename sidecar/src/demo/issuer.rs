//! A small OpenID provider: discovery document, key set, tokens. It fails on command.

use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::Response;
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
    failure: Option<Failure>,
    delay: Duration,
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

    /// How often the discovery document was asked for.
    #[must_use]
    pub fn discoveries(&self) -> u64 {
        self.shared.discoveries.load(Ordering::Relaxed)
    }

    /// How often the key set was asked for.
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

async fn answer(shared: Arc<Shared>, path: String) -> Response<Full<Bytes>> {
    let (body, failure, delay) = {
        let state = shared.state();
        let body = match path.as_str() {
            "/.well-known/openid-configuration" => {
                shared.discoveries.fetch_add(1, Ordering::Relaxed);
                Some(json!({ "issuer": state.url, "jwks_uri": format!("{}/jwks.json", state.url) }))
            }
            "/jwks.json" => {
                shared.key_fetches.fetch_add(1, Ordering::Relaxed);
                Some(json!({ "keys": state.published }))
            }
            _ => None,
        };
        (body, state.failure.clone(), state.delay)
    };
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
    match (failure, body) {
        (Some(failure), _) => {
            let mut response = serve::json(failure.status, &Value::Null);
            *response.body_mut() = Full::new(Bytes::from(failure.body));
            response
        }
        (None, Some(body)) => serve::json(200, &body),
        (None, None) => serve::json(404, &json!({ "error": "no such document" })),
    }
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
