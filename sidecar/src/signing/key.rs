//! A private key: made, published, signed with.

use std::fmt;

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use jsonwebtoken::jwk::{Jwk, ThumbprintHash};
use rcgen::KeyPair;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::{Map, Value, json};
use thiserror::Error;
use tollgate_auth::token::{Algorithm, Algorithms};

/// A private key, or a shared secret.
pub enum PrivateKey {
    /// RSA, 2048 to 8192 bits.
    Rsa(Box<RsaKeyPair>),
    /// An elliptic curve and its one algorithm.
    Ec(Algorithm, Box<EcdsaKeyPair>),
    /// Ed25519.
    Ed(Ed25519KeyPair),
    /// A secret of at least 32 bytes: whoever can check its tokens can make them.
    Secret(Vec<u8>),
}

/// A fresh key, and the text of the file that keeps it.
pub struct Generated {
    /// The key.
    pub key: PrivateKey,
    /// PKCS #8 as PEM; of a secret, a JWK set of one key. Secret in either case.
    pub file: String,
}

/// Why a key could not be made, or a token not be signed.
#[derive(Debug, Error)]
pub enum SignError {
    /// The key is of another type.
    #[error("{algorithm} does not fit the key, which can do {fitting}")]
    Unfit {
        /// The algorithm asked for.
        algorithm: Algorithm,
        /// What the key can do.
        fitting: Algorithms,
    },
    /// The cryptography failed: of memory or of entropy.
    #[error("the cryptographic library failed: {0}")]
    Library(String),
}

impl PrivateKey {
    /// A fresh key for `algorithm`. RSA keys have 2048 bits, secrets 64 bytes. `kid` goes into the file where its format
    /// has a place for it: that of a secret.
    ///
    /// # Errors
    /// When the library has no memory or no entropy.
    pub fn generate(algorithm: Algorithm, kid: Option<&str>) -> Result<Generated, SignError> {
        let kind = match algorithm {
            Algorithm::RS256 | Algorithm::PS256 => &rcgen::PKCS_RSA_SHA256,
            Algorithm::RS384 | Algorithm::PS384 => &rcgen::PKCS_RSA_SHA384,
            Algorithm::RS512 | Algorithm::PS512 => &rcgen::PKCS_RSA_SHA512,
            Algorithm::ES256 => &rcgen::PKCS_ECDSA_P256_SHA256,
            Algorithm::ES384 => &rcgen::PKCS_ECDSA_P384_SHA384,
            Algorithm::ES512 => &rcgen::PKCS_ECDSA_P521_SHA512,
            Algorithm::EdDSA => &rcgen::PKCS_ED25519,
            Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => {
                let mut secret = vec![0; 64];
                aws_lc_rs::rand::fill(&mut secret).map_err(library)?;
                let mut jwk =
                    json!({ "kty": "oct", "k": encode(&secret), "alg": algorithm.name() });
                if let Some(kid) = kid {
                    jwk["kid"] = json!(kid);
                }
                return Ok(Generated {
                    key: Self::Secret(secret),
                    file: format!("{:#}\n", json!({ "keys": [jwk] })),
                });
            }
        };
        let file = KeyPair::generate_for(kind)
            .map_err(library)?
            .serialize_pem();
        let der = PrivateKeyDer::from_pem_slice(file.as_bytes()).map_err(library)?;
        let key =
            Self::from_der(&der).ok_or_else(|| library("it does not read the key that it made"))?;
        Ok(Generated { key, file })
    }

    /// A key in PKCS #8, PKCS #1 (RSA) or SEC 1 (EC). None if it is of no type of [`PrivateKey`], or broken.
    pub(super) fn from_der(der: &PrivateKeyDer<'_>) -> Option<Self> {
        // Each parser refuses what is of another type or curve.
        let bytes = der.secret_der();
        let rsa = match der {
            PrivateKeyDer::Pkcs1(_) => RsaKeyPair::from_der(bytes),
            _ => RsaKeyPair::from_pkcs8(bytes),
        };
        if let Ok(pair) = rsa {
            return Some(Self::Rsa(Box::new(pair)));
        }
        if let Ok(pair) = Ed25519KeyPair::from_pkcs8(bytes) {
            return Some(Self::Ed(pair));
        }
        CURVES.iter().find_map(|curve| {
            let pair = EcdsaKeyPair::from_private_key_der(curve.signing, bytes).ok()?;
            Some(Self::Ec(curve.algorithm, Box::new(pair)))
        })
    }

    /// What the key can do; never empty. A secret must be as long as the hash (RFC 7518 section 3.2).
    #[must_use]
    pub fn algorithms(&self) -> Algorithms {
        let secret = [
            (Algorithm::HS256, 32),
            (Algorithm::HS384, 48),
            (Algorithm::HS512, 64),
        ];
        match self {
            Self::Rsa(_) => RSA.into_iter().map(|(algorithm, _)| algorithm).collect(),
            Self::Ec(algorithm, _) => [*algorithm].into_iter().collect(),
            Self::Ed(_) => [Algorithm::EdDSA].into_iter().collect(),
            Self::Secret(bytes) => secret
                .into_iter()
                .filter(|&(_, least)| bytes.len() >= least)
                .map(|(algorithm, _)| algorithm)
                .collect(),
        }
    }

    /// The public half as a JWK (RFC 7517) without `kid`, `alg` and `use`. None for a secret, which has none.
    fn public_jwk(&self) -> Option<Value> {
        match self {
            Self::Rsa(pair) => {
                let public = DecodingKey::from_rsa_der(pair.public_key().as_ref());
                let jwk = Jwk::from_decoding_key(&public, None).ok()?;
                serde_json::to_value(jwk.algorithm).ok()
            }
            Self::Ec(algorithm, pair) => {
                let curve = CURVES.iter().find(|curve| curve.algorithm == *algorithm)?;
                // SEC 1: 0x04, x, y, each as long as the field.
                let point = pair.public_key().as_ref().get(1..)?;
                let (x, y) = point.split_at(point.len() / 2);
                Some(json!({ "kty": "EC", "crv": curve.name, "x": encode(x), "y": encode(y) }))
            }
            Self::Ed(pair) => {
                let x = encode(pair.public_key().as_ref());
                Some(json!({ "kty": "OKP", "crv": "Ed25519", "x": x }))
            }
            Self::Secret(_) => None,
        }
    }

    /// The public half as it is published: with its name, its algorithm and its use. None for a secret.
    #[must_use]
    pub fn published(&self, kid: Option<&str>, algorithm: Algorithm) -> Option<Value> {
        let mut jwk = self.public_jwk()?;
        if let Some(kid) = kid {
            jwk["kid"] = json!(kid);
        }
        jwk["alg"] = json!(algorithm.name());
        jwk["use"] = json!("sig");
        Some(jwk)
    }

    /// The SHA-256 thumbprint of the public half (RFC 7638). None for a secret: a hash of it would help to guess it.
    #[must_use]
    pub fn thumbprint(&self) -> Option<String> {
        let jwk: Jwk = serde_json::from_value(self.public_jwk()?).ok()?;
        jwk.thumbprint(ThumbprintHash::SHA256).ok()
    }

    /// A token (RFC 7515, compact): `header` and `claims` as they are, signed by `algorithm`, whatever `alg` the header
    /// names.
    ///
    /// # Errors
    /// When the key cannot do the algorithm.
    pub fn token(
        &self,
        algorithm: Algorithm,
        header: &Map<String, Value>,
        claims: &Map<String, Value>,
    ) -> Result<String, SignError> {
        let part = |part: &Map<String, Value>| encode(&json!(part).to_string());
        let signed = format!("{}.{}", part(header), part(claims));
        let signature = self.sign(algorithm, signed.as_bytes())?;
        Ok(format!("{signed}.{}", encode(&signature)))
    }

    fn sign(&self, algorithm: Algorithm, message: &[u8]) -> Result<Vec<u8>, SignError> {
        let fitting = self.algorithms();
        let unfit = || SignError::Unfit { algorithm, fitting };
        if !fitting.contains(algorithm) {
            return Err(unfit());
        }
        let random = SystemRandom::new();
        match self {
            Self::Rsa(pair) => {
                let padding = RSA.into_iter().find(|(known, _)| *known == algorithm);
                let (_, padding) = padding.ok_or_else(unfit)?;
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(padding, &random, message, &mut signature)
                    .map_err(library)?;
                Ok(signature)
            }
            Self::Ec(_, pair) => {
                let signature = pair.sign(&random, message).map_err(library)?;
                Ok(signature.as_ref().to_vec())
            }
            Self::Ed(pair) => {
                let signature = pair.try_sign(message).map_err(library)?;
                Ok(signature.as_ref().to_vec())
            }
            Self::Secret(secret) => {
                let digest = match algorithm {
                    Algorithm::HS384 => hmac::HMAC_SHA384,
                    Algorithm::HS512 => hmac::HMAC_SHA512,
                    _ => hmac::HMAC_SHA256,
                };
                let tag = hmac::sign(&hmac::Key::new(digest, secret), message);
                Ok(tag.as_ref().to_vec())
            }
        }
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey({})", self.algorithms())
    }
}

impl fmt::Debug for Generated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Generated").field(&self.key).finish()
    }
}

/// A curve of RFC 7518 section 6.2.1.1.
pub(super) struct Curve {
    pub(super) name: &'static str,
    pub(super) algorithm: Algorithm,
    pub(super) signing: &'static signature::EcdsaSigningAlgorithm,
}

pub(super) static CURVES: [Curve; 3] = [
    Curve {
        name: "P-256",
        algorithm: Algorithm::ES256,
        signing: &signature::ECDSA_P256_SHA256_FIXED_SIGNING,
    },
    Curve {
        name: "P-384",
        algorithm: Algorithm::ES384,
        signing: &signature::ECDSA_P384_SHA384_FIXED_SIGNING,
    },
    Curve {
        name: "P-521",
        algorithm: Algorithm::ES512,
        signing: &signature::ECDSA_P521_SHA512_FIXED_SIGNING,
    },
];

const RSA: [(Algorithm, &'static dyn signature::RsaEncoding); 6] = [
    (Algorithm::RS256, &signature::RSA_PKCS1_SHA256),
    (Algorithm::RS384, &signature::RSA_PKCS1_SHA384),
    (Algorithm::RS512, &signature::RSA_PKCS1_SHA512),
    (Algorithm::PS256, &signature::RSA_PSS_SHA256),
    (Algorithm::PS384, &signature::RSA_PSS_SHA384),
    (Algorithm::PS512, &signature::RSA_PSS_SHA512),
];

fn encode(bytes: &(impl AsRef<[u8]> + ?Sized)) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn library(error: impl fmt::Display) -> SignError {
    SignError::Library(error.to_string())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use jsonwebtoken::{Validation, decode};
    use tollgate_auth::time::UnixTime;
    use tollgate_auth::token::{Candidate, Issuer, KeySet, Keys, TokenType, verify};

    use super::*;

    const NOW: u64 = 1_800_000_000;

    #[test]
    fn tokens_of_every_algorithm_verify_by_the_published_key_and_no_other() {
        for algorithm in Algorithm::ALL {
            let [key, stranger] =
                [(); 2].map(|()| PrivateKey::generate(algorithm, Some("k")).unwrap());
            let [own, foreign] = [&key, &stranger].map(|made| token(&made.key, algorithm));
            let jwk = key.key.published(Some("k"), algorithm);
            // A secret is published by nobody; the operator writes it down.
            let jwk = jwk.unwrap_or_else(|| {
                serde_json::from_str::<Value>(&key.file).unwrap()["keys"][0].take()
            });
            assert!(ours(&own, &jwk, algorithm), "{algorithm}");
            assert!(!ours(&foreign, &jwk, algorithm), "{algorithm}");
            // And by others' implementation, which knows all but one.
            let Ok(theirs) = algorithm.name().parse() else {
                assert_eq!(algorithm, Algorithm::ES512);
                continue;
            };
            let public = DecodingKey::from_jwk(&serde_json::from_value(jwk).unwrap()).unwrap();
            let mut validation = Validation::new(theirs);
            validation.set_audience(&["api"]);
            // The oracle has no clock to set.
            validation.validate_exp = false;
            let accepts = |token: &str| decode::<Value>(token, &public, &validation).is_ok();
            assert!(accepts(&own) && !accepts(&foreign), "{algorithm}");
        }
    }

    fn token(key: &PrivateKey, algorithm: Algorithm) -> String {
        let header = json!({ "alg": algorithm.name(), "kid": "k" });
        let claims = json!({ "iss": "corp", "aud": "api", "sub": "alice", "exp": NOW + 60 });
        let [header, claims] = [header, claims].map(|part| part.as_object().cloned().unwrap());
        key.token(algorithm, &header, &claims).unwrap()
    }

    fn ours(token: &str, jwk: &Value, algorithm: Algorithm) -> bool {
        let set = json!({ "keys": [jwk] }).to_string();
        let set = KeySet::from_local_jwks(set.as_bytes()).unwrap();
        let issuer = Arc::new(Issuer {
            name: "corp".into(),
            issuer: "corp".into(),
            audiences: vec!["api".into()],
            algorithms: [algorithm].into_iter().collect(),
            clock_skew: Duration::ZERO,
            token_type: TokenType::Any,
            max_bytes: 16 * 1024,
        });
        let keys = Keys::Ready {
            set: &set,
            generation: 1,
        };
        let candidate = Candidate {
            issuer: &issuer,
            keys,
            epoch: 1,
        };
        verify(token.as_bytes(), &[candidate], UnixTime::from_secs(NOW)).is_ok()
    }

    #[test]
    fn a_key_signs_by_its_own_algorithms_alone() {
        let empty = Map::new();
        for algorithm in Algorithm::ALL {
            let key = PrivateKey::generate(algorithm, None).unwrap().key;
            for asked in Algorithm::ALL {
                let fits = key.algorithms().contains(asked);
                let token = key.token(asked, &empty, &empty);
                assert_eq!(token.is_ok(), fits, "{asked} by a key for {algorithm}");
                if let Err(error) = token {
                    assert!(error.to_string().contains(asked.name()), "{error}");
                }
            }
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        let made = PrivateKey::generate(Algorithm::HS256, None).unwrap();
        assert_eq!(
            format!("{made:?}"),
            "Generated(PrivateKey(HS256, HS384, HS512))"
        );
    }
}
