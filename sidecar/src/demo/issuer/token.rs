//! Keys, and tokens signed with them.

use std::io;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use serde_json::{Map, Value, json};
use thiserror::Error;

use crate::signing::{PrivateKey, SignError};

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
    Sign(#[from] SignError),
}

/// A key pair with its name, and its public half as a JWK.
#[derive(Clone)]
pub struct SigningKey {
    kid: String,
    algorithm: tollgate_auth::token::Algorithm,
    private: Arc<PrivateKey>,
    jwk: Value,
}

impl SigningKey {
    /// A fresh key. RSA keys have 2048 bits.
    ///
    /// # Errors
    /// For algorithms without a public half (HMAC).
    pub fn generate(kid: &str, algorithm: Algorithm) -> Result<Self, IssuerError> {
        let failed = |why: String| IssuerError::Key { algorithm, why };
        let ours = format!("{algorithm:?}").parse();
        let ours: tollgate_auth::token::Algorithm =
            ours.map_err(|error: tollgate_auth::token::AlgorithmError| failed(error.to_string()))?;
        let private = PrivateKey::generate(ours, Some(kid))?.key;
        let jwk = private
            .published(Some(kid), ours)
            .ok_or_else(|| failed("the issuer signs with public-key algorithms only".to_owned()))?;
        Ok(Self {
            kid: kid.to_owned(),
            algorithm: ours,
            private: Arc::new(private),
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
    /// A token of `issuer` for `subject` and `audience`, issued now, good for an hour.
    #[must_use]
    pub fn new(issuer: &str, subject: &str, audience: &str) -> Self {
        let now = now();
        let mut claims = Map::new();
        for (name, value) in [("iss", issuer), ("sub", subject), ("aud", audience)] {
            claims.insert(name.to_owned(), json!(value));
        }
        claims.insert("iat".to_owned(), json!(now));
        claims.insert("exp".to_owned(), json!(now + 3600));
        Self { claims }
    }

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
    /// When the cryptographic library fails.
    pub fn sign(&self, key: &SigningKey) -> Result<String, IssuerError> {
        let header = json!({ "alg": key.algorithm.name(), "typ": "JWT", "kid": key.kid });
        let header = header.as_object().cloned().unwrap_or_default();
        Ok(key.private.token(key.algorithm, &header, &self.claims)?)
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
    use jsonwebtoken::jwk::Jwk;
    use jsonwebtoken::{DecodingKey, Validation, decode};

    use super::*;

    fn verifies(token: &str, key: &SigningKey) -> bool {
        let jwk: Jwk = serde_json::from_value(key.jwk().clone()).unwrap();
        let mut validation = Validation::new(key.algorithm.name().parse().unwrap());
        validation.set_audience(&["api"]);
        decode::<Value>(token, &DecodingKey::from_jwk(&jwk).unwrap(), &validation).is_ok()
    }

    #[test]
    fn tokens_of_every_algorithm_verify_by_their_published_key_and_forgeries_do_not() {
        for algorithm in [
            Algorithm::RS256,
            Algorithm::PS384,
            Algorithm::ES256,
            Algorithm::ES384,
            Algorithm::EdDSA,
        ] {
            let key = SigningKey::generate("k", algorithm).unwrap();
            let token = Token::new("https://issuer.example", "alice", "api")
                .sign(&key)
                .unwrap();
            assert!(verifies(&token, &key), "{algorithm:?}");
            let forged = forge_subject(&token, "admin");
            assert_ne!(forged, token);
            assert!(!verifies(&forged, &key), "{algorithm:?}");
            let stranger = SigningKey::generate("k", algorithm).unwrap();
            let signed_by_stranger = Token::new("https://issuer.example", "alice", "api")
                .sign(&stranger)
                .unwrap();
            assert!(!verifies(&signed_by_stranger, &key), "{algorithm:?}");
        }
        assert!(SigningKey::generate("k", Algorithm::HS256).is_err());
    }
}
