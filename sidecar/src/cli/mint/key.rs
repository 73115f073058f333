//! Private keys: read, made, and signed with.

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rand::{self, SystemRandom};
use aws_lc_rs::rsa::{KeyPairComponents, KeySize, PublicKeyComponents};
use aws_lc_rs::signature::{
    self, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _, RsaEncoding,
    RsaKeyPair,
};
use aws_lc_rs::{digest, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::EncodingKey;
use jsonwebtoken::jwk::Jwk;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::{Value, json};
use thiserror::Error;
use tollgate_auth::token::Algorithm;

/// What is wrong with a key.
#[derive(Debug, Error)]
pub enum KeyError {
    /// Neither of the two forms.
    #[error("neither a PEM private key nor a JWK")]
    Form,
    /// A public key, or a broken one.
    #[error("no usable private key of type {0}: is its private half there?")]
    Unusable(String),
    /// Its type is unknown.
    #[error("keys of type {0} are not known; there are RSA, EC, OKP (Ed25519) and oct")]
    Kind(String),
    /// The key cannot do that.
    #[error("{asked} cannot be signed with this key; it is for {fits}")]
    Algorithm {
        /// What was asked for.
        asked: Algorithm,
        /// What it can do.
        fits: String,
    },
    /// The cryptography refused.
    #[error("it cannot be made or signed with")]
    Crypto,
}

impl From<aws_lc_rs::error::Unspecified> for KeyError {
    fn from(_: aws_lc_rs::error::Unspecified) -> Self {
        Self::Crypto
    }
}

/// A private key, with what its JWK says of it.
pub(super) struct Key {
    pair: Pair,
    kid: Option<String>,
    named: Option<Algorithm>,
}

enum Pair {
    Rsa(RsaKeyPair),
    Ec(&'static Curve, EcdsaKeyPair),
    Ed(Ed25519KeyPair),
    Secret(Vec<u8>),
}

struct Curve {
    name: &'static str,
    algorithm: Algorithm,
    signing: &'static EcdsaSigningAlgorithm,
}

static CURVES: [Curve; 3] = [
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

const RSA: [Algorithm; 6] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
];
const SECRET: [Algorithm; 3] = [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512];

impl Key {
    /// A new key, and what its file says. RSA keys have 2048 bits, secrets 512.
    pub(super) fn generate(algorithm: Algorithm) -> Result<(Self, String), KeyError> {
        let curve = CURVES.iter().find(|curve| curve.algorithm == algorithm);
        let (pair, file) = match (algorithm, curve) {
            (_, Some(curve)) => {
                let pair = EcdsaKeyPair::generate(curve.signing)?;
                let file = pem(pair.to_pkcs8v1()?.as_ref());
                (Pair::Ec(curve, pair), file)
            }
            (Algorithm::EdDSA, None) => {
                let pair = Ed25519KeyPair::generate()?;
                let file = pem(pair.to_pkcs8v1()?.as_ref());
                (Pair::Ed(pair), file)
            }
            (symmetric, None) if symmetric.is_symmetric() => {
                let mut secret = vec![0; 64];
                rand::fill(&mut secret)?;
                (Pair::Secret(secret), String::new())
            }
            (_, None) => {
                let pair = RsaKeyPair::generate(KeySize::Rsa2048)?;
                let file = pem(pair.as_der()?.as_ref());
                (Pair::Rsa(pair), file)
            }
        };
        let key = Self {
            pair,
            kid: None,
            named: Some(algorithm),
        };
        let file = match &key.pair {
            // A secret has no PEM form.
            Pair::Secret(_) => format!("{:#}\n", key.published(algorithm, None)?),
            _ => file,
        };
        Ok((key, file))
    }

    /// Reads PEM or JWK.
    pub(super) fn read(document: &[u8]) -> Result<Self, KeyError> {
        if let Ok(jwk @ Value::Object(_)) = serde_json::from_slice(document) {
            return Self::from_jwk(&jwk);
        }
        let unusable = |kind: &str| KeyError::Unusable(kind.to_owned());
        let der = PrivateKeyDer::from_pem_slice(document).map_err(|_| KeyError::Form)?;
        let pair = match &der {
            PrivateKeyDer::Pkcs1(der) => RsaKeyPair::from_der(der.secret_pkcs1_der())
                .map(Pair::Rsa)
                .map_err(|_| unusable("RSA"))?,
            PrivateKeyDer::Sec1(der) => ec(der.secret_sec1_der()).ok_or_else(|| unusable("EC"))?,
            PrivateKeyDer::Pkcs8(der) => {
                let der = der.secret_pkcs8_der();
                ec(der)
                    .or_else(|| {
                        Ed25519KeyPair::from_pkcs8_maybe_unchecked(der)
                            .ok()
                            .map(Pair::Ed)
                    })
                    .or_else(|| RsaKeyPair::from_pkcs8(der).ok().map(Pair::Rsa))
                    .ok_or_else(|| unusable("PKCS #8"))?
            }
            _ => return Err(KeyError::Form),
        };
        Ok(Self {
            pair,
            kid: None,
            named: None,
        })
    }

    fn from_jwk(jwk: &Value) -> Result<Self, KeyError> {
        let text = |name: &str| jwk[name].as_str();
        let kind = text("kty").unwrap_or_default();
        let unusable = || KeyError::Unusable(kind.to_owned());
        let bytes = |name: &str| {
            let bytes = text(name).and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
            bytes.ok_or_else(unusable)
        };
        let pair = match (kind, text("crv")) {
            ("oct", _) => Pair::Secret(bytes("k")?),
            ("OKP", Some("Ed25519")) => {
                Ed25519KeyPair::from_seed_and_public_key(&bytes("d")?, &bytes("x")?)
                    .map(Pair::Ed)
                    .map_err(|_| unusable())?
            }
            ("EC", Some(name)) => {
                let curve = CURVES.iter().find(|curve| curve.name == name);
                let curve = curve.ok_or_else(|| KeyError::Kind(format!("EC {name:?}")))?;
                // SEC 1, section 2.3.3: an uncompressed point.
                let point = [vec![4], bytes("x")?, bytes("y")?].concat();
                EcdsaKeyPair::from_private_key_and_public_key(curve.signing, &bytes("d")?, &point)
                    .map(|pair| Pair::Ec(curve, pair))
                    .map_err(|_| unusable())?
            }
            ("RSA", _) => RsaKeyPair::from_components(&KeyPairComponents {
                public_key: PublicKeyComponents {
                    n: bytes("n")?,
                    e: bytes("e")?,
                },
                d: bytes("d")?,
                p: bytes("p")?,
                q: bytes("q")?,
                dP: bytes("dp")?,
                dQ: bytes("dq")?,
                qInv: bytes("qi")?,
            })
            .map(Pair::Rsa)
            .map_err(|_| unusable())?,
            _ => return Err(KeyError::Kind(format!("{kind:?}"))),
        };
        Ok(Self {
            pair,
            kid: text("kid").map(ToOwned::to_owned),
            named: text("alg").and_then(Algorithm::named),
        })
    }

    fn fits(&self) -> &[Algorithm] {
        match &self.pair {
            Pair::Rsa(_) => &RSA,
            Pair::Ec(curve, _) => std::slice::from_ref(&curve.algorithm),
            Pair::Ed(_) => &[Algorithm::EdDSA],
            Pair::Secret(_) => &SECRET,
        }
    }

    /// What to sign with: what is asked for, what the JWK says, or the first that the key can do.
    pub(super) fn algorithm(&self, asked: Option<Algorithm>) -> Result<Algorithm, KeyError> {
        let fits = self.fits();
        let Some(asked) = asked.or(self.named) else {
            return fits.first().copied().ok_or(KeyError::Crypto);
        };
        if fits.contains(&asked) {
            return Ok(asked);
        }
        let names: Vec<_> = fits.iter().map(|one| one.name()).collect();
        Err(KeyError::Algorithm {
            asked,
            fits: names.join(", "),
        })
    }

    /// Its name: the JWK's own, or the thumbprint.
    pub(super) fn kid(&self) -> Result<String, KeyError> {
        match &self.kid {
            Some(kid) => Ok(kid.clone()),
            None => thumbprint(&self.public()?),
        }
    }

    /// The JWK to publish; of a secret, the secret.
    pub(super) fn published(
        &self,
        algorithm: Algorithm,
        kid: Option<&str>,
    ) -> Result<Value, KeyError> {
        let mut jwk = self.public()?;
        jwk["kid"] = match kid {
            Some(kid) => kid.into(),
            None => self.kid()?.into(),
        };
        jwk["alg"] = algorithm.name().into();
        jwk["use"] = "sig".into();
        Ok(jwk)
    }

    /// The required members alone (RFC 7638, section 3.2).
    fn public(&self) -> Result<Value, KeyError> {
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        Ok(match &self.pair {
            Pair::Secret(secret) => json!({ "kty": "oct", "k": encode(secret) }),
            Pair::Ed(pair) => {
                json!({ "kty": "OKP", "crv": "Ed25519", "x": encode(pair.public_key().as_ref()) })
            }
            Pair::Ec(curve, pair) => {
                let point = pair.public_key().as_ref().get(1..).unwrap_or_default();
                let (x, y) = point.split_at(point.len() / 2);
                json!({ "kty": "EC", "crv": curve.name, "x": encode(x), "y": encode(y) })
            }
            Pair::Rsa(pair) => {
                let private = EncodingKey::from_rsa_pem(pem(pair.as_der()?.as_ref()).as_bytes());
                let jwk = private
                    .and_then(|key| Jwk::from_encoding_key(&key, jsonwebtoken::Algorithm::RS256))
                    .map_err(|_| KeyError::Crypto)?;
                let jwk = serde_json::to_value(jwk).map_err(|_| KeyError::Crypto)?;
                json!({ "kty": "RSA", "n": jwk["n"], "e": jwk["e"] })
            }
        })
    }

    /// The signature, as JWS has it (RFC 7518, section 3.4: of ECDSA both numbers at full length).
    pub(super) fn sign(&self, algorithm: Algorithm, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let random = SystemRandom::new();
        Ok(match &self.pair {
            Pair::Ec(_, pair) => pair.sign(&random, message)?.as_ref().to_vec(),
            Pair::Ed(pair) => pair.sign(message).as_ref().to_vec(),
            Pair::Secret(secret) => {
                let digest = match algorithm {
                    Algorithm::HS256 => hmac::HMAC_SHA256,
                    Algorithm::HS384 => hmac::HMAC_SHA384,
                    _ => hmac::HMAC_SHA512,
                };
                let key = hmac::Key::new(digest, secret);
                hmac::sign(&key, message).as_ref().to_vec()
            }
            Pair::Rsa(pair) => {
                let padding: &'static dyn RsaEncoding = match algorithm {
                    Algorithm::RS256 => &signature::RSA_PKCS1_SHA256,
                    Algorithm::RS384 => &signature::RSA_PKCS1_SHA384,
                    Algorithm::RS512 => &signature::RSA_PKCS1_SHA512,
                    Algorithm::PS256 => &signature::RSA_PSS_SHA256,
                    Algorithm::PS384 => &signature::RSA_PSS_SHA384,
                    _ => &signature::RSA_PSS_SHA512,
                };
                let mut bytes = vec![0; pair.public_modulus_len()];
                pair.sign(padding, &random, message, &mut bytes)?;
                bytes
            }
        })
    }
}

fn ec(der: &[u8]) -> Option<Pair> {
    CURVES.iter().find_map(|curve| {
        let pair = EcdsaKeyPair::from_private_key_der(curve.signing, der).ok()?;
        Some(Pair::Ec(curve, pair))
    })
}

/// RFC 7638: SHA-256 over the required members in the order of their names.
pub(super) fn thumbprint(public: &Value) -> Result<String, KeyError> {
    let members: std::collections::BTreeMap<&str, &Value> = public
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, value)| (name.as_str(), value))
        .collect();
    let text = serde_json::to_string(&members).map_err(|_| KeyError::Crypto)?;
    let digest = digest::digest(&digest::SHA256, text.as_bytes());
    Ok(URL_SAFE_NO_PAD.encode(digest))
}

fn pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut pem = String::from("-----BEGIN PRIVATE KEY-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, more) = rest.split_at(rest.len().min(64));
        pem.push_str(line);
        pem.push('\n');
        rest = more;
    }
    pem.push_str("-----END PRIVATE KEY-----\n");
    pem
}
