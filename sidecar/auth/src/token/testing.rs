//! Keys made in the process, and tokens signed with them; for tests of this crate alone.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::EncodingKey;
use serde_json::{Value, json};

use super::jwt::{Candidate, DEFAULT_MAX_BYTES, Issuer, Keys, TokenType};
use super::keys::{Algorithm, KeySet};
use crate::time::UnixTime;

/// The time in every test.
pub(crate) const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);

pub(crate) enum Pair {
    Rsa(RsaKeyPair),
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
    Secret(Vec<u8>),
}

/// A key pair with a name, bound to an algorithm.
pub(crate) struct Signer {
    pub(crate) algorithm: Algorithm,
    pub(crate) kid: &'static str,
    /// For jsonwebtoken.
    pub(crate) encoding: EncodingKey,
    pair: Pair,
}

impl Signer {
    pub(crate) fn new(algorithm: Algorithm, kid: &'static str) -> Self {
        let (pair, encoding) = match algorithm {
            Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => {
                let mut secret = vec![0; 64];
                aws_lc_rs::rand::fill(&mut secret).unwrap();
                let key = EncodingKey::from_secret(&secret);
                (Pair::Secret(secret), key)
            }
            Algorithm::ES256 | Algorithm::ES384 | Algorithm::ES512 => {
                let curve = match algorithm {
                    Algorithm::ES256 => &signature::ECDSA_P256_SHA256_FIXED_SIGNING,
                    Algorithm::ES384 => &signature::ECDSA_P384_SHA384_FIXED_SIGNING,
                    _ => &signature::ECDSA_P521_SHA512_FIXED_SIGNING,
                };
                let pair = EcdsaKeyPair::generate(curve).unwrap();
                let der = pair.to_pkcs8v1().unwrap();
                (Pair::Ec(pair), EncodingKey::from_ec_der(der.as_ref()))
            }
            Algorithm::EdDSA => {
                let pair = Ed25519KeyPair::generate().unwrap();
                let key =
                    EncodingKey::from_ed_pem(&pem(pair.to_pkcs8v1().unwrap().as_ref())).unwrap();
                (Pair::Ed(pair), key)
            }
            _ => {
                let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
                let key = EncodingKey::from_rsa_pem(&pem(pair.as_der().unwrap().as_ref())).unwrap();
                (Pair::Rsa(pair), key)
            }
        };
        Self {
            algorithm,
            kid,
            encoding,
            pair,
        }
    }

    /// The public key (of HS*, the secret), with its `kid` and `alg`.
    pub(crate) fn jwk(&self) -> Value {
        if let (Algorithm::ES512, Pair::Ec(pair)) = (self.algorithm, &self.pair) {
            // Which jsonwebtoken does not know.
            let point = pair.public_key().as_ref();
            return json!({
                "kty": "EC", "crv": "P-521", "x": b64(&point[1..67]), "y": b64(&point[67..]),
                "kid": self.kid, "alg": "ES512",
            });
        }
        let oracle = self.algorithm.name().parse().unwrap();
        let jwk = jsonwebtoken::jwk::Jwk::from_encoding_key(&self.encoding, oracle).unwrap();
        let mut jwk = serde_json::to_value(jwk).unwrap();
        jwk["kid"] = self.kid.into();
        jwk
    }

    /// The public key as X.509 writes it (RFC 5280 section 4.1.2.7), in DER; of RSA and EC alone.
    pub(crate) fn spki(&self) -> Vec<u8> {
        match &self.pair {
            Pair::Rsa(pair) => AsDer::<PublicKeyX509Der<'_>>::as_der(pair.public_key())
                .unwrap()
                .as_ref()
                .to_vec(),
            Pair::Ec(pair) => AsDer::<PublicKeyX509Der<'_>>::as_der(pair.public_key())
                .unwrap()
                .as_ref()
                .to_vec(),
            Pair::Ed(_) | Pair::Secret(_) => panic!("no key of RSA or EC"),
        }
    }

    /// The public key with some members replaced; `null` removes one.
    pub(crate) fn jwk_with(&self, changes: &Value) -> Value {
        merged(self.jwk(), changes)
    }

    /// A token of this key: [`payload`] with `changes`.
    pub(crate) fn token(&self, changes: &Value) -> String {
        self.token_with(&json!({}), changes)
    }

    /// A token with changes to its header and to its payload.
    pub(crate) fn token_with(&self, header: &Value, changes: &Value) -> String {
        let header = merged(
            json!({"alg": self.algorithm.name(), "kid": self.kid, "typ": "JWT"}),
            header,
        );
        self.token_of(&header.to_string(), &merged(payload(), changes).to_string())
    }

    /// A token of any texts, signed with this key's algorithm.
    pub(crate) fn token_of(&self, header: &str, payload: &str) -> String {
        let signed = format!("{}.{}", b64(header), b64(payload));
        let signature = self.sign(self.algorithm, signed.as_bytes());
        format!("{signed}.{}", b64(signature))
    }

    pub(crate) fn sign(&self, algorithm: Algorithm, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Ec(pair) => pair.sign(&random, message).unwrap().as_ref().to_vec(),
            Pair::Ed(pair) => pair.sign(message).as_ref().to_vec(),
            Pair::Secret(secret) => {
                let digest = match algorithm {
                    Algorithm::HS256 => hmac::HMAC_SHA256,
                    Algorithm::HS384 => hmac::HMAC_SHA384,
                    _ => hmac::HMAC_SHA512,
                };
                hmac::sign(&hmac::Key::new(digest, secret), message)
                    .as_ref()
                    .to_vec()
            }
            Pair::Rsa(pair) => {
                let encoding = match algorithm {
                    Algorithm::RS256 => &signature::RSA_PKCS1_SHA256,
                    Algorithm::RS384 => &signature::RSA_PKCS1_SHA384,
                    Algorithm::RS512 => &signature::RSA_PKCS1_SHA512,
                    Algorithm::PS256 => &signature::RSA_PSS_SHA256,
                    Algorithm::PS384 => &signature::RSA_PSS_SHA384,
                    _ => &signature::RSA_PSS_SHA512,
                };
                let mut out = vec![0; pair.public_modulus_len()];
                pair.sign(encoding, &random, message, &mut out).unwrap();
                out
            }
        }
    }
}

/// The payload of a good token.
pub(crate) fn payload() -> Value {
    json!({
        "iss": "https://login.example.com", "aud": "orders-api", "sub": "u1", "scope": "orders:read",
        "exp": NOW.as_secs() + 300, "iat": NOW.as_secs() - 10,
    })
}

/// The rule that accepts it: every algorithm but the symmetric ones, no skew.
pub(crate) fn issuer() -> Issuer {
    Issuer {
        name: "corp".into(),
        issuer: "https://login.example.com".into(),
        audiences: vec!["orders-api".into()],
        algorithms: Algorithm::ALL
            .into_iter()
            .filter(|algorithm| !algorithm.is_symmetric())
            .collect(),
        clock_skew: Duration::ZERO,
        token_type: TokenType::Any,
        max_bytes: DEFAULT_MAX_BYTES,
    }
}

pub(crate) fn jwks(keys: &[Value]) -> Vec<u8> {
    json!({ "keys": keys }).to_string().into_bytes()
}

pub(crate) fn key_set(keys: &[Value]) -> KeySet {
    KeySet::from_local_jwks(&jwks(keys)).unwrap()
}

pub(crate) fn candidate<'a>(issuer: &'a Arc<Issuer>, set: &'a KeySet) -> Candidate<'a> {
    Candidate {
        issuer,
        keys: Keys::Ready { set, generation: 1 },
        epoch: 1,
    }
}

pub(crate) fn merged(mut value: Value, changes: &Value) -> Value {
    for (name, change) in changes.as_object().unwrap() {
        if change.is_null() {
            value.as_object_mut().unwrap().remove(name);
        } else {
            value[name] = change.clone();
        }
    }
    value
}

pub(crate) fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn pem(der: &[u8]) -> Vec<u8> {
    let mut out = String::from("-----BEGIN PRIVATE KEY-----\n");
    for line in STANDARD.encode(der).as_bytes().chunks(64) {
        out.push_str(std::str::from_utf8(line).unwrap());
        out.push('\n');
    }
    out.push_str("-----END PRIVATE KEY-----\n");
    out.into_bytes()
}
