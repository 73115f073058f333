use serde_json::{Map, json};

use super::*;

macro_rules! fixture {
    ($name:literal) => {
        include_str!(concat!("../../../../tests/fixtures/keys/", $name))
    };
}

#[test]
fn a_key_is_the_same_in_every_form() {
    for (kind, thumbprint, algorithms, forms) in [
        (
            "RSA",
            "NOwKn_HKDT5JaMizPi2nxnH2nmRGFNo-EhQTyHN1rEM",
            "RS256, RS384, RS512, PS256, PS384, PS512",
            &[
                fixture!("rsa.pk8.pem"),
                fixture!("rsa.pkcs1.pem"),
                fixture!("rsa.jwk.json"),
            ][..],
        ),
        (
            "P-256",
            "ngJASkB2la3vUCK8Alz1UHPTZYn3sjLXUG14m9fpqEU",
            "ES256",
            &[
                fixture!("p256.pk8.pem"),
                fixture!("p256.sec1.pem"),
                fixture!("p256.jwk.json"),
            ],
        ),
        (
            "P-521",
            "Ggqumg1v2_vWAFnB6wQHggebWifXPfBwZrU4SwCGqD4",
            "ES512",
            &[fixture!("p521.params.sec1.pem")],
        ),
        (
            "Ed25519",
            "U0kvnvkbExVbSH4S4w0Wf3WBl_lkgOUMtku_OLbPTnA",
            "EdDSA",
            &[fixture!("ed25519.pk8.pem"), fixture!("ed25519.jwk.json")],
        ),
    ] {
        for text in forms {
            let file = KeyFile::parse(text.as_bytes()).unwrap();
            // As Python's json and hashlib have it, from what openssl says of the key.
            assert_eq!(file.key.thumbprint().as_deref(), Some(thumbprint), "{kind}");
            assert_eq!(file.key.algorithms().to_string(), algorithms, "{kind}");
        }
    }
}

#[test]
fn a_jwk_brings_its_name_and_algorithm_and_a_set_of_one_is_a_jwk() {
    let jwk: Value = serde_json::from_str(fixture!("rsa.jwk.json")).unwrap();
    for json in [jwk.clone(), json!({ "keys": [jwk] })] {
        let file = KeyFile::parse(json.to_string().as_bytes()).unwrap();
        assert_eq!(file.kid.as_deref(), Some("rsa-1"));
        assert_eq!(file.algorithm, Some(Algorithm::PS256));
    }
    let file = KeyFile::parse(fixture!("rsa.pk8.pem").as_bytes()).unwrap();
    assert_eq!((file.kid, file.algorithm), (None, None));
}

/// The key of RFC 7515 appendix A.1.
#[test]
fn a_secret_signs_as_others_do() {
    let jwk = json!({
        "kty": "oct",
        "k": "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow",
    });
    let file = KeyFile::parse(jwk.to_string().as_bytes()).unwrap();
    assert_eq!(
        file.key.thumbprint(),
        None,
        "a hash of a secret is not shown"
    );
    // `{}` and `{}`, as Python's hmac signs them.
    let token = file.key.token(Algorithm::HS256, &Map::new(), &Map::new());
    assert_eq!(
        token.unwrap(),
        "e30.e30.8Iq_nWTC6d5vpGyAlOBTcgIjsKpvB8PXwc98VLas5Nc"
    );
}

#[test]
fn what_is_no_private_key_is_refused_by_what_it_is_and_never_shown() {
    let jwk = |changes: Value| {
        let mut jwk: Value = serde_json::from_str(fixture!("p256.jwk.json")).unwrap();
        for (name, value) in changes.as_object().unwrap() {
            jwk[name] = value.clone();
        }
        jwk.to_string()
    };
    let pem = fixture!("p256.pk8.pem");
    let stranger: Value = serde_json::from_str(fixture!("ed25519.jwk.json")).unwrap();
    for (text, why) in [
        (String::new(), "no private key"),
        ("secret".to_owned(), "no private key"),
        ("{}".to_owned(), "no private key"),
        ("[]".to_owned(), "no private key"),
        (fixture!("rsa.encrypted.pem").to_owned(), "openssl pkcs8"),
        (fixture!("rsa.public.pem").to_owned(), "public key only"),
        (fixture!("weak.pem").to_owned(), "RSA of 2048"),
        (pem.replace("-----END", "END"), "END line"),
        (pem.replace("MIGH", "M=GH"), "no base64"),
        (pem.replace("MIGH", "AAAA"), "broken or of an unknown type"),
        (jwk(json!({ "d": null })), "public key only"),
        (jwk(json!({ "d": 7 })), "`d` is missing, or no string"),
        (jwk(json!({ "d": "+/==" })), "`d` is no base64url"),
        (jwk(json!({ "x": null })), "`x` is missing"),
        (jwk(json!({ "x": stranger["x"] })), "do not belong together"),
        (jwk(json!({ "crv": "P-384" })), "do not belong together"),
        (jwk(json!({ "crv": "secp256k1" })), "`crv` is none of"),
        (jwk(json!({ "kty": "EX" })), "`kty` is none of"),
        (jwk(json!({ "kty": 1 })), "`kty` is no string"),
        (jwk(json!({ "alg": "RS256" })), "`alg` is not what"),
        (jwk(json!({ "kid": [1] })), "`kid` is no string"),
        (
            json!({ "kty": "oct", "k": "c2hvcnQ" }).to_string(),
            "shorter than the 32 bytes",
        ),
        (json!({ "keys": [] }).to_string(), "a set of 0 keys"),
        (
            json!({ "keys": [stranger, stranger] }).to_string(),
            "a set of 2 keys",
        ),
    ] {
        let error = KeyFile::parse(text.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(why), "{error}\nnot {why}");
        // No run of what the file says, in particular not of its numbers.
        let secrets = text
            .split(|c: char| !c.is_ascii_alphanumeric())
            .filter(|part| part.len() >= 20);
        for secret in secrets {
            assert!(!error.contains(&secret[..20]), "{error}");
        }
    }
}
