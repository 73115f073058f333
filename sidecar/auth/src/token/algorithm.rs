//! Signature algorithms, and sets of them.

use std::fmt;
use std::str::FromStr;

use crate::refusal::quote;

/// A signature algorithm (RFC 7518 section 3.1, RFC 8037) that Tollgate verifies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    RS256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    RS384,
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    RS512,
    /// RSASSA-PSS with SHA-256.
    PS256,
    /// RSASSA-PSS with SHA-384.
    PS384,
    /// RSASSA-PSS with SHA-512.
    PS512,
    /// ECDSA on P-256 with SHA-256.
    ES256,
    /// ECDSA on P-384 with SHA-384.
    ES384,
    /// ECDSA on P-521 with SHA-512.
    ES512,
    /// Ed25519.
    EdDSA,
    /// HMAC with SHA-256: whoever can check a token can make one.
    HS256,
    /// HMAC with SHA-384.
    HS384,
    /// HMAC with SHA-512.
    HS512,
}

impl Algorithm {
    /// Every algorithm.
    pub const ALL: [Self; 13] = [
        Self::RS256,
        Self::RS384,
        Self::RS512,
        Self::PS256,
        Self::PS384,
        Self::PS512,
        Self::ES256,
        Self::ES384,
        Self::ES512,
        Self::EdDSA,
        Self::HS256,
        Self::HS384,
        Self::HS512,
    ];

    /// The name of RFC 7518, with case.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RS256 => "RS256",
            Self::RS384 => "RS384",
            Self::RS512 => "RS512",
            Self::PS256 => "PS256",
            Self::PS384 => "PS384",
            Self::PS512 => "PS512",
            Self::ES256 => "ES256",
            Self::ES384 => "ES384",
            Self::ES512 => "ES512",
            Self::EdDSA => "EdDSA",
            Self::HS256 => "HS256",
            Self::HS384 => "HS384",
            Self::HS512 => "HS512",
        }
    }

    /// Whether it signs and verifies with one shared secret. Such algorithms are never a default: they must
    /// be named.
    pub const fn is_symmetric(self) -> bool {
        matches!(self, Self::HS256 | Self::HS384 | Self::HS512)
    }

    /// The algorithm of that exact name. Never allocates: the name comes from a stranger.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|a| a.name() == name)
    }

    const fn bit(self) -> u16 {
        1 << self as u8
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that is not an [`Algorithm`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AlgorithmError {
    /// It is one, and comes later.
    #[error("the algorithm {0} is not available in this version")]
    NotAvailable(String),
    /// `none`.
    #[error("the algorithm \"none\" is never accepted: such tokens are not signed")]
    None,
    /// No algorithm of RFC 7518.
    #[error(
        "{0} is no signature algorithm; there are {all}", all = Algorithms::ALL
    )]
    Unknown(String),
}

impl FromStr for Algorithm {
    type Err = AlgorithmError;

    fn from_str(name: &str) -> Result<Self, AlgorithmError> {
        Self::named(name).ok_or_else(|| match name {
            "ES256K" | "Ed25519" | "Ed448" => AlgorithmError::NotAvailable(name.to_owned()),
            _ if name.eq_ignore_ascii_case("none") => AlgorithmError::None,
            _ => AlgorithmError::Unknown(quote(name)),
        })
    }
}

/// A set of algorithms.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Algorithms(u16);

impl Algorithms {
    /// No algorithm.
    pub const EMPTY: Self = Self(0);

    /// Every algorithm.
    pub const ALL: Self = Self((1 << Algorithm::ALL.len()) - 1);

    /// What a key of type RSA can do.
    pub(crate) const RSA: Self = Self(
        Algorithm::RS256.bit()
            | Algorithm::RS384.bit()
            | Algorithm::RS512.bit()
            | Algorithm::PS256.bit()
            | Algorithm::PS384.bit()
            | Algorithm::PS512.bit(),
    );

    /// Whether `algorithm` is in the set.
    pub const fn contains(self, algorithm: Algorithm) -> bool {
        self.0 & algorithm.bit() != 0
    }

    /// Whether the set is empty.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The algorithms in the order of [`Algorithm::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Algorithm> {
        Algorithm::ALL
            .into_iter()
            .filter(move |&a| self.contains(a))
    }

    /// What is in one or the other.
    pub(crate) const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What is in both.
    pub(crate) const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl Default for Algorithms {
    /// RS256, ES256 and EdDSA.
    fn default() -> Self {
        [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA]
            .into_iter()
            .collect()
    }
}

impl FromIterator<Algorithm> for Algorithms {
    fn from_iter<I: IntoIterator<Item = Algorithm>>(algorithms: I) -> Self {
        Self(algorithms.into_iter().fold(0, |bits, a| bits | a.bit()))
    }
}

impl fmt::Display for Algorithms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, algorithm) in self.iter().enumerate() {
            if at > 0 {
                f.write_str(", ")?;
            }
            f.write_str(algorithm.name())?;
        }
        Ok(())
    }
}

impl fmt::Debug for Algorithms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{{self}}}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_parse_and_print() {
        for algorithm in Algorithm::ALL {
            assert_eq!(algorithm.to_string().parse(), Ok(algorithm));
        }
        assert_eq!(
            "ES256K".parse::<Algorithm>(),
            Err(AlgorithmError::NotAvailable("ES256K".into()))
        );
        let unknown = "RSA-OAEP".parse::<Algorithm>().unwrap_err().to_string();
        assert!(unknown.ends_with("EdDSA, HS256, HS384, HS512"), "{unknown}");
        assert_eq!("nOnE".parse::<Algorithm>(), Err(AlgorithmError::None));
        assert!(matches!(
            "rs256".parse::<Algorithm>(),
            Err(AlgorithmError::Unknown(_))
        ));
        assert_eq!(Algorithms::default().to_string(), "RS256, ES256, EdDSA");
        assert!(!Algorithms::default().contains(Algorithm::PS256));
        assert!(!Algorithms::default().iter().any(Algorithm::is_symmetric));
        assert_eq!(Algorithms::ALL.iter().count(), Algorithm::ALL.len());
    }
}
