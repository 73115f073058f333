//! A small OpenID provider: discovery document, key set, tokens. It fails on command.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http_body_util::Full;
use hyper::Response;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rcgen::{KeyPair, PublicKeyData as _};
use serde_json::{Map, Value, json};
use thiserror::Error;

use super::serve::{self, Server};

/// Why a key or a token could not be made.
#[derive(Debug, Error)]
pub enum IssuerError {
    /// The server could not be started.
    #[error("the issuer cannot serve: {0}")]
    Serve(#[from] io::Error),
    /// No key of this algorithm could be made.
    #[error("no {algorithm:?} key: {why}")]
    Key {
        /// The algorithm asked for.
        algorithm: Algorithm,
        /// What the cryptography said.
        why: String,
    },
    /// A token could not be signed.
    #[error("a token could not be signed: {0}")]
    Sign(#[from] jsonwebtoken::errors::Error),
}

/// A key pair with its name, and its public half as a JWK.
#[derive(Clone)]
pub struct SigningKey {
    kid: String,
    algorithm: Algorithm,
    private: EncodingKey,
    jwk: Value,
}

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
        self.publish_raw(keys.into_iter().map(|key| key.jwk.clone()).collect());
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
        let now = now();
        let mut claims = Map::new();
        claims.insert("iss".to_owned(), json!(self.url));
        claims.insert("sub".to_owned(), json!(subject));
        claims.insert("aud".to_owned(), json!(audience));
        claims.insert("iat".to_owned(), json!(now));
        claims.insert("exp".to_owned(), json!(now + 3600));
        Token { claims }
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

impl SigningKey {
    /// A fresh key. RSA keys have 2048 bits.
    ///
    /// # Errors
    /// For algorithms that the provider does not offer (HMAC).
    pub fn generate(kid: &str, algorithm: Algorithm) -> Result<Self, IssuerError> {
        let failed = |why: String| IssuerError::Key { algorithm, why };
        let kind = match algorithm {
            Algorithm::RS256 | Algorithm::PS256 => &rcgen::PKCS_RSA_SHA256,
            Algorithm::RS384 | Algorithm::PS384 => &rcgen::PKCS_RSA_SHA384,
            Algorithm::RS512 | Algorithm::PS512 => &rcgen::PKCS_RSA_SHA512,
            Algorithm::ES256 => &rcgen::PKCS_ECDSA_P256_SHA256,
            Algorithm::ES384 => &rcgen::PKCS_ECDSA_P384_SHA384,
            Algorithm::EdDSA => &rcgen::PKCS_ED25519,
            // HMAC: a shared secret has no public half.
            _ => {
                return Err(failed(
                    "the issuer signs with public-key algorithms only".to_owned(),
                ));
            }
        };
        let pair = KeyPair::generate_for(kind).map_err(|error| failed(error.to_string()))?;
        let (private, parameters) = match algorithm {
            Algorithm::ES256 | Algorithm::ES384 => {
                // SEC 1: 0x04, x, y, each as long as the field.
                let point = pair.der_bytes().get(1..).unwrap_or_default();
                let (x, y) = point.split_at(point.len() / 2);
                let curve = if algorithm == Algorithm::ES256 {
                    "P-256"
                } else {
                    "P-384"
                };
                let jwk = json!({
                    "kty": "EC", "crv": curve,
                    "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y),
                });
                (EncodingKey::from_ec_der(pair.serialized_der()), jwk)
            }
            Algorithm::EdDSA => {
                let x = URL_SAFE_NO_PAD.encode(pair.der_bytes());
                let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "x": x });
                (EncodingKey::from_ed_der(pair.serialized_der()), jwk)
            }
            _ => {
                let private = EncodingKey::from_rsa_pem(pair.serialize_pem().as_bytes())?;
                let jwk = Jwk::from_encoding_key(&private, algorithm)?;
                let jwk = serde_json::to_value(jwk).map_err(|error| failed(error.to_string()))?;
                (private, jwk)
            }
        };
        let mut jwk = parameters;
        jwk["kid"] = json!(kid);
        jwk["alg"] = json!(format!("{algorithm:?}"));
        jwk["use"] = json!("sig");
        Ok(Self {
            kid: kid.to_owned(),
            algorithm,
            private,
            jwk,
        })
    }

    /// The key's name.
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The public half as it is published.
    #[must_use]
    pub fn jwk(&self) -> &Value {
        &self.jwk
    }
}

/// The claims of a token that is about to be signed.
#[derive(Clone, Debug)]
pub struct Token {
    claims: Map<String, Value>,
}

impl Token {
    /// Sets a claim, replacing what it was.
    #[must_use]
    pub fn claim(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.claims.insert(name.to_owned(), value.into());
        self
    }

    /// Takes a claim out.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.claims.remove(name);
        self
    }

    /// Lets it expire so many seconds from now; negative: it has expired.
    #[must_use]
    pub fn expires_in(self, seconds: i64) -> Self {
        self.claim("exp", now() + seconds)
    }

    /// Signs it, naming the key in the header.
    ///
    /// # Errors
    /// When the key does not fit its algorithm.
    pub fn sign(&self, key: &SigningKey) -> Result<String, IssuerError> {
        let mut header = Header::new(key.algorithm);
        header.kid = Some(key.kid.clone());
        self.sign_with(&header, key)
    }

    /// Signs it under a header of the caller's choice.
    ///
    /// # Errors
    /// When the key does not fit the header's algorithm.
    pub fn sign_with(&self, header: &Header, key: &SigningKey) -> Result<String, IssuerError> {
        Ok(jsonwebtoken::encode(header, &self.claims, &key.private)?)
    }
}

/// The same token with another subject, under the signature of the first: what a forger without a key can do.
///
/// A text that is no token comes back as it is.
#[must_use]
pub fn forge_subject(token: &str, subject: &str) -> String {
    let parts: Vec<&str> = token.split('.').collect();
    let &[header, payload, signature] = parts.as_slice() else {
        return token.to_owned();
    };
    let claims = URL_SAFE_NO_PAD.decode(payload).ok();
    let Some(Value::Object(mut claims)) =
        claims.and_then(|claims| serde_json::from_slice(&claims).ok())
    else {
        return token.to_owned();
    };
    claims.insert("sub".to_owned(), json!(subject));
    let payload = URL_SAFE_NO_PAD.encode(Value::Object(claims).to_string());
    format!("{header}.{payload}.{signature}")
}

/// Seconds since the epoch.
fn now() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{DecodingKey, Validation, decode};

    use super::*;

    fn issuer() -> Issuer {
        Issuer::start(TcpListener::bind("127.0.0.1:0").unwrap()).unwrap()
    }

    fn verifies(token: &str, key: &SigningKey) -> bool {
        let jwk: Jwk = serde_json::from_value(key.jwk().clone()).unwrap();
        let mut validation = Validation::new(key.algorithm);
        validation.set_audience(&["api"]);
        decode::<Value>(token, &DecodingKey::from_jwk(&jwk).unwrap(), &validation).is_ok()
    }

    #[test]
    fn tokens_of_every_algorithm_verify_by_their_published_key_and_forgeries_do_not() {
        let issuer = issuer();
        for algorithm in [
            Algorithm::RS256,
            Algorithm::PS384,
            Algorithm::ES256,
            Algorithm::ES384,
            Algorithm::EdDSA,
        ] {
            let key = SigningKey::generate("k", algorithm).unwrap();
            let token = issuer.token("alice", "api").sign(&key).unwrap();
            assert!(verifies(&token, &key), "{algorithm:?}");
            let forged = forge_subject(&token, "admin");
            assert_ne!(forged, token);
            assert!(!verifies(&forged, &key), "{algorithm:?}");
            let stranger = SigningKey::generate("k", algorithm).unwrap();
            let signed_by_stranger = issuer.token("alice", "api").sign(&stranger).unwrap();
            assert!(!verifies(&signed_by_stranger, &key), "{algorithm:?}");
        }
        assert!(SigningKey::generate("k", Algorithm::HS256).is_err());
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
