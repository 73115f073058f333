//! Lines 4, 6, 7 and 18: which key may verify what, and what is a signature.

use std::sync::Arc;

use serde_json::json;

use super::stage::{STAGE, gate};
use super::table::Table;
use crate::reason::Reason;
use crate::token::testing::{b64, key_set};

/// The order of P-256 (SEC 2 section 2.4.2).
const ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6,
    0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];

pub(super) fn table() -> Table {
    let mut table = Table::new(gate());
    keys_of_other_kinds(&mut table);
    keys_for_other_uses(&mut table);
    numbers(&mut table);
    weak_keys(&mut table);
    table
}

fn keys_of_other_kinds(table: &mut Table) {
    let stage = &*STAGE;
    for (signer, alg, kid) in [
        (&stage.rsa, "RS256", "p256"),
        (&stage.rsa, "RS256", "ed"),
        (&stage.rsa, "PS256", "rsa"),
        (&stage.rsa, "RS384", "rsa"),
        (&stage.rsa, "RS512", "rsa"),
        (&stage.p256, "ES256", "rsa"),
        (&stage.p256, "ES256", "p384"),
        (&stage.p256, "ES256", "p521"),
        (&stage.p256, "ES384", "p256"),
        (&stage.p256, "ES512", "p256"),
        (&stage.p256, "EdDSA", "p256"),
        (&stage.p384, "ES384", "p256"),
        (&stage.p384, "ES256", "p384"),
        (&stage.p521, "ES512", "p384"),
        (&stage.p521, "ES384", "p521"),
        (&stage.ed, "EdDSA", "p256"),
        (&stage.ed, "EdDSA", "rsa"),
        (&stage.ed, "ES256", "ed"),
    ] {
        let token = signer.token_with(&json!({"alg": alg, "kid": kid}), &json!({}));
        table.refuses(6, format!("{alg} under {kid}"), token, Reason::KeyMismatch);
    }
    // The key fits, and another signed.
    for (signer, victim) in [
        (&stage.p256, &stage.p384),
        (&stage.rsa, &stage.ed),
        (&stage.ed, &stage.rsa),
    ] {
        let header = json!({"alg": victim.algorithm.name(), "kid": victim.kid});
        let token = signer.token_with(&header, &json!({}));
        table.refuses(
            6,
            format!("{} signed by {}", victim.kid, signer.kid),
            token,
            Reason::SignatureInvalid,
        );
    }
    for alg in [
        "ES256K",
        "Ed25519",
        "Ed448",
        "RS1",
        "RS256 ",
        "ML-DSA-65",
        "HS256",
    ] {
        let token = stage.p256.token_with(&json!({"alg": alg}), &json!({}));
        table.refuses(6, format!("alg {alg}"), token, Reason::AlgNotAllowed);
    }
    table.at(gate().with(|issuer| {
        issuer.algorithms = [crate::token::keys::Algorithm::RS256].into_iter().collect();
    }));
    table.refuses(
        6,
        "ES256 where RS256 alone is listed",
        stage.p256.token(&json!({})),
        Reason::AlgNotAllowed,
    );
    table.accepts(6, "RS256", stage.rsa.token(&json!({})));
    table.at(gate());
}

fn keys_for_other_uses(table: &mut Table) {
    let stage = &*STAGE;
    for change in [
        json!({"use": "enc"}),
        json!({"use": "x"}),
        json!({"key_ops": ["encrypt"]}),
        json!({"key_ops": ["sign"]}),
        json!({"key_ops": []}),
        json!({"alg": "RSA-OAEP"}),
        json!({"alg": "ES384"}),
        json!({"alg": "none"}),
        json!({"alg": ""}),
        json!({"alg": "es256"}),
        json!({"d": "AAAA"}),
    ] {
        let mut gate = gate();
        gate.set = Arc::new(key_set(&[stage.rsa.jwk(), stage.p256.jwk_with(&change)]));
        table.at(gate);
        // Not there at all: such a key does not even say what it is for.
        table.refuses(
            4,
            format!("a key with {change}"),
            stage.p256.token(&json!({})),
            Reason::KeyUnknown,
        );
        let nameless = stage.p256.token_with(&json!({"kid": null}), &json!({}));
        table.refuses(
            4,
            format!("a key with {change}, no kid"),
            nameless,
            Reason::KeyUnknown,
        );
        table.accepts(
            4,
            format!("the key beside one with {change}"),
            stage.rsa.token(&json!({})),
        );
    }
    let mut gate = gate();
    let ps256 = stage.rsa.jwk_with(&json!({"alg": "PS256"}));
    gate.set = Arc::new(key_set(&[ps256]));
    table.at(gate);
    table.refuses(
        4,
        "RS256 under a key of PS256",
        stage.rsa.token(&json!({})),
        Reason::KeyMismatch,
    );
}

fn numbers(table: &mut Table) {
    table.at(gate());
    let token = STAGE.p256.token(&json!({}));
    let (head, signature) = token.rsplit_once('.').unwrap();
    let raw = crate::token::jws::base64url("", signature.as_bytes()).unwrap();
    let (r, s) = raw.split_at(32);
    let (zero, one) = ([0; 32], {
        let mut one = [0; 32];
        one[31] = 1;
        one
    });
    let less = {
        let mut less = ORDER;
        less[31] -= 1;
        less
    };
    let more = {
        let mut more = ORDER;
        more[31] += 1;
        more
    };
    let integer = |n: &[u8]| [&[2, 33, 0], n].concat();
    let der = [&[0x30, 70][..], &integer(r), &integer(s)].concat();
    let mut cases = vec![
        ("nothing".to_owned(), vec![]),
        ("DER".into(), der),
        ("63 bytes".into(), raw[..63].to_vec()),
        ("65 bytes, zero behind".into(), [&raw[..], &[0]].concat()),
        ("65 bytes, zero before".into(), [&[0], &raw[..]].concat()),
        (
            "66 bytes, zeros before each".into(),
            [&[0], r, &[0], s].concat(),
        ),
        ("r alone".into(), r.to_vec()),
        ("r and s exchanged".into(), [s, r].concat()),
        ("all ones".into(), vec![0xff; 64]),
        ("twice".into(), [&raw[..], &raw].concat()),
        ("the length of P-384".into(), vec![1; 96]),
        ("64 KB short of the limit".into(), vec![0; 9_000]),
    ];
    let bounds = [
        ("0", zero),
        ("1", one),
        ("n-1", less),
        ("n", ORDER),
        ("n+1", more),
    ];
    for (left, a) in &bounds {
        for (right, b) in &bounds {
            cases.push((format!("r = {left}, s = {right}"), [&a[..], b].concat()));
        }
        cases.push((format!("r = {left}"), [&a[..], s].concat()));
        cases.push((format!("s = {left}"), [r, &a[..]].concat()));
    }
    for (what, bytes) in cases {
        table.refuses(
            7,
            what,
            format!("{head}.{}", b64(bytes)),
            Reason::SignatureInvalid,
        );
    }
    // The same of the others: zeros, short, long.
    for signer in [&STAGE.rsa, &STAGE.p384, &STAGE.p521, &STAGE.ed] {
        let token = signer.token(&json!({}));
        let (head, signature) = token.rsplit_once('.').unwrap();
        let raw = crate::token::jws::base64url("", signature.as_bytes()).unwrap();
        for (what, bytes) in [
            ("zeros", vec![0; raw.len()]),
            ("one byte less", raw[..raw.len() - 1].to_vec()),
            ("one byte more", [&raw[..], &[0]].concat()),
            ("ones", vec![0xff; raw.len()]),
        ] {
            let token = format!("{head}.{}", b64(bytes));
            table.refuses(
                7,
                format!("{}: {what}", signer.kid),
                token,
                Reason::SignatureInvalid,
            );
        }
    }
    // Ed25519 with s + L: the same point, another string (RFC 8032 section 5.1.7).
    let token = STAGE.ed.token(&json!({}));
    let (head, signature) = token.rsplit_once('.').unwrap();
    let mut raw = crate::token::jws::base64url("", signature.as_bytes()).unwrap();
    const L: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde,
        0x14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let mut carry = 0;
    for (byte, add) in raw[32..].iter_mut().zip(L) {
        carry += u16::from(*byte) + u16::from(add);
        *byte = carry as u8;
        carry >>= 8;
    }
    table.refuses(
        7,
        "Ed25519 with s + L",
        format!("{head}.{}", b64(raw)),
        Reason::SignatureInvalid,
    );
}

fn weak_keys(table: &mut Table) {
    let stage = &*STAGE;
    let odd = |bytes: usize| b64(vec![0xff; bytes]);
    for change in [
        json!({"n": odd(64)}),
        json!({"n": odd(128)}),
        json!({"n": odd(255)}),
        json!({"n": odd(1025)}),
        json!({"n": odd(2048)}),
        json!({"n": ""}),
        json!({"n": null}),
        json!({"e": "AQ"}),
        json!({"e": "Aw"}),
        json!({"e": "EQ"}),
        json!({"e": "AQAA"}),
        json!({"e": ""}),
        json!({"e": b64([0xff; 9])}),
        json!({"n": 17}),
    ] {
        let mut gate = gate();
        gate.set = Arc::new(key_set(&[stage.p256.jwk(), stage.rsa.jwk_with(&change)]));
        table.at(gate);
        table.refuses(
            18,
            format!(
                "RSA with {}",
                &change.to_string()[..12.min(change.to_string().len())]
            ),
            stage.rsa.token(&json!({})),
            Reason::KeyUnknown,
        );
        table.accepts(18, "the key beside it", stage.p256.token(&json!({})));
    }
    // Points of small order; under the neutral one this signature is good for every message.
    let neutral = |first: u8| [&[first][..], &[0; 31]].concat();
    let everybodys = b64([&neutral(1)[..], &[0; 32]].concat());
    let token = stage.ed.token(&json!({}));
    let (head, _) = token.rsplit_once('.').unwrap();
    let minus_one = [&[0xec][..], &[0xff; 30], &[0x7f]].concat();
    let signed_one = [&[1][..], &[0; 30], &[0x80]].concat();
    for point in [neutral(0), neutral(1), minus_one, signed_one] {
        let mut gate = gate();
        let weak = stage.ed.jwk_with(&json!({"x": b64(&point)}));
        gate.set = Arc::new(key_set(&[stage.p256.jwk(), weak]));
        table.at(gate);
        table.refuses(
            18,
            format!("Ed25519 with a point of small order, {:02x}", point[0]),
            format!("{head}.{everybodys}"),
            Reason::KeyUnknown,
        );
    }
}
