//! The examples of RFC 7515 appendix A and RFC 8037 appendix A, to the letter.

use std::sync::Arc;

use serde_json::{Value, json};

use super::layer::{local, open};
use crate::reason::Reason;
use crate::token::jws::Jws;
use crate::token::jwt::{Issuer, verify};
use crate::token::keys::{Algorithms, KeySet};
use crate::token::testing::{NOW, candidate, issuer};

/// The payload of A.1, A.2, A.3 and A.5, with its line breaks.
const JOE: &str = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFt\
    cGxlLmNvbS9pc19yb290Ijp0cnVlfQ";

/// One example: where it stands, the key, and the three segments.
struct Example {
    section: &'static str,
    key: fn() -> Value,
    header: &'static str,
    payload: &'static str,
    signature: &'static str,
}

const EXAMPLES: [Example; 5] = [
    Example {
        section: "RFC 7515 A.1, HS256",
        key: || {
            json!({"kty": "oct", "k": "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75\
                aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"})
        },
        header: "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9",
        payload: JOE,
        signature: "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
    },
    Example {
        section: "RFC 7515 A.2, RS256",
        key: || {
            json!({"kty": "RSA", "n": "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddx\
                HmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMs\
                D1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSH\
                SXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdV\
                MTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8\
                NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ", "e": "AQAB"})
        },
        header: "eyJhbGciOiJSUzI1NiJ9",
        payload: JOE,
        signature: "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7\
            AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4\
            BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K\
            0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqv\
            hJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrB\
            p0igcN_IoypGlUPQGe77Rw",
    },
    Example {
        section: "RFC 7515 A.3, ES256",
        key: || {
            json!({"kty": "EC", "crv": "P-256",
                "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
                "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"})
        },
        header: "eyJhbGciOiJFUzI1NiJ9",
        payload: JOE,
        signature: "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSA\
            pmWQxfKTUJqPP3-Kg6NU1Q",
    },
    Example {
        section: "RFC 7515 A.4, ES512",
        key: || {
            json!({"kty": "EC", "crv": "P-521",
                "x": "AekpBQ8ST8a8VcfVOTNl353vSrDCLLJXmPk06wTjxrrjcBpXp5EOnYG_\
                    NjFZ6OvLFV1jSfS9tsz4qUxcWceqwQGk",
                "y": "ADSmRA43Z1DSNx_RvcLI87cdL07l6jQyyBXMoxVg_l2Th-x3S1WDhjDl\
                    y79ajL4Kkd0AZMaZmh9ubmf63e3kyMj2"})
        },
        header: "eyJhbGciOiJFUzUxMiJ9",
        payload: "UGF5bG9hZA",
        signature: "AdwMgeerwtHoh-l192l60hp9wAHZFVJbLfD_UxMi70cwnZOYaRI1bKPWROc-mZZq\
            wqT2SI-KGDKB34XO0aw_7XdtAG8GaSwFKdCAPZgoXD2YBJZCPEX3xKpRwcdOO8Kp\
            EHwJjyqOgzDO7iKvU8vcnwNrmxYbSW9ERBXukOXolLzeO_Jn",
    },
    Example {
        section: "RFC 8037 A.4 and A.5, Ed25519",
        key: || {
            json!({"kty": "OKP", "crv": "Ed25519",
                "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"})
        },
        header: "eyJhbGciOiJFZERTQSJ9",
        payload: "RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc",
        signature: "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5B\
            hVsPt9g7sVvpAr_MuM0KAg",
    },
];

impl Example {
    fn token(&self) -> String {
        format!("{}.{}.{}", self.header, self.payload, self.signature)
    }

    fn set(&self) -> KeySet {
        local(&[(self.key)()]).unwrap()
    }
}

/// The whole verification for an issuer `joe` who may use every algorithm.
fn for_joe(set: &KeySet, token: &str) -> Reason {
    let joe = Arc::new(Issuer {
        issuer: "joe".into(),
        algorithms: Algorithms::ALL,
        ..issuer()
    });
    verify(token.as_bytes(), &[candidate(&joe, set)], NOW)
        .unwrap_err()
        .reason
}

#[test]
fn the_examples_verify_and_no_bit_of_their_signatures_may_differ() {
    for example in &EXAMPLES {
        let set = example.set();
        let payload = open(&set, &example.token());
        assert!(payload.is_ok(), "{}: {payload:?}", example.section);
        let signed = format!("{}.{}", example.header, example.payload);
        let signature = crate::token::jws::base64url("", example.signature.as_bytes()).unwrap();
        for bit in 0..signature.len() * 8 {
            let mut other = signature.clone();
            other[bit / 8] ^= 1 << (bit % 8);
            let token = format!("{signed}.{}", crate::token::testing::b64(other));
            assert_eq!(
                open(&set, &token),
                Err(Reason::SignatureInvalid),
                "{} with bit {bit} changed",
                example.section
            );
        }
        // Nor is it another example's.
        for other in EXAMPLES.iter().filter(|o| o.section != example.section) {
            let token = format!("{signed}.{}", other.signature);
            assert_eq!(open(&set, &token), Err(Reason::SignatureInvalid));
        }
    }
}

/// As tokens they lack an audience; A.4 and RFC 8037 sign prose. That the signature is good shows in the
/// order of the reasons.
#[test]
fn the_examples_are_refused_as_tokens_for_what_they_lack() {
    for example in &EXAMPLES {
        let set = example.set();
        let (good, changed) = if example.payload == JOE {
            (Reason::ClaimMissing, Reason::SignatureInvalid)
        } else {
            (Reason::TokenMalformed, Reason::TokenMalformed)
        };
        assert_eq!(for_joe(&set, &example.token()), good, "{}", example.section);
        let forged = format!("{}.{}.AAAA", example.header, example.payload);
        assert_eq!(for_joe(&set, &forged), changed, "{}", example.section);
    }
}

/// RFC 7515 A.5: an unsecured JWS; and the JSON serialisations of A.6 and A.7.
#[test]
fn t01_t13_what_is_not_signed_or_not_compact_is_refused() {
    let unsecured = format!("eyJhbGciOiJub25lIn0.{JOE}.");
    let parsed = Jws::parse(unsecured.as_bytes()).unwrap();
    assert_eq!((&*parsed.header.alg, parsed.signature.len()), ("none", 0));
    for example in &EXAMPLES {
        let set = example.set();
        assert_eq!(open(&set, &unsecured), Err(Reason::AlgNotAllowed));
        assert_eq!(for_joe(&set, &unsecured), Reason::AlgNotAllowed);
        let one = json!({"protected": example.header, "signature": example.signature});
        let mut flat = one.clone();
        flat["payload"] = example.payload.into();
        let general = json!({"payload": example.payload, "signatures": [one]});
        for serialised in [flat.to_string(), general.to_string()] {
            assert_eq!(for_joe(&set, &serialised), Reason::TokenMalformed);
        }
    }
}
