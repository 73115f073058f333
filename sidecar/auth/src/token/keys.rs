//! The keys of an issuer as its JWKS (RFC 7517) gives them.

use std::str::FromStr;

use aws_lc_rs::digest;
use aws_lc_rs::signature::{self, ParsedPublicKey, RsaParameters, RsaPublicKeyComponents};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse};
use serde_json::{Map, Value};

pub use super::algorithm::{Algorithm, AlgorithmError, Algorithms};
use super::json::{self, Limits};
use crate::refusal::quote;

/// The largest JWKS that is read, in bytes.
pub const MAX_JWKS_BYTES: usize = 256 * 1024;

/// The most keys that a JWKS may list.
pub const MAX_KEYS: usize = 64;

const JWKS: Limits = Limits {
    depth: 8,
    members: 4096,
    values: 16_384,
};

/// The keys of one issuer, parsed once.
///
/// Two sets are equal if they hold the same keys under the same names, in whatever order: a refetch
/// that brings nothing new leaves verdicts alone.
#[derive(Debug)]
pub struct KeySet {
    keys: Vec<Key>,
    skipped: Vec<SkippedKey>,
    fingerprint: [u8; 32],
}

/// A key of a JWKS that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SkippedKey {
    /// Its `kid`, escaped and shortened; `None` if it has none.
    pub kid: Option<String>,
    /// Why it is skipped.
    pub why: String,
}

/// Why a whole JWKS is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JwksError {
    /// More bytes than [`MAX_JWKS_BYTES`].
    #[error("the JWKS has {0} bytes; {MAX_JWKS_BYTES} are the limit")]
    TooLarge(usize),
    /// Not one strict JSON object.
    #[error("the JWKS is refused: {0}")]
    Json(String),
    /// No `keys` member, or it is no array.
    #[error("the JWKS has no array \"keys\"")]
    NoKeys,
    /// More keys than [`MAX_KEYS`].
    #[error("the JWKS lists {0} keys; {MAX_KEYS} are the limit")]
    TooManyKeys(usize),
    /// Nothing in it verifies a signature.
    #[error("none of the {} keys of the JWKS can be used{}", .0.len(), first_why(.0))]
    NothingUsable(Vec<SkippedKey>),
}

fn first_why(skipped: &[SkippedKey]) -> String {
    skipped
        .first()
        .map(|s| format!("; the first: {}", s.why))
        .unwrap_or_default()
}

#[derive(Debug)]
struct Key {
    kid: Option<String>,
    /// One parsed form an algorithm: aws-lc-rs ties padding and digest to the key.
    forms: Vec<(Algorithm, ParsedPublicKey)>,
    fits: Algorithms,
}

/// Why no key was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Miss {
    /// No key has that name; or there is no name and not exactly one key fits.
    Unknown {
        /// How many keys fit a token without a name.
        fitting: usize,
    },
    /// The key of that name is made for other algorithms.
    Mismatch(Algorithms),
}

impl KeySet {
    /// Reads a JWKS. Keys that cannot be used are skipped one by one ([`Self::skipped`]): symmetric ones,
    /// those for encryption, of unknown types and curves, malformed, too weak, or published together
    /// with their private half.
    ///
    /// # Errors
    /// [`JwksError`] if it is too large, is no JWKS, or holds no key that can be used; the caller keeps
    /// the keys it had.
    pub fn from_jwks(json: &[u8]) -> Result<Self, JwksError> {
        if json.len() > MAX_JWKS_BYTES {
            return Err(JwksError::TooLarge(json.len()));
        }
        let mut set = json::object(json, JWKS).map_err(|e| JwksError::Json(e.to_string()))?;
        let Some(Value::Array(list)) = set.remove("keys") else {
            return Err(JwksError::NoKeys);
        };
        if list.len() > MAX_KEYS {
            return Err(JwksError::TooManyKeys(list.len()));
        }
        let mut keys: Vec<Key> = Vec::with_capacity(list.len());
        let mut skipped = Vec::new();
        let mut prints = Vec::with_capacity(list.len());
        for value in list {
            let kid = value.get("kid").and_then(Value::as_str).map(quote);
            match read(value, &keys) {
                Ok((key, print)) => {
                    keys.push(key);
                    prints.push(print);
                }
                Err(why) => skipped.push(SkippedKey { kid, why }),
            }
        }
        if keys.is_empty() {
            return Err(JwksError::NothingUsable(skipped));
        }
        prints.sort_unstable();
        let mut whole = digest::Context::new(&digest::SHA256);
        prints.iter().for_each(|print| whole.update(print));
        Ok(Self {
            keys,
            skipped,
            fingerprint: bytes32(&whole.finish()),
        })
    }

    /// The keys that cannot be used, and why.
    pub fn skipped(&self) -> &[SkippedKey] {
        &self.skipped
    }

    /// How many keys can be used; at least one.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether no key can be used: never, since such a set is not made.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The names of the usable keys that have one.
    pub fn kids(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().filter_map(|k| k.kid.as_deref())
    }

    /// Whether a usable key has this name.
    pub fn has_kid(&self, kid: &str) -> bool {
        self.kids().any(|k| k == kid)
    }

    /// SHA-256 over names, algorithms and key material, whatever their order.
    pub fn fingerprint(&self) -> [u8; 32] {
        self.fingerprint
    }

    /// The key for a token: by its name, or without one the only key that fits the algorithm.
    pub(crate) fn find(
        &self,
        kid: Option<&str>,
        algorithm: Algorithm,
    ) -> Result<&ParsedPublicKey, Miss> {
        let Some(kid) = kid else {
            let mut fitting = self.keys.iter().filter_map(|k| k.form(algorithm));
            return match (fitting.next(), fitting.count()) {
                (Some(only), 0) => Ok(only),
                (None, _) => Err(Miss::Unknown { fitting: 0 }),
                (Some(_), more) => Err(Miss::Unknown { fitting: more + 1 }),
            };
        };
        let mut seen = Algorithms::EMPTY;
        for key in self.keys.iter().filter(|k| k.kid.as_deref() == Some(kid)) {
            match key.form(algorithm) {
                Some(form) => return Ok(form),
                None => seen = seen.or(key.fits),
            }
        }
        Err(if seen.is_empty() {
            Miss::Unknown { fitting: 0 }
        } else {
            Miss::Mismatch(seen)
        })
    }
}

impl PartialEq for KeySet {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
    }
}

impl Eq for KeySet {}

impl Key {
    fn form(&self, algorithm: Algorithm) -> Option<&ParsedPublicKey> {
        self.forms
            .iter()
            .find(|(a, _)| *a == algorithm)
            .map(|(_, form)| form)
    }
}

/// Reads one key, or says why it is skipped. Its print goes into the fingerprint of the set.
fn read(value: Value, before: &[Key]) -> Result<(Key, [u8; 32]), String> {
    let Value::Object(members) = &value else {
        return Err("it is no object".into());
    };
    refuse_unusable(members)?;
    let name = members
        .get("alg")
        .and_then(Value::as_str)
        .map(str::to_owned);
    // jsonwebtoken gives the types; what they mean together is not its concern, so it is checked here:
    // it accepts an OKP curve in an EC key and the other way round, and ignores use, key_ops and alg.
    let jwk: Jwk = serde_json::from_value(value)
        .map_err(|e| format!("it is no JWK: {}", quote(&e.to_string())))?;
    match &jwk.common.public_key_use {
        None | Some(PublicKeyUse::Signature) => {}
        Some(PublicKeyUse::Encryption) => return Err("its use is encryption".into()),
        Some(PublicKeyUse::Other(other)) => return Err(format!("its use is {}", quote(other))),
    }
    if let Some(operations) = &jwk.common.key_operations
        && !operations.contains(&KeyOperations::Verify)
    {
        return Err("its key_ops do not include verify".into());
    }
    let (possible, material) = Material::read(&jwk.algorithm)?;
    let fits = match name {
        None => possible,
        Some(name) => {
            let fixed = Algorithm::from_str(&name).map_err(|e| e.to_string())?;
            let fits = possible.and([fixed].into_iter().collect());
            if fits.is_empty() {
                return Err(format!(
                    "its alg is {fixed}, which its type cannot do ({possible})"
                ));
            }
            fits
        }
    };
    let kid = jwk.common.key_id;
    let same_name = |k: &&Key| kid.is_some() && k.kid == kid;
    if before
        .iter()
        .filter(same_name)
        .any(|k| !k.fits.and(fits).is_empty())
    {
        return Err("an earlier key has the same kid and an algorithm in common".into());
    }
    let forms = material.parse(fits)?;
    let print = material.print(kid.as_deref(), fits);
    Ok((Key { kid, forms, fits }, print))
}

fn refuse_unusable(members: &Map<String, Value>) -> Result<(), String> {
    match members.get("kty").and_then(Value::as_str) {
        Some("RSA" | "EC" | "OKP") => {}
        Some("oct") => {
            return Err("it is symmetric (oct): whoever can read it can forge tokens".into());
        }
        Some(other) => {
            return Err(format!(
                "its kty is {}; RSA, EC and OKP are supported",
                quote(other)
            ));
        }
        None => return Err("it has no kty".into()),
    }
    if members.contains_key("d") {
        return Err(
            "it is published with its private half (d): whoever can read it can forge tokens"
                .into(),
        );
    }
    Ok(())
}

/// The public numbers of a key, checked for size.
enum Material {
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
    /// An uncompressed point (SEC 1 section 2.3.3), or the 32 bytes of an Ed25519 key.
    Point(Vec<u8>),
}

impl Material {
    fn read(parameters: &AlgorithmParameters) -> Result<(Algorithms, Self), String> {
        match parameters {
            AlgorithmParameters::RSA(rsa) => Ok((
                Algorithms::RSA,
                rsa_numbers(number("n", &rsa.n)?, number("e", &rsa.e)?)?,
            )),
            AlgorithmParameters::EllipticCurve(ec) => {
                let (algorithm, size) = match ec.curve {
                    EllipticCurve::P256 => (Algorithm::ES256, 32),
                    EllipticCurve::P384 => (Algorithm::ES384, 48),
                    _ => {
                        return Err(
                            "its curve is not available in this version; P-256 and P-384 are"
                                .into(),
                        );
                    }
                };
                let mut point = vec![4];
                point.extend(coordinate("x", &ec.x, size)?);
                point.extend(coordinate("y", &ec.y, size)?);
                Ok(([algorithm].into_iter().collect(), Self::Point(point)))
            }
            AlgorithmParameters::OctetKeyPair(okp) if okp.curve == EllipticCurve::Ed25519 => {
                let point = coordinate("x", &okp.x, 32)?;
                Ok(([Algorithm::EdDSA].into_iter().collect(), Self::Point(point)))
            }
            _ => Err(
                "its parameters are incomplete, or its curve is not available in this version"
                    .into(),
            ),
        }
    }

    fn parse(&self, fits: Algorithms) -> Result<Vec<(Algorithm, ParsedPublicKey)>, String> {
        fits.iter()
            .map(|algorithm| match self.parse_for(algorithm) {
                Ok(form) => Ok((algorithm, form)),
                Err(e) => Err(format!("its numbers are no key for {algorithm}: {e}")),
            })
            .collect()
    }

    fn parse_for(
        &self,
        algorithm: Algorithm,
    ) -> Result<ParsedPublicKey, aws_lc_rs::error::KeyRejected> {
        let rsa: &'static RsaParameters = match algorithm {
            Algorithm::RS256 => &signature::RSA_PKCS1_2048_8192_SHA256,
            Algorithm::RS384 => &signature::RSA_PKCS1_2048_8192_SHA384,
            Algorithm::RS512 => &signature::RSA_PKCS1_2048_8192_SHA512,
            Algorithm::PS256 => &signature::RSA_PSS_2048_8192_SHA256,
            Algorithm::PS384 => &signature::RSA_PSS_2048_8192_SHA384,
            Algorithm::PS512 => &signature::RSA_PSS_2048_8192_SHA512,
            Algorithm::ES256 => {
                return ParsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, self.point());
            }
            Algorithm::ES384 => {
                return ParsedPublicKey::new(&signature::ECDSA_P384_SHA384_FIXED, self.point());
            }
            Algorithm::EdDSA => return ParsedPublicKey::new(&signature::ED25519, self.point()),
        };
        match self {
            Self::Rsa { n, e } => RsaPublicKeyComponents { n, e }.to_parsed_public_key(rsa),
            // Not reached: `read` pairs types and algorithms. A point is no RSA key in any case.
            Self::Point(point) => ParsedPublicKey::new(rsa, point),
        }
    }

    fn point(&self) -> &[u8] {
        match self {
            Self::Point(point) => point,
            Self::Rsa { .. } => &[],
        }
    }

    fn print(&self, kid: Option<&str>, fits: Algorithms) -> [u8; 32] {
        let mut print = digest::Context::new(&digest::SHA256);
        let mut part = |bytes: &[u8]| {
            print.update(&(bytes.len() as u64).to_be_bytes());
            print.update(bytes);
        };
        part(&[u8::from(kid.is_some())]);
        part(kid.unwrap_or_default().as_bytes());
        fits.iter().for_each(|a| part(a.name().as_bytes()));
        match self {
            Self::Rsa { n, e } => {
                part(n);
                part(e);
            }
            Self::Point(point) => part(point),
        }
        bytes32(&print.finish())
    }
}

/// A key of 2048 to 8192 bits whose exponent is odd and from 65537 to 2^32. Smaller exponents are a
/// liability with sloppy padding, larger ones make every verification slow at the sender's choice.
fn rsa_numbers(n: Vec<u8>, e: Vec<u8>) -> Result<Material, String> {
    let bits = n.len() * 8 - n.first().map_or(0, |b| b.leading_zeros() as usize);
    if !(2048..=8192).contains(&bits) {
        return Err(format!(
            "its modulus has {bits} bits; 2048 to 8192 are accepted"
        ));
    }
    let exponent = e
        .iter()
        .take(8)
        .fold(0_u64, |sum, &b| sum << 8 | u64::from(b));
    if e.len() > 5 || !(65_537..=1 << 32).contains(&exponent) || exponent % 2 == 0 {
        return Err("its exponent is even, below 65537 or over 2^32".into());
    }
    Ok(Material::Rsa { n, e })
}

/// A big-endian number. Leading zeros break RFC 7518 section 2 but are common and harmless.
fn number(name: &str, text: &str) -> Result<Vec<u8>, String> {
    let bytes = decode(name, text)?;
    let zeros = bytes.iter().take_while(|&&b| b == 0).count();
    Ok(bytes[zeros..].to_vec())
}

fn coordinate(name: &str, text: &str, size: usize) -> Result<Vec<u8>, String> {
    let bytes = decode(name, text)?;
    if bytes.len() == size {
        Ok(bytes)
    } else {
        Err(format!(
            "its {name} has {} bytes; its curve has {size}",
            bytes.len()
        ))
    }
}

fn decode(name: &str, text: &str) -> Result<Vec<u8>, String> {
    URL_SAFE_NO_PAD
        .decode(text)
        .map_err(|_| format!("its {name} is no strict base64url"))
}

fn bytes32(digest: &digest::Digest) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest.as_ref());
    out
}

#[cfg(test)]
mod tests;
