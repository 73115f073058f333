//! The signature layer as it stands between the bytes and the claims.

use serde_json::{Value, json};

use crate::reason::Reason;
use crate::token::jws::{Header, base64url, split};
use crate::token::keys::{Algorithm, KeySet, Miss};

/// The payload of a token whose form is strict and whose signature is of a key of `set`; else why not, in
/// the words of the whole verification.
pub(super) fn open(set: &KeySet, token: &str) -> Result<Vec<u8>, Reason> {
    let parts = split(token.as_bytes()).map_err(|refusal| refusal.reason)?;
    let [head, payload, signature] = parts;
    let header = Header::read(head).map_err(|refusal| refusal.reason)?;
    let payload = base64url("payload", payload).map_err(|refusal| refusal.reason)?;
    let tag = base64url("signature", signature).map_err(|refusal| refusal.reason)?;
    let algorithm = Algorithm::named(&header.alg).ok_or(Reason::AlgNotAllowed)?;
    let key = set
        .find(header.kid.as_deref(), algorithm)
        .map_err(|miss| match miss {
            Miss::Unknown { .. } => Reason::KeyUnknown,
            Miss::Mismatch(_) => Reason::KeyMismatch,
        })?;
    let signed = &token.as_bytes()[..token.len() - signature.len() - 1];
    key.verify(signed, &tag)
        .map_err(|_| Reason::SignatureInvalid)?;
    Ok(payload)
}

/// A set of the keys, written by the operator.
pub(super) fn local(keys: &[Value]) -> Option<KeySet> {
    KeySet::from_local_jwks(json!({ "keys": keys }).to_string().as_bytes()).ok()
}

/// A key without its private numbers, with which it would be refused (RFC 7518 sections 6.2.2 and 6.3.2).
pub(super) fn public(key: &Value) -> Value {
    let mut key = key.clone();
    if let Some(members) = key.as_object_mut() {
        for name in ["d", "p", "q", "dp", "dq", "qi"] {
            members.remove(name);
        }
    }
    key
}
