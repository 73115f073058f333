//! Private keys, and tokens signed with them: what `tollgate token mint` and the demo's issuer are made of.
//!
//! Nothing here is on the way of a request: Tollgate verifies tokens, others issue them. [`PrivateKey`] reads a key from
//! PEM or from a JWK, or makes one; [`PrivateKey::token`] signs. No error and no `Debug` shows key material.

mod key;
mod read;

pub use key::{Generated, PrivateKey, SignError};
pub use read::{KeyError, KeyFile};
