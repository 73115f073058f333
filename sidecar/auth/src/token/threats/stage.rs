//! Who signs, and the gate that knows them. Keys are made once: RSA takes its time.

use std::sync::{Arc, LazyLock};

use serde_json::json;

use super::table::Gate;
use crate::token::jwt::Issuer;
use crate::token::keys::{Algorithm, Algorithms};
use crate::token::testing::{Signer, issuer, key_set};

pub(super) const OTHER: &str = "https://other.example";

/// Whose keys the gate knows, and strangers with keys of the same names.
pub(super) struct Stage {
    pub(super) rsa: Signer,
    pub(super) p256: Signer,
    pub(super) p384: Signer,
    pub(super) p521: Signer,
    pub(super) ed: Signer,
    pub(super) secret: Signer,
    /// Has a key named like [`Self::p256`]; the second issuer knows it.
    pub(super) stranger: Signer,
}

pub(super) static STAGE: LazyLock<Stage> = LazyLock::new(|| Stage {
    rsa: Signer::new(Algorithm::RS256, "rsa"),
    p256: Signer::new(Algorithm::ES256, "p256"),
    p384: Signer::new(Algorithm::ES384, "p384"),
    p521: Signer::new(Algorithm::ES512, "p521"),
    ed: Signer::new(Algorithm::EdDSA, "ed"),
    secret: Signer::new(Algorithm::HS256, "secret"),
    stranger: Signer::new(Algorithm::ES256, "p256"),
});

/// Every key of the stage but the secret, every algorithm but the symmetric ones, no skew.
pub(super) fn gate() -> Gate {
    let stage = &*STAGE;
    let keys = [&stage.rsa, &stage.p256, &stage.p384, &stage.p521, &stage.ed];
    let theirs = [
        stage.stranger.jwk(),
        stage.rsa.jwk_with(&json!({"kid": "theirs"})),
    ];
    Gate {
        issuer: Arc::new(issuer()),
        set: Arc::new(key_set(&keys.map(Signer::jwk))),
        other: (
            Arc::new(Issuer {
                name: "other".into(),
                issuer: OTHER.into(),
                ..issuer()
            }),
            Arc::new(key_set(&theirs)),
        ),
        epoch: 1,
        generation: 1,
    }
}

/// The same, and HS256 to HS512 named with a secret of the operator's.
pub(super) fn gate_with_secret() -> Gate {
    let stage = &*STAGE;
    let mut gate = gate().with(|issuer| issuer.algorithms = Algorithms::ALL);
    let keys = [&stage.rsa, &stage.p256, &stage.secret];
    gate.set = Arc::new(key_set(&keys.map(Signer::jwk)));
    gate
}
