//! One secret, and keys derived from it.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use aws_lc_rs::rand;

/// The secret of a cluster, or of a node. What it was made of is not kept.
#[derive(Clone)]
pub struct Secret {
    prk: Arc<Prk>,
    /// Derived for this alone: secrets are told apart by it.
    identity: [u8; 32],
}

/// Why something cannot be the secret of a cluster. Says nothing of what it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// So many bytes, without line ends.
    #[error(
        "has {0} bytes, and at least {LEAST} are needed; make one with `openssl rand -base64 48`"
    )]
    Short(usize),
    /// So many different bytes.
    #[error(
        "has only {0} different bytes, so it was not drawn at random; make one with `openssl rand -base64 48`"
    )]
    Monotonous(usize),
    /// The cryptographic library failed: of memory or of entropy.
    #[error("cannot be used: the cryptographic library failed")]
    Library,
}

/// Bytes of a secret, at least: as many as SHA-256 can make use of.
pub const LEAST: usize = 32;

/// Of 32 bytes drawn at random, even as decimal digits, hardly one in a million has fewer different ones.
const DIFFERENT: usize = 6;

/// Binds all that is derived to this product and this way of deriving.
const SALT: &[u8] = b"tollgate cluster secret v1";

impl Secret {
    /// The secret that a file or a variable holds. Line ends behind it do not count, so that both may hold the same.
    ///
    /// # Errors
    ///
    /// See [`SecretError`].
    pub fn new(raw: &[u8]) -> Result<Self, SecretError> {
        let end = raw
            .iter()
            .rposition(|byte| !matches!(byte, b'\r' | b'\n'))
            .map_or(0, |last| last + 1);
        let secret = &raw[..end];
        if secret.len() < LEAST {
            return Err(SecretError::Short(secret.len()));
        }
        let mut seen = [false; 256];
        for &byte in secret {
            seen[usize::from(byte)] = true;
        }
        let different = seen.iter().filter(|&&seen| seen).count();
        if different < DIFFERENT {
            return Err(SecretError::Monotonous(different));
        }
        Self::extract(secret)
    }

    /// A secret that nobody else has.
    ///
    /// # Errors
    ///
    /// [`SecretError::Library`]: there is no entropy.
    pub fn random() -> Result<Self, SecretError> {
        let mut secret = [0; 64];
        rand::fill(&mut secret).map_err(|_| SecretError::Library)?;
        Self::extract(&secret)
    }

    /// Key material for one use in one period; the same on every node with this secret. `attempt` counts from 0, for
    /// uses that cannot take any material.
    ///
    /// # Errors
    ///
    /// [`SecretError::Library`].
    pub fn derive(&self, purpose: &str, period: u64, attempt: u8) -> Result<[u8; 32], SecretError> {
        expand(&self.prk, purpose, period, attempt)
    }

    fn extract(secret: &[u8]) -> Result<Self, SecretError> {
        let prk = Salt::new(HKDF_SHA256, SALT).extract(secret);
        let identity = expand(&prk, "identity", 0, 0)?;
        Ok(Self {
            prk: Arc::new(prk),
            identity,
        })
    }
}

/// `info` is the use, a zero byte, the period and the attempt: no two have the same.
fn expand(prk: &Prk, purpose: &str, period: u64, attempt: u8) -> Result<[u8; 32], SecretError> {
    let info = [purpose.as_bytes(), &[0], &period.to_be_bytes(), &[attempt]];
    let mut out = [0; 32];
    prk.expand(&info, Length)
        .and_then(|okm| okm.fill(&mut out))
        .map_err(|_| SecretError::Library)?;
    Ok(out)
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.identity == other.identity
    }
}

impl Eq for Secret {}

/// Shows nothing of it.
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

struct Length;

impl KeyType for Length {
    fn len(&self) -> usize {
        32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] = b"tq0ODXz6mF0m5s1h6nJx0y6mUu3q0iXjv0tqzq9v1no=";

    #[test]
    fn short_and_monotonous_secrets_are_refused() {
        let with = |length: usize| TEXT[..length].to_vec();
        assert_eq!(Secret::new(b"").unwrap_err(), SecretError::Short(0));
        assert_eq!(Secret::new(b"\n").unwrap_err(), SecretError::Short(0));
        assert_eq!(
            Secret::new(&with(LEAST - 1)).unwrap_err(),
            SecretError::Short(LEAST - 1)
        );
        // A line end makes it no longer.
        let padded = [with(LEAST - 1), b"\r\n\r\n".to_vec()].concat();
        assert_eq!(
            Secret::new(&padded).unwrap_err(),
            SecretError::Short(LEAST - 1)
        );
        assert!(Secret::new(&with(LEAST)).is_ok());
        let few = |count: usize| (0..64).map(|at| (at % count) as u8).collect::<Vec<_>>();
        assert_eq!(
            Secret::new(&few(5)).unwrap_err(),
            SecretError::Monotonous(5)
        );
        assert!(Secret::new(&few(DIFFERENT)).is_ok());
    }

    #[test]
    fn line_ends_behind_it_do_not_count_and_all_else_does() {
        let secret = Secret::new(TEXT).unwrap();
        for same in [&b"\n"[..], b"\r\n", b"\n\n"] {
            assert_eq!(Secret::new(&[TEXT, same].concat()).unwrap(), secret);
        }
        for other in [&b" "[..], b"\t", b"\0"] {
            assert_ne!(Secret::new(&[TEXT, other].concat()).unwrap(), secret);
        }
        assert_ne!(Secret::new(&[b"\n", TEXT].concat()).unwrap(), secret);
        assert_ne!(Secret::random().unwrap(), Secret::random().unwrap());
    }

    #[test]
    fn what_is_derived_depends_on_secret_use_period_and_attempt() {
        let secret = Secret::new(TEXT).unwrap();
        let derived = secret.derive("a use", 7, 0).unwrap();
        assert_eq!(
            Secret::new(TEXT).unwrap().derive("a use", 7, 0).unwrap(),
            derived,
            "every node derives the same"
        );
        let others = [
            secret.derive("another use", 7, 0),
            secret.derive("a use", 8, 0),
            secret.derive("a use", 7 << 8, 0),
            secret.derive("a use", 7, 1),
            Secret::new(&[TEXT, b"x"].concat())
                .unwrap()
                .derive("a use", 7, 0),
        ];
        for other in others {
            assert_ne!(other.unwrap(), derived);
        }
    }

    #[test]
    fn nothing_of_it_is_shown() {
        let secret = Secret::new(TEXT).unwrap();
        assert_eq!(format!("{secret:?}"), "Secret(..)");
        let short = Secret::new(b"hush").unwrap_err();
        assert!(!format!("{short} {short:?}").contains("hush"));
    }
}
