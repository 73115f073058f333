//! The key that signs: parsed once, named by its thumbprint.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::agreement::{self, ECDH_P256};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::token::sha256::sha256;

/// The `typ` of an assertion's header (RFC 8725 section 3.11): no other kind of token is taken for one, nor one for
/// another.
pub const TYPE: &str = "tollgate-assertion+jwt";

/// Why there is no key, or no signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Zero, or not below the order of the curve.
    #[error("the number is no private key of P-256")]
    OutOfRange,
    /// Of memory or of entropy.
    #[error("the cryptographic library failed")]
    Library,
}

/// A private key of P-256, ready to sign with ES256 (RFC 7518 section 3.4).
pub struct SigningKey {
    pair: EcdsaKeyPair,
    kid: Arc<str>,
    x: Box<str>,
    y: Box<str>,
    /// The first segment of all that it signs, with the dot.
    head: Box<str>,
}

impl SigningKey {
    /// The key whose private number is `scalar`, big-endian.
    ///
    /// # Errors
    /// [`KeyError::OutOfRange`] unless it is at least 1 and below the order of the curve (FIPS 186-5 section A.2.2).
    pub fn from_scalar(scalar: &[u8; 32]) -> Result<Self, KeyError> {
        // The library computes the public half for key agreement only; the number is the same.
        let public = agreement::PrivateKey::from_private_key(&ECDH_P256, scalar)
            .map_err(|_| KeyError::OutOfRange)?
            .compute_public_key()
            .map_err(|_| KeyError::Library)?;
        let pair = EcdsaKeyPair::from_private_key_and_public_key(
            &ECDSA_P256_SHA256_FIXED_SIGNING,
            scalar,
            public.as_ref(),
        )
        .map_err(|_| KeyError::Library)?;
        // SEC 1 section 2.3.3: 0x04, x, y.
        let point = pair.public_key().as_ref();
        let (x, y) = point
            .get(1..)
            .and_then(|xy| xy.split_at_checked(32))
            .ok_or(KeyError::Library)?;
        let (x, y) = (encode(x), encode(y));
        // RFC 7638 section 3: the required members in alphabetical order, without space.
        let thumbprint = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
        let kid = encode(&sha256(thumbprint.as_bytes()));
        let head = json!({ "alg": "ES256", "kid": kid, "typ": TYPE }).to_string();
        Ok(Self {
            pair,
            kid: kid.into(),
            x: x.into(),
            y: y.into(),
            head: format!("{}.", encode(head.as_bytes())).into(),
        })
    }

    /// Its name: the SHA-256 thumbprint of its public half (RFC 7638).
    pub fn kid(&self) -> &Arc<str> {
        &self.kid
    }

    /// Its public half as it is published (RFC 7517 section 4).
    pub fn jwk(&self) -> Value {
        json!({
            "kty": "EC", "crv": "P-256", "x": self.x, "y": self.y,
            "kid": &*self.kid, "alg": "ES256", "use": "sig",
        })
    }

    /// `payload` as a JWS in compact form.
    ///
    /// # Errors
    /// [`KeyError::Library`].
    pub(super) fn token(&self, payload: &str) -> Result<String, KeyError> {
        // Base64url takes four characters for three bytes; a signature has 64 bytes.
        let mut token = String::with_capacity(self.head.len() + payload.len() / 3 * 4 + 4 + 1 + 86);
        token.push_str(&self.head);
        URL_SAFE_NO_PAD.encode_string(payload, &mut token);
        let signature = self
            .pair
            .sign(&SystemRandom::new(), token.as_bytes())
            .map_err(|_| KeyError::Library)?;
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature.as_ref(), &mut token);
        Ok(token)
    }
}

/// Never shows the private half.
impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SigningKey").field(&self.kid).finish()
    }
}

fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
