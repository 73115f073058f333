use super::*;
use crate::token::testing::{Signer, b64, jwks, key_set};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

/// Why the only key of a JWKS is skipped.
#[track_caller]
fn why(jwk: Value) -> String {
    match KeySet::from_jwks(&jwks(&[jwk])) {
        Err(JwksError::NothingUsable(skipped)) => skipped[0].why.clone(),
        other => panic!("not skipped: {other:?}"),
    }
}

#[test]
fn every_type_of_key_is_read() {
    let signers = [
        Signer::new(Algorithm::RS256, "r"),
        Signer::new(Algorithm::ES256, "e2"),
        Signer::new(Algorithm::ES384, "e3"),
        Signer::new(Algorithm::ES512, "e5"),
        Signer::new(Algorithm::EdDSA, "ed"),
    ];
    let set = key_set(&signers.iter().map(Signer::jwk).collect::<Vec<_>>());
    assert_eq!(
        set.kids().collect::<Vec<_>>(),
        ["r", "e2", "e3", "e5", "ed"]
    );
    assert!(set.skipped().is_empty() && set.len() == 5);
    let kinds: Vec<_> = set.entries().map(|key| (key.kind, key.bits)).collect();
    assert_eq!(
        kinds,
        [
            ("RSA", 2048),
            ("EC", 256),
            ("EC", 384),
            ("EC", 521),
            ("OKP", 256)
        ]
    );
    for signer in &signers {
        assert!(set.find(Some(signer.kid), signer.algorithm).is_ok());
        // The only one of its kind is also found without a name.
        assert!(set.find(None, signer.algorithm).is_ok());
    }
    assert_eq!(
        set.find(Some("x"), Algorithm::RS256).unwrap_err(),
        Miss::Unknown { fitting: 0 }
    );
}

#[test]
fn t04_t06_type_alg_use_and_key_ops_decide() {
    let rsa = Signer::new(Algorithm::RS256, "k");
    assert!(why(rsa.jwk_with(&json!({"use": "enc"}))).contains("encryption"));
    assert!(why(rsa.jwk_with(&json!({"use": "x\n"}))).contains(r"x\n"));
    assert!(why(rsa.jwk_with(&json!({"key_ops": ["encrypt", "sign"]}))).contains("verify"));
    assert!(why(rsa.jwk_with(&json!({"alg": "ES256"}))).contains("cannot do"));
    assert!(why(rsa.jwk_with(&json!({"alg": "RSA-OAEP"}))).contains("no signature algorithm"));
    assert!(why(rsa.jwk_with(&json!({"alg": "HS256"}))).contains("cannot do"));
    assert!(why(rsa.jwk_with(&json!({"alg": "ES256K"}))).contains("not available"));
    assert!(why(rsa.jwk_with(&json!({"alg": 5}))).contains("no JWK"));
    for change in [
        json!({"use": "sig"}),
        json!({"key_ops": ["verify"]}),
        json!({"alg": null}),
    ] {
        assert_eq!(key_set(&[rsa.jwk_with(&change)]).len(), 1);
    }
    // Without alg the type bounds what the key may do; with it, that alone.
    let open = key_set(&[rsa.jwk_with(&json!({"alg": null}))]);
    let fixed = key_set(&[rsa.jwk()]);
    assert!(open.find(Some("k"), Algorithm::PS512).is_ok());
    assert!(matches!(
        fixed.find(Some("k"), Algorithm::PS512),
        Err(Miss::Mismatch(_))
    ));
    assert!(matches!(
        open.find(Some("k"), Algorithm::ES256),
        Err(Miss::Mismatch(_))
    ));
    let p384 = key_set(&[Signer::new(Algorithm::ES384, "k").jwk()]);
    assert!(matches!(
        p384.find(Some("k"), Algorithm::ES256),
        Err(Miss::Mismatch(_))
    ));
}

/// jsonwebtoken reads these without complaint: the curve of one type in a key of another.
#[test]
fn t06_types_and_curves_do_not_mix() {
    let ec = Signer::new(Algorithm::ES256, "k");
    let ed = Signer::new(Algorithm::EdDSA, "k");
    for jwk in [
        ec.jwk_with(&json!({"crv": "Ed25519", "alg": null})),
        ed.jwk_with(&json!({"crv": "P-256", "alg": null})),
        ec.jwk_with(&json!({"crv": "P-521", "alg": null})),
        ec.jwk_with(&json!({"crv": "secp256k1", "alg": null})),
        ed.jwk_with(&json!({"crv": "X25519", "alg": null})),
        ec.jwk_with(&json!({"crv": "P-384", "alg": null})),
        ec.jwk_with(&json!({"y": null})),
    ] {
        why(jwk);
    }
}

#[test]
fn t05_symmetric_and_private_keys_are_ignored() {
    let good = Signer::new(Algorithm::ES256, "good");
    let oct = json!({"kty": "oct", "kid": "s\u{0}", "k": "c2VjcmV0"});
    let leaked = good.jwk_with(&json!({"kid": "leaked", "d": "AA"}));
    let set = KeySet::from_jwks(&jwks(&[oct, leaked, good.jwk()])).unwrap();
    assert_eq!(set.kids().collect::<Vec<_>>(), ["good"]);
    let [symmetric, private] = set.skipped() else {
        panic!("{:?}", set.skipped())
    };
    assert!(symmetric.why.contains("symmetric") && symmetric.kid.as_deref() == Some(r#""s\u{0}""#));
    assert!(private.why.contains("private half"));
}

/// What the operator wrote may hold a secret; what was fetched may not (threats.md 5).
#[test]
fn t05_a_local_set_may_hold_secrets_that_are_long_enough() {
    let oct = |bytes: usize, more: &Value| {
        let jwk = json!({"kty": "oct", "kid": "s", "k": b64(vec![7; bytes])});
        crate::token::testing::merged(jwk, more)
    };
    let local = |jwk: Value| KeySet::from_local_jwks(&jwks(&[jwk]));
    for (bytes, algorithms) in [
        (32, "HS256"),
        (47, "HS256"),
        (48, "HS256, HS384"),
        (64, "HS256, HS384, HS512"),
    ] {
        let set = local(oct(bytes, &json!({}))).unwrap();
        let [key] = set.entries().collect::<Vec<_>>()[..] else {
            panic!("{set:?}")
        };
        assert_eq!(key.algorithms.to_string(), algorithms);
        assert_eq!((key.kind, key.bits), ("oct", bytes * 8));
        // A secret is for nothing else, and stays out of what is printed.
        for algorithm in Algorithm::ALL {
            let fits = key.algorithms.contains(algorithm);
            assert_eq!(set.find(Some("s"), algorithm).is_ok(), fits, "{algorithm}");
        }
        assert!(!format!("{set:?}").contains("7, 7, 7"));
        assert!(KeySet::from_jwks(&jwks(&[oct(bytes, &json!({}))])).is_err());
    }
    for (jwk, expected) in [
        (oct(31, &json!({})), "31 bytes"),
        (oct(0, &json!({})), "0 bytes"),
        (oct(32, &json!({"alg": "HS512"})), "cannot do"),
        (oct(64, &json!({"alg": "RS256"})), "cannot do"),
        (oct(64, &json!({"use": "enc"})), "encryption"),
    ] {
        match local(jwk) {
            Err(JwksError::NothingUsable(skipped)) => {
                assert!(skipped[0].why.contains(expected), "{skipped:?}");
            }
            other => panic!("not skipped: {other:?}"),
        }
    }
}

#[test]
fn t18_weak_and_absurd_rsa_keys_are_refused() {
    let rsa = Signer::new(Algorithm::RS256, "k");
    let modulus = |bytes: usize| b64(vec![0xff; bytes]);
    for (bytes, bits) in [
        (64, "512"),
        (128, "1024"),
        (255, "2040"),
        (1025, "8200"),
        (2048, "16384"),
    ] {
        assert!(
            why(rsa.jwk_with(&json!({"n": modulus(bytes)}))).contains(bits),
            "{bits}"
        );
    }
    for e in [
        &[1_u8][..],
        &[3],
        &[17],
        &[1, 0, 0],
        &[1, 0, 2],
        &[0xff; 6],
        &[],
    ] {
        assert!(
            why(rsa.jwk_with(&json!({"e": b64(e)}))).contains("exponent"),
            "{e:?}"
        );
    }
    assert!(why(rsa.jwk_with(&json!({"n": "a+b"}))).contains("base64url"));
    assert!(why(rsa.jwk_with(&json!({"n": ""}))).contains("0 bits"));
    let mut short = vec![0xff; 256];
    short[0] = 1;
    assert!(why(rsa.jwk_with(&json!({"n": b64(short)}))).contains("2041 bits"));
    assert!(
        why(rsa.jwk_with(&json!({"e": b64([1, 0, 0, 0, 0, 0, 0, 0, 1])}))).contains("exponent")
    );
    // A leading zero breaks the letter of RFC 7518 and changes nothing else.
    let n = URL_SAFE_NO_PAD
        .decode(rsa.jwk()["n"].as_str().unwrap())
        .unwrap();
    let padded = b64([&[0], n.as_slice()].concat());
    assert_eq!(
        key_set(&[rsa.jwk_with(&json!({"n": padded}))]),
        key_set(&[rsa.jwk()])
    );
}

#[test]
fn points_must_lie_on_their_curve() {
    let ec = Signer::new(Algorithm::ES256, "k");
    assert!(why(ec.jwk_with(&json!({"x": b64([7; 32])}))).contains("numbers"));
    assert!(why(ec.jwk_with(&json!({"x": b64([7; 31])}))).contains("31 bytes"));
    assert!(why(ec.jwk_with(&json!({"x": b64([7; 33])}))).contains("33 bytes"));
}

#[test]
fn t47_what_is_no_jwks() {
    let from = |text: &[u8]| KeySet::from_jwks(text).unwrap_err();
    assert!(matches!(from(b"<html>"), JwksError::Json(_)));
    assert!(matches!(from(b""), JwksError::Json(_)));
    assert_eq!(from(b"{}"), JwksError::NoKeys);
    assert_eq!(from(br#"{"keys":{}}"#), JwksError::NoKeys);
    assert_eq!(from(br#"{"keys":[]}"#), JwksError::NothingUsable(vec![]));
    assert!(matches!(
        from(br#"{"keys":[1]}"#),
        JwksError::NothingUsable(_)
    ));
    assert!(matches!(
        from(br#"{"keys":[],"keys":[]}"#),
        JwksError::Json(_)
    ));
    assert_eq!(
        from(&vec![b' '; MAX_JWKS_BYTES + 1]),
        JwksError::TooLarge(MAX_JWKS_BYTES + 1)
    );
    let many: Vec<_> = (0..=MAX_KEYS).map(|_| json!({})).collect();
    assert_eq!(from(&jwks(&many)), JwksError::TooManyKeys(65));
    // As many, and as large, as may be.
    let good = Signer::new(Algorithm::ES256, "k").jwk();
    let most: Vec<_> = std::iter::once(good)
        .chain((1..MAX_KEYS).map(|_| json!({})))
        .collect();
    let mut text = jwks(&most);
    text.resize(MAX_JWKS_BYTES, b' ');
    let set = KeySet::from_jwks(&text).unwrap();
    assert_eq!((set.len(), set.is_empty()), (1, false));
    let nothing = from(br#"{"keys":[{"kty":"oct","k":""}]}"#).to_string();
    assert!(
        nothing.contains("none of the 1 keys") && nothing.contains("the first: it is symmetric"),
        "{nothing}"
    );
}

#[test]
fn one_name_may_stand_for_keys_of_different_algorithms_only() {
    let (a, b, rsa) = (
        Signer::new(Algorithm::ES256, "k"),
        Signer::new(Algorithm::ES256, "k"),
        Signer::new(Algorithm::RS256, "k"),
    );
    let set = key_set(&[a.jwk(), b.jwk(), rsa.jwk()]);
    assert_eq!((set.len(), set.skipped().len()), (2, 1));
    assert!(
        set.find(Some("k"), Algorithm::RS256).is_ok()
            && set.find(Some("k"), Algorithm::ES256).is_ok()
    );
}

#[test]
fn without_a_name_exactly_one_key_must_fit() {
    let (a, b) = (
        Signer::new(Algorithm::ES256, "a"),
        Signer::new(Algorithm::ES256, "b"),
    );
    let set = key_set(&[a.jwk(), b.jwk()]);
    assert_eq!(
        set.find(None, Algorithm::ES256).unwrap_err(),
        Miss::Unknown { fitting: 2 }
    );
    assert_eq!(
        set.find(None, Algorithm::RS256).unwrap_err(),
        Miss::Unknown { fitting: 0 }
    );
}

#[test]
fn t50_equality_is_about_material_and_names_not_order() {
    let (a, b) = (
        Signer::new(Algorithm::ES256, "a"),
        Signer::new(Algorithm::EdDSA, "b"),
    );
    let set = key_set(&[a.jwk(), b.jwk()]);
    assert_eq!(set, key_set(&[b.jwk(), a.jwk()]));
    assert_eq!(
        set.fingerprint(),
        key_set(&[b.jwk(), a.jwk()]).fingerprint()
    );
    assert_ne!(set.fingerprint(), key_set(&[a.jwk()]).fingerprint());
    assert_eq!(
        set,
        key_set(&[b.jwk(), a.jwk_with(&json!({"use": "sig", "x5t": "zz"}))])
    );
    assert_ne!(set, key_set(&[a.jwk()]));
    assert_ne!(
        set,
        key_set(&[Signer::new(Algorithm::ES256, "a").jwk(), b.jwk()])
    );
    assert_ne!(set, key_set(&[a.jwk_with(&json!({"kid": "c"})), b.jwk()]));
    assert_ne!(
        key_set(&[a.jwk_with(&json!({"kid": ""}))]),
        key_set(&[a.jwk_with(&json!({"kid": null}))])
    );
}

/// Its structure condemns a modulus, whatever its size.
#[test]
fn t18_keys_of_the_flawed_infineon_library_are_refused() {
    // Of Wycheproof's JSON Web Key vectors, number 7.
    let n = "AanFpofbj7KjD4Lf-N2hVMKR7yewSyXhhbirIMTGpfYEhZ_lnt5UoK98DnKIgArXGTu3MaW_HhFw16HG\
        aTDUHqPrId7fe4r11CqRw09yBFuW79V8sYIwHdzCaWflUI6auImYbVfoN9_nD5n8N8SY9DwXw7mwZM9w\
        REPXoDPgOoIWl6q_MPsp7n0zs3Z5ZaiQWOOzl1S9OhwAfSiiOwz6efnXEaxuTEtPd7BjSx7NaFka8Dx9\
        U7YqXy2RFj1O9PjyaDGuRh7YXsX3iMUSP_wSyHQg_c_qHRtKUsNSGCT7OZg0hzm2KphtjnayKJvC64vA\
        bROBR4Ubg6Bxg9IQVZ-QYyE";
    let jwk = json!({"kty": "RSA", "kid": "roca", "n": n, "e": "AQAB"});
    assert!(why(jwk.clone()).contains("ROCA"), "{}", why(jwk));
}

/// As libsodium lists them (ge25519_has_small_order): every encoding of the eight points, whatever the sign of x says.
#[test]
fn t18_every_point_of_small_order_is_refused_and_no_neighbour_of_one() {
    let zeros = |first: u8| [&[first][..], &[0; 31]].concat();
    let ones = |first: u8| [&[first][..], &[0xff; 30], &[0x7f]].concat();
    let hex = |text: &str| -> Vec<u8> {
        let byte = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
        (0..64).step_by(2).map(byte).collect()
    };
    let points = [
        zeros(0),
        zeros(1),
        hex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
        hex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
        ones(0xec),
        ones(0xed),
        ones(0xee),
    ];
    let jwk = |point: &[u8]| {
        let x = URL_SAFE_NO_PAD.encode(point);
        json!({"kty": "OKP", "crv": "Ed25519", "kid": "e", "x": x})
    };
    let is_refused = |point: &[u8]| {
        let document = jwks(&[jwk(point), Signer::new(Algorithm::ES256, "a").jwk()]);
        let set = KeySet::from_jwks(&document).unwrap();
        set.skipped()
            .iter()
            .any(|key| key.why.contains("small order"))
    };
    for point in points {
        for sign in [0, 0x80] {
            let mut point = point.clone();
            point[31] |= sign;
            assert!(is_refused(&point), "{point:02x?}");
            for at in [0, 30, 31] {
                let mut other = point.clone();
                other[at] ^= 0x10;
                assert!(!is_refused(&other), "{other:02x?}");
            }
        }
    }
}

/// What is said of a key set is logged and shown by status.
#[test]
fn t05_nothing_said_of_a_secret_repeats_it() {
    for k in [
        json!("SHARED secret!"),
        json!("SHARED=="),
        json!("SHARED"),
        json!(987_654_321),
        json!(["SHARED"]),
        json!({ "SHARED": "secret" }),
        json!(null),
        json!(true),
    ] {
        let mut key = json!({ "kty": "oct", "k": k });
        for alg in [None, Some("HS256"), Some("ES256")] {
            if let Some(alg) = alg {
                key["alg"] = json!(alg);
            }
            let Err(refused) = KeySet::from_local_jwks(&jwks(&[key.clone()])) else {
                panic!("{key} is taken");
            };
            let said = format!("{refused} {refused:?}");
            for part in ["SHARED", "secret!", "98765"] {
                assert!(!said.contains(part), "{key}: {said}");
            }
        }
    }
    let key = json!({ "kty": "oct", "k": "SHARED".repeat(10) });
    let set = KeySet::from_local_jwks(&jwks(&[key])).unwrap();
    // As text; and its bytes as numbers: 72, 4, 64, 68 (RFC 4648 section 5).
    let shown = format!("{set:?}");
    assert!(
        !shown.contains("SHARED") && !shown.contains("72, 4"),
        "{shown}"
    );
}
