//! Tokens: where they stand, what they must look like, which key signed them, what they claim.
//!
//! [`source`] finds the token, [`jws`] reads it strictly, [`keys`] holds the issuer's keys
//! ([`algorithm`] what they may do), [`claims`]
//! is what a verified token says, [`jwt`] decides in a fixed order, and [`cache`] remembers the verdict.

pub mod algorithm;
pub mod cache;
mod checks;
pub mod claims;
pub mod explain;
pub mod issuer;
mod json;
pub mod jws;
pub mod jwt;
pub mod keys;
pub mod origin;
#[cfg(test)]
mod parity;
pub mod redact;
pub(crate) mod sha256;
pub mod source;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod threats;
#[cfg(test)]
mod vectors;

pub use algorithm::{Algorithm, AlgorithmError, Algorithms};
pub use cache::{CacheStats, Fingerprint, Look, Verdict, VerdictCache};
pub use claims::{ClaimPath, Claims};
pub use issuer::{Candidate, Issuer, Keys, TokenType};
pub use jwt::verify;
pub use keys::{JwksError, KeySet, SkippedKey};
pub use source::{Carrier, Found, HeaderScheme, TokenSource};
