//! The keys of an issuer as its JWKS (RFC 7517) gives them.

mod material;

use std::str::FromStr;

use jsonwebtoken::jwk::{Jwk, KeyOperations, PublicKeyUse};
use serde_json::{Map, Value};

use self::material::Material;
pub(crate) use self::material::Verifier;
pub use super::algorithm::{Algorithm, AlgorithmError, Algorithms};
use super::json::{self, Limits};
use super::sha256::Parts;
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

/// A usable key, described.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyInfo<'a> {
    /// Its name, as the JWKS gives it.
    pub kid: Option<&'a str>,
    /// What it verifies.
    pub algorithms: Algorithms,
    /// `RSA`, `EC`, `OKP` or `oct` (RFC 7518 section 6.1).
    pub kind: &'static str,
    /// Its size: of the modulus, the curve, the secret.
    pub bits: usize,
}

#[derive(Debug)]
struct Key {
    kid: Option<String>,
    /// One for each algorithm.
    forms: Vec<(Algorithm, Verifier)>,
    fits: Algorithms,
    kind: (&'static str, usize),
}

/// Who wrote a JWKS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// Whoever answers at a URL.
    Remote,
    /// The operator, who keeps it from others.
    Local,
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
    /// Reads a JWKS that was fetched. Keys that cannot be used are skipped one by one
    /// ([`Self::skipped`]): symmetric ones, those for encryption, of unknown types and curves, malformed,
    /// too weak, or published together with their private half.
    ///
    /// # Errors
    /// [`JwksError`] if it is too large, is no JWKS, or holds no key that can be used; the caller keeps
    /// the keys it had.
    pub fn from_jwks(json: &[u8]) -> Result<Self, JwksError> {
        Self::read(json, Origin::Remote)
    }

    /// Reads a JWKS that the operator wrote (`file`, `inline`): as [`Self::from_jwks`], and symmetric keys
    /// are taken too. They verify HS256, HS384 and HS512 alone, which an issuer must name.
    ///
    /// # Errors
    /// As [`Self::from_jwks`].
    pub fn from_local_jwks(json: &[u8]) -> Result<Self, JwksError> {
        Self::read(json, Origin::Local)
    }

    fn read(json: &[u8], origin: Origin) -> Result<Self, JwksError> {
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
            match read(value, &keys, origin) {
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
        let mut whole = Parts::new();
        prints.iter().for_each(|print| whole.add(print));
        Ok(Self {
            keys,
            skipped,
            fingerprint: whole.finish(),
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

    /// The usable keys in the order of the JWKS.
    pub fn entries(&self) -> impl Iterator<Item = KeyInfo<'_>> {
        self.keys.iter().map(|key| KeyInfo {
            kid: key.kid.as_deref(),
            algorithms: key.fits,
            kind: key.kind.0,
            bits: key.kind.1,
        })
    }

    /// The names of the usable keys that have one.
    pub fn kids(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().filter_map(|k| k.kid.as_deref())
    }

    /// SHA-256 over names, algorithms and key material, whatever their order.
    pub fn fingerprint(&self) -> [u8; 32] {
        self.fingerprint
    }

    /// The key for a token: by its name, or without one the only key that fits the algorithm.
    pub(crate) fn find(&self, kid: Option<&str>, algorithm: Algorithm) -> Result<&Verifier, Miss> {
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
    fn form(&self, algorithm: Algorithm) -> Option<&Verifier> {
        self.forms
            .iter()
            .find(|(a, _)| *a == algorithm)
            .map(|(_, form)| form)
    }
}

/// Reads one key, or says why it is skipped. Its print goes into the fingerprint of the set.
fn read(value: Value, before: &[Key], origin: Origin) -> Result<(Key, [u8; 32]), String> {
    let Value::Object(members) = &value else {
        return Err("it is no object".into());
    };
    refuse_unusable(members, origin)?;
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
    let key = Key {
        kid,
        forms,
        fits,
        kind: material.kind(),
    };
    Ok((key, print))
}

fn refuse_unusable(members: &Map<String, Value>, origin: Origin) -> Result<(), String> {
    match members.get("kty").and_then(Value::as_str) {
        Some("RSA" | "EC" | "OKP") => {}
        Some("oct") if origin == Origin::Local => {}
        Some("oct") => {
            return Err("it is symmetric (oct): whoever can read it can forge tokens".into());
        }
        Some(other) => {
            return Err(format!(
                "its kty is {}; RSA, EC and OKP are supported, and oct where you write the set yourself",
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

#[cfg(test)]
mod tests;
