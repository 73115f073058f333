//! Key files: PEM or JSON Web Keys, whoever wrote them.

use aws_lc_rs::rsa::{KeyPairComponents, PublicKeyComponents};
use aws_lc_rs::signature::{EcdsaKeyPair, Ed25519KeyPair, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::{self, PemObject as _};
use serde_json::Value;
use thiserror::Error;
use tollgate_auth::token::Algorithm;

use super::key::{CURVES, PrivateKey};

/// What a key file says.
#[derive(Debug)]
pub struct KeyFile {
    /// The key.
    pub key: PrivateKey,
    /// Its name; PEM has none.
    pub kid: Option<String>,
    /// The algorithm that it is meant for; PEM has none.
    pub algorithm: Option<Algorithm>,
}

/// Why a text holds no private key that can be used. Never shows the text.
#[derive(Debug, Error)]
pub enum KeyError {
    /// Neither PEM nor JSON.
    #[error(
        "it holds no private key: expected PEM (BEGIN PRIVATE KEY, RSA PRIVATE KEY or EC PRIVATE KEY) or a JWK"
    )]
    NoKey,
    /// A PKCS #8 key under a passphrase.
    #[error(
        "its key is encrypted; `openssl pkcs8 -in FILE -out PLAIN` asks for the passphrase and decrypts it"
    )]
    Encrypted,
    /// The PEM cannot be decoded.
    #[error("its PEM is damaged: {0}; copy the file again")]
    Pem(&'static str),
    /// The key is well-formed PEM, and not understood.
    #[error(
        "its key is broken or of an unknown type: RSA of 2048 to 8192 bits, P-256, P-384, P-521 and Ed25519 are known"
    )]
    Type,
    /// A public key.
    #[error("it holds a public key only; tokens are signed with the private half")]
    Public,
    /// A set of several keys, or of none.
    #[error("it is a set of {0} keys; put the one to sign with into a file of its own")]
    Set(usize),
    /// A member of the JWK.
    #[error("the JWK's `{0}` {1}")]
    Member(&'static str, &'static str),
    /// The members of the JWK do not belong together.
    #[error("the JWK's numbers are no key, or do not belong together ({0}); export it again")]
    Inconsistent(String),
}

impl KeyFile {
    /// Reads a private key: PEM (PKCS #8, PKCS #1, SEC 1), a JWK with its private half (RFC 7518 section 6), or a JWK
    /// set of exactly one.
    ///
    /// # Errors
    /// When there is no key, it is encrypted, public, broken or too weak.
    pub fn parse(text: &[u8]) -> Result<Self, KeyError> {
        if let Ok(json) = serde_json::from_slice::<Value>(text) {
            return match &json["keys"] {
                Value::Array(keys) => match keys.as_slice() {
                    [key] => Self::from_jwk(key),
                    keys => Err(KeyError::Set(keys.len())),
                },
                _ => Self::from_jwk(&json),
            };
        }
        let holds = |label: &str| {
            let begin = format!("-----BEGIN {label}-----");
            text.windows(begin.len())
                .any(|part| part == begin.as_bytes())
        };
        let der = PrivateKeyDer::from_pem_slice(text).map_err(|error| match error {
            pem::Error::NoItemsFound if holds("ENCRYPTED PRIVATE KEY") => KeyError::Encrypted,
            pem::Error::NoItemsFound if holds("PUBLIC KEY") || holds("RSA PUBLIC KEY") => {
                KeyError::Public
            }
            // These errors would show lines of the file.
            pem::Error::MissingSectionEnd { .. } => KeyError::Pem("its END line is missing"),
            pem::Error::Base64Decode(_) => KeyError::Pem("what stands between is no base64"),
            pem::Error::IllegalSectionStart { .. } => KeyError::Pem("its BEGIN line is malformed"),
            _ => KeyError::NoKey,
        })?;
        let key = PrivateKey::from_der(&der).ok_or(KeyError::Type)?;
        Ok(Self {
            key,
            kid: None,
            algorithm: None,
        })
    }

    fn from_jwk(jwk: &Value) -> Result<Self, KeyError> {
        let text = |name: &'static str| match &jwk[name] {
            Value::Null => Ok(None),
            Value::String(text) => Ok(Some(text.as_str())),
            _ => Err(KeyError::Member(name, "is no string")),
        };
        let key = match text("kty")? {
            Some("RSA") => rsa(jwk)?,
            Some("EC") => ec(jwk, text("crv")?)?,
            Some("OKP") => ed(jwk, text("crv")?)?,
            Some("oct") => secret(jwk)?,
            Some(_) => return Err(KeyError::Member("kty", "is none of RSA, EC, OKP, oct")),
            None => return Err(KeyError::NoKey),
        };
        let algorithm = match text("alg")? {
            None => None,
            Some(name) => Some(
                Algorithm::named(name)
                    .filter(|&algorithm| key.algorithms().contains(algorithm))
                    .ok_or(KeyError::Member("alg", "is not what such a key can do"))?,
            ),
        };
        Ok(Self {
            key,
            kid: text("kid")?.map(ToOwned::to_owned),
            algorithm,
        })
    }
}

fn rsa(jwk: &Value) -> Result<PrivateKey, KeyError> {
    let components = KeyPairComponents {
        public_key: PublicKeyComponents {
            n: bytes(jwk, "n")?,
            e: bytes(jwk, "e")?,
        },
        d: private(jwk, "d")?,
        p: bytes(jwk, "p")?,
        q: bytes(jwk, "q")?,
        dP: bytes(jwk, "dp")?,
        dQ: bytes(jwk, "dq")?,
        qInv: bytes(jwk, "qi")?,
    };
    let pair = RsaKeyPair::from_components(&components)
        .map_err(|error| KeyError::Inconsistent(error.to_string()))?;
    Ok(PrivateKey::Rsa(Box::new(pair)))
}

fn ec(jwk: &Value, name: Option<&str>) -> Result<PrivateKey, KeyError> {
    let curve = CURVES.iter().find(|curve| Some(curve.name) == name);
    let curve = curve.ok_or(KeyError::Member("crv", "is none of P-256, P-384, P-521"))?;
    let d = private(jwk, "d")?;
    // SEC 1, uncompressed.
    let point = [vec![4], bytes(jwk, "x")?, bytes(jwk, "y")?].concat();
    let pair = EcdsaKeyPair::from_private_key_and_public_key(curve.signing, &d, &point)
        .map_err(|error| KeyError::Inconsistent(error.to_string()))?;
    Ok(PrivateKey::Ec(curve.algorithm, Box::new(pair)))
}

fn ed(jwk: &Value, name: Option<&str>) -> Result<PrivateKey, KeyError> {
    if name != Some("Ed25519") {
        return Err(KeyError::Member("crv", "is not Ed25519"));
    }
    let (seed, public) = (private(jwk, "d")?, bytes(jwk, "x")?);
    let pair = Ed25519KeyPair::from_seed_and_public_key(&seed, &public)
        .map_err(|error| KeyError::Inconsistent(error.to_string()))?;
    Ok(PrivateKey::Ed(pair))
}

fn secret(jwk: &Value) -> Result<PrivateKey, KeyError> {
    let key = PrivateKey::Secret(bytes(jwk, "k")?);
    if key.algorithms().is_empty() {
        return Err(KeyError::Member(
            "k",
            "is shorter than the 32 bytes of HS256",
        ));
    }
    Ok(key)
}

/// A member that public keys lack.
fn private(jwk: &Value, name: &'static str) -> Result<Vec<u8>, KeyError> {
    if jwk[name].is_null() {
        return Err(KeyError::Public);
    }
    bytes(jwk, name)
}

fn bytes(jwk: &Value, name: &'static str) -> Result<Vec<u8>, KeyError> {
    let text = jwk[name].as_str();
    let text = text.ok_or(KeyError::Member(name, "is missing, or no string"))?;
    let bytes = URL_SAFE_NO_PAD.decode(text);
    bytes.map_err(|_| KeyError::Member(name, "is no base64url without padding"))
}

#[cfg(test)]
mod tests;
